//! The guests themselves: do they boot, are they alone, do they end?

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nlxtp_e2e::process::{run, wait_until};
use nlxtp_e2e::{Container, Initramfs, Vm, VmOptions, image, places};

const SHORT: Duration = Duration::from_secs(30);

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_virtual_machine_shares_its_disk_with_the_host() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = folder.path().join("a, disk.img");
    image::make_bare_fat(&disk, 16 << 20, "NLXTP");

    let mut vm = Vm::boot(&VmOptions::new(Initramfs::Busybox).disk(&disk));
    vm.output_of("echo from the guest > '/mnt/nlXTP/a file with a long name.txt'");
    assert_eq!(vm.run("exit 7", SHORT).0, 7);
    assert_eq!(vm.run("printf '\\000\\377'", SHORT).1, b"\0\xff", "answers are bytes");
    let interfaces = vm.output_of("ls /sys/class/net");
    vm.power_off();

    assert_eq!(interfaces.trim(), "lo", "the guest has no other network interface");
    assert_eq!(image::list(&disk, 0), ["a file with a long name.txt"]);
    assert_eq!(image::read_file(&disk, 0, "a file with a long name.txt"), b"from the guest\n");
    image::check(&disk, 0);
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_virtual_machine_is_reset_paused_and_unplugged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = folder.path().join("disk.img");
    image::make_bare_fat(&disk, 16 << 20, "NLXTP");

    let mut vm = Vm::boot(&VmOptions::new(Initramfs::Busybox).disk_with_cache(&disk, "none"));
    let boot_id = "cat /proc/sys/kernel/random/boot_id";
    let first = vm.output_of(boot_id);
    vm.reset();
    vm.wait_for_boot();
    assert_ne!(vm.output_of(boot_id), first, "it is another boot");

    vm.pause();
    vm.resume();
    vm.output_of("echo kept > /mnt/nlXTP/kept; sync");
    vm.pull_the_plug();
    assert_eq!(image::read_file(&disk, 0, "kept"), b"kept\n");
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_container_is_a_machine_of_its_own() {
    let mut container = Container::create();
    fs::write(container.shared_directory().join("hello"), "from the host").expect("written");
    container.start();
    assert_eq!(container.output_of("cat /mnt/nlXTP/hello"), "from the host");
    assert_eq!(container.output_of("hostname").trim(), container.hostname());
    assert_eq!(container.output_of("ls /sys/class/net").trim(), "lo");
    assert_eq!(container.output_of("cat /sys/class/net/lo/operstate").trim(), "unknown");
    assert_eq!(container.output_of("cat /proc/1/comm").trim(), "sh");
    let processes = container.output_of("ls -d /proc/[0-9]* | wc -l");
    assert!(processes.trim().parse::<u32>().expect("a number") < 6, "{processes}");
    assert_eq!(container.run("exit 7", SHORT).code(), 7);
    let root = container.output_of("ls -d /run/host /work 2>/dev/null; cat /etc/nlxtp-guest-root");
    assert_eq!(root.lines().count(), 1, "nothing of the host is to be seen: {root}");

    let invoke = container.host_command_for("touch /mnt/nlXTP/invoked");
    run(Command::new("sh").args(["-c", &invoke]), SHORT).success();
    assert!(container.shared_directory().join("invoked").exists());
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_container_boots_its_program_and_ends_it() {
    let mut container = Container::create();
    container.start_at_boot(
        "trap 'echo ended >>/mnt/nlXTP/log; exit' TERM; echo started >>/mnt/nlXTP/log
         while :; do sleep 0.1; done",
    );
    let log = container.shared_directory().join("log");
    for round in ["started\nended\n", "started\nended\nstarted\nended\n"] {
        container.start();
        let lines = round.lines().count() - 1;
        wait_until("the program's start", SHORT, || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            (text.lines().count() == lines).then_some(())
        });
        let begin = Instant::now();
        container.stop();
        assert!(begin.elapsed() < Duration::from_secs(5), "nothing had to be killed");
        assert_eq!(fs::read_to_string(&log).expect("the log"), round);
    }
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_container_reaps_orphans() {
    let mut container = Container::create();
    container.start();
    container.output_of("(sleep 0.1 &) ; (sleep 0.2 &) >/dev/null");
    wait_until("the end of orphans", SHORT, || {
        let states = container.output_of("cat /proc/[0-9]*/stat 2>/dev/null");
        (!states.contains("(sleep) Z") && states.matches("(sleep)").count() == 1).then_some(())
    });
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_failed_test_leaves_nothing_behind() {
    let mounts = || fs::read_to_string("/proc/self/mounts").expect("the list of mounts");
    let mounts_before = mounts();
    let (sender, receiver) = std::sync::mpsc::channel();
    let failing = std::thread::spawn(move || {
        let mut container = Container::create();
        container.start();
        container.run("sleep 4321 >/dev/null 2>&1 & :", SHORT).success();
        assert!(is_running("sleep\x004321"));
        sender.send(container.root()).expect("sent");
        panic!("this panic is part of the test");
    });
    assert!(failing.join().is_err());
    let root = receiver.recv().expect("the container's root");
    assert!(!is_running("sleep\x004321"));
    assert!(!root.exists() && !root.parent().expect("a parent").exists());
    assert_eq!(mounts(), mounts_before);
}

/// Whether there is a process with this command line (words separated by NUL).
fn is_running(command_line: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|found| found.strip_suffix(b"\0") == Some(command_line.as_bytes()))
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn the_shell_scripts_are_clean() {
    let repository = places::repository();
    let mut shellcheck = Command::new(places::tool("shellcheck"));
    for folder in ["scripts", "e2e/guests"] {
        for entry in fs::read_dir(repository.join(folder)).expect("the folder").flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "sh") {
                shellcheck.arg(entry.path());
            }
        }
    }
    run(&mut shellcheck, Duration::from_secs(120)).success();
}
