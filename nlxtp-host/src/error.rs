//! The one error type of the host's side.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

use rextfv_core::archive_rules::{Refusal, RefusalReason};
use rextfv_core::listing::Listing;
use rextfv_core::operations::UploadReport;
use rextfv_core::shared_directory::MayRetry;

/// A `Result` of the host's side.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure an [`Error`] is.
///
/// Later versions may add kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument cannot be used.
    InvalidInput,
    /// The archive is of no known format, truncated or corrupt.
    BadArchive,
    /// The archive holds entries that are not taken; see [`Error::refusals`].
    Refused,
    /// The content does not fit into the target.
    TooSmall,
    /// The file, directory or entry is not there.
    NotFound,
    /// There is something at a path where something new is to be made.
    Exists,
    /// The target is neither a directory nor a usable disk.
    NotATarget,
    /// The target's file system is damaged.
    Damaged,
    /// An upload was cut off when there was no way back any more. On a block device it must be
    /// repeated; in a directory the next operation goes on with it.
    Unfinished,
    /// The target was changing while it was read. Trying again may help.
    Changing,
    /// The file system is mounted read-only.
    ReadOnly,
    /// The caller may not do this.
    PermissionDenied,
    /// Another process holds the target. Trying again later may help.
    InUse,
    /// The guest is on and the target can only be written while it is off.
    GuestOn,
    /// The storage is full.
    NoSpace,
    /// The deadline has passed.
    TimedOut,
    /// The caller has cancelled the operation.
    Cancelled,
    /// The upload stands, but the monitor could not be invoked.
    InvokeFailed,
    /// Any other failure of the operating system.
    Io,
}

impl ErrorKind {
    /// A stable word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid-input",
            Self::BadArchive => "bad-archive",
            Self::Refused => "refused",
            Self::TooSmall => "too-small",
            Self::NotFound => "not-found",
            Self::Exists => "exists",
            Self::NotATarget => "not-a-target",
            Self::Damaged => "damaged",
            Self::Unfinished => "unfinished",
            Self::Changing => "changing",
            Self::ReadOnly => "read-only",
            Self::PermissionDenied => "permission-denied",
            Self::InUse => "in-use",
            Self::GuestOn => "guest-on",
            Self::NoSpace => "no-space",
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
            Self::InvokeFailed => "invoke-failed",
            Self::Io => "io",
        }
    }

    /// Whether the same operation may succeed if it is tried again.
    pub const fn may_retry(self) -> bool {
        matches!(self, Self::Changing | Self::InUse)
    }
}

/// A way out that those who use this library each have their own words for, such as a flag of a command
/// or a parameter of a function; see [`Error::in_words_of`].
///
/// Later versions may add some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// Make a disk image.
    CreateDisk,
    /// Make a larger disk image.
    CreateLargerDisk,
    /// Pack the archive as the plainest of formats.
    Pack,
    /// Let more bytes be taken.
    RaiseMaxBytes,
    /// Let the existing file be replaced.
    Replace,
    /// Have copies uploaded of what links in an archive lead to.
    FollowLinks,
    /// Do it again, with more time: it goes on with what is kept.
    GoOn,
    /// Name another file for the journal, or see what is wrong with this one.
    NameAnotherJournal,
}

impl Remedy {
    /// The library's own words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::CreateDisk => "make a disk for a virtual machine, or give a container's directory",
            Self::CreateLargerDisk => "make a larger disk",
            Self::Pack => "pack it as tar.gz",
            Self::RaiseMaxBytes => "raise the limit on bytes",
            Self::Replace => "choose another name, or ask for it to be replaced",
            Self::FollowLinks => "ask for links to be followed: a copy of what they lead to is uploaded instead",
            Self::GoOn => {
                "do it again, with more time if that was too short: what has come is kept, and it goes on there"
            }
            Self::NameAnotherJournal => "name another file, or one that is not there yet",
        }
    }
}

