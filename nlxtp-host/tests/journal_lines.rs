//! A journal's lines: written, read back, chained, cut off, and made up.
//!
//! `journals/experiment.jsonl` is what version 1 looks like, and stays so: `journals/make.sh` made it by
//! a real experiment, with the archives beside it.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::journal::record::{self, MOST_LINE_BYTES};
use nlxtp_host::journal::verify::{Files, verify};
use nlxtp_host::journal::{Digest, Event, Journal, Line, Reader, Record, Tree};
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::HostDirectory;
use proptest::prelude::*;
use rextfv_core::entry_path::from_displayable;
use rextfv_core::ids::RunId;
use rextfv_core::limits::Limits;
use tempfile::TempDir;

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals").join(name)
}

fn golden() -> String {
    fs::read_to_string(golden_path("experiment.jsonl")).unwrap()
}

/// All lines, and the reader at the end.
fn read(bytes: &[u8]) -> (Vec<Line>, Reader<&[u8]>) {
    let mut reader = Reader::new(bytes);
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        lines.push(line);
    }
    (lines, reader)
}

fn records(bytes: &[u8]) -> Vec<Record> {
    read(bytes).0.into_iter().map(|line| line.record.unwrap()).collect()
}

/// A node with something in it, and a journal.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("node")).unwrap();
        Self { folder }
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal.jsonl")
    }

    fn node(&self) -> Node {
        let journal = Journal::open(self.journal()).unwrap();
        Node::new(HostDirectory::open(self.folder.path().join("node")).unwrap()).with_journal(journal.for_node("node"))
    }

    /// Uploads an archive that holds no start script.
    fn upload(&self) -> Result<RunId, Error> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        builder.append_data(&mut header, "file", &b"abc"[..]).unwrap();
        let mut archive = Cursor::new(builder.into_inner().unwrap());
        let mut node = self.node();
        let report = node.upload(&mut archive, &Control::none())?;
        assert!(node.take_journal_failure().is_none());
        Ok(report.run_id)
    }
}

#[test]
fn the_golden_journal_is_read_and_written_the_same() {
    let text = golden();
    let (lines, reader) = read(text.as_bytes());
    assert_eq!((reader.lines(), reader.torn()), (8, 0));
    for (line, bytes) in lines.iter().zip(text.split_inclusive('\n')) {
        assert_eq!(line.problem(), None);
        assert_eq!(line.digest, Digest::of(bytes.as_bytes()));
        let again = serde_json::to_string(line.record.as_ref().unwrap()).unwrap();
        assert_eq!(again, bytes.trim_end(), "line {}", line.number);
    }
    let words: Vec<_> = records(text.as_bytes()).iter().map(|record| record.event.word()).collect();
    assert_eq!(words, ["upload", "start", "upload", "start", "end", "end", "download", "download"]);
}

#[test]
fn results_in_the_golden_journal_are_those_of_the_archives_beside_it() {
    for record in records(golden().as_bytes()) {
        let Event::Download(download) = record.event else { continue };
        let mut archive = fs::File::open(golden_path(download.archive.name.as_deref().unwrap())).unwrap();
        let tree = Tree::of_archive(&mut archive, &Limits::DEFAULT, &Control::none()).unwrap();
        assert_eq!(tree.summary(), download.results);
        assert_eq!(Digest::of(tree.listing().as_bytes()), download.results.sha256);
        assert_eq!(tree.entries().count(), download.results.listed.len());
    }
}

#[test]
fn names_of_any_bytes_lead_back() {
    let all = golden();
    let names = records(all.as_bytes()).into_iter().filter_map(|record| match record.event {
        Event::Download(download) => Some(download.results.listed),
        _ => None,
    });
    let names: Vec<_> = names.flatten().filter_map(|entry| from_displayable(&entry.path)).collect();
    assert!(names.contains(&b"name\xff\nx".to_vec()), "{names:?}");
    assert!(!all.contains(['\u{1b}', '\r']), "a line drives no terminal");
}

#[test]
fn any_change_of_a_line_is_found() {
    let text = golden();
    let line_starts: Vec<usize> =
        [0].into_iter().chain(text.match_indices('\n').map(|(at, _)| at + 1)).take(8).collect();
    for (number, &start) in line_starts.iter().enumerate().take(7) {
        let end = line_starts[number + 1];
        // One digit of the time.
        let mut changed = text.clone().into_bytes();
        let at = text[start..end].find("\"time\":\"").unwrap() + start + 8 + 18;
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        let broken: Vec<u64> =
            read(&changed).0.iter().filter(|line| line.problem().is_some()).map(|line| line.number).collect();
        assert_eq!(broken, [number as u64 + 2], "changed line {}", number + 1);
        // The whole line gone.
        let removed = [&text.as_bytes()[..start], &text.as_bytes()[end..]].concat();
        let broken: Vec<u64> =
            read(&removed).0.iter().filter(|line| line.expected.is_some()).map(|line| line.number).collect();
        assert_eq!(broken, [number as u64 + 1], "removed line {}", number + 1);
        // The same line twice.
        let doubled = [&text.as_bytes()[..end], &text.as_bytes()[start..]].concat();
        assert!(read(&doubled).0[number + 1].expected.is_some(), "doubled line {}", number + 1);
    }
}

