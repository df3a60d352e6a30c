//! libguestfs, which does its work in a small virtual machine of its own.

use std::path::Path;
use std::process::Command;

use super::inputs::Input;
use crate::harness::{Result, has, succeed};

/// Whether it is there, and why not. Its appliance is built and started once, which takes a while.
pub fn find(disk: &Path) -> std::result::Result<(), String> {
    if !has("guestfish") {
        return Err("guestfish is not installed (scripts/setup.sh bench)".into());
    }
    let started = succeed(guestfish(disk).args(["run", ":", "list-filesystems"]));
    started.map_err(|error| {
        let error = error.to_string();
        format!("the appliance of libguestfs does not run here: {}", error.lines().next().unwrap_or_default())
    })
}

/// Starts it, and lets it unpack an archive into a disk's first partition.
pub fn tar_in(disk: &Path, input: &Input) -> Result {
    succeed(
        guestfish(disk)
            .args(["run", ":", "mount", "/dev/sda1", "/", ":", "tar-in"])
            .arg(&input.archive)
            .args(["/", "compress:gzip"]),
    )
}

fn guestfish(disk: &Path) -> Command {
    let mut command = Command::new("guestfish");
    // Without the daemon of libvirt; and without KVM unless somebody says that it works.
    command.env("LIBGUESTFS_BACKEND", "direct");
    if std::env::var_os("LIBGUESTFS_BACKEND_SETTINGS").is_none() {
        command.env("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg");
    }
    command.args(["--format=raw", "-a"]).arg(disk);
    command
}
