//! The digests that the real monitor leaves when a run has ended, judged by `sha256sum`.

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{RUN, Share, program, wait_until, write_script};
use nix::sys::signal::Signal;
use rextfv_core::layout::{DIGESTS, DIGESTS_PART};
use rextfv_core::status::{Ending, RunState, Status};

/// Takes any machine at least half a minute to digest, and no room.
const HUGE_BYTES: u64 = 60 << 30;

/// Heartbeats come while that goes on.
const QUICK: &str = "nlxtp_mon_check_interval=0.1";

const HUGE: &str = "#!/bin/sh\ntruncate -s 60G \"$archive_dir/huge\"\nexit 3\n";

/// Makes names and kinds of everything that a guest can have.
const HOSTILE: &str = r#"#!/bin/bash
cd "$archive_dir" || exit
touch $'two\nlines' $'carriage\rreturn' 'back\slash' '\n' ' blank ' $'not\xffutf-8' '*' $'\e[31m' '-c'
mkdir -p a/b 'dir\with' $'n\nl' empty "$(printf 'deep/%.0s' {1..60})"
echo 1 >a-b; echo 2 >a.b; echo 3 >a/b/c; echo 4 >a0; echo 5 >'dir\with/x'; echo 6 >$'n\nl/x'
echo 7 >"$(printf 'deep/%.0s' {1..60})file"
head -c 300000 /dev/urandom >random; touch zero
ln -s /etc/hostname link; ln -s a linked; ln -s / exec_status/root; ln a-b hard
mkfifo fifo; mkdir done; echo 8 >done/status.0
printf custom >exec_status/custom; echo output; echo error >&2
"#;

