//! Archives as files: read from where they are, or from a pipe; written so that none is ever half
//! there.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rextfv_core::limits::Limits;

use crate::control::Control;
use crate::error::{Error, ErrorKind, Remedy, Result};

/// Opens the archive at this path for [`Node::upload`](crate::node::Node::upload). What cannot be
/// read twice, a pipe, is first copied to a temporary file, see [`spool`].
///
/// # Errors
/// [`ErrorKind::NotFound`] and its like; [`ErrorKind::InvalidInput`] for a directory; as for
/// [`spool`].
pub fn open(archive: &Path, limits: &Limits, control: &Control<'_>) -> Result<File> {
    let found = fs::metadata(archive).map_err(|error| Error::io("open the archive", error))?;
    if found.is_dir() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is a directory, not an archive").with_remedy(Remedy::Pack));
    }
    if found.is_file() {
        return File::open(archive).map_err(|error| Error::io("open the archive", error));
    }
    let path = archive.to_path_buf();
    spool(move || File::open(path), limits, control)
}

/// Bytes that are copied at once.
const PIECE: usize = 256 << 10;

/// What an entry costs in an archive beyond its content, generously.
const ENTRY_BYTES: u64 = 4096;

/// Copies all of a source that cannot be read twice to a temporary file without a name, in
/// `$TMPDIR`.
///
/// The source is opened and read in a thread of its own: a pipe may stay silent for ever, and a
/// cancellation must be noticed nevertheless. The thread ends when the source does.
///
/// # Errors
/// The source cannot be read or the file not be written; [`ErrorKind::BadArchive`] where there is
/// more than any archive within the limits has; as the control says.
pub fn spool<R: Read>(
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
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
                        .with_remedy(Remedy::RaiseMaxBytes));
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
#[derive(Debug)]
pub struct NewArchive(Place);

#[derive(Debug)]
enum Place {
    /// A pipe or a device: what is written is written. It is opened when it is first written to.
    Stream(PathBuf, Option<File>),
    /// A file beside the archive, which is renamed in the end.
    Beside(Beside),
}

/// The file beside; removed again unless it takes its name.
#[derive(Debug)]
struct Beside {
    file: File,
    path: PathBuf,
    target: PathBuf,
    replace: bool,
    complete: bool,
}

impl NewArchive {
    /// Begins an archive of this name: in a file beside it, so that the name only ever stands for a
    /// complete one. Pipes and devices are written to directly. An existing file is only replaced if
    /// `replace`.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] where there is a file already, and [`ErrorKind::InvalidInput`] where there is
    /// something else; [`ErrorKind::NotFound`] and its like.
    pub fn create(archive: &Path, replace: bool) -> Result<Self> {
        let mut target = archive.to_path_buf();
        // A link that leads nowhere counts as existing.
        if fs::symlink_metadata(archive).is_ok() {
            let found = fs::metadata(archive).map_err(|error| Error::io("look at the archive", error))?;
            let kind = found.file_type();
            if kind.is_fifo() || kind.is_char_device() {
                return Ok(Self(Place::Stream(target, None)));
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
        let mut beside_name = OsString::from(".");
        beside_name.push(name);
        beside_name.push(format!(".nlxtp-download-{}", random_suffix().map_err(writing)?));
        let path = target.with_file_name(beside_name);
        let file = File::options().write(true).create_new(true).open(&path).map_err(writing)?;
        Ok(Self(Place::Beside(Beside { file, path, target, replace, complete: false })))
    }

    /// Begins an archive on standard output. A pipe is opened anew, so that waiting for its reader can end;
    /// whoever else writes to it does not notice.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn on_standard_output() -> Result<Self> {
        let path = PathBuf::from("/proc/self/fd/1");
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(writing)?);
        let kind = stdout.metadata().map_err(writing)?.file_type();
        // Where nobody reads it any more, writing to it says so.
        let opened = kind.is_fifo().then(|| open_without_waiting(&path).ok()).flatten();
        Ok(Self(Place::Stream(path, Some(opened.unwrap_or(stdout)))))
    }

    /// Whether writing may begin anew.
    pub fn can_restart(&self) -> bool {
        matches!(self.0, Place::Beside(_))
    }

    /// Where to write, from the beginning where it may begin anew. A pipe is waited for until somebody
    /// reads it, and whenever nobody does, but not longer than the control allows.
    ///
    /// # Errors
    /// The file could not be emptied, the pipe or device not be opened; as the control says.
    pub fn writer<'w>(&'w mut self, control: &'w Control<'_>) -> Result<Box<dyn Write + 'w>> {
        match &mut self.0 {
            Place::Stream(path, opened) => {
                let file = match opened.take() {
                    Some(file) => file,
                    None => open_stream(path, control)?,
                };
                Ok(Box::new(Stream { file: opened.insert(file), control }))
            }
            Place::Beside(beside) => {
                let emptied = beside.file.set_len(0).and_then(|()| beside.file.rewind());
                emptied.map_err(writing)?;
                Ok(Box::new(&mut beside.file))
            }
        }
    }

    /// Flushes the complete archive and gives it its name.
    ///
    /// # Errors
    /// The storage failed, or something has taken the name meanwhile and is not to be replaced.
    pub fn complete(self) -> Result<()> {
        match self.0 {
            Place::Stream(..) => Ok(()),
            Place::Beside(beside) => beside.complete(),
        }
    }
}

/// Between two looks whether a pipe is read by now. Also the longest that a control is not asked.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Opens a pipe as soon as somebody reads it, or a device.
fn open_stream(path: &Path, control: &Control<'_>) -> Result<File> {
    loop {
        match open_without_waiting(path) {
            Err(error) if error.raw_os_error() == Some(Errno::ENXIO as i32) && is_pipe(path) => {
                control.sleep(BETWEEN_LOOKS)?;
            }
            opened => return opened.map_err(writing),
        }
    }
}

/// Else the kernel would wait for the reader, and nothing could end that.
fn open_without_waiting(path: &Path) -> io::Result<File> {
    File::options().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

fn is_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Writes to a pipe or device that never blocks, and waits itself while it is full.
struct Stream<'w, 'c> {
    file: &'w mut File,
    control: &'w Control<'c>,
}

impl Write for Stream<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.control.check().map_err(io::Error::other)?;
                    let time = PollTimeout::try_from(BETWEEN_LOOKS).unwrap_or(PollTimeout::ZERO);
                    match poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)], time) {
                        // A signal: the control may know of it.
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn writing(error: io::Error) -> Error {
    with_way_out(Error::io("write the archive", error))
}

/// A failure to write an archive, with a way out where there is no room for it.
pub fn with_way_out(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NoSpace => error.with_hint("make room, or name a file elsewhere"),
        _ => error,
    }
}

fn exists() -> Error {
    Error::new(ErrorKind::Exists, "there is a file of this name already").with_remedy(Remedy::Replace)
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