/// Why an operation failed: what was done, to which object, and the way out where there is one.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    /// The file, directory or archive entry that it is about, escaped for showing.
    object: Option<String>,
    hint: Option<&'static str>,
    /// The way out that `hint` puts in words, where it is one of those.
    remedy: Option<Remedy>,
    refusals: Option<Listing<Refusal>>,
    upload: Option<UploadReport>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error whose message says what was being done and what is wrong.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        let inner =
            Inner { kind, message, object: None, hint: None, remedy: None, refusals: None, upload: None, source: None };
        Self { inner: Box::new(inner) }
    }

    /// A failure of the operating system while something was done ("open the disk image").
    ///
    /// An error of ours that has come through an [`io::Error`] is given back as it was.
    pub fn io(doing: impl fmt::Display, source: io::Error) -> Self {
        let source = match source.downcast::<Self>() {
            Ok(ours) => return ours,
            Err(source) => source,
        };
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            io::ErrorKind::TimedOut => ErrorKind::TimedOut,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("cannot {doing}")).with_source(source)
    }

    /// An archive that holds entries that are not taken.
    pub fn refused(refusals: Listing<Refusal>) -> Self {
        let entries = if refusals.count() == 1 { "an entry that is" } else { "entries that are" };
        let mut error = Self::new(ErrorKind::Refused, format!("the archive holds {entries} not taken"));
        let has_link = refusals
            .listed
            .iter()
            .any(|one| matches!(one.reason, RefusalReason::SymlinkOnFat | RefusalReason::HardLinkOnFat));
        let is_large =
            |one: &Refusal| matches!(one.reason, RefusalReason::FileTooLarge(_) | RefusalReason::TotalTooLarge(_));
        let is_too_large = refusals.listed.iter().any(is_large);
        error.inner.refusals = Some(refusals);
        match (has_link, is_too_large) {
            (true, _) => error.with_remedy(Remedy::FollowLinks),
            (false, true) => error.with_remedy(Remedy::RaiseMaxBytes),
            (false, false) => error,
        }
    }

    /// The same error about this object: a file, a directory, an entry.
    #[must_use]
    pub fn with_object(mut self, object: impl Into<String>) -> Self {
        self.inner.object.get_or_insert(object.into());
        self
    }

    /// The same error about the object at this path.
    #[must_use]
    pub fn with_path(self, path: &Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        self.with_object(rextfv_core::entry_path::displayable(path.as_os_str().as_bytes()))
    }

    /// The same error with a way out.
    #[must_use]
    pub fn with_hint(mut self, hint: &'static str) -> Self {
        self.inner.hint.get_or_insert(hint);
        self
    }

    /// The same error with a way out that callers have their own words for.
    #[must_use]
    pub fn with_remedy(mut self, remedy: Remedy) -> Self {
        if self.inner.hint.is_none() {
            self.inner.hint = Some(remedy.words());
            self.inner.remedy = Some(remedy);
        }
        self
    }

    /// The same error, with its way out in the words of somebody who uses this library.
    #[must_use]
    pub fn in_words_of(mut self, words: impl FnOnce(Remedy) -> &'static str) -> Self {
        if let Some(remedy) = self.inner.remedy {
            self.inner.hint = Some(words(remedy));
        }
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source.get_or_insert(source.into());
        self
    }

    /// The same error after an upload that stands.
    #[must_use]
    pub fn with_upload(mut self, report: UploadReport) -> Self {
        self.inner.upload = Some(report);
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The file, directory or archive entry that it is about, escaped for showing.
    pub fn object(&self) -> Option<&str> {
        self.inner.object.as_deref()
    }

    /// What is wrong and its cause, in one line; without the object, the refused entries and the way
    /// out, which can be asked for.
    pub fn message(&self) -> String {
        match &self.inner.source {
            Some(source) => format!("{}: {source}", self.inner.message),
            None => self.inner.message.clone(),
        }
    }

    /// Whether reading a file failed for what the guest did to it; all else can still be had.
    pub(crate) fn is_the_guests_doing(&self) -> bool {
        matches!(self.kind(), ErrorKind::Changing | ErrorKind::Damaged)
    }

    /// The way out, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        self.inner.hint
    }

    /// What the upload did that stands all the same, for [`ErrorKind::InvokeFailed`] of
    /// [`Node::upload`](crate::node::Node::upload).
    pub fn upload(&self) -> Option<&UploadReport> {
        self.inner.upload.as_ref()
    }

    /// The refused entries, for [`ErrorKind::Refused`].
    pub fn refusals(&self) -> Option<&Listing<Refusal>> {
        self.inner.refusals.as_ref()
    }
}

/// Refused entries that the message itself names; all are in [`Error::refusals`].
const REFUSALS_IN_MESSAGE: usize = 20;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        if let Some(object) = &inner.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&inner.message)?;
        if let Some(source) = &inner.source {
            write!(f, ": {source}")?;
        }
        if let Some(refusals) = &inner.refusals {
            for refusal in refusals.listed.iter().take(REFUSALS_IN_MESSAGE) {
                write!(f, "\n  \"{}\": {}", refusal.entry, refusal.reason)?;
            }
            let more = refusals.count().saturating_sub(REFUSALS_IN_MESSAGE as u64);
            if more > 0 {
                write!(f, "\n  and {more} more")?;
            }
        }
        if let Some(hint) = inner.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}: {self})", self.inner.kind.word())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

impl MayRetry for Error {
    fn may_retry(&self) -> bool {
        self.kind().may_retry()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_out_is_told_in_the_callers_words() {
        let error = || Error::new(ErrorKind::Exists, "it is there").with_remedy(Remedy::Replace);
        assert_eq!(error().hint(), Some(Remedy::Replace.words()));
        let told = error().in_words_of(|remedy| if remedy == Remedy::Replace { "say replace" } else { "?" });
        assert_eq!(told.to_string(), "it is there (say replace)");
        // What was said nearer to the fault stands.
        let nearer = Error::new(ErrorKind::Exists, "it is there").with_hint("wait").with_remedy(Remedy::Replace);
        assert_eq!(nearer.in_words_of(|_| "?").hint(), Some("wait"));
    }
}
