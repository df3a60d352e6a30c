//! Writing a planned file system in one pass.

use std::io::{self, Read};
use std::sync::Arc;

use super::boot_sector::{BACKUP_SECTOR, BOOT_SECTOR_LEN, FS_INFO_SECTOR, fs_info};
use super::error::{FatError, WrongLength};
use super::geometry::{FIRST_CLUSTER, FatType, MEDIA};
use super::layout::Layout;

use super::storage::WriteAt;
use super::stream::{PAGE_LEN, Stream};
use super::tree::{FileIndex, NodeId, ROOT};

/// What a file system that is being written begins with, instead of a boot sector, on a target that
/// was in use before. Whoever finds it knows that the writing was cut off.
pub const UNFINISHED: &[u8] = b"nlxtp: an upload to this disk is under way or was cut off\n";

/// What is on the target before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Only zeros, and nobody looks at it before it is finished: a new image
    /// file, to be renamed later. Zeros are not written, so that the file stays
    /// sparse, and nothing is synced: do that before the renaming.
    Zeroed,
    /// Anything, perhaps an older file system: a block device. Everything but
    /// the free clusters is written; these keep their old data. The old boot
    /// sector is wiped first and the new one comes last, with syncs between,
    /// so that a crash leaves no file system rather than a mixture.
    InUse,
}

/// Writes a [`Layout`]: first the data of all files in the order in which they
/// were added, then with [`Writer::finish`] everything else. Until then there is
/// no boot sector, hence no file system. Directories and files can be added as
/// long as there is room in the layout's shape.
///
/// After an error the writer is of no more use. Memory does not depend on the
/// data: a buffer of 1 MiB, and one directory at a time.
#[derive(Debug)]
pub struct Writer<W> {
    layout: Arc<Layout>,
    stream: Stream<W>,
    /// Where the boot sector lies.
    offset: u64,
    target: Target,
    next_file: usize,
    failed: bool,
}

impl<W: WriteAt> Writer<W> {
    pub(super) fn new(layout: Arc<Layout>, storage: W, offset: u64, target: Target) -> Result<Self, FatError> {
        let needed = layout.geometry.total_bytes();
        let available = storage.len()?.saturating_sub(offset);
        if needed > available {
            return Err(FatError::TooSmall { needed, available });
        }
        if target == Target::InUse {
            // One sector: more of them could be torn, and leave an old boot sector before what is no
            // longer its file system.
            let mut sector = [0; BOOT_SECTOR_LEN];
            sector[..UNFINISHED.len()].copy_from_slice(UNFINISHED);
            storage.write_all_at(&sector, offset)?;
            storage.sync()?;
            // The backup of the boot sector lies within the first page.
            storage.write_all_at(&[0; PAGE_LEN - BOOT_SECTOR_LEN], offset + BOOT_SECTOR_LEN as u64)?;
        }
        let geometry = &layout.geometry;
        let first_file = if geometry.fat_type == FatType::Fat32 { FIRST_CLUSTER + 1 } else { FIRST_CLUSTER };
        let start = geometry.cluster_offset(first_file);
        let metadata_bytes = geometry.metadata_bytes();
        Ok(Self {
            layout,
            // A volume without room for files has no files either.
            stream: Stream::new(storage, offset + start.unwrap_or(metadata_bytes), target == Target::Zeroed),
            offset,
            target,
            next_file: 0,
            failed: false,
        })
    }

    /// Adds a directory to the layout. For one that is there already, only the
    /// time is set.
    ///
    /// # Errors
    /// As for [`Plan::add_directory`](super::Plan::add_directory), and
    /// [`FatError::TooSmall`] if there is no room for it in the shape that was
    /// chosen; there may be in another.
    pub fn add_directory(&mut self, path: &str, modified: i64) -> Result<(), FatError> {
        Arc::make_mut(&mut self.layout).add_directory(path, modified)
    }

    /// Adds a file to the layout; its turn comes after all that are there.
    ///
    /// # Errors
    /// As for [`Plan::add_file`](super::Plan::add_file), and
    /// [`FatError::TooSmall`] as for [`add_directory`](Self::add_directory).
    pub fn add_file(&mut self, path: &str, size: u64, modified: i64) -> Result<FileIndex, FatError> {
        Arc::make_mut(&mut self.layout).add_file(path, size, modified)
    }

    /// The file at a path, if one was added.
    #[must_use]
    pub fn find_file(&self, path: &str) -> Option<FileIndex> {
        self.layout.find_file(path)
    }

    /// Bytes of a file; 0 if there is none.
    #[must_use]
    pub fn file_size(&self, index: FileIndex) -> u64 {
        self.layout.file_size(index).map_or(0, u64::from)
    }

