//! The `nlxtp` command under test, called as a person calls it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::places;
use crate::process::{Finished, bound_to_this_thread, run};

/// Longest time that any call may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What tests say to `nlxtp` about one target: a shared directory or a disk image.
pub struct Target {
    path: PathBuf,
    /// Where `nlxtp` remembers runs between two calls.
    state: TempDir,
}

/// What a run looked like to somebody who asked for its status again and again.
#[derive(Debug)]
pub struct Observed {
    /// From the first answer that said "running" to the first that said "done".
    pub running_for: Duration,
    /// The status when the run was done.
    pub last: Value,
}

impl Target {
    /// The target with this path.
    pub fn new(path: &Path) -> Self {
        Target { path: path.to_path_buf(), state: places::temporary_folder("state") }
    }

    /// A path for what else a test keeps with this target.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    /// Makes a disk image at this path with `nlxtp disk create`.
    ///
    /// # Panics
    /// If the command fails.
    #[track_caller]
    pub fn create_disk(path: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(places::nlxtp());
        run(command.args(["disk", "create"]).arg(path).args(options), PATIENCE).success();
        Self::new(path)
    }

    /// The target's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls `nlxtp VERB TARGET ARGUMENTS…`, whatever comes of it.
    #[track_caller]
    pub fn call(&self, verb: &str, arguments: &[&str]) -> Finished {
        let mut command = Command::new(places::nlxtp());
        command.env("XDG_STATE_HOME", self.state.path()).env_remove("NLXTP_JOURNAL");
        run(command.arg(verb).arg(&self.path).args(arguments), PATIENCE)
    }

    /// Begins `nlxtp VERB TARGET ARGUMENTS…` and leaves it running; it is killed if the calling
    /// thread ends before it.
    ///
    /// # Panics
    /// If the command cannot be started.
    #[track_caller]
    pub fn begin(&self, verb: &str, arguments: &[&str]) -> Child {
        let mut command = bound_to_this_thread(&places::nlxtp());
        command
            .env("XDG_STATE_HOME", self.state.path())
            .env_remove("NLXTP_JOURNAL")
            .arg(verb)
            .arg(&self.path)
            .args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|error| panic!("cannot start nlxtp {verb}: {error}"))
    }

    /// Uploads an archive.
    ///
    /// # Panics
    /// If the command fails.
    #[track_caller]
    pub fn upload(&self, archive: &Path, options: &[&str]) {
        let archive = archive.to_str().expect("a path of ours");
        self.call("upload", &[&[archive], options].concat()).success();
    }

    /// Downloads to an archive.
    ///
    /// # Panics
    /// If the command fails.
    #[track_caller]
    pub fn download(&self, archive: &Path) {
        self.call("download", &[archive.to_str().expect("a path of ours")]).success();
    }

    /// Asks for the status once.
    ///
    /// # Panics
    /// If the command fails or prints anything but one JSON object.
    #[track_caller]
    pub fn status(&self, options: &[&str]) -> Value {
        let finished = self.call("status", &[&["--json"], options].concat()).success();
        let status: Value = serde_json::from_slice(&finished.stdout)
            .unwrap_or_else(|error| panic!("`nlxtp status --json` printed no JSON: {error}: {finished:?}"));
        assert!(status.is_object(), "`nlxtp status --json` printed something else: {status}");
        status
    }

    /// Asks for the status until the run is done, and checks that what comes before is what
    /// the paper says: not started, then running.
    ///
    /// # Panics
    /// If anything else comes before, if "running" is never seen, or if time is up.
    #[track_caller]
    pub fn watch(&self, options: &[&str], timeout: Duration) -> Observed {
        let begin = Instant::now();
        let mut running_since = None;
        loop {
            let status = self.status(options);
            match status["state"].as_str() {
                Some("finished") => {
                    let since: Instant = running_since.expect("the run was done without having been seen running");
                    assert_eq!(status["done"], true, "{status}");
                    assert_eq!(status["running"], false, "{status}");
                    return Observed { running_for: since.elapsed(), last: status };
                }
                Some("running") => {
                    assert_eq!(status["done"], false, "{status}");
                    assert_eq!(status["running"], true, "{status}");
                    running_since.get_or_insert_with(Instant::now);
                }
                Some("not-started") => {
                    assert!(running_since.is_none(), "a run that was running has not started: {status}");
                    assert_eq!(status["done"], false, "{status}");
                    assert_eq!(status["running"], false, "{status}");
                }
                // The guest is just writing; asking again is what the protocol says.
                Some("unreadable") if status["reason"].is_string() => {}
                _ => panic!("not to be expected here: {status}"),
            }
            assert!(begin.elapsed() < timeout, "the run was not done within {timeout:?}: {status}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
