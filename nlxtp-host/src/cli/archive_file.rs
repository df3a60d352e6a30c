//! Archives as files: read from where they are, or from a pipe; written so that none is ever half
//! there.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
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
    let open = || -> Result<File> {
        if is_standard(archive) {
            if io::stdin().is_terminal() {
                return Err(Error::new(ErrorKind::InvalidInput, "standard input is a terminal, not an archive")
                    .with_hint("name a file, or pipe an archive in"));
            }
            return spool(|| Ok(Box::new(io::stdin())), limits, control);
        }
        let found = fs::metadata(archive).map_err(|error| Error::io("open the archive", error))?;
        if found.is_dir() {
            return Err(Error::new(ErrorKind::InvalidInput, "it is a directory, not an archive")
                .with_hint("pack it: tar --numeric-owner -czf ARCHIVE.tar.gz -C DIRECTORY ."));
        }
        if found.is_file() {
            return File::open(archive).map_err(|error| Error::io("open the archive", error));
        }
        let path = archive.to_path_buf();
        spool(move || File::open(path).map(|file| Box::new(file) as Box<dyn Read>), limits, control)
    };
    open().map(Watched::new).map_err(|error| Failure::archive(error, archive))
}

/// Bytes that are copied at once.
const PIECE: usize = 256 << 10;

/// What an entry costs in an archive beyond its content, generously.
const ENTRY_BYTES: u64 = 4096;

