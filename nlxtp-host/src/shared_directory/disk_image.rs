//! A disk as shared directory: a virtual machine's.
//!
//! A raw image file or a block device, with an MBR whose partition 1 is a FAT file system, or a
//! bare FAT. It is read and written in user space; nothing is ever mounted. How an upload replaces
//! the content is in `disk_replacement.rs`.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::sys::stat::{SFlag, stat};
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
use super::disk_replacement::{self, DiskReplacement, Manner};
use super::kept_disk::{KeptDisk, Look};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Remedy, Result};
use crate::fat::{self, Damage, Extent, FatError, FatVolume, FileReader, ReadAt, ReadLimits, Walk, WalkItem};

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
        match self.volume() {
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

    fn volume(&self) -> Result<FatVolume<File>> {
        let open = || open_volume(open_disk(&self.path, Access::Read)?, self.read_limits());
        open().map_err(|error: Error| error.with_path(&self.path))
    }

    /// What is kept of the disk, for this look at it.
    fn kept(&self) -> Result<Option<KeptLook<'_>>> {
        // Another thread that looks just now has it; this one goes without.
        let Ok(mut keeping) = self.kept.try_lock() else { return Ok(None) };
        if matches!(*keeping, Keeping::Off) {
            return Ok(None);
        }
        let look = |disk: &KeptDisk| disk.look(self.read_limits());
        if let Keeping::Disk(disk) = &*keeping
            && let Some(look) = look(disk)
        {
            return Ok(Some(KeptLook { keeping, look }));
        }
        *keeping = Keeping::Nothing;
        let Some(disk) = KeptDisk::open(&self.path).map_err(|error| error.with_path(&self.path))? else {
            return Ok(None);
        };
        let look = look(&disk);
        *keeping = Keeping::Disk(disk);
        Ok(look.map(|look| KeptLook { keeping, look }))
    }

    fn read_limits(&self) -> ReadLimits {
        let mut limits = ReadLimits::default();
        limits.max_depth = self.limits.depth;
        limits.max_path_len = self.limits.path_bytes.min(limits.max_path_len);
        limits.max_entries = usize::try_from(self.limits.entries).unwrap_or(usize::MAX);
        limits
    }
}

/// What a disk is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// Nobody else may have a block device open exclusively: mounted, or part of another device.
    Write,
}

/// Opens a disk, and nothing but a regular file or a block device.
pub(super) fn open_disk(path: &Path, access: Access) -> Result<File> {
    let found = std::fs::metadata(path).map_err(|error| Error::io("open the disk", error))?;
    let is_device = found.file_type().is_block_device();
    if !found.is_file() && !is_device {
        return Err(Error::new(ErrorKind::NotATarget, "it is neither a regular file nor a block device"));
    }
    // Non-blocking, should it have become a FIFO meanwhile.
    let exclusive = if is_device && access == Access::Write { libc::O_EXCL } else { 0 };
    let mut options = File::options();
    options.read(true).write(access == Access::Write).custom_flags(libc::O_NONBLOCK | exclusive);
    options.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY) => Error::new(ErrorKind::InUse, "the block device is mounted, or part of another device")
            .with_hint("unmount it first"),
        _ => Error::io("open the disk", error),
    })
}

/// Opens the FAT file system of a disk.
pub(super) fn open_volume<S: ReadAt>(disk: S, limits: ReadLimits) -> Result<FatVolume<S>> {
    let extent = locate(&disk)?;
    Ok(FatVolume::open(disk, extent, limits)?)
}

/// Finds the FAT file system, and says what else it may be where there is none.
pub(super) fn locate(file: &(impl ReadAt + ?Sized)) -> Result<Extent> {
    fat::locate(file).or_else(|error| {
        let len = file.len().map_err(|error| Error::io("look at the disk", error))?;
        let whole = Extent { offset: 0, len };
        if is_unfinished(file, whole) {
            return Ok(whole);
        }
        let mut start = [0; 8];
        let known = file.read_exact_at(&mut start, 0).ok().and_then(|()| other_format(&start));
        Err(match known {
            Some(name) if matches!(error, FatError::NotFat { .. }) => {
                let message = format!("it is a {name} image; only raw images can be used");
                Error::new(ErrorKind::NotATarget, message).with_hint("convert it: qemu-img convert -O raw OLD NEW")
            }
            _ => Error::from(error),
        })
    })
}

