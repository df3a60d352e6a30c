//! A hundred thousand disks that were changed here and there, each used for all that the host does with
//! one: nothing may panic, end in an unknown error, or cost more than the volume's size justifies.
//!
//! The changes follow from the number of the round. A round that fails is named, and
//! `NLXTP_MUTATION=fat16:1234` repeats it alone.

mod fat_support;

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use fat_support::Random;
use fat_support::mutated_disk::Disk;
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::fat::{FatError, FatType, FatVolume, Geometry, ReadAt, ReadLimits, WalkItem, locate};
use nlxtp_host::node::{Node, Output};
use nlxtp_host::shared_directory::DiskImage;
use peak_alloc::PeakAlloc;
use rextfv_core::liveness::State;
use rextfv_core::retry::RetryPolicy;
use rextfv_core::shared_directory::{MayRetry as _, SharedDirectory as _};
use rextfv_core::status_reader::{Reading, read_status};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Rounds with each of the five disks.
const ROUNDS: u64 = 20_000;
/// What all five together may ever have taken, the disks' own content included.
const MOST_MEMORY: usize = 12 << 20;
/// Status queries that may be seen to the end for each disk, where each takes its time to try again.
const SLOW_QUERIES: u32 = 4;

/// Names a round if it fails.
struct Round<'a>(&'a str, u64);

impl Drop for Round<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat it with NLXTP_MUTATION={}:{}", self.0, self.1);
        }
    }
}

/// Counts what is read.
struct Counting<'a> {
    file: &'a File,
    reads: AtomicU64,
    bytes: AtomicU64,
}

impl ReadAt for Counting<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        ReadAt::read_exact_at(self.file, buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(self.file)
    }
}

/// What came of the rounds with a disk.
#[derive(Debug, Default)]
struct Outcome {
    sound: u32,
    damaged: u32,
    refused: u32,
    most_reads: u64,
    most_bytes: u64,
    /// The largest shares of what the volume's size justifies, in percent.
    most_of_reads: u64,
    most_of_bytes: u64,
    statuses: u32,
    unusable: u32,
    slow_queries: u32,
    archives: u32,
    not_whole: u32,
}

impl Outcome {
    fn look(&mut self, file: &File) {
        let storage = Counting { file, reads: AtomicU64::new(0), bytes: AtomicU64::new(0) };
        let volume = match locate(&storage).and_then(|extent| FatVolume::open(&storage, extent, ReadLimits::default()))
        {
            Ok(volume) => volume,
            Err(FatError::NotFat { .. }) => return self.refused += 1,
            // The disk was cut within its first block.
            Err(error) => panic!("{error:?}"),
        };
        let faults = match walk(&volume) {
            Ok(faults) => faults,
            Err(FatError::Damaged { .. } | FatError::Limit { .. }) => {
                self.damaged += 1;
                1
            }
            Err(error) => panic!("{error:?}"),
        };
        self.sound += u32::from(faults == 0);
        let reads = storage.reads.load(Ordering::Relaxed);
        let bytes = storage.bytes.load(Ordering::Relaxed);
        let (most_reads, most_bytes) = justified(volume.geometry(), faults);
        assert!(bytes <= most_bytes, "{bytes} bytes read, {most_bytes} justified");
        assert!(reads <= most_reads, "{reads} reads, {most_reads} justified");
        self.most_of_reads = self.most_of_reads.max(reads * 100 / most_reads);
        self.most_of_bytes = self.most_of_bytes.max(bytes * 100 / most_bytes);
        self.most_reads = self.most_reads.max(reads);
        self.most_bytes = self.most_bytes.max(bytes);
    }

    fn use_node(&mut self, directory: &DiskImage, node: &mut Node) {
        match directory.view().and_then(|mut view| read_status(&mut *view)) {
            Ok(found) if !matches!(found.reading, Reading::Unusable(_)) => {
                let report = node.status().unwrap();
                assert_eq!(report.attempts, 1);
                let mut buffer = [0; 1000];
                let read = node.read_output(Output::Stdout, 0, &report, &mut buffer);
                assert!(read.as_ref().map_or_else(Error::may_retry, |read| *read <= 1000), "{read:?}");
                self.statuses += 1;
            }
            Err(error) if !error.may_retry() => {
                refused(&error);
                refused(&node.status().unwrap_err());
            }
            _ => {
                self.unusable += 1;
                if self.slow_queries < SLOW_QUERIES {
                    self.slow_queries += 1;
                    assert_eq!(node.status().unwrap().state, State::Unreadable);
                }
            }
        }
        let mut archive = Counted(0);
        match node.download(&mut archive, OutputFormat::Tar, &Control::none()) {
            Ok(report) => {
                assert_eq!(report.archive_bytes, archive.0);
                self.archives += 1;
                self.not_whole += u32::from(report.left_out.count() + report.changed.count() > 0);
            }
            Err(error) if error.kind() == ErrorKind::Changing => {}
            Err(error) => refused(&error),
        }
    }
}

/// How many reads and how many bytes a volume may cost that is used once, with so many faults.
fn justified(geometry: &Geometry, faults: u64) -> (u64, u64) {
    let clusters = u64::from(geometry.cluster_count());
    let data = geometry.data_bytes();
    // Each fault may be a directory that is followed twice around; the root is read for its label too.
    let directories = (faults + 2) * (2 * data).min(2 << 20);
    let steps = 3 * clusters + directories / u64::from(geometry.cluster_size());
    let table = clusters * u64::from(geometry.fat_type().bits()) / 8;
    // A small table is read once, of a large one perhaps a block for each step.
    let blocks = if table < 60 << 10 { table / 4096 + 2 } else { steps };
    (10 + blocks + steps, 1024 + 2 * geometry.metadata_bytes() + data + directories + 4096 * blocks)
}

