//! A directory of the host as shared directory: a container's.
//!
//! The guest's root controls every name and byte in it at any moment. Everything goes through
//! handles beneath the directory (see `beneath.rs`); how an upload replaces the content is in
//! `staging.rs`.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::stat::{self, FileStat, SFlag};
use rextfv_core::archive_rules::Manifest;
use rextfv_core::entry_path::{EntryPath, displayable};
use rextfv_core::layout;
use rextfv_core::limits::Limits;
use rextfv_core::shared_directory::{
    BegunReplacement, Content, Entry, EntryKind, LeftOut, LeftOutReason, Representation, SharedDirectory, Sharing,
    View, Visitor, Watch,
};

use super::beneath::{Directory, Found, Named, attributes};
use super::kept_files::{self, KeptFiles};
use super::staging::{self, Staging};
use crate::error::{Error, ErrorKind, Result};

/// A directory of the host that is a directory of the guest too.
#[derive(Debug)]
pub struct HostDirectory {
    path: PathBuf,
    /// What the path names, where the caller gave a descriptor.
    _held: Option<OwnedFd>,
    limits: Limits,
    /// `None` where nothing is to be kept open.
    kept: Mutex<Option<KeptFiles>>,
}

impl HostDirectory {
    /// The directory at this path. The path itself is the host's: links in it are followed. It is
    /// opened anew for each operation, so that a container may be stopped and started meanwhile. With
    /// [`keep_open`](SharedDirectory::keep_open), some of its files are held from one status query to
    /// the next; its file system cannot be unmounted then.
    ///
    /// # Errors
    /// There is no directory at this path, or it cannot be opened.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self { path: path.into(), _held: None, limits: Limits::DEFAULT, kept: Mutex::default() }.checked()
    }

    /// The directory that this descriptor leads to, wherever its name leads meanwhile: it is held, and
    /// opened anew for each operation through `/proc/self/fd`, with the rights of this process. Its file
    /// system cannot be unmounted as long, and a directory that is mounted in its place is not noticed.
    ///
    /// # Errors
    /// It is no directory, or cannot be opened, for lack of `/proc` for example.
    pub fn from_fd(descriptor: OwnedFd) -> Result<Self> {
        let path = super::path_of(&descriptor);
        Self { path, _held: Some(descriptor), limits: Limits::DEFAULT, kept: Mutex::default() }.checked()
    }

    fn checked(self) -> Result<Self> {
        self.handle()?;
        Ok(self)
    }

    /// The same with other bounds on what is read of it.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where it is; for [a descriptor](Self::from_fd), a path that this process alone can use.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// To write to.
    fn handle(&self) -> Result<Directory> {
        self.opened(Directory::open(&self.path))
    }

    fn opened(&self, opened: io::Result<Directory>) -> Result<Directory> {
        opened.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOTDIR) => Error::new(ErrorKind::NotATarget, "it is not a directory").with_path(&self.path),
            _ => Error::io("open the shared directory", error).with_path(&self.path),
        })
    }
}

impl HostDirectory {
    fn stage(&self, manifest: Option<&Manifest>, watch: Watch<'_, Error>) -> Result<BegunReplacement<'_, Error>> {
        let root = self.handle()?;
        let staging = Staging::begin(&self.path, root, manifest, watch).map_err(|error| error.with_path(&self.path))?;
        Ok(Box::new(staging))
    }
}

impl SharedDirectory for HostDirectory {
    type Error = Error;

    fn representation(&self) -> Representation {
        Representation::Posix
    }

    fn sharing(&self) -> Sharing {
        Sharing::Concurrent
    }

    fn view(&self) -> Result<Box<dyn View<Error = Error> + '_>> {
        // Another thread that looks just now has it; this one goes without.
        let kept = self.kept.try_lock().ok().filter(|kept| kept.is_some());
        let mut view = HostView { directory: self, root: None, opened: Vec::new(), kept };
        let kept = view.kept.as_mut().and_then(|kept| kept.as_mut());
        if !kept.is_some_and(|kept| kept.refresh(&self.path)) {
            staging::recover_if_idle(view.root()?);
        }
        Ok(Box::new(view))
    }

