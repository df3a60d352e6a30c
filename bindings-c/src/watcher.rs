//! Many nodes watched at once, as C sees it.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::mem::replace;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use nlxtp_host::control::CancelToken;
use nlxtp_host::error::{Error, ErrorKind, Result};
use nlxtp_host::watcher::{Change, NodeId, Pace, Watcher};

use crate::boundary::{self, Handle, Out, Owned, UserData, borrow, free, get, give, guard, invalid, read_struct};
use crate::control::{control, nlxtp_control};
use crate::error::{Failure, nlxtp_error, nlxtp_result};
use crate::node::{Place, lock, nlxtp_node};
use crate::status::{Found, nlxtp_status};

/// Watches any number of nodes in one thread. It belongs to the caller, who frees it with
/// nlxtp_watcher_free(). Any thread may use it, one at a time: a call with a watcher that is in use
/// fails with NLXTP_ERROR_IN_USE, but for nlxtp_watcher_wake().
pub struct nlxtp_watcher;

impl Handle for nlxtp_watcher {
    type Inner = OpenWatcher;
    const NAME: &'static str = "nlxtp_watcher";
    const TAG: u64 = 0x6e6c_7874_7057_4154;
}

/// What is behind a watcher.
pub struct OpenWatcher {
    watching: Arc<Mutex<Watching>>,
    /// Wakes up who waits. Replaced when somebody was; held for no longer than that takes.
    wake: Mutex<CancelToken>,
}

/// A watcher and whose its nodes are. Who has locked a node's place may try to lock this, and who has
/// locked this may wait for a place: it is never the other way round.
pub struct Watching {
    pub watcher: Watcher,
    members: HashMap<u64, Member>,
}

struct Member {
    id: NodeId,
    /// Where the node goes when it is no longer watched. Gone with the node's handle.
    place: Weak<Mutex<Place>>,
    user_data: UserData,
}

impl Watching {
    /// Gives a node back to its handle, if there still is one.
    fn give_back(&mut self, number: u64) -> Option<()> {
        let member = self.members.remove(&number)?;
        let node = self.watcher.remove(member.id)?;
        if let Some(place) = member.place.upgrade() {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Place::Here(Box::new(node));
        }
        Some(())
    }
}

impl OpenWatcher {
    fn lock(&self) -> Result<MutexGuard<'_, Watching>> {
        lock(&self.watching, "another call is using this watcher, or a node that it watches")
    }

    fn next(&self, given: *const nlxtp_control, deadline: Option<Instant>) -> Result<Option<Told>> {
        let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut control = control(given)?.with_cancel(wake.clone());
        if deadline.is_some() {
            control = control.with_deadline(deadline);
        }
        let mut watching = self.lock()?;
        match watching.watcher.next(&control) {
            Ok(Some(change)) => {
                let user_data = watching.members.get(&change.node.as_u64()).map(|member| member.user_data);
                Ok(Some(Told::new(change, user_data)))
            }
            Ok(None) => {
                self.woken(&wake);
                Ok(None)
            }
            Err(error) if error.kind() == ErrorKind::Cancelled && self.woken(&wake) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether somebody was woken up by this; the next one is woken up by another.
    fn woken(&self, wake: &CancelToken) -> bool {
        let woken = wake.is_cancelled();
        if woken {
            *self.wake.lock().unwrap_or_else(PoisonError::into_inner) = CancelToken::new();
        }
        woken
    }
}

impl Drop for OpenWatcher {
    fn drop(&mut self) {
        // A call that uses one of the nodes just now, against what the header says, is left alone: its
        // handle keeps what it uses.
        if let Ok(mut watching) = self.lock() {
            let numbers: Vec<_> = watching.members.keys().copied().collect();
            for number in numbers {
                watching.give_back(number);
            }
        }
    }
}

/// How a watcher is to work. Fill it with zeros, which mean "as usual", then set `size` and what is
/// wanted. NULL in its place means: all as usual.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct nlxtp_watcher_options {
    /// sizeof(nlxtp_watcher_options).
    pub size: usize,
    /// Milliseconds before which no node is asked again; 0 for 100, and never less than 10.
    pub shortest_ms: u64,
    /// Milliseconds after which a node that is quiet is asked again; 0 for 5000.
    pub longest_ms: u64,
    /// Most files of nodes that are kept open; 0 for half of what the process may open at this moment
    /// (RLIMIT_NOFILE). A directory takes 4, a disk image 1; further nodes cost more to ask.
    pub open_files: u64,
}

