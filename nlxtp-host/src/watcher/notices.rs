//! What the kernel tells of changes in directories (inotify).
//!
//! A notice is a hint that a node be asked soon. That there is none is taken for a sign that nothing has
//! changed, but only where all that a query reads is watched, on a file system of this kernel, and for
//! some seconds. A guest on another kernel, an overlay or a mapping of a file keep changes from being
//! told: where that shows, silence means nothing any more.
//!
//! What is watched is reached by handle beneath the shared directory, so no link of the guest's leads
//! the host to watch something else. A guest that causes many events is not watched for a while.

#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::stat::{SFlag, stat};
use rextfv_core::shared_directory::SharedDirectory;

use super::{NodeId, TICK};
use crate::error::Error;
use crate::shared_directory::beneath::Identity;
use crate::shared_directory::change_time::Keeper;
use crate::shared_directory::host_directory::status_handles;

/// Events between two queries of a node beyond which it is not watched for a while.
const MANY_EVENTS: u32 = 256;

/// Times that the queue is read before the watcher goes on with its work: some hundred events each.
const READS: usize = 16;

/// Changes of a node that were not told, before its silence means nothing: one may just have come
/// between query and notice.
const MOST_UNTOLD: u32 = 2;

/// Queries without a watch after too many events.
const QUERIES_UNWATCHED: u32 = 8;

/// The kernel's notices of all nodes.
pub(super) struct Notices {
    /// `None` where there is none to be had.
    inotify: Option<Inotify>,
    watches: HashMap<WatchDescriptor, NodeId>,
    nodes: HashMap<NodeId, State>,
    /// The kernel takes no more watches.
    full: bool,
    taken: Instant,
}

#[derive(Default)]
struct State {
    watches: Vec<WatchDescriptor>,
    /// The directory, if all in it that a query reads is watched.
    complete: Option<Identity>,
    /// Something has happened since the last query began.
    news: bool,
    /// The same of the query before.
    told: bool,
    /// Changes that were seen and not told.
    untold: u32,
    /// Since the last query.
    events: u32,
    /// Queries to come before it is watched again.
    unwatched: u32,
    /// Names have changed: other files may have to be watched.
    renew: bool,
}

impl Notices {
    pub fn new() -> Self {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
        Self { inotify, watches: HashMap::new(), nodes: HashMap::new(), full: false, taken: Instant::now() }
    }

    /// Begins to watch a node's directory, if it has one.
    pub fn watch(&mut self, id: NodeId, directory: &(dyn SharedDirectory<Error = Error> + Send + Sync)) {
        let (Some(inotify), Some(path), false) = (&self.inotify, directory.host_directory(), self.full) else { return };
        let state = self.nodes.entry(id).or_default();
        let before = std::mem::take(&mut state.watches);
        // What happened before there was a watch was not told.
        state.news = true;
        let mut complete = None;
        let mut shared = Vec::new();
        for (handle, kind) in status_handles(path) {
            if state.watches.is_empty() && handle.keeper() == Keeper::Kernel {
                complete = handle.identity().ok();
            }
            let flags = if kind == SFlag::S_IFDIR { NAMES } else { AddWatchFlags::IN_MODIFY };
            match inotify.add_watch(handle.path().as_str(), flags) {
                // One directory in two nodes is told to the one that was added last.
                Ok(watch) => {
                    let other = self.watches.insert(watch, id).filter(|&other| other != id);
                    state.watches.push(watch);
                    shared.extend(other);
                }
                Err(errno) => {
                    self.full |= errno == nix::Error::ENOSPC;
                    complete = None;
                }
            }
        }
        state.complete = complete.filter(|_| !state.watches.is_empty());
        let gone: Vec<_> = before.into_iter().filter(|watch| !state.watches.contains(watch)).collect();
        for watch in gone {
            self.unwatch(id, watch);
        }
        for other in shared {
            if let Some(state) = self.nodes.get_mut(&other) {
                state.complete = None;
            }
        }
    }

    /// Whether a node's directory is as it was when the last query of it began, as far as the kernel has
    /// told until the notices were taken last.
    pub fn is_quiet(&self, id: NodeId, directory: &(dyn SharedDirectory<Error = Error> + Send + Sync)) -> bool {
        let Some(state) = self.nodes.get(&id).filter(|state| !state.news && state.untold < MOST_UNTOLD) else {
            return false;
        };
        // Its path may lead elsewhere by now: the guest has been stopped and started, say.
        let found = || stat(Path::new(OsStr::from_bytes(directory.host_directory()?))).ok();
        state.complete.is_some_and(|known| found().is_some_and(|found| Identity::from(&found) == known))
    }

