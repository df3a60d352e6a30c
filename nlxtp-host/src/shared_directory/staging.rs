//! How an upload replaces the content of a directory: all of it or nothing.
//!
//! `docs/protocol.md` ("Uploading") sets out the steps and what a crash at each of them leaves. The
//! new content is made in `.nlxtp_upload/new`; renaming that to `commit` is the one moment that
//! decides, and from there on everything can be finished by whoever comes next.

#![forbid(unsafe_code)]

mod swap;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, Uid, geteuid};
use rextfv_core::archive_rules::Manifest;
use rextfv_core::entry_path::{EntryPath, displayable};
use rextfv_core::ids::RunId;
use rextfv_core::layout::{self, STAGING_DIRECTORY};
use rextfv_core::shared_directory::{Attributes, Content, Replacement, Watch};

use self::swap::{roll_forward, with_way_to_move};
use super::beneath::{Directory, Found, Patience, set_attributes};
use super::room::{self, Room};
use crate::early_flush::EarlyFlush;
use crate::error::{Error, ErrorKind, Result};

const STAGING: &[u8] = STAGING_DIRECTORY.as_bytes();
/// The new content while it is being made.
const NEW: &[u8] = b"new";
/// The new content once it counts.
const COMMIT: &[u8] = b"commit";
/// The new content once the old one is out of the way.
const READY: &[u8] = b"ready";
/// The old content.
const OLD: &[u8] = b"old";

/// What the staging directory lets others do: see what is in it, as far as they know the names. The
/// guest's monitor must be able to, and it may be another user.
const STAGING_MODE: u32 = 0o711;
/// What directories of the new content let others do before they are complete.
const PRIVATE_MODE: u32 = 0o700;

/// Bytes that are copied at once.
const COPY_BYTES: usize = 256 * 1024;

/// The new content of a directory, being made.
pub(super) struct Staging {
    path: PathBuf,
    root: Directory,
    staging: Directory,
    new: Directory,
    /// Whose everything is to be, where that is not this process's user anyway.
    owner: Option<(Uid, Gid)>,
    /// Directories get their modes and times last: filling them would change both. Parents come
    /// before what they hold.
    directories: BTreeMap<EntryPath, Attributes>,
    /// The directory of the last file: most files come in runs.
    parent: Option<(EntryPath, Directory)>,
    /// Looked at as long as nobody knows how much will come.
    room: Option<Room>,
    /// Bytes of all files so far. No copy is longer, even if a guest makes what is copied longer.
    bytes_written: u64,
    buffer: Vec<u8>,
    committed: bool,
    _lock: Flock<OwnedFd>,
}

impl Staging {
    /// Locks the directory, finishes or removes what an upload that was cut off has left, and
    /// begins.
    pub fn begin(path: &Path, root: Directory, manifest: Option<&Manifest>, watch: Watch<'_, Error>) -> Result<Self> {
        let lock = lock(&root)?.ok_or_else(|| {
            Error::new(ErrorKind::InUse, "another upload to this directory is under way")
                .with_hint("wait for it to end and try again; if there is none, the guest holds the lock")
        })?;
        let doing = |error| nothing_changed(Error::io("prepare the upload", error)).with_object(STAGING_DIRECTORY);
        let may_go_on = || watch().map_err(io::Error::other);
        let mut patience = Patience::of_an_upload().while_allowed(&may_go_on);
        if let Some(staging) = root.remove_unless_directory(STAGING).map_err(doing)? {
            roll_forward(&root, &staging, &mut patience)?;
            drop(staging);
            root.remove_tree(STAGING, &mut patience).map_err(|error| with_way_to_move(error, doing))?;
        }
        check_mounts(&root)?;
        // Leftovers may have taken the space.
        let room = match manifest {
            Some(manifest) => {
                check_space(&root, manifest)?;
                None
            }
            None => Some(Room::on(root.as_fd()).map_err(doing)?),
        };
        root.create_directory(STAGING, STAGING_MODE).map_err(doing)?;
        let make = || -> io::Result<(Directory, Directory)> {
            let staging = root.directory(STAGING)?;
            // Once the new content counts, nothing must fail for want of room.
            staging.create_directory(OLD, PRIVATE_MODE)?;
            staging.create_directory(NEW, PRIVATE_MODE)?;
            let new = staging.directory(NEW)?;
            Ok((staging, new))
        };
        let (staging, new) = make().map_err(|error| {
            let _ = root.remove_tree(STAGING, &mut patience);
            doing(error)
        })?;
        let owner = root.owner().map_err(doing)?;
        let owner = (geteuid().is_root() && owner != (Uid::from_raw(0), Gid::from_raw(0))).then_some(owner);
        Ok(Self {
            path: path.into(),
            root,
            staging,
            new,
            owner,
            directories: BTreeMap::new(),
            parent: None,
            room,
            bytes_written: 0,
            buffer: vec![0; COPY_BYTES],
            committed: false,
            _lock: lock,
        })
    }

