//! How an upload replaces the content of a disk: a whole fresh file system.
//!
//! On an image file it is laid out in a new image beside the old one, which is flushed and renamed
//! over it: a crash leaves the old image or the new one. The new image keeps owner, mode, extended
//! attributes (security labels and access lists among them), the bytes outside the partition, and
//! its nature: fully allocated if the old one was, else sparse.
//!
//! A block device cannot be renamed, nor can another image take the place of one that is known by a
//! descriptor. There the old boot sector is wiped first and the new one comes last, each flushed: a
//! crash leaves the old file system, the new one, or none.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek64};
use rextfv_core::archive_rules::{Manifest, ManifestLinkKind};
use rextfv_core::entry_path::EntryPath;
use rextfv_core::ids::RunId;
use rextfv_core::layout;
use rextfv_core::shared_directory::{Attributes, Content, Replacement, Watch};

use super::disk_image::DiskOptions;
use super::disk_opening::{Access, is_unfinished, locate, open_disk};
use super::image_lock::LockedImage;
use super::room::{self, Room};
use crate::early_flush::EarlyFlush;
use crate::error::{Error, ErrorKind, Result};
use crate::fat::{
    self, Extent, FatError, FatVolume, FormatOptions, Layout, Plan, ReadAt, ReadLimits, Target, WriteAt, Writer,
};

/// Bytes of the run id's file.
const RUN_ID_BYTES: u64 = 33;

/// The new content of a disk, being made.
pub(super) struct DiskReplacement {
    writer: Writer<DiskFile>,
    /// Whether the layout holds everything from the beginning.
    planned: bool,
    place: Place,
    image: LockedImage,
}

/// Where the new file system is written.
enum Place {
    /// To a new image that takes the place of the old one.
    Beside(NewImage),
    /// To the disk itself.
    InPlace,
}

/// How an image file may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// By a new one that takes its place.
    Beside,
    /// Like a block device: nobody knows where it lies.
    InPlace,
}

impl DiskReplacement {
    /// Locks the disk and makes the new image, if there is room for one beside the old one. Nothing is
    /// known of the content.
    pub fn begin(path: &Path, manner: Manner) -> Result<Option<Self>> {
        let disk = Disk::open(path, manner)?;
        if disk.manner() == Manner::InPlace {
            return Ok(None);
        }
        let layout = disk.plan()?.finish()?;
        let new = NewImage::beside(&disk, None)?;
        Self::beside(disk, new, &layout, false).map(Some)
    }

    /// Locks the disk, lays out the new file system, and makes the new image.
    pub fn begin_with(path: &Path, manner: Manner, manifest: &Manifest) -> Result<Self> {
        let disk = Disk::open(path, manner)?;
        let mut plan = disk.plan()?;
        add_all(&mut plan, manifest)?;
        let layout = plan.finish()?;
        if disk.manner() == Manner::Beside {
            let new = NewImage::beside(&disk, Some(manifest.total_bytes))?;
            return Self::beside(disk, new, &layout, true);
        }
        disk.check_room(manifest.total_bytes)?;
        let storage = DiskFile::again(disk.image.file()).map_err(|error| Error::io("open the disk", error))?;
        let writer = layout.writer(storage, disk.extent.offset, Target::InUse)?;
        Ok(Self { writer, planned: true, place: Place::InPlace, image: disk.image })
    }

    fn beside(disk: Disk, new: NewImage, layout: &Arc<Layout>, planned: bool) -> Result<Self> {
        let storage = DiskFile::again(&new.file).map_err(|error| Error::io("make the new image", error))?;
        let writer = layout.writer(storage, disk.extent.offset, Target::Zeroed)?;
        Ok(Self { writer, planned, place: Place::Beside(new), image: disk.image })
    }

    /// Sees to it that there is a place for a file of this size.
    fn add(&mut self, path: &EntryPath, size: u64, modified: i64) -> Result<()> {
        if self.planned {
            return Ok(());
        }
        if let Place::Beside(new) = &mut self.place {
            new.take_room(size)?;
        }
        self.writer.add_file(text(path)?, size, modified)?;
        Ok(())
    }

    fn next_file(&mut self, path: &EntryPath, content: &mut dyn Read) -> Result<()> {
        self.writer.write_file(content).map_err(|error| failed(error).with_object(path.to_string()))?;
        Ok(())
    }
}

/// A disk that is written from its beginning to its end, and flushed meanwhile.
struct DiskFile {
    file: File,
    flush: RefCell<EarlyFlush>,
}

impl DiskFile {
    fn again(file: &File) -> io::Result<Self> {
        Ok(Self { file: file.try_clone()?, flush: RefCell::default() })
    }
}

