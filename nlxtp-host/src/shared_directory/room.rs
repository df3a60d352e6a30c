//! How much more a file system takes, and how much of that an upload may use.

#![forbid(unsafe_code)]

use std::os::fd::BorrowedFd;

use nix::unistd::geteuid;

use crate::error::{Error, ErrorKind, Result};

/// Room on a file system.
pub(super) struct FreeSpace {
    pub free_bytes: u64,
    pub block_bytes: u64,
}

/// How much more the file system of this file takes from this process.
pub(super) fn free_space(file: BorrowedFd<'_>) -> std::io::Result<FreeSpace> {
    let status = nix::sys::statvfs::fstatvfs(file)?;
    let block_bytes = status.fragment_size();
    let blocks = if geteuid().is_root() { status.blocks_free() } else { status.blocks_available() };
    Ok(FreeSpace { free_bytes: blocks.saturating_mul(block_bytes), block_bytes })
}

/// Bytes that are written before the file system is looked at again: others may write to it too.
const BETWEEN_LOOKS: u64 = 64 << 20;
/// What is left to others: this part of what was free at first, but no more than a gibibyte.
const PART_LEFT: u64 = 64;
const MOST_LEFT: u64 = 1 << 30;

/// The room for an upload of which nobody knows yet how much it will write.
pub(super) struct Room {
    left_to_others: u64,
    block_bytes: u64,
    /// Bytes that may be written before the next look.
    taken_for_granted: u64,
}

impl Room {
    /// On the file system of this file.
    pub(super) fn on(file: BorrowedFd<'_>) -> std::io::Result<Self> {
        let space = free_space(file)?;
        let left_to_others = (space.free_bytes / PART_LEFT).min(MOST_LEFT);
        Ok(Self { left_to_others, block_bytes: space.block_bytes, taken_for_granted: 0 })
    }

    /// Before an entry with so many bytes of content is written.
    ///
    /// # Errors
    /// [`ErrorKind::TooSmall`]: there is room for it only if nothing much comes after it, or none.
    pub(super) fn take(&mut self, file: BorrowedFd<'_>, bytes: u64) -> Result<()> {
        // Every entry costs about a block, for its name and its last part.
        let needed = bytes.saturating_add(self.block_bytes);
        if needed > self.taken_for_granted {
            let looking = |error| Error::io("find out how much space is free", error);
            let free = free_space(file).map_err(looking)?.free_bytes;
            if needed.saturating_add(self.left_to_others) > free {
                return Err(Error::new(ErrorKind::TooSmall, "there is not enough space beside the old content"));
            }
            self.taken_for_granted = (free - self.left_to_others).min(needed.max(BETWEEN_LOOKS));
        }
        self.taken_for_granted -= needed;
        Ok(())
    }
}
