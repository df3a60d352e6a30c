//! The storage that host and guest share (paper, section 3.1), seen from the host.
//!
//! Two things are done with it: its content is *replaced* as a whole (an upload), or it is looked
//! at through a *view* (status, download). A container's directory, a FAT disk image and a
//! directory in memory all come behind these traits and behave alike.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::archive_rules::Manifest;
use crate::entry_path::EntryPath;
use crate::ids::RunId;

/// What a shared directory can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Representation {
    /// Files, directories, symbolic and hard links, modes; names are any bytes.
    Posix,
    /// Files and directories only; names as in [`crate::fat_names`]; no modes.
    Fat,
}

/// Whether a guest that is on rules out a replacement of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Host and guest may write at any time (a container).
    Concurrent,
    /// Host and guest take turns: the host writes only while the guest is off (a disk).
    TakingTurns,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link. It is never followed.
    Symlink,
}

/// What is known of an entry besides its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, at most 0o777.
    pub mode: u32,
    /// Modification time in seconds since 1970, UTC.
    pub modified: i64,
}

/// One entry of a shared directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// Length in bytes: of a file's content, of a link's target, 0 for a directory.
    pub size: u64,
    /// Mode and time.
    pub attributes: Attributes,
}

/// A stream of bytes with an end.
pub trait Content {
    /// Why bytes could not be had.
    type Error;

    /// Fills the beginning of `buffer` and returns how many bytes; 0 only at the end or for an
    /// empty buffer.
    ///
    /// # Errors
    /// The bytes could not be had; the stream is of no use then.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error>;

    /// Whether it is known to have been changed since reading began, so that what was read may be
    /// of different moments.
    fn was_changed(&self) -> bool {
        false
    }
}

/// Is asked now and then by what may take long whether it may go on; an error ends it.
pub type Watch<'a, E> = &'a dyn Fn() -> Result<(), E>;

/// A replacement that was begun.
pub type BegunReplacement<'a, E> = Box<dyn Replacement<Error = E> + Send + 'a>;

/// A state of a shared directory's content, told from others for less than a look costs; see
/// [`SharedDirectory::version`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version([i64; 5]);

impl Version {
    /// One that consists of these numbers: the storage's own affair.
    pub const fn new(numbers: [i64; 5]) -> Self {
        Self(numbers)
    }
}

/// Storage that host and guest share.
pub trait SharedDirectory {
    /// Why an operation on it failed.
    type Error;

    /// What it can hold.
    fn representation(&self) -> Representation;

    /// Whether host and guest take turns in writing.
    fn sharing(&self) -> Sharing;

    /// Opens it for looking. A view sees the content as it is at each call: the guest may change
    /// it meanwhile, and nothing that the guest does may lead the view out of the directory, block
    /// it, or make it use unbounded memory.
    ///
    /// # Errors
    /// The storage is missing, unreadable or not what it should be.
    fn view(&self) -> Result<Box<dyn View<Error = Self::Error> + '_>, Self::Error>;

    /// Whether views may keep files open for the views to come, and remember where things lie, so
    /// that the same look again and again (a status query) costs less. They see nothing else for it.
    /// At first they do not. Returns how many files are kept open at most; 0 for storage that keeps
    /// none, whatever is asked.
    fn keep_open(&self, keep: bool) -> usize {
        let _ = keep;
        0
    }

    /// What is another one as soon as the content changes: as long as it stays the same, looks show what
    /// a look shows that began after it was told. Nobody should rely on it for more than some seconds:
    /// there are ways of writing, by a mapping of the storage's file, that show late.
    ///
    /// `None` where that cannot be told, or not just now.
    fn version(&self) -> Option<Version> {
        None
    }

    /// The path of the directory of this host that it is, where it is one: the kernel can tell of
    /// changes in there.
    fn host_directory(&self) -> Option<&[u8]> {
        None
    }

