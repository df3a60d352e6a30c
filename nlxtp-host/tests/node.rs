//! The operations of a node, from an archive to a result, on every kind of shared directory.

mod archives;
#[path = "../../fuzz/seed.rs"]
mod seed;
mod stores;

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use archives::{SCRIPT, archive};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::{CancelToken, Control, Progress};
use nlxtp_host::error::{Error, ErrorKind, Result};
use nlxtp_host::guest::{InvokeCommand, KnownPower};
use nlxtp_host::node::{Node, Output};
use nlxtp_host::shared_directory::{HostDirectory, MemoryDirectory};
use rextfv_core::archive_rules::LinkPolicy;
use rextfv_core::entry_path::EntryPath;
use rextfv_core::liveness::State;
use rextfv_core::operations::{Dialect, Execution};
use rextfv_core::powers::{GuestPower, PowerState};
use rextfv_core::shared_directory::{Representation, SharedDirectory, Sharing};
use rextfv_core::status::{Ending, RunState, Status};
use rextfv_core::status_codec;
use stores::{DiskStore, HostStore, MemoryStore, Store, running};

/// What is in a downloaded tar, without directories.
fn unpacked(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let path = entry.path().unwrap().to_str().unwrap().trim_start_matches("./").to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.push((path, content));
        }
    }
    files
}

fn status(sequence: u64) -> Status {
    Status { interval: Duration::from_secs(1), ..running(sequence) }
}

fn record(status: &Status) -> Vec<u8> {
    status_codec::encode(status).unwrap()
}

fn stores() -> Vec<Box<dyn Store>> {
    vec![
        Box::new(HostStore::new()),
        Box::new(DiskStore::new()),
        Box::new(MemoryStore::new(Representation::Posix)),
        Box::new(MemoryStore::new(Representation::Fat)),
    ]
}

/// Keeps steps like a test's as a seed of the fuzz target, which numbers the stores otherwise.
fn keep_seed(name: &str, store: usize, steps: &[(u8, u8)]) {
    let mut bytes = vec![[2, 3, 0, 1][store]];
    steps.iter().for_each(|(letter, number)| bytes.extend_from_slice(&[*letter, *number]));
    seed::keep("job_cycles", &format!("{name}-{store}"), &bytes);
}

#[test]
fn the_whole_cycle() {
    for (kind, store) in stores().into_iter().enumerate() {
        keep_seed("whole-cycle", kind, &[(b'Q', 0), (b'U', 2), (b'C', 0), (b'R', 4), (b'Q', 0), (b'W', 0), (b'R', 9)]);
        keep_seed("downloaded-and-again", kind, &[(b'U', 2), (b'R', 9), (b'Q', 0), (b'D', 1), (b'U', 8), (b'Q', 0)]);
        let mut node = Node::from_boxed(store.open());
        let report = node.status().unwrap();
        assert_eq!((report.state, report.reason.as_deref()), (State::NotStarted, Some("nothing was uploaded here")));

        let report = node.upload(&mut archive(&[SCRIPT, ("d/data", b"data")]), &Control::none()).unwrap();
        assert_eq!((report.entries, report.bytes), (3, 14));
        assert_eq!(report.start_script.as_deref(), Some("auto_exec.sh"));
        let turns = store.directory().sharing() == Sharing::TakingTurns;
        assert_eq!(report.execution, if turns { Execution::AtBoot } else { Execution::ByDaemon });

        let run = Some(report.run_id);
        let mut words = Status { run, custom: Some(b"half".to_vec()), stdout_bytes: 3, ..status(1) };
        store.guest_writes("exec_status/stdout", b"one and what is not flushed yet");
        store.guest_writes("exec_status/status.1", &record(&words));
        let report = node.status().unwrap();
        assert_eq!((report.state, report.dialect), (State::Running, Some(Dialect::Nlxtp)));
        assert_eq!((report.run_id, report.custom.as_deref()), (run, Some(&b"half"[..])));
        let mut buffer = [0; 100];
        assert_eq!(node.read_output(Output::Stdout, 0, &report, &mut buffer).unwrap(), 3);
        assert_eq!(&buffer[..3], b"one");
        assert_eq!(node.read_output(Output::Stdout, 3, &report, &mut buffer).unwrap(), 0);
        assert_eq!(node.read_output(Output::Stderr, 0, &report, &mut buffer).unwrap(), 0);

        store.guest_writes("result", b"result");
        words = Status { state: RunState::Finished, ended: Some(Ending::Exit(3)), sequence: 2, ..words };
        store.guest_writes("exec_status/status.0", &record(&words));
        let report = node.status().unwrap();
        assert_eq!((report.state, report.exit_code), (State::Running, Some(3)));
        assert!(report.reason.unwrap().starts_with("the start script has ended"));
        words = Status { done: true, sequence: 3, ..words };
        store.guest_writes("exec_status/status.1", &record(&words));
        let mut seen = Vec::new();
        let report = node.wait(&Control::none(), |report| seen.push(report.state)).unwrap();
        assert_eq!((report.state, report.exit_code, report.done()), (State::Finished, Some(3), true));
        assert_eq!(seen, [State::Finished]);

        let mut download = Vec::new();
        let report = node.download(&mut download, OutputFormat::Tar, &Control::none()).unwrap();
        assert!(report.left_out.is_empty() && report.changed.is_empty());
        let files = unpacked(&download);
        let names: Vec<&str> = files.iter().map(|(name, _)| &**name).collect();
        let expected = [
            "auto_exec.sh",
            "d/data",
            "exec_status/status.0",
            "exec_status/status.1",
            "exec_status/stdout",
            "nlxtp_run_id",
            "result",
        ];
        assert_eq!(names, expected);
        assert_eq!((report.files, report.archive_bytes), (7, download.len() as u64));

        // What was downloaded can be uploaded again, and is then a new run.
        let report = node.upload(&mut Cursor::new(download), &Control::none()).unwrap();
        assert_eq!(report.left_out.count(), 5, "{:?}", report.left_out);
        assert_eq!(node.status().unwrap().state, State::NotStarted);
    }
}

