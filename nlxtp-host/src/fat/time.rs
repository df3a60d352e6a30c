//! FAT's time stamps and seconds since 1970.
//!
//! FAT stores a local time without its zone. This module takes it for UTC in
//! both directions: the host does not know the guest's zone, and a fixed rule
//! can be undone while a guess cannot.

/// 1980-01-01T00:00:00, the first moment that FAT can express.
pub(super) const FIRST: i64 = 315_532_800;
/// 2107-12-31T23:59:58, the last one.
pub(super) const LAST: i64 = 4_354_819_198;

const DAY: i64 = 86_400;

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
        Self {
            date: u16::try_from(date).unwrap_or_default(),
            time: u16::try_from(time).unwrap_or_default(),
        }
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

/// Year, month and day of a number of days since 1970, in the Gregorian
/// calendar. Years are counted from March, so that the leap day is the last.
fn civil(days: i64) -> (i64, i64, i64) {
    // Days since 0000-03-01; one era is 400 years.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`civil`].
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(
            Stamp::from_unix(FIRST),
            Stamp {
                date: 0x21,
                time: 0
            }
        );
        assert_eq!(
            Stamp::from_unix(0),
            Stamp {
                date: 0x21,
                time: 0
            }
        );
        let last = Stamp {
            date: (127 << 9) | (12 << 5) | 31,
            time: (23 << 11) | (59 << 5) | 29,
        };
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
