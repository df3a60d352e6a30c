//! Files of a shared directory that stay open from one status query to the next.
//!
//! A kept handle was found as any other is: beneath the shared directory, through no link and no
//! mount, and opened only after it had proved to be a regular file. To read from it is therefore as
//! safe later as it was then, whatever the guest has done to names meanwhile. What must be found out
//! at each look is whether the names still lead to it:
//!
//! - A directory whose time of change is the same as when its names were looked at, and was old enough
//!   then (see `change_time.rs`), has the same names.
//! - Else a file whose own time of change is the same, and was old enough, has the same names: to move
//!   or remove it, or to put another one in its place, changes that time too. This is known of the file
//!   systems of [`Keeper::Kernel`] only.
//! - Otherwise, and every ten seconds in any case, each name is looked at: without following links,
//!   without opening anything, and by the directory's handle. A file that is not the kept one is
//!   found anew, with all the care of the first time.
//!
//! A file that is mounted over itself is the one thing that this does not notice.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Instant;

use nix::sys::stat::{FileStat, fstat, stat};
use rextfv_core::layout;

use super::beneath::{Directory, Identity};
use super::change_time::{Keeper, LONGEST_TRUST, Stamp};

/// Handles that are kept at most: three files and two directories.
pub(super) const MOST_HANDLES: usize = 5;

/// Handles of what a status query reads, as far as they were found.
#[derive(Debug, Default)]
pub(super) struct KeptFiles {
    /// The shared directory.
    root: Option<(Directory, Identity)>,
    /// At its top.
    top: Names,
    run_id: Option<KeptFile>,
    status: Option<StatusDirectory>,
    /// Of the times of all that is kept: no mount is crossed.
    keeper: Option<Keeper>,
}

#[derive(Debug)]
struct KeptFile {
    file: File,
    identity: Identity,
    /// The file's own.
    names: Names,
}

#[derive(Debug)]
struct StatusDirectory {
    handle: Directory,
    identity: Identity,
    names: Names,
    slots: [Option<KeptFile>; 2],
}

/// What tells whether the names in a directory, or those of a file, are still what they were when they were
/// looked at.
#[derive(Debug, Default)]
struct Names {
    trusted: Option<(Stamp, Instant)>,
}

impl Names {
    fn are_unchanged(&self, stamp: Stamp, now: Instant) -> bool {
        let is_fresh = |since| now.saturating_duration_since(since) < LONGEST_TRUST;
        self.trusted.is_some_and(|(trusted, since)| trusted == stamp && is_fresh(since))
    }

    /// Names were looked at since their directory or file had this stamp, in the look that began `now`.
    fn trust(&mut self, stamp: Stamp, keeper: Keeper, now: Instant) {
        self.trusted = stamp.is_settled(keeper).then_some((stamp, now));
    }
}

impl KeptFile {
    fn new(file: File, status: &FileStat) -> Self {
        Self { file, identity: status.into(), names: Names::default() }
    }

    /// Whether a name that led to it still does, which `look` finds out.
    fn is_still_found(&mut self, keeper: Keeper, now: Instant, look: impl FnOnce() -> io::Result<FileStat>) -> bool {
        // To look at an open file costs half as much as to look at a name.
        if self.names.trusted.is_some()
            && fstat(&self.file).is_ok_and(|status| self.names.are_unchanged(Stamp::from(&status), now))
        {
            return true;
        }
        let Some(found) = look().ok().filter(|found| Identity::from(found) == self.identity) else { return false };
        if keeper == Keeper::Kernel {
            self.names.trust(Stamp::from(&found), keeper, now);
        }
        true
    }
}

impl KeptFiles {
    /// Begins a look at the shared directory at this path of the host: closes what its name no longer
    /// leads to. Returns whether anything is kept; if so, no upload waits to be completed.
    pub fn refresh(&mut self, root: &Path) -> bool {
        let is_kept = (self.run_id.is_some() || self.status.is_some()) && self.look(root).is_some();
        if !is_kept {
            *self = Self::default();
        }
        is_kept
    }

    /// `None` where all must be found anew.
    fn look(&mut self, root: &Path) -> Option<()> {
        let status = stat(root).ok()?;
        let (handle, _) = self.root.as_ref().filter(|(_, identity)| *identity == Identity::from(&status))?;
        let (stamp, now) = (Stamp::from(&status), Instant::now());
        let keeper = self.keeper.unwrap_or(Keeper::Unknown);
        let mut status_directory = None;
        if !self.top.are_unchanged(stamp, now) {
            if !handle.lacks(layout::STAGING_DIRECTORY.as_bytes()) {
                return None;
            }
            let run_id = || handle.status_of(layout::RUN_ID.as_bytes());
            self.run_id.take_if(|kept| !kept.is_still_found(keeper, now, run_id));
            self.status.take_if(|kept| {
                status_directory = handle.status_of(layout::STATUS_DIRECTORY.as_bytes()).ok();
                status_directory.as_ref().map(Identity::from) != Some(kept.identity)
            });
            self.top.trust(stamp, keeper, now);
        }
        if let Some(status) = &mut self.status {
            status.refresh(status_directory, keeper, now);
        }
        Some(())
    }

