//! The tree of directories and files that a new file system holds.

use std::collections::HashMap;

use super::error::FatError;
use super::names;
use super::short_names::slots_for;
use super::slot::{MAX_DIRECTORY_SLOTS, SLOT_LEN};

/// Which file of a [`Plan`](super::Plan), counted from 0 in the order in which they were
/// added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIndex(pub usize);

/// The number of a node; 0 is the root directory.
pub(super) type NodeId = usize;
pub(super) const ROOT: NodeId = 0;

/// One directory or file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub name: String,
    pub parent: NodeId,
    pub modified: i64,
    pub kind: NodeKind,
    /// 0 if it has no cluster, or none yet.
    pub first_cluster: u32,
}

#[derive(Clone, Debug)]
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
    /// Clusters of so many bytes for the content. Even an empty directory has one.
    pub(super) fn clusters(&self, cluster_size: u32) -> u64 {
        match self {
            Self::Directory { slots, .. } => directory_clusters(*slots, cluster_size),
            Self::File { size } => u64::from(*size).div_ceil(u64::from(cluster_size)),
        }
    }
}

fn directory_clusters(slots: u32, cluster_size: u32) -> u64 {
    (u64::from(slots) * SLOT_LEN as u64).div_ceil(u64::from(cluster_size)).max(1)
}

/// Directories and files by their paths.
///
/// Paths are divided by `/`; empty components and `.` are skipped, so that
/// `./a//b/` is `a/b`. Directories that a path goes through are added with it,
/// and stay if the rest of the path is refused.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    files: Vec<NodeId>,
    /// Nodes by parent and folded name.
    by_name: HashMap<(NodeId, String), NodeId>,
    /// For directories without a time of their own.
    timestamp: i64,
    cluster_size: u32,
    /// Clusters of that size for all directories but the root.
    directory_clusters: u64,
}

impl Tree {
    /// A tree with nothing but a root directory, some of whose slots are in use.
    pub(super) fn new(timestamp: i64, root_slots: u32) -> Self {
        let kind = NodeKind::Directory { children: Vec::new(), slots: root_slots };
        let root = Node { name: String::new(), parent: ROOT, modified: timestamp, kind, first_cluster: 0 };
        Self {
            nodes: vec![root],
            files: Vec::new(),
            by_name: HashMap::new(),
            timestamp,
            cluster_size: SLOT_LEN as u32,
            directory_clusters: 0,
        }
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id)
    }

    /// The files in the order in which they were added.
    pub(super) fn files(&self) -> &[NodeId] {
        &self.files
    }

    pub(super) fn root_slots(&self) -> u32 {
        match self.nodes.first().map(|root| &root.kind) {
            Some(NodeKind::Directory { slots, .. }) => *slots,
            _ => 0,
        }
    }

    /// The directories but for the root.
    pub(super) fn directories(&self) -> impl Iterator<Item = NodeId> + '_ {
        let nodes = self.nodes.iter().enumerate().skip(1);
        nodes.filter(|(_, node)| matches!(node.kind, NodeKind::Directory { .. })).map(|(id, _)| id)
    }

    /// Counts in clusters of another size.
    pub(super) fn set_cluster_size(&mut self, cluster_size: u32) {
        let clusters = |id| self.nodes.get(id).map_or(0, |node: &Node| node.kind.clusters(cluster_size));
        self.directory_clusters = self.directories().map(clusters).sum();
        self.cluster_size = cluster_size;
    }

    /// Clusters for all directories but the root.
    pub(super) fn directory_clusters(&self) -> u64 {
        self.directory_clusters
    }

    /// Adds a directory; see [`Plan::add_directory`](super::Plan::add_directory).
    pub(super) fn add_directory(&mut self, path: &str, modified: i64) -> Result<(), FatError> {
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

    /// Adds a file; see [`Plan::add_file`](super::Plan::add_file).
    pub(super) fn add_file(&mut self, path: &str, size: u64, modified: i64) -> Result<FileIndex, FatError> {
        let size = u32::try_from(size).map_err(|_| FatError::Limit {
            what: "bytes in a file of FAT",
            limit: u64::from(u32::MAX),
            place: format!("'{}'", names::escape(path)),
        })?;
        let mut parent = ROOT;
        let mut components = components(path).peekable();
        while let Some(name) = components.next() {
            if components.peek().is_some() {
                parent = self.directory(parent, name, self.timestamp)?;
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

    /// The directory of this name, which is added if it is missing.
    fn directory(&mut self, parent: NodeId, name: &str, modified: i64) -> Result<NodeId, FatError> {
        let key = (parent, names::fold(name));
        if let Some(found) = self.by_name.get(&key).copied() {
            let node = self.nodes.get(found).filter(|node| node.name == name);
            return match node.map(|node| &node.kind) {
                Some(NodeKind::Directory { .. }) => Ok(found),
                Some(NodeKind::File { .. }) => Err(FatError::NotADirectory { path: self.path_of(found) }),
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
                if parent != ROOT {
                    self.directory_clusters -= directory_clusters(*slots, self.cluster_size);
                    self.directory_clusters += directory_clusters(*slots + added, self.cluster_size);
                }
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
                place: format!("'{}'", self.path_of(parent)),
            });
        }
        if matches!(kind, NodeKind::Directory { .. }) {
            self.directory_clusters += kind.clusters(self.cluster_size);
        }
        self.nodes.push(Node { name: name.to_owned(), parent, modified, kind, first_cluster: 0 });
        self.by_name.insert(key, id);
        Ok(id)
    }

    fn exists(&self, parent: NodeId, name: &str, other: NodeId) -> FatError {
        let directory = self.path_of(parent);
        let name = names::escape(name);
        FatError::Exists {
            path: match directory.is_empty() {
                true => name,
                false => format!("{directory}/{name}"),
            },
            other: self.path_of(other),
        }
    }

    /// The file at a path.
    pub(super) fn find_file(&self, path: &str) -> Option<FileIndex> {
        let step = |node, name| self.by_name.get(&(node, names::fold(name))).copied();
        let node = components(path).try_fold(ROOT, step)?;
        // Files have rising numbers in their order.
        self.files.binary_search(&node).ok().map(FileIndex)
    }

    /// The path of a node, for messages.
    pub(super) fn path_of(&self, id: NodeId) -> String {
        let mut names = Vec::new();
        let mut id = id;
        while let Some(node) = self.nodes.get(id).filter(|_| id != ROOT) {
            names.push(node.name.as_str());
            id = node.parent;
        }
        names.reverse();
        names.join("/")
    }
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !matches!(*name, "" | "."))
}