#[test]
fn an_archive_without_a_start_script_is_taken_and_not_started() {
    for store in stores() {
        let mut node = Node::from_boxed(store.open()).with_invoker(InvokeCommand::new("exit 1"));
        let report = node.upload(&mut archive(&[("data", b"")]), &Control::none()).unwrap();
        assert_eq!((report.start_script, report.execution), (None, Execution::NoStartScript));
        assert!(node.status().unwrap().reason.unwrap().contains("no start script"));
    }
}

#[test]
fn tomatos_guests_are_understood() {
    for (kind, store) in stores().into_iter().enumerate() {
        keep_seed("tomato", kind, &[(b'U', 0), (b'L', 3), (b'L', 0), (b'Q', 0), (b'L', 2), (b'L', 1), (b'Q', 0)]);
        let mut node = Node::from_boxed(store.open());
        node.upload(&mut archive(&[SCRIPT]), &Control::none()).unwrap();
        store.guest_writes("exec_status/out", b"hello\n");
        assert_eq!(node.status().unwrap().state, State::Running, "neither running nor done");
        store.guest_writes("exec_status/running", b"1425000000");
        store.guest_writes("exec_status/custom", b"50%");
        let report = node.status().unwrap();
        assert_eq!((report.state, report.dialect), (State::Running, Some(Dialect::Tomato)));
        assert_eq!(report.custom.as_deref(), Some(&b"50%"[..]));
        let mut buffer = [0; 10];
        assert_eq!(node.read_output(Output::Stdout, 0, &report, &mut buffer).unwrap(), 6);
        store.guest_writes("exec_status/done", b"");
        assert!(node.status().unwrap().done());
    }
}

#[test]
fn a_disk_is_not_touched_while_its_guest_is_on() {
    struct Forbidden;
    impl Read for Forbidden {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("not even the archive is looked at")
        }
    }
    impl std::io::Seek for Forbidden {
        fn seek(&mut self, _: std::io::SeekFrom) -> std::io::Result<u64> {
            panic!("not even the archive is looked at")
        }
    }
    for (kind, store) in stores().into_iter().enumerate() {
        keep_seed("guest-on", kind, &[(b'P', 2), (b'U', 0), (b'P', 1), (b'U', 0), (b'Q', 0)]);
        let mut node = Node::from_boxed(store.open()).with_power(KnownPower(PowerState::On));
        if store.directory().sharing() == Sharing::TakingTurns {
            let error = node.upload(&mut Forbidden, &Control::none()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::GuestOn);
            assert!(error.to_string().contains("shut the guest down"), "{error}");
        } else {
            node.upload(&mut archive(&[SCRIPT]), &Control::none()).unwrap();
        }
    }
}

