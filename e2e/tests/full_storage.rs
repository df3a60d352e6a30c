//! The host's storage fills up: at each size, and at each moment, there is a clear error, the old
//! content, and nothing left over; and when there is room again, everything goes on.

use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use nix::fcntl::{FallocateFlags, fallocate};
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::faults::FaultyArchive;
use nlxtp_e2e::mounts::{Mount, in_private_mounts, make_ext4};
use nlxtp_e2e::places;
use nlxtp_e2e::power_cut::Replay;
use nlxtp_e2e::process::run;
use nlxtp_e2e::tree::{Tree, difference, tree};
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::node::{Node, ReadSeek};
use nlxtp_host::shared_directory::{self, DiskImage, DiskOptions};
use rextfv_core::status::{RunState, Status, Truncated};
use rextfv_core::status_codec;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of the file systems that fill up.
const BYTES: u64 = 24 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    SparseImage,
    AllocatedImage,
}

const KINDS: [Kind; 3] = [Kind::Directory, Kind::SparseImage, Kind::AllocatedImage];

/// A small file system, and in it what an upload replaces.
struct Small {
    mount: Mount,
    _device: Option<Replay>,
}

impl Small {
    fn in_memory(folder: &Path) -> Self {
        let mount = Mount::memory(&folder.join("small"), &format!("size={BYTES},nr_inodes=100")).expect("mounted");
        Self { mount, _device: None }
    }

