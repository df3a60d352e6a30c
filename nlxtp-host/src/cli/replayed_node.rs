//! A node that takes another one's place in a replay.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind, Result};
use nlxtp_host::guest::{InvokeCommand, KnownPower};
use nlxtp_host::journal::{NodeJournal, Tree};
use nlxtp_host::node::Node;
use rextfv_core::archive_rules::LinkPolicy;
use rextfv_core::entry_path::displayable;
use rextfv_core::liveness::State;
use rextfv_core::operations::StatusReport;
use rextfv_core::powers::PowerState;
use rextfv_core::shared_directory::Sharing;
use rextfv_core::verification::Outcome;

use super::failure::Failure;

/// Shell commands that have a start script executed.
pub struct Hooks {
    /// Starts the monitor in a running container.
    pub invoke: Option<String>,
    /// Turn the guest on and off.
    pub power: Option<(String, String)>,
}

/// A node with the means to have its start script executed.
pub struct ReplayedNode {
    /// What the journal calls the node whose place it takes.
    name: String,
    target: PathBuf,
    node: Option<Node>,
    hooks: Hooks,
    is_disk: bool,
    /// Turned on by us.
    is_on: bool,
}

/// Between two queries for a start.
const PAUSE: Duration = Duration::from_millis(50);

impl ReplayedNode {
    /// The node with this shared directory. What is done goes into a journal, where there is one.
    pub fn new(name: &str, target: &Path, node: Node, hooks: Hooks, journal: Option<NodeJournal>) -> Self {
        let is_disk = node.directory().sharing() == Sharing::TakingTurns;
        let node = match journal {
            Some(journal) => node.with_journal(journal),
            None => node,
        };
        Self { name: name.into(), target: target.into(), node: Some(node), hooks, is_disk, is_on: false }
    }

    /// Whether nothing starts a script here, for want of commands.
    pub fn needs_power(&self) -> bool {
        self.is_disk && self.hooks.power.is_none()
    }

    /// A failure at this node.
    pub fn failure(&self, error: Error) -> Failure {
        Failure::target(error, &self.target)
    }

    pub fn take_journal_failure(&mut self) -> Option<Error> {
        self.node.as_mut()?.take_journal_failure()
    }

    /// The commands that turn this guest on and off: where a monitor can be invoked, they are for disks.
    fn power(&self) -> Option<&(String, String)> {
        self.hooks.power.as_ref().filter(|_| self.is_disk || self.hooks.invoke.is_none())
    }

    fn change(&mut self, change: impl FnOnce(Node) -> Node) {
        self.node = self.node.take().map(change);
    }

    fn node(&mut self) -> Result<&mut Node> {
        // It is only away while it is changed.
        self.node.as_mut().ok_or_else(|| Error::new(ErrorKind::Io, "the node is gone"))
    }

    /// Replaces the content, and has the start script executed.
    pub fn upload(
        &mut self,
        archive: &mut File,
        name: Option<&Path>,
        follow_links: bool,
        control: &Control<'_>,
    ) -> Result<()> {
        self.turn_off()?;
        let power = match (self.power(), &self.hooks.invoke) {
            (Some(_), _) => PowerState::Off,
            (None, Some(_)) if !self.is_disk => PowerState::On,
            _ => PowerState::Unknown,
        };
        let invoke = self.hooks.invoke.clone().filter(|_| power == PowerState::On);
        let links = if follow_links { LinkPolicy::Copy } else { LinkPolicy::Refuse };
        self.change(|node| {
            let node = node.with_power(KnownPower(power)).with_links(links);
            match invoke {
                Some(command) => node.with_invoker(InvokeCommand::new(command)),
                None => node,
            }
        });
        let node = self.node()?;
        node.name_journalled_archive(name);
        node.upload(archive, control)?;
        self.turn_on()
    }

    /// Waits until the start script runs, or has ended.
    pub fn await_start(&mut self, control: &Control<'_>) -> Result<()> {
        let node = self.node()?;
        while matches!(node.status()?.state, State::NotStarted | State::Unreadable) {
            control.sleep(PAUSE)?;
        }
        Ok(())
    }

    /// Waits until the run has ended.
    pub fn await_end(&mut self, control: &Control<'_>) -> Result<StatusReport> {
        self.node()?.wait(control, |_| {})
    }

    /// Takes the results home.
    pub fn download(
        &mut self,
        archive: &mut dyn Write,
        path: Option<&Path>,
        format: OutputFormat,
        control: &Control<'_>,
    ) -> Result<(Tree, Outcome)> {
        let node = self.node()?;
        node.name_journalled_archive(path);
        let (report, _, tree) = node.download_digested(archive, format, control)?;
        Ok((tree, report.verification.outcome()))
    }

    fn turn_on(&mut self) -> Result<()> {
        if let Some((on, _)) = self.power() {
            self.call(on, "turn the guest on")?;
            self.is_on = true;
            self.change(|node| node.with_power(KnownPower(PowerState::On)));
        }
        Ok(())
    }

    /// Turns the guest off, if it was turned on here.
    pub fn turn_off(&mut self) -> Result<()> {
        if let Some((_, off)) = self.power().filter(|_| self.is_on) {
            self.call(off, "turn the guest off")?;
            self.is_on = false;
            self.change(|node| node.with_power(KnownPower(PowerState::Off)));
        }
        Ok(())
    }

    /// Runs a shell command to its end.
    fn call(&self, command: &str, doing: &str) -> Result<()> {
        let status = Command::new("sh")
            .args(["-c", command])
            .env("NLXTP_NODE", &self.name)
            .env("NLXTP_TARGET", &self.target)
            .stdin(Stdio::null())
            // Standard output carries the answer.
            .stdout(io::stderr())
            .status()
            .map_err(|error| Error::io(doing, error))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Io, format!("cannot {doing}: the command failed ({status})"))
            .with_object(displayable(command.as_bytes()))
            .with_hint("try the command by hand, with NLXTP_NODE and NLXTP_TARGET set"))
    }
}
