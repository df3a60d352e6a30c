use super::*;
use crate::status::{Ending, Truncated};
use crate::status_codec::StatusDamage;
use crate::status_reader::SlotProblem;
use crate::tomato::TomatoStatus;

const RUN: [u8; 16] = [1; 16];

fn record(sequence: u64, boot: u8) -> Status {
    Status {
        run: Some(RunId::from_bytes(RUN)),
        sequence,
        state: RunState::Running,
        done: false,
        running_info: sequence,
        interval: Duration::from_secs(10),
        boot: Some(BootId::from_bytes([boot; 16])),
        ended: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
        truncated: Truncated::default(),
        custom: None,
        progress: None,
    }
}

/// A host that asks again and again, with the default rules: patience for `record` is 35 s.
#[derive(Default)]
struct Host {
    memory: Option<Memory>,
    run: Option<RunId>,
    epoch: u64,
}

impl Host {
    fn ask(&mut self, seconds: u64, reading: &Reading) -> State {
        self.ask_with_power(seconds, reading, PowerState::Unknown)
    }

    fn ask_with_power(&mut self, seconds: u64, reading: &Reading, power: PowerState) -> State {
        let now = Moment { epoch: self.epoch, time: Duration::from_secs(seconds) };
        let found = Found { run: self.run, reading: reading.clone() };
        judge(&found, power, now, &LivenessRules::default(), &mut self.memory).0
    }
}

fn running(sequence: u64) -> Reading {
    Reading::Record(record(sequence, 7))
}

#[test]
fn a_run_from_beginning_to_end() {
    let mut host = Host::default();
    assert_eq!(host.ask(0, &Reading::NotStarted), State::NotStarted);
    assert_eq!(host.ask(1, &Reading::Claimed), State::Running);
    assert_eq!(host.ask(2, &running(1)), State::Running);
    assert_eq!(host.ask(30, &running(2)), State::Running);
    let ended = Status { state: RunState::Finished, ended: Some(Ending::Exit(0)), ..record(3, 7) };
    assert_eq!(host.ask(31, &Reading::Record(ended.clone())), State::Running, "results are not on the disk yet");
    assert_eq!(host.ask(32, &Reading::Record(Status { done: true, ..ended })), State::Finished);
}

#[test]
fn silence_is_judged_by_the_hosts_clock_alone() {
    let mut host = Host::default();
    assert_eq!(host.ask(100, &running(5)), State::Running);
    assert_eq!(host.ask(135, &running(5)), State::Running);
    assert_eq!(host.ask(136, &running(5)), State::MonitorStopped);
    // It was only slow.
    assert_eq!(host.ask(137, &running(6)), State::Running);
    assert_eq!(host.ask(172, &running(6)), State::Running);
    assert_eq!(host.ask(173, &running(6)), State::MonitorStopped);
}

#[test]
fn running_info_need_not_rise() {
    let mut host = Host::default();
    let clock_set_back = |info| Reading::Record(Status { running_info: info, ..record(5, 7) });
    assert_eq!(host.ask(0, &clock_set_back(1000)), State::Running);
    assert_eq!(host.ask(34, &clock_set_back(10)), State::Running);
    assert_eq!(host.ask(60, &clock_set_back(10)), State::Running);
}

#[test]
fn another_boot_is_a_reboot() {
    let mut host = Host::default();
    assert_eq!(host.ask(0, &running(5)), State::Running);
    assert_eq!(host.ask(1, &Reading::Record(record(6, 8))), State::GuestRebooted);
    assert_eq!(host.ask(2, &Reading::Record(record(7, 8))), State::GuestRebooted);
    let done = Status { state: RunState::Finished, ended: Some(Ending::Exit(0)), done: true, ..record(8, 8) };
    assert_eq!(host.ask(3, &Reading::Record(done)), State::Finished);
}

#[test]
fn the_next_run_starts_anew() {
    let mut host = Host::default();
    assert_eq!(host.ask(0, &running(5)), State::Running);
    assert_eq!(host.ask(90, &running(5)), State::MonitorStopped);
    host.run = Some(RunId::from_bytes([2; 16]));
    assert_eq!(host.ask(91, &Reading::Record(record(5, 9))), State::Running);
}

#[test]
fn nothing_is_carried_over_to_a_run_that_this_host_did_not_upload() {
    let run = |number| Some(RunId::from_bytes([number; 16]));
    let tomato = Reading::Tomato(TomatoStatus { running_info: Some(1), done: false, custom: None });
    let mut host = Host { run: run(1), ..Host::default() };
    assert_eq!(host.ask(0, &Reading::Claimed), State::Running);
    host.run = run(2);
    assert_eq!(host.ask(1000, &Reading::Claimed), State::Running);
    assert_eq!(host.ask_with_power(1001, &tomato, PowerState::Off), State::MonitorStopped);
    host.run = run(3);
    assert_eq!(host.ask_with_power(1002, &tomato, PowerState::On), State::Running);

    // Without ids, a sequence that begins again tells.
    let mut host = Host::default();
    assert_eq!(host.ask(0, &Reading::Record(record(9, 1))), State::Running);
    assert_eq!(host.ask(1, &Reading::Record(record(1, 2))), State::Running);
}

