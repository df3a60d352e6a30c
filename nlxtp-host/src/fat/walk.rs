//! Visiting a whole tree, without recursion and with bounds.

use std::collections::HashSet;
use std::vec;

use super::directory::{DirListing, Directory, Entry, LeftOut};
use super::error::{Damage, FatError};
use super::storage::ReadAt;
use super::volume::FatVolume;

/// Directories that may prove unreadable on one walk, attempts counted: each can cost as much as the
/// largest directory.
const MAX_FAILURES: u32 = 100;

/// Something found on a [`Walk`].
#[derive(Debug)]
#[non_exhaustive]
pub enum WalkItem {
    /// A file or directory. A directory comes before what is in it.
    Entry {
        /// The path from the directory where the walk began, divided by `/`.
        path: String,
        /// The entry.
        entry: Entry,
    },
    /// An entry that is not shown because of its name.
    LeftOut {
        /// The path of the directory that contains it; empty at the beginning
        /// of the walk.
        directory: String,
        /// The entry.
        left_out: LeftOut,
    },
    /// A directory below too many others, or an entry whose path is too long.
    TooDeep {
        /// The path.
        path: String,
    },
    /// An entry that contradicts the rest, or a directory that cannot be read.
    Unreadable {
        /// The path.
        path: String,
        /// What is wrong.
        error: FatError,
    },
}

/// An iterator over everything below a directory; see [`FatVolume::walk`].
///
/// What cannot be visited is told, and the walk goes on without it. Each directory is entered once;
/// a second way to it is [`Damage::SharedDirectory`]. Files and directories that together are larger
/// than the volume must share clusters; those met last are [`Damage::SharedClusters`]. So the data
/// of a walk are bounded by the volume.
///
/// After an error it ends: the storage failed, the first directory cannot be read, there are more
/// entries than [`ReadLimits::max_entries`](super::ReadLimits::max_entries), or reading directories
/// has failed more than 100 times.
#[derive(Debug)]
pub struct Walk<'v, S> {
    volume: &'v FatVolume<S>,
    next: Option<Next>,
    /// What could not be read last.
    failed: Option<Next>,
    failures: u32,
    /// Where we are.
    path: String,
    levels: Vec<Level>,
    visited: HashSet<Directory>,
    entries: usize,
    /// Clusters that everything found so far claims.
    claimed: u64,
}

/// What is to be visited before anything else.
#[derive(Debug)]
enum Next {
    /// The directory where the walk begins.
    Top(Directory),
    /// An entry of the innermost directory.
    Entry(Entry),
}

/// What is still to be visited in one directory.
#[derive(Debug)]
struct Level {
    path_len: usize,
    left_out: vec::IntoIter<LeftOut>,
    entries: vec::IntoIter<Entry>,
}

impl<'v, S: ReadAt> Walk<'v, S> {
    pub(super) fn new(volume: &'v FatVolume<S>, directory: Directory) -> Self {
        Self {
            volume,
            next: Some(Next::Top(directory)),
            failed: None,
            failures: 0,
            path: String::new(),
            levels: Vec::new(),
            visited: HashSet::from([volume.root()]),
            entries: 0,
            claimed: 0,
        }
    }

    /// Has the directory read again that the last item was about: a guest that is writing may have
    /// made it whole meanwhile. False, and nothing happens, if the last item was no directory that
    /// could not be read.
    pub fn again(&mut self) -> bool {
        let Some(failed) = self.failed.take() else { return false };
        self.volume.forget();
        self.next = Some(failed);
        true
    }

    fn step(&mut self) -> Result<Option<WalkItem>, FatError> {
        self.failed = None;
        match self.next.take() {
            Some(Next::Top(directory)) => match self.volume.read_dir(directory) {
                Ok(listing) => self.enter(directory, listing)?,
                Err(error) => {
                    self.count_failure(&error, Next::Top(directory));
                    return Err(error);
                }
            },
            Some(Next::Entry(entry)) => {
                self.path.truncate(self.levels.last().map_or(0, |level| level.path_len));
                return self.visit(entry).map(Some);
            }
            None => {}
        }
        loop {
            let Some(level) = self.levels.last_mut() else {
                return Ok(None);
            };
            self.path.truncate(level.path_len);
            if let Some(left_out) = level.left_out.next() {
                let directory = self.path.clone();
                return Ok(Some(WalkItem::LeftOut { directory, left_out }));
            }
            if let Some(entry) = level.entries.next() {
                return self.visit(entry).map(Some);
            }
            self.levels.pop();
        }
    }

    fn visit(&mut self, entry: Entry) -> Result<WalkItem, FatError> {
        if !self.path.is_empty() {
            self.path.push('/');
        }
        self.path.push_str(&entry.name);
        let path = self.path.clone();
        let limits = self.volume.limits();
        if path.len() > limits.max_path_len || (entry.is_dir && self.levels.len() > limits.max_depth) {
            return Ok(WalkItem::TooDeep { path });
        }
        let geometry = self.volume.geometry();
        // What a directory has is known when it was read.
        let least = if entry.is_dir { 1 } else { entry.size.div_ceil(geometry.cluster_size()) };
        let claimed = self.claimed.saturating_add(u64::from(least));
        if claimed > u64::from(geometry.cluster_count()) {
            return Ok(WalkItem::Unreadable { error: FatError::damaged(Damage::SharedClusters, at(&path)), path });
        }
        let Some(directory) = entry.directory() else {
            self.claimed = claimed;
            return Ok(WalkItem::Entry { path, entry });
        };
        if self.visited.contains(&directory) {
            let damage = Damage::SharedDirectory { cluster: entry.first_cluster };
            return Ok(WalkItem::Unreadable { error: FatError::damaged(damage, at(&path)), path });
        }
        match self.volume.read_dir(directory) {
            Ok(listing) => self.enter(directory, listing).map(|()| WalkItem::Entry { path, entry }),
            Err(error) if self.count_failure(&error, Next::Entry(entry)) => Ok(WalkItem::Unreadable { path, error }),
            Err(error) => Err(error),
        }
    }

    fn enter(&mut self, directory: Directory, mut listing: DirListing) -> Result<(), FatError> {
        self.visited.insert(directory);
        self.claimed = self.claimed.saturating_add(listing.clusters);
        // Counted before they are visited: they are in memory now.
        self.entries = self.entries.saturating_add(listing.entries.len()).saturating_add(listing.left_out.len());
        let limit = self.volume.limits().max_entries;
        if self.entries > limit {
            return Err(FatError::Limit { what: "entries", limit: limit as u64, place: at(&self.path) });
        }
        listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
        self.levels.push(Level {
            path_len: self.path.len(),
            left_out: listing.left_out.into_iter(),
            entries: listing.entries.into_iter(),
        });
        Ok(())
    }

    /// Whether the walk can go on, or be repeated, after a directory could not be read.
    fn count_failure(&mut self, error: &FatError, place: Next) -> bool {
        self.failures += 1;
        if matches!(error, FatError::Io(_)) || self.failures > MAX_FAILURES {
            return false;
        }
        self.failed = Some(place);
        true
    }
}

fn at(path: &str) -> String {
    format!("'{path}'")
}

impl<S: ReadAt> Iterator for Walk<'_, S> {
    type Item = Result<WalkItem, FatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.step();
        if result.is_err() {
            self.levels.clear();
        }
        result.transpose()
    }
}