    fn ext4(folder: &Path) -> Self {
        let image = folder.join("image");
        make_ext4(&image, BYTES, &["-N", "100"]);
        let device = Replay::new(folder, BYTES);
        device.load(&fs::read(&image).expect("an image"));
        let mount = Mount::ext4(device.device(), &folder.join("small"), "nodelalloc").expect("mounted");
        Self { mount, _device: Some(device) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mount.path().join(name)
    }

    fn target(&self, kind: Kind) -> PathBuf {
        self.path(if kind == Kind::Directory { "share" } else { "disk.img" })
    }

    /// Makes what is to be replaced.
    fn prepare(&self, kind: Kind) {
        let target = self.target(kind);
        match kind {
            Kind::Directory => fs::create_dir(&target).expect("a directory"),
            _ => {
                let options = DiskOptions { size: 4 << 20, ..DiskOptions::default() };
                DiskImage::create(&target, &options).expect("an image");
            }
        }
        if kind == Kind::AllocatedImage {
            let image = File::options().write(true).open(&target).expect("an image");
            fallocate(&image, FallocateFlags::empty(), 0, 4 << 20).expect("room");
        }
        self.upload(kind, &mut Cursor::new(archive("old"))).expect("an old content");
    }

    fn upload(&self, kind: Kind, archive: &mut dyn ReadSeek) -> Result<(), Error> {
        let directory = shared_directory::open(self.target(kind))?;
        Node::from_boxed(directory).upload(archive, &Control::none()).map(drop)
    }

    /// Fills it up but for so many bytes.
    fn leave(&self, bytes: u64) {
        fill(self.mount.path(), bytes);
    }

    fn make_room(&self) {
        fs::remove_file(self.path("ballast")).expect("it was there");
    }

    /// Everything but what fills it up.
    fn content(&self) -> Tree {
        tree(self.mount.path(), |name| name != "ballast" && name != "inodes" && name != "lost+found")
    }
}

fn fill(mount: &Path, leave: u64) {
    let ballast = File::create(mount.join("ballast")).expect("a file");
    let mut most = u64::MAX;
    // Until the sum is right: what is written needs room for itself, and an upload takes some meanwhile.
    while most >= 4096 {
        let status = nix::sys::statvfs::statvfs(mount).expect("a file system");
        let free = status.blocks_free() * status.fragment_size();
        let Some(more) = free.checked_sub(leave).filter(|&more| more > 0) else { return };
        let more = more.min(most);
        let length = ballast.metadata().expect("a file").len();
        if fallocate(&ballast, FallocateFlags::empty(), length.cast_signed(), more.cast_signed()).is_err() {
            most = more / 2;
        }
    }
}

/// A tar of 14 files, half a megabyte together.
fn archive(version: &str) -> Vec<u8> {
    static ARCHIVES: [OnceLock<Vec<u8>>; 2] = [const { OnceLock::new() }; 2];
    let pack = || {
        let folder = TempDir::new().expect("a folder");
        fs::create_dir(folder.path().join("many")).expect("a folder");
        for number in 0..12_usize {
            let content = format!("{number} of {version}\n").repeat(600 * (number + 1));
            fs::write(folder.path().join(format!("many/{number}")), content).expect("a file");
        }
        fs::write(folder.path().join("auto_exec.sh"), version).expect("a file");
        fs::write(folder.path().join(format!("only of {version}")), "").expect("a file");
        run(Command::new("tar").arg("-cf").arg("-").arg("-C").arg(folder.path()).arg("."), PATIENCE).success().stdout
    };
    ARCHIVES[usize::from(version == "new")].get_or_init(pack).clone()
}

/// Uploads, checks what a failed upload says and leaves, and that the next one works. Whether it failed.
fn upload_and_judge(what: &str, small: &Small, kind: Kind, make_room: impl FnOnce()) -> bool {
    let before = small.content();
    let outcome = small.upload(kind, &mut Cursor::new(archive("new")));
    judge(what, small, &before, &outcome);
    make_room();
    small.upload(kind, &mut Cursor::new(archive("old"))).unwrap_or_else(|error| panic!("{what}: {error}"));
    outcome.is_err()
}

/// That an upload has succeeded, or says what to do and has changed nothing.
fn judge(what: &str, small: &Small, before: &Tree, outcome: &Result<(), Error>) {
    if let Err(error) = outcome {
        assert!(matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::TooSmall), "{what}: {error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("make room")), "{what}: {error}");
        let after = small.content();
        assert!(after == *before, "{what}: {error}: {}", difference(&after, before));
    }
}

/// Each kind of target on each kind of file system.
fn for_each_case(test: impl Fn(&str, &Small, Kind) + Sync) {
    for kind in KINDS {
        for ext4 in [false, true] {
            in_private_mounts(|| {
                let folder = places::temporary_folder("full");
                let small = if ext4 { Small::ext4(folder.path()) } else { Small::in_memory(folder.path()) };
                small.prepare(kind);
                test(&format!("{kind:?} on {}", if ext4 { "ext4" } else { "tmpfs" }), &small, kind);
            });
        }
    }
}

#[test]
#[ignore = "needs root and loop devices; `make test` runs it"]
fn an_upload_finds_too_little_room() {
    for_each_case(|case, small, kind| {
        let step = if kind == Kind::AllocatedImage { 600 << 10 } else { 90 << 10 };
        let mut failed = 0;
        for free in (0..).step_by(step) {
            small.leave(free);
            if !upload_and_judge(&format!("{case}, {free} bytes"), small, kind, || small.make_room()) {
                break;
            }
            failed += 1;
        }
        assert!(failed >= 5, "{case}: only {failed} sizes were too small");
    });
}

#[test]
#[ignore = "needs root and loop devices; `make test` runs it"]
fn an_upload_finds_too_few_inodes() {
    for_each_case(|case, small, kind| {
        let folder = small.path("inodes");
        for free in 0.. {
            fs::create_dir(&folder).expect("a folder");
            let left = nix::sys::statvfs::statvfs(small.mount.path()).expect("a file system").files_free() - free;
            (0..left).for_each(|number| drop(File::create(folder.join(number.to_string())).expect("a file")));
            let make_room = || fs::remove_dir_all(&folder).expect("removed");
            if !upload_and_judge(&format!("{case}, {free} inodes"), small, kind, make_room) {
                assert!(free >= if kind == Kind::Directory { 15 } else { 1 }, "{case}: {free} inodes were enough");
                break;
            }
        }
    });
}

#[test]
#[ignore = "needs root and loop devices; `make test` runs it"]
fn somebody_else_takes_the_room_during_an_upload() {
    for_each_case(|case, small, kind| {
        for percent in (0..=100).step_by(10) {
            let before = small.content();
            let what = format!("{case}, at {percent} %");
            let mut archive = FaultyArchive::new(archive("new"), f64::from(percent) / 100.0, || small.leave(0));
            let outcome = small.upload(kind, &mut archive);
            assert!(archive.has_happened());
            judge(&what, small, &before, &outcome);
            // A fully allocated image has all the room that it needs; near the end, others may.
            assert!(outcome.is_err() || kind == Kind::AllocatedImage || percent >= 90, "{what}");
            small.make_room();
            small.upload(kind, &mut Cursor::new(self::archive("old"))).expect("there is room again");
        }
    });
}

/// A shared directory whose guest has just said for the `sequence`th time that it is running.
fn running_guest(folder: &Path, sequence: u64) -> PathBuf {
    let share = folder.join("share");
    let status = Status {
        run: None,
        sequence,
        state: RunState::Running,
        done: false,
        running_info: sequence,
        interval: Duration::from_secs(3600),
        boot: None,
        ended: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
        truncated: Truncated::default(),
        custom: None,
        progress: None,
    };
    fs::create_dir_all(share.join("exec_status")).expect("a directory");
    fs::write(share.join("random"), noise(700_000)).expect("a file");
    let record = status_codec::encode(&status).expect("a status");
    fs::write(share.join(format!("exec_status/status.{}", sequence % 2)), record).expect("a file");
    share
}

/// Bytes that no compression makes fewer.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
#[ignore = "needs root and loop devices; `make test` runs it"]
fn a_download_finds_too_little_room() {
    in_private_mounts(|| {
        let folder = places::temporary_folder("full");
        let target = Target::new(&running_guest(folder.path(), 1));
        let small = Small::in_memory(folder.path());
        let archive = small.path("archive.tar.gz");
        fs::write(&archive, "an older one").expect("a file");
        let before = small.content();
        let mut failed = 0;
        for free in (0..).step_by(60 << 10) {
            small.leave(free);
            let finished = target.call("download", &[archive.to_str().expect("text"), "--force"]);
            small.make_room();
            if finished.code() == 0 {
                break;
            }
            failed += 1;
            assert_eq!(finished.code(), 3, "{finished:?}");
            assert!(finished.error_text().contains("No space left"), "{finished:?}");
            assert!(finished.error_text().contains("make room"), "{finished:?}");
            assert!(small.content() == before, "{}", difference(&small.content(), &before));
        }
        assert!(failed >= 10, "only {failed} sizes were too small");
        let listed = run(Command::new("tar").arg("-tzf").arg(&archive), PATIENCE).success().text();
        assert!(listed.contains("random"), "{listed}");
    });
}

#[test]
#[ignore = "needs root and loop devices; `make test` runs it"]
fn what_is_remembered_finds_no_room() {
    in_private_mounts(|| {
        let folder = places::temporary_folder("full");
        let target = Target::new(&running_guest(folder.path(), 1));
        let small = Small::in_memory(folder.path());
        let memory = small.path("memory");
        let ask = || target.call("status", &["--memory", memory.to_str().expect("text")]).success().error_text();
        assert_eq!(ask(), "");
        let before = small.content();
        assert!(before.contains_key(Path::new("memory")));

        running_guest(folder.path(), 2);
        small.leave(0);
        assert!(ask().contains("cannot be remembered"), "the status is told, and that");
        assert!(small.content() == before, "{}", difference(&small.content(), &before));
        small.make_room();
        assert_eq!(ask(), "");
        assert!(small.content() != before, "it is remembered now");
    });
}
