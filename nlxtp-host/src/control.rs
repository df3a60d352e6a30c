//! What a caller holds of a long operation: a deadline, a way to cancel it, and news of how far it
//! is.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// Cancels an operation from another thread or a signal handler's thread. Clones cancel the same.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that was not cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the operations that hold this token end soon, with [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far an operation is.
///
/// Later versions may add phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The archive is being validated; bytes of the archive as it lies on the disk.
    Examining {
        /// Bytes read so far.
        done: u64,
        /// All of them.
        total: u64,
    },
    /// The archive is being unpacked, and validated unless it was before; bytes of the archive as it
    /// lies on the disk.
    Extracting {
        /// Bytes read so far.
        done: u64,
        /// All of them.
        total: u64,
    },
    /// An archive is being made of the shared directory; bytes of content.
    Packing {
        /// Bytes read so far.
        done: u64,
        /// All of them, where that is known.
        total: Option<u64>,
    },
    /// Files are being downloaded; bytes of all of them together.
    Downloading {
        /// Bytes that are here.
        done: u64,
        /// All of them.
        total: u64,
    },
    /// What was written is being flushed to the disk.
    Flushing,
}

impl Progress {
    /// Whether this must not be lost in the limit on the rate.
    fn is_landmark(self) -> bool {
        match self {
            Self::Examining { done, total } | Self::Extracting { done, total } | Self::Downloading { done, total } => {
                done >= total
            }
            Self::Packing { done, total } => Some(done) == total,
            Self::Flushing => true,
        }
    }
}

/// Shortest time between two reports of the same phase.
const BETWEEN_REPORTS: Duration = Duration::from_millis(50);

/// Deadline, cancellation and progress of one operation.
///
/// Long operations take a `&Control` and call [`check`](Self::check) or [`report`](Self::report) at
/// least once per megabyte and per entry. It belongs to one thread; what other threads need is the
/// [`CancelToken`].
#[derive(Default)]
pub struct Control<'a> {
    deadline: Option<Instant>,
    cancel: Vec<CancelToken>,
    watch: Option<Box<dyn Fn() -> Result<()> + 'a>>,
    progress: Option<RefCell<Callback<'a>>>,
    last: Cell<Option<LastReport>>,
}

type Callback<'a> = Box<dyn FnMut(Progress) + 'a>;

/// What the last report was about.
#[derive(Debug, Clone, Copy)]
struct LastReport {
    phase: std::mem::Discriminant<Progress>,
    at: Instant,
    landmark: bool,
}

impl<'a> Control<'a> {
    /// No deadline, no cancellation, no reports.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same with a deadline; `None` leaves it without one.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same, to be cancelled by this token, too.
    #[must_use]
    pub fn with_cancel(mut self, token: CancelToken) -> Self {
        self.cancel.push(token);
        self
    }

    /// The same with somebody who is asked at each check whether it may go on; an error ends it. For
    /// what no token can tell: the signals of an interpreter, say. It must be quick.
    #[must_use]
    pub fn with_watch(mut self, watch: impl Fn() -> Result<()> + 'a) -> Self {
        self.watch = Some(Box::new(watch));
        self
    }

    /// The same with somebody to be told how far it is: at most some 20 times a second, but always
    /// when a phase begins and when it is complete.
    #[must_use]
    pub fn with_progress(mut self, progress: impl FnMut(Progress) + 'a) -> Self {
        self.progress = Some(RefCell::new(Box::new(progress)));
        self
    }

    /// When the operation must be over.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the operation may go on.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] or [`ErrorKind::TimedOut`]; the watch's.
    pub fn check(&self) -> Result<()> {
        if self.cancel.iter().any(CancelToken::is_cancelled) {
            return Err(Error::new(ErrorKind::Cancelled, "the operation was cancelled"));
        }
        if let Some(watch) = &self.watch {
            watch()?;
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Error::new(ErrorKind::TimedOut, "the operation took longer than it was given"));
        }
        Ok(())
    }

    /// Waits this long, but not past the deadline, and not after a cancellation.
    ///
    /// # Errors
    /// As for [`check`](Self::check).
    pub fn sleep(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let end = self.deadline.map_or(end, |deadline| end.min(deadline));
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.check();
            }
            // In slices, so that a cancellation is noticed.
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Says how far the operation is, and whether it may go on.
    ///
    /// # Errors
    /// As for [`check`](Self::check).
    pub fn report(&self, progress: Progress) -> Result<()> {
        if let Some(callback) = &self.progress {
            let now = Instant::now();
            let phase = std::mem::discriminant(&progress);
            let landmark = progress.is_landmark();
            let due = match self.last.get() {
                Some(last) if last.phase == phase => {
                    (landmark && !last.landmark) || now.duration_since(last.at) >= BETWEEN_REPORTS
                }
                _ => true,
            };
            // A callback that itself reports would find the cell borrowed; its report is dropped.
            if due && let Ok(mut callback) = callback.try_borrow_mut() {
                self.last.set(Some(LastReport { phase, at: now, landmark }));
                callback(progress);
            }
        }
        self.check()
    }
}

impl fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("deadline", &self.deadline)
            .field("cancel", &self.cancel)
            .field("watch", &self.watch.is_some())
            .field("progress", &self.progress.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_never_ends_it() {
        assert!(Control::none().check().is_ok());
        assert!(Control::none().report(Progress::Flushing).is_ok());
    }

    #[test]
    fn a_deadline_and_a_token_end_it() {
        let past = Control::none().with_deadline(Some(Instant::now()));
        assert_eq!(past.check().unwrap_err().kind(), ErrorKind::TimedOut);
        let token = CancelToken::new();
        let control = past.with_cancel(token.clone());
        token.cancel();
        assert_eq!(control.report(Progress::Flushing).unwrap_err().kind(), ErrorKind::Cancelled);
    }

    #[test]
    fn a_watch_ends_it_while_somebody_sleeps() {
        let looks = Cell::new(0);
        let control = Control::none().with_watch(|| {
            looks.set(looks.get() + 1);
            if looks.get() < 3 { Ok(()) } else { Err(Error::new(ErrorKind::Cancelled, "a signal came")) }
        });
        assert!(control.check().is_ok());
        assert_eq!(control.sleep(Duration::from_secs(3600)).unwrap_err().message(), "a signal came");
        assert_eq!(looks.get(), 3);
    }

    #[test]
    fn reports_are_few_but_hold_the_ends() {
        let mut seen = Vec::new();
        let control = Control::none().with_progress(|progress| seen.push(progress));
        for done in 0..=100_000 {
            control.report(Progress::Extracting { done, total: 100_000 }).unwrap();
        }
        control.report(Progress::Flushing).unwrap();
        drop(control);
        assert_eq!(seen.first(), Some(&Progress::Extracting { done: 0, total: 100_000 }));
        assert_eq!(seen[seen.len() - 2], Progress::Extracting { done: 100_000, total: 100_000 });
        assert_eq!(seen.last(), Some(&Progress::Flushing));
        assert!(seen.len() < 1000, "{}", seen.len());
    }
}
