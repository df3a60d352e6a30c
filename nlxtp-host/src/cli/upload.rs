//! `nlxtp upload`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::guest::InvokeCommand;
use nlxtp_host::shared_directory;
use rextfv_core::archive_rules::Lost;
use rextfv_core::entry_path::displayable;
use rextfv_core::layout;
use rextfv_core::limits::Limits;
use rextfv_core::liveness::State;
use rextfv_core::operations::{Execution, UploadReport};
use rextfv_core::shared_directory::Representation;

use super::archive_file;
use super::failure::{Failure, exit};
use super::journal_options::{NodeJournalOptions, tell_failure};
use super::memory_file::{MemoryFile, MemoryOptions};
use super::options::{LimitOptions, LinkOption, PowerOption, open_node};
use super::output::{print, print_json, show_listing};
use super::progress::Meter;
use super::session::Session;
use super::units::{parse_duration, show_count, show_size};

const EXAMPLE: &str = "\
All that the target holds is replaced. The whole archive is checked before: if anything in it cannot \
be taken, all of that is listed and the target stays as it is. The start script is executed when the guest boots (a disk, or --guest-power \
off), by the command that --invoke gives, or by the daemon in the guest.

Example:
  nlxtp upload disk.img experiment.tar.gz
  tar -cz -C experiment . | nlxtp upload disk.img -
  nlxtp upload /var/lib/lxc/node1/rootfs/mnt/nlXTP experiment.tar.gz --guest-power on \\
      --invoke 'lxc-attach -n node1 -- nlxtp-guest monitor --background'";

/// Replace the content by an archive's, and have its start script executed
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Upload {
    /// The shared directory or disk
    target: PathBuf,
    /// A tar, tar.gz, tar.zst or zip; "-" reads standard input
    archive: PathBuf,
    #[command(flatten)]
    power: PowerOption,
    /// Replace the content even of a directory or disk that does not look like one of nlXTP's: all that
    /// it holds is gone then
    #[arg(long)]
    force: bool,
    /// Shell command that starts the monitor inside a running container
    #[arg(long, value_name = "COMMAND")]
    invoke: Option<String>,
    #[command(flatten)]
    links: LinkOption,
    #[command(flatten)]
    limits: LimitOptions,
    /// Give up if it takes longer than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    memory: MemoryOptions,
    #[command(flatten)]
    journal: NodeJournalOptions,
    /// Keep a copy of the archive in a store beside the journal, for a replay
    #[arg(long)]
    keep_archives: bool,
}

impl Upload {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let limits = self.limits.limits();
        let memory = self.memory.load(&self.target, session).map_err(Failure::other)?;
        let control = session.control(self.timeout);
        let mut node = open_node(&self.target, limits)?.with_links(self.links.policy()).with_power(self.power.known());
        if let Some(command) = &self.invoke {
            node = node.with_invoker(InvokeCommand::new(command));
        }
        if self.keep_archives && !self.journal.is_asked_for() {
            let error = Error::new(ErrorKind::InvalidInput, "archives are kept beside a journal, and there is none");
            return Err(Failure::other(error.with_hint("name one with --journal FILE")));
        }
        node = self.journal.give(node, &self.target, Some(&self.archive), self.keep_archives)?;
        if !self.force {
            check_ours(&self.target, SAY_FORCE).map_err(|error| Failure::target(error, &self.target))?;
        }
        let mut archive = archive_file::open(&self.archive, &limits, &control)?;
        let was_running = node.directory().host_directory().is_some() && self.is_running(&memory);
        let uploaded = {
            let meter = Meter::new();
            node.upload(&mut archive, &meter.watch(control))
        };
        let stands = match &uploaded {
            Ok(report) => Some(report),
            Err(error) => error.upload(),
        };
        if let Some(report) = stands {
            memory.remove(session);
            if was_running {
                session.note(STILL_RUNNING);
            }
            if !session.json {
                print(&self.show(report, node.directory().representation()))?;
            }
        }
        let code = tell_failure(&mut node, session, exit::SUCCESS);
        let report = uploaded.map_err(|error| archive.blame(error, &self.archive, &self.target))?;
        if session.json {
            print_json(&report)?;
        }
        Ok(code)
    }

    /// Whether a run is under way, as far as can be told. The journal is told nothing of this look.
    fn is_running(&self, memory: &MemoryFile) -> bool {
        let node = open_node(&self.target, Limits::DEFAULT).ok();
        let node = node.map(|node| node.with_power(self.power.known()).with_memory(memory.loaded()));
        node.is_some_and(|mut node| node.status().is_ok_and(|report| report.state == State::Running))
    }

    fn show(&self, report: &UploadReport, representation: Representation) -> String {
        let shown = |path: &Path| displayable(path.as_os_str().as_encoded_bytes());
        let entries = show_count(report.entries, "entry", "entries");
        let mut text = format!("{}: {entries}, {}\n", shown(&self.target), show_size(report.bytes));
        text.push_str(&match &report.start_script {
            Some(script) => format!("start script: {script}, {}\n", execution_in_words(report.execution)),
            None => "start script: none (no file auto_exec.sh at the archive's top): nothing will be executed\n".into(),
        });
        text.push_str(&format!("run: {}\n", report.run_id));
        text.push_str(&show_warnings(&report.warnings));
        text.push_str(&show_losses(report.lost, representation));
        text.push_str(&show_left_out(&report.left_out));
        text
    }
}

