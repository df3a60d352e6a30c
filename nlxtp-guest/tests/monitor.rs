//! One run, by the real monitor on a plain directory.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;
use std::time::Duration;

use common::{RUN, Share, WAIT_FOR_GO, lives, record_in, wait_until, write_script};
use nix::sys::signal::Signal;
use rextfv_core::status::{Ending, MAX_CUSTOM_BYTES, Progress, RunState, Truncated};
use rextfv_core::tomato;

#[test]
fn a_run_from_claim_to_done() {
    let share = Share::with_script(&format!(
        "#!/bin/sh\necho out\necho err >&2\nprintf half > \"$nlxtp_dir/exec_status/custom\"\n{WAIT_FOR_GO}\n\
         \"$nlxtp_guest\" set-status whole\necho result > \"$archive_dir/result\"\nexit 3\n"
    ));
    let mut monitor = share.spawn(&["monitor", "--set", "nlxtp_mon_check_interval=0.5"]);
    let status = share.wait_for_record(|status| status.custom.as_deref() == Some(b"half") && status.stderr_bytes == 4);
    assert_eq!(status.run, RUN.parse().ok());
    assert_eq!((status.state, status.done, status.ended), (RunState::Running, false, None));
    assert_eq!(status.stdout_bytes, 4, "both outputs were written before");
    assert_eq!(status.interval, Duration::from_millis(500));
    assert!(share.has("exec_status/running") && !share.has("exec_status/done"));
    assert!(
        tomato::running_info(share.read("exec_status/running").as_bytes()).is_some_and(|time| time > 1_600_000_000)
    );

    share.go();
    assert_eq!(monitor.wait_for_end(), 0, "the script's failure is not the monitor's");
    let status = share.record().unwrap();
    assert_eq!((status.state, status.done), (RunState::Finished, true));
    assert_eq!(status.ended, Some(Ending::Exit(3)));
    assert_eq!((status.stdout_bytes, status.stderr_bytes), (4, 4));
    assert_eq!(status.truncated, Truncated::default());
    assert_eq!(status.custom.as_deref(), Some(&b"whole"[..]));
    assert_eq!(share.read("exec_status/stdout"), "out\n");
    assert_eq!(share.read("exec_status/stderr"), "err\n");
    assert_eq!(share.read("exec_status/custom"), "whole");
    assert_eq!(share.read("exec_status/out").len(), 8);
    assert_eq!(share.read("exec_status/done"), "");
    assert!(!share.has("exec_status/running"));
    assert_eq!(share.read("result"), "result\n");
}

#[test]
fn progress_is_told_by_the_program_and_by_a_file() {
    let share = Share::with_script(&format!(
        "#!/bin/sh\n\"$nlxtp_guest\" set-status --progress 1/3 first\n{WAIT_FOR_GO}\n\
         echo 2/3 > \"$nlxtp_dir/exec_status/progress\"\n\
         until [ -e \"$archive_dir/on\" ]; do sleep 0.02; done\n: > progress\n"
    ));
    let mut monitor = share.spawn(&["monitor", "--set", "nlxtp_mon_check_interval=0.2"]);
    let status = share.wait_for_record(|status| status.progress.is_some() && status.custom.is_some());
    assert_eq!((status.progress, status.custom.as_deref()), (Progress::new(1, 3), Some(&b"first"[..])));
    share.go();
    share.wait_for_record(|status| status.progress == Progress::new(2, 3));
    fs::write(share.at("on"), "").unwrap();
    assert_eq!(monitor.wait_for_end(), 0);
    let status = share.record().unwrap();
    assert_eq!((status.done, status.progress), (true, Progress::new(2, 3)), "an empty file says nothing new");
}