impl ReadAt for DiskFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        ReadAt::read_exact_at(&self.file, buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&self.file)
    }
}

impl WriteAt for DiskFile {
    fn write_all_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        WriteAt::write_all_at(&self.file, buffer, offset)?;
        self.flush.borrow_mut().written_to(&self.file, offset + buffer.len() as u64);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// A disk that nobody else writes meanwhile.
struct Disk {
    path: PathBuf,
    manner: Manner,
    extent: Extent,
    metadata: Metadata,
    label: String,
    image: LockedImage,
}

impl Disk {
    fn open(path: &Path, manner: Manner) -> Result<Self> {
        let path = match manner {
            // A link to the image stays a link: what it leads to is replaced.
            Manner::Beside => path.canonicalize().map_err(|error| Error::io("open the disk", error))?,
            Manner::InPlace => path.to_owned(),
        };
        let file = open_disk(&path, Access::Write)?;
        let extent = locate(&file)?;
        let label = if is_unfinished(&file, extent) {
            None
        } else {
            // A damaged root directory does not matter: it goes.
            FatVolume::open(&file, extent, ReadLimits::default())?.label().ok().flatten()
        };
        let label = label.unwrap_or_else(|| layout::VOLUME_LABEL.into());
        let image = LockedImage::lock(file, &path)?;
        let metadata = image.file().metadata().map_err(|error| Error::io("look at the disk", error))?;
        Ok(Self { path, manner, extent, metadata, label, image })
    }

    fn manner(&self) -> Manner {
        if self.metadata.is_file() { self.manner } else { Manner::InPlace }
    }

    /// Sees to it that a sparse image that is written in place can grow by so much: there is no way
    /// back later.
    fn check_room(&self, bytes: u64) -> Result<()> {
        let allocated = self.metadata.blocks().saturating_mul(512);
        if !self.metadata.is_file() || allocated >= self.metadata.len() {
            return Ok(());
        }
        let free = room::free_space(self.image.file().as_fd());
        let free = free.map_err(|error| Error::io("look at the disk", error))?.free_bytes;
        if free.saturating_add(allocated) < bytes {
            return Err(writing("write the new content", io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    /// A plan with nothing in it.
    fn plan(&self) -> Result<Plan> {
        // A label that is not ASCII cannot be kept: code pages differ.
        let mut options = FormatOptions::new(&self.label).or_else(|_| FormatOptions::new(layout::VOLUME_LABEL))?;
        options.volume_id = u32::from_le_bytes(random()?);
        options.hidden_sectors = u32::try_from(self.extent.offset / 512).unwrap_or(u32::MAX);
        options.timestamp = super::staging::now();
        Ok(Plan::new(options, self.extent.len)?)
    }
}

fn add_all(plan: &mut Plan, manifest: &Manifest) -> Result<()> {
    for directory in &manifest.directories {
        plan.add_directory(text(&directory.path)?, directory.attributes.modified)?;
    }
    for file in &manifest.files {
        plan.add_file(text(&file.path)?, file.size, file.attributes.modified)?;
    }
    for link in &manifest.links {
        let ManifestLinkKind::Copy { size, .. } = link.kind else {
            return Err(Error::new(ErrorKind::Refused, "FAT has no links").with_object(link.path.to_string()));
        };
        plan.add_file(text(&link.path)?, size, link.attributes.modified)?;
    }
    plan.add_file(layout::RUN_ID, RUN_ID_BYTES, super::staging::now())?;
    Ok(())
}

fn text(path: &EntryPath) -> Result<&str> {
    path.as_str().ok_or_else(|| Error::new(ErrorKind::Refused, "the name is not UTF-8"))
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Io, "the system gives no random numbers").with_source(error.to_string())
    })?;
    Ok(bytes)
}

/// An error while the new file system was written. One that the content itself gave comes through as
/// it was.
fn failed(error: FatError) -> Error {
    match error {
        FatError::Io(error) => match error.downcast::<Error>() {
            Ok(inner) => inner,
            Err(error) => writing("write the new content", error),
        },
        FatError::WrongLength { .. } => Error::new(ErrorKind::BadArchive, error.to_string()),
        other => other.into(),
    }
}

fn writing(doing: &str, error: io::Error) -> Error {
    let error = Error::io(doing, error);
    if error.kind() == ErrorKind::NoSpace {
        return error.with_hint("nothing was changed; make room and upload again");
    }
    error
}

impl Replacement for DiskReplacement {
    type Error = Error;

