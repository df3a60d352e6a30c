//! Disk images made and read by other people's tools, as a judge that is not ours.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::places::tool;
use crate::process::{Finished, run};

const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a raw image that is one FAT file system, without a partition table.
///
/// # Panics
/// If `mkfs.vfat` fails.
#[track_caller]
pub fn make_bare_fat(image: &Path, size: u64, label: &str) {
    File::create(image)
        .and_then(|file| file.set_len(size))
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", image.display()));
    run(Command::new(tool("mkfs.vfat")).args(["-n", label]).arg(image), PATIENCE).success();
}

/// Where the first partition begins on disks that [`make_partitioned`] makes, in bytes.
pub const PARTITION_OFFSET: u64 = 1 << 20;

/// Makes a raw image whose first partition, at [`PARTITION_OFFSET`], is a FAT file system.
///
/// # Panics
/// If `sfdisk` or `mkfs.vfat` fails.
#[track_caller]
pub fn make_partitioned(image: &Path, size: u64, label: &str) {
    File::create(image)
        .and_then(|file| file.set_len(size))
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", image.display()));
    let partition = "echo '2048,,c' | \"$1\" --quiet --label dos \"$2\"";
    let mut shell = Command::new("sh");
    run(shell.args(["-euc", partition, "sh"]).arg(tool("sfdisk")).arg(image), PATIENCE).success();
    let mut mkfs = Command::new(tool("mkfs.vfat"));
    mkfs.args(["-n", label, "-h", "2048", "--offset", "2048"]).arg(image);
    // Blocks of 1024 bytes: without the size, mkfs.vfat would go on to the image's end anyway.
    mkfs.arg(((size - PARTITION_OFFSET) / 1024).to_string());
    run(&mut mkfs, PATIENCE).success();
}

/// Writes a file into a FAT file system that begins `offset` bytes into the image.
///
/// # Panics
/// If mtools cannot.
#[track_caller]
pub fn write_file(image: &Path, offset: u64, path: &str, content: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), content).expect("a temporary file");
    mtools("mcopy", image, offset, &[file.path().as_os_str()], &[path]).success();
}

/// Reads a file from a FAT file system that begins `offset` bytes into the image.
///
/// # Panics
/// If mtools cannot.
#[track_caller]
pub fn read_file(image: &Path, offset: u64, path: &str) -> Vec<u8> {
    mtools("mtype", image, offset, &[], &[path]).success().stdout
}

/// The same while a guest writes to the file system: `None` if what mtools finds does not fit
/// together, as between the guest's writes to a table and to a directory, or is not there.
pub fn read_changing_file(image: &Path, offset: u64, path: &str) -> Option<Vec<u8>> {
    let read = mtools("mtype", image, offset, &[], &[path]);
    read.status.success().then_some(read.stdout)
}

/// Lists all paths in a FAT file system that begins `offset` bytes into the image.
///
/// # Panics
/// If mtools cannot.
#[track_caller]
pub fn list(image: &Path, offset: u64) -> Vec<String> {
    let listing = mtools("mdir", image, offset, &["-/", "-b", "-a"].map(OsStr::new), &["/"]).success().text();
    listing.lines().map(|line| line.trim_start_matches("::/").to_owned()).collect()
}

/// Checks a file system that begins `offset` bytes into the image with `fsck.vfat`.
///
/// # Panics
/// If it is damaged.
#[track_caller]
pub fn check(image: &Path, offset: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = folder.path().join("partition");
    let copy_partition = format!("tail -c +{} -- \"$1\" >\"$2\"", offset + 1);
    let mut shell = Command::new("sh");
    run(shell.args(["-euc", &copy_partition, "sh"]).arg(image).arg(&copy), PATIENCE).success();
    run(Command::new(tool("fsck.vfat")).arg("-n").arg(&copy), PATIENCE).success();
}

#[track_caller]
fn mtools(program: &str, image: &Path, offset: u64, arguments: &[&OsStr], paths: &[&str]) -> Finished {
    let mut command = Command::new(tool(program));
    // Some of mtools' consistency checks refuse images that every kernel reads.
    command.env("MTOOLS_SKIP_CHECK", "1").env("MTOOLSRC", "/dev/null");
    command.arg("-i").arg(format!("{}@@{offset}", image.display())).args(arguments);
    run(command.args(paths.iter().map(|path| format!("::{path}"))), PATIENCE)
}
