//! A node as the package's `Node` uses it.
//!
//! Queries share one open node, in turns. Each upload and download opens the shared directory for
//! itself: the storage's own locks say what excludes what, as between two processes, and a status can be
//! had while an archive is on its way.

use std::io::{BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nlxtp_host::archive::OutputFormat;
use nlxtp_host::archive::files::{NewArchive, with_way_out};
use nlxtp_host::control::Control;
use nlxtp_host::download::until_settled;
use nlxtp_host::error::{Error, ErrorKind, Result};
use nlxtp_host::guest::KnownPower;
use nlxtp_host::node::{self, Output};
use nlxtp_host::wait::{Look, Wait};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rextfv_core::archive_rules::LinkPolicy;
use rextfv_core::limits::Limits;
use rextfv_core::liveness::{LivenessRules, Memory};
use rextfv_core::operations::DownloadReport;
use rextfv_core::powers::PowerState;
use rextfv_core::retry::RetryPolicy;

use crate::archive::{self, PythonFile, Sink, Source};
use crate::error::{exception, invalid};
use crate::guest::{AskedInvoker, AskedPower, Owner, power};
use crate::journal::{Entry, Journal};
use crate::operation::{Asked, CancelToken, run};
use crate::status::Status;
use crate::target::{self, Target};
use crate::turns::Turns;

/// What a node is made of, again and again.
pub struct Parts {
    target: Target,
    owner: Owner,
    /// `None` where the owner is to be asked.
    power: Option<PowerState>,
    invokes: bool,
    links: LinkPolicy,
    limits: Limits,
    liveness: LivenessRules,
    threads: Option<usize>,
    keep_open: bool,
    journal: Option<Entry>,
}

impl Parts {
    /// The same error about the shared directory, where that is at fault and the error does not name
    /// anything.
    fn named(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::GuestOn
            | ErrorKind::InUse
            | ErrorKind::TooSmall
            | ErrorKind::NotFound
            | ErrorKind::NotATarget
            | ErrorKind::Damaged
            | ErrorKind::Unfinished
            | ErrorKind::Changing
            | ErrorKind::ReadOnly
            | ErrorKind::NoSpace => error.with_path(&self.target.path),
            _ => error,
        }
    }

    /// A node with what is remembered of it.
    pub fn assemble(&self, memory: Option<Memory>) -> Result<node::Node> {
        let directory = self.target.open(self.limits)?;
        if let Some(entry) = &self.journal {
            entry.check(&directory)?;
        }
        let mut node = node::Node::from_boxed(directory)
            .with_limits(self.limits)
            .with_links(self.links)
            .with_liveness(self.liveness)
            .with_memory(memory);
        node = match self.power {
            Some(known) => node.with_power(KnownPower(known)),
            None => node.with_power(AskedPower(self.owner.clone())),
        };
        if self.invokes {
            node = node.with_invoker(AskedInvoker(self.owner.clone()));
        }
        if let Some(threads) = self.threads {
            node = node.with_threads(threads);
        }
        if let Some(entry) = &self.journal {
            node = node.with_journal(entry.open());
        }
        Ok(node)
    }
}

/// A node. What it is for is said in the package.
#[pyclass(frozen, module = "nlxtp._native")]
pub struct Node {
    parts: Arc<Parts>,
    /// The node that is asked; none once this is closed. Replaced in a forked process, where it may have
    /// been half changed.
    asked: Mutex<Option<Arc<Turns<node::Node>>>>,
    /// What it remembered at the end of the last query.
    memory: Mutex<Option<Memory>>,
    /// Why something that was done or seen is not in the journal, until somebody asks.
    unrecorded: Mutex<Option<Error>>,
}

