//! Visiting a whole tree, without recursion and with bounds.

use std::collections::HashSet;
use std::vec;

use super::directory::{Directory, Entry, LeftOut, Start};
use super::error::{Damage, FatError};
use super::storage::ReadAt;
use super::volume::FatVolume;

/// Something found on a [`Walk`].
#[derive(Clone, Debug)]
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
}

/// An iterator over everything below a directory; see [`FatVolume::walk`].
///
/// After an error it ends: what a contradictory volume contains cannot be
/// said. Each directory is entered once; a second way to it is
/// [`Damage::SharedDirectory`]. Files and directories that together are larger
/// than the volume must share clusters, which is [`Damage::SharedClusters`]; so
/// the data of a walk are bounded by the volume.
#[derive(Debug)]
pub struct Walk<'v, S> {
    volume: &'v FatVolume<S>,
    /// The directory to be read next.
    next: Option<Directory>,
    /// The path that [`Walk::next`] belongs to, and where we are.
    path: String,
    levels: Vec<Level>,
    visited: HashSet<Directory>,
    entries: usize,
    /// Clusters that everything found so far claims.
    claimed: u64,
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
        let mut visited = HashSet::new();
        // Also for a walk that begins further down: the way up is no child.
        visited.insert(volume.root());
        Self {
            volume,
            next: Some(directory),
            path: String::new(),
            levels: Vec::new(),
            visited,
            entries: 0,
            claimed: 0,
        }
    }

    fn step(&mut self) -> Result<Option<WalkItem>, FatError> {
        if let Some(directory) = self.next.take() {
            self.enter(directory)?;
        }
        loop {
            let Some(level) = self.levels.last_mut() else {
                return Ok(None);
            };
            self.path.truncate(level.path_len);
            if let Some(left_out) = level.left_out.next() {
                let directory = self.path.clone();
                return Ok(Some(WalkItem::LeftOut {
                    directory,
                    left_out,
                }));
            }
            if let Some(entry) = level.entries.next() {
                return self.visit(entry).map(Some);
            }
            self.levels.pop();
        }
    }

    fn enter(&mut self, directory: Directory) -> Result<(), FatError> {
        if !self.visited.insert(directory) && directory != self.volume.root() {
            let cluster = match directory.0 {
                Start::FixedRoot => 0,
                Start::Cluster(cluster) => cluster,
            };
            let damage = Damage::SharedDirectory { cluster };
            return Err(FatError::damaged(damage, format!("'{}'", self.path)));
        }
        let limits = self.volume.limits();
        if self.levels.len() > limits.max_depth {
            return Err(self.limit("directories in each other", limits.max_depth));
        }
        let mut listing = self.volume.read_dir(directory)?;
        self.claim(listing.clusters)?;
        // Counted before they are visited: they are in memory now.
        self.entries = self
            .entries
            .saturating_add(listing.entries.len())
            .saturating_add(listing.left_out.len());
        if self.entries > limits.max_entries {
            return Err(self.limit("entries", limits.max_entries));
        }
        listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
        self.levels.push(Level {
            path_len: self.path.len(),
            left_out: listing.left_out.into_iter(),
            entries: listing.entries.into_iter(),
        });
        Ok(())
    }

    fn visit(&mut self, entry: Entry) -> Result<WalkItem, FatError> {
        if !self.path.is_empty() {
            self.path.push('/');
        }
        self.path.push_str(&entry.name);
        let limits = self.volume.limits();
        if self.path.len() > limits.max_path_len {
            return Err(self.limit("bytes in a path", limits.max_path_len));
        }
        if let Some(directory) = entry.directory() {
            if directory == self.volume.root() {
                let cluster = entry.first_cluster;
                let damage = Damage::SharedDirectory { cluster };
                return Err(FatError::damaged(damage, format!("'{}'", self.path)));
            }
            self.next = Some(directory);
        } else {
            let geometry = self.volume.geometry();
            let clusters = entry.size.div_ceil(geometry.cluster_size());
            self.claim(u64::from(clusters))?;
        }
        Ok(WalkItem::Entry {
            path: self.path.clone(),
            entry,
        })
    }

    fn claim(&mut self, clusters: u64) -> Result<(), FatError> {
        self.claimed = self.claimed.saturating_add(clusters);
        if self.claimed > u64::from(self.volume.geometry().cluster_count()) {
            let place = format!("up to '{}'", self.path);
            return Err(FatError::damaged(Damage::SharedClusters, place));
        }
        Ok(())
    }

    fn limit(&self, what: &'static str, limit: usize) -> FatError {
        FatError::Limit {
            what,
            limit: limit as u64,
            place: format!("'{}'", self.path),
        }
    }
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
