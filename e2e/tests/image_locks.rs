//! Taking turns, with real QEMU processes and real uploads at the same time: whoever comes second is
//! refused, and never are there two who write.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::image::{self, PARTITION_OFFSET};
use nlxtp_e2e::mounts::LoopDevice;
use nlxtp_e2e::process::{run, wait_for_exit};
use nlxtp_e2e::{Initramfs, Vm, VmOptions, places};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// Exit code of `nlxtp` where somebody else uses the target.
const IN_USE: i32 = 5;

/// See `nlxtp_host::fat::UNFINISHED`.
const UNFINISHED: &[u8] = b"nlxtp: an upload to this disk is under way or was cut off\n";

/// Long enough to write for an upload to be caught at it.
const LARGE: usize = 32 << 20;

/// What is uploaded to.
enum Place {
    Image,
    Directory,
    BlockDevice(LoopDevice),
}

struct Scenario {
    folder: TempDir,
    place: Place,
    target: Target,
}

impl Scenario {
    fn image() -> Self {
        let folder = places::temporary_folder("locks");
        let target = Target::create_disk(&folder.path().join("disk.img"), &["--size", "64MiB"]);
        Self { folder, place: Place::Image, target }
    }

    fn directory() -> Self {
        let folder = places::temporary_folder("locks");
        let share = folder.path().join("share");
        fs::create_dir(&share).expect("made");
        Self { target: Target::new(&share), folder, place: Place::Directory }
    }

    fn block_device() -> Self {
        let folder = places::temporary_folder("locks");
        let file = folder.path().join("device.img");
        Target::create_disk(&file, &["--size", "64MiB"]);
        let device = LoopDevice::new(&file);
        Self { folder, target: Target::new(device.path()), place: Place::BlockDevice(device) }
    }

