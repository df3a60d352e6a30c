//! Making an archive that an upload takes, of files of this host or of bytes in memory.

#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rextfv_core::archive_rules::{ArchiveRules, Judgement, Manifest, ManifestBuilder, RawEntry, RawKind};
use rextfv_core::entry_path::{EntryPath, displayable};
use rextfv_core::operations::DownloadReport;
use rextfv_core::shared_directory::{Attributes, Content, Entry, EntryKind, Visitor};

use super::packer::{OutputFormat, Packer};
use super::preview::Preview;
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};

/// The first moment that a FAT can keep, 1980-01-01: what all files are stamped with in an archive
/// that is to be the same whenever it is made.
pub const REPRODUCIBLE_TIME: i64 = 315_532_800;

/// What becomes of the modes and times of files that are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stamps {
    /// As they are.
    #[default]
    Kept,
    /// Everything gets this time, and the mode 0755 if it is a directory or its owner may execute it,
    /// else 0644: the same content gives the same archive, whoever has checked it out when.
    Fixed(i64),
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// What an upload will make of the archive.
    pub manifest: Manifest,
    /// What was packed.
    pub report: DownloadReport,
    /// What may keep the start script from running as it was meant, in words.
    pub warnings: Vec<String>,
}

/// Makes an archive and judges each entry by the rules of an upload, so that what is made is taken.
///
/// Everything belongs to user and group 0; what is added in the same order with the same attributes
/// gives the same archive. Names that belong to the protocol are left out at the top, as an upload
/// does. All entries that are refused are told by [`finish`](Self::finish); from the first on, nothing
/// more is packed.
///
/// ```no_run
/// use nlxtp_host::archive::builder::{Builder, Stamps};
/// use nlxtp_host::archive::OutputFormat;
/// use nlxtp_host::control::Control;
/// use rextfv_core::archive_rules::{ArchiveRules, LinkPolicy};
/// use rextfv_core::limits::Limits;
/// use rextfv_core::shared_directory::Representation;
///
/// let rules =
///     ArchiveRules { representation: Representation::Posix, links: LinkPolicy::Refuse, limits: Limits::DEFAULT };
/// let control = Control::none();
/// let mut sink = std::fs::File::create("experiment.tar.gz").expect("a place to write to");
/// let mut builder = Builder::new(OutputFormat::default(), &mut sink, rules, &control)?;
/// builder.bytes("auto_exec.sh", 0o755, 0, b"#!/bin/sh\necho hello\n")?;
/// builder.tree("".as_ref(), "input".as_ref(), Stamps::Kept)?;
/// println!("{} entries", builder.finish()?.manifest.entries());
/// # Ok::<(), nlxtp_host::error::Error>(())
/// ```
pub struct Builder<'c, 'p, W: Write> {
    packer: Packer<'c, 'p, W>,
    control: &'c Control<'p>,
    judge: ManifestBuilder,
    preview: Preview,
    refused: bool,
}

impl<W: Write> fmt::Debug for Builder<'_, '_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("packer", &self.packer).finish_non_exhaustive()
    }
}

impl<'c, 'p, W: Write> Builder<'c, 'p, W> {
    /// Begins an archive for a target with these rules.
    ///
    /// # Errors
    /// As for [`Packer::new`].
    pub fn new(format: OutputFormat, sink: W, rules: ArchiveRules, control: &'c Control<'p>) -> Result<Self> {
        let packer = Packer::new(format, sink, control)?.with_limits(rules.limits);
        Ok(Self { packer, control, judge: ManifestBuilder::new(rules), preview: Preview::default(), refused: false })
    }

    /// Adds a file with this content. Directories that its path implies need not be added.
    ///
    /// # Errors
    /// The archive could not be written. A path that is refused is told by [`finish`](Self::finish).
    pub fn bytes(&mut self, path: impl AsRef<[u8]>, mode: u32, modified: i64, content: &[u8]) -> Result<()> {
        let attributes = Attributes { mode, modified };
        self.add_file(path.as_ref(), attributes, content.len() as u64, &mut FromReader::new(content))
    }

    /// Adds a directory.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes).
    pub fn add_directory(&mut self, path: &[u8], attributes: Attributes) -> Result<()> {
        match self.judge(path, RawKind::Directory, 0, attributes) {
            Some(entry) => self.packer.directory(&entry),
            None => Ok(()),
        }
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes).
    pub fn add_symlink(&mut self, path: &[u8], target: &[u8], attributes: Attributes) -> Result<()> {
        match self.judge(path, RawKind::Symlink(target), 0, attributes) {
            Some(entry) => self.packer.symlink(&entry, target),
            None => Ok(()),
        }
    }

    /// Adds another name of a file that was added before.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes).
    pub fn add_hard_link(&mut self, path: &[u8], existing: &[u8]) -> Result<()> {
        let attributes = Attributes { mode: 0o644, modified: 0 };
        match self.judge(path, RawKind::HardLink(existing), 0, attributes) {
            Some(entry) => self.packer.hard_link(&entry, existing),
            None => Ok(()),
        }
    }

