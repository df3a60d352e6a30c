//! `nlxtp watch`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::node::Node;
use nlxtp_host::status_json::StatusJson;
use nlxtp_host::watcher::{Change, NodeId, Pace, Watcher, raise_open_files};
use rextfv_core::entry_path::displayable;
use rextfv_core::limits::Limits;
use rextfv_core::liveness::State;
use rextfv_core::operations::StatusReport;
use serde::Serialize;

use super::failure::{Failure, exit};
use super::journal_options::{JournalOption, node_name, tell_failure};
use super::options::try_to_open_node;
use super::output::{print, print_json};
use super::session::Session;
use super::status_report::show_line;
use super::units::parse_duration;

const EXAMPLE: &str = "\
All targets are watched by one process in one thread; a few thousand are no burden. A target that \
cannot be asked, or is not there yet, is told once and asked again.

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
        let pace = Pace { longest: self.every, ..Pace::default() };
        let journal = self.journal.open()?;
        let mut watcher = Watcher::new(pace);
        let mut targets: HashMap<NodeId, &Path> = HashMap::new();
        let mut absent: Vec<Absent<'_>> = self.targets.iter().map(|path| Absent::new(path)).collect();
        let mut code = exit::SUCCESS;
        let control = session.control(self.timeout);
        loop {
            let mut still_absent = Vec::new();
            for mut target in absent {
                match target.open(pace) {
                    Some(Ok(mut node)) => {
                        if let Some(journal) = &journal {
                            node = node.with_journal(journal.for_node(node_name(target.path)));
                        }
                        targets.insert(watcher.add(node), target.path);
                        continue;
                    }
                    Some(Err(error)) if target.is_news(&error) => tell(session, target.path, &Err(error))?,
                    Some(Err(_)) | None => {}
                }
                still_absent.push(target);
            }
            absent = still_absent;

            let change = match absent.iter().map(|target| target.due).min() {
                None => watcher.next(&control).map_err(Self::in_words)?,
                Some(due) => next_until(&mut watcher, due, &control, session).map_err(Self::in_words)?,
            };
            let Some(Change { node, status }) = change else {
                if absent.is_empty() {
                    return Ok(code);
                }
                continue;
            };
            tell(session, targets[&node], &status)?;
            if let Some(node) = watcher.node_mut(node) {
                code = tell_failure(node, session, code);
            }
            let ended = status.is_ok_and(|report| {
                matches!(report.state, State::Finished | State::MonitorStopped | State::GuestRebooted)
            });
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

/// A target that could not be opened yet.
struct Absent<'a> {
    path: &'a Path,
    /// When it is tried again, and how long after that.
    due: Instant,
    pause: Duration,
    /// What was told of it last.
    told: Option<String>,
}

impl<'a> Absent<'a> {
    fn new(path: &'a Path) -> Self {
        Self { path, due: Instant::now(), pause: Duration::ZERO, told: None }
    }

    /// Tries to open it, if it is time for that; the pauses are those of who finds nothing new.
    fn open(&mut self, pace: Pace) -> Option<Result<Node, Error>> {
        let now = Instant::now();
        if now < self.due {
            return None;
        }
        self.pause = (self.pause * 2).max(pace.shortest).min(pace.longest.max(pace.shortest));
        self.due = now + self.pause;
        Some(try_to_open_node(self.path, Limits::DEFAULT))
    }

    /// Whether that is not what was told last.
    fn is_news(&mut self, error: &Error) -> bool {
        let text = error.to_string();
        let is_news = self.told.as_ref() != Some(&text);
        self.told = Some(text);
        is_news
    }
}

/// The next change before this moment; `None` if there is none.
fn next_until(
    watcher: &mut Watcher,
    due: Instant,
    control: &Control<'_>,
    session: &Session,
) -> Result<Option<Change>, Error> {
    let until = control.deadline().map_or(due, |deadline| deadline.min(due));
    let until_due = Control::none().with_deadline(Some(until)).with_cancel(session.cancel.clone());
    let waited = if watcher.is_empty() {
        until_due.sleep(until.saturating_duration_since(Instant::now())).map(|()| None)
    } else {
        watcher.next(&until_due)
    };
    match waited {
        Err(error) if error.kind() == ErrorKind::TimedOut => control.check().map(|()| None),
        waited => waited,
    }
}

/// Prints the line about a change.
fn tell(session: &Session, target: &Path, status: &Result<StatusReport, Error>) -> Result<(), Failure> {
    let target = displayable(target.as_os_str().as_encoded_bytes());
    if session.json {
        let (status, error) = match status {
            Ok(report) => (Some(report.into()), None),
            Err(error) => (None, Some(ErrorJson { kind: error.kind().word(), message: error.to_string() })),
        };
        return print_json(&ChangeJson { target, status, error });
    }
    let line = match status {
        Ok(report) => show_line(report),
        Err(error) => format!("cannot be asked: {error}"),
    };
    print(&format!("{target}: {line}\n"))
}
