//! The tree that a new file system shall hold, known before its data.

use std::collections::HashMap;

use super::error::FatError;
use super::format::{FormatOptions, SECTOR};
use super::geometry::{FIRST_CLUSTER, FatType, Geometry};
use super::layout::Layout;
use super::names;
use super::short_names::slots_for;
use super::slot::{MAX_DIRECTORY_SLOTS, SLOT_LEN};

/// Which file of a [`Plan`], counted from 0 in the order in which they were
/// added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIndex(pub usize);

/// The number of a node; 0 is the root directory.
pub(super) type NodeId = usize;
pub(super) const ROOT: NodeId = 0;

/// One directory or file of the plan.
#[derive(Debug)]
pub(super) struct Node {
    pub name: String,
    pub parent: NodeId,
    pub modified: i64,
    pub kind: NodeKind,
}

#[derive(Debug)]
pub(super) enum NodeKind {
    Directory {
        children: Vec<NodeId>,
        /// Slots that its content takes.
        slots: u32,
    },
    File {
        size: u32,
    },
}

impl NodeKind {
    /// Bytes that must be stored in clusters.
    fn bytes(&self) -> u64 {
        match self {
            Self::Directory { slots, .. } => u64::from(*slots) * SLOT_LEN as u64,
            Self::File { size } => u64::from(*size),
        }
    }
}

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
    nodes: Vec<Node>,
    files: Vec<NodeId>,
    /// Nodes by parent and folded name.
    by_name: HashMap<(NodeId, String), NodeId>,
}

impl Plan {
    /// An empty tree for a partition of so many bytes.
    ///
    /// # Errors
    /// [`FatError::BadGeometry`] if the partition is larger than FAT can be
    /// (2 TiB).
    pub fn new(options: FormatOptions, partition_len: u64) -> Result<Self, FatError> {
        sectors(partition_len)?;
        let root = Node {
            name: String::new(),
            parent: ROOT,
            modified: options.timestamp,
            kind: NodeKind::Directory { children: Vec::new(), slots: u32::from(options.has_label()) },
        };
        Ok(Self { options, partition_len, nodes: vec![root], files: Vec::new(), by_name: HashMap::new() })
    }

    /// Adds a directory, modified at these seconds since 1970. For one that is
    /// there already, only the time is set.
    ///
    /// # Errors
    /// [`FatError::BadName`], [`FatError::Exists`] for a file of this name or a
    /// directory that differs in case, [`FatError::Limit`].
    pub fn add_directory(&mut self, path: &str, modified: i64) -> Result<(), FatError> {
        let mut node = ROOT;
        for name in components(path) {
            node = self.directory(node, name, modified)?;
        }
        // The root directory has no time of its own in FAT.
        if let Some(node) = self.nodes.get_mut(node) {
            node.modified = modified;
        }
        Ok(())
    }

    /// Adds a file of `size` bytes, modified at these seconds since 1970.
    ///
    /// # Errors
    /// [`FatError::BadName`], [`FatError::Exists`] if the name is taken,
    /// [`FatError::NotADirectory`] if the path goes through a file,
    /// [`FatError::Limit`] for 4 GiB or more and for a full directory.
    pub fn add_file(&mut self, path: &str, size: u64, modified: i64) -> Result<FileIndex, FatError> {
        let size = u32::try_from(size).map_err(|_| FatError::Limit {
            what: "bytes in a file of FAT",
            limit: u64::from(u32::MAX),
            place: format!("'{}'", names::escape(path)),
        })?;
        let mut parent = ROOT;
        let mut components = components(path).peekable();
        while let Some(name) = components.next() {
            if components.peek().is_some() {
                parent = self.directory(parent, name, self.options.timestamp)?;
                continue;
            }
            let key = (parent, names::fold(name));
            if let Some(other) = self.by_name.get(&key) {
                return Err(self.exists(parent, name, *other));
            }
            let node = self.add(key, name, modified, NodeKind::File { size })?;
            self.files.push(node);
            return Ok(FileIndex(self.files.len() - 1));
        }
        Err(FatError::BadName { name: names::escape(path), problem: names::NameProblem::Empty })
    }

