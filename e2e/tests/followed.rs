//! A run on a virtual machine that is followed while it is under way: its output and its progress.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::process::{bound_to_this_thread, run, wait_for_exit, wait_until};
use nlxtp_e2e::{Initramfs, Vm, VmOptions, places};

const PATIENCE: Duration = Duration::from_secs(180);
const ON: [&str; 2] = ["--guest-power", "on"];

/// Each step waits to be allowed to end.
const SCRIPT: &str = "#!/bin/sh
for step in 1 2 3; do
    echo \"step $step\"
    \"$nlxtp_guest\" set-status --progress $step/3 || exit
    while [ ! -e \"$nlxtp_dir/go$step\" ]; do sleep 0.1; done
done
";

/// Begins a command of `nlxtp` whose outputs go into one file.
fn begin(arguments: &[&str], image: &Path, told: &Path) -> Child {
    let told = File::create(told).expect("a file for what it says");
    let mut command = bound_to_this_thread(&places::nlxtp());
    command.env_remove("NLXTP_JOURNAL").args(arguments).arg(image).args(ON).args([
        "--no-memory",
        "--timeout",
        "170s",
        "--grace",
        "120s",
    ]);
    command.stdin(Stdio::null()).stdout(told.try_clone().expect("the same file")).stderr(told);
    command.spawn().expect("nlxtp starts")
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn output_and_progress_of_a_running_virtual_machine() {
    let folder = places::temporary_folder("followed");
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("content")).expect("made");
    fs::write(path("content/auto_exec.sh"), SCRIPT).expect("written");
    let mut tar = Command::new("tar");
    run(tar.arg("-cf").arg(path("archive.tar")).arg("-C").arg(path("content")).arg("."), PATIENCE).success();
    let image = path("disk.img");
    let target = Target::create_disk(&image, &[]);
    target.upload(&path("archive.tar"), &["--guest-power", "off"]);

    let options = VmOptions::new(Initramfs::Daemon(places::nlxtp_guest()))
        .disk(&image)
        .guest_config("nlxtp_mon_check_interval=1");
    let mut vm = Vm::boot(&options);
    let mut logs = begin(&["logs", "--follow"], &image, &path("logs"));
    let mut wait = begin(&["wait", "--verbose"], &image, &path("wait"));
    let told = |name: &str| fs::read_to_string(path(name)).expect("what it says");
    let mut expected = String::new();
    for step in 1..=3 {
        expected.push_str(&format!("step {step}\n"));
        wait_until("the step's output", PATIENCE, || (told("logs") == expected).then_some(()));
        let committed = target.status(&ON)["stdout_bytes"].as_u64().expect("a length");
        assert!(committed >= expected.len() as u64, "{committed} bytes are said to be on the disk");
        wait_until("the step's progress", PATIENCE, || told("wait").contains(&format!("{step}/3")).then_some(()));
        assert!(!told("wait").contains(&format!("{}/3", step + 1)), "{}", told("wait"));
        for following in [&mut logs, &mut wait] {
            assert!(following.try_wait().expect("its state").is_none(), "it ended before the run");
        }
        vm.output_of(&format!("touch /mnt/nlXTP/go{step}"));
    }
    for following in [&mut logs, &mut wait] {
        let status = wait_for_exit(following, PATIENCE).expect("it ends with the run");
        assert!(status.success(), "{status}: {} {}", told("logs"), told("wait"));
    }
    assert_eq!(told("logs"), expected);
    vm.power_off();
}
