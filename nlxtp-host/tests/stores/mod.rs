//! The stores that behaviour is tested on, each with what a guest would do to it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nlxtp_host::error::Error;
use nlxtp_host::shared_directory::{DiskImage, DiskOptions, HostDirectory, MemoryDirectory};
use rextfv_core::entry_path::EntryPath;
use rextfv_core::shared_directory::{Representation, SharedDirectory};
use rextfv_core::status::{RunState, Status, Truncated};

/// What a guest says of a run that is under way, in its record of this number.
pub fn running(sequence: u64) -> Status {
    Status {
        run: None,
        sequence,
        state: RunState::Running,
        done: false,
        running_info: sequence,
        interval: Duration::from_secs(60),
        boot: None,
        ended: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
        truncated: Truncated::default(),
        custom: None,
        progress: None,
    }
}

/// A shared directory and its guest.
pub trait Store {
    /// The host's side.
    fn directory(&self) -> &(dyn SharedDirectory<Error = Error> + Send + Sync);

    /// The same for a node to own.
    fn open(&self) -> Box<dyn SharedDirectory<Error = Error> + Send + Sync>;

    /// What a guest does that writes a file, and the directories above it.
    fn guest_writes(&self, path: &str, content: &[u8]);
}

pub struct HostStore {
    scratch: tempfile::TempDir,
    directory: HostDirectory,
}

impl HostStore {
    pub fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// Somewhere below this directory of the host.
    pub fn new_in(place: &Path) -> Self {
        let scratch = tempfile::tempdir_in(place).unwrap();
        let directory = HostDirectory::open(scratch.path()).unwrap();
        Self { scratch, directory }
    }
}

impl Store for HostStore {
    fn directory(&self) -> &(dyn SharedDirectory<Error = Error> + Send + Sync) {
        &self.directory
    }

    fn open(&self) -> Box<dyn SharedDirectory<Error = Error> + Send + Sync> {
        Box::new(HostDirectory::open(self.scratch.path()).unwrap())
    }

    fn guest_writes(&self, path: &str, content: &[u8]) {
        let path = self.scratch.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

pub struct DiskStore {
    path: PathBuf,
    directory: DiskImage,
    _scratch: tempfile::TempDir,
}

impl DiskStore {
    pub fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// Somewhere below this directory of the host.
    pub fn new_in(place: &Path) -> Self {
        let scratch = tempfile::tempdir_in(place).unwrap();
        let path = scratch.path().join("disk.img");
        let directory = DiskImage::create(&path, &DiskOptions::default()).unwrap();
        Self { path, directory, _scratch: scratch }
    }
}

impl Store for DiskStore {
    fn directory(&self) -> &(dyn SharedDirectory<Error = Error> + Send + Sync) {
        &self.directory
    }

    fn open(&self) -> Box<dyn SharedDirectory<Error = Error> + Send + Sync> {
        Box::new(DiskImage::open(&self.path).unwrap())
    }

    fn guest_writes(&self, path: &str, content: &[u8]) {
        let volume = mounted(&self.path);
        let mut above = volume.root_dir();
        let mut components = path.split('/').peekable();
        while let Some(component) = components.next() {
            if components.peek().is_some() {
                above = above.create_dir(component).unwrap();
            } else {
                let mut file = above.create_file(component).unwrap();
                file.truncate().unwrap();
                file.write_all(content).unwrap();
                file.flush().unwrap();
            }
        }
        drop(above);
        volume.unmount().unwrap();
    }
}

/// The file system of an image with the default layout, in the hands of another implementation.
pub fn mounted(image: &Path) -> fatfs::FileSystem<Partition> {
    let file = File::options().read(true).write(true).open(image).unwrap();
    fatfs::FileSystem::new(Partition::new(file), fatfs::FsOptions::new()).unwrap()
}

/// Partition 1 of an image: from 1 MiB on.
pub struct Partition(File);

const START: u64 = 1 << 20;

impl Partition {
    fn new(mut file: File) -> Self {
        file.seek(SeekFrom::Start(START)).unwrap();
        Self(file)
    }
}

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
            SeekFrom::Start(offset) => SeekFrom::Start(START + offset),
            other => other,
        };
        Ok(self.0.seek(position)? - START)
    }
}

pub struct MemoryStore {
    directory: std::sync::Arc<MemoryDirectory>,
}

impl MemoryStore {
    pub fn new(representation: Representation) -> Self {
        Self { directory: std::sync::Arc::new(MemoryDirectory::new(representation)) }
    }
}

impl Store for MemoryStore {
    fn directory(&self) -> &(dyn SharedDirectory<Error = Error> + Send + Sync) {
        &*self.directory
    }

    fn open(&self) -> Box<dyn SharedDirectory<Error = Error> + Send + Sync> {
        Box::new(self.directory.clone())
    }

    fn guest_writes(&self, path: &str, content: &[u8]) {
        self.directory.write(&EntryPath::parse(path.as_bytes()).unwrap(), content);
    }
}
