//! Errors as C sees them.

use std::ffi::{CString, c_char};

use nlxtp_host::error::{Error, ErrorKind};
use rextfv_core::shared_directory::MayRetry;

use crate::boundary::{Handle, Owned, c_text, free, get, pointer};
use crate::report::{Uploaded, nlxtp_upload};

/// What a function came to: NLXTP_OK, or why it failed. The numbers are stable; later versions may
/// add some, so treat one that you do not know as NLXTP_ERROR_IO.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum nlxtp_result {
    /// Success.
    NLXTP_OK = 0,
    /// An argument cannot be used: NULL where there must be something, a handle of another kind, a
    /// value out of range.
    NLXTP_ERROR_INVALID_INPUT = 1,
    /// The archive is of no known format, truncated or corrupt.
    NLXTP_ERROR_BAD_ARCHIVE = 2,
    /// The archive holds entries that are not taken; see nlxtp_error_refusal_count().
    NLXTP_ERROR_REFUSED = 3,
    /// The content does not fit into the target.
    NLXTP_ERROR_TOO_SMALL = 4,
    /// The file, directory or entry is not there.
    NLXTP_ERROR_NOT_FOUND = 5,
    /// The target is neither a directory nor a usable disk.
    NLXTP_ERROR_NOT_A_TARGET = 6,
    /// The target's file system is damaged.
    NLXTP_ERROR_DAMAGED = 7,
    /// An upload was cut off when there was no way back any more. On a block device, or an image file that is
    /// known by a descriptor, it must be repeated; in a directory the next operation goes on with it.
    NLXTP_ERROR_UNFINISHED = 8,
    /// The target was changing while it was read. Trying again may help.
    NLXTP_ERROR_CHANGING = 9,
    /// The file system is mounted read-only.
    NLXTP_ERROR_READ_ONLY = 10,
    /// The caller may not do this.
    NLXTP_ERROR_PERMISSION_DENIED = 11,
    /// Another process, or another thread with the same handle, holds the target. Trying again later
    /// may help.
    NLXTP_ERROR_IN_USE = 12,
    /// The guest is on and the target can only be written while it is off.
    NLXTP_ERROR_GUEST_ON = 13,
    /// The storage is full.
    NLXTP_ERROR_NO_SPACE = 14,
    /// The time that was given is over.
    NLXTP_ERROR_TIMED_OUT = 15,
    /// The caller has cancelled the operation.
    NLXTP_ERROR_CANCELLED = 16,
    /// The upload stands, but the monitor could not be invoked; nlxtp_error_upload() tells what it did.
    NLXTP_ERROR_INVOKE_FAILED = 17,
    /// Any other failure of the operating system.
    NLXTP_ERROR_IO = 18,
    /// A fault in this library. Please report it. Do not use the handles of the call any more but to
    /// free them.
    NLXTP_ERROR_INTERNAL = 19,
    /// There is something at a path where something new is to be made.
    NLXTP_ERROR_EXISTS = 20,
}

impl From<ErrorKind> for nlxtp_result {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidInput => Self::NLXTP_ERROR_INVALID_INPUT,
            ErrorKind::BadArchive => Self::NLXTP_ERROR_BAD_ARCHIVE,
            ErrorKind::Refused => Self::NLXTP_ERROR_REFUSED,
            ErrorKind::TooSmall => Self::NLXTP_ERROR_TOO_SMALL,
            ErrorKind::NotFound => Self::NLXTP_ERROR_NOT_FOUND,
            ErrorKind::Exists => Self::NLXTP_ERROR_EXISTS,
            ErrorKind::NotATarget => Self::NLXTP_ERROR_NOT_A_TARGET,
            ErrorKind::Damaged => Self::NLXTP_ERROR_DAMAGED,
            ErrorKind::Unfinished => Self::NLXTP_ERROR_UNFINISHED,
            ErrorKind::Changing => Self::NLXTP_ERROR_CHANGING,
            ErrorKind::ReadOnly => Self::NLXTP_ERROR_READ_ONLY,
            ErrorKind::PermissionDenied => Self::NLXTP_ERROR_PERMISSION_DENIED,
            ErrorKind::InUse => Self::NLXTP_ERROR_IN_USE,
            ErrorKind::GuestOn => Self::NLXTP_ERROR_GUEST_ON,
            ErrorKind::NoSpace => Self::NLXTP_ERROR_NO_SPACE,
            ErrorKind::TimedOut => Self::NLXTP_ERROR_TIMED_OUT,
            ErrorKind::Cancelled => Self::NLXTP_ERROR_CANCELLED,
            ErrorKind::InvokeFailed => Self::NLXTP_ERROR_INVOKE_FAILED,
            // Kinds that are newer than this table.
            _ => Self::NLXTP_ERROR_IO,
        }
    }
}

/// Why a call failed. It belongs to the caller, who frees it with nlxtp_error_free(); any thread may
/// read it. What its functions return belongs to it.
pub struct nlxtp_error;

