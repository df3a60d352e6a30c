//! Targets that cannot be used: the message names the target and the way out, the exit code says what
//! kind of trouble it is, and no byte has changed.

mod cli_support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;

use cli_support::{DISK_BYTES, KINDS, Kind, PARTITION, Place, tar_gz};
use nix::fcntl::{FcntlArg, fcntl};

/// A place with an archive that any target takes.
fn place() -> Place {
    let place = Place::new();
    place.write("a.tar.gz", &tar_gz(&[("auto_exec.sh", b"#!/bin/sh\n")]));
    place
}

#[test]
fn a_target_that_is_missing() {
    let place = place();
    for verb in ["upload", "download"] {
        place.call_changing_nothing(&[verb, "nope", "a.tar.gz"]).expect(4).says(&[
            "nlxtp: nope: there is no file or directory",
            "way out",
            "nlxtp disk create",
        ]);
    }
    for verb in ["status", "wait", "ls", "logs"] {
        place.call_changing_nothing(&[verb, "nope"]).expect(4).says(&["nope", "nlxtp disk create"]);
    }
    let answer = place.call(&["status", "nope", "--json"]).expect(4).json();
    assert_eq!(answer["error"]["kind"], "not-found");
    assert_eq!(answer["error"]["file"], "nope");
    assert!(answer["error"]["hint"].as_str().unwrap().contains("disk create"));
}

#[test]
fn an_archive_in_the_place_of_the_target() {
    let place = place();
    let disk = place.target(Kind::Disk, "disk.img");
    for call in
        [&["upload", "a.tar.gz", "disk.img"][..], &["download", "a.tar.gz", "disk.img"], &["status", "a.tar.gz"]]
    {
        let words = ["a.tar.gz: this is an archive (tar.gz)", "TARGET comes first"];
        place.call_changing_nothing(call).expect(4).says(&words);
    }
    // A disk is none, whether anything was uploaded or not.
    disk.call("ls", &[]).expect(0);
    disk.upload_something();
    disk.call("ls", &[]).expect(0);
}

#[test]
fn a_file_that_is_no_fat() {
    let place = place();
    place.write("letter.txt", &b"Dear guest".repeat(1000));
    let words = ["letter.txt", "no FAT file system", "nlxtp disk create"];
    place.call_changing_nothing(&["upload", "letter.txt", "a.tar.gz"]).expect(4).says(&words);
    place.call_changing_nothing(&["status", "letter.txt"]).expect(4).says(&words);
    place.write("disk.qcow2", &[b"QFI\xfb".as_slice(), &[0; 9000]].concat());
    place.call_changing_nothing(&["upload", "disk.qcow2", "a.tar.gz"]).expect(4).says(&[
        "disk.qcow2",
        "qcow2 image",
        "qemu-img convert",
    ]);
    place.call(&["upload", "/dev/null", "a.tar.gz"]).expect(4).says(&["/dev/null", "neither a regular file"]);
}

#[test]
fn a_disk_that_is_too_small() {
    let place = place();
    place.target(Kind::Disk, "target").upload_something();
    place.write("big.tar.gz", &tar_gz(&[("auto_exec.sh", b"#!/bin/sh\n"), ("big", &vec![1; DISK_BYTES as usize])]));
    place.call_changing_nothing(&["upload", "target", "big.tar.gz"]).expect(4).says(&[
        "target",
        "bytes on the disk",
        "way out",
        "nlxtp disk create DISK --size",
    ]);
    let answer = place.call(&["upload", "target", "big.tar.gz", "--json"]).expect(4).json();
    assert_eq!(answer["error"]["kind"], "too-small");
}