    /// Number of files so far.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// The directory of this name, which is added if it is missing.
    fn directory(&mut self, parent: NodeId, name: &str, modified: i64) -> Result<NodeId, FatError> {
        let key = (parent, names::fold(name));
        if let Some(found) = self.by_name.get(&key).copied() {
            let node = self.nodes.get(found).filter(|node| node.name == name);
            return match node.map(|node| &node.kind) {
                Some(NodeKind::Directory { .. }) => Ok(found),
                Some(NodeKind::File { .. }) => Err(FatError::NotADirectory { path: path_of(&self.nodes, found) }),
                None => Err(self.exists(parent, name, found)),
            };
        }
        let kind = NodeKind::Directory {
            children: Vec::new(),
            // `.` and `..`
            slots: 2,
        };
        self.add(key, name, modified, kind)
    }

    fn add(&mut self, key: (NodeId, String), name: &str, modified: i64, kind: NodeKind) -> Result<NodeId, FatError> {
        let (parent, id) = (key.0, self.nodes.len());
        names::check_new(name).map_err(|problem| FatError::BadName { name: names::escape(name), problem })?;
        let added = slots_for(name);
        let directory = self.nodes.get_mut(parent).map(|node| &mut node.kind);
        let room = match directory {
            Some(NodeKind::Directory { children, slots }) if slots.saturating_add(added) <= MAX_DIRECTORY_SLOTS => {
                *slots += added;
                children.push(id);
                true
            }
            _ => false,
        };
        if !room {
            return Err(FatError::Limit {
                what: "slots of 32 bytes in a directory of FAT",
                limit: u64::from(MAX_DIRECTORY_SLOTS),
                place: format!("'{}'", path_of(&self.nodes, parent)),
            });
        }
        self.nodes.push(Node { name: name.to_owned(), parent, modified, kind });
        self.by_name.insert(key, id);
        Ok(id)
    }

    fn exists(&self, parent: NodeId, name: &str, other: NodeId) -> FatError {
        let directory = path_of(&self.nodes, parent);
        let name = names::escape(name);
        FatError::Exists {
            path: match directory.is_empty() {
                true => name,
                false => format!("{directory}/{name}"),
            },
            other: path_of(&self.nodes, other),
        }
    }

    /// Decides the shape of the file system and the place of everything in it.
    ///
    /// The usual shape for the size of the partition is taken, and if the tree
    /// does not fit in it, another that it fits in.
    ///
    /// # Errors
    /// [`FatError::TooSmall`] if it fits in none; [`FatError::BadGeometry`] if
    /// the partition or the wishes in the options allow none.
    pub fn finish(self) -> Result<Layout, FatError> {
        let sectors = sectors(self.partition_len)?;
        let root_slots = match self.nodes.first().map(|root| &root.kind) {
            Some(NodeKind::Directory { slots, .. }) => *slots,
            _ => 0,
        };
        let shapes = self.options.shapes(sectors, root_slots);
        let mut needed: Option<u64> = None;
        for shape in shapes {
            let clusters = clusters_needed(&self.nodes, &shape);
            if clusters <= u64::from(shape.cluster_count) {
                return Layout::new(&self.options, shape, self.nodes, self.files);
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

/// The path of a node, for messages.
pub(super) fn path_of(nodes: &[Node], id: NodeId) -> String {
    let mut names = Vec::new();
    let mut id = id;
    while let Some(node) = nodes.get(id).filter(|_| id != ROOT) {
        names.push(node.name.as_str());
        id = node.parent;
    }
    names.reverse();
    names.join("/")
}

/// Whether a node has its content in clusters.
pub(super) fn in_clusters(id: NodeId, shape: &Geometry) -> bool {
    id != ROOT || shape.fat_type == FatType::Fat32
}

/// Clusters for the content of a node.
pub(super) fn clusters_of(id: NodeId, node: &Node, shape: &Geometry) -> u64 {
    if !in_clusters(id, shape) {
        return 0;
    }
    let clusters = node.kind.bytes().div_ceil(u64::from(shape.cluster_size()));
    match node.kind {
        // Even an empty directory has a cluster.
        NodeKind::Directory { .. } => clusters.max(1),
        NodeKind::File { .. } => clusters,
    }
}

fn clusters_needed(nodes: &[Node], shape: &Geometry) -> u64 {
    let clusters = nodes.iter().enumerate();
    clusters.map(|(id, node)| clusters_of(id, node, shape)).sum()
}

fn sectors(partition_len: u64) -> Result<u32, FatError> {
    let sectors = u32::try_from(partition_len / u64::from(SECTOR)).ok();
    // The last clusters of FAT32 have no number beyond this.
    sectors
        .filter(|sectors| *sectors < u32::MAX - FIRST_CLUSTER)
        .ok_or_else(|| FatError::BadGeometry { reason: format!("{partition_len} bytes are more than FAT can have") })
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !matches!(*name, "" | "."))
}
