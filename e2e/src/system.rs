//! A whole Debian on a disk, with an init system of its own, for a virtual machine to boot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::places::{self, tool};
use crate::process::run;

const PATIENCE: Duration = Duration::from_secs(600);

/// A system that does not run yet; changed through its root file system, then put on a disk.
pub struct System {
    folder: TempDir,
}

impl System {
    /// A copy of the system that `scripts/guest-system.sh` makes for this init system.
    ///
    /// # Panics
    /// Without root, or if the system was not prepared or cannot be copied.
    #[track_caller]
    pub fn with_init(name: &str) -> Self {
        places::require_root();
        let original = places::target().join("guests").join(format!("system-{name}"));
        assert!(
            original.join("etc/nlxtp-guest-system").exists(),
            "no system in {}: run scripts/guest-system.sh {name} (`make test` does)",
            original.display()
        );
        let system = System { folder: places::temporary_folder("system") };
        let mut copy = Command::new("cp");
        run(copy.args(["-a", "--reflink=auto", "--"]).arg(original).arg(system.root()), PATIENCE).success();
        system
    }

    /// Its root file system.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A path beside it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts it on a disk image: one ext4, made without mounting it.
    ///
    /// # Panics
    /// If `mkfs.ext4` fails.
    #[track_caller]
    pub fn image(&self) -> PathBuf {
        let image = self.beside("system.img");
        let mut mkfs = Command::new(tool("mkfs.ext4"));
        // Room for what a system writes at its first boot; the file is sparse.
        mkfs.args(["-q", "-F", "-E", "lazy_itable_init=1", "-d"]).arg(self.root()).arg(&image).arg("1G");
        run(&mut mkfs, PATIENCE).success();
        fs::remove_dir_all(self.root()).expect("the root file system, which is on the disk now");
        image
    }
}

/// Installs this guest program into a root file system that does not run; gives the report.
///
/// # Panics
/// If the program fails.
#[track_caller]
pub fn install_offline(task: &str, root: &Path, options: &[&str]) -> String {
    let mut command = Command::new(places::nlxtp_guest());
    run(command.arg(task).arg("--root").arg(root).args(options), PATIENCE).success().text()
}