#[test]
fn a_target_that_is_read_only() {
    let mut place = place();
    for kind in KINDS {
        place.target(kind, &format!("{kind:?}")).upload_something();
    }
    // Root may write everything: then somebody else tries.
    let is_root = nix::unistd::geteuid().is_root();
    let mode = |name: &str, mode| fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    mode("Disk", 0o444);
    mode("Directory", 0o555);
    mode("", 0o755);
    let copy = place.path("nlxtp");
    fs::copy(&place.program, &copy).unwrap();
    place.program = copy;
    let before = place.snapshot();
    for kind in KINDS {
        let name = format!("{kind:?}");
        let mut command = place.command(&["upload", &name, "a.tar.gz", "--no-memory"]);
        if is_root {
            command.uid(65534).gid(65534);
        }
        cli_support::Finished::from(command.output().unwrap()).expect(4).says(&[&name, "Permission denied"]);
    }
    assert!(place.snapshot() == before);
    fs::set_permissions(place.path("Directory"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_target_that_another_upload_holds() {
    for kind in KINDS {
        let place = place();
        let target = place.target(kind, "target");
        target.upload_something();
        let held = File::open(target.path()).unwrap();
        held.lock().unwrap();
        let finished = place.call_changing_nothing(&["upload", "target", "a.tar.gz"]).expect(5);
        finished.says(&["target", "way out", "try again"]);
        let answer = place.call(&["upload", "target", "a.tar.gz", "--json"]).expect(5).json();
        assert_eq!(answer["error"]["kind"], "in-use");
        assert_eq!(answer["error"]["may_retry"], true);
        // Looking is allowed meanwhile.
        target.call("status", &[]).expect(0);
        drop(held);
        target.call("upload", &["a.tar.gz"]).expect(0);
    }
}

#[test]
fn a_disk_that_qemu_holds() {
    let place = place();
    let target = place.target(Kind::Disk, "target");
    target.upload_something();
    // As QEMU marks an image that it writes to.
    let image = File::open(target.path()).unwrap();
    let lock = libc::flock {
        l_type: i16::try_from(libc::F_RDLCK).unwrap(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap(),
        l_start: 101,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&image, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    place.call_changing_nothing(&["upload", "target", "a.tar.gz"]).expect(5).says(&[
        "target",
        "a virtual machine uses the disk",
        "shut the guest down",
    ]);
    target.call("download", &["out.tar.gz"]).expect(0);
}

#[test]
fn a_disk_whose_guest_is_on() {
    let place = place();
    let target = place.target(Kind::Disk, "target");
    target.upload_something();
    place.call_changing_nothing(&["upload", "target", "a.tar.gz", "--guest-power", "on"]).expect(5).says(&[
        "target",
        "the guest is on",
        "shut the guest down",
    ]);
    target.call("upload", &["a.tar.gz", "--guest-power", "off"]).expect(0);
    // A container's guest may be on.
    let container = place.target(Kind::Directory, "container");
    container.call("upload", &["a.tar.gz", "--guest-power", "on"]).expect(0);
}

#[test]
fn a_disk_with_a_damaged_boot_sector() {
    let place = place();
    let target = place.target(Kind::Disk, "target");
    target.upload_something();
    let image = File::options().write(true).open(target.path()).unwrap();
    image.write_all_at(&[0xff; 64], PARTITION as u64).unwrap();
    let words = ["target", "no FAT file system", "nlxtp disk create"];
    for arguments in [&["upload", "target", "a.tar.gz"][..], &["download", "target", "out.tar"], &["ls", "target"]] {
        place.call_changing_nothing(arguments).expect(4).says(&words);
    }
}

#[test]
fn a_disk_that_was_cut() {
    let place = place();
    let target = place.target(Kind::Disk, "target");
    target.upload_something();
    File::options().write(true).open(target.path()).unwrap().set_len(DISK_BYTES / 2).unwrap();
    place.call_changing_nothing(&["upload", "target", "a.tar.gz"]).expect(4).says(&["target"]);
}

#[test]
fn a_disk_with_a_damaged_allocation_table() {
    let place = place();
    let target = place.target(Kind::Disk, "target");
    place.write("deep.tar.gz", &tar_gz(&[("auto_exec.sh", b"#!/bin/sh\n"), ("data/file", &[3; 100_000])]));
    target.call("upload", &["deep.tar.gz"]).expect(0);
    // Every chain now leads to cluster 2, for ever: entries of 12 bits.
    let image = File::options().read(true).write(true).open(target.path()).unwrap();
    let mut boot = [0; 512];
    image.read_exact_at(&mut boot, PARTITION as u64).unwrap();
    let reserved = u64::from(u16::from_le_bytes([boot[14], boot[15]]));
    let table = PARTITION as u64 + reserved * 512;
    image.write_all_at(&[0x02, 0x20, 0x00].repeat(400), table + 3).unwrap();

    let finished = place.call_changing_nothing(&["cat", "target", "data/file"]).expect(5);
    finished.says(&["target: data/file: ", "changing or is damaged", "fsck.vfat"]);
    let answer = place.call(&["ls", "target", "--json"]);
    assert!(matches!(answer.code, Some(0 | 5)), "{answer:?}");
    // What is there is taken home as far as it goes, and the report says what is not right.
    let download = target.call("download", &["out.tar.gz", "--json"]);
    match download.code {
        Some(0) => assert_ne!(download.json()["changed"]["listed"].as_array().unwrap().len(), 0, "{download:?}"),
        code => {
            assert_eq!(code, Some(5), "{download:?}");
            assert!(!place.path("out.tar.gz").exists());
        }
    }
    // An upload makes a whole new file system.
    target.call("upload", &["deep.tar.gz"]).expect(0);
    assert_eq!(target.call("cat", &["data/file"]).expect(0).stdout, [3; 100_000]);
}

#[test]
fn a_disk_that_is_there_is_not_made_anew() {
    let place = place();
    place.target(Kind::Disk, "target").upload_something();
    place.call_changing_nothing(&["disk", "create", "target"]).expect(2).says(&["target", "already", "way out"]);
    place.call_changing_nothing(&["disk", "create", "new", "--size", "1K"]).expect(2).says(&["new", "2MiB"]);
    place.call_changing_nothing(&["disk", "create", "new", "--label", "no/slash"]).expect(2).says(&["label", "'/'"]);
    place.call_changing_nothing(&["disk", "create", "no/such/place"]).expect(4).says(&["no/such/place"]);
}

#[test]
fn a_directory_or_disk_of_somebody_elses_is_not_erased_by_a_slip() {
    let place = Place::new();
    place.write("new.tar.gz", &tar_gz(&[("auto_exec.sh", b"")]));
    fs::create_dir_all(place.path("home/deep")).unwrap();
    place.write("home/deep/thesis", b"years of work");
    place.call(&["upload", "home", "new.tar.gz"]).expect(2).says(&["home", "\"deep\"", "--force"]);
    assert_eq!(fs::read(place.path("home/deep/thesis")).unwrap(), b"years of work");
    place.call(&["upload", "home", "new.tar.gz", "--force"]).expect(0);
    assert!(!place.path("home/deep").exists());
    // From now on it is one of ours.
    place.call(&["upload", "home", "new.tar.gz"]).expect(0);
    // So is one to which an upload is under way or was cut off.
    fs::create_dir_all(place.path("busy/.nlxtp_upload/new")).unwrap();
    place.write("busy/file", b"content of the upload before");
    place.call(&["upload", "busy", "new.tar.gz"]).expect(0);
}