#[test]
fn bad_lines_are_told_with_their_number_and_the_next_ones_are_read() {
    let text = golden();
    let first = text.split_inclusive('\n').next().unwrap();
    let newer = first.replacen("\"journal\":1", "\"journal\":2", 1);
    let strange = first.replacen("\"event\":\"upload\"", "\"event\":\"party\"", 1);
    let long = format!("{{\"journal\":1,\"x\":\"{}\"}}\n", "x".repeat(MOST_LINE_BYTES));
    let lines = [first, "\n", "nonsense\n", "{}\n", "[1]\n", &newer, &strange, &long, "\u{0}\u{1}\n", first].concat();
    let (lines, reader) = read(lines.as_bytes());
    assert_eq!(reader.lines(), 10);
    let problems: Vec<_> = lines.iter().map(|line| line.problem().unwrap_or_default()).collect();
    for (problem, expected) in problems.iter().zip([
        "",
        "empty",
        "no line of a journal",
        "missing field `journal`",
        "",
        "version 2",
        "party",
        "longer than",
        "no line of a journal",
        "the chain is broken",
    ]) {
        assert!(problem.contains(expected), "{problem:?} should say {expected:?}");
    }
    assert_eq!(lines.iter().filter(|line| line.record.is_ok()).count(), 2);
}

#[test]
fn what_is_torn_is_told_and_mended() {
    let place = Place::new();
    place.upload().unwrap();
    place.upload().unwrap();
    let whole = fs::read(place.journal()).unwrap();
    let end_of_first = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    // Some of the second line is there: cut everywhere near its ends, and here and there in between.
    let length = whole.len() - end_of_first;
    let cuts = (1..length).filter(|cut| *cut < 20 || length - cut < 20 || cut % 37 == 0);
    for cut in cuts {
        let torn = &whole[..end_of_first + cut];
        fs::write(place.journal(), torn).unwrap();
        let (lines, reader) = read(torn);
        assert_eq!((lines.len(), reader.torn()), (1, cut as u64));
        let lacks_newline_only = cut == length - 1;
        place.upload().unwrap();
        let mended = fs::read(place.journal()).unwrap();
        let (lines, reader) = read(&mended);
        assert!(lines.iter().all(|line| line.problem().is_none()), "cut after {cut}");
        let last = lines.last().unwrap().record.as_ref().unwrap();
        if lacks_newline_only {
            assert!(mended.starts_with(&whole), "a line that lacks its newline is kept");
            assert_eq!((lines.len(), last.torn), (3, 0));
        } else {
            assert_eq!((lines.len(), last.torn, reader.torn()), (2, cut as u64, 0), "cut after {cut}");
        }
    }
}

