//! The place of everything in a new file system.

use std::sync::Arc;

use super::error::FatError;
use super::format::FormatOptions;
use super::geometry::{FIRST_CLUSTER, FatType, Geometry};
use super::names::NameProblem;
use super::partition::partition_type;
use super::short_names::{self, needs_long_name};
use super::slot::{ATTR_ARCHIVE, ATTR_DIRECTORY, ATTR_VOLUME_LABEL, SLOT_LEN, ShortEntry, encode_long_name};
use super::storage::WriteAt;
use super::time::Stamp;
use super::tree::{FileIndex, NodeId, NodeKind, ROOT, Tree};
use super::writer::{Target, Writer};

/// The shape of a file system and the place of what it holds, which is decided but not written.
///
/// From the first cluster on, it holds the files in the order in which they were added, each in one
/// piece and without gaps, then the directories. Only the root directory of FAT32 begins with the
/// first cluster of all, and goes on, if it is larger, behind the files.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(super) geometry: Geometry,
    label: Option<[u8; 11]>,
    timestamp: i64,
    tree: Tree,
    /// Clusters of each chain, in the order of the disk.
    pub(super) runs: Vec<u32>,
    /// Where the root directory goes on behind its first cluster.
    pub(super) root_rest: Option<u32>,
    /// The first cluster that has no place in a chain yet.
    pub(super) first_free_cluster: u32,
}

/// A file of a [`Layout`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedFile {
    /// Its path, divided by `/`.
    pub path: String,
    /// Its size in bytes.
    pub size: u32,
    /// Where its data begin, counted from the boot sector; `None` if empty.
    pub offset: Option<u64>,
}

impl Layout {
    /// Places the files of a tree, which must fit in the geometry.
    pub(super) fn new(options: &FormatOptions, geometry: Geometry, tree: Tree) -> Result<Self, FatError> {
        let mut layout = Self {
            label: options.has_label().then_some(options.label),
            timestamp: options.timestamp,
            runs: Vec::with_capacity(tree.nodes().len()),
            root_rest: None,
            first_free_cluster: FIRST_CLUSTER,
            geometry,
            tree,
        };
        layout.tree.set_cluster_size(layout.geometry.cluster_size());
        if layout.has_root_cluster() {
            layout.take_clusters(1)?;
        }
        for index in 0..layout.tree.files().len() {
            layout.place_file(FileIndex(index))?;
        }
        Ok(layout)
    }

    /// Adds a directory as [`Plan::add_directory`](super::Plan::add_directory) does, if it fits.
    pub(super) fn add_directory(&mut self, path: &str, modified: i64) -> Result<(), FatError> {
        self.tree.add_directory(path, modified)?;
        self.check_room(0)
    }

    /// Adds a file as [`Plan::add_file`](super::Plan::add_file) does, if it fits.
    pub(super) fn add_file(&mut self, path: &str, size: u64, modified: i64) -> Result<FileIndex, FatError> {
        let index = self.tree.add_file(path, size, modified)?;
        self.check_room(size.div_ceil(u64::from(self.geometry.cluster_size())))?;
        self.place_file(index)?;
        Ok(index)
    }

    /// Whether so many clusters can be had beside what is there and the directories.
    fn check_room(&self, clusters: u64) -> Result<(), FatError> {
        let geometry = &self.geometry;
        let used = u64::from(self.first_free_cluster - FIRST_CLUSTER) + clusters + self.tree.directory_clusters();
        let used = used + self.root_clusters().saturating_sub(1);
        let missing_slots = match geometry.fat_type {
            FatType::Fat32 => 0,
            _ => self.tree.root_slots().saturating_sub(geometry.root_entries),
        };
        if used <= u64::from(geometry.cluster_count) && missing_slots == 0 {
            return Ok(());
        }
        let needed = geometry.metadata_bytes() + used * u64::from(geometry.cluster_size());
        let needed = needed.max(geometry.total_bytes()) + u64::from(missing_slots) * SLOT_LEN as u64;
        Err(FatError::TooSmall { needed, available: geometry.total_bytes() })
    }

