//! A disk image that stays open from one status query to the next, with where the queried files lie.
//!
//! Finding a file reads the partition table, the boot sector, directories and the allocation table.
//! Every byte that was read for that is remembered as evidence. A later look reads the same places
//! again, and only if all of them hold the same bytes, and the path still leads to the same file of
//! the same length, is a file read from where it was found: looking for it would find it there again.
//! Anything else makes the look start anew, so a guest can gain nothing by changing its disk between
//! two looks that it could not gain from a single one.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::stat::{FileStat, SFlag, fstat};
use rextfv_core::entry_path::EntryPath;
use rextfv_core::layout;
use rextfv_core::shared_directory::{Entry, EntryKind};
use rextfv_core::status_codec::MAX_RECORD_BYTES;

use super::beneath::{Identity, kind};
use super::disk_image;
use super::disk_opening::{Access, open_disk, open_volume};
use crate::error::Result;
use crate::fat::{Extent, FatError, FatVolume, ReadAt, ReadLimits};

/// Bytes that are remembered of one disk; whoever's directories are larger is looked at anew.
const MOST_REMEMBERED: usize = 16 << 10;

/// Bytes of each file that are read together with the evidence: most status records are shorter.
const READ_AHEAD: u64 = 2048;

/// Bytes between two places that are read as one: to read them costs less than another call.
const GAP: u64 = 8 << 10;

thread_local! {
    /// Room for what a look reads: to clear as much for each look would take a tenth of its time.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An open disk image, and what was found on it.
#[derive(Debug)]
pub(super) struct KeptDisk {
    file: Arc<File>,
    identity: Identity,
    len: u64,
    evidence: Vec<Piece>,
    places: Vec<(EntryPath, Option<Place>)>,
    /// What a look reads first: the places of the evidence and the beginnings of files.
    first_reads: Vec<Extent>,
    /// Bytes of `evidence` and `places`.
    remembered: usize,
}

/// Some bytes of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    offset: u64,
    bytes: Vec<u8>,
}

/// Where a file lies.
#[derive(Debug)]
struct Place {
    entry: Entry,
    /// As far as they were asked for.
    extents: Vec<Extent>,
    /// Bytes of the file from its beginning on that are known where to lie, or are known not to be.
    covered: u64,
}

/// One look at a kept disk.
pub(super) struct Look {
    bytes: Vec<u8>,
    /// What was just read of it: where on the disk, and where in `bytes`.
    read: Vec<(u64, Range<usize>)>,
    walk: Option<FatVolume<Recorder>>,
    limits: ReadLimits,
}

impl KeptDisk {
    /// Opens the image at a path, if there is a regular file.
    pub fn open(path: &Path) -> Option<Self> {
        let file = open_disk(path, Access::Read).ok()?;
        let status = fstat(&file).ok()?;
        (kind(&status) == SFlag::S_IFREG).then(|| Self {
            file: Arc::new(file),
            identity: Identity::from(&status),
            len: u64::try_from(status.st_size).unwrap_or(0),
            evidence: Vec::new(),
            places: Vec::new(),
            first_reads: Vec::new(),
            remembered: 0,
        })
    }

    /// Whether this is the file that was opened, and as long as it was then.
    pub fn is_same(&self, found: &FileStat) -> bool {
        Identity::from(found) == self.identity && u64::try_from(found.st_size) == Ok(self.len)
    }

    /// Begins a look at the [same](Self::is_same) file, if all that is remembered of it still holds.
    pub fn look(&self, limits: ReadLimits) -> Option<Look> {
        if self.remembered > MOST_REMEMBERED {
            return None;
        }
        let mut look =
            Look { bytes: BUFFER.take(), read: Vec::with_capacity(self.first_reads.len()), walk: None, limits };
        let wanted: u64 = self.first_reads.iter().map(|extent| extent.len).sum();
        let wanted = usize::try_from(wanted).ok()?;
        if look.bytes.len() < wanted {
            look.bytes.resize(wanted, 0);
        }
        let mut start = 0;
        for extent in &self.first_reads {
            let end = start + usize::try_from(extent.len).ok()?;
            ReadAt::read_exact_at(&*self.file, &mut look.bytes[start..end], extent.offset).ok()?;
            look.read.push((extent.offset, start..end));
            start = end;
        }
        self.evidence.iter().all(|piece| look.holds(piece)).then_some(look)
    }

    /// The places of the evidence and the beginnings of files, neighbours as one.
    fn first_reads(&self) -> Vec<Extent> {
        let evidence = self.evidence.iter().map(|piece| (piece.offset, piece.bytes.len() as u64));
        let places = self.places.iter().filter_map(|(_, place)| place.as_ref()?.extents.first());
        let mut wanted: Vec<(u64, u64)> =
            evidence.chain(places.map(|extent| (extent.offset, extent.len.min(READ_AHEAD)))).collect();
        wanted.sort_unstable();
        let mut reads: Vec<Extent> = Vec::with_capacity(wanted.len());
        for (offset, len) in wanted {
            match reads.last_mut() {
                Some(read) if offset - read.offset <= read.len + GAP => {
                    read.len = read.len.max(offset - read.offset + len);
                }
                _ => reads.push(Extent { offset, len }),
            }
        }
        reads
    }

    /// Whether reads of so many bytes of this file are answered from what is remembered.
    pub fn covers(path: &EntryPath, offset: u64, len: usize) -> bool {
        let names = [layout::RUN_ID, layout::STATUS_DIRECTORY].into_iter().chain(layout::STATUS_SLOTS);
        let end = offset.saturating_add(len as u64);
        end <= MAX_RECORD_BYTES as u64 && names.into_iter().any(|name| name.as_bytes() == path.as_bytes())
    }

