//! Archives as the command line names them: by a path, or `-` for standard input and output.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::Path;

use nlxtp_host::archive::files::{self, NewArchive};
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind, Result};
use rextfv_core::limits::Limits;

use super::failure::Failure;

/// Whether this stands for standard input or output.
pub fn is_standard(archive: &Path) -> bool {
    archive.as_os_str() == "-"
}

/// Remembers whether the archive itself failed, so that its failures are not taken for the target's.
pub struct Watched<T> {
    inner: T,
    failed: bool,
    broken_pipe: bool,
}

impl<T> Watched<T> {
    /// Nothing has failed yet.
    pub fn new(inner: T) -> Self {
        Self { inner, failed: false, broken_pipe: false }
    }

    /// A failure of an operation on this archive and that target.
    pub fn blame(&self, error: Error, archive: &Path, target: &Path) -> Failure {
        if self.broken_pipe {
            return Failure::OutputClosed;
        }
        match error.kind() {
            ErrorKind::Refused if error.refusals().is_some() => Failure::archive(error, archive),
            ErrorKind::BadArchive => Failure::archive(error, archive),
            _ if self.failed => Failure::archive(error, archive),
            _ => Failure::target(error, target),
        }
    }

    fn note<R>(&mut self, result: io::Result<R>) -> io::Result<R> {
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::Interrupted
        {
            self.failed = true;
            self.broken_pipe |= error.kind() == io::ErrorKind::BrokenPipe;
        }
        result
    }
}

impl<T: Read> Read for Watched<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buffer);
        self.note(result)
    }
}

impl<T: Seek> Seek for Watched<T> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let result = self.inner.seek(to);
        self.note(result)
    }
}

impl<T: Write> Write for Watched<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let result = self.inner.write(buffer);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.inner.flush();
        self.note(result)
    }
}

/// Opens an archive for reading. What cannot be read twice (standard input, a pipe) is first copied
/// to a temporary file that has no name.
pub fn open(archive: &Path, limits: &Limits, control: &Control<'_>) -> Result<Watched<File>, Failure> {
    let opened = if !is_standard(archive) {
        files::open(archive, limits, control)
    } else if io::stdin().is_terminal() {
        Err(Error::new(ErrorKind::InvalidInput, "standard input is a terminal, not an archive")
            .with_hint("name a file, or pipe an archive in"))
    } else {
        files::spool(|| Ok(io::stdin()), limits, control)
    };
    opened.map(Watched::new).map_err(|error| Failure::archive(error, archive))
}

/// Refuses a name that promises a format that is not made, with this way out.
pub fn check_ending(archive: &Path, hint: &'static str) -> Result<()> {
    let ending = archive.extension().unwrap_or_default().to_ascii_lowercase();
    if ["zip", "7z", "rar", "xz", "txz", "bz2", "tbz2"].iter().any(|other| ending == *other) {
        let message = format!("an archive of the format \"{}\" is not made", ending.display());
        return Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint));
    }
    Ok(())
}

/// An archive that is being written.
pub struct Sink(NewArchive);

impl Sink {
    /// Begins an archive of this name. An existing file is only replaced if `replace`.
    pub fn create(archive: &Path, replace: bool) -> Result<Self> {
        if !is_standard(archive) {
            return NewArchive::create(archive, replace).map(Self);
        }
        if io::stdout().is_terminal() {
            return Err(Error::new(ErrorKind::InvalidInput, "an archive is not written to a terminal")
                .with_hint("name a file, or redirect standard output"));
        }
        NewArchive::on_standard_output().map(Self)
    }

    /// Whether writing may begin anew.
    pub fn can_restart(&self) -> bool {
        self.0.can_restart()
    }

    /// Where to write, from the beginning where it may begin anew.
    pub fn writer<'w>(&'w mut self, control: &'w Control<'_>) -> Result<Box<dyn Write + 'w>> {
        self.0.writer(control)
    }

    /// Gives the complete archive its name.
    pub fn complete(self, archive: &Path) -> Result<(), Failure> {
        self.0.complete().map_err(|error| Failure::archive(error, archive))
    }
}
