//! Waiting and watching: exit codes, what is remembered between two calls, signals.

mod cli_support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use cli_support::{Finished, KINDS, Kind, Place, finished, is_ignored, running, signals, tar, tar_gz, unpack};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rextfv_core::ids::BootId;
use rextfv_core::status::{Ending, Progress, RunState, Status};

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// Waits until the child handles signals.
fn until_it_takes_signals(child: &Child) {
    let process = child.id().to_string();
    let terminating = 1 << (Signal::SIGTERM as u64 - 1);
    while !is_ignored(Signal::SIGTERM) && signals(&process, "SigCgt") & terminating == 0 {
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_exit_code_tells_how_it_ended() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        let run = target.upload_something();
        target.guest_reports(&running(&run, 1));
        let timed_out = target.call("wait", &["--timeout", "50ms"]).expect(6);
        timed_out.says(&["target", "not ended", "running"]);
        target.call("wait", &["--guest-power", "off"]).expect(11);

        let endings = [
            (Status { state: RunState::Interrupted, ..running(&run, 1) }, 11),
            (Status { state: RunState::Rebooted, ..running(&run, 1) }, 13),
            (Status { boot: Some(BootId::from_bytes([2; 16])), ..running(&run, 1) }, 13),
            (finished(&run, 1, Ending::Exit(3)), 10),
            (finished(&run, 1, Ending::Signal(11)), 10),
            // However well it took the end of its time.
            (Status { state: RunState::TimedOut, ..finished(&run, 1, Ending::Exit(0)) }, 10),
            (finished(&run, 1, Ending::Exit(0)), 0),
        ];
        for (sequence, (record, code)) in (2..).zip(endings) {
            target.guest_reports(&Status { sequence, ..record });
            target.call("wait", &["--timeout", "20s"]).expect(code);
        }
        let text = target.call("wait", &[]).expect(0);
        assert!(text.text().contains("script:    exit code 0"), "{text:?}");
    }
}

#[test]
fn a_terminal_shows_progress_and_the_end_of_the_output() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        let run = target.upload_something();
        let output = "first\nsecond \u{1b}[31m\nnot on the disk yet";
        target.guest_writes(&[("stdout", output.as_bytes())]);
        let stdout_bytes = output.find("not").unwrap() as u64;
        target.guest_reports(&Status { progress: Progress::new(7, 10), stdout_bytes, ..running(&run, 1) });
        // `script` gives it a terminal.
        let command =
            format!("{} wait {} --timeout 3s --no-memory", env!("CARGO_BIN_EXE_nlxtp"), target.path().display());
        let shown = Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("[##############......]  70 %, 7/10"), "{shown:?}");
        assert!(shown.contains("  first") && shown.contains("  second \\u{1b}[31m"), "{shown:?}");
        assert!(!shown.contains("not on the disk yet"), "{shown:?}");
    }
}

#[test]
fn the_time_is_over() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let run = target.upload_something();
    let answer = target.call("wait", &["--timeout", "50ms", "--json"]).expect(6).json();
    assert_eq!(answer["error"]["kind"], "timed-out");
    assert_eq!(answer["status"]["state"], "not-started");
    target.guest_writes(&[("status.0", b"torn")]);
    let answer = target.call("wait", &["--timeout", "50ms", "--json"]).expect(14).json();
    assert_eq!(answer["error"]["kind"], "timed-out");
    assert_eq!(answer["status"]["state"], "unreadable");
    target.guest_reports(&finished(&run, 9, Ending::Exit(0)));
    target.call("wait", &["--timeout", "0"]).expect(0);
    target.call("wait", &["--timeout", "10"]).expect(2).says(&["500ms, 10s"]);
}

