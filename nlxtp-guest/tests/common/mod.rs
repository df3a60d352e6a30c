//! A guest on a plain directory: the real program, its shared directory, and deadlines.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nlxtp_guest::directory::Directory;
use nlxtp_guest::status_writer::{newest, read_slots};
use rextfv_core::status::Status;

/// Far more than anything takes, on a machine that does other work as well.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub const RUN: &str = "00112233445566778899aabbccddeeff";

/// Lets a script wait until the test makes the file `go`.
pub const WAIT_FOR_GO: &str = "until [ -e \"$archive_dir/go\" ]; do sleep 0.02; done";

/// A shared directory below a temporary one.
pub struct Share {
    dir: tempfile::TempDir,
}

impl Share {
    pub fn new() -> Self {
        let share = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(share.path()).unwrap();
        share
    }

    pub fn with_script(script: &str) -> Self {
        let share = Self::new();
        share.upload(script);
        share
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("share")
    }

    /// A place beside the shared directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.at(name).symlink_metadata().is_ok()
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.at(name)).unwrap_or_else(|error| panic!("{name}: {error}"))).unwrap()
    }

    /// An upload as our host does it: the start script comes last, by rename.
    pub fn upload(&self, script: &str) {
        self.upload_as(RUN, script);
    }

    /// The same with this run id.
    pub fn upload_as(&self, run: &str, script: &str) {
        fs::write(self.at("nlxtp_run_id"), format!("{run}\n")).unwrap();
        let staged = self.beside("staged");
        write_script(&staged, script);
        fs::rename(staged, self.at("auto_exec.sh")).unwrap();
    }

    pub fn go(&self) {
        fs::write(self.at("go"), "").unwrap();
    }

    /// The newest record in the slots.
    pub fn record(&self) -> Option<Status> {
        record_in(&self.at("exec_status"))
    }

    /// Waits for a record of which this holds.
    pub fn wait_for_record(&self, holds: impl Fn(&Status) -> bool) -> Status {
        let mut found = None;
        wait_until("a certain status record", || {
            found = self.record().filter(&holds);
            found.is_some()
        });
        found.unwrap()
    }

    pub fn wait_for_done(&self) -> Status {
        self.wait_for_record(|status| status.done)
    }

    pub fn wait_for(&self, name: &str) {
        wait_until(name, || self.has(name));
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.arg("--config").arg("/dev/null").arg("--dir").arg(self.path()).args(arguments);
        command
    }

    pub fn monitor(&self, arguments: &[&str]) -> Output {
        self.command(&["monitor"]).args(arguments).output().unwrap()
    }

    /// A monitor or daemon that is ended when it goes.
    pub fn spawn(&self, arguments: &[&str]) -> Process {
        Process(self.command(arguments).stderr(Stdio::inherit()).spawn().unwrap())
    }

    pub fn daemon(&self, arguments: &[&str]) -> Process {
        self.spawn(&[&["daemon"], arguments].concat())
    }
}

/// The newest record of an `exec_status`.
pub fn record_in(path: &Path) -> Option<Status> {
    newest(&read_slots(&Directory::open(path).ok()?).ok()?).cloned()
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nlxtp-guest"));
    command.env_remove("nlxtp_dir").env_remove("nlxtp_run").stdin(Stdio::null());
    command
}

pub fn write_script(path: &Path, script: &str) {
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub struct Process(Child);

impl Process {
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().try_into().unwrap())
    }

    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    pub fn wait_for_end(&mut self) -> i32 {
        wait_until("a process to end", || self.has_ended());
        self.0.wait().unwrap().code().unwrap_or(-1)
    }

    /// The processes that this one has started.
    pub fn children(&self) -> Vec<Pid> {
        let pid = self.pid();
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        text.split_whitespace().map(|word| Pid::from_raw(word.parse().unwrap())).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.signal(Signal::SIGTERM);
            let deadline = Instant::now() + Duration::from_secs(20);
            while !self.has_ended() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Whether a process is there and no zombie.
pub fn lives(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim().starts_with('Z'))
}
