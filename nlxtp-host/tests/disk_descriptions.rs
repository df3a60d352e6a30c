//! What is told of a disk without reading what it holds: by the library, and by `nlxtp disk show`.

mod archives;
mod cli_support;

use std::cell::Cell;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use archives::{SCRIPT, archive};
use cli_support::{Place, tar_gz};
use nlxtp_host::control::{CancelToken, Control, Progress};
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::{DiskImage, DiskOptions};

/// A disk whose allocation table is read in several pieces.
fn large_disk(folder: &Path) -> DiskImage {
    DiskImage::create(folder.join("large.img"), &DiskOptions { size: 2 << 30, ..DiskOptions::default() }).unwrap()
}

/// Leaves a disk as an upload in place leaves it that is cut off.
fn cut_off_an_upload(disk: &Path) {
    let token = CancelToken::new();
    let cancel = token.clone();
    let control = Control::none().with_cancel(token).with_progress(move |progress| {
        if progress == Progress::Flushing {
            cancel.cancel();
        }
    });
    let opened = File::options().read(true).write(true).open(disk).unwrap();
    let mut node = Node::new(DiskImage::from_fd(opened.into()).unwrap());
    let error = node.upload(&mut archive(&[SCRIPT]), &control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn a_look_ends_between_any_two_pieces_of_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let disk = large_disk(folder.path());
    let asked = Cell::new(0);
    let counting = Control::none().with_watch(|| {
        asked.set(asked.get() + 1);
        Ok(())
    });
    let whole = disk.describe(&counting).unwrap();
    drop(counting);
    let pieces = asked.get();
    assert!(pieces > 10, "{pieces}");
    for last in 1..=pieces {
        asked.set(0);
        let control = Control::none().with_watch(|| {
            asked.set(asked.get() + 1);
            if asked.get() < last { Ok(()) } else { Err(Error::new(ErrorKind::Cancelled, "the caller says so")) }
        });
        let error = disk.describe(&control).unwrap_err();
        assert_eq!((error.kind(), asked.get()), (ErrorKind::Cancelled, last));
        assert!(error.to_string().contains("large.img"), "{error}");
    }
    // The disk is as before.
    assert_eq!(disk.describe(&Control::none()).unwrap(), whole);
}

#[test]
fn a_look_ends_with_its_time_and_by_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let disk = large_disk(folder.path());
    // The time is over when the third piece is to be read, or before that on a busy machine.
    let (asked, deadline) = (Cell::new(0), Instant::now() + Duration::from_secs(1));
    let control = Control::none().with_deadline(Some(deadline)).with_watch(|| {
        asked.set(asked.get() + 1);
        while asked.get() == 3 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        Ok(())
    });
    assert_eq!(disk.describe(&control).unwrap_err().kind(), ErrorKind::TimedOut);
    assert!((1..=3).contains(&asked.get()));

    let (token, asked) = (CancelToken::new(), Cell::new(0));
    let control = Control::none().with_cancel(token.clone()).with_watch(|| {
        asked.set(asked.get() + 1);
        if asked.get() == 3 {
            token.cancel();
        }
        Ok(())
    });
    assert_eq!(disk.describe(&control).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(asked.get(), 3);
}

#[test]
fn a_disk_is_shown() {
    let place = Place::new();
    place.call(&["disk", "create", "new.img", "--size", "8MiB", "--label", "lab"]).expect(0);
    let shown = place.call_changing_nothing(&["disk", "show", "new.img"]).expect(0);
    let lines: Vec<_> = shown.text().lines().collect();
    assert_eq!(lines[..2], ["new.img: 8 MiB", "partition 1: 7 MiB, from 1 MiB on"]);
    assert!(lines[2].starts_with("file system: FAT") && lines[2].contains("label LAB, serial number "), "{lines:?}");
    assert!(lines[3].starts_with("used: 0 bytes of 7"), "{lines:?}");
    assert_eq!(lines.len(), 4);

    let before = place.call(&["disk", "show", "new.img", "--json"]).expect(0).json();
    assert_eq!((&before["disk"], &before["unfinished"]), (&"new.img".into(), &false.into()));
    assert_eq!(before["partition"], serde_json::json!({"offset": 1 << 20, "size": 7 << 20}));
    assert_eq!(before["file_system"]["free"], before["file_system"]["capacity"]);
    place.write("a.tar.gz", &tar_gz(&[("auto_exec.sh", b"#!/bin/sh\n")]));
    place.call(&["upload", "new.img", "a.tar.gz"]).expect(0);
    let after = place.call(&["disk", "show", "new.img", "--json"]).expect(0).json();
    assert!(after["file_system"]["free"].as_u64() < before["file_system"]["free"].as_u64(), "{after}");
}

#[test]
fn a_disk_whose_upload_was_cut_off_is_shown() {
    let place = Place::new();
    place.call(&["disk", "create", "cut.img"]).expect(0);
    cut_off_an_upload(&place.path("cut.img"));
    let shown = place.call_changing_nothing(&["disk", "show", "cut.img"]).expect(0);
    assert!(shown.text().contains("\nfile system: none; an upload was cut off"), "{}", shown.text());
    let answer = place.call(&["disk", "show", "cut.img", "--json"]).expect(0).json();
    assert_eq!((&answer["unfinished"], &answer["file_system"]), (&true.into(), &serde_json::Value::Null));
    place.call(&["status", "cut.img"]).expect(4);
}

#[test]
fn what_cannot_be_shown() {
    let place = Place::new();
    fs::create_dir(place.path("directory")).unwrap();
    place.write("letter.txt", &b"Dear guest".repeat(1000));
    place.call(&["disk", "create", "disk.img"]).expect(0);
    let call = |target| place.call_changing_nothing(&["disk", "show", target]);
    call("absent").expect(4).says(&["nlxtp: absent: ", "nlxtp disk create"]);
    call("directory").expect(4).says(&["nlxtp: directory: ", "nlxtp ls"]);
    call("letter.txt").expect(4).says(&["letter.txt", "no FAT file system"]);
    let late = place.call(&["disk", "show", "disk.img", "--timeout", "0", "--json"]).expect(6).json();
    assert_eq!(late["error"]["kind"], "timed-out");
}
