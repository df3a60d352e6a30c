//! What an upload leaves of a disk image besides its content: a new file in the place of the old one.

mod archives;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use archives::{SCRIPT, archive};
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;
use nlxtp_host::error::{ErrorKind, Result};
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::{DiskImage, DiskOptions};

/// A disk image and what can be seen of it from outside.
struct Image {
    scratch: tempfile::TempDir,
}

impl Image {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        DiskImage::create(scratch.path().join("disk.img"), &DiskOptions::default()).unwrap();
        Self { scratch }
    }

    fn path(&self) -> std::path::PathBuf {
        self.scratch.path().join("disk.img")
    }

    fn upload(&self, path: &Path) -> Result<()> {
        Node::new(DiskImage::open(path)?).upload(&mut archive(&[SCRIPT]), &Control::none()).map(drop)
    }
}

#[test]
fn a_replaced_image_keeps_its_mode_attributes_and_place() {
    let image = Image::new();
    let path = image.path();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    xattr::set(&path, "user.testbed", b"node 7").unwrap();
    let link = image.scratch.path().join("link");
    symlink("disk.img", &link).unwrap();
    let before = fs::metadata(&path).unwrap();

    image.upload(&link).unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_ne!(before.ino(), after.ino(), "it is a new image");
    assert_eq!((before.mode(), before.uid(), before.gid()), (after.mode(), after.uid(), after.gid()));
    assert_eq!(before.len(), after.len());
    assert_eq!(xattr::get(&path, "user.testbed").unwrap().as_deref(), Some(&b"node 7"[..]));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link still is one");
    assert_eq!(fs::read_dir(image.scratch.path()).unwrap().count(), 2, "nothing is left over");
}

#[test]
fn a_replaced_image_gets_no_access_list_that_the_old_one_had_not() {
    let image = Image::new();
    let entry =
        |tag: u16, mode: u16, id: u32| [&tag.to_le_bytes()[..], &mode.to_le_bytes(), &id.to_le_bytes()].concat();
    let none = u32::MAX;
    let entries = [entry(1, 7, none), entry(2, 7, 1234), entry(4, 0, none), entry(16, 7, none), entry(32, 0, none)];
    let list = [&2_u32.to_le_bytes()[..], &entries.concat()].concat();
    if xattr::set(image.scratch.path(), "system.posix_acl_default", &list).is_err() {
        // A file system without access lists.
        return;
    }
    fs::set_permissions(image.path(), fs::Permissions::from_mode(0o660)).unwrap();
    image.upload(&image.path()).unwrap();
    assert_eq!(xattr::get(image.path(), "system.posix_acl_access").unwrap(), None);
    assert_eq!(fs::metadata(image.path()).unwrap().mode() & 0o777, 0o660);
}

#[test]
fn a_sparse_image_stays_sparse_and_an_allocated_one_allocated() {
    let image = Image::new();
    image.upload(&image.path()).unwrap();
    let sparse = fs::metadata(image.path()).unwrap();
    assert!(sparse.blocks() * 512 < sparse.len() / 4);

    let file = File::options().write(true).open(image.path()).unwrap();
    nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, sparse.len().cast_signed()).unwrap();
    image.upload(&image.path()).unwrap();
    let allocated = fs::metadata(image.path()).unwrap();
    assert!(allocated.blocks() * 512 >= allocated.len());
}

#[test]
fn what_lies_outside_the_partition_is_kept() {
    use std::os::unix::fs::FileExt;
    let image = Image::new();
    let length = fs::metadata(image.path()).unwrap().len();
    let file = File::options().write(true).open(image.path()).unwrap();
    file.set_len(length + (8 << 20)).unwrap();
    file.write_all_at(b"boot code", 0).unwrap();
    file.write_all_at(b"between", 600_000).unwrap();
    file.write_all_at(b"a second partition", length + (5 << 20)).unwrap();
    drop(file);

    image.upload(&image.path()).unwrap();
    let bytes = fs::read(image.path()).unwrap();
    assert_eq!(&bytes[..9], b"boot code");
    assert_eq!(&bytes[600_000..600_007], b"between");
    let second = usize::try_from(length).unwrap() + (5 << 20);
    assert_eq!(&bytes[second..second + 18], b"a second partition");
}

#[test]
fn an_image_that_another_process_holds_is_refused() {
    let image = Image::new();
    let before = fs::read(image.path()).unwrap();
    let held = File::open(image.path()).unwrap();
    held.lock().unwrap();
    let error = image.upload(&image.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(before == fs::read(image.path()).unwrap());
    drop(held);
    image.upload(&image.path()).unwrap();
}

/// Changes bytes of an image, as damage would.
fn edit(image: &Path, from: &[u8], change: impl Fn(&mut [u8])) {
    let mut bytes = fs::read(image).unwrap();
    let mut at = 0;
    let mut found = 0;
    while let Some(next) = bytes[at..].windows(from.len()).position(|window| window == from) {
        at += next;
        change(&mut bytes[at..]);
        at += from.len();
        found += 1;
    }
    assert!(found > 0);
    fs::write(image, bytes).unwrap();
}

#[test]
fn a_torn_entry_does_not_keep_the_other_files_from_being_downloaded() {
    let image = Image::new();
    let mut node = Node::new(DiskImage::open(image.path()).unwrap());
    node.upload(&mut archive(&[SCRIPT, ("TORN.BIN", b"lost"), ("whole", b"kept")]), &Control::none()).unwrap();
    // A length, but no first cluster: what a loss of power may leave.
    edit(&image.path(), b"TORN    BIN", |entry| entry[26..28].fill(0));
    let mut download = Vec::new();
    let report = node.download(&mut download, OutputFormat::Tar, &Control::none()).unwrap();
    let left_out: Vec<&str> = report.left_out.listed.iter().map(|left_out| &*left_out.path).collect();
    assert_eq!((left_out, report.files), (vec!["TORN.BIN"], 3));
}

#[test]
fn a_label_in_a_code_page_is_given_up_and_the_upload_goes_on() {
    let image = Image::new();
    edit(&image.path(), b"NLXTP      ", |label| label[1] = 0x8e);
    image.upload(&image.path()).unwrap();
    edit(&image.path(), b"NLXTP      ", |_| {});
}
