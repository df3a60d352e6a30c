//! An upload reads its archive once and makes the new content meanwhile, beside the old one: whatever
//! turns out to be wrong at whatever time, the old content stands and nothing is left over.

mod archives;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use archives::{SCRIPT, archive};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use nlxtp_host::control::{Control, Progress};
use nlxtp_host::error::{Error, ErrorKind, Result};
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::{self, DiskImage, DiskOptions, HostDirectory};
use rextfv_core::entry_path::EntryPath;
use rextfv_core::ids::RunId;
use rextfv_core::powers::{GuestPower, PowerState};
use rextfv_core::shared_directory::{Attributes, SharedDirectory};

/// A directory or an image in a place of its own.
struct Target {
    place: tempfile::TempDir,
    path: PathBuf,
}

impl Target {
    fn directory() -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("shared");
        fs::create_dir(&path).unwrap();
        Self { place, path }
    }

    fn disk(size: u64) -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("disk.img");
        DiskImage::create(&path, &DiskOptions { size, ..DiskOptions::default() }).unwrap();
        Self { place, path }
    }

    fn both() -> [Self; 2] {
        [Self::directory(), Self::disk(8 << 20)]
    }

    fn node(&self) -> Node {
        Node::from_boxed(shared_directory::open(&self.path).unwrap())
    }

    fn upload(&self, files: &[(&str, &[u8])]) {
        self.node().upload(&mut archive(files), &Control::none()).unwrap();
    }

    /// All that is there: the target and what may have been left beside it.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut directories = vec![self.place.path().to_path_buf()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    files.insert(path.clone(), Vec::new());
                    directories.push(path);
                } else {
                    files.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        files
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_is_found_wrong_late_changes_nothing_and_leaves_nothing() {
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(2_000_000)
    .collect();
    let good = || archive(&[SCRIPT, ("d/new", &noise), ("d/last", b"x")]).into_inner();
    let mut wrong_checksum = gzip(&good());
    let crc = wrong_checksum.len() - 8;
    wrong_checksum[crc] ^= 1;
    let truncated = gzip(&good())[..1_500_000].to_vec();
    let twice = archive(&[SCRIPT, ("a", &noise), SCRIPT, ("b", &noise), ("a", b"")]).into_inner();
    for target in Target::both() {
        target.upload(&[SCRIPT, ("old", b"old")]);
        let before = target.files();
        for (bytes, kind) in [
            (&wrong_checksum, ErrorKind::BadArchive),
            (&truncated, ErrorKind::BadArchive),
            (&twice, ErrorKind::Refused),
        ] {
            let error = target.node().upload(&mut Cursor::new(bytes), &Control::none()).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            let refused = error.refusals().map(|refusals| refusals.listed.iter().map(|one| &*one.entry).collect());
            assert_eq!(refused, (kind == ErrorKind::Refused).then(|| vec!["auto_exec.sh", "a"]), "all are listed");
            assert!(target.files() == before, "{error}");
        }
        target.node().upload(&mut Cursor::new(gzip(&good())), &Control::none()).unwrap();
    }
}

/// Uploads, and tells whether the archive was read a second time.
fn read_twice(target: &Target, files: &[(&str, &[u8])]) -> Result<bool> {
    let examined = Mutex::new(false);
    let control = Control::none().with_progress(|progress| {
        *examined.lock().unwrap() |= matches!(progress, Progress::Examining { .. });
    });
    target.node().upload(&mut archive(files), &control)?;
    drop(control);
    Ok(examined.into_inner().unwrap())
}

#[test]
fn content_that_needs_another_shape_of_fat_is_read_twice_and_fits() {
    let names: Vec<String> = (0..3000).map(|number| format!("a name that is long, number {number}")).collect();
    let few: Vec<(&str, &[u8])> = names.iter().take(100).map(|name| (&**name, &b"x"[..])).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b"x"[..])).collect();
    // Too many for the usual root directory; too many for clusters of the usual size.
    for size in [62 << 20, 5 << 20] {
        let target = Target::disk(size);
        assert!(!read_twice(&target, &few).unwrap());
        assert!(read_twice(&target, &many).unwrap());
        let names = shared_directory::open(&target.path).unwrap().view().unwrap().top_names().unwrap();
        assert_eq!(names.len(), many.len() + 1);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_what_it_needs() {
    let big = vec![1; 3 << 20];
    let files: Vec<(&str, &[u8])> = vec![SCRIPT, ("a", &big), ("b", &big), ("c", &big), ("d", &big)];
    let target = Target::disk(8 << 20);
    target.upload(&[SCRIPT, ("old", b"old")]);
    let before = target.files();
    let error = read_twice(&target, &files).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooSmall);
    assert!(error.to_string().contains("needs 126"), "all of it is counted: {error}");
    assert!(target.files() == before);
    let error = read_twice(&target, &[&files[..], &[SCRIPT]].concat()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "what is wrong with the archive comes first: {error}");
}

