//! The paper's first experiment (section 4.3.1): what is uploaded, and what must come back.
//!
//! The start script sleeps for a second, sets a pre-defined string as custom status, writes
//! another string into a file in the shared directory, and another one to standard output.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rextfv_core::status::{Ending, RunState};
use rextfv_core::status_codec;
use tempfile::TempDir;

use crate::command_line::Observed;
use crate::places;
use crate::process::run;

const PATIENCE: Duration = Duration::from_secs(60);

const CUSTOM_STATUS: &str = "<experiment>ready & \"done\", grüße</experiment>";
const WRITTEN: &str = "a string in a file";
const PRINTED: &str = "a string on standard output";

/// What the guest has for running the start script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpreter {
    /// `/bin/bash`: the script is one as users of ToMaTo write them.
    Bash,
    /// `/bin/sh`, which does not know ToMaTo's function for setting the custom status.
    Sh,
    /// Nothing at all: the archive brings a busybox along.
    Brought,
}

/// The experiment's archive, and the judgement of what comes back.
pub struct Experiment {
    folder: TempDir,
    interpreter: Interpreter,
}

impl Experiment {
    /// Prepares the archive.
    ///
    /// # Panics
    /// If it cannot be made.
    #[track_caller]
    pub fn new(interpreter: Interpreter) -> Self {
        let experiment = Experiment { folder: places::temporary_folder("experiment"), interpreter };
        let content = experiment.path("content");
        fs::create_dir(&content).expect("a folder for the archive's content");
        let script = content.join("auto_exec.sh");
        fs::write(&script, experiment.script()).expect("the start script");
        run(Command::new("chmod").arg("755").arg(&script), PATIENCE).success();
        if interpreter == Interpreter::Brought {
            fs::copy(places::guest_boot().join("busybox"), content.join("busybox")).expect("a busybox");
        }
        // As ToMaTo's own tools pack.
        let mut tar = Command::new("tar");
        tar.args(["--numeric-owner", "-acf"]).arg(experiment.archive()).arg("-C").arg(&content).arg(".");
        run(&mut tar, PATIENCE).success();
        experiment
    }

    /// The archive to upload.
    pub fn archive(&self) -> PathBuf {
        self.path("upload.tar.gz")
    }

    /// A path for the archive that is downloaded.
    pub fn download(&self) -> PathBuf {
        self.path("download.tar.gz")
    }

    /// A path in the experiment's temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn script(&self) -> String {
        let first_line = match self.interpreter {
            Interpreter::Bash => "#!/bin/bash",
            Interpreter::Sh => "#!/bin/sh",
            Interpreter::Brought => "#!/mnt/nlXTP/busybox sh",
        };
        let set_status = match self.interpreter {
            Interpreter::Bash => format!("archive_setstatus '{CUSTOM_STATUS}'"),
            // The working directory is exec_status.
            _ => format!("printf %s '{CUSTOM_STATUS}' >custom"),
        };
        let sleep = match self.interpreter {
            Interpreter::Brought => "\"$archive_dir/busybox\" sleep 1",
            _ => "sleep 1",
        };
        format!(
            "{first_line}\n{sleep}\n{set_status}\n\
             printf %s '{WRITTEN}' >\"$archive_dir/written.txt\"\necho '{PRINTED}'\n"
        )
    }

    /// Judges what was seen of the status.
    ///
    /// # Panics
    /// If it is not as the paper reports.
    #[track_caller]
    pub fn judge_status(&self, observed: &Observed) {
        let Observed { running_for, last } = observed;
        // "About a second". On a busy machine it may be seen late, and take longer.
        assert!(*running_for > Duration::from_millis(250), "running for only {running_for:?}");
        assert!(*running_for < Duration::from_secs(30), "running for {running_for:?}");
        assert_eq!(last["custom"], CUSTOM_STATUS, "{last}");
        assert_eq!(last["exit_code"], 0, "{last}");
        assert!(last["signal"].is_null(), "{last}");
        assert_eq!(last["dialect"], "nlxtp", "{last}");
        assert_eq!(last["stdout_bytes"], PRINTED.len() + 1, "{last}");
        assert_eq!(last["stderr_bytes"], 0, "{last}");
    }

    /// Judges the downloaded archive, which GNU tar unpacks, and returns the unpacked folder.
    ///
    /// # Panics
    /// If it does not hold what the paper says.
    #[track_caller]
    pub fn judge_download(&self) -> PathBuf {
        let folder = self.path("downloaded");
        fs::create_dir(&folder).expect("a folder for the download");
        let mut tar = Command::new("tar");
        run(tar.arg("-xf").arg(self.download()).arg("-C").arg(&folder), PATIENCE).success();
        let read = |name: &str| {
            fs::read(folder.join(name)).unwrap_or_else(|error| panic!("the downloaded archive has no {name}: {error}"))
        };
        let text = |name: &str| String::from_utf8_lossy(&read(name)).into_owned();
        assert_eq!(text("auto_exec.sh"), self.script());
        assert_eq!(text("written.txt"), WRITTEN);
        assert_eq!(text("exec_status/stdout"), format!("{PRINTED}\n"));
        assert_eq!(text("exec_status/stderr"), "");
        let newest = ["exec_status/status.0", "exec_status/status.1"]
            .map(|slot| status_codec::decode(&read(slot)).unwrap_or_else(|damage| panic!("{slot}: {damage}")))
            .into_iter()
            .max_by_key(|status| status.sequence)
            .expect("two slots");
        assert!(newest.done);
        assert_eq!(newest.state, RunState::Finished);
        assert_eq!(newest.ended, Some(Ending::Exit(0)));
        assert_eq!(newest.custom.as_deref(), Some(CUSTOM_STATUS.as_bytes()));
        folder
    }

    /// Judges what the guest sees, by the output of `sha256sum` there for [`FILES_TO_COMPARE`].
    ///
    /// # Panics
    /// If it is not what was downloaded.
    #[track_caller]
    pub fn judge_inside(&self, downloaded: &Path, sums_in_guest: &str) {
        let mut sha256sum = Command::new("sha256sum");
        let here = run(sha256sum.args(FILES_TO_COMPARE).current_dir(downloaded), PATIENCE).success();
        assert_eq!(sums_in_guest, here.text(), "the guest sees other content than what was downloaded");
    }
}

/// The files that are compared with what the guest sees.
pub const FILES_TO_COMPARE: [&str; 6] = [
    "auto_exec.sh",
    "written.txt",
    "exec_status/stdout",
    "exec_status/custom",
    "exec_status/status.0",
    "exec_status/status.1",
];

/// The command that prints the sums of those files in the guest.
pub fn sums_command() -> String {
    format!("cd /mnt/nlXTP && sha256sum {}", FILES_TO_COMPARE.join(" "))
}
