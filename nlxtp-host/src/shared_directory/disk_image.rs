//! A disk as shared directory: a virtual machine's.
//!
//! A raw image file or a block device, with an MBR whose partition 1 is a FAT file system, or a
//! bare FAT. It is read and written in user space; nothing is ever mounted. How an upload replaces
//! the content is in `disk_replacement.rs`.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::sys::stat::{FileStat, SFlag};
use rextfv_core::archive_rules::Manifest;
use rextfv_core::entry_path::EntryPath;
use rextfv_core::layout;
use rextfv_core::limits::Limits;
use rextfv_core::retry::RetryPolicy;
use rextfv_core::shared_directory::{
    Attributes, BegunReplacement, Content, Entry, EntryKind, LeftOut, LeftOutReason, Representation, SharedDirectory,
    Sharing, Version, View, Visitor, Watch,
};

use super::beneath::kind;
use super::change_time::{Keeper, Stamp};
use super::disk_description::DiskDescription;
use super::disk_opening::{Access, look_at_disk, open_disk, open_found, open_volume};
use super::disk_replacement::{self, DiskReplacement, Manner};
use super::kept_disk::{KeptDisk, Look};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::fat::{self, Damage, FatError, FatVolume, FileReader, ReadAt, ReadLimits, Walk, WalkItem};

/// A raw disk image or block device with a FAT file system.
#[derive(Debug)]
pub struct DiskImage {
    path: PathBuf,
    /// What the path names, where the caller gave a descriptor.
    held: Option<OwnedFd>,
    limits: Limits,
    retries: RetryPolicy,
    kept: Mutex<Keeping>,
    /// Who keeps the times of files on a device.
    keeper: OnceLock<(u64, Keeper)>,
}

/// What is kept of a disk from one status query to the next.
#[derive(Debug, Default)]
enum Keeping {
    #[default]
    Off,
    /// To be kept, but nothing is yet, or it is a block device.
    Nothing,
    Disk(KeptDisk),
}

/// What a new disk is like.
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// Bytes of the whole disk, from 1 MiB + 64 KiB to 2 TiB; rounded down to whole sectors.
    pub size: u64,
    /// The volume label: at most 11 characters that FAT allows, turned to upper case.
    pub label: String,
}

impl Default for DiskOptions {
    /// 62 MiB, labelled `NLXTP`.
    fn default() -> Self {
        Self { size: 62 << 20, label: layout::VOLUME_LABEL.into() }
    }
}

/// How every file of a FAT is seen: as Linux's own driver shows it.
const MODE: u32 = 0o755;