#[test]
fn a_guest_that_was_turned_on_meanwhile_is_noticed() {
    struct TurnedOn(Mutex<Vec<PowerState>>);
    impl GuestPower for TurnedOn {
        type Error = Error;
        fn power_state(&self) -> Result<PowerState> {
            Ok(self.0.lock().unwrap().pop().unwrap_or(PowerState::On))
        }
    }
    let store = DiskStore::new();
    let mut node = Node::from_boxed(store.open()).with_power(TurnedOn(Mutex::new(vec![PowerState::Off])));
    let error = node.upload(&mut archive(&[SCRIPT]), &Control::none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::GuestOn);
}

#[test]
fn a_guest_that_boots_during_a_status_query_has_not_stopped() {
    /// Off when asked at first; and right after the answer it boots.
    struct Boots(Arc<MemoryDirectory>);
    impl GuestPower for Boots {
        type Error = Error;
        fn power_state(&self) -> Result<PowerState> {
            let slot = EntryPath::parse(b"exec_status/status.1").unwrap();
            let booted = self.0.view()?.entry(&slot)?.is_some();
            self.0.write(&slot, record(&status(1)));
            Ok(if booted { PowerState::On } else { PowerState::Off })
        }
    }
    let directory = Arc::new(MemoryDirectory::new(Representation::Fat));
    let mut node = Node::new(Arc::clone(&directory)).with_power(Boots(directory));
    assert_eq!(node.status().unwrap().state, State::Running);
    assert_eq!(node.status().unwrap().state, State::Running, "it was not on again after having been off");
}

#[test]
fn the_monitor_is_invoked_only_in_a_guest_that_is_on() {
    let store = HostStore::new();
    let scratch = tempfile::tempdir().unwrap();
    let invoked = scratch.path().join("invoked");
    let command = format!("touch {}", invoked.display());
    for (power, expected) in [(PowerState::Off, Execution::AtBoot), (PowerState::On, Execution::Invoked)] {
        let mut node = Node::from_boxed(store.open())
            .with_power(KnownPower(power))
            .with_invoker(InvokeCommand::new(command.clone()));
        let report = node.upload(&mut archive(&[SCRIPT]), &Control::none()).unwrap();
        assert_eq!(report.execution, expected);
        assert_eq!(invoked.exists(), power == PowerState::On);
    }
    let mut node = Node::from_boxed(store.open()).with_invoker(InvokeCommand::new("exit 7"));
    let error = node.upload(&mut archive(&[SCRIPT, ("new", b"")]), &Control::none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvokeFailed);
    let report = error.upload().expect("the upload is reported on");
    assert_eq!((report.entries, report.execution), (2, Execution::ByDaemon));
    let mut run_id = [0; 32];
    let path = EntryPath::parse(b"nlxtp_run_id").unwrap();
    store.directory().view().unwrap().read_at(&path, 0, &mut run_id).unwrap();
    assert_eq!(run_id, report.run_id.to_string().as_bytes());
    assert!(store.directory().view().unwrap().top_names().unwrap().contains(&b"new".to_vec()), "the upload stands");
}

#[test]
fn a_bad_archive_leaves_everything_as_it_was() {
    for (kind, store) in stores().into_iter().enumerate() {
        keep_seed("bad-archives", kind, &[(b'U', 6), (b'B', 0), (b'B', 2), (b'F', 3), (b'U', 0), (b'K', 4), (b'U', 1)]);
        let mut node = Node::from_boxed(store.open());
        node.upload(&mut archive(&[SCRIPT, ("old", b"old")]), &Control::none()).unwrap();
        let mut before = Vec::new();
        node.download(&mut before, OutputFormat::Tar, &Control::none()).unwrap();

        let mut truncated = archive(&[SCRIPT, ("new", &[7; 5000])]).into_inner();
        truncated.truncate(3000);
        let error = node.upload(&mut Cursor::new(truncated), &Control::none()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArchive, "{error}");

        let error = node.upload(&mut archive(&[SCRIPT, SCRIPT]), &Control::none()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("auto_exec.sh"), "{error}");

        let mut after = Vec::new();
        node.download(&mut after, OutputFormat::Tar, &Control::none()).unwrap();
        assert!(before == after);
    }
}

