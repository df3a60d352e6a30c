//! The place of everything in a new file system.

use std::sync::Arc;

use super::error::FatError;
use super::format::FormatOptions;
use super::geometry::{FIRST_CLUSTER, Geometry};
use super::names::NameProblem;
use super::partition::partition_type;
use super::plan::{FileIndex, Node, NodeId, NodeKind, ROOT, clusters_of, in_clusters, path_of};
use super::short_names::{self, needs_long_name};
use super::slot::{ATTR_ARCHIVE, ATTR_DIRECTORY, ATTR_VOLUME_LABEL, SLOT_LEN, ShortEntry, encode_long_name};
use super::storage::WriteAt;
use super::time::Stamp;
use super::writer::{Target, Writer};

/// A file system that is decided but not written.
///
/// From the first cluster on, it holds the directories, then the files in the
/// order of the plan, each in one piece and without gaps.
#[derive(Debug)]
pub struct Layout {
    pub(super) geometry: Geometry,
    label: Option<[u8; 11]>,
    timestamp: i64,
    nodes: Vec<Node>,
    files: Vec<NodeId>,
    /// For each node, 0 if it has no cluster.
    first_clusters: Vec<u32>,
    /// Clusters of each chain, in the order of the disk.
    pub(super) runs: Vec<u32>,
    /// The first cluster that no directory uses.
    pub(super) first_file_cluster: u32,
    /// The first cluster that nothing uses.
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
    /// Places the nodes, which must fit in the geometry.
    pub(super) fn new(
        options: &FormatOptions,
        geometry: Geometry,
        nodes: Vec<Node>,
        files: Vec<NodeId>,
    ) -> Result<Self, FatError> {
        let mut layout = Self {
            label: options.has_label().then_some(options.label),
            timestamp: options.timestamp,
            first_clusters: vec![0; nodes.len()],
            runs: Vec::with_capacity(nodes.len()),
            first_file_cluster: FIRST_CLUSTER,
            first_free_cluster: FIRST_CLUSTER,
            geometry,
            nodes,
            files,
        };
        for id in 0..layout.nodes.len() {
            if layout.is_directory(id) {
                layout.place(id)?;
            }
        }
        layout.first_file_cluster = layout.first_free_cluster;
        for index in 0..layout.files.len() {
            if let Some(id) = layout.files.get(index).copied() {
                layout.place(id)?;
            }
        }
        Ok(layout)
    }

    /// Gives the next clusters to a node.
    fn place(&mut self, id: NodeId) -> Result<(), FatError> {
        let clusters = self.nodes.get(id).map_or(0, |node| clusters_of(id, node, &self.geometry));
        if clusters == 0 {
            return Ok(());
        }
        let first = self.first_free_cluster;
        // The plan has seen to it that they fit.
        let run = u32::try_from(clusters).ok();
        let next = run.and_then(|run| first.checked_add(run));
        let (Some(run), Some(next)) = (run, next) else {
            return Err(FatError::BadGeometry {
                reason: "the content has more clusters than FAT can count".to_owned(),
            });
        };
        self.runs.push(run);
        self.first_free_cluster = next;
        if let Some(place) = self.first_clusters.get_mut(id) {
            *place = first;
        }
        Ok(())
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
        u64::from(self.free_clusters()) * u64::from(self.geometry.cluster_size())
    }

    pub(super) fn free_clusters(&self) -> u32 {
        let used = self.first_free_cluster - FIRST_CLUSTER;
        self.geometry.cluster_count.saturating_sub(used)
    }

    /// Number of files.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// A file of the plan.
    #[must_use]
    pub fn file(&self, index: FileIndex) -> Option<PlannedFile> {
        let id = *self.files.get(index.0)?;
        let size = self.file_size(index)?;
        let first = *self.first_clusters.get(id)?;
        Some(PlannedFile { path: path_of(&self.nodes, id), size, offset: self.geometry.cluster_offset(first) })
    }

    /// All files, in the order in which their data must be written.
    pub fn files(&self) -> impl Iterator<Item = PlannedFile> + '_ {
        (0..self.files.len()).filter_map(|index| self.file(FileIndex(index)))
    }

    pub(super) fn file_size(&self, index: FileIndex) -> Option<u32> {
        let id = self.files.get(index.0)?;
        match self.nodes.get(*id)?.kind {
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

    fn is_directory(&self, id: NodeId) -> bool {
        let node = self.nodes.get(id);
        node.is_some_and(|node| matches!(node.kind, NodeKind::Directory { .. }))
    }

    /// The directories that lie in clusters, in the order of the disk.
    pub(super) fn directories(&self) -> impl Iterator<Item = NodeId> + '_ {
        (0..self.nodes.len()).filter(|id| self.is_directory(*id) && in_clusters(*id, &self.geometry))
    }

    /// The slots of a directory, without the free ones at its end.
    pub(super) fn directory_bytes(&self, id: NodeId) -> Result<Vec<u8>, FatError> {
        let mut bytes = Vec::new();
        let Some(node) = self.nodes.get(id) else {
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
        let entries = children.iter().filter_map(|child| Some((*child, self.nodes.get(*child)?)));
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
            return Err(FatError::BadName { name: path_of(&self.nodes, id), problem: NameProblem::TooLong });
        }
        Ok(bytes)
    }

    fn first_cluster(&self, id: NodeId) -> u32 {
        self.first_clusters.get(id).copied().unwrap_or(0)
    }

    pub(super) fn path_of_file(&self, index: FileIndex) -> String {
        let id = self.files.get(index.0).copied().unwrap_or(ROOT);
        path_of(&self.nodes, id)
    }
}

fn slot(name: [u8; 11], attributes: u8, modified: i64, first_cluster: u32, size: u32) -> [u8; SLOT_LEN] {
    ShortEntry { name, attributes, case: 0, modified: Stamp::from_unix(modified), first_cluster, size }.encode()
}