impl DiskImage {
    /// The disk at this path. It is opened anew for each operation. With
    /// [`keep_open`](SharedDirectory::keep_open), an image file (but no block device) is held open from
    /// one status query to the next.
    ///
    /// # Errors
    /// There is no file or block device at this path, it cannot be read, or it holds no FAT file
    /// system in partition 1 or as a whole. A device to which an upload was cut off is taken: another
    /// upload mends it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::new(path.into(), None).checked()
    }

    /// The disk that this descriptor leads to, wherever its name leads meanwhile: it is held, and opened
    /// anew for each operation through `/proc/self/fd`, with the rights of this process. So locks that
    /// others have by the same descriptor are seen, and its position does not matter.
    ///
    /// Since nothing can take the place of what a descriptor leads to, an upload writes an image file
    /// as it does a block device: the old content goes first, and a crash can leave none
    /// ([`Unfinished`](ErrorKind::Unfinished), until the next upload).
    ///
    /// # Errors
    /// As for [`open`](Self::open), or there is no `/proc`.
    pub fn from_fd(descriptor: OwnedFd) -> Result<Self> {
        Self::new(super::path_of(&descriptor), Some(descriptor)).checked()
    }

    fn new(path: PathBuf, held: Option<OwnedFd>) -> Self {
        Self {
            path,
            held,
            limits: Limits::DEFAULT,
            retries: RetryPolicy::STATUS,
            kept: Mutex::default(),
            keeper: OnceLock::new(),
        }
    }

    fn checked(self) -> Result<Self> {
        match self.look().and_then(|found| self.volume(&found)) {
            Err(error) if error.kind() != ErrorKind::Unfinished => Err(error),
            _ => Ok(self),
        }
    }

    /// Makes a new disk image: a sparse file with an MBR, partition 1 from 1 MiB on, and an empty
    /// FAT in it.
    ///
    /// # Errors
    /// There is something at this path already, it cannot be written, or size or label cannot be
    /// used.
    pub fn create(path: impl Into<PathBuf>, options: &DiskOptions) -> Result<Self> {
        let path = path.into();
        disk_replacement::create(&path, options).map_err(|error| error.with_path(&path))?;
        Self::open(path)
    }

    /// The same with other bounds on what is read of it.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same with another policy for a directory that contradicts itself when it is visited, be it
    /// damaged or just being written. The attempts are for all of a walk; what stays unreadable is
    /// left out. The default is [`RetryPolicy::STATUS`].
    #[must_use]
    pub fn with_retries(mut self, retries: RetryPolicy) -> Self {
        self.retries = retries;
        self
    }

    /// Where it is; for [a descriptor](Self::from_fd), a path that this process alone can use.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells where on the disk its file system lies, and what that is like. A disk to which an upload was
    /// cut off is described, too.
    ///
    /// # Errors
    /// As for [`open`](Self::open); [`Changing`](ErrorKind::Changing) where the root directory contradicts
    /// itself; what `control` tells.
    pub fn describe(&self, control: &Control<'_>) -> Result<DiskDescription> {
        let look = || DiskDescription::read(&open_disk(&self.path, Access::Read)?, self.read_limits(), control);
        look().map_err(|error: Error| error.with_path(&self.path))
    }

    /// How an upload may write an image file.
    fn manner(&self) -> Manner {
        if self.held.is_some() { Manner::InPlace } else { Manner::Beside }
    }

    /// What its path leads to.
    fn look(&self) -> Result<FileStat> {
        look_at_disk(&self.path).map_err(|error| error.with_path(&self.path))
    }

    fn volume(&self, found: &FileStat) -> Result<FatVolume<File>> {
        let open = || open_volume(open_found(&self.path, found, Access::Read)?, self.read_limits());
        open().map_err(|error: Error| error.with_path(&self.path))
    }

    /// What is kept of the disk, for a look at it.
    fn kept(&self, found: &FileStat) -> Option<KeptLook<'_>> {
        // Another thread that looks just now has it; this one goes without.
        let mut keeping = self.kept.try_lock().ok()?;
        match &*keeping {
            Keeping::Off => return None,
            Keeping::Disk(disk) if !disk.is_same(found) => *keeping = Keeping::Nothing,
            Keeping::Nothing | Keeping::Disk(_) => {}
        }
        // A block device is not kept: while it is open, its host could not release it.
        (kind(found) == SFlag::S_IFREG).then_some(KeptLook { image: self, keeping, look: None })
    }

    /// The guest writes through the hypervisor, which writes to the image file, whose time of change
    /// tells of that. A block device has none.
    fn version_of(&self, found: &FileStat) -> Option<Version> {
        if kind(found) != SFlag::S_IFREG {
            return None;
        }
        let (device, keeper) = self
            .keeper
            .get_or_init(|| (found.st_dev, open_disk(&self.path, Access::Read).map_or(Keeper::Unknown, Keeper::of)));
        let stamp = Stamp::from(found);
        let tells = *device == found.st_dev && *keeper == Keeper::Kernel && stamp.is_settled(Keeper::Kernel);
        let (seconds, nanoseconds) = stamp.changed;
        let place = [found.st_dev.cast_signed(), found.st_ino.cast_signed()];
        tells.then(|| Version::new([place[0], place[1], found.st_size, seconds, nanoseconds]))
    }

    fn read_limits(&self) -> ReadLimits {
        let mut limits = ReadLimits::default();
        limits.max_depth = self.limits.depth;
        limits.max_path_len = self.limits.path_bytes.min(limits.max_path_len);
        limits.max_entries = usize::try_from(self.limits.entries).unwrap_or(usize::MAX);
        limits
    }
}

impl SharedDirectory for DiskImage {
    type Error = Error;

    fn representation(&self) -> Representation {
        Representation::Fat
    }

    fn sharing(&self) -> Sharing {
        Sharing::TakingTurns
    }

