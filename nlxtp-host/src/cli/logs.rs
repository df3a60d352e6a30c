//! `nlxtp logs`.

use std::time::Duration;

use clap::Args;
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::node::{Node, Output};
use rextfv_core::entry_path::displayable;
use rextfv_core::ids::RunId;
use rextfv_core::liveness::State;
use rextfv_core::operations::{Dialect, StatusReport};
use rextfv_core::shared_directory::MayRetry;
use serde::Serialize;

use super::failure::{Failure, exit};
use super::journal_options::tell_failure;
use super::options::Query;
use super::output::{ContentOutput, json_line, print_aside};
use super::session::Session;
use super::units::parse_duration;

const EXAMPLE: &str = "\
Shows only what the guest has said to be on the disk, also while a virtual machine runs. The bytes \
are written as they are; on a terminal, control characters are escaped. With --json, what was written \
is told on standard error. ToMaTo's guest modules keep both outputs together, as standard output.

Example:
  nlxtp logs disk.img
  nlxtp logs disk.img --stderr --follow";

/// Write the start script's output to standard output
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Logs {
    #[command(flatten)]
    query: Query,
    /// Go on until the run has ended
    #[arg(long, short)]
    follow: bool,
    /// The error output instead of the standard output
    #[arg(long)]
    stderr: bool,
    /// Write control characters to a terminal as they are
    #[arg(long)]
    raw: bool,
    /// Follow no longer than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

#[derive(Serialize)]
struct Answer {
    stream: &'static str,
    bytes: u64,
    state: State,
}

/// Longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

const PIECE: usize = 64 << 10;

/// One of the outputs on its way.
struct Tail {
    which: Output,
    offset: u64,
    run: Option<RunId>,
    output: ContentOutput,
    buffer: Vec<u8>,
}

impl Logs {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let (mut node, memory) = self.query.open(session)?;
        let control = session.control(self.timeout);
        let which = if self.stderr { Output::Stderr } else { Output::Stdout };
        let output = ContentOutput::new(self.raw);
        let mut tail = Tail { which, offset: 0, run: None, output, buffer: vec![0; PIECE] };
        let followed = self.follow(&mut node, session, &control, &mut tail);
        memory.save(node.memory(), session);
        let code = tell_failure(&mut node, session, exit::SUCCESS);
        let report = followed?;
        let Tail { offset, output, .. } = tail;
        output.finish()?;
        if self.stderr && report.dialect == Some(Dialect::Tomato) {
            session.note("ToMaTo's guest modules keep both outputs together: leave --stderr out");
        }
        if session.json {
            let stream = if self.stderr { "stderr" } else { "stdout" };
            print_aside(&json_line(&Answer { stream, bytes: offset, state: report.state }));
        }
        Ok(code)
    }

    /// Writes until there is no more to come.
    fn follow(
        &self,
        node: &mut Node,
        session: &Session,
        control: &Control<'_>,
        tail: &mut Tail,
    ) -> Result<StatusReport, Failure> {
        let failed = |error| Failure::target(error, &self.query.target);
        let mut pause = Duration::from_millis(10);
        loop {
            control.check().map_err(failed)?;
            let report = node.status().map_err(failed)?;
            if tail.is_about_another_run(&report) {
                return Err(failed(
                    Error::new(ErrorKind::Changing, "a new upload has replaced the run whose output was shown")
                        .with_hint("call it again for the new run's output"),
                ));
            }
            let before = tail.offset;
            match tail.write(node, &report, control, &self.query.target) {
                // A guest that is just writing; the next look finds it in order.
                Err(Interruption::Retry(error)) if self.follow => session.remark(&format!("trying again: {error}")),
                Err(Interruption::Retry(_)) => {
                    let again = session.with_retries(control, || {
                        match tail.write(node, &report, control, &self.query.target) {
                            Err(Interruption::Retry(error)) => Err(error),
                            Err(Interruption::Failed(failure)) => Ok(Err(failure)),
                            Ok(()) => Ok(Ok(())),
                        }
                    });
                    again.map_err(failed)?.0?;
                }
                Err(Interruption::Failed(failure)) => return Err(failure),
                Ok(()) if has_ended(report.state) => {
                    self.say_how_it_ended(&report, session);
                    return Ok(report);
                }
                Ok(()) => {}
            }
            if !self.follow {
                return match report.state {
                    State::Unreadable => Err(unreadable(&report, failed)),
                    _ => Ok(report),
                };
            }
            if tail.offset != before {
                pause = Duration::from_millis(10);
            }
            control.sleep(pause).map_err(failed)?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn say_how_it_ended(&self, report: &StatusReport, session: &Session) {
        if self.follow && report.state != State::Finished {
            let reason = report.reason.as_deref().unwrap_or_default();
            session.note(&format!("{}: {}", report.state.word(), displayable(reason.as_bytes())));
        }
    }
}

fn has_ended(state: State) -> bool {
    matches!(state, State::Finished | State::MonitorStopped | State::GuestRebooted)
}

fn unreadable(report: &StatusReport, failed: impl FnOnce(Error) -> Failure) -> Failure {
    let reason = report.reason.as_deref().unwrap_or_default();
    let message = format!("the status cannot be read: {}", displayable(reason.as_bytes()));
    failed(Error::new(ErrorKind::Changing, message).with_hint("try again; --follow goes on until it can be read"))
        .with_code(exit::UNREADABLE)
}

/// Why writing was interrupted.
enum Interruption {
    /// The target was changing.
    Retry(Error),
    /// For good.
    Failed(Failure),
}

impl Tail {
    fn is_about_another_run(&mut self, report: &StatusReport) -> bool {
        let Some(now) = report.run_id else { return false };
        let other = self.offset > 0 && self.run.is_some_and(|run| run != now);
        self.run = Some(now);
        other
    }

    /// Writes what is on the disk and was not written yet.
    fn write(
        &mut self,
        node: &Node,
        report: &StatusReport,
        control: &Control<'_>,
        target: &std::path::Path,
    ) -> Result<(), Interruption> {
        let failed = |error: Error| match error.may_retry() {
            true => Interruption::Retry(error),
            false => Interruption::Failed(Failure::target(error, target)),
        };
        loop {
            control.check().map_err(failed)?;
            let read = node.read_output(self.which, self.offset, report, &mut self.buffer);
            let length = read.map_err(failed)?;
            if length == 0 {
                return self.output.flush().map_err(Interruption::Failed);
            }
            self.output.write(&self.buffer[..length]).map_err(Interruption::Failed)?;
            self.offset += length as u64;
        }
    }
}
