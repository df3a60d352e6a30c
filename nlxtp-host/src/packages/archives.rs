//! Writing the two archives: entries of ours and package files.

use std::fs::File;
use std::io::{self, Read, Write};

use rextfv_core::entry_path::EntryPath;
use rextfv_core::shared_directory::{Attributes, Content, Entry, EntryKind, Visitor};

use super::answer::{MAX_WANTED, PackageName};
use super::managers::MANAGERS;
use crate::archive::{OutputFormat, Packer};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};

/// Where the parts of the start script are.
pub(super) const PARTS: &str = "nlxtp-packages";

/// Writes a probing archive, which asks a node for these packages. Returns its length.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for no packages, or too many; the archive cannot be written; as the
/// control says.
pub fn write_probe<W: Write>(
    wanted: &[PackageName],
    format: OutputFormat,
    sink: W,
    control: &Control<'_>,
) -> Result<u64> {
    if wanted.is_empty() || wanted.len() > MAX_WANTED {
        return Err(Error::new(ErrorKind::InvalidInput, format!("name 1 to {MAX_WANTED} packages")));
    }
    let mut archive = ArchiveWriter::begin(include_str!("scripts/probe.sh"), format, sink, None, control)?;
    let names: String = wanted.iter().map(|name| format!("{}\n", name.as_str())).collect();
    archive.text(&format!("{PARTS}/wanted"), &names, 0o644)?;
    archive.finish()
}

/// An archive that is being written.
pub(super) struct ArchiveWriter<'c, 'p, W: Write>(Packer<'c, 'p, W>);

impl<'c, 'p, W: Write> ArchiveWriter<'c, 'p, W> {
    /// Begins with a start script and what all of ours read.
    pub(super) fn begin(
        start_script: &str,
        format: OutputFormat,
        sink: W,
        total: Option<u64>,
        control: &'c Control<'p>,
    ) -> Result<Self> {
        let mut archive = Self(Packer::new(format, sink, control)?.with_total(total));
        archive.text("auto_exec.sh", start_script, 0o755)?;
        archive.directory(PARTS)?;
        archive.text(&format!("{PARTS}/system.sh"), include_str!("scripts/system.sh"), 0o644)?;
        for manager in MANAGERS {
            archive.text(&format!("{PARTS}/manager-{}.sh", manager.name), manager.script, 0o644)?;
        }
        Ok(archive)
    }

    pub(super) fn directory(&mut self, path: &str) -> Result<()> {
        self.0.directory(&entry(path, EntryKind::Directory, 0, 0o755)?)
    }

    pub(super) fn text(&mut self, path: &str, text: &str, mode: u32) -> Result<()> {
        self.0.file(&entry(path, EntryKind::File, text.len() as u64, mode)?, &mut Bytes(text.as_bytes()))
    }

    pub(super) fn file(&mut self, path: &str, size: u64, file: File) -> Result<()> {
        self.0.file(&entry(path, EntryKind::File, size, 0o644)?, &mut Bytes(file))
    }

    pub(super) fn finish(self) -> Result<u64> {
        let report = self.0.finish()?;
        match report.changed.listed.first() {
            None => Ok(report.archive_bytes),
            Some(changed) => Err(Error::new(ErrorKind::Changing, "a package changed in the cache while it was packed")
                .with_object(changed.path.clone())
                .with_hint("try again")),
        }
    }
}

fn entry(path: &str, kind: EntryKind, size: u64, mode: u32) -> Result<Entry> {
    let path = EntryPath::parse(path.as_bytes());
    let path = path.map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))?;
    // The same content gives the same archive, so there is no time in it.
    Ok(Entry { path, kind, size, attributes: Attributes { mode, modified: 0 } })
}

struct Bytes<R>(R);

impl<R: Read> Content for Bytes<R> {
    type Error = Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(|error| Error::io("read a package from the cache", error)),
            }
        }
    }
}