    /// Places the directories, behind the last file.
    pub(super) fn place_directories(&mut self) -> Result<(), FatError> {
        if let Some(more @ 1..) = self.root_clusters().checked_sub(1) {
            self.root_rest = Some(self.take_clusters(more)?);
        }
        let directories: Vec<NodeId> = self.tree.directories().collect();
        for id in directories {
            self.place(id)?;
        }
        Ok(())
    }

    fn has_root_cluster(&self) -> bool {
        self.geometry.fat_type == FatType::Fat32
    }

    /// Clusters of the root directory.
    fn root_clusters(&self) -> u64 {
        let root = self.tree.node(ROOT).filter(|_| self.has_root_cluster());
        root.map_or(0, |root| root.kind.clusters(self.geometry.cluster_size()))
    }

    fn place_file(&mut self, index: FileIndex) -> Result<(), FatError> {
        self.tree.files().get(index.0).copied().map_or(Ok(()), |id| self.place(id))
    }

    /// Gives the next clusters to a node.
    fn place(&mut self, id: NodeId) -> Result<(), FatError> {
        let cluster_size = self.geometry.cluster_size();
        let clusters = self.tree.node(id).map_or(0, |node| node.kind.clusters(cluster_size));
        if clusters > 0 {
            let first = self.take_clusters(clusters)?;
            if let Some(node) = self.tree.node_mut(id) {
                node.first_cluster = first;
            }
        }
        Ok(())
    }

    /// Takes the next clusters for one chain, and returns the first.
    fn take_clusters(&mut self, clusters: u64) -> Result<u32, FatError> {
        let first = self.first_free_cluster;
        // It was seen to that they fit.
        let run = u32::try_from(clusters).ok();
        let next = run.and_then(|run| first.checked_add(run));
        let (Some(run), Some(next)) = (run, next) else {
            return Err(FatError::BadGeometry {
                reason: "the content has more clusters than FAT can count".to_owned(),
            });
        };
        self.runs.push(run);
        self.first_free_cluster = next;
        Ok(first)
    }

    /// The shape of the file system.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The type byte for the partition table.
    #[must_use]
    pub fn partition_type(&self) -> u8 {
        partition_type(self.geometry.fat_type)
    }

