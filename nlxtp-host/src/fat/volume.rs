//! A FAT file system, opened for reading.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::directory::{self, DirListing, Directory, Entry, Start};
use super::error::{Damage, FatError};
use super::file::FileReader;
use super::geometry::{FatType, Geometry};
use super::names;
use super::partition::Extent;
use super::slot::{MAX_DIRECTORY_SLOTS, SLOT_LEN};
use super::storage::ReadAt;
use super::table::{Chain, Table};
use super::walk::Walk;

/// Bytes of a directory that are read at first: most directories are small. Twice as many follow each
/// time.
const FIRST_PIECE_LEN: usize = 512;

/// Directories that lookups remember, and entries in one of them at most: a root directory and one in it
/// are what all lookups of a status query go through.
const REMEMBERED: usize = 2;
const MOST_ENTRIES_REMEMBERED: usize = 1024;

/// Bounds on what reading a hostile volume may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Slots of 32 bytes in one directory. An entry takes one, and one more
    /// for each 13 units of a long name. The default is FAT's own limit,
    /// 65,536, which makes 2 MiB.
    pub max_directory_slots: u32,
    /// Directories in each other, the root not counted. The default is 64.
    pub max_depth: usize,
    /// Bytes of UTF-8 in a path. The default is 4,096, Linux's limit.
    pub max_path_len: usize,
    /// Entries in all the directories of a walk, those with unsafe names
    /// among them. Each takes about 200 bytes of memory. The default is
    /// 200,000.
    pub max_entries: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { max_directory_slots: MAX_DIRECTORY_SLOTS, max_depth: 64, max_path_len: 4096, max_entries: 200_000 }
    }
}

/// A FAT12, FAT16 or FAT32 file system, opened for reading only.
///
/// Every byte of it is taken for hostile: whatever the disk says, an operation
/// ends after a bounded amount of work with a result or an error. The content
/// may change at any time. Parts of the allocation table, and the directories
/// that lookups went through, are cached; to see what changed since, open the
/// volume again, or use [`Walk::again`].
#[derive(Debug)]
pub struct FatVolume<S> {
    pub(super) storage: S,
    pub(super) offset: u64,
    pub(super) geometry: Geometry,
    pub(super) table: Table,
    limits: ReadLimits,
    /// The latest last.
    remembered: Mutex<Vec<(Directory, Arc<Vec<Entry>>)>>,
}

impl<S: ReadAt> FatVolume<S> {
    /// Reads and checks the boot sector at the beginning of `extent`, which
    /// [`locate`](super::locate) finds.
    ///
    /// # Errors
    /// [`FatError::NotFat`] if the boot sector describes no possible file
    /// system, or one that is larger than the extent; [`FatError::Unfinished`];
    /// [`FatError::Io`].
    pub fn open(storage: S, extent: Extent, limits: ReadLimits) -> Result<Self, FatError> {
        let end = extent.offset.checked_add(extent.len);
        if end.is_none_or(|end| end > i64::MAX.unsigned_abs()) {
            return Err(FatError::not_fat("its partition ends beyond any disk"));
        }
        let geometry = Geometry::read(&storage, extent.offset, extent.len)?;
        let table = Table::new(&geometry, extent.offset);
        Ok(Self { storage, offset: extent.offset, geometry, table, limits, remembered: Mutex::default() })
    }

    /// What holds the file system.
    #[must_use]
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// The shape of the file system.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The limits given to [`FatVolume::open`].
    #[must_use]
    pub fn limits(&self) -> &ReadLimits {
        &self.limits
    }

