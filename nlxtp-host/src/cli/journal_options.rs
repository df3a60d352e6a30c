//! Options about the journal that several commands share.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::journal::{Journal, check_apart};
use nlxtp_host::node::Node;

use super::archive_file;
use super::failure::{Failure, exit};
use super::session::Session;

/// Names a journal for all commands.
const VARIABLE: &str = "NLXTP_JOURNAL";

/// `--journal`.
#[derive(Debug, Args)]
pub struct JournalOption {
    /// Append what happens to this journal [default: $NLXTP_JOURNAL; none if that is not set]
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// `--journal` and `--node`.
#[derive(Debug, Args)]
pub struct NodeJournalOptions {
    #[command(flatten)]
    pub journal: JournalOption,
    /// The node's name in the journal [default: the target's path]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

/// The journal that the environment names.
pub fn from_environment() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}

impl JournalOption {
    fn path(&self) -> Option<PathBuf> {
        self.journal.clone().or_else(from_environment)
    }

    /// The journal, where one was asked for.
    ///
    /// # Errors
    /// It cannot be written to: nothing is begun then.
    pub fn open(&self) -> Result<Option<Journal>, Failure> {
        self.path().map(Journal::open).transpose().map_err(Failure::other)
    }

    /// Refuses this file as the journal, whatever its names: it is being read.
    pub fn check_is_not(&self, read: &Path) -> Result<(), Failure> {
        let file = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
        let Some(journal) = self.path().filter(|journal| file(journal).is_some_and(|it| Some(it) == file(read))) else {
            return Ok(());
        };
        let message = "the replay would append to the journal that is replayed";
        let error = Error::new(ErrorKind::InvalidInput, message).with_path(&journal);
        Err(Failure::other(error.with_hint("give it one of its own by --journal FILE, or unset NLXTP_JOURNAL")))
    }
}

impl NodeJournalOptions {
    /// Whether there will be a journal.
    pub fn is_asked_for(&self) -> bool {
        self.journal.path().is_some()
    }

    /// The node with its journal, where one was asked for. Of the archive, the name is kept.
    ///
    /// # Errors
    /// As for [`JournalOption::open`].
    pub fn give(&self, node: Node, target: &Path, archive: Option<&Path>, keep: bool) -> Result<Node, Failure> {
        let Some(path) = self.journal.path() else { return Ok(node) };
        check_apart(&path, node.directory().host_directory()).map_err(Failure::other)?;
        let journal = Journal::open(path).map_err(Failure::other)?;
        let journal = if keep { journal.keeping_archives() } else { journal };
        let mut entry = journal.for_node(self.name(target));
        if let Some(archive) = archive.filter(|archive| !archive_file::is_standard(archive)) {
            entry = entry.with_archive(archive);
        }
        Ok(node.with_journal(entry.deferring_downloads()))
    }

    fn name(&self, target: &Path) -> Vec<u8> {
        match &self.node {
            Some(name) => name.clone().into_bytes(),
            None => node_name(target),
        }
    }
}

/// What a node is called of which nothing but the target's path is known: the same wherever the command
/// is called.
pub fn node_name(target: &Path) -> Vec<u8> {
    let path = target.canonicalize().or_else(|_| std::path::absolute(target)).unwrap_or_else(|_| target.into());
    path.into_os_string().into_encoded_bytes()
}

/// Says why what was done is not in the journal. The exit code says so too, unless it says more.
pub fn tell_failure(node: &mut Node, session: &Session, code: u8) -> u8 {
    match node.take_journal_failure() {
        Some(error) => tell(&error, session, code),
        None => code,
    }
}

/// The same for a failure that is at hand.
pub fn tell(error: &Error, session: &Session, code: u8) -> u8 {
    session.note(&format!("what was done stands, but is not in the journal: {error}"));
    if code == exit::SUCCESS { exit::NOT_IN_JOURNAL } else { code }
}
