//! Making an archive of a shared directory.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::Path;

use rextfv_core::limits::Limits;
use rextfv_core::operations::DownloadReport;
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

/// Makes an archive of what a walk shows it.
pub struct Packer<'c, 'p, W: Write> {
    sink: W,
    control: &'c Control<'p>,
}

impl<'c, 'p, W: Write> Packer<'c, 'p, W> {
    /// Begins an archive.
    ///
    /// # Errors
    /// The sink could not be written.
    pub fn new(format: OutputFormat, sink: W, control: &'c Control<'p>) -> Result<Self> {
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

impl<W: Write> Visitor for Packer<'_, '_, W> {
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
