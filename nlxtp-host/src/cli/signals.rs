//! Signals that cancel.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nlxtp_host::control::CancelToken;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Signals that come so soon after the first are taken for the same: `timeout` sends one to the command, and
/// then to all of the group that the command belongs to.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Lets SIGINT, SIGTERM and SIGHUP cancel the operation that holds the token; a later one kills, as
/// without this. Signals that whoever called has set to be ignored (`nohup`, a shell's background
/// jobs) stay ignored. They are handled, not blocked, so commands that are run here get them as ever.
pub fn cancel_on_signals() -> CancelToken {
    let token = CancelToken::new();
    let ignored = ignored_signals();
    let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(move |signal| ignored & (1 << (signal - 1)) == 0);
    let (registered, waiting) = mpsc::channel::<()>();
    let cancelled = token.clone();
    // Where any of this is not possible, signals do what they always do.
    let _ = thread::Builder::new().name("signals".into()).spawn(move || {
        let Ok(mut signals) = Signals::new(heeded) else { return };
        drop(registered);
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            if first.is_some_and(|first| first.elapsed() > AT_ONCE) {
                let _ = emulate_default_handler(signal);
            }
            first.get_or_insert_with(Instant::now);
            cancelled.cancel();
        }
    });
    // Until the sender is gone, one way or another.
    let _ = waiting.recv();
    token
}

/// The signals that are ignored, one bit each, from bit 0 for signal 1.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let digits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    digits.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0)
}
