//! Package files that were downloaded: each once, verified, under the name of its digest.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::Digest as _;

use super::answer::{Digest, PackageFile};
use super::transfer::{Failed, Fetch, SILENCE, complete, hash, keeping};
use crate::control::{Control, Progress};
use crate::error::{Error, ErrorKind, Remedy, Result};

/// Pauses before a download is tried again.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// A directory of downloaded package files. What a download has brought before it was cut off is kept
/// there, and the next one goes on with it.
#[derive(Debug)]
pub struct PackageCache {
    directory: PathBuf,
}

/// What [`PackageCache::fill`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filled {
    /// Files that were downloaded, or completed.
    pub downloaded: u64,
    /// Files that were there.
    pub reused: u64,
}

impl PackageCache {
    /// The cache in this directory, which is made if it is not there.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(|error| keeping(error).with_path(&directory))?;
        Ok(Self { directory })
    }

    /// Sees to it that all these files are there, and whole.
    ///
    /// # Errors
    /// A file cannot be had, after some attempts; or it is another one than the node has told of
    /// ([`ErrorKind::Damaged`]). The cache cannot be written. [`ErrorKind::TimedOut`] and
    /// [`ErrorKind::Cancelled`] as the control says; the message names the file that was being
    /// downloaded and what is kept of it. All that has come so far is kept, except for what is known to
    /// be wrong.
    pub fn fill(&self, files: &[&PackageFile], fetch: &Arc<dyn Fetch>, control: &Control<'_>) -> Result<Filled> {
        let _lock = self.lock(control)?;
        let total = files.iter().map(|file| file.size).sum();
        let (mut filled, mut before) = (Filled::default(), 0);
        for file in files {
            let mut arrived = |done| control.report(Progress::Downloading { done: before + done, total });
            let found = arrived(0).and_then(|()| self.find(file, control));
            if found.map_err(|error| going_on(error).with_object(file.name.clone()))?.is_some() {
                filled.reused += 1;
            } else {
                self.download(file, fetch, control, &mut arrived)?;
                filled.downloaded += 1;
            }
            before += file.size;
        }
        control.report(Progress::Downloading { done: total, total })?;
        Ok(filled)
    }

    /// The file, verified and to be read from its beginning, if it is there.
    ///
    /// # Errors
    /// It cannot be read; as the control says.
    pub fn find(&self, file: &PackageFile, control: &Control<'_>) -> Result<Option<File>> {
        let path = self.path(file, "");
        let mut found = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(|error| keeping(error).with_path(&path))?,
        };
        let (digest, length) = hash(&mut found, control)?;
        if length != file.size || Digest(digest.finalize().into()) != file.digest {
            fs::remove_file(&path).map_err(|error| keeping(error).with_path(&path))?;
            return Ok(None);
        }
        found.seek(SeekFrom::Start(0)).map_err(|error| keeping(error).with_path(&path))?;
        Ok(Some(found))
    }

    fn download(
        &self,
        file: &PackageFile,
        fetch: &Arc<dyn Fetch>,
        control: &Control<'_>,
        arrived: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let path = self.path(file, ".part");
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut part = opened.map_err(|error| keeping(error).with_path(&path))?;
        let mut pauses = PAUSES.iter();
        let mut earlier = None;
        loop {
            let stop = match complete(&mut part, file, fetch, control, SILENCE, arrived) {
                Ok(()) => break,
                Err(Failed::ForGood(error)) if is_of_the_caller(&error) => error,
                Err(Failed::ForGood(error)) => return Err(not_had(error, file)),
                Err(Failed::ForNow(error)) => {
                    let Some(pause) = pauses.next() else {
                        let hint = "see whether the mirror can be reached, then try again: what has come is kept";
                        return Err(not_had(error, file).with_hint(hint));
                    };
                    earlier = Some(error);
                    match control.sleep(*pause) {
                        Ok(()) => continue,
                        Err(stop) => stop,
                    }
                }
            };
            return Err(cut_off(&stop, file, &part, earlier.as_ref()));
        }
        let kept = part.sync_all().and_then(|()| fs::rename(&path, self.path(file, "")));
        kept.map_err(|error| keeping(error).with_path(&path))
    }

    /// One process at a time: two must not write to one file.
    fn lock(&self, control: &Control<'_>) -> Result<File> {
        let path = self.directory.join("lock");
        let opened = File::options().write(true).create(true).truncate(false).open(&path);
        let lock = opened.map_err(|error| keeping(error).with_path(&path))?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) => control.sleep(Duration::from_millis(50)).map_err(|stop| {
                    let message = format!("another process downloads into the cache: {}", stop.message());
                    Error::new(stop.kind(), message)
                        .with_path(&self.directory)
                        .with_hint("wait for its end, or name another directory with --cache")
                })?,
                Err(TryLockError::Error(error)) => return Err(keeping(error).with_path(&path)),
            }
        }
    }

    fn path(&self, file: &PackageFile, suffix: &str) -> PathBuf {
        self.directory.join(format!("{}{suffix}", file.digest))
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

fn is_of_the_caller(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::TimedOut)
}

/// A failure that is the caller's wish tells how to go on.
fn going_on(error: Error) -> Error {
    if is_of_the_caller(&error) { error.with_remedy(Remedy::GoOn) } else { error }
}

/// The caller's time is over, or the caller has cancelled it; `earlier` is why the last attempt failed.
fn cut_off(stop: &Error, file: &PackageFile, part: &File, earlier: Option<&Error>) -> Error {
    let kept = part.metadata().map_or(0, |metadata| metadata.len());
    let mut message = format!("cannot download {}: {}", file.name, stop.message());
    if let Some(earlier) = earlier {
        message.push_str(&format!("; the attempt before it has failed: {}", earlier.message()));
    }
    message.push_str(&format!("; kept of it: {kept} of {} bytes", file.size));
    going_on(Error::new(stop.kind(), message).with_object(file.url.clone()))
}

fn not_had(error: Error, file: &PackageFile) -> Error {
    let hint = error.hint();
    let message = format!("cannot download {}: {}", file.name, error.message());
    let error = Error::new(error.kind(), message).with_object(file.url.clone());
    match (error.kind(), hint) {
        (_, Some(hint)) => error.with_hint(hint),
        (ErrorKind::NotFound, None) => {
            error.with_hint("the mirror has changed since the node was probed: probe again, then try again")
        }
        _ => error,
    }
}