/// What `README.md` tells people to write.
#[test]
#[ignore = "needs python3 and perl; `make test` runs it"]
fn one_liners_in_other_languages() {
    let shell =
        "echo 1/4 > \"$nlxtp_dir/exec_status/progress\"; printf %s 'from sh' > \"$nlxtp_dir/exec_status/custom\"\n";
    let python = "import os; open(os.environ['nlxtp_dir'] + '/exec_status/progress', 'w').write('2/4')\n\
                  open(os.environ['nlxtp_dir'] + '/exec_status/custom', 'w').write('from python')\n";
    let perl = "open(F, '>', \"$ENV{nlxtp_dir}/exec_status/progress\"); print F '3/4'; close F;\n\
                open(F, '>', \"$ENV{nlxtp_dir}/exec_status/custom\"); print F 'from perl'; close F;\n";
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for (language, interpreter, script, done) in
        [("sh", "/bin/sh", shell, 1), ("python", "/usr/bin/env python3", python, 2), ("perl", "/usr/bin/perl", perl, 3)]
    {
        assert!(readme.contains(script.lines().next().unwrap()), "{language}");
        let share = Share::new();
        fs::write(share.at("nlxtp_run_id"), format!("{RUN}\n")).unwrap();
        write_script(&share.at("auto_exec.x"), &format!("#!{interpreter}\n{script}"));
        share.monitor(&[]);
        let status = share.record().unwrap();
        let custom = format!("from {language}").into_bytes();
        assert_eq!((status.progress, status.custom), (Progress::new(done, 4), Some(custom)));
    }
}

#[test]
fn a_signal_is_told() {
    let share = Share::with_script("#!/bin/sh\nkill -9 $$\n");
    share.monitor(&[]);
    let status = share.record().unwrap();
    assert_eq!((status.done, status.ended), (true, Some(Ending::Signal(9))));
}

#[test]
fn heartbeats_rise_and_change() {
    let share = Share::with_script(&format!("#!/bin/sh\n{WAIT_FOR_GO}\n"));
    let mut monitor = share.spawn(&["monitor", "--set", "nlxtp_mon_check_interval=0.1"]);
    let first = share.wait_for_record(|_| true);
    let later = share.wait_for_record(|status| status.sequence >= first.sequence + 3);
    assert_ne!(later.running_info, first.running_info);
    assert_eq!(later.boot, first.boot);
    share.go();
    assert_eq!(monitor.wait_for_end(), 0);
}

#[test]
fn without_tomatos_files() {
    let share = Share::with_script("#!/bin/sh\necho x\n");
    share.monitor(&["--set", "nlxtp_tomato_status=0"]);
    let mut names: Vec<_> =
        fs::read_dir(share.at("exec_status")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["digests", "status.0", "status.1", "stderr", "stdout"]);
}

