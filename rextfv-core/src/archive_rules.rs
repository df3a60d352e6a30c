//! Which entries of an archive are taken, and what becomes of them.
//!
//! An archive is untrusted. [`ManifestBuilder`] is shown every entry as it stands in the archive
//! and either gives a [`Manifest`], which holds nothing that the target cannot take, or the list of
//! all refused entries, each with a named reason. Nothing is mended or skipped quietly.
//! `docs/archive-rules.md` is the same for readers.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::entry_path::{EntryPath, displayable};
use crate::fat_names;
use crate::layout;
use crate::limits::Limits;
use crate::listing::Listing;
use crate::run_manifest::{ManifestProblem, RunManifest};
use crate::shared_directory::{Attributes, Representation, Watch};

mod links;
mod manifest;
mod refusal;
mod start;

use self::manifest::top_level_name;
pub use self::manifest::{Lost, Manifest, ManifestDirectory, ManifestFile, ManifestLink, ManifestLinkKind};
pub use self::refusal::{Refusal, RefusalReason};
pub use self::start::StartProblem;

/// An entry as an archive describes it, unchecked.
#[derive(Debug, Clone, Copy)]
pub struct RawEntry<'a> {
    /// The path as it is spelt in the archive.
    pub path: &'a [u8],
    /// What the archive says that it is.
    pub kind: RawKind<'a>,
    /// Bytes of content.
    pub size: u64,
    /// Mode bits, including those above 0o777.
    pub mode: u32,
    /// Modification time in seconds since 1970, UTC.
    pub modified: i64,
    /// Whether the archive gives it an owner or group other than root.
    pub has_owner: bool,
}

/// What an archive says that an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawKind<'a> {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Symlink(&'a [u8]),
    /// Another name of the entry with this path.
    HardLink(&'a [u8]),
    /// A character or block device.
    Device,
    /// A named pipe.
    Fifo,
    /// A sparse file in an encoding of GNU tar's.
    Sparse,
    /// An encrypted member.
    Encrypted,
    /// Something else.
    Unknown,
}

/// What is done with links where the target has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkPolicy {
    /// They are refused.
    #[default]
    Refuse,
    /// A link to something in the archive becomes a copy of that.
    Copy,
}

/// The rules for one archive and one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveRules {
    /// What the target can hold.
    pub representation: Representation,
    /// What becomes of links where the target has none.
    pub links: LinkPolicy,
    /// Bounds.
    pub limits: Limits,
}

/// Bytes of a name that are shown; a refused one can be of any length.
const MOST_SHOWN: usize = 1024;

/// Shows a name of an archive's, or its beginning.
fn shown(name: &[u8]) -> String {
    let mut shown = displayable(&name[..name.len().min(MOST_SHOWN)]);
    if name.len() > MOST_SHOWN {
        shown.push('…');
    }
    shown
}

/// What stands at a path so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    /// Position in the manifest's directories; given by an entry, not only implied.
    Directory { index: usize, explicit: bool },
    /// Position in the manifest's files.
    File(usize),
    /// Position in the links that were met.
    Link(usize),
}

/// A link as it was met, to be decided when all entries are known.
#[derive(Debug)]
struct PendingLink {
    path: EntryPath,
    attributes: Attributes,
    target: PendingTarget,
}

#[derive(Debug)]
enum PendingTarget {
    Symlink(Box<[u8]>),
    HardLink(EntryPath),
}

/// What becomes of an entry, as far as that is known when it is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// A directory: its position among those of [`ManifestBuilder::so_far`]. It may have been there
    /// before, with other attributes.
    Directory(usize),
    /// A file: its position among those of [`ManifestBuilder::so_far`].
    File(usize),
    /// A link, which is decided in the end.
    Link,
    /// It is not made: the shared directory itself, or a name that belongs to the protocol.
    LeftOut,
    /// It is refused, and the whole archive with it.
    Refused,
    /// It exceeds a limit on the whole archive: there is no use in reading on.
    RefusedAtOnce,
}

/// Takes the entries of an archive one by one.
#[derive(Debug)]
pub struct ManifestBuilder {
    rules: ArchiveRules,
    manifest: Manifest,
    refusals: Listing<Refusal>,
    /// By comparison key (see [`ManifestBuilder::key`]): the path as spelt, and what stands there.
    nodes: BTreeMap<Box<[u8]>, (EntryPath, Node)>,
    pending_links: Vec<PendingLink>,
    met: u64,
    /// Bytes of all paths and link targets, those of implied directories too.
    names_bytes: u64,
}

