//! Waiting for the end of a run, one look at a time.

#![forbid(unsafe_code)]

use std::time::Duration;

use rextfv_core::liveness::State;
use rextfv_core::operations::StatusReport;

use crate::error::{Error, ErrorKind, Result};
use crate::node::Node;

/// Pause after something has changed.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What [`Node::wait`] does between its pauses: for callers that pause in their own way (an event
/// loop) and leave the node to others meanwhile.
#[derive(Debug)]
pub struct Wait {
    last: Option<StatusReport>,
    pause: Duration,
}

/// What one look of a [`Wait`] has shown.
#[derive(Debug)]
pub struct Look {
    /// The status.
    pub report: StatusReport,
    /// Whether it differs from that of the look before; heartbeats alone do not count.
    pub changed: bool,
    /// Whether the run has ended one way or another: no further look is needed.
    pub over: bool,
    /// How long to pause before the next look.
    pub pause: Duration,
}

impl Wait {
    /// A wait for the run that the first look will find.
    pub fn new() -> Self {
        Self { last: None, pause: SHORTEST_PAUSE }
    }

    /// Queries the status.
    ///
    /// # Errors
    /// As for [`Node::status`]; [`ErrorKind::Changing`] where another upload has begun a new run.
    pub fn look(&mut self, node: &mut Node) -> Result<Look> {
        let report = node.status()?;
        let run_before = self.last.as_ref().and_then(|last| last.run_id);
        if run_before.is_some() && report.run_id.is_some() && run_before != report.run_id {
            return Err(Error::new(ErrorKind::Changing, "another upload has begun a new run")
                .with_hint("wait again, for that one"));
        }
        let changed = self.last.as_ref().is_none_or(|last| differs(last, &report));
        if changed {
            self.pause = SHORTEST_PAUSE;
        }
        let over = matches!(report.state, State::Finished | State::MonitorStopped | State::GuestRebooted);
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        self.last = Some(report.clone());
        Ok(Look { report, changed, over, pause })
    }
}

impl Default for Wait {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether somebody who watches would want to hear of it; heartbeats alone are not news.
fn differs(last: &StatusReport, now: &StatusReport) -> bool {
    let news = |report: &StatusReport| StatusReport { sequence: None, attempts: 0, ..report.clone() };
    news(last) != news(now)
}