    /// Begins to replace the content by what is not known yet. Until [`Replacement::commit`] the
    /// old content stays as it is; dropping the replacement abandons it.
    ///
    /// `None` where the storage cannot hold both, as a block device: there the whole content must be
    /// known, and found to be good, before the old one is given up.
    ///
    /// # Errors
    /// The storage is missing, in use or read-only; nothing was changed. Or what `watch` returns.
    fn begin(&self, watch: Watch<'_, Self::Error>) -> Result<Option<BegunReplacement<'_, Self::Error>>, Self::Error> {
        watch()?;
        Ok(None)
    }

    /// Begins to replace the content by what the manifest lists. As [`begin`](Self::begin), but that
    /// storage that cannot hold both loses the old content at once, and says so until a replacement
    /// is complete; and that storage can make room for just this content.
    ///
    /// # Errors
    /// The storage is missing, in use, read-only or too small; nothing was changed. Or what `watch`
    /// returns.
    fn replace(
        &self,
        manifest: &Manifest,
        watch: Watch<'_, Self::Error>,
    ) -> Result<BegunReplacement<'_, Self::Error>, Self::Error>;
}

impl<T: SharedDirectory + ?Sized> SharedDirectory for Arc<T> {
    type Error = T::Error;

    fn representation(&self) -> Representation {
        (**self).representation()
    }

    fn sharing(&self) -> Sharing {
        (**self).sharing()
    }

    fn view(&self) -> Result<Box<dyn View<Error = Self::Error> + '_>, Self::Error> {
        (**self).view()
    }

    fn keep_open(&self, keep: bool) -> usize {
        (**self).keep_open(keep)
    }

    fn version(&self) -> Option<Version> {
        (**self).version()
    }

    fn host_directory(&self) -> Option<&[u8]> {
        (**self).host_directory()
    }

    fn begin(&self, watch: Watch<'_, Self::Error>) -> Result<Option<BegunReplacement<'_, Self::Error>>, Self::Error> {
        (**self).begin(watch)
    }

    fn replace(
        &self,
        manifest: &Manifest,
        watch: Watch<'_, Self::Error>,
    ) -> Result<BegunReplacement<'_, Self::Error>, Self::Error> {
        (**self).replace(manifest, watch)
    }
}

/// A failure that tells whether trying again may help.
pub trait MayRetry {
    /// Whether the same operation may succeed if it is tried again, because the storage was only
    /// changing while it was read.
    fn may_retry(&self) -> bool;
}

/// A look at a shared directory.
pub trait View {
    /// Why an operation on it failed.
    type Error;

    /// The content's [version](SharedDirectory::version) when the view began: nothing was read before.
    fn version(&self) -> Option<Version> {
        None
    }

    /// The entry at a path. `None` where there is nothing, or nothing but a FIFO, device or socket.
    ///
    /// # Errors
    /// The storage could not be read, or is damaged, or was changing.
    fn entry(&mut self, path: &EntryPath) -> Result<Option<Entry>, Self::Error>;

    /// Whether a FIFO, device or socket stands at a path, of which [`entry`](Self::entry) tells nothing.
    /// Storage that cannot hold any needs not look.
    ///
    /// # Errors
    /// As for [`entry`](Self::entry).
    fn holds_special(&mut self, path: &EntryPath) -> Result<bool, Self::Error> {
        let _ = path;
        Ok(false)
    }

    /// Reads from a regular file, from `offset` on, until `buffer` is full or the file ends.
    /// Returns how many bytes; `None` where there is no regular file.
    ///
    /// # Errors
    /// As for [`entry`](Self::entry).
    fn read_at(&mut self, path: &EntryPath, offset: u64, buffer: &mut [u8]) -> Result<Option<usize>, Self::Error>;

    /// The names at the top of the shared directory, in byte order, at most a few thousand.
    ///
    /// # Errors
    /// As for [`entry`](Self::entry).
    fn top_names(&mut self) -> Result<Vec<Vec<u8>>, Self::Error>;

    /// Visits all entries, a directory before what it holds, names in byte order. Neither the shared
    /// directory itself is shown nor what [is staged](crate::layout::is_staged) in it, which is no content:
    /// that is passed over and not told as left out.
    ///
    /// # Errors
    /// As for [`entry`](Self::entry), or what the visitor returns.
    fn walk(&mut self, visitor: &mut dyn Visitor<Error = Self::Error>) -> Result<(), Self::Error>;
}

/// Is shown each entry of a walk.
pub trait Visitor {
    /// Why the walk must end.
    type Error;