impl ManifestBuilder {
    /// A builder that was shown nothing yet.
    pub fn new(rules: ArchiveRules) -> Self {
        Self {
            rules,
            manifest: Manifest {
                directories: Vec::new(),
                files: Vec::new(),
                links: Vec::new(),
                left_out: Listing::default(),
                lost: Lost::default(),
                total_bytes: 0,
            },
            refusals: Listing::default(),
            nodes: BTreeMap::new(),
            pending_links: Vec::new(),
            met: 0,
            names_bytes: 0,
        }
    }

    /// Takes the next entry and tells what becomes of it. Directories that it implies come to those
    /// of [`so_far`](Self::so_far), each behind the one that holds it.
    pub fn add(&mut self, entry: &RawEntry<'_>) -> Judgement {
        let index = self.met;
        self.met += 1;
        if self.met > self.rules.limits.entries {
            self.refuse(entry.path, RefusalReason::TooManyEntries(self.rules.limits.entries));
            return Judgement::RefusedAtOnce;
        }
        self.take(entry, index).unwrap_or_else(|reason| {
            let ends = matches!(
                reason,
                RefusalReason::TotalTooLarge(_) | RefusalReason::TooManyEntries(_) | RefusalReason::NamesTooLong(_)
            );
            self.refuse(entry.path, reason);
            if ends { Judgement::RefusedAtOnce } else { Judgement::Refused }
        })
    }

    /// What the archive asks for its run was read. What is wrong with it is one more reason to refuse the
    /// archive. Called when all entries were taken.
    pub fn check_run(&mut self, run: &Result<RunManifest, ManifestProblem>) {
        match run {
            Ok(run) if !run.start.is_empty() && self.start_script().is_none() => {
                self.refuse(layout::MANIFEST.as_bytes(), RefusalReason::NothingToStart);
            }
            Ok(_) => {}
            Err(problem) => self.refuse(layout::MANIFEST.as_bytes(), problem.clone().into()),
        }
    }

    /// What was taken so far: directories and files in the order in which they were met, no links.
    pub fn so_far(&self) -> &Manifest {
        &self.manifest
    }

    /// Decides about the links and returns what an upload will make.
    ///
    /// # Errors
    /// All refused entries.
    pub fn finish(self) -> Result<Manifest, Listing<Refusal>> {
        let never = &|| Ok::<(), core::convert::Infallible>(());
        self.finish_watched(never).unwrap_or_else(|never| match never {})
    }

    /// The same, which asks now and then whether it may go on: an archive can be made so that its
    /// links take long to decide.
    ///
    /// # Errors
    /// What `watch` has returned.
    pub fn finish_watched<E>(mut self, watch: Watch<'_, E>) -> Result<Result<Manifest, Listing<Refusal>>, E> {
        self.decide_links(watch)?;
        if !self.refusals.is_empty() {
            return Ok(Err(self.refusals));
        }
        self.manifest.directories.sort_unstable_by(|a, b| a.path.components().cmp(b.path.components()));
        Ok(Ok(self.manifest))
    }

    fn refuse(&mut self, raw_path: &[u8], reason: RefusalReason) {
        self.refusals.push(Refusal { entry: shown(raw_path), reason });
    }

    fn take(&mut self, entry: &RawEntry<'_>, index: u64) -> Result<Judgement, RefusalReason> {
        let path = EntryPath::parse(entry.path)?;
        if path.is_root() {
            let is_directory = entry.kind == RawKind::Directory;
            return if is_directory { Ok(Judgement::LeftOut) } else { Err(RefusalReason::RootNotDirectory) };
        }
        if layout::is_reserved(&path) {
            self.manifest.left_out.push(shown(entry.path));
            return Ok(Judgement::LeftOut);
        }
        self.check_path(&path)?;
        self.check_known_names(&path, entry.kind)?;
        let attributes = self.attributes(entry, &path);
        match entry.kind {
            RawKind::Directory => self.add_directory(&path, attributes, true).map(Judgement::Directory),
            RawKind::File => self.add_file(path, attributes, entry.size, index),
            RawKind::Symlink(target) => {
                if target.is_empty() || target.len() > 4095 || target.contains(&0) {
                    return Err(RefusalReason::LinkTarget);
                }
                self.check_links_allowed(RefusalReason::SymlinkOnFat)?;
                self.count_name(target.len())?;
                self.add_link(path, attributes, PendingTarget::Symlink(target.into()))
            }
            RawKind::HardLink(target) => {
                self.check_links_allowed(RefusalReason::HardLinkOnFat)?;
                let existing = EntryPath::parse(target)?;
                self.add_link(path, attributes, PendingTarget::HardLink(existing))
            }
            RawKind::Device => Err(RefusalReason::Device),
            RawKind::Fifo => Err(RefusalReason::Fifo),
            RawKind::Sparse => Err(RefusalReason::Sparse),
            RawKind::Encrypted => Err(RefusalReason::Encrypted),
            RawKind::Unknown => Err(RefusalReason::Unknown),
        }
    }

