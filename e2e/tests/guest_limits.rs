//! Limits, end to end: scripts that write, run or fork without end in a container, and archives that
//! unpack to more than there is room for.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nlxtp_e2e::archive::{Archive, download, judge_next, unpack, upload_next};
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::process::{run, wait_until};
use nlxtp_e2e::{Container, places};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Kept of each output.
const LIMIT: usize = 100_000;

fn boot(config: &str) -> (Container, Target) {
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    fs::write(container.root().join("etc/nlxtp.conf"), config).expect("the guest's configuration");
    container.start();
    container.output_of("mount -t tmpfs -o size=24m tmpfs /mnt/nlXTP");
    container.output_of("nlxtp-guest daemon >/proc/1/fd/1 2>&1 &");
    let target = Target::new(&container.in_guest("/mnt/nlXTP"));
    (container, target)
}

/// Uploads a script and waits for its end: the exit code of `nlxtp wait`, and the status.
#[track_caller]
fn end_of(target: &Target, script: &str) -> (i32, Value) {
    target.upload(&Archive::of_script(&format!("#!/bin/sh\n{script}\n")).path(), &[]);
    let waited = target.call("wait", &["--timeout", "100s", "--json"]);
    let status = serde_json::from_slice(&waited.stdout).unwrap_or_else(|_| panic!("no status: {waited:?}"));
    (waited.code(), status)
}

#[track_caller]
fn next(target: &Target) {
    upload_next(target);
    judge_next(target);
}

