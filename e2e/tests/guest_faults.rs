//! Faults in a container: the disk fills up, the shared directory vanishes, monitor or daemon are
//! killed. Each ends in the state that `nlxtp-guest/README.md` tells, and the next upload works.

use std::fs;
use std::time::Duration;

use nlxtp_e2e::archive::{Archive, download, judge_next, upload_next};
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::process::wait_until;
use nlxtp_e2e::{Container, places};
use serde_json::Value;

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
    guest.begin(&target, "head -c 9000000 /dev/zero 2>/dev/null >../fill; seq 10000; printf x >custom 2>/dev/null || exit 7");
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
    let said = wait_for(&target, "the daemon's word", |status| status["reason"] == "the guest says so");
    assert_eq!(said["state"], "monitor-stopped", "{said}");
    next();
}
