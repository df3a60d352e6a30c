//! Handles of directories and files that a hostile guest controls.
//!
//! Nothing here ever resolves a path from `/` or through a symbolic link. Each path is resolved
//! beneath an open directory in one step by `openat2`, so that there is no moment between check and
//! use in which the guest could swap a component. Kernels without `openat2` (before 5.6, or behind
//! a filter that denies it) get the same by going down component by component without following
//! links; there, a mount of the same file system within the directory is not noticed.
//!
//! A handle stays with its directory. A guest that moves one elsewhere while the host is at work in
//! it keeps the host at work there; it can move it only within the mount that it sees itself, and
//! nothing that is not beneath the moved directory is reached.

#![forbid(unsafe_code)]

mod removal;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::LazyLock;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag};
use nix::unistd::{Gid, Uid, UnlinkatFlags};
use nix::{fcntl, unistd};

use nix::sys::stat;
use nix::sys::time::TimeSpec;
use rextfv_core::shared_directory::Attributes;

pub(crate) use removal::{Patience, UniqueNames};

use super::change_time::Keeper;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

/// A handle that names something and does not open it.
pub(crate) struct Named(OwnedFd);

impl Named {
    /// What it is.
    pub fn kind(&self) -> io::Result<SFlag> {
        Ok(kind(&stat::fstat(&self.0)?))
    }

    /// Which one it is.
    pub fn identity(&self) -> io::Result<Identity> {
        Ok(Identity::from(&stat::fstat(&self.0)?))
    }

    /// Who keeps the times there.
    pub fn keeper(&self) -> Keeper {
        Keeper::of(&self.0)
    }

    /// A path of this process that leads there, for as long as the handle is held.
    pub fn path(&self) -> String {
        magic_link(&self.0)
    }
}

/// Tells files apart, as long as both are held open or looked at in one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl From<&FileStat> for Identity {
    fn from(status: &FileStat) -> Self {
        Self { device: status.st_dev, inode: status.st_ino }
    }
}

/// What an entry turned out to be, with a handle that pins it.
pub(crate) enum Found {
    File(File, FileStat),
    Directory(Directory, FileStat),
    Symlink(Vec<u8>, FileStat),
    Special,
}

/// Whether the kernel has `openat2` and lets this process use it. It is asked once, about a path that
/// no guest has to do with: what a shared directory answers must never lead to the weaker way.
static OPENAT2: LazyLock<bool> = LazyLock::new(|| {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
    // EPERM: what a filter for system calls answers.
    !matches!(fcntl::openat2(AT_FDCWD, c"/", how), Err(Errno::ENOSYS | Errno::EPERM))
});

fn has_openat2() -> bool {
    #[cfg(test)]
    if tests::WITHOUT_OPENAT2.get() {
        return false;
    }
    *OPENAT2
}

/// Entries of one directory that are looked at before a guest that adds to it meanwhile is given up.
const MOST_ENTRIES_READ: u64 = 1 << 26;

/// Times that a path is resolved anew because something was renamed just then.
const MOST_RESOLUTIONS: u32 = 100;

