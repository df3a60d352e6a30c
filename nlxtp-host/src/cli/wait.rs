//! `nlxtp wait`.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use clap::Args;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::node::{Node, Output};
use nlxtp_host::status_json::StatusJson;
use nlxtp_host::wait;
use rextfv_core::entry_path::displayable;
use rextfv_core::liveness::State;
use rextfv_core::operations::StatusReport;

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
        let waited = self.until_the_end(&mut node, &mut last, session);
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

    /// Waits, and shows meanwhile how far it is; the status that was seen last is kept even where this fails.
    fn until_the_end(
        &self,
        node: &mut Node,
        last: &mut Option<StatusReport>,
        session: &Session,
    ) -> Result<StatusReport, Error> {
        let meter = Meter::new();
        let shows_output = io::stderr().is_terminal();
        let begun = Instant::now();
        let mut hint = node.directory().host_directory().filter(|_| !session.json).map(|_| NOBODY_BEGINS);
        let control = session.control(self.timeout);
        let mut wait = wait::Wait::new();
        loop {
            let wait::Look { report, changed, over, pause } = wait.look(node)?;
            if changed {
                let line = show_line(&report);
                let tail = if shows_output { output_tail(node, &report) } else { String::new() };
                meter.aside(|| session.remark(&line));
                meter.say(format!("{line}{tail}"));
                *last = Some(report.clone());
            }
            if over {
                return Ok(report);
            }
            if begun.elapsed() >= PATIENCE
                && report.state == State::NotStarted
                && report.reason.is_none()
                && let Some(hint) = hint.take()
            {
                meter.aside(|| session.note(hint));
            }
            // Not before: a run that has ended is told even where no time is given.
            control.check()?;
            control.sleep(pause)?;
        }
    }
}

/// How soon a container's daemon can be expected to have noticed an upload, and what is said if it has not.
const PATIENCE: Duration = Duration::from_secs(5);
const NOBODY_BEGINS: &str = "nothing has begun yet; it waits on, but see that the container is on and that the daemon of \
                             nlxtp-guest runs there";

/// Lines of the output that are shown, and characters of each.
const TAIL_LINES: usize = 5;
const TAIL_WIDTH: usize = 120;
/// Bytes that are read for them.
const TAIL_BYTES: u64 = 4 << 10;

/// The last lines of what the guest has said to be on the disk of its standard output, each after a
/// newline. Where they cannot be read just now, the next change shows them.
fn output_tail(node: &Node, report: &StatusReport) -> String {
    let mut buffer = [0; TAIL_BYTES as usize];
    let offset = report.stdout_bytes.unwrap_or(0).saturating_sub(TAIL_BYTES);
    let read = node.read_output(Output::Stdout, offset, report, &mut buffer).unwrap_or(0);
    let lines: Vec<&[u8]> = buffer[..read].trim_ascii_end().split(|byte| *byte == b'\n').collect();
    let shown = lines.iter().rev().take(TAIL_LINES).rev().filter(|line| !line.is_empty());
    shown.map(|line| format!("\n  {}", displayable(line).chars().take(TAIL_WIDTH).collect::<String>())).collect()
}

/// Says what was waited for when the time was over.
fn in_words(error: Error, state: Option<State>) -> Error {
    match (error.kind(), state) {
        (ErrorKind::TimedOut, Some(state)) => {
            let message = format!("the run had not ended when the time was over (state: {})", state.word());
            let error = Error::new(ErrorKind::TimedOut, message);
            match state {
                State::NotStarted => {
                    error.with_hint("see that the guest is on, and that nlxtp-guest runs there; then wait for longer")
                }
                _ => error,
            }
        }
        _ => error,
    }
}