#[test]
fn nothing_to_do_is_said_and_is_no_failure() {
    let share = Share::new();
    let nothing = |why: &str| {
        let output = share.monitor(&[]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{output:?}");
        assert!(share.record().is_none());
    };
    nothing("no start script");
    share.upload("#!/bin/sh\n");
    fs::create_dir_all(share.at(".nlxtp_upload/commit")).unwrap();
    nothing("upload is under way");
    fs::remove_dir_all(share.at(".nlxtp_upload")).unwrap();
    fs::create_dir(share.at("exec_status")).unwrap();
    nothing("exec_status is there");
}

#[test]
fn of_many_monitors_one_runs_the_script() {
    let share = Share::new();
    for round in 0..10 {
        let log = share.beside(&format!("log{round}"));
        share.upload(&format!("#!/bin/sh\necho started >> '{}'\n", log.display()));
        let monitors: Vec<_> =
            (0..8).map(|_| share.command(&["monitor"]).stderr(Stdio::piped()).spawn().unwrap()).collect();
        for monitor in monitors {
            assert!(monitor.wait_with_output().unwrap().status.success());
        }
        assert_eq!(fs::read_to_string(log).unwrap(), "started\n");
        fs::remove_dir_all(share.at("exec_status")).unwrap();
    }
}

#[test]
fn output_beyond_the_limit_is_cut_and_the_script_goes_on() {
    let share = Share::with_script(
        "#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x\necho error >&2\necho end > \"$archive_dir/end\"\n",
    );
    share.monitor(&["--set", "nlxtp_output_limit=1000"]);
    let status = share.record().unwrap();
    assert_eq!((status.stdout_bytes, status.stderr_bytes), (1000, 6));
    assert_eq!(status.truncated, Truncated { stdout: true, ..Truncated::default() });
    assert_eq!(status.ended, Some(Ending::Exit(0)));
    assert_eq!(share.read("exec_status/stdout"), "x".repeat(1000));
    assert_eq!(share.read("exec_status/out").len(), 1006);
    assert!(share.has("end"));
}

#[test]
fn megabytes_of_output_arrive_whole() {
    let share = Share::with_script("#!/bin/sh\nseq 1 400000\n");
    share.monitor(&[]);
    let expected: String = (1..=400_000).map(|number| format!("{number}\n")).collect();
    assert!(share.read("exec_status/stdout") == expected);
    assert_eq!(share.record().unwrap().stdout_bytes, expected.len() as u64);
}

#[test]
fn a_child_left_behind_delays_nothing_and_survives() {
    let share = Share::with_script(&format!(
        "#!/bin/sh\n({WAIT_FOR_GO}; head -c 200000 /dev/zero && echo late >&2 && echo yes > \"$archive_dir/late\") &\n\
         echo early\n"
    ));
    share.monitor(&[]);
    let status = share.record().unwrap();
    assert!(status.done && !share.has("late"));
    share.go();
    share.wait_for("late");
    wait_until("the word", || share.read("late") == "yes\n");
    assert_eq!(share.read("exec_status/stdout"), "early\n");
    assert_eq!(share.record().unwrap(), status, "nothing changes after Done");
}

#[test]
fn scripts_are_started_in_every_way_that_works() {
    // Marked executable or not, with a first line that names an interpreter or without one.
    for (name, script, mode, expected) in [
        ("auto_exec.sh", "#!/bin/sh\necho $0 | sed 's/.*[/]//'\n", 0o755, "auto_exec.sh\n"),
        ("auto_exec.sh", "#!/bin/sh\necho plain\n", 0o644, "plain\n"),
        ("auto_exec.sh", "echo bare\n", 0o755, "bare\n"),
        ("auto_exec.sh", "echo neither\n", 0o644, "neither\n"),
        ("auto_exec.txt", "#!/bin/cat\n", 0o644, "#!/bin/cat\n"),
    ] {
        let share = Share::new();
        write_script(&share.at(name), script);
        fs::set_permissions(share.at(name), fs::Permissions::from_mode(mode)).unwrap();
        share.monitor(&[]);
        assert_eq!(share.read("exec_status/stdout"), expected, "{script:?} {mode:o}");
        assert_eq!(share.record().unwrap().ended, Some(Ending::Exit(0)));
    }
}

#[test]
fn a_link_to_a_script_is_a_script() {
    let share = Share::new();
    write_script(&share.at("real"), "#!/bin/sh\necho linked\n");
    symlink("real", share.at("auto_exec.sh")).unwrap();
    share.monitor(&[]);
    assert_eq!(share.read("exec_status/stdout"), "linked\n");
}

#[test]
fn a_script_that_cannot_be_started_is_finished_with_a_reason() {
    for (script, code, reason) in [
        ("#!/no/such/interpreter\n", 127, "\"/no/such/interpreter\" is not there"),
        ("#!/bin/sh\r\necho\r\n", 127, "carriage return"),
        ("#!/\n", 126, "denied"),
    ] {
        let share = Share::with_script(script);
        assert!(share.monitor(&[]).status.success());
        let status = share.record().unwrap();
        assert_eq!((status.state, status.done), (RunState::Finished, true));
        assert_eq!(status.ended, Some(Ending::Exit(code)), "{script:?}");
        let message = share.read("exec_status/stderr");
        assert!(message.contains("auto_exec.sh") && message.to_lowercase().contains(reason), "{message}");
        assert_eq!(status.stderr_bytes, message.len() as u64);
        assert!(share.has("exec_status/done"));
    }
}

#[test]
fn a_script_that_is_a_link_to_nothing_is_finished_with_a_reason() {
    for (target, code, reason) in
        [("nowhere", 127, "it is a link to \"nowhere\", which leads nowhere"), ("auto_exec.sh", 126, "symbolic links")]
    {
        let share = Share::new();
        symlink(target, share.at("auto_exec.sh")).unwrap();
        let output = share.monitor(&[]);
        let log = String::from_utf8_lossy(&output.stderr);
        let path = share.at("auto_exec.sh");
        assert!(output.status.success() && log.contains(&*path.to_string_lossy()) && log.contains(reason), "{log}");
        let status = share.record().unwrap();
        assert_eq!((status.done, status.ended), (true, Some(Ending::Exit(code))));
        assert!(share.read("exec_status/stderr").contains(reason));
    }
}

#[test]
fn a_script_written_for_tomato_runs_unchanged() {
    let share = Share::with_script(
        "#!/bin/bash\nset -eu\narchive_setstatus one  'two  three'\n\
         test \"$(cat custom)\" = 'one two  three'\n\
         test \"$archive_dir\" = \"$nlxtp_dir\"\ntest \"$archive_version\" = 0.3\n\
         test \"$PWD\" = \"$(cd \"$archive_dir\" && pwd)/exec_status\"\n\
         test -f \"$archive_dir/auto_exec.sh\"\n\
         archive_setstatus \"$(head -c 300000 /dev/zero | tr '\\0' x)\"\ntest \"$(stat -c %s custom)\" = 300000\n\
         archive_setstatus -n\n",
    );
    share.monitor(&[]);
    let status = share.record().unwrap();
    assert_eq!(status.ended, Some(Ending::Exit(0)), "{}", share.read("exec_status/stderr"));
    assert_eq!(status.custom.as_deref(), Some(&b"-n"[..]), "without a newline");
}

#[test]
fn a_script_starts_with_a_clean_slate() {
    let share = Share::with_script(
        "#!/bin/sh\ngrep -E 'Sig(Blk|Ign)' /proc/self/status\nreadlink /proc/self/fd/0\n\
         ls -l /proc/self/fd | grep -c share\nps -o pgid= -p $$ | tr -d ' ' | sed \"s/^$$\\$/leader/\"\n",
    );
    // The shell ignores SIGINT and SIGQUIT for what it starts in the background.
    let monitor = share.command(&["monitor"]);
    let line: Vec<_> = monitor.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let line = format!("{} {} & wait", monitor.get_program().to_string_lossy(), line.join(" "));
    assert!(std::process::Command::new("/bin/sh").arg("-c").arg(line).status().unwrap().success());
    let text = share.read("exec_status/stdout");
    let (signals, rest): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("Sig"));
    for line in signals {
        let mask = u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap();
        // From 32 on they are the C library's own, and it lets nobody change them.
        assert_eq!(mask & 0x7fff_ffff, 0, "{line}");
    }
    assert_eq!(rest, ["/dev/null", "0", "leader"], "no file of the monitor's is open");
}

