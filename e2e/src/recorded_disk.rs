//! A block device that remembers each write and each flush, so that the states in which a loss of
//! power could have left it can be made afterwards.
//!
//! QEMU's storage daemon writes the log (see [`write_log`]) and shows the disk as a
//! file, which becomes a loop device.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use crate::mounts::LoopDevice;
use crate::places;
use crate::process::{bound_to_this_thread, wait_for_exit, wait_until};
use crate::write_log::{self, Record};

const PATIENCE: Duration = Duration::from_secs(60);

/// A disk whose writes are being recorded.
pub struct RecordedDisk {
    device: LoopDevice,
    daemon: Child,
    log: PathBuf,
    base: Vec<u8>,
}

/// All that was done to a disk.
pub struct Recording {
    /// What was on the disk before.
    pub base: Vec<u8>,
    /// What was done, in this order.
    pub records: Vec<Record>,
}

impl RecordedDisk {
    /// The disk whose content is this image; it is changed by what is done to the disk.
    ///
    /// # Panics
    /// If the storage daemon cannot be had, or FUSE or loop devices are missing.
    #[track_caller]
    pub fn new(image: &Path, folder: &Path) -> Self {
        let base = fs::read(image).expect("an image");
        let (log, shown) = (folder.join("log"), folder.join("recorded"));
        for path in [&log, &shown] {
            fs::write(path, b"").expect("a file");
        }
        // Sparse; as much as a disk can be written over many times.
        File::options().write(true).open(&log).and_then(|log| log.set_len(1 << 32)).expect("a log");
        let mut daemon = bound_to_this_thread(&places::tool("qemu-storage-daemon"));
        let file = |name: &str, path: &Path| format!("driver=file,node-name={name},filename={}", path.display());
        daemon.args(["--blockdev", &file("image", image), "--blockdev", &file("log", &log)]);
        daemon.args(["--blockdev", "driver=blklogwrites,node-name=recorded,file=image,log=log"]);
        let export = format!("type=fuse,id=export,node-name=recorded,writable=on,mountpoint={}", shown.display());
        let mut daemon = daemon.args(["--export", &export]).spawn().expect("the storage daemon");
        wait_until("the storage daemon shows the disk (does this machine have FUSE?)", PATIENCE, || {
            assert!(daemon.try_wait().expect("our own child").is_none(), "the storage daemon has ended");
            fs::metadata(&shown).ok().filter(|shown| shown.len() == base.len() as u64)
        });
        Self { device: LoopDevice::new(&shown), daemon, log, base }
    }

    /// The block device.
    pub fn device(&self) -> &Path {
        self.device.path()
    }

    /// How many records there were, at least, up to the last flush.
    pub fn recorded(&self) -> usize {
        write_log::counted(&self.log)
    }

    /// Ends the recording. Nothing may hold the device any more.
    ///
    /// # Panics
    /// If the daemon does not end, or the log cannot be understood.
    #[track_caller]
    pub fn finish(self) -> Recording {
        let Self { device, mut daemon, log, base } = self;
        drop(device);
        let process = nix::unistd::Pid::from_raw(daemon.id().try_into().expect("a process id"));
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).expect("our own child");
        wait_for_exit(&mut daemon, PATIENCE).expect("the storage daemon ends when it is told to");
        Recording { base, records: write_log::records(&log) }
    }
}
