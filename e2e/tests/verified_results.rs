//! Results that the guest's digests verify, in a container and from a virtual machine's disk; and what has
//! changed after the guest was done is named.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::archive::{Archive, download};
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::process::{run, wait_until};
use nlxtp_e2e::{Container, Initramfs, Vm, VmOptions, image, places};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(100);

/// Leaves results behind, and a process that goes on writing when it is told to.
const SCRIPT: &str = r#"#!/bin/sh
cd "$archive_dir" || exit
mkdir -p 'r\e sults' empty
printf 'a;b\n1;2\n' >table.csv
echo x >"r\\e sults/$(printf 'two\nlines')"
ln -s table.csv link
head -c 3000000 /dev/urandom >noise
echo 'it works'
setsid sh -c 'until [ -e /run/go-on ]; do sleep 0.05; done; echo "3;4" >>table.csv' >/dev/null 2>&1 &
"#;

/// The same for a FAT.
const SCRIPT_ON_FAT: &str = "#!/bin/sh
cd \"$archive_dir\" || exit
mkdir 'A long name' empty
echo 'a result that is damaged' >'A long name/r\u{e9}sultat.csv'
head -c 3000000 /dev/urandom >noise
echo 'it works'
";

/// Downloads anew, and tells what came of the comparison.
#[track_caller]
fn verification(target: &Target, code: i32) -> Value {
    let folder = places::temporary_folder("verified");
    let archive = folder.path().join("results.tar");
    let finished = target.call("download", &[archive.to_str().expect("a path of ours"), "--json"]);
    assert_eq!(finished.code(), code, "{finished:?}");
    assert!(archive.exists(), "the archive is kept");
    let mut answer: Value = serde_json::from_slice(&finished.stdout).expect("an answer in JSON");
    answer["verification"].take()
}

fn differs(content: &[&str], unlisted: &[&str]) -> Value {
    let listing = |paths: &[&str]| json!({ "listed": paths, "omitted": 0 });
    json!({ "outcome": "differs", "content": listing(content), "missing": listing(&[]), "unlisted": listing(unlisted) })
}

#[test]
#[ignore = "needs root and a prepared guest; `make test` runs it"]
fn a_container_s_results_until_a_process_goes_on_that_the_script_has_left_behind() {
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    container.start_at_boot("exec nlxtp-guest daemon");
    container.start();
    let target = Target::new(&container.shared_directory());
    target.upload(&Archive::of_script(SCRIPT).path(), &[]);
    target.call("wait", &["--timeout", "100s"]).success();

    let folder = places::temporary_folder("verified");
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--strict", "exec_status/digests"]).current_dir(download(&target, folder.path()));
    let checked = run(&mut check, PATIENCE).success().text();
    assert!(checked.contains("table.csv: OK"), "{checked}");
    assert_eq!(verification(&target, 0), json!({ "outcome": "verified", "files": checked.lines().count() }));

    let table = container.shared_directory().join("table.csv");
    let before = fs::read(&table).expect("the results");
    container.output_of("touch /run/go-on");
    wait_until("what was left behind", PATIENCE, || (fs::read(&table).ok()? != before).then_some(()));
    assert_eq!(verification(&target, 16), differs(&["table.csv"], &[]));
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_disk_s_results_until_the_disk_is_damaged() {
    let folder = places::temporary_folder("verified");
    let disk = folder.path().join("disk.img");
    let target = Target::create_disk(&disk, &["--size", "32MiB"]);
    target.upload(&Archive::of_script(SCRIPT_ON_FAT).path(), &[]);
    let vm = Vm::start(&VmOptions::new(Initramfs::Daemon(places::nlxtp_guest())).disk(&disk));
    target.call("wait", &["--timeout", "100s"]).success();
    let verified = verification(&target, 0);
    vm.pull_the_plug();
    let digests = image::read_file(&disk, image::PARTITION_OFFSET, "exec_status/digests");
    let lines = digests.iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(verified, json!({ "outcome": "verified", "files": lines }));
    assert_eq!(verification(&target, 0), verified, "nothing was lost with the power");

    damage(&disk, b"a result that is damaged", b"a result that is DAMAGED");
    image::write_file(&disk, image::PARTITION_OFFSET, "late.txt", b"late");
    assert_eq!(verification(&target, 16), differs(&["A long name/r\u{e9}sultat.csv"], &["late.txt"]));
}

/// Overwrites some bytes of a disk, wherever they are but in the start script.
fn damage(disk: &Path, old: &[u8], new: &[u8]) {
    let mut bytes = fs::read(disk).expect("the disk");
    let found: Vec<usize> = (0..bytes.len() - old.len()).filter(|&at| bytes[at..].starts_with(old)).collect();
    let at = *found.iter().find(|&&at| bytes[at - 1] != b'\'').expect("the result's content");
    bytes[at..at + new.len()].copy_from_slice(new);
    fs::write(disk, bytes).expect("the disk, damaged");
}