impl Handle for nlxtp_error {
    type Inner = Failure;
    const NAME: &'static str = "nlxtp_error";
    const TAG: u64 = 0x6e6c_7874_7045_5252;
}

/// What is behind an error object.
pub struct Failure {
    pub code: nlxtp_result,
    kind: CString,
    operation: CString,
    message: CString,
    text: CString,
    object: Option<CString>,
    hint: Option<CString>,
    may_retry: bool,
    refusals: Vec<(CString, CString)>,
    refusals_in_all: u64,
    upload: Option<Owned<nlxtp_upload>>,
}

impl Failure {
    /// A failure of the library's.
    pub fn new(operation: &str, error: Error) -> Self {
        let listing = error.refusals();
        let listed = listing.map(|listing| listing.listed.as_slice()).unwrap_or_default();
        Self {
            code: error.kind().into(),
            kind: c_text(error.kind().word()),
            operation: c_text(operation),
            message: c_text(&error.message()),
            text: c_text(&error.to_string()),
            object: error.object().map(c_text),
            hint: error.hint().map(c_text),
            may_retry: error.may_retry(),
            refusals: listed.iter().map(|one| (c_text(&one.entry), c_text(&one.reason.to_string()))).collect(),
            refusals_in_all: listing.map_or(0, |listing| listing.count()),
            upload: error.upload().map(|report| Owned::new(Uploaded::from(report.clone()))),
        }
    }

    /// A panic, which is a fault in the library.
    pub fn panicked(operation: &str, said: &str) -> Self {
        let message = format!("a fault in libnlxtp: {said}");
        let failure = Self::new(operation, Error::new(ErrorKind::Io, message));
        Self { code: nlxtp_result::NLXTP_ERROR_INTERNAL, kind: c_text("internal"), ..failure }
    }
}

/// The number of the error, which is what the function returned; NLXTP_OK for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_error_code(error: *const nlxtp_error) -> nlxtp_result {
    get(error, nlxtp_result::NLXTP_OK, |failure| failure.code)
}

/// A stable word for the kind of failure, such as "bad-archive"; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_error_kind(error: *const nlxtp_error) -> *const c_char {
    get(error, std::ptr::null(), |failure| failure.kind.as_ptr())
}

/// The operation that failed: a function's name without its prefix, such as "node_upload"; NULL for
/// NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_error_operation(error: *const nlxtp_error) -> *const c_char {
    get(error, std::ptr::null(), |failure| failure.operation.as_ptr())
}

/// All that is known in words, UTF-8: the object, what is wrong, and the way out. It may have several
/// lines. NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_error_text(error: *const nlxtp_error) -> *const c_char {
    get(error, std::ptr::null(), |failure| failure.text.as_ptr())
}

/// What is wrong, in one line without the object and the way out; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_error_message(error: *const nlxtp_error) -> *const c_char {
    get(error, std::ptr::null(), |failure| failure.message.as_ptr())
}

/// The file, directory or archive entry that it is about, escaped for showing; NULL where there is
/// none, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_error_path(error: *const nlxtp_error) -> *const c_char {
    get(error, std::ptr::null(), |failure| pointer(failure.object.as_ref()))
}

/// The way out; NULL where none is known, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_error_hint(error: *const nlxtp_error) -> *const c_char {
    get(error, std::ptr::null(), |failure| pointer(failure.hint.as_ref()))
}

/// Whether the same call may succeed if it is made again; false for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_error_may_retry(error: *const nlxtp_error) -> bool {
    get(error, false, |failure| failure.may_retry)
}

/// For NLXTP_ERROR_REFUSED: how many entries of the archive are not taken; 0 for other failures, and for
/// NULL. The first 1000 can be asked for one by one.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_error_refusal_count(error: *const nlxtp_error) -> u64 {
    get(error, 0, |failure| failure.refusals_in_all)
}

/// The name of a refused entry, escaped for showing; NULL if there are fewer, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_error_refusal_entry(error: *const nlxtp_error, index: usize) -> *const c_char {
    get(error, std::ptr::null(), |failure| pointer(failure.refusals.get(index).map(|(entry, _)| entry)))
}

/// Why that entry is refused; NULL if there are fewer, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_error_refusal_reason(error: *const nlxtp_error, index: usize) -> *const c_char {
    get(error, std::ptr::null(), |failure| pointer(failure.refusals.get(index).map(|(_, reason)| reason)))
}

/// For NLXTP_ERROR_INVOKE_FAILED: what the upload did, which stands; its execution is
/// NLXTP_EXECUTION_BY_DAEMON, the only way that is left besides a reboot. NULL for other failures, and for
/// NULL. It belongs to the error and goes with it: do not free it.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_error_upload(error: *const nlxtp_error) -> *const nlxtp_upload {
    get(error, std::ptr::null(), |failure| failure.upload.as_ref().map_or(std::ptr::null(), Owned::get))
}

/// Frees an error. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_error_free(error: *mut nlxtp_error) {
    free(error);
}
