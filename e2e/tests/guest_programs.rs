//! The guest programs in a virtual machine, on a disk that `sfdisk`, `mkfs.vfat` and mtools
//! made and mtools read: nothing of the host's side is ours here but the status decoder.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nlxtp_e2e::image::{self, PARTITION_OFFSET};
use nlxtp_e2e::process::wait_until;
use nlxtp_e2e::{Initramfs, Vm, VmOptions, places};
use rextfv_core::status::{Ending, Status};
use rextfv_core::status_codec;

const PATIENCE: Duration = Duration::from_secs(180);
const RUN_ID: &str = "00112233445566778899aabbccddeeff";

/// The newest valid record on the disk, read while the guest may be writing.
fn status(disk: &Path, offset: u64) -> Option<Status> {
    let slots = ["exec_status/status.0", "exec_status/status.1"].into_iter();
    let contents = slots.filter_map(|slot| image::read_changing_file(disk, offset, slot));
    contents.filter_map(|record| status_codec::decode(&record).ok()).max_by_key(|status| status.sequence)
}

#[track_caller]
fn runs_a_script(initramfs: Initramfs, partitioned: bool, interpreter: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = folder.path().join("disk.img");
    let offset = if partitioned {
        image::make_partitioned(&disk, 32 << 20, "NLXTP");
        PARTITION_OFFSET
    } else {
        image::make_bare_fat(&disk, 32 << 20, "NLXTP");
        0
    };
    image::write_file(&disk, offset, "nlxtp_run_id", format!("{RUN_ID}\n").as_bytes());
    let busybox = fs::read(places::guest_boot().join("busybox")).expect("a busybox");
    image::write_file(&disk, offset, "busybox", &busybox);
    let script = format!(
        "#!{interpreter}\nset -e; busybox=$nlxtp_dir/busybox; $busybox sleep 1; printf %s some >custom\n\
         $busybox ls /sys/class/net\n$busybox yes long | $busybox head -c 300000 >\"$nlxtp_dir/written\"\nexit 5\n"
    );
    image::write_file(&disk, offset, "auto_exec.sh", script.as_bytes());

    let vm = Vm::start(&VmOptions::new(initramfs).disk(&disk));
    let last = wait_until("the end", PATIENCE, || status(&disk, offset).filter(|status| status.done));
    vm.pull_the_plug();

    assert_eq!(last.run.expect("a run id").to_string(), RUN_ID);
    assert_eq!(last.ended, Some(Ending::Exit(5)));
    assert_eq!(last.custom.as_deref(), Some(&b"some"[..]));
    assert_eq!(image::read_file(&disk, offset, "exec_status/stdout"), b"lo\n");
    assert_eq!(last.stdout_bytes, 3);
    let written = image::read_file(&disk, offset, "written");
    assert_eq!(written.len(), 300_000, "all was on the disk when it said Done");
    assert!(written.chunks_exact(5).all(|line| line == b"long\n"));
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn the_daemon_in_a_guest_with_busybox() {
    runs_a_script(Initramfs::Daemon(places::nlxtp_guest()), true, "/bin/sh");
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn the_guest_program_alone_with_a_kernel() {
    runs_a_script(Initramfs::Bare(places::nlxtp_guest()), true, "/mnt/nlXTP/busybox sh");
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn the_guest_program_alone_with_a_disk_without_partitions() {
    runs_a_script(Initramfs::Bare(places::nlxtp_guest()), false, "/mnt/nlXTP/busybox sh");
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn the_shell_guest() {
    runs_a_script(Initramfs::Shell(places::guest_file("shell-guest.sh")), true, "/bin/sh");
}
