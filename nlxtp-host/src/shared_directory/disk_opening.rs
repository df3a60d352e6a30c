//! Opening a disk, finding the file system on it, and what it means that this fails.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::stat::{FileStat, SFlag, stat};

use super::beneath::kind;
use crate::error::{Error, ErrorKind, Remedy, Result};
use crate::fat::{self, Extent, FatError, FatVolume, ReadAt, ReadLimits};

/// What a disk is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// Nobody else may have a block device open exclusively: mounted, or part of another device.
    Write,
}

/// Looks what a disk's path leads to: nothing but a regular file or a block device may be opened.
pub(super) fn look_at_disk(path: &Path) -> Result<FileStat> {
    let found = stat(path).map_err(|error| Error::io("open the disk", error.into()))?;
    if !matches!(kind(&found), SFlag::S_IFREG | SFlag::S_IFBLK) {
        return Err(Error::new(ErrorKind::NotATarget, "it is neither a regular file nor a block device"));
    }
    Ok(found)
}

/// Opens a disk that was [looked at](look_at_disk).
pub(super) fn open_found(path: &Path, found: &FileStat, access: Access) -> Result<File> {
    // Non-blocking, should it have become a FIFO meanwhile.
    let is_device = kind(found) == SFlag::S_IFBLK;
    let exclusive = if is_device && access == Access::Write { libc::O_EXCL } else { 0 };
    let mut options = File::options();
    options.read(true).write(access == Access::Write).custom_flags(libc::O_NONBLOCK | exclusive);
    options.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY) => Error::new(ErrorKind::InUse, "the block device is mounted, or part of another device")
            .with_hint("unmount it first"),
        _ => Error::io("open the disk", error),
    })
}

/// Opens a disk, and nothing but a regular file or a block device.
pub(super) fn open_disk(path: &Path, access: Access) -> Result<File> {
    open_found(path, &look_at_disk(path)?, access)
}

/// Opens the FAT file system of a disk.
pub(super) fn open_volume<S: ReadAt>(disk: S, limits: ReadLimits) -> Result<FatVolume<S>> {
    let extent = locate(&disk)?;
    Ok(FatVolume::open(disk, extent, limits)?)
}

/// Finds the FAT file system, and says what else it may be where there is none.
pub(super) fn locate(file: &(impl ReadAt + ?Sized)) -> Result<Extent> {
    fat::locate(file).or_else(|error| {
        let len = file.len().map_err(|error| Error::io("look at the disk", error))?;
        let whole = Extent { offset: 0, len };
        if is_unfinished(file, whole) {
            return Ok(whole);
        }
        let mut start = [0; 8];
        let known = file.read_exact_at(&mut start, 0).ok().and_then(|()| other_format(&start));
        Err(match known {
            Some(name) if matches!(error, FatError::NotFat { .. }) => {
                let message = format!("it is a {name} image; only raw images can be used");
                Error::new(ErrorKind::NotATarget, message).with_hint("convert it: qemu-img convert -O raw OLD NEW")
            }
            _ => Error::from(error),
        })
    })
}

/// Whether an upload in place was cut off there.
pub(super) fn is_unfinished(file: &(impl ReadAt + ?Sized), extent: Extent) -> bool {
    let mut start = [0; fat::UNFINISHED.len()];
    file.read_exact_at(&mut start, extent.offset).is_ok_and(|()| start == *fat::UNFINISHED)
}

fn other_format(start: &[u8; 8]) -> Option<&'static str> {
    match start {
        [b'Q', b'F', b'I', 0xfb, ..] => Some("qcow2"),
        [b'K', b'D', b'M', b'V', ..] => Some("VMDK"),
        b"vhdxfile" => Some("VHDX"),
        b"conectix" => Some("VHD"),
        [b'<', b'<', b'<', b' ', ..] => Some("VDI"),
        _ => None,
    }
}

/// What a failure of the file system means for a disk.
impl From<FatError> for Error {
    fn from(error: FatError) -> Self {
        let may_retry = error.may_retry();
        match error {
            FatError::Io(error) => Self::io("read or write the disk", error),
            FatError::Unfinished => {
                Self::new(ErrorKind::Unfinished, "an upload to this disk was cut off, or is under way")
                    .with_hint("upload again")
            }
            FatError::TooSmall { needed, available } => Self::new(
                ErrorKind::TooSmall,
                format!("the content needs {needed} bytes on the disk, and it has {available}"),
            )
            .with_remedy(Remedy::CreateLargerDisk),
            FatError::NotFat { .. } => Self::new(ErrorKind::NotATarget, "no FAT file system is found")
                .with_source(error)
                .with_remedy(Remedy::CreateDisk),
            FatError::NotFound { .. } | FatError::NotADirectory { .. } | FatError::NotAFile { .. } => {
                Self::new(ErrorKind::NotFound, error.to_string())
            }
            FatError::Limit { .. } => Self::new(ErrorKind::Refused, error.to_string())
                .with_hint("spread the files over more directories, or leave some out"),
            FatError::BadName { .. }
            | FatError::BadGeometry { .. }
            | FatError::Exists { .. }
            | FatError::WrongLength { .. }
            | FatError::WrongOrder { .. } => Self::new(ErrorKind::InvalidInput, error.to_string()),
            _ if may_retry => Self::new(ErrorKind::Changing, "the file system was changing or is damaged")
                .with_source(error)
                .with_hint("try again while the guest is not writing; fsck.vfat -n tells whether it is damaged"),
            _ => Self::new(ErrorKind::Damaged, "the file system is damaged").with_source(error),
        }
    }
}