/// An upload to a directory ends no script; see `docs/protocol.md`.
const STILL_RUNNING: &str = "a run was still under way, as far as can be told: its start script is not ended, and \
                             goes on in the same directory";

/// How to replace what is refused.
pub const SAY_FORCE: &str = "check the path; to replace all that is there, say --force";

/// Refuses a target that holds something and nothing of nlXTP's: an upload would erase it, and the
/// path may be a slip. The hint names the option that allows it.
pub fn check_ours(target: &Path, hint: &'static str) -> Result<(), Error> {
    // Not bounded by the limits, which are meant for the archive.
    let directory = shared_directory::open(target)?;
    let names = match directory.view() {
        Err(error) if error.kind() == ErrorKind::Unfinished => return Ok(()),
        view => view?.top_names()?,
    };
    // The staging directory may be all that is left of the old content while an upload is under way.
    let own_names = [layout::RUN_ID, layout::STATUS_DIRECTORY, layout::STAGING_DIRECTORY];
    let ours = |name: &Vec<u8>| {
        layout::is_start_script(name) || own_names.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
    };
    let Some(first) = names.iter().find(|name| *name != b"lost+found") else { return Ok(()) };
    if names.iter().any(ours) {
        return Ok(());
    }
    let first = displayable(first);
    let message = format!("it holds \"{first}\" and others that no upload has left there; an upload would erase them");
    Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint))
}

fn execution_in_words(execution: Execution) -> &'static str {
    match execution {
        Execution::NoStartScript => "not executed",
        Execution::AtBoot => "runs when the guest boots",
        Execution::Invoked => "the monitor was invoked in the guest",
        Execution::ByDaemon => "runs as soon as the daemon in the guest notices it",
    }
}

/// What of an archive the target does not keep.
pub fn show_losses(lost: Lost, representation: Representation) -> String {
    let mut text = String::new();
    let is_fat = representation == Representation::Fat;
    if lost.modes > 0 {
        let entries = show_count(lost.modes, "entry", "entries");
        let what =
            if is_fat { "(FAT has none; all are 0755 in a guest)" } else { "above 0777 (set-user-id and the like)" };
        text.push_str(&format!("not kept: modes of {entries} {what}\n"));
    }
    if lost.owners > 0 {
        let entries = show_count(lost.owners, "entry", "entries");
        let why = if is_fat { "FAT has none" } else { "all get the shared directory's" };
        text.push_str(&format!("not kept: owners of {entries} ({why})\n"));
    }
    text
}

/// Which start script an archive has.
pub fn show_start_script(script: Option<&str>) -> String {
    match script {
        Some(script) => format!("start script: {script}\n"),
        None => "start script: none (no file auto_exec.sh at the archive's top): nothing would be executed\n".into(),
    }
}

/// What may keep the start script from running as it was meant.
pub fn show_warnings(warnings: &[String]) -> String {
    warnings.iter().map(|warning| format!("warning: {warning}\n")).collect()
}

/// Which entries of an archive are not uploaded.
pub fn show_left_out(left_out: &rextfv_core::listing::Listing<String>) -> String {
    show_listing("left out, because these names belong to the protocol:", left_out, Clone::clone)
}
