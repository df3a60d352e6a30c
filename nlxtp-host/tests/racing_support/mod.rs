//! A hostile guest that swaps what is in its shared directory as fast as it can.

pub mod canary;
pub mod naive;

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::fcntl::{self, AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag};
use nix::sys::stat::{self, Mode};
use nix::unistd::{self, UnlinkatFlags};
use rextfv_core::status::{RunState, Status, Truncated};
use rextfv_core::status_codec;

/// Places in the shared directory that the guest attacks, in step with what the host does there.
pub const PLACES: &[&str] = &[
    ".nlxtp_upload",
    ".nlxtp_upload/commit",
    ".nlxtp_upload/commit/d",
    ".nlxtp_upload/new",
    ".nlxtp_upload/new/d",
    ".nlxtp_upload/new/d/inner",
    ".nlxtp_upload/new/d/inner/file",
    ".nlxtp_upload/new/link",
    ".nlxtp_upload/old",
    ".nlxtp_upload/old/d",
    ".nlxtp_upload/ready",
    ".nlxtp_upload/ready/.nlxtp_upload",
    ".nlxtp_upload/ready/auto_exec.sh",
    ".nlxtp_upload/ready/d",
    "auto_exec.sh",
    "d",
    "d",
    "d/inner",
    "d/inner/file",
    "data",
    "exec_status",
    "exec_status",
    "exec_status/custom",
    "exec_status/digests",
    "exec_status/done",
    "exec_status/out",
    "exec_status/status.0",
    "exec_status/stdout",
];

/// A directory in which a test may be as fast as possible.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Self {
        // In memory, where there is such a place: flushing costs nothing there.
        Self(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is in directories that are not writable could not be removed.
        let mut paths = vec![self.path().to_path_buf()];
        while let Some(path) = paths.pop() {
            let _ = fs::set_permissions(&path, Permissions::from_mode(0o700));
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            paths.extend(
                entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
            );
        }
    }
}

/// How long a racing test goes on: so many rounds or seconds, whichever is over first; or as many
/// seconds as `NLXTP_RACING_SECONDS` says.
pub struct Bounds {
    rounds: u64,
    end: Instant,
    done: u64,
}

impl Bounds {
    pub fn new(rounds: u64, seconds: u64) -> Self {
        let asked = std::env::var("NLXTP_RACING_SECONDS").ok();
        let asked = asked.map(|text| text.parse().expect("NLXTP_RACING_SECONDS is a number"));
        let rounds = if asked.is_some() { u64::MAX } else { rounds };
        Self { rounds, end: Instant::now() + Duration::from_secs(asked.unwrap_or(seconds)), done: 0 }
    }

    /// So many seconds, whatever the environment says.
    pub fn seconds(seconds: u64) -> Self {
        Self { rounds: u64::MAX, end: Instant::now() + Duration::from_secs(seconds), done: 0 }
    }

    /// Whether there is another round, and which.
    pub fn next(&mut self) -> Option<u64> {
        if self.done >= self.rounds || Instant::now() >= self.end {
            return None;
        }
        self.done += 1;
        Some(self.done)
    }
}

/// Ends the whole program if an operation hangs: nothing else would.
pub struct Watchdog {
    beats: Arc<AtomicU64>,
}

impl Watchdog {
    const PATIENCE: Duration = Duration::from_secs(60);

