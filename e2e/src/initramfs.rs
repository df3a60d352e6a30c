//! What a virtual machine boots into.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::places;
use crate::process::run;

/// What runs in a virtual machine guest. `scripts/initramfs.sh` builds it.
#[derive(Clone, Debug)]
pub enum Initramfs {
    /// Busybox alone, with the disk's file system mounted.
    Busybox,
    /// Busybox and this `nlxtp-guest`, running as the daemon.
    Daemon(PathBuf),
    /// Busybox and this POSIX shell script as the guest program.
    Shell(PathBuf),
    /// Busybox with its own init, and this `nlxtp-guest` as it installs itself there.
    Installed(PathBuf),
    /// Nothing but this `nlxtp-guest`, as the first process.
    Bare(PathBuf),
    /// What goes on to the whole system on the first disk (see [`crate::system`]).
    System,
}

impl Initramfs {
    /// Whether the guest takes commands (see `e2e/guests/vm-init.sh`).
    pub fn takes_commands(&self) -> bool {
        !matches!(self, Initramfs::Installed(_) | Initramfs::Bare(_) | Initramfs::System)
    }

    /// Builds the initramfs as the file `output`, with these lines added to the guest's
    /// `/etc/nlxtp.conf`.
    ///
    /// # Panics
    /// If it cannot be built.
    #[track_caller]
    pub fn build(&self, output: &Path, config: &str) {
        let (kind, program) = match self {
            Initramfs::Busybox => ("busybox", None),
            Initramfs::Daemon(program) => ("daemon", Some(program)),
            Initramfs::Shell(program) => ("shell", Some(program)),
            Initramfs::Installed(program) => ("installed", Some(program)),
            Initramfs::Bare(program) => ("bare", Some(program)),
            Initramfs::System => ("system", None),
        };
        let mut script = Command::new(places::repository().join("scripts/initramfs.sh"));
        script
            .env("CARGO_TARGET_DIR", places::target())
            .env("GUEST_CONFIG", config)
            .arg(kind)
            .arg(output)
            .args(program);
        run(&mut script, Duration::from_secs(60)).success();
    }
}