    /// To be called before each query of a node.
    pub fn begin(&mut self, id: NodeId) {
        if let Some(state) = self.nodes.get_mut(&id) {
            state.told = std::mem::take(&mut state.news);
        }
    }

    /// To be called where a query has found a change, and all notices were taken since.
    pub fn has_changed(&mut self, id: NodeId) {
        if let Some(state) = self.nodes.get_mut(&id) {
            state.untold += u32::from(state.complete.is_some() && !state.told && !state.news);
        }
    }

    /// Whether it is time to take notices again, for somebody who began to wait then.
    pub fn is_due(&self, now: Instant, begun: Instant) -> bool {
        self.taken < begun || now.saturating_duration_since(self.taken) >= TICK
    }

    /// To be called after each query of a node.
    pub fn renew(&mut self, id: NodeId, directory: &(dyn SharedDirectory<Error = Error> + Send + Sync)) {
        let Some(state) = self.nodes.get_mut(&id) else { return };
        state.events = 0;
        if state.unwatched > 0 {
            state.unwatched -= 1;
            state.renew = state.unwatched == 0;
        } else if std::mem::take(&mut state.renew) {
            self.watch(id, directory);
        }
    }

    pub fn forget(&mut self, id: NodeId) {
        for watch in self.nodes.remove(&id).map(|state| state.watches).unwrap_or_default() {
            self.unwatch(id, watch);
        }
    }

    fn unwatch(&mut self, id: NodeId, watch: WatchDescriptor) {
        if self.watches.get(&watch) == Some(&id) {
            self.watches.remove(&watch);
            if let Some(inotify) = &self.inotify {
                // Gone with its file, perhaps.
                let _ = inotify.rm_watch(watch);
            }
        }
    }

    /// Waits so long, or until there is a notice.
    pub fn wait(&self, time: Duration) {
        let (false, Some(inotify)) = (self.watches.is_empty(), &self.inotify) else {
            return sleep(time);
        };
        // Guests that cause one event after the other do not wake it up for each.
        let at_least = TICK.saturating_sub(self.taken.elapsed()).min(time);
        sleep(at_least);
        let timeout = PollTimeout::try_from(time - at_least).unwrap_or(PollTimeout::ZERO);
        // However it ends, the caller looks what there is to do.
        let _ = poll(&mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)], timeout);
    }

    /// The nodes about which there were notices.
    pub fn take(&mut self) -> HashSet<NodeId> {
        self.taken = Instant::now();
        let mut told = HashSet::new();
        let mut flooding = HashSet::new();
        let Some(inotify) = self.inotify.as_ref().filter(|_| !self.watches.is_empty()) else { return told };
        for _ in 0..READS {
            let Ok(events) = inotify.read_events() else { break };
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    self.nodes.values_mut().for_each(|state| state.news = true);
                }
                // Those of a watch that was removed meanwhile lead to nobody.
                let Some(&id) = self.watches.get(&event.wd) else { continue };
                let Some(state) = self.nodes.get_mut(&id) else { continue };
                told.insert(id);
                state.news = true;
                state.renew |= !event.mask.contains(AddWatchFlags::IN_MODIFY);
                state.events += 1;
                if state.events > MANY_EVENTS {
                    flooding.insert(id);
                }
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    self.watches.remove(&event.wd);
                    state.complete = None;
                }
            }
        }
        for id in flooding {
            let Some(state) = self.nodes.get_mut(&id) else { continue };
            state.unwatched = QUERIES_UNWATCHED;
            state.complete = None;
            for watch in std::mem::take(&mut state.watches) {
                self.unwatch(id, watch);
            }
        }
        told
    }
}