    /// Sees to it that what comes does not fill the disk.
    fn take_room(&mut self, bytes: u64) -> Result<()> {
        let Some(room) = &mut self.room else { return Ok(()) };
        room.take(self.root.as_fd(), bytes)
    }

    /// The directory that holds `path`, and the last component.
    fn parent<'a>(&mut self, path: &'a EntryPath) -> Result<(&Directory, &'a [u8])> {
        let name = path.name().ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the path is empty"))?;
        let parent = path.parent().unwrap_or_else(EntryPath::root);
        if parent.is_root() {
            return Ok((&self.new, name));
        }
        if self.parent.as_ref().is_none_or(|(known, _)| *known != parent) {
            let directory = self.new.directory(parent.as_bytes()).map_err(|error| writing(&parent, error))?;
            self.parent = Some((parent, directory));
        }
        match &self.parent {
            Some((_, directory)) => Ok((directory, name)),
            None => Ok((&self.new, name)),
        }
    }

    /// Makes a file, which others cannot get at before all of the new content is there, whatever its mode.
    fn create_file(&mut self, path: &EntryPath, attributes: Attributes) -> Result<File> {
        let (parent, name) = self.parent(path)?;
        parent.create_file(name, attributes.mode).map_err(|error| writing(path, error))
    }

    fn finish_file(&self, file: &File, path: &EntryPath, attributes: Attributes) -> Result<()> {
        set_attributes(file.as_fd(), attributes, self.owner).map_err(|error| writing(path, error))
    }

    /// What counts must be where others look for it. Handles stay with a directory that is moved away,
    /// or is hidden by a mount.
    fn check_place(&self) -> Result<()> {
        let same = Directory::open(&self.path).and_then(|found| found.is_same(&self.root));
        let error = match same {
            Ok(true) => return Ok(()),
            Ok(false) => Error::new(ErrorKind::Changing, "another directory has taken its place during the upload")
                .with_hint("upload again"),
            Err(error) => Error::io("find the shared directory again", error),
        };
        Err(error.with_path(&self.path))
    }

    fn write_run_id(&mut self, run: RunId) -> io::Result<()> {
        let mut file = self.new.create_file(layout::RUN_ID.as_bytes(), 0o644)?;
        file.write_all(format!("{run}\n").as_bytes())?;
        let attributes = Attributes { mode: 0o644, modified: now() };
        set_attributes(file.as_fd(), attributes, self.owner)
    }
}

pub(super) fn now() -> i64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_secs()).unwrap_or(0)
}

fn writing(path: &EntryPath, error: io::Error) -> Error {
    nothing_changed(Error::io("write the new content", error)).with_object(path.to_string())
}

/// An error before the new content counts.
fn nothing_changed(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NoSpace => error.with_hint("nothing was changed; make room and upload again"),
        _ => error,
    }
}

/// An error after the new content counts, told with the entry at which it happened and its way out.
fn unfinished(error: Error) -> Error {
    let message = "the new content counts, but could not be put in its place";
    let hint = error.hint().unwrap_or("any further operation goes on with that; or upload again");
    let unfinished = Error::new(ErrorKind::Unfinished, message).with_source(error.message()).with_hint(hint);
    match error.object() {
        Some(object) => unfinished.with_object(object),
        None => unfinished,
    }
}