impl Directory {
    /// Opens a directory by a path that the *host* controls; links in it are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(fcntl::open(path, flags, Mode::empty())?))
    }

    /// The same as a handle that only names it, for less: whatever is beneath can be found by it.
    pub fn open_pinned(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(fcntl::open(path, flags, Mode::empty())?))
    }

    /// Opens a directory beneath this one.
    pub fn directory(&self, path: &[u8]) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        Ok(Self(self.resolve(path, flags)?))
    }

    /// The same as a handle that only names it.
    pub fn pin(&self, path: &[u8]) -> io::Result<Self> {
        Ok(Self(self.resolve(path, PINNED_DIRECTORY)?))
    }

    /// A handle that only names what stands at a path beneath this directory.
    pub fn name(&self, path: &[u8]) -> io::Result<Named> {
        Ok(Named(self.resolve(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)?))
    }

    /// What the directory itself is.
    pub fn status(&self) -> io::Result<FileStat> {
        Ok(stat::fstat(&self.0)?)
    }

    /// What has this name in the directory. It is not opened, and followed if it is a mount.
    pub fn status_of(&self, name: &[u8]) -> io::Result<FileStat> {
        Ok(stat::fstatat(&self.0, OsStr::from_bytes(name), AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Finds out what stands at a path beneath this directory, and opens it if that can do no harm.
    pub fn find(&self, path: &[u8]) -> io::Result<Found> {
        // A handle that only names the entry: opening a FIFO or a device would block or act.
        let named = self.resolve(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)?;
        let status = stat::fstat(&named)?;
        Ok(match kind(&status) {
            SFlag::S_IFREG => Found::File(reopen(&named, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?.into(), status),
            SFlag::S_IFDIR => Found::Directory(Self(open_itself(named.as_fd())?), status),
            SFlag::S_IFLNK => {
                let target = fcntl::readlinkat(&named, OsStr::new(""))?;
                Found::Symlink(target.as_bytes().to_vec(), status)
            }
            _ => Found::Special,
        })
    }

    /// Whether there is something of this name in the directory.
    pub fn has(&self, name: &[u8]) -> io::Result<bool> {
        match self.resolve(name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there is nothing of this name in the directory; false also where that cannot be told.
    pub fn lacks(&self, name: &[u8]) -> bool {
        self.status_of(name).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether another file system is mounted at this name.
    pub fn is_mount_point(&self, name: &[u8]) -> io::Result<bool> {
        match self.resolve(name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC) {
            Ok(_) => Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Names in the directory, in byte order: all, or `limit` of them if there are more.
    pub fn names(&self, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        self.names_where(limit, |_| true)
    }

    /// The same of those names that are wanted.
    pub fn names_where(&self, limit: usize, wanted: impl Fn(&[u8]) -> bool) -> io::Result<Vec<Vec<u8>>> {
        // A handle of its own: the position in a directory belongs to the handle.
        let mut directory = Dir::from_fd(open_itself(self.0.as_fd())?)?;
        let mut names = Vec::new();
        for (read, entry) in (0..).zip(directory.iter()) {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if names.len() >= limit {
                break;
            }
            if read >= MOST_ENTRIES_READ {
                return Err(io::Error::other("a directory has too many entries, or goes on and on"));
            }
            if name != b"." && name != b".." && wanted(name) {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes a new file in this directory, for writing, with the bits of this mode that the process's own
    /// mask leaves.
    pub fn create_file(&self, name: &[u8], mode: u32) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(mode & 0o777);
        Ok(fcntl::openat(&self.0, OsStr::from_bytes(name), flags, mode)?.into())
    }

    /// Makes a new directory in this one.
    pub fn create_directory(&self, name: &[u8], mode: u32) -> io::Result<()> {
        Ok(stat::mkdirat(&self.0, OsStr::from_bytes(name), Mode::from_bits_truncate(mode))?)
    }

    /// Makes a new symbolic link in this directory, and gives it to its owner.
    pub fn create_symlink(&self, name: &[u8], target: &[u8], owner: Option<(Uid, Gid)>) -> io::Result<()> {
        unistd::symlinkat(OsStr::from_bytes(target), &self.0, OsStr::from_bytes(name))?;
        let Some((user, group)) = owner else { return Ok(()) };
        // There is no way to make a link and hold it: what has the name now may be another file,
        // which must not be given away.
        let link = self.resolve(name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)?;
        let status = stat::fstat(&link)?;
        if kind(&status) != SFlag::S_IFLNK || status.st_nlink != 1 || !may_be_given(&status, user) {
            return Err(replaced());
        }
        Ok(unistd::fchownat(&link, c"", Some(user), Some(group), AtFlags::AT_EMPTY_PATH)?)
    }

    /// Makes another name, in this directory, of `existing` in `from`.
    pub fn create_hard_link(&self, name: &[u8], from: &Self, existing: &[u8]) -> io::Result<()> {
        let (existing, name) = (OsStr::from_bytes(existing), OsStr::from_bytes(name));
        Ok(unistd::linkat(&from.0, existing, &self.0, name, AtFlags::empty())?)
    }

    /// Moves an entry of this directory into another one, where nothing of the name may be.
    pub fn rename_new(&self, name: &[u8], to: &Self, new_name: &[u8]) -> io::Result<()> {
        match self.rename_as_it_is(name, to, new_name) {
            Err(Errno::EACCES) => {}
            other => return Ok(other?),
        }
        // Moving a directory changes its "..": who is not root must be allowed to write to it.
        let moved = self.resolve(name, PINNED_DIRECTORY)?;
        let mode = Mode::from_bits_truncate(stat::fstat(&moved)?.st_mode & 0o7777);
        change_mode(&moved, mode | Mode::S_IRWXU)?;
        let outcome = self.rename_as_it_is(name, to, new_name);
        change_mode(&moved, mode)?;
        Ok(outcome?)
    }

    fn rename_as_it_is(&self, name: &[u8], to: &Self, new_name: &[u8]) -> Result<(), Errno> {
        let (name, new_name) = (OsStr::from_bytes(name), OsStr::from_bytes(new_name));
        match fcntl::renameat2(&self.0, name, &to.0, new_name, RenameFlags::RENAME_NOREPLACE) {
            // Not every file system has it. Nothing but a guest's own mischief is replaced then.
            Err(Errno::EINVAL | Errno::ENOSYS) => fcntl::renameat(&self.0, name, &to.0, new_name),
            other => other,
        }
    }

    /// Removes a file, link or the like.
    pub fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        Ok(unistd::unlinkat(&self.0, OsStr::from_bytes(name), UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes an empty directory.
    pub fn remove_empty_directory(&self, name: &[u8]) -> io::Result<()> {
        Ok(unistd::unlinkat(&self.0, OsStr::from_bytes(name), UnlinkatFlags::RemoveDir)?)
    }

    /// Sets the directory's times to now, which whoever watches it is told of, and which leaves nothing
    /// behind. Who may write to it may do so.
    pub fn touch(&self) -> io::Result<()> {
        Ok(stat::futimens(&self.0, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)?)
    }

    /// Gives a directory that this process has made its mode and time, and its owner if that is to
    /// be another one.
    pub fn set_attributes(&self, attributes: Attributes, owner: Option<(Uid, Gid)>) -> io::Result<()> {
        if let Some((user, _)) = owner {
            // By its name it was found again, and it may be another one, which must not be given
            // away. A guest cannot move one here that is root's and that only root may write to.
            let status = stat::fstat(&self.0)?;
            let ours = Uid::from_raw(status.st_uid) == user || status.st_mode & 0o077 == 0;
            if !ours || !may_be_given(&status, user) {
                return Err(replaced());
            }
        }
        set_attributes(self.0.as_fd(), attributes, owner)
    }

    /// Flushes the whole file system that the directory lies on.
    pub fn flush_file_system(&self) -> io::Result<()> {
        Ok(unistd::syncfs(&self.0)?)
    }

    /// The handle, to look at.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The handle itself.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Whether both are handles of one directory.
    pub fn is_same(&self, other: &Self) -> io::Result<bool> {
        let (one, other) = (stat::fstat(&self.0)?, stat::fstat(&other.0)?);
        Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
    }

    /// Who owns the directory.
    pub fn owner(&self) -> io::Result<(Uid, Gid)> {
        let status = stat::fstat(&self.0)?;
        Ok((Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid)))
    }

    fn resolve(&self, path: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
        if !has_openat2() {
            return resolve_stepwise(self.0.as_fd(), path, flags);
        }
        for _ in 1..MOST_RESOLUTIONS {
            match resolve_at_once(self.0.as_fd(), path, flags) {
                // The kernel could not tell whether it was led out, because something was moved.
                Err(Errno::EAGAIN) => {}
                other => return Ok(other?),
            }
        }
        Ok(resolve_at_once(self.0.as_fd(), path, flags)?)
    }
}

/// Only names a directory, which need not be readable.
const PINNED_DIRECTORY: OFlag =
    OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn resolve_at_once(directory: BorrowedFd<'_>, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    let how = OpenHow::new().flags(flags).resolve(resolve);
    fcntl::openat2(directory, OsStr::from_bytes(path), how)
}

fn resolve_stepwise(directory: BorrowedFd<'_>, path: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
    if path == b"." {
        return Ok(fcntl::openat(directory, c".", flags, Mode::empty())?);
    }
    let device = stat::fstat(directory)?.st_dev;
    let same_device = |fd: OwnedFd| -> io::Result<OwnedFd> {
        if stat::fstat(&fd)?.st_dev == device { Ok(fd) } else { Err(Errno::EXDEV.into()) }
    };
    let mut components = path.split(|&byte| byte == b'/').peekable();
    let mut here: Option<OwnedFd> = None;
    while let Some(component) = components.next() {
        if matches!(component, b"" | b"." | b"..") {
            return Err(Errno::EINVAL.into());
        }
        let last = components.peek().is_none();
        let at = here.as_ref().map_or(directory, AsFd::as_fd);
        let flags = if last { flags | OFlag::O_NOFOLLOW } else { PINNED_DIRECTORY };
        here = Some(same_device(fcntl::openat(at, OsStr::from_bytes(component), flags, Mode::empty())?)?);
    }
    here.ok_or_else(|| Errno::EINVAL.into())
}

/// The directory of this process's descriptors, and the process: to get there from `/` takes as long as all
/// else that it takes to open a file anew. A child that was forked has others, and finds them by the path.
static DESCRIPTORS: LazyLock<Option<(u32, OwnedFd)>> = LazyLock::new(|| {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Some((std::process::id(), fcntl::open("/proc/self/fd", flags, Mode::empty()).ok()?))
});

/// Opens the file that a handle names, for real. The handle pins it, so it is still what it was.
fn reopen(named: &OwnedFd, flags: OFlag) -> io::Result<OwnedFd> {
    let own = DESCRIPTORS.as_ref().filter(|(process, _)| *process == std::process::id());
    reopen_in(own.map(|(_, descriptors)| descriptors), named, flags)
}

fn reopen_in(descriptors: Option<&OwnedFd>, named: &OwnedFd, flags: OFlag) -> io::Result<OwnedFd> {
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    if let Some(descriptors) = descriptors {
        let name = named.as_raw_fd().to_string();
        match fcntl::openat(descriptors, name.as_str(), flags, Mode::empty()) {
            // Somebody has closed all that this process had open.
            Err(Errno::ENOENT | Errno::EBADF | Errno::ENOTDIR) => {}
            other => return Ok(other?),
        }
    }
    match fcntl::open(magic_link(named).as_str(), flags, Mode::empty()) {
        // The link itself is always there; this must not look as if the file had vanished.
        Err(Errno::ENOENT) => Err(no_proc()),
        other => Ok(other?),
    }
}

/// Opens a directory once more, as a handle with a position of its own.
fn open_itself(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(fcntl::openat(directory, c".", flags, Mode::empty())?)
}

/// Changes the mode of what a handle names, which `fchmod` does not do.
fn change_mode(named: &OwnedFd, mode: Mode) -> io::Result<()> {
    match stat::fchmodat(AT_FDCWD, magic_link(named).as_str(), mode, FchmodatFlags::FollowSymlink) {
        Err(Errno::ENOENT) => Err(no_proc()),
        other => Ok(other?),
    }
}

fn magic_link(named: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", named.as_raw_fd())
}

fn no_proc() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "/proc is needed and is not mounted")
}

fn replaced() -> io::Error {
    io::Error::other("the guest has put something else in its place")
}

/// Whether something that must be of this process's making can be: it is this process's still, or
/// the receiver's already.
fn may_be_given(status: &FileStat, to: Uid) -> bool {
    let user = Uid::from_raw(status.st_uid);
    user == unistd::geteuid() || user == to
}

/// The type bits of a mode.
pub(crate) fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}

/// Mode and time as the host tells them to others.
pub(crate) fn attributes(status: &FileStat) -> Attributes {
    Attributes { mode: status.st_mode & 0o777, modified: status.st_mtime }
}

/// Gives an open file or directory its mode and time, and its owner if that is to be another one.
pub(crate) fn set_attributes(fd: BorrowedFd<'_>, attributes: Attributes, owner: Option<(Uid, Gid)>) -> io::Result<()> {
    // The owner first: changing it may clear mode bits.
    if let Some((user, group)) = owner {
        unistd::fchown(fd, Some(user), Some(group))?;
    }
    let mode = attributes.mode & 0o777;
    // To look is cheaper than to change, and most files were made with their mode.
    if stat::fstat(fd)?.st_mode & 0o7777 != mode {
        stat::fchmod(fd, Mode::from_bits_truncate(mode))?;
    }
    let time = TimeSpec::new(attributes.modified, 0);
    Ok(stat::futimens(fd, &time, &time)?)
}

#[cfg(test)]
mod tests;