    /// Drops what is kept of the allocation table and directories, so that changes since are seen.
    pub(super) fn forget(&self) {
        self.table.forget();
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The volume label: the root directory's, else the boot sector's.
    ///
    /// # Errors
    /// As [`FatVolume::read_dir`].
    pub fn label(&self) -> Result<Option<String>, FatError> {
        let listing = self.read_dir(self.root())?;
        Ok(match listing.label {
            Some(raw) => names::decode_label(&raw),
            None => self.geometry.label(),
        })
    }

    /// Counts the bytes in free clusters, reading the whole allocation table.
    ///
    /// # Errors
    /// [`FatError::Io`].
    pub fn free_bytes(&self) -> Result<u64, FatError> {
        self.free_bytes_while(|| Ok(()))
    }

    /// The same, as long as `check` allows it, which is asked again and again: the table of a large
    /// volume takes a while.
    ///
    /// # Errors
    /// [`FatError::Io`]; what `check` answers.
    pub fn free_bytes_while<E: From<FatError>>(&self, check: impl FnMut() -> Result<(), E>) -> Result<u64, E> {
        let free = self.table.count_free(&self.storage, check)?;
        Ok(u64::from(free) * u64::from(self.geometry.cluster_size()))
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> Directory {
        Directory(match self.geometry.fat_type {
            FatType::Fat32 => Start::Cluster(self.geometry.root_cluster),
            FatType::Fat12 | FatType::Fat16 => Start::FixedRoot,
        })
    }

    /// Reads a directory.
    ///
    /// # Errors
    /// [`FatError::Damaged`], [`FatError::Limit`], [`FatError::Io`].
    pub fn read_dir(&self, directory: Directory) -> Result<DirListing, FatError> {
        let (bytes, clusters) = match directory.0 {
            Start::FixedRoot => (self.read_fixed_root()?, 0),
            Start::Cluster(first) => {
                let bytes = self.read_directory_chain(first)?;
                let cluster_size = self.geometry.cluster_size() as usize;
                let clusters = bytes.len().div_ceil(cluster_size);
                (bytes, clusters as u64)
            }
        };
        let wide = self.geometry.fat_type == FatType::Fat32;
        let root = directory == self.root();
        let mut listing = directory::parse(&bytes, wide, root);
        listing.clusters = clusters;
        Ok(listing)
    }

    fn read_fixed_root(&self) -> Result<Vec<u8>, FatError> {
        let slots = self.geometry.root_entries.min(self.limits.max_directory_slots);
        let mut bytes = Vec::new();
        let offset = self.offset + self.geometry.root_offset();
        let ended = self.read_slots(&mut bytes, offset, slots as usize * SLOT_LEN)?;
        if slots < self.geometry.root_entries && !ended {
            return Err(self.too_many_slots("root directory".to_owned()));
        }
        Ok(bytes)
    }

    fn read_directory_chain(&self, first: u32) -> Result<Vec<u8>, FatError> {
        let cluster_size = self.geometry.cluster_size() as usize;
        let limit = self.limits.max_directory_slots as usize * SLOT_LEN;
        let too_many = || self.too_many_slots(format!("directory at cluster {first}"));
        let mut chain = Chain::new(&self.table, first)?;
        let mut bytes = Vec::new();
        let mut cluster = first;
        loop {
            let start = bytes.len();
            let room = limit - start;
            if room == 0 {
                return Err(too_many());
            }
            if self.read_slots(&mut bytes, self.cluster_offset(cluster)?, cluster_size.min(room))? {
                return Ok(bytes);
            }
            if cluster_size > room {
                return Err(too_many());
            }
            match chain.advance(&self.table, &self.storage)? {
                Some(next) => cluster = next,
                None => return Ok(bytes),
            }
        }
    }

    /// Appends `len` bytes of a directory, or fewer if its end is among them, which is then true.
    fn read_slots(&self, bytes: &mut Vec<u8>, offset: u64, len: usize) -> Result<bool, FatError> {
        let mut piece = FIRST_PIECE_LEN;
        let mut done = 0;
        while done < len {
            let start = bytes.len();
            bytes.resize(start + piece.min(len - done), 0);
            let part = bytes.get_mut(start..).unwrap_or_default();
            self.storage.read_exact_at(part, offset + done as u64)?;
            if directory::has_end(part) {
                return Ok(true);
            }
            done += part.len();
            piece *= 2;
        }
        Ok(false)
    }

    fn too_many_slots(&self, place: String) -> FatError {
        FatError::Limit { what: "slots of 32 bytes", limit: u64::from(self.limits.max_directory_slots), place }
    }

    /// Where a cluster lies on the storage.
    pub(super) fn cluster_offset(&self, cluster: u32) -> Result<u64, FatError> {
        let within = self
            .geometry
            .cluster_offset(cluster)
            .ok_or_else(|| FatError::damaged(Damage::OutOfRange { cluster }, "cluster to be read"))?;
        Ok(self.offset + within)
    }

    /// Finds the entry at a path from the root, its components divided by
    /// `/`. Empty components are skipped; `.` and `..` are no names.
    ///
    /// A component may be a long or a short name. An exact match is preferred
    /// to one that differs in case.
    ///
    /// # Errors
    /// [`FatError::NotFound`], [`FatError::NotADirectory`] if a file stands in
    /// the middle of the path, and the errors of [`FatVolume::read_dir`].
    pub fn lookup(&self, path: &str) -> Result<Entry, FatError> {
        let mut directory = self.root();
        let mut components = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = components.next() {
            let entries = self.entries(directory)?;
            let entry = find(&entries, name).ok_or_else(|| FatError::NotFound { path: names::escape(path) })?;
            if components.peek().is_none() {
                return Ok(entry.clone());
            }
            directory = entry.directory().ok_or_else(|| FatError::NotADirectory { path: names::escape(path) })?;
        }
        // The root directory has no entry.
        Err(FatError::NotFound { path: names::escape(path) })
    }

    /// The entries of a directory, for a lookup.
    fn entries(&self, directory: Directory) -> Result<Arc<Vec<Entry>>, FatError> {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, entries)) = remembered.iter().find(|(known, _)| *known == directory) {
            return Ok(Arc::clone(entries));
        }
        let entries = Arc::new(self.read_dir(directory)?.entries);
        if entries.len() <= MOST_ENTRIES_REMEMBERED {
            if remembered.len() == REMEMBERED {
                remembered.remove(0);
            }
            remembered.push((directory, Arc::clone(&entries)));
        }
        Ok(entries)
    }

