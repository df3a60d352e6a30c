//! Handles of directories and files that a hostile guest controls.
//!
//! Nothing here ever resolves a path from `/` or through a symbolic link. Each path is resolved
//! beneath an open directory in one step by `openat2`, so that there is no moment between check and
//! use in which the guest could swap a component. Kernels without `openat2` (before 5.6, or behind
//! a filter that denies it) get the same by going down component by component without following
//! links; there, a mount of the same file system within the directory is not noticed.

#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag};
use nix::unistd::{Gid, Uid, UnlinkatFlags};
use nix::{fcntl, unistd};

use nix::sys::stat;
use nix::sys::time::TimeSpec;
use rextfv_core::shared_directory::Attributes;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

/// Room on a file system.
pub(crate) struct FreeSpace {
    pub free_bytes: u64,
    pub block_bytes: u64,
}

/// What an entry turned out to be, with a handle that pins it.
pub(crate) enum Found {
    File(File, FileStat),
    Directory(Directory, FileStat),
    Symlink(Vec<u8>, FileStat),
    Special,
}

/// Set once the kernel has said that it has no `openat2`.
static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

impl Directory {
    /// Opens a directory by a path that the *host* controls; links in it are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(fcntl::open(path, flags, Mode::empty())?))
    }

    /// Opens a directory beneath this one.
    pub fn directory(&self, path: &[u8]) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        Ok(Self(self.resolve(path, flags)?))
    }

    /// Finds out what stands at a path beneath this directory, and opens it if that can do no harm.
    pub fn find(&self, path: &[u8]) -> io::Result<Found> {
        // A handle that only names the entry: opening a FIFO or a device would block or act.
        let named = self.resolve(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)?;
        let status = stat::fstat(&named)?;
        Ok(match kind(&status) {
            SFlag::S_IFREG => Found::File(reopen(&named, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?.into(), status),
            SFlag::S_IFDIR => Found::Directory(Self(reopen(&named, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?), status),
            SFlag::S_IFLNK => {
                let target = fcntl::readlinkat(&named, OsStr::new(""))?;
                Found::Symlink(target.as_bytes().to_vec(), status)
            }
            _ => Found::Special,
        })
    }

    /// Whether there is something of this name in the directory.
    pub fn has(&self, name: &[u8]) -> io::Result<bool> {
        match stat::fstatat(&self.0, OsStr::from_bytes(name), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Names in the directory, in byte order: all, or `limit` of them if there are more.
    pub fn names(&self, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        self.names_where(limit, |_| true)
    }

    /// The same of those names that are wanted.
    pub fn names_where(&self, limit: usize, wanted: impl Fn(&[u8]) -> bool) -> io::Result<Vec<Vec<u8>>> {
        // A handle of its own: the position in a directory belongs to the handle.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = Dir::from_fd(fcntl::openat(&self.0, c".", flags, Mode::empty())?)?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if names.len() >= limit {
                break;
            }
            if name != b"." && name != b".." && wanted(name) {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes a new file in this directory, for writing.
    pub fn create_file(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(fcntl::openat(&self.0, OsStr::from_bytes(name), flags, Mode::from_bits_truncate(0o600))?.into())
    }

    /// Makes a new directory in this one.
    pub fn create_directory(&self, name: &[u8]) -> io::Result<()> {
        Ok(stat::mkdirat(&self.0, OsStr::from_bytes(name), Mode::from_bits_truncate(0o700))?)
    }

    /// Makes a new symbolic link in this directory.
    pub fn create_symlink(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        Ok(unistd::symlinkat(OsStr::from_bytes(target), &self.0, OsStr::from_bytes(name))?)
    }

    /// Makes another name, in this directory, of `existing` in `from`.
    pub fn create_hard_link(&self, name: &[u8], from: &Self, existing: &[u8]) -> io::Result<()> {
        let (existing, name) = (OsStr::from_bytes(existing), OsStr::from_bytes(name));
        Ok(unistd::linkat(&from.0, existing, &self.0, name, AtFlags::empty())?)
    }

    /// Moves an entry of this directory into another one, where nothing of the name may be.
    pub fn rename_new(&self, name: &[u8], to: &Self, new_name: &[u8]) -> io::Result<()> {
        let (name, new_name) = (OsStr::from_bytes(name), OsStr::from_bytes(new_name));
        match fcntl::renameat2(&self.0, name, &to.0, new_name, RenameFlags::RENAME_NOREPLACE) {
            // Not every file system has it. Nothing but a guest's own mischief is replaced then.
            Err(Errno::EINVAL | Errno::ENOSYS) => Ok(fcntl::renameat(&self.0, name, &to.0, new_name)?),
            other => Ok(other?),
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

    /// Removes whatever has this name: a file, or a directory and all that it holds.
    ///
    /// Depth costs nothing, because subdirectories are first moved up into the directory itself. A
    /// guest that keeps adding entries is given up on in the end.
    pub fn remove_tree(&self, name: &[u8]) -> io::Result<()> {
        let Some(top) = self.remove_unless_directory(name)? else { return Ok(()) };
        let mut unique = 0;
        for _ in 0..MOST_REMOVAL_BATCHES {
            let children = top.names(REMOVAL_BATCH)?;
            if children.is_empty() {
                match self.remove_empty_directory(name) {
                    Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) => continue,
                    other => return other,
                }
            }
            for child in children {
                let Some(directory) = top.remove_unless_directory(&child)? else { continue };
                for grandchild in directory.names(REMOVAL_BATCH)? {
                    if directory.remove_unless_directory(&grandchild)?.is_some() {
                        directory.move_under_free_name(&grandchild, &top, &mut unique)?;
                    }
                }
                match top.remove_empty_directory(&child) {
                    // It held more than a batch, or the guest has added something.
                    Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTEMPTY | libc::ENOENT)) => {}
                    other => other?,
                }
            }
        }
        Err(Errno::ENOTEMPTY.into())
    }

    /// Removes an entry, but for a directory, which is opened instead.
    fn remove_unless_directory(&self, name: &[u8]) -> io::Result<Option<Self>> {
        match self.remove_file(name) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EISDIR | libc::EPERM)) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => return other.map(|()| None),
        }
        match self.directory(name) {
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
                let mode = Mode::from_bits_truncate(0o700);
                stat::fchmodat(&self.0, OsStr::from_bytes(name), mode, FchmodatFlags::NoFollowSymlink)?;
                self.directory(name).map(Some)
            }
            other => other.map(Some),
        }
    }

    /// Moves an entry into another directory under a name that is free there. `unique` is what was
    /// last used in such a name.
    pub fn move_under_free_name(&self, name: &[u8], to: &Self, unique: &mut u64) -> io::Result<()> {
        for _ in 0..MOST_NAMES_TRIED {
            *unique += 1;
            match self.rename_new(name, to, format!("{unique:x}").as_bytes()) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY)) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => return other,
            }
        }
        Err(Errno::EEXIST.into())
    }

    /// Gives the directory its mode and time, and its owner if that is to be another one.
    pub fn set_attributes(&self, attributes: Attributes, owner: Option<(Uid, Gid)>) -> io::Result<()> {
        set_attributes(self.0.as_fd(), attributes, owner)
    }

    /// Flushes the whole file system that the directory lies on.
    pub fn flush_file_system(&self) -> io::Result<()> {
        Ok(unistd::syncfs(&self.0)?)
    }

    /// The handle itself.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Who owns the directory.
    pub fn owner(&self) -> io::Result<(Uid, Gid)> {
        let status = stat::fstat(&self.0)?;
        Ok((Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid)))
    }

    /// How much more the file system takes from this process.
    pub fn free_space(&self) -> io::Result<FreeSpace> {
        let status = nix::sys::statvfs::fstatvfs(&self.0)?;
        let block_bytes = status.fragment_size();
        let blocks = if unistd::geteuid().is_root() { status.blocks_free() } else { status.blocks_available() };
        Ok(FreeSpace { free_bytes: blocks.saturating_mul(block_bytes), block_bytes })
    }

    fn resolve(&self, path: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
        if !NO_OPENAT2.load(Ordering::Relaxed) {
            match resolve_at_once(self.0.as_fd(), path, flags) {
                // EPERM: what a filter for system calls answers. On a kernel with openat2 the way
                // component by component then says so again.
                Err(Errno::ENOSYS | Errno::EPERM) => NO_OPENAT2.store(true, Ordering::Relaxed),
                other => return Ok(other?),
            }
        }
        resolve_stepwise(self.0.as_fd(), path, flags)
    }
}