    fn view(&self) -> Result<Box<dyn View<Error = Error> + '_>> {
        let found = self.look()?;
        let kept = self.kept(&found);
        let volume = if kept.is_none() { Some(self.volume(&found)?) } else { None };
        Ok(Box::new(DiskView { image: self, found, volume, kept }))
    }

    fn keep_open(&self, keep: bool) -> usize {
        let mut keeping = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match (keep, &*keeping) {
            (true, Keeping::Off) => *keeping = Keeping::Nothing,
            (true, _) => {}
            (false, _) => *keeping = Keeping::Off,
        }
        1
    }

    fn version(&self) -> Option<Version> {
        self.version_of(&look_at_disk(&self.path).ok()?)
    }

    fn begin(&self, watch: Watch<'_, Error>) -> Result<Option<BegunReplacement<'_, Error>>> {
        watch()?;
        let begun = DiskReplacement::begin(&self.path, self.manner()).map_err(|error| error.with_path(&self.path))?;
        Ok(begun.map(|replacement| Box::new(replacement) as _))
    }

    fn replace(&self, manifest: &Manifest, watch: Watch<'_, Error>) -> Result<BegunReplacement<'_, Error>> {
        watch()?;
        let begun = DiskReplacement::begin_with(&self.path, self.manner(), manifest);
        let begun = begun.map_err(|error| error.with_path(&self.path))?;
        Ok(Box::new(begun))
    }
}

struct DiskView<'a> {
    image: &'a DiskImage,
    /// What its path led to when the view began.
    found: FileStat,
    /// Opened when it is needed.
    volume: Option<FatVolume<File>>,
    kept: Option<KeptLook<'a>>,
}

struct KeptLook<'a> {
    image: &'a DiskImage,
    keeping: MutexGuard<'a, Keeping>,
    /// Begun when something is read.
    look: Option<Look>,
}

impl KeptLook<'_> {
    /// The disk, if what is kept of it answers reads of this file.
    fn covering(&mut self, path: &EntryPath, offset: u64, len: usize) -> Option<(&mut KeptDisk, &mut Look)> {
        if !KeptDisk::covers(path, offset, len) {
            return None;
        }
        if self.look.is_none() {
            self.look = Some(self.begin()?);
        }
        match &mut *self.keeping {
            Keeping::Disk(disk) => Some((disk, self.look.as_mut()?)),
            Keeping::Off | Keeping::Nothing => None,
        }
    }

    /// Begins a look: at what is kept if that still holds, and else anew.
    fn begin(&mut self) -> Option<Look> {
        let limits = self.image.read_limits();
        if let Keeping::Disk(disk) = &*self.keeping
            && let Some(look) = disk.look(limits)
        {
            return Some(look);
        }
        *self.keeping = Keeping::Nothing;
        let disk = KeptDisk::open(&self.image.path)?;
        let look = disk.look(limits);
        *self.keeping = Keeping::Disk(disk);
        look
    }
}

/// Shows an entry to a visitor, or says why it is left out.
fn visit(
    volume: &FatVolume<File>,
    path: &str,
    found: &fat::Entry,
    visitor: &mut dyn Visitor<Error = Error>,
) -> Result<Option<LeftOutReason>> {
    let Ok(path) = EntryPath::parse(path.as_bytes()) else { return Ok(Some(LeftOutReason::UnusableName)) };
    let entry = entry(path, found);
    if found.is_dir {
        visitor.directory(&entry)?;
        return Ok(None);
    }
    match volume.open_file(found) {
        Ok(reader) => visitor.file(&entry, &mut FileContent { reader, path: &entry.path })?,
        Err(FatError::Io(error)) => return Err(FatError::Io(error).into()),
        // Torn by a loss of power, say. The other files are not.
        Err(_) => return Ok(Some(LeftOutReason::Unreadable)),
    }
    Ok(None)
}

/// Whether a walk has come to what an upload stages. No host stages anything on a disk; a guest that copies a
/// directory to it may bring some along.
fn is_staged(item: &WalkItem) -> bool {
    let path = match item {
        WalkItem::LeftOut { directory, left_out } if directory.is_empty() => &left_out.name,
        WalkItem::LeftOut { directory: path, .. }
        | WalkItem::Entry { path, .. }
        | WalkItem::TooDeep { path }
        | WalkItem::Unreadable { path, .. } => path,
    };
    layout::is_staged(path.as_bytes(), Representation::Fat)
}

/// Why a walk leaves an entry out.
fn unreadable(error: &FatError) -> LeftOutReason {
    match error {
        FatError::Damaged { damage: Damage::SharedDirectory { .. }, .. } => LeftOutReason::Repeated,
        _ => LeftOutReason::Unreadable,
    }
}

pub(super) fn entry(path: EntryPath, found: &fat::Entry) -> Entry {
    let (kind, size) = if found.is_dir { (EntryKind::Directory, 0) } else { (EntryKind::File, u64::from(found.size)) };
    Entry { path, kind, size, attributes: Attributes { mode: MODE, modified: found.modified.unwrap_or(0) } }
}

