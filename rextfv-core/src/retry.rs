//! Retry on inconsistency (paper, section 3.1.2), with time injected.

use core::iter::successors;
use core::time::Duration;

use crate::powers::Clock;

/// How often and how fast an operation is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Most attempts in all, the first included; 0 counts as 1.
    pub attempts: u32,
    /// Pause before the second attempt.
    pub interval: Duration,
    /// Each later pause is this many times the one before.
    pub backoff: u32,
    /// No pause is longer than this.
    pub longest_interval: Duration,
    /// No attempt begins later than this after the first one began.
    pub deadline: Duration,
}

impl RetryPolicy {
    /// For a status query: five attempts within a second, 10 ms apart at first: long enough for a
    /// guest to finish writing a record.
    pub const STATUS: Self = Self {
        attempts: 5,
        interval: Duration::from_millis(10),
        backoff: 3,
        longest_interval: Duration::from_millis(300),
        deadline: Duration::from_secs(1),
    };

    /// One attempt.
    pub const NEVER: Self = Self {
        attempts: 1,
        interval: Duration::ZERO,
        backoff: 1,
        longest_interval: Duration::ZERO,
        deadline: Duration::ZERO,
    };

    /// The pauses before the second, third, … attempt.
    pub fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        let Self { interval, backoff, longest_interval, .. } = *self;
        let longer = move |pause: &Duration| Some(pause.saturating_mul(backoff).min(longest_interval));
        successors(Some(interval.min(longest_interval)), longer).take(self.attempts.saturating_sub(1) as usize)
    }
}

/// What one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt<T> {
    /// Nothing would be gained by another attempt.
    Settled(T),
    /// Another attempt may give something better; this is the result if there is none.
    Again(T),
}

/// Makes attempts until one is settled or the policy allows no more, and returns the last result
/// with the number of attempts made.
pub fn retry<T>(policy: &RetryPolicy, clock: &dyn Clock, mut attempt: impl FnMut() -> Attempt<T>) -> (T, u32) {
    let start = clock.now();
    let mut pauses = policy.pauses();
    let mut made = 1;
    loop {
        let result = match attempt() {
            Attempt::Settled(result) => return (result, made),
            Attempt::Again(result) => result,
        };
        let in_time = |pause: &Duration| clock.now().saturating_sub(start).saturating_add(*pause) <= policy.deadline;
        let Some(pause) = pauses.next().filter(in_time) else {
            return (result, made);
        };
        clock.sleep(pause);
        made += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// A clock that stands still but for its sleeps.
    #[derive(Default)]
    struct TestClock(Cell<Duration>);

    impl Clock for TestClock {
        fn now(&self) -> Duration {
            self.0.get()
        }
        fn epoch(&self) -> u64 {
            0
        }
        fn sleep(&self, time: Duration) {
            self.0.set(self.0.get() + time);
        }
    }

    #[test]
    fn a_settled_attempt_ends_it() {
        let clock = TestClock::default();
        let mut tries = 0;
        let result = retry(&RetryPolicy::STATUS, &clock, || {
            tries += 1;
            if tries == 3 { Attempt::Settled("good") } else { Attempt::Again("torn") }
        });
        assert_eq!(result, ("good", 3));
        assert_eq!(clock.now(), Duration::from_millis(10 + 30));
    }

    #[test]
    fn attempts_and_longest_interval_bound_it() {
        let clock = TestClock::default();
        assert_eq!(retry(&RetryPolicy::STATUS, &clock, || Attempt::Again(())), ((), 5));
        assert_eq!(clock.now(), Duration::from_millis(10 + 30 + 90 + 270));
        assert_eq!(retry(&RetryPolicy::NEVER, &clock, || Attempt::Again(())), ((), 1));
    }

    #[test]
    fn the_deadline_bounds_it() {
        let clock = TestClock::default();
        let policy = RetryPolicy { attempts: 1000, deadline: Duration::from_millis(100), ..RetryPolicy::STATUS };
        assert_eq!(retry(&policy, &clock, || Attempt::Again(())), ((), 3));
        let slow = |clock: &TestClock| {
            clock.sleep(Duration::from_secs(5));
            Attempt::Again(())
        };
        assert_eq!(retry(&RetryPolicy::STATUS, &clock, || slow(&clock)), ((), 1));
    }
}
