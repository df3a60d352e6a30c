//! The store beside a journal: archives, named by their digests.

#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::append::sync_folder;
use super::digest::{Digest, digest_rest};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::node::ReadSeek;

/// A folder of archives beside a journal: `JOURNAL.d/sha256/` and 64 digits.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The store of the journal with this path. Nothing is made.
    pub fn beside(journal: &Path) -> Self {
        let mut name = journal.as_os_str().to_os_string();
        name.push(".d");
        Self { folder: PathBuf::from(name).join("sha256") }
    }

    /// Where the archives lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path that an archive with this digest has here.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    /// Copies an archive here, under no name yet.
    ///
    /// # Errors
    /// The archive cannot be read, or the copy not be written; as the control says.
    pub(crate) fn copy(&self, archive: &mut dyn ReadSeek, control: &Control<'_>) -> Result<Copy> {
        let failed = |error| storing(error).with_path(&self.folder);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(failed)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error)))?;
        let name = format!(".incoming-{:016x}", u64::from_be_bytes(random));
        let path = self.folder.join(name);
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        let mut copy = Copy { file, path, digest: Digest::NONE, bytes: 0 };
        archive.rewind().map_err(|error| Error::io("read the archive", error))?;
        let mut out = &copy.file;
        // A failure to write is told from one to read by being an error of ours.
        let copied = digest_rest(archive, |piece| {
            control.check().map_err(io::Error::other)?;
            out.write_all(piece).map_err(|error| io::Error::other(failed(error)))
        });
        (copy.digest, copy.bytes) = copied.map_err(|error| Error::io("read the archive", error))?;
        Ok(copy)
    }
}

/// A copy of an archive that has no name yet; it is removed unless it is [kept](Self::keep).
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) file: File,
    path: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

impl Copy {
    /// Gives it its name. An archive that is there already is as good as this one.
    pub(crate) fn keep(&self, store: &Store) -> Result<()> {
        let target = store.path(self.digest);
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, &target))
            .map_err(|error| storing(error).with_path(&target))?;
        sync_folder(&target);
        Ok(())
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // Gone already where it was kept. What is left does no harm, and its name says what it is.
        let _ = fs::remove_file(&self.path);
    }
}

fn storing(error: io::Error) -> Error {
    let error = Error::io("keep the archive beside the journal", error);
    match error.kind() {
        ErrorKind::NoSpace => error.with_hint("make room where the journal lies, or have no archives kept"),
        _ => error,
    }
}