const AS_USUAL: nlxtp_watcher_options = nlxtp_watcher_options { size: 0, shortest_ms: 0, longest_ms: 0, open_files: 0 };

boundary::growable!(nlxtp_watcher_options, AS_USUAL);

/// Makes what watches nodes, to be freed with nlxtp_watcher_free(). `options` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_watcher_new(
    options: *const nlxtp_watcher_options,
    watcher: *mut *mut nlxtp_watcher,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("watcher_new", error, || {
        let out = Out::new(watcher, "nlxtp_watcher")?;
        let options = read_struct(options)?.unwrap_or(AS_USUAL);
        let usual = Pace::default();
        let time = |given: u64, usual| if given == 0 { usual } else { Duration::from_millis(given) };
        let pace = Pace {
            shortest: time(options.shortest_ms, usual.shortest),
            longest: time(options.longest_ms, usual.longest),
        };
        let mut watcher = Watcher::new(pace);
        if options.open_files != 0 {
            watcher = watcher.with_open_files(usize::try_from(options.open_files).unwrap_or(usize::MAX));
        }
        let watching = Watching { watcher, members: HashMap::new() };
        out.set(|| give(OpenWatcher { watching: Arc::new(Mutex::new(watching)), wake: Mutex::default() }));
        Ok(())
    })
}

/// Begins to watch a node, whose first status is told soon. `user_data` is what its changes carry.
/// `id`, which may be NULL, gets a number from 1 that no other node of this watcher ever has.
///
/// The node stays the caller's. Its handle can be used as before whenever no call with the watcher is
/// under way (else: NLXTP_ERROR_IN_USE), so also in the callback of nlxtp_watcher_run(). It may be
/// freed: the node is watched on, and goes when it is removed. A node can be watched by one watcher.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_watcher_add(
    watcher: *const nlxtp_watcher,
    node: *const nlxtp_node,
    user_data: *mut c_void,
    id: *mut u64,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("watcher_add", error, || {
        let (watcher, node) = (borrow(watcher)?, borrow(node)?);
        let mut watching = watcher.lock()?;
        let mut place = lock(&node.place, "another call is using this node")?;
        let found = match replace(&mut *place, Place::Lost) {
            Place::Here(found) => found,
            other => {
                *place = other;
                return Err(invalid("the node is watched already".into()));
            }
        };
        let added = watching.watcher.add(*found);
        *place = Place::Watched(Arc::clone(&watcher.watching), added);
        let place = Arc::downgrade(&node.place);
        let member = Member { id: added, place, user_data: UserData::new(user_data) };
        watching.members.insert(added.as_u64(), member);
        Out::optional(id).set(|| added.as_u64());
        Ok(())
    })
}

/// Watches a node no longer. Its handle stays as it is, for the caller to use and to free. Fails with
/// NLXTP_ERROR_NOT_FOUND where no node of this number is watched.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_watcher_remove(
    watcher: *const nlxtp_watcher,
    id: u64,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("watcher_remove", error, || {
        let mut watching = borrow(watcher)?.lock()?;
        watching.give_back(id).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no node of number {id} is watched"))
                .with_hint("use the number that nlxtp_watcher_add() gave")
        })
    })
}

/// How many nodes are watched; 0 for NULL, and for a watcher that is in use by another call.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_watcher_count(watcher: *const nlxtp_watcher) -> usize {
    get(watcher, 0, |watcher| watcher.lock().map_or(0, |watching| watching.watcher.len()))
}

/// Waits for the next change of any node, asking them in turn. `control`, which may be NULL, says how
/// long; its `progress` is not called. A time of 0 asks whoever is due, without waiting.
///
/// `change` gets what has changed, to be freed with nlxtp_change_free(), or NULL where nobody is
/// watched or nlxtp_watcher_wake() was called. What fails about a node is told as its change, once; the
/// node is asked again like any other. A run that has ended is still watched, for another may begin. A
/// heartbeat alone is no change. After NLXTP_ERROR_TIMED_OUT and NLXTP_ERROR_CANCELLED, call again to
/// go on.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_watcher_next(
    watcher: *const nlxtp_watcher,
    control: *const nlxtp_control,
    change: *mut *mut nlxtp_change,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("watcher_next", error, || {
        let out = Out::new(change, "nlxtp_change")?;
        let found = borrow(watcher)?.next(control, None)?;
        out.set(|| found.map_or(std::ptr::null_mut(), give));
        Ok(())
    })
}