/// Visits and reads everything, and returns how much of it has faults.
fn walk(volume: &FatVolume<&Counting<'_>>) -> Result<u64, FatError> {
    let geometry = volume.geometry();
    let most_entries = (geometry.data_bytes() + (2 << 20)) / 32 + u64::from(geometry.root_entries());
    let (mut entries, mut bytes, mut faults) = (0, 0, 0);
    let _ = volume.label();
    let mut chunk = [0; 4096];
    for item in volume.walk(volume.root()) {
        entries += 1;
        let (path, entry) = match item? {
            WalkItem::Entry { path, entry } => (path, entry),
            WalkItem::LeftOut { directory, left_out } => {
                assert!(!directory.chars().chain(left_out.name.chars()).any(char::is_control));
                faults += 1;
                continue;
            }
            _ => {
                faults += 1;
                continue;
            }
        };
        let parts: Vec<&str> = path.split('/').collect();
        assert!(parts.len() <= 65 && path.len() <= 4096);
        assert!(!parts.iter().any(|name| matches!(*name, "" | "." | "..")));
        assert!(!path.chars().any(|c| c.is_control() || c == '\\'));
        assert_eq!(entry.directory().is_some(), entry.is_dir);
        if entry.is_dir {
            continue;
        }
        let read = volume.open_file(&entry).and_then(|mut reader| {
            let mut total = 0;
            loop {
                match reader.read(&mut chunk)? {
                    0 => return Ok(total),
                    len => total += len as u64,
                }
                bytes += 4096.min(u64::from(entry.size));
            }
        });
        let in_middle = volume.read_file_at(&entry, u64::from(entry.size / 2), &mut chunk[..10]);
        match read {
            Ok(total) => assert_eq!(total, u64::from(entry.size)),
            Err(FatError::Damaged { .. }) => faults += 1,
            Err(error) => panic!("{error:?}"),
        }
        assert!(matches!(in_middle, Ok(_) | Err(FatError::Damaged { .. })), "{in_middle:?}");
    }
    assert!(entries <= most_entries, "{entries} entries on a volume of {} bytes", geometry.total_bytes());
    assert!(bytes <= 8 * geometry.data_bytes() + 4096, "{bytes} bytes of files");
    Ok(faults)
}

/// An error that a disk may end in, which says that it is not for us.
fn refused(error: &Error) {
    let known = [ErrorKind::NotATarget, ErrorKind::Refused, ErrorKind::Unfinished];
    assert!(known.contains(&error.kind()), "{error:?}");
}

/// A sink that counts.
struct Counted(u64);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn attack(disk: &mut Disk, rounds: impl Iterator<Item = u64>) -> Outcome {
    let open = || DiskImage::open(&disk.path).unwrap().with_retries(RetryPolicy::NEVER);
    let (directory, mut node) = (open(), Node::new(open()));
    let mut outcome = Outcome::default();
    for round in rounds {
        let _named = Round(disk.name, round);
        // Spread over all the bits, and never 0.
        let mut random = Random((round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for _ in 0..1 + random.below(8) {
            disk.mutate(&mut random);
        }
        outcome.look(&disk.file);
        outcome.use_node(&directory, &mut node);
        disk.undo();
    }
    // Nothing was left behind by a round that would show in another one.
    let before = outcome.sound;
    outcome.look(&disk.file);
    assert_eq!(outcome.sound, before + 1);
    outcome
}

#[test]
fn a_hundred_thousand_mutated_disks() {
    let mut disks = vec![
        Disk::new("fat12", FatType::Fat12, 0, 128 << 10),
        Disk::new("fat12-mbr", FatType::Fat12, 4096, 512 << 10),
        Disk::new("fat16", FatType::Fat16, 1 << 20, 2200 << 10),
        Disk::new("fat32", FatType::Fat32, 1 << 20, 34 << 20),
    ];
    disks.push(Disk::forged("fat32-small"));
    if let Ok(wanted) = std::env::var("NLXTP_MUTATION") {
        let (name, round) = wanted.split_once(':').expect("NLXTP_MUTATION=NAME:ROUND");
        let disk = disks.iter_mut().find(|disk| disk.name == name).expect("a name of a disk");
        println!("{:?}", attack(disk, std::iter::once(round.parse().unwrap())));
        return;
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            disks.iter_mut().map(|disk| scope.spawn(|| (disk.name, attack(disk, 0..ROUNDS)))).collect();
        for thread in threads {
            let (name, outcome) = thread.join().unwrap();
            println!("{name}: {outcome:?}");
            // The changes reached all of it.
            let Outcome { sound, refused, unusable, archives, not_whole, .. } = outcome;
            for count in [sound, refused, archives, not_whole] {
                assert!(u64::from(count) > ROUNDS / 100, "{name}");
            }
            assert!(unusable > 0, "{name}");
        }
    });
    println!("at most {} KiB of memory", MEMORY.peak_usage() >> 10);
    assert!(MEMORY.peak_usage() < MOST_MEMORY, "{} bytes", MEMORY.peak_usage());
}
