//! Disks that need root to be made: block devices, and images of other owners.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::image;
use nlxtp_e2e::mounts::LoopDevice;
use nlxtp_e2e::places;
use nlxtp_e2e::process::run;
use tempfile::TempDir;

/// See `nlxtp_host::fat::UNFINISHED`.
const UNFINISHED: &[u8] = b"nlxtp: an upload to this disk is under way or was cut off\n";

const PATIENCE: Duration = Duration::from_secs(60);

struct Scenario {
    folder: TempDir,
}

impl Scenario {
    fn new() -> Self {
        Self { folder: places::temporary_folder("disks") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An archive with this start script, and a file of 3 MiB.
    fn archive(&self, name: &str, script: &str) -> PathBuf {
        let content = self.path(name);
        fs::create_dir(&content).expect("made");
        fs::write(content.join("auto_exec.sh"), script).expect("written");
        fs::write(content.join("large"), vec![7; 3 << 20]).expect("written");
        let archive = self.path(&format!("{name}.tar.gz"));
        let mut tar = Command::new("tar");
        run(tar.arg("-czf").arg(&archive).arg("-C").arg(&content).arg("."), PATIENCE).success();
        archive
    }
}

#[test]
#[ignore = "needs root and loop devices; `make test` runs it"]
fn a_block_device_is_written_and_read() {
    let scenario = Scenario::new();
    let file = scenario.path("device.img");
    Target::create_disk(&file, &["--size", "32MiB", "--label", "TESTBED"]);
    let device = LoopDevice::new(&file);
    let target = Target::new(device.path());
    target.upload(&scenario.archive("first", "echo first"), &[]);
    target.upload(&scenario.archive("second", "echo second"), &[]);
    assert_eq!(target.call("cat", &["auto_exec.sh"]).success().text(), "echo second");
    assert_eq!(target.status(&[])["state"], "not-started");
    let download = scenario.path("download.tar");
    target.download(&download);
    let listed = run(Command::new("tar").arg("-tf").arg(&download), PATIENCE).success().text();
    assert_eq!(listed, "./\n./auto_exec.sh\n./large\n./nlxtp_run_id\n");

    drop(device);
    image::check(&file, image::PARTITION_OFFSET);
    let label = run(Command::new("mlabel").arg("-s").arg("-i").arg(format!("{}@@1M", file.display())), PATIENCE);
    assert!(label.success().text().contains("TESTBED"), "the label is kept");
}

#[test]
#[ignore = "needs root and loop devices; `make test` runs it"]
fn a_block_device_that_something_else_holds_is_refused() {
    let scenario = Scenario::new();
    let file = scenario.path("device.img");
    Target::create_disk(&file, &["--size", "8MiB"]);
    let device = LoopDevice::new(&file);
    let before = fs::read(&file).expect("read");
    // As a mounted file system or a device-mapper target would hold it.
    let exclusive = {
        use std::os::unix::fs::OpenOptionsExt;
        const O_EXCL: i32 = 0o200;
        fs::File::options().read(true).custom_flags(O_EXCL).open(device.path()).expect("held")
    };
    let archive = scenario.archive("archive", "true");
    let refused = Target::new(device.path()).call("upload", &[archive.to_str().expect("a path of ours")]);
    assert_eq!(refused.code(), 5, "{refused:?}");
    assert!(fs::read(&file).expect("read") == before, "nothing was touched");
    drop(exclusive);
    Target::new(device.path()).upload(&archive, &[]);
}

#[test]
#[ignore = "needs root and loop devices; `make test` runs it"]
fn an_upload_to_a_block_device_that_was_cut_off_is_repeated() {
    let scenario = Scenario::new();
    let archive = scenario.archive("archive", "true");
    let archive = archive.to_str().expect("a path of ours");
    let partitioned = scenario.path("partitioned.img");
    Target::create_disk(&partitioned, &["--size", "32MiB"]);
    let bare = scenario.path("bare.img");
    image::make_bare_fat(&bare, 32 << 20, "BARE");
    for (file, offset) in [(partitioned, image::PARTITION_OFFSET), (bare, 0)] {
        // What the first step of an upload leaves, before anything else is written.
        let device = LoopDevice::new(&file);
        let mut page = vec![0; 4096];
        page[..UNFINISHED.len()].copy_from_slice(UNFINISHED);
        let disk = fs::File::options().write(true).open(device.path()).expect("opened");
        disk.write_all_at(&page, offset).and_then(|()| disk.sync_all()).expect("written");
        drop(disk);
        let target = Target::new(device.path());
        let refused = target.call("status", &[]);
        assert_eq!(refused.code(), 4, "{refused:?}");
        assert!(refused.error_text().contains("upload again"), "{refused:?}");
        target.call("upload", &[archive]).success();
        assert_eq!(target.call("cat", &["auto_exec.sh"]).success().text(), "true");
        drop(device);
        image::check(&file, offset);
    }
}

#[test]
#[ignore = "needs root and loop devices; `make test` runs it"]
fn an_image_of_another_owner_stays_so() {
    let scenario = Scenario::new();
    let file = scenario.path("disk.img");
    let target = Target::create_disk(&file, &["--size", "8MiB"]);
    chown(&file, Some(1234), Some(4321)).expect("root may");
    target.upload(&scenario.archive("archive", "true"), &[]);
    let found = fs::metadata(&file).expect("there");
    assert_eq!((found.uid(), found.gid()), (1234, 4321));
}

#[test]
#[ignore = "needs root and loop devices; `make test` runs it"]
fn a_directory_gives_its_owner_to_what_is_uploaded() {
    let scenario = Scenario::new();
    let share = scenario.path("share");
    fs::create_dir(&share).expect("made");
    chown(&share, Some(100_000), Some(100_000)).expect("root may");
    Target::new(&share).upload(&scenario.archive("archive", "true"), &[]);
    for name in ["auto_exec.sh", "large", "nlxtp_run_id"] {
        let found = fs::metadata(share.join(name)).expect("there");
        assert_eq!((found.uid(), found.gid()), (100_000, 100_000), "{name}");
    }
}
