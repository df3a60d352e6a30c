//! Downloads that are compared with the guest's digests, on every kind of shared directory.

mod archives;
mod stores;

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use archives::{SCRIPT, archive};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::{Control, Progress};
use nlxtp_host::journal::record::{Event, parse};
use nlxtp_host::journal::{Digest, Journal};
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::HostDirectory;
use rextfv_core::digests::{self, MAX_DIGESTS_BYTES};
use rextfv_core::entry_path::{EntryPath, displayable};
use rextfv_core::ids::RunId;
use rextfv_core::layout;
use rextfv_core::operations::{ContentProblem, DownloadReport};
use rextfv_core::shared_directory::Representation;
use rextfv_core::status::{Ending, RunState, Status};
use rextfv_core::status_codec;
use rextfv_core::verification::{Differences, Outcome, Verification};
use stores::{DiskStore, HostStore, MemoryStore, Store, running};

fn stores() -> Vec<Box<dyn Store>> {
    vec![
        Box::new(HostStore::new()),
        Box::new(DiskStore::new()),
        Box::new(MemoryStore::new(Representation::Posix)),
        Box::new(MemoryStore::new(Representation::Fat)),
    ]
}

/// What a guest writes down of these files, which are in byte order.
fn written_down(files: &[(&str, &[u8])]) -> Vec<u8> {
    let line = |&(path, content): &(&str, &[u8])| {
        digests::line(Digest::of(content).as_bytes(), &EntryPath::parse(path.as_bytes()).unwrap())
    };
    files.iter().flat_map(line).collect()
}

fn record(run: RunId, sequence: u64, done: bool) -> Vec<u8> {
    let (state, ended) = if done { (RunState::Finished, Some(Ending::Exit(0))) } else { (RunState::Running, None) };
    status_codec::encode(&Status { run: Some(run), state, done, ended, ..running(sequence) }).unwrap()
}

fn download(node: &mut Node) -> DownloadReport {
    node.download(&mut io::sink(), OutputFormat::Tar, &Control::none()).unwrap()
}

