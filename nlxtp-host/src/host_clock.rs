//! The host's own clock.

#![forbid(unsafe_code)]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use rextfv_core::powers::Clock;

/// Time since the host was booted: the same for all processes, so that what one remembers is of use
/// to the next. It stands still while the host sleeps, for its guests do too.
#[derive(Debug, Clone, Copy)]
pub struct HostClock {
    epoch: u64,
}

impl HostClock {
    /// The clock of this boot of the host.
    pub fn new() -> Self {
        // It stays the same for as long as this process lives.
        static EPOCH: LazyLock<u64> = LazyLock::new(|| {
            let boot_id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            let mut hasher = DefaultHasher::new();
            boot_id.hash(&mut hasher);
            hasher.finish()
        });
        Self { epoch: *EPOCH }
    }
}

impl Default for HostClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for HostClock {
    fn now(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