#[test]
fn a_guest_that_is_turned_on_meanwhile_keeps_its_disk() {
    /// Is on from the second time on that somebody asks.
    struct Boots(AtomicU32);
    impl GuestPower for Boots {
        type Error = Error;
        fn power_state(&self) -> Result<PowerState> {
            let asked = self.0.fetch_add(1, Ordering::Relaxed);
            Ok(if asked == 0 { PowerState::Off } else { PowerState::On })
        }
    }
    let target = Target::disk(8 << 20);
    target.upload(&[SCRIPT, ("old", b"old")]);
    let before = target.files();
    let mut node = target.node().with_power(Boots(AtomicU32::new(0)));
    let error = node.upload(&mut archive(&[SCRIPT, ("new", b"new")]), &Control::none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::GuestOn);
    assert!(target.files() == before);
}

fn time_is_up() -> Result<()> {
    Err(Error::new(ErrorKind::TimedOut, "as the test wants it"))
}

/// A file `new` and its commit, which ends when `watch` says so.
fn commit_new(target: &Target, watch: &dyn Fn() -> Result<()>) -> Result<()> {
    let directory = HostDirectory::open(&target.path).unwrap();
    let mut replacement = directory.begin(&|| Ok(())).unwrap().unwrap();
    let path = |name: &str| EntryPath::parse(name.as_bytes()).unwrap();
    let attributes = Attributes { mode: 0o755, modified: 0 };
    for name in ["new", "new/inner", "other"] {
        replacement.directory(&path(name), attributes).unwrap();
    }
    replacement.commit(RunId::from_bytes([7; 16]), watch)
}

#[test]
fn a_commit_can_be_ended_as_long_as_the_old_content_stands() {
    let target = Target::directory();
    target.upload(&[SCRIPT, ("old", b"old")]);
    let before = target.files();
    // Each time that it is asked in turn.
    let mut ended = 0;
    for allowed in 0.. {
        let asked = Cell::new(0);
        let watch = || if asked.replace(asked.get() + 1) == allowed { time_is_up() } else { Ok(()) };
        match commit_new(&target, &watch) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                assert!(target.files() == before, "ended when asked for the {allowed}. time");
                ended += 1;
            }
            Ok(()) => break,
        }
    }
    assert!(ended >= 4, "before each directory and the last moment: {ended}");
    assert!(target.path.join("new/inner").exists() && !target.path.join("old").exists());
}