    pub fn start() -> Self {
        let beats = Arc::new(AtomicU64::new(0));
        let watched = Arc::downgrade(&beats);
        thread::spawn(move || {
            let mut last = (0, Instant::now());
            // Until the watchdog is dropped.
            while let Some(beats) = watched.upgrade().map(|beats| beats.load(Ordering::Relaxed)) {
                if beats != last.0 {
                    last = (beats, Instant::now());
                } else if last.1.elapsed() > Self::PATIENCE {
                    eprintln!("an operation hangs: nothing has happened for {:?}", Self::PATIENCE);
                    std::process::abort();
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        Self { beats }
    }

    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }
}

/// Good enough random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// What the guest goes for.
#[derive(Clone, Copy)]
pub struct Attack {
    pub places: &'static [&'static str],
    /// With FIFOs among what it swaps in.
    pub fifos: bool,
}

/// One thread of the guest. It works in its own directory beside the shared one, and enters the
/// shared one without following its own links: what it does must hit the host, not the canary.
struct Worker {
    shared: OwnedFd,
    own: OwnedFd,
    own_path: PathBuf,
    /// A file that gets other names.
    original: PathBuf,
    canary: PathBuf,
    attack: Attack,
    dice: Dice,
}

/// What the guest has in stock to swap for what the host has made.
const STOCK: [&str; 7] = ["link to directory", "link to file", "fifo", "file", "other name", "tree", "empty"];

impl Worker {
    fn new(shared: &Path, own: &Path, canary: &Path, attack: Attack, seed: u64) -> Self {
        let open = |path: &Path| fcntl::open(path, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        fs::create_dir_all(own).unwrap();
        let original = own.with_extension("original");
        fs::write(&original, record()).unwrap();
        Self {
            shared: open(shared),
            own: open(own),
            own_path: own.into(),
            original,
            canary: canary.into(),
            attack,
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        }
    }

    /// Makes sure that something of this name is in stock. Nobody else works in this directory, so
    /// that what is not there can be made without being led astray.
    fn stock(&mut self, name: &str) {
        let path = self.own_path.join(name);
        if fs::symlink_metadata(&path).is_ok() {
            // A swap may have brought something else than its name says; all the better.
            return;
        }
        let made = match name {
            "link to directory" => symlink(&self.canary, path),
            "link to file" => symlink(self.canary.join("custom"), path),
            "fifo" if self.attack.fifos => unistd::mkfifo(&path, Mode::S_IRWXU).map_err(Into::into),
            "other name" => fs::hard_link(&self.original, path),
            "tree" => {
                let deep = path.join("inner/deeper/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d");
                fs::create_dir_all(deep).and_then(|()| fs::write(path.join("inner/file"), "of the guest"))
            }
            "empty" => fs::create_dir(path),
            _ => fs::write(path, record()),
        };
        made.unwrap();
    }

    /// The directory above a place, and the name in it.
    fn parent<'a>(&self, place: &'a str) -> Option<(OwnedFd, &'a str)> {
        parent(&self.shared, place)
    }

    fn place(&mut self) -> &'static str {
        self.attack.places[self.dice.roll(self.attack.places.len())]
    }

    /// One attack.
    fn act(&mut self) {
        if self.dice.roll(500) == 0 {
            // Trees that were swapped into each other would grow and grow.
            for item in STOCK {
                let path = self.own_path.join(item);
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(path));
            }
        }
        let place = self.place();
        let item = STOCK[self.dice.roll(STOCK.len())];
        let Some((above, name)) = self.parent(place) else { return };
        match self.dice.roll(10) {
            0..=5 => {
                self.stock(item);
                // There and back, so that the host meets one or the other at each step.
                for _ in 0..2 + self.dice.roll(2) {
                    let _ = fcntl::renameat2(&self.own, item, &above, name, RenameFlags::RENAME_EXCHANGE);
                }
            }
            6 => {
                self.stock(item);
                let _ = fcntl::renameat2(&self.own, item, &above, name, RenameFlags::RENAME_NOREPLACE);
            }
            7 => {
                // Appears and vanishes.
                let _ = stat::mkdirat(&above, name, Mode::S_IRWXU);
                let _ = unistd::unlinkat(&above, name, UnlinkatFlags::RemoveDir);
                let _ = unistd::unlinkat(&above, name, UnlinkatFlags::NoRemoveDir);
            }
            8 => {
                let _ = fcntl::renameat2(&above, name, &self.own, "trash", RenameFlags::RENAME_NOREPLACE);
                let trash = self.own_path.join("trash");
                let _ = fs::remove_dir_all(&trash).or_else(|_| fs::remove_file(trash));
            }
            _ => self.rewrite(&above, name, place),
        }
    }

