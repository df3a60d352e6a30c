//! Block devices and mounts that are gone after the test, whatever it does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

use crate::places;
use crate::process::run;

const PATIENCE: Duration = Duration::from_secs(60);

/// Does something on a thread whose mounts nobody else sees; what it leaves mounted goes with it.
///
/// # Panics
/// If this process is not root's, or with what `test` panics with.
#[track_caller]
pub fn in_private_mounts<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    places::require_root();
    let private = || {
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace of our own");
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).expect("mounts of our own");
        test()
    };
    thread::scope(|scope| match scope.spawn(private).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// A file as block device, until it is dropped.
pub struct LoopDevice(PathBuf);

impl LoopDevice {
    /// The file with this path as block device.
    ///
    /// # Panics
    /// If `losetup` cannot, for example because this process is not root's.
    #[track_caller]
    pub fn new(file: &Path) -> Self {
        let mut losetup = Command::new(places::tool("losetup"));
        let shown = run(losetup.args(["--find", "--show"]).arg(file), PATIENCE).success().text();
        Self(PathBuf::from(shown.trim()))
    }

    /// The device.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let detached = Command::new(places::tool("losetup")).arg("--detach").arg(&self.0).status();
        if !detached.is_ok_and(|status| status.success()) && !thread::panicking() {
            panic!("cannot detach {}", self.0.display());
        }
    }
}

/// A mounted file system, until it is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts a block device's ext4 file system at a directory, which is made if need be.
    ///
    /// # Errors
    /// What the kernel says, for example because the file system is damaged.
    pub fn ext4(device: &Path, at: &Path, options: &str) -> nix::Result<Self> {
        Self::of_kind(device, at, "ext4", options)
    }

    /// Mounts a file system in memory (tmpfs).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn memory(at: &Path, options: &str) -> nix::Result<Self> {
        Self::of_kind(Path::new("tmpfs"), at, "tmpfs", options)
    }

    fn of_kind(source: &Path, at: &Path, kind: &str, options: &str) -> nix::Result<Self> {
        fs::create_dir_all(at).expect("a mount point");
        nix::mount::mount(Some(source), at, Some(kind), MsFlags::empty(), Some(options))?;
        Ok(Self(at.to_path_buf()))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = nix::mount::umount2(&self.0, MntFlags::empty());
        if let Err(error) = unmounted
            && !thread::panicking()
        {
            panic!("cannot unmount {}: {error}", self.0.display());
        }
    }
}

/// Makes an image of so many bytes that holds an empty ext4 file system, complete from the start:
/// nothing is left for the kernel to initialise later.
///
/// # Panics
/// If `mkfs.ext4` fails.
#[track_caller]
pub fn make_ext4(image: &Path, bytes: u64, options: &[&str]) {
    fs::File::create(image).and_then(|file| file.set_len(bytes)).expect("an image");
    let mut mkfs = Command::new(places::tool("mkfs.ext4"));
    mkfs.args(["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).args(options).arg(image);
    run(&mut mkfs, PATIENCE).success();
}
