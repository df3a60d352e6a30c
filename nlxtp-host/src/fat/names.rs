//! Which names FAT can hold, which ones the host accepts from a guest, and
//! when two of them are the same.

use std::fmt;

use super::slot::MAX_NAME_UNITS;

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameProblem {
    /// There is nothing in it.
    Empty,
    /// It is longer than 255 UTF-16 units.
    TooLong,
    /// It is `.` or `..`, which mean something else.
    Dots,
    /// It contains a control character.
    Control,
    /// It contains a character that FAT forbids, `/` among them.
    Forbidden(char),
    /// It is not valid UTF-16.
    NotUnicode,
    /// It ends with a dot or a space, which guests drop.
    TrailingDotOrSpace,
    /// An earlier entry of the same directory has this name.
    Duplicate,
    /// It is no volume label: at most 11 printable ASCII characters without
    /// those that FAT forbids.
    NotALabel,
    /// It is no volume label, for it contains this character.
    NotInALabel(char),
}

impl fmt::Display for NameProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the name is empty"),
            Self::TooLong => f.write_str("the name is longer than 255 UTF-16 units"),
            Self::Dots => f.write_str("the name means this or the upper directory"),
            Self::Control => f.write_str("the name contains a control character"),
            Self::Forbidden(c) => write!(f, "the name contains the character '{c}'"),
            Self::NotUnicode => f.write_str("the name is not valid Unicode"),
            Self::TrailingDotOrSpace => f.write_str("the name ends with a dot or a space"),
            Self::Duplicate => f.write_str("the directory has this name twice"),
            Self::NotALabel => f.write_str("a label has at most 11 characters, and does not begin with a space"),
            Self::NotInALabel(c) => write!(f, "a label cannot contain the character {c:?}"),
        }
    }
}

/// Checks a name found on a disk: it must be one harmless path component.
///
/// A guest that keeps to the rules cannot create a name that fails here.
pub(super) fn check_found(name: &str) -> Result<(), NameProblem> {
    if name.is_empty() {
        return Err(NameProblem::Empty);
    }
    if name == "." || name == ".." {
        return Err(NameProblem::Dots);
    }
    // No more units than bytes.
    if name.len() > MAX_NAME_UNITS && name.encode_utf16().count() > MAX_NAME_UNITS {
        return Err(NameProblem::TooLong);
    }
    for c in name.chars() {
        if c.is_control() {
            return Err(NameProblem::Control);
        }
        if matches!(c, '"' | '*' | '/' | ':' | '<' | '>' | '?' | '\\' | '|') {
            return Err(NameProblem::Forbidden(c));
        }
    }
    Ok(())
}

/// Checks a name to be stored: what [`check_found`] accepts, and every guest
/// must find it again under exactly this name.
pub(super) fn check_new(name: &str) -> Result<(), NameProblem> {
    check_found(name)?;
    if name.ends_with(['.', ' ']) {
        return Err(NameProblem::TrailingDotOrSpace);
    }
    Ok(())
}

/// The form in which two names are equal if a guest may take them for one:
/// simple upper case, character by character, as Windows has it.
pub(super) fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_uppercase();
    }
    name.chars().map(upper).collect()
}

/// Whether two names are equal in that form.
pub(super) fn are_one(name: &str, other: &str) -> bool {
    if name.is_ascii() && other.is_ascii() {
        return name.eq_ignore_ascii_case(other);
    }
    name.chars().map(upper).eq(other.chars().map(upper))
}

fn upper(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        // A character that becomes several ('ß') has no simple upper case.
        (Some(one), None) => one,
        _ => c,
    }
}

/// A name in characters that can be shown and logged.
pub(super) fn escape(name: &str) -> String {
    if name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\') {
        return name.to_owned();
    }
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        escape_char(c, &mut out);
    }
    out
}

/// As [`escape`], for a long name that may be no valid UTF-16.
pub(super) fn escape_units(units: &[u16]) -> String {
    let mut out = String::with_capacity(units.len());
    for c in char::decode_utf16(units.iter().copied()) {
        match c {
            Ok(c) => escape_char(c, &mut out),
            Err(lone) => out.push_str(&format!("\\u{{{:x}}}", lone.unpaired_surrogate())),
        }
    }
    out
}

fn escape_char(c: char, out: &mut String) {
    if c.is_control() || c == '\\' {
        out.extend(c.escape_default());
    } else {
        out.push(c);
    }
}

/// Base and extension are lower case (bits of [`ShortEntry::case`]).
///
/// [`ShortEntry::case`]: super::slot::ShortEntry::case
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// The text of a short name, in the code page that Linux assumes (437).
pub(super) fn decode_short(raw: &[u8; 11], case: u8) -> String {
    let (base, extension) = raw.split_at(8);
    let mut name = String::with_capacity(12);
    decode_part(base, case & LOWER_BASE != 0, true, &mut name);
    let dot = name.len();
    decode_part(extension, case & LOWER_EXTENSION != 0, false, &mut name);
    if name.len() > dot {
        name.insert(dot, '.');
    }
    name
}

