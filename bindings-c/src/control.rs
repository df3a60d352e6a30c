//! Deadline, cancellation and progress as C gives them.

use std::ffi::{c_int, c_void};
use std::time::{Duration, Instant};

use nlxtp_host::control::{CancelToken, Control, Progress};
use nlxtp_host::error::Result;

use crate::boundary::{self, Handle, Out, UserData, borrow_optional, free, get, give, guard, read_struct};
use crate::error::{nlxtp_error, nlxtp_result};

/// Cancels operations from any thread.
pub struct nlxtp_cancel;

impl Handle for nlxtp_cancel {
    type Inner = CancelToken;
    const NAME: &'static str = "nlxtp_cancel";
    const TAG: u64 = 0x6e6c_7874_7043_414e;
}

/// Makes what cancels operations, to be freed with nlxtp_cancel_free().
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_cancel_new(cancel: *mut *mut nlxtp_cancel, error: *mut *mut nlxtp_error) -> nlxtp_result {
    guard("cancel_new", error, || {
        Out::new(cancel, "nlxtp_cancel")?.set(|| give(CancelToken::new()));
        Ok(())
    })
}

/// Lets all operations that were given it end soon, with NLXTP_ERROR_CANCELLED, and all later ones
/// at once. May be called from any thread, but not from a signal handler. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_cancel_now(cancel: *const nlxtp_cancel) {
    get(cancel, (), CancelToken::cancel);
}

/// Frees it; operations that were given it go on. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_cancel_free(cancel: *mut nlxtp_cancel) {
    free(cancel);
}

/// What an operation is doing. Later versions may add phases.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum nlxtp_phase {
    /// Something that this version of the header has no word for.
    NLXTP_PHASE_OTHER = 0,
    /// The archive is being validated; bytes of the archive as it lies on the disk.
    NLXTP_PHASE_EXAMINING = 1,
    /// The archive is being unpacked, and validated unless it was before; bytes of the archive as it lies
    /// on the disk.
    NLXTP_PHASE_EXTRACTING = 2,
    /// An archive is being made; bytes of content. How many there are is known only when it is complete.
    NLXTP_PHASE_PACKING = 3,
    /// What was written is being flushed to the disk; nobody can say how far that is.
    NLXTP_PHASE_FLUSHING = 4,
}

/// How far an operation is. The library fills it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct nlxtp_progress {
    /// Bytes of this structure, as the library knows it.
    pub size: usize,
    /// What is being done.
    pub phase: nlxtp_phase,
    /// Bytes done so far in this phase; 0 where that is not known.
    pub done: u64,
    /// All of them; UINT64_MAX where that is not known.
    pub total: u64,
}

/// Is told how far an operation is: when a phase begins, when it is complete, and at most some 20 times a
/// second between, in the thread of the call. Returns 0, or anything else to cancel the operation. It may
/// call functions of this library, but none with the handle that is being used.
pub type nlxtp_progress_fn = Option<extern "C" fn(user_data: *mut c_void, progress: *const nlxtp_progress) -> c_int>;

/// Deadline, cancellation and progress of one operation. Fill it with zeros, then set `size` and
/// what is wanted. NULL in its place means: no deadline, no cancellation, no reports.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct nlxtp_control {
    /// sizeof(nlxtp_control).
    pub size: usize,
    /// Whether `timeout_ms` counts.
    pub has_timeout: c_int,
    /// Milliseconds from now until the operation must be over; 0 only gets what is to be had without
    /// waiting.
    pub timeout_ms: u64,
    /// Is told how far the operation is; may be NULL.
    pub progress: nlxtp_progress_fn,
    /// What `progress` gets back.
    pub user_data: *mut c_void,
    /// Cancels the operation from another thread; may be NULL.
    pub cancel: *const nlxtp_cancel,
}

impl nlxtp_control {
    const NONE: Self = Self {
        size: 0,
        has_timeout: 0,
        timeout_ms: 0,
        progress: None,
        user_data: std::ptr::null_mut(),
        cancel: std::ptr::null(),
    };
}

boundary::growable!(nlxtp_control, nlxtp_control::NONE);

/// What the library takes for it.
pub fn control(given: *const nlxtp_control) -> Result<Control<'static>> {
    let Some(given) = read_struct(given)? else { return Ok(Control::none()) };
    let mut control = Control::none();
    if let Some(cancel) = borrow_optional(given.cancel)? {
        control = control.with_cancel(cancel.clone());
    }
    if given.has_timeout != 0 {
        // A time too long to be added is no deadline.
        control = control.with_deadline(Instant::now().checked_add(Duration::from_millis(given.timeout_ms)));
    }
    if let Some(callback) = given.progress {
        let (token, data) = (CancelToken::new(), UserData::new(given.user_data));
        control = control.with_cancel(token.clone()).with_progress(move |progress| {
            if callback(data.get(), &told(progress)) != 0 {
                token.cancel();
            }
        });
    }
    Ok(control)
}

fn told(progress: Progress) -> nlxtp_progress {
    let (phase, done, total) = match progress {
        Progress::Examining { done, total } => (nlxtp_phase::NLXTP_PHASE_EXAMINING, done, total),
        Progress::Extracting { done, total } => (nlxtp_phase::NLXTP_PHASE_EXTRACTING, done, total),
        Progress::Packing { done, total } => (nlxtp_phase::NLXTP_PHASE_PACKING, done, total.unwrap_or(u64::MAX)),
        Progress::Flushing => (nlxtp_phase::NLXTP_PHASE_FLUSHING, 0, u64::MAX),
        // What no function here does (`Downloading`), and what is newer than this table.
        _ => (nlxtp_phase::NLXTP_PHASE_OTHER, 0, u64::MAX),
    };
    nlxtp_progress { size: size_of::<nlxtp_progress>(), phase, done, total }
}
