//! A node as C sees it, and what can be asked of it.

use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use nlxtp_host::control::CancelToken;
use nlxtp_host::error::{Error, ErrorKind, Result};
use nlxtp_host::node::{Node, Output};
use nlxtp_host::shared_directory::{self, BoxedDirectory};
use nlxtp_host::watcher::NodeId;
use rextfv_core::limits::Limits;

use crate::boundary::{Handle, Out, Owned, borrow, buffer, free, give, give_text, guard, invalid, path};
use crate::control::nlxtp_control;
use crate::descriptor;
use crate::error::{Failure, nlxtp_error, nlxtp_result};
use crate::node_options::{Wishes, nlxtp_node_options};
use crate::status::{Found, nlxtp_status};
use crate::watcher::Watching;

/// A virtual machine or container that is controlled through its shared directory. It belongs to
/// the caller, who frees it with nlxtp_node_free(). Any thread may use it, one at a time: a call
/// with a node that is in use, also from a callback, fails with NLXTP_ERROR_IN_USE.
pub struct nlxtp_node;

impl Handle for nlxtp_node {
    type Inner = OpenNode;
    const NAME: &'static str = "nlxtp_node";
    const TAG: u64 = 0x6e6c_7874_704e_4f44;
}

/// What is behind a node.
pub struct OpenNode {
    pub place: Arc<Mutex<Place>>,
    pub limits: Limits,
}

/// Where the node itself is.
pub enum Place {
    /// With its handle.
    Here(Box<Node>),
    /// With a watcher. A handle keeps what is behind the watcher, so that it can always be followed.
    Watched(Arc<Mutex<Watching>>, NodeId),
    /// Nowhere, after a panic.
    Lost,
}

impl OpenNode {
    fn new(directory: BoxedDirectory, wishes: Wishes) -> Result<Self> {
        let limits = wishes.limits;
        Ok(Self { place: Arc::new(Mutex::new(Place::Here(Box::new(wishes.node(directory)?)))), limits })
    }

    /// Does something with the node, wherever it is. Nobody waits for anybody here.
    pub fn with<T>(&self, act: impl FnOnce(&mut Node) -> Result<T>) -> Result<T> {
        match &mut *lock(&self.place, "another call is using this node")? {
            Place::Here(node) => act(node),
            Place::Watched(watching, id) => {
                let mut watching = lock(watching, "the watcher of this node is in use")?;
                act(watching.watcher.node_mut(*id).ok_or_else(lost)?)
            }
            Place::Lost => Err(lost()),
        }
    }
}

/// Locks what only one call may use at a time.
pub fn lock<'a, T>(mutex: &'a Mutex<T>, why_not: &str) -> Result<MutexGuard<'a, T>> {
    match mutex.try_lock() {
        Ok(guard) => Ok(guard),
        // A panic has left it as it was: nothing of it is half changed.
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(ErrorKind::InUse, why_not).with_hint("use one for each thread, or call again later"))
        }
    }
}

fn lost() -> Error {
    invalid("the node was lost in a fault of the library's".into())
}

/// Opens a node by the path of its shared directory: a directory is a container's, a file or block
/// device a virtual machine's disk (raw, with a FAT file system in partition 1 or as a whole).
/// `options` may be NULL. `node` gets the node, to be freed with nlxtp_node_free().
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_open(
    target: *const c_char,
    options: *const nlxtp_node_options,
    node: *mut *mut nlxtp_node,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_open", error, || {
        let out = Out::new(node, "nlxtp_node")?;
        let wishes = Wishes::read(options)?;
        let directory = shared_directory::open_with_limits(path(target, "target")?, wishes.limits)?;
        let opened = OpenNode::new(directory, wishes)?;
        out.set(|| give(opened));
        Ok(())
    })
}

/// The same by a descriptor of the directory, disk image or block device, wherever its name leads
/// meanwhile. The library takes a duplicate: the descriptor stays the caller's and may be closed. Each
/// operation opens it anew through /proc/self/fd, with the rights of the process, so how it was opened
/// does not matter. Nothing can take the place of what a descriptor leads to: an upload writes an image
/// file like a block device, so one that is cut off leaves NLXTP_ERROR_UNFINISHED.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_open_fd(
    target: c_int,
    options: *const nlxtp_node_options,
    node: *mut *mut nlxtp_node,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_open_fd", error, || {
        let out = Out::new(node, "nlxtp_node")?;
        let wishes = Wishes::read(options)?;
        let directory = shared_directory::open_fd_with_limits(descriptor::own(target)?.into(), wishes.limits)?;
        let opened = OpenNode::new(directory, wishes)?;
        out.set(|| give(opened));
        Ok(())
    })
}

/// Frees a node. It must not be in use; one that is watched stays watched. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_free(node: *mut nlxtp_node) {
    free(node);
}

