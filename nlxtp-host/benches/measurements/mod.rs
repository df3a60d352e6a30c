//! What is measured: one file for each operation.

pub mod download;
pub mod guest_program;
pub mod inputs;
pub mod memory;
pub mod rest;
pub mod start;
pub mod status;
pub mod upload;
pub mod watcher;

use std::path::{Path, PathBuf};

use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::{DiskImage, DiskOptions, HostDirectory};

use crate::harness::{Fresh, Result};

/// Bytes of the disks: the inputs fill about half of one.
pub const DISK_BYTES: u64 = 160 << 20;

/// Where partition 1 of a disk begins, in the words of mtools.
pub fn partition(disk: &Path) -> String {
    format!("{}@@1M", disk.display())
}

/// A node whose shared directory is a disk or a directory, whatever is at this path.
pub fn node(path: &Path) -> Result<Node> {
    Ok(if path.is_dir() { Node::new(HostDirectory::open(path)?) } else { Node::new(DiskImage::open(path)?) })
}

/// A new, empty disk.
pub fn empty_disk(fresh: &Fresh<'_>) -> Result<PathBuf> {
    let path = fresh.path("disk.img");
    DiskImage::create(&path, &DiskOptions { size: DISK_BYTES, ..DiskOptions::default() })?;
    Ok(path)
}
