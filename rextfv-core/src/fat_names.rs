//! Which names a FAT file system with long names can hold, and which of them are the same to it.

use alloc::string::String;

/// Most UTF-16 code units of a long name.
pub const MAX_NAME_UNITS: usize = 255;

/// Largest file, in bytes: 4 GiB less one byte.
pub const MAX_FILE_BYTES: u64 = u32::MAX as u64;

/// Why a name cannot stand on a FAT file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FatNameProblem {
    /// FAT keeps names in UTF-16.
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// A character that FAT forbids, or a control character.
    #[error("FAT forbids the character {0:?} in a name")]
    Forbidden(char),
    /// Drivers drop dots and spaces at the end of a name.
    #[error("FAT cannot hold a name that ends in a dot or a space")]
    TrailingDotOrSpace,
    /// More than [`MAX_NAME_UNITS`].
    #[error("the name is longer than FAT's 255 UTF-16 units")]
    TooLong,
}

/// Checks one component of a path.
///
/// # Errors
/// Why FAT cannot hold it.
pub fn check(name: &[u8]) -> Result<&str, FatNameProblem> {
    let name = str::from_utf8(name).map_err(|_| FatNameProblem::NotUtf8)?;
    let forbidden = |c: &char| c.is_control() || matches!(c, '"' | '*' | '/' | ':' | '<' | '>' | '?' | '\\' | '|');
    if let Some(character) = name.chars().find(forbidden) {
        return Err(FatNameProblem::Forbidden(character));
    }
    if name.ends_with(['.', ' ']) {
        return Err(FatNameProblem::TrailingDotOrSpace);
    }
    if name.encode_utf16().count() > MAX_NAME_UNITS {
        return Err(FatNameProblem::TooLong);
    }
    Ok(name)
}

/// The form in which two names are equal exactly if FAT takes them for the same.
///
/// Unicode's simple upper case, as far as it is one character, which is what drivers compare by.
pub fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_uppercase();
    }
    name.chars().map(upper).collect()
}

/// Whether FAT takes two names for the same.
pub fn are_one(name: &str, other: &str) -> bool {
    name.chars().map(upper).eq(other.chars().map(upper))
}

fn upper(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_uppercase();
    }
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) => single,
        _ => character,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_named() {
        assert_eq!(check(b"a:b"), Err(FatNameProblem::Forbidden(':')));
        assert_eq!(check(b"a\nb"), Err(FatNameProblem::Forbidden('\n')));
        assert_eq!(check(b"end."), Err(FatNameProblem::TrailingDotOrSpace));
        assert_eq!(check(b"\xff"), Err(FatNameProblem::NotUtf8));
        assert_eq!(check(&[b'x'; 256]), Err(FatNameProblem::TooLong));
        assert_eq!(check(&[b'x'; 255]).map(str::len), Ok(255));
        // A character outside the basic plane takes two units.
        assert_eq!(check("😀".repeat(128).as_bytes()), Err(FatNameProblem::TooLong));
        assert_eq!(check(".hidden name+,;=[]".as_bytes()), Ok(".hidden name+,;=[]"));
    }

    #[test]
    fn names_that_differ_in_case_are_the_same() {
        assert_eq!(fold("Größe.TXT"), fold("gRößE.txt"));
        assert_ne!(fold("a"), fold("b"));
    }
}
