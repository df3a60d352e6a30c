//! Many nodes watched at once.

mod archives;
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stores;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use archives::{SCRIPT, archive};
use nix::sys::resource::{Resource, getrlimit};
use nlxtp_host::control::{CancelToken, Control};
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::{BoxedDirectory, MemoryDirectory};
use nlxtp_host::watcher::{Change, NodeId, Pace, Watcher, raise_open_files};
use rextfv_core::archive_rules::Manifest;
use rextfv_core::ids::RunId;
use rextfv_core::liveness::{LivenessRules, State};
use rextfv_core::operations::StatusReport;
use rextfv_core::shared_directory::{BegunReplacement, Representation, SharedDirectory, Sharing, Version, View, Watch};
use rextfv_core::status::{Ending, RunState, Status};
use rextfv_core::status_codec;
use stores::{DiskStore, HostStore, MemoryStore, Store, running};

const QUICK: Pace = Pace { shortest: Duration::from_millis(10), longest: Duration::from_millis(200) };

/// Nobody is asked again by himself in the time that a test takes.
const SLOW: Pace = Pace { shortest: Duration::from_millis(10), longest: Duration::from_secs(3600) };

fn status(run: Option<RunId>, sequence: u64) -> Status {
    Status { run, ..running(sequence) }
}

fn report(store: &dyn Store, status: &Status) {
    let mut slot = status_codec::encode(status).unwrap();
    slot.resize(8192, 0);
    store.guest_writes(["exec_status/status.0", "exec_status/status.1"][usize::from(status.sequence % 2 == 1)], &slot);
}

fn within(seconds: u64) -> Control<'static> {
    Control::none().with_deadline(Some(Instant::now() + Duration::from_secs(seconds)))
}

fn next(watcher: &mut Watcher) -> Change {
    watcher.next(&within(60)).unwrap().expect("somebody is watched")
}

fn next_report(watcher: &mut Watcher) -> (NodeId, StatusReport) {
    let change = next(watcher);
    (change.node, change.status.unwrap())
}

/// What is told until nothing is for so long.
fn all_told(watcher: &mut Watcher, quiet: Duration) -> Vec<(NodeId, StatusReport)> {
    let mut told = Vec::new();
    loop {
        match watcher.next(&Control::none().with_deadline(Some(Instant::now() + quiet))) {
            Ok(change) => {
                let change = change.unwrap();
                told.push((change.node, change.status.unwrap()));
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                return told;
            }
        }
    }
}

#[test]
fn every_change_of_hundreds_of_nodes_is_told_once() {
    let mut stores: Vec<Box<dyn Store>> = Vec::new();
    for number in 0..300 {
        stores.push(match number % 10 {
            0 => Box::new(DiskStore::new()),
            1..7 => Box::new(HostStore::new()),
            _ => Box::new(MemoryStore::new(Representation::Fat)),
        });
    }
    // Some are kept open and some are not.
    let mut watcher = Watcher::new(QUICK).with_open_files(500);
    let ids: Vec<NodeId> = stores
        .iter()
        .map(|store| {
            report(&**store, &status(None, 1));
            watcher.add(Node::from_boxed(store.open()))
        })
        .collect();
    assert_eq!(watcher.len(), 300);
    let mut first = BTreeSet::new();
    for _ in &ids {
        let (id, report) = next_report(&mut watcher);
        assert_eq!(report.state, State::Running);
        assert!(first.insert(id), "told twice");
    }

    // A heartbeat is no news; the rest is.
    for (number, store) in stores.iter().enumerate() {
        let beat = status(None, 2);
        let said = Status { custom: Some(number.to_string().into_bytes()), ..status(None, 2) };
        let ended = Status { state: RunState::Finished, ended: Some(Ending::Exit(0)), done: true, ..status(None, 2) };
        report(&**store, &[beat, said, ended][number % 3]);
    }
    let mut told = BTreeMap::new();
    while told.len() < 200 {
        let (id, report) = next_report(&mut watcher);
        assert!(told.insert(id, report).is_none(), "told twice");
    }
    for (number, id) in ids.iter().enumerate() {
        let report = told.get(id);
        match number % 3 {
            0 => assert_eq!(report, None),
            1 => assert_eq!(report.unwrap().custom, Some(number.to_string().into_bytes())),
            _ => assert_eq!(report.unwrap().state, State::Finished),
        }
    }
    assert_eq!(all_told(&mut watcher, Duration::from_millis(500)), []);
}

