//! The command against the root of a hostile container: each call ends in a clear state or error
//! within its time, nothing outside is told, and when the guest leaves off, the next upload works.
//! How the library itself stands such guests, `nlxtp-host/tests/racing_guest.rs` shows.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::archive::{Archive, judge_next, upload_next};
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::process::{Finished, run, wait_until};
use nlxtp_e2e::{Container, places};

const PATIENCE: Duration = Duration::from_secs(60);

/// What stands in a file of the host that the guest has no business with.
const SECRET: &str = "a secret of the host";

struct Scenario {
    container: Container,
    target: Target,
    folder: tempfile::TempDir,
}

impl Scenario {
    fn new() -> Self {
        let mut container = Container::with_guest_program(&places::nlxtp_guest());
        container.start();
        // A file system with immutable files, and whose mounts come and go as the guest wants.
        container.output_of("mount -t tmpfs -o size=64m tmpfs /mnt/nlXTP");
        container.output_of("nlxtp-guest daemon --set nlxtp_mon_check_interval=0.5 >/proc/1/fd/1 2>&1 &");
        let target = Target::new(&container.in_guest("/mnt/nlXTP"));
        let folder = places::temporary_folder("hostile");
        fs::write(folder.path().join("stdout"), SECRET).expect("the secret");
        Scenario { container, target, folder }
    }

    /// Lets the guest attack, in a finished run of its own, while all commands are called.
    /// Tells the exit codes of `nlxtp status`.
    #[track_caller]
    fn attack(&self, what: &str, attack: &str, meanwhile: impl FnOnce(&Path)) -> Vec<i32> {
        upload_next(&self.target);
        judge_next(&self.target);
        let attack = attack.replace("SECRETS", self.folder.path().to_str().expect("a path of ours"));
        fs::write(self.container.root().join("run/attack"), attack).expect("the attack");
        self.container.output_of("cd /mnt/nlXTP && setsid sh /run/attack >/proc/1/fd/1 2>&1 & echo $! >/run/attacker");
        wait_until(what, PATIENCE, || self.container.root().join("run/begun").exists().then_some(()));
        meanwhile(&self.container.in_guest("/mnt/nlXTP"));
        let mut states = Vec::new();
        for _ in 0..5 {
            let status = self.call(what, "status", &["--json", "--exit-code"], &[0, 4, 5, 10, 11, 12, 13, 14, 15]);
            states.push(status.code());
            self.call(what, "wait", &["--timeout", "300ms"], &[0, 4, 5, 6, 10, 11, 13, 14]);
            self.call(what, "logs", &[], &[0, 4, 5, 14]);
            self.call(what, "logs", &["--follow", "--stderr", "--timeout", "300ms"], &[0, 4, 5, 6, 14]);
            self.call(what, "ls", &["--json"], &[0, 4, 5]);
            self.download(what);
        }
        self.container.output_of("kill -KILL -$(cat /run/attacker); rm /run/attacker /run/begun");
        self.container.output_of(
            "umount /mnt/nlXTP/exec_status 2>/dev/null; chattr -R -i /mnt/nlXTP 2>/dev/null; rm -rf /mnt/nlXTP/big*",
        );
        println!("{what}: the status ended with {states:?}");
        states
    }

    #[track_caller]
    fn call(&self, what: &str, verb: &str, options: &[&str], allowed: &[i32]) -> Finished {
        let finished = self.target.call(verb, options);
        let said = format!("{}{}", finished.text(), finished.error_text());
        assert!(allowed.contains(&finished.code()), "{what}: {verb}: {finished:?}");
        assert!(!said.contains("panicked") && !said.contains(SECRET), "{what}: {verb}: {finished:?}");
        assert!(finished.code() == 0 || verb == "status" || !said.is_empty(), "{what}: {verb} fails without a word");
        finished
    }

    /// An archive that is whole, or none and a reason.
    #[track_caller]
    fn download(&self, what: &str) {
        let archive = self.folder.path().join("download.tar");
        let named = archive.to_str().expect("a path of ours");
        let options = [named, "--force", "--timeout", "20s", "--max-bytes", "200MiB"];
        // What is not as the guest has written down is taken home all the same.
        let finished = self.call(what, "download", &options, &[0, 3, 4, 5, 6, 16]);
        assert_eq!(archive.exists(), [0, 16].contains(&finished.code()), "{what}: {finished:?}");
        if archive.exists() {
            run(Command::new("tar").arg("-tf").arg(&archive), PATIENCE).success();
            assert!(!holds(&archive, SECRET), "{what}: the download holds what is the host's");
            fs::remove_file(&archive).expect("removed");
        }
        let left: Vec<_> = fs::read_dir(self.folder.path()).expect("read").flatten().collect();
        assert_eq!(left.len(), 1, "{what}: nothing but the secret: {left:?}");
    }
}

