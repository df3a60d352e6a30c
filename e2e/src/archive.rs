//! Archives that hold little more than a start script, and the check that the next upload works.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::command_line::Target;
use crate::places;
use crate::process::run;

const PATIENCE: Duration = Duration::from_secs(60);

/// An archive, and a folder for what else belongs to it.
pub struct Archive {
    folder: TempDir,
}

impl Archive {
    /// Packs this start script.
    ///
    /// # Panics
    /// If the archive cannot be made.
    #[track_caller]
    pub fn of_script(script: &str) -> Self {
        let archive = Archive { folder: places::temporary_folder("archive") };
        let content = archive.folder.path().join("content");
        fs::create_dir(&content).expect("a folder for the archive's content");
        fs::write(content.join("auto_exec.sh"), script).expect("the start script");
        let mut tar = Command::new("tar");
        run(tar.arg("-cf").arg(archive.path()).arg("-C").arg(&content).arg("."), PATIENCE).success();
        archive
    }

    /// Where the archive is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("archive.tar")
    }
}

/// A run that leaves results behind, and a manifest with their digests.
const RESULTS: &str = "#!/bin/sh
cd \"$archive_dir\" || exit
mkdir results
head -c 100000 /dev/urandom >results/noise
date >results/date
sha256sum results/* >manifest
printf %s again >exec_status/custom
echo 'it works'
";

/// Uploads an archive whose script leaves results behind.
///
/// # Panics
/// If the upload fails.
#[track_caller]
pub fn upload_next(target: &Target) {
    target.upload(&Archive::of_script(RESULTS).path(), &[]);
}

/// Waits for the run of [`upload_next`] to its end, and judges all that comes back of it.
///
/// # Panics
/// If anything is not as the script left it.
#[track_caller]
pub fn judge_next(target: &Target) {
    let waited = target.call("wait", &["--timeout", "100s", "--json"]);
    assert_eq!(waited.code(), 0, "the next upload's run: {waited:?}");
    assert!(waited.text().contains("\"custom\":\"again\""), "{waited:?}");
    assert_eq!(target.call("logs", &[]).success().text(), "it works\n");
    let folder = places::temporary_folder("archive");
    let content = download(target, folder.path());
    let mut sums = Command::new("sha256sum");
    run(sums.args(["--check", "--strict", "manifest"]).current_dir(&content), PATIENCE).success();
    let manifest = fs::read_to_string(content.join("manifest")).expect("the manifest");
    assert_eq!(manifest.lines().count(), 2, "{manifest}");
}

/// Downloads into this folder, and unpacks with GNU tar; returns where.
///
/// # Panics
/// If the download or the unpacking fails.
#[track_caller]
pub fn download(target: &Target, folder: &Path) -> PathBuf {
    let archive = folder.join("download.tar.gz");
    target.download(&archive);
    unpack(&archive, folder)
}

/// Unpacks what was downloaded into this folder, with GNU tar; returns where.
///
/// # Panics
/// If the unpacking fails.
#[track_caller]
pub fn unpack(archive: &Path, folder: &Path) -> PathBuf {
    let content = folder.join("downloaded");
    fs::create_dir(&content).expect("a folder for what was downloaded");
    run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&content), PATIENCE).success();
    content
}