/// Whether an upload in place was cut off there.
pub(super) fn is_unfinished(file: &(impl ReadAt + ?Sized), extent: Extent) -> bool {
    let mut start = [0; fat::UNFINISHED.len()];
    file.read_exact_at(&mut start, extent.offset).is_ok_and(|()| start == *fat::UNFINISHED)
}

fn other_format(start: &[u8; 8]) -> Option<&'static str> {
    match start {
        [b'Q', b'F', b'I', 0xfb, ..] => Some("qcow2"),
        [b'K', b'D', b'M', b'V', ..] => Some("VMDK"),
        b"vhdxfile" => Some("VHDX"),
        b"conectix" => Some("VHD"),
        [b'<', b'<', b'<', b' ', ..] => Some("VDI"),
        _ => None,
    }
}

impl From<FatError> for Error {
    fn from(error: FatError) -> Self {
        let may_retry = error.may_retry();
        match error {
            FatError::Io(error) => Self::io("read or write the disk", error),
            FatError::Unfinished => {
                Self::new(ErrorKind::Unfinished, "an upload to this disk was cut off, or is under way")
                    .with_hint("upload again")
            }
            FatError::TooSmall { needed, available } => Self::new(
                ErrorKind::TooSmall,
                format!("the content needs {needed} bytes on the disk, and it has {available}"),
            )
            .with_remedy(Remedy::CreateLargerDisk),
            FatError::NotFat { .. } => Self::new(ErrorKind::NotATarget, "no FAT file system is found")
                .with_source(error)
                .with_remedy(Remedy::CreateDisk),
            FatError::NotFound { .. } | FatError::NotADirectory { .. } | FatError::NotAFile { .. } => {
                Self::new(ErrorKind::NotFound, error.to_string())
            }
            FatError::Limit { .. } => Self::new(ErrorKind::Refused, error.to_string())
                .with_hint("spread the files over more directories, or leave some out"),
            FatError::BadName { .. }
            | FatError::BadGeometry { .. }
            | FatError::Exists { .. }
            | FatError::WrongLength { .. }
            | FatError::WrongOrder { .. } => Self::new(ErrorKind::InvalidInput, error.to_string()),
            _ if may_retry => Self::new(ErrorKind::Changing, "the file system was changing or is damaged")
                .with_source(error)
                .with_hint("try again while the guest is not writing; fsck.vfat -n tells whether it is damaged"),
            _ => Self::new(ErrorKind::Damaged, "the file system is damaged").with_source(error),
        }
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
        let kept = self.kept()?;
        let volume = if kept.is_none() { Some(self.volume()?) } else { None };
        Ok(Box::new(DiskView { image: self, volume, kept }))
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

    /// The guest writes through the hypervisor, which writes to the image file, whose time of change
    /// tells of that. A block device has none.
    fn version(&self) -> Option<Version> {
        let status = stat(&self.path).ok().filter(|status| kind(status) == SFlag::S_IFREG)?;
        let (device, keeper) = self
            .keeper
            .get_or_init(|| (status.st_dev, open_disk(&self.path, Access::Read).map_or(Keeper::Unknown, Keeper::of)));
        let stamp = Stamp::from(&status);
        let tells = *device == status.st_dev && *keeper == Keeper::Kernel && stamp.is_settled(Keeper::Kernel);
        let (seconds, nanoseconds) = stamp.changed;
        let place = [status.st_dev.cast_signed(), status.st_ino.cast_signed()];
        tells.then(|| Version::new([place[0], place[1], status.st_size, seconds, nanoseconds]))
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
    /// Opened when it is needed.
    volume: Option<FatVolume<File>>,
    kept: Option<KeptLook<'a>>,
}

struct KeptLook<'a> {
    keeping: MutexGuard<'a, Keeping>,
    look: Look,
}

impl KeptLook<'_> {
    /// The disk, if what is kept of it answers reads of this file.
    fn covering(&mut self, path: &EntryPath, offset: u64, len: usize) -> Option<(&mut KeptDisk, &mut Look)> {
        match &mut *self.keeping {
            Keeping::Disk(disk) if KeptDisk::covers(path, offset, len) => Some((disk, &mut self.look)),
            _ => None,
        }
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
            None => self.image.volume()?,
        };
        Ok(self.volume.insert(volume))
    }
}

impl View for DiskView<'_> {
    type Error = Error;

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