    fn keep_open(&self, keep: bool) -> usize {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_some() != keep {
            *kept = keep.then(KeptFiles::default);
        }
        kept_files::MOST_HANDLES
    }

    fn host_directory(&self) -> Option<&[u8]> {
        Some(self.path.as_os_str().as_bytes())
    }

    fn begin(&self, watch: Watch<'_, Error>) -> Result<Option<BegunReplacement<'_, Error>>> {
        self.stage(None, watch).map(Some)
    }

    fn replace(&self, manifest: &Manifest, watch: Watch<'_, Error>) -> Result<BegunReplacement<'_, Error>> {
        self.stage(Some(manifest), watch)
    }
}

/// Handles of the directories and slots of a shared directory in which a change of the status shows, as
/// far as they are there. Each is looked for when it is asked for, the outer ones first: who has begun to
/// watch those hears of what comes meanwhile.
pub(crate) fn status_handles(path: &[u8]) -> impl Iterator<Item = (Named, SFlag)> {
    let root = Directory::open(Path::new(OsStr::from_bytes(path))).ok();
    let paths = [".", layout::STATUS_DIRECTORY].into_iter().chain(layout::STATUS_SLOTS);
    paths.filter_map(move |path| {
        let named = root.as_ref()?.name(path.as_bytes()).ok()?;
        let kind = named.kind().ok()?;
        matches!(kind, SFlag::S_IFREG | SFlag::S_IFDIR).then_some((named, kind))
    })
}

struct HostView<'a> {
    directory: &'a HostDirectory,
    /// Opened when it is needed.
    root: Option<Directory>,
    /// The first files that were read from: of a long record, the rest is read later than its beginning.
    opened: Vec<(EntryPath, File)>,
    kept: Option<MutexGuard<'a, Option<KeptFiles>>>,
}

/// Files that a view holds open at most: those that a status query reads.
const MOST_OPENED: usize = 3;

/// What a failure means for the entry at which it happened.
enum EntryFailure {
    /// It is not there (any more).
    Gone,
    /// It is there, and cannot be had.
    LeftOut(LeftOutReason),
    /// It cannot be had just now.
    Busy(io::Error),
    /// The operating system failed otherwise.
    Failed(io::Error),
}

impl From<io::Error> for EntryFailure {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ESTALE) => Self::Gone,
            Some(libc::EXDEV) => Self::LeftOut(LeftOutReason::OtherFileSystem),
            // A component became a link between two looks.
            Some(libc::ELOOP) => Self::Gone,
            // A guest's lease on it, or something was moved just then.
            Some(libc::EAGAIN | libc::ETXTBSY) => Self::Busy(error),
            Some(libc::EACCES | libc::EPERM | libc::EIO | libc::ENXIO | libc::ENAMETOOLONG) => {
                Self::LeftOut(LeftOutReason::Unreadable)
            }
            _ => Self::Failed(error),
        }
    }
}

impl EntryFailure {
    /// Why a walk leaves the entry out, if it can go on.
    fn reason(self, path: &EntryPath) -> Result<LeftOutReason> {
        match self {
            Self::Gone => Ok(LeftOutReason::Vanished),
            Self::LeftOut(reason) => Ok(reason),
            Self::Busy(_) => Ok(LeftOutReason::Unreadable),
            Self::Failed(error) => Err(read_error(path, error)),
        }
    }
}

fn entry(path: EntryPath, kind: EntryKind, size: u64, status: &FileStat) -> Entry {
    Entry { path, kind, size, attributes: attributes(status) }
}

fn file_size(status: &FileStat) -> u64 {
    u64::try_from(status.st_size).unwrap_or(0)
}