/// What must be remembered for the next query, should that come from another process: a small JSON
/// value, UTF-8, for `memory` in nlxtp_node_options. `memory` gets NULL where there is nothing to
/// remember, and else a string to be freed with nlxtp_string_free().
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_memory(
    node: *const nlxtp_node,
    memory: *mut *mut c_char,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_memory", error, || {
        let out = Out::new(memory, "memory")?;
        let json = borrow(node)?.with(|node| {
            let json = node.memory().map(serde_json::to_string).transpose();
            json.map_err(|error| Error::new(ErrorKind::Io, error.to_string()))
        })?;
        out.set(|| json.map_or(std::ptr::null_mut(), |json| give_text(&json)));
        Ok(())
    })
}

/// Tells why something that was done with the node since this was asked last is not in its journal.
/// `failure` gets NULL where all of it is, or there is no journal, and else an error object, to be freed with
/// nlxtp_error_free(). What was done stands.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_journal_failure(
    node: *const nlxtp_node,
    failure: *mut *mut nlxtp_error,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_journal_failure", error, || {
        let out = Out::new(failure, "failure")?;
        let failed = borrow(node)?.with(|node| Ok(node.take_journal_failure()))?;
        out.set(|| failed.map_or(std::ptr::null_mut(), |failed| give(Failure::new("node_journal_failure", failed))));
        Ok(())
    })
}

/// Tells how far the run has come. A status that is just being written is read again, for at most a
/// second; one that cannot be read is no error but NLXTP_STATE_UNREADABLE. `status` gets what was
/// found, to be freed with nlxtp_status_free().
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_status(
    node: *const nlxtp_node,
    status: *mut *mut nlxtp_status,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_status", error, || {
        let out = Out::new(status, "nlxtp_status")?;
        let found = borrow(node)?.with(Node::status)?;
        out.set(|| give(Found::from(found)));
        Ok(())
    })
}

/// Is shown each status that differs from the one before, in the thread of the call. The status is
/// the library's and is gone when the callback returns. Returns 0, or anything else to cancel the wait, if it is not over anyway.
pub type nlxtp_change_fn = Option<extern "C" fn(user_data: *mut c_void, status: *const nlxtp_status) -> c_int>;

/// Queries the status until the run has ended one way or another: NLXTP_STATE_FINISHED,
/// NLXTP_STATE_MONITOR_STOPPED or NLXTP_STATE_GUEST_REBOOTED. `control`, which may be NULL, says how
/// long; its `progress` is not called. `on_change` may be NULL. NLXTP_ERROR_CHANGING: another upload
/// has begun a new run.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_wait(
    node: *const nlxtp_node,
    control: *const nlxtp_control,
    on_change: nlxtp_change_fn,
    user_data: *mut c_void,
    status: *mut *mut nlxtp_status,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_wait", error, || {
        let out = Out::new(status, "nlxtp_status")?;
        let (open, token) = (borrow(node)?, CancelToken::new());
        let control = crate::control::control(control)?.with_cancel(token.clone());
        let found = open.with(|node| {
            node.wait(&control, |report| {
                let Some(callback) = on_change else { return };
                let shown = Owned::<nlxtp_status>::new(Found::from(report.clone()));
                if callback(user_data, shown.get()) != 0 {
                    token.cancel();
                }
            })
        })?;
        out.set(|| give(Found::from(found)));
        Ok(())
    })
}

/// One of the start script's outputs.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum nlxtp_output {
    /// The standard output. Of ToMaTo's guest modules, both outputs together.
    NLXTP_OUTPUT_STDOUT = 1,
    /// The error output.
    NLXTP_OUTPUT_STDERR = 2,
}

/// Reads from one of the start script's outputs (a number of nlxtp_output), from `offset` on, and
/// never more than the status says to be on the disk. `length_read` gets how many bytes; 0 where
/// there are no more yet. The rest of the buffer is of no meaning afterwards, and all of it after a
/// failure.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_read_output(
    node: *const nlxtp_node,
    status: *const nlxtp_status,
    output: i32,
    offset: u64,
    bytes: *mut c_void,
    length: usize,
    length_read: *mut usize,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    const STDOUT: i32 = nlxtp_output::NLXTP_OUTPUT_STDOUT as i32;
    const STDERR: i32 = nlxtp_output::NLXTP_OUTPUT_STDERR as i32;
    guard("node_read_output", error, || {
        let out = Out::new(length_read, "number of bytes read")?;
        let output = match output {
            STDOUT => Output::Stdout,
            STDERR => Output::Stderr,
            other => return Err(invalid(format!("{other} is no nlxtp_output"))),
        };
        let (open, found, bytes) = (borrow(node)?, borrow(status)?, buffer(bytes, length)?);
        let read = open.with(|node| node.read_output(output, offset, &found.report, bytes))?;
        out.set(|| read);
        Ok(())
    })
}
