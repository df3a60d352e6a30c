//! From what is read to what is told, without comparing clocks.
//!
//! The guest's Running Info is only watched for change, by the host's own monotonic clock. What
//! must be remembered between two queries is a [`Memory`]: a small value that a hostmanager can
//! keep in its own database.

use core::time::Duration;

use crate::ids::{BootId, RunId};
use crate::powers::PowerState;
use crate::status::{RunState, Status};
use crate::status_reader::{Found, Reading};

/// The state of a run as the host tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum State {
    /// No monitor has taken the run up.
    NotStarted,
    /// The start script runs, as far as can be told.
    Running,
    /// The start script has ended and its results are on the disk.
    Finished,
    /// The monitor no longer reports: it was stopped or killed, or the guest was turned off.
    MonitorStopped,
    /// The guest was booted anew before the start script had ended.
    GuestRebooted,
    /// There is a status, but it cannot be read.
    Unreadable,
}

impl State {
    /// The word that users see.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotStarted => "not-started",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::MonitorStopped => "monitor-stopped",
            Self::GuestRebooted => "guest-rebooted",
            Self::Unreadable => "unreadable",
        }
    }
}

/// How long a silent monitor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessRules {
    /// Promised intervals that may pass without a new record.
    pub missed_intervals: u32,
    /// What is granted beyond them, for a busy host or disk.
    pub grace: Duration,
    /// For ToMaTo's guest modules, which promise nothing: how long `running` may stay as it is.
    pub tomato_patience: Duration,
}

impl Default for LivenessRules {
    /// Three intervals and 5 s; 600 s for ToMaTo's modules, as its own host has it.
    fn default() -> Self {
        Self { missed_intervals: 3, grace: Duration::from_secs(5), tomato_patience: Duration::from_secs(600) }
    }
}

/// A moment by the host's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// See [`crate::powers::Clock::epoch`].
    pub epoch: u64,
    /// See [`crate::powers::Clock::now`].
    pub time: Duration,
}

/// What the host remembers of a run between two queries.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Memory {
    /// The run that the last upload began, as far as it is known.
    run: Option<RunId>,
    /// The boot in which the run was first seen.
    first_boot: Option<BootId>,
    /// What the guest wrote last.
    beat: Beat,
    /// When that was first seen, in milliseconds of this epoch.
    since_ms: u64,
    epoch: u64,
    /// The guest was seen turned off since that was written.
    seen_off: bool,
}

/// What changes when the guest reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Beat {
    sequence: u64,
    running_info: Option<u64>,
}

/// Why a run that did not end by itself is told to be in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Evidence {
    /// The monitor wrote that it was told to stop, or its daemon that it was found dead.
    #[error("the guest reports that its monitor was told to stop, or was found dead")]
    Interrupted,
    /// The guest's daemon wrote that the guest was booted anew.
    #[error("the guest reports that it was booted anew before the start script had ended")]
    Rebooted,
    /// The monitor ended the script because it ran too long.
    #[error(
        "the monitor has ended the start script, because it ran longer than it was allowed to, by \
             nlxtp.toml or the guest's configuration"
    )]
    TimedOut,
    /// Nothing new came for too long.
    #[error("the guest has reported nothing new for {0:?}, which is longer than it promised")]
    Silence(Duration),
    /// The guest is off and the run had not ended.
    #[error("the guest is off and the run had not ended")]
    GuestOff,
    /// The guest was off and is on again.
    #[error("the guest was off and is on again, and the run had not ended")]
    GuestWasOff,
    /// The guest reports from another boot.
    #[error("the guest reports from another boot than the one that began the run")]
    OtherBoot,
}

