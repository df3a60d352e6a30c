//! A hostile guest that swaps directories, links and files in a loop, while the host works in the
//! shared directory. Whatever the guest does, nothing outside is read, changed or removed, no
//! operation hangs, and each one succeeds or fails with an error.
//!
//! `NLXTP_RACING_SECONDS` makes each race last so long.

mod racing_support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

use nix::sys::stat::Mode;
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind, Result};
use nlxtp_host::node::{Node, Output};
use nlxtp_host::shared_directory::HostDirectory;
use racing_support::canary::{Canary, holds_mark};
use racing_support::{Attack, Bounds, Guest, PLACES, Scratch, Watchdog, make_directory, naive};
use rextfv_core::archive_rules::{ArchiveRules, Judgement, LinkPolicy, ManifestBuilder, RawEntry, RawKind};
use rextfv_core::entry_path::EntryPath;
use rextfv_core::limits::Limits;
use rextfv_core::liveness::State;
use rextfv_core::operations::{Dialect, StatusReport};
use rextfv_core::shared_directory::{Content, Representation, SharedDirectory};
use rextfv_core::status::Truncated;

/// Files of the upload.
const FILES: [(&str, &[u8]); 6] = [
    ("auto_exec.sh", b"#!/bin/sh\n"),
    ("custom", b"uploaded"),
    ("d/data", b"uploaded"),
    ("d/inner/deeper/file", b"uploaded"),
    ("d/inner/file", b"uploaded"),
    ("data", b"uploaded"),
];

/// An archive with files, directories, a symbolic and a hard link, and a directory that not even its
/// owner may write to.
fn archive() -> Cursor<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let header = |kind, size: usize, mode| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header.set_mode(mode);
        header.set_mtime(1_700_000_000);
        header
    };
    for (name, content) in FILES {
        let mut header = header(tar::EntryType::Regular, content.len(), 0o644);
        builder.append_data(&mut header, name, content).unwrap();
    }
    builder.append_data(&mut header(tar::EntryType::Directory, 0, 0o555), "sealed", &b""[..]).unwrap();
    builder.append_data(&mut header(tar::EntryType::Regular, 0, 0o444), "sealed/file", &b""[..]).unwrap();
    builder.append_link(&mut header(tar::EntryType::Symlink, 0, 0o777), "link", "d/inner/file").unwrap();
    builder.append_link(&mut header(tar::EntryType::Link, 0, 0o644), "hard", "d/inner/file").unwrap();
    Cursor::new(builder.into_inner().unwrap())
}

/// Reads a whole archive as others would: it must be well-formed to its end.
fn unpack(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    assert_eq!(bytes.len() % 512, 0);
    assert!(bytes.ends_with(&[0; 1024]), "it ends as an archive does");
    let mut read = 0;
    for entry in tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{path}");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert_eq!(content.len() as u64, entry.header().size().unwrap());
        read = entry.raw_file_position() + content.len().next_multiple_of(512) as u64;
        if entry.header().entry_type().is_file() {
            files.insert(path.trim_start_matches("./").to_owned(), content);
        }
    }
    assert_eq!(read + 1024, bytes.len() as u64, "nothing but the end follows the last entry");
    files
}

fn assert_uploaded(node: &mut Node) {
    let mut download = Vec::new();
    let report = node.download(&mut download, OutputFormat::Tar, &Control::none()).unwrap();
    assert!(report.left_out.is_empty() && report.changed.is_empty(), "{report:?}");
    let mut files = unpack(&download);
    assert!(files.remove("nlxtp_run_id").is_some());
    assert_eq!(files.remove("hard").as_deref(), Some(&b"uploaded"[..]));
    assert_eq!(files.remove("sealed/file").as_deref(), Some(&b""[..]));
    let expected: BTreeMap<_, _> = FILES.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect();
    assert_eq!(files, expected);
}

/// What came of the operations of one kind.
#[derive(Default)]
struct Tally(BTreeMap<(&'static str, &'static str), u64>);

impl Tally {
    fn note<T>(&mut self, operation: &'static str, outcome: Result<T>) -> Option<T> {
        let word = match &outcome {
            Ok(_) => "ok",
            Err(error) => {
                assert!(!holds_mark(error.to_string().as_bytes()), "{error}");
                error.kind().word()
            }
        };
        *self.0.entry((operation, word)).or_default() += 1;
        outcome.ok()
    }

    fn of(&self, operation: &'static str, word: &'static str) -> u64 {
        self.0.get(&(operation, word)).copied().unwrap_or(0)
    }
}

/// A report that makes the host read as much of an output as there is.
fn any_output(dialect: Dialect) -> StatusReport {
    StatusReport {
        state: State::Running,
        reason: None,
        dialect: Some(dialect),
        custom: None,
        progress: None,
        exit_code: None,
        signal: None,
        timed_out: false,
        sequence: None,
        run_id: None,
        stdout_bytes: Some(u64::MAX),
        stderr_bytes: Some(u64::MAX),
        truncated: Truncated::default(),
        attempts: 1,
    }
}