/// A lock that is only ever held for a moment, and attached to the interpreter: no `fork` of Python's
/// finds it locked.
fn brief<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    pub fn parts(&self) -> Arc<Parts> {
        self.parts.clone()
    }

    pub fn remembered(&self) -> Option<Memory> {
        brief(&self.memory).clone()
    }

    /// Takes over what somebody else has remembered of this node.
    pub fn remember(&self, memory: Option<Memory>) -> Result<()> {
        let mut node = self.parts.assemble(memory.clone())?;
        node.keep_open(self.parts.keep_open);
        // One that was closed meanwhile stays so.
        if let Some(asked) = &mut *brief(&self.asked) {
            *asked = Arc::new(Turns::new(node));
        }
        *brief(&self.memory) = memory;
        Ok(())
    }

    /// Keeps why something is not in the journal; of several reasons, the first.
    pub fn note_unrecorded(&self, failure: Option<Error>) {
        if let Some(failure) = failure {
            brief(&self.unrecorded).get_or_insert(failure);
        }
    }

    /// Refuses to go on with a node that is closed.
    pub fn check_open(&self, py: Python<'_>, operation: &str) -> PyResult<()> {
        if brief(&self.asked).is_none() { Err(closed(py, operation)) } else { Ok(()) }
    }

    /// The node that is asked, of this process. Needs the interpreter.
    fn current(&self, py: Python<'_>, operation: &str) -> PyResult<Arc<Turns<node::Node>>> {
        let mut asked = brief(&self.asked);
        let asked = asked.as_mut().ok_or_else(|| closed(py, operation))?;
        if asked.is_copied() {
            let mut node = self.parts.assemble(self.remembered()).map_err(|error| exception(py, operation, error))?;
            node.keep_open(self.parts.keep_open);
            let copied = std::mem::replace(asked, Arc::new(Turns::new(node)));
            // Who was changing it does not exist here: to free it could be to free what is not whole.
            std::mem::forget(copied);
        }
        Ok(asked.clone())
    }

    /// Asks the node something, in turn.
    fn ask<T: Send>(
        &self,
        py: Python<'_>,
        operation: &str,
        asked: Asked,
        mut question: impl FnMut(&mut node::Node) -> Result<T> + Send,
    ) -> PyResult<T> {
        let current = self.current(py, operation)?;
        let (answer, memory, unrecorded) = run(py, operation, asked, |control, _| {
            let mut node = current.take(control)?;
            let answer = question(&mut node).map_err(|error| self.parts.named(error))?;
            Ok((answer, node.memory().cloned(), node.take_journal_failure()))
        })?;
        *brief(&self.memory) = memory;
        self.note_unrecorded(unrecorded);
        Ok(answer)
    }
}