/// What `sha256sum` prints of all regular files, in the byte order of their paths.
fn sums(share: &Share) -> String {
    let script = "find . -path ./.nlxtp_upload -prune -o -type f -printf '%P\\0' |
        grep -zvxE 'exec_status/(status.0|status.1|running|done|digests|digests.part)' |
        LC_ALL=C sort -z | LC_ALL=C xargs -0 sha256sum --";
    let output = Command::new("sh").arg("-c").arg(script).current_dir(share.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether `sha256sum -c` finds the results as the digests say.
fn judge(dir: &Path) {
    let mut check = Command::new("sha256sum");
    let output = check.args(["-c", "--strict", "--quiet", DIGESTS]).current_dir(dir).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}

fn paths(share: &Share) -> Vec<String> {
    let file = fs::read(share.at(DIGESTS)).unwrap();
    rextfv_core::digests::lines(&file).unwrap().map(|line| line.unwrap().0.to_string()).collect()
}

fn assert_given_up(share: &Share) -> Status {
    assert!(!share.has(DIGESTS) && !share.has(DIGESTS_PART));
    let status = share.record().unwrap();
    assert_eq!((status.state, status.done, status.ended), (RunState::Finished, true, Some(Ending::Exit(3))));
    assert!(share.has("exec_status/done"));
    status
}

#[test]
fn they_are_what_sha256sum_says_of_names_and_kinds_of_everything() {
    let share = Share::with_script(HOSTILE);
    assert!(share.monitor(&[]).status.success());
    assert_eq!(share.record().unwrap().ended, Some(Ending::Exit(0)), "{}", share.read("exec_status/stderr"));
    let digests = String::from_utf8_lossy(&fs::read(share.at(DIGESTS)).unwrap()).into_owned();
    assert_eq!(digests, sums(&share));
    judge(&share.path());
    let paths = paths(&share);
    assert_eq!(paths.len(), digests.lines().count());
    for path in ["auto_exec.sh", "exec_status/custom", "exec_status/out", "exec_status/stderr", "exec_status/stdout"] {
        assert!(paths.iter().any(|known| known == path), "{path}: {paths:?}");
    }
    assert!(!share.has(DIGESTS_PART));
}

#[test]
fn what_is_not_kept_has_none() {
    let share = Share::with_script("#!/bin/sh\ncd \"$archive_dir\"; mkdir kept; echo 1 >kept/1; echo 2 >not-kept\n");
    fs::write(share.at("nlxtp.toml"), "keep = ['kept']\n").unwrap();
    assert!(share.monitor(&["--set", "nlxtp_tomato_status=0"]).status.success());
    let expected = ["auto_exec.sh", "exec_status/stderr", "exec_status/stdout", "kept/1", "nlxtp.toml", "nlxtp_run_id"];
    assert_eq!(paths(&share), expected);
    judge(&share.path());
}

#[test]
fn either_of_two_switches_turns_them_off() {
    for (manifest, setting, is_written) in [
        ("", "nlxtp_digests=1", true),
        ("digests = true", "nlxtp_digests=1", true),
        ("digests = false", "nlxtp_digests=1", false),
        ("digests = true", "nlxtp_digests=0", false),
    ] {
        let share = Share::with_script("#!/bin/sh\n");
        fs::write(share.at("nlxtp.toml"), manifest).unwrap();
        assert!(share.monitor(&["--set", setting]).status.success());
        assert!(share.record().unwrap().done);
        assert_eq!(share.has(DIGESTS), is_written, "{manifest} {setting}");
    }
}

#[test]
fn a_run_that_could_not_be_started_has_them_and_one_that_was_stopped_has_none() {
    let share = Share::with_script("#!/no/such/interpreter\n");
    assert!(share.monitor(&[]).status.success());
    judge(&share.path());

    let share = Share::with_script("#!/bin/sh\necho x > \"$archive_dir/begun\"\nexec sleep 1000\n");
    let mut monitor = share.spawn(&["monitor"]);
    share.wait_for("begun");
    monitor.signal(Signal::SIGTERM);
    assert_eq!(monitor.wait_for_end(), 0);
    assert_eq!(share.record().unwrap().state, RunState::Interrupted);
    assert!(!share.has(DIGESTS));
}

#[test]
fn a_signal_gives_them_up_and_the_run_is_done() {
    let share = Share::with_script(HUGE);
    let mut monitor = share.spawn(&["monitor", "--set", QUICK]);
    share.wait_for(DIGESTS_PART);
    let first = share.record().unwrap();
    let later = share.wait_for_record(|status| status.sequence >= first.sequence + 3);
    assert_eq!((later.state, later.done), (RunState::Finished, false), "heartbeats go on, and Done has not come");
    assert_eq!(fs::metadata(share.at("huge")).unwrap().len(), HUGE_BYTES);
    monitor.signal(Signal::SIGTERM);
    assert_eq!(monitor.wait_for_end(), 0);
    assert_given_up(&share);
}

#[test]
fn an_upload_ends_them() {
    let share = Share::with_script(HUGE);
    let mut monitor = share.spawn(&["monitor", "--set", QUICK]);
    share.wait_for(DIGESTS_PART);
    fs::rename(share.at("exec_status"), share.at("moved")).unwrap();
    assert_eq!(monitor.wait_for_end(), 0);
    let left = ["moved/digests", "moved/digests.part"];
    assert!(left.iter().all(|name| !share.has(name)) && !share.has("exec_status"));
}

#[test]
fn what_no_host_takes_is_not_digested() {
    let share = Share::with_script("#!/bin/sh\ntruncate -s 65G \"$archive_dir/huge\"\nexit 3\n");
    let output = share.monitor(&[]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("no digests of the results are written") && told.contains("68719476736 bytes"), "{told}");
    assert_given_up(&share);
}

#[test]
fn what_is_too_deep_is_told_in_few_words() {
    let share = Share::with_script("#!/bin/bash\nmkdir -p \"$archive_dir/$(printf 'deep/%.0s' {1..129})\"\nexit 3\n");
    let output = share.monitor(&[]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("no digests of the results are written: deep holds directories that are more than 128 deep\n")
    );
    assert_given_up(&share);
}

#[test]
fn a_script_that_stands_in_the_way_fails_no_run() {
    for name in ["digests", "digests.part"] {
        let share = Share::with_script(&format!("#!/bin/sh\nmkdir {name}\ntouch {name}/x\nexit 3\n"));
        let output = share.monitor(&[]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("no digests of the results"), "{output:?}");
        assert!(share.has(&format!("exec_status/{name}/x")));
        let status = share.record().unwrap();
        assert_eq!((status.done, status.ended), (true, Some(Ending::Exit(3))));
    }
    // What else a script may have put there is replaced, and a link is not followed.
    let share = Share::with_script("#!/bin/sh\necho x >digests; ln -s ../victim digests.part\n");
    fs::write(share.at("victim"), "untouched").unwrap();
    assert!(share.monitor(&[]).status.success());
    assert_eq!(share.read("victim"), "untouched");
    judge(&share.path());
}

#[test]
fn the_daemon_writes_them_for_a_monitor_that_was_killed_meanwhile() {
    let share = Share::with_script(HUGE);
    let mut monitor = share.spawn(&["monitor", "--set", QUICK]);
    share.wait_for(DIGESTS_PART);
    monitor.signal(Signal::SIGKILL);
    monitor.wait_for_end();
    let left = share.record().unwrap();
    assert_eq!((left.state, left.done), (RunState::Finished, false));

    // It tells that it lives meanwhile; and when it is to end, it does.
    let mut daemon = share.daemon(&["--set", QUICK]);
    share.wait_for_record(|status| status.sequence >= left.sequence + 3);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_for_end(), 0);
    assert_given_up(&share);

    // The same with something that can be digested.
    for (manifest, is_written) in [("", true), ("digests = false", false)] {
        let share = Share::with_script(HUGE);
        let mut monitor = share.spawn(&["monitor"]);
        share.wait_for(DIGESTS_PART);
        monitor.signal(Signal::SIGKILL);
        monitor.wait_for_end();
        File::options().write(true).open(share.at("huge")).unwrap().set_len(1 << 20).unwrap();
        fs::write(share.at("nlxtp.toml"), manifest).unwrap();
        let _daemon = share.daemon(&[]);
        assert_eq!(share.wait_for_done().state, RunState::Finished);
        wait_until("ToMaTo's Done Flag", || share.has("exec_status/done"));
        assert_eq!(share.has(DIGESTS), is_written);
        if is_written {
            judge(&share.path());
            assert!(!share.has(DIGESTS_PART));
        }
    }
}

#[test]
#[ignore = "needs root; `make test` runs it"]
fn full_storage_gives_them_up_and_the_run_is_done() {
    let share = Share::new();
    let script = "#!/bin/sh\nhead -c 9000000 /dev/zero >\"$archive_dir/fill\" 2>/dev/null\nexit 3\n";
    write_script(&share.beside("script"), script);
    // Mounted for this one process.
    let commands = "set -e; mount -t tmpfs -o size=1m none \"$PWD\"; cd \"$PWD\"; cp ../script auto_exec.sh; echo \"$2\" >nlxtp_run_id
        \"$1\" --config /dev/null --dir \"$PWD\" monitor; cp -r exec_status ../left";
    let mut namespace = Command::new("unshare");
    namespace.args(["-m", "sh", "-c", commands, "sh"]).arg(program().get_program()).arg(RUN);
    let output = namespace.current_dir(share.path()).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("no digests") && told.contains("No space left"), "{output:?}");
    let left = share.beside("left");
    assert!(!left.join("digests").exists() && !left.join("digests.part").exists());
    let status = common::record_in(&left).unwrap();
    assert_eq!((status.state, status.done, status.ended), (RunState::Finished, true, Some(Ending::Exit(3))));
}