/// Names that are removed before the directory is read again.
const REMOVAL_BATCH: usize = 10_000;

/// Batches after which a directory that a guest keeps filling is given up.
const MOST_REMOVAL_BATCHES: u32 = 10_000;

/// Names tried before a guest that takes each of them is given up.
const MOST_NAMES_TRIED: u32 = 1000;

fn resolve_at_once(directory: BorrowedFd<'_>, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    let how = OpenHow::new().flags(flags).resolve(resolve);
    fcntl::openat2(directory, OsStr::from_bytes(path), how)
}

fn resolve_stepwise(directory: BorrowedFd<'_>, path: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
    let step = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
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
        let flags = if last { flags | OFlag::O_NOFOLLOW } else { step };
        here = Some(same_device(fcntl::openat(at, OsStr::from_bytes(component), flags, Mode::empty())?)?);
    }
    here.ok_or_else(|| Errno::EINVAL.into())
}

/// Opens what a handle names, for real. The handle pins the entry, so it is still what it was.
fn reopen(named: &OwnedFd, flags: OFlag) -> io::Result<OwnedFd> {
    let path = CString::new(format!("/proc/self/fd/{}", named.as_raw_fd()))?;
    Ok(fcntl::open(path.as_c_str(), flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY, Mode::empty())?)
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
    stat::fchmod(fd, Mode::from_bits_truncate(attributes.mode & 0o777))?;
    let time = TimeSpec::new(attributes.modified, 0);
    Ok(stat::futimens(fd, &time, &time)?)
}

/// Gives a symbolic link another owner.
pub(crate) fn set_link_owner(directory: &Directory, name: &[u8], owner: Option<(Uid, Gid)>) -> io::Result<()> {
    if let Some((user, group)) = owner {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        unistd::fchownat(&directory.0, OsStr::from_bytes(name), Some(user), Some(group), flags)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
