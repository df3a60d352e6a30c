//! What is told of what a query has found.

#![forbid(unsafe_code)]

use rextfv_core::ids::RunId;
use rextfv_core::layout;
use rextfv_core::liveness::{self, Moment, State};
use rextfv_core::operations::{Dialect, StatusReport};
use rextfv_core::powers::{Clock, PowerState};
use rextfv_core::status::{Ending, RunState, Truncated};
use rextfv_core::status_reader::{Found, Reading, SlotProblem};

use super::Node;

/// What a guest does between the start script's end and the Done Flag, which takes long where there are many
/// results.
const ENDING: &str = "the start script has ended; its results are digested and flushed";

impl Node {
    /// The report on what was found, which the journal is told, too.
    pub(super) fn tell(&mut self, found: Found, power: PowerState, attempts: u32) -> StatusReport {
        let idle = found.reading == Reading::NotStarted;
        let mut report = self.report(found, power, attempts);
        if idle {
            report.reason = self.why_nothing_will_start(report.run_id).map(Into::into);
        }
        if let Some(journal) = &mut self.journal {
            journal.seen(&report, power);
        }
        report
    }

    /// What keeps a run from ever starting, so that nobody waits for it in vain.
    fn why_nothing_will_start(&self, run: Option<RunId>) -> Option<&'static str> {
        let names = self.directory.view().ok()?.top_names().ok()?;
        let script = layout::choose_start_script(names.iter().map(Vec::as_slice));
        match (script, run) {
            (Some(_), _) => None,
            (None, Some(_)) => Some("the last upload brought no start script"),
            (None, None) => Some("nothing was uploaded here"),
        }
    }

    fn report(&mut self, found: Found, power: PowerState, attempts: u32) -> StatusReport {
        let now = Moment { epoch: self.clock.epoch(), time: self.clock.now() };
        let (state, evidence) = liveness::judge(&found, power, now, &self.liveness, &mut self.memory);
        self.silence_at = liveness::patience_left(&found, now, &self.liveness, self.memory.as_ref())
            .filter(|_| state == State::Running)
            .map(|left| now.time.saturating_add(left));
        let mut report = StatusReport { attempts, ..blank_report(state, found.run) };
        report.reason = evidence.map(|evidence| evidence.to_string());
        match found.reading {
            Reading::NotStarted | Reading::Claimed => {}
            Reading::Unusable([first, second]) => report.reason = Some(slots_reason(first, second)),
            Reading::Record(status) => {
                report.dialect = Some(Dialect::Nlxtp);
                report.run_id = report.run_id.or(status.run);
                report.sequence = Some(status.sequence);
                report.stdout_bytes = Some(status.stdout_bytes);
                report.stderr_bytes = Some(status.stderr_bytes);
                report.truncated = status.truncated;
                report.custom = status.custom;
                report.progress = status.progress;
                report.timed_out = status.state == RunState::TimedOut;
                if state == State::Running && status.ended.is_some() {
                    report.reason = Some(ENDING.into());
                }
                match status.ended {
                    Some(Ending::Exit(code)) => report.exit_code = Some(code),
                    Some(Ending::Signal(signal)) => report.signal = Some(signal),
                    None => {}
                }
            }
            Reading::Tomato(status) => {
                report.dialect = Some(Dialect::Tomato);
                report.custom = status.custom;
            }
        }
        report
    }
}

/// A report of which no more is known.
pub(super) fn blank_report(state: State, run_id: Option<RunId>) -> StatusReport {
    StatusReport {
        state,
        reason: None,
        dialect: None,
        custom: None,
        progress: None,
        exit_code: None,
        signal: None,
        timed_out: false,
        sequence: None,
        run_id,
        stdout_bytes: None,
        stderr_bytes: None,
        truncated: Truncated::default(),
        attempts: 1,
    }
}

fn slots_reason(first: SlotProblem, second: SlotProblem) -> String {
    if first == SlotProblem::NoDirectory {
        return first.to_string();
    }
    let [a, b] = layout::STATUS_SLOTS;
    format!("{a}: {first}; {b}: {second}")
}
