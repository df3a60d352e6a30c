//! What is kept open between two looks never changes what a look sees: after each of many changes, a
//! directory or disk that is kept open tells the same as one that is opened at that moment.

mod archives;
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stores;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use archives::{SCRIPT, archive};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::mkfifo;
use nlxtp_host::control::Control;
use nlxtp_host::error::Error;
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::{DiskImage, DiskOptions, HostDirectory};
use rextfv_core::ids::RunId;
use rextfv_core::liveness::State;
use rextfv_core::shared_directory::SharedDirectory;
use rextfv_core::status::Status;
use rextfv_core::status_codec;
use rextfv_core::status_reader::{Found, Reading, StatusReader, read_status};
use stores::{Partition, mounted, running};

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

const RUN: RunId = RunId::from_bytes([1; 16]);

fn record(sequence: u64, custom_bytes: usize) -> Vec<u8> {
    let status = Status { run: Some(RUN), custom: Some(vec![b'c'; custom_bytes]), ..running(sequence) };
    status_codec::encode(&status).unwrap()
}

/// A slot as guests make them, with filling behind the record.
fn slot(sequence: u64, custom_bytes: usize) -> Vec<u8> {
    let mut slot = record(sequence, custom_bytes);
    slot.resize(slot.len().max(8192).next_power_of_two(), 0);
    slot
}

/// A shared directory that is kept open, and the same opened for each look.
struct Pair<D> {
    kept: D,
    reader: StatusReader,
    open: Box<dyn Fn() -> Result<D, Error>>,
}

type Seen = Result<Found, String>;

impl<D: SharedDirectory<Error = Error>> Pair<D> {
    fn new(open: impl Fn() -> Result<D, Error> + 'static) -> Self {
        let kept = open().unwrap();
        assert!(kept.keep_open(true) > 0);
        Self { kept, reader: StatusReader::default().remembering_all(), open: Box::new(open) }
    }

    /// Looks both ways, twice, and returns what was seen.
    fn look(&mut self, after: &str) -> Seen {
        let fresh = (self.open)().and_then(|fresh| read_status(&mut *fresh.view()?)).map_err(|error| error.to_string());
        for time in ["first", "second"] {
            let reader = &mut self.reader;
            let kept = self.kept.view().and_then(|mut view| reader.read(&mut *view)).map_err(|error| error.to_string());
            assert_eq!(kept, fresh, "{time} look after: {after}");
        }
        fresh
    }
}

fn is_record(seen: &Seen) -> bool {
    matches!(seen, Ok(Found { reading: Reading::Record(_), .. }))
}

fn sequence(seen: &Seen) -> Option<u64> {
    match seen {
        Ok(Found { reading: Reading::Record(status), .. }) => Some(status.sequence),
        _ => None,
    }
}

/// A container's directory, as its guest sees it.
struct Guest {
    scratch: tempfile::TempDir,
    sequence: u64,
}

/// What a guest, its root or the host may do to a directory between two looks.
const DIRECTORY_CHANGES: [&str; 20] = [
    "a heartbeat",
    "a long record",
    "a record cut off",
    "a slot replaced",
    "a slot removed",
    "a slot replaced by a link",
    "a slot replaced by a FIFO",
    "a slot replaced by a device",
    "a slot replaced by a directory",
    "a slot moved to the other one",
    "the status directory replaced",
    "the status directory replaced by a link to itself",
    "the status directory replaced by a FIFO",
    "the status directory removed",
    "the run id changed",
    "the run id replaced",
    "the run id removed",
    "the shared directory replaced",
    "an upload",
    "an upload cut off when its content counted",
];