fn differences(verification: Verification) -> Differences {
    match verification {
        Verification::Differs(differences) => differences,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_download_is_what_the_guest_wrote_until_something_changes() {
    for store in stores() {
        let mut node = Node::from_boxed(store.open());
        let uploaded = node.upload(&mut archive(&[SCRIPT, ("d/data", b"data")]), &Control::none()).unwrap();
        store.guest_writes("exec_status/status.0", &record(uploaded.run_id, 1, false));
        store.guest_writes("exec_status/stdout", b"hello\n");
        assert_eq!(download(&mut node).verification, Verification::NoDigests);

        let run = format!("{}\n", uploaded.run_id);
        let result = match store.directory().representation() {
            Representation::Posix => "result\\of\r\ntwo lines",
            Representation::Fat => "r\u{e9}sultat",
        };
        store.guest_writes(result, b"42");
        let files: [(_, &[u8]); 5] = [
            SCRIPT,
            ("d/data", b"data"),
            ("exec_status/stdout", b"hello\n"),
            (layout::RUN_ID, run.as_bytes()),
            (result, b"42"),
        ];
        store.guest_writes(layout::DIGESTS, &written_down(&files));
        assert_eq!(download(&mut node).verification, Verification::NoDigests, "they may be torn");
        store.guest_writes("exec_status/status.1", &record(uploaded.run_id, 2, true));
        store.guest_writes("exec_status/done", b"");
        assert_eq!(download(&mut node).verification, Verification::Verified { files: 5 });

        store.guest_writes("d/data", b"Data");
        store.guest_writes("exec_status/stdout", b"hello\nand a child that goes on\n");
        store.guest_writes("late", b"");
        store.guest_writes(result, b"43");
        let more = [&files[..1], &[("d/data", b"data"), ("d/gone", b"")], &files[2..]].concat();
        store.guest_writes(layout::DIGESTS, &written_down(&more));
        let report = download(&mut node);
        assert!(report.is_settled(), "nothing changed while it was packed");
        let found = differences(report.verification);
        assert_eq!(found.content.listed, ["d/data", "exec_status/stdout", &displayable(result.as_bytes())]);
        assert_eq!(found.missing.listed, ["d/gone"]);
        assert_eq!(found.unlisted.listed, ["late"]);

        // Damage does not pass for a run that is not done.
        store.guest_writes("exec_status/status.0", b"?");
        store.guest_writes("exec_status/status.1", b"?");
        assert_eq!(download(&mut node).verification.outcome(), Outcome::Unusable);
    }
}

#[test]
fn a_guest_may_write_in_capitals_on_a_fat() {
    let store = DiskStore::new();
    store.guest_writes("RESULT", b"42");
    store.guest_writes("EXEC_STATUS/DONE", b"");
    store.guest_writes("EXEC_STATUS/DIGESTS", &written_down(&[("RESULT", b"42")]));
    let mut node = Node::from_boxed(store.open());
    assert_eq!(download(&mut node).verification, Verification::Verified { files: 1 });
}

#[test]
fn digests_that_are_none_are_told_and_the_archive_is_made() {
    let good = written_down(&[("a", b"a"), ("b", b"b")]);
    for store in stores() {
        store.guest_writes("a", b"a");
        // In ToMaTo's dialect.
        store.guest_writes("exec_status/done", b"");
        for (content, reason) in [
            (&good[..good.len() - 1], "line 2: the line is cut off"),
            (&good.repeat(2), "line 3: the path is there twice or not in byte order"),
            (b"\xff\x1b[2J", "line 1: the line is cut off"),
            (&vec![b'0'; MAX_DIGESTS_BYTES + 1], "33554432 bytes"),
        ] {
            store.guest_writes(layout::DIGESTS, content);
            let mut node = Node::from_boxed(store.open());
            let report = download(&mut node);
            assert_eq!(report.files, 3);
            let Verification::Unusable { reason: found } = report.verification else { panic!("{reason}: {report:?}") };
            assert!(found.contains(reason), "{found}");
        }
        store.guest_writes(layout::DIGESTS, b"");
        let found = differences(download(&mut Node::from_boxed(store.open())).verification);
        assert_eq!(found.unlisted.listed, ["a"], "no digests are digests of no files");
    }
}

#[test]
fn what_is_no_file_is_neither_followed_nor_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    fs::write(&outside, written_down(&[])).unwrap();
    let shared = folder.path().join("shared");
    fs::create_dir_all(shared.join("exec_status")).unwrap();
    let path = shared.join(layout::DIGESTS);
    let download = || download(&mut Node::new(HostDirectory::open(&shared).unwrap())).verification;
    let unusable = |reason: &str| Verification::Unusable { reason: reason.into() };

    symlink(&outside, &path).unwrap();
    assert_eq!(download(), unusable("it is a symbolic link"));
    fs::remove_file(&path).unwrap();
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    assert_eq!(download(), unusable("it is a FIFO, socket or device"));
    fs::remove_file(&path).unwrap();
    let _socket = UnixListener::bind(&path).unwrap();
    assert_eq!(download(), unusable("it is a FIFO, socket or device"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(download(), unusable("it is a directory"));
}

/// What comes of a download during which the guest does something once the first file is open.
fn disturbed(shared: &Path, guest: &dyn Fn()) -> DownloadReport {
    let done = Cell::new(false);
    let control = Control::none().with_progress(|progress| {
        if matches!(progress, Progress::Packing { done: 0, .. }) && !done.replace(true) {
            guest();
        }
    });
    let mut node = Node::new(HostDirectory::open(shared).unwrap());
    let report = node.download(&mut io::sink(), OutputFormat::Tar, &control).unwrap();
    assert!(done.get());
    report
}

#[test]
fn what_changes_while_it_is_packed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path();
    let file = vec![7; 1 << 20];
    let digests = shared.join(layout::DIGESTS);
    fs::create_dir(shared.join("exec_status")).unwrap();
    fs::write(shared.join("a"), &file).unwrap();
    fs::write(&digests, written_down(&[("a", &file)])).unwrap();
    fs::write(shared.join("exec_status/done"), "").unwrap();

    let settled = disturbed(shared, &|| ());
    assert_eq!(settled.verification, Verification::Verified { files: 1 });

    // Zeros stand for what is gone.
    let report = disturbed(shared, &|| drop(File::create(shared.join("a")).unwrap()));
    assert_eq!(report.changed.listed[0].problem, ContentProblem::Shorter);
    assert_eq!(differences(report.verification).content.listed, ["a"]);
    fs::write(shared.join("a"), &file).unwrap();

    // Others would fit as well, but they are not those that were compared with.
    let changed = Verification::Unusable { reason: "it changed while the download was made".into() };
    let other = written_down(&[("a", &file), ("exec_status/done", b"")]);
    let report = disturbed(shared, &|| fs::write(&digests, &other).unwrap());
    assert_eq!(report.verification, changed);
    let report = disturbed(shared, &|| fs::remove_dir_all(shared.join("exec_status")).unwrap());
    assert_eq!(report.verification, changed);
}

#[test]
fn the_journal_keeps_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (shared, journal) = (folder.path().join("shared"), folder.path().join("journal.jsonl"));
    fs::create_dir_all(shared.join("exec_status")).unwrap();
    fs::write(shared.join("exec_status/done"), "").unwrap();
    fs::write(shared.join("a"), "a").unwrap();
    let mut node = Node::new(HostDirectory::open(&shared).unwrap())
        .with_journal(Journal::open(&journal).unwrap().for_node("node"));
    assert_eq!(download(&mut node).verification, Verification::NoDigests);
    fs::write(shared.join(layout::DIGESTS), written_down(&[("a", b"a")])).unwrap();
    assert_eq!(download(&mut node).verification, Verification::Verified { files: 1 });
    fs::write(shared.join(layout::DIGESTS), written_down(&[("a", b"b")])).unwrap();
    assert_eq!(differences(download(&mut node).verification).content.listed, ["a"]);
    fs::write(shared.join(layout::DIGESTS), "?").unwrap();
    assert_eq!(download(&mut node).verification.outcome(), Outcome::Unusable);

    let lines = fs::read(&journal).unwrap();
    let downloads: Vec<_> = lines
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| match parse(line).unwrap().event {
            Event::Download(download) => (download.verified.unwrap(), download.results.sha256),
            other => panic!("{other:?}"),
        })
        .collect();
    let outcomes: Vec<_> = downloads.iter().map(|(outcome, _)| *outcome).collect();
    assert_eq!(outcomes, [Outcome::NoDigests, Outcome::Verified, Outcome::Differs, Outcome::Unusable]);
    assert!(downloads.iter().all(|(_, results)| *results == downloads[0].1), "digests are no results");
}
