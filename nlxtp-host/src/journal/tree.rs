//! Results: what a download holds, entry by entry, and one digest of it all.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use rextfv_core::entry_path::displayable;
use rextfv_core::layout;
use rextfv_core::limits::Limits;
use rextfv_core::shared_directory::Entry;
use rextfv_core::tomato;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use crate::archive::ArchiveReader;
use crate::archive::reader::Shown;
use crate::control::Control;
use crate::error::Result;
use crate::node::ReadSeek;

/// What an entry of the results is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; its content is its target.
    Symlink,
}

impl Kind {
    /// The word that stands for it in a journal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
        }
    }
}

/// The content of a file, or the target of a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    kind: Kind,
    bytes: u64,
    /// `None` for a directory.
    sha256: Option<Digest>,
}

/// One entry of the results in a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// Its path, escaped.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Bytes of its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The digest of its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// Results as a journal keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeSummary {
    /// The digest of all entries, see [`Tree::digest`].
    pub sha256: Digest,
    /// The first of them, in the order of their paths.
    pub listed: Vec<TreeEntry>,
    /// How many more there are.
    pub omitted: u64,
}

/// Most bytes that the listed entries take in a line, about.
const MOST_LISTED_BYTES: usize = 1 << 20;

/// What an entry takes in a line beside its path, about.
const ENTRY_BYTES: usize = 150;

/// All that results consist of: paths, kinds and contents. Modes, owners and times are no part of it,
/// for not every storage has them, nor what differs from run to run by its nature ([`is_volatile`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    items: BTreeMap<Box<[u8]>, Item>,
}

/// Whether an entry differs from run to run by its nature: the run id, the status slots with their
/// times, the Running Info of ToMaTo's guest modules, and the guest's digests, of the run id among others.
pub fn is_volatile(path: &[u8]) -> bool {
    let [first, second] = layout::STATUS_SLOTS;
    [layout::RUN_ID, first, second, layout::DIGESTS, tomato::RUNNING]
        .iter()
        .any(|name| path.eq_ignore_ascii_case(name.as_bytes()))
}

impl Tree {
    /// What an archive holds.
    ///
    /// # Errors
    /// It cannot be read, is no archive or a damaged one, or exceeds the limits.
    pub fn of_archive(archive: &mut dyn ReadSeek, limits: &Limits, control: &Control<'_>) -> Result<Self> {
        let mut tree = Self::default();
        ArchiveReader::open(archive)?.show(limits, control, &mut |path, shown| {
            let item = match shown {
                Shown::Directory => Item::directory(),
                Shown::Symlink(target) => Item::symlink(target),
                Shown::File(content) => {
                    let mut hasher = Sha256::new();
                    let mut piece = vec![0; 64 << 10];
                    let mut bytes = 0;
                    loop {
                        match content(&mut piece)? {
                            0 => break,
                            read => {
                                hasher.update(&piece[..read]);
                                bytes += read as u64;
                            }
                        }
                    }
                    Item { kind: Kind::File, bytes, sha256: Some(Digest::finish(hasher)) }
                }
                Shown::HardLink(existing) => match tree.items.get(existing.as_bytes()) {
                    Some(item) => *item,
                    None => return Ok(()),
                },
            };
            tree.add(path.as_bytes(), item);
            Ok(())
        })?;
        Ok(tree)
    }

    /// Adds a file whose content, exactly as long as its entry says, has this digest.
    pub(crate) fn add_file(&mut self, entry: &Entry, sha256: Digest) {
        self.add(entry.path.as_bytes(), Item { kind: Kind::File, bytes: entry.size, sha256: Some(sha256) });
    }

    /// Adds a directory.
    pub(crate) fn add_directory(&mut self, entry: &Entry) {
        self.add(entry.path.as_bytes(), Item::directory());
    }

    /// Adds a symbolic link.
    pub(crate) fn add_symlink(&mut self, entry: &Entry, target: &[u8]) {
        self.add(entry.path.as_bytes(), Item::symlink(target));
    }

    fn add(&mut self, path: &[u8], item: Item) {
        if !path.is_empty() && !is_volatile(path) {
            self.items.insert(path.into(), item);
        }
    }

    /// The text whose digest is that of the whole: a line for each entry, in the byte order of the
    /// paths, of its kind, the digest of its content (a file's content, a link's target; none for a
    /// directory) and its escaped path, separated by single spaces.
    pub fn listing(&self) -> String {
        self.items.iter().map(|(path, item)| line(path, item)).collect()
    }

    /// The digest of the [listing](Self::listing): the same for the same results.
    pub fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        self.items.iter().for_each(|(path, item)| hasher.update(line(path, item)));
        Digest::finish(hasher)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The entries, in the byte order of their paths.
    pub fn entries(&self) -> impl Iterator<Item = TreeEntry> {
        self.items.iter().map(|(path, item)| TreeEntry {
            path: displayable(path),
            kind: item.kind,
            bytes: item.sha256.map(|_| item.bytes),
            sha256: item.sha256,
        })
    }

    /// What a journal keeps of it.
    pub fn summary(&self) -> TreeSummary {
        let mut room = MOST_LISTED_BYTES;
        let mut listed = Vec::new();
        for entry in self.entries() {
            // A backslash takes two bytes in JSON.
            let needed = entry.path.len() + entry.path.matches('\\').count() + ENTRY_BYTES;
            let Some(left) = room.checked_sub(needed) else { break };
            room = left;
            listed.push(entry);
        }
        let omitted = (self.items.len() - listed.len()) as u64;
        TreeSummary { sha256: self.digest(), listed, omitted }
    }
}

fn line(path: &[u8], item: &Item) -> String {
    let (kind, path) = (item.kind.word(), displayable(path));
    match item.sha256 {
        Some(sha256) => format!("{kind} {sha256} {path}\n"),
        None => format!("{kind} {path}\n"),
    }
}

impl Item {
    const fn directory() -> Self {
        Self { kind: Kind::Directory, bytes: 0, sha256: None }
    }

    fn symlink(target: &[u8]) -> Self {
        Self { kind: Kind::Symlink, bytes: target.len() as u64, sha256: Some(Digest::of(target)) }
    }
}
