//! The two verbs that the file system needs from whatever holds its bytes.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::sync::{Mutex, PoisonError};

/// Bytes that can be read at any position.
///
/// The content may change between two reads: a running guest may hold the
/// same bytes. Nothing in this module trusts two reads to agree.
#[expect(clippy::len_without_is_empty, reason = "nobody asks that of a disk")]
pub trait ReadAt {
    /// Fills the whole of `buf` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the storage ends before `buf` is full, or what the
    /// storage itself reports.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// What the storage reports.
    fn len(&self) -> io::Result<u64>;
}

/// Bytes that can be written at any position too.
pub trait WriteAt: ReadAt {
    /// Writes the whole of `buf` at `offset`.
    ///
    /// # Errors
    /// What the storage reports; part of `buf` may have been written then.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once everything written so far survives a loss of power.
    ///
    /// # Errors
    /// What the storage reports; nothing is known about earlier writes then.
    fn sync(&self) -> io::Result<()>;
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }
}

impl<T: WriteAt + ?Sized> WriteAt for &T {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        (**self).sync()
    }
}

impl ReadAt for File {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        let metadata = self.metadata()?;
        if metadata.is_file() {
            return Ok(metadata.len());
        }
        // A block device has no length in its metadata. Moving the cursor is
        // harmless, because every read and write here names its position.
        let mut file = self;
        file.seek(SeekFrom::End(0))
    }
}

impl WriteAt for File {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let source = range(offset, buf.len()).and_then(|range| self.get(range)).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(source);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// A storage of fixed length in memory.
#[derive(Debug, Default)]
pub struct MemoryStorage(Mutex<Vec<u8>>);

impl MemoryStorage {
    /// A storage of `len` zero bytes.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self::from(vec![0; len])
    }

    /// The content.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Vec<u8>> for MemoryStorage {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(bytes))
    }
}

impl ReadAt for MemoryStorage {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.as_slice().read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(bytes.len() as u64)
    }
}

impl WriteAt for MemoryStorage {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let target = range(offset, buf.len()).and_then(|range| bytes.get_mut(range)).ok_or(io::ErrorKind::WriteZero)?;
        target.copy_from_slice(buf);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn range(offset: u64, len: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(len)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_refuses_what_lies_outside() {
        let storage = MemoryStorage::zeroed(10);
        storage.write_all_at(b"abc", 7).unwrap();
        assert!(storage.write_all_at(b"abc", 8).is_err());
        assert!(storage.write_all_at(b"a", u64::MAX).is_err());
        let mut buf = [0; 3];
        storage.read_exact_at(&mut buf, 7).unwrap();
        assert_eq!(&buf, b"abc");
        let error = storage.read_exact_at(&mut buf, 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(storage.read_exact_at(&mut buf, u64::MAX - 1).is_err());
    }

    #[test]
    fn file_knows_its_length() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        assert_eq!(ReadAt::len(&file).unwrap(), 4096);
        WriteAt::write_all_at(&file, b"abc", 4000).unwrap();
        let mut buf = [0; 3];
        ReadAt::read_exact_at(&file, &mut buf, 4000).unwrap();
        assert_eq!(&buf, b"abc");
        assert!(ReadAt::read_exact_at(&file, &mut buf, 4095).is_err());
    }
}
