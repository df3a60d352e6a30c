//! The host loses power at any instant of an upload to a directory, or to a disk image, on ext4.
//!
//! One upload is recorded, write by write and flush by flush, on a real block device. Then each state
//! in which a loss of power could have left the device is mounted, judged as a guest would see it,
//! looked at with `nlxtp`, and uploaded to once more.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::ops::Range;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::image;
use nlxtp_e2e::mounts::{LoopDevice, Mount, in_private_mounts, make_ext4};
use nlxtp_e2e::places;
use nlxtp_e2e::power_cut::{Content, Replay, Survival};
use nlxtp_e2e::process::run;
use nlxtp_e2e::recorded_disk::{RecordedDisk, Recording};
use nlxtp_e2e::tree::{Tree, difference, tree};
use nlxtp_e2e::write_log::Record;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes of the disks with ext4.
const DISK_BYTES: u64 = 24 << 20;

/// The file system gives no more than POSIX asks for: what replaces a file is not flushed for those
/// who forgot to, and data may come later than the names that lead to them.
const OPTIONS: &str = "noauto_da_alloc,data=writeback";

/// Bytes that a disk writes at once: as disks of today do. With less, ext4's own superblock is torn.
const SECTOR: usize = 4096;

/// States after each flush, besides the one that holds nothing but what was flushed: at most so many,
const VARIANTS: u64 = 8;

/// and about so many of all flushes together.
const STATES: u64 = 90;

/// A disk with ext4 to which power can be lost, and three archives.
struct Laboratory {
    folder: TempDir,
    began: Instant,
}

/// A recorded upload, and which part of the recording is about it.
type Recorded = (Recording, Range<usize>);

