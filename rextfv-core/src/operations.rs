//! The three operations of RexTFV (paper, section 2) and what they report.

use alloc::string::String;
use alloc::vec::Vec;

use crate::archive_rules::Lost;
use crate::ids::RunId;
use crate::listing::Listing;
use crate::liveness::State;
use crate::shared_directory::{LeftOut, LeftOutReason};
use crate::status::{Progress, Truncated};
use crate::verification::Verification;

/// A node that is controlled through RexTFV.
pub trait Rextfv {
    /// Where an uploaded archive comes from.
    type Source: ?Sized;
    /// Where a downloaded archive goes.
    type Sink: ?Sized;
    /// Why an operation failed.
    type Error;

    /// Replaces the shared directory's content by the archive's, and has its start script executed.
    ///
    /// # Errors
    /// The archive or the target cannot be used; the old content is as it was.
    fn upload(&mut self, archive: &mut Self::Source) -> Result<UploadReport, Self::Error>;

    /// Tells how far the run has come.
    ///
    /// # Errors
    /// The target is missing or is not a shared directory. A status that cannot be read is no
    /// error but [`State::Unreadable`].
    fn status(&mut self) -> Result<StatusReport, Self::Error>;

    /// Packs the whole shared directory into an archive.
    ///
    /// # Errors
    /// The target cannot be read, or the archive not be written.
    fn download(&mut self, archive: &mut Self::Sink) -> Result<DownloadReport, Self::Error>;
}

/// How the start script comes to be executed after an upload (paper, section 3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Execution {
    /// The archive holds no start script: nothing will be executed.
    NoStartScript,
    /// The guest is off: when it boots.
    AtBoot,
    /// The host has invoked the monitor.
    Invoked,
    /// The daemon in the guest will notice it.
    ByDaemon,
}

/// What an upload did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UploadReport {
    /// The run that the upload began.
    pub run_id: RunId,
    /// Files, directories and links made.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// The start script's name, escaped for showing.
    pub start_script: Option<String>,
    /// How it comes to be executed.
    pub execution: Execution,
    /// Entries left out because their names belong to the protocol, escaped for showing.
    pub left_out: Listing<String>,
    /// What the target does not keep.
    pub lost: Lost,
    /// What may keep the start script from running as it was meant.
    pub warnings: Vec<String>,
}

/// In whose words the status was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Dialect {
    /// nlXTP's status slots.
    Nlxtp,
    /// The files of ToMaTo's guest modules 0.3.
    Tomato,
}

/// What a status query found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReport {
    /// The state of the run.
    pub state: State,
    /// Why it is so, where that needs words.
    pub reason: Option<String>,
    /// The dialect; `None` before a monitor has written anything.
    pub dialect: Option<Dialect>,
    /// The Custom Status.
    pub custom: Option<Vec<u8>>,
    /// How far the start script says that it is.
    pub progress: Option<Progress>,
    /// The start script's exit code, if it has ended by itself.
    pub exit_code: Option<u8>,
    /// The signal that ended it.
    pub signal: Option<u8>,
    /// Whether the monitor ended the script because it ran longer than it was allowed to.
    pub timed_out: bool,
    /// The sequence number of the record.
    pub sequence: Option<u64>,
    /// The run that the last upload began, as far as it is known.
    pub run_id: Option<RunId>,
    /// Bytes of standard output that are on the disk.
    pub stdout_bytes: Option<u64>,
    /// Bytes of error output that are on the disk.
    pub stderr_bytes: Option<u64>,
    /// What the monitor cut.
    pub truncated: Truncated,
    /// How often the status was read until it could be used, or was given up.
    pub attempts: u32,
}

impl StatusReport {
    /// The Done Flag.
    pub fn done(&self) -> bool {
        self.state == State::Finished
    }

    /// Whether the run is under way.
    pub fn running(&self) -> bool {
        self.state == State::Running
    }
}

/// What a download took home.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DownloadReport {
    /// Files in the archive.
    pub files: u64,
    /// Directories in the archive, the shared directory itself not counted.
    pub directories: u64,
    /// Symbolic links in the archive.
    pub symlinks: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Files that changed while they were read, or could not be read whole.
    pub changed: Listing<ChangedFile>,
    /// What the archive lacks.
    pub left_out: Listing<LeftOut>,
    /// Whether the archive holds what the guest had written when it said Done.
    pub verification: Verification,
}

impl DownloadReport {
    /// Whether nothing is known to have changed or vanished while it was packed. (Of what an
    /// [omission](Listing::omitted) hides, nothing is known.)
    pub fn is_settled(&self) -> bool {
        self.changed.is_empty() && self.left_out.listed.iter().all(|left| left.reason != LeftOutReason::Vanished)
    }
}

/// A file whose content in the archive is not what the guest wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ChangedFile {
    /// Its path, escaped for showing.
    pub path: String,
    /// What is wrong with its content in the archive.
    pub problem: ContentProblem,
}

/// What is wrong with the content of a file in a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum ContentProblem {
    /// It became shorter while it was read; zeros stand for what is missing.
    #[error("it became shorter while it was read; zeros stand for what is missing")]
    Shorter,
    /// It became longer while it was read; what was added is missing.
    #[error("it became longer while it was read; what was added is missing")]
    Longer,
    /// It was written to while it was read; old and new content may be mixed.
    #[error("it was written to while it was read; old and new content may be mixed")]
    Rewritten,
    /// It could not be read to its end; zeros stand for what is missing.
    #[error("it could not be read to its end; zeros stand for what is missing")]
    Unreadable,
}