#[test]
fn nothing_outside_is_touched_and_nothing_hangs() {
    let scratch = Scratch::new();
    let shared = scratch.path().join("shared");
    fs::create_dir(&shared).unwrap();
    let canary = Canary::make(scratch.path().join("canary"));
    let watchdog = Watchdog::start();
    let attack = Attack { places: PLACES, fifos: true };
    let guest = Guest::start(&shared, canary.path(), attack).with_process(&shared, canary.path(), "the_guests_process");

    let began = Instant::now();
    let mut bounds = Bounds::new(5000, 20);
    let mut rounds = 0;
    let mut tally = Tally::default();
    let mut buffer = vec![0; 4096];
    // A downloaded file can be 100,000 bytes, and there are some hundred places for one.
    let limits = Limits { total_bytes: 200 << 20, entries: 20_000, ..Limits::DEFAULT };
    let directory = || HostDirectory::open(&shared).unwrap().with_limits(limits);
    let mut node = Node::new(directory()).with_limits(limits);
    while let Some(round) = bounds.next() {
        rounds = round;
        tally.note("upload", node.upload(&mut archive(), &Control::none()));
        watchdog.beat();
        // The guest's monitor would do this.
        let _ = fs::create_dir(shared.join("exec_status"));

        if let Some(report) = tally.note("status", node.status()) {
            assert!(!holds_mark(report.custom.as_deref().unwrap_or_default()), "{report:?}");
            assert!(!holds_mark(report.reason.unwrap_or_default().as_bytes()));
        }
        watchdog.beat();
        for dialect in [Dialect::Nlxtp, Dialect::Tomato] {
            let read = node.read_output(Output::Stdout, 0, &any_output(dialect), &mut buffer);
            if let Some(length) = tally.note("output", read) {
                assert!(!holds_mark(&buffer[..length]));
            }
        }
        let custom = EntryPath::parse(b"exec_status/custom").unwrap();
        tally.note("entry", directory().view().and_then(|mut view| view.entry(&custom)));
        watchdog.beat();

        let mut download = Vec::new();
        let outcome = node.download(&mut download, OutputFormat::Tar, &Control::none());
        assert!(!holds_mark(&download), "bytes from outside are in the archive");
        if let Some(report) = tally.note("download", outcome) {
            unpack(&download);
            assert!(!holds_mark(format!("{report:?}").as_bytes()), "{report:?}");
            *tally.0.entry(("download", "left out")).or_default() += report.left_out.count();
            *tally.0.entry(("download", "changed")).or_default() += report.changed.count();
        }
        watchdog.beat();
        if round % 100 == 0 {
            canary.assert_untouched();
        }
    }
    println!("{rounds} rounds in {:?} against {} attacks and more by a process", began.elapsed(), guest.actions());
    for ((operation, word), times) in &tally.0 {
        println!("{operation:>10} {word:<12} {times:>8}");
    }
    assert!(guest.actions() > rounds, "the guest was there");
    for operation in ["upload", "status", "output", "entry", "download"] {
        assert!(tally.of(operation, "ok") > 0, "some {operation} succeeds even so");
    }
    drop(guest);
    canary.assert_untouched();

    // Once the guest leaves off, everything works again.
    node.upload(&mut archive(), &Control::none()).unwrap();
    assert_uploaded(&mut node);
    assert_eq!(node.status().unwrap().state, State::NotStarted);
    canary.assert_untouched();
}

#[test]
fn the_guests_process() {
    racing_support::be_the_process();
}

/// The attacks above are real: they lead who works by path out of the directory.
#[test]
fn the_same_attacks_lead_the_naive_out_of_the_directory() {
    type Work = fn(&Path) -> Vec<u8>;
    let read: Work = |shared| {
        let names = ["custom", "out", "stdout"].map(|name| shared.join("exec_status").join(name));
        names.iter().filter_map(|path| naive::read(path).ok()).flatten().collect()
    };
    let walk: Work = |shared| {
        let mut all = Vec::new();
        let _ = naive::walk(shared, &mut all);
        all
    };
    let clear: Work = |shared| {
        let _ = naive::clear(shared);
        Vec::new()
    };
    let extract: Work = |shared| {
        let _ = naive::extract(shared, "d", &["data", "custom", "file"]);
        Vec::new()
    };
    let watchdog = Watchdog::start();
    for (name, work) in [("read", read), ("walk", walk), ("clear", clear), ("extract", extract)] {
        let scratch = Scratch::new();
        let shared = scratch.path().join("shared");
        fs::create_dir(&shared).unwrap();
        let canary = Canary::make(scratch.path().join("canary"));
        // Places that the naive go to; FIFOs would only make them hang.
        let attack = Attack { places: &["d", "d/inner", "exec_status", "exec_status/custom"], fifos: false };
        let _guest = Guest::start(&shared, canary.path(), attack);
        let began = Instant::now();
        let mut bounds = Bounds::seconds(60);
        loop {
            let round = bounds.next().unwrap_or_else(|| panic!("the naive {name} was never led out"));
            for directory in ["d/inner", "exec_status"] {
                make_directory(&shared, directory);
            }
            let read = holds_mark(&work(&shared));
            watchdog.beat();
            if read || !canary.is_untouched() {
                let how = if read { "reads" } else { "damages" };
                println!("the naive {name} {how} what lies outside in round {round}, after {:?}", began.elapsed());
                break;
            }
        }
    }
}