impl Guest {
    fn new() -> Self {
        let guest = Self { scratch: tempfile::tempdir().unwrap(), sequence: 1 };
        guest.fill(&guest.root());
        guest
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("shared")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// A run that is under way.
    fn fill(&self, root: &Path) {
        fs::create_dir_all(root.join("exec_status")).unwrap();
        fs::write(root.join("nlxtp_run_id"), format!("{RUN}\n")).unwrap();
        fs::write(root.join("exec_status/status.0"), slot(self.sequence, 100)).unwrap();
        fs::write(root.join("exec_status/status.1"), slot(self.sequence + 1, 100)).unwrap();
    }

    /// Moves what is in the way to where nobody looks, so that it stays in use.
    fn move_away(&self, name: &str) {
        let away = self.scratch.path().join(format!("away-{}", self.sequence));
        let _ = fs::remove_dir_all(&away).or_else(|_| fs::remove_file(&away));
        let _ = fs::rename(self.path(name), away);
    }

    fn change(&mut self, change: &str, random: &mut Random) {
        self.sequence += 2;
        let name = ["exec_status/status.0", "exec_status/status.1"][random.below(2)];
        let path = self.path(name);
        let fifo = |path: &Path| {
            // The directory may be gone, which is a change too.
            let _ = mkfifo(path, Mode::S_IRWXU);
        };
        match change {
            "a heartbeat" => {
                // In place, as our guest does it.
                if let Ok(file) = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&path) {
                    let _ = file.write_all_at(&record(self.sequence, 100), 0);
                }
            }
            "a long record" => write_anew(&path, &slot(self.sequence, 100_000)),
            "a record cut off" => write_anew(&path, &record(self.sequence, 5000)[..3000]),
            "a slot replaced" => {
                let other = self.scratch.path().join("new");
                fs::write(&other, slot(self.sequence, 10)).unwrap();
                let _ = fs::rename(other, &path);
            }
            "a slot removed" => drop(fs::remove_file(&path)),
            "a slot replaced by a link" => {
                let outside = self.scratch.path().join("outside");
                fs::write(&outside, slot(self.sequence + 1000, 10)).unwrap();
                self.move_away(name);
                let _ = symlink(outside, &path);
            }
            "a slot replaced by a FIFO" => {
                self.move_away(name);
                fifo(&path);
            }
            "a slot replaced by a device" => {
                self.move_away(name);
                // Only root can; others leave nothing there, which is a change too.
                let _ = mknod(&path, SFlag::S_IFCHR, Mode::S_IRWXU, nix::sys::stat::makedev(1, 5));
            }
            "a slot replaced by a directory" => {
                self.move_away(name);
                let _ = fs::create_dir(&path);
            }
            "a slot moved to the other one" => {
                let _ = fs::rename(self.path("exec_status/status.0"), self.path("exec_status/status.1"));
            }
            "the status directory replaced" => {
                self.move_away("exec_status");
                self.fill(&self.root());
            }
            "the status directory replaced by a link to itself" => {
                let away = self.scratch.path().join(format!("linked-{}", self.sequence));
                let _ = fs::rename(self.path("exec_status"), &away);
                let _ = symlink(away, self.path("exec_status"));
            }
            "the status directory replaced by a FIFO" => {
                self.move_away("exec_status");
                fifo(&self.path("exec_status"));
            }
            "the status directory removed" => self.move_away("exec_status"),
            "the run id changed" => fs::write(self.path("nlxtp_run_id"), format!("{}\n", "ab".repeat(16))).unwrap(),
            "the run id replaced" => {
                let other = self.scratch.path().join("new");
                fs::write(&other, format!("{RUN}\n")).unwrap();
                fs::rename(other, self.path("nlxtp_run_id")).unwrap();
            }
            "the run id removed" => drop(fs::remove_file(self.path("nlxtp_run_id"))),
            "the shared directory replaced" => {
                fs::rename(self.root(), self.scratch.path().join(format!("shared-{}", self.sequence))).unwrap();
                self.fill(&self.root());
            }
            "an upload" => {
                let mut node = Node::new(HostDirectory::open(self.root()).unwrap());
                node.upload(&mut archive(&[SCRIPT]), &Control::none()).unwrap();
            }
            "an upload cut off when its content counted" => {
                let commit = self.path(".nlxtp_upload/commit");
                fs::create_dir_all(&commit).unwrap();
                fs::write(commit.join("nlxtp_run_id"), format!("{}\n", "cd".repeat(16))).unwrap();
            }
            other => panic!("{other}"),
        }
    }

    /// Undoes whatever was done.
    fn heal(&mut self) {
        self.sequence += 2;
        for name in ["exec_status", "nlxtp_run_id", ".nlxtp_upload"] {
            self.move_away(name);
            self.sequence += 1;
        }
        self.fill(&self.root());
    }
}

/// What a shell does to write a file, but not through links, and without waiting for who reads a FIFO.
fn write_anew(path: &Path, content: &[u8]) {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW);
    // What stands there now may be nothing that can be written.
    let _ = options.open(path).and_then(|mut file| file.write_all(content));
}

fn pair_of(guest: &Guest) -> Pair<HostDirectory> {
    let root = guest.root();
    Pair::new(move || HostDirectory::open(&root))
}

#[test]
fn a_kept_directory_sees_what_a_fresh_one_sees() {
    let mut random = Random(0x5eed);
    for _ in 0..4 {
        let mut guest = Guest::new();
        let mut pair = pair_of(&guest);
        assert!(is_record(&pair.look("nothing")));
        for _ in 0..50 {
            let change = DIRECTORY_CHANGES[random.below(DIRECTORY_CHANGES.len())];
            guest.change(change, &mut random);
            let _ = pair.look(change);
            if random.below(3) == 0 {
                guest.heal();
                assert!(is_record(&pair.look("healing")));
            }
        }
    }
}

