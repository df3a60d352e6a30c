//! Storage that host and guest share, behind [`rextfv_core::shared_directory`]'s traits.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use rextfv_core::limits::Limits;
use rextfv_core::shared_directory::SharedDirectory;

use crate::error::{Error, ErrorKind, Remedy, Result};

pub(crate) mod beneath;
pub(crate) mod change_time;
mod disk_description;
pub mod disk_image;
mod disk_opening;
mod disk_replacement;
pub mod host_directory;
mod image_lock;
mod kept_disk;
mod kept_files;
pub mod memory;
mod room;
mod staging;

pub use disk_description::{DiskDescription, DiskPartition, FatDescription};
pub use disk_image::{DiskImage, DiskOptions};
pub use host_directory::HostDirectory;
pub use memory::MemoryDirectory;

/// A shared directory of any kind, as [`Node::from_boxed`](crate::node::Node::from_boxed) takes it.
pub type BoxedDirectory = Box<dyn SharedDirectory<Error = Error> + Send + Sync>;

/// The shared directory at this path: a container's if it is a directory, a virtual machine's disk if
/// it is a file or block device.
///
/// # Errors
/// There is nothing at this path, it cannot be read, or it is neither.
pub fn open(path: impl Into<PathBuf>) -> Result<BoxedDirectory> {
    open_with_limits(path, Limits::DEFAULT)
}

/// The same with other bounds on what is read of it.
///
/// # Errors
/// As for [`open`].
pub fn open_with_limits(path: impl Into<PathBuf>, limits: Limits) -> Result<BoxedDirectory> {
    let path = path.into();
    let found = std::fs::metadata(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, "there is no file or directory at this path")
            .with_remedy(Remedy::CreateDisk)
            .with_path(&path),
        _ => Error::io("look at the target", error).with_path(&path),
    })?;
    if found.is_dir() {
        Ok(Box::new(HostDirectory::open(path)?.with_limits(limits)))
    } else {
        Ok(Box::new(DiskImage::open(path)?.with_limits(limits)))
    }
}

/// The shared directory that a descriptor leads to: a directory's, a disk image's or a block device's.
///
/// See [`HostDirectory::from_fd`] and [`DiskImage::from_fd`] for what differs from a path: above all, an
/// upload to an image file is then like one to a block device.
///
/// # Errors
/// It leads to something else, cannot be opened anew with the rights of this process, or there is no
/// `/proc`.
pub fn open_fd(descriptor: OwnedFd) -> Result<BoxedDirectory> {
    open_fd_with_limits(descriptor, Limits::DEFAULT)
}

/// The same with other bounds on what is read of it.
///
/// # Errors
/// As for [`open_fd`].
pub fn open_fd_with_limits(descriptor: OwnedFd, limits: Limits) -> Result<BoxedDirectory> {
    let held = std::fs::File::from(descriptor);
    let is_directory = held.metadata().map(|found| found.is_dir());
    if is_directory.map_err(|error| Error::io("look at the target", error))? {
        Ok(Box::new(HostDirectory::from_fd(held.into())?.with_limits(limits)))
    } else {
        Ok(Box::new(DiskImage::from_fd(held.into())?.with_limits(limits)))
    }
}

/// A path of this process that leads to what a descriptor leads to, for as long as it is open.
fn path_of(descriptor: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd()).into()
}
