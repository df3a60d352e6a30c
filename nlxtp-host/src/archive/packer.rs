//! Making an archive of a shared directory.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::Path;

use rextfv_core::limits::Limits;
use rextfv_core::shared_directory::{Content, Entry, LeftOut, Visitor};

use crate::control::Control;
use crate::error::{Error, Result};

/// The format of an archive that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// tar in gzip, with this level from 0 to 9.
    TarGz {
        /// 0 stores, 1 is fastest, 9 smallest.
        level: u32,
    },
    /// Plain tar.
    Tar,
    /// tar in Zstandard, with this level from 1 to 22.
    TarZst {
        /// 1 is fastest, 22 smallest.
        level: i32,
    },
}

impl Default for OutputFormat {
    fn default() -> Self {
        Self::TarGz { level: 6 }
    }
}

impl OutputFormat {
    /// The format that an archive's file name asks for; tar.gz where it asks for none.
    pub fn from_path(path: &Path) -> Self {
        let _ = path;
        Self::default()
    }
}

/// Some of many, so that a hostile guest cannot fill the host's memory with reports.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Listing<T> {
    /// The first ones.
    pub listed: Vec<T>,
    /// How many more there are.
    pub omitted: u64,
}

/// A file whose content was not what its entry said.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ChangedFile {
    /// Its path, escaped for showing.
    pub path: String,
    /// What is wrong with its content in the archive.
    pub problem: String,
}

/// What a download took home.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
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
}

/// Makes an archive of what a walk shows it.
pub struct Packer<'a, W: Write> {
    sink: W,
    control: &'a Control<'a>,
}

impl<'a, W: Write> Packer<'a, W> {
    /// Begins an archive.
    ///
    /// # Errors
    /// The sink could not be written.
    pub fn new(format: OutputFormat, sink: W, control: &'a Control<'a>) -> Result<Self> {
        let _ = format;
        Ok(Self { sink, control })
    }

    /// The same with other bounds than [`Limits::DEFAULT`].
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        let _ = limits;
        self
    }

    /// The same with the number of bytes to come, for the reports of progress.
    #[must_use]
    pub fn with_total(self, total: Option<u64>) -> Self {
        let _ = total;
        self
    }

    /// Completes the archive and says what it holds. A packer that is dropped instead leaves an
    /// archive that every reader will call truncated.
    ///
    /// # Errors
    /// The sink could not be written.
    pub fn finish(self) -> Result<DownloadReport> {
        let _ = (self.sink, self.control);
        todo!()
    }
}

impl<W: Write> Visitor for Packer<'_, W> {
    type Error = Error;

    fn file(&mut self, entry: &Entry, content: &mut dyn Content<Error = Error>) -> Result<()> {
        let _ = (entry, content);
        todo!()
    }

    fn directory(&mut self, entry: &Entry) -> Result<()> {
        let _ = entry;
        todo!()
    }

    fn symlink(&mut self, entry: &Entry, target: &[u8]) -> Result<()> {
        let _ = (entry, target);
        todo!()
    }

    fn left_out(&mut self, left_out: LeftOut) -> Result<()> {
        let _ = left_out;
        todo!()
    }
}
