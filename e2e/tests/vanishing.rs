//! The shared directory or disk image vanishes, before an operation and in the middle of one: that
//! ends with an error that says so, or with the operation done; and when the storage is there again,
//! the next upload works.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::MntFlags;
use nlxtp_e2e::faults::{FaultyArchive, FaultySink};
use nlxtp_e2e::mounts::{Mount, in_private_mounts};
use nlxtp_e2e::process::run;
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::node::{Node, ReadSeek};
use nlxtp_host::shared_directory::{DiskImage, DiskOptions, HostDirectory};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    Image,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Removed,
    MovedAway,
    /// By a file where a directory was, and the other way round.
    Replaced,
    /// To no bytes at all; of images only.
    Emptied,
    /// To half its length; of images only.
    Halved,
}

/// Each fault, and what is then said to whoever comes after it.
const CASES: [(Kind, Fault, ErrorKind); 8] = [
    (Kind::Directory, Fault::Removed, ErrorKind::NotFound),
    (Kind::Directory, Fault::MovedAway, ErrorKind::NotFound),
    (Kind::Directory, Fault::Replaced, ErrorKind::NotATarget),
    (Kind::Image, Fault::Removed, ErrorKind::NotFound),
    (Kind::Image, Fault::MovedAway, ErrorKind::NotFound),
    (Kind::Image, Fault::Replaced, ErrorKind::NotATarget),
    (Kind::Image, Fault::Emptied, ErrorKind::NotATarget),
    (Kind::Image, Fault::Halved, ErrorKind::NotATarget),
];

struct Target {
    folder: TempDir,
    kind: Kind,
}

impl Target {
    fn new(kind: Kind) -> Self {
        let target = Self { folder: TempDir::new().expect("a folder"), kind };
        target.make();
        target
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    fn elsewhere(&self) -> PathBuf {
        self.folder.path().join("elsewhere")
    }

    fn make(&self) {
        match self.kind {
            Kind::Directory => fs::create_dir(self.path()).expect("a directory"),
            Kind::Image => {
                let options = DiskOptions { size: 4 << 20, ..DiskOptions::default() };
                DiskImage::create(self.path(), &options).expect("an image");
            }
        }
        self.node().upload(&mut Cursor::new(archive("old")), &Control::none()).expect("an old content");
    }

    fn node(&self) -> Node {
        match self.kind {
            Kind::Directory => Node::new(HostDirectory::open(self.path()).expect("a directory")),
            Kind::Image => Node::new(DiskImage::open(self.path()).expect("an image")),
        }
    }

    fn remove(&self) {
        match fs::symlink_metadata(self.path()) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(self.path()).expect("removed"),
            Ok(_) => fs::remove_file(self.path()).expect("removed"),
            Err(_) => {}
        }
    }

    fn suffer(&self, fault: Fault) {
        let cut = |length| {
            File::options().write(true).open(self.path()).and_then(|file| file.set_len(length)).expect("cut");
        };
        match fault {
            Fault::Removed => self.remove(),
            Fault::MovedAway => fs::rename(self.path(), self.elsewhere()).expect("moved"),
            Fault::Replaced => {
                self.remove();
                match self.kind {
                    Kind::Directory => fs::write(self.path(), "a file").expect("a file"),
                    Kind::Image => fs::create_dir(self.path()).expect("a directory"),
                }
            }
            Fault::Emptied => cut(0),
            Fault::Halved => cut(2 << 20),
        }
    }

    /// What was moved away comes back; else there is a new one.
    fn restore(&self) {
        self.remove();
        if self.elsewhere().exists() {
            fs::rename(self.elsewhere(), self.path()).expect("moved");
        } else {
            self.make();
        }
    }

    /// What is found by the path.
    fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let mut bytes = Vec::new();
        self.node().download(&mut bytes, OutputFormat::Tar, &Control::none()).expect("a download");
        unpack(&bytes)
    }
}

/// A tar of 20 files, 700 KiB together.
fn archive(version: &str) -> Vec<u8> {
    let folder = TempDir::new().expect("a folder");
    for number in 0..20_usize {
        let content = format!("{number} of {version}\n").repeat(2600);
        fs::write(folder.path().join(format!("file {number}")), content).expect("a file");
    }
    fs::write(folder.path().join("auto_exec.sh"), version).expect("a file");
    run(Command::new("tar").arg("-cf").arg("-").arg("-C").arg(folder.path()).arg("."), PATIENCE).success().stdout
}

/// The files in a tar; only a whole one is taken.
fn unpack(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let folder = TempDir::new().expect("a folder");
    let tar = folder.path().join("tar");
    fs::write(&tar, bytes).expect("a file");
    let content = folder.path().join("content");
    fs::create_dir(&content).expect("a folder");
    run(Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(&content), PATIENCE).success();
    let files = fs::read_dir(&content).expect("a folder").map(|entry| entry.expect("a name"));
    files
        .map(|file| {
            let mut content = Vec::new();
            File::open(file.path()).and_then(|mut file| file.read_to_end(&mut content)).expect("a file");
            (file.file_name().into_string().expect("text"), content)
        })
        .filter(|(name, _)| name != "nlxtp_run_id")
        .collect()
}