/// Finds the entry at a path.
pub(super) fn find<S: ReadAt>(volume: &FatVolume<S>, path: &EntryPath) -> Result<Option<fat::Entry>> {
    let Some(text) = path.as_str() else { return Ok(None) };
    match volume.lookup(text) {
        Ok(found) => Ok(Some(found)),
        Err(FatError::NotFound { .. } | FatError::NotADirectory { .. }) => Ok(None),
        Err(error) => Err(about(error, path)),
    }
}

pub(super) fn about(error: FatError, path: &EntryPath) -> Error {
    Error::from(error).with_object(path.to_string())
}

impl DiskView<'_> {
    fn volume(&mut self) -> Result<&FatVolume<File>> {
        let volume = match self.volume.take() {
            Some(volume) => volume,
            None => self.image.look().and_then(|found| self.image.volume(&found))?,
        };
        Ok(self.volume.insert(volume))
    }
}

impl View for DiskView<'_> {
    type Error = Error;

    fn version(&self) -> Option<Version> {
        self.image.version_of(&self.found)
    }

    fn entry(&mut self, path: &EntryPath) -> Result<Option<Entry>> {
        if path.is_root() {
            let attributes = Attributes { mode: MODE, modified: 0 };
            return Ok(Some(Entry { path: path.clone(), kind: EntryKind::Directory, size: 0, attributes }));
        }
        if let Some((disk, look)) = self.kept.as_mut().and_then(|kept| kept.covering(path, 0, 0))
            && let Ok(entry) = disk.entry(look, path)
        {
            return Ok(entry);
        }
        Ok(find(self.volume()?, path)?.map(|found| entry(path.clone(), &found)))
    }

    fn read_at(&mut self, path: &EntryPath, offset: u64, buffer: &mut [u8]) -> Result<Option<usize>> {
        if let Some((disk, look)) = self.kept.as_mut().and_then(|kept| kept.covering(path, offset, buffer.len()))
            && let Ok(length) = disk.read_at(look, path, offset, buffer)
        {
            return Ok(length);
        }
        let volume = self.volume()?;
        let Some(found) = find(volume, path)?.filter(|found| !found.is_dir) else { return Ok(None) };
        volume.read_file_at(&found, offset, buffer).map(Some).map_err(|error| about(error, path))
    }

    fn top_names(&mut self) -> Result<Vec<Vec<u8>>> {
        let volume = self.volume()?;
        let listing = volume.read_dir(volume.root())?;
        let mut names: Vec<_> = listing.entries.into_iter().map(|entry| entry.name.into_bytes()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// A directory that contradicts itself is read again, in case the guest is just writing, and left
    /// out if it stays so.
    fn walk(&mut self, visitor: &mut dyn Visitor<Error = Error>) -> Result<()> {
        let mut pauses = self.image.retries.pauses().peekable();
        let mut try_again = |walk: &mut Walk<'_, File>, error: &FatError| {
            let again = error.may_retry() && pauses.peek().is_some() && walk.again();
            if again && let Some(pause) = pauses.next() {
                std::thread::sleep(pause);
            }
            again
        };
        let volume = self.volume()?;
        let mut walk = volume.walk(volume.root());
        loop {
            let (path, reason) = match walk.next() {
                None => return Ok(()),
                Some(Ok(item)) if is_staged(&item) => continue,
                Some(Err(error)) if try_again(&mut walk, &error) => continue,
                Some(Ok(WalkItem::Unreadable { error, .. })) if try_again(&mut walk, &error) => continue,
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(WalkItem::Entry { path, entry })) => match visit(volume, &path, &entry, visitor)? {
                    None => continue,
                    Some(reason) => (path, reason),
                },
                Some(Ok(WalkItem::LeftOut { directory, left_out })) if directory.is_empty() => {
                    (left_out.name, LeftOutReason::UnusableName)
                }
                Some(Ok(WalkItem::LeftOut { directory, left_out })) => {
                    (format!("{directory}/{}", left_out.name), LeftOutReason::UnusableName)
                }
                Some(Ok(WalkItem::TooDeep { path })) => (path, LeftOutReason::TooDeep),
                Some(Ok(WalkItem::Unreadable { path, error })) => (path, unreadable(&error)),
            };
            visitor.left_out(LeftOut { path, reason })?;
        }
    }
}

struct FileContent<'a> {
    reader: FileReader<'a, File>,
    path: &'a EntryPath,
}

impl Content for FileContent<'_> {
    type Error = Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.reader.read(buffer).map_err(|error| about(error, self.path))
    }
}