#[test]
fn a_node_that_fails_is_told_once_and_hinders_nobody() {
    let stores = [HostStore::new(), HostStore::new()];
    let mut watcher = Watcher::new(QUICK);
    for store in &stores {
        report(store, &status(None, 1));
    }
    let ids = stores.each_ref().map(|store| watcher.add(Node::from_boxed(store.open())));
    assert_eq!([next_report(&mut watcher).0, next_report(&mut watcher).0], ids);

    let gone = Path::new(OsStr::from_bytes(stores[0].directory().host_directory().unwrap()));
    let away = gone.with_extension("away");
    fs::rename(gone, &away).unwrap();
    let change = next(&mut watcher);
    assert_eq!((change.node, change.status.unwrap_err().kind()), (ids[0], ErrorKind::NotFound));
    report(&stores[1], &Status { custom: Some(b"still told".to_vec()), ..status(None, 2) });
    assert_eq!(next_report(&mut watcher).0, ids[1]);
    fs::rename(&away, gone).unwrap();
    let (id, back) = next_report(&mut watcher);
    assert_eq!((id, back.state), (ids[0], State::Running));
}

#[test]
fn silence_is_told_though_nothing_changes() {
    let store = HostStore::new();
    report(&store, &Status { interval: Duration::from_millis(500), ..status(None, 1) });
    let rules = LivenessRules { grace: Duration::from_millis(500), ..LivenessRules::default() };
    let mut watcher = Watcher::new(SLOW);
    let id = watcher.add(Node::from_boxed(store.open()).with_liveness(rules));
    assert_eq!(next_report(&mut watcher).1.state, State::Running);
    assert!(watcher.node(id).unwrap().memory().is_some());
    assert_eq!(next_report(&mut watcher).1.state, State::MonitorStopped);
    // It lives after all.
    report(&store, &status(None, 2));
    assert_eq!(next_report(&mut watcher).1.state, State::Running);
}

#[test]
fn a_directory_is_asked_soon_after_a_change_however_quiet_it_was() {
    let store = HostStore::new();
    let mut watcher = Watcher::new(SLOW);
    watcher.add(Node::from_boxed(store.open()));
    assert_eq!(next_report(&mut watcher).1.state, State::NotStarted);
    // By now the next query is seconds away, and each one doubles that.
    assert_eq!(all_told(&mut watcher, Duration::from_secs(3)), []);
    report(&store, &status(None, 1));
    assert_eq!(next_report(&mut watcher).1.state, State::Running);
    for sequence in 2..50 {
        let custom = Some(sequence.to_string().into_bytes());
        report(&store, &Status { custom: custom.clone(), ..status(None, sequence) });
        assert_eq!(next_report(&mut watcher).1.custom, custom);
    }
}

/// A shared directory that counts how often it is looked at.
struct Counted {
    inner: BoxedDirectory,
    views: Arc<AtomicU32>,
}

impl SharedDirectory for Counted {
    type Error = Error;

    fn representation(&self) -> Representation {
        self.inner.representation()
    }

    fn sharing(&self) -> Sharing {
        self.inner.sharing()
    }

    fn view(&self) -> Result<Box<dyn View<Error = Error> + '_>, Error> {
        self.views.fetch_add(1, Ordering::Relaxed);
        self.inner.view()
    }

    fn version(&self) -> Option<Version> {
        self.inner.version()
    }

    fn host_directory(&self) -> Option<&[u8]> {
        self.inner.host_directory()
    }

    fn replace(&self, manifest: &Manifest, watch: Watch<'_, Error>) -> Result<BegunReplacement<'_, Error>, Error> {
        self.inner.replace(manifest, watch)
    }
}

