//! What an upload writes to a disk, read by a guest's own kernel: every name and every byte.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::process::run;
use nlxtp_e2e::{Initramfs, Vm, VmOptions, image, places};

/// For reading some thousand files under emulation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// The sums of all files, and the names of all directories.
const LIST: &str = "{ find . -type f -exec sha256sum {} +; find . -type d; } | grep -v nlxtp_run_id | LC_ALL=C sort";

/// Long names, names beyond ASCII, many entries in one directory, empty files, deep paths, and sizes
/// around multiples of the cluster size.
fn make_tree(content: &Path) {
    let write = |path: &str, length: usize| {
        let path = content.join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        let bytes: Vec<u8> = (0..length).map(|n| (n.wrapping_mul(length + 31) >> 3) as u8).collect();
        fs::write(path, bytes).expect("a file");
    };
    for length in [0, 1, 511, 512, 513, 2047, 2048, 2049, 4096, 32_768, 65_536, 1 << 20, (1 << 20) + 1] {
        write(&format!("sizes/{length}"), length);
    }
    for number in 0..2000 {
        write(&format!("many/a name that begins like all the others {number}.text"), number % 7);
    }
    write(&format!("{}.long", "n".repeat(250)), 10);
    write("Mixed.Case", 11);
    write("UPPER.TXT", 12);
    write("grüße, 日本語 und 🦀.txt", 13);
    write(".begins with a dot", 14);
    write("two  spaces;and,more=[]+.x.y", 15);
    write(&format!("{}file", "deep/".repeat(40)), 16);
    fs::create_dir_all(content.join("empty/within")).expect("a directory");
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_guests_kernel_reads_all_that_was_uploaded() {
    let folder = places::temporary_folder("kernel");
    let (content, archive) = (folder.path().join("content"), folder.path().join("archive.tar.gz"));
    make_tree(&content);
    run(Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(&content).arg("."), PATIENCE).success();
    let mut here = Command::new("sh");
    let expected = run(here.args(["-c", LIST]).current_dir(&content), PATIENCE).success().text();
    assert!(expected.lines().count() > 2000);
    for (size, kind) in [("62MiB", "FAT16"), ("600MiB", "FAT32")] {
        let disk = folder.path().join(format!("{kind}.img"));
        Target::create_disk(&disk, &["--size", size]).upload(&archive, &["--guest-power", "off"]);
        let boot_sector = 1 << 20;
        let named = |at: u64| String::from_utf8_lossy(&read(&disk, boot_sector + at)).into_owned();
        assert!(named(54).starts_with(kind) || named(82).starts_with(kind), "{size}");
        image::check(&disk, boot_sector);
        let mut vm = Vm::boot(&VmOptions::new(Initramfs::Busybox).disk(&disk));
        let (code, listed) = vm.run(&format!("cd /mnt/nlXTP && {LIST}"), PATIENCE);
        vm.power_off();
        let listed = String::from_utf8_lossy(&listed).into_owned();
        assert_eq!(code, 0, "{kind}: {listed}");
        let differs = listed.lines().zip(expected.lines()).find(|(found, wanted)| found != wanted);
        assert!(listed == expected, "{kind}: {differs:?}");
    }
}

fn read(image: &Path, at: u64) -> [u8; 8] {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; 8];
    fs::File::open(image).and_then(|file| file.read_exact_at(&mut bytes, at)).expect("a disk");
    bytes
}
