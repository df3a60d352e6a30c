//! Making an archive of a shared directory.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::thread;

use rextfv_core::entry_path::{EntryPath, displayable};
use rextfv_core::limits::Limits;
use rextfv_core::operations::{ChangedFile, ContentProblem, DownloadReport};
use rextfv_core::shared_directory::{Attributes, Content, Entry, LeftOut, Visitor};

use super::encoder::Encoder;
use super::source::CHUNK;
use super::tar_header::{BLOCK, NewHeader};
use crate::control::{Control, Progress};
use crate::error::{Error, ErrorKind, Result};

/// The format of an archive that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// tar in gzip.
    TarGz {
        /// 0 stores, 1 is fastest, 9 smallest.
        level: u32,
    },
    /// Plain tar.
    Tar,
    /// tar in Zstandard.
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
    /// What users call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TarGz { .. } => "tar.gz",
            Self::Tar => "tar",
            Self::TarZst { .. } => "tar.zst",
        }
    }

    /// The same, compressed as hard as this level says: 0 to 9 for tar.gz, 1 to 22 for tar.zst.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the format has no such level; tar has none.
    pub fn with_level(self, level: i32) -> Result<Self> {
        match (self, level) {
            (Self::TarGz { .. }, 0..=9) => Ok(Self::TarGz { level: level.unsigned_abs() }),
            (Self::TarZst { .. }, 1..=22) => Ok(Self::TarZst { level }),
            _ => Err(Error::new(ErrorKind::InvalidInput, format!("{} has no level {level}", self.name()))
                .with_hint("tar.gz has 0 to 9, tar.zst 1 to 22, tar none")),
        }
    }

    /// The format that an archive's file name asks for: `.tar`, `.tar.zst` and `.tzst`, upper case
    /// or lower; tar.gz for every other name.
    pub fn from_path(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_ascii_lowercase();
        let name = name.as_encoded_bytes();
        if name.ends_with(b".tar") {
            Self::Tar
        } else if name.ends_with(b".tar.zst") || name.ends_with(b".tzst") {
            Self::TarZst { level: 3 }
        } else {
            Self::default()
        }
    }
}

/// How many threads compress an archive unless something else is asked for: as many as there are
/// cores, and 8 at most.
pub fn default_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(8)
}

/// Makes an archive of what a walk shows it.
///
/// The archive is well-formed whatever the shared directory does meanwhile: a file has as many
/// bytes as its entry said, and the report tells where that is not the whole truth. Everything
/// belongs to user and group 0, without names, and the same content gives the same archive. What is
/// written is GNU tar's format, which keeps every byte of every name.
///
/// Only [`finish`](Self::finish) completes it. A packer that is dropped leaves an archive that is
/// recognisably truncated.
pub struct Packer<'c, 'p, W: Write> {
    encoder: Encoder<W>,
    control: &'c Control<'p>,
    limits: Limits,
    total: Option<u64>,
    top: Attributes,
    any_entry: bool,
    report: DownloadReport,
    chunk: Box<[u8]>,
}

impl<W: Write> fmt::Debug for Packer<'_, '_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").field("report", &self.report).finish_non_exhaustive()
    }
}

/// What a header is for, as it says so.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    File = b'0',
    HardLink = b'1',
    Symlink = b'2',
    Directory = b'5',
    LongTarget = b'K',
    LongName = b'L',
}

impl<'c, 'p, W: Write> Packer<'c, 'p, W> {
    /// Begins an archive, to be compressed by [`default_threads`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there is no such compression level.
    pub fn new(format: OutputFormat, sink: W, control: &'c Control<'p>) -> Result<Self> {
        Self::with_threads(format, sink, control, default_threads())
    }

