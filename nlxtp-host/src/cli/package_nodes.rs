//! Probing nodes: uploading the probing archive to each, and reading what they answer.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use clap::Args;
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::guest::InvokeCommand;
use nlxtp_host::node::Node;
use nlxtp_host::packages::Answer;
use rextfv_core::entry_path::displayable;
use rextfv_core::limits::Limits;
use rextfv_core::liveness::State;
use rextfv_core::operations::{Execution, StatusReport};

use super::failure::{Failure, exit};
use super::options::{PowerOption, open_node};
use super::progress::Meter;
use super::session::Session;
use super::status_report::{exit_code, show_line};
use super::units::show_count;
use super::upload::check_ours;

/// The nodes that are probed.
#[derive(Debug, Args)]
pub struct Nodes {
    /// The shared directory or disk of a node that reaches its package mirror; once for each node. One
    /// of each system is enough
    #[arg(long = "node", value_name = "TARGET", required = true)]
    targets: Vec<PathBuf>,
    /// Shell command that starts the monitor inside a running container; once for each --node, in
    /// the same order
    #[arg(long, value_name = "COMMAND")]
    invoke: Vec<String>,
    #[command(flatten)]
    power: PowerOption,
    /// Probe even a directory or disk that does not look like one of nlXTP's: all that it holds is
    /// gone then
    #[arg(long)]
    force_upload: bool,
}

/// A node that was probed.
pub struct Probed {
    /// The target, as it was named.
    pub target: PathBuf,
    /// The answer as the node has written it.
    pub text: Vec<u8>,
    /// What it says.
    pub answer: Answer,
}

impl Nodes {
    /// Finds what is wrong with the options before anything is done.
    pub fn check(&self) -> Result<(), Failure> {
        if self.invoke.is_empty() || self.invoke.len() == self.targets.len() {
            return Ok(());
        }
        let nodes = show_count(self.targets.len() as u64, "node", "nodes");
        let commands = show_count(self.invoke.len() as u64, "command", "commands");
        let message = format!("--node is given for {nodes}, and --invoke gives {commands}");
        let error = Error::new(ErrorKind::InvalidInput, message);
        Err(Failure::other(error.with_hint("give --invoke once for each --node, in the same order, or not at all")))
    }

    /// Has the archive run on all nodes, at the same time, and returns the answers in their order.
    ///
    /// Each node that has given no answer is told; the first of them is the failure.
    pub fn probe(&self, archive: &[u8], control: &Control<'_>, session: &Session) -> Result<Vec<Probed>, Failure> {
        let mut nodes = Vec::new();
        for (number, target) in self.targets.iter().enumerate() {
            let node = self.upload(target, self.invoke.get(number), archive, control, session)?;
            nodes.push((target, node));
        }
        let meter = Meter::new();
        let (mut probed, mut failed) = (Vec::new(), None);
        for (target, mut node) in nodes {
            match wait(&mut node, target, &meter, control, session) {
                Ok(node) => probed.push(node),
                Err((error, code)) => {
                    meter.aside(|| session.note(&format!("{}: not probed: {error}", shown(target))));
                    let is_over = matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::TimedOut);
                    let failure = Failure::target(error, target);
                    failed.get_or_insert(if let Some(code) = code { failure.with_code(code) } else { failure });
                    if is_over {
                        break;
                    }
                }
            }
        }
        failed.map_or(Ok(probed), Err)
    }

    fn upload(
        &self,
        target: &Path,
        invoke: Option<&String>,
        archive: &[u8],
        control: &Control<'_>,
        session: &Session,
    ) -> Result<Node, Failure> {
        let failure = |error| Failure::target(error, target);
        let mut node = open_node(target, Limits::DEFAULT)?.with_power(self.power.known());
        if let Some(command) = invoke {
            node = node.with_invoker(InvokeCommand::new(command));
        }
        if !self.force_upload {
            check_ours(target, "check the path; to replace all that is there, say --force-upload").map_err(failure)?;
        }
        control.check().map_err(failure)?;
        let report = node.upload(&mut Cursor::new(archive), control).map_err(failure)?;
        if report.execution == Execution::AtBoot {
            session.note(&format!("{}: is probed when its guest boots: start it now", shown(target)));
        }
        Ok(node)
    }
}

fn shown(target: &Path) -> String {
    displayable(target.as_os_str().as_encoded_bytes())
}

/// Waits for one node's answer. A failure comes with an exit code where the run itself went wrong.
fn wait(
    node: &mut Node,
    target: &Path,
    meter: &Meter,
    control: &Control<'_>,
    session: &Session,
) -> Result<Probed, (Error, Option<u8>)> {
    let mut last = None;
    let report = node.wait(control, |report| {
        let line = format!("{}: {}", shown(target), show_line(report));
        meter.aside(|| session.remark(&line));
        meter.say(line);
        last = Some(report.state);
    });
    let report = report.map_err(|error| (in_words(error, last), None))?;
    let answer = match (&report.custom, report.state) {
        (Some(custom), State::Finished) => Answer::parse(custom),
        _ => Err(not_answered(&report)),
    };
    let ended = Some(exit_code(&report)).filter(|code| *code != exit::SUCCESS);
    let answer = answer.map_err(|error| (error, ended))?;
    if ended.is_some() {
        return Err((not_answered(&report), ended));
    }
    Ok(Probed { target: target.to_path_buf(), text: report.custom.unwrap_or_default(), answer })
}

fn in_words(error: Error, state: Option<State>) -> Error {
    let Some(state) = state.filter(|_| error.kind() == ErrorKind::TimedOut) else { return error };
    let message = format!("it had not answered when the time was over (state: {})", state.word());
    let error = Error::new(ErrorKind::TimedOut, message);
    match state {
        State::NotStarted => {
            error.with_hint("see that its guest is on and that nlxtp-guest runs there; or give more --timeout")
        }
        _ => error.with_hint("give more --timeout; `nlxtp logs` shows what it was doing"),
    }
}

fn not_answered(report: &StatusReport) -> Error {
    let ending = match report.state {
        State::MonitorStopped => "its guest or monitor stopped before it had answered",
        State::GuestRebooted => "its guest was booted anew before it had answered",
        _ => "the probing ended without an answer",
    };
    Error::new(ErrorKind::NotFound, ending).with_hint("`nlxtp logs` shows what came of it; then probe again")
}