    /// Adds a file of exactly `size` bytes.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes); [`ErrorKind::Changing`] if there were fewer or more bytes.
    pub fn add_file(
        &mut self,
        path: &[u8],
        attributes: Attributes,
        size: u64,
        content: &mut dyn Content<Error = Error>,
    ) -> Result<()> {
        let Some(entry) = self.judge(path, RawKind::File, size, attributes) else { return Ok(()) };
        let before = self.packer.changed();
        self.preview.begin(path, attributes.mode);
        self.packer.file(&entry, &mut Previewed { content, preview: &mut self.preview })?;
        if self.packer.changed() == before {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Changing, "the file changed, or could not be read, while it was packed")
            .with_object(displayable(path))
            .with_hint("try again when nobody writes it"))
    }

    /// Adds all that a directory of this host holds below `prefix` (empty for the top), names in byte
    /// order, links as links. Devices and the like are refused as they are in an upload.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes), or something could not be read.
    pub fn tree(&mut self, prefix: &Path, directory: &Path, stamps: Stamps) -> Result<()> {
        let mut prefix = prefix.as_os_str().as_bytes().to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        self.folder(&prefix, directory, stamps)
    }

    fn folder(&mut self, prefix: &[u8], directory: &Path, stamps: Stamps) -> Result<()> {
        let reading = |error| Error::io("read the directory", error).with_path(directory);
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).map_err(reading)? {
            names.push(entry.map_err(reading)?.file_name());
        }
        names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        for name in names {
            self.control.check()?;
            let path = [prefix, name.as_bytes()].concat();
            self.one(&path, &directory.join(name), stamps)?;
        }
        Ok(())
    }

    fn one(&mut self, path: &[u8], file: &Path, stamps: Stamps) -> Result<()> {
        let doing = |what: &'static str| move |error: io::Error| Error::io(what, error).with_path(file);
        let found = fs::symlink_metadata(file).map_err(doing("look at the file"))?;
        let kind = found.file_type();
        let attributes = stamped(&found, stamps);
        if kind.is_dir() {
            // What is refused or left out is not looked into.
            let Some(entry) = self.judge(path, RawKind::Directory, 0, attributes) else { return Ok(()) };
            self.packer.directory(&entry)?;
            return self.folder(&[path, b"/"].concat(), file, stamps);
        }
        if kind.is_symlink() {
            let target = fs::read_link(file).map_err(doing("read the link"))?.into_os_string().into_vec();
            return self.add_symlink(path, &target, attributes);
        }
        if !kind.is_file() {
            let kind = if kind.is_fifo() { RawKind::Fifo } else { RawKind::Device };
            self.judge(path, kind, 0, attributes);
            return Ok(());
        }
        // It may have become a FIFO or a link since.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let opened = File::options().read(true).custom_flags(flags).open(file).map_err(doing("open the file"))?;
        let size = opened.metadata().map_err(doing("look at the file"))?.len();
        self.add_file(path, attributes, size, &mut FromReader::new(opened))
    }

    /// What becomes of an entry; `None` where it is not to be packed.
    fn judge(&mut self, path: &[u8], kind: RawKind<'_>, size: u64, attributes: Attributes) -> Option<Entry> {
        let Attributes { mode, modified } = attributes;
        let judgement = self.judge.add(&RawEntry { path, kind, size, mode, modified, has_owner: false });
        self.refused |= matches!(judgement, Judgement::Refused | Judgement::RefusedAtOnce);
        if self.refused || judgement == Judgement::LeftOut {
            return None;
        }
        let path = EntryPath::parse(path).ok()?;
        let kind = match kind {
            RawKind::Directory => EntryKind::Directory,
            RawKind::Symlink(_) => EntryKind::Symlink,
            _ => EntryKind::File,
        };
        Some(Entry { path, kind, size, attributes })
    }

    /// Completes the archive.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] with all entries that an upload would refuse; the archive could not be
    /// written.
    pub fn finish(mut self) -> Result<Built> {
        let (_, warnings) = self.preview.judge(&mut self.judge);
        let control = self.control;
        let manifest = self.judge.finish_watched(&|| control.check())?.map_err(Error::refused)?;
        let report = self.packer.finish()?;
        Ok(Built { manifest, report, warnings })
    }
}

fn stamped(found: &Metadata, stamps: Stamps) -> Attributes {
    match stamps {
        Stamps::Kept => Attributes { mode: found.mode() & 0o7777, modified: found.mtime() },
        Stamps::Fixed(modified) => {
            let executable = found.is_dir() || found.mode() & 0o100 != 0;
            Attributes { mode: if executable { 0o755 } else { 0o644 }, modified }
        }
    }
}

/// Content of which a preview is kept.
struct Previewed<'a> {
    content: &'a mut dyn Content<Error = Error>,
    preview: &'a mut Preview,
}

impl Content for Previewed<'_> {
    type Error = Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.content.read(buffer)?;
        self.preview.take(&buffer[..read]);
        Ok(read)
    }

    fn was_changed(&self) -> bool {
        self.content.was_changed()
    }
}

/// What a reader gives, as the content of a file.
struct FromReader<R>(R);

impl<R: Read> FromReader<R> {
    fn new(reader: R) -> Self {
        Self(reader)
    }
}

impl<R: Read> Content for FromReader<R> {
    type Error = Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(|error| Error::io("read the file", error)),
            }
        }
    }
}
