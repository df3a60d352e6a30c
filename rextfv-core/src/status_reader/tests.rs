use super::*;
use crate::seed;
use crate::shared_directory::{Attributes, Entry, EntryKind, Visitor};
use crate::status::{Ending, RunState, Truncated};
use crate::status_codec;
use alloc::collections::BTreeMap;
use core::time::Duration;

/// A shared directory that is nothing but named bytes. A file that holds [`TORN`] cannot be read.
#[derive(Default)]
struct Files(BTreeMap<&'static str, Vec<u8>>);

#[derive(Debug, PartialEq, Eq)]
struct Fault;

impl MayRetry for Fault {
    fn may_retry(&self) -> bool {
        true
    }
}

const TORN: &[u8] = b"as if the file were longer than its clusters";

impl View for Files {
    type Error = Fault;

    fn entry(&mut self, path: &EntryPath) -> Result<Option<Entry>, Fault> {
        let name = path.as_str().unwrap();
        let entry =
            |kind, size| Entry { path: path.clone(), kind, size, attributes: Attributes { mode: 0o755, modified: 0 } };
        if let Some(content) = self.0.get(name) {
            return Ok(Some(entry(EntryKind::File, content.len() as u64)));
        }
        let holds = self.0.keys().any(|file| file.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')));
        Ok(holds.then(|| entry(EntryKind::Directory, 0)))
    }

    fn read_at(&mut self, path: &EntryPath, offset: u64, buffer: &mut [u8]) -> Result<Option<usize>, Fault> {
        let content = self.0.get(path.as_str().unwrap());
        if content.is_some_and(|content| content == TORN) {
            return Err(Fault);
        }
        Ok(content.map(|content| {
            let rest = content.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            length
        }))
    }

    fn top_names(&mut self) -> Result<Vec<Vec<u8>>, Fault> {
        unreachable!("reading a status lists nothing")
    }

    fn walk(&mut self, _: &mut dyn Visitor<Error = Fault>) -> Result<(), Fault> {
        unreachable!("reading a status walks nothing")
    }
}

const RUN: &str = "00112233445566778899aabbccddeeff";

fn status(sequence: u64) -> Status {
    Status {
        run: Some(RUN.parse().unwrap()),
        sequence,
        state: RunState::Running,
        done: false,
        running_info: sequence * 1000,
        interval: Duration::from_secs(1),
        boot: None,
        ended: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
        truncated: Truncated::default(),
        custom: None,
        progress: None,
    }
}

fn record(status: &Status) -> Vec<u8> {
    status_codec::encode(status).unwrap()
}

fn read(files: &[(&'static str, &[u8])]) -> Reading {
    let mut view = Files(files.iter().map(|(name, content)| (*name, content.to_vec())).collect());
    read_status(&mut view).unwrap().reading
}

const SLOT_0: &str = layout::STATUS_SLOTS[0];
const SLOT_1: &str = layout::STATUS_SLOTS[1];

#[test]
fn the_newest_valid_record_counts() {
    let (older, newer) = (record(&status(4)), record(&status(5)));
    assert_eq!(read(&[(SLOT_0, &older), (SLOT_1, &newer)]), Reading::Record(status(5)));
    assert_eq!(read(&[(SLOT_0, &newer), (SLOT_1, &older)]), Reading::Record(status(5)));
    assert_eq!(read(&[(SLOT_0, &older)]), Reading::Record(status(4)));
}

#[test]
fn a_torn_update_hides_itself_and_not_its_predecessor() {
    let (older, newer) = (record(&status(4)), record(&status(5)));
    for cut in 0..newer.len() {
        assert_eq!(read(&[(SLOT_0, &older), (SLOT_1, &newer[..cut])]), Reading::Record(status(4)), "cut at {cut}");
    }
}

#[test]
fn a_slot_that_the_disk_cannot_give_does_not_hide_the_other() {
    assert_eq!(read(&[(SLOT_0, TORN), (SLOT_1, &record(&status(5)))]), Reading::Record(status(5)));
    assert_eq!(read(&[(SLOT_0, TORN), (SLOT_1, TORN)]), Reading::Unusable([SlotProblem::Unreadable; 2]));
}

#[test]
fn slots_that_are_all_damaged_are_unusable() {
    let problems = [SlotProblem::Damaged(StatusDamage::Blank), SlotProblem::Missing];
    assert_eq!(read(&[(SLOT_0, &[0; 100])]), Reading::Unusable(problems));
}

#[test]
fn a_status_of_an_earlier_run_is_not_taken_for_this_one() {
    let run_id = b"ffffffffffffffffffffffffffffffff\n";
    let old = record(&status(9));
    let done = (tomato::DONE, &b""[..]);
    let unusable = Reading::Unusable([SlotProblem::OtherRun, SlotProblem::Missing]);
    assert_eq!(read(&[(layout::RUN_ID, run_id), (SLOT_0, &old), done]), unusable);
    let own = alloc::format!("{RUN}\n");
    assert_eq!(read(&[(layout::RUN_ID, own.as_bytes()), (SLOT_0, &old)]), Reading::Record(status(9)));
}

#[test]
fn a_record_longer_than_the_first_read_is_read_whole() {
    let long = Status { custom: Some(vec![b'c'; MAX_CUSTOM_BYTES]), ..status(3) };
    assert_eq!(read(&[(SLOT_0, &record(&long)), (SLOT_1, &record(&status(2)))]), Reading::Record(long));
}

#[test]
fn nothing_and_a_bare_claim() {
    assert_eq!(read(&[("auto_exec.sh", b"x")]), Reading::NotStarted);
    assert_eq!(read(&[("exec_status/stdout", b"")]), Reading::Claimed);
}

#[test]
fn something_in_place_of_the_directory_is_no_claim() {
    assert_eq!(read(&[("exec_status", b"")]), Reading::Unusable([SlotProblem::NoDirectory; 2]));
}

#[test]
fn tomatos_files_are_understood() {
    let tomato = |running_info, done, custom: Option<&[u8]>| {
        Reading::Tomato(TomatoStatus { running_info, done, custom: custom.map(<[u8]>::to_vec) })
    };
    let out = (tomato::OUT, &b"hello"[..]);
    type Files<'a> = &'a [(&'static str, &'a [u8])];
    let cases: [(Files<'_>, Reading); 5] = [
        (&[out, (tomato::RUNNING, b"1425000000\n")], tomato(Some(1_425_000_000), false, None)),
        // Neither `running` nor `done`: just begun, or just about to end.
        (&[out], tomato(None, false, None)),
        (&[out, (layout::CUSTOM, b"50%")], tomato(None, false, Some(b"50%"))),
        (&[out, (tomato::DONE, b""), (layout::CUSTOM, b"ok")], tomato(None, true, Some(b"ok"))),
        // Being rewritten at this moment.
        (&[out, (tomato::RUNNING, b"")], tomato(None, false, None)),
    ];
    // One state after the other, gone through at every second look.
    let mut changing = alloc::vec![0xaa; 8];
    for (number, (files, expected)) in cases.into_iter().enumerate() {
        assert_eq!(read(files), expected, "case {number}");
        let state = tomato_seed(files);
        changing.extend_from_slice(&state);
        seed::keep("tomato_dialect", &alloc::format!("case-{number}"), &[&[0; 8], &state[..]].concat());
    }
    seed::keep("tomato_dialect", "changing", &changing);
}

/// Files as the fuzz target takes them: which there are, then the content of those that say something.
fn tomato_seed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let content = |name| files.iter().find(|(file, _)| *file == name).map(|(_, content)| *content);
    let names = [tomato::RUNNING, tomato::DONE, layout::CUSTOM, tomato::OUT];
    let flags = names.iter().rev().fold(0, |flags, name| flags << 1 | u8::from(content(*name).is_some()));
    let mut seed = vec![flags];
    for content in [tomato::RUNNING, layout::CUSTOM].into_iter().filter_map(content) {
        seed.extend_from_slice(&u16::try_from(content.len()).unwrap().to_le_bytes());
        seed.extend_from_slice(content);
    }
    seed
}

#[test]
fn our_own_slots_count_more_than_tomatos_files() {
    let done = Status { state: RunState::Finished, ended: Some(Ending::Exit(0)), done: true, ..status(8) };
    let files: [(&str, &[u8]); 3] = [(SLOT_0, &record(&done)), (tomato::RUNNING, b"1"), (tomato::OUT, b"")];
    assert_eq!(read(&files), Reading::Record(done));
}

#[test]
fn what_is_remembered_changes_no_answer() {
    let mut reader = StatusReader::default();
    let mut view = Files::default();
    let long = |sequence, byte| Status { custom: Some(vec![byte; 50_000]), ..status(sequence) };
    let damaged = |record: &Status, at: usize| {
        let mut bytes = self::record(record);
        bytes[at] ^= 1;
        bytes
    };
    let steps: [(&str, Vec<u8>); 15] = [
        (SLOT_0, record(&long(4, b'a'))),
        (SLOT_1, record(&long(5, b'a'))),
        (SLOT_0, record(&long(6, b'b'))),
        // The same header, other bytes behind it: with and without a checksum that fits.
        (SLOT_0, record(&long(6, b'c'))),
        (SLOT_0, damaged(&long(6, b'c'), 3000)),
        (SLOT_0, record(&long(6, b'c'))),
        (SLOT_0, damaged(&long(6, b'c'), 45_000)),
        (SLOT_0, record(&long(6, b'c'))[..45_000].to_vec()),
        (SLOT_0, damaged(&long(6, b'c'), 20)),
        (SLOT_1, damaged(&long(7, b'c'), 3000)),
        (SLOT_0, record(&long(8, b'c'))[..3000].to_vec()),
        (SLOT_1, record(&status(9))),
        (layout::RUN_ID, b"ffffffffffffffffffffffffffffffff\n".to_vec()),
        (layout::RUN_ID, alloc::format!("{RUN}\n").into_bytes()),
        (SLOT_1, b"".to_vec()),
    ];
    for (step, (path, content)) in steps.into_iter().enumerate() {
        view.0.insert(path, content);
        for _ in 0..2 {
            assert_eq!(reader.read(&mut view), read_status(&mut view), "step {step}");
        }
    }
    view.0.insert(SLOT_0, record(&long(10, b'd')));
    assert_eq!(reader.read(&mut view).unwrap().reading, Reading::Record(long(10, b'd')));
    assert!(reader.remembered_bytes() > 100_000);
    reader.forget();
    assert_eq!(reader.remembered_bytes(), 0);
    // What is longer must be asked to be remembered.
    let longer = Status { custom: Some(vec![b'e'; FEW_BYTES]), ..status(11) };
    view.0.insert(SLOT_1, record(&longer));
    for (mut reader, is_remembered) in [(reader.clone(), false), (reader.clone().remembering_all(), true)] {
        assert_eq!(reader.read(&mut view).unwrap().reading, Reading::Record(longer.clone()));
        assert_eq!(reader.remembered() == Some(&longer), is_remembered);
    }
    view.0.insert(SLOT_1, b"".to_vec());
    assert_eq!(reader.read(&mut view).unwrap().reading, Reading::Record(long(10, b'd')));
}

#[test]
fn a_header_longer_than_the_first_read_is_read_whole() {
    let plain = record(&status(3));
    let end = plain.windows(2).position(|pair| pair == b"\n\n").unwrap() + 1;
    for extra in [600, 2000, 3000] {
        let mut bytes = plain[..end].to_vec();
        bytes.extend_from_slice(b"later-writers: ");
        bytes.resize(end + extra, b'x');
        bytes.extend_from_slice(b"\n\n\n");
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&bytes);
        bytes.extend_from_slice(b"sha256: ");
        digest.iter().for_each(|byte| bytes.extend_from_slice(alloc::format!("{byte:02x}").as_bytes()));
        bytes.push(b'\n');
        assert_eq!(read(&[(SLOT_0, &bytes)]), Reading::Record(status(3)), "{extra}");
    }
}

/// A guest that goes on by two records whenever the host has read a slot's second part.
struct Racing {
    files: Files,
    reads: u32,
}

impl View for Racing {
    type Error = Fault;

    fn entry(&mut self, path: &EntryPath) -> Result<Option<Entry>, Fault> {
        self.files.entry(path)
    }

    fn read_at(&mut self, path: &EntryPath, offset: u64, buffer: &mut [u8]) -> Result<Option<usize>, Fault> {
        if offset > 0 && self.reads == 0 {
            self.reads += 1;
            let long = |sequence| Status { custom: Some(vec![b'n'; 5000]), ..status(sequence) };
            self.files.0.insert(SLOT_0, record(&long(6)));
            self.files.0.insert(SLOT_1, record(&long(7))[..3000].to_vec());
        }
        self.files.read_at(path, offset, buffer)
    }

    fn top_names(&mut self) -> Result<Vec<Vec<u8>>, Fault> {
        self.files.top_names()
    }

    fn walk(&mut self, visitor: &mut dyn Visitor<Error = Fault>) -> Result<(), Fault> {
        self.files.walk(visitor)
    }
}

#[test]
fn a_guest_that_overtakes_the_host_takes_it_back_to_no_older_record() {
    let long = |sequence| Status { custom: Some(vec![b'o'; 5000]), ..status(sequence) };
    let mut files = Files::default();
    files.0.insert(SLOT_0, record(&long(4)));
    files.0.insert(SLOT_1, record(&long(5)));
    let found = read_status(&mut Racing { files, reads: 0 }).unwrap();
    assert!(matches!(found.reading, Reading::Record(Status { sequence: 6, .. })), "{found:?}");
}