    fn check_path(&self, path: &EntryPath) -> Result<(), RefusalReason> {
        let limits = &self.rules.limits;
        if path.as_bytes().len() > limits.path_bytes {
            return Err(RefusalReason::PathTooLong(limits.path_bytes));
        }
        if path.components().count() > limits.depth {
            return Err(RefusalReason::TooDeep(limits.depth));
        }
        match self.rules.representation {
            Representation::Fat => path.components().try_for_each(|name| fat_names::check(name).map(|_| ()))?,
            Representation::Posix => {
                if path.components().any(|name| name.len() > 255) {
                    return Err(RefusalReason::NameTooLong);
                }
            }
        }
        Ok(())
    }

    /// Guests look for some names at the top, and do nothing, or something else than was meant, where
    /// something else stands there.
    fn check_known_names(&self, path: &EntryPath, kind: RawKind<'_>) -> Result<(), RefusalReason> {
        let Some(top) = path.components().next() else { return Ok(()) };
        let is_top = top.len() == path.as_bytes().len();
        if let (Representation::Fat, Ok(top)) = (self.rules.representation, str::from_utf8(top)) {
            let is_manifest = fat_names::are_one(top, layout::MANIFEST) && top != layout::MANIFEST;
            let is_script = is_top && kind != RawKind::Directory && is_script_in_capitals(top);
            if is_manifest || is_script {
                return Err(RefusalReason::Capitals(top.to_ascii_lowercase()));
            }
        }
        let is_plain = is_top && !matches!(kind, RawKind::Directory | RawKind::Symlink(_) | RawKind::HardLink(_));
        if top == layout::MANIFEST.as_bytes() && !is_plain {
            return Err(RefusalReason::ManifestNoFile);
        }
        Ok(())
    }

    fn check_links_allowed(&self, otherwise: RefusalReason) -> Result<(), RefusalReason> {
        let has_links = self.rules.representation == Representation::Posix;
        if has_links || self.rules.links == LinkPolicy::Copy { Ok(()) } else { Err(otherwise) }
    }

    fn attributes(&mut self, entry: &RawEntry<'_>, path: &EntryPath) -> Attributes {
        let kept = match self.rules.representation {
            Representation::Fat => entry.mode & 0o7777 == 0o755,
            Representation::Posix => entry.mode & 0o7000 == 0,
        };
        self.manifest.lost.modes += u64::from(!kept);
        self.manifest.lost.owners += u64::from(entry.has_owner);
        let mut mode = entry.mode & 0o777;
        // A start script is there to be started; some archivers do not record modes.
        if entry.kind == RawKind::File && top_level_name(path).is_some_and(layout::is_start_script) {
            mode |= 0o555;
        }
        Attributes { mode, modified: entry.modified }
    }

    /// What two paths have in common exactly if the target takes them for the same.
    fn key(&self, path: &EntryPath) -> Box<[u8]> {
        match (self.rules.representation, path.as_str()) {
            (Representation::Fat, Some(text)) => fat_names::fold(text).into_bytes().into(),
            _ => path.as_bytes().into(),
        }
    }

    fn node(&self, path: &EntryPath) -> Option<&(EntryPath, Node)> {
        self.nodes.get(&self.key(path))
    }

