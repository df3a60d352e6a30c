//! Sizes and times as people write them.

use alloc::string::String;
use core::time::Duration;

/// Suffixes of sizes. The longer of two that end alike need not come first: the whole suffix counts.
const SIZE_SUFFIXES: [(&str, u64); 14] = [
    ("", 1),
    ("B", 1),
    ("K", 1 << 10),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("M", 1 << 20),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("G", 1 << 30),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("T", 1 << 40),
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
];

/// Reads a size such as `62MiB`.
///
/// # Errors
/// How a size is written.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, suffix) = split_number(text);
    let (_, factor) = SIZE_SUFFIXES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(suffix))
        .filter(|_| !digits.is_empty())
        .ok_or("write a size as 62MiB, 1GiB or 512K")?;
    digits.parse().ok().and_then(|number: u64| number.checked_mul(*factor)).ok_or_else(|| "it is too large".into())
}

/// Reads a time such as `10m` or `1h30m`.
///
/// # Errors
/// How a time is written.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write a time as 500ms, 10s, 5m, 2h or 1h30m";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() || text.is_empty() {
        let (digits, after) = split_number(rest);
        let unit_len = after.find(|character: char| character.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let number: u64 = digits.parse().map_err(|_| FORM)?;
        let part = match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            _ => return Err(FORM.into()),
        };
        sum = part.and_then(|part| sum.checked_add(part)).ok_or("it is too long")?;
        rest = next;
    }
    Ok(sum)
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("0", 0), ("512", 512), ("62MiB", 62 << 20), ("62m", 62 << 20), ("1kB", 1000), ("2TiB", 2 << 40)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "1.5G", "-1", "1 MiB", "1X", "99999999999T", "99999999999999999999"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        for (text, millis) in
            [("0", 0), ("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h30m", 5_400_000), ("1m1ms", 60_001)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "m", "1d", "-1s", "1.5s", "1s2", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
