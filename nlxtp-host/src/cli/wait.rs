//! `nlxtp wait`.

use std::time::Duration;

use clap::Args;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::status_json::StatusJson;
use rextfv_core::liveness::State;

use super::failure::{Failure, exit};
use super::journal_options::tell_failure;
use super::options::Query;
use super::output::{print, print_json};
use super::progress::Meter;
use super::session::Session;
use super::status_report::{exit_code, show_line, show_lines};
use super::units::parse_duration;

const EXAMPLE: &str = "\
The exit code tells how it ended: 0 the start script ended with exit code 0, 10 it failed, 11 the \
monitor stopped, 13 the guest was booted anew, 6 the time was over (14 if the status could not be \
read then). A status that cannot be read is asked for again, for as long as there is time.

Example:
  nlxtp wait disk.img --timeout 10m && nlxtp download disk.img results.tar.gz";

/// Wait until the run has ended
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Wait {
    #[command(flatten)]
    query: Query,
    /// Wait no longer than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

impl Wait {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let (mut node, memory) = self.query.open(session)?;
        let mut last = None;
        let waited = {
            let meter = Meter::new();
            node.wait(&session.control(self.timeout), |report| {
                meter.say(show_line(report));
                meter.aside(|| session.remark(&show_line(report)));
                last = Some(report.clone());
            })
        };
        memory.save(node.memory(), session);
        let code = tell_failure(&mut node, session, exit::SUCCESS);
        let report = waited.map_err(|error| {
            let state = last.as_ref().map(|report| report.state);
            let never_readable = error.kind() == ErrorKind::TimedOut && state == Some(State::Unreadable);
            let failure = Failure::target(in_words(error, state), &self.query.target);
            let failure = failure.with_status(last.as_ref().map(StatusJson::from));
            if never_readable { failure.with_code(exit::UNREADABLE) } else { failure }
        })?;
        if session.json {
            print_json(&StatusJson::from(&report))?;
        } else {
            print(&show_lines(&report))?;
        }
        let ended = exit_code(&report);
        Ok(if ended == exit::SUCCESS { code } else { ended })
    }
}

/// Says what was waited for when the time was over.
fn in_words(error: Error, state: Option<State>) -> Error {
    match (error.kind(), state) {
        (ErrorKind::TimedOut, Some(state)) => {
            let message = format!("the run had not ended when the time was over (state: {})", state.word());
            Error::new(ErrorKind::TimedOut, message)
        }
        _ => error,
    }
}
