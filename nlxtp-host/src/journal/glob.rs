//! Patterns for paths of results that are not to be compared.

#![forbid(unsafe_code)]

/// A pattern: `*` stands for anything but a slash, `**` for anything, `?` for one byte but a slash; all
/// else for itself. Without a slash it is compared with the last component of a path, else with the
/// whole; in both cases what lies below a directory that it names is meant too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    pattern: Box<[u8]>,
}

impl Glob {
    /// Takes a pattern. Every pattern is one.
    pub fn new(pattern: &str) -> Self {
        let pattern = pattern.strip_prefix("./").unwrap_or(pattern).trim_end_matches('/');
        Self { pattern: pattern.as_bytes().into() }
    }

    /// Whether this path, or a directory that it lies in, is meant.
    pub fn matches(&self, path: &[u8]) -> bool {
        let whole = self.pattern.contains(&b'/');
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        ends.chain([path.len()]).any(|end| {
            let prefix = &path[..end];
            let name = prefix.rsplit(|&byte| byte == b'/').next().unwrap_or(prefix);
            meant(&self.pattern, if whole { prefix } else { name })
        })
    }
}

/// Whether the pattern stands for all of the text: each star is first taken for nothing, and then, when
/// what follows does not fit, for one byte more. To try the last star again is enough, unless it is a
/// single one, which no slash can be added to: then the last double one is.
fn meant(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after a star, and how far it reaches.
    let mut single: Option<(usize, usize)> = None;
    let mut double: Option<(usize, usize)> = None;
    loop {
        if pattern[p..].starts_with(b"**") {
            p += 2;
            double = Some((p, t));
            single = None;
        } else if pattern.get(p) == Some(&b'*') {
            p += 1;
            single = Some((p, t));
        } else if p == pattern.len() && t == text.len() {
            return true;
        } else if t < text.len()
            && pattern.get(p).is_some_and(|&byte| byte == text[t] || (byte == b'?' && text[t] != b'/'))
        {
            p += 1;
            t += 1;
        } else if let Some((after, reach)) =
            single.filter(|&(_, reach)| text.get(reach).is_some_and(|&byte| byte != b'/'))
        {
            single = Some((after, reach + 1));
            (p, t) = (after, reach + 1);
        } else if let Some((after, reach)) = double.filter(|&(_, reach)| reach < text.len()) {
            double = Some((after, reach + 1));
            single = None;
            (p, t) = (after, reach + 1);
        } else {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("a", "a", true),
            ("a", "b/a", true),
            ("a", "a/b", true),
            ("a", "ab", false),
            ("*.log", "x/y.log", true),
            ("*.log", "y.log/z", true),
            ("*.log", "ylog", false),
            ("x/*.log", "x/y.log", true),
            ("x/*.log", "x/z/y.log", false),
            ("x/**.log", "x/z/y.log", true),
            ("**/y", "x/z/y", true),
            ("x/?", "x/z", true),
            ("x/?", "x/zz", false),
            ("x/", "x/zz", true),
            ("./x", "x", true),
            ("**/a*c", "b/abb/abc", true),
            ("**/a*c", "b/abb/ab", false),
            ("*", "anything/at/all", true),
            ("", "a", false),
            ("a\\b", "a\\b", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(path.as_bytes()), expected, "{pattern} {path}");
        }
    }

    /// The rule itself, without a thought of how long it takes.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        if let Some(rest) = pattern.strip_prefix(b"**") {
            return (0..=text.len()).any(|skip| slow(rest, &text[skip..]));
        }
        if let Some(rest) = pattern.strip_prefix(b"*") {
            let reach = text.iter().position(|&byte| byte == b'/').unwrap_or(text.len());
            return (0..=reach).any(|skip| slow(rest, &text[skip..]));
        }
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'?', pattern)), Some((byte, text))) => *byte != b'/' && slow(pattern, text),
            (Some((wanted, pattern)), Some((byte, text))) => wanted == byte && slow(pattern, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn as_the_rule_says(pattern in "[ab/?*]{0,8}", text in "[ab/]{0,10}") {
            prop_assert_eq!(meant(pattern.as_bytes(), text.as_bytes()), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