#[test]
fn the_custom_status_is_cut_at_its_limit() {
    let share = Share::with_script("#!/bin/sh\nhead -c 2000000 /dev/zero > custom\n");
    share.monitor(&[]);
    let status = share.record().unwrap();
    assert_eq!(status.custom.map(|custom| custom.len()), Some(MAX_CUSTOM_BYTES));
    assert!(status.truncated.custom);
}

#[test]
fn of_many_custom_statuses_the_last_gets_in() {
    let share = Share::with_script(&format!(
        "#!/bin/sh\nfor i in $(seq 1 500); do printf %s $i > custom; done\n{WAIT_FOR_GO}\n"
    ));
    // One heartbeat a day: only the events bring the status in.
    let mut monitor = share.spawn(&["monitor", "--set", "nlxtp_mon_check_interval=86400"]);
    let status = share.wait_for_record(|status| status.custom.as_deref() == Some(b"500"));
    assert!(status.sequence < 500, "not every one is written to the disk");
    share.go();
    assert_eq!(monitor.wait_for_end(), 0);
}

#[test]
fn without_events_the_heartbeat_brings_the_custom_status() {
    let share = Share::with_script(&format!("#!/bin/sh\nprintf x > custom\n{WAIT_FOR_GO}\n"));
    let mut monitor = share.spawn(&["monitor", "--set", "nlxtp_watch=poll", "--set", "nlxtp_mon_check_interval=0.1"]);
    share.wait_for_record(|status| status.custom.as_deref() == Some(b"x"));
    share.go();
    assert_eq!(monitor.wait_for_end(), 0);
}

#[test]
fn a_custom_status_that_is_a_link_is_not_followed() {
    let share = Share::with_script("#!/bin/sh\nln -s /etc/passwd custom\n");
    share.monitor(&[]);
    let status = share.record().unwrap();
    assert_eq!((status.done, status.custom), (true, None));
}

