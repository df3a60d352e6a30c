//! Faults in a container: the disk fills up, the shared directory vanishes, monitor or daemon are
//! killed. Each ends in the state that `nlxtp-guest/README.md` tells, and the next upload works.

use std::fs;
use std::time::Duration;

use nlxtp_e2e::archive::{Archive, download, judge_next, upload_next};
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::process::wait_until;
use nlxtp_e2e::{Container, places};
use serde_json::Value;

/// Why a run has stopped, where the guest itself has written so.
const GUESTS_WORD: &str = "the guest reports that its monitor was told to stop, or was found dead";

const PATIENCE: Duration = Duration::from_secs(60);

/// Quick enough that silence is noticed soon.
const CONFIG: &str = "nlxtp_mon_check_interval=0.5\nnlxtp_daemon_check_interval=0.5\nnlxtp_grace=0.5\n";

/// Lets a script wait until the file `go` is there, beside the shared directory.
const WAIT_FOR_GO: &str = "until [ -e /run/go ]; do sleep 0.05; done";

/// A container whose daemon can be killed and started again.
struct Guest {
    container: Container,
}

impl Guest {
    fn boot() -> Self {
        let mut container = Container::with_guest_program(&places::nlxtp_guest());
        fs::write(container.root().join("etc/nlxtp.conf"), CONFIG).expect("the guest's configuration");
        container.start();
        Guest { container }
    }

    /// The shared directory with what the guest has mounted there at present.
    fn target(&self) -> Target {
        Target::new(&self.container.in_guest("/mnt/nlXTP"))
    }

    #[track_caller]
    fn does(&self, command: &str) -> String {
        self.container.output_of(command)
    }

    fn start_daemon(&self) {
        self.does("nlxtp-guest daemon >/proc/1/fd/1 2>&1 & echo $! >/run/daemon.pid");
    }

    fn kill_daemon(&self) {
        self.does("kill -KILL $(cat /run/daemon.pid)");
    }

    /// The daemon and the monitor are one program; the script's parent is the monitor.
    fn signal_monitor(&self, signal: &str) {
        self.does(&format!("kill -{signal} $(sed 's/.*) . //; s/ .*//' /proc/$(cat /run/script.pid)/stat)"));
    }

    /// Uploads a script that leaves its process id, and waits until it runs.
    fn begin(&self, target: &Target, script: &str) {
        self.does("rm -f /run/go /run/script.pid");
        let archive =
            Archive::of_script(&format!("#!/bin/sh\necho $$ >/run/pid; mv /run/pid /run/script.pid\n{script}\n"));
        target.upload(&archive.path(), &[]);
        self.does("timeout 30 sh -c 'until [ -e /run/script.pid ]; do sleep 0.02; done'");
    }

    fn go(&self) {
        self.does("touch /run/go");
    }
}

#[track_caller]
fn wait_for(target: &Target, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    // By itself the command keeps its memory by the resolved path, and one that leads through
    // /proc/PID/root cannot be resolved outside of that process.
    let memory = target.beside("memory");
    wait_until(what, PATIENCE, || {
        let status = target.status(&["--grace", "1s", "--memory", memory.to_str().expect("a path of ours")]);
        holds(&status).then_some(status)
    })
}

#[track_caller]
fn wait_for_state(target: &Target, state: &str) -> Value {
    wait_for(target, state, |status| status["state"] == state)
}

