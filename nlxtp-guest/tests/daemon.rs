//! The real daemon on a plain directory.

mod common;

use std::fs;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use common::{Share, WAIT_FOR_GO, lives, wait_until, write_script};
use nix::sys::signal::{Signal, kill};
use nlxtp_guest::directory::Directory;
use nlxtp_guest::status_writer::{Snapshot, StatusWriter};
use rextfv_core::ids::BootId;
use rextfv_core::status::{Ending, RunState, Truncated};

const QUICK: &[&str] = &["--set", "nlxtp_mon_check_interval=0.2", "--set", "nlxtp_daemon_check_interval=0.2"];
/// Nothing in these tests may be owed to a look that was due anyway.
const EVENTS_ONLY: &[&str] = &["--set", "nlxtp_daemon_check_interval=86400"];

#[test]
fn an_upload_is_run_and_the_next_one_too() {
    let share = Share::new();
    let mut daemon = share.daemon(EVENTS_ONLY);
    for round in 0..3 {
        share.upload_as(&format!("{round:032}"), &format!("#!/bin/sh\necho {round}\n"));
        let uploaded = Instant::now();
        share.wait_for("exec_status");
        println!("claimed {:?} after the upload", uploaded.elapsed());
        assert_eq!(share.wait_for_done().stdout_bytes, 2);
        share.wait_for("exec_status/done");
        fs::rename(share.at("auto_exec.sh"), share.beside("old")).unwrap();
        fs::remove_dir_all(share.at("exec_status")).unwrap();
    }
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_for_end(), 0);
}

#[test]
fn what_is_there_at_the_start_is_run() {
    let share = Share::with_script("#!/bin/sh\necho x\n");
    let _daemon = share.daemon(EVENTS_ONLY);
    share.wait_for_done();
}

#[test]
fn polling_finds_uploads_too() {
    let share = Share::new();
    let _daemon = share.daemon(&[QUICK, &["--set", "nlxtp_watch=poll"]].concat());
    share.upload("#!/bin/sh\necho x\n");
    share.wait_for_done();
}

#[test]
fn no_script_is_started_twice() {
    let share = Share::new();
    let log = share.beside("log");
    let script = format!("#!/bin/sh\necho started >> '{}'\n", log.display());
    share.upload(&script);
    let mut daemon = share.daemon(QUICK);
    share.wait_for("exec_status/done");
    share.upload(&script);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_for_end(), 0);
    let mut daemon = share.daemon(&["--set", "nlxtp_mode=1"]);
    assert_eq!(daemon.wait_for_end(), 0);
    assert_eq!(fs::read_to_string(log).unwrap(), "started\n");
}

#[test]
fn once_is_once_and_never_is_never() {
    let share = Share::with_script("#!/bin/sh\necho x\n");
    assert_eq!(share.daemon(&["--set", "nlxtp_mode=0"]).wait_for_end(), 0);
    assert!(!share.has("exec_status"));
    assert_eq!(share.daemon(&["--set", "nlxtp_mode=1"]).wait_for_end(), 0);
    assert!(share.record().unwrap().done, "it waits for the run");
    let nothing = Share::new();
    assert_eq!(nothing.daemon(&["--set", "nlxtp_mode=1"]).wait_for_end(), 0);
}

#[test]
fn an_upload_under_way_is_not_run() {
    let share = Share::new();
    fs::create_dir_all(share.at(".nlxtp_upload/ready")).unwrap();
    // The script itself tells whether the upload was still under way when it was started.
    share.upload("#!/bin/sh\ntest ! -e \"$archive_dir/.nlxtp_upload\"\n");
    let _daemon = share.daemon(EVENTS_ONLY);
    thread::sleep(Duration::from_millis(300));
    assert!(!share.has("exec_status"));
    fs::remove_dir_all(share.at(".nlxtp_upload")).unwrap();
    assert_eq!(share.wait_for_done().ended, Some(Ending::Exit(0)));
}