fn upload(node: &mut Node, archive: &mut dyn ReadSeek) -> Result<(), Error> {
    node.upload(archive, &Control::none()).map(drop)
}

#[test]
fn what_is_gone_is_told_and_comes_back() {
    for (kind, fault, told) in CASES {
        let target = Target::new(kind);
        let mut node = target.node();
        target.suffer(fault);
        let uploaded = upload(&mut node, &mut Cursor::new(archive("new"))).map(|()| "uploaded");
        let asked = node.status().map(|_| "status");
        let downloaded = node.download(&mut Vec::new(), OutputFormat::Tar, &Control::none()).map(|_| "downloaded");
        let waited = node.wait(&Control::none(), |_| {}).map(|_| "waited");
        for outcome in [uploaded, asked, downloaded, waited] {
            let error = outcome.expect_err(&format!("{kind:?} {fault:?}"));
            assert_eq!(error.kind(), told, "{kind:?} {fault:?}: {error}");
            assert!(error.to_string().contains("target"), "it is named: {error}");
        }
        target.restore();
        upload(&mut node, &mut Cursor::new(archive("new"))).expect("it is there again");
        assert_eq!(target.content()["auto_exec.sh"], b"new");
    }
}

#[test]
fn what_vanishes_during_an_upload_is_not_reported_as_uploaded() {
    let new = unpack(&archive("new"));
    for (kind, fault, _) in CASES {
        for part in [0.0, 0.5, 1.0] {
            let what = format!("{kind:?} {fault:?} at {part}");
            let target = Target::new(kind);
            let mut node = target.node();
            let mut faulty = FaultyArchive::new(archive("new"), part, || target.suffer(fault));
            let outcome = upload(&mut node, &mut faulty);
            assert!(faulty.has_happened(), "{what}");
            match outcome {
                // Where a whole new image has taken the place of what was there.
                Ok(()) => assert!(target.content() == new, "{what}"),
                Err(error) => {
                    let kinds = [ErrorKind::NotFound, ErrorKind::NotATarget, ErrorKind::Changing, ErrorKind::Io];
                    assert!(kinds.contains(&error.kind()), "{what}: {error:?}");
                }
            }
            target.restore();
            upload(&mut node, &mut Cursor::new(archive("new"))).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(target.content() == new, "{what}");
            let left: Vec<_> = fs::read_dir(target.folder.path()).expect("a folder").collect();
            assert_eq!(left.len(), 1, "{what}: nothing is left over: {left:?}");
        }
    }
}

#[test]
fn what_vanishes_is_told_to_whoever_waits() {
    for (kind, fault, told) in CASES {
        let target = Target::new(kind);
        let mut node = target.node();
        let control = Control::none().with_deadline(Some(Instant::now() + PATIENCE));
        let mut states = 0;
        let error = node
            .wait(&control, |_| {
                states += 1;
                target.suffer(fault);
            })
            .expect_err("it has gone");
        assert_eq!((error.kind(), states), (told, 1), "{kind:?} {fault:?}: {error}");
    }
}

#[test]
#[ignore = "needs root; `make test` runs it"]
fn what_is_unmounted_during_an_upload_is_not_reported_as_uploaded() {
    in_private_mounts(|| {
        let target = Target::new(Kind::Directory);
        let mut node = target.node();
        let mounted = Mount::memory(&target.path(), "size=8M").expect("mounted");
        let unmount = || nix::mount::umount2(mounted.path(), MntFlags::MNT_DETACH).expect("unmounted");
        let mut faulty = FaultyArchive::new(archive("new"), 0.5, unmount);
        let error = upload(&mut node, &mut faulty).expect_err("it has gone");
        assert_eq!(error.kind(), ErrorKind::Changing, "{error}");
        assert!(faulty.has_happened());
        std::mem::forget(mounted);
        assert!(target.content() == unpack(&archive("old")), "what the mount had hidden");
        upload(&mut node, &mut Cursor::new(archive("new"))).expect("it is a directory like any other");
    });
}

#[test]
fn what_vanishes_during_a_download_gives_an_error_or_a_whole_archive_with_a_report() {
    let old = unpack(&archive("old"));
    for (kind, fault, _) in CASES {
        for at in [0, 300_000] {
            let what = format!("{kind:?} {fault:?} at {at}");
            let target = Target::new(kind);
            let mut node = target.node();
            let mut sink = FaultySink::new(at, || target.suffer(fault));
            let outcome = node.download(&mut sink, OutputFormat::Tar, &Control::none());
            match outcome {
                Ok(report) => {
                    let found = unpack(&sink.bytes);
                    assert!(found.iter().all(|(name, content)| old.get(name) == Some(content)), "{what}");
                    let missing = old.len() - found.len();
                    assert!(report.left_out.count() >= missing as u64, "{what}: {report:?}");
                }
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Changing | ErrorKind::Io), "{what}: {error:?}");
                }
            }
            target.restore();
            upload(&mut node, &mut Cursor::new(archive("new"))).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
}
