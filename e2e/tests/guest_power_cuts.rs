//! The guest loses its power at any instant, a hundred times: its disk can always be read, and if the
//! host has seen Done, every byte of every result is there.

mod guest_power_cuts_support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use guest_power_cuts_support::{Attached, Machine, PATIENCE, Random, Run, download, log_of, node, our_guest};
use nlxtp_e2e::Initramfs;
use nlxtp_e2e::places::{self, guest_file};
use nlxtp_e2e::process::wait_until;
use nlxtp_e2e::write_log::{self, Write};
use rextfv_core::entry_path::EntryPath;
use rextfv_core::liveness::State;
use rextfv_core::operations::StatusReport;
use rextfv_core::powers::PowerState;

/// QEMU's ways of caching that keep flushes.
const CACHES: [&str; 3] = ["writeback", "none", "writethrough"];

/// In all, by two at a time, unless the environment says how many.
const ROUNDS: usize = 36;
const WORKERS: usize = 2;

/// One in so many is booted once more afterwards.
const BOOTED_AGAIN: usize = 8;

/// What the rounds have come to, for people.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<String, u64>>);

impl Tally {
    fn count(&self, what: String) {
        *self.0.lock().expect("no panic").entry(what).or_default() += 1;
    }
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn whoever_has_seen_done_may_pull_the_plug() {
    let rounds = match std::env::var("NLXTP_TEST_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("NLXTP_TEST_ROUNDS"),
        Err(_) => ROUNDS,
    };
    let tally = Tally::default();
    let next_boot = Machine::boot(our_guest(), Attached::Cached("writeback"));
    for cache in CACHES {
        let machine = Machine::boot(our_guest(), Attached::Cached(cache));
        thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (machine, next_boot, tally) = (&machine, &next_boot, &tally);
                let rounds = rounds / CACHES.len() / WORKERS;
                scope.spawn(move || cut_off(rounds, worker, cache, machine, next_boot, tally));
            }
        });
    }
    println!("{:#?}", tally.0.lock().expect("no panic"));
}

/// One worker's rounds with one disk, which it uses again and again: so each upload is one after a
/// power cut.
fn cut_off(rounds: usize, worker: usize, cache: &str, machine: &Machine, next_boot: &Machine, tally: &Tally) {
    let folder = places::temporary_folder("cuts");
    let image = folder.path().join("disk.img");
    guest_power_cuts_support::create_disk(&image);
    let mut random = Random::new();
    // What a run has taken to Done so far, and how often.
    let (mut to_done, mut dones) = (Duration::ZERO, 0);
    for round in 0..rounds {
        let run = Run::upload(&image, machine, &mut random);
        let vm = machine.go_on(&image);
        // Every third time as soon as Done is seen; else at any instant of the run, or after it.
        let cut_at = (round % 3 != 0).then(|| to_done / dones * 3 / 2).map(|most| most.mul_f64(random.fraction()));
        let began = Instant::now();
        let mut watched = node(&image, PowerState::On);
        let (mut seen_done, mut sequence) = (false, None);
        loop {
            if cut_at.is_some_and(|instant| began.elapsed() >= instant) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "the run does not end");
            let report = watched.status().expect("never a fatal error");
            sequence = sequence.max(report.sequence);
            if report.state == State::Finished && !seen_done {
                seen_done = true;
                to_done += began.elapsed();
                dones += 1;
                if cut_at.is_none() {
                    break;
                }
            }
            // The guest needs the processor, too.
            thread::sleep(Duration::from_millis(1));
        }
        vm.pull_the_plug();

        let report = node(&image, PowerState::Off).status().expect("never a fatal error");
        assert!(report.sequence >= sequence, "{report:?} after {sequence:?}");
        let fell = match report.state {
            State::Finished => {
                run.judge_results(&image).unwrap_or_else(|lost| panic!("Done, but {lost}"));
                if seen_done { "after Done was seen" } else { "just after Done" }
            }
            _ if seen_done => panic!("Done was seen: {report:?}"),
            State::NotStarted => "before the claim",
            State::MonitorStopped if report.exit_code.is_some() => "between the script's end and Done",
            State::MonitorStopped => "during the run",
            // Nothing was flushed yet: the first record ever, in part.
            State::Unreadable if sequence.is_none() => "at the first record",
            _ => panic!("not to be expected here: {report:?}"),
        };
        tally.count(format!("{cache}: {fell}"));
        let downloaded = tempfile::tempdir().expect("a folder");
        download(&image, downloaded.path()).expect("the image is readable");

        if round % BOOTED_AGAIN == worker {
            let vm = next_boot.go_on(&image);
            let expected = match report.state {
                State::NotStarted | State::Finished => [State::Finished; 2],
                State::MonitorStopped => [State::GuestRebooted; 2],
                _ => [State::MonitorStopped, State::GuestRebooted],
            };
            let mut watched = node(&image, PowerState::On);
            wait_until("what the next boot makes of it", PATIENCE, || {
                let report = watched.status().expect("never a fatal error");
                expected.contains(&report.state).then_some(())
            });
            vm.pull_the_plug();
            tally.count(format!("booted again {fell}: {}", expected[1].word()));
        }
    }
}

