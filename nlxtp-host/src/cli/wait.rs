//! `nlxtp wait`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::node::{Node, Output};
use nlxtp_host::status_json::StatusJson;
use rextfv_core::entry_path::displayable;
use rextfv_core::limits::Limits;
use rextfv_core::liveness::State;
use rextfv_core::operations::StatusReport;

use super::failure::{Failure, exit};
use super::journal_options::tell_failure;
use super::options::{Query, open_node};
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
            // Looks for itself: the other one is busy waiting.
            let onlooker =
                if io::stderr().is_terminal() { Some(open_node(&self.query.target, Limits::DEFAULT)?) } else { None };
            node.wait(&session.control(self.timeout), |report| {
                let tail = onlooker.as_ref().map(|onlooker| output_tail(onlooker, report)).unwrap_or_default();
                meter.say(format!("{}{tail}", show_line(report)));
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
            Error::new(ErrorKind::TimedOut, message)
        }
        _ => error,
    }
}