fn read_error(path: &EntryPath, error: io::Error) -> Error {
    let error = match error.raw_os_error() {
        // A guest's lock on a part of the file; a file that was removed on a network file system.
        Some(libc::EAGAIN | libc::ESTALE) => {
            Error::new(ErrorKind::Changing, "the guest is just changing it").with_source(error)
        }
        _ => Error::io("read the shared directory", error),
    };
    error.with_object(path.to_string())
}

impl HostView<'_> {
    fn root(&mut self) -> Result<&Directory> {
        let root = match self.root.take() {
            Some(root) => root,
            None => self.directory.opened(Directory::open_pinned(&self.directory.path))?,
        };
        Ok(self.root.insert(root))
    }

    fn find(&mut self, path: &EntryPath) -> Result<Option<Found>> {
        let bytes = if path.is_root() { &b"."[..] } else { path.as_bytes() };
        let found = self.root()?.find(bytes);
        if found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            return Err(Error::new(ErrorKind::Changing, "the guest holds a lease on it").with_object(path.to_string()));
        }
        match found.map_err(EntryFailure::from) {
            Ok(found) => Ok(Some(found)),
            Err(EntryFailure::Gone) => Ok(None),
            Err(EntryFailure::LeftOut(reason)) => Err(Error::new(ErrorKind::ReadOnly, "it cannot be read")
                .with_source(reason)
                .with_object(path.to_string())),
            Err(EntryFailure::Busy(error) | EntryFailure::Failed(error)) => Err(read_error(path, error)),
        }
    }
}

/// Counts the names that a look at a directory has met against the limit, those that are still to be
/// dealt with among them: many full directories within each other must not fill the memory.
struct NameBudget {
    left: usize,
    limit: u64,
}

impl NameBudget {
    fn new(limit: u64) -> Self {
        Self { left: usize::try_from(limit).unwrap_or(usize::MAX), limit }
    }

    /// The names in a directory, if they are not too many.
    fn names(&mut self, directory: &Directory) -> io::Result<Result<Vec<Vec<u8>>>> {
        let names = directory.names(self.left.saturating_add(1))?;
        let Some(left) = self.left.checked_sub(names.len()) else {
            let message = format!("the shared directory holds more than {} entries", self.limit);
            return Ok(Err(Error::new(ErrorKind::Refused, message)
                .with_hint("remove what is not needed inside the guest, or raise the limit")));
        };
        self.left = left;
        Ok(Ok(names))
    }
}

