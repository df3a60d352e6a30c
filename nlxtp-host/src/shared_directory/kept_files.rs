//! Files of a shared directory that stay open from one status query to the next.
//!
//! A kept handle was found as any other is: beneath the shared directory, through no link and no
//! mount, and opened only after it had proved to be a regular file. To read from it is therefore as
//! safe later as it was then, whatever the guest has done to names meanwhile. What must be found out
//! at each look is whether the names still lead to it:
//!
//! - A directory whose time of change is the same as when its names were looked at, and was old enough
//!   then (see `change_time.rs`), has the same names.
//! - Otherwise, and every ten seconds in any case, each name is looked at: without following links,
//!   without opening anything, and by the directory's handle. A file that is not the kept one is
//!   found anew, with all the care of the first time.
//!
//! A file that is mounted over itself is the one thing that this does not notice.

#![forbid(unsafe_code)]

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use nix::sys::stat::{FileStat, lstat, stat};
use rextfv_core::layout;

use super::beneath::{Directory, Identity};
use super::change_time::{Keeper, LONGEST_TRUST, Stamp};

/// Handles that are kept at most: three files and a directory.
pub(super) const MOST_HANDLES: usize = 4;

/// Handles of what a status query reads, as far as they were found.
#[derive(Debug, Default)]
pub(super) struct KeptFiles {
    /// At the top of the shared directory.
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
}

#[derive(Debug)]
struct StatusDirectory {
    handle: Directory,
    identity: Identity,
    names: Names,
    slots: [Option<KeptFile>; 2],
}

/// What tells whether the names in a directory are still those that were looked at.
#[derive(Debug, Default)]
struct Names {
    trusted: Option<(Stamp, Instant)>,
}

impl Names {
    fn are_unchanged(&self, stamp: Stamp) -> bool {
        self.trusted.is_some_and(|(trusted, since)| trusted == stamp && since.elapsed() < LONGEST_TRUST)
    }

    /// Names were looked at since the directory had this stamp.
    fn trust(&mut self, stamp: Stamp, keeper: Keeper) {
        self.trusted = stamp.is_settled(keeper).then(|| (stamp, Instant::now()));
    }
}

/// Whether a name leads to something else than what is kept.
fn differs<E>(kept: Identity, found: Result<FileStat, E>) -> bool {
    found.map_or(true, |status| Identity::from(&status) != kept)
}

impl KeptFiles {
    /// Begins a look at the shared directory at this path of the host: closes what its name no longer
    /// leads to. Returns whether anything is kept; if so, no upload waits to be completed.
    pub fn refresh(&mut self, root: &Path) -> bool {
        if self.run_id.is_none() && self.status.is_none() {
            return false;
        }
        let Ok(status) = stat(root) else {
            *self = Self::default();
            return false;
        };
        let stamp = Stamp::from(&status);
        let keeper = self.keeper.unwrap_or(Keeper::Unknown);
        if !self.top.are_unchanged(stamp) {
            if lstat(&root.join(layout::STAGING_DIRECTORY)) != Err(nix::Error::ENOENT) {
                *self = Self::default();
                return false;
            }
            self.run_id.take_if(|kept| differs(kept.identity, lstat(&root.join(layout::RUN_ID))));
            self.status.take_if(|kept| differs(kept.identity, lstat(&root.join(layout::STATUS_DIRECTORY))));
            self.top.trust(stamp, keeper);
        }
        if let Some(status) = &mut self.status {
            status.refresh(keeper);
        }
        true
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
        let kept = KeptFile { file, identity: status.into() };
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
                directory.refresh(keeper);
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

    fn refresh(&mut self, keeper: Keeper) {
        let Ok(status) = self.handle.status() else {
            self.slots = [None, None];
            return;
        };
        let stamp = Stamp::from(&status);
        if self.names.are_unchanged(stamp) {
            return;
        }
        for (kept, path) in self.slots.iter_mut().zip(layout::STATUS_SLOTS) {
            let name = path.rsplit('/').next().unwrap_or(path);
            kept.take_if(|kept| differs(kept.identity, self.handle.status_of(name.as_bytes())));
        }
        self.names.trust(stamp, keeper);
    }
}

fn slot(path: &[u8]) -> Option<usize> {
    layout::STATUS_SLOTS.iter().position(|slot| slot.as_bytes() == path)
}
