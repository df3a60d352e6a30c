//! A guest that writes while the host reads: what is seen was there, before or after, or is told as
//! "changing"; what stays wrong is left out as damaged.

mod fat_support;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fat_support::forge::*;
use fat_support::*;
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;
use nlxtp_host::error::ErrorKind;
use nlxtp_host::fat::{FatError, FatType, FatVolume, MemoryStorage, ReadAt, ReadLimits, WalkItem, WriteAt, locate};
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::DiskImage;
use rextfv_core::operations::DownloadReport;
use rextfv_core::retry::RetryPolicy;
use rextfv_core::shared_directory::{LeftOut, LeftOutReason};

const D: &[u8; 11] = b"D          ";
const GROWING: &[u8; 11] = b"GROWING    ";
const GOING: &[u8; 11] = b"GOING      ";
const COMING: &[u8; 11] = b"COMING     ";

/// A volume before and after a guest has let a file grow, removed a directory with a file, and made
/// another one.
fn before_and_after(kind: FatType) -> [Forge; 2] {
    let mut before = Forge::new(kind);
    let stays = directory(D, 20);
    before.root(&[stays, file(GROWING, 30, 700), directory(GOING, 40)]);
    before.slots(20, &[file(b"F          ", 21, 1000)]);
    before.chain(&[20]);
    before.chain(&[21, 25]);
    before.chain(&[30, 31]);
    before.slots(40, &[file(b"G          ", 42, 600)]);
    before.chain(&[40]);
    before.chain(&[42, 44]);
    // A file has other bytes in each cluster, wherever it is.
    for cluster in [21, 25, 30, 31, 35, 36, 37, 42, 44, 53] {
        let at = before.at(cluster);
        before.put(at, &cluster.to_le_bytes().repeat(128));
    }
    let mut after = before.clone();
    after.root(&[stays, file(GROWING, 30, 2400), [0xE5; 32], directory(COMING, 50)]);
    after.chain(&[30, 31, 35, 36, 37]);
    for cluster in [40, 42, 44] {
        after.link(cluster, 0);
    }
    after.slots(50, &[file(b"H          ", 53, 512)]);
    after.chain(&[50]);
    after.chain(&[53]);
    [before, after]
}

/// Two volumes, the second of which takes the place of the first at one of the reads.
struct Switching<'a> {
    sides: [&'a [u8]; 2],
    at: usize,
    reads: AtomicUsize,
}

impl ReadAt for Switching<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let read = self.reads.fetch_add(1, Ordering::Relaxed);
        self.sides[usize::from(read >= self.at)].read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(self.sides[0])
    }
}

/// Whatever is seen was there on one of the sides. Returns whether anything was told as changing.
fn check(seen: &Seen, sides: [&Seen; 2]) -> bool {
    for (path, content) in &seen.tree {
        assert!(sides.iter().any(|side| side.tree.get(path) == Some(content)), "{path}");
    }
    assert!(seen.left_out.is_empty() && seen.limits.is_empty() && seen.too_deep.is_empty());
    for (path, _) in &seen.damaged {
        assert!(sides.iter().any(|side| side.tree.contains_key(path)), "{path}");
    }
    // What did not change is always there.
    assert_eq!(seen.tree.get("D/F"), sides[0].tree.get("D/F"));
    !seen.damaged.is_empty()
}

#[test]
fn a_change_at_each_read() {
    for kind in KINDS {
        let [before, after] = before_and_after(kind);
        let (seen_before, seen_after) = (before.look(), after.look());
        assert_eq!(seen_before.paths(), ["D", "D/F", "GOING", "GOING/G", "GROWING"]);
        assert_eq!(seen_after.paths(), ["COMING", "COMING/H", "D", "D/F", "GROWING"]);
        let mut changing = 0;
        let mut at = 0;
        loop {
            let storage = Switching { sides: [&before.bytes, &after.bytes], at, reads: AtomicUsize::new(0) };
            let seen = Seen::of(&storage).unwrap();
            changing += u32::from(check(&seen, [&seen_before, &seen_after]));
            // A second look sees what is there now.
            if storage.reads.load(Ordering::Relaxed) >= at {
                assert_eq!(Seen::of(&storage).unwrap().tree, seen_after.tree);
            } else {
                break;
            }
            at += 1;
        }
        assert!(at > 8, "the change came at {at} reads");
        assert!(changing > 0, "{kind:?}: in none of {at} places it was noticed");
    }
}

