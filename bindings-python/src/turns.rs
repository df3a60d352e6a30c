//! One node for many threads, and for the processes that are forked meanwhile.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind, Result};

/// A value that threads use in turns.
pub struct Turns<T> {
    value: Mutex<T>,
    /// Marks the thread whose turn it is; 0 where it is nobody's.
    holder: AtomicUsize,
    /// The process in which it was made.
    process: u32,
}

/// A turn, until it is dropped.
pub struct Turn<'a, T> {
    value: MutexGuard<'a, T>,
    holder: &'a AtomicUsize,
}

impl<T> Turns<T> {
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), holder: AtomicUsize::new(0), process: std::process::id() }
    }

    /// Whether a `fork` has copied it. A thread that does not exist here may then have been changing it.
    pub fn is_copied(&self) -> bool {
        self.process != std::process::id()
    }

    /// Takes a turn, without waiting.
    pub fn try_take(&self) -> Option<Turn<'_, T>> {
        let value = match self.value.try_lock() {
            Ok(value) => value,
            // A panic has left it as it was: nothing in it is half changed.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.holder.store(this_thread(), Ordering::Relaxed);
        Some(Turn { value, holder: &self.holder })
    }

    /// Takes a turn as soon as nobody else has it. Must not be called attached to the interpreter: who
    /// has the turn may be waiting for that.
    ///
    /// # Errors
    /// As for [`Control::check`]; [`ErrorKind::InUse`] where this thread has the turn already.
    pub fn take(&self, control: &Control<'_>) -> Result<Turn<'_, T>> {
        let mut pause = Duration::from_micros(50);
        loop {
            if let Some(turn) = self.try_take() {
                return Ok(turn);
            }
            if self.holder.load(Ordering::Relaxed) == this_thread() {
                return Err(Error::new(ErrorKind::InUse, "this very call is being answered")
                    .with_hint("do not use a node in its own callables"));
            }
            control.check()?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.holder.store(0, Ordering::Relaxed);
    }
}

/// A number that no two living threads share.
fn this_thread() -> usize {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}
