//! `nlxtp status`.

use std::time::Duration;

use clap::Args;
use nlxtp_host::node::Node;
use nlxtp_host::status_json::StatusJson;

use super::failure::{Failure, exit};
use super::journal_options::tell_failure;
use super::options::Query;
use super::output::{print, print_json};
use super::session::Session;
use super::status_report::{exit_code, show_line, show_lines};
use super::units::parse_duration;

const EXAMPLE: &str = "\
The states: not-started, running, finished, monitor-stopped, guest-rebooted, unreadable. No clocks \
are compared: whether the monitor still lives is told by whether its status changes from one query \
to the next, so something small is remembered of the last one.

Example:
  nlxtp status disk.img
  nlxtp status /var/lib/lxc/node1/rootfs/mnt/nlXTP --guest-power on --json
  nlxtp status disk.img --watch --timeout 10m";

/// Tell how far the run has come
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Status {
    #[command(flatten)]
    query: Query,
    /// Print a line at every change, until the run has ended
    #[arg(long)]
    watch: bool,
    /// Watch no longer than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "watch")]
    timeout: Option<Duration>,
    /// Tell the state by the exit code too, see `nlxtp --help`
    #[arg(long)]
    exit_code: bool,
}

impl Status {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let (mut node, memory) = self.query.open(session)?;
        let answered = if self.watch { self.watch(session, &mut node) } else { self.ask(session, &mut node) };
        memory.save(node.memory(), session);
        let code = tell_failure(&mut node, session, exit::SUCCESS);
        answered.map(|answered| if answered == exit::SUCCESS { code } else { answered })
    }

    fn ask(&self, session: &Session, node: &mut Node) -> Result<u8, Failure> {
        let report = node.status().map_err(|error| Failure::target(error, &self.query.target))?;
        if session.json {
            print_json(&StatusJson::from(&report))?;
        } else {
            print(&show_lines(&report))?;
        }
        Ok(if self.exit_code { exit_code(&report) } else { exit::SUCCESS })
    }

    fn watch(&self, session: &Session, node: &mut Node) -> Result<u8, Failure> {
        let mut unprinted = None;
        let watched = node.wait(&session.control(self.timeout), |report| {
            let printed = if session.json {
                print_json(&StatusJson::from(report))
            } else {
                print(&format!("{}\n", show_line(report)))
            };
            if let Err(failure) = printed {
                unprinted.get_or_insert(failure);
                session.cancel.cancel();
            }
        });
        if let Some(failure) = unprinted {
            return Err(failure);
        }
        let report = watched.map_err(|error| Failure::target(error, &self.query.target))?;
        Ok(if self.exit_code { exit_code(&report) } else { exit::SUCCESS })
    }
}
