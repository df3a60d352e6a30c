//! Having the disk begin with what is to be flushed in the end anyway.

#![forbid(unsafe_code)]

use std::fs::File;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// Bytes that are worth it.
const PIECE: u64 = 8 << 20;

/// How much of a file that is written from its beginning on is on its way to the disk.
#[derive(Debug, Default)]
pub(crate) struct EarlyFlush {
    begun: u64,
}

impl EarlyFlush {
    /// The file is written up to this position.
    ///
    /// The system is told that the pages are not needed in memory. It cannot drop what was not written
    /// to the disk, so it begins with that, and nobody waits for it. What goes wrong here shows when
    /// the file is flushed.
    pub(crate) fn written_to(&mut self, file: &File, position: u64) {
        let Some(bytes) = position.checked_sub(self.begun).filter(|&bytes| bytes >= PIECE) else { return };
        if let (Ok(offset), Ok(length)) = (self.begun.try_into(), bytes.try_into()) {
            let _ = posix_fadvise(file, offset, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
        self.begun = position;
    }
}
