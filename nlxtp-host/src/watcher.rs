//! Many nodes watched at once: whoever manages a testbed is told what changes, in one thread.
//!
//! Each node is asked by itself in turn, often while it changes and seldom while it is quiet. There
//! is one ordered queue of who is to be asked when, and no thread but the caller's. Directories are
//! asked earlier when the kernel tells of a change in them (`notices.rs`).
//!
//! To ask a quiet node is one system call: its directory must still be the one of which the kernel has
//! told nothing, or its disk's image have the same time of change. What makes neither show, such as a
//! write by a mapping of the file, is found after ten seconds at the latest, for then everything is read
//! again.
//!
//! A query is a few calls to the host's file system. Should one hang, because the shared directory
//! lies on a network file system that does not answer, all nodes wait for it: put such nodes into a
//! watcher of their own.

#![forbid(unsafe_code)]

mod notices;

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rextfv_core::liveness::State;
use rextfv_core::operations::StatusReport;
use rextfv_core::retry::RetryPolicy;

use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::node::{Look, Node};
use notices::Notices;

/// How often nodes are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// No node is asked again sooner than this, but for a status that was just being written. At
    /// least 10 ms.
    pub shortest: Duration,
    /// Each query that finds nothing new doubles the pause before the next one, up to this.
    pub longest: Duration,
}

impl Default for Pace {
    /// From 100 ms to 5 s.
    fn default() -> Self {
        Self { shortest: Duration::from_millis(100), longest: Duration::from_secs(5) }
    }
}

/// A node among those that are watched. No two nodes of a watcher ever have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

impl NodeId {
    /// As a number, for other languages.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// What has changed about one node.
#[derive(Debug)]
pub struct Change {
    /// The node.
    pub node: NodeId,
    /// Its status now, or why it cannot be asked. A node that fails is asked again like any other,
    /// and the failure is told once.
    pub status: Result<StatusReport>,
}

/// Watches any number of nodes.
///
/// ```no_run
/// use nlxtp_host::control::Control;
/// use nlxtp_host::node::Node;
/// use nlxtp_host::shared_directory;
/// use nlxtp_host::watcher::{Pace, Watcher};
///
/// let mut watcher = Watcher::new(Pace::default());
/// for path in ["node1.img", "/srv/node2"] {
///     watcher.add(Node::from_boxed(shared_directory::open(path)?));
/// }
/// while let Some(change) = watcher.next(&Control::none())? {
///     match change.status {
///         Ok(report) if report.done() => drop(watcher.remove(change.node)),
///         Ok(report) => println!("{:?}: {}", change.node, report.state.word()),
///         Err(error) => println!("{:?}: {error}", change.node),
///     }
/// }
/// # Ok::<(), nlxtp_host::error::Error>(())
/// ```
pub struct Watcher {
    pace: Pace,
    nodes: HashMap<NodeId, Watched>,
    /// Who is to be asked when.
    queue: BTreeSet<(Instant, NodeId)>,
    next_id: u64,
    /// Files that may still be kept open.
    files_left: usize,
    /// Bytes of records that are kept.
    kept_bytes: usize,
    notices: Notices,
    hasher: RandomState,
}

struct Watched {
    node: Node,
    due: Instant,
    asked: Option<Instant>,
    pause: Duration,
    /// A digest of what was told last.
    told: Option<u64>,
    /// The look that it was found by.
    look: Option<Look>,
    /// Of the record that it was found in.
    sequence: Option<u64>,
    /// Times in a row that its status could not be read.
    unreadable: u32,
    files: usize,
    kept_bytes: usize,
}

/// Who waits wakes up no more often than this, and then asks all who are due.
const TICK: Duration = Duration::from_millis(10);

/// Between two looks for a cancellation.
const SLICE: Duration = Duration::from_millis(50);

/// Bytes of records that are kept of all nodes together, and those of each beyond which that counts.
const MOST_KEPT_BYTES: usize = 16 << 20;
const FEW_KEPT_BYTES: usize = 2 << 10;

/// Lets this process open as many files as it may: raises the soft limit to the hard one. Returns how many
/// that are.
///
/// The limit is the process's, and that of programs that it starts: this is for its owner to decide. A
/// program that uses `select` must not have more than 1024 files open.
///
/// # Errors
/// The limit cannot be found out or raised.
pub fn raise_open_files() -> Result<u64> {
    let doing = |errno: nix::Error| Error::io("raise the number of files that may be open", errno.into());
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(doing)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(doing)?;
    }
    Ok(hard)
}

