//! What one node tells its journal.

#![forbid(unsafe_code)]

use std::path::Path;

use rextfv_core::entry_path::displayable;
use rextfv_core::ids::RunId;
use rextfv_core::operations::StatusReport;
use rextfv_core::powers::PowerState;

use super::digest::Digest;
use super::index::Known;
use super::record::{Custom, End, Event, Record, VERSION};
use super::utc::Utc;
use super::{Journal, Store};
use crate::error::{Error, Result};

/// A journal together with the name of a node in it, see [`Journal::for_node`].
#[derive(Debug)]
pub struct NodeJournal {
    journal: Journal,
    node: String,
    archive: Option<String>,
    deferred: bool,
    /// A download that is still to be recorded.
    pending: Option<Record>,
    /// What was recorded last of which run, so that a waiting process does not ask for it again.
    recorded: Option<(RunId, Known)>,
    /// Whether a run may be recorded whose upload the journal does not hold. A guest can invent as many
    /// of those as it likes, so it is one at most until the next upload.
    stranger: bool,
    failure: Option<Error>,
}

impl NodeJournal {
    pub(super) fn new(journal: Journal, node: &[u8]) -> Self {
        Self {
            journal,
            node: displayable(node),
            archive: None,
            deferred: false,
            pending: None,
            recorded: None,
            stranger: true,
            failure: None,
        }
    }

    /// The same with the name of the archive that is uploaded or downloaded. Of a path, only what comes
    /// after the last slash is kept.
    #[must_use]
    pub fn with_archive(mut self, path: &Path) -> Self {
        self.set_archive(Some(path));
        self
    }

    pub(crate) fn set_archive(&mut self, path: Option<&Path>) {
        self.archive = path.and_then(Path::file_name).map(|name| displayable(name.as_encoded_bytes()));
    }

    /// The same, recording a download only when it is
    /// [confirmed](crate::node::Node::confirm_download): for who downloads again and keeps the last
    /// archive, or may fail to give it its name.
    #[must_use]
    pub fn deferring_downloads(mut self) -> Self {
        self.deferred = true;
        self
    }

    pub(crate) fn archive(&self) -> Option<String> {
        self.archive.clone()
    }

    /// Where uploaded archives are to be kept.
    pub(crate) fn store(&self) -> Option<Store> {
        self.journal.keep_archives.then(|| self.journal.store())
    }

    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Fails where the journal cannot be written to, or [lies in the shared directory](super::check_apart).
    pub(crate) fn check(&self, host_directory: Option<&[u8]>) -> Result<()> {
        super::check_apart(self.journal.path(), host_directory)?;
        self.journal.check()
    }

    /// A line about this node, to be chained to the others.
    fn record(&self, run: Option<RunId>, power: PowerState, event: Event) -> Record {
        Record {
            journal: VERSION,
            prev: Digest::NONE,
            time: Utc::now(),
            nlxtp: env!("CARGO_PKG_VERSION").into(),
            node: self.node.clone(),
            run,
            power,
            torn: 0,
            event,
        }
    }

    /// Records an upload. It stands, so that a failure is only kept to be told.
    pub(crate) fn uploaded(&mut self, run: RunId, power: PowerState, event: Event) {
        self.recorded = None;
        self.stranger = true;
        let record = self.record(Some(run), power, event);
        let appended = self.journal.append(record);
        self.note(appended);
    }

    /// Records a download, or keeps it until it is confirmed.
    pub(crate) fn downloaded(&mut self, run: Option<RunId>, power: PowerState, event: Event) {
        self.pending = Some(self.record(run, power, event));
        if !self.deferred {
            self.confirm_download();
        }
    }

    pub(crate) fn confirm_download(&mut self) {
        if let Some(record) = self.pending.take() {
            let appended = self.journal.append(Record { time: Utc::now(), ..record });
            self.note(appended);
        }
    }

    /// Records the start or the end of a run, if this is the first time that it is seen.
    pub(crate) fn seen(&mut self, report: &StatusReport, power: PowerState) {
        let (Some(run), Some(event)) = (report.run_id, Known::by(report.state)) else { return };
        let mut recorded = self.recorded.filter(|(of, _)| *of == run).map(|(_, known)| known).unwrap_or_default();
        if recorded.has(event) {
            return;
        }
        let what = if event == Known::START { Event::Start } else { Event::End(end(report)) };
        let record = self.record(Some(run), power, what);
        let appended = self.journal.append_once(record, run, event, &mut self.stranger);
        if appended.is_ok() {
            recorded.add(event);
            self.recorded = Some((run, recorded));
        }
        self.note(appended);
    }

    fn note(&mut self, appended: Result<()>) {
        if let Err(error) = appended {
            self.failed(error);
        }
    }

    pub(crate) fn failed(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }
}

fn end(report: &StatusReport) -> End {
    End {
        state: report.state,
        exit_code: report.exit_code,
        signal: report.signal,
        timed_out: report.timed_out,
        stdout_bytes: report.stdout_bytes,
        stderr_bytes: report.stderr_bytes,
        truncated: report.truncated.words().into_iter().map(Into::into).collect(),
        custom: report.custom.as_deref().map(Custom::of),
    }
}