#[test]
fn other_files_are_not_written_to() {
    let place = Place::new();
    for content in ["notes\n", "notes", "\n", "{\"some\":\"json\"}\n", "{\"journal\":2}\n"] {
        fs::write(place.journal(), content).unwrap();
        let error = Journal::open(place.journal()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{content:?}: {error}");
        assert_eq!(fs::read_to_string(place.journal()).unwrap(), content);
    }
    let endless = "x".repeat(3 * MOST_LINE_BYTES);
    fs::write(place.journal(), &endless).unwrap();
    assert_eq!(Journal::open(place.journal()).unwrap_err().kind(), ErrorKind::InvalidInput);
    fs::remove_file(place.journal()).unwrap();
    nix::unistd::mkfifo(&place.journal(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(Journal::open(place.journal()).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_journal_that_was_moved_away_begins_anew() {
    let place = Place::new();
    let mut node = place.node();
    place.upload().unwrap();
    let old = place.folder.path().join("old.jsonl");
    fs::rename(place.journal(), &old).unwrap();
    node.download(&mut Vec::new(), Default::default(), &Control::none()).unwrap();
    assert!(node.take_journal_failure().is_none());
    let records = records(&fs::read(place.journal()).unwrap());
    assert_eq!((records.len(), records[0].prev), (1, Digest::NONE));
    assert_eq!(read(&fs::read(old).unwrap()).0.len(), 1);
}

#[test]
fn a_journal_in_the_shared_directory_is_refused_before_anything_is_touched() {
    let place = Place::new();
    let directory = place.folder.path().join("node");
    fs::write(directory.join("old"), "old").unwrap();
    let journal = Journal::open(directory.join("journal.jsonl")).unwrap();
    let mut node = Node::new(HostDirectory::open(&directory).unwrap()).with_journal(journal.for_node("node"));
    let archive = fs::read(golden_path("server.tar.gz")).unwrap();
    let error = node.upload(&mut Cursor::new(archive), &Control::none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(fs::read_to_string(directory.join("old")).unwrap(), "old");
}

#[test]
fn a_guest_that_invents_runs_fills_no_journal() {
    let place = Place::new();
    let run = place.upload().unwrap();
    let mut node = place.node();
    let directory = place.folder.path().join("node");
    fs::create_dir(directory.join("exec_status")).unwrap();
    let report = |run: RunId| {
        let record = format!("{run}\n");
        fs::write(directory.join("nlxtp_run_id"), record).unwrap();
        fs::write(directory.join("exec_status/running"), "1").unwrap();
    };
    for number in 0..50 {
        report(RunId::from_bytes([number; 16]));
        node.status().unwrap();
    }
    report(run);
    node.status().unwrap();
    node.status().unwrap();
    // Another process, which remembers nothing.
    place.node().status().unwrap();
    let records = records(&fs::read(place.journal()).unwrap());
    let starts: Vec<_> = records.iter().filter(|record| record.event == Event::Start).collect();
    assert_eq!(starts.len(), 2, "one stranger, and the run of the upload");
    assert_eq!(starts[1].run, Some(run));
    let verification = verify(&place.journal(), &Files::default(), &Limits::DEFAULT, &Control::none()).unwrap();
    assert!(verification.is_ok());
    assert_eq!(verification.notes.len(), 1, "{:?}", verification.notes);
}

#[test]
fn starts_are_found_however_long_ago() {
    let place = Place::new();
    let run = place.upload().unwrap();
    let directory = place.folder.path().join("node");
    fs::create_dir(directory.join("exec_status")).unwrap();
    fs::write(directory.join("exec_status/running"), "1").unwrap();
    place.node().status().unwrap();
    // More than is read at once lies between.
    let journal = Journal::open(place.journal()).unwrap();
    let name = "n".repeat(40_000);
    for _ in 0..20 {
        let other = HostDirectory::open(&directory).unwrap();
        let mut other = Node::new(other).with_journal(journal.for_node(&name));
        other.download(&mut Vec::new(), Default::default(), &Control::none()).unwrap();
    }
    assert!(fs::metadata(place.journal()).unwrap().len() > 700_000);
    place.node().status().unwrap();
    fs::remove_file(directory.join("exec_status/running")).unwrap();
    fs::write(directory.join("exec_status/done"), "").unwrap();
    place.node().status().unwrap();
    place.node().status().unwrap();
    let records = records(&fs::read(place.journal()).unwrap());
    let of_run: Vec<_> = records
        .iter()
        .filter(|record| record.node == "node" && record.run == Some(run))
        .map(|r| r.event.word())
        .collect();
    assert_eq!(of_run, ["upload", "start", "end"]);
}

fn some_line() -> impl Strategy<Value = Vec<u8>> {
    let golden: Vec<Vec<u8>> = golden().split_inclusive('\n').map(|line| line.as_bytes().to_vec()).collect();
    let mutated = (proptest::sample::select(golden), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut line, at, byte)| {
            let at = at.index(line.len());
            line[at] = byte;
            line
        },
    );
    prop_oneof![3 => mutated, 1 => proptest::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a file holds: every newline ends a line with its number, nothing panics, and what is read
    /// can be written and read again.
    #[test]
    fn any_bytes_are_read(pieces in proptest::collection::vec(some_line(), 0..6)) {
        let bytes = pieces.concat();
        let (lines, reader) = read(&bytes);
        let newlines = bytes.iter().filter(|byte| **byte == b'\n').count();
        prop_assert_eq!(lines.len(), newlines);
        let torn = bytes.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
        prop_assert_eq!(reader.torn(), torn as u64);
        for (at, line) in lines.iter().enumerate() {
            prop_assert_eq!(line.number, at as u64 + 1);
            if let Ok(record) = &line.record {
                let again = serde_json::to_vec(record).unwrap();
                prop_assert_eq!(&record::parse(&again).unwrap(), record);
            }
        }
    }

    /// Whatever a file holds, appending to it fails or leaves all that was whole, and one line more.
    #[test]
    fn any_bytes_are_appended_to_or_refused(pieces in proptest::collection::vec(some_line(), 0..4)) {
        let place = Place::new();
        let bytes = pieces.concat();
        fs::write(place.journal(), &bytes).unwrap();
        let opened = Journal::open(place.journal());
        let Ok(_) = opened else {
            prop_assert_eq!(fs::read(place.journal()).unwrap(), bytes);
            return Ok(());
        };
        place.upload().unwrap();
        let after = fs::read(place.journal()).unwrap();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        prop_assert!(after.starts_with(&bytes[..whole]));
        let (lines, reader) = read(&after);
        prop_assert_eq!(reader.torn(), 0);
        prop_assert_eq!(lines.last().unwrap().problem(), None);
    }
}
