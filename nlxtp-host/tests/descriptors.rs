//! Shared directories that are given by a descriptor: everything works as by a path, whatever becomes
//! of the path.

mod archives;

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use archives::{SCRIPT, archive};
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;
use nlxtp_host::error::ErrorKind;
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::{self, DiskImage, DiskOptions};
use nlxtp_host::watcher::{Pace, Watcher};
use rextfv_core::liveness::State;
use tempfile::TempDir;

fn descriptor(path: &Path) -> OwnedFd {
    File::open(path).unwrap().into()
}

fn node(descriptor: impl AsFd) -> Node {
    Node::from_boxed(shared_directory::open_fd(descriptor.as_fd().try_clone_to_owned().unwrap()).unwrap())
}

fn upload(node: &mut Node) -> nlxtp_host::error::Result<()> {
    node.upload(&mut archive(&[SCRIPT]), &Control::none()).map(drop)
}

fn new_disk() -> (TempDir, std::path::PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("disk.img");
    DiskImage::create(&path, &DiskOptions::default()).unwrap();
    (scratch, path)
}

/// The names in a download.
fn downloaded(node: &mut Node) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    node.download(&mut file.as_file(), OutputFormat::Tar, &Control::none()).unwrap();
    let listed = Command::new("tar").arg("-tf").arg(file.path()).output().unwrap();
    String::from_utf8(listed.stdout).unwrap()
}

#[test]
fn a_directory_that_is_renamed_is_still_the_one() {
    let scratch = tempfile::tempdir().unwrap();
    let (old, new) = (scratch.path().join("old"), scratch.path().join("new"));
    fs::create_dir(&old).unwrap();
    let mut node = node(descriptor(&old)).kept_open();
    upload(&mut node).unwrap();
    fs::rename(&old, &new).unwrap();
    fs::create_dir(&old).unwrap();
    upload(&mut node).unwrap();
    assert!(new.join("auto_exec.sh").is_file());
    assert_eq!(fs::read_dir(&old).unwrap().count(), 0, "what has the name now is somebody else's");
    assert!(downloaded(&mut node).contains("auto_exec.sh"));
    assert_eq!(node.status().unwrap().state, State::NotStarted);
}

#[test]
fn changes_in_a_directory_are_told_by_the_kernel() {
    let scratch = tempfile::tempdir().unwrap();
    let pace = Pace { shortest: Duration::from_millis(10), longest: Duration::from_secs(3600) };
    let mut watcher = Watcher::new(pace);
    watcher.add(node(descriptor(scratch.path())));
    let control = || Control::none().with_deadline(Some(Instant::now() + Duration::from_secs(120)));
    watcher.next(&control()).unwrap().unwrap();
    fs::create_dir(scratch.path().join("exec_status")).unwrap();
    fs::write(scratch.path().join("exec_status/done"), "").unwrap();
    while !watcher.next(&control()).unwrap().unwrap().status.unwrap().done() {}
}

#[test]
fn an_image_is_written_in_place() {
    let (_scratch, path) = new_disk();
    let before = fs::metadata(&path).unwrap().ino();
    let mut node = node(descriptor(&path)).kept_open();
    assert_eq!(node.status().unwrap().state, State::NotStarted);
    upload(&mut node).unwrap();
    let renamed = path.with_extension("renamed");
    fs::rename(&path, &renamed).unwrap();
    upload(&mut node).unwrap();
    assert_eq!(node.status().unwrap().state, State::NotStarted);
    assert_eq!(fs::metadata(&renamed).unwrap().ino(), before, "it is the same file");
    // By its path, it holds the same.
    let mut by_path = Node::new(DiskImage::open(&renamed).unwrap());
    assert_eq!(downloaded(&mut by_path), downloaded(&mut node));
    assert!(downloaded(&mut node).contains("auto_exec.sh"));
    assert_eq!(fs::read_dir(renamed.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn an_image_that_was_removed_is_still_there() {
    let (_scratch, path) = new_disk();
    let mut node = node(descriptor(&path));
    fs::remove_file(&path).unwrap();
    upload(&mut node).unwrap();
    assert!(downloaded(&mut node).contains("auto_exec.sh"));
    assert!(!path.exists());
}

#[test]
fn a_bad_archive_leaves_an_image_as_it_was() {
    let (_scratch, path) = new_disk();
    let mut node = node(descriptor(&path));
    upload(&mut node).unwrap();
    let before = fs::read(&path).unwrap();
    let mut damaged = std::io::Cursor::new(b"no archive at all".repeat(100));
    assert_eq!(node.upload(&mut damaged, &Control::none()).unwrap_err().kind(), ErrorKind::BadArchive);
    assert!(fs::read(&path).unwrap() == before);
}

#[test]
fn a_lock_that_somebody_has_by_the_same_descriptor_is_seen() {
    let (_scratch, path) = new_disk();
    let held: OwnedFd = File::options().read(true).write(true).open(&path).unwrap().into();
    let mut node = node(&held);
    let lock = nix::fcntl::Flock::lock(File::from(held), nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    assert_eq!(upload(&mut node).unwrap_err().kind(), ErrorKind::InUse);
    drop(lock);
    upload(&mut node).unwrap();
}

#[test]
fn what_is_neither_a_directory_nor_a_disk_is_refused() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let error = shared_directory::open_fd(reader.into()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotATarget, "{error}");
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let error = shared_directory::open_fd(file.into()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotATarget, "{error}");
}
