//! Sizes, times and dates, read and shown.

use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;
use std::time::Duration;

pub use rextfv_core::units::{parse_duration, parse_size};

/// Reads a whole number, for options that count.
pub fn parse_number<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => "that is too much".into(),
        _ => "give a whole number, such as 3".into(),
    })
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

/// Shows a time in the form in which it is read, to the millisecond.
pub fn show_duration(time: Duration) -> String {
    let (seconds, milliseconds) = (time.as_secs(), u64::from(time.subsec_millis()));
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s"), (milliseconds, "ms")];
    let shown: String =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect();
    if shown.is_empty() { "0".into() } else { shown }
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
    fn times_are_shown_as_they_are_read() {
        for text in ["0", "1ms", "90m", "1h30m", "59m59s", "1h1ms", "8784h"] {
            let time = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&show_duration(time)), Ok(time), "{text}");
        }
        assert_eq!(show_duration(Duration::from_millis(5_400_250)), "1h30m250ms");
    }

    #[test]
    fn dates() {
        assert_eq!(show_time(0), "1970-01-01 00:00:00");
        assert_eq!(show_time(951_827_696), "2000-02-29 12:34:56");
        assert_eq!(show_time(-1), "1969-12-31 23:59:59");
        assert!(!show_time(i64::MAX).is_empty() && !show_time(i64::MIN).is_empty());
    }
}