/// Judges what was found, and updates what is remembered.
///
/// `memory` is `None` before the first query of a node; for a new run it starts anew by itself.
/// A reading that cannot be used changes nothing in it.
pub fn judge(
    found: &Found,
    power: PowerState,
    now: Moment,
    rules: &LivenessRules,
    memory: &mut Option<Memory>,
) -> (State, Option<Evidence>) {
    let (beat, boot, patience) = match &found.reading {
        Reading::Unusable(_) => return (State::Unreadable, None),
        Reading::NotStarted => {
            *memory = None;
            return (State::NotStarted, None);
        }
        Reading::Record(status) => {
            if let Some(verdict) = in_the_guests_words(status) {
                return verdict;
            }
            let beat = Beat { sequence: status.sequence, running_info: Some(status.running_info) };
            (beat, status.boot, patience(status, rules))
        }
        Reading::Tomato(status) if status.done => return (State::Finished, None),
        Reading::Tomato(status) => {
            (Beat { sequence: 0, running_info: status.running_info }, None, rules.tomato_patience)
        }
        Reading::Claimed => (Beat::default(), None, rules.tomato_patience),
    };
    let now_ms = u64::try_from(now.time.as_millis()).unwrap_or(u64::MAX);
    let fresh = Memory { run: found.run, first_boot: boot, beat, since_ms: now_ms, epoch: now.epoch, seen_off: false };
    let remembered = memory.get_or_insert_with(|| fresh.clone());
    // Sequence numbers only rise within a run; that tells runs without an id apart.
    if remembered.run != found.run || beat.sequence < remembered.beat.sequence {
        *remembered = fresh.clone();
    }
    remembered.first_boot = remembered.first_boot.or(boot);
    let other_clock = remembered.epoch != now.epoch || remembered.since_ms > now_ms;
    if remembered.beat != beat || other_clock {
        let seen_off = remembered.seen_off && remembered.beat == beat;
        *remembered = Memory { first_boot: remembered.first_boot, seen_off, ..fresh };
    }
    remembered.seen_off |= power == PowerState::Off;

    if boot.is_some() && remembered.first_boot != boot {
        return (State::GuestRebooted, Some(Evidence::OtherBoot));
    }
    match power {
        PowerState::Off => return (State::MonitorStopped, Some(Evidence::GuestOff)),
        PowerState::On if remembered.seen_off => return (State::GuestRebooted, Some(Evidence::GuestWasOff)),
        PowerState::On | PowerState::Unknown => {}
    }
    let silence = Duration::from_millis(now_ms - remembered.since_ms);
    if silence > patience {
        return (State::MonitorStopped, Some(Evidence::Silence(silence)));
    }
    (State::Running, None)
}

/// How long after `now` silence alone makes [`judge`] tell that the monitor has stopped, if `found` is
/// still all that there is; zero where it does already. `None` where it never will.
pub fn patience_left(found: &Found, now: Moment, rules: &LivenessRules, memory: Option<&Memory>) -> Option<Duration> {
    let patience = match &found.reading {
        Reading::NotStarted | Reading::Unusable(_) => return None,
        Reading::Record(status) if in_the_guests_words(status).is_some() => return None,
        Reading::Record(status) => patience(status, rules),
        Reading::Tomato(status) if status.done => return None,
        Reading::Tomato(_) | Reading::Claimed => rules.tomato_patience,
    };
    // Whole milliseconds are remembered.
    let over =
        Duration::from_millis(memory?.since_ms).saturating_add(patience).saturating_add(Duration::from_millis(1));
    Some(over.saturating_sub(now.time))
}

/// How long a monitor may be silent after this record.
fn patience(status: &Status, rules: &LivenessRules) -> Duration {
    status.interval.saturating_mul(rules.missed_intervals).saturating_add(rules.grace)
}

/// The verdict where the guest has said all that there is to say.
fn in_the_guests_words(status: &Status) -> Option<(State, Option<Evidence>)> {
    match status.state {
        RunState::Finished if status.done => Some((State::Finished, None)),
        RunState::TimedOut if status.done => Some((State::Finished, Some(Evidence::TimedOut))),
        RunState::Interrupted => Some((State::MonitorStopped, Some(Evidence::Interrupted))),
        RunState::Rebooted => Some((State::GuestRebooted, Some(Evidence::Rebooted))),
        // Ended, but the results are not on the disk yet.
        RunState::Finished | RunState::TimedOut | RunState::Running => None,
    }
}

#[cfg(test)]
mod tests;