/// Takes the lock that keeps uploads of our own apart; `None` if somebody has it.
fn lock(root: &Directory) -> Result<Option<Flock<OwnedFd>>> {
    // A handle of its own: the lock goes when it is closed, and with no other.
    let own = root.directory(b".").map_err(|error| Error::io("lock the shared directory", error))?;
    match Flock::lock(own.into_fd(), FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(Error::io("lock the shared directory", errno.into())),
    }
}

/// Entries whose names are read at once.
const BATCH: usize = 10_000;

/// What is mounted at the top cannot be moved out of the way; better known before anything is moved.
fn check_mounts(root: &Directory) -> Result<()> {
    let doing = |error| Error::io("look at the old content", error);
    for name in root.names(BATCH).map_err(doing)? {
        if root.is_mount_point(&name).map_err(doing)? {
            return Err(Error::new(ErrorKind::InUse, "another file system is mounted there")
                .with_object(displayable(&name))
                .with_hint("unmount it first"));
        }
    }
    Ok(())
}

/// Old and new content stand side by side for a while: the new one must fit into what is free.
fn check_space(root: &Directory, manifest: &Manifest) -> Result<()> {
    let space = room::free_space(root.as_fd()).map_err(|error| Error::io("find out how much space is free", error))?;
    // Every entry costs about a block, for its name and its last part.
    let needed = manifest.total_bytes.saturating_add(manifest.entries().saturating_mul(space.block_bytes));
    if needed > space.free_bytes {
        let message = format!(
            "the content needs {needed} bytes unpacked and only {} are free beside the old content",
            space.free_bytes
        );
        return Err(
            Error::new(ErrorKind::TooSmall, message).with_hint("nothing was changed; make room and upload again")
        );
    }
    Ok(())
}

/// How long a view tidies up before it goes on and leaves the rest to the next one.
const VIEW_TIME: Duration = Duration::from_secs(1);

/// Finishes an upload that was cut off after it counted, unless somebody is just at it.
///
/// A view goes on if this fails: there is then no start script, and the status tells what there is.
pub(super) fn recover_if_idle(root: &Directory) {
    // Nearly always.
    if root.lacks(STAGING) {
        return;
    }
    let counts = |staging: &Directory| [COMMIT, READY].iter().any(|name| staging.has(name).unwrap_or(false));
    if !root.directory(STAGING).is_ok_and(|staging| counts(&staging)) {
        return;
    }
    // Not by a handle that only names it: it is written to.
    let Ok(root) = root.directory(b".") else { return };
    let Ok(Some(_lock)) = lock(&root) else { return };
    // Looked for once more: before there was the lock, it may have been another upload's.
    let Ok(staging) = root.directory(STAGING) else { return };
    if counts(&staging) {
        let end = Instant::now() + VIEW_TIME;
        let may_go_on = || if Instant::now() < end { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) };
        let mut patience = Patience::of_a_view().while_allowed(&may_go_on);
        if roll_forward(&root, &staging, &mut patience).is_ok() {
            let _ = root.remove_tree(STAGING, &mut patience);
        }
    }
}

impl Replacement for Staging {
    type Error = Error;

    fn directory(&mut self, path: &EntryPath, attributes: Attributes) -> Result<()> {
        if !self.directories.contains_key(path) {
            self.take_room(0)?;
            let (parent, name) = self.parent(path)?;
            parent.create_directory(name, PRIVATE_MODE).map_err(|error| writing(path, error))?;
        }
        self.directories.insert(path.clone(), attributes);
        Ok(())
    }

