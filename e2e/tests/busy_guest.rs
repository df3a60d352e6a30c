//! A guest writes its status and other files as fast as it can, and the host reads all the time: it
//! never takes anything for a status that the guest has not written.
//!
//! `NLXTP_TEST_MINUTES` says how long each of the guests is watched; a quarter of one if not set.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::places::guest_file;
use nlxtp_e2e::process::run;
use nlxtp_e2e::{Initramfs, Vm, VmOptions, places};
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;
use nlxtp_host::error::ErrorKind;
use nlxtp_host::guest::KnownPower;
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::DiskImage;
use rextfv_core::liveness::State;
use rextfv_core::operations::StatusReport;
use rextfv_core::powers::PowerState;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(180);

/// How many lines the Custom Status number n has, by the remainder of n and 8: of one cluster, of
/// several, and of more than the monitor's slots hold at first.
const LINES: [usize; 8] = [1, 3, 40, 700, 5, 2000, 1, 9000];

/// Records that must be seen of each guest.
const ENOUGH_RECORDS: u64 = 30;

/// Between two downloads.
const DOWNLOAD_EVERY: Duration = Duration::from_secs(3);

/// For our monitor: sets such Custom Statuses, and writes outputs and other files.
const SCRIPT: &str = r#"#!/bin/sh
n=0
while :; do
    n=$((n + 1))
    case $((n % 8)) in
        0 | 6) lines=1 ;; 1) lines=3 ;; 2) lines=40 ;; 3) lines=700 ;;
        4) lines=5 ;; 5) lines=2000 ;; 7) lines=9000 ;;
    esac
    yes "n=$n" | head -n "$lines" >custom.new
    mv custom.new custom
    echo "$n"
    echo "$n" >"$nlxtp_dir/a file with a long name $((n % 5))"
    rm -f "$nlxtp_dir/a file with a long name $(((n + 2) % 5))"
done
"#;

/// A disk with a run id and a start script, and what was seen of it.
struct Watched {
    folder: TempDir,
    node: Node,
    last: Option<(u64, u64)>,
    /// Whether the guest truncates slots and writes them anew.
    truncates: bool,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    queries: u64,
    /// Records that were seen, each once.
    records: u64,
    /// Queries by the attempts that they took, the first included.
    attempts: BTreeMap<u32, u64>,
    /// Queries that told nothing in the end, by their reason.
    unreadable: BTreeMap<String, u64>,
    /// Queries that told an older record than the query before.
    stepped_back: u64,
    downloads: u64,
    /// Downloads that were given up because the file system was changing.
    given_up: u64,
}

impl Watched {
    fn new(truncates: bool) -> Self {
        let folder = places::temporary_folder("busy");
        let content = folder.path().join("content");
        fs::create_dir(&content).expect("made");
        fs::write(content.join("auto_exec.sh"), SCRIPT).expect("written");
        let archive = folder.path().join("archive.tar");
        run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&content).arg("."), PATIENCE).success();
        let image = folder.path().join("disk.img");
        Target::create_disk(&image, &[]).upload(&archive, &[]);
        let node = Node::new(DiskImage::open(&image).expect("a disk")).with_power(KnownPower(PowerState::On));
        Self { folder, node, last: None, truncates, tally: Tally::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.path("disk.img")
    }

    /// Queries for as long as the environment says, from the first record on.
    fn watch(&mut self) {
        let length = match std::env::var("NLXTP_TEST_MINUTES") {
            Ok(minutes) => Duration::from_secs_f64(60.0 * minutes.parse::<f64>().expect("NLXTP_TEST_MINUTES")),
            Err(_) => Duration::from_secs(15),
        };
        let booting = Instant::now();
        while self.last.is_none() {
            let report = self.node.status().expect("never a fatal error");
            self.take(&report);
            assert!(booting.elapsed() < PATIENCE, "the guest writes nothing: {report:?}");
        }
        self.tally = Tally::default();
        let began = Instant::now();
        let mut download_at = began;
        // On a busy machine the guest may be slow.
        while began.elapsed() < length || (self.tally.records < ENOUGH_RECORDS && began.elapsed() < PATIENCE) {
            let report = self.node.status().expect("never a fatal error");
            self.take(&report);
            self.count(&report);
            if Instant::now() >= download_at {
                self.download();
                download_at = Instant::now() + DOWNLOAD_EVERY;
            }
        }
    }

    /// Accepts what the guest has written and nothing else.
    #[track_caller]
    fn take(&mut self, report: &StatusReport) {
        match report.state {
            State::NotStarted => assert!(self.last.is_none(), "a run that was running has not started: {report:?}"),
            State::Unreadable => assert!(report.reason.is_some() && report.custom.is_none(), "{report:?}"),
            State::Running => {
                let (Some(sequence), Some(custom)) = (report.sequence, &report.custom) else { return };
                let number = number_of(custom).unwrap_or_else(|| {
                    panic!(
                        "no Custom Status of the guest's: {}",
                        String::from_utf8_lossy(&custom[..custom.len().min(200)])
                    )
                });
                let last = self.last.unwrap_or_default();
                if sequence < last.0 && self.truncates {
                    // What was seen before it was flushed may hide again, and the one before shows.
                    assert_eq!((sequence + 1, number + 1), last);
                    self.tally.stepped_back += 1;
                    return;
                }
                assert!(sequence >= last.0 && number >= last.1, "{sequence}, {number} after {last:?}");
                assert!(sequence > last.0 || number == last.1, "two records {sequence}: {number} and {}", last.1);
                self.tally.records += u64::from(sequence > last.0);
                self.last = Some((sequence, number));
            }
            _ => panic!("not to be expected here: {report:?}"),
        }
    }

    fn count(&mut self, report: &StatusReport) {
        self.tally.queries += 1;
        *self.tally.attempts.entry(report.attempts).or_default() += 1;
        if report.state == State::Unreadable {
            let reason = report.reason.clone().expect("a reason");
            *self.tally.unreadable.entry(reason).or_default() += 1;
        }
    }

    /// Whatever a download comes to, it is a whole archive or says that the disk was changing.
    fn download(&mut self) {
        self.tally.downloads += 1;
        let path = self.path("download.tar");
        let mut file = File::create(&path).expect("made");
        match self.node.download(&mut file, OutputFormat::Tar, &Control::none()) {
            Ok(_) => drop(run(Command::new("tar").arg("-tf").arg(&path), PATIENCE).success()),
            Err(error) if error.kind() == ErrorKind::Changing => self.tally.given_up += 1,
            Err(error) => panic!("{error}"),
        }
    }

    /// The guest was cut off: what was seen last is there, or something newer.
    fn judge_the_end(&mut self) {
        let image = DiskImage::open(self.image()).expect("a disk");
        let report = Node::new(image).with_power(KnownPower(PowerState::Off)).status().expect("readable");
        assert_eq!(report.state, State::MonitorStopped, "{report:?}");
        assert!(report.sequence >= self.last.map(|last| last.0), "{report:?} after {:?}", self.last);
        assert!(report.custom.is_some_and(|custom| number_of(&custom).is_some()));
    }
}

