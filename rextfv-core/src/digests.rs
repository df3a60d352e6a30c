//! What a guest says its shared directory holds when a run has ended: `exec_status/digests`
//! (`docs/protocol.md` specifies it).
//!
//! The format is that of `sha256sum`: a line for each regular file, of 64 lower-case hexadecimal
//! digits, two blanks and the path below the shared directory. In a path with a backslash, a newline
//! or a carriage return, these are written `\\`, `\n` and `\r`, and the line begins with a backslash.
//! The lines stand in the byte order of the paths, so none is there twice.
//!
//! - A guest writes [`line()`] after [`line()`], leaving out what [`is_left_out`].
//! - A host reads [`lines`], an iterator over paths and digests that can be collected into a map.
//!
//! ```
//! # extern crate alloc;
//! use alloc::collections::BTreeMap;
//! use rextfv_core::digests;
//!
//! let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
//! let file = alloc::format!("{digest}  exec_status/stdout\n\\{digest}  two\\nlines\n");
//! let found: BTreeMap<_, _> = digests::lines(file.as_bytes())?.collect::<Result<_, _>>()?;
//! assert_eq!(found.keys().nth(1).unwrap().as_bytes(), b"two\nlines");
//! # Ok::<(), digests::DigestsProblem>(())
//! ```
//!
//! They find damage, not lies: whoever is root in the guest can write any digests.

use alloc::vec::Vec;

use crate::entry_path::{EntryPath, InvalidPath};
use crate::ids::parse_hex;
use crate::layout::{DIGESTS, DIGESTS_PART, STAGING_DIRECTORY, STATUS_SLOTS};
use crate::tomato;

/// Most bytes of the whole file: 32 MiB, some hundred thousand lines. A guest writes none that would be
/// longer.
pub const MAX_DIGESTS_BYTES: usize = 32 << 20;

/// A SHA-256 digest.
pub type Sha256Digest = [u8; 32];

/// What is wrong with a file of digests, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestsProblem {
    /// It is longer than [`MAX_DIGESTS_BYTES`].
    #[error("the list of digests is longer than the {MAX_DIGESTS_BYTES} bytes (32 MiB) that are allowed")]
    TooLong,
    /// A line is wrong.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: LineProblem,
    },
}

/// What is wrong with one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineProblem {
    /// The file ends before the line does.
    #[error("the line is cut off")]
    Cut,
    /// The line does not begin as `sha256sum` begins one.
    #[error("it does not begin with 64 lower-case hexadecimal digits and two blanks")]
    Digest,
    /// The line begins with a backslash, and one in the path stands for nothing.
    #[error("a backslash in the path is followed by something else than \\, n or r")]
    Escape,
    /// The path leads out of the shared directory, or can be none.
    #[error("{0}")]
    Path(#[from] InvalidPath),
    /// The path is empty, or has empty parts or parts that are `.`.
    #[error("the path is empty or has an empty part or a part \".\"")]
    Spelling,
    /// The path does not come after that of the line before.
    #[error("the path is there twice or not in byte order")]
    Order,
}

/// Whether a path, and all below it, is left out, since it goes on changing until the run is done or after: the status
/// slots, ToMaTo's Running Info and Done Flag, the digests themselves, and what an upload stages. Case
/// makes no difference, as on FAT.
pub fn is_left_out(path: &[u8]) -> bool {
    let [first, second] = STATUS_SLOTS;
    [STAGING_DIRECTORY, first, second, tomato::RUNNING, tomato::DONE, DIGESTS, DIGESTS_PART].iter().any(|name| {
        path.split_at_checked(name.len()).is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(name.as_bytes()) && matches!(rest.first(), None | Some(b'/'))
        })
    })
}

/// The line of a file.
pub fn line(digest: &Sha256Digest, path: &EntryPath) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let path = path.as_bytes();
    let mut line = Vec::with_capacity(68 + path.len());
    if path.iter().any(|&byte| escaped(byte).is_some()) {
        line.push(b'\\');
    }
    line.extend(digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)]));
    line.extend_from_slice(b"  ");
    for &byte in path {
        match escaped(byte) {
            Some(letter) => line.extend([b'\\', letter]),
            None => line.push(byte),
        }
    }
    line.push(b'\n');
    line
}

/// What a byte of a path is written as, after a backslash; `None` for as it is.
fn escaped(byte: u8) -> Option<u8> {
    match byte {
        b'\\' => Some(b'\\'),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        _ => None,
    }
}

/// The lines of a file of digests, which hold all that comes before the first wrong one.
///
/// # Errors
/// The file is too long. What is wrong with a line, the iterator tells in its place, and then ends.
pub fn lines(file: &[u8]) -> Result<Lines<'_>, DigestsProblem> {
    if file.len() > MAX_DIGESTS_BYTES {
        return Err(DigestsProblem::TooLong);
    }
    Ok(Lines { rest: file, line: 0, last: EntryPath::root() })
}

/// An iterator over the files' paths and digests, see [`lines`].
#[derive(Debug, Clone)]
pub struct Lines<'f> {
    rest: &'f [u8],
    /// How many lines were read.
    line: usize,
    /// The path of the last one; every other comes after the root.
    last: EntryPath,
}

impl Lines<'_> {
    fn read(&mut self) -> Result<(EntryPath, Sha256Digest), LineProblem> {
        let end = self.rest.iter().position(|&byte| byte == b'\n').ok_or(LineProblem::Cut)?;
        let (line, rest) = (&self.rest[..end], &self.rest[end + 1..]);
        let (line, is_escaped) = line.strip_prefix(b"\\").map_or((line, false), |line| (line, true));
        let (digits, name) = line.split_at_checked(64).ok_or(LineProblem::Digest)?;
        let name = name.strip_prefix(b"  ").ok_or(LineProblem::Digest)?;
        let digest = parse_hex(digits).ok_or(LineProblem::Digest)?;
        let path = if is_escaped { parse(&unescape(name)?) } else { parse(name) }?;
        if path <= self.last {
            return Err(LineProblem::Order);
        }
        self.last = path.clone();
        self.rest = rest;
        Ok((path, digest))
    }
}

impl Iterator for Lines<'_> {
    type Item = Result<(EntryPath, Sha256Digest), DigestsProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        Some(self.read().map_err(|problem| {
            self.rest = &[];
            DigestsProblem::Line { line: self.line, problem }
        }))
    }
}

fn unescape(name: &[u8]) -> Result<Vec<u8>, LineProblem> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next() {
                Some(b'\\') => b'\\',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                _ => return Err(LineProblem::Escape),
            },
            byte => byte,
        });
    }
    Ok(bytes)
}

/// A path that is written in the one way that there is.
fn parse(name: &[u8]) -> Result<EntryPath, LineProblem> {
    let path = EntryPath::parse(name)?;
    if path.is_root() || path.as_bytes() != name { Err(LineProblem::Spelling) } else { Ok(path) }
}

#[cfg(test)]
mod tests;
