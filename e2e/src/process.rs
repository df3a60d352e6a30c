//! Running programs with a deadline, and waiting with a deadline.

use std::fmt;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::places;

/// How often a wait looks again.
const STEP: Duration = Duration::from_millis(5);

/// What a program did.
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// The exit code; -1 if a signal ended the program.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// This, if the program ended with exit code 0.
    ///
    /// # Panics
    /// If it ended in any other way.
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.status.success(), "the program failed: {self:?}");
        self
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n--- stdout:\n{}--- stderr:\n{}", self.status, self.text(), self.error_text())
    }
}

/// Runs a program to its end, without input.
///
/// Its output counts as complete when nothing holds its standard output and error any
/// more, background children included.
///
/// # Panics
/// If it cannot be started, or has not ended when the time is up (it is killed then).
#[track_caller]
pub fn run(command: &mut Command, timeout: Duration) -> Finished {
    let deadline = Instant::now() + timeout;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let stdout = Collector::new(child.stdout.take().expect("piped above"));
    let stderr = Collector::new(child.stderr.take().expect("piped above"));
    let status = wait_for_exit(&mut child, timeout);
    let complete = status.is_some() && stdout.wait(deadline) && stderr.wait(deadline);
    if let (Some(status), true) = (status, complete) {
        return Finished { status, stdout: stdout.take(), stderr: stderr.take() };
    }
    let _ = child.kill();
    let _ = wait_for_exit(&mut child, Duration::from_secs(5));
    panic!(
        "{command:?} {} within {timeout:?}\n--- stdout:\n{}--- stderr:\n{}",
        if status.is_none() { "did not end" } else { "left a child that holds its output" },
        String::from_utf8_lossy(&stdout.take()),
        String::from_utf8_lossy(&stderr.take()),
    );
}

/// Waits until a child ends; `None` when the time is up.
///
/// # Panics
/// If it cannot be waited for.
#[track_caller]
pub fn wait_for_exit(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait().expect("waiting for our own child") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(STEP);
    }
}

/// Looks again and again until there is a value.
///
/// # Panics
/// If there is none when the time is up; `what` says what was waited for.
#[track_caller]
pub fn wait_until<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {timeout:?} in vain: {what}");
        thread::sleep(STEP);
    }
}

/// A command that the kernel kills when the calling thread ends.
///
/// So nothing is left running even when the test process is killed. What is started with
/// it must not outlive the thread that started it.
///
/// # Panics
/// If `setpriv` is missing.
#[track_caller]
pub fn bound_to_this_thread(program: &std::path::Path) -> Command {
    let mut command = Command::new(places::tool("setpriv"));
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Reads a stream to its end on a thread of its own.
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

impl Collector {
    fn new(mut stream: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (sender, end) = mpsc::channel();
        let shared = Arc::clone(&bytes);
        thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                shared.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..length]);
            }
            let _ = sender.send(());
        });
        Collector { bytes, end }
    }

    /// Waits for the end of the stream; false when it has not come by the deadline.
    fn wait(&self, deadline: Instant) -> bool {
        // A program that ended just in time gets a moment for its output.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(200));
        self.end.recv_timeout(left).is_ok()
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
