//! What keeps a start script from being started, told early.

use alloc::string::String;
use alloc::vec::Vec;

/// Bytes of a start script that are looked at.
pub const HEAD_BYTES: usize = 4096;

/// The longest first line that every Linux takes whole.
const SAFE_LINE_BYTES: usize = 127;

/// What may be wrong with a start script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptProblem {
    /// There is nothing in it.
    #[error("it is empty: it would end at once, with success")]
    Empty,
    /// Its first line ends with a carriage return, which becomes part of the interpreter's name.
    #[error(
        "its first line ends with a carriage return (a Windows line end), which becomes part of the interpreter's name \"{0}\"; convert it to Unix line ends, with dos2unix or sed -i 's/\\r$//'"
    )]
    WindowsLineEnd(String),
    /// Bytes that some editors put first hide the interpreter line.
    #[error(
        "it begins with a byte order mark, which hides its first line from the system; save it as UTF-8 without one"
    )]
    ByteOrderMark,
    /// `#!` and nothing behind it.
    #[error("its first line names no interpreter")]
    NoInterpreter,
    /// The interpreter is no absolute path.
    #[error("its interpreter \"{0}\" is no absolute path; write #!/usr/bin/env {0}")]
    RelativeInterpreter(String),
    /// The first line is so long that kernels before 5.1 cut it.
    #[error("its first line is longer than 127 bytes, which not every system takes")]
    LongLine,
    /// It does not say what to run it with.
    #[error(
        "it has no interpreter line, so a shell will run it; begin it with #!/bin/sh, or with what else is to run it"
    )]
    NoInterpreterLine,
    /// It is not marked executable.
    #[error(
        "it is not marked executable; an upload marks it so, but programs other than nlxtp may not: chmod +x before packing"
    )]
    NotExecutable,
}

/// The interpreter and its one argument in a script's first line, as the kernel reads it; `None` where
/// there is no such line.
pub fn interpreter_line(head: &[u8]) -> Option<Vec<&[u8]>> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let line = &line[line.iter().position(|byte| !blank(byte))?..];
    let end = line.iter().position(blank).unwrap_or(line.len());
    let mut words = Vec::from([&line[..end]]);
    // Like the kernel: all that follows is one argument.
    let rest = line[end..].trim_ascii();
    if !rest.is_empty() {
        words.push(rest);
    }
    Some(words)
}

/// Looks at the beginning of a start script, at most [`HEAD_BYTES`] of it, for what would keep it from
/// being started or let something else run it than was meant.
pub fn problems(head: &[u8], executable: bool) -> Vec<ScriptProblem> {
    let mut problems = content_problems(head);
    if !executable {
        problems.push(ScriptProblem::NotExecutable);
    }
    problems
}

fn content_problems(head: &[u8]) -> Vec<ScriptProblem> {
    let mut problems = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().collect::<String>();
    if head.is_empty() {
        return Vec::from([ScriptProblem::Empty]);
    }
    if head.starts_with(b"\xef\xbb\xbf") || head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Vec::from([ScriptProblem::ByteOrderMark]);
    }
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if !head.starts_with(b"#!") {
        if !head.starts_with(b"\x7fELF") {
            problems.push(ScriptProblem::NoInterpreterLine);
        }
        return problems;
    }
    match interpreter_line(head).as_deref() {
        None | Some([] | [b"" | b"\r", ..]) => problems.push(ScriptProblem::NoInterpreter),
        Some([interpreter, ..]) => {
            if line.ends_with(b"\r") {
                problems.push(ScriptProblem::WindowsLineEnd(text(interpreter)));
            } else if !interpreter.starts_with(b"/") {
                problems.push(ScriptProblem::RelativeInterpreter(text(interpreter)));
            }
            if line.len() > SAFE_LINE_BYTES {
                problems.push(ScriptProblem::LongLine);
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn interpreter_lines_are_read_like_the_kernel_does() {
        for (text, words) in [
            ("#!/bin/sh\necho", Some(vec!["/bin/sh"])),
            ("#! /usr/bin/env  python3 -u \n", Some(vec!["/usr/bin/env", "python3 -u"])),
            ("#!/bin/sh\r\n", Some(vec!["/bin/sh\r"])),
            ("#!/bin/sh", Some(vec!["/bin/sh"])),
            ("#!\n", None),
            ("echo", None),
            ("", None),
        ] {
            let expected = words.map(|words| words.into_iter().map(str::as_bytes).collect::<Vec<_>>());
            assert_eq!(interpreter_line(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn each_problem_is_told() {
        use ScriptProblem::*;
        let long = alloc::format!("#!/bin/sh {}\n", "x".repeat(130));
        for (text, executable, expected) in [
            ("#!/bin/sh\necho\n", true, vec![]),
            ("#!/bin/sh\necho\n", false, vec![NotExecutable]),
            ("\x7fELF...", true, vec![]),
            ("echo hello\n", true, vec![NoInterpreterLine]),
            ("", true, vec![Empty]),
            ("#!/bin/sh\r\necho\r\n", true, vec![WindowsLineEnd("/bin/sh\\r".into())]),
            ("#!/usr/bin/perl -w\r\n", true, vec![WindowsLineEnd("/usr/bin/perl".into())]),
            ("\u{feff}#!/bin/sh\n", true, vec![ByteOrderMark]),
            ("#!\n", true, vec![NoInterpreter]),
            ("#!\r\n", true, vec![NoInterpreter]),
            ("#!python3\n", true, vec![RelativeInterpreter("python3".into())]),
            (&long, true, vec![LongLine]),
            ("echo hello\r\n", false, vec![NoInterpreterLine, NotExecutable]),
        ] {
            assert_eq!(problems(text.as_bytes(), executable), expected, "{text:?}");
        }
    }
}
