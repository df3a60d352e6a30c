//! Status queries, beside reading the same bytes from one plain file.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nlxtp_host::control::Control;
use rextfv_core::ids::{BootId, RunId};
use rextfv_core::layout;
use rextfv_core::liveness::State;
use rextfv_core::status::{Ending, RunState, Status, Truncated};
use rextfv_core::status_codec;

use super::{DISK_BYTES, empty_disk, node};
use crate::harness::report::{Report, time};
use crate::harness::{Comparison, Contender, Fresh, Result, median, succeed};
use crate::stores::mounted;

/// Bytes of a slot before it grows, as our guest makes it.
const SLOT_BYTES: usize = 8 << 10;

/// Sizes of the Custom Status.
const SIZES: [(&str, usize); 4] = [
    ("custom status of 100 bytes", 100),
    ("custom status of 1 KiB", 1 << 10),
    ("custom status of 10 KiB", 10 << 10),
    ("custom status of 100 KiB", 100 << 10),
];

pub fn measure(fresh: &Fresh<'_>, rounds: usize, report: &mut Report) -> Result {
    for (input, custom_bytes) in SIZES {
        let targets = [("status of a directory", fresh.directory()?), ("status of a disk image", empty_disk(fresh)?)];
        for (operation, target) in targets {
            query(fresh, (operation, input), &target, custom_bytes, rounds, report)?;
        }
    }
    beside_mounting(fresh, rounds, report)
}

fn query(
    fresh: &Fresh<'_>,
    (operation, input): (&str, &str),
    target: &Path,
    custom_bytes: usize,
    rounds: usize,
    report: &mut Report,
) -> Result {
    let (run, records) = fill(target, custom_bytes)?;

    // What must be read, in one file: the run id and the two records.
    let same = target.with_file_name("same-bytes");
    let mut bytes = format!("{run}\n").into_bytes();
    let starts = records.each_ref().map(|record| {
        bytes.extend_from_slice(record);
        bytes.len() - record.len()
    });
    fs::write(&same, &bytes)?;
    let read = || -> Result<Vec<u8>> {
        let file = File::open(&same)?;
        let mut buffer = vec![0; bytes.len()];
        file.read_exact_at(&mut buffer, 0)?;
        Ok(buffer)
    };
    for manner in [Manner::First, Manner::Anew, Manner::Kept, Manner::KeptAndChanged] {
        let mut node = node(target)?;
        node.keep_open(matches!(manner, Manner::Kept | Manner::KeptAndChanged));
        let found = node.status()?;
        if found.state != State::Finished
            || found.sequence != Some(7)
            || found.custom.map(|c| c.len()) != Some(custom_bytes)
        {
            return Err(format!("{operation}: found {:?}, sequence {:?}", found.state, found.sequence).into());
        }
        let plain = Contender::new("open, pread, close", || {
            black_box(read()?);
            Ok(())
        });
        let verified = Contender::new("the same and verifying checksums", || {
            let buffer = read()?;
            for start in starts {
                black_box(status_codec::decode(&buffer[start..])?);
            }
            Ok(())
        });
        let ours = Contender::new("nlXTP", || {
            if manner == Manner::First {
                node = self::node(target)?;
            }
            black_box(node.status()?);
            Ok(())
        });
        let (operation, ours) = match manner {
            Manner::First => (format!("{operation}, a node's first"), ours),
            Manner::Anew => (operation.to_owned(), ours),
            Manner::Kept => {
                sleep(SETTLED);
                (format!("{operation}, kept open"), ours)
            }
            Manner::KeptAndChanged => {
                (format!("{operation}, kept open and just changed"), ours.prepared(|| change(target)))
            }
        };
        Comparison::new(&operation, input, ours)
            .against(plain)
            .against(verified)
            .repeated(QUERIES)
            .measure(fresh, rounds, report)?;
    }
    Ok(())
}

/// How a node is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// By a node that is made for it, and that knows nothing.
    First,
    /// All is opened and read for each query.
    Anew,
    /// Long after the last change, as most queries are.
    Kept,
    /// So soon after a change that its time does not tell yet whether there was another one.
    KeptAndChanged,
}

/// Queries in a row: few enough to come within a tenth of a second after a change.
const QUERIES: u32 = 500;

/// How long to wait after a change until a later one shows in the time of change for sure.
const SETTLED: Duration = Duration::from_millis(200);

/// What a guest does that changes nothing of what is told: it writes to its disk, or makes and removes files
/// in its directories.
fn change(target: &Path) -> Result {
    if target.is_dir() {
        for directory in [target.to_owned(), target.join(layout::STATUS_DIRECTORY)] {
            let path = directory.join("scratch");
            fs::write(&path, b"")?;
            fs::remove_file(path)?;
        }
        return Ok(());
    }
    let disk = File::options().read(true).write(true).open(target)?;
    let mut sector = [0; 512];
    disk.read_exact_at(&mut sector, 0)?;
    Ok(disk.write_all_at(&sector, 0)?)
}