fn lives(container: &Container, process: &str) -> bool {
    // A zombie has no command line.
    !container.output_of(&format!("tr '\\0' ' ' </proc/$(cat /run/{process})/cmdline 2>/dev/null || :")).is_empty()
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_script_that_never_ends_is_ended() {
    let config =
        format!("nlxtp_output_limit={LIMIT}\nnlxtp_run_timeout=3\nnlxtp_grace=0.5\nnlxtp_mon_check_interval=1");
    let (container, target) = boot(&config);

    // It writes to both outputs without end.
    let (code, status) = end_of(&target, "yes error >&2 & yes; :");
    assert_eq!((code, &status["state"]), (10, &"finished".into()), "a run that was ended has failed: {status}");
    assert_eq!((&status["timed_out"], &status["signal"], &status["done"]), (&true.into(), &15.into(), &true.into()));
    assert_eq!(status["truncated"], serde_json::json!(["stdout", "stderr"]), "{status}");
    for (options, expected) in [(&[][..], "y\n"), (&["--stderr"], "error\n")] {
        let text = expected.repeat(LIMIT);
        assert!(target.call("logs", options).success().text() == text[..LIMIT], "{expected}");
    }
    let folder = places::temporary_folder("limits");
    let content = download(&target, folder.path());
    for (name, limit) in [("stdout", LIMIT), ("stderr", LIMIT), ("out", 2 * LIMIT)] {
        let length = fs::metadata(content.join("exec_status").join(name)).expect(name).len();
        assert_eq!(length, limit as u64, "{name}");
    }
    next(&target);

    // It does not listen to SIGTERM, nor do its children; one has left for a session of its own.
    let script = "trap '' TERM; sleep 1000 & echo $! >/run/child
        (setsid sleep 1000 & echo $! >/run/elsewhere); while :; do sleep 0.05; done";
    let (code, status) = end_of(&target, script);
    assert_eq!((code, &status["timed_out"], &status["signal"]), (10, &true.into(), &9.into()), "{status}");
    wait_until("the end of the group", PATIENCE, || (!lives(&container, "child")).then_some(()));
    assert!(lives(&container, "elsewhere"), "what has left the group is not the monitor's to end");
    container.output_of("kill $(cat /run/elsewhere)");
    next(&target);

    // Its Custom Status grows without end, until the disk is full.
    let (code, status) = end_of(&target, "cat /dev/zero 2>/dev/null >custom; while :; do sleep 0.05; done");
    assert_eq!((code, &status["timed_out"]), (10, &true.into()), "{status}");
    assert_eq!(status["truncated"], serde_json::json!(["custom"]), "{status}");
    let custom = status["custom"].as_str().map_or(0, str::len);
    assert!(custom > 1000 && custom <= 1 << 20, "{custom}");
    container.output_of("rm /mnt/nlXTP/exec_status/custom");
    next(&target);
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn what_a_script_leaves_in_the_background_harms_nothing() {
    let (container, target) = boot("nlxtp_mon_check_interval=1\nnlxtp_grace=0.5");
    // The child writes to both outputs for ever, holds files of the shared directory open, and sits
    // in it.
    let script = "setsid sh -c 'exec 7>>custom 8>>../held; echo $$ >/run/left
        while :; do echo late; echo late >&2; echo late >&7; echo late >&8; sleep 0.01; done' &
        until [ -e /run/left ]; do sleep 0.01; done; echo early >../early; exit 2";
    let (code, status) = end_of(&target, script);
    assert_eq!((code, &status["state"], &status["exit_code"]), (10, &"finished".into(), &2.into()), "{status}");
    let logs = target.call("logs", &[]).success().text();
    assert_eq!(status["stdout_bytes"], logs.len(), "{status}");
    container.output_of("sleep 1");
    assert_eq!(target.status(&[])["sequence"], status["sequence"], "nothing changes after Done");
    assert_eq!(target.call("logs", &[]).success().text(), logs);
    let folder = places::temporary_folder("limits");
    let archive = folder.path().join("download.tar.gz");
    let downloaded = target.call("download", &[archive.to_str().expect("a path of ours")]);
    // The digests tell what was written since.
    assert_eq!(downloaded.code(), 16, "{downloaded:?}");
    let told = downloaded.text();
    assert!(told.contains("  exec_status/custom\n") && told.contains("  held\n"), "{told}");
    assert!(!told.contains("  early\n"), "{told}");
    assert_eq!(fs::read_to_string(unpack(&archive, folder.path()).join("early")).expect("a result"), "early\n");
    next(&target);
    assert!(lives(&container, "left"), "it goes on undisturbed");
    let names: Vec<_> = fs::read_dir(container.in_guest("/mnt/nlXTP")).expect("read").flatten().collect();
    assert!(names.iter().all(|entry| entry.file_name() != "held"), "{names:?}");
    container.output_of("kill $(cat /run/left)");
}

/// Free blocks of a file system.
fn free(place: &Path) -> u64 {
    let stat = run(Command::new("stat").args(["-f", "-c", "%f"]).arg(place), PATIENCE).success().text();
    stat.trim().parse().expect("a number")
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn bombs_are_refused_before_the_disk_fills() {
    let (container, target) = boot("nlxtp_mon_check_interval=1");
    next(&target);
    let share = container.in_guest("/mnt/nlXTP");
    container.output_of("mkdir /srv/images && mount -t tmpfs -o size=24m tmpfs /srv/images");
    let images = container.in_guest("/srv/images");
    // The one is too small for it; the other is not, but its host's file system is.
    let small = Target::create_disk(&images.join("small.img"), &["--size", "16MiB"]);
    let sparse = Target::create_disk(&images.join("sparse.img"), &["--size", "1GiB"]);

    let folder = places::temporary_folder("bomb");
    let content = folder.path().join("content");
    fs::create_dir(&content).expect("a folder");
    fs::write(content.join("auto_exec.sh"), "#!/bin/sh\n").expect("the start script");
    fs::File::create(content.join("bomb")).and_then(|bomb| bomb.set_len(256 << 20)).expect("much of nothing");
    let packers: [(&str, &[&str]); 3] =
        [("bomb.tar.gz", &["tar", "-czf"]), ("bomb.tar.zst", &["tar", "--zstd", "-cf"]), ("bomb.zip", &["zip", "-q"])];
    for (name, words) in packers {
        let bomb = folder.path().join(name);
        let mut pack = Command::new(words[0]);
        pack.args(&words[1..]).arg(&bomb).args(["auto_exec.sh", "bomb"]).current_dir(&content);
        run(&mut pack, PATIENCE).success();
        assert!(fs::metadata(&bomb).expect("packed").len() < 1 << 20, "{name} is small");
        for (target, place) in [(&target, &share), (&small, &images), (&sparse, &images)] {
            let status = target.status(&[]);
            let before = free(place);
            let over = AtomicBool::new(false);
            let (refused, least) = thread::scope(|scope| {
                let watcher = scope.spawn(|| {
                    let mut least = before;
                    while !over.load(Ordering::Relaxed) {
                        least = least.min(free(place));
                    }
                    least
                });
                let refused = target.call("upload", &[bomb.to_str().expect("a path of ours")]);
                over.store(true, Ordering::Relaxed);
                (refused, watcher.join().expect("watched"))
            });
            assert_eq!(refused.code(), 4, "{name}: {refused:?}");
            // What is made to find out how much room there is may take a few blocks.
            assert!(before - least.min(before) < 64, "{name} has taken {} blocks", before - least);
            assert_eq!(free(place), before, "{name}");
            assert_eq!(target.status(&[]), status, "{name}: the old content stays");
        }
    }
    next(&target);
}