#[test]
fn a_quiet_node_is_not_read_again_and_again() {
    // A file system whose changes the kernel tells.
    let in_memory = Path::new("/dev/shm");
    let stores: [Box<dyn Store>; 2] = [Box::new(HostStore::new_in(in_memory)), Box::new(DiskStore::new_in(in_memory))];
    let pace = Pace { shortest: Duration::from_millis(10), longest: Duration::from_millis(10) };
    for store in stores {
        let views = Arc::new(AtomicU32::new(0));
        let mut watcher = Watcher::new(pace);
        watcher.add(Node::new(Counted { inner: store.open(), views: Arc::clone(&views) }));
        assert_eq!(next_report(&mut watcher).1.state, State::NotStarted);
        for sequence in 1..4 {
            let custom = Some(sequence.to_string().into_bytes());
            report(&*store, &Status { custom: custom.clone(), ..status(None, sequence) });
            assert_eq!(next_report(&mut watcher).1.custom, custom);
            assert_eq!(all_told(&mut watcher, Duration::from_millis(300)), []);
            let before = views.load(Ordering::Relaxed);
            assert_eq!(all_told(&mut watcher, Duration::from_millis(500)), []);
            // It was asked some fifty times; every ten seconds it is read.
            let looks = views.load(Ordering::Relaxed) - before;
            assert!(looks <= 1, "{looks} looks");
        }
    }
}

#[test]
fn as_many_files_as_possible_can_be_opened() {
    let most = raise_open_files().unwrap();
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (most, most));
    assert_eq!(raise_open_files().unwrap(), most);
}

#[test]
fn a_status_that_is_torn_for_a_moment_is_not_told_and_one_that_stays_so_is() {
    let store = HostStore::new();
    report(&store, &status(None, 2));
    let mut watcher = Watcher::new(QUICK);
    watcher.add(Node::from_boxed(store.open()));
    assert_eq!(next_report(&mut watcher).1.state, State::Running);
    store.guest_writes("exec_status/status.0", b"nlxtp-status 1\nrun: -\n");
    let (_, told) = next_report(&mut watcher);
    assert_eq!((told.state, told.attempts), (State::Unreadable, 5));
    assert_eq!(all_told(&mut watcher, Duration::from_millis(500)), []);
    report(&store, &status(None, 4));
    assert_eq!(next_report(&mut watcher).1.state, State::Running);
}

#[test]
fn a_node_comes_back_with_what_it_remembers() {
    let store = HostStore::new();
    let mut watcher = Watcher::new(QUICK);
    assert!(watcher.next(&Control::none()).unwrap().is_none(), "nobody is watched");
    let id = watcher.add(Node::from_boxed(store.open()));
    let run = watcher.node_mut(id).unwrap().upload(&mut archive(&[SCRIPT]), &Control::none()).unwrap().run_id;
    report(&store, &status(Some(run), 1));
    assert_eq!(next_report(&mut watcher).1.run_id, Some(run));
    let node = watcher.remove(id).unwrap();
    assert!(node.memory().is_some());
    assert!(watcher.is_empty() && watcher.remove(id).is_none());
    assert!(watcher.next(&Control::none()).unwrap().is_none());
    assert_ne!(watcher.add(node), id, "no two nodes have the same name");
}

#[test]
fn watching_is_cancelled_from_another_thread() {
    let mut watcher = Watcher::new(SLOW);
    watcher.add(Node::new(Arc::new(MemoryDirectory::new(Representation::Posix))));
    assert_eq!(next_report(&mut watcher).1.state, State::NotStarted);
    let token = CancelToken::new();
    let control = Control::none().with_cancel(token.clone());
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        token.cancel();
    });
    assert_eq!(watcher.next(&control).unwrap_err().kind(), ErrorKind::Cancelled);
}
