//! The shared directories of the cycles, each with what a guest and a crash do to it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nlxtp_host::shared_directory::{BoxedDirectory, DiskImage, DiskOptions, HostDirectory, MemoryDirectory};
use rextfv_core::entry_path::EntryPath;
use rextfv_core::shared_directory::Representation;
use tempfile::TempDir;

use crate::scratch;

/// Bytes of a disk: the partition begins at 1 MiB.
const DISK_BYTES: u64 = (1 << 20) + (512 << 10);
const PARTITION_START: u64 = 1 << 20;

/// Where a shared directory is, and its guest.
pub(super) enum Store {
    Memory(Arc<MemoryDirectory>),
    /// A directory, or a disk, at this name in a scratch directory.
    Directory(TempDir),
    Disk(TempDir),
}

const NAME: &str = "shared";

impl Store {
    pub(super) fn new(kind: u8) -> Self {
        match kind % 4 {
            0 => Self::Memory(Arc::new(MemoryDirectory::new(Representation::Posix))),
            1 => Self::Memory(Arc::new(MemoryDirectory::new(Representation::Fat))),
            2 => {
                let scratch = scratch::directory();
                fs::create_dir(scratch.path().join(NAME)).expect("a directory can be made");
                Self::Directory(scratch)
            }
            _ => {
                let scratch = scratch::directory();
                let options = DiskOptions { size: DISK_BYTES, ..DiskOptions::default() };
                DiskImage::create(scratch.path().join(NAME), &options).expect("a disk can be made");
                Self::Disk(scratch)
            }
        }
    }

    /// The host's side.
    pub(super) fn open(&self) -> BoxedDirectory {
        match self {
            Self::Memory(directory) => Box::new(directory.clone()),
            Self::Directory(scratch) => Box::new(HostDirectory::open(scratch.path().join(NAME)).expect("it is there")),
            Self::Disk(scratch) => Box::new(DiskImage::open(scratch.path().join(NAME)).expect("it is there")),
        }
    }

    /// Whether it is FAT, where host and guest take turns.
    pub(super) fn is_fat(&self) -> bool {
        match self {
            Self::Memory(directory) => {
                use rextfv_core::shared_directory::SharedDirectory;
                directory.representation() == Representation::Fat
            }
            Self::Directory(_) => false,
            Self::Disk(_) => true,
        }
    }

    /// Copies what is on the disk at some moment, for a crash to leave. Memory has nothing that lasts.
    pub(super) fn copier(&self) -> Option<impl FnOnce() -> TempDir + Send + use<>> {
        let (Self::Directory(original) | Self::Disk(original)) = self else { return None };
        let original = original.path().to_owned();
        Some(move || {
            let copy = scratch::directory();
            copy_tree(&original, copy.path()).expect("a scratch directory can be copied");
            copy
        })
    }

    /// What the crash has left is what there is.
    pub(super) fn restore(&mut self, left: TempDir) {
        match self {
            Self::Memory(_) => {}
            Self::Directory(scratch) | Self::Disk(scratch) => *scratch = left,
        }
    }

    /// A guest writes a file, and the directories above it.
    pub(super) fn write(&self, path: &str, content: &[u8]) {
        match self {
            Self::Memory(directory) => directory.write(&entry_path(path), content),
            Self::Directory(scratch) => {
                let path = scratch.path().join(NAME).join(path);
                fs::create_dir_all(path.parent().expect("it lies below")).expect("a guest can make directories");
                fs::write(path, content).expect("a guest can write");
            }
            Self::Disk(scratch) => with_volume(&scratch.path().join(NAME), |root| {
                let mut above = root;
                let mut names = path.split('/').peekable();
                while let Some(name) = names.next() {
                    if names.peek().is_some() {
                        above = above.create_dir(name)?;
                    } else {
                        let mut file = above.create_file(name)?;
                        file.truncate()?;
                        file.write_all(content)?;
                        file.flush()?;
                    }
                }
                Ok(())
            }),
        }
    }

    /// A guest removes a file or directory at the top, if it is there.
    pub(super) fn remove(&self, name: &str) {
        match self {
            Self::Memory(directory) => directory.remove(&entry_path(name)),
            Self::Directory(scratch) => {
                let path = scratch.path().join(NAME).join(name);
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
            Self::Disk(scratch) => with_volume(&scratch.path().join(NAME), |root| remove_all(&root, name)),
        }
    }
}

fn entry_path(path: &str) -> EntryPath {
    EntryPath::parse(path.as_bytes()).expect("it is a path")
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to): (PathBuf, PathBuf) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(from)?, to)?;
        } else if kind.is_dir() {
            fs::create_dir(&to)?;
            copy_tree(&from, &to)?;
            fs::set_permissions(&to, entry.metadata()?.permissions())?;
        } else {
            scratch::write_sparse(&to, &fs::read(from)?)?;
            fs::set_permissions(&to, entry.metadata()?.permissions())?;
        }
    }
    Ok(())
}

type VolumeDirectory<'a> = fatfs::Dir<'a, Partition>;

/// Mounts the disk with another implementation of FAT, as a guest does.
fn with_volume(disk: &Path, action: impl FnOnce(VolumeDirectory<'_>) -> io::Result<()>) {
    let mut file = File::options().read(true).write(true).open(disk).expect("the disk is there");
    file.seek(SeekFrom::Start(PARTITION_START)).expect("a disk can be sought");
    let volume = fatfs::FileSystem::new(Partition(file), fatfs::FsOptions::new()).expect("a guest can mount it");
    action(volume.root_dir()).expect("a guest can write");
    volume.unmount().expect("a guest can unmount it");
}

fn remove_all(directory: &VolumeDirectory<'_>, name: &str) -> io::Result<()> {
    let Ok(below) = directory.open_dir(name) else {
        return match directory.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
    };
    let names: Vec<String> =
        below.iter().map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>()?;
    for name in names.iter().filter(|name| !matches!(&***name, "." | "..")) {
        remove_all(&below, name)?;
    }
    directory.remove(name)
}

/// The partition of a disk.
struct Partition(File);

impl Read for Partition {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Partition {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for Partition {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let position = match position {
            SeekFrom::Start(offset) => SeekFrom::Start(PARTITION_START + offset),
            other => other,
        };
        Ok(self.0.seek(position)? - PARTITION_START)
    }
}