#[test]
fn a_stopped_monitor_is_told_by_a_second_call() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        let run = target.upload_something();
        target.guest_reports(&Status { interval: Duration::from_millis(1), ..running(&run, 1) });
        assert_eq!(target.status(&["--grace", "0"])["state"], "running");
        thread::sleep(Duration::from_millis(20));
        let stopped = target.status(&["--grace", "0"]);
        assert_eq!(stopped["state"], "monitor-stopped");
        assert!(stopped["reason"].as_str().unwrap().contains("reported nothing new"), "{stopped}");
        // Within the grace that is given it is not.
        assert_eq!(target.status(&["--grace", "1h"])["state"], "running");
        // Who remembers nothing cannot tell.
        assert_eq!(target.status(&["--grace", "0", "--no-memory"])["state"], "running");
        target.call("wait", &["--grace", "0", "--timeout", "20s"]).expect(11);

        // A new upload begins anew.
        let run = target.upload_something();
        assert_eq!(fs::read_dir(place.path(".state/nlxtp")).unwrap().count(), 0);
        target.guest_reports(&Status { interval: Duration::from_millis(1), ..running(&run, 1) });
        assert_eq!(target.status(&["--grace", "0"])["state"], "running");
    }
}

#[test]
fn a_reboot_is_told_by_a_second_call() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let run = target.upload_something();
    target.guest_reports(&running(&run, 1));
    let memory = ["--memory", "memory.json"];
    assert_eq!(target.status(&memory)["state"], "running");
    assert!(place.path("memory.json").exists() && !place.path(".state").exists());
    target.guest_reports(&Status { boot: Some(BootId::from_bytes([2; 16])), ..running(&run, 2) });
    assert_eq!(target.status(&memory)["state"], "guest-rebooted");
    assert_eq!(target.status(&["--no-memory"])["state"], "running");
}

#[test]
fn a_file_that_is_no_memory_is_neither_used_nor_touched() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let run = target.upload_something();
    target.guest_reports(&running(&run, 1));
    place.write("new.tar.gz", &tar_gz(&[("auto_exec.sh", b"")]));
    for other in [&b""[..], b"{", b"{\"version\":9}", b"notes\n", &[0xff; 100_000]] {
        place.write("notes", other);
        for (verb, more) in [("status", None), ("wait", None), ("upload", Some("new.tar.gz"))] {
            let options: Vec<&str> = more.into_iter().chain(["--memory", "notes"]).collect();
            target.call(verb, &options).expect(2).says(&["notes", "--memory"]);
            assert!(fs::read(place.path("notes")).unwrap() == other, "{verb}");
        }
    }
    assert_eq!(target.status(&[])["run_id"], run, "nothing was uploaded");
    target.call("status", &["--memory", "no/such/place"]).expect(0).says(&["cannot be remembered"]);
    target.call("status", &["--memory", "x", "--no-memory"]).expect(2);
    // Of a run that has ended there is nothing to remember; that it could not be is said all the same.
    target.guest_reports(&finished(&run, 2, Ending::Exit(0)));
    let told = target.call("status", &["--memory", "no/such/place"]).expect(0).says(&["no/such/place"]);
    assert_eq!(told.stderr.matches("cannot be remembered").count(), 1, "{told:?}");
}

#[test]
fn what_is_spoilt_of_what_was_remembered_is_said_once() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let run = target.upload_something();
    let spoil = || {
        target.guest_reports(&running(&run, 1));
        target.call("status", &[]).expect(0);
        let kept = fs::read_dir(place.path(".state/nlxtp")).unwrap().next().unwrap().unwrap().path();
        fs::write(kept, "junk\n").unwrap();
    };
    let is_said = || target.call("status", &[]).expect(0).stderr.contains("is ignored");
    spoil();
    assert_eq!([is_said(), is_said()], [true, false], "while it runs");
    spoil();
    target.guest_reports(&finished(&run, 2, Ending::Exit(0)));
    assert_eq!([is_said(), is_said()], [true, false], "when it has ended");
}

