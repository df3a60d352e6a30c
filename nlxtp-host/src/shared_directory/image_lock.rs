//! Taking turns with the guest and with each other: locks on a disk image.
//!
//! Two kinds, both held while an image is written:
//!
//! - QEMU's. It marks each image that it uses with open-file-description locks on single bytes
//!   (`block/file-posix.c` in its sources): byte 100 + n says "I use permission n", byte 200 + n
//!   says "I let nobody else use permission n". The permissions are 0: consistent read, 1: write,
//!   2: write unchanged, 3: resize. We ask whether anybody writes or forbids writing, and hold the
//!   locks of a writer that shares nothing, so that QEMU refuses to start.
//! - `flock`, between our own processes.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};

use crate::error::{Error, ErrorKind, Result};

const USED: i64 = 100;
const NOT_SHARED: i64 = 200;
/// Write, write unchanged and resize.
const WRITING: std::ops::RangeInclusive<i64> = 1..=3;
/// All permissions.
const ANY: std::ops::RangeInclusive<i64> = 0..=3;

/// An image that only this process may write while this value lives.
#[derive(Debug)]
pub(super) struct LockedImage {
    lock: Flock<File>,
}

impl LockedImage {
    /// Locks the open image that was found at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] where QEMU or another process of ours holds it, or has just replaced it.
    pub fn lock(file: File, path: &Path) -> Result<Self> {
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(Error::new(ErrorKind::InUse, "another process has locked the disk")
                    .with_hint("wait for its upload to end and try again")
                    .with_path(path));
            }
            Err((_, errno)) => return Err(Error::io("lock the disk", errno.into()).with_path(path)),
        };
        // Whoever had the lock before may have put a new image in the place of the one we opened.
        let same = same_file(&lock, path).map_err(|error| Error::io("look at the disk", error).with_path(path))?;
        if !same {
            return Err(Error::new(ErrorKind::InUse, "another process has just replaced the disk")
                .with_hint("try again")
                .with_path(path));
        }
        check_unused(&lock, path)?;
        set_locks(&lock, libc::F_RDLCK)
            .map_err(|error| Error::io("lock the disk against QEMU", error).with_path(path))?;
        // QEMU may have come between the question and the lock; now it cannot any more.
        check_unused(&lock, path)?;
        Ok(Self { lock })
    }

    /// The image.
    pub fn file(&self) -> &File {
        &self.lock
    }
}

impl Drop for LockedImage {
    fn drop(&mut self) {
        // A child that was forked meanwhile has the same open file, and would go on holding them.
        let _ = set_locks(&self.lock, libc::F_UNLCK);
    }
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let (opened, found) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((opened.dev(), opened.ino()) == (found.dev(), found.ino()))
}

fn check_unused(file: &File, path: &Path) -> Result<()> {
    let is_locked = |byte| -> io::Result<bool> {
        let mut lock = byte_lock(libc::F_WRLCK, byte);
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
        Ok(i32::from(lock.l_type) != libc::F_UNLCK)
    };
    for byte in WRITING.map(|n| USED + n).chain(WRITING.map(|n| NOT_SHARED + n)) {
        let locked = is_locked(byte).map_err(|error| Error::io("look for QEMU's locks", error).with_path(path))?;
        if locked {
            return Err(Error::new(ErrorKind::InUse, "a virtual machine uses the disk")
                .with_hint("shut the guest down first")
                .with_path(path));
        }
    }
    Ok(())
}

/// Takes or gives up what keeps QEMU away.
fn set_locks(file: &File, kind: i32) -> io::Result<()> {
    for byte in ANY.map(|n| USED + n).chain(ANY.map(|n| NOT_SHARED + n)) {
        fcntl(file, FcntlArg::F_OFD_SETLK(&byte_lock(kind, byte)))?;
    }
    Ok(())
}

fn byte_lock(kind: i32, byte: i64) -> libc::flock {
    libc::flock {
        // The constants are small; their type differs from the field's.
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    #[test]
    fn only_one_of_us() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let first = LockedImage::lock(open(image.path()), image.path()).unwrap();
        let error = LockedImage::lock(open(image.path()), image.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InUse);
        drop(first);
        LockedImage::lock(open(image.path()), image.path()).unwrap();
    }

    #[test]
    fn the_locks_go_with_their_holder_whoever_else_has_the_open_file() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let locked = LockedImage::lock(open(image.path()), image.path()).unwrap();
        // As a child that is forked just now has it.
        let _inherited = locked.file().try_clone().unwrap();
        drop(locked);
        LockedImage::lock(open(image.path()), image.path()).unwrap();
    }

    #[test]
    fn a_writers_locks_are_seen() {
        let image = tempfile::NamedTempFile::new().unwrap();
        for byte in [101, 201, 203] {
            let qemu = open(image.path());
            fcntl(&qemu, FcntlArg::F_OFD_SETLK(&byte_lock(libc::F_RDLCK, byte))).unwrap();
            let error = LockedImage::lock(open(image.path()), image.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InUse, "byte {byte}");
        }
        // A reader that shares everything does not matter.
        let reader = open(image.path());
        fcntl(&reader, FcntlArg::F_OFD_SETLK(&byte_lock(libc::F_RDLCK, 100))).unwrap();
        LockedImage::lock(open(image.path()), image.path()).unwrap();
    }

    #[test]
    fn an_image_that_was_replaced_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        std::fs::write(&path, "old").unwrap();
        let opened = open(&path);
        std::fs::write(directory.path().join("new"), "new").unwrap();
        std::fs::rename(directory.path().join("new"), &path).unwrap();
        assert_eq!(LockedImage::lock(opened, &path).unwrap_err().kind(), ErrorKind::InUse);
    }
}
