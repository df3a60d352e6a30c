//! FAT's time stamps and seconds since 1970.
//!
//! FAT stores a local time without its zone. This module takes it for UTC in
//! both directions: the host does not know the guest's zone, and a fixed rule
//! can be undone while a guess cannot.

use crate::calendar::{DAY, civil, days_since_1970};

/// 1980-01-01T00:00:00, the first moment that FAT can express.
pub(super) const FIRST: i64 = 315_532_800;
/// 2107-12-31T23:59:58, the last one.
pub(super) const LAST: i64 = 4_354_819_198;

/// A date and a time as they stand in a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Bits 0-4 day, 5-8 month, 9-15 years since 1980.
    pub date: u16,
    /// Bits 0-4 seconds / 2, 5-10 minutes, 11-15 hours.
    pub time: u16,
}

impl Stamp {
    /// The stamp for a moment, rounded down to two seconds and clamped to
    /// what FAT can express.
    pub fn from_unix(seconds: i64) -> Self {
        let seconds = seconds.clamp(FIRST, LAST);
        let (year, month, day) = civil(seconds.div_euclid(DAY));
        let of_day = seconds.rem_euclid(DAY);
        let date = ((year - 1980) << 9) | (month << 5) | day;
        let time = ((of_day / 3600) << 11) | ((of_day / 60 % 60) << 5) | (of_day % 60 / 2);
        // After the clamp both fit in 16 bits.
        Self { date: u16::try_from(date).unwrap_or_default(), time: u16::try_from(time).unwrap_or_default() }
    }

    /// Seconds since 1970, or `None` if no such moment exists.
    pub fn to_unix(self) -> Option<i64> {
        let (day, month) = (self.date & 31, self.date >> 5 & 15);
        let (second, minute, hour) = ((self.time & 31) * 2, self.time >> 5 & 63, self.time >> 11);
        if day == 0 || !(1..=12).contains(&month) || second > 59 || minute > 59 || hour > 23 {
            return None;
        }
        let year = 1980 + i64::from(self.date >> 9);
        let days = days_since_1970(year, i64::from(month), i64::from(day));
        // February 31 is not in the calendar: it does not come back as itself.
        if civil(days) != (year, i64::from(month), i64::from(day)) {
            return None;
        }
        Some(days * DAY + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(Stamp::from_unix(FIRST), Stamp { date: 0x21, time: 0 });
        assert_eq!(Stamp::from_unix(0), Stamp { date: 0x21, time: 0 });
        let last = Stamp { date: (127 << 9) | (12 << 5) | 31, time: (23 << 11) | (59 << 5) | 29 };
        assert_eq!(Stamp::from_unix(i64::MAX), last);
        assert_eq!(last.to_unix(), Some(LAST));
        // 2024-02-29T12:34:56
        let leap = Stamp::from_unix(1_709_210_096);
        assert_eq!(leap.date, (44 << 9) | (2 << 5) | 29);
        assert_eq!(leap.to_unix(), Some(1_709_210_096));
    }

    #[test]
    fn every_day_comes_back() {
        for seconds in (FIRST..LAST).step_by(86_400 - 2) {
            assert_eq!(Stamp::from_unix(seconds).to_unix(), Some(seconds));
            assert_eq!(Stamp::from_unix(seconds + 1).to_unix(), Some(seconds));
        }
    }

    #[test]
    fn nonsense_is_no_moment() {
        for (date, time) in [
            (0, 0),
            (0x20, 0),
            (0x01, 0),
            ((13 << 5) | 1, 0),
            ((2 << 5) | 31, 0),
            (0x21, 30),
            (0x21, 60 << 5),
            (0x21, 24 << 11),
        ] {
            assert_eq!(Stamp { date, time }.to_unix(), None, "{date:#x} {time:#x}");
        }
    }
}