#[test]
fn without_a_run_id_an_upload_is_run_when_it_is_quiet() {
    for events in ["auto", "poll"] {
        let share = Share::new();
        fs::create_dir(share.at("sub")).unwrap();
        let watch = format!("nlxtp_watch={events}");
        let _daemon = share.daemon(&[QUICK, &["--set", "nlxtp_settle=1.5", "--set", &watch]].concat());
        write_script(&share.at("auto_exec.sh"), "#!/bin/sh\nwc -c < \"$archive_dir/sub/late\"\n");
        // Below the top, where no event comes from.
        let mut late = fs::File::create(share.at("sub/late")).unwrap();
        let mut last = Instant::now();
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            late.write_all(b"0123456789").unwrap();
            thread::sleep(Duration::from_millis(20));
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        share.wait_for_done();
        // On a machine that stood still for long, the upload was quiet indeed.
        if longest < Duration::from_secs(1) {
            assert_eq!(share.read("exec_status/stdout").trim(), "1000", "{events}");
        }
    }
}

#[test]
fn a_stopped_daemon_ends_its_run() {
    let share = Share::with_script("#!/bin/sh\necho $$ > \"$archive_dir/pid\"\nwhile :; do sleep 0.05; done\n");
    let mut daemon = share.daemon(QUICK);
    share.wait_for("pid");
    wait_until("the script's id", || share.read("pid").ends_with('\n'));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_for_end(), 0);
    assert!(!lives(&share.read("pid")));
    assert_eq!(share.record().unwrap().state, RunState::Interrupted);
}

#[test]
fn a_killed_daemon_ends_no_run() {
    let share = Share::with_script(&format!("#!/bin/sh\necho x > \"$archive_dir/begun\"\n{WAIT_FOR_GO}\n"));
    let mut daemon = share.daemon(QUICK);
    share.wait_for("begun");
    daemon.signal(Signal::SIGKILL);
    daemon.wait_for_end();
    // Its successor sees that the monitor lives.
    let mut successor = share.daemon(&[QUICK, &["--set", "nlxtp_mode=1"]].concat());
    assert_eq!(successor.wait_for_end(), 0);
    assert_eq!(share.record().unwrap().state, RunState::Running);
    share.go();
    assert_eq!(share.wait_for_done().ended, Some(Ending::Exit(0)));
}

#[test]
fn a_killed_monitor_is_told_and_its_script_not_started_again() {
    let share = Share::new();
    let log = share.beside("log");
    share.upload(&format!("#!/bin/sh\necho started >> '{}'\nprintf so_far > custom\n{WAIT_FOR_GO}\n", log.display()));
    let daemon = share.daemon(QUICK);
    let before = share.wait_for_record(|status| status.custom.is_some());
    kill(daemon.children()[0], Signal::SIGKILL).unwrap();
    let status = share.wait_for_record(|status| status.state == RunState::Interrupted);
    share.go();
    assert!(status.sequence > before.sequence && !status.done);
    assert_eq!((status.run, &status.custom), (before.run, &before.custom));
    wait_until("the end of running", || !share.has("exec_status/running"));
    assert!(!share.has("exec_status/done"));
    drop(daemon);
    let mut daemon = share.daemon(&["--set", "nlxtp_mode=1"]);
    assert_eq!(daemon.wait_for_end(), 0);
    assert_eq!(fs::read_to_string(log).unwrap(), "started\n");
    assert_eq!(share.record().unwrap(), status, "what is closed is not closed again");
}

#[test]
fn a_monitor_killed_without_a_daemon_is_told_by_the_next() {
    let share = Share::with_script(&format!("#!/bin/sh\n{WAIT_FOR_GO}\n"));
    let mut monitor = share.spawn(&["monitor"]);
    share.wait_for("exec_status/running");
    monitor.signal(Signal::SIGKILL);
    monitor.wait_for_end();
    share.go();
    let _daemon = share.daemon(QUICK);
    share.wait_for_record(|status| status.state == RunState::Interrupted);
}