/// A disk that loses its power may hold any part of what was written since the last flush. Here all
/// writes of a run are played back from a log, and after each flush the disk is judged as it is, and
/// with several choices of the sectors that were written next.
#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn what_our_guest_has_not_flushed_may_be_lost() {
    play_runs(12, our_guest());
}

/// The same with a guest that is a shell script.
#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn what_a_shell_guest_has_not_flushed_may_be_lost() {
    play_runs(4, Initramfs::Shell(guest_file("shell-guest.sh")));
}

#[track_caller]
fn play_runs(runs: usize, initramfs: Initramfs) {
    let machine = Machine::boot(initramfs, Attached::Logged);
    let total = Mutex::new(Played::default());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| (0..runs / WORKERS).for_each(|_| play_a_run(&machine, &total)));
        }
    });
    let total = total.into_inner().expect("no panic");
    println!("{total:#?}");
    assert!(total.done > 0 && total.states > total.done, "before Done and after it");
}

#[derive(Debug, Default)]
struct Played {
    flushes: usize,
    /// Disks that were judged.
    states: usize,
    /// Those that said Done.
    done: usize,
    /// Those that could be read, but of which no whole archive could be made.
    not_packed: usize,
}

fn play_a_run(machine: &Machine, total: &Mutex<Played>) {
    let folder = places::temporary_folder("played");
    let (image, before) = (folder.path().join("disk.img"), folder.path().join("before.img"));
    guest_power_cuts_support::create_disk(&image);
    let mut random = Random::new();
    let run = Run::upload(&image, machine, &mut random);
    fs::copy(&image, &before).expect("copied");

    let vm = machine.go_on(&image);
    let mut watched = node(&image, PowerState::On);
    wait_until("Done", PATIENCE, || watched.status().expect("never a fatal error").done().then_some(()));
    vm.pull_the_plug();

    let mut disk =
        PlayedDisk { file: File::options().read(true).write(true).open(&before).expect("opened"), path: before };
    let groups = write_log::groups(&log_of(&image));
    let mut played = Played { flushes: groups.len() - 1, ..Played::default() };
    for group in &groups {
        let flushed = judge(&disk.path, &run, None, &mut played);
        for choice in choices(group, &mut random) {
            let old = disk.write(&choice);
            judge(&disk.path, &run, Some(&flushed), &mut played);
            disk.write(&old);
        }
        disk.write(group);
    }
    let mut total = total.lock().expect("no panic");
    total.flushes += played.flushes;
    total.states += played.states;
    total.done += played.done;
    total.not_packed += played.not_packed;
}

struct PlayedDisk {
    file: File,
    path: PathBuf,
}

impl PlayedDisk {
    /// Writes, and returns what takes it back.
    fn write(&mut self, writes: &[Write]) -> Vec<Write> {
        let mut old = Vec::new();
        for write in writes {
            let mut data = vec![0; write.data.len()];
            self.file.read_exact_at(&mut data, write.offset).expect("read");
            self.file.write_all_at(&write.data, write.offset).expect("written");
            old.push(Write { offset: write.offset, data });
        }
        old.reverse();
        old
    }
}

/// Some of what a disk may hold of these writes: the last request alone, all but the last, and
/// several random choices of sectors.
fn choices(group: &[Write], random: &mut Random) -> Vec<Vec<Write>> {
    let Some((last, others)) = group.split_last() else { return Vec::new() };
    let mut choices = vec![vec![last.clone()], others.to_vec()];
    for _ in 0..3 {
        let sectors = group.iter().flat_map(|write| {
            (write.offset..)
                .step_by(512)
                .zip(write.data.chunks(512))
                .map(|(offset, data)| Write { offset, data: data.to_vec() })
        });
        choices.push(sectors.filter(|_| random.below(2) == 0).collect());
    }
    choices
}

/// Judges a disk. What was flushed before is `flushed`: nothing older may be seen.
#[track_caller]
fn judge(image: &Path, run: &Run, flushed: Option<&StatusReport>, played: &mut Played) -> StatusReport {
    played.states += 1;
    let mut node = node(image, PowerState::Off);
    let report = node.status().expect("never a fatal error");
    if let Some(flushed) = flushed {
        assert!(report.sequence >= flushed.sequence, "{report:?} hides {flushed:?}");
    }
    if report.state == State::Finished {
        played.done += 1;
        run.judge_results(image).unwrap_or_else(|lost| panic!("Done, but {lost}"));
        return report;
    }
    let results = EntryPath::parse(b"results").expect("a path");
    if node.directory().view().and_then(|mut view| view.entry(&results)).is_ok_and(|found| found.is_some()) {
        assert_ne!(report.state, State::NotStarted, "the script would run a second time");
    }
    let downloaded = tempfile::tempdir().expect("a folder");
    played.not_packed += usize::from(download(image, downloaded.path()).is_err());
    report
}