    /// The file whose data come next, `None` after the last.
    #[must_use]
    pub fn next_file(&self) -> Option<FileIndex> {
        (self.next_file < self.layout.file_count()).then_some(FileIndex(self.next_file))
    }

    /// Writes the next file's data, up to the end of `data`. Empty files have
    /// their turn, too.
    ///
    /// # Errors
    /// [`FatError::WrongLength`] if `data` does not have the planned size,
    /// [`FatError::WrongOrder`] after the last file, [`FatError::Io`].
    pub fn write_file(&mut self, data: &mut dyn Read) -> Result<FileIndex, FatError> {
        let (index, size) = self.begin_file()?;
        let mut left = size;
        while left > 0 {
            let space = self.stream.space(left)?;
            match data.read(space) {
                Ok(0) => {
                    return Err(FatError::WrongLength {
                        path: self.layout.path_of_file(index),
                        planned: size,
                        found: WrongLength::Shorter(size - left),
                    });
                }
                Ok(len) => {
                    // A reader that claims more than it was given is wrong.
                    let len = len.min(space.len());
                    self.stream.fill(len);
                    left -= len as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !at_end(data)? {
            return Err(FatError::WrongLength {
                path: self.layout.path_of_file(index),
                planned: size,
                found: WrongLength::Longer,
            });
        }
        self.end_file(size)?;
        Ok(index)
    }

    /// Writes the next file as a copy of one that was written already.
    ///
    /// # Errors
    /// [`FatError::WrongOrder`] if `source` is not written yet,
    /// [`FatError::WrongLength`] if it does not have the planned size,
    /// [`FatError::Io`], also for what `may_go_on` returns, which is asked now and
    /// then.
    pub fn copy_from(
        &mut self,
        source: FileIndex,
        may_go_on: &dyn Fn() -> io::Result<()>,
    ) -> Result<FileIndex, FatError> {
        let written = source.0 < self.next_file;
        let (index, size) = self.begin_file()?;
        let source = match self.layout.file(source) {
            Some(file) if written => file,
            _ => {
                return Err(FatError::WrongOrder { reason: "a file is to be copied before it is written".to_owned() });
            }
        };
        let found = u64::from(source.size);
        if found != size {
            return Err(FatError::WrongLength {
                path: self.layout.path_of_file(index),
                planned: size,
                found: match found < size {
                    true => WrongLength::Shorter(found),
                    false => WrongLength::Longer,
                },
            });
        }
        // It may still be in the buffer.
        self.stream.flush()?;
        let mut from = self.offset + source.offset.unwrap_or(0);
        let mut left = size;
        while left > 0 {
            may_go_on()?;
            self.stream.copy_within(&mut from, &mut left)?;
        }
        self.end_file(size)?;
        Ok(index)
    }

    fn begin_file(&mut self) -> Result<(FileIndex, u64), FatError> {
        let index = FileIndex(self.next_file);
        let size = self.layout.file_size(index).filter(|_| !self.failed);
        // Until the file is complete.
        self.failed = true;
        match size {
            Some(size) => Ok((index, u64::from(size))),
            None => Err(FatError::WrongOrder { reason: "there is no next file".to_owned() }),
        }
    }

    fn end_file(&mut self, size: u64) -> Result<(), FatError> {
        self.pad_cluster(size)?;
        self.next_file += 1;
        self.failed = false;
        Ok(())
    }

    /// Zeros from so many bytes to the end of their last cluster.
    fn pad_cluster(&mut self, len: u64) -> Result<(), FatError> {
        let cluster_size = u64::from(self.layout.geometry.cluster_size());
        self.stream.zeros(len.next_multiple_of(cluster_size) - len)
    }

    /// Writes directories, allocation tables and the boot sector, and returns
    /// the storage.
    ///
    /// # Errors
    /// [`FatError::WrongOrder`] if a file is missing or had an error;
    /// [`FatError::Io`].
    pub fn finish(mut self) -> Result<W, FatError> {
        if self.failed || self.next_file().is_some() {
            return Err(FatError::WrongOrder {
                reason: format!("{} of {} files are written", self.next_file, self.layout.file_count()),
            });
        }
        Arc::make_mut(&mut self.layout).place_directories()?;
        let layout = Arc::clone(&self.layout);
        let geometry = &layout.geometry;
        // A root directory of FAT32 is in two pieces: here is the second.
        let mut root = layout.directory_bytes(ROOT)?;
        let root_space = match geometry.fat_type {
            FatType::Fat32 => geometry.cluster_size() as usize,
            _ => geometry.root_sectors() as usize * BOOT_SECTOR_LEN,
        };
        let root_rest = root.split_off(root.len().min(root_space));
        self.stream.write(&root_rest)?;
        self.pad_cluster(root_rest.len() as u64)?;
        for id in layout.directories() {
            self.directory(id)?;
        }
        self.stream.seek(self.offset + BOOT_SECTOR_LEN as u64)?;
        self.reserved_sectors()?;
        for _ in 0..geometry.fats {
            self.table()?;
        }
        self.stream.write(&root)?;
        self.stream.zeros((root_space - root.len()) as u64)?;
        let storage = self.stream.finish()?;
        if self.target == Target::InUse {
            storage.sync()?;
        }
        storage.write_all_at(&geometry.encode(), self.offset)?;
        if self.target == Target::InUse {
            storage.sync()?;
        }
        Ok(storage)
    }

    fn directory(&mut self, id: NodeId) -> Result<(), FatError> {
        let bytes = self.layout.directory_bytes(id)?;
        self.stream.write(&bytes)?;
        self.pad_cluster(bytes.len() as u64)
    }

    /// Everything between the boot sector and the first table.
    fn reserved_sectors(&mut self) -> Result<(), FatError> {
        let layout = Arc::clone(&self.layout);
        let geometry = &layout.geometry;
        let wide = geometry.fat_type == FatType::Fat32;
        for sector in 1..geometry.reserved_sectors {
            // The backup holds the first three sectors; the third has only the
            // signature.
            let original = match sector.checked_sub(u32::from(BACKUP_SECTOR)) {
                Some(copied @ 0..=2) => copied,
                _ => sector,
            };
            let bytes = match original {
                0 if wide => geometry.encode(),
                n if wide && n == u32::from(FS_INFO_SECTOR) => {
                    // All ones where there is nothing to hint at.
                    let (free, next) = match self.layout.free_clusters() {
                        0 => (0, u32::MAX),
                        free => (free, self.layout.first_free_cluster),
                    };
                    fs_info(free, next)
                }
                2 if wide => {
                    let mut third = [0; BOOT_SECTOR_LEN];
                    third[510..].copy_from_slice(&[0x55, 0xAA]);
                    third
                }
                _ => [0; BOOT_SECTOR_LEN],
            };
            self.stream.write(&bytes)?;
        }
        Ok(())
    }

    /// One copy of the allocation table.
    fn table(&mut self) -> Result<(), FatError> {
        let layout = Arc::clone(&self.layout);
        let geometry = &layout.geometry;
        let mut entries =
            TableEntries { stream: &mut self.stream, fat_type: geometry.fat_type, half: None, written: 0 };
        // The media byte with ones; then "cleanly unmounted, no errors".
        entries.push(0x0FFF_FF00 | u32::from(MEDIA))?;
        entries.push(END_OF_CHAIN)?;
        let mut cluster = FIRST_CLUSTER;
        // The first run is that of the root directory, if that goes on elsewhere.
        let mut end = layout.root_rest.unwrap_or(END_OF_CHAIN);
        for run in &layout.runs {
            for _ in 1..*run {
                cluster += 1;
                entries.push(cluster)?;
            }
            cluster += 1;
            entries.push(end)?;
            end = END_OF_CHAIN;
        }
        let written = entries.finish()?;
        self.stream.zeros(geometry.fat_len().saturating_sub(written))
    }
}

/// Cut to 12 or 16 bits it means the same.
const END_OF_CHAIN: u32 = 0x0FFF_FFFF;

/// Packs entries of the allocation table.
struct TableEntries<'s, W> {
    stream: &'s mut Stream<W>,
    fat_type: FatType,
    /// FAT12: the entry that waits for the one it shares a byte with.
    half: Option<u32>,
    written: u64,
}

impl<W: WriteAt> TableEntries<'_, W> {
    fn push(&mut self, entry: u32) -> Result<(), FatError> {
        let (value, len) = match (self.fat_type, self.half.take()) {
            (FatType::Fat32, _) => (entry, 4),
            (FatType::Fat16, _) => (entry, 2),
            (FatType::Fat12, Some(first)) => ((first & 0xFFF) | (entry & 0xFFF) << 12, 3),
            (FatType::Fat12, None) => {
                self.half = Some(entry);
                return Ok(());
            }
        };
        let bytes = value.to_le_bytes();
        self.written += len as u64;
        self.stream.write(bytes.get(..len).unwrap_or_default())
    }

    fn finish(mut self) -> Result<u64, FatError> {
        if self.half.is_some() {
            self.push(0)?;
        }
        Ok(self.written)
    }
}

fn at_end(data: &mut dyn Read) -> Result<bool, FatError> {
    let mut one = [0];
    loop {
        match data.read(&mut one) {
            Ok(len) => return Ok(len == 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