#[test]
fn links_are_refused_or_copied_where_there_are_none() {
    let with_link = || {
        let mut builder = tar::Builder::new(archive(&[SCRIPT]).into_inner()[..1024].to_vec());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "link", "auto_exec.sh").unwrap();
        let inner = builder.into_inner().unwrap();
        Cursor::new([&archive(&[SCRIPT]).into_inner()[..1024], &inner[1024..]].concat())
    };
    let store = DiskStore::new();
    let mut node = Node::from_boxed(store.open());
    let error = node.upload(&mut with_link(), &Control::none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.refusals().unwrap().listed[0].entry, "link");
    let mut node = Node::from_boxed(store.open()).with_links(LinkPolicy::Copy);
    node.upload(&mut with_link(), &Control::none()).unwrap();
    let mut download = Vec::new();
    node.download(&mut download, OutputFormat::Tar, &Control::none()).unwrap();
    assert!(unpacked(&download).contains(&("link".into(), SCRIPT.1.to_vec())));
}

#[test]
fn a_status_that_is_just_being_written_is_read_again() {
    let store = Arc::new(HostStore::new());
    let mut node = Node::from_boxed(store.open());
    store.guest_writes("exec_status/status.0", b"half a rec");
    let report = node.status().unwrap();
    assert_eq!((report.state, report.attempts), (State::Unreadable, 5));
    assert!(report.reason.unwrap().contains("does not begin"));

    let guest = thread::spawn({
        let store = Arc::clone(&store);
        move || {
            thread::sleep(Duration::from_millis(15));
            store.guest_writes("exec_status/status.1", &record(&status(1)));
        }
    });
    let report = node.status().unwrap();
    assert_eq!(report.state, State::Running);
    assert!(report.attempts > 1);
    guest.join().unwrap();
}

#[test]
fn waiting_ends_at_its_deadline_and_when_cancelled() {
    let store = HostStore::new();
    let mut node = Node::from_boxed(store.open());
    let control = Control::none().with_deadline(Some(Instant::now() + Duration::from_millis(100)));
    assert_eq!(node.wait(&control, |_| {}).unwrap_err().kind(), ErrorKind::TimedOut);

    let token = CancelToken::new();
    let canceller = thread::spawn({
        let token = token.clone();
        move || {
            thread::sleep(Duration::from_millis(100));
            token.cancel();
        }
    });
    let control = Control::none().with_cancel(token);
    assert_eq!(node.wait(&control, |_| {}).unwrap_err().kind(), ErrorKind::Cancelled);
    canceller.join().unwrap();
}

#[test]
fn waiting_for_one_run_does_not_take_another_ones_end() {
    let store = Arc::new(HostStore::new());
    let mut node = Node::from_boxed(store.open());
    node.upload(&mut archive(&[SCRIPT]), &Control::none()).unwrap();
    let mut reports = 0;
    let ended = node.wait(&Control::none(), |_| {
        reports += 1;
        let run = Some(rextfv_core::ids::RunId::from_bytes([7; 16]));
        store.guest_writes("nlxtp_run_id", b"07070707070707070707070707070707\n");
        let ended = Some(Ending::Exit(0));
        let finished = Status { run, state: RunState::Finished, ended, done: true, ..status(1) };
        store.guest_writes("exec_status/status.1", &record(&finished));
    });
    assert_eq!((ended.unwrap_err().kind(), reports), (ErrorKind::Changing, 1));
}

#[test]
fn a_cancelled_upload_changes_nothing() {
    for store in stores() {
        let mut node = Node::from_boxed(store.open());
        node.upload(&mut archive(&[("old", b"old")]), &Control::none()).unwrap();
        let token = CancelToken::new();
        let control = Control::none().with_cancel(token.clone()).with_progress(|progress| {
            if matches!(progress, Progress::Extracting { .. }) {
                token.cancel();
            }
        });
        let big = vec![1; 3 << 20];
        let error = node.upload(&mut archive(&[SCRIPT, ("a", &big), ("b", &big)]), &control).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(store.directory().view().unwrap().top_names().unwrap(), [&b"nlxtp_run_id"[..], b"old"]);
    }
}

