//! What all commands of one call have in common.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use nlxtp_host::control::{CancelToken, Control};
use nlxtp_host::error::Error;
use rextfv_core::shared_directory::MayRetry;

/// One call of the command.
pub struct Session {
    /// Answers are JSON.
    pub json: bool,
    /// Say also what does not matter much.
    pub verbose: bool,
    /// Cancelled by signals.
    pub cancel: CancelToken,
}

/// Pauses before an operation is tried again because a guest was just writing.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(500), Duration::from_millis(1000)];

impl Session {
    /// Deadline and cancellation of an operation that begins now.
    pub fn control<'a>(&self, timeout: Option<Duration>) -> Control<'a> {
        // A time too long to be added is no deadline.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Control::none().with_deadline(deadline).with_cancel(self.cancel.clone())
    }

    /// Says something beside the answer.
    pub fn note(&self, text: &str) {
        // There is nobody left to tell if this fails.
        let _ = writeln!(io::stderr().lock(), "nlxtp: {text}");
    }

    /// Says something that does not matter much.
    pub fn remark(&self, text: &str) {
        if self.verbose {
            self.note(text);
        }
    }

    /// Does something again for as long as it fails only because the target is changing, a few
    /// times. Returns also how often it was done.
    pub fn with_retries<T>(
        &self,
        control: &Control<'_>,
        mut attempt: impl FnMut() -> Result<T, Error>,
    ) -> Result<(T, u32), Error> {
        let mut made = 1;
        for pause in PAUSES {
            match attempt() {
                Err(error) if error.may_retry() => self.remark(&format!("trying again: {error}")),
                other => return other.map(|value| (value, made)),
            }
            control.sleep(pause)?;
            made += 1;
        }
        attempt().map(|value| (value, made))
    }
}