#[test]
fn when_time_is_up_the_removal_of_old_content_is_left_to_the_next_upload() {
    let target = Target::directory();
    let names: Vec<String> = (0..50).map(|number| format!("d/{number}")).collect();
    target.upload(&names.iter().map(|name| (&**name, &b"old"[..])).collect::<Vec<_>>());
    let watch = || if target.path.join("new").exists() { time_is_up() } else { Ok(()) };
    let daemon = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    daemon.add_watch(&target.path, AddWatchFlags::IN_ATTRIB).unwrap();
    commit_new(&target, &watch).expect("the upload stands");
    let of_itself = |event: InotifyEvent| event.name.is_none();
    assert!(daemon.read_events().unwrap().into_iter().any(of_itself), "a daemon in the guest looks again");
    assert!(target.path.join("new/inner").exists() && !target.path.join("d").exists());
    let leftover = target.path.join(".nlxtp_upload");
    assert!(count(&leftover) > 50, "the old content is still to be removed");

    // Not even begun if there is no time at all, and all the same nothing is lost.
    let directory = HostDirectory::open(&target.path).unwrap();
    assert_eq!(directory.begin(&time_is_up).map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(target.path.join("new/inner").exists());
    target.upload(&[SCRIPT]);
    assert!(!leftover.exists());
}

#[test]
#[ignore = "needs root; `make test` runs it"]
fn what_cannot_be_moved_or_removed_is_named_with_the_way_out() {
    let precious = |target: &Target, place: &str, set: &str| {
        Command::new("chattr").arg(set).arg(target.path.join(place)).status().unwrap().success()
    };
    let target = Target::directory();
    let upload = |name| target.node().upload(&mut archive(&[SCRIPT, (name, b"new")]), &Control::none());
    target.upload(&[SCRIPT, ("precious", b"old")]);
    if !precious(&target, "precious", "+i") {
        // A file system without this attribute.
        return;
    }
    let error = upload("new").unwrap_err();
    assert!(precious(&target, "precious", "-i"));
    assert_eq!((error.kind(), error.object()), (ErrorKind::Unfinished, Some("precious")), "{error}");
    assert!(error.hint().unwrap().contains("chattr -i"), "{error}");
    upload("newer").unwrap();
    assert_eq!(fs::read(target.path.join("newer")).unwrap(), b"new");
    assert!(!target.path.join("new").exists() && !target.path.join("precious").exists());

    // Deeper, it goes out of the way, and stands in that of the next upload.
    target.upload(&[SCRIPT, ("d/precious", b"old")]);
    assert!(precious(&target, "d/precious", "+i"));
    upload("new").unwrap();
    let error = upload("newer").unwrap_err();
    let leftover = fs::read_dir(target.path.join(".nlxtp_upload")).unwrap();
    let mut places = leftover.map(|entry| entry.unwrap().path().join("precious"));
    let place = places.find(|place| place.exists()).expect("it is still there");
    assert!(precious(&target, place.to_str().unwrap(), "-i"));
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert!(error.message().contains("\"precious\"") && error.hint().unwrap().contains("chattr -i"), "{error}");
    upload("newer").unwrap();
    assert!(!target.path.join(".nlxtp_upload").exists());
}

fn count(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| 1 + if path.is_dir() { count(&path) } else { 0 }).sum()
}

/// A small file system, mounted for a while.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=20M", "none"]).arg(place.path()).status();
        assert!(mount.unwrap().success());
        Self(place)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
#[ignore = "needs root; `make test` runs it"]
fn a_host_without_room_for_both_contents_keeps_the_old_one() {
    let mounted = Mounted::new();
    let path = mounted.0.path().join("shared");
    fs::create_dir(&path).unwrap();
    let upload = |files: &[(&str, &[u8])]| {
        let mut packed = Cursor::new(gzip(archive(files).get_ref()));
        Node::new(HostDirectory::open(&path).unwrap()).upload(&mut packed, &Control::none())
    };
    upload(&[("old", b"old")]).unwrap();
    // Each alone would fit: only what all of them need does not.
    let part = vec![7; 8 << 20];
    let error = upload(&[("a", &part), ("b", &part), ("c", &part)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooSmall);
    assert!(error.to_string().contains("needs 251"), "{error}");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 2, "old content and run id");
    assert_eq!(fs::read(path.join("old")).unwrap(), b"old");
    // Nearly all that is free: more than is used as long as nobody knows what comes.
    upload(&[("a", &part), ("b", &part), ("c", &part[..(4 << 20) - (100 << 10)])]).unwrap();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 4);
}
