//! Archives in whose middle something happens to the storage.

use std::io::{self, Read, Seek, SeekFrom, Write};

/// An archive to be uploaded. When an upload has seen what it is, begun anew, and read a part of it,
/// something happens.
pub struct FaultyArchive<F> {
    bytes: io::Cursor<Vec<u8>>,
    at: u64,
    fault: Option<F>,
    /// Whether somebody has gone back to the beginning.
    again: bool,
}

impl<F: FnOnce()> FaultyArchive<F> {
    /// It happens when `part` of the archive (0 to 1) has been read.
    pub fn new(archive: Vec<u8>, part: f64, fault: F) -> Self {
        let at = (archive.len() as f64 * part) as u64;
        Self { bytes: io::Cursor::new(archive), at, fault: Some(fault), again: false }
    }

    /// Whether it has happened.
    pub fn has_happened(&self) -> bool {
        self.fault.is_none()
    }
}

impl<F: FnOnce()> Read for FaultyArchive<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut most = buffer.len();
        if self.again && self.fault.is_some() {
            let left = usize::try_from(self.at.saturating_sub(self.bytes.position())).unwrap_or(usize::MAX);
            if left == 0 {
                self.fault.take().into_iter().for_each(|fault| fault());
            } else {
                most = most.min(left);
            }
        }
        self.bytes.read(&mut buffer[..most])
    }
}

impl<F: FnOnce()> Seek for FaultyArchive<F> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.again |= self.bytes.position() > 0;
        self.bytes.seek(to)
    }
}

/// Where a download goes to. When so many bytes have come, something happens.
pub struct FaultySink<F> {
    at: usize,
    fault: Option<F>,
    /// What has come.
    pub bytes: Vec<u8>,
}

impl<F: FnOnce()> FaultySink<F> {
    /// It happens before what goes beyond `at` bytes is taken.
    pub fn new(at: usize, fault: F) -> Self {
        Self { at, fault: Some(fault), bytes: Vec::new() }
    }
}

impl<F: FnOnce()> Write for FaultySink<F> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + buffer.len() > self.at {
            self.fault.take().into_iter().for_each(|fault| fault());
        }
        self.bytes.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