impl Watcher {
    /// Watches nobody yet.
    ///
    /// It keeps files of its nodes open, but no more than half of what the process may open (its soft
    /// limit at this moment); further nodes are opened anew for each query that reads anything, which
    /// costs more. For thousands of nodes, raise the limit before ([`raise_open_files`]): 5 files for each
    /// directory, 1 for each disk image.
    pub fn new(pace: Pace) -> Self {
        let shortest = pace.shortest.max(TICK);
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
        Self {
            pace: Pace { shortest, longest: pace.longest.max(shortest) },
            nodes: HashMap::new(),
            queue: BTreeSet::new(),
            next_id: 1,
            files_left: usize::try_from(soft / 2).unwrap_or(usize::MAX),
            kept_bytes: 0,
            notices: Notices::new(),
            hasher: RandomState::new(),
        }
    }

    /// The same, keeping at most so many files open.
    #[must_use]
    pub fn with_open_files(mut self, most: usize) -> Self {
        self.files_left = most;
        self
    }

    /// Begins to watch a node. Its first status is a change, and is told next.
    pub fn add(&mut self, mut node: Node) -> NodeId {
        let id = NodeId(self.next_id);
        self.next_id += 1;
        let mut files = node.keep_open(true);
        if files > self.files_left {
            node.keep_open(false);
            files = 0;
        }
        self.files_left -= files;
        node.note_looks(true);
        self.notices.watch(id, node.directory());
        let due = Instant::now();
        let pause = self.pace.shortest;
        let watched = Watched {
            node,
            due,
            asked: None,
            pause,
            told: None,
            look: None,
            sequence: None,
            unreadable: 0,
            files,
            kept_bytes: 0,
        };
        self.nodes.insert(id, watched);
        self.queue.insert((due, id));
        id
    }

    /// Watches a node no longer, and gives it back with nothing of it kept open.
    pub fn remove(&mut self, id: NodeId) -> Option<Node> {
        let mut watched = self.nodes.remove(&id)?;
        self.queue.remove(&(watched.due, id));
        self.files_left += watched.files;
        self.kept_bytes -= watched.kept_bytes;
        self.notices.forget(id);
        watched.node.keep_open(false);
        Some(watched.node)
    }