/// Whether the status says that this was cut.
fn cut(status: &Value, what: &str) -> bool {
    status["truncated"].as_array().is_some_and(|cut| cut.iter().any(|name| name == what))
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn the_disk_of_a_container_fills_up() {
    let guest = Guest::boot();
    guest.does("mount -t tmpfs -o size=4m,nr_inodes=100 tmpfs /mnt/nlXTP");
    guest.start_daemon();
    let target = guest.target();
    let make_room = || guest.does("find /mnt/nlXTP -name 'fill*' -delete");
    let next = || {
        make_room();
        upload_next(&target);
        judge_next(&target);
    };

    // By the script's results.
    guest.begin(
        &target,
        "head -c 9000000 /dev/zero 2>/dev/null >../fill; seq 10000; printf x >custom 2>/dev/null || exit 7",
    );
    let status = wait_for_state(&target, "finished");
    assert_eq!((&status["done"], &status["exit_code"]), (&true.into(), &7.into()), "{status}");
    assert!(cut(&status, "stdout") && !cut(&status, "stderr"), "{status}");
    // Old and new content stand side by side: this is refused, and nothing is touched.
    let refused = target.call("upload", &[Archive::of_script("#!/bin/sh\n").path().to_str().expect("text")]);
    assert_eq!(refused.code(), 4, "{refused:?}");
    assert!(refused.error_text().contains("make room"), "{refused:?}");
    assert_eq!(target.status(&[])["run_id"], status["run_id"]);
    next();

    // By its output.
    guest.begin(&target, "head -c 9000000 /dev/zero; echo over >&2");
    let status = wait_for_state(&target, "finished");
    assert_eq!(status["exit_code"], 0, "the script does not notice: {status}");
    assert!(cut(&status, "stdout"), "{status}");
    let folder = places::temporary_folder("faults");
    let stdout = fs::read(download(&target, folder.path()).join("exec_status/stdout")).expect("the output");
    assert_eq!(status["stdout_bytes"], stdout.len(), "what is there is what is said to be there");
    assert!(stdout.len() > 1_000_000 && stdout.len() < 4 << 20, "{}", stdout.len());
    guest.does("truncate -s 0 /mnt/nlXTP/exec_status/stdout /mnt/nlXTP/exec_status/out");
    next();

    // By a long Custom Status: the file still fits, a slot for it does not.
    guest.begin(&target, "head -c 3200000 /dev/zero >../fill; head -c 500000 /dev/zero | tr '\\0' x >custom");
    let status = wait_for_state(&target, "finished");
    assert_eq!(status["exit_code"], 0, "{status}");
    assert!(cut(&status, "custom"), "{status}");
    let custom = status["custom"].as_str().expect("as much as fits");
    assert!(custom.len() > 1000 && custom.len() < 500_000, "{}", custom.len());
    next();

    // Before the monitor has made its slots.
    guest.kill_daemon();
    target.upload(&Archive::of_script(&format!("#!/bin/sh\n{WAIT_FOR_GO}\nexit 3\n")).path(), &[]);
    guest.does("head -c 9000000 /dev/zero 2>/dev/null >/mnt/nlXTP/fill; rm -f /run/go");
    guest.start_daemon();
    let status = wait_for_state(&target, "unreadable");
    assert!(status["reason"].as_str().is_some_and(|reason| reason.contains("status.0")), "{status}");
    make_room();
    wait_for_state(&target, "running");
    guest.go();
    assert_eq!(wait_for_state(&target, "finished")["exit_code"], 3);
    next();

    // Before the run can be claimed at all: it is claimed as soon as that is possible.
    guest.kill_daemon();
    target.upload(&Archive::of_script("#!/bin/sh\nexit 4\n").path(), &[]);
    guest.does("for i in $(seq 200); do touch /mnt/nlXTP/fill$i 2>/dev/null || break; done");
    guest.start_daemon();
    guest.does("sleep 1.5");
    assert_eq!(target.status(&[])["state"], "not-started");
    make_room();
    assert_eq!(wait_for_state(&target, "finished")["exit_code"], 4);
    next();

    // And monitor and daemon killed on a full disk.
    guest.begin(&target, &format!("head -c 9000000 /dev/zero 2>/dev/null >../fill\n{WAIT_FOR_GO}"));
    wait_for_state(&target, "running");
    guest.kill_daemon();
    guest.signal_monitor("KILL");
    assert!(wait_for_state(&target, "monitor-stopped")["reason"].to_string().contains("nothing new"));
    guest.go();
    guest.start_daemon();
    let said = wait_for(&target, "the daemon's word", |status| status["reason"] == GUESTS_WORD);
    assert_eq!(said["state"], "monitor-stopped", "{said}");
    next();
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn the_shared_directory_of_a_container_vanishes() {
    let guest = Guest::boot();
    // What the host shares stays where it is; only the guest's own mount of it comes and goes.
    guest.does("mkdir /srv/share && mount --bind /srv/share /srv/share && mount --bind /srv/share /mnt/nlXTP");
    guest.start_daemon();
    let target = Target::new(&guest.container.in_guest("/srv/share"));

    // Unmounted during a run, which goes on.
    guest.begin(&target, &format!("{WAIT_FOR_GO}\necho out; echo result >../result"));
    guest.does("umount --lazy /mnt/nlXTP");
    guest.go();
    let status = wait_for_state(&target, "finished");
    assert_eq!((&status["exit_code"], &status["stdout_bytes"]), (&0.into(), &4.into()), "{status}");
    upload_next(&target);
    guest.does("sleep 1");
    assert_eq!(target.status(&[])["state"], "not-started", "the daemon waits for the directory");
    guest.does("mount --bind /srv/share /mnt/nlXTP");
    judge_next(&target);

    // Read-only: not while it is written to, and before a run it cannot be claimed.
    guest.begin(&target, WAIT_FOR_GO);
    assert_ne!(guest.container.run("mount -o remount,bind,ro /mnt/nlXTP", PATIENCE).code(), 0);
    guest.go();
    wait_for_state(&target, "finished");
    wait_until("a mount without writers", PATIENCE, || {
        (guest.container.run("mount -o remount,bind,ro /mnt/nlXTP", PATIENCE).code() == 0).then_some(())
    });
    upload_next(&target);
    guest.does("sleep 1");
    assert_eq!(target.status(&[])["state"], "not-started");
    guest.does("mount -o remount,bind,rw /mnt/nlXTP");
    judge_next(&target);
    guest.does("umount /mnt/nlXTP");

    // Moved away during a run, and back.
    let target = Target::new(&guest.container.shared_directory());
    guest.begin(&target, &format!("{WAIT_FOR_GO}\necho out"));
    guest.does("mv /mnt/nlXTP /mnt/away");
    assert_eq!(target.call("status", &[]).code(), 4, "it is not there");
    guest.go();
    guest.does("sleep 0.5; mv /mnt/away /mnt/nlXTP");
    let status = wait_for_state(&target, "finished");
    assert_eq!((&status["exit_code"], &status["stdout_bytes"]), (&0.into(), &4.into()), "{status}");
    upload_next(&target);
    judge_next(&target);
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_script_in_a_container_destroys_its_own_status() {
    let guest = Guest::boot();
    guest.start_daemon();
    let target = guest.target();

    for (what, ended) in [("rm -rf *", "exit 5"), ("for slot in status.*; do : >$slot; done", "exit 5")] {
        guest.begin(&target, &format!("{what}\n{WAIT_FOR_GO}\n{ended}"));
        wait_for(&target, "a status made anew", |status| {
            status["state"] == "running" && status["dialect"] == "nlxtp" && status["sequence"].as_u64() > Some(3)
        });
        guest.go();
        let status = wait_for_state(&target, "finished");
        assert_eq!((&status["exit_code"], &status["done"]), (&5.into(), &true.into()), "{what}: {status}");
    }
    upload_next(&target);
    judge_next(&target);

    guest.does("rm -f /run/log");
    guest.begin(
        &target,
        &format!("echo started >>/run/log; rm -r ../exec_status\n{WAIT_FOR_GO}\necho result >../result"),
    );
    let status = wait_for_state(&target, "monitor-stopped");
    assert_eq!(status["reason"], GUESTS_WORD, "{status}");
    guest.go();
    wait_until("the script's end", PATIENCE, || {
        guest.container.shared_directory().join("result").exists().then_some(())
    });
    assert_eq!(guest.does("sleep 0.5; cat /run/log"), "started\n", "it was not started twice");
    upload_next(&target);
    judge_next(&target);
}

/// Kills the monitor of the next run so many microseconds after it has appeared.
const KILLER: &str = r#"perl -e '
    sub monitors { my $f; grep { open($f, "<", "/proc/$_/cmdline") && <$f> =~ /\0monitor\0/ }
        map { m{/proc/(\d+)} } glob "/proc/[1-9]*" }
    open(my $ready, ">", "/run/ready") or die;
    my $end = time + 20;
    while (time < $end) { if (my @found = monitors()) {
        select(undef, undef, undef, $ARGV[0] / 1e6); kill 9, @found; exit 0 } }
    exit 1' "#;

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn monitor_and_daemon_in_a_container_are_killed() {
    let guest = Guest::boot();
    guest.start_daemon();
    let target = guest.target();
    let next = || {
        upload_next(&target);
        judge_next(&target);
    };

    // The monitor is asked to stop: it ends the script, one that does not listen too.
    guest.begin(&target, "trap '' TERM\nwhile :; do sleep 0.05; done");
    guest.signal_monitor("TERM");
    let status = wait_for_state(&target, "monitor-stopped");
    assert_eq!((&status["reason"], &status["exit_code"]), (&GUESTS_WORD.into(), &Value::Null), "{status}");
    guest.does("! kill -0 $(cat /run/script.pid) 2>/dev/null");
    next();

    // The monitor is killed: the daemon says so, and the script goes on by itself.
    guest.begin(&target, &format!("{WAIT_FOR_GO}\necho result >../result"));
    guest.signal_monitor("KILL");
    let status = wait_for_state(&target, "monitor-stopped");
    assert_eq!(status["reason"], GUESTS_WORD, "{status}");
    guest.go();
    wait_until("the script's end", PATIENCE, || {
        guest.container.shared_directory().join("result").exists().then_some(())
    });
    next();

    // The daemon is killed during a run, which goes on; its successor leaves that alone.
    guest.begin(&target, &format!("{WAIT_FOR_GO}\nexit 6"));
    guest.kill_daemon();
    guest.start_daemon();
    let before = target.status(&[])["sequence"].as_u64();
    wait_for(&target, "further heartbeats", |status| {
        status["state"] == "running" && status["sequence"].as_u64() > before
    });
    guest.go();
    assert_eq!(wait_for_state(&target, "finished")["exit_code"], 6);
    next();

    // Killed at any instant between claim and Done, with and without the daemon.
    let archive = Archive::of_script("#!/bin/sh\necho started >>/run/log\necho out\necho result >../result\n");
    let (mut finished, mut stopped) = (0, 0);
    for round in 0..12 {
        let too = if round % 2 == 0 { "" } else { "kill -KILL $(cat /run/daemon.pid);" };
        guest.does(&format!("rm -f /run/log; ({KILLER} {}; {too} touch /run/killed) >/dev/null 2>&1 &", round * 2500));
        guest.does("timeout 30 sh -c 'until [ -e /run/ready ]; do sleep 0.02; done'; rm /run/ready");
        target.upload(&archive.path(), &[]);
        guest.does("timeout 30 sh -c 'until [ -e /run/killed ]; do sleep 0.02; done'; rm /run/killed");
        if !too.is_empty() {
            guest.start_daemon();
        }
        // What cannot be completed is closed by the daemon, not just given up by the host.
        let status = wait_for(&target, &format!("an end of round {round}"), |status| {
            status["state"] == "finished" || status["reason"] == GUESTS_WORD
        });
        let log = guest.does("cat /run/log 2>/dev/null || :");
        assert!(log.is_empty() || log == "started\n", "round {round}: {log}");
        if status["state"] == "finished" {
            finished += 1;
            assert_eq!((&status["exit_code"], &status["stdout_bytes"]), (&0.into(), &4.into()), "{status}");
            assert!(guest.container.shared_directory().join("result").exists());
        } else {
            stopped += 1;
        }
    }
    println!("killed at any instant: {finished} finished, {stopped} stopped");
    next();
}
