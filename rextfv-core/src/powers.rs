//! What comes in from outside, each behind one small trait.

use core::time::Duration;

/// A clock that never goes back, and a way to wait by it.
///
/// Only differences matter. The guest's clock is never compared with it.
pub trait Clock {
    /// Time since some fixed moment of this [`epoch`](Self::epoch).
    fn now(&self) -> Duration;

    /// A number that differs when the fixed moment does, for example after the host was booted
    /// anew. Times of different epochs are not compared.
    fn epoch(&self) -> u64;

    /// Waits this long.
    fn sleep(&self, time: Duration);
}

/// Whether the guest is on, as far as the testbed knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum PowerState {
    /// The guest runs, or may be about to.
    On,
    /// The guest is shut down and stays so for the length of an operation.
    Off,
    /// Nobody has said.
    #[default]
    Unknown,
}

/// Tells whether the guest is on.
pub trait GuestPower {
    /// Why it could not be found out.
    type Error;

    /// The state at this moment.
    ///
    /// # Errors
    /// The testbed could not tell; an operation that needs to know then fails.
    fn power_state(&self) -> Result<PowerState, Self::Error>;
}

/// Starts the monitor inside a running guest (paper, section 3.2.2, case 2).
pub trait InvokeMonitor {
    /// Why the monitor could not be started.
    type Error;

    /// Starts the monitor; it need not wait for the run to end.
    ///
    /// # Errors
    /// The monitor could not be started. The upload stands nevertheless.
    fn invoke_monitor(&self) -> Result<(), Self::Error>;
}
