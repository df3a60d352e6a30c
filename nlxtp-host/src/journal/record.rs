//! The lines of a journal, as `docs/journal.md` describes them.

#![forbid(unsafe_code)]

use rextfv_core::entry_path::displayable;
use rextfv_core::ids::RunId;
use rextfv_core::liveness::State;
use rextfv_core::operations::Execution;
use rextfv_core::powers::PowerState;
use rextfv_core::verification::Outcome;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::tree::TreeSummary;
use super::utc::Utc;

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// Most bytes of a line, its newline not counted.
pub const MOST_LINE_BYTES: usize = 4 << 20;

/// One line of a journal: something that happened to one node.
///
/// Names from archives, guests and paths are escaped as
/// [`displayable`] does it, which
/// [`from_displayable`](rextfv_core::entry_path::from_displayable) undoes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the format, [`VERSION`].
    pub journal: u32,
    /// The digest of the line before, its newline included; [`Digest::NONE`] in the first line.
    pub prev: Digest,
    /// When the line was written.
    pub time: Utc,
    /// The version of the library that wrote it.
    pub nlxtp: String,
    /// The node's name.
    pub node: String,
    /// The run: drawn by the host for an upload, else as it is read from the shared directory.
    pub run: Option<RunId>,
    /// What was known of the guest's power.
    pub power: PowerState,
    /// Bytes of a line that was cut off, which were removed before this one was written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub torn: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// An upload has replaced the node's content.
    Upload(Upload),
    /// The start script was seen running for the first time.
    Start,
    /// The end of the run was seen for the first time.
    End(End),
    /// The content was taken home.
    Download(Download),
}

impl Event {
    /// The word that stands for it in a line.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Upload(_) => "upload",
            Self::Start => "start",
            Self::End(_) => "end",
            Self::Download(_) => "download",
        }
    }
}

/// Where the node's shared directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// In a directory of the host.
    Directory,
    /// On a disk.
    Disk,
}

/// An archive, up or down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveFile {
    /// The digest of its bytes.
    pub sha256: Digest,
    /// How many bytes those are.
    pub bytes: u64,
    /// `tar.gz`, `tar`, `tar.zst` or `zip`.
    pub format: String,
    /// The file's name, without folders, where it has one.
    pub name: Option<String>,
    /// Whether the store beside the journal has it.
    #[serde(default)]
    pub kept: bool,
}

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// When it began; the line is written when it is complete.
    pub began: Utc,
    /// Where to.
    pub storage: Storage,
    /// What was uploaded.
    pub archive: ArchiveFile,
    /// Whether a copy was uploaded of what links lead to.
    pub follow_links: bool,
    /// Files, directories and links made.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// The start script's name.
    pub start_script: Option<String>,
    /// How it comes to be executed.
    pub execution: Execution,
    /// Whether the monitor should have been invoked, and could not be.
    #[serde(default)]
    pub invoke_failed: bool,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// `finished`, `monitor-stopped` or `guest-rebooted`.
    pub state: State,
    /// The start script's exit code, if it has ended by itself.
    pub exit_code: Option<u8>,
    /// The signal that ended it.
    pub signal: Option<u8>,
    /// Whether the guest ended it because it ran too long.
    pub timed_out: bool,
    /// Bytes of standard output that are on the disk.
    pub stdout_bytes: Option<u64>,
    /// Bytes of error output that are on the disk.
    pub stderr_bytes: Option<u64>,
    /// What the monitor cut.
    pub truncated: Vec<String>,
    /// The Custom Status at the end.
    pub custom: Option<Custom>,
}

/// A Custom Status, of which a journal keeps no more than the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custom {
    /// Its first bytes, at most [`Custom::MOST_BYTES`], escaped.
    pub text: String,
    /// How many bytes there are in all.
    pub bytes: u64,
    /// The digest of all of them.
    pub sha256: Digest,
}

impl Custom {
    /// Most bytes of a Custom Status that are kept.
    pub const MOST_BYTES: usize = 1000;

    /// What is kept of this one.
    pub fn of(custom: &[u8]) -> Self {
        let first = &custom[..custom.len().min(Self::MOST_BYTES)];
        Self { text: displayable(first), bytes: custom.len() as u64, sha256: Digest::of(custom) }
    }
}

/// A download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    /// When it began; the line is written when it is complete.
    pub began: Utc,
    /// What was downloaded.
    pub archive: ArchiveFile,
    /// Files in it.
    pub files: u64,
    /// Directories in it.
    pub directories: u64,
    /// Symbolic links in it.
    pub symlinks: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// How many files changed while they were packed.
    pub changed: u64,
    /// How many entries are lacking.
    pub left_out: u64,
    /// What came of comparing it with the guest's digests; lines of earlier versions do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Outcome>,
    /// The results.
    pub results: TreeSummary,
}

/// Reads one line, without its newline.
///
/// # Errors
/// What is wrong with it.
pub fn parse(line: &[u8]) -> Result<Record, String> {
    #[derive(Deserialize)]
    struct Version {
        journal: u32,
    }
    if line.len() > MOST_LINE_BYTES {
        return Err(format!("it is longer than {MOST_LINE_BYTES} bytes"));
    }
    if line.is_empty() {
        return Err("it is empty".into());
    }
    let Version { journal } = serde_json::from_slice(line).map_err(|error| format!("no line of a journal: {error}"))?;
    if journal != VERSION {
        return Err(format!("it has version {journal} of the format, and this program reads version {VERSION} only"));
    }
    serde_json::from_slice(line).map_err(|error| error.to_string())
}
