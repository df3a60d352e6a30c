//! A status as C sees it.

use std::ffi::{CString, c_char, c_int, c_void};

use nlxtp_host::status_json::StatusJson;
use rextfv_core::liveness::State;
use rextfv_core::operations::{Dialect, StatusReport};

use crate::boundary::{Handle, Out, c_text, free, get, pointer};

/// The state of a run. Later versions may add states.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum nlxtp_state {
    /// No monitor has taken the run up.
    NLXTP_STATE_NOT_STARTED = 0,
    /// The start script runs, as far as can be told.
    NLXTP_STATE_RUNNING = 1,
    /// The start script has ended and its results are on the disk.
    NLXTP_STATE_FINISHED = 2,
    /// The monitor no longer reports: it was stopped or killed, or the guest was turned off.
    NLXTP_STATE_MONITOR_STOPPED = 3,
    /// The guest was booted anew before the start script had ended.
    NLXTP_STATE_GUEST_REBOOTED = 4,
    /// There is a status, but it cannot be read.
    NLXTP_STATE_UNREADABLE = 5,
}

impl From<State> for nlxtp_state {
    fn from(state: State) -> Self {
        match state {
            State::NotStarted => Self::NLXTP_STATE_NOT_STARTED,
            State::Running => Self::NLXTP_STATE_RUNNING,
            State::Finished => Self::NLXTP_STATE_FINISHED,
            State::MonitorStopped => Self::NLXTP_STATE_MONITOR_STOPPED,
            State::GuestRebooted => Self::NLXTP_STATE_GUEST_REBOOTED,
            State::Unreadable => Self::NLXTP_STATE_UNREADABLE,
        }
    }
}

/// In whose words the status was written.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum nlxtp_dialect {
    /// No monitor has written anything.
    NLXTP_DIALECT_NONE = 0,
    /// nlXTP's status slots.
    NLXTP_DIALECT_NLXTP = 1,
    /// The files of ToMaTo's guest modules 0.3.
    NLXTP_DIALECT_TOMATO = 2,
}

/// What a status query found. It never changes, and any thread may read it. It belongs to the
/// caller, who frees it with nlxtp_status_free(); what its functions return belongs to it.
pub struct nlxtp_status;

impl Handle for nlxtp_status {
    type Inner = Found;
    const NAME: &'static str = "nlxtp_status";
    const TAG: u64 = 0x6e6c_7874_7053_5441;
}

/// What is behind a status object.
pub struct Found {
    pub report: StatusReport,
    word: CString,
    reason: Option<CString>,
    run_id: Option<CString>,
    json: CString,
}

impl From<StatusReport> for Found {
    fn from(report: StatusReport) -> Self {
        Self {
            word: c_text(report.state.word()),
            reason: report.reason.as_deref().map(c_text),
            run_id: report.run_id.map(|run| c_text(&run.to_string())),
            // A report always can be written.
            json: c_text(&serde_json::to_string(&StatusJson::from(&report)).unwrap_or_default()),
            report,
        }
    }
}

/// The state of the run; NLXTP_STATE_UNREADABLE for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_state(status: *const nlxtp_status) -> nlxtp_state {
    get(status, nlxtp_state::NLXTP_STATE_UNREADABLE, |found| found.report.state.into())
}

/// The word for the state, such as "monitor-stopped"; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_state_word(status: *const nlxtp_status) -> *const c_char {
    get(status, std::ptr::null(), |found| found.word.as_ptr())
}

/// The Done Flag: whether the start script has ended and its results are on the disk; false for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_done(status: *const nlxtp_status) -> bool {
    get(status, false, |found| found.report.done())
}

/// Whether the run is under way; false for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_running(status: *const nlxtp_status) -> bool {
    get(status, false, |found| found.report.running())
}

/// Why the state is what it is, for people, UTF-8; NULL where that needs no words, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_reason(status: *const nlxtp_status) -> *const c_char {
    get(status, std::ptr::null(), |found| pointer(found.reason.as_ref()))
}

