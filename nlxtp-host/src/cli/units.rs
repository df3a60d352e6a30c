//! Sizes, times and dates, read and shown.

use std::time::Duration;

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

/// Shows a size for people: exactly where that is short.
pub fn show_size(bytes: u64) -> String {
    const UNITS: [(usize, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    if bytes == 1 {
        return "1 byte".into();
    }
    let fits = |shift: usize| bytes >> shift >= 10 || (bytes >> shift >= 1 && bytes.trailing_zeros() as usize >= shift);
    let Some((shift, name)) = UNITS.into_iter().find(|(shift, _)| fits(*shift)) else {
        return format!("{bytes} bytes");
    };
    let (whole, rest) = (bytes >> shift, bytes & ((1 << shift) - 1));
    if rest == 0 { format!("{whole} {name}") } else { format!("{whole}.{} {name}", (rest * 10) >> shift) }
}

/// Shows how many there are of something.
pub fn show_count(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// Shows seconds since 1970 as date and time in UTC.
pub fn show_time(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    // Years begin in March here, so that the leap day is the last one.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
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

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (10_239, "10239 bytes"),
            (10_240, "10 KiB"),
            (2 << 20, "2 MiB"),
            ((2 << 20) + 1024, "2049 KiB"),
            (62 << 20, "62 MiB"),
            ((62 << 20) + (1 << 19), "62.5 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(show_size(bytes), text);
        }
    }

    #[test]
    fn dates() {
        assert_eq!(show_time(0), "1970-01-01 00:00:00");
        assert_eq!(show_time(951_827_696), "2000-02-29 12:34:56");
        assert_eq!(show_time(-1), "1969-12-31 23:59:59");
        assert!(!show_time(i64::MAX).is_empty() && !show_time(i64::MIN).is_empty());
    }
}
