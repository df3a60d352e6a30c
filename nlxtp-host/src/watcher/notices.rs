//! What the kernel tells of changes in directories (inotify).
//!
//! Only a hint that a node be asked soon: a guest on another kernel, an overlay or a full queue keep
//! changes from being told, and the node is then asked when its turn comes.
//!
//! What is watched is reached by handle beneath the shared directory, so no link of the guest's leads
//! the host to watch something else. A guest that causes many events is not watched for a while.

#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::stat::SFlag;
use rextfv_core::shared_directory::SharedDirectory;

use super::{NodeId, TICK};
use crate::error::Error;
use crate::shared_directory::host_directory::status_handles;

/// Events between two queries of a node beyond which it is not watched for a while.
const MANY_EVENTS: u32 = 256;

/// Times that the queue is read before the watcher goes on with its work: some hundred events each.
const READS: usize = 16;

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
        for (handle, kind) in status_handles(path) {
            let flags = if kind == SFlag::S_IFDIR { NAMES } else { AddWatchFlags::IN_MODIFY };
            match inotify.add_watch(handle.path().as_str(), flags) {
                // One directory in two nodes is told to the one that was added last.
                Ok(watch) => {
                    self.watches.insert(watch, id);
                    state.watches.push(watch);
                }
                Err(nix::Error::ENOSPC) => self.full = true,
                Err(_) => {}
            }
        }
        let gone: Vec<_> = before.into_iter().filter(|watch| !state.watches.contains(watch)).collect();
        for watch in gone {
            self.unwatch(id, watch);
        }
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
                // Those of a watch that was removed meanwhile lead to nobody.
                let Some(&id) = self.watches.get(&event.wd) else { continue };
                let Some(state) = self.nodes.get_mut(&id) else { continue };
                told.insert(id);
                state.renew |= !event.mask.contains(AddWatchFlags::IN_MODIFY);
                state.events += 1;
                if state.events > MANY_EVENTS {
                    flooding.insert(id);
                }
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    self.watches.remove(&event.wd);
                }
            }
        }
        for id in flooding {
            let Some(state) = self.nodes.get_mut(&id) else { continue };
            state.unwatched = QUERIES_UNWATCHED;
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