    /// As [`FatVolume::lookup`], for a directory; the root's path is empty.
    ///
    /// # Errors
    /// As [`FatVolume::lookup`]; [`FatError::NotADirectory`] for a file.
    pub fn lookup_dir(&self, path: &str) -> Result<Directory, FatError> {
        if path.bytes().all(|byte| byte == b'/') {
            return Ok(self.root());
        }
        let entry = self.lookup(path)?;
        entry.directory().ok_or_else(|| FatError::NotADirectory { path: names::escape(path) })
    }

    /// Opens a file for reading from its beginning.
    ///
    /// # Errors
    /// [`FatError::NotAFile`] for a directory, [`FatError::Damaged`] if the
    /// size or the first cluster is impossible.
    pub fn open_file(&self, entry: &Entry) -> Result<FileReader<'_, S>, FatError> {
        FileReader::open(self, entry, u64::MAX)
    }

    /// As [`FatVolume::open_file`], for the first `len` bytes: what the allocation table says of the clusters
    /// behind them is not looked at. The file seems to end in the cluster in which they end.
    ///
    /// # Errors
    /// As [`FatVolume::open_file`].
    pub fn open_beginning(&self, entry: &Entry, len: u64) -> Result<FileReader<'_, S>, FatError> {
        FileReader::open(self, entry, len)
    }

    /// Reads from a position of a file until `buf` is full or the file ends,
    /// and returns how much that was.
    ///
    /// # Errors
    /// Those of [`FatVolume::open_file`] and [`FileReader::read`].
    pub fn read_file_at(&self, entry: &Entry, offset: u64, buf: &mut [u8]) -> Result<usize, FatError> {
        let mut reader = self.open_beginning(entry, offset.saturating_add(buf.len() as u64))?;
        reader.skip(offset)?;
        reader.read_full(buf)
    }

    /// Reads a whole file into memory, if it has at most `max_len` bytes.
    ///
    /// # Errors
    /// [`FatError::Limit`] if it is longer, and those of
    /// [`FatVolume::read_file_at`].
    pub fn read_file(&self, entry: &Entry, max_len: u32) -> Result<Vec<u8>, FatError> {
        if entry.size > max_len {
            return Err(FatError::Limit {
                what: "bytes in a file",
                limit: u64::from(max_len),
                place: format!("'{}'", entry.name),
            });
        }
        let mut reader = self.open_file(entry)?;
        let mut content = vec![0; entry.size as usize];
        let read = reader.read_full(&mut content)?;
        content.truncate(read);
        Ok(content)
    }

    /// Visits everything below a directory, depth first, in the order of the
    /// names. Paths are relative to that directory.
    #[must_use]
    pub fn walk(&self, directory: Directory) -> Walk<'_, S> {
        Walk::new(self, directory)
    }
}

/// The best match for a name.
fn find<'e>(entries: &'e [Entry], name: &str) -> Option<&'e Entry> {
    let rank = |entry: &Entry| {
        if entry.name == name {
            Some(0)
        } else if names::are_one(&entry.name, name) {
            Some(1)
        } else if names::are_one(&entry.short_name, name) {
            Some(2)
        } else {
            None
        }
    };
    let ranked = entries.iter().filter_map(|entry| Some((rank(entry)?, entry)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
}

impl From<FatError> for io::Error {
    fn from(error: FatError) -> Self {
        match error {
            FatError::Io(error) => error,
            other => Self::other(other),
        }
    }
}