/// The number that a Custom Status tells, if it is one that the guest writes.
fn number_of(custom: &[u8]) -> Option<u64> {
    let line = custom.split_inclusive(|&byte| byte == b'\n').next()?;
    let number: u64 = std::str::from_utf8(line).ok()?.strip_prefix("n=")?.strip_suffix('\n')?.parse().ok()?;
    (custom == line.repeat(LINES[usize::try_from(number % 8).ok()?])).then_some(number)
}

#[track_caller]
fn watch(initramfs: Initramfs, kernel_arguments: &str) -> Watched {
    let mut watched = Watched::new(matches!(initramfs, Initramfs::Shell(_)));
    let options = VmOptions::new(initramfs).disk(&watched.image());
    let vm = Vm::start(&options.kernel_arguments(&format!("guest_mount_options=async {kernel_arguments}")));
    watched.watch();
    vm.pull_the_plug();
    let tally = &watched.tally;
    println!("{tally:#?}");
    assert!(
        tally.queries > 500 && tally.records >= ENOUGH_RECORDS && tally.downloads > 3,
        "both sides were busy: {tally:?}"
    );
    watched
}

fn unreadable(watched: &Watched) -> u64 {
    watched.tally.unreadable.values().sum()
}

fn shell_guest() -> Initramfs {
    Initramfs::Shell(guest_file("busy-guest.sh"))
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn our_monitor_writes_and_the_host_reads() {
    let mut watched = watch(Initramfs::Daemon(places::nlxtp_guest()), "");
    assert_eq!(unreadable(&watched), 0, "one of two slots can always be read");
    watched.judge_the_end();
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_shell_writes_two_slots_and_the_host_reads() {
    let mut watched = watch(shell_guest(), "busy_slots=2");
    assert_eq!(unreadable(&watched), 0, "one of two slots can always be read");
    watched.judge_the_end();
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_shell_writes_one_slot_and_the_host_tries_again() {
    let watched = watch(shell_guest(), "busy_slots=1");
    let again: u64 = watched.tally.attempts.range(2..).map(|(_, count)| count).sum();
    assert!(again > 0, "with one slot there are moments without a status");
}

/// The test's own judgement can fail.
#[test]
fn a_mixture_of_two_statuses_is_none() {
    assert_eq!(number_of(b"n=9\nn=9\nn=9\n"), Some(9));
    for wrong in [&b""[..], b"n=9\n", b"n=9\nn=9\nn=8\n", b"n=9\nn=9\nn=9", b"n=9\nn=9\nn=9\n\0", b"n=x\n"] {
        assert_eq!(number_of(wrong), None, "{}", Path::new(std::str::from_utf8(wrong).unwrap_or("?")).display());
    }
}