    /// Bytes in clusters that nothing uses.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let clusters = clusters_needed(&self.tree, &self.geometry);
        u64::from(self.geometry.cluster_count).saturating_sub(clusters) * u64::from(self.geometry.cluster_size())
    }

    /// Clusters behind all that has its place.
    pub(super) fn free_clusters(&self) -> u32 {
        let used = self.first_free_cluster - FIRST_CLUSTER;
        self.geometry.cluster_count.saturating_sub(used)
    }

    /// Number of files.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.tree.files().len()
    }

    /// A file that was added.
    #[must_use]
    pub fn file(&self, index: FileIndex) -> Option<PlannedFile> {
        let id = *self.tree.files().get(index.0)?;
        let size = self.file_size(index)?;
        let first = self.first_cluster(id);
        Some(PlannedFile { path: self.tree.path_of(id), size, offset: self.geometry.cluster_offset(first) })
    }

    pub(super) fn find_file(&self, path: &str) -> Option<FileIndex> {
        self.tree.find_file(path)
    }

    /// All files, in the order in which their data must be written.
    pub fn files(&self) -> impl Iterator<Item = PlannedFile> + '_ {
        (0..self.file_count()).filter_map(|index| self.file(FileIndex(index)))
    }

    pub(super) fn file_size(&self, index: FileIndex) -> Option<u32> {
        let id = self.tree.files().get(index.0)?;
        match self.tree.node(*id)?.kind {
            NodeKind::File { size } => Some(size),
            NodeKind::Directory { .. } => None,
        }
    }

    /// Begins to write the file system at `offset` of a storage.
    ///
    /// # Errors
    /// [`FatError::TooSmall`] if the storage ends before the file system does;
    /// [`FatError::Io`].
    pub fn writer<W: WriteAt>(
        self: &Arc<Self>,
        storage: W,
        offset: u64,
        target: Target,
    ) -> Result<Writer<W>, FatError> {
        Writer::new(Arc::clone(self), storage, offset, target)
    }

    /// The directories but for the root, in the order of the disk.
    pub(super) fn directories(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.tree.directories()
    }

    /// The slots of a directory, without the free ones at its end.
    pub(super) fn directory_bytes(&self, id: NodeId) -> Result<Vec<u8>, FatError> {
        let mut bytes = Vec::new();
        let Some(node) = self.tree.node(id) else {
            return Ok(bytes);
        };
        let NodeKind::Directory { children, slots } = &node.kind else {
            return Ok(bytes);
        };
        bytes.reserve_exact(*slots as usize * SLOT_LEN);
        if id == ROOT {
            if let Some(name) = self.label {
                bytes.extend(slot(name, ATTR_VOLUME_LABEL, self.timestamp, 0, 0));
            }
        } else {
            // The root directory is 0 here, even if it has a cluster (page 25).
            let upper = match node.parent {
                ROOT => 0,
                parent => self.first_cluster(parent),
            };
            let [this, above] = [*b".          ", *b"..         "];
            let attributes = ATTR_DIRECTORY;
            let first = self.first_cluster(id);
            bytes.extend(slot(this, attributes, node.modified, first, 0));
            bytes.extend(slot(above, attributes, node.modified, upper, 0));
        }
        let entries = children.iter().filter_map(|child| Some((*child, self.tree.node(*child)?)));
        let names = entries.clone().map(|(_, child)| child.name.as_str());
        for ((child, node), short) in entries.zip(short_names::assign(names)) {
            if needs_long_name(&node.name) {
                let units: Vec<u16> = node.name.encode_utf16().collect();
                encode_long_name(&units, &short, &mut bytes);
            }
            let (attributes, size) = match node.kind {
                NodeKind::Directory { .. } => (ATTR_DIRECTORY, 0),
                NodeKind::File { size } => (ATTR_ARCHIVE, size),
            };
            let first = self.first_cluster(child);
            bytes.extend(slot(short, attributes, node.modified, first, size));
        }
        // The clusters were counted before the slots were made.
        if bytes.len() != *slots as usize * SLOT_LEN {
            return Err(FatError::BadName { name: self.tree.path_of(id), problem: NameProblem::TooLong });
        }
        Ok(bytes)
    }

    fn first_cluster(&self, id: NodeId) -> u32 {
        self.tree.node(id).map_or(0, |node| node.first_cluster)
    }

    pub(super) fn path_of_file(&self, index: FileIndex) -> String {
        let id = self.tree.files().get(index.0).copied().unwrap_or(ROOT);
        self.tree.path_of(id)
    }
}

/// Clusters for all that is in a tree, which counts in clusters of this shape.
pub(super) fn clusters_needed(tree: &Tree, shape: &Geometry) -> u64 {
    let cluster_size = shape.cluster_size();
    let of = |id: NodeId| tree.node(id).map_or(0, |node| node.kind.clusters(cluster_size));
    let root = if shape.fat_type == FatType::Fat32 { of(ROOT) } else { 0 };
    root + tree.directory_clusters() + tree.files().iter().map(|id| of(*id)).sum::<u64>()
}

fn slot(name: [u8; 11], attributes: u8, modified: i64, first_cluster: u32, size: u32) -> [u8; SLOT_LEN] {
    ShortEntry { name, attributes, case: 0, modified: Stamp::from_unix(modified), first_cluster, size }.encode()
}