#[pymethods]
impl Node {
    #[new]
    #[pyo3(signature = (path, is_disk, owner, *, power, invokes, follow_links, max_entries, max_bytes, grace,
        tomato_patience, threads, keep_open, memory, journal, name))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        path: Vec<u8>,
        is_disk: bool,
        owner: Py<PyAny>,
        power: Option<&str>,
        invokes: bool,
        follow_links: bool,
        max_entries: Option<u64>,
        max_bytes: Option<u64>,
        grace: Option<f64>,
        tomato_patience: Option<f64>,
        threads: Option<usize>,
        keep_open: bool,
        memory: Option<&str>,
        journal: Option<&Journal>,
        name: Option<Vec<u8>>,
    ) -> PyResult<Self> {
        let prepare = || {
            let total_bytes = max_bytes.unwrap_or(Limits::DEFAULT.total_bytes);
            let entries = max_entries.unwrap_or(Limits::DEFAULT.entries);
            let usual = LivenessRules::default();
            let memory = memory
                .map(serde_json::from_str)
                .transpose()
                .map_err(|error| invalid(format!("the memory is not what Node.memory gave: {error}")))?;
            let parts = Parts {
                target: Target { path: target::path(path), is_disk },
                owner: Owner::new(owner),
                power: power.map(|word| self::power(Some(word))).transpose()?,
                invokes,
                links: if follow_links { LinkPolicy::Copy } else { LinkPolicy::Refuse },
                limits: Limits { entries, total_bytes, file_bytes: total_bytes, ..Limits::DEFAULT },
                liveness: LivenessRules {
                    grace: seconds(grace, usual.grace)?,
                    tomato_patience: seconds(tomato_patience, usual.tomato_patience)?,
                    ..usual
                },
                threads,
                keep_open,
                journal: Entry::of(journal, name)?,
            };
            Ok((parts, memory))
        };
        let (parts, memory) = prepare().map_err(|error: Error| exception(py, "open", error))?;
        let remembered: Option<Memory> = memory;
        let node = run(py, "open", Asked::default(), |_, _| {
            let mut node = parts.assemble(remembered.clone())?;
            node.keep_open(parts.keep_open);
            Ok(node)
        })?;
        Ok(Self {
            parts: Arc::new(parts),
            asked: Mutex::new(Some(Arc::new(Turns::new(node)))),
            memory: Mutex::new(remembered),
            unrecorded: Mutex::default(),
        })
    }

    /// Closes what is open. Operations under way go on to their end.
    fn close(&self, py: Python<'_>) {
        let closed = brief(&self.asked).take();
        match closed {
            // See `current`.
            Some(copied) if copied.is_copied() => std::mem::forget(copied),
            closed => py.detach(|| drop(closed)),
        }
    }

    #[getter]
    fn closed(&self) -> bool {
        brief(&self.asked).is_none()
    }

    fn status(&self, py: Python<'_>) -> PyResult<Status> {
        self.ask(py, "status", Asked::default(), node::Node::status).map(Status)
    }

    #[pyo3(signature = (on_change, timeout, cancel))]
    fn wait(
        &self,
        py: Python<'_>,
        on_change: Option<Py<PyAny>>,
        timeout: Option<f64>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<Status> {
        let current = self.current(py, "wait")?;
        let mut unrecorded = None;
        let waited = run(py, "wait", Asked::new(timeout, cancel, None), |control, raised| {
            let mut wait = Wait::new();
            loop {
                let (look, memory) = {
                    let mut node = current.take(control)?;
                    let look = wait.look(&mut node).map_err(|error| self.parts.named(error))?;
                    unrecorded = unrecorded.take().or_else(|| node.take_journal_failure());
                    (look, node.memory().cloned())
                };
                if let Some(callback) = on_change.as_ref().filter(|_| look.changed) {
                    raised.call(|py| callback.call1(py, (Status(look.report.clone()),)).map(drop))?;
                }
                if look.over {
                    return Ok((look.report, memory));
                }
                control.check()?;
                control.sleep(look.pause)?;
            }
        });
        self.note_unrecorded(unrecorded);
        let (report, memory) = waited?;
        *brief(&self.memory) = memory;
        Ok(Status(report))
    }

    #[pyo3(signature = (archive, progress, timeout, cancel))]
    fn upload(
        &self,
        py: Python<'_>,
        archive: Source,
        progress: Option<Py<PyAny>>,
        timeout: Option<f64>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<String> {
        self.check_open(py, "upload")?;
        let mut unrecorded = None;
        let uploaded = run(py, "upload", Asked::new(timeout, cancel, progress), |control, _| {
            control.check()?;
            let mut node = self.parts.assemble(None)?;
            node.name_journalled_archive(archive.path().as_deref());
            let mut archive = archive.open(&self.parts.limits, control)?;
            let uploaded = node.upload(&mut *archive, control);
            unrecorded = node.take_journal_failure();
            uploaded.map_err(|error| self.parts.named(error))
        });
        self.note_unrecorded(unrecorded);
        let report = uploaded?;
        // What is remembered by now is of the run before, which the next query sees by itself.
        Ok(serde_json::to_string(&report).unwrap_or_default())
    }

    #[pyo3(signature = (archive, format, level, replace, retries, progress, timeout, cancel))]
    #[allow(clippy::too_many_arguments)]
    fn download(
        &self,
        py: Python<'_>,
        archive: Sink,
        format: Option<&str>,
        level: Option<i32>,
        replace: bool,
        retries: u32,
        progress: Option<Py<PyAny>>,
        timeout: Option<f64>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<(String, u32)> {
        self.check_open(py, "download")?;
        let format = archive::format(format, level, &archive).map_err(|error| exception(py, "download", error))?;
        let (report, attempts, unrecorded) =
            run(py, "download", Asked::new(timeout, cancel, progress), |control, _| {
                control.check()?;
                let mut node = self.parts.assemble(None)?;
                node.name_journalled_archive(archive.path().as_deref());
                let (report, attempts) = match archive {
                    Sink::File(object) => (download_to(&mut node, PythonFile(object), format, control)?, 1),
                    Sink::Path(bytes) => {
                        let path = target::path(bytes);
                        let about = |error: Error| with_way_out(error).with_path(&path);
                        let mut new = NewArchive::create(&path, replace).map_err(about)?;
                        let attempts = if new.can_restart() { retries.saturating_add(1) } else { 1 };
                        let policy = RetryPolicy { attempts, ..RetryPolicy::DOWNLOAD };
                        let done = until_settled(&policy, control, || {
                            node.download(&mut *new.writer(control).map_err(about)?, format, control)
                        })?;
                        new.complete().map_err(about)?;
                        done
                    }
                };
                node.confirm_download();
                Ok((report, attempts, node.take_journal_failure()))
            })?;
        self.note_unrecorded(unrecorded);
        Ok((serde_json::to_string(&report).unwrap_or_default(), attempts))
    }

    #[pyo3(signature = (stream, offset, limit, status))]
    fn output<'py>(
        &self,
        py: Python<'py>,
        stream: &str,
        offset: u64,
        limit: usize,
        status: Option<&Status>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let output = match stream {
            "stdout" => Output::Stdout,
            "stderr" => Output::Stderr,
            other => return Err(exception(py, "output", invalid(format!("{other:?} is no output: stdout, stderr")))),
        };
        let known = status.map(|status| &status.0);
        let bytes = self.ask(py, "output", Asked::default(), |node| {
            let found;
            let report = match known {
                Some(known) => known,
                None => {
                    found = node.status()?;
                    &found
                }
            };
            read_output(node, output, offset, limit, report)
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Why something that was done or seen since this was called last is not in the journal.
    fn take_journal_failure(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let failure = brief(&self.unrecorded).take()?;
        Some(exception(py, "journal", failure).into_value(py).into_any())
    }

    #[getter]
    fn memory(&self) -> Option<String> {
        // Always can be written.
        self.remembered().and_then(|memory| serde_json::to_string(&memory).ok())
    }
}

/// Bytes that are read of an output at once.
const PIECE: usize = 256 << 10;

fn read_output(
    node: &node::Node,
    output: Output,
    offset: u64,
    limit: usize,
    report: &rextfv_core::operations::StatusReport,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < limit {
        let before = bytes.len();
        bytes.resize(before + PIECE.min(limit - before), 0);
        let read = node.read_output(output, offset.saturating_add(before as u64), report, &mut bytes[before..])?;
        bytes.truncate(before + read);
        if read == 0 {
            break;
        }
    }
    Ok(bytes)
}

fn download_to(
    node: &mut node::Node,
    file: PythonFile,
    format: OutputFormat,
    control: &Control<'_>,
) -> Result<DownloadReport> {
    let mut file = BufWriter::with_capacity(PIECE, file);
    let report = node.download(&mut file, format, control)?;
    file.flush().map_err(|error| Error::io("write the archive", error))?;
    Ok(report)
}

fn closed(py: Python<'_>, operation: &str) -> PyErr {
    let error = Error::new(ErrorKind::InvalidInput, "this node is closed").with_hint("make another one");
    exception(py, operation, error)
}

fn seconds(given: Option<f64>, usual: Duration) -> Result<Duration> {
    let Some(given) = given else { return Ok(usual) };
    Duration::try_from_secs_f64(given)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, format!("{given} s cannot be used: {error}")))
}

/// A wait that pauses in its caller's way.
#[pyclass(frozen, module = "nlxtp._native")]
pub struct Waiting {
    node: Py<Node>,
    wait: Mutex<Wait>,
}

#[pymethods]
impl Waiting {
    #[new]
    fn new(node: Py<Node>) -> Self {
        Self { node, wait: Mutex::new(Wait::new()) }
    }

    /// The status, whether it has changed, whether the run is over, and how many seconds to pause.
    fn look(&self, py: Python<'_>) -> PyResult<(Status, bool, bool, f64)> {
        let Look { report, changed, over, pause } = self.node.get().ask(py, "wait", Asked::default(), |node| {
            self.wait.lock().unwrap_or_else(PoisonError::into_inner).look(node)
        })?;
        Ok((Status(report), changed, over, pause.as_secs_f64()))
    }
}
