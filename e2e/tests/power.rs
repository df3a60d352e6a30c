//! What becomes of runs and uploads when guests are switched off, reset, paused or killed at
//! the wrong moment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::process::{run, wait_until};
use nlxtp_e2e::{Container, Initramfs, Vm, VmOptions, places};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(180);
const ON: [&str; 2] = ["--guest-power", "on"];
const OFF: [&str; 2] = ["--guest-power", "off"];

/// A heartbeat each second, so that silence is noticed soon.
const QUICK_HEARTBEAT: &str = "nlxtp_mon_check_interval=1";

/// Runs until the file `go` is there.
const LONG_SCRIPT: &str = "#!/bin/sh
printf %s begun >custom
echo some output
while [ ! -e \"$nlxtp_dir/go\" ]; do sleep 0.1; done
echo over
";

/// A target whose archive holds the long script, and a folder for the test's files.
struct Scenario {
    folder: TempDir,
    archive: PathBuf,
}

impl Scenario {
    fn new() -> Self {
        let folder = places::temporary_folder("power");
        let content = folder.path().join("content");
        fs::create_dir(&content).expect("made");
        fs::write(content.join("auto_exec.sh"), LONG_SCRIPT).expect("written");
        let archive = folder.path().join("archive.tar");
        let mut tar = Command::new("tar");
        run(tar.arg("-cf").arg(&archive).arg("-C").arg(&content).arg("."), PATIENCE).success();
        Scenario { folder, archive }
    }

    /// A disk with the archive on it, and the machine that it belongs to.
    fn virtual_machine(&self) -> (Target, PathBuf, VmOptions) {
        let image = self.folder.path().join("disk.img");
        let target = Target::create_disk(&image, &[]);
        target.upload(&self.archive, &OFF);
        let options =
            VmOptions::new(Initramfs::Daemon(places::nlxtp_guest())).disk(&image).guest_config(QUICK_HEARTBEAT);
        (target, image, options)
    }
}

#[track_caller]
fn wait_for_state(target: &Target, options: &[&str], state: &str) -> Value {
    wait_until(&format!("the state {state}"), PATIENCE, || {
        let status = target.status(options);
        (status["state"] == state).then_some(status)
    })
}

/// Waits until the long script's custom status and its output are said to be on the disk.
#[track_caller]
fn wait_until_begun(target: &Target) -> Value {
    wait_until("the custom status and the output", PATIENCE, || {
        let status = target.status(&ON);
        (status["custom"] == "begun" && status["stdout_bytes"] == 12).then_some(status)
    })
}

fn digest(file: &Path) -> String {
    run(Command::new("sha256sum").arg(file), PATIENCE).success().text()
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn nothing_is_uploaded_to_a_running_virtual_machine() {
    let scenario = Scenario::new();
    let (target, image, options) = scenario.virtual_machine();
    let mut vm = Vm::boot(&options);
    vm.pause();
    let before = digest(&image);
    // The testbed's word, no word at all, and a wrong word: QEMU's lock speaks for itself.
    for power in [&ON[..], &[], &OFF[..]] {
        let archive = scenario.archive.to_str().expect("a path of ours");
        let refused = target.call("upload", &[&[archive], power].concat());
        assert_eq!(refused.code(), 5, "an upload with {power:?}: {refused:?}");
        assert!(refused.error_text().contains("disk.img"), "it names the image: {refused:?}");
    }
    assert_eq!(digest(&image), before, "nothing was touched");
    vm.resume();
    vm.output_of("touch /mnt/nlXTP/go");
    wait_for_state(&target, &ON, "finished");
    vm.power_off();
    target.upload(&scenario.archive, &[]);
    assert_eq!(target.status(&[])["state"], "not-started");
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_virtual_machine_that_loses_its_power_during_a_run() {
    let scenario = Scenario::new();
    let (target, _, options) = scenario.virtual_machine();
    let vm = Vm::start(&options);
    wait_until_begun(&target);
    vm.pull_the_plug();
    let status = target.status(&OFF);
    assert_eq!(status["state"], "monitor-stopped", "{status}");
    assert_eq!((&status["done"], &status["running"]), (&false.into(), &false.into()), "{status}");
    assert_eq!(status["custom"], "begun", "{status}");

    // Booted again, it does not run the script a second time, and says what happened.
    let mut vm = Vm::boot(&options);
    let status = wait_for_state(&target, &ON, "guest-rebooted");
    assert_eq!(status["custom"], "begun", "{status}");
    vm.output_of("sleep 2");
    // What the status had promised is there, and nothing was added.
    assert_eq!(vm.output_of("cat /mnt/nlXTP/exec_status/stdout"), "some output\n");
    vm.power_off();
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_virtual_machine_that_is_reset_during_a_run() {
    let scenario = Scenario::new();
    let (target, _, options) = scenario.virtual_machine();
    let mut vm = Vm::boot(&options);
    wait_until_begun(&target);
    vm.reset();
    vm.wait_for_boot();
    wait_for_state(&target, &ON, "guest-rebooted");
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_virtual_machine_that_is_shut_down_during_a_run() {
    let scenario = Scenario::new();
    let (target, image, options) = scenario.virtual_machine();
    let vm = Vm::boot(&options);
    wait_until_begun(&target);
    vm.power_off();
    let status = target.status(&[]);
    assert_eq!(status["state"], "monitor-stopped", "the monitor itself says so: {status}");
    nlxtp_e2e::image::check(&image, nlxtp_e2e::image::PARTITION_OFFSET);
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_virtual_machine_that_stands_still_for_a_while() {
    let scenario = Scenario::new();
    let (target, _, options) = scenario.virtual_machine();
    let mut vm = Vm::boot(&options);
    wait_until_begun(&target);
    vm.pause();
    let stopped = target.call("wait", &["--guest-power", "on", "--timeout", "60s"]);
    assert_eq!(stopped.code(), 11, "three intervals and five seconds are over: {stopped:?}");
    vm.resume();
    wait_for_state(&target, &ON, "running");
    vm.output_of("touch /mnt/nlXTP/go");
    assert_eq!(target.call("wait", &["--guest-power", "on", "--timeout", "60s"]).code(), 0);
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_container_that_is_stopped_or_killed_during_a_run() {
    let scenario = Scenario::new();
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    container.start_at_boot("exec /usr/bin/nlxtp-guest daemon");
    let target = Target::new(&container.shared_directory());

    container.start();
    target.upload(&scenario.archive, &ON);
    wait_until_begun(&target);
    container.stop();
    assert_eq!(target.status(&[])["state"], "monitor-stopped", "the monitor itself says so");

    container.start();
    target.upload(&scenario.archive, &ON);
    wait_until_begun(&target);
    container.pull_the_plug();
    assert_eq!(target.status(&OFF)["state"], "monitor-stopped");
    container.start();
    wait_for_state(&target, &ON, "guest-rebooted");
    assert_eq!(container.output_of("cat /mnt/nlXTP/exec_status/stdout"), "some output\n");

    // The same archive again is a new run.
    target.upload(&scenario.archive, &ON);
    wait_until_begun(&target);
    container.output_of("touch /mnt/nlXTP/go");
    wait_for_state(&target, &ON, "finished");
    assert_eq!(container.output_of("cat /mnt/nlXTP/exec_status/stdout"), "some output\nover\n");
}
