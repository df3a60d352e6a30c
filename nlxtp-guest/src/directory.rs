//! Directories by handle.
//!
//! After the claim everything is done relative to the opened `exec_status`, so that an upload that
//! moves the directory away is not disturbed by the old run. Links are never followed.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, SFlag, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, syncfs, unlinkat};

use crate::sys::{FileStat, stat, stat_at};

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
/// `O_NONBLOCK`, so that a FIFO of a status file's name blocks nobody; `O_LARGEFILE`, so that outputs may
/// become long on machines of 32 bits, too.
const PLAIN_FILE: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_LARGEFILE).union(OFlag::O_CLOEXEC);

/// An opened directory.
#[derive(Debug)]
pub struct Directory(OwnedFd);

impl Directory {
    /// Opens the directory at a path that the configuration names; links on the way are the
    /// administrator's own.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(open(path, DIRECTORY, Mode::empty())?))
    }

    /// Opens a directory in this one, not through a link.
    ///
    /// # Errors
    /// The system's.
    pub fn open_beneath(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        Ok(Self(openat(&self.0, name.as_ref(), DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?))
    }

    /// Makes a directory; who makes it first is told so by success.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if anything of that name is there; else the system's.
    pub fn create_directory(&self, name: &str) -> io::Result<()> {
        Ok(mkdirat(&self.0, name, Mode::from_bits_truncate(0o755))?)
    }

    /// Makes a file for reading and writing that must not have been there.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if anything of that name is there; else the system's.
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        let flags = PLAIN_FILE | OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        Ok(openat(&self.0, name, flags, Mode::from_bits_truncate(0o644))?.into())
    }

    /// Opens a regular file for reading; `None` if there is nothing of that name.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if it is no regular file; else the system's.
    pub fn read_file(&self, name: impl AsRef<OsStr>) -> io::Result<Option<File>> {
        self.open_file(name.as_ref(), OFlag::O_RDONLY)
    }

    /// Opens a regular file for reading and writing; `None` if there is nothing of that name.
    ///
    /// # Errors
    /// As [`read_file`](Self::read_file).
    pub fn write_file(&self, name: &str) -> io::Result<Option<File>> {
        self.open_file(name.as_ref(), OFlag::O_RDWR)
    }

    fn open_file(&self, name: &OsStr, access: OFlag) -> io::Result<Option<File>> {
        let file = match openat(&self.0, name, PLAIN_FILE | access, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is a symbolic link, which is not followed",
                ));
            }
            Err(error) => return Err(error.into()),
        };
        if !is_regular(&stat(&file)?) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(Some(file.into()))
    }

    /// What stands under a name, not following a link; `None` if nothing does.
    ///
    /// # Errors
    /// The system's.
    pub fn look(&self, name: impl AsRef<OsStr>) -> io::Result<Option<FileStat>> {
        match stat_at(&self.0, name.as_ref(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether anything stands under a name. What cannot be looked at counts as there.
    pub fn holds(&self, name: &str) -> bool {
        !matches!(self.look(name), Ok(None))
    }

    /// Whether a regular file stands under a name, or a link that leads to one or nowhere.
    pub fn holds_file_or_lost_link(&self, name: impl AsRef<OsStr>) -> bool {
        match stat_at(&self.0, name.as_ref(), AtFlags::empty()) {
            Ok(stat) => is_regular(&stat),
            Err(Errno::ENOENT | Errno::ELOOP) => matches!(self.look(name), Ok(Some(_))),
            Err(_) => false,
        }
    }

    /// All names, without `.` and `..`.
    ///
    /// # Errors
    /// The system's.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::openat(&self.0, ".", DIRECTORY, Mode::empty())?.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(&name).to_owned());
            }
        }
        Ok(names)
    }

    /// Removes a file; that there is none is fine.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        match unlinkat(&self.0, name.as_ref(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_directory(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(&self.0, name.as_ref(), UnlinkatFlags::RemoveDir)?)
    }

    /// Renames a file within the directory, over another if there is one.
    ///
    /// # Errors
    /// The system's.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    /// Gives the directory to a user; what is in it stays as it is.
    ///
    /// # Errors
    /// The system's: file systems such as FAT know no owners.
    pub fn give_to(&self, user: Uid, group: Gid) -> io::Result<()> {
        Ok(fchown(&self.0, Some(user), Some(group))?)
    }

    /// The directory's own attributes.
    ///
    /// # Errors
    /// The system's.
    pub fn stat(&self) -> io::Result<FileStat> {
        Ok(stat(&self.0)?)
    }

    /// Brings the directory's entries to the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fsync(&self.0)?)
    }

    /// Brings everything on the directory's file system to the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn sync_file_system(&self) -> io::Result<()> {
        syncfs(&self.0)?;
        // On FAT, that leaves what it has written in the disk's own cache; this empties it.
        Ok(fsync(&self.0)?)
    }
}

impl From<OwnedFd> for Directory {
    fn from(directory: OwnedFd) -> Self {
        Self(directory)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether attributes are a directory's.
pub fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR
}

/// Whether attributes are a regular file's.
pub fn is_regular(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG
}

/// Whether two attributes are of one and the same file or directory.
pub fn same_file(one: &FileStat, other: &FileStat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// The last part of a name of the protocol: `custom` of `exec_status/custom`.
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
