//! The journal: what was done to which node, when, with which archive, and what came of it.
//!
//! "The knowledge about which archives have been uploaded on which devices at what time in the
//! experiment may, together with all testbed variables, determine the whole experiment" (paper,
//! section 5). A [`Journal`] keeps that knowledge: give it to a [`Node`](crate::node::Node) by
//! [`with_journal`](crate::node::Node::with_journal), and each upload, start, end and download appends
//! a line of JSON to a file. Each line holds the digest of the line before. `docs/journal.md` describes
//! the file.
//!
//! [`Reader`] reads it, [`verify`](verify::verify) checks it, [`replay`] says how to do all of it again and
//! compares what comes of it.
//!
//! ```no_run
//! use nlxtp_host::control::Control;
//! use nlxtp_host::journal::Journal;
//! use nlxtp_host::node::Node;
//! use nlxtp_host::shared_directory::DiskImage;
//!
//! let journal = Journal::open("experiment.jsonl")?.keeping_archives();
//! let mut node = Node::new(DiskImage::open("disk.img")?).with_journal(journal.for_node("client"));
//! let mut archive = std::fs::File::open("experiment.tar.gz")?;
//! node.upload(&mut archive, &Control::none())?;
//! if let Some(error) = node.take_journal_failure() {
//!     eprintln!("uploaded, but not in the journal: {error}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod append;
pub mod compare;
pub mod digest;
pub mod glob;
mod index;
mod reader;
pub mod record;
pub(crate) mod recorder;
pub mod replay;
pub mod store;
pub mod tree;
pub mod utc;
pub mod verify;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Take};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use digest::Digest;
pub use reader::{Line, Reader};
pub use record::{Event, Record};
pub use recorder::NodeJournal;
pub use store::Store;
pub use tree::Tree;
pub use utc::Utc;

use crate::error::{Error, ErrorKind, Result};
use append::LockedJournal;
use index::{Index, Known};
use rextfv_core::ids::RunId;

/// A journal that lines can be appended to, by any number of nodes, threads and processes at once.
///
/// Cheap to clone; all clones are the same journal. The file is only open while a line is written, so
/// it can be moved away at any time: the next line then begins a new one.
#[derive(Debug, Clone)]
pub struct Journal {
    path: Arc<Path>,
    index: Arc<Mutex<Index>>,
    keep_archives: bool,
}

impl Journal {
    /// The journal in this file, which is made where there is none.
    ///
    /// # Errors
    /// The file cannot be written to, or holds anything but a journal ([`ErrorKind::InvalidInput`]).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        // Wherever this process goes meanwhile.
        let path = std::path::absolute(&path).map_err(|error| Error::io("find the journal", error).with_path(&path))?;
        LockedJournal::open(&path)?;
        Ok(Self { path: path.into(), index: Arc::default(), keep_archives: false })
    }

    /// The same, keeping a copy of each uploaded archive in the [`Store`] beside it, for a replay.
    #[must_use]
    pub fn keeping_archives(mut self) -> Self {
        self.keep_archives = true;
        self
    }

    /// The same file, sharing nothing else with this one: for a forked process, in which another thread may
    /// have held what they would share.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { path: self.path.to_path_buf().into(), index: Arc::default(), keep_archives: self.keep_archives }
    }

    /// The journal for a node of this name. The name is what a replay finds the node by: the same in
    /// every process, and no other node's. It is escaped as
    /// [`displayable`](rextfv_core::entry_path::displayable) does it.
    pub fn for_node(&self, name: impl AsRef<[u8]>) -> NodeJournal {
        NodeJournal::new(self.clone(), name.as_ref())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store beside it.
    pub fn store(&self) -> Store {
        Store::beside(&self.path)
    }

    /// Fails where a line could not be written: before an operation, whose result would else be lost to
    /// the journal.
    fn check(&self) -> Result<()> {
        LockedJournal::open(&self.path).map(drop)
    }

    /// Appends a line.
    fn append(&self, record: Record) -> Result<()> {
        LockedJournal::open(&self.path)?.append(record).map(drop)
    }

    /// Appends a line about a run unless there is one already. `stranger` decides on a run of which
    /// the journal holds nothing yet, not even its upload.
    fn append_once(&self, record: Record, run: RunId, event: Known, stranger: &mut bool) -> Result<()> {
        let locked = LockedJournal::open(&self.path)?;
        let known = {
            let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
            index
                .look_up(locked.file(), locked.end(), &record.node, run)
                .map_err(|error| Error::io("read the journal", error).with_path(&self.path))?
        };
        if known.has(event) {
            return Ok(());
        }
        if known == Known::default() && !std::mem::replace(stranger, false) {
            return Ok(());
        }
        locked.append(record).map(drop)
    }
}

/// Refuses a journal in a shared directory that is a directory of the host: an upload would erase it, and
/// the guest could write to it.
///
/// # Errors
/// [`ErrorKind::InvalidInput`].
pub fn check_apart(journal: &Path, host_directory: Option<&[u8]>) -> Result<()> {
    let real = |path: &Path| path.canonicalize().ok();
    let folder = journal.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The file itself may be a link.
    let lies_in = [real(folder), real(journal)];
    let directory = host_directory.map(OsStr::from_bytes).map(Path::new).and_then(real);
    let Some(directory) = directory else { return Ok(()) };
    if lies_in.iter().flatten().any(|path| path.starts_with(&directory)) {
        return Err(Error::new(ErrorKind::InvalidInput, "the journal would lie in the shared directory itself")
            .with_hint("name a file elsewhere")
            .with_path(journal));
    }
    Ok(())
}

/// Opens a journal for reading. What is appended later is no part of what is read.
///
/// # Errors
/// [`ErrorKind::NotFound`] and its like; [`ErrorKind::InvalidInput`] for what is no file.
pub fn read(path: &Path) -> Result<Reader<BufReader<Take<File>>>> {
    let file = append::open_to_read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => error.with_hint("check the path; a journal is made by the first command with --journal"),
        _ => error,
    })?;
    Ok(Reader::new(BufReader::with_capacity(64 << 10, file)))
}