#[test]
fn what_the_guest_itself_says() {
    let mut host = Host::default();
    let interrupted = Status { state: RunState::Interrupted, ..record(5, 7) };
    assert_eq!(host.ask(0, &Reading::Record(interrupted)), State::MonitorStopped);
    let rebooted = Status { state: RunState::Rebooted, ..record(5, 7) };
    assert_eq!(host.ask(0, &Reading::Record(rebooted)), State::GuestRebooted);
}

#[test]
fn a_script_that_ran_too_long_has_finished_for_a_reason() {
    let mut memory = None;
    let now = Moment { epoch: 0, time: Duration::ZERO };
    let timed_out = Status { state: RunState::TimedOut, ended: Some(Ending::Signal(15)), done: true, ..record(5, 7) };
    let found = Found { run: None, reading: Reading::Record(timed_out) };
    let verdict = judge(&found, PowerState::On, now, &LivenessRules::default(), &mut memory);
    assert_eq!(verdict, (State::Finished, Some(Evidence::TimedOut)));
}

#[test]
fn a_guest_that_is_off_runs_nothing() {
    let mut host = Host::default();
    assert_eq!(host.ask_with_power(0, &running(5), PowerState::On), State::Running);
    assert_eq!(host.ask_with_power(1, &running(5), PowerState::Off), State::MonitorStopped);
    assert_eq!(host.ask_with_power(2, &running(5), PowerState::On), State::GuestRebooted);
    // It had only been said to be off: the same boot goes on reporting.
    assert_eq!(host.ask_with_power(3, &running(6), PowerState::On), State::Running);
    assert_eq!(host.ask_with_power(4, &Reading::NotStarted, PowerState::Off), State::NotStarted);
}

#[test]
fn an_unreadable_status_changes_nothing_that_is_remembered() {
    let mut host = Host::default();
    host.ask(0, &running(5));
    let before = host.memory.clone();
    let unusable = Reading::Unusable([SlotProblem::Missing, SlotProblem::Damaged(StatusDamage::Blank)]);
    assert_eq!(host.ask(50, &unusable), State::Unreadable);
    assert_eq!(host.memory, before);
}

#[test]
fn a_restarted_host_waits_anew() {
    let mut host = Host::default();
    host.ask(1000, &running(5));
    host.epoch = 1;
    assert_eq!(host.ask(2000, &running(5)), State::Running);
    assert_eq!(host.ask(2036, &running(5)), State::MonitorStopped);
    // A clock that went back within one epoch is no clock; it must at least not panic.
    assert_eq!(host.ask(3, &running(5)), State::Running);
}

#[test]
fn tomatos_modules_have_ten_minutes() {
    let mut host = Host::default();
    let tomato = |info, done| Reading::Tomato(TomatoStatus { running_info: info, done, custom: None });
    assert_eq!(host.ask(0, &tomato(None, false)), State::Running, "neither running nor done");
    assert_eq!(host.ask(1, &tomato(Some(5), false)), State::Running);
    assert_eq!(host.ask(601, &tomato(Some(5), false)), State::Running);
    assert_eq!(host.ask(602, &tomato(Some(5), false)), State::MonitorStopped);
    assert_eq!(host.ask(603, &tomato(None, false)), State::Running);
    assert_eq!(host.ask(604, &tomato(None, true)), State::Finished);
}

#[cfg(feature = "serde")]
#[test]
fn what_is_remembered_survives_a_database() {
    let mut host = Host::default();
    host.ask(7, &running(5));
    let text = serde_json::to_string(&host.memory).unwrap();
    let restored: Option<Memory> = serde_json::from_str(&text).unwrap();
    assert_eq!(restored, host.memory);
    assert!(text.len() < 300, "{text}");
}

#[test]
fn the_patience_that_is_left_ends_when_silence_is_told() {
    let rules = LivenessRules::default();
    let mut host = Host::default();
    let left = |host: &Host, seconds, reading: &Reading| {
        let now = Moment { epoch: 0, time: Duration::from_secs(seconds) };
        patience_left(&Found { run: None, reading: reading.clone() }, now, &rules, host.memory.as_ref())
    };
    assert_eq!(left(&host, 0, &running(1)), None, "never asked");
    host.ask(100, &running(1));
    let at_first = left(&host, 100, &running(1)).unwrap();
    assert_eq!(at_first, Duration::from_millis(35_001));
    assert_eq!(left(&host, 130, &running(1)), Some(at_first - Duration::from_secs(30)));
    assert_eq!(left(&host, 200, &running(1)), Some(Duration::ZERO));
    let mut ask = |time| {
        let found = Found { run: None, reading: running(1) };
        judge(&found, PowerState::Unknown, Moment { epoch: 0, time }, &rules, &mut host.memory).0
    };
    let over = Duration::from_secs(100) + at_first;
    assert_eq!(ask(over - Duration::from_millis(1)), State::Running);
    assert_eq!(ask(over), State::MonitorStopped);
    let done = Status { state: RunState::Finished, ended: Some(Ending::Exit(0)), done: true, ..record(2, 7) };
    assert_eq!(left(&host, 100, &Reading::Record(done)), None);
    assert_eq!(left(&host, 100, &Reading::NotStarted), None);
}
