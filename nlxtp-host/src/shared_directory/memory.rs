//! A shared directory in memory, for tests of whatever is built on the traits.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rextfv_core::archive_rules::Manifest;
use rextfv_core::entry_path::EntryPath;
use rextfv_core::ids::RunId;
use rextfv_core::layout;
use rextfv_core::shared_directory::{
    Attributes, BegunReplacement, Content, Entry, EntryKind, Replacement, Representation, SharedDirectory, Sharing,
    View, Visitor, Watch,
};

use crate::error::{Error, ErrorKind, Result};

/// A shared directory that is nothing but a map. It can stand for a container's directory or for a
/// disk, and the guest's side of it is [`write`](Self::write) and [`remove`](Self::remove).
#[derive(Debug)]
pub struct MemoryDirectory {
    representation: Representation,
    nodes: Mutex<Nodes>,
}

type Nodes = BTreeMap<EntryPath, (Attributes, Node)>;

#[derive(Debug, Clone)]
enum Node {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
}

const PLAIN: Attributes = Attributes { mode: 0o755, modified: 0 };

impl MemoryDirectory {
    /// An empty one that holds what the representation can. A [`Representation::Fat`] takes turns
    /// with the guest, as a disk does.
    pub fn new(representation: Representation) -> Self {
        Self { representation, nodes: Mutex::default() }
    }

    /// What the guest does to write a file: makes or replaces it, and the directories above it.
    pub fn write(&self, path: &EntryPath, content: impl Into<Vec<u8>>) {
        let mut nodes = self.nodes();
        let mut above = path.parent();
        while let Some(directory) = above.filter(|directory| !directory.is_root()) {
            above = directory.parent();
            nodes.entry(directory).or_insert((PLAIN, Node::Directory));
        }
        nodes.insert(path.clone(), (PLAIN, Node::File(content.into())));
    }

    /// What the guest does to remove an entry and all below it.
    pub fn remove(&self, path: &EntryPath) {
        self.nodes().retain(|known, _| !known.starts_with(path));
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedDirectory for MemoryDirectory {
    type Error = Error;

    fn representation(&self) -> Representation {
        self.representation
    }

    fn sharing(&self) -> Sharing {
        match self.representation {
            Representation::Fat => Sharing::TakingTurns,
            Representation::Posix => Sharing::Concurrent,
        }
    }

    fn view(&self) -> Result<Box<dyn View<Error = Error> + '_>> {
        Ok(Box::new(MemoryView(self)))
    }

    fn begin(&self, watch: Watch<'_, Error>) -> Result<Option<BegunReplacement<'_, Error>>> {
        watch()?;
        Ok(Some(Box::new(MemoryReplacement { directory: self, new: Nodes::new() })))
    }

    fn replace(&self, _: &Manifest, watch: Watch<'_, Error>) -> Result<BegunReplacement<'_, Error>> {
        watch()?;
        Ok(Box::new(MemoryReplacement { directory: self, new: Nodes::new() }))
    }
}

struct MemoryView<'a>(&'a MemoryDirectory);

fn entry(path: &EntryPath, (attributes, node): &(Attributes, Node)) -> Entry {
    let (kind, size) = match node {
        Node::Directory => (EntryKind::Directory, 0),
        Node::File(content) => (EntryKind::File, content.len() as u64),
        Node::Symlink(target) => (EntryKind::Symlink, target.len() as u64),
    };
    Entry { path: path.clone(), kind, size, attributes: *attributes }
}

impl View for MemoryView<'_> {
    type Error = Error;

    fn entry(&mut self, path: &EntryPath) -> Result<Option<Entry>> {
        if path.is_root() {
            return Ok(Some(entry(path, &(PLAIN, Node::Directory))));
        }
        Ok(self.0.nodes().get(path).map(|node| entry(path, node)))
    }

    fn read_at(&mut self, path: &EntryPath, offset: u64, buffer: &mut [u8]) -> Result<Option<usize>> {
        let nodes = self.0.nodes();
        let Some((_, Node::File(content))) = nodes.get(path) else { return Ok(None) };
        let rest = usize::try_from(offset).ok().and_then(|offset| content.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(Some(length))
    }

    fn top_names(&mut self) -> Result<Vec<Vec<u8>>> {
        let nodes = self.0.nodes();
        let top = nodes.keys().filter(|path| path.components().count() == 1);
        Ok(top.map(|path| path.as_bytes().to_vec()).collect())
    }

    fn walk(&mut self, visitor: &mut dyn Visitor<Error = Error>) -> Result<()> {
        let mut nodes: Vec<_> = self.0.nodes().clone().into_iter().collect();
        nodes.sort_by(|(a, _), (b, _)| a.components().cmp(b.components()));
        let shown = |path: &EntryPath| !layout::is_staged(path.as_bytes(), self.0.representation);
        for (path, node) in nodes.iter().filter(|(path, _)| shown(path)) {
            let entry = entry(path, node);
            match &node.1 {
                Node::Directory => visitor.directory(&entry)?,
                Node::File(content) => visitor.file(&entry, &mut Bytes(content))?,
                Node::Symlink(target) => visitor.symlink(&entry, target)?,
            }
        }
        Ok(())
    }
}

struct Bytes<'a>(&'a [u8]);

impl Content for Bytes<'_> {
    type Error = Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let length = self.0.len().min(buffer.len());
        let (now, later) = self.0.split_at(length);
        buffer[..length].copy_from_slice(now);
        self.0 = later;
        Ok(length)
    }
}

