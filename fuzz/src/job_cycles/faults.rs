//! Failures of the storage, of the archive's source, and of the host itself.

use std::cell::Cell;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex};

use nlxtp_host::error::{Error, ErrorKind, Result};
use nlxtp_host::shared_directory::BoxedDirectory;
use rextfv_core::archive_rules::Manifest;
use rextfv_core::entry_path::EntryPath;
use rextfv_core::ids::RunId;
use rextfv_core::shared_directory::{
    Attributes, BegunReplacement, Content, Replacement, Representation, SharedDirectory, Sharing, View, Watch,
};

/// What is done at the moment of the failure: a crash keeps what the disk holds then.
type AtFailure = Box<dyn FnOnce() + Send>;

/// A countdown to one failure of the storage.
#[derive(Clone, Default)]
pub(super) struct Fuse(Arc<Mutex<Option<(u32, AtFailure)>>>);

impl Fuse {
    /// Lets the operation after so many others fail.
    pub(super) fn set(&self, operations: u32, at_failure: AtFailure) {
        *self.0.lock().expect("nobody panics with it") = Some((operations, at_failure));
    }

    /// Nothing is to fail any more.
    pub(super) fn clear(&self) {
        *self.0.lock().expect("nobody panics with it") = None;
    }

    fn burn(&self) -> Result<()> {
        let mut fuse = self.0.lock().expect("nobody panics with it");
        match fuse.take() {
            None => Ok(()),
            Some((0, at_failure)) => {
                at_failure();
                Err(Error::new(ErrorKind::Io, "the storage has failed"))
            }
            Some((left, at_failure)) => {
                *fuse = Some((left - 1, at_failure));
                Ok(())
            }
        }
    }
}

/// A shared directory whose replacements fail when the fuse has burnt down.
pub(super) struct FailingDirectory {
    pub(super) inner: BoxedDirectory,
    pub(super) fuse: Fuse,
}

impl SharedDirectory for FailingDirectory {
    type Error = Error;

    fn representation(&self) -> Representation {
        self.inner.representation()
    }

    fn sharing(&self) -> Sharing {
        self.inner.sharing()
    }

    fn view(&self) -> Result<Box<dyn View<Error = Error> + '_>> {
        self.inner.view()
    }

    fn begin(&self, watch: Watch<'_, Error>) -> Result<Option<BegunReplacement<'_, Error>>> {
        self.fuse.burn()?;
        Ok(self.inner.begin(watch)?.map(|inner| self.failing(inner)))
    }

    fn replace(&self, manifest: &Manifest, watch: Watch<'_, Error>) -> Result<BegunReplacement<'_, Error>> {
        self.fuse.burn()?;
        Ok(self.failing(self.inner.replace(manifest, watch)?))
    }
}

impl FailingDirectory {
    fn failing<'a>(&self, inner: BegunReplacement<'a, Error>) -> BegunReplacement<'a, Error> {
        Box::new(FailingReplacement { inner, fuse: self.fuse.clone() })
    }
}

struct FailingReplacement<'a> {
    inner: BegunReplacement<'a, Error>,
    fuse: Fuse,
}

impl Replacement for FailingReplacement<'_> {
    type Error = Error;

    fn directory(&mut self, path: &EntryPath, attributes: Attributes) -> Result<()> {
        self.fuse.burn()?;
        self.inner.directory(path, attributes)
    }

    fn file(
        &mut self,
        path: &EntryPath,
        attributes: Attributes,
        size: u64,
        content: &mut dyn Content<Error = Error>,
    ) -> Result<()> {
        self.fuse.burn()?;
        self.inner.file(path, attributes, size, &mut FailingContent { inner: content, fuse: &self.fuse })
    }

    fn copy(
        &mut self,
        path: &EntryPath,
        existing: &EntryPath,
        attributes: Attributes,
        watch: Watch<'_, Error>,
    ) -> Result<()> {
        self.fuse.burn()?;
        self.inner.copy(path, existing, attributes, watch)
    }

    fn symlink(&mut self, path: &EntryPath, target: &[u8]) -> Result<()> {
        self.fuse.burn()?;
        self.inner.symlink(path, target)
    }

    fn hard_link(&mut self, path: &EntryPath, existing: &EntryPath) -> Result<()> {
        self.fuse.burn()?;
        self.inner.hard_link(path, existing)
    }

    fn commit(self: Box<Self>, run: RunId, watch: Watch<'_, Error>) -> Result<()> {
        self.fuse.burn()?;
        self.inner.commit(run, watch)
    }
}

/// Content that fails in the middle of a file.
struct FailingContent<'a> {
    inner: &'a mut dyn Content<Error = Error>,
    fuse: &'a Fuse,
}

impl Content for FailingContent<'_> {
    type Error = Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.fuse.burn()?;
        self.inner.read(buffer)
    }
}

/// An archive whose reads are short, and of which one fails.
pub(super) struct FailingSource {
    inner: Cursor<Vec<u8>>,
    reads_left: Cell<Option<u32>>,
}

impl FailingSource {
    pub(super) fn new(archive: Vec<u8>, reads: Option<u32>) -> Self {
        Self { inner: Cursor::new(archive), reads_left: Cell::new(reads) }
    }
}

impl Read for FailingSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reads_left.get() {
            Some(0) => return Err(io::Error::other("the archive's disk has failed")),
            left => self.reads_left.set(left.map(|left| left - 1)),
        }
        let length = buffer.len().min(1500);
        self.inner.read(&mut buffer[..length])
    }
}

impl Seek for FailingSource {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}