#[test]
fn names_that_were_trusted_are_looked_at_again_once_they_change() {
    let mut random = Random(0xfeed);
    let mut all: Vec<_> = DIRECTORY_CHANGES
        .into_iter()
        .map(|change| {
            let guest = Guest::new();
            let pair = pair_of(&guest);
            (change, guest, pair)
        })
        .collect();
    // Old enough for a change to show in the directories' times.
    sleep(Duration::from_millis(4500));
    for (_, _, pair) in &mut all {
        assert!(is_record(&pair.look("nothing")));
        assert!(is_record(&pair.look("nothing, names trusted")));
    }
    for (change, guest, pair) in &mut all {
        guest.change(change, &mut random);
        let _ = pair.look(change);
    }
}

#[test]
fn nothing_stays_open_once_it_is_not_kept() {
    let guest = Guest::new();
    let mut node = Node::new(HostDirectory::open(guest.root()).unwrap()).kept_open();
    let held = || {
        let fds = fs::read_dir("/proc/self/fd").unwrap();
        let targets = fds.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        targets.filter(|target| target.starts_with(guest.root())).count()
    };
    assert_eq!(node.status().unwrap().state, State::Running);
    assert_eq!(held(), 5, "the directory, its run id, the status directory and its slots");
    node.keep_open(false);
    assert_eq!(held(), 0);
    assert_eq!(node.status().unwrap().state, State::Running);
    assert_eq!(held(), 0);
}

/// A virtual machine's disk, as its guest and whoever can write to the file see it.
struct Machine {
    scratch: tempfile::TempDir,
    sequence: u64,
}

const DISK_CHANGES: [&str; 13] = [
    "a heartbeat",
    "a heartbeat that goes on in other clusters",
    "a long record",
    "a slot removed",
    "a slot written anew",
    "the status directory removed",
    "another file in the status directory",
    "another file at the top",
    "the run id changed",
    "some bytes of metadata changed",
    "some bytes changed",
    "the image cut off",
    "an upload",
];

impl Machine {
    fn new() -> Self {
        let mut machine = Self { scratch: tempfile::tempdir().unwrap(), sequence: 1 };
        machine.build();
        machine
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("disk.img")
    }

    /// A new image in the place of the old one.
    fn build(&mut self) {
        self.sequence += 2;
        let path = self.scratch.path().join("new.img");
        DiskImage::create(&path, &DiskOptions::default()).unwrap();
        let volume = mounted(&path);
        write(&volume, "nlxtp_run_id", format!("{RUN}\n").as_bytes());
        volume.root_dir().create_dir("exec_status").unwrap();
        write(&volume, "exec_status/status.0", &slot(self.sequence, 100));
        write(&volume, "exec_status/status.1", &slot(self.sequence + 1, 100));
        volume.unmount().unwrap();
        fs::rename(path, self.path()).unwrap();
    }

    fn change(&mut self, change: &str, random: &mut Random) {
        self.sequence += 2;
        let sequence = self.sequence;
        let name = ["exec_status/status.0", "exec_status/status.1"][random.below(2)];
        let numbered = format!("file number {sequence}");
        match change {
            "some bytes of metadata changed" => self.flip(random, 64 << 10),
            "some bytes changed" => self.flip(random, 2 << 20),
            "the image cut off" => {
                let len = fs::metadata(self.path()).unwrap().len();
                let cut = random.below(usize::try_from(len).unwrap()) as u64;
                File::options().write(true).open(self.path()).unwrap().set_len(cut).unwrap();
            }
            "an upload" => {
                let mut node = Node::new(DiskImage::open(self.path()).unwrap());
                node.upload(&mut archive(&[SCRIPT]), &Control::none()).unwrap();
            }
            _ => {
                let volume = mounted(&self.path());
                match change {
                    "a heartbeat" => overwrite(&volume, name, &record(sequence, 100)),
                    "a heartbeat that goes on in other clusters" => overwrite(&volume, name, &record(sequence, 6000)),
                    "a long record" => write(&volume, name, &slot(sequence, 100_000)),
                    "a slot removed" => drop(volume.root_dir().remove(name)),
                    "a slot written anew" => {
                        let _ = volume.root_dir().remove(name);
                        write(&volume, &numbered, b"takes the clusters");
                        write(&volume, name, &slot(sequence, 10));
                    }
                    "the status directory removed" => {
                        for slot in ["exec_status/status.0", "exec_status/status.1"] {
                            let _ = volume.root_dir().remove(slot);
                        }
                        let _ = volume.root_dir().remove("exec_status");
                    }
                    "another file in the status directory" => {
                        write(&volume, &format!("exec_status/{numbered}"), b"content");
                    }
                    "another file at the top" => write(&volume, &numbered, b"content"),
                    "the run id changed" => write(&volume, "nlxtp_run_id", format!("{}\n", "ab".repeat(16)).as_bytes()),
                    other => panic!("{other}"),
                }
                volume.unmount().unwrap();
            }
        }
    }