fn holds(file: &Path, text: &str) -> bool {
    fs::read(file).expect("read").windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_container_attacks_the_command() {
    let scenario = Scenario::new();
    let states = scenario.attack(
        "nonsense in the status",
        r#"touch /run/begun; exec perl -e 'while (1) { my $slot = "exec_status/status." . int rand 2;
            if (open(my $f, rand() < 0.5 ? "+<" : ">", $slot)) { seek $f, int rand 900, 0;
                print $f "nlxtp-status 1\nrun: " x int rand 3, map { chr rand 256 } 1 .. rand 4000 } }'"#,
        |_| {},
    );
    assert!(states.contains(&14), "no record is found in nonsense: {states:?}");
    scenario.attack(
        "exec_status is another thing at each look",
        r"rm -rf exec_status; touch /run/begun
          while :; do
            ln -s SECRETS exec_status; sleep 0.02; rm exec_status
            mkfifo exec_status; sleep 0.02; rm exec_status
            mknod exec_status c 1 5; sleep 0.02; rm exec_status
            mkdir exec_status; mount -t tmpfs tmpfs exec_status
            echo x >exec_status/status.0; sleep 0.02; umount exec_status; rmdir exec_status
            mkdir exec_status; mkfifo exec_status/status.0; mknod exec_status/status.1 c 1 5
            ln -s SECRETS/stdout exec_status/stdout; sleep 0.02; rm -r exec_status
          done",
        // Who follows links and opens whatever there is, reads what is not the guest's.
        |share| {
            wait_until("the naive to be led out", PATIENCE, || {
                let mut naive = Command::new("timeout");
                naive.args(["1", "cat"]).arg(share.join("exec_status/stdout"));
                (run(&mut naive, PATIENCE).text() == SECRET).then_some(())
            });
        },
    );
    scenario.attack(
        "files that grow and multiply",
        r"touch /run/begun
          (while :; do echo more; done >>big1) & (while :; do echo more >>exec_status/stdout; done) &
          i=0; while :; do i=$((i + 1)); mkdir -p big$((i % 100))d/$i; echo x >big$((i % 100))d/$i/f; done 2>/dev/null",
        |_| {},
    );
    let states = scenario.attack(
        "locks and immutable files",
        "chattr +i exec_status/status.0 exec_status/stdout exec_status nlxtp_run_id .
         flock -x . flock -x exec_status flock -x exec_status/status.0 sh -c 'touch /run/begun; sleep 1000'",
        |_| {},
    );
    assert_eq!(states, [0; 5], "locks keep nobody from reading");

    // Locked and immutable, an upload is refused with a reason; then the guest leaves off.
    upload_next(&scenario.target);
    judge_next(&scenario.target);
    let empty = Archive::of_script("#!/bin/sh\n");
    let archive = empty.path();
    for (lock, unlock) in [
        (
            "flock -x . sh -c 'touch /run/begun; sleep 1000' & echo $! >/run/locker",
            "kill -KILL $(cat /run/locker) $(pidof sleep)",
        ),
        ("chattr +i . && touch /run/begun", "chattr -i ."),
        ("chattr +i exec_status && touch /run/begun", "chattr -i exec_status .nlxtp_upload/*/*"),
    ] {
        scenario.container.output_of(&format!("cd /mnt/nlXTP && {{ {lock}; }} >/dev/null 2>&1"));
        wait_until(lock, PATIENCE, || scenario.container.root().join("run/begun").exists().then_some(()));
        let archive = archive.to_str().expect("a path of ours");
        scenario.call(lock, "upload", &[archive], &[1, 4, 5]);
        scenario.container.output_of(&format!("rm /run/begun; cd /mnt/nlXTP && {{ {unlock}; }} 2>/dev/null; :"));
        upload_next(&scenario.target);
        judge_next(&scenario.target);
    }
}
