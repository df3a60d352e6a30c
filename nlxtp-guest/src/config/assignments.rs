//! One line of shell assignments, without a shell.

/// A line's assignment; `None` for an empty line or a comment.
///
/// # Errors
/// Why the line is no plain assignment.
pub fn parse_line(line: &str) -> Result<Option<(String, String)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (key, value) = line.split_once('=').ok_or("this is no assignment (key=value)")?;
    let mut letters = key.bytes();
    let first = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first || !letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(format!("\"{key}\" is no name of a key"));
    }
    Ok(Some((key.to_owned(), parse_value(value)?)))
}

/// The line that gives a key this value.
pub fn line(key: &str, value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if value.bytes().all(plain) {
        format!("{key}={value}")
    } else {
        format!("{key}='{}'", value.replace('\'', r"'\''"))
    }
}

/// A value as a shell would read it: quoted parts and plain parts side by side, up to a blank.
fn parse_value(text: &str) -> Result<String, String> {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\'' => loop {
                match chars.next().ok_or("a ' is not closed")? {
                    '\'' => break,
                    char => value.push(char),
                }
            },
            '"' => loop {
                match chars.next().ok_or("a \" is not closed")? {
                    '"' => break,
                    '\\' => match chars.next().ok_or("a \" is not closed")? {
                        char @ ('"' | '\\' | '$' | '`') => value.push(char),
                        char => value.extend(['\\', char]),
                    },
                    char => value.push(plain(char, "$`")?),
                }
            },
            '\\' => value.push(chars.next().ok_or("the line ends with a \\")?),
            char if char.is_whitespace() => {
                let rest = chars.as_str().trim_start();
                return if rest.is_empty() || rest.starts_with('#') {
                    Ok(value)
                } else {
                    Err(format!("\"{rest}\" follows the value; quote a value that holds blanks"))
                };
            }
            char => value.push(plain(char, "$`;&|<>()*?[~")?),
        }
    }
    Ok(value)
}

fn plain(char: char, special: &str) -> Result<char, String> {
    if special.contains(char) {
        return Err(format!("a shell would act upon \"{char}\", this program does not; put it in single quotes"));
    }
    Ok(char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        for (line, value) in [
            ("k=v", "v"),
            ("  k=v  # why", "v"),
            ("k=v#w", "v#w"),
            ("export k=v", "v"),
            ("k=", ""),
            ("k='a b $c'", "a b $c"),
            (r#"k="a \"b\" \$c \n""#, r#"a "b" $c \n"#),
            (r"k=a\ b", "a b"),
            (r"k='it'\''s'", "it's"),
            ("k=a=b", "a=b"),
        ] {
            assert_eq!(parse_line(line), Ok(Some(("k".into(), value.into()))), "{line}");
        }
        assert_eq!(parse_line(" # k=v"), Ok(None));
        assert_eq!(parse_line(""), Ok(None));
    }

    #[test]
    fn what_a_shell_would_act_upon_is_refused() {
        for line in ["k=$v", "k=`v`", "k=\"$v\"", "k=a;b", "k=a b", "k='a", "k=\"a", "if true", "k y=v", "1k=v", "k=~"]
        {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }
}