impl View for HostView<'_> {
    type Error = Error;

    fn entry(&mut self, path: &EntryPath) -> Result<Option<Entry>> {
        Ok(self.find(path)?.and_then(|found| match found {
            Found::File(_, status) => Some(entry(path.clone(), EntryKind::File, file_size(&status), &status)),
            Found::Directory(_, status) => Some(entry(path.clone(), EntryKind::Directory, 0, &status)),
            Found::Symlink(target, status) => {
                Some(entry(path.clone(), EntryKind::Symlink, target.len() as u64, &status))
            }
            Found::Special => None,
        }))
    }

    fn holds_special(&mut self, path: &EntryPath) -> Result<bool> {
        Ok(matches!(self.find(path)?, Some(Found::Special)))
    }

    fn read_at(&mut self, path: &EntryPath, offset: u64, buffer: &mut [u8]) -> Result<Option<usize>> {
        let kept = self.kept.as_ref().and_then(|kept| kept.as_ref());
        if let Some(file) = kept.and_then(|kept| kept.get(path.as_bytes())) {
            return read_full(file, path, offset, buffer).map(Some);
        }
        if let Some((_, file)) = self.opened.iter().find(|(opened, _)| opened == path) {
            return read_full(file, path, offset, buffer).map(Some);
        }
        let Some(Found::File(file, status)) = self.find(path)? else { return Ok(None) };
        let length = read_full(&file, path, offset, buffer)?;
        let kept = self.kept.as_mut().and_then(|kept| kept.as_mut());
        if let (Some(kept), Some(root)) = (kept, &self.root) {
            kept.put(root, path.as_bytes(), file, &status);
        } else if self.opened.len() < MOST_OPENED {
            self.opened.push((path.clone(), file));
        }
        Ok(Some(length))
    }

    fn top_names(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut budget = NameBudget::new(self.directory.limits.entries);
        budget.names(self.root()?).map_err(|error| read_error(&EntryPath::root(), error))?
    }

    fn walk(&mut self, visitor: &mut dyn Visitor<Error = Error>) -> Result<()> {
        struct Level {
            directory: Directory,
            path: EntryPath,
            names: std::vec::IntoIter<Vec<u8>>,
        }
        let limits = self.directory.limits;
        let mut budget = NameBudget::new(limits.entries);
        let failed_at_top = |error| read_error(&EntryPath::root(), error);
        let own = self.root()?.directory(b".").map_err(failed_at_top)?;
        let names = budget.names(&own).map_err(failed_at_top)??.into_iter();
        let mut levels = vec![Level { directory: own, path: EntryPath::root(), names }];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                levels.pop();
                continue;
            };
            let mut leave_out = |shown: String, reason| visitor.left_out(LeftOut { path: shown, reason });
            let Some(path) = level.path.join(&name) else {
                leave_out(displayable(&name), LeftOutReason::UnusableName)?;
                continue;
            };
            if layout::is_staged(path.as_bytes(), Representation::Posix) {
                continue;
            }
            let found = match level.directory.find(&name).map_err(EntryFailure::from) {
                Ok(found) => found,
                Err(failure) => {
                    leave_out(path.to_string(), failure.reason(&path)?)?;
                    continue;
                }
            };
            match found {
                Found::Special => leave_out(path.to_string(), LeftOutReason::Special)?,
                Found::Symlink(target, status) => {
                    visitor.symlink(&entry(path, EntryKind::Symlink, target.len() as u64, &status), &target)?;
                }
                Found::File(file, status) => {
                    let entry = entry(path, EntryKind::File, file_size(&status), &status);
                    visitor.file(&entry, &mut FileContent::new(file, status, &entry.path))?;
                }
                Found::Directory(directory, status) => {
                    let too_deep = levels.len() >= limits.depth || path.as_bytes().len() > limits.path_bytes;
                    if too_deep {
                        leave_out(path.to_string(), LeftOutReason::TooDeep)?;
                        continue;
                    }
                    let names = match budget.names(&directory).map_err(EntryFailure::from) {
                        Ok(names) => names?.into_iter(),
                        Err(failure) => {
                            leave_out(path.to_string(), failure.reason(&path)?)?;
                            continue;
                        }
                    };
                    visitor.directory(&entry(path.clone(), EntryKind::Directory, 0, &status))?;
                    levels.push(Level { directory, path, names });
                }
            }
        }
        Ok(())
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &File, path: &EntryPath, offset: u64, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Past what an offset can be, there is nothing.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(read_error(path, error)),
        }
    }
    Ok(filled)
}

struct FileContent<'a> {
    file: File,
    /// What it was when it was opened.
    opened: FileStat,
    read: u64,
    /// The kernel has shown its end.
    ended: bool,
    path: &'a EntryPath,
}

impl<'a> FileContent<'a> {
    fn new(file: File, opened: FileStat, path: &'a EntryPath) -> Self {
        Self { file, opened, read: 0, ended: false, path }
    }
}

impl Content for FileContent<'_> {
    type Error = Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let read = loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|error| read_error(self.path, error))?,
            }
        };
        self.read += read as u64;
        // There may be less for other reasons, before what was its end.
        self.ended = read < buffer.len() && self.read >= file_size(&self.opened);
        Ok(read)
    }

    fn was_changed(&self) -> bool {
        // The change time, which also tells what went through a mapping or had its time set back.
        let moment = |status: &FileStat| (status.st_ctime, status.st_ctime_nsec, status.st_size);
        stat::fstat(&self.file).map_or(true, |now| moment(&now) != moment(&self.opened))
    }
}
