//! A watcher as the package's `Watcher` uses it.
//!
//! One thread waits in it, others add and remove nodes: they leave word in the inbox, which whoever
//! waits looks into at least every [`SLICE`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind, Result};
use nlxtp_host::node;
use nlxtp_host::watcher::{Change, NodeId, Pace, Watcher as HostWatcher};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use rextfv_core::liveness::Memory;

use crate::error::exception;
use crate::node::Node;
use crate::operation::{Asked, CancelToken, run};
use crate::status::Status;
use crate::turns::Turns;

/// Longest time for which word from other threads is left unread.
const SLICE: Duration = Duration::from_millis(50);

/// Word for whoever has the watcher.
enum Word {
    Add(u64, Box<node::Node>),
    Remove(u64),
}

/// What is left of a node that is no longer watched.
#[derive(Default)]
struct Left {
    memory: Option<Memory>,
    /// Why something is not in its journal.
    unrecorded: Option<Error>,
}

struct Watched {
    watcher: HostWatcher,
    ids: HashMap<u64, NodeId>,
    keys: HashMap<NodeId, u64>,
}

/// A watcher of nodes, each known by a number that the package has chosen.
#[pyclass(frozen, module = "nlxtp._native")]
pub struct Watcher {
    watched: Turns<Watched>,
    inbox: Mutex<Vec<Word>>,
    /// What is left of nodes that are no longer watched, until somebody asks.
    removed: Mutex<HashMap<u64, Left>>,
}

/// What waiting came to.
enum Outcome {
    Change(u64, Result<Status>),
    NobodyWatched,
    NothingYet,
}

/// A node's number, and its status or why it cannot be asked.
type Told = (u64, Option<Status>, Option<Py<PyAny>>);

fn lock<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watcher {
    /// Does what others have left word of.
    fn read_inbox(&self, watched: &mut Watched) {
        let words = std::mem::take(&mut *lock(&self.inbox));
        for word in words {
            match word {
                Word::Add(key, node) => {
                    let id = watched.watcher.add(*node);
                    watched.ids.insert(key, id);
                    watched.keys.insert(id, key);
                }
                Word::Remove(key) => {
                    let id = watched.ids.remove(&key);
                    let node = id.and_then(|id| {
                        watched.keys.remove(&id);
                        watched.watcher.remove(id)
                    });
                    let left = node.map(|mut node| Left {
                        memory: node.memory().cloned(),
                        unrecorded: node.take_journal_failure(),
                    });
                    lock(&self.removed).insert(key, left.unwrap_or_default());
                }
            }
        }
    }

    fn leave_word(&self, word: Word) {
        lock(&self.inbox).push(word);
        if let Some(mut watched) = self.watched.try_take() {
            self.read_inbox(&mut watched);
        }
    }

    fn check_process(&self, py: Python<'_>, operation: &str) -> PyResult<()> {
        if self.watched.is_copied() {
            let error = Error::new(ErrorKind::InvalidInput, "this watcher belongs to the process that was forked")
                .with_hint("make a watcher in the process that uses it");
            return Err(exception(py, operation, error));
        }
        Ok(())
    }

    /// Waits for one slice.
    fn wait(&self, control: &Control<'_>) -> Result<Outcome> {
        let mut watched = self.watched.take(control)?;
        self.read_inbox(&mut watched);
        let end = Instant::now() + SLICE;
        let end = control.deadline().map_or(end, |deadline| end.min(deadline));
        // What ends the whole wait is told by the check of the control itself, further up.
        let slice = Control::none().with_deadline(Some(end)).with_watch(|| control.check());
        match watched.watcher.next(&slice) {
            Ok(None) => Ok(Outcome::NobodyWatched),
            Ok(Some(Change { node, status })) => Ok(match watched.keys.get(&node) {
                Some(&key) => Outcome::Change(key, status.map(Status)),
                None => Outcome::NothingYet,
            }),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                control.check()?;
                Ok(Outcome::NothingYet)
            }
            Err(error) => Err(error),
        }
    }
}

#[pymethods]
impl Watcher {
    #[new]
    #[pyo3(signature = (shortest, longest, open_files))]
    fn new(shortest: f64, longest: f64, open_files: Option<usize>) -> PyResult<Self> {
        let time = |seconds| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|error| pyo3::exceptions::PyValueError::new_err(format!("{seconds} s: {error}")))
        };
        let mut watcher = HostWatcher::new(Pace { shortest: time(shortest)?, longest: time(longest)? });
        if let Some(most) = open_files {
            watcher = watcher.with_open_files(most);
        }
        let watched = Watched { watcher, ids: HashMap::new(), keys: HashMap::new() };
        Ok(Self { watched: Turns::new(watched), inbox: Mutex::default(), removed: Mutex::default() })
    }

    /// Begins to watch a node.
    fn add(&self, py: Python<'_>, key: u64, node: &Node) -> PyResult<()> {
        self.check_process(py, "watch")?;
        node.check_open(py, "watch")?;
        let (parts, memory) = (node.parts(), node.remembered());
        run(py, "watch", Asked::default(), |_, _| {
            let node = parts.assemble(memory.clone())?;
            self.leave_word(Word::Add(key, Box::new(node)));
            Ok(())
        })
    }

    /// Watches a node no longer; returns when nothing of it is kept open. The node takes over what was
    /// remembered of it.
    fn remove(&self, py: Python<'_>, key: u64, node: &Node) -> PyResult<()> {
        self.check_process(py, "watch")?;
        let left = run(py, "watch", Asked::default(), |control, _| {
            self.leave_word(Word::Remove(key));
            loop {
                if let Some(left) = lock(&self.removed).remove(&key) {
                    return Ok(left);
                }
                control.sleep(Duration::from_millis(1))?;
                // Whoever had it may not come back.
                if let Some(mut watched) = self.watched.try_take() {
                    self.read_inbox(&mut watched);
                }
            }
        })?;
        node.note_unrecorded(left.unrecorded);
        if left.memory.is_some() {
            // The shared directory may be gone, which is no reason not to be removed.
            let _ = node.remember(left.memory);
        }
        Ok(())
    }

    /// Waits for the next change: `(key, status, error)`. None where nobody is watched and `forever` is
    /// false, or when the token `stop` is cancelled.
    #[pyo3(signature = (forever, stop, timeout, cancel))]
    fn next(
        &self,
        py: Python<'_>,
        forever: bool,
        stop: &CancelToken,
        timeout: Option<f64>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<Option<Told>> {
        self.check_process(py, "watch")?;
        let stop = stop.0.clone();
        let change = run(py, "watch", Asked::new(timeout, cancel, None), |control, _| {
            loop {
                if stop.is_cancelled() {
                    return Ok(None);
                }
                match self.wait(control)? {
                    Outcome::Change(key, status) => return Ok(Some((key, status))),
                    Outcome::NobodyWatched if !forever => return Ok(None),
                    Outcome::NobodyWatched => control.sleep(SLICE)?,
                    Outcome::NothingYet => {}
                }
            }
        })?;
        let Some((key, status)) = change else { return Ok(None) };
        match status {
            Ok(status) => Ok(Some((key, Some(status), None))),
            Err(error) => {
                let raised = exception(py, "status", error);
                if !raised.is_instance_of::<PyException>(py) {
                    return Err(raised);
                }
                Ok(Some((key, None, Some(raised.into_value(py).into_any()))))
            }
        }
    }
}
