//! The status files of ToMaTo's guest modules: whatever they hold, and however they change while
//! they are read, what is told of them was true at some moment of the reading.
//!
//! The input is a list of states of `exec_status/` that follow each other: 8 bytes for when they
//! do, then for each state a byte that says which files are there, and for `running` and `custom`
//! a length (2 bytes, little endian) and the content.

use std::time::Duration;

use rextfv_core::layout;
use rextfv_core::liveness::{LivenessRules, Moment, State, judge};
use rextfv_core::powers::PowerState;
use rextfv_core::status_reader::{Found, Reading, read_status};
use rextfv_core::tomato::{self, TomatoStatus};

use crate::changing_files::{ChangingFiles, Files};

/// Bits of a state's first byte.
const HAS_RUNNING: u8 = 1;
const HAS_DONE: u8 = 2;
const HAS_CUSTOM: u8 = 4;
const HAS_OUT: u8 = 8;
/// A file that means nothing: only the directory is there.
const HAS_OTHER: u8 = 16;

const MOST_STATES: usize = 8;

/// Checks one input.
pub fn check(input: &[u8]) {
    let (schedule, mut rest) = input.split_at(input.len().min(8));
    let mut bytes = [0; 8];
    bytes[..schedule.len()].copy_from_slice(schedule);
    let mut states = Vec::new();
    while let Some((flags, after)) = rest.split_first().filter(|_| states.len() < MOST_STATES) {
        rest = after;
        states.push(state(*flags, &mut rest));
    }
    if states.is_empty() {
        states.push(Files::new());
    }

    for state in &states {
        let found = read_status(&mut ChangingFiles::still(state.clone())).expect("nothing is torn");
        assert_eq!(found, Found { run: None, reading: told(state) });
    }
    let mut files = ChangingFiles::new(states, u64::from_le_bytes(bytes));
    let found = read_status(&mut files).expect("nothing is torn");
    assert_eq!(found.run, None);
    was_true(&found.reading, files.seen());
    verdict(&found);
}

fn state(flags: u8, rest: &mut &[u8]) -> Files {
    let mut content = || {
        let length = rest.split_off(..2).map_or(0, |bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
        rest.split_off(..length.min(rest.len())).unwrap_or_default().to_vec()
    };
    let mut files = Files::new();
    let mut add = |flag, name, content: &mut dyn FnMut() -> Vec<u8>| {
        if flags & flag != 0 {
            files.insert(name, Some(content()));
        }
    };
    add(HAS_RUNNING, tomato::RUNNING, &mut content);
    add(HAS_CUSTOM, layout::CUSTOM, &mut content);
    add(HAS_DONE, tomato::DONE, &mut Vec::new);
    add(HAS_OUT, tomato::OUT, &mut || b"output".to_vec());
    add(HAS_OTHER, "exec_status/other", &mut Vec::new);
    files
}

fn content<'a>(state: &'a Files, name: &str) -> Option<&'a [u8]> {
    state.get(name).and_then(|content| content.as_deref())
}

/// What is to be told of files that stay as they are.
fn told(state: &Files) -> Reading {
    let running = content(state, tomato::RUNNING);
    let status = TomatoStatus {
        running_info: running.map(|running| &running[..running.len().min(64)]).and_then(number),
        done: state.contains_key(tomato::DONE),
        custom: content(state, layout::CUSTOM).map(<[u8]>::to_vec),
    };
    let started = running.is_some() || status.done || status.custom.is_some() || state.contains_key(tomato::OUT);
    match started {
        true => Reading::Tomato(status),
        false if state.is_empty() => Reading::NotStarted,
        false => Reading::Claimed,
    }
}

/// A decimal number between blanks. Rust's own parser takes a plus sign, which does no harm.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii();
    let digits = digits.strip_prefix(b"+").unwrap_or(digits);
    let step = |value: u64, digit: &u8| value.checked_mul(10)?.checked_add(u64::from(digit.checked_sub(b'0')?));
    let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    valid.then(|| digits.iter().try_fold(0, step))?
}

/// Whether a file may have been read so: as long as it was in one state, with the bytes of another.
fn may_be_read(seen: &[Files], name: &str, limit: usize, accept: impl Fn(Option<&[u8]>) -> bool) -> bool {
    let contents = || seen.iter().map(|state| content(state, name));
    contents().any(|first| match first {
        None => accept(None),
        Some(first) => contents().any(|then| accept(then.map(|then| &then[..then.len().min(first.len()).min(limit)]))),
    })
}

fn was_true(reading: &Reading, seen: &[Files]) {
    let any = |accept: &dyn Fn(&Files) -> bool| assert!(seen.iter().any(accept), "{reading:?} of {seen:?}");
    match reading {
        Reading::NotStarted => any(&Files::is_empty),
        Reading::Claimed => any(&|state| !state.is_empty()),
        Reading::Tomato(status) => {
            any(&|state| state.contains_key(tomato::DONE) == status.done);
            let running = |read: Option<&[u8]>| read.and_then(number) == status.running_info;
            assert!(may_be_read(seen, tomato::RUNNING, 64, running), "{reading:?} of {seen:?}");
            let custom = |read: Option<&[u8]>| read == status.custom.as_deref();
            assert!(may_be_read(seen, layout::CUSTOM, usize::MAX, custom), "{reading:?} of {seen:?}");
        }
        Reading::Record(_) | Reading::Unusable(_) => panic!("{reading:?} without slots"),
    }
}

/// What the host tells: done only by the Done Flag, and stopped only after ToMaTo's 600 seconds.
fn verdict(found: &Found) {
    let mut memory = None;
    let rules = LivenessRules::default();
    for (seconds, silent) in [(1, false), (601, false), (602, true)] {
        let now = Moment { epoch: 1, time: Duration::from_secs(seconds) };
        let (state, _) = judge(found, PowerState::Unknown, now, &rules, &mut memory);
        let expected = match &found.reading {
            Reading::NotStarted => State::NotStarted,
            Reading::Tomato(status) if status.done => State::Finished,
            _ if silent => State::MonitorStopped,
            _ => State::Running,
        };
        assert_eq!(state, expected, "after {seconds} s: {found:?}");
    }
}