/// Is shown a change, in the thread of the call. The change is the library's and is gone when the
/// callback returns. It may use the watcher and its nodes, but not free the watcher. Returns 0 to go
/// on, or anything else to end nlxtp_watcher_run() with NLXTP_OK.
pub type nlxtp_watch_fn = Option<extern "C" fn(user_data: *mut c_void, change: *const nlxtp_change) -> c_int>;

/// Shows a callback one change after the other, as nlxtp_watcher_next() finds them, until the callback
/// says so, nobody is watched, or nlxtp_watcher_wake() is called: NLXTP_OK. Else it ends as
/// nlxtp_watcher_next() fails; the time in `control` is for all of it.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_watcher_run(
    watcher: *const nlxtp_watcher,
    control: *const nlxtp_control,
    on_change: nlxtp_watch_fn,
    user_data: *mut c_void,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("watcher_run", error, || {
        let callback = on_change.ok_or_else(|| invalid("the callback is NULL".into()))?;
        let watcher = borrow(watcher)?;
        let deadline = self::control(control)?.deadline();
        while let Some(told) = watcher.next(control, deadline)? {
            let shown = Owned::<nlxtp_change>::new(told);
            if callback(user_data, shown.get()) != 0 {
                break;
            }
        }
        Ok(())
    })
}

/// Lets the nlxtp_watcher_next() or nlxtp_watcher_run() that is under way return soon, with NLXTP_OK
/// and without a change; or else the next one. It is how another thread gets to use the watcher: it
/// says somewhere what it wants, and wakes the thread that watches. May be called from any thread, but
/// not from a signal handler. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_watcher_wake(watcher: *const nlxtp_watcher) {
    get(watcher, (), |watcher| watcher.wake.lock().unwrap_or_else(PoisonError::into_inner).cancel());
}

/// Frees a watcher, and the nodes whose handles were freed before; all others are watched no longer.
/// Neither it nor its nodes may be in use. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_watcher_free(watcher: *mut nlxtp_watcher) {
    free(watcher);
}

/// What has changed about one node. It never changes itself, and any thread may read it. It belongs to
/// the caller, who frees it with nlxtp_change_free(); what its functions return belongs to it.
pub struct nlxtp_change;

impl Handle for nlxtp_change {
    type Inner = Told;
    const NAME: &'static str = "nlxtp_change";
    const TAG: u64 = 0x6e6c_7874_7043_4847;
}

/// What is behind a change.
pub struct Told {
    node: u64,
    user_data: Option<UserData>,
    status: std::result::Result<Owned<nlxtp_status>, Owned<nlxtp_error>>,
}

impl Told {
    fn new(change: Change, user_data: Option<UserData>) -> Self {
        let status = match change.status {
            Ok(report) => Ok(Owned::new(Found::from(report))),
            Err(error) => Err(Owned::new(Failure::new("watcher_next", error))),
        };
        Self { node: change.node.as_u64(), user_data, status }
    }
}

/// The number of the node, as nlxtp_watcher_add() gave it; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_change_node(change: *const nlxtp_change) -> u64 {
    get(change, 0, |told| told.node)
}

/// What nlxtp_watcher_add() was given with the node; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_change_user_data(change: *const nlxtp_change) -> *mut c_void {
    get(change, std::ptr::null_mut(), |told| told.user_data.map_or(std::ptr::null_mut(), UserData::get))
}

/// The node's status now; NULL where it cannot be asked, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_change_status(change: *const nlxtp_change) -> *const nlxtp_status {
    get(change, std::ptr::null(), |told| told.status.as_ref().map_or(std::ptr::null(), Owned::get))
}

/// Why the node cannot be asked; NULL where it can, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_change_error(change: *const nlxtp_change) -> *const nlxtp_error {
    get(change, std::ptr::null(), |told| told.status.as_ref().err().map_or(std::ptr::null(), Owned::get))
}

/// Frees a change. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_change_free(change: *mut nlxtp_change) {
    free(change);
}
