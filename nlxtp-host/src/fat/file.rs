//! Reading the content of a file.

use std::io;

use super::directory::Entry;
use super::error::{Damage, FatError};
use super::names;
use super::partition::Extent;
use super::storage::ReadAt;
use super::table::Chain;
use super::volume::FatVolume;

/// Neighbouring clusters are read as one, up to this many bytes.
const MAX_RUN: u32 = 1 << 20;

/// Reads one file from its beginning to its end.
///
/// The size in the entry decides how much is read. A chain that ends earlier
/// is damage; what may come after it in the chain is not looked at, because
/// guests reserve clusters ahead of the size.
///
/// It has no buffer of its own: read into large ones.
#[derive(Debug)]
pub struct FileReader<'v, S> {
    volume: &'v FatVolume<S>,
    /// `None` for an empty file.
    chain: Option<Chain>,
    /// The cluster that begins the next run, if it is known already.
    pending: Option<u32>,
    /// Position on the storage within the current run.
    run_offset: u64,
    /// Bytes left in the current run.
    run_left: u64,
    /// Bytes of the file after the current run.
    left: u64,
}

impl<'v, S: ReadAt> FileReader<'v, S> {
    /// Opens a file for its first `len` bytes: it ends in the cluster in which these end.
    pub(super) fn open(volume: &'v FatVolume<S>, entry: &Entry, len: u64) -> Result<Self, FatError> {
        if entry.is_dir {
            return Err(FatError::NotAFile { path: names::escape(&entry.name) });
        }
        let size = u64::from(entry.size);
        if size > volume.geometry.data_bytes() {
            let place = format!("'{}', {size} bytes", names::escape(&entry.name));
            return Err(FatError::damaged(Damage::OversizedFile, place));
        }
        let chain = match size {
            0 => None,
            _ => Some(Chain::new(&volume.table, entry.first_cluster)?),
        };
        Ok(Self {
            volume,
            pending: chain.as_ref().map(|_| entry.first_cluster),
            chain,
            run_offset: 0,
            run_left: 0,
            left: len.checked_next_multiple_of(volume.geometry.cluster_size().into()).map_or(size, |len| size.min(len)),
        })
    }

    /// Bytes until the end of the file.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.left + self.run_left
    }

    /// Reads the next bytes, at least one unless `buf` is empty or the file is
    /// at its end.
    ///
    /// # Errors
    /// [`FatError::Damaged`] if the chain is; [`FatError::Io`]. The position
    /// is not defined then.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, FatError> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.run_left == 0 {
            self.next_run()?;
        }
        let run_left = usize::try_from(self.run_left).unwrap_or(usize::MAX);
        let len = run_left.min(buf.len());
        let part = buf.get_mut(..len).unwrap_or_default();
        self.volume.storage.read_exact_at(part, self.run_offset)?;
        self.pass(len as u64);
        Ok(len)
    }

    /// Reads until `buf` is full or the file ends, and returns how much that
    /// was.
    ///
    /// # Errors
    /// As [`FileReader::read`].
    pub fn read_full(&mut self, buf: &mut [u8]) -> Result<usize, FatError> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read(rest)? {
                0 => break,
                len => done += len,
            }
        }
        Ok(done)
    }

    /// Goes on by so many bytes, or to the end, without reading data.
    ///
    /// # Errors
    /// As [`FileReader::read`].
    pub fn skip(&mut self, mut len: u64) -> Result<(), FatError> {
        while len > 0 && self.remaining() > 0 {
            if self.run_left == 0 {
                self.next_run()?;
            }
            let step = len.min(self.run_left);
            self.pass(step);
            len -= step;
        }
        Ok(())
    }

    /// Where the next bytes lie on the storage, as far as they lie in one piece (at most 1 MiB and
    /// a cluster); `None` at the end. Goes on by as many.
    ///
    /// # Errors
    /// As [`FileReader::read`].
    pub fn next_extent(&mut self) -> Result<Option<Extent>, FatError> {
        if self.run_left == 0 {
            self.next_run()?;
        }
        let extent = Extent { offset: self.run_offset, len: self.run_left };
        self.pass(extent.len);
        Ok((extent.len > 0).then_some(extent))
    }

    fn pass(&mut self, len: u64) {
        self.run_offset += len;
        self.run_left -= len;
    }

    /// Collects neighbouring clusters from the chain.
    fn next_run(&mut self) -> Result<(), FatError> {
        let Some(chain) = self.chain.as_mut().filter(|_| self.left > 0) else {
            return Ok(());
        };
        let volume = self.volume;
        let mut advance = || match chain.advance(&volume.table, &volume.storage) {
            Ok(Some(cluster)) => Ok(cluster),
            Ok(None) => Err(chain.damaged(Damage::ShortChain)),
            Err(error) => Err(error),
        };
        let first = match self.pending.take() {
            Some(cluster) => cluster,
            None => advance()?,
        };
        let cluster_size = u64::from(volume.geometry.cluster_size());
        let wanted = self.left.min(u64::from(MAX_RUN));
        let mut last = first;
        let mut len = cluster_size;
        // Only as far as the size says: the last link is not needed.
        while len < wanted {
            let next = advance()?;
            if last.checked_add(1) != Some(next) {
                self.pending = Some(next);
                break;
            }
            last = next;
            len += cluster_size;
        }
        self.run_offset = volume.cluster_offset(first)?;
        self.run_left = len.min(self.left);
        self.left -= self.run_left;
        Ok(())
    }
}

impl<S: ReadAt> io::Read for FileReader<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(Self::read(self, buf)?)
    }
}