    /// The entry at a path that is not the root.
    ///
    /// # Errors
    /// It cannot be told what is there, or not by keeping it. Somebody who looks at the disk itself may
    /// still find it, or finds out why not.
    pub fn entry(&mut self, look: &mut Look, path: &EntryPath) -> Result<Option<Entry>> {
        let place = self.place(look, path, 0)?;
        Ok(self.places[place].1.as_ref().map(|place| place.entry.clone()))
    }

    /// Reads from a file until the buffer is full or the file ends; `None` where there is no file.
    ///
    /// # Errors
    /// As for [`entry`](Self::entry).
    pub fn read_at(
        &mut self,
        look: &mut Look,
        path: &EntryPath,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<Option<usize>> {
        let place = self.place(look, path, offset.saturating_add(buffer.len() as u64))?;
        let Some(place) = self.places[place].1.as_ref().filter(|place| place.entry.kind == EntryKind::File) else {
            return Ok(None);
        };
        let mut filled = 0;
        let mut skip = offset;
        for extent in &place.extents {
            if skip >= extent.len {
                skip -= extent.len;
                continue;
            }
            let room = buffer.len() - filled;
            let length = usize::try_from(extent.len - skip).unwrap_or(usize::MAX).min(room);
            look.read(&self.file, extent.offset + skip, &mut buffer[filled..filled + length])?;
            filled += length;
            skip = 0;
            if filled == buffer.len() {
                break;
            }
        }
        Ok(Some(filled))
    }

    /// The index of what is known about a path and the first `len` bytes there; that is looked for if nothing
    /// is.
    fn place(&mut self, look: &mut Look, path: &EntryPath, len: u64) -> Result<usize> {
        let known = self.places.iter().position(|(known, _)| known == path);
        if let Some(known) = known
            && self.places[known].1.as_ref().is_none_or(|place| place.covered >= len)
        {
            return Ok(known);
        }
        let place = look.find(self, path, len);
        let recorded = look.recorded();
        if recorded.bytes > MOST_REMEMBERED {
            self.remembered = usize::MAX / 2;
        }
        for piece in recorded.pieces {
            if !self.evidence.contains(&piece) {
                self.remembered += size_of::<Piece>() + piece.bytes.len();
                self.evidence.push(piece);
            }
        }
        let place = place?;
        let extents = place.as_ref().map_or(0, |place| place.extents.len());
        self.remembered += size_of::<(EntryPath, Option<Place>)>() + extents * size_of::<Extent>();
        let index = known.unwrap_or(self.places.len());
        match known {
            Some(known) => self.places[known].1 = place,
            None => self.places.push((path.clone(), place)),
        }
        self.first_reads = self.first_reads();
        Ok(index)
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        BUFFER.set(std::mem::take(&mut self.bytes));
    }
}

impl Look {
    /// What was read at a position, if all of it was.
    fn read_before(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let next = self.read.partition_point(|(start, _)| *start <= offset);
        let (start, range) = &self.read[next.checked_sub(1)?];
        let start = usize::try_from(offset - start).ok()?;
        self.bytes[range.clone()].get(start..start.checked_add(len)?)
    }

    fn holds(&self, piece: &Piece) -> bool {
        self.read_before(piece.offset, piece.bytes.len()) == Some(&piece.bytes)
    }

    fn read(&self, file: &File, offset: u64, buffer: &mut [u8]) -> Result<()> {
        match self.read_before(offset, buffer.len()) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => ReadAt::read_exact_at(file, buffer, offset).map_err(FatError::Io)?,
        }
        Ok(())
    }

    /// Looks for a file and where its first `len` bytes lie, and notes all that is read for it.
    fn find(&mut self, disk: &KeptDisk, path: &EntryPath, len: u64) -> Result<Option<Place>> {
        let volume = match &mut self.walk {
            Some(volume) => volume,
            None => {
                let recorder = Recorder { file: disk.file.clone(), len: disk.len, recorded: Mutex::default() };
                self.walk.insert(open_volume(recorder, self.limits)?)
            }
        };
        let Some(found) = disk_image::find(volume, path)? else { return Ok(None) };
        let (mut extents, mut covered) = (Vec::new(), 0);
        if !found.is_dir {
            let mut reader = volume.open_beginning(&found, len)?;
            while let Some(extent) = reader.next_extent()? {
                covered += extent.len;
                extents.push(extent);
            }
        }
        if covered >= u64::from(found.size) {
            covered = u64::MAX;
        }
        Ok(Some(Place { entry: disk_image::entry(path.clone(), &found), extents, covered }))
    }

    /// Takes what was read since the last time.
    fn recorded(&mut self) -> Recorded {
        let read = self.walk.as_ref().map(|volume| volume.storage().recorded());
        read.map(|mut read| std::mem::take(&mut *read)).unwrap_or_default()
    }
}

/// The disk, noting what is read of it.
#[derive(Debug)]
struct Recorder {
    file: Arc<File>,
    len: u64,
    recorded: Mutex<Recorded>,
}

/// What was read; not all of it where that is too much.
#[derive(Debug, Default)]
struct Recorded {
    pieces: Vec<Piece>,
    bytes: usize,
}

impl Recorder {
    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadAt for Recorder {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        ReadAt::read_exact_at(&*self.file, buffer, offset)?;
        let mut recorded = self.recorded();
        recorded.bytes += buffer.len();
        if recorded.bytes <= MOST_REMEMBERED {
            recorded.pieces.push(Piece { offset, bytes: buffer.to_vec() });
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        // What the evidence is tied to.
        Ok(self.len)
    }
}
