//! The host loses power at any instant of an upload to a block device, which is written in place.
//!
//! There is no old content to fall back on. But what is there afterwards is a whole file system, the
//! old or the new, or is known for an upload that was cut off, by us and by whoever would mount it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::image;
use nlxtp_e2e::mounts::{LoopDevice, in_private_mounts};
use nlxtp_e2e::places;
use nlxtp_e2e::power_cut::{Content, Replay, Survival};
use nlxtp_e2e::process::run;
use nlxtp_e2e::recorded_disk::RecordedDisk;
use nlxtp_e2e::tree::{Tree, difference, tree};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);

/// See `nlxtp_host::fat::UNFINISHED`.
const UNFINISHED: &[u8] = b"nlxtp: an upload to this disk is under way or was cut off\n";

/// Bytes that a disk writes at once.
const SECTOR: usize = 512;

/// States after each flush, besides the one that holds nothing but what was flushed.
const VARIANTS: u64 = 8;

/// A disk, where its file system begins, and three archives.
struct Laboratory {
    folder: TempDir,
    offset: u64,
    began: Instant,
}

impl Laboratory {
    fn new(offset: u64, make_disk: impl FnOnce(&Path)) -> Self {
        let laboratory = Self { folder: places::temporary_folder("device"), offset, began: Instant::now() };
        for version in ["old", "new", "next"] {
            laboratory.make_archive(version);
        }
        make_disk(&laboratory.path("disk"));
        laboratory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn archive(&self, version: &str) -> PathBuf {
        self.path(&format!("{version}.tar.gz"))
    }

    fn make_archive(&self, version: &str) {
        let content = self.path(version);
        fs::create_dir_all(content.join("deep/deeper")).expect("a folder");
        let write = |name: &str, bytes: usize| {
            let text = format!("{name} of {version}\n").repeat(bytes / 16 + 1);
            fs::write(content.join(name), text).expect("a file");
        };
        (0..20).for_each(|number| write(&format!("a file with number {number} of {version}"), 300 * number));
        write("auto_exec.sh", 5000);
        write("large", 700_000);
        write("deep/deeper/file", 9000);
        let mut tar = Command::new("tar");
        run(tar.arg("-czf").arg(self.archive(version)).arg("-C").arg(&content).arg("."), PATIENCE).success();
    }

    /// What mtools find on a disk.
    fn content(&self, disk: &Path) -> Result<Tree, String> {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a folder");
        let mut mcopy = Command::new(places::tool("mcopy"));
        mcopy.env("MTOOLS_SKIP_CHECK", "1").env("MTOOLSRC", "/dev/null");
        mcopy.arg("-i").arg(format!("{}@@{}", disk.display(), self.offset));
        let copied = run(mcopy.args(["-s", "-m", "-n", "::/"]).arg(folder.path()), PATIENCE);
        match copied.status.success() {
            true => Ok(tree(folder.path(), |_| true)),
            false => Err(copied.error_text()),
        }
    }

    /// Records what `upload` does to the disk, and judges each state that a loss of power can leave.
    fn cut_power_during(&self, upload: impl FnOnce(&Path)) -> Survival {
        let disk = RecordedDisk::new(&self.path("disk"), self.folder.path());
        let old = self.content(disk.device()).expect("an old content");
        let first = disk.recorded();
        upload(disk.device());
        let end = disk.recorded();
        let new = self.content(disk.device()).expect("a new content");
        assert!(old != new && !old.is_empty());
        let recording = disk.finish();
        let replay = Replay::new(self.folder.path(), recording.base.len() as u64);
        let survival = recording.judge_power_cuts(first..end, SECTOR, VARIANTS, |state| {
            replay.load(state);
            self.judge(replay.device(), &old, &new)
        });
        println!("{survival}; {:?} since the beginning", self.began.elapsed());
        survival
    }

    fn judge(&self, device: &Path, old: &Tree, new: &Tree) -> Result<Content, String> {
        let target = Target::new(device);
        let status = target.call("status", &["--no-memory"]);
        let mut start = [0; UNFINISHED.len()];
        File::open(device).and_then(|device| device.read_exact_at(&mut start, self.offset)).expect("the device");
        let which = if start == *UNFINISHED {
            if status.code() != 4 || !status.error_text().contains("upload again") {
                return Err(format!("not known for unfinished: {status:?}"));
            }
            if self.judge_file_system(device).is_ok() {
                return Err("unfinished, and still a file system".into());
            }
            Content::Unfinished
        } else {
            self.judge_file_system(device)?;
            let found = self.content(device)?;
            match () {
                () if status.code() != 0 => return Err(format!("no status: {status:?}")),
                () if found == *old => Content::Old,
                () if found == *new => Content::New,
                () => return Err(format!("a mixture: {}", difference(&found, new))),
            }
        };
        target.upload(&self.archive("next"), &[]);
        self.judge_file_system(device)?;
        let script = fs::read(self.path("next/auto_exec.sh")).expect("a file");
        match target.call("cat", &["auto_exec.sh"]).stdout == script {
            true => Ok(which),
            false => Err("the next upload did not come".into()),
        }
    }

    fn judge_file_system(&self, device: &Path) -> Result<(), String> {
        let disk = fs::read(device).expect("the device");
        let partition = self.path("partition");
        fs::write(&partition, &disk[usize::try_from(self.offset).expect("small")..]).expect("a file");
        let checked = run(Command::new(places::tool("fsck.vfat")).arg("-n").arg(&partition), PATIENCE);
        if checked.status.success() { Ok(()) } else { Err(format!("a damaged file system: {}", checked.text())) }
    }
}

fn survives(laboratory: &Laboratory) {
    let survival = laboratory.cut_power_during(|device| Target::new(device).upload(&laboratory.archive("new"), &[]));
    assert!(survival.wrong.is_empty(), "{:#?}", survival.wrong);
    assert!(survival.contents.iter().all(|&states| states > 0), "each can be seen: {survival}");
}

#[test]
#[ignore = "needs root, loop devices and FUSE; `make test` runs it"]
fn a_block_device_holds_a_whole_file_system_or_says_that_it_does_not() {
    in_private_mounts(|| {
        let laboratory = Laboratory::new(image::PARTITION_OFFSET, |disk| {
            Target::create_disk(disk, &["--size", "8MiB"]);
        });
        let device = LoopDevice::new(&laboratory.path("disk"));
        Target::new(device.path()).upload(&laboratory.archive("old"), &[]);
        drop(device);
        survives(&laboratory);
    });
}

#[test]
#[ignore = "needs root, loop devices and FUSE; `make test` runs it"]
fn so_does_one_that_somebody_else_has_formatted() {
    for (kind, bytes) in [("16", 8 << 20), ("32", 36 << 20)] {
        in_private_mounts(|| {
            let laboratory = Laboratory::new(0, |disk| {
                File::create(disk).and_then(|disk| disk.set_len(bytes)).expect("a disk");
                let mut mkfs = Command::new(places::tool("mkfs.vfat"));
                run(mkfs.args(["-F", kind, "-s", "1"]).arg(disk), PATIENCE).success();
                image::write_file(disk, 0, "auto_exec.sh", &[b'#'; 9000]);
                image::write_file(disk, 0, "large", &[b'7'; 900_000]);
            });
            survives(&laboratory);
        });
    }
}

/// The same judge condemns what looks right as long as the power stays on.
#[test]
#[ignore = "needs root, loop devices and FUSE; `make test` runs it"]
fn naive_writing_is_found_out() {
    in_private_mounts(|| {
        let laboratory = Laboratory::new(image::PARTITION_OFFSET, |disk| {
            Target::create_disk(disk, &["--size", "8MiB"]);
        });
        let new = laboratory.path("new image");
        fs::copy(laboratory.path("disk"), &new).expect("a copy");
        for (version, image) in [("old", laboratory.path("disk")), ("new", new.clone())] {
            Target::new(&image).upload(&laboratory.archive(version), &[]);
        }
        let survival = laboratory.cut_power_during(|device| {
            let mut dd = Command::new("dd");
            dd.arg(format!("if={}", new.display())).arg(format!("of={}", device.display()));
            run(dd.args(["bs=1M", "conv=fsync"]), PATIENCE).success();
        });
        let is_found_out = |how: &str| survival.wrong.iter().any(|wrong| wrong.contains(how));
        assert!(is_found_out("a damaged file system"), "{:#?}", survival.wrong);
    });
}