/// Uploads to a target, and writes two slots there as a guest does.
pub fn fill(target: &Path, custom_bytes: usize) -> Result<(RunId, [Vec<u8>; 2])> {
    let archive = target.with_file_name("script.tar");
    script_archive(&archive)?;
    let run = node(target)?.upload(&mut File::open(&archive)?, &Control::none())?.run_id;
    let custom: Vec<u8> = (b'a'..=b'z').cycle().take(custom_bytes).collect();
    Ok((run, write_slots(target, run, &custom)?))
}

/// Writes both slots, as a guest does.
pub fn write_slots(target: &Path, run: RunId, custom: &[u8]) -> Result<[Vec<u8>; 2]> {
    let records = [record(run, 6, custom)?, record(run, 7, custom)?];
    for (name, record) in layout::STATUS_SLOTS.iter().zip(&records) {
        let mut slot = record.clone();
        slot.resize(record.len().max(SLOT_BYTES).next_power_of_two(), 0);
        guest_writes(target, name, &slot)?;
    }
    Ok(records)
}

/// What people do who have no reader of FAT: mount the disk, read the slots, and unmount it.
fn beside_mounting(fresh: &Fresh<'_>, rounds: usize, report: &mut Report) -> Result {
    let what = "status of a disk image beside a loop mount and unmount";
    if !nix::unistd::geteuid().is_root() {
        report.leave_out(what, "only root can mount");
        return Ok(());
    }
    eprintln!("measuring: {what}");
    let disk = empty_disk(fresh)?;
    fill(&disk, 100)?;
    let at = fresh.directory()?;
    let mount = |disk: &Path, options: &str| -> Result {
        succeed(Command::new("mount").args(["-o", options]).args([disk, &at]))?;
        let slots = layout::STATUS_SLOTS.iter().map(|slot| fs::read(at.join(slot)));
        let read: Vec<_> = slots.filter_map(|slot| slot.ok().map(black_box)).collect();
        succeed(Command::new("umount").arg(&at))?;
        if read.len() == 2 { Ok(()) } else { Err("the mounted slots cannot be read".into()) }
    };
    let as_vfat = || mount(&disk, "loop,ro,offset=1048576");
    // A kernel without FAT: what a loop mount itself costs is much the same.
    let ext4 = fresh.path("ext4.img");
    let as_ext4 = || mount(&ext4, "loop,ro");
    let (kind, mount): (_, &dyn Fn() -> Result) = if as_vfat().is_ok() {
        ("vfat", &as_vfat)
    } else {
        File::create(&ext4)?.set_len(DISK_BYTES)?;
        let tree = fresh.directory()?;
        fs::create_dir(tree.join(layout::STATUS_DIRECTORY))?;
        for slot in layout::STATUS_SLOTS {
            fs::write(tree.join(slot), [0; SLOT_BYTES])?;
        }
        succeed(Command::new("mkfs.ext4").args(["-q", "-F", "-d"]).args([&tree, &ext4]))?;
        ("ext4", &as_ext4)
    };
    if let Err(error) = mount() {
        report.leave_out(what, &format!("mounting does not work here: {error}"));
        return Ok(());
    }
    let mut node = node(&disk)?;
    let (mut mounted, mut asked) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        mount()?;
        mounted.push(start.elapsed());
        let start = Instant::now();
        for _ in 0..500 {
            black_box(node.status()?);
        }
        asked.push(start.elapsed() / 500);
    }
    let (mounted, asked) = (median(&mounted), median(&asked));
    let times = mounted.as_secs_f64() / asked.as_secs_f64();
    report
        .facts
        .push([format!("{what} ({kind})"), format!("{} beside {}, {times:.0} times", time(asked), time(mounted))]);
    Ok(())
}

fn record(run: RunId, sequence: u64, custom: &[u8]) -> Result<Vec<u8>> {
    Ok(status_codec::encode(&Status {
        run: Some(run),
        sequence,
        state: RunState::Finished,
        done: true,
        running_info: 1_700_000_000_000 + sequence,
        interval: Duration::from_secs(10),
        boot: Some(BootId::from_bytes([7; 16])),
        ended: Some(Ending::Exit(0)),
        stdout_bytes: 120,
        stderr_bytes: 0,
        truncated: Truncated::default(),
        custom: Some(custom.to_vec()),
        progress: None,
    })?)
}

/// What the guest does, through its own eyes: a disk's file system in another implementation.
fn guest_writes(target: &Path, path: &str, content: &[u8]) -> Result {
    if target.is_dir() {
        let path = target.join(path);
        fs::create_dir_all(path.parent().ok_or("a path without a parent")?)?;
        return Ok(fs::write(path, content)?);
    }
    let volume = mounted(target);
    {
        let (directory, name) = path.split_once('/').ok_or("a path without a directory")?;
        let mut file = volume.root_dir().create_dir(directory)?.create_file(name)?;
        file.write_all(content)?;
        file.flush()?;
    }
    Ok(volume.unmount()?)
}

/// The smallest archive there is to upload.
fn script_archive(path: &Path) -> Result {
    let mut builder = tar::Builder::new(File::create(path)?);
    let script = b"#!/bin/sh\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(script.len() as u64);
    header.set_mode(0o755);
    builder.append_data(&mut header, layout::START_SCRIPT, script.as_slice())?;
    Ok(builder.finish()?)
}