    /// Adds a directory and those above it, as far as they are not there.
    fn add_directory(
        &mut self,
        path: &EntryPath,
        attributes: Attributes,
        explicit: bool,
    ) -> Result<usize, RefusalReason> {
        let key = self.key(path);
        match self.nodes.get_mut(&key) {
            Some((spelt, _)) if *spelt != *path => {
                return Err(RefusalReason::CaseCollision(shown(spelt.as_bytes())));
            }
            Some((_, Node::Directory { index, explicit: known })) => {
                if explicit {
                    self.manifest.directories[*index].attributes = attributes;
                    *known = true;
                }
                return Ok(*index);
            }
            Some(_) => return Err(RefusalReason::NotADirectory(shown(path.as_bytes()))),
            None => {}
        }
        self.add_parents(path, attributes.modified)?;
        self.count_node(path)?;
        let index = self.manifest.directories.len();
        self.manifest.directories.push(ManifestDirectory { path: path.clone(), attributes });
        self.nodes.insert(key, (path.clone(), Node::Directory { index, explicit }));
        Ok(index)
    }

    fn add_parents(&mut self, path: &EntryPath, modified: i64) -> Result<(), RefusalReason> {
        match path.parent() {
            Some(parent) if !parent.is_root() => {
                self.add_directory(&parent, Attributes { mode: 0o755, modified }, false).map(drop)
            }
            _ => Ok(()),
        }
    }

    fn add_file(
        &mut self,
        path: EntryPath,
        attributes: Attributes,
        size: u64,
        index: u64,
    ) -> Result<Judgement, RefusalReason> {
        self.count_bytes(size)?;
        let position = self.manifest.files.len();
        self.insert(&path, attributes, Node::File(position))?;
        self.manifest.files.push(ManifestFile { path, attributes, size, index });
        Ok(Judgement::File(position))
    }

    fn add_link(
        &mut self,
        path: EntryPath,
        attributes: Attributes,
        target: PendingTarget,
    ) -> Result<Judgement, RefusalReason> {
        self.insert(&path, attributes, Node::Link(self.pending_links.len()))?;
        self.pending_links.push(PendingLink { path, attributes, target });
        Ok(Judgement::Link)
    }

    /// Notes what stands at a path where nothing may stand yet.
    fn insert(&mut self, path: &EntryPath, attributes: Attributes, node: Node) -> Result<(), RefusalReason> {
        let key = self.key(path);
        match self.nodes.get(&key) {
            None => {}
            Some((spelt, _)) if spelt != path => {
                return Err(RefusalReason::CaseCollision(shown(spelt.as_bytes())));
            }
            Some((_, Node::Directory { .. })) => {
                return Err(RefusalReason::NotADirectory(shown(path.as_bytes())));
            }
            Some(_) => return Err(RefusalReason::Duplicate),
        }
        self.add_parents(path, attributes.modified)?;
        self.count_node(path)?;
        self.nodes.insert(key, (path.clone(), node));
        Ok(())
    }

    /// Counts one more path that is kept. A single entry can imply a hundred directories.
    fn count_node(&mut self, path: &EntryPath) -> Result<(), RefusalReason> {
        if self.nodes.len() as u64 >= self.rules.limits.entries {
            return Err(RefusalReason::TooManyEntries(self.rules.limits.entries));
        }
        self.count_name(path.as_bytes().len())
    }

    fn count_name(&mut self, bytes: usize) -> Result<(), RefusalReason> {
        let most = self.rules.limits.names_bytes();
        self.names_bytes += bytes as u64;
        if self.names_bytes > most { Err(RefusalReason::NamesTooLong(most)) } else { Ok(()) }
    }

    /// Counts the bytes of a file or copy against the limits.
    fn count_bytes(&mut self, size: u64) -> Result<(), RefusalReason> {
        let limits = &self.rules.limits;
        let longest = match self.rules.representation {
            Representation::Fat => limits.file_bytes.min(fat_names::MAX_FILE_BYTES),
            Representation::Posix => limits.file_bytes,
        };
        if size > longest {
            return Err(RefusalReason::FileTooLarge(longest));
        }
        self.manifest.total_bytes = self
            .manifest
            .total_bytes
            .checked_add(size)
            .filter(|&total| total <= limits.total_bytes)
            .ok_or(RefusalReason::TotalTooLarge(limits.total_bytes))?;
        Ok(())
    }
}

/// Whether FAT takes the beginning of a name for a start script's, and guests do not.
fn is_script_in_capitals(name: &str) -> bool {
    let prefix = layout::START_SCRIPT_PREFIX;
    let Some((start, rest)) = name.split_at_checked(prefix.len()) else { return false };
    start != prefix && start.eq_ignore_ascii_case(prefix) && !rest.is_empty()
}

#[cfg(test)]
mod tests;
