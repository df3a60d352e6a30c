//! `nlxtp watch`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::status_json::StatusJson;
use nlxtp_host::watcher::{Change, NodeId, Pace, Watcher, raise_open_files};
use rextfv_core::entry_path::displayable;
use rextfv_core::limits::Limits;
use rextfv_core::liveness::State;
use serde::Serialize;

use super::failure::{Failure, exit};
use super::journal_options::{JournalOption, node_name, tell_failure};
use super::options::open_node;
use super::output::{print, print_json};
use super::session::Session;
use super::status_report::show_line;
use super::units::parse_duration;

const EXAMPLE: &str = "\
All targets are watched by one process in one thread; a few thousand are no burden. A target that \
cannot be asked is told once and asked again.

Example:
  nlxtp watch disk1.img disk2.img /srv/container3 --timeout 10m
  nlxtp watch nodes/*.img --json | while read -r change; do echo \"$change\"; done";

/// Print a line at every change of many targets, until all runs have ended
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Watch {
    /// The shared directories or disks
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<PathBuf>,
    /// Watch no longer than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Ask a target about which nothing is new no more seldom than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s")]
    every: Duration,
    #[command(flatten)]
    journal: JournalOption,
}

/// One line of `--json`.
#[derive(Serialize)]
struct ChangeJson {
    target: String,
    status: Option<StatusJson>,
    error: Option<ErrorJson>,
}

#[derive(Serialize)]
struct ErrorJson {
    kind: &'static str,
    message: String,
}

impl Watch {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        // Should it fail, more is opened anew.
        let _ = raise_open_files();
        let mut watcher = Watcher::new(Pace { longest: self.every, ..Pace::default() });
        let mut targets: HashMap<NodeId, &PathBuf> = HashMap::new();
        let journal = self.journal.open()?;
        for target in &self.targets {
            let mut node = open_node(target, Limits::DEFAULT)?;
            if let Some(journal) = &journal {
                node = node.with_journal(journal.for_node(node_name(target)));
            }
            targets.insert(watcher.add(node), target);
        }
        let mut code = exit::SUCCESS;
        let control = session.control(self.timeout);
        loop {
            let Some(Change { node, status }) = watcher.next(&control).map_err(Self::in_words)? else {
                return Ok(code);
            };
            let target = displayable(targets[&node].as_os_str().as_encoded_bytes());
            let ended = status.as_ref().is_ok_and(|report| {
                matches!(report.state, State::Finished | State::MonitorStopped | State::GuestRebooted)
            });
            if session.json {
                let (status, error) = match &status {
                    Ok(report) => (Some(report.into()), None),
                    Err(error) => (None, Some(ErrorJson { kind: error.kind().word(), message: error.to_string() })),
                };
                print_json(&ChangeJson { target, status, error })?;
            } else {
                let line = match &status {
                    Ok(report) => show_line(report),
                    Err(error) => format!("cannot be asked: {error}"),
                };
                print(&format!("{target}: {line}\n"))?;
            }
            if let Some(node) = watcher.node_mut(node) {
                code = tell_failure(node, session, code);
            }
            if ended {
                watcher.remove(node);
            }
        }
    }

    /// Says what was waited for when the time was over.
    fn in_words(error: Error) -> Failure {
        Failure::other(match error.kind() {
            ErrorKind::TimedOut => Error::new(ErrorKind::TimedOut, "not all runs had ended when the time was over"),
            _ => error,
        })
    }
}
