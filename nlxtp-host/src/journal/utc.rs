//! Moments by the host's clock.

#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::calendar::{DAY, civil, days_since_1970};

/// A moment by the host's clock, in UTC, to the microsecond: `2026-11-27T13:45:06.000125Z`, the form
/// that RFC 3339 gives it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utc {
    /// Microseconds since 1970.
    micros: i64,
}

/// The text is not a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time: YYYY-MM-DDThh:mm:ss.ffffffZ is expected")]
pub struct InvalidTime;

const MICROS: i64 = 1_000_000;

impl Utc {
    /// This moment.
    pub fn now() -> Self {
        let now = SystemTime::now();
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let micros = now.duration_since(UNIX_EPOCH).map_or_else(|before| -micros(before.duration()), micros);
        Self { micros: micros.clamp(Self::FIRST, Self::LAST) }
    }

    /// Years have four digits.
    const FIRST: i64 = -62_167_219_200 * MICROS;
    const LAST: i64 = 253_402_300_800 * MICROS - 1;

    /// How long after another moment this one is; `None` where it is before.
    pub fn since(self, other: Self) -> Option<Duration> {
        u64::try_from(self.micros - other.micros).ok().map(Duration::from_micros)
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.micros.div_euclid(MICROS), self.micros.rem_euclid(MICROS));
        let (year, month, day) = civil(seconds.div_euclid(DAY));
        let second = seconds.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

impl fmt::Debug for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Utc({self})")
    }
}

impl FromStr for Utc {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let bytes: &[u8; 27] = text.as_bytes().try_into().map_err(|_| InvalidTime)?;
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().try_fold(0_i64, |number, digit| {
                if digit.is_ascii_digit() { Ok(number * 10 + i64::from(digit - b'0')) } else { Err(InvalidTime) }
            })
        };
        let days = days_since_1970(number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let second = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
        let time = Self { micros: (days * DAY + second) * MICROS + number(20, 26)? };
        // Whatever is not in the calendar does not come back as itself.
        if time.to_string() == text { Ok(time) } else { Err(InvalidTime) }
    }
}

impl serde::Serialize for Utc {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Utc {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for text in [
            "1970-01-01T00:00:00.000000Z",
            "1969-12-31T23:59:59.999999Z",
            "2024-02-29T12:34:56.000125Z",
            "0000-01-01T00:00:00.000000Z",
            "9999-12-31T23:59:59.999999Z",
        ] {
            assert_eq!(text.parse::<Utc>().unwrap().to_string(), text);
        }
        let now = Utc::now();
        assert_eq!(now.to_string().parse(), Ok(now));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2024-02-30T12:34:56.000125Z",
            "2024-00-10T12:34:56.000125Z",
            "2024-99-10T12:34:56.000125Z",
            "2024-02-29T24:00:00.000000Z",
            "2024-02-29T12:34:60.000000Z",
            "2024-02-29 12:34:56.000125Z",
            "2024-02-29T12:34:56.00012+Z",
            "2024-02-29T12:34:56.000125+",
            "2024-02-29T12:34:56.00ä25Z",
        ] {
            assert_eq!(text.parse::<Utc>(), Err(InvalidTime), "{text}");
        }
    }

    #[test]
    fn differences() {
        let early: Utc = "1999-12-31T23:59:59.500000Z".parse().unwrap();
        let late: Utc = "2000-01-01T00:00:01.000000Z".parse().unwrap();
        assert_eq!(late.since(early), Some(Duration::from_millis(1500)));
        assert_eq!(early.since(late), None);
    }
}
