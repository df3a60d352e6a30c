//! The tree that a new file system shall hold, as far as it is known before its data.

use std::sync::Arc;

use super::error::FatError;
use super::format::{FormatOptions, SECTOR};
use super::geometry::FIRST_CLUSTER;
use super::layout::{Layout, clusters_needed};
use super::tree::{FileIndex, Tree};

/// The directories and files of a file system that is to be built.
///
/// Paths are divided by `/`; empty components and `.` are skipped, so that
/// `./a//b/` is `a/b`. Directories that a path goes through are added with it,
/// and stay if the rest of the path is refused.
///
/// Names that only Windows reserves (`CON`, `NUL`) are accepted.
#[derive(Debug)]
pub struct Plan {
    options: FormatOptions,
    partition_len: u64,
    tree: Tree,
}

impl Plan {
    /// An empty tree for a partition of so many bytes.
    ///
    /// # Errors
    /// [`FatError::BadGeometry`] if the partition is larger than FAT can be
    /// (2 TiB).
    pub fn new(options: FormatOptions, partition_len: u64) -> Result<Self, FatError> {
        sectors(partition_len)?;
        let tree = Tree::new(options.timestamp, u32::from(options.has_label()));
        Ok(Self { options, partition_len, tree })
    }

    /// Adds a directory, modified at these seconds since 1970. For one that is
    /// there already, only the time is set.
    ///
    /// # Errors
    /// [`FatError::BadName`], [`FatError::Exists`] for a file of this name or a
    /// directory that differs in case, [`FatError::Limit`].
    pub fn add_directory(&mut self, path: &str, modified: i64) -> Result<(), FatError> {
        self.tree.add_directory(path, modified)
    }

    /// Adds a file of `size` bytes, modified at these seconds since 1970.
    ///
    /// # Errors
    /// [`FatError::BadName`], [`FatError::Exists`] if the name is taken,
    /// [`FatError::NotADirectory`] if the path goes through a file,
    /// [`FatError::Limit`] for 4 GiB or more and for a full directory.
    pub fn add_file(&mut self, path: &str, size: u64, modified: i64) -> Result<FileIndex, FatError> {
        self.tree.add_file(path, size, modified)
    }

    /// Number of files so far.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.tree.files().len()
    }

    /// Decides the shape of the file system and the place of everything in it.
    ///
    /// The usual shape for the size of the partition is taken, and if the tree
    /// does not fit in it, another that it fits in. More can be added to what
    /// fits while it is written; see [`Writer`](super::Writer).
    ///
    /// # Errors
    /// [`FatError::TooSmall`] if it fits in none; [`FatError::BadGeometry`] if
    /// the partition or the wishes in the options allow none.
    pub fn finish(mut self) -> Result<Arc<Layout>, FatError> {
        let sectors = sectors(self.partition_len)?;
        let shapes = self.options.shapes(sectors, self.tree.root_slots());
        let mut needed: Option<u64> = None;
        for shape in shapes {
            self.tree.set_cluster_size(shape.cluster_size());
            let clusters = clusters_needed(&self.tree, &shape);
            if clusters <= u64::from(shape.cluster_count) {
                return Layout::new(&self.options, shape, self.tree).map(Arc::new);
            }
            let bytes = shape.metadata_bytes() + clusters * u64::from(shape.cluster_size());
            needed = Some(needed.map_or(bytes, |least| least.min(bytes)));
        }
        match needed {
            Some(needed) => Err(FatError::TooSmall { needed, available: self.partition_len }),
            None => Err(FatError::BadGeometry {
                reason: format!("no FAT of the wanted kind has {} bytes", self.partition_len),
            }),
        }
    }
}

fn sectors(partition_len: u64) -> Result<u32, FatError> {
    let sectors = u32::try_from(partition_len / u64::from(SECTOR)).ok();
    // The last clusters of FAT32 have no number beyond this.
    sectors
        .filter(|sectors| *sectors < u32::MAX - FIRST_CLUSTER)
        .ok_or_else(|| FatError::BadGeometry { reason: format!("{partition_len} bytes are more than FAT can have") })
}