    /// A regular file; its content need not be read, and may prove shorter or longer than its size.
    ///
    /// # Errors
    /// Ends the walk.
    fn file(&mut self, entry: &Entry, content: &mut dyn Content<Error = Self::Error>) -> Result<(), Self::Error>;

    /// A directory.
    ///
    /// # Errors
    /// Ends the walk.
    fn directory(&mut self, entry: &Entry) -> Result<(), Self::Error>;

    /// A symbolic link and its target.
    ///
    /// # Errors
    /// Ends the walk.
    fn symlink(&mut self, entry: &Entry, target: &[u8]) -> Result<(), Self::Error>;

    /// Something that was left out: a device, a name that cannot be, an entry that vanished.
    ///
    /// # Errors
    /// Ends the walk.
    fn left_out(&mut self, left_out: LeftOut) -> Result<(), Self::Error>;
}

/// Something in a shared directory that is not taken along, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LeftOut {
    /// Its path, escaped for showing.
    pub path: String,
    /// Why it was left out.
    pub reason: LeftOutReason,
}

/// Why something in a shared directory is not taken along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum LeftOutReason {
    /// A FIFO, socket or device.
    #[error("it is a FIFO, socket or device")]
    Special,
    /// A name that no path can have, or that appears twice.
    #[error("its name cannot be used")]
    UnusableName,
    /// A directory below too many others, or a path too long.
    #[error("it lies too deep")]
    TooDeep,
    /// A directory that contains itself, or stands in two places.
    #[error("it is a directory that was already seen elsewhere")]
    Repeated,
    /// Another file system is mounted there.
    #[error("another file system is mounted there")]
    OtherFileSystem,
    /// It vanished, or became something else, while it was being looked at.
    #[error("it vanished while it was being read")]
    Vanished,
    /// It cannot be read as it stands.
    #[error("it is damaged or cannot be read")]
    Unreadable,
}

/// A replacement of the content, under way.
///
/// Entries come parents first, links and copies last. Each of them was checked. Where the replacement
/// began with a manifest, they are that manifest's, directories before files. Where it began without,
/// an operation that fails because the storage is too small (not full) may succeed with one.
pub trait Replacement {
    /// Why an operation on it failed.
    type Error;

    /// Adds a directory; one that was added before gets these attributes instead.
    ///
    /// # Errors
    /// The storage could not be written, or is too small; the old content stands.
    fn directory(&mut self, path: &EntryPath, attributes: Attributes) -> Result<(), Self::Error>;

    /// Adds a file of exactly `size` bytes.
    ///
    /// # Errors
    /// As for [`directory`](Self::directory), or the content failed or was not `size` bytes long.
    fn file(
        &mut self,
        path: &EntryPath,
        attributes: Attributes,
        size: u64,
        content: &mut dyn Content<Error = Self::Error>,
    ) -> Result<(), Self::Error>;

    /// Adds a file with the content of one that was added before.
    ///
    /// # Errors
    /// As for [`directory`](Self::directory), or what `watch` returns.
    fn copy(
        &mut self,
        path: &EntryPath,
        existing: &EntryPath,
        attributes: Attributes,
        watch: Watch<'_, Self::Error>,
    ) -> Result<(), Self::Error>;

    /// Adds a symbolic link ([`Representation::Posix`] only).
    ///
    /// # Errors
    /// As for [`directory`](Self::directory).
    fn symlink(&mut self, path: &EntryPath, target: &[u8]) -> Result<(), Self::Error>;

    /// Adds another name of a file that was added before ([`Representation::Posix`] only).
    ///
    /// # Errors
    /// As for [`directory`](Self::directory).
    fn hard_link(&mut self, path: &EntryPath, existing: &EntryPath) -> Result<(), Self::Error>;

    /// Makes the new content the content, with its run id beside it and the start script visible
    /// last. When it returns, the new content is on the disk.
    ///
    /// `watch` can end it as long as the old content stands. From the moment on in which the new
    /// content counts there is no way back: it is put in its place whatever `watch` says, and only
    /// the removal of the old content, which nobody sees any more, is left to a later operation.
    ///
    /// # Errors
    /// The storage could not be written, or what `watch` returns. A crash or error in here leaves the
    /// old content or the new, or nothing that could be started.
    fn commit(self: Box<Self>, run: RunId, watch: Watch<'_, Self::Error>) -> Result<(), Self::Error>;
}