impl Laboratory {
    fn new() -> Self {
        let laboratory = Self { folder: places::temporary_folder("power"), began: Instant::now() };
        for version in ["old", "new", "next"] {
            laboratory.make_archive(version);
        }
        make_ext4(&laboratory.path("disk"), DISK_BYTES, &[]);
        laboratory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn archive(&self, version: &str) -> PathBuf {
        self.path(&format!("{version}.tar.gz"))
    }

    /// Files small and large that differ in each version, and some that only this one has.
    fn make_archive(&self, version: &str) {
        let content = self.path(version);
        for name in ["many", "deep/deeper", version] {
            fs::create_dir_all(content.join(name)).expect("a folder");
        }
        let write = |name: &str, bytes: usize| {
            let text = format!("{name} of {version}\n").repeat(bytes / 16 + 1);
            fs::write(content.join(name), text).expect("a file");
        };
        (0..30).for_each(|number| write(&format!("many/{number}"), 300 * number));
        write("large", 400_000);
        write("deep/deeper/file", 5000);
        write(&format!("{version}/only"), 10);
        fs::write(content.join("empty"), "").expect("a file");
        // Several start scripts: which of them runs is decided when the preferred one has come.
        for script in ["auto_exec.py", "auto_exec.sh"] {
            write(script, 100);
            fs::set_permissions(content.join(script), Permissions::from_mode(0o755)).expect("ours");
        }
        let mut tar = Command::new("tar");
        run(tar.arg("-czf").arg(self.archive(version)).arg("-C").arg(&content).arg("."), PATIENCE).success();
    }

    fn mount(&self, device: &Path) -> nix::Result<Mount> {
        Mount::ext4(device, &self.path("mnt"), OPTIONS)
    }

    /// Does something on the mounted disk, without a loss of power.
    fn on_disk<T>(&self, work: impl FnOnce(&Path) -> T) -> T {
        let device = LoopDevice::new(&self.path("disk"));
        work(self.mount(device.path()).expect("mounted").path())
    }

    /// Does the same and records it.
    fn record<T>(&self, work: impl FnOnce(&Path) -> T) -> (T, Recorded) {
        let disk = RecordedDisk::new(&self.path("disk"), self.folder.path());
        let mount = self.mount(disk.device()).expect("mounted");
        nix::unistd::syncfs(File::open(mount.path()).expect("a directory")).expect("flushed");
        let first = disk.recorded();
        let over = AtomicBool::new(false);
        let (result, end) = thread::scope(|scope| {
            scope.spawn(|| flush_often(&mount.path().join("other"), &over));
            let result = work(mount.path());
            // Before the other's last flush, which the upload must not need.
            let end = disk.recorded();
            over.store(true, Ordering::Relaxed);
            (result, end)
        });
        drop(mount);
        (result, (disk.finish(), first..end))
    }

    /// Has each state judged that a loss of power can leave of what was recorded.
    fn cut_power(
        &self,
        (recording, range): &Recorded,
        mut judge: impl FnMut(&Path) -> Result<Content, String>,
    ) -> Survival {
        let flushes = recording.records[range.clone()].iter().filter(|record| **record == Record::Flush).count();
        let variants = (STATES / (flushes as u64 + 1)).clamp(1, VARIANTS);
        let replay = Replay::new(self.folder.path(), DISK_BYTES);
        let survival = recording.judge_power_cuts(range.clone(), SECTOR, variants, |state| {
            replay.load(state);
            let mount = self.mount(replay.device()).map_err(|error| format!("it cannot be mounted: {error}"))?;
            judge(mount.path())
        });
        println!("{survival}; {:?} since the beginning", self.began.elapsed());
        survival
    }

    /// Uploads to the shared directory of a mounted disk; returns all that is in it then.
    fn upload(&self, mount: &Path, version: &str) -> Tree {
        let share = mount.join("share");
        Target::new(&share).upload(&self.archive(version), &[]);
        tree(&share, |_| true)
    }

    /// A shared directory on the disk, with an upload and what its run has left.
    fn make_directory(&self) -> Tree {
        self.on_disk(|mount| {
            let share = mount.join("share");
            fs::create_dir(&share).expect("a directory");
            self.upload(mount, "old");
            fs::create_dir(share.join("exec_status")).expect("a directory");
            fs::write(share.join("exec_status/out"), "42\n").expect("a file");
            fs::write(share.join("exec_status/done"), "").expect("a file");
            symlink("exec_status/out", share.join("link")).expect("a link");
            tree(&share, |_| true)
        })
    }
}

/// Another program on the same file system, which has its own files flushed: that brings to the disk
/// what the file system has done up to then, at moments that an upload cannot choose.
fn flush_often(path: &Path, over: &AtomicBool) {
    let file = File::create(path).expect("a file");
    for byte in 0..25 {
        if over.load(Ordering::Relaxed) {
            return;
        }
        file.write_all_at(&[byte], u64::from(byte) * 4096).and_then(|()| file.sync_all()).expect("written");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A shared directory whose content is to be one of two, and what is uploaded after that.
struct Directory<'a> {
    laboratory: &'a Laboratory,
    /// What was there before `old`, where the upload of that was cut off.
    before: &'a Tree,
    old: &'a Tree,
    new: &'a Tree,
    next: &'a str,
}

impl Directory<'_> {
    fn judge(&self, mount: &Path) -> Result<Content, String> {
        let share = mount.join("share");
        self.judge_for_guest(&share)?;
        let status = Target::new(&share).call("status", &["--json", "--no-memory"]);
        if status.code() != 0 {
            return Err(format!("no status: {status:?}"));
        }
        let found = content(&share);
        let which = match () {
            () if is_pending(&share) => return Err("the upload was not completed".into()),
            () if found == *self.old => Content::Old,
            () if found == *self.new => Content::New,
            () => return Err(format!("a mixture: {}", difference(&found, self.new))),
        };
        self.laboratory.upload(mount, self.next);
        let found = tree(&share, |name| name != "nlxtp_run_id");
        let wanted = tree(&self.laboratory.path(self.next), |_| true);
        if found != wanted {
            return Err(format!("after the next upload: {}", difference(&found, &wanted)));
        }
        Ok(which)
    }

    /// What a guest finds that starts before the host does anything: if there is a start script then
    /// all that belongs to it, and nothing else. Until the upload is complete, other start scripts
    /// may still be missing.
    fn judge_for_guest(&self, share: &Path) -> Result<(), String> {
        let found = content(share);
        let is_script = |path: &Path| path.to_str().is_some_and(|path| path.starts_with("auto_exec."));
        if !found.keys().any(|path| is_script(path)) {
            return Ok(());
        }
        let pending = is_pending(share);
        let holds = |version: &Tree| {
            let may_be_missing = |path: &Path| pending && is_script(path);
            found.iter().all(|(path, entry)| version.get(path) == Some(entry))
                && version.keys().all(|path| found.contains_key(path) || may_be_missing(path))
        };
        if [self.before, self.old, self.new].into_iter().any(holds) {
            return Ok(());
        }
        Err(format!("a start script among other content than its own: {}", difference(&found, self.new)))
    }
}

/// Everything but what an upload is about to do.
fn content(share: &Path) -> Tree {
    tree(share, |name| name != ".nlxtp_upload")
}

fn is_pending(share: &Path) -> bool {
    ["commit", "ready"].iter().any(|name| share.join(".nlxtp_upload").join(name).exists())
}

#[test]
#[ignore = "needs root, loop devices and FUSE; `make test` runs it"]
fn a_directory_holds_the_old_content_or_the_new() {
    in_private_mounts(|| {
        let laboratory = &Laboratory::new();
        let old = &laboratory.make_directory();
        let (new, recorded) = &laboratory.record(|mount| laboratory.upload(mount, "new"));
        let directory = Directory { laboratory, before: old, old, new, next: "next" };
        let survival = laboratory.cut_power(recorded, |mount| directory.judge(mount));
        assert!(survival.wrong.is_empty(), "{:#?}", survival.wrong);
        assert!(survival.flushes >= 6 && survival.contents[0] > 0, "it was recorded: {survival}");
    });
}

#[test]
#[ignore = "needs root, loop devices and FUSE; `make test` runs it"]
fn power_may_fail_again_while_an_upload_is_completed() {
    in_private_mounts(|| {
        let laboratory = &Laboratory::new();
        let before = &laboratory.make_directory();
        let (new, (recording, range)) = laboratory.record(|mount| laboratory.upload(mount, "new"));
        // Where the first loss of power came after the moment that decides, and where half is done.
        let mut cut_off: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        let replay = Replay::new(laboratory.folder.path(), DISK_BYTES);
        recording.judge_power_cuts(range, SECTOR, 0, |state| {
            replay.load(state);
            let mount = laboratory.mount(replay.device()).expect("mounted");
            for step in ["commit", "ready"] {
                if mount.path().join("share/.nlxtp_upload").join(step).exists() {
                    cut_off.entry(step).or_insert_with(|| state.to_vec());
                }
            }
            Ok(Content::New)
        });
        drop(replay);
        assert_eq!(cut_off.keys().collect::<Vec<_>>(), [&"commit", &"ready"]);
        for state in cut_off.values() {
            fs::write(laboratory.path("disk"), state).expect("written");
            let (next, recorded) = &laboratory.record(|mount| laboratory.upload(mount, "next"));
            let directory = Directory { laboratory, before, old: &new, new: next, next: "old" };
            let survival = laboratory.cut_power(recorded, |mount| directory.judge(mount));
            assert!(survival.wrong.is_empty(), "{:#?}", survival.wrong);
        }
    });
}

/// A disk image on the disk, of which `make` makes one, with an upload.
fn make_image(laboratory: &Laboratory, allocated: bool) -> Vec<u8> {
    laboratory.on_disk(|mount| {
        let image = mount.join("disk.img");
        let target = Target::create_disk(&image, &["--size", "4MiB"]);
        if allocated {
            let mut fallocate = Command::new(places::tool("fallocate"));
            run(fallocate.args(["--length", "4MiB"]).arg(&image), PATIENCE).success();
        }
        target.upload(&laboratory.archive("old"), &[]);
        fs::read(image).expect("an image")
    })
}

/// Judges a disk image that is to be one of two.
fn judge_image(laboratory: &Laboratory, mount: &Path, old: &[u8], new: &[u8]) -> Result<Content, String> {
    let path = mount.join("disk.img");
    let found = fs::read(&path).map_err(|error| format!("the image is lost: {error}"))?;
    let which = match () {
        () if found == old => Content::Old,
        () if found == new => Content::New,
        () => return Err(format!("a mixture of {} bytes", found.len())),
    };
    let target = Target::new(&path);
    target.status(&["--no-memory"]);
    target.upload(&laboratory.archive("next"), &[]);
    let script = fs::read(laboratory.path("next/auto_exec.sh")).expect("a file");
    if target.call("cat", &["auto_exec.sh"]).stdout != script {
        return Err("the next upload did not come".into());
    }
    Ok(which)
}

#[test]
#[ignore = "needs root, loop devices and FUSE; `make test` runs it"]
fn an_image_is_the_old_one_or_the_new() {
    for allocated in [false, true] {
        in_private_mounts(|| {
            let laboratory = Laboratory::new();
            let old = make_image(&laboratory, allocated);
            let (new, recorded) = laboratory.record(|mount| {
                let image = mount.join("disk.img");
                Target::new(&image).upload(&laboratory.archive("new"), &[]);
                fs::read(image).expect("an image")
            });
            for (name, image) in [("old image", &old), ("new image", &new)] {
                fs::write(laboratory.path(name), image).expect("a file");
                image::check(&laboratory.path(name), image::PARTITION_OFFSET);
            }
            let judge = |mount: &Path| judge_image(&laboratory, mount, &old, &new);
            let survival = laboratory.cut_power(&recorded, judge);
            assert!(survival.wrong.is_empty(), "{:#?}", survival.wrong);
            assert!(survival.flushes >= 2 && survival.contents[0] > 0, "it was recorded: {survival}");
        });
    }
}

/// The same judges condemn what looks right as long as the power stays on.
#[test]
#[ignore = "needs root, loop devices and FUSE; `make test` runs it"]
fn naive_uploads_are_found_out() {
    in_private_mounts(|| {
        let laboratory = &Laboratory::new();
        let shell = |mount: &Path, script: &str| {
            let mut shell = Command::new("sh");
            shell.current_dir(mount).args(["-euc", script, "sh"]).arg(laboratory.archive("new"));
            run(shell.arg(laboratory.path("new image")), PATIENCE).success();
        };
        let old = &laboratory.make_directory();
        let old_image = make_image(laboratory, false);
        laboratory.on_disk(|mount| fs::copy(mount.join("disk.img"), laboratory.path("new image")).expect("a copy"));
        Target::new(&laboratory.path("new image")).upload(&laboratory.archive("new"), &[]);
        let new_image = fs::read(laboratory.path("new image")).expect("an image");

        let disk = fs::read(laboratory.path("disk")).expect("the disk");
        let record = |script: &str| {
            fs::write(laboratory.path("disk"), &disk).expect("the disk");
            laboratory.record(|mount| {
                shell(mount, script);
                content(&mount.join("share"))
            })
        };
        let is_found_out = |script: &str, survival: &Survival| {
            let is_ours = |wrong: &String| !wrong.contains("cannot be mounted");
            assert!(survival.wrong.iter().any(is_ours), "{script}: {survival}: {:#?}", survival.wrong);
        };

        let unpack =
            "rm -r share/*; echo 0123456789abcdef0123456789abcdef >share/nlxtp_run_id; tar -xzf \"$1\" -C share";
        for script in [unpack.to_owned(), format!("{unpack}; sync -f ."), unpack.replace(';', "; sync -f .;")] {
            let (new, recorded) = &record(&script);
            let directory = Directory { laboratory, before: old, old, new, next: "next" };
            is_found_out(&script, &laboratory.cut_power(recorded, |mount| directory.judge(mount)));
        }
        for script in [
            "cat \"$2\" >disk.img",
            "cat \"$2\" >disk.img; sync disk.img",
            // Somebody else's flush brings the new name to the disk, and not what it leads to.
            "cat \"$2\" >new.img; mv new.img disk.img; touch third; sync third",
        ] {
            let (_, recorded) = record(script);
            let judge = |mount: &Path| judge_image(laboratory, mount, &old_image, &new_image);
            is_found_out(script, &laboratory.cut_power(&recorded, judge));
        }
    });
}
