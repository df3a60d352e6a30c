//! Several archives in one, run by the guest program in a container and by the shell guest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nlxtp_e2e::Container;
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::places::{self, guest_file, tool};
use nlxtp_e2e::process::{bound_to_this_thread, run, wait_until};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(100);

/// `nlxtp archive …` in this folder.
#[track_caller]
fn archive(folder: &TempDir, arguments: &[&str]) {
    let mut command = Command::new(places::nlxtp());
    run(command.arg("archive").args(arguments).current_dir(folder.path()), PATIENCE).success();
}

/// Three archives, of which the second fails, in one.
fn merged(folder: &TempDir, after_failure: &str) -> PathBuf {
    for (name, script) in [
        // Waits until it was seen to be running.
        (
            "first",
            "archive_setstatus waiting\nuntil [ -e \"$archive_dir/go\" ]; do sleep 0.1; done\npwd >\"$archive_dir/where\"\necho 1/2 >progress",
        ),
        ("second", "echo trouble >&2; archive_setstatus 'no luck'; exit 3"),
        ("third", "echo bye; archive_setstatus \"$archive_version\""),
    ] {
        let content = folder.path().join(name);
        fs::create_dir_all(&content).expect("a folder for the archive's content");
        // Bash finds the function, any other shell the command.
        let interpreter = if name == "third" { "/bin/sh" } else { "/bin/bash" };
        fs::write(content.join("auto_exec.sh"), format!("#!{interpreter}\n{script}\n")).expect("the start script");
        archive(folder, &["create", name, "-o", &format!("{name}.tar.gz"), "--force"]);
    }
    let name = format!("{after_failure}.tar.gz");
    let parts = ["first.tar.gz", "second.tar.gz", "third.tar.gz"];
    archive(folder, &[&["merge"], &parts[..], &["-o", &name, "--after-failure", after_failure]].concat());
    folder.path().join(name)
}

/// Waits until the first archive is seen to run, lets it end, and waits for the end of the whole.
fn see_it_through(target: &Target, shared: &Path) -> Value {
    wait_until("the first archive's own status", PATIENCE, || {
        let custom = target.status(&[])["custom"].as_str().unwrap_or_default().to_owned();
        custom.starts_with("1-first: running: waiting\n2-second: waiting\n").then_some(())
    });
    fs::write(shared.join("1-first/go"), "").expect("a word to the first archive");
    target.call("wait", &["--timeout", "100s"]);
    let status = target.status(&[]);
    assert_eq!(status["state"], "finished", "{status}");
    status
}

/// A guest that ends with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const STOPPED: &str = "1-first: exit 0: waiting\n2-second: exit 3: no luck\n3-third: not run\n";
const GONE_ON: &str = "1-first: exit 0: waiting\n2-second: exit 3: no luck\n3-third: exit 0: 0.3\n";

#[test]
#[ignore = "needs root and a prepared guest; `make test` runs it"]
fn a_merged_archive_runs_in_a_container() {
    let folder = places::temporary_folder("merged");
    let mut node = Container::with_guest_program(&places::nlxtp_guest());
    node.start_at_boot("exec nlxtp-guest daemon");
    node.start();
    let target = Target::new(&node.shared_directory());
    for (after_failure, custom, progress) in [("stop", STOPPED, 2), ("go-on", GONE_ON, 3)] {
        target.upload(&merged(&folder, after_failure), &["--force"]);
        let status = see_it_through(&target, &node.shared_directory());
        assert_eq!(status["exit_code"], 3, "{status}");
        assert_eq!(status["custom"], custom, "{status}");
        assert_eq!(status["progress"], serde_json::json!({ "done": progress, "total": 3 }), "{status}");
        let here =
            fs::read_to_string(node.shared_directory().join("1-first/where")).expect("its own working directory");
        assert_eq!(here, "/mnt/nlXTP/1-first/exec_status\n");
        let logs = target.call("logs", &[]).success().text();
        assert!(logs.starts_with("--- 1-first: exit 0\n--- 2-second: exit 3\ntrouble\n"), "{logs}");
        let second = Target::new(&node.shared_directory().join("2-second"));
        assert_eq!(second.status(&[])["custom"], "no luck");
    }
}

#[test]
#[ignore = "needs root; `make test` runs it"]
fn a_merged_archive_needs_nothing_of_the_monitor() {
    for shell in [&["dash"][..], &["busybox", "ash"]] {
        let folder = places::temporary_folder("merged");
        let shared = folder.path().join("shared");
        fs::create_dir(&shared).expect("a shared directory");
        let mut guest = bound_to_this_thread(&tool(shell[0]));
        guest.args(&shell[1..]).arg(guest_file("shell-guest.sh")).arg(&shared).stdin(Stdio::null());
        let _guest = Ended(guest.spawn().expect("the shell guest"));
        let target = Target::new(&shared);
        target.upload(&merged(&folder, "go-on"), &[]);
        let status = see_it_through(&target, &shared);
        assert_eq!((&status["exit_code"], &status["custom"]), (&3.into(), &GONE_ON.into()), "{status}");
    }
}