/// Copies all of a source to a temporary file.
///
/// The source is read in a thread of its own: a pipe may stay silent for ever, and a cancellation
/// must be noticed nevertheless.
fn spool(
    open: impl FnOnce() -> io::Result<Box<dyn Read>> + Send + 'static,
    limits: &Limits,
    control: &Control<'_>,
) -> Result<File> {
    let keeping = |error| {
        let error = Error::io("keep the archive in a temporary file", error);
        error.with_hint("make room in the directory for temporary files, or name another one in TMPDIR")
    };
    let mut file = unnamed_file().map_err(keeping)?;
    let (sender, receiver) = mpsc::sync_channel::<io::Result<Vec<u8>>>(4);
    let read_all = move || {
        let mut source = match open() {
            Ok(source) => source,
            Err(error) => return drop(sender.send(Err(error))),
        };
        loop {
            let mut piece = Vec::new();
            let read = source.by_ref().take(PIECE as u64).read_to_end(&mut piece).map(|_| piece);
            let over = read.as_ref().map_or(true, Vec::is_empty);
            // The receiver is gone where the operation was given up.
            if sender.send(read).is_err() || over {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("spool".into())
        .spawn(read_all)
        .map_err(|error| Error::io("read the archive", error))?;
    let most = limits.total_bytes.saturating_add(limits.entries.saturating_mul(ENTRY_BYTES));
    let mut length = 0_u64;
    loop {
        control.check()?;
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(Ok(piece)) if piece.is_empty() => break,
            Ok(Ok(piece)) => {
                length = length.saturating_add(piece.len() as u64);
                if length > most {
                    return Err(Error::new(ErrorKind::BadArchive, "it is longer than any archive within the limits")
                        .with_hint("raise --max-bytes"));
                }
                file.write_all(&piece).map_err(keeping)?;
            }
            Ok(Err(error)) => return Err(Error::io("read the archive", error)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    file.rewind().map_err(keeping)?;
    Ok(file)
}

fn unnamed_file() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!(".nlxtp-{}", random_suffix()?));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn random_suffix() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// An archive that is being written.
pub enum NewArchive {
    /// To standard output, a pipe or a device: what is written is written.
    Stream(Box<dyn Write>),
    /// To a file beside the archive, which is renamed in the end.
    Beside(Beside),
}

/// The file beside; removed again unless it takes its name.
pub struct Beside {
    file: File,
    path: PathBuf,
    target: PathBuf,
    replace: bool,
    complete: bool,
}

impl NewArchive {
    /// Begins an archive of this name. An existing file is only replaced if `replace`.
    pub fn create(archive: &Path, replace: bool) -> Result<Self, Failure> {
        Self::begin(archive, replace).map_err(|error| Failure::archive(error, archive))
    }

    fn begin(archive: &Path, replace: bool) -> Result<Self> {
        if is_standard(archive) {
            if io::stdout().is_terminal() {
                return Err(Error::new(ErrorKind::InvalidInput, "an archive is not written to a terminal")
                    .with_hint("name a file, or redirect standard output"));
            }
            return Ok(Self::Stream(Box::new(io::stdout())));
        }
        let mut target = archive.to_path_buf();
        // A link that leads nowhere counts as existing.
        if fs::symlink_metadata(archive).is_ok() {
            let found = fs::metadata(archive).map_err(|error| Error::io("look at the archive", error))?;
            let kind = found.file_type();
            if kind.is_fifo() || kind.is_char_device() {
                let stream = File::options().write(true).open(archive);
                let stream = stream.map_err(|error| Error::io("write the archive", error))?;
                return Ok(Self::Stream(Box::new(stream)));
            }
            if !found.is_file() {
                return Err(Error::new(ErrorKind::InvalidInput, "there is something else than a file at this path")
                    .with_hint("name a new file"));
            }
            if !replace {
                return Err(exists());
            }
            // A link to an archive stays a link.
            target = archive.canonicalize().map_err(|error| Error::io("look at the archive", error))?;
        }
        let name = target.file_name().ok_or_else(|| Error::new(ErrorKind::InvalidInput, "this is no file name"))?;
        let mut beside_name = std::ffi::OsString::from(".");
        beside_name.push(name);
        beside_name.push(format!(".nlxtp-download-{}", random_suffix().map_err(writing)?));
        let path = target.with_file_name(beside_name);
        let file = File::options().write(true).create_new(true).open(&path).map_err(writing)?;
        Ok(Self::Beside(Beside { file, path, target, replace, complete: false }))
    }

    /// Whether writing may begin anew.
    pub fn can_restart(&self) -> bool {
        matches!(self, Self::Beside(_))
    }

    /// Where to write, from the beginning.
    pub fn writer(&mut self) -> io::Result<&mut dyn Write> {
        match self {
            Self::Stream(stream) => Ok(stream),
            Self::Beside(beside) => {
                beside.file.set_len(0)?;
                beside.file.rewind()?;
                Ok(&mut beside.file)
            }
        }
    }

    /// Gives the complete archive its name.
    pub fn complete(self, archive: &Path) -> Result<(), Failure> {
        match self {
            Self::Stream(mut stream) => stream.flush().map_err(Failure::output),
            Self::Beside(beside) => beside.complete().map_err(|error| Failure::archive(error, archive)),
        }
    }
}

/// A failure to write an archive.
pub fn writing(error: io::Error) -> Error {
    with_way_out(Error::io("write the archive", error))
}

/// The same with a way out where there is no room for the archive.
pub fn with_way_out(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NoSpace => error.with_hint("make room, or name a file elsewhere"),
        _ => error,
    }
}

fn exists() -> Error {
    Error::new(ErrorKind::InvalidInput, "there is a file of this name already")
        .with_hint("choose another name, or replace it with --force")
}

impl Beside {
    fn complete(mut self) -> Result<()> {
        // Else a crash could leave the name with half of the content.
        self.file.sync_all().map_err(writing)?;
        let flags = if self.replace { RenameFlags::empty() } else { RenameFlags::RENAME_NOREPLACE };
        match renameat2(AT_FDCWD, &self.path, AT_FDCWD, &self.target, flags) {
            Err(Errno::EEXIST) => return Err(exists()),
            // A file system that cannot rule out replacing.
            Err(Errno::EINVAL | Errno::ENOSYS) if fs::symlink_metadata(&self.target).is_err() || self.replace => {
                fs::rename(&self.path, &self.target).map_err(writing)?;
            }
            Err(Errno::EINVAL | Errno::ENOSYS) => return Err(exists()),
            other => other.map_err(|errno| writing(errno.into()))?,
        }
        self.complete = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.complete {
            // What is left does no harm, and its name says what it is.
            let _ = fs::remove_file(&self.path);
        }
    }
}
