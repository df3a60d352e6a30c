//! Faults in a virtual machine: its FAT fills up, before a run and during it; it reboots by itself;
//! its file system becomes read-only. The next upload works each time.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::archive::{Archive, judge_next, upload_next};
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::process::{run, wait_until};
use nlxtp_e2e::{Initramfs, Vm, VmOptions, image, places};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(180);

#[track_caller]
fn wait_for_state(target: &Target, state: &str) -> Value {
    wait_until(&format!("the state {state}"), PATIENCE, || {
        let status = target.status(&[]);
        (status["state"] == state).then_some(status)
    })
}

/// A small disk and the machine that it belongs to. On a busy host an emulated timer may come too
/// late for the kernel's check of it.
fn machine(disk: &Path) -> (Target, VmOptions) {
    let options = VmOptions::new(Initramfs::Daemon(places::nlxtp_guest()))
        .disk(disk)
        .kernel_arguments("no_timer_check")
        .guest_config("nlxtp_mon_check_interval=1\nnlxtp_daemon_check_interval=1");
    (Target::create_disk(disk, &["--size", "8MiB"]), options)
}

/// Uploads a script with as many zeros beside it as the disk takes.
#[track_caller]
fn fill_by_upload(target: &Target, script: &str) {
    let folder = places::temporary_folder("faults");
    let content = folder.path().join("content");
    fs::create_dir(&content).expect("a folder");
    fs::write(content.join("auto_exec.sh"), script).expect("the start script");
    let archive = folder.path().join("archive.tar");
    for kib in (0..7 << 10).rev() {
        let filler = fs::File::create(content.join("filler")).expect("the filler");
        filler.set_len(kib << 10).expect("its length");
        run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&content).arg("."), PATIENCE).success();
        let uploaded = target.call("upload", &[archive.to_str().expect("a path of ours")]);
        if uploaded.code() == 0 {
            return;
        }
        assert_eq!(uploaded.code(), 4, "too much for the disk: {uploaded:?}");
    }
    panic!("the disk takes nothing");
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_virtual_machine_reboots_and_its_disk_fills_up() {
    let folder = places::temporary_folder("faults");
    let disk = folder.path().join("disk.img");
    let (target, options) = machine(&disk);

    // It reboots by itself in the middle of a run.
    let script = "#!/bin/sh\nprintf %s begun >custom\nwhile :; do sleep 0.1; done\n";
    target.upload(&Archive::of_script(script).path(), &[]);
    let mut vm = Vm::boot(&options);
    wait_until("the run", PATIENCE, || (target.status(&[])["custom"] == "begun").then_some(()));
    vm.run("(sleep 0.2; reboot -f) >/dev/null 2>&1 &", PATIENCE);
    vm.wait_for_boot();
    let status = wait_for_state(&target, "guest-rebooted");
    assert_eq!(status["custom"], "begun", "{status}");
    vm.power_off();

    // The upload has left no room: the run begins, or is told of, when there is some.
    fill_by_upload(&target, "#!/bin/sh\necho out\nexit 3\n");
    let mut vm = Vm::boot(&options);
    vm.output_of("sleep 3");
    let status = target.status(&[]);
    assert!(status["state"] == "not-started" || status["state"] == "unreadable", "{status}");
    println!("{status}; {}", vm.output_of("df -k /mnt/nlXTP"));
    vm.output_of("rm /mnt/nlXTP/filler");
    let status = wait_for_state(&target, "finished");
    assert_eq!((&status["exit_code"], &status["stdout_bytes"]), (&3.into(), &4.into()), "{status}");
    vm.power_off();

    // The script's results, its output and its Custom Status fill the disk.
    let script = "#!/bin/sh\necho early\n: >custom; sleep 1.5\nhead -c 20000000 /dev/zero 2>/dev/null >../results\n\
                  head -c 2000000 /dev/zero\nhead -c 500000 /dev/zero 2>/dev/null >custom\nexit 7\n";
    target.upload(&Archive::of_script(script).path(), &[]);
    let vm = Vm::boot(&options);
    let status = wait_for_state(&target, "finished");
    assert_eq!((&status["exit_code"], &status["done"]), (&7.into(), &true.into()), "{status}");
    assert!(status["truncated"].to_string().contains("stdout"), "{status}");
    assert!(status["stdout_bytes"].as_u64().is_some_and(|bytes| (6..2_000_000).contains(&bytes)), "{status}");
    vm.power_off();
    image::check(&disk, image::PARTITION_OFFSET);

    // The next upload works, on a disk that was full.
    upload_next(&target);
    let vm = Vm::boot(&options);
    judge_next(&target);
    vm.power_off();
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn the_file_system_of_a_virtual_machine_becomes_read_only() {
    let folder = places::temporary_folder("faults");
    let disk = folder.path().join("disk.img");
    let (target, options) = machine(&disk);
    let script = "#!/bin/sh\nprintf %s begun >custom\nuntil [ -e /run/go ]; do sleep 0.1; done\n\
                  echo late 2>/dev/null >../late || exit 9\n";
    target.upload(&Archive::of_script(script).path(), &[]);
    let mut vm = Vm::boot(&options);
    wait_until("the run", PATIENCE, || (target.status(&[])["custom"] == "begun").then_some(()));
    // All of the guest's file systems, as after an error of the disk. The slots are there already,
    // so the run is told of to its end.
    let mounted = vm.output_of("echo u >/proc/sysrq-trigger; sleep 1; grep nlXTP /proc/mounts");
    assert!(mounted.contains(" ro,"), "{mounted}");
    vm.output_of("touch /run/go");
    let status = wait_for_state(&target, "finished");
    assert_eq!((&status["exit_code"], &status["done"]), (&9.into(), &true.into()), "{status}");
    vm.power_off();
    upload_next(&target);
    let vm = Vm::boot(&options);
    judge_next(&target);
    vm.power_off();
}