    /// Begins an archive, to be compressed by so many threads beside the caller's, which reads and
    /// writes; by the caller's alone with 1 (or 0). The archive is the same. Each thread
    /// takes 3 MiB of memory; of tar.zst, there are 3 at most.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_threads(format: OutputFormat, sink: W, control: &'c Control<'p>, threads: usize) -> Result<Self> {
        Ok(Self {
            encoder: Encoder::new(format, sink, threads)?,
            control,
            limits: Limits::DEFAULT,
            total: None,
            top: Attributes { mode: 0o755, modified: 0 },
            any_entry: false,
            report: DownloadReport::default(),
            chunk: vec![0; CHUNK].into(),
        })
    }

    /// The same with other bounds than [`Limits::DEFAULT`]: a guest can make a file of any size
    /// without writing it.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same with the number of bytes to come, for the reports of progress.
    #[must_use]
    pub fn with_total(mut self, total: Option<u64>) -> Self {
        self.total = total;
        self
    }

    /// The same with these attributes for the shared directory itself, which otherwise has the
    /// mode 0755 and a time of 0.
    #[must_use]
    pub fn with_top(mut self, attributes: Attributes) -> Self {
        self.top = attributes;
        self
    }

    /// Completes the archive and says what it holds.
    ///
    /// # Errors
    /// The sink could not be written, or the operation was cancelled.
    pub fn finish(mut self) -> Result<DownloadReport> {
        self.begin()?;
        self.control.check()?;
        self.encoder.write(&[0; 2 * BLOCK])?;
        self.report.archive_bytes = self.encoder.finish()?;
        let done = self.report.bytes;
        self.control.report(Progress::Packing { done, total: Some(done) })?;
        Ok(self.report)
    }

    /// How many files have turned out not to be as they were announced.
    pub(super) fn changed(&self) -> u64 {
        self.report.changed.count()
    }

    /// Adds another name of a file that was packed before.
    pub(super) fn hard_link(&mut self, entry: &Entry, existing: &[u8]) -> Result<()> {
        self.count_entry(entry)?;
        let target = [b"./", existing].concat();
        self.header(&entry.path, Kind::HardLink, entry.attributes, 0, &target)?;
        self.report.files += 1;
        Ok(())
    }

    /// Writes the entry of the shared directory itself, which comes first.
    fn begin(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.any_entry, true) {
            return Ok(());
        }
        let root = EntryPath::root();
        self.header(&root, Kind::Directory, self.top, 0, b"")
    }

    /// Counts one more entry against the limits.
    fn count_entry(&mut self, entry: &Entry) -> Result<()> {
        self.begin()?;
        let report = &self.report;
        let met = report.files + report.directories + report.symlinks;
        if met >= self.limits.entries {
            let message = format!("the shared directory has more than {} entries", self.limits.entries);
            return Err(refuse(message, entry));
        }
        self.control.report(Progress::Packing { done: report.bytes, total: self.total })
    }

    fn header(&mut self, path: &EntryPath, kind: Kind, attributes: Attributes, size: u64, target: &[u8]) -> Result<()> {
        let mut name = [b"./", path.as_bytes()].concat();
        if kind == Kind::Directory && !path.is_root() {
            name.push(b'/');
        }
        if !target.is_empty() {
            self.long_name(Kind::LongTarget, target)?;
        }
        self.long_name(Kind::LongName, &name)?;
        let Attributes { mode, modified } = attributes;
        let kind = kind as u8;
        let header = NewHeader { kind, name: &name, link_name: target, mode: mode & 0o777, size, modified };
        self.encoder.write(&header.encode())
    }

    /// Writes GNU tar's extra header for a name that does not fit with the NUL that ends it.
    fn long_name(&mut self, kind: Kind, long: &[u8]) -> Result<()> {
        if long.len() < 100 {
            return Ok(());
        }
        let (kind, size) = (kind as u8, long.len() as u64 + 1);
        let header = NewHeader { kind, name: b"././@LongLink", link_name: b"", mode: 0o644, size, modified: 0 };
        self.encoder.write(&header.encode())?;
        self.encoder.write(long)?;
        self.encoder.write(&[0])?;
        self.pad_to_block(size)
    }

    fn pad_to_block(&mut self, size: u64) -> Result<()> {
        let padding = (size.wrapping_neg() % BLOCK as u64) as usize;
        self.encoder.write(&[0; BLOCK][..padding])
    }

    /// Writes content of exactly `size` bytes and says what is wrong with it.
    fn content(&mut self, size: u64, content: &mut dyn Content<Error = Error>) -> Result<Option<ContentProblem>> {
        let mut left = size;
        while left > 0 {
            // A byte more, so that what is longer shows at once.
            let most = left.saturating_add(1).min(CHUNK as u64) as usize;
            let read = match content.read(&mut self.chunk[..most]) {
                Ok(0) => return self.zeros(left).map(|()| Some(ContentProblem::Shorter)),
                Ok(read) => read,
                Err(error) if error.is_the_guests_doing() => {
                    return self.zeros(left).map(|()| Some(ContentProblem::Unreadable));
                }
                Err(error) => return Err(error),
            };
            let promised = left.min(read as u64) as usize;
            self.encoder.write(&self.chunk[..promised])?;
            self.advance(promised)?;
            if promised < read {
                return Ok(Some(ContentProblem::Longer));
            }
            left -= read as u64;
        }
        match content.read(&mut self.chunk[..1]) {
            Ok(0) => {}
            Ok(_) => return Ok(Some(ContentProblem::Longer)),
            // All that was promised is there.
            Err(error) if error.is_the_guests_doing() => {}
            Err(error) => return Err(error),
        }
        Ok(content.was_changed().then_some(ContentProblem::Rewritten))
    }

    fn zeros(&mut self, mut left: u64) -> Result<()> {
        self.chunk.fill(0);
        while left > 0 {
            let most = left.min(CHUNK as u64) as usize;
            self.encoder.write(&self.chunk[..most])?;
            self.advance(most)?;
            left -= most as u64;
        }
        Ok(())
    }

    fn advance(&mut self, bytes: usize) -> Result<()> {
        self.report.bytes += bytes as u64;
        self.control.report(Progress::Packing { done: self.report.bytes, total: self.total })
    }
}