    fn directory(&mut self, path: &EntryPath, attributes: Attributes) -> Result<()> {
        if self.planned {
            return Ok(());
        }
        Ok(self.writer.add_directory(text(path)?, attributes.modified)?)
    }

    fn file(
        &mut self,
        path: &EntryPath,
        attributes: Attributes,
        size: u64,
        content: &mut dyn Content<Error = Error>,
    ) -> Result<()> {
        self.add(path, size, attributes.modified)?;
        self.next_file(path, &mut ContentReader(content))
    }

    fn copy(
        &mut self,
        path: &EntryPath,
        existing: &EntryPath,
        attributes: Attributes,
        watch: Watch<'_, Error>,
    ) -> Result<()> {
        let missing = || Error::new(ErrorKind::NotFound, "it was not added before").with_object(existing.to_string());
        let source = self.writer.find_file(text(existing)?).ok_or_else(missing)?;
        self.add(path, self.writer.file_size(source), attributes.modified)?;
        let may_go_on = || watch().map_err(io::Error::other);
        self.writer.copy_from(source, &may_go_on).map_err(|error| failed(error).with_object(path.to_string()))?;
        Ok(())
    }

    fn symlink(&mut self, path: &EntryPath, _: &[u8]) -> Result<()> {
        Err(Error::new(ErrorKind::Refused, "FAT has no symbolic links").with_object(path.to_string()))
    }

    fn hard_link(&mut self, path: &EntryPath, _: &EntryPath) -> Result<()> {
        Err(Error::new(ErrorKind::Refused, "FAT has no hard links").with_object(path.to_string()))
    }

    fn commit(mut self: Box<Self>, run: RunId, watch: Watch<'_, Error>) -> Result<()> {
        let line = format!("{run}\n");
        if let Some(path) = EntryPath::root().join(layout::RUN_ID.as_bytes()) {
            self.add(&path, RUN_ID_BYTES, super::staging::now())?;
        }
        self.writer.write_file(&mut line.as_bytes()).map_err(failed)?;
        watch()?;
        let storage = self.writer.finish().map_err(failed)?;
        match self.place {
            Place::Beside(new) => new.put_in_place(self.image.file(), watch),
            Place::InPlace => storage.sync().map_err(|error| Error::io("flush the disk", error)),
        }
    }
}

struct ContentReader<'a>(&'a mut dyn Content<Error = Error>);

impl Read for ContentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(io::Error::other)
    }
}

/// A new image beside the old one; removed again unless it is put in its place.
struct NewImage {
    file: File,
    path: PathBuf,
    target: PathBuf,
    /// Looked at as long as nobody knows how much will come, unless all of it is allocated.
    room: Option<Room>,
    in_place: bool,
}

impl NewImage {
    fn beside(disk: &Disk, content_bytes: Option<u64>) -> Result<Self> {
        let making = |error: io::Error| writing("make the new image beside the old one", error);
        let (old, metadata, extent) = (disk.image.file(), &disk.metadata, disk.extent);
        let mut new = Self::create(&disk.path).map_err(making)?;
        new.file.set_len(metadata.len()).map_err(making)?;
        let fully_allocated = metadata.blocks().saturating_mul(512) >= metadata.len();
        if fully_allocated {
            let length = i64::try_from(metadata.len()).unwrap_or(i64::MAX);
            match fallocate(&new.file, FallocateFlags::empty(), 0, length) {
                // A file system that cannot: the file grows as it is written.
                Err(nix::errno::Errno::EOPNOTSUPP) => {}
                other => other.map_err(|errno| making(errno.into()))?,
            }
        } else if let Some(content_bytes) = content_bytes {
            if room::free_space(new.file.as_fd()).map_err(making)?.free_bytes < content_bytes {
                return Err(making(io::ErrorKind::StorageFull.into()));
            }
        } else {
            new.room = Some(Room::on(new.file.as_fd()).map_err(making)?);
        }
        copy_data(old, &new.file, 0, extent.offset).map_err(making)?;
        copy_data(old, &new.file, extent.offset + extent.len, metadata.len()).map_err(making)?;
        Ok(new)
    }

    /// Sees to it that what comes does not fill the disk.
    fn take_room(&mut self, bytes: u64) -> Result<()> {
        self.room.as_mut().map_or(Ok(()), |room| room.take(self.file.as_fd(), bytes))
    }

