//! Archives that Python objects hold: paths, bytes and files.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use nlxtp_host::archive::{OutputFormat, files};
use nlxtp_host::control::Control;
use nlxtp_host::error::Result;
use nlxtp_host::node::ReadSeek;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use rextfv_core::limits::Limits;

use crate::error::invalid;
use crate::target::path;

/// Bytes that are read of a Python file, or written to it, at once.
const PIECE: usize = 256 << 10;

/// Where an archive comes from.
#[derive(FromPyObject)]
pub enum Source {
    /// `("path", bytes)`, `("bytes", bytes)` or `("file", object)`.
    Bytes((String, PyBackedBytes)),
    File((String, Py<PyAny>)),
}

impl Source {
    /// Where it lies, if it is named by a path.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Bytes((kind, bytes)) if kind == "path" => Some(path(bytes.to_vec())),
            Self::Bytes(_) | Self::File(_) => None,
        }
    }

    /// Opens it, at its beginning.
    pub fn open(self, limits: &Limits, control: &Control<'_>) -> Result<Box<dyn ReadSeek>> {
        match self {
            Self::Bytes((kind, bytes)) if kind == "path" => {
                let path = path(bytes.to_vec());
                let file = files::open(&path, limits, control).map_err(|error| error.with_path(&path))?;
                Ok(Box::new(file))
            }
            Self::Bytes((_, bytes)) => Ok(Box::new(Cursor::new(bytes))),
            Self::File((_, object)) => {
                let mut file = PythonFile(object);
                if file.is_seekable() {
                    return Ok(Box::new(BufReader::with_capacity(PIECE, file)));
                }
                let spooled: File = files::spool(move || Ok(BufReader::with_capacity(PIECE, file)), limits, control)?;
                Ok(Box::new(spooled))
            }
        }
    }
}

/// Where an archive goes to.
#[derive(FromPyObject)]
pub enum Sink {
    /// The bytes of a path.
    Path(Vec<u8>),
    /// An object that has `write`.
    File(Py<PyAny>),
}

impl Sink {
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Path(bytes) => Some(path(bytes.clone())),
            Self::File(_) => None,
        }
    }
}

/// The format of this name, by default the one that the path ends with.
pub fn format(name: Option<&str>, level: Option<i32>, sink: &Sink) -> Result<OutputFormat> {
    let format = match name {
        None => sink.path().map_or_else(OutputFormat::default, |path| OutputFormat::from_path(&path)),
        Some("tar.gz") => OutputFormat::default(),
        Some("tar") => OutputFormat::Tar,
        Some("tar.zst") => OutputFormat::TarZst { level: 3 },
        Some(other) => return Err(invalid(format!("{other:?} is no format: tar.gz, tar and tar.zst are"))),
    };
    level.map_or(Ok(format), |level| format.with_level(level))
}

/// A Python file object.
pub struct PythonFile(pub Py<PyAny>);

impl PythonFile {
    fn call<T>(&self, call: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> io::Result<T> {
        Python::attach(|py| call(self.0.bind(py)).map_err(io::Error::other))
    }

    fn is_seekable(&mut self) -> bool {
        let seekable = self.call(|file| file.call_method0("seekable")?.extract::<bool>());
        seekable.unwrap_or(false) && self.stream_position().is_ok()
    }
}

impl Read for PythonFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.call(|file| {
            let read = file.call_method1("read", (buffer.len(),))?;
            let bytes = read.cast::<PyBytes>()?.as_bytes();
            match buffer.get_mut(..bytes.len()) {
                Some(room) => room.copy_from_slice(bytes),
                None => return Err(pyo3::exceptions::PyValueError::new_err("read() returned more than was asked for")),
            }
            Ok(bytes.len())
        })
    }
}

impl Seek for PythonFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.call(|file| {
            let position = match to {
                SeekFrom::Start(offset) => file.call_method1("seek", (offset, 0))?,
                SeekFrom::Current(offset) => file.call_method1("seek", (offset, 1))?,
                SeekFrom::End(offset) => file.call_method1("seek", (offset, 2))?,
            };
            position.extract()
        })
    }
}

impl Write for PythonFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call(|file| {
            let written = file.call_method1("write", (PyBytes::new(file.py(), bytes),))?;
            // An unbuffered pipe that is not to block returns nothing.
            written.extract::<Option<usize>>().map(|length| length.unwrap_or(0).min(bytes.len()))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