/// The Custom Status: any bytes, not ended by NUL; NULL where none was set, and for NULL. Else the pointer is
/// not NULL, also if it is empty. `length`, which may be NULL, gets how many bytes; it is left alone for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_custom(status: *const nlxtp_status, length: *mut usize) -> *const c_void {
    get(status, std::ptr::null(), |found| {
        let custom = found.report.custom.as_deref();
        Out::optional(length).set(|| custom.map_or(0, <[u8]>::len));
        custom.map_or(std::ptr::null(), |custom| custom.as_ptr().cast())
    })
}

/// Steps that the start script says it has done, at most nlxtp_status_progress_total(); 0 where it says
/// nothing of that, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_progress_done(status: *const nlxtp_status) -> u64 {
    get(status, 0, |found| found.report.progress.map_or(0, |progress| progress.done))
}

/// Steps that the start script says there are in all, at least 1; 0 where it says nothing of that, and for
/// NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_progress_total(status: *const nlxtp_status) -> u64 {
    get(status, 0, |found| found.report.progress.map_or(0, |progress| progress.total))
}

/// The start script's exit code, 0 to 255; -1 if it has not ended by itself, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_exit_code(status: *const nlxtp_status) -> c_int {
    get(status, -1, |found| found.report.exit_code.map_or(-1, c_int::from))
}

/// The signal that ended the start script, 1 to 64; 0 if none did, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_signal(status: *const nlxtp_status) -> c_int {
    get(status, 0, |found| found.report.signal.map_or(0, c_int::from))
}

/// Whether the monitor has ended the script because it ran longer than it was allowed to; false for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_timed_out(status: *const nlxtp_status) -> bool {
    get(status, false, |found| found.report.timed_out)
}

/// The sequence number of the record, from 1; 0 where there is none, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_sequence(status: *const nlxtp_status) -> u64 {
    get(status, 0, |found| found.report.sequence.unwrap_or(0))
}

/// The run that the last upload began, 32 hexadecimal digits; NULL where it is not known, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_run_id(status: *const nlxtp_status) -> *const c_char {
    get(status, std::ptr::null(), |found| pointer(found.run_id.as_ref()))
}

/// Bytes of standard output that are on the disk; UINT64_MAX where that is not known, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_stdout_bytes(status: *const nlxtp_status) -> u64 {
    get(status, u64::MAX, |found| found.report.stdout_bytes.unwrap_or(u64::MAX))
}

/// Bytes of error output that are on the disk; UINT64_MAX where that is not known, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_stderr_bytes(status: *const nlxtp_status) -> u64 {
    get(status, u64::MAX, |found| found.report.stderr_bytes.unwrap_or(u64::MAX))
}

/// Whether the monitor has cut the standard output, which was too long; false for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_stdout_truncated(status: *const nlxtp_status) -> bool {
    get(status, false, |found| found.report.truncated.stdout)
}

/// Whether the monitor has cut the error output, which was too long; false for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_stderr_truncated(status: *const nlxtp_status) -> bool {
    get(status, false, |found| found.report.truncated.stderr)
}

/// Whether the monitor has cut the Custom Status, which was too long; false for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_custom_truncated(status: *const nlxtp_status) -> bool {
    get(status, false, |found| found.report.truncated.custom)
}

/// In whose words the status was written; NLXTP_DIALECT_NONE for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_dialect(status: *const nlxtp_status) -> nlxtp_dialect {
    get(status, nlxtp_dialect::NLXTP_DIALECT_NONE, |found| match found.report.dialect {
        None => nlxtp_dialect::NLXTP_DIALECT_NONE,
        Some(Dialect::Nlxtp) => nlxtp_dialect::NLXTP_DIALECT_NLXTP,
        Some(Dialect::Tomato) => nlxtp_dialect::NLXTP_DIALECT_TOMATO,
    })
}

/// How often the status was read until it could be used, or was given up; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_attempts(status: *const nlxtp_status) -> u32 {
    get(status, 0, |found| found.report.attempts)
}

/// The whole status as a JSON object on one line, UTF-8: the same as `nlxtp status --json` prints.
/// NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_json(status: *const nlxtp_status) -> *const c_char {
    get(status, std::ptr::null(), |found| found.json.as_ptr())
}

/// Frees a status. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_status_free(status: *mut nlxtp_status) {
    free(status);
}