/// Leaves a run behind as a dead monitor does. Its interval is so short that no work is done within it.
fn leave_run(share: &Share, state: RunState, ended: Option<Ending>, boot: Option<BootId>) {
    share.upload("#!/bin/sh\necho again > \"$archive_dir/again\"\n");
    fs::create_dir(share.at("exec_status")).unwrap();
    let status = Directory::open(&share.at("exec_status")).unwrap();
    let run = common::RUN.parse().ok();
    let mut writer = StatusWriter::create(&status, run, boot, Duration::from_millis(1)).unwrap().unwrap();
    let snapshot = Snapshot {
        state,
        done: false,
        ended,
        stdout_bytes: 7,
        stderr_bytes: 0,
        truncated: Truncated::default(),
        custom: Some(b"so far"),
        progress: None,
    };
    writer.commit(&status, snapshot).unwrap();
    fs::write(share.at("exec_status/running"), "1").unwrap();
}

#[test]
fn a_reboot_is_told() {
    let share = Share::new();
    leave_run(&share, RunState::Running, None, Some(BootId::from_bytes([7; 16])));
    let _daemon = share.daemon(QUICK);
    let status = share.wait_for_record(|status| status.sequence == 2);
    assert_eq!((status.state, status.done, status.ended), (RunState::Rebooted, false, None));
    assert_eq!((status.run, status.boot), (common::RUN.parse().ok(), nlxtp_guest::boot::current()));
    assert_eq!((status.stdout_bytes, status.custom.as_deref()), (7, Some(&b"so far"[..])));
    wait_until("the end of running", || !share.has("exec_status/running"));
    assert!(!share.has("exec_status/done") && !share.has("again"));
}

#[test]
fn a_dead_run_with_a_directory_for_a_slot_is_closed() {
    let share = Share::new();
    leave_run(&share, RunState::Running, None, nlxtp_guest::boot::current());
    fs::remove_file(share.at("exec_status/status.1")).unwrap();
    fs::create_dir(share.at("exec_status/status.1")).unwrap();
    let _daemon = share.daemon(QUICK);
    let status = share.wait_for_record(|status| status.state == RunState::Interrupted);
    assert_eq!((status.run, status.done), (common::RUN.parse().ok(), false));
}

#[test]
fn a_run_that_lacks_only_done_is_completed() {
    let share = Share::new();
    leave_run(&share, RunState::Finished, Some(Ending::Exit(4)), nlxtp_guest::boot::current());
    let _daemon = share.daemon(QUICK);
    let status = share.wait_for_done();
    assert_eq!((status.state, status.ended), (RunState::Finished, Some(Ending::Exit(4))));
    share.wait_for("exec_status/done");
    assert!(!share.has("exec_status/running") && !share.has("again"));
}

#[test]
fn a_run_whose_monitor_died_while_deleting_is_tidied_before_done() {
    const FILES: usize = 300;
    for (code, is_deleted) in [(0, true), (1, false)] {
        let share = Share::new();
        leave_run(&share, RunState::Finished, Some(Ending::Exit(code)), nlxtp_guest::boot::current());
        fs::write(share.at("nlxtp.toml"), "keep = ['results', 'input']\ndelete = ['input']\n").unwrap();
        for dir in ["results", "input", "other"] {
            fs::create_dir(share.at(dir)).unwrap();
            for file in 0..FILES {
                fs::write(share.at(dir).join(file.to_string()), "").unwrap();
            }
        }
        let _daemon = share.daemon(EVENTS_ONLY);
        let status = share.wait_for_done();
        assert_eq!(share.has("input"), !is_deleted);
        assert!(!share.has("other"));
        assert_eq!(fs::read_dir(share.at("results")).unwrap().count(), FILES);
        assert_eq!((status.state, status.ended), (RunState::Finished, Some(Ending::Exit(code))));
        assert!(status.sequence > 2, "the heartbeat goes on meanwhile");
        assert!(!share.has("again"));
    }
}

#[test]
fn a_bare_claim_is_closed_and_a_foreign_run_is_left_alone() {
    let share = Share::with_script("#!/bin/sh\n");
    fs::create_dir(share.at("exec_status")).unwrap();
    let _daemon = share.daemon(QUICK);
    assert_eq!(share.wait_for_record(|_| true).state, RunState::Interrupted);

    let share = Share::with_script("#!/bin/sh\n");
    fs::create_dir(share.at("exec_status")).unwrap();
    fs::write(share.at("exec_status/out"), "ToMaTo's").unwrap();
    assert_eq!(share.daemon(&["--set", "nlxtp_mode=1"]).wait_for_end(), 0);
    assert_eq!(fs::read_dir(share.at("exec_status")).unwrap().count(), 1);
}