#[test]
fn progress_is_shown_in_order_and_to_the_end() {
    let store = DiskStore::new();
    let mut node = Node::from_boxed(store.open());
    let seen = Mutex::new(Vec::new());
    let control = Control::none().with_progress(|progress| seen.lock().unwrap().push(progress));
    let big = vec![1; 5 << 20];
    node.upload(&mut archive(&[SCRIPT, ("big", &big)]), &control).unwrap();
    drop(control);
    let seen = seen.into_inner().unwrap();
    let examined = |progress: &Progress| matches!(progress, Progress::Examining { .. });
    let extracted = |progress: &Progress| matches!(progress, Progress::Extracting { done, total } if done == total);
    assert!(!seen.iter().any(examined), "the archive is read once: {seen:?}");
    assert!(seen.iter().position(extracted) == Some(seen.len() - 2), "{seen:?}");
    assert_eq!(seen.last(), Some(&Progress::Flushing));
}

#[test]
fn a_directory_that_another_upload_holds_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let held = File::open(scratch.path()).unwrap();
    held.lock().unwrap();
    let mut node = Node::new(HostDirectory::open(scratch.path()).unwrap());
    let error = node.upload(&mut archive(&[SCRIPT]), &Control::none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
}

#[test]
fn an_upload_cut_off_at_any_step_is_finished_or_forgotten() {
    let build = |root: &Path, place: &str| {
        let staging = root.join(".nlxtp_upload");
        fs::create_dir_all(staging.join(place).join("sub")).unwrap();
        for (name, content) in [("auto_exec.sh", "new"), ("sub/file", "new"), ("nlxtp_run_id", "")] {
            fs::write(staging.join(place).join(name), content).unwrap();
        }
    };
    let old = |root: &Path| {
        fs::write(root.join("auto_exec.py"), "old").unwrap();
        fs::create_dir(root.join("results")).unwrap();
    };
    let tops = |root: &Path| HostDirectory::open(root).unwrap().view_names();
    let new = ["auto_exec.sh", "nlxtp_run_id", "sub"];

    // Before the content counts: the old content stands.
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    old(root);
    build(root, "new");
    assert_eq!(tops(root), [".nlxtp_upload", "auto_exec.py", "results"]);
    Node::new(HostDirectory::open(root).unwrap()).upload(&mut archive(&[SCRIPT]), &Control::none()).unwrap();
    assert_eq!(tops(root), ["auto_exec.sh", "nlxtp_run_id"]);

    // Just after it counts; and in the middle of moving the old content away.
    for removed in [&[][..], &["auto_exec.py"], &["auto_exec.py", "results"]] {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        old(root);
        build(root, "commit");
        let aside = root.join(".nlxtp_upload/old");
        for (number, name) in removed.iter().enumerate() {
            fs::create_dir_all(&aside).unwrap();
            fs::rename(root.join(name), aside.join(format!("{:x}", number + 1))).unwrap();
        }
        assert_eq!(tops(root), new, "{removed:?} were out of the way");
    }
    // In the middle of moving the new content in.
    for moved in [&[][..], &["nlxtp_run_id"], &["nlxtp_run_id", "sub"], &new] {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        build(root, "ready");
        for name in moved {
            fs::rename(root.join(".nlxtp_upload/ready").join(name), root.join(name)).unwrap();
        }
        assert_eq!(tops(root), new, "{moved:?} were in place");
        assert_eq!(fs::read_to_string(root.join("sub/file")).unwrap(), "new");
    }
}

#[test]
fn something_in_place_of_the_status_directory_is_no_status() {
    let put: [fn(&Path); 4] = [
        |path| fs::write(path, "").unwrap(),
        |path| symlink(".", path).unwrap(),
        |path| symlink("nowhere", path).unwrap(),
        |path| mkfifo(path, Mode::S_IRWXU).unwrap(),
    ];
    for put in put {
        let scratch = tempfile::tempdir().unwrap();
        let mut node = Node::new(HostDirectory::open(scratch.path()).unwrap());
        node.upload(&mut archive(&[SCRIPT]), &Control::none()).unwrap();
        put(&scratch.path().join("exec_status"));
        let report = node.status().unwrap();
        assert_eq!(report.state, State::Unreadable);
        assert_eq!(report.reason.as_deref(), Some("exec_status is something else than a directory"));
    }
    let store = DiskStore::new();
    store.guest_writes("exec_status", b"");
    assert_eq!(Node::from_boxed(store.open()).status().unwrap().state, State::Unreadable);
}

/// The names at the top, as a view sees them.
trait ViewNames {
    fn view_names(&self) -> Vec<String>;
}

impl ViewNames for HostDirectory {
    fn view_names(&self) -> Vec<String> {
        use rextfv_core::shared_directory::SharedDirectory;
        let names = self.view().unwrap().top_names().unwrap();
        names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
    }
}