/// States that a guest can leave behind, or a guest together with a crash.
#[test]
fn what_a_guest_leaves_behind_never_stops_the_next_upload() {
    let fifo = |path: &Path| nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap();
    let file = |path: &Path| fs::write(path, "of the guest").unwrap();
    let directory = |path: &Path| fs::create_dir_all(path).unwrap();
    let sealed = |path: &Path| {
        fs::create_dir_all(path.join("inner/file")).unwrap();
        nix::sys::stat::fchmodat(
            nix::fcntl::AT_FDCWD,
            path,
            Mode::empty(),
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )
        .unwrap();
    };
    let crowded = |path: &Path| {
        // Any name that is likely to be tried for what is moved here.
        fs::create_dir_all(path.join("0/inner")).unwrap();
        (1..3000).for_each(|number| fs::write(path.join(format!("{number:x}")), "").unwrap());
    };
    let outside = tempfile::tempdir().unwrap();
    let canary = Canary::make(outside.path().join("canary"));
    let link = |path: &Path| symlink(canary.path(), path).unwrap();
    let makers: [&dyn Fn(&Path); 6] = [&fifo, &file, &directory, &sealed, &crowded, &link];
    for (number, make) in makers.iter().enumerate() {
        for place in ["new", "commit", "ready", "old", "commit/.nlxtp_upload", "ready/.nlxtp_upload", "ready/d"] {
            for beside in ["", "new", "commit", "ready", "old"] {
                let scratch = Scratch::new();
                let staging = scratch.path().join(".nlxtp_upload");
                let at = staging.join(place);
                fs::create_dir_all(staging.join(beside)).unwrap();
                fs::create_dir_all(at.parent().unwrap()).unwrap();
                if at.exists() {
                    continue;
                }
                fs::write(scratch.path().join("before"), "").unwrap();
                fs::create_dir_all(scratch.path().join("exec_status")).unwrap();
                make(&at);
                let mut node = Node::new(HostDirectory::open(scratch.path()).unwrap());
                let said = format!("kind {number} at {place} beside {beside:?}");
                node.status().unwrap_or_else(|error| panic!("{said}: {error}"));
                node.upload(&mut archive(), &Control::none()).unwrap_or_else(|error| panic!("{said}: {error}"));
                assert_uploaded(&mut node);
                assert!(!staging.exists(), "{said}");
            }
        }
    }
    canary.assert_untouched();
}

/// Full directories within each other are refused before their names fill the memory.
#[test]
fn the_limit_on_entries_holds_for_all_levels_together() {
    let scratch = Scratch::new();
    let mut path = scratch.path().to_path_buf();
    for _ in 0..10 {
        (0..20).for_each(|number| fs::write(path.join(format!("z{number}")), "").unwrap());
        path.push("a");
        fs::create_dir(&path).unwrap();
    }
    let count = |entries| {
        let limits = Limits { entries, ..Limits::DEFAULT };
        let mut node = Node::new(HostDirectory::open(scratch.path()).unwrap().with_limits(limits));
        node.download(&mut Vec::new(), OutputFormat::Tar, &Control::none())
    };
    assert_eq!(count(210).unwrap().files, 200);
    assert_eq!(count(209).unwrap_err().kind(), ErrorKind::Refused);
}

/// A guest makes a file longer that an upload is about to copy.
#[test]
fn an_upload_writes_no_more_than_it_was_found_to_hold() {
    struct Few(&'static [u8]);
    impl Content for Few {
        type Error = Error;
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            Ok(self.0.read(buffer).unwrap())
        }
    }
    let scratch = Scratch::new();
    let rules =
        ArchiveRules { representation: Representation::Posix, links: LinkPolicy::Copy, limits: Limits::DEFAULT };
    let mut builder = ManifestBuilder::new(rules);
    let judged = builder.add(&RawEntry {
        path: b"file",
        kind: RawKind::File,
        size: 3,
        mode: 0o644,
        modified: 0,
        has_owner: false,
    });
    assert_eq!(judged, Judgement::File(0));
    let manifest = builder.finish().unwrap();
    let directory = HostDirectory::open(scratch.path()).unwrap();
    let mut replacement = directory.replace(&manifest, &|| Ok(())).unwrap();
    let [file, copy] = [b"file", b"copy"].map(|name| EntryPath::parse(name).unwrap());
    let attributes = manifest.files[0].attributes;
    replacement.file(&file, attributes, 3, &mut Few(b"few")).unwrap();
    fs::write(scratch.path().join(".nlxtp_upload/new/file"), vec![1; 1 << 20]).unwrap();
    assert_eq!(replacement.copy(&copy, &file, attributes, &|| Ok(())).unwrap_err().kind(), ErrorKind::Changing);
    assert!(fs::metadata(scratch.path().join(".nlxtp_upload/new/copy")).unwrap().len() <= 1);
}
