//! Signals that cancel.

use std::thread;

use nix::sys::signal::{SigSet, Signal};
use nlxtp_host::control::CancelToken;

/// Lets SIGINT, SIGTERM and SIGHUP cancel the operation that holds the token; a second one kills, as
/// without this. Signals that whoever called has set to be ignored (`nohup`, a shell's background
/// jobs) stay ignored.
///
/// To be called before any other thread is started.
pub fn cancel_on_signals() -> CancelToken {
    let token = CancelToken::new();
    let ignored = ignored_signals();
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        if ignored & (1 << (signal as u32 - 1)) == 0 {
            signals.add(signal);
        }
    }
    // Where any of this is not possible, signals do what they always do.
    if signals.thread_block().is_err() {
        return token;
    }
    let (waited_for, cancelled) = (signals, token.clone());
    let waiting = thread::Builder::new().name("signals".into()).spawn(move || {
        let came = waited_for.wait();
        if came.is_ok() {
            cancelled.cancel();
        }
        // All other threads still hold them back, so the next one comes to this thread.
        let _ = waited_for.thread_unblock();
        loop {
            thread::park();
        }
    });
    if waiting.is_err() {
        let _ = signals.thread_unblock();
    }
    token
}

/// The signals that are ignored, one bit each, from bit 0 for signal 1.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let digits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    digits.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0)
}