    /// Makes a file longer or shorter, changes its mode, or gives it another name.
    fn rewrite(&mut self, above: &OwnedFd, name: &str, place: &str) {
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match self.dice.roll(3) {
            // Not the status: the host waits for half a record to become a whole one.
            0 if !place.contains("status.") => {
                if let Ok(file) = fcntl::openat(above, name, flags, Mode::empty()) {
                    let mut file = File::from(file);
                    let length = if self.dice.roll(2) == 0 { 0 } else { 100_000 };
                    let _ = file.set_len(length).and_then(|()| file.write_all(b"written"));
                }
            }
            1 => {
                for mode in [Mode::empty(), Mode::S_IRWXU] {
                    let _ = stat::fchmodat(above, name, mode, stat::FchmodatFlags::NoFollowSymlink);
                }
            }
            _ => {
                let other = self.place();
                if let Some((to, other)) = self.parent(other) {
                    let _ = unistd::linkat(above, name, &to, other, AtFlags::empty());
                }
            }
        }
    }
}

/// The directory above a place in the shared directory, found without following a link, and the name
/// in it.
fn parent<'a>(shared: &OwnedFd, place: &'a str) -> Option<(OwnedFd, &'a str)> {
    let (above, name) = place.rsplit_once('/').unwrap_or((".", place));
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(resolve);
    Some((fcntl::openat2(shared, above, how).ok()?, name))
}

/// Makes a directory in the shared directory, and those above it, without following a link.
pub fn make_directory(shared: &Path, place: &str) {
    let Ok(shared) = fcntl::open(shared, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) else { return };
    let ends = place.match_indices('/').map(|(end, _)| end).chain([place.len()]);
    for end in ends {
        if let Some((above, name)) = parent(&shared, &place[..end]) {
            let _ = stat::mkdirat(&above, name, Mode::S_IRWXU);
            let _ = stat::fchmodat(&above, name, Mode::S_IRWXU, stat::FchmodatFlags::NoFollowSymlink);
        }
    }
}

/// A valid record of no run in particular.
fn record() -> Vec<u8> {
    let status = Status {
        run: None,
        sequence: 1,
        state: RunState::Running,
        done: false,
        running_info: 1,
        interval: Duration::from_secs(1),
        boot: None,
        ended: None,
        stdout_bytes: 100_000,
        stderr_bytes: 0,
        truncated: Truncated::default(),
        custom: Some(b"the guest's".to_vec()),
        progress: None,
    };
    status_codec::encode(&status).unwrap()
}

/// What the guest's process is told by its environment.
const PROCESS: &str = "NLXTP_RACING_GUEST";

/// A racing guest. It stops when it is dropped.
pub struct Guest {
    stop: Arc<AtomicBool>,
    actions: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
    process: Option<Child>,
}

impl Guest {
    /// Threads that attack.
    pub fn start(shared: &Path, canary: &Path, attack: Attack) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let actions = Arc::new(AtomicU64::new(0));
        let threads = (1..=2).map(|seed| {
            let own = shared.with_file_name(format!("thread {seed}"));
            let mut worker = Worker::new(shared, &own, canary, attack, seed);
            let (stop, actions) = (Arc::clone(&stop), Arc::clone(&actions));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    worker.act();
                    actions.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let threads = threads.collect();
        Self { stop, actions, threads, process: None }
    }

    /// The same with a process beside the threads: this test program once more, in which `test` must
    /// call [`be_the_process`].
    pub fn with_process(mut self, shared: &Path, canary: &Path, test: &str) -> Self {
        let own = shared.with_file_name("process");
        let told = [shared, &own, canary].map(|path| path.to_str().unwrap()).join("\n");
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--include-ignored"])
            .env(PROCESS, told)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.unwrap());
        self
    }

    /// How often the threads have attacked.
    pub fn actions(&self) -> u64 {
        self.actions.load(Ordering::Relaxed)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        for thread in self.threads.drain(..) {
            let outcome = thread.join();
            if !thread::panicking() {
                outcome.expect("the guest's threads do not panic");
            }
        }
    }
}

/// What the guest's process does: attacks until it is killed, or its parent is gone. Returns at once
/// in any other process.
pub fn be_the_process() {
    let Ok(told) = std::env::var(PROCESS) else { return };
    let [shared, own, canary] = told.split('\n').collect::<Vec<_>>().try_into().unwrap();
    let attack = Attack { places: PLACES, fifos: true };
    let mut worker = Worker::new(shared.as_ref(), own.as_ref(), canary.as_ref(), attack, 99);
    let parent = unistd::getppid();
    while unistd::getppid() == parent {
        for _ in 0..1000 {
            worker.act();
        }
    }
}