#[test]
fn without_a_home_nothing_is_remembered() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let run = target.upload_something();
    target.guest_reports(&running(&run, 1));
    for (option, words) in [("--json", ""), ("--verbose", "HOME")] {
        let mut command = place.command(&["status", "target", option]);
        let finished = Finished::from(command.env_remove("XDG_STATE_HOME").env_remove("HOME").output().unwrap());
        assert_eq!(finished.stderr.is_empty(), words.is_empty(), "{finished:?}");
        finished.expect(0).says(&[words]);
    }
}

#[test]
fn each_change_is_a_line() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let run = target.upload_something();
    let mut child = target.begin("status", &["--watch", "--json", "--exit-code", "--timeout", "60s"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["state"], "not-started");
    target.guest_reports(&running(&run, 1));
    assert_eq!(next()["state"], "running");
    target.guest_reports(&Status { custom: Some(b"half".into()), ..running(&run, 2) });
    assert_eq!(next()["custom"], "half");
    target.guest_reports(&finished(&run, 3, Ending::Exit(7)));
    assert_eq!(next()["exit_code"], 7);
    assert!(lines.next().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(10));
}

#[test]
fn many_targets_are_watched_until_all_runs_have_ended() {
    let place = Place::new();
    let targets = [place.target(Kind::Directory, "one"), place.target(Kind::Disk, "two")];
    let runs = targets.each_ref().map(|target| target.upload_something());
    let paths = targets.each_ref().map(|target| target.path().to_str().unwrap().to_owned());
    let mut child = place.begin(&["watch", "--json", "--timeout", "60s", &paths[0], &paths[1]]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        (line["target"].as_str().unwrap().to_owned(), line["status"]["state"].as_str().unwrap().to_owned())
    };
    let told = [next(), next()];
    for path in &paths {
        assert!(told.contains(&(path.clone(), "not-started".into())), "{told:?}");
    }
    for ((target, run), path) in targets.iter().zip(&runs).zip(&paths) {
        target.guest_reports(&finished(run, 1, Ending::Exit(0)));
        assert_eq!(next(), (path.clone(), "finished".into()));
    }
    assert!(lines.next().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_target_that_is_missing_is_told_once_and_watched_when_it_appears() {
    let place = Place::new();
    let there = place.target(Kind::Directory, "there");
    let run = there.upload_something();
    there.guest_reports(&finished(&run, 1, Ending::Exit(0)));
    let mut child = place.begin(&["watch", "there", "later", "--json", "--every", "100ms", "--timeout", "60s"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    let missing = next();
    assert_eq!((&missing["target"], &missing["error"]["kind"]), (&"later".into(), &"not-found".into()), "{missing}");
    assert!(missing["status"].is_null(), "{missing}");
    assert_eq!(next()["status"]["state"], "finished");

    // Made complete beside its place: it is never seen half made.
    let later = place.target(Kind::Directory, "made");
    let run = later.upload_something();
    later.guest_reports(&finished(&run, 1, Ending::Exit(7)));
    fs::rename(later.path(), place.path("later")).unwrap();
    let appeared = next();
    assert_eq!((&appeared["target"], &appeared["status"]["exit_code"]), (&"later".into(), &7.into()), "{appeared}");
    assert!(lines.next().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let finished = place.call(&["watch", "there", "none", "--every", "100ms", "--timeout", "500ms"]).expect(6);
    let lines: Vec<&str> = finished.text().lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("none: cannot be asked: "), "{lines:?}");
    assert!(lines[1].starts_with("there: finished"), "{lines:?}");
}

#[test]
fn who_waits_for_what_nobody_begins_is_told_so() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let run = target.upload_something();
    target.call("wait", &["--timeout", "50ms"]).expect(6).says(&["not-started", "nlxtp-guest"]);
    let mut child = target.begin("wait", &[]);
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("nothing has begun yet") && line.contains("daemon"), "{line}");
    target.guest_reports(&finished(&run, 1, Ending::Exit(0)));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn watching_has_an_end() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    target.upload_something();
    let finished = target.call("status", &["--watch", "--timeout", "50ms"]).expect(6);
    assert_eq!(finished.text(), "not-started\n");
    target.call("status", &["--timeout", "1s"]).expect(2);
}

#[test]
fn a_signal_cancels() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    target.upload_something();
    for which in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        if is_ignored(which) {
            continue;
        }
        let mut child = target.begin("wait", &["--verbose", "--json"]);
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        // It waits once it has said what it waits for.
        stderr.read_line(&mut String::new()).unwrap();
        signal(&child, which);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{which}");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["error"]["kind"], "cancelled");
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn a_cancelled_upload_has_changed_nothing() {
    let place = Place::new();
    let target = place.target(Kind::Disk, "target");
    target.upload_something();
    let before = place.snapshot();
    // It waits for an archive that never comes.
    let mut command = place.command(&["upload", "target", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    until_it_takes_signals(&child);
    signal(&child, Signal::SIGTERM);
    // Its standard input is still open: `wait` alone would close it.
    let stdin = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    drop(stdin);
    assert!(place.snapshot() == before);
}

#[test]
fn a_download_to_a_pipe_that_nobody_reads() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    place.write("large.tar", &tar(&[("large", &[7; 1 << 20])]));
    target.call("upload", &["large.tar"]).expect(0);
    let pipe = place.path("pipe.tar");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let downloads_nothing = || {
        target.call("download", &["pipe.tar", "--timeout", "200ms"]).expect(6).says(&["longer than it was given"]);
        if is_ignored(Signal::SIGTERM) {
            return;
        }
        let child = target.begin("download", &["pipe.tar"]);
        until_it_takes_signals(&child);
        signal(&child, Signal::SIGTERM);
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(7));
    };
    // It is not even open.
    downloads_nothing();
    // It is, and gets full.
    let open = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    downloads_nothing();
    drop(open);
    // Whoever comes late gets everything.
    let child = target.begin("download", &["pipe.tar"]);
    until_it_takes_signals(&child);
    let read = fs::read(&pipe).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    assert!(unpack(&read)["large"] == [7; 1 << 20]);
}

#[test]
fn a_download_to_standard_output_that_nobody_reads() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    place.write("large.tar", &tar(&[("large", &[7; 1 << 20])]));
    target.call("upload", &["large.tar"]).expect(0);
    let begin = |more: &[&str]| target.begin("download", &[&["-", "--format", "tar"], more].concat());
    assert_eq!(begin(&["--timeout", "200ms"]).wait().unwrap().code(), Some(6));
    if !is_ignored(Signal::SIGTERM) {
        let mut child = begin(&[]);
        until_it_takes_signals(&child);
        // As `timeout` does: two at once are one.
        signal(&child, Signal::SIGTERM);
        signal(&child, Signal::SIGTERM);
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }
    // Whoever reads late gets everything.
    let child = begin(&[]);
    until_it_takes_signals(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(unpack(&output.stdout)["large"] == [7; 1 << 20]);
}

#[test]
fn a_second_signal_kills() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    target.upload_something();
    // Nobody reads more than a byte of the socket that is its standard output, and unlike a pipe it cannot be
    // opened anew: writing to it blocks for ever.
    place.write("large.tar", &tar(&[("large", &[7; 1 << 20])]));
    target.call("upload", &["large.tar"]).expect(0);
    let (mut read, written) = UnixStream::pair().unwrap();
    let mut command = place.command(&["download", &target.name, "-", "--format", "tar"]);
    let mut child = command.stdout(OwnedFd::from(written)).stderr(Stdio::null()).spawn().unwrap();
    // Once the first byte has come, the socket is full in no time.
    read.read_exact(&mut [0]).unwrap();
    thread::sleep(Duration::from_millis(500));
    let status = loop {
        signal(&child, Signal::SIGTERM);
        thread::sleep(Duration::from_millis(20));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
    };
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
}