    /// A node that is watched; its [`memory`](Node::memory), for example.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id).map(|watched| &watched.node)
    }

    /// The same, to be used in between: for an upload, say.
    pub fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(&id).map(|watched| &mut watched.node)
    }

    /// How many nodes are watched.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nobody is watched.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Waits for the next change of any node, asking them in turn. `None` where nobody is watched.
    ///
    /// A run that has ended is still watched, for another one may begin. A heartbeat alone is no
    /// change.
    ///
    /// # Errors
    /// [`TimedOut`](crate::error::ErrorKind::TimedOut) or
    /// [`Cancelled`](crate::error::ErrorKind::Cancelled) as the control says; go on by calling again.
    /// Nodes that are due when the call begins are asked even if there is no time: so a deadline of now
    /// looks without waiting. What fails about a node is told as its change.
    pub fn next(&mut self, control: &Control<'_>) -> Result<Option<Change>> {
        let begun = Instant::now();
        loop {
            let Some(&(due, id)) = self.queue.first() else { return Ok(None) };
            match control.check() {
                Err(error) if error.kind() == ErrorKind::TimedOut && due <= begun => {}
                checked => checked?,
            }
            let now = Instant::now();
            if due > now {
                self.rest(now, due, control);
            } else if self.notices.is_due(now, begun) {
                self.hear(now);
            } else if let Some(change) = self.ask(id) {
                return Ok(Some(change));
            }
        }
    }

    /// Sleeps until somebody is due, but not long, and takes what the kernel tells meanwhile.
    fn rest(&mut self, now: Instant, due: Instant, control: &Control<'_>) {
        let due = control.deadline().map_or(due.max(now + TICK), |deadline| due.max(now + TICK).min(deadline));
        self.notices.wait(due.saturating_duration_since(now).min(SLICE));
        self.hear(now);
    }

    /// Takes what the kernel has told, and has those asked soon whom it is about.
    fn hear(&mut self, now: Instant) {
        for id in self.notices.take() {
            let Some(watched) = self.nodes.get_mut(&id) else { continue };
            let soonest = watched.asked.map_or(now, |asked| asked + self.pace.shortest);
            if soonest < watched.due {
                self.queue.remove(&(watched.due, id));
                watched.due = soonest;
                self.queue.insert((soonest, id));
            }
        }
    }

    /// Asks one node, and tells if there is news.
    fn ask(&mut self, id: NodeId) -> Option<Change> {
        let watched = self.nodes.get_mut(&id)?;
        let is_quiet = || self.notices.is_quiet(id, watched.node.directory());
        if watched.look.as_ref().is_some_and(|look| watched.node.is_as_seen(look, is_quiet)) {
            self.ask_later(id, None);
            return None;
        }
        self.notices.begin(id);
        let mut status = watched.node.status_with(&RetryPolicy::NEVER);
        let now = Instant::now();
        watched.asked = Some(now);
        let seen_before = watched.look.is_some();
        watched.look = watched.node.last_look();
        let sequence = status.as_ref().ok().and_then(|report| report.sequence);
        let changed = std::mem::replace(&mut watched.sequence, sequence) != sequence;

        let retry = watched.count_unreadable(&mut status);
        let told = digest(&self.hasher, &status);
        let news = retry.is_none() && watched.told != Some(told);
        if news {
            watched.told = Some(told);
            watched.pause = self.pace.shortest;
        }
        self.ask_later(id, retry.or(news.then_some(self.pace.shortest)));
        if seen_before && (changed || news) {
            self.hear(now);
            self.notices.has_changed(id);
        }
        self.renew(id);
        self.keep_few(id);
        news.then_some(Change { node: id, status })
    }

    /// Has a node asked again after this pause, or after one that is twice as long each time.
    fn ask_later(&mut self, id: NodeId, pause: Option<Duration>) {
        let Some(watched) = self.nodes.get_mut(&id) else { return };
        let patience = watched.node.patience_left().unwrap_or(Duration::MAX);
        let due = Instant::now() + pause.unwrap_or(watched.pause).min(patience.max(TICK));
        if pause.is_none() {
            watched.pause = (watched.pause * 2).min(self.pace.longest);
        }
        self.queue.remove(&(watched.due, id));
        watched.due = due;
        self.queue.insert((due, id));
    }

    /// Has the kernel tell of what else there is by now.
    fn renew(&mut self, id: NodeId) {
        if let Some(watched) = self.nodes.get(&id) {
            self.notices.renew(id, watched.node.directory());
        }
    }

    /// Sees to it that the records of all nodes do not fill the memory.
    fn keep_few(&mut self, id: NodeId) {
        let Some(watched) = self.nodes.get_mut(&id) else { return };
        self.kept_bytes -= watched.kept_bytes;
        watched.kept_bytes = watched.node.kept_bytes();
        if watched.kept_bytes > FEW_KEPT_BYTES && self.kept_bytes + watched.kept_bytes > MOST_KEPT_BYTES {
            watched.node.drop_kept_bytes();
            watched.kept_bytes = 0;
        }
        self.kept_bytes += watched.kept_bytes;
    }
}

impl Watched {
    /// How soon to look again at a status that may just be written; `None` where it can be read, or
    /// was looked at often enough to be told unreadable.
    fn count_unreadable(&mut self, status: &mut Result<StatusReport>) -> Option<Duration> {
        let policy = RetryPolicy::STATUS;
        match status {
            Ok(report) if report.state == State::Unreadable => {
                let looks = self.unreadable + 1;
                report.attempts = looks;
                self.unreadable = looks.min(policy.attempts);
                let pause = policy.interval * policy.backoff.pow(looks.min(policy.attempts) - 1);
                (looks < policy.attempts).then_some(pause.min(policy.longest_interval))
            }
            _ => {
                self.unreadable = 0;
                None
            }
        }
    }
}

/// A digest of what somebody who watches wants to hear of; how long the guest was silent, say, is no
/// news.
fn digest(hasher: &RandomState, status: &Result<StatusReport>) -> u64 {
    let mut hasher = hasher.build_hasher();
    match status {
        Ok(report) => {
            let StatusReport { state, reason, dialect, custom, exit_code, signal, timed_out, .. } = report;
            (0u8, state, dialect, custom, exit_code, signal, timed_out).hash(&mut hasher);
            (report.run_id, report.progress, report.stdout_bytes, report.stderr_bytes, report.truncated)
                .hash(&mut hasher);
            if matches!(state, State::NotStarted | State::Unreadable) {
                reason.hash(&mut hasher);
            }
        }
        Err(error) => (1u8, error.kind(), error.to_string()).hash(&mut hasher),
    }
    hasher.finish()
}
