//! Sequential output to a storage in large blocks.

use super::error::FatError;
use super::storage::WriteAt;

/// Bytes that are written at once.
const BUFFER_LEN: usize = 1 << 20;
/// Granularity in which zeros are left out.
pub const PAGE_LEN: usize = 4096;

/// Sequential output in large blocks.
#[derive(Debug)]
pub struct Stream<W> {
    storage: W,
    /// Where the buffer belongs on the storage.
    position: u64,
    buffer: Vec<u8>,
    filled: usize,
    skip_zeros: bool,
}

impl<W: WriteAt> Stream<W> {
    /// Output to the storage from this position on. Where zeros are skipped, they must be there already.
    pub fn new(storage: W, position: u64, skip_zeros: bool) -> Self {
        Self { storage, position, buffer: vec![0; BUFFER_LEN], filled: 0, skip_zeros }
    }

    /// Where the buffer is full: blocks end at multiples of their length, so
    /// that the storage does not have to put pages together.
    fn end(&self) -> usize {
        let len = BUFFER_LEN as u64;
        usize::try_from(len - self.position % len).unwrap_or(BUFFER_LEN)
    }

    /// Free space in the buffer, at least one byte, at most `want`. What is
    /// put there is counted by [`fill`](Self::fill).
    pub fn space(&mut self, want: u64) -> Result<&mut [u8], FatError> {
        if self.filled >= self.end() {
            self.flush()?;
        }
        let end = self.end();
        let space = self.buffer.get_mut(self.filled..end).unwrap_or_default();
        let len = usize::try_from(want).unwrap_or(usize::MAX).min(space.len());
        Ok(space.get_mut(..len).unwrap_or_default())
    }

    /// So many bytes were put into the space.
    pub fn fill(&mut self, len: usize) {
        self.filled += len;
    }

    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), FatError> {
        while !bytes.is_empty() {
            let space = self.space(bytes.len() as u64)?;
            let (now, later) = bytes.split_at_checked(space.len()).unwrap_or((bytes, &[]));
            space.copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
        }
        Ok(())
    }

    pub fn zeros(&mut self, len: u64) -> Result<(), FatError> {
        let mut left = len;
        while left > 0 {
            if self.skip_zeros && left > PAGE_LEN as u64 {
                self.flush()?;
                self.position += left;
                return Ok(());
            }
            let space = self.space(left)?;
            space.fill(0);
            let done = space.len();
            self.filled += done;
            left -= done as u64;
        }
        Ok(())
    }

    /// Appends bytes that lie at another place of the storage.
    pub fn copy_within(&mut self, from: &mut u64, left: &mut u64) -> Result<(), FatError> {
        self.space(*left)?;
        let start = self.filled;
        let want = usize::try_from(*left).unwrap_or(usize::MAX);
        let end = start.saturating_add(want).min(self.end());
        let space = self.buffer.get_mut(start..end).unwrap_or_default();
        self.storage.read_exact_at(space, *from)?;
        let len = space.len() as u64;
        self.filled = end;
        *from += len;
        *left -= len;
        Ok(())
    }

    /// Goes on at another position.
    pub fn seek(&mut self, position: u64) -> Result<(), FatError> {
        self.flush()?;
        self.position = position;
        Ok(())
    }

    /// Writes what is in the buffer.
    pub fn flush(&mut self) -> Result<(), FatError> {
        let bytes = self.buffer.get(..self.filled).unwrap_or_default();
        if self.skip_zeros {
            let mut at = self.position;
            // Neighbouring pages of one kind together.
            for pages in PageRuns(bytes) {
                if !is_zero(pages) {
                    self.storage.write_all_at(pages, at)?;
                }
                at += pages.len() as u64;
            }
        } else if !bytes.is_empty() {
            self.storage.write_all_at(bytes, self.position)?;
        }
        self.position += self.filled as u64;
        self.filled = 0;
        Ok(())
    }

    /// Writes what is left, and returns the storage.
    pub fn finish(mut self) -> Result<W, FatError> {
        self.flush()?;
        Ok(self.storage)
    }
}

/// Divides bytes into runs of pages that are all zero or all not.
struct PageRuns<'b>(&'b [u8]);

impl<'b> Iterator for PageRuns<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let mut pages = self.0.chunks(PAGE_LEN);
        let first = pages.next()?;
        let zero = is_zero(first);
        let more = pages.take_while(|page| is_zero(page) == zero);
        let len = first.len() + more.map(<[u8]>::len).sum::<usize>();
        let (run, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(run)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    let (wide, rest) = bytes.as_chunks::<64>();
    wide.iter().all(|chunk| *chunk == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}