    fn create(target: &Path) -> io::Result<Self> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
        let suffix = u64::from_le_bytes(random().map_err(io::Error::other)?);
        // A name that says whose it is, should a crash leave it behind.
        let path = target.with_file_name(format!(".{name}.nlxtp-upload-{suffix:016x}"));
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path, target: target.into(), room: None, in_place: false })
    }

    fn put_in_place(mut self, old: &File, watch: Watch<'_, Error>) -> Result<()> {
        let keeping = |error| {
            Error::io("give the new image the owner, mode and attributes of the old one", error)
                .with_hint("nothing was changed; upload as the image's owner or as root")
        };
        keep_attributes(old, &self.file).map_err(keeping)?;
        let doing = |error| writing("put the new image in the place of the old one", error);
        self.file.sync_all().map_err(doing)?;
        watch()?;
        std::fs::rename(&self.path, &self.target).map_err(doing)?;
        self.in_place = true;
        let directory = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all()).map_err(doing)
    }
}

impl Drop for NewImage {
    fn drop(&mut self) {
        if !self.in_place {
            // What is left does no harm, and its name says what it is.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Copies what is data, and not hole, between two positions.
fn copy_data(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let offset = |position: u64| i64::try_from(position).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let mut position = start;
    while position < end {
        position = match lseek64(from, offset(position)?, Whence::SeekData) {
            Ok(data) => u64::try_from(data).unwrap_or(end),
            // Nothing but a hole to the end.
            Err(nix::errno::Errno::ENXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let hole = u64::try_from(lseek64(from, offset(position)?, Whence::SeekHole)?).unwrap_or(end).min(end);
        if position >= end {
            break;
        }
        let (mut reader, mut writer) = (from, to);
        reader.seek(SeekFrom::Start(position))?;
        writer.seek(SeekFrom::Start(position))?;
        io::copy(&mut reader.take(hole - position), &mut writer)?;
        position = hole;
    }
    Ok(())
}

/// The attribute that holds a file's POSIX access list.
const ACCESS_LIST: &str = "system.posix_acl_access";

/// Gives a file the owner, mode and extended attributes of another.
fn keep_attributes(from: &File, to: &File) -> io::Result<()> {
    use xattr::FileExt as _;
    let (wanted, present) = (from.metadata()?, to.metadata()?);
    if (wanted.uid(), wanted.gid()) != (present.uid(), present.gid()) {
        std::os::unix::fs::fchown(to, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    let names: Vec<_> = match from.list_xattr() {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Vec::new(),
        other => other?.collect(),
    };
    // A directory can give new files an access list; the old image may have none.
    if !names.iter().any(|name| name == ACCESS_LIST) && matches!(to.get_xattr(ACCESS_LIST), Ok(Some(_))) {
        to.remove_xattr(ACCESS_LIST)?;
    }
    to.set_permissions(wanted.permissions())?;
    for name in names {
        let value = from.get_xattr(&name)?;
        if value != to.get_xattr(&name)? {
            to.set_xattr(&name, value.as_deref().unwrap_or_default())?;
        }
    }
    Ok(())
}

/// Makes a new disk image with an empty file system.
pub(super) fn create(path: &Path, options: &DiskOptions) -> Result<()> {
    let sectors = options.size / 512;
    let first = u64::from(fat::DEFAULT_FIRST_LBA);
    let partition = sectors.saturating_sub(first);
    let count = u32::try_from(partition).ok().filter(|&count| count > 0).ok_or_else(|| {
        let message = format!("a disk of {} bytes is too small, or larger than 2 TiB", options.size);
        Error::new(ErrorKind::InvalidInput, message).with_hint("choose from 2MiB to 2TiB")
    })?;
    let extent = Extent { offset: first * 512, len: partition * 512 };
    let mut format = FormatOptions::new(&options.label)?;
    format.volume_id = u32::from_le_bytes(random()?);
    format.hidden_sectors = fat::DEFAULT_FIRST_LBA;
    format.timestamp = super::staging::now();
    let layout = Plan::new(format, extent.len)?.finish()?;

    let making = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::new(ErrorKind::Exists, "there is something at this path already")
            .with_hint("choose another path, or remove it first"),
        _ => Error::io("make the disk image", error),
    };
    let file = File::options().read(true).write(true).create_new(true).open(path).map_err(making)?;
    let write = || -> Result<()> {
        file.set_len(sectors * 512).map_err(making)?;
        layout.writer(&file, extent.offset, Target::Zeroed)?.finish()?;
        let kind = fat::partition_type(layout.geometry().fat_type());
        fat::write_mbr(&file, fat::DEFAULT_FIRST_LBA, count, u32::from_le_bytes(random()?), kind)?;
        (&file).flush().and_then(|()| file.sync_all()).map_err(making)
    };
    write().inspect_err(|_| {
        // It was ours a moment ago, and is of no use.
        let _ = std::fs::remove_file(path);
    })
}
