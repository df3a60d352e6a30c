//! When an upload without a run id is complete.
//!
//! A host that knows no run ids unpacks straight into the shared directory and tells nobody when
//! it is through. Such an upload is taken for complete when for a while no event came and the
//! whole tree stayed as it was.

#![forbid(unsafe_code)]

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// More entries than this are not looked at; the events still are.
const MAX_ENTRIES: usize = 100_000;

/// Deeper directories are not looked at.
const MAX_DEPTH: usize = 64;

/// Waits for an upload to become quiet.
#[derive(Debug)]
pub struct Settling {
    quiet_for: Duration,
    check_at: Instant,
    stamp: Option<u64>,
}

impl Settling {
    /// Begins to wait.
    pub fn begin(quiet_for: Duration, dir: &Path, now: Instant) -> Self {
        Self { quiet_for, check_at: now + quiet_for, stamp: Some(stamp(dir)) }
    }

    /// An event came: the upload is not complete.
    pub fn disturb(&mut self, now: Instant) {
        self.check_at = now + self.quiet_for;
        self.stamp = None;
    }

    /// When to ask the next time.
    pub fn check_at(&self) -> Instant {
        self.check_at
    }

    /// Whether the upload is complete.
    pub fn is_settled(&mut self, dir: &Path, now: Instant) -> bool {
        if now < self.check_at {
            return false;
        }
        let stamp = stamp(dir);
        let settled = self.stamp.replace(stamp) == Some(stamp);
        self.check_at = now + self.quiet_for;
        settled
    }
}

/// A number that changes when anything in the tree does.
fn stamp(dir: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut left = MAX_ENTRIES;
    take_in(dir, MAX_DEPTH, &mut left, &mut hasher);
    hasher.finish()
}

fn take_in(dir: &Path, depth: usize, left: &mut usize, hasher: &mut DefaultHasher) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let Some(rest) = left.checked_sub(1) else { return };
        *left = rest;
        // Of the entry itself, never of what a link points to.
        let Ok(meta) = entry.metadata() else { continue };
        let changed = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        (entry.file_name(), meta.ino(), meta.len(), meta.blocks(), changed).hash(hasher);
        if meta.is_dir() && depth > 0 {
            take_in(&entry.path(), depth - 1, left, hasher);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn quiet_is_settled_and_a_change_below_is_not_quiet() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        let start = Instant::now();
        let mut settling = Settling::begin(SECOND, dir.path(), start);
        assert!(!settling.is_settled(dir.path(), start));
        fs::write(dir.path().join("sub/file"), "x").unwrap();
        assert!(!settling.is_settled(dir.path(), start + SECOND));
        assert!(settling.is_settled(dir.path(), start + 2 * SECOND));
    }

    #[test]
    fn an_event_is_not_quiet() {
        let dir = tempfile::tempdir().unwrap();
        let start = Instant::now();
        let mut settling = Settling::begin(SECOND, dir.path(), start);
        settling.disturb(start + SECOND / 2);
        assert!(!settling.is_settled(dir.path(), start + SECOND));
        assert!(!settling.is_settled(dir.path(), start + 2 * SECOND), "what was before the event counts for nothing");
        assert!(settling.is_settled(dir.path(), start + 3 * SECOND));
    }
}
