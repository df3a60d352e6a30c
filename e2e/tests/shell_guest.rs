//! The shell guest, on an ordinary directory: does it follow `docs/protocol.md`?

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nlxtp_e2e::places::{self, guest_file};
use nlxtp_e2e::process::{bound_to_this_thread, wait_for_exit, wait_until};
use rextfv_core::status::{Ending, RunState, Status};
use rextfv_core::status_codec;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const RUN_ID: &str = "00112233445566778899aabbccddeeff";

/// A shared directory, and the shell guest at work in it.
struct Guest {
    folder: TempDir,
    process: Option<Child>,
}

impl Guest {
    fn new() -> Self {
        Guest { folder: tempfile::tempdir().expect("a temporary folder"), process: None }
    }

    /// Starts the guest program with `sh`, or `busybox ash`, or any other POSIX shell.
    fn start(&mut self, shell: &[&str]) {
        let mut command = bound_to_this_thread(&places::tool(shell[0]));
        command.args(&shell[1..]).arg(guest_file("shell-guest.sh")).arg(self.folder.path());
        self.process = Some(command.stdin(Stdio::null()).spawn().expect("a shell"));
    }

    fn end(&mut self, signal: Signal) {
        let mut process = self.process.take().expect("a started guest");
        kill(Pid::from_raw(process.id().cast_signed()), signal).expect("signalled");
        wait_for_exit(&mut process, PATIENCE).expect("the guest ends when told to");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a start script there, after the run id, as the host does.
    fn upload(&self, run_id: Option<&str>, script: &str) {
        if let Some(run_id) = run_id {
            fs::write(self.path("nlxtp_run_id"), format!("{run_id}\n")).expect("written");
        }
        fs::write(self.path("staged"), format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::rename(self.path("staged"), self.path("auto_exec.sh")).expect("renamed");
    }

    /// The newest valid record.
    fn status(&self) -> Option<Status> {
        read_status(self.folder.path())
    }

    #[track_caller]
    fn wait_for(&self, what: &str, good: impl Fn(&Status) -> bool) -> Status {
        wait_until(what, PATIENCE, || self.status().filter(&good))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn read_status(folder: &Path) -> Option<Status> {
    let slots = ["status.0", "status.1"].map(|slot| folder.join("exec_status").join(slot));
    let records = slots.into_iter().filter_map(|slot| status_codec::decode(&fs::read(slot).ok()?).ok());
    records.max_by_key(|status| status.sequence)
}

fn a_run_from_beginning_to_end(shell: &[&str]) {
    let mut guest = Guest::new();
    guest.start(shell);
    guest.upload(
        Some(RUN_ID),
        "echo one; echo two >&2; archive_setstatus two  words
         until [ -e \"$nlxtp_dir/go\" ]; do sleep 0.1; done
         printf 'a\\n\\000b\\n\\n' >custom; pwd >\"$archive_dir/where\"; echo three; exit 3",
    );
    let first = guest.wait_for("the custom status", |status| status.custom.is_some());
    assert_eq!(first.custom.as_deref(), Some(&b"two words"[..]), "words as any function gets them");
    assert_eq!(first.state, RunState::Running);
    assert_eq!(first.run.expect("a run id").to_string(), RUN_ID);
    assert!(first.boot.is_some());
    assert_eq!((first.stdout_bytes, first.stderr_bytes), (4, 4));

    let second = guest.wait_for("a heartbeat", |status| status.sequence > first.sequence);
    assert_ne!(second.running_info, first.running_info);
    assert_eq!(second.boot, first.boot);

    fs::write(guest.path("go"), "").expect("written");
    let last = guest.wait_for("the end", |status| status.done);
    assert_eq!(last.ended, Some(Ending::Exit(3)));
    assert_eq!(last.custom.as_deref(), Some(&b"a\n\0b\n\n"[..]), "any bytes");
    assert_eq!(last.stdout_bytes, 10);
    assert_eq!(fs::read(guest.path("exec_status/stdout")).expect("read"), b"one\nthree\n");
    let status_folder = guest.path("exec_status").canonicalize().expect("a path");
    let seen = fs::read_to_string(guest.path("where")).expect("read");
    assert_eq!(Path::new(seen.trim()).canonicalize().expect("a path"), status_folder);

    // The other slot holds the record before: Done was not told before all was flushed.
    let slot = guest.path(&format!("exec_status/status.{}", (last.sequence + 1) % 2));
    let before = status_codec::decode(&fs::read(slot).expect("read")).expect("a valid record");
    assert_eq!((before.state, before.done), (RunState::Finished, false));
    guest.end(Signal::SIGTERM);
}

#[test]
fn a_run_with_the_shell_of_this_system() {
    a_run_from_beginning_to_end(&["sh"]);
}

#[test]
#[ignore = "needs busybox; `make test` runs it"]
fn a_run_with_busybox() {
    a_run_from_beginning_to_end(&["busybox", "ash"]);
}

#[test]
#[ignore = "needs dash; `make test` runs it"]
fn a_run_with_dash() {
    a_run_from_beginning_to_end(&["dash"]);
}

#[test]
fn a_signal_is_told_and_the_next_upload_runs() {
    let mut guest = Guest::new();
    guest.upload(Some(RUN_ID), "kill -9 $$");
    guest.start(&["sh"]);
    let status = guest.wait_for("the end", |status| status.done);
    assert_eq!(status.ended, Some(Ending::Signal(9)));
    assert_eq!(status.custom, None);

    fs::remove_file(guest.path("auto_exec.sh")).expect("removed");
    fs::remove_dir_all(guest.path("exec_status")).expect("removed");
    let other = RUN_ID.replace('0', "f");
    guest.upload(Some(&other), ":");
    let status = guest.wait_for("the end of the next run", |status| status.done);
    assert_eq!(status.run.expect("a run id").to_string(), other);
    assert_eq!(status.ended, Some(Ending::Exit(0)));
}

#[test]
fn an_upload_that_takes_the_directory_away_ends_the_run() {
    let mut guest = Guest::new();
    guest.upload(Some(RUN_ID), "echo $$ >\"$nlxtp_dir/pid\"; sleep 1000");
    guest.start(&["sh"]);
    guest.wait_for("the run", |status| status.state == RunState::Running && status.sequence > 1);
    let pid = fs::read_to_string(guest.path("pid")).expect("the script's process id");
    fs::rename(guest.path("exec_status"), guest.path("old")).expect("renamed");
    guest.upload(Some(&RUN_ID.replace('0', "f")), ":");
    let status = guest.wait_for("the new run's end", |status| status.done);
    assert!(status.sequence <= 4, "a run of its own, which counts anew: {status:?}");
    wait_until("the old script's end", PATIENCE, || (!Path::new("/proc").join(pid.trim()).exists()).then_some(()));
}

#[test]
fn nothing_starts_while_an_upload_is_under_way_or_a_run_is_there() {
    let mut guest = Guest::new();
    let [commit, ready] = ["commit", "ready"].map(|stage| guest.path(&format!(".nlxtp_upload/{stage}")));
    fs::create_dir_all(&commit).expect("made");
    guest.upload(Some(RUN_ID), "echo ran >>\"$nlxtp_dir/ran\"");
    guest.start(&["sh"]);
    thread::sleep(Duration::from_millis(2500));
    assert!(!guest.path("exec_status").exists());
    fs::rename(&commit, &ready).expect("renamed");
    thread::sleep(Duration::from_millis(2500));
    assert!(!guest.path("exec_status").exists());
    fs::remove_dir(&ready).expect("removed");
    guest.wait_for("the end", |status| status.done);

    // A second guest program finds the run claimed.
    guest.end(Signal::SIGTERM);
    guest.start(&["sh"]);
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(fs::read_to_string(guest.path("ran")).expect("read"), "ran\n");
}

#[test]
fn without_a_run_id_it_waits_until_all_has_arrived() {
    // A busy machine may let the writer pause for so long that the guest is right to start.
    let arrived = (0..5).any(|_| files_arrive_without_a_pause());
    assert!(arrived, "this machine is too busy: no attempt wrote without pauses");
}

/// False if there was a pause, which makes the attempt say nothing.
fn files_arrive_without_a_pause() -> bool {
    let mut guest = Guest::new();
    guest.start(&["sh"]);
    let mut last = Instant::now();
    guest.upload(None, "cat \"$nlxtp_dir/late\"");
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(150));
        let started = guest.path("exec_status").exists();
        let mut file = fs::File::options().create(true).append(true).open(guest.path("late")).expect("opened");
        file.write_all(b"more\n").expect("written");
        if last.elapsed() > Duration::from_millis(800) {
            return false;
        }
        assert!(!started, "started while files were arriving");
        last = Instant::now();
    }
    let status = guest.wait_for("the end", |status| status.done);
    assert_eq!(status.run, None);
    assert_eq!(status.stdout_bytes, 100);
    true
}

#[test]
fn a_run_that_was_cut_off_is_told() {
    let mut guest = Guest::new();
    guest.upload(Some(RUN_ID), "printf 'so far' >custom; echo $$ >\"$nlxtp_dir/pid\"; exec sleep 1000");
    guest.start(&["sh"]);
    let running = guest.wait_for("the custom status", |status| status.custom.is_some());

    // Told to stop, it says so itself, and the script ends with it.
    guest.end(Signal::SIGTERM);
    let status = guest.status().expect("a record");
    assert_eq!(status.state, RunState::Interrupted);
    assert!(!status.done);
    let pid = fs::read_to_string(guest.path("pid")).expect("the script's process id");
    wait_until("the script's end", PATIENCE, || (!Path::new("/proc").join(pid.trim()).exists()).then_some(()));

    // Found dead by the next one: in the same boot, and after another.
    for (boot, state) in [(running.boot, RunState::Interrupted), (RUN_ID.parse().ok(), RunState::Rebooted)] {
        for slot in ["exec_status/status.0", "exec_status/status.1"] {
            fs::write(guest.path(slot), "").expect("written");
        }
        let dead = Status { boot, ..running.clone() };
        let slot = guest.path(&format!("exec_status/status.{}", dead.sequence % 2));
        fs::write(slot, status_codec::encode(&dead).expect("a valid record")).expect("written");
        guest.start(&["sh"]);
        let found = guest.wait_for("a new record", |status| status.sequence == dead.sequence + 1);
        assert_ne!(found.running_info, dead.running_info);
        assert_eq!(found, Status { state, sequence: found.sequence, running_info: found.running_info, ..dead });
        guest.end(Signal::SIGTERM);
    }
}