#[test]
fn a_stopped_monitor_ends_its_script_and_says_so() {
    for stubborn in [false, true] {
        let trap = if stubborn { "trap '' TERM" } else { ":" };
        let share = Share::with_script(&format!(
            "#!/bin/sh\n{trap}\nsleep 1000 &\necho $! > \"$archive_dir/child\"\necho $$ > \"$archive_dir/pid\"\n\
             while :; do sleep 0.05; done\n"
        ));
        let mut monitor = share.spawn(&["monitor", "--set", "nlxtp_grace=0.3"]);
        share.wait_for("pid");
        wait_until("the script's id", || share.read("pid").ends_with('\n'));
        monitor.signal(Signal::SIGTERM);
        assert_eq!(monitor.wait_for_end(), 0);
        for pid in ["pid", "child"] {
            wait_until("the end of the group", || !lives(&share.read(pid)));
        }
        let status = share.record().unwrap();
        assert_eq!((status.state, status.done, status.ended), (RunState::Interrupted, false, None));
        assert!(!share.has("exec_status/running") && !share.has("exec_status/done"));
    }
}

#[test]
fn a_script_that_runs_too_long_is_ended_with_its_group() {
    for (trap, ended) in
        [(":", Ending::Signal(15)), ("trap 'exit 3' TERM", Ending::Exit(3)), ("trap '' TERM", Ending::Signal(9))]
    {
        let share = Share::with_script(&format!(
            "#!/bin/sh\n{trap}\nsleep 1000 &\necho $! > \"$archive_dir/child\"\necho kept\nwhile :; do sleep 0.05; done\n"
        ));
        let mut monitor = share.spawn(&["monitor", "--set", "nlxtp_run_timeout=1", "--set", "nlxtp_grace=0.3"]);
        assert_eq!(monitor.wait_for_end(), 0);
        wait_until("the end of the group", || !lives(&share.read("child")));
        let status = share.record().unwrap();
        assert_eq!((status.state, status.done, status.ended), (RunState::TimedOut, true, Some(ended)), "{trap}");
        assert_eq!(share.read("exec_status/stdout"), "kept\n");
        assert!(share.has("exec_status/done"));
    }
}

#[test]
fn a_script_within_its_time_is_left_alone() {
    let share = Share::with_script("#!/bin/sh\nexit 4\n");
    let mut monitor = share.spawn(&["monitor", "--set", "nlxtp_run_timeout=3600"]);
    assert_eq!(monitor.wait_for_end(), 0);
    let status = share.record().unwrap();
    assert_eq!((status.state, status.ended), (RunState::Finished, Some(Ending::Exit(4))));
}

#[test]
fn in_the_background_the_caller_gets_its_turn_back() {
    let share = Share::with_script(&format!("#!/bin/sh\n{WAIT_FOR_GO}\n"));
    // Would wait for ever if anything of the monitor held the caller's pipes.
    let output = share.monitor(&["--background"]);
    assert!(output.status.success());
    assert!(share.has("exec_status"), "the run is claimed when the caller goes on");
    share.go();
    share.wait_for_done();
}

#[test]
fn an_upload_that_moves_the_status_away_is_not_disturbed() {
    let share = Share::with_script(&format!("#!/bin/sh\necho old\n{WAIT_FOR_GO}\n\"$nlxtp_guest\" set-status old\n"));
    let mut monitor = share.spawn(&["monitor", "--set", "nlxtp_mon_check_interval=0.1"]);
    share.wait_for_record(|status| status.stdout_bytes == 4);
    fs::rename(share.at("exec_status"), share.at("moved")).unwrap();
    fs::write(share.at("nlxtp_run_id"), "ffffffffffffffffffffffffffffffff\n").unwrap();
    fs::create_dir(share.at("exec_status")).unwrap();
    share.go();
    assert_eq!(monitor.wait_for_end(), 0);
    assert_eq!(fs::read_dir(share.at("exec_status")).unwrap().count(), 0, "the new run's status is untouched");
    let status = record_in(&share.at("moved")).unwrap();
    assert_eq!((status.done, status.ended), (true, Some(Ending::Exit(1))), "the old script's set-status is refused");
}