fn decode_part(part: &[u8], lower: bool, base: bool, out: &mut String) {
    let end = part.iter().rposition(|byte| *byte != b' ');
    let used = end.map_or(0, |end| end + 1);
    for (index, byte) in part.iter().copied().take(used).enumerate() {
        // 0xE5 marks a deleted entry, so it is stored as 5 at the beginning.
        let byte = if base && index == 0 && byte == 5 { 0xE5 } else { byte };
        out.push(code_page_437(if lower { byte.to_ascii_lowercase() } else { byte }));
    }
}

fn code_page_437(byte: u8) -> char {
    const UPPER: [char; 128] = [
        'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å', //
        'É', 'æ', 'Æ', 'ô', 'ö', 'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ', //
        'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º', '¿', '⌐', '¬', '½', '¼', '¡', '«', '»', //
        '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛', '┐', //
        '└', '┴', '┬', '├', '─', '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧', //
        '╨', '╤', '╥', '╙', '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█', '▄', '▌', '▐', '▀', //
        'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ', 'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩', //
        '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²', '■', '\u{a0}',
    ];
    match byte.checked_sub(128) {
        Some(index) => UPPER.get(usize::from(index)).copied().unwrap_or('?'),
        None => char::from(byte),
    }
}

/// The text of a label field: 11 bytes padded with spaces, shown safely.
/// `None` if there is none.
pub(super) fn decode_label(raw: &[u8; 11]) -> Option<String> {
    if raw == NO_LABEL {
        return None;
    }
    let mut label = String::with_capacity(11);
    decode_part(raw, false, true, &mut label);
    let label = escape(&label);
    (!label.is_empty()).then_some(label)
}

/// What stands in a boot sector for "no label".
pub(super) const NO_LABEL: &[u8; 11] = b"NO NAME    ";

/// The label field for a text, in upper case.
pub(super) fn encode_label(label: &str) -> Result<[u8; 11], NameProblem> {
    let mut raw = [b' '; 11];
    let is_plain = |c: char| c == ' ' || u8::try_from(c).is_ok_and(is_short_byte);
    if let Some(other) = label.chars().find(|c| !is_plain(*c)) {
        return Err(NameProblem::NotInALabel(other));
    }
    if label.len() > raw.len() || label.starts_with(' ') {
        return Err(NameProblem::NotALabel);
    }
    for (to, from) in raw.iter_mut().zip(label.bytes()) {
        *to = from.to_ascii_uppercase();
    }
    Ok(raw)
}

/// Whether a byte may stand in a short name, apart from its case.
pub(super) fn is_short_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"$%'-_@~`!(){}^#&".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_read() {
        assert_eq!(decode_short(b"README  TXT", 0), "README.TXT");
        assert_eq!(decode_short(b"README  TXT", LOWER_BASE), "readme.TXT");
        assert_eq!(decode_short(b"README  TXT", LOWER_EXTENSION), "README.txt");
        assert_eq!(decode_short(b"README     ", 0x18), "readme");
        assert_eq!(decode_short(b"A B     C  ", 0), "A B.C");
        assert_eq!(decode_short(b"\x05\x81      \xff  ", 0), "σü.\u{a0}");
        assert_eq!(decode_short(b"           ", 0), "");
        assert_eq!(decode_short(b".          ", 0), ".");
    }

    #[test]
    fn unsafe_names_are_named() {
        assert_eq!(check_found(""), Err(NameProblem::Empty));
        assert_eq!(check_found(".."), Err(NameProblem::Dots));
        assert_eq!(check_found("a/b"), Err(NameProblem::Forbidden('/')));
        assert_eq!(check_found("a\0"), Err(NameProblem::Control));
        assert_eq!(check_found("a\u{9b}"), Err(NameProblem::Control));
        assert_eq!(check_found(&"x".repeat(256)), Err(NameProblem::TooLong));
        assert_eq!(check_found(&"𝄞".repeat(128)), Err(NameProblem::TooLong));
        assert_eq!(check_found(&"ä".repeat(255)), Ok(()));
        assert_eq!(check_found("..."), Ok(()));
        assert_eq!(check_new("a."), Err(NameProblem::TrailingDotOrSpace));
        assert_eq!(check_new(".hidden [1] +,;="), Ok(()));
    }

    #[test]
    fn folding_keeps_the_length() {
        assert_eq!(fold("Straße.Txt"), "STRAßE.TXT");
        assert_eq!(fold("éÉ"), "ÉÉ");
    }

    #[test]
    fn escaping_leaves_nothing_to_a_terminal() {
        assert_eq!(escape("a\u{1b}[2J\\ü"), "a\\u{1b}[2J\\\\ü");
        assert_eq!(escape_units(&[0x61, 0xD800, 0x62]), "a\\u{d800}b");
    }

    #[test]
    fn labels() {
        assert_eq!(encode_label("nlxtp"), Ok(*b"NLXTP      "));
        assert_eq!(encode_label(""), Ok(*b"           "));
        for bad in ["twelve chars", " x"] {
            assert_eq!(encode_label(bad), Err(NameProblem::NotALabel), "{bad}");
        }
        for (bad, character) in [("a.b", '.'), ("ä", 'ä'), ("a/b*", '/')] {
            assert_eq!(encode_label(bad), Err(NameProblem::NotInALabel(character)), "{bad}");
        }
        assert_eq!(decode_label(b"NLXTP      ").as_deref(), Some("NLXTP"));
        assert_eq!(decode_label(NO_LABEL), None);
        assert_eq!(decode_label(b"           "), None);
    }
}