    fn file(
        &mut self,
        path: &EntryPath,
        attributes: Attributes,
        size: u64,
        content: &mut dyn Content<Error = Error>,
    ) -> Result<()> {
        self.take_room(size)?;
        let mut file = self.create_file(path, attributes)?;
        let mut written = 0;
        let mut flush = EarlyFlush::default();
        loop {
            let length = content.read(&mut self.buffer)?;
            if length == 0 {
                break;
            }
            file.write_all(&self.buffer[..length]).map_err(|error| writing(path, error))?;
            written += length as u64;
            flush.written_to(&file, written);
        }
        if written != size {
            let message = format!("the content is {written} bytes long and not {size}");
            return Err(Error::new(ErrorKind::BadArchive, message).with_object(path.to_string()));
        }
        self.bytes_written += written;
        self.finish_file(&file, path, attributes)
    }

    fn copy(
        &mut self,
        path: &EntryPath,
        existing: &EntryPath,
        attributes: Attributes,
        watch: Watch<'_, Error>,
    ) -> Result<()> {
        let Found::File(mut source, status) =
            self.new.find(existing.as_bytes()).map_err(|error| writing(existing, error))?
        else {
            return Err(
                Error::new(ErrorKind::Changing, "it vanished from the upload").with_object(existing.to_string())
            );
        };
        self.take_room(u64::try_from(status.st_size).unwrap_or(0))?;
        let mut file = self.create_file(path, attributes)?;
        let mut copied = 0;
        loop {
            watch()?;
            let read = source.read(&mut self.buffer).map_err(|error| writing(existing, error))?;
            if read == 0 {
                break;
            }
            copied += read as u64;
            if copied > self.bytes_written {
                return Err(
                    Error::new(ErrorKind::Changing, "it grew during the upload").with_object(existing.to_string())
                );
            }
            file.write_all(&self.buffer[..read]).map_err(|error| writing(path, error))?;
        }
        self.finish_file(&file, path, attributes)
    }

    fn symlink(&mut self, path: &EntryPath, target: &[u8]) -> Result<()> {
        let owner = self.owner;
        let (parent, name) = self.parent(path)?;
        parent.create_symlink(name, target, owner).map_err(|error| writing(path, error))
    }

    fn hard_link(&mut self, path: &EntryPath, existing: &EntryPath) -> Result<()> {
        let failed = |error| writing(path, error);
        let from_parent = existing.parent().unwrap_or_else(EntryPath::root);
        let from = if from_parent.is_root() {
            self.new.directory(b".").map_err(failed)?
        } else {
            self.new.directory(from_parent.as_bytes()).map_err(failed)?
        };
        let (parent, name) = self.parent(path)?;
        parent.create_hard_link(name, &from, existing.name().unwrap_or_default()).map_err(failed)
    }

    fn commit(mut self: Box<Self>, run: RunId, watch: Watch<'_, Error>) -> Result<()> {
        self.write_run_id(run).map_err(|error| nothing_changed(Error::io("write the run id", error)))?;
        // Innermost first: setting a directory's time must come after its subdirectories were made.
        for (path, attributes) in self.directories.iter().rev() {
            watch()?;
            let directory = self.new.directory(path.as_bytes()).map_err(|error| writing(path, error))?;
            directory.set_attributes(*attributes, self.owner).map_err(|error| writing(path, error))?;
        }
        let doing = |error| nothing_changed(Error::io("flush the new content", error));
        self.root.flush_file_system().map_err(doing)?;
        self.check_place()?;
        watch()?;
        self.staging.rename_new(NEW, &self.staging, COMMIT).map_err(doing)?;
        // From here on there is no way back.
        self.committed = true;
        let placed = self
            .root
            .flush_file_system()
            .map_err(|error| Error::io("flush the new content", error))
            .and_then(|()| roll_forward(&self.root, &self.staging, &mut Patience::of_an_upload()));
        placed.map_err(unfinished)?;
        // What is not removed does no harm there: the new content is in its place.
        let may_go_on = || watch().map_err(io::Error::other);
        let _ = self.root.remove_tree(STAGING, &mut Patience::of_an_upload().while_allowed(&may_go_on));
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed {
            // What is left does no harm; the next upload tries again.
            let _ = self.root.remove_tree(STAGING, &mut Patience::of_an_upload());
        }
    }
}
