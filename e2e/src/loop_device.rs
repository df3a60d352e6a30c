//! Files as block devices.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::places;
use crate::process::run;

const PATIENCE: Duration = Duration::from_secs(60);

/// A file as block device, until it is dropped.
pub struct LoopDevice(PathBuf);

impl LoopDevice {
    /// Attaches the file.
    ///
    /// # Panics
    /// If `losetup` cannot.
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
        if !detached.is_ok_and(|status| status.success()) && !std::thread::panicking() {
            panic!("cannot detach {}", self.0.display());
        }
    }
}