impl<W: Write> Visitor for Packer<'_, '_, W> {
    type Error = Error;

    fn file(&mut self, entry: &Entry, content: &mut dyn Content<Error = Error>) -> Result<()> {
        self.count_entry(entry)?;
        let most = self.limits.file_bytes.min(self.limits.total_bytes.saturating_sub(self.report.bytes));
        if entry.size > most {
            let message = format!("the file has {} bytes; the limits leave room for {most}", entry.size);
            return Err(refuse(message, entry));
        }
        self.header(&entry.path, Kind::File, entry.attributes, entry.size, b"")?;
        let problem = self.content(entry.size, content)?;
        self.pad_to_block(entry.size)?;
        self.report.files += 1;
        if let Some(problem) = problem {
            self.report.changed.push(ChangedFile { path: displayable(entry.path.as_bytes()), problem });
        }
        Ok(())
    }

    fn directory(&mut self, entry: &Entry) -> Result<()> {
        self.count_entry(entry)?;
        self.header(&entry.path, Kind::Directory, entry.attributes, 0, b"")?;
        self.report.directories += 1;
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry, target: &[u8]) -> Result<()> {
        self.count_entry(entry)?;
        self.header(&entry.path, Kind::Symlink, entry.attributes, 0, target)?;
        self.report.symlinks += 1;
        Ok(())
    }

    fn left_out(&mut self, left_out: LeftOut) -> Result<()> {
        self.control.check()?;
        self.report.left_out.push(left_out);
        Ok(())
    }
}

fn refuse(message: String, entry: &Entry) -> Error {
    Error::new(ErrorKind::Refused, message)
        .with_object(displayable(entry.path.as_bytes()))
        .with_hint("remove it in the guest, or raise the limits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_by_file_name() {
        for (name, format) in [
            ("a.tar.gz", OutputFormat::default()),
            ("a.tgz", OutputFormat::default()),
            ("a.zip", OutputFormat::default()),
            ("a", OutputFormat::default()),
            ("/x.tar/a", OutputFormat::default()),
            ("a.TAR", OutputFormat::Tar),
            ("/x/a.tar.zst", OutputFormat::TarZst { level: 3 }),
            ("a.tzst", OutputFormat::TarZst { level: 3 }),
        ] {
            assert_eq!(OutputFormat::from_path(Path::new(name)), format, "{name}");
        }
    }
}
