//! What is measured: one file for each operation.

pub mod download;
pub mod floor;
pub mod growth;
pub mod guest_program;
pub mod guestfish;
pub mod inputs;
pub mod memory;
pub mod poll;
pub mod replace;
pub mod rest;
pub mod sizes;
pub mod start;
pub mod status;
pub mod upload;
pub mod watcher;

use std::path::{Path, PathBuf};
use std::process::Command;

use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::{DiskImage, DiskOptions, HostDirectory};

use crate::harness::{Fresh, Result};

/// Bytes of the disks: more than any input takes.
const DISK_BYTES: u64 = 640 << 20;

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
    empty_disk_of(fresh, DISK_BYTES)
}

/// A new, empty disk of so many bytes.
pub fn empty_disk_of(fresh: &Fresh<'_>, size: u64) -> Result<PathBuf> {
    let path = fresh.path("disk.img");
    DiskImage::create(&path, &DiskOptions { size, ..DiskOptions::default() })?;
    Ok(path)
}

/// The command: where the environment says, or where `make build` puts it.
pub fn command() -> Option<PathBuf> {
    let built = || Path::new(env!("CARGO_TARGET_TMPDIR")).parent().map(|target| target.join("release/nlxtp"));
    let program = std::env::var_os("NLXTP").map(PathBuf::from).or_else(built)?;
    let help = Command::new(&program).arg("--help").output().ok()?;
    (help.status.success() && !help.stdout.is_empty()).then_some(program)
}