/// What happens to names, and the writing of whole files, as shells do it.
const NAMES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_directory::HostDirectory;
    use std::fs;

    const ID: NodeId = NodeId(7);

    fn told(notices: &mut Notices) -> bool {
        notices.wait(Duration::from_millis(20));
        notices.take().contains(&ID)
    }

    #[test]
    fn changes_of_names_and_slots_are_told_and_others_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let directory = HostDirectory::open(scratch.path()).unwrap();
        let mut notices = Notices::new();
        notices.watch(ID, &directory);
        assert!(!told(&mut notices));
        fs::create_dir(at("exec_status")).unwrap();
        assert!(told(&mut notices));
        notices.renew(ID, &directory);
        fs::write(at("exec_status/status.0"), b"first").unwrap();
        assert!(told(&mut notices));
        notices.renew(ID, &directory);
        let slot = fs::File::options().write(true).open(at("exec_status/status.0")).unwrap();
        assert!(!told(&mut notices));
        std::os::unix::fs::FileExt::write_all_at(&slot, b"again", 0).unwrap();
        assert!(told(&mut notices), "a write in place, the file still open");
        fs::create_dir(at("d")).unwrap();
        assert!(told(&mut notices));
        fs::write(at("d/file"), b"elsewhere").unwrap();
        assert!(!told(&mut notices));
        notices.forget(ID);
        fs::create_dir(at("e")).unwrap();
        assert!(!told(&mut notices));
        assert!(notices.watches.is_empty());
    }

    /// On a file system whose changes the kernel tells.
    fn scratch() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").unwrap()
    }

    /// What the watcher does to query a node.
    fn query(notices: &mut Notices, directory: &HostDirectory) {
        notices.begin(ID);
        notices.renew(ID, directory);
    }

    #[test]
    fn silence_means_something_only_where_all_is_watched() {
        let scratch = scratch();
        let at = |name: &str| scratch.path().join(name);
        let directory = HostDirectory::open(scratch.path()).unwrap();
        let mut notices = Notices::new();
        assert!(!notices.is_quiet(ID, &directory));
        notices.watch(ID, &directory);
        assert!(!notices.is_quiet(ID, &directory), "not looked at yet");
        query(&mut notices, &directory);
        assert!(notices.is_quiet(ID, &directory));

        fs::create_dir(at("exec_status")).unwrap();
        assert!(told(&mut notices) && !notices.is_quiet(ID, &directory));
        // What is watched now may have changed before it was.
        query(&mut notices, &directory);
        assert!(!notices.is_quiet(ID, &directory));
        query(&mut notices, &directory);
        assert!(notices.is_quiet(ID, &directory));

        // Another directory at its place is not the one that is watched.
        let away = scratch.path().with_extension("away");
        fs::rename(scratch.path(), &away).unwrap();
        fs::create_dir(scratch.path()).unwrap();
        assert!(!notices.is_quiet(ID, &directory));
        fs::remove_dir(scratch.path()).unwrap();
        fs::rename(&away, scratch.path()).unwrap();
        assert!(told(&mut notices));
        query(&mut notices, &directory);
        query(&mut notices, &directory);
        assert!(notices.is_quiet(ID, &directory));

        // Of two nodes with one directory, only the last hears of it.
        let other = NodeId(8);
        notices.watch(other, &directory);
        notices.begin(other);
        assert!(notices.is_quiet(other, &directory) && !notices.is_quiet(ID, &directory));
    }

    #[test]
    fn who_misses_changes_is_not_believed_any_more() {
        let scratch = scratch();
        let directory = HostDirectory::open(scratch.path()).unwrap();
        let mut notices = Notices::new();
        notices.watch(ID, &directory);
        query(&mut notices, &directory);
        // Told before the query, or after it: all is well.
        fs::write(scratch.path().join("name"), b"").unwrap();
        assert!(told(&mut notices));
        for _ in 0..MOST_UNTOLD {
            query(&mut notices, &directory);
            notices.has_changed(ID);
            fs::write(scratch.path().join("name"), b"").unwrap();
            assert!(told(&mut notices));
            notices.has_changed(ID);
        }
        query(&mut notices, &directory);
        query(&mut notices, &directory);
        assert!(notices.is_quiet(ID, &directory));
        for _ in 0..MOST_UNTOLD {
            assert!(notices.is_quiet(ID, &directory));
            query(&mut notices, &directory);
            notices.has_changed(ID);
        }
        assert!(!notices.is_quiet(ID, &directory));
    }

    #[test]
    fn links_of_the_guest_are_not_watched() {
        let scratch = tempfile::tempdir().unwrap();
        let (shared, outside) = (scratch.path().join("shared"), scratch.path().join("outside"));
        fs::create_dir(&shared).unwrap();
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, shared.join("exec_status")).unwrap();
        let mut notices = Notices::new();
        notices.watch(ID, &HostDirectory::open(&shared).unwrap());
        fs::write(outside.join("status.0"), b"").unwrap();
        assert!(!told(&mut notices));
    }

    #[test]
    fn a_flood_ends_the_watching_for_a_while() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = HostDirectory::open(scratch.path()).unwrap();
        let mut notices = Notices::new();
        notices.watch(ID, &directory);
        for _ in 0..=MANY_EVENTS {
            let name = scratch.path().join("name");
            fs::write(&name, b"").unwrap();
            fs::remove_file(name).unwrap();
        }
        assert!(told(&mut notices));
        assert!(notices.watches.is_empty());
        // What was still queued leads to nobody.
        while !notices.take().is_empty() {}
        for _ in 0..=QUERIES_UNWATCHED {
            fs::write(scratch.path().join("name"), b"").unwrap();
            assert!(!told(&mut notices));
            notices.renew(ID, &directory);
        }
        fs::write(scratch.path().join("other"), b"").unwrap();
        assert!(told(&mut notices));
    }
}