    /// Changes some of the bytes that are not zero, from the partition's beginning on.
    fn flip(&self, random: &mut Random, range: usize) {
        let file = File::options().read(true).write(true).open(self.path()).unwrap();
        let mut bytes = vec![0; range];
        file.read_exact_at(&mut bytes, 1 << 20).unwrap();
        let used: Vec<usize> = (0..range).filter(|&at| bytes[at] != 0).collect();
        for _ in 0..=random.below(4) {
            let at = used[random.below(used.len())];
            file.write_all_at(&[u8::try_from(random.below(256)).unwrap()], (1 << 20) + at as u64).unwrap();
        }
    }
}

type Volume = fatfs::FileSystem<Partition>;

/// Writes a file anew.
fn write(volume: &Volume, path: &str, content: &[u8]) {
    // Where a change before has removed the directory, nothing is written.
    let Ok(mut file) = volume.root_dir().create_file(path) else { return };
    file.truncate().unwrap();
    file.write_all(content).unwrap();
    file.flush().unwrap();
}

/// Writes to the beginning of a file, which keeps its clusters.
fn overwrite(volume: &Volume, path: &str, content: &[u8]) {
    let Ok(mut file) = volume.root_dir().open_file(path) else { return };
    file.write_all(content).unwrap();
    file.flush().unwrap();
}

#[test]
fn a_kept_disk_sees_what_a_fresh_one_sees() {
    let mut random = Random(0xd15c);
    let mut machine = Machine::new();
    let path = machine.path();
    let mut pair = Pair::new(move || DiskImage::open(&path));
    let before = pair.look("nothing");
    assert!(is_record(&before), "{before:?}");
    for _ in 0..300 {
        let change = DISK_CHANGES[random.below(DISK_CHANGES.len())];
        machine.change(change, &mut random);
        let seen = pair.look(change);
        // What another implementation may no longer understand, it must not be given.
        if change.contains("bytes") || change.contains("cut off") || random.below(4) == 0 || !is_record(&seen) {
            machine.build();
            assert_eq!(sequence(&pair.look("a new image")), Some(machine.sequence + 1));
        }
    }
}

#[test]
fn a_heartbeat_on_a_kept_disk_is_seen() {
    let mut machine = Machine::new();
    let path = machine.path();
    let mut pair = Pair::new(move || DiskImage::open(&path));
    for _ in 0..20 {
        machine.change("a heartbeat", &mut Random(1));
        assert_eq!(sequence(&pair.look("a heartbeat")), Some(machine.sequence));
    }
}

#[test]
fn a_kept_node_is_no_hindrance_to_its_own_upload() {
    let machine = Machine::new();
    let mut node = Node::new(DiskImage::open(machine.path()).unwrap()).kept_open();
    assert_eq!(node.status().unwrap().state, State::Running);
    let run = node.upload(&mut archive(&[SCRIPT]), &Control::none()).unwrap().run_id;
    let report = node.status().unwrap();
    assert_eq!((report.state, report.run_id), (State::NotStarted, Some(run)));
}

#[test]
fn a_kept_node_sees_a_change_of_its_disk_however_soon_it_comes() {
    for place in [std::env::temp_dir(), "/dev/shm".into()] {
        let scratch = tempfile::tempdir_in(place).unwrap();
        let path = scratch.path().join("disk.img");
        DiskImage::create(&path, &DiskOptions::default()).unwrap();
        let volume = mounted(&path);
        volume.root_dir().create_dir("exec_status").unwrap();
        write(&volume, "exec_status/status.0", &slot(1, 10));
        volume.unmount().unwrap();
        let mut node = Node::new(DiskImage::open(&path).unwrap()).kept_open();
        let mut random = Random(6);
        for sequence in 2..20 {
            let volume = mounted(&path);
            overwrite(&volume, "exec_status/status.0", &record(sequence, 10));
            volume.unmount().unwrap();
            for look in 0..3 {
                assert_eq!(node.status().unwrap().sequence, Some(sequence), "look {look}");
                sleep(Duration::from_millis(random.below(80) as u64));
            }
        }
    }
}
