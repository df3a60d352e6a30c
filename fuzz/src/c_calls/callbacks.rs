//! Callbacks that answer what the input says. All that they get back is a number in place of a pointer.

use std::ffi::{c_int, c_void};
use std::ptr::without_provenance_mut;

use nlxtp::c::*;

/// What the callbacks of one call answer.
#[derive(Clone, Copy)]
pub(super) struct Answers(pub(super) u8);

impl Answers {
    fn data(self) -> *mut c_void {
        without_provenance_mut(usize::from(self.0))
    }

    fn of(data: *mut c_void) -> Self {
        Self(u8::try_from(data.addr()).expect("it is one of ours"))
    }

    /// A node's options whose power state and monitor answer so.
    pub(super) fn node_options(self) -> nlxtp_node_options {
        nlxtp_node_options {
            size: size_of::<nlxtp_node_options>(),
            power: 0,
            follow_links: (self.0 & 4).into(),
            power_state: (self.0 & 8 != 0).then_some(power as extern "C" fn(*mut c_void) -> c_int),
            invoke_monitor: (self.0 & 16 != 0).then_some(invoke as extern "C" fn(*mut c_void) -> c_int),
            user_data: self.data(),
            max_entries: 0,
            max_bytes: 0,
            grace_ms: 0,
            tomato_patience_ms: 0,
            memory: std::ptr::null(),
            journal: std::ptr::null(),
            journal_name: std::ptr::null(),
        }
    }
}

extern "C" fn power(data: *mut c_void) -> c_int {
    [0, 1, 2, 2, 3, -5, c_int::MIN, 2][usize::from(Answers::of(data).0 >> 5)]
}

extern "C" fn invoke(data: *mut c_void) -> c_int {
    [0, 0, -3, 1, c_int::MIN, c_int::MAX, 0, -1][usize::from(Answers::of(data).0 >> 5)]
}

extern "C" fn progress(data: *mut c_void, _: *const nlxtp_progress) -> c_int {
    // Some cancel at once.
    (Answers::of(data).0 & 0x20).into()
}

/// A number that a callback may return, where at most `most` is right.
fn returned(answers: Answers, most: usize) -> i64 {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    [0, 1, most, most / 2, most.saturating_add(1), -5, i64::MIN, i64::MAX][usize::from(answers.0 >> 5)]
}

/// Gives what stood in the buffer, as much as it says.
extern "C" fn read(data: *mut c_void, _: *mut c_void, length: usize) -> i64 {
    returned(Answers::of(data), length)
}

extern "C" fn seek(data: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // An archive of so many bytes, none of which it knows.
    match (Answers::of(data).0 & 0x10, whence) {
        (0, 0) => offset,
        (0, _) => 1000,
        _ => -29,
    }
}

extern "C" fn write(data: *mut c_void, _: *const c_void, length: usize) -> i64 {
    let answers = Answers::of(data);
    if answers.0 & 0x10 == 0 { i64::try_from(length).unwrap_or(i64::MAX) } else { returned(answers, length) }
}

pub(super) fn control(answers: Answers, cancel: *const nlxtp_cancel) -> nlxtp_control {
    nlxtp_control {
        size: size_of::<nlxtp_control>(),
        has_timeout: (answers.0 & 0x40).into(),
        timeout_ms: u64::from(answers.0 & 0x0f) * 1000,
        progress: Some(progress),
        user_data: answers.data(),
        cancel,
    }
}

/// A download in this format, as usual but for the number of threads.
pub(super) fn packing(format: i32) -> nlxtp_download_options {
    let size = size_of::<nlxtp_download_options>();
    nlxtp_download_options { size, format, level: 0, threads: 1, attempts: 0, replace: 0 }
}

pub(super) fn reader(answers: Answers) -> nlxtp_reader {
    let (read, seek) = (Some(read as extern "C" fn(_, _, _) -> _), Some(seek as extern "C" fn(_, _, _) -> _));
    let read = read.filter(|_| answers.0 & 0x0f != 1);
    nlxtp_reader { size: size_of::<nlxtp_reader>(), read, seek, user_data: answers.data() }
}

pub(super) fn writer(answers: Answers) -> nlxtp_writer {
    let write = Some(write as extern "C" fn(_, _, _) -> _).filter(|_| answers.0 & 0x0f != 1);
    nlxtp_writer { size: size_of::<nlxtp_writer>(), write, user_data: answers.data() }
}