    fn each() -> [Self; 3] {
        [Self::image(), Self::directory(), Self::block_device()]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What QEMU takes as its disk.
    fn disk(&self) -> PathBuf {
        match &self.place {
            Place::BlockDevice(device) => device.path().to_path_buf(),
            _ => self.path("disk.img"),
        }
    }

    /// A machine with this disk that stands still: its program does not matter here.
    fn machine(&self) -> VmOptions {
        VmOptions::new(Initramfs::Busybox).disk(&self.disk()).paused()
    }

    /// An archive whose file `content` holds this byte so many times.
    fn archive(&self, byte: u8, length: usize) -> String {
        let content = self.path("content");
        fs::create_dir(&content).expect("made");
        fs::write(content.join("auto_exec.sh"), [byte]).expect("written");
        fs::write(content.join("content"), vec![byte; length]).expect("written");
        let archive = self.path(&format!("{}-{length}.tar", char::from(byte)));
        let mut tar = Command::new("tar");
        run(tar.arg("-cf").arg(&archive).arg("-C").arg(&content).arg("."), PATIENCE).success();
        fs::remove_dir_all(&content).expect("removed");
        archive.into_os_string().into_string().expect("a path of ours")
    }

    /// Whether an upload is writing at this moment.
    fn is_being_written(&self) -> bool {
        match &self.place {
            Place::Image => {
                let names = fs::read_dir(self.folder.path()).expect("read").flatten().map(|entry| entry.file_name());
                names.into_iter().any(|name| name.to_string_lossy().starts_with(".disk.img.nlxtp-upload-"))
            }
            Place::Directory => self.path("share/.nlxtp_upload/new").exists(),
            Place::BlockDevice(device) => {
                let mut start = [0; UNFINISHED.len()];
                let device = fs::File::open(device.path()).expect("opened");
                device.read_exact_at(&mut start, PARTITION_OFFSET).is_ok_and(|()| start == *UNFINISHED)
            }
        }
    }

    /// Begins an upload and stops its process in the middle of the writing.
    fn stopped_upload(&self, archive: &str) -> Child {
        for _ in 0..20 {
            let mut upload = self.target.begin("upload", &[archive]);
            while !self.is_being_written() && upload.try_wait().expect("waited").is_none() {}
            send(&upload, Signal::SIGSTOP);
            // It may have come to its end just before.
            if upload.try_wait().expect("waited").is_none() && self.is_being_written() {
                return upload;
            }
            send(&upload, Signal::SIGCONT);
            assert_eq!(end(upload).0, 0);
        }
        panic!("no upload could be stopped in the middle");
    }

    #[track_caller]
    fn assert_holds(&self, byte: u8, length: usize) {
        assert_eq!(self.target.call("cat", &["auto_exec.sh"]).success().stdout, [byte]);
        let content = self.target.call("cat", &["content"]).success().stdout;
        assert!(content.len() == length && content.iter().all(|&found| found == byte), "all of one upload");
    }
}

fn send(process: &Child, signal: Signal) {
    let process = Pid::from_raw(i32::try_from(process.id()).expect("a process id"));
    kill(process, signal).expect("our own child");
}

/// A process's exit code, and what it said.
fn end(mut process: Child) -> (i32, String) {
    let status = wait_for_exit(&mut process, PATIENCE).expect("it ends");
    let mut said = String::new();
    process.stderr.take().expect("piped").read_to_string(&mut said).expect("read");
    (status.code().unwrap_or(-1), said)
}

#[test]
#[ignore = "needs root, loop devices and QEMU; `make test` runs it"]
fn qemu_does_not_start_while_an_upload_writes() {
    for scenario in [Scenario::image(), Scenario::block_device()] {
        let archive = scenario.archive(b'n', LARGE);
        let upload = scenario.stopped_upload(&archive);
        let said = Vm::try_start(&scenario.machine()).err().expect("QEMU refuses to start");
        assert!(said.contains("lock"), "it says why: {said}");
        send(&upload, Signal::SIGCONT);
        let (code, said) = end(upload);
        assert_eq!(code, 0, "QEMU did not disturb the upload: {said}");
        drop(Vm::start(&scenario.machine()));
        scenario.assert_holds(b'n', LARGE);
    }
}

#[test]
#[ignore = "needs root, loop devices and QEMU; `make test` runs it"]
fn an_upload_is_refused_while_qemu_holds_a_block_device() {
    let scenario = Scenario::block_device();
    scenario.target.upload(Path::new(&scenario.archive(b'o', 1000)), &[]);
    let vm = Vm::start(&scenario.machine());
    let archive = scenario.archive(b'n', 1000);
    // A wrong word, a right one, and none.
    for power in ["off", "on", "unknown"] {
        let refused = scenario.target.call("upload", &[&archive, "--guest-power", power]);
        assert_eq!(refused.code(), IN_USE, "{power}: {refused:?}");
    }
    drop(vm);
    scenario.assert_holds(b'o', 1000);
    scenario.target.upload(Path::new(&archive), &[]);
    scenario.assert_holds(b'n', 1000);
}

#[test]
#[ignore = "needs root, loop devices and QEMU; `make test` runs it"]
fn qemu_that_starts_when_an_upload_ends_has_the_new_image() {
    const ROUNDS: u32 = 10;
    let scenario = Scenario::image();
    let archives = [b'a', b'b'].map(|byte| (byte, scenario.archive(byte, LARGE)));
    scenario.target.upload(Path::new(&archives[0].1), &[]);
    let began = Instant::now();
    drop(Vm::start(&scenario.machine()));
    let start = began.elapsed();
    let mut refused = 0;
    for round in 0..ROUNDS {
        let (byte, archive) = &archives[(round as usize + 1) % 2];
        let upload = scenario.stopped_upload(archive);
        // From before QEMU looks at the image to after that.
        let going_on = start * round * 3 / (ROUNDS * 2);
        let (vm, upload) = thread::scope(|scope| {
            let upload = scope.spawn(move || {
                thread::sleep(going_on);
                send(&upload, Signal::SIGCONT);
                end(upload)
            });
            (Vm::try_start(&scenario.machine()), upload.join().expect("no panic"))
        });
        assert_eq!(upload.0, 0, "{}", upload.1);
        match vm {
            Ok(vm) => assert!(has_open(&vm, &scenario.disk()), "QEMU has the new image, not one that is gone"),
            Err(said) => {
                assert!(said.contains("lock"), "{said}");
                refused += 1;
            }
        }
        scenario.assert_holds(*byte, LARGE);
    }
    println!("of {ROUNDS} starts of QEMU {refused} were refused");
    assert!((1..ROUNDS).contains(&refused), "some came too early, and some did not");
}

/// Whether QEMU has this very file open.
fn has_open(vm: &Vm, image: &Path) -> bool {
    let image = fs::metadata(image).expect("there");
    let open = fs::read_dir(format!("/proc/{}/fd", vm.process_id())).expect("listed");
    open.flatten()
        .filter_map(|entry| fs::metadata(entry.path()).ok())
        .any(|found| (found.dev(), found.ino()) == (image.dev(), image.ino()))
}

#[test]
#[ignore = "needs root, loop devices and QEMU; `make test` runs it"]
fn a_second_upload_is_refused_while_the_first_one_writes() {
    for scenario in Scenario::each() {
        let first = scenario.archive(b'1', LARGE);
        let second = scenario.archive(b'2', 1000);
        let upload = scenario.stopped_upload(&first);
        let refused = scenario.target.call("upload", &[&second, "--force"]);
        assert_eq!(refused.code(), IN_USE, "{refused:?}");
        send(&upload, Signal::SIGCONT);
        let (code, said) = end(upload);
        assert_eq!(code, 0, "the second did not disturb the first: {said}");
        scenario.assert_holds(b'1', LARGE);
        scenario.target.upload(Path::new(&second), &[]);
        scenario.assert_holds(b'2', 1000);
    }
}

#[test]
#[ignore = "needs root, loop devices and QEMU; `make test` runs it"]
fn of_two_uploads_at_the_same_time_one_or_both_count() {
    const LENGTH: usize = 4 << 20;
    for scenario in Scenario::each() {
        let archives = [b'a', b'b'].map(|byte| (byte, scenario.archive(byte, LENGTH)));
        scenario.target.upload(Path::new(&archives[0].1), &[]);
        let (mut refused, mut both) = (0, 0);
        for round in 0..25 {
            let uploads = [0, 1].map(|which| {
                // The second comes a little later each time.
                thread::sleep(Duration::from_millis(if which == 1 { round % 10 * 4 } else { 0 }));
                scenario.target.begin("upload", &[&archives[which].1])
            });
            let ended = uploads.map(end);
            let succeeded: Vec<u8> =
                archives.iter().zip(&ended).filter(|(_, end)| end.0 == 0).map(|(a, _)| a.0).collect();
            for (code, said) in &ended {
                assert!(*code == 0 || *code == IN_USE, "{code}: {said}");
                refused += usize::from(*code == IN_USE);
            }
            let last = scenario.target.call("cat", &["auto_exec.sh"]).success().stdout;
            assert!(succeeded.contains(&last[0]), "the content is of one that succeeded: {ended:?}");
            scenario.assert_holds(last[0], LENGTH);
            both += usize::from(succeeded.len() == 2);
        }
        println!("{}: {refused} refused, {both} times one after the other", scenario.target.path().display());
        assert!(refused > 0, "they have met");
        if let Place::BlockDevice(_) | Place::Image = scenario.place {
            image::check(&scenario.disk(), PARTITION_OFFSET);
        }
    }
}
