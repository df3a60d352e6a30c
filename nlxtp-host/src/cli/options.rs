//! Options that several commands share.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use nlxtp_host::archive::ArchiveReader;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::guest::KnownPower;
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory;
use rextfv_core::archive_rules::LinkPolicy;
use rextfv_core::limits::Limits;
use rextfv_core::liveness::LivenessRules;
use rextfv_core::powers::PowerState;

use super::failure::Failure;
use super::journal_options::NodeJournalOptions;
use super::memory_file::{MemoryFile, MemoryOptions};
use super::session::Session;
use super::units::{parse_duration, parse_number, parse_size};

/// What the testbed knows of the guest.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Power {
    /// The guest runs, or may be about to
    On,
    /// The guest is shut down and stays so
    Off,
    /// Nobody has said
    Unknown,
}

/// `--guest-power`.
#[derive(Debug, Args)]
pub struct PowerOption {
    /// Whether the guest is on, if you know. A disk whose guest is on is not written; a run that has
    /// not ended in a guest that is off has stopped
    #[arg(long, value_enum, default_value = "unknown", value_name = "STATE", hide_possible_values = true)]
    #[arg(help = "Whether the guest is on, if you know: on, off or unknown")]
    pub guest_power: Power,
}

impl PowerOption {
    /// For the node.
    pub fn known(&self) -> KnownPower {
        KnownPower(match self.guest_power {
            Power::On => PowerState::On,
            Power::Off => PowerState::Off,
            Power::Unknown => PowerState::Unknown,
        })
    }
}

/// Bounds on archives and shared directories.
#[derive(Debug, Args)]
pub struct LimitOptions {
    /// Most files, directories and links that are taken [default: 1000000]
    #[arg(long, value_name = "NUMBER", value_parser = parse_number::<u64>)]
    max_entries: Option<u64>,
    /// Most bytes of all files together, unpacked, that are taken [default: 64GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_bytes: Option<u64>,
}

impl LimitOptions {
    /// For the library.
    pub fn limits(&self) -> Limits {
        let default = Limits::DEFAULT;
        let total_bytes = self.max_bytes.unwrap_or(default.total_bytes);
        Limits { entries: self.max_entries.unwrap_or(default.entries), total_bytes, file_bytes: total_bytes, ..default }
    }
}

/// What becomes of links on FAT.
#[derive(Debug, Args)]
pub struct LinkOption {
    /// On a disk, which has no links, upload a copy of what a link in the archive leads to
    #[arg(long)]
    follow_links: bool,
}

impl LinkOption {
    /// For the library.
    pub fn policy(&self) -> LinkPolicy {
        if self.follow_links { LinkPolicy::Copy } else { LinkPolicy::Refuse }
    }
}

/// A status query: the target, and what the state is judged by.
#[derive(Debug, Args)]
pub struct Query {
    /// The shared directory or disk
    pub target: PathBuf,
    #[command(flatten)]
    power: PowerOption,
    /// How long the monitor may be silent beyond three of the intervals that it promised
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s")]
    grace: Duration,
    /// The same for ToMaTo's guest modules, which promise nothing
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10m")]
    tomato_patience: Duration,
    #[command(flatten)]
    memory: MemoryOptions,
    #[command(flatten)]
    journal: NodeJournalOptions,
}

impl Query {
    /// The node to be asked, with what is remembered of it.
    pub fn open(&self, session: &Session) -> Result<(Node, MemoryFile), Failure> {
        let rules =
            LivenessRules { grace: self.grace, tomato_patience: self.tomato_patience, ..LivenessRules::default() };
        let node = open_node(&self.target, Limits::DEFAULT)?;
        let memory = self.memory.load(&self.target, session).map_err(Failure::other)?;
        let node = node.with_power(self.power.known()).with_liveness(rules).with_memory(memory.loaded());
        let node = self.journal.give(node, &self.target, None, false)?;
        Ok((node, memory))
    }
}

/// The node with this shared directory.
pub fn open_node(target: &Path, limits: Limits) -> Result<Node, Failure> {
    try_to_open_node(target, limits).map_err(|error| Failure::target(error, target))
}

/// The same for who goes on where it fails.
pub fn try_to_open_node(target: &Path, limits: Limits) -> Result<Node, Error> {
    refuse_archive(target)?;
    Ok(Node::from_boxed(shared_directory::open_with_limits(target, limits)?).with_limits(limits))
}

/// Refuses an archive in the target's place: the two paths are easily swapped.
fn refuse_archive(target: &Path) -> Result<(), Error> {
    // What cannot be opened is told by who opens the target; a FIFO or device is not to be touched.
    if !target.is_file() {
        return Ok(());
    }
    let Ok(mut file) = File::open(target) else { return Ok(()) };
    match ArchiveReader::open(&mut file) {
        Ok(archive) => {
            let message = format!("this is an archive ({}), not a shared directory or disk", archive.format().name());
            Err(Error::new(ErrorKind::NotATarget, message).with_hint("TARGET comes first, then ARCHIVE"))
        }
        Err(_) => Ok(()),
    }
}