#[test]
fn what_the_daemon_was_told_holds_for_its_monitors() {
    let share = Share::with_script("#!/bin/sh\ntrap '' TERM\nwhile :; do echo 0123456789; sleep 0.02; done\n");
    let settings = ["nlxtp_run_timeout=0.5", "nlxtp_grace=0.2", "nlxtp_output_limit=5", "nlxtp_tomato_status=0"];
    let _daemon = share.daemon(&settings.map(|setting| ["--set", setting]).concat());
    let status = share.wait_for_done();
    assert_eq!((status.state, status.ended), (RunState::TimedOut, Some(Ending::Signal(9))));
    assert_eq!((status.stdout_bytes, status.truncated.stdout), (5, true));
    assert!(!share.has("exec_status/out"));
}

#[test]
fn a_script_that_removes_its_own_status_is_not_started_twice() {
    let share = Share::new();
    let log = share.beside("log");
    let _daemon = share.daemon(QUICK);
    for wait in ["", WAIT_FOR_GO] {
        let script = format!(
            "#!/bin/sh\necho started >> '{}'\nrm -r \"$archive_dir/exec_status\"\n{wait}\necho end > \"$archive_dir/end\"\n",
            log.display()
        );
        share.upload_as(&format!("{:032}", wait.len()), &script);
        let status = share.wait_for_record(|status| status.state == RunState::Interrupted);
        assert_eq!((status.sequence, status.done, status.custom), (1, false, None));
        share.go();
        share.wait_for("end");
        thread::sleep(Duration::from_millis(300));
        assert_eq!(fs::read_to_string(&log).unwrap(), "started\n");
        for name in ["log", "share/end", "share/go", "share/auto_exec.sh"] {
            fs::remove_file(share.beside(name)).unwrap();
        }
        fs::remove_dir_all(share.at("exec_status")).unwrap();
    }
}

#[test]
fn a_script_that_removes_its_status_files_is_told_nevertheless() {
    let share = Share::with_script(&format!(
        "#!/bin/sh\nrm -f *\nln -s nowhere status.0\nmkdir status.1\necho x\n{WAIT_FOR_GO}\nexit 3\n"
    ));
    let _daemon = share.daemon(QUICK);
    let status = share.wait_for_record(|status| status.sequence > 3);
    assert_eq!(status.state, RunState::Running);
    share.go();
    let status = share.wait_for_done();
    assert_eq!(status.ended, Some(Ending::Exit(3)));
    assert!(!share.has("exec_status/nowhere"));
}

#[test]
fn a_directory_that_comes_goes_and_is_replaced() {
    let share = Share::new();
    fs::remove_dir(share.path()).unwrap();
    let mut daemon = share.daemon(EVENTS_ONLY);
    for round in 0..4 {
        // Filled before it appears, or after.
        if round % 2 == 0 {
            fs::create_dir(share.path()).unwrap();
            share.upload("#!/bin/sh\necho x\n");
        } else {
            let prepared = Share::with_script("#!/bin/sh\necho x\n");
            fs::rename(prepared.path(), share.path()).unwrap();
        }
        share.wait_for("exec_status/done");
        fs::rename(share.path(), share.beside(&format!("old{round}"))).unwrap();
    }
    assert!(!daemon.has_ended());
}

#[test]
fn a_daemon_at_rest_does_not_wake_up() {
    let share = Share::new();
    let daemon = share.daemon(&["--set", "nlxtp_daemon_check_interval=0.1"]);
    share.upload("#!/bin/sh\necho x\n");
    share.wait_for("exec_status/done");
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // The monitor's own end still comes.
    wait_until("rest", || daemon.children().is_empty());
    let mut last = switches();
    wait_until("rest", || {
        thread::sleep(Duration::from_millis(500));
        let now = switches();
        std::mem::replace(&mut last, now) == now
    });
}
