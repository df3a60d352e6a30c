//! When a file or directory last changed, and whether the next change will show in that.
//!
//! The time of change (`ctime`) of a file follows each write to it, and that of a directory each change
//! of its names. Nobody can set it but by setting the host's clock. Two things keep it from telling all:
//!
//! - It is as coarse as the file system keeps it. Only a change that is older than that for sure is
//!   told from the next one.
//! - A write through a mapping of the file (`mmap`) shows when its page is first written to after the
//!   system has flushed it. Guests' disks and our own guest's files are not written so, but nothing
//!   forbids it. Whatever is concluded from an unchanged time is therefore trusted for some seconds
//!   only.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::stat::FileStat;
use nix::sys::statfs::{self, fstatfs};

use super::beneath::Identity;

/// How long what does not seem to have changed is taken for unchanged without being looked at.
pub(crate) const LONGEST_TRUST: Duration = Duration::from_secs(10);

/// How old the last change must be for the next one to have another time: on any file system, and on
/// those of this kernel that keep more than whole seconds. Their clock is the kernel's tick, 10 ms at
/// most.
const COARSEST: Duration = Duration::from_secs(3);
const FINE: Duration = Duration::from_millis(100);

/// Times that are multiples of so many nanoseconds may be kept no finer than that.
const ODD: i64 = 1_000_000;

/// Whose clock a file system's times come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// This kernel's, and every change goes through this kernel.
    Kernel,
    /// Somebody else's, perhaps: a network's, a guest's, a process's.
    Unknown,
}

impl Keeper {
    /// That of the file system of this file.
    pub fn of(file: impl AsFd) -> Self {
        const LOCAL: [statfs::FsType; 5] = [
            statfs::EXT4_SUPER_MAGIC,
            statfs::XFS_SUPER_MAGIC,
            statfs::BTRFS_SUPER_MAGIC,
            statfs::F2FS_SUPER_MAGIC,
            statfs::TMPFS_MAGIC,
        ];
        let local = fstatfs(file).is_ok_and(|found| LOCAL.contains(&found.filesystem_type()));
        if local { Self::Kernel } else { Self::Unknown }
    }
}

/// Something that can change, and when it last did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub identity: Identity,
    /// Seconds and nanoseconds since 1970.
    pub changed: (i64, i64),
}

impl From<&FileStat> for Stamp {
    fn from(status: &FileStat) -> Self {
        Self { identity: status.into(), changed: (status.st_ctime, status.st_ctime_nsec) }
    }
}

impl Stamp {
    /// Whether any change from now on gives another stamp.
    pub fn is_settled(&self, keeper: Keeper) -> bool {
        SystemTime::now().duration_since(UNIX_EPOCH).is_ok_and(|now| self.is_settled_at(now, keeper))
    }

    fn is_settled_at(&self, now: Duration, keeper: Keeper) -> bool {
        let (Ok(seconds), Ok(nanoseconds)) = (self.changed.0.try_into(), self.changed.1.try_into()) else {
            return false;
        };
        let is_fine = keeper == Keeper::Kernel && self.changed.1 % ODD != 0;
        let changed = Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds);
        now.checked_sub(changed).is_some_and(|age| age > if is_fine { FINE } else { COARSEST })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use nix::sys::stat::stat;

    use super::*;

    fn settles(nanoseconds: i64, age: Duration, keeper: Keeper) -> bool {
        let changed = (1_700_000_000, nanoseconds);
        let stamp = Stamp { changed, ..Stamp::from(&stat("/").unwrap()) };
        let since = Duration::from_secs(1_700_000_000) + Duration::from_nanos(nanoseconds.try_into().unwrap());
        stamp.is_settled_at(since + age, keeper)
    }

    #[test]
    fn a_change_settles_once_the_next_has_another_time_for_sure() {
        let (soon, later) = (Duration::from_millis(101), Duration::from_millis(3001));
        assert!(settles(123_456_789, soon, Keeper::Kernel));
        assert!(!settles(123_456_789, Duration::from_millis(100), Keeper::Kernel));
        // Whole seconds, or thousandths, may be all that is kept.
        for nanoseconds in [0, 120_000_000, 123_000_000] {
            assert!(!settles(nanoseconds, soon, Keeper::Kernel));
            assert!(settles(nanoseconds, later, Keeper::Kernel));
        }
        // Another computer's clock may be behind.
        assert!(!settles(123_456_789, soon, Keeper::Unknown));
        assert!(settles(123_456_789, later, Keeper::Unknown));
    }

    #[test]
    fn a_time_to_come_never_settles() {
        let stamp = Stamp { changed: (i64::MAX, 1), ..Stamp::from(&stat("/").unwrap()) };
        assert!(!stamp.is_settled(Keeper::Kernel));
        let stamp = Stamp { changed: (-1, 1), ..stamp };
        assert!(!stamp.is_settled(Keeper::Kernel));
    }

    #[test]
    fn a_write_to_a_settled_file_always_shows() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        fs::write(&path, b"0").unwrap();
        let keeper = Keeper::of(File::open(&path).unwrap());
        for content in 1..20 {
            let stamp = loop {
                let stamp = Stamp::from(&stat(&path).unwrap());
                if stamp.is_settled(keeper) {
                    break stamp;
                }
                std::thread::sleep(Duration::from_millis(5));
            };
            let file = File::options().write(true).open(&path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &[content], 0).unwrap();
            assert_ne!(Stamp::from(&stat(&path).unwrap()), stamp);
            if keeper == Keeper::Unknown {
                return;
            }
        }
    }
}