#[test]
fn a_guest_that_never_rests() {
    for kind in KINDS {
        let [before, after] = before_and_after(kind);
        let (seen_before, seen_after) = (before.look(), after.look());
        // What differs, block by block, as a guest's writes reach the disk: in any order.
        let differ: Vec<usize> = (0..before.bytes.len())
            .step_by(512)
            .filter(|at| before.bytes[*at..at + 512] != after.bytes[*at..at + 512])
            .collect();
        let storage = MemoryStorage::from(before.bytes.clone());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = Random(11);
                while !stop.load(Ordering::Relaxed) {
                    let at = differ[random.below(differ.len())];
                    let side = [&before, &after][random.below(2)];
                    storage.write_all_at(&side.bytes[at..at + 512], at as u64).unwrap();
                }
            });
            for _ in 0..2000 {
                check(&Seen::of(&storage).unwrap(), [&seen_before, &seen_after]);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

/// A directory is mended between two reads of it, and goes on as if nothing had been.
#[test]
fn a_directory_read_again() {
    let mut sound = Forge::new(FatType::Fat16);
    sound.root(&[directory(D, 20), file(b"E          ", 0, 0)]);
    sound.slots(20, &[file(b"F          ", 0, 0); 16]);
    sound.chain(&[20, 21]);
    let mut torn = sound.clone();
    torn.link(20, 0);
    let storage = MemoryStorage::from(torn.bytes);
    let volume = FatVolume::open(&storage, locate(&storage).unwrap(), ReadLimits::default()).unwrap();
    let mut walk = volume.walk(volume.root());
    assert!(!walk.again(), "nothing was read yet");
    let unreadable = |item: Option<Result<WalkItem, FatError>>| match item {
        Some(Ok(WalkItem::Unreadable { path, error })) => assert!(path == "D" && error.may_retry()),
        other => panic!("{other:?}"),
    };
    unreadable(walk.next());
    assert!(walk.again());
    unreadable(walk.next());
    storage.write_all_at(&sound.bytes, 0).unwrap();
    assert!(walk.again());
    let mut paths = Vec::new();
    while let Some(item) = walk.next() {
        match item.unwrap() {
            WalkItem::Entry { path, .. } => paths.push(path),
            WalkItem::LeftOut { .. } => assert!(!walk.again()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(paths, ["D", "D/F", "E"]);
    assert!(!walk.again());
}

/// A FAT16 with a sound file and a directory of two clusters, the second of which is not linked.
fn torn_disk() -> (tempfile::TempDir, Forge, [u8; 512]) {
    let mut forge = Forge::new(FatType::Fat16);
    forge.root(&[
        file(b"A          ", 10, 4),
        directory(D, 20),
        directory(b"LOOP       ", 30),
        file(b"Z          ", 10, 4),
    ]);
    forge.link(10, END);
    forge.slots(20, &[[0xE5; 32]; 16]);
    forge.slots(21, &[file(b"F          ", 10, 4)]);
    forge.chain(&[20, 21]);
    forge.slots(30, &[directory(D, 30)]);
    forge.link(30, END);
    let table = forge.bytes[512..1024].try_into().unwrap();
    forge.link_in(0, 20, 0);
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("disk"), &forge.bytes).unwrap();
    (scratch, forge, table)
}

fn download(image: DiskImage) -> DownloadReport {
    Node::new(image).download(&mut io::sink(), OutputFormat::Tar, &Control::none()).unwrap()
}

fn left_out(report: &DownloadReport) -> Vec<(&str, LeftOutReason)> {
    report.left_out.listed.iter().map(|LeftOut { path, reason }| (path.as_str(), *reason)).collect()
}

/// Damage that stays does not keep the rest from being taken home.
#[test]
fn a_download_without_what_is_damaged() {
    let (scratch, ..) = torn_disk();
    let report = download(DiskImage::open(scratch.path().join("disk")).unwrap());
    assert_eq!(left_out(&report), [("D", LeftOutReason::Unreadable), ("LOOP/D", LeftOutReason::Repeated)]);
    assert_eq!((report.files, report.directories), (2, 1));
}

#[test]
fn a_download_waits_for_a_guest_that_is_writing() {
    let (scratch, _, table) = torn_disk();
    let path = scratch.path().join("disk");
    let patient =
        RetryPolicy { attempts: 1000, interval: Duration::from_millis(10), backoff: 1, ..RetryPolicy::STATUS };
    let image = DiskImage::open(&path).unwrap().with_retries(patient);
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            open_rw(&path).write_all_at(&table, 512).unwrap();
        });
        download(image)
    });
    assert_eq!(left_out(&report), [("LOOP/D", LeftOutReason::Repeated)]);
    assert_eq!((report.files, report.directories), (3, 2));
}

/// Without a root there is nothing to be taken home.
#[test]
fn a_root_that_stays_damaged() {
    let mut forge = Forge::new(FatType::Fat32);
    forge.slots(2, &[[0xE5; 32]; 16]);
    forge.link(2, 0);
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("disk");
    std::fs::write(&path, &forge.bytes).unwrap();
    let mut node = Node::new(DiskImage::open(&path).unwrap());
    let error = node.download(&mut io::sink(), OutputFormat::Tar, &Control::none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changing);
    assert!(error.to_string().contains("fsck.vfat"), "{error}");
}

fn open<'a, 'b>(storage: &'a Switching<'b>) -> FatVolume<&'a Switching<'b>> {
    FatVolume::open(storage, locate(storage).unwrap(), ReadLimits::default()).unwrap()
}

#[test]
fn lookups_read_a_directory_once() {
    let [before, after] = before_and_after(FatType::Fat16);
    let mut storage = Switching { sides: [&before.bytes, &after.bytes], at: usize::MAX, reads: AtomicUsize::new(0) };
    let volume = open(&storage);
    assert_eq!(volume.lookup("D/F").unwrap().size, 1000);
    let read = storage.reads.load(Ordering::Relaxed);
    assert_eq!(volume.lookup("GROWING").unwrap().size, 700);
    assert_eq!(volume.lookup("d/f").unwrap().size, 1000);
    assert!(matches!(volume.lookup("D/G"), Err(FatError::NotFound { .. })));
    assert_eq!(storage.reads.load(Ordering::Relaxed), read);
    assert_eq!(volume.lookup("GOING/G").unwrap().size, 600);
    assert!(storage.reads.load(Ordering::Relaxed) > read);
    // Whoever wants to see what is there now opens the volume again.
    drop(volume);
    storage.at = 0;
    assert_eq!(open(&storage).lookup("GROWING").unwrap().size, 2400);
}
