//! Signals as something to poll.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that the monitor and the daemon act upon, blocked and queued.
pub struct Signals {
    queue: SignalFd,
    /// What was taken from the queue and not told yet.
    taken: Cell<Came>,
}

/// What came since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Came {
    /// A child has ended.
    pub child: bool,
    /// This process is asked to stop.
    pub stop: bool,
}

impl Signals {
    /// Takes the signals over: from now on none of them acts by itself.
    ///
    /// # Errors
    /// The system's.
    pub fn take() -> io::Result<Self> {
        let set: SigSet = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        set.thread_block()?;
        let queue = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { queue, taken: Cell::default() })
    }

    /// What came since the last call.
    pub fn came(&self) -> Came {
        let came = self.waiting();
        self.taken.take();
        came
    }

    /// What the next call of [`came`](Self::came) will tell. What is seen here wakes nobody who polls.
    pub fn waiting(&self) -> Came {
        let mut came = self.taken.get();
        while let Ok(Some(info)) = self.queue.read_signal() {
            if info.ssi_signo == Signal::SIGCHLD as u32 {
                came.child = true;
            } else {
                came.stop = true;
            }
        }
        self.taken.set(came);
        came
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

/// Waits until one of the descriptors has something to say or the moment has come; for ever
/// without one.
///
/// # Errors
/// The system's; an interruption by a signal is none.
pub fn wait(descriptors: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<()> {
    let timeout = until.map_or(PollTimeout::NONE, |until| {
        // Rounded up: waking a moment too early would only mean to poll again.
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    match poll(descriptors, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
