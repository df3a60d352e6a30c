//! Archives that come and go by callbacks.

use std::ffi::{c_int, c_void};
use std::io::{self, Read, Seek, SeekFrom, Write};

use nlxtp_host::error::Result;

use crate::boundary::{self, UserData, invalid, read_struct};

/// Where an archive is read from. Fill it with zeros, then set `size` and both callbacks. They are
/// called in the thread of the call; a failure is returned as a negative errno value, such as -EIO.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct nlxtp_reader {
    /// sizeof(nlxtp_reader).
    pub size: usize,
    /// Puts at most `length` bytes into `buffer`, and returns how many; 0 at the end.
    pub read: Option<extern "C" fn(user_data: *mut c_void, buffer: *mut c_void, length: usize) -> i64>,
    /// Goes to a position as lseek() does, with `whence` 0 from the beginning, 1 from where it is, 2
    /// from the end, and returns the new position from the beginning.
    pub seek: Option<extern "C" fn(user_data: *mut c_void, offset: i64, whence: c_int) -> i64>,
    /// What the callbacks get back.
    pub user_data: *mut c_void,
}

/// Where an archive is written to. Fill it with zeros, then set `size` and the callback. It is called
/// in the thread of the call; a failure is returned as a negative errno value, such as -ENOSPC.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct nlxtp_writer {
    /// sizeof(nlxtp_writer).
    pub size: usize,
    /// Takes at most `length` bytes, at least one, and returns how many.
    pub write: Option<extern "C" fn(user_data: *mut c_void, bytes: *const c_void, length: usize) -> i64>,
    /// What the callback gets back.
    pub user_data: *mut c_void,
}

const NO_READER: nlxtp_reader = nlxtp_reader { size: 0, read: None, seek: None, user_data: std::ptr::null_mut() };
const NO_WRITER: nlxtp_writer = nlxtp_writer { size: 0, write: None, user_data: std::ptr::null_mut() };

boundary::growable!(nlxtp_reader, NO_READER);
boundary::growable!(nlxtp_writer, NO_WRITER);

/// A C caller's archive as Rust reads it.
pub struct Source {
    read: extern "C" fn(*mut c_void, *mut c_void, usize) -> i64,
    seek: extern "C" fn(*mut c_void, i64, c_int) -> i64,
    data: UserData,
}

/// A C caller's file as Rust writes it.
pub struct Sink {
    write: extern "C" fn(*mut c_void, *const c_void, usize) -> i64,
    data: UserData,
}

/// What a callback returned: a number that is at most `most`, or an errno value.
fn outcome(returned: i64, most: u64) -> io::Result<u64> {
    match u64::try_from(returned) {
        Ok(number) if number <= most => Ok(number),
        Ok(_) => Err(io::Error::other("the callback returned more than it was asked for")),
        Err(_) => {
            let errno = i32::try_from(returned.unsigned_abs()).unwrap_or(libc::EIO);
            Err(io::Error::from_raw_os_error(errno))
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (self.read)(self.data.get(), buffer.as_mut_ptr().cast(), buffer.len());
        // No more than a `usize`.
        outcome(read, buffer.len() as u64).map(|length| usize::try_from(length).unwrap_or(buffer.len()))
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (offset, whence) = match to {
            SeekFrom::Start(offset) => {
                (i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?, libc::SEEK_SET)
            }
            SeekFrom::Current(offset) => (offset, libc::SEEK_CUR),
            SeekFrom::End(offset) => (offset, libc::SEEK_END),
        };
        outcome((self.seek)(self.data.get(), offset, whence), i64::MAX.unsigned_abs())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = (self.write)(self.data.get(), bytes.as_ptr().cast(), bytes.len());
        outcome(written, bytes.len() as u64).map(|length| usize::try_from(length).unwrap_or(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the caller gave as a reader.
pub fn source(given: *const nlxtp_reader) -> Result<Source> {
    let given = read_struct(given)?.ok_or_else(|| invalid("the nlxtp_reader is NULL".into()))?;
    match (given.read, given.seek) {
        (Some(read), Some(seek)) => Ok(Source { read, seek, data: UserData::new(given.user_data) }),
        _ => Err(invalid("the nlxtp_reader needs both callbacks, read and seek".into())),
    }
}

/// What the caller gave as a writer.
pub fn sink(given: *const nlxtp_writer) -> Result<Sink> {
    let given = read_struct(given)?.ok_or_else(|| invalid("the nlxtp_writer is NULL".into()))?;
    let write = given.write.ok_or_else(|| invalid("the nlxtp_writer needs its callback".into()))?;
    Ok(Sink { write, data: UserData::new(given.user_data) })
}