    /// The handle of the file at this path, if it is kept.
    pub fn get(&self, path: &[u8]) -> Option<&File> {
        let kept = if path == layout::RUN_ID.as_bytes() {
            self.run_id.as_ref()
        } else {
            self.status.as_ref()?.slots[slot(path)?].as_ref()
        };
        kept.map(|kept| &kept.file)
    }

    /// Keeps a file that was just found at this path beneath `root`, if it is one that a status query
    /// reads.
    pub fn put(&mut self, root: &Directory, path: &[u8], file: File, status: &FileStat) {
        if self.root.is_none() {
            let pin = || Ok::<_, io::Error>((root.pin(b".")?, Identity::from(&root.status()?)));
            self.root = pin().ok();
        }
        let kept = KeptFile::new(file, status);
        let keeper = *self.keeper.get_or_insert_with(|| Keeper::of(root.as_fd()));
        if path == layout::RUN_ID.as_bytes() {
            self.run_id = Some(kept);
            self.top = Names::default();
        } else if let Some(slot) = slot(path) {
            if self.status.is_none() {
                self.status = StatusDirectory::find(root);
                self.top = Names::default();
            }
            if let Some(directory) = &mut self.status {
                directory.slots[slot] = Some(kept);
                // It may have been found in another directory than the one that is held.
                directory.names = Names::default();
                directory.refresh(None, keeper, Instant::now());
            }
        }
    }
}

impl StatusDirectory {
    fn find(root: &Directory) -> Option<Self> {
        let handle = root.pin(layout::STATUS_DIRECTORY.as_bytes()).ok()?;
        let identity = Identity::from(&handle.status().ok()?);
        Some(Self { handle, identity, names: Names::default(), slots: [None, None] })
    }

    /// `found` is what it is, where that was just looked at.
    fn refresh(&mut self, found: Option<FileStat>, keeper: Keeper, now: Instant) {
        let Ok(status) = found.map_or_else(|| self.handle.status(), Ok) else {
            self.slots = [None, None];
            return;
        };
        let stamp = Stamp::from(&status);
        if self.names.are_unchanged(stamp, now) {
            return;
        }
        for (kept, path) in self.slots.iter_mut().zip(layout::STATUS_SLOTS) {
            let name = path.rsplit('/').next().unwrap_or(path);
            let look = || self.handle.status_of(name.as_bytes());
            kept.take_if(|kept| !kept.is_still_found(keeper, now, look));
        }
        self.names.trust(stamp, keeper, now);
    }
}

fn slot(path: &[u8]) -> Option<usize> {
    layout::STATUS_SLOTS.iter().position(|slot| slot.as_bytes() == path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    use nix::sys::stat::lstat;

    use super::*;

    type Change = fn(&Path, &Path);

    /// What gives the name of a file to another one, or to none.
    const CHANGES: [(&str, Change); 6] = [
        ("moved away", |name, other| fs::rename(name, other).unwrap()),
        ("replaced", |name, other| fs::rename(other, name).unwrap()),
        ("exchanged", |name, other| {
            renameat2(AT_FDCWD, name, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE).unwrap();
        }),
        ("moved away and back", |name, other| {
            fs::rename(name, other).unwrap();
            fs::rename(other, name).unwrap();
        }),
        ("removed", |name, _| fs::remove_file(name).unwrap()),
        ("removed, with another name left", |name, other| {
            fs::remove_file(other).unwrap();
            fs::hard_link(name, other).unwrap();
            fs::remove_file(name).unwrap();
        }),
    ];

    #[test]
    fn a_file_that_loses_its_name_is_not_trusted() {
        let scratch = tempfile::tempdir().unwrap();
        let keeper = Keeper::of(File::open(scratch.path()).unwrap());
        let mut all = CHANGES.map(|(change, make)| {
            let name = scratch.path().join(change);
            let other = scratch.path().join(format!("{change}, other"));
            fs::write(&name, b"kept").unwrap();
            fs::write(&other, b"other").unwrap();
            let file = File::open(&name).unwrap();
            let kept = KeptFile::new(file, &lstat(&name).unwrap());
            (change, make, name, other, kept)
        });
        for (change, make, name, other, kept) in &mut all {
            let look = || lstat(&*name).map_err(io::Error::from);
            let is_trusted = |kept: &mut KeptFile| {
                let mut looked = false;
                assert!(kept.is_still_found(keeper, Instant::now(), || {
                    looked = true;
                    look()
                }));
                !looked
            };
            // Until its time is old enough.
            while keeper == Keeper::Kernel && !is_trusted(kept) {
                std::thread::sleep(Duration::from_millis(5));
            }
            make(name, other);
            let is_still = look().is_ok_and(|now| Identity::from(&now) == kept.identity);
            assert_eq!(kept.is_still_found(keeper, Instant::now(), look), is_still, "{change}");
        }
    }
}
