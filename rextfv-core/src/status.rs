//! What a status file says (paper, section 3.2.3).

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use crate::ids::{BootId, RunId};

/// Longest Custom Status, in bytes: 1 MiB.
pub const MAX_CUSTOM_BYTES: usize = 1 << 20;

/// Longest heartbeat interval that a monitor may promise: one day.
pub const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// How far the run has come, in the monitor's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunState {
    /// The start script was started and has not ended.
    Running,
    /// The start script has ended by itself; [`Status::ended`] tells how.
    Finished,
    /// The monitor has ended the start script, because it ran longer than it was allowed to;
    /// [`Status::ended`] tells how it went.
    TimedOut,
    /// The monitor was told to stop, or was found dead, before the start script had ended.
    Interrupted,
    /// The guest was booted anew before the start script had ended.
    Rebooted,
}

impl RunState {
    /// The word in the status file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::TimedOut => "timed-out",
            Self::Interrupted => "interrupted",
            Self::Rebooted => "rebooted",
        }
    }

    /// Whether the start script has ended and its monitor has seen how.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Finished | Self::TimedOut)
    }

    /// The state that a word in the status file stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Running, Self::Finished, Self::TimedOut, Self::Interrupted, Self::Rebooted]
            .into_iter()
            .find(|state| state.word() == word)
    }
}

/// How the start script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It exited with this code; 0 means success.
    Exit(u8),
    /// It was ended by this signal, 1 to 64.
    Signal(u8),
}

/// What was longer than the monitor keeps, and was therefore cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Truncated {
    /// The standard output.
    pub stdout: bool,
    /// The error output.
    pub stderr: bool,
    /// The Custom Status.
    pub custom: bool,
}

impl Truncated {
    /// The words for the three, in the order in which a record lists them.
    pub const WORDS: [&'static str; 3] = ["stdout", "stderr", "custom"];

    /// The words for what was cut.
    pub fn words(self) -> Vec<&'static str> {
        let cut = [self.stdout, self.stderr, self.custom];
        Self::WORDS.into_iter().zip(cut).filter_map(|(word, cut)| cut.then_some(word)).collect()
    }
}

/// How far a start script says that it is: so many of so many steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Progress {
    /// Steps done, at most [`total`](Self::total).
    pub done: u64,
    /// Steps in all, at least 1.
    pub total: u64,
}

impl Progress {
    /// So many of so many steps; `None` if there are no steps, or more done than there are.
    pub const fn new(done: u64, total: u64) -> Option<Self> {
        if total == 0 || done > total { None } else { Some(Self { done, total }) }
    }

    /// Per cent done, rounded down.
    pub fn percent(self) -> u8 {
        let percent = u128::from(self.done) * 100 / u128::from(self.total.max(1));
        u8::try_from(percent).unwrap_or(100)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.done, self.total)
    }
}

/// A text that is no progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("progress is DONE/TOTAL, two whole numbers such as 3/10, TOTAL at least 1 and DONE not more")]
pub struct InvalidProgress;

/// As a record has it: `3/10`, decimal numbers without sign and without leading zeros.
impl FromStr for Progress {
    type Err = InvalidProgress;

    fn from_str(text: &str) -> Result<Self, InvalidProgress> {
        let (done, total) = text.split_once('/').ok_or(InvalidProgress)?;
        let (done, total) = (decimal(done).ok_or(InvalidProgress)?, decimal(total).ok_or(InvalidProgress)?);
        Self::new(done, total).ok_or(InvalidProgress)
    }
}

/// A decimal number without sign and without leading zeros.
pub(crate) fn decimal(value: &str) -> Option<u64> {
    let canonical = value.bytes().all(|b| b.is_ascii_digit()) && (value == "0" || !value.starts_with('0'));
    if canonical { value.parse().ok() } else { None }
}

/// One decoded status record, as the guest wrote it.
///
/// It passed the checksum and every rule of the format, but a guest can still lie in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The run that this is about; `None` where the upload gave it no id.
    pub run: Option<RunId>,
    /// Rises with each record of a run, across both slots; the first is 1.
    pub sequence: u64,
    /// How far the run has come.
    pub state: RunState,
    /// The Done Flag: the script has ended *and* everything that it wrote is on the disk.
    pub done: bool,
    /// The Running Info: a number that changes with each heartbeat. Guests use their clock, in
    /// milliseconds; to the host it is nothing but a number.
    pub running_info: u64,
    /// The monitor promises a new record at least this often while the script runs.
    /// Whole milliseconds, from 1 ms to [`MAX_INTERVAL`].
    pub interval: Duration,
    /// The boot of the guest in which the record was written, where the guest can tell.
    pub boot: Option<BootId>,
    /// How the start script ended; set if and only if [`RunState::has_ended`].
    pub ended: Option<Ending>,
    /// Bytes of standard output that are on the disk.
    pub stdout_bytes: u64,
    /// Bytes of error output that are on the disk.
    pub stderr_bytes: u64,
    /// What was cut.
    pub truncated: Truncated,
    /// The Custom Status, at most [`MAX_CUSTOM_BYTES`]; `None` where none was set.
    pub custom: Option<Vec<u8>>,
    /// How far the start script says that it is; `None` where it says nothing.
    pub progress: Option<Progress>,
}

/// A [`Status`] whose parts contradict each other or leave their ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatusRule {
    /// Sequence numbers begin at 1.
    #[error("the sequence number is 0")]
    SequenceZero,
    /// The promised interval is zero, too long or not in whole milliseconds.
    #[error("the interval is not between 1 ms and one day in whole milliseconds")]
    Interval,
    /// The Done Flag is set while the state says that the script still runs.
    #[error("the Done Flag is set while the state is running")]
    DoneWhileRunning,
    /// An exit code or signal in a state without end, or none in one with.
    #[error("state and exit code or signal contradict each other")]
    EndingWithoutFinish,
    /// Signals go from 1 to 64.
    #[error("the signal is not between 1 and 64")]
    Signal,
    /// The Custom Status is longer than [`MAX_CUSTOM_BYTES`].
    #[error("the custom status is longer than 1 MiB")]
    CustomTooLong,
    /// More steps are done than there are, or there are none.
    #[error("the progress has more steps done than there are, or none at all")]
    Progress,
}

impl Status {
    /// Checks the rules that hold between the parts of a status.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), StatusRule> {
        if self.sequence == 0 {
            return Err(StatusRule::SequenceZero);
        }
        let whole_milliseconds = self.interval.subsec_nanos().is_multiple_of(1_000_000);
        if self.interval.is_zero() || self.interval > MAX_INTERVAL || !whole_milliseconds {
            return Err(StatusRule::Interval);
        }
        if self.done && self.state == RunState::Running {
            return Err(StatusRule::DoneWhileRunning);
        }
        if self.ended.is_some() != self.state.has_ended() {
            return Err(StatusRule::EndingWithoutFinish);
        }
        if let Some(Ending::Signal(0 | 65..)) = self.ended {
            return Err(StatusRule::Signal);
        }
        if self.custom.as_ref().is_some_and(|custom| custom.len() > MAX_CUSTOM_BYTES) {
            return Err(StatusRule::CustomTooLong);
        }
        if self.progress.is_some_and(|progress| Progress::new(progress.done, progress.total).is_none()) {
            return Err(StatusRule::Progress);
        }
        Ok(())
    }
}