struct MemoryReplacement<'a> {
    directory: &'a MemoryDirectory,
    new: Nodes,
}

impl MemoryReplacement<'_> {
    fn existing(&self, path: &EntryPath) -> Result<Node> {
        let found = self.new.get(path).map(|(_, node)| node.clone());
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, "it was not added before").with_object(path.to_string()))
    }
}

impl Replacement for MemoryReplacement<'_> {
    type Error = Error;

    fn directory(&mut self, path: &EntryPath, attributes: Attributes) -> Result<()> {
        self.new.insert(path.clone(), (attributes, Node::Directory));
        Ok(())
    }

    fn file(
        &mut self,
        path: &EntryPath,
        attributes: Attributes,
        size: u64,
        content: &mut dyn Content<Error = Error>,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            match content.read(&mut buffer)? {
                0 => break,
                length => bytes.extend_from_slice(&buffer[..length]),
            }
        }
        if bytes.len() as u64 != size {
            let message = format!("the content is {} bytes long and not {size}", bytes.len());
            return Err(Error::new(ErrorKind::BadArchive, message).with_object(path.to_string()));
        }
        self.new.insert(path.clone(), (attributes, Node::File(bytes)));
        Ok(())
    }

    fn copy(
        &mut self,
        path: &EntryPath,
        existing: &EntryPath,
        attributes: Attributes,
        watch: Watch<'_, Error>,
    ) -> Result<()> {
        watch()?;
        let node = self.existing(existing)?;
        self.new.insert(path.clone(), (attributes, node));
        Ok(())
    }

    fn symlink(&mut self, path: &EntryPath, target: &[u8]) -> Result<()> {
        self.new.insert(path.clone(), (Attributes { mode: 0o777, modified: 0 }, Node::Symlink(target.to_vec())));
        Ok(())
    }

    fn hard_link(&mut self, path: &EntryPath, existing: &EntryPath) -> Result<()> {
        let node = self.existing(existing)?;
        self.new.insert(path.clone(), (PLAIN, node));
        Ok(())
    }

    fn commit(mut self: Box<Self>, run: RunId, watch: Watch<'_, Error>) -> Result<()> {
        watch()?;
        if let Some(path) = EntryPath::root().join(layout::RUN_ID.as_bytes()) {
            self.new.insert(path, (PLAIN, Node::File(format!("{run}\n").into_bytes())));
        }
        *self.directory.nodes() = self.new;
        Ok(())
    }
}
