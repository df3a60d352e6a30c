//! The path of an entry below the shared directory, safe by construction.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

/// A relative path whose components are neither empty nor `.` nor `..` and hold no `/` and no NUL.
///
/// Bytes, not text: a container's names need not be UTF-8. The empty path is the shared directory
/// itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryPath(Box<[u8]>);

/// Why bytes are not the path of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPath {
    /// It begins with `/`.
    #[error("the path is absolute")]
    Absolute,
    /// One of its components is `..`.
    #[error("the path has a component \"..\"")]
    Parent,
    /// It holds a NUL byte.
    #[error("the path holds a NUL byte")]
    Nul,
}

impl EntryPath {
    /// The shared directory itself.
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// Takes a path as archives write them: `./`, doubled and trailing slashes are left out, and
    /// nothing else is mended.
    ///
    /// # Errors
    /// The path is absolute, leads upwards or holds a NUL byte.
    pub fn parse(raw: &[u8]) -> Result<Self, InvalidPath> {
        if raw.first() == Some(&b'/') {
            return Err(InvalidPath::Absolute);
        }
        if raw.contains(&0) {
            return Err(InvalidPath::Nul);
        }
        let mut bytes = Vec::with_capacity(raw.len());
        for component in raw.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(InvalidPath::Parent),
                name => {
                    if !bytes.is_empty() {
                        bytes.push(b'/');
                    }
                    bytes.extend_from_slice(name);
                }
            }
        }
        Ok(Self(bytes.into_boxed_slice()))
    }

    /// This path with one more component, if `name` can be one.
    pub fn join(&self, name: &[u8]) -> Option<Self> {
        if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Some(Self(bytes.into_boxed_slice()))
    }

    /// The bytes, components separated by `/`; empty for the shared directory itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }

    /// Whether this is the shared directory itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components, outermost first; none for the shared directory itself.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|component| !component.is_empty())
    }

    /// The last component; `None` for the shared directory itself.
    pub fn name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// The path without its last component; `None` for the shared directory itself.
    pub fn parent(&self) -> Option<Self> {
        let name = self.name()?;
        let end = self.0.len() - name.len();
        Some(Self(self.0[..end.saturating_sub(1)].into()))
    }

    /// Whether this is `other` or lies below it.
    pub fn starts_with(&self, other: &Self) -> bool {
        other.is_root() || self.0.strip_prefix(&*other.0).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }
}

/// Whether a character changes how what stands around it is shown: one that controls a terminal, ends a
/// line, or turns the direction of text about.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Shows bytes from an untrusted side: printable characters as they are, everything else escaped,
/// so that a name can neither break a line nor drive a terminal nor be read in another order.
pub fn displayable(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_deceptive(character) || character == '\\' {
                let _ = write!(shown, "{}", character.escape_default());
            } else {
                shown.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// The bytes that [`displayable`] shows so; `None` where it shows nothing so.
pub fn from_displayable(shown: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(shown.len());
    let mut rest = shown;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let kind = escaped.chars().next()?;
        rest = &escaped[kind.len_utf8()..];
        match kind {
            '\\' => bytes.push(b'\\'),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'x' => {
                let (digits, after) = rest.split_at_checked(2)?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = after;
            }
            'u' => {
                let (digits, after) = rest.strip_prefix('{')?.split_once('}')?;
                let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
            }
            _ => return None,
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { "" })?;
        f.write_str(&displayable(&self.0))
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryPath({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn archive_spellings_are_normalised() {
        for raw in ["a/b", "./a/b", "a//b/", "././a/./b/."] {
            assert_eq!(EntryPath::parse(raw.as_bytes()).unwrap().as_bytes(), b"a/b", "{raw}");
        }
        assert!(EntryPath::parse(b"./").unwrap().is_root());
    }

    #[test]
    fn dangerous_spellings_are_refused() {
        assert_eq!(EntryPath::parse(b"/etc"), Err(InvalidPath::Absolute));
        assert_eq!(EntryPath::parse(b"a/../b"), Err(InvalidPath::Parent));
        assert_eq!(EntryPath::parse(b".."), Err(InvalidPath::Parent));
        assert_eq!(EntryPath::parse(b"a\0b"), Err(InvalidPath::Nul));
    }

    #[test]
    fn parents_and_names() {
        let path = EntryPath::parse(b"a/b/c").unwrap();
        assert_eq!(path.name(), Some(&b"c"[..]));
        assert_eq!(path.parent().unwrap().as_bytes(), b"a/b");
        let top = EntryPath::parse(b"a").unwrap();
        assert_eq!(top.parent(), Some(EntryPath::root()));
        assert_eq!(EntryPath::root().parent(), None);
        assert!(path.starts_with(&top) && !top.starts_with(&path));
        assert!(!EntryPath::parse(b"ab").unwrap().starts_with(&top));
    }

    #[test]
    fn joining_keeps_the_promise() {
        let path = EntryPath::root().join(b"a").unwrap().join(b"b").unwrap();
        assert_eq!(path.as_bytes(), b"a/b");
        for name in [&b""[..], b".", b"..", b"x/y", b"x\0"] {
            assert_eq!(path.join(name), None);
        }
    }

    #[test]
    fn display_cannot_drive_a_terminal() {
        let path = EntryPath::parse(b"a\x1b[31m\n\xff").unwrap();
        assert_eq!(path.to_string(), "a\\u{1b}[31m\\n\\xff");
    }

    #[test]
    fn display_cannot_be_read_in_another_order() {
        assert_eq!(displayable("results\u{202e}gpj.sh".as_bytes()), "results\\u{202e}gpj.sh");
        for character in "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202d}\u{2066}\u{2069}".chars() {
            let escaped = alloc::format!("\\u{{{:x}}}", u32::from(character));
            assert_eq!(displayable(character.encode_utf8(&mut [0; 4]).as_bytes()), escaped);
        }
        // Those of other scripts, and what joins emoji, stay.
        let plain = "\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{1f469}\u{200d}\u{1f52c} \u{2010}";
        assert_eq!(displayable(plain.as_bytes()), plain);
    }

    #[test]
    fn what_is_shown_leads_back() {
        let turned = "a\u{202e}b\u{2069}".as_bytes();
        for bytes in [&b"plain"[..], b"a\x1b[31m\n\xff\\", b"\r\t\0", "\u{85}\u{fc}".as_bytes(), turned, b"\\x41", b""]
        {
            assert_eq!(from_displayable(&displayable(bytes)).as_deref(), Some(bytes));
        }
        for shown in ["\\", "\\q", "\\x4", "\\xzz", "\\u{", "\\u{110000}", "\\u{}"] {
            assert_eq!(from_displayable(shown), None, "{shown}");
        }
    }
}
