//! Whole Debian systems, each with another init system, and busybox alone, into which the guest program is
//! installed offline: each boots in a virtual machine, finds its disk, mounts it, and runs what was uploaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::process::run;
use nlxtp_e2e::system::{System, install_offline};
use nlxtp_e2e::{Initramfs, Vm, VmOptions, places};

/// For the boot of a whole system under emulation, on a busy machine.
const BOOT_AND_RUN: &str = "15m";
const PATIENCE: Duration = Duration::from_secs(120);

const OFF: [&str; 2] = ["--guest-power", "off"];

/// What the start script tells of the system that has started it, one `word: text` a line.
const SCRIPT: &str = r#"#!/bin/sh
daemon=$PPID
while [ "$(readlink /proc/$daemon/exe)" = /usr/local/sbin/nlxtp-guest ]; do
    top=$daemon
    daemon=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$daemon/status)
done
echo "init: $(cat /proc/1/comm) $(readlink /proc/1/exe)"
echo "daemon: $(tr '\0' ' ' </proc/$top/cmdline)"
echo "parent: $(cat /proc/$daemon/comm)"
echo "mounted: $(grep ' /mnt/nlXTP ' /proc/self/mounts)"
echo "network: $(echo $(ls /sys/class/net))"
echo "modules: $(grep -c '^vfat ' /proc/modules)"
ls /run/udev >/dev/null 2>&1 && echo 'udev: yes' || echo 'udev: no'
echo kept >"$nlxtp_dir/result"
"$nlxtp_guest" set-status "as told"
"#;

/// What a system that runs must have told, and is told apart by.
struct Expected {
    init: &'static str,
    daemon: &'static str,
    parent: &'static str,
    udev: &'static str,
    device: &'static str,
}

#[track_caller]
fn archive(folder: &Path) -> PathBuf {
    let content = folder.join("content");
    fs::create_dir(&content).expect("a folder for the archive's content");
    fs::write(content.join("auto_exec.sh"), SCRIPT).expect("the start script");
    let archive = folder.join("upload.tar.gz");
    run(Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(&content).arg("."), PATIENCE).success();
    archive
}

/// Boots a machine with a disk that holds an upload, and reads what came of it.
#[track_caller]
fn boots_and_runs(machine: VmOptions, label: &str, expected: &Expected) {
    let folder = places::temporary_folder("boot");
    let disk = folder.path().join("disk.img");
    let target = Target::create_disk(&disk, &["--size", "62MiB", "--label", label]);
    target.upload(&archive(folder.path()), &OFF);

    let vm = Vm::start(&machine.disk(&disk));
    let waited = target.call("wait", &["--timeout", BOOT_AND_RUN, "--guest-power", "on"]);
    assert_eq!(waited.code(), 0, "{waited:?}");
    vm.pull_the_plug();
    judge(&target, &folder.path().join("download"), expected);
}

/// The same for a whole Debian with this init system.
#[track_caller]
fn debian_boots_and_runs(name: &str, label: &str, expected: &Expected) {
    let system = System::with_init(name);
    let report = install_offline("install", &system.root(), &[]);
    assert!(report.contains(&format!("at the next boot, by {name}.")), "{report}");
    let machine = VmOptions::new(Initramfs::System).memory_mib(384).disk(&system.image());
    boots_and_runs(machine, label, expected);
}

#[track_caller]
fn judge(target: &Target, folder: &Path, expected: &Expected) {
    let status = target.status(&OFF);
    assert_eq!((&status["state"], &status["custom"]), (&"finished".into(), &"as told".into()), "{status}");
    let archive = folder.with_extension("tar.gz");
    target.download(&archive);
    fs::create_dir(folder).expect("a folder for the download");
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder), PATIENCE).success();
    assert_eq!(fs::read_to_string(folder.join("result")).expect("the result"), "kept\n");
    let told = fs::read_to_string(folder.join("exec_status/stdout")).expect("what the script told");
    let of = |word: &str| {
        let begin = format!("{word}: ");
        told.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or_else(|| panic!("no {word}: {told}"))
    };
    assert_eq!(of("init"), expected.init, "{told}");
    assert_eq!(of("daemon").trim(), format!("/usr/local/sbin/nlxtp-guest {}", expected.daemon), "{told}");
    assert_eq!(of("parent"), expected.parent, "{told}");
    assert_eq!(of("udev"), expected.udev, "{told}");
    assert_eq!(of("network"), "lo", "{told}");
    assert_eq!(of("modules"), "1", "the kernel has asked for vfat: {told}");
    let mount = of("mounted");
    assert!(mount.starts_with(expected.device) && mount.contains(" vfat rw,nosuid,nodev,noatime,"), "{mount}");
    let slow = mount.split([' ', ',']).any(|option| option == "sync" || option == "flush");
    assert!(!slow, "{mount}");
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn systemd_starts_the_daemon() {
    let expected = Expected {
        init: "systemd /usr/lib/systemd/systemd",
        daemon: "daemon",
        parent: "systemd",
        udev: "yes",
        device: "/dev/vdb",
    };
    debian_boots_and_runs("systemd", "NLXTP", &expected);
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn busybox_starts_the_daemon() {
    let expected =
        Expected { init: "init /bin/busybox", daemon: "daemon --stay", parent: "init", udev: "no", device: "/dev/vda" };
    boots_and_runs(VmOptions::new(Initramfs::Installed(places::nlxtp_guest())), "NLXTP", &expected);
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test-long` runs it"]
fn system_v_init_starts_the_daemon_which_finds_a_disk_by_its_content() {
    let expected =
        Expected { init: "init /usr/sbin/init", daemon: "daemon", parent: "init", udev: "no", device: "/dev/vdb" };
    debian_boots_and_runs("sysvinit", "OTHER", &expected);
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test-long` runs it"]
fn openrc_starts_the_daemon() {
    let expected = Expected {
        init: "init /usr/sbin/init",
        daemon: "daemon --stay",
        parent: "supervise-daemo",
        udev: "no",
        device: "/dev/vdb",
    };
    debian_boots_and_runs("openrc", "NLXTP", &expected);
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test-long` runs it"]
fn runit_starts_the_daemon() {
    let expected = Expected {
        init: "runit /usr/sbin/runit",
        daemon: "daemon --stay",
        parent: "runsv",
        udev: "no",
        device: "/dev/vdb",
    };
    debian_boots_and_runs("runit", "NLXTP", &expected);
}
