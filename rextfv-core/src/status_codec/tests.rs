use super::*;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

fn sample() -> Status {
    Status {
        run: Some("00112233445566778899aabbccddeeff".parse().unwrap()),
        sequence: 7,
        state: RunState::Finished,
        done: true,
        running_info: 1_700_000_000_123,
        interval: Duration::from_secs(2),
        boot: None,
        ended: Some(Ending::Exit(3)),
        stdout_bytes: 10,
        stderr_bytes: 0,
        truncated: Truncated { stdout: true, stderr: false, custom: true },
        custom: Some(b"hello\n\nworld".to_vec()),
        progress: None,
    }
}

/// A record with its header edited and its checksum made right again.
fn edited(edit: impl Fn(String) -> String) -> Vec<u8> {
    let record = String::from_utf8(encode(&sample()).unwrap()).unwrap();
    let body = edit(record[..record.rfind("sha256: ").unwrap()].to_string());
    let mut bytes = body.into_bytes();
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(b"sha256: ");
    digest.iter().for_each(|byte| bytes.extend_from_slice(format!("{byte:02x}").as_bytes()));
    bytes.push(b'\n');
    bytes
}

fn replaced(from: &str, to: &str) -> Result<Status, StatusDamage> {
    decode(&edited(|text| {
        assert!(text.contains(from), "{from:?} is not in the record");
        text.replacen(from, to, 1)
    }))
}

#[test]
fn what_is_encoded_is_decoded() {
    assert_eq!(decode(&encode(&sample()).unwrap()), Ok(sample()));
}

#[test]
fn bytes_after_the_record_are_ignored() {
    let mut slot = encode(&sample()).unwrap();
    slot.extend_from_slice(b"left over from a longer record\n\0\0");
    assert_eq!(decode(&slot), Ok(sample()));
}

#[test]
fn header_lines_of_later_writers_are_passed_over() {
    assert_eq!(replaced("custom-bytes: 12\n", "custom-bytes: 12\nmood: good\n"), Ok(sample()));
}

#[test]
fn progress_is_a_line_that_may_be_there() {
    let with = |lines: &str| replaced("custom-bytes: 12\n", &format!("custom-bytes: 12\n{lines}\n"));
    let told = |done, total| Ok(Status { progress: Progress::new(done, total), ..sample() });
    assert_eq!(with("progress: 3/10"), told(3, 10));
    assert_eq!(with("mood: good\nprogress: 0/1\nother: x"), told(0, 1));
    assert_eq!(with("progress: 18446744073709551615/18446744073709551615"), told(u64::MAX, u64::MAX));
    // What is of another form is a later writer's.
    for other in
        ["11/10", "0/0", "3", "3/", "03/10", "+3/10", "3/10 ", "3/10/10", "-", "18446744073709551616/1", "half"]
    {
        assert_eq!(with(&format!("progress: {other}")), Ok(sample()), "{other}");
    }
    let status = Status { progress: Some(Progress { done: 3, total: 10 }), ..sample() };
    assert_eq!(decode(&encode(&status).unwrap()), Ok(status));
    let wrong = Status { progress: Some(Progress { done: 2, total: 1 }), ..sample() };
    assert_eq!(encode(&wrong), Err(StatusRule::Progress));
}

#[test]
fn percent_is_rounded_down_and_needs_no_small_numbers() {
    let percent = |done, total| Progress::new(done, total).unwrap().percent();
    assert_eq!([percent(0, 3), percent(2, 3), percent(3, 3)], [0, 66, 100]);
    assert_eq!(percent(u64::MAX - 1, u64::MAX), 99);
}

#[test]
fn each_damage_has_its_name() {
    use StatusDamage::*;
    let whole = encode(&sample()).unwrap();
    let header = header_len(&whole).unwrap();
    let cases: Vec<(Result<Status, StatusDamage>, StatusDamage)> = vec![
        (decode(b""), Blank),
        (decode(&[0; 8192]), Blank),
        (decode(b"nlxtp-stat"), NotAStatus),
        (decode(b"\0nlxtp-status 1\n"), NotAStatus),
        (replaced("nlxtp-status 1\n", "nlxtp-status 2\n"), UnknownVersion),
        (decode(&whole[..header - 1]), HeaderCut),
        (replaced("done: yes\n", &format!("done: yes{}\n", " ".repeat(5000))), HeaderCut),
        (replaced("done: yes\n", "done: yes\r\n"), HeaderNotText),
        (replaced("sequence: ", "sequenze: "), FieldMissing("sequence")),
        (replaced("boot: -\n", ""), FieldMissing("boot")),
        (replaced("run: 00", "run: 0"), FieldValue("run")),
        (replaced("sequence: 7", "sequence: 07"), FieldValue("sequence")),
        (replaced("sequence: 7", "sequence: +7"), FieldValue("sequence")),
        (replaced("sequence: 7", "sequence: 18446744073709551616"), FieldValue("sequence")),
        (replaced("exit 3", "exit 256"), FieldValue("ended")),
        (replaced("stdout custom", "custom stdout"), FieldValue("truncated")),
        (replaced("stdout custom", "stdout stdout"), FieldValue("truncated")),
        (replaced("custom-bytes: 12", "custom-bytes: 1048577"), FieldValue("custom-bytes")),
        (replaced("custom-bytes: 12\n", "custom-bytes: 12\nno colon\n"), ExtraLine),
        (decode(&whole[..header + 5]), CustomCut),
        (replaced("custom-bytes: 12", "custom-bytes: 11"), ChecksumMissing),
        (decode(&whole[..whole.len() - 1]), ChecksumMissing),
        (replaced("sequence: 7", "sequence: 0"), Rule(StatusRule::SequenceZero)),
        (replaced("interval-ms: 2000", "interval-ms: 86400001"), Rule(StatusRule::Interval)),
        (replaced("state: finished", "state: running"), Rule(StatusRule::DoneWhileRunning)),
        (replaced("state: finished", "state: rebooted"), Rule(StatusRule::EndingWithoutFinish)),
        (replaced("exit 3", "signal 65"), Rule(StatusRule::Signal)),
    ];
    for (number, (got, expected)) in cases.into_iter().enumerate() {
        assert_eq!(got, Err(expected), "case {number}");
    }
}

#[test]
fn every_single_flipped_bit_is_found() {
    let whole = encode(&sample()).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut slot = whole.clone();
        slot[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&slot).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_is_found() {
    let whole = encode(&sample()).unwrap();
    for len in 0..whole.len() {
        assert!(decode(&whole[..len]).is_err(), "cut to {len} bytes");
        // On the disk, the rest of the slot still holds an older record.
        let mut torn = edited(|text| text.replace("sequence: 7", "sequence: 5"));
        torn[..len].copy_from_slice(&whole[..len]);
        if torn != whole {
            let decoded = decode(&torn);
            assert!(decoded.is_err() || decoded == replaced("sequence: 7", "sequence: 5"), "torn at {len}");
        }
    }
}

#[test]
fn a_status_that_breaks_a_rule_is_not_encoded() {
    let too_long = Status { custom: Some(vec![b'x'; MAX_CUSTOM_BYTES + 1]), ..sample() };
    assert_eq!(encode(&too_long), Err(StatusRule::CustomTooLong));
    let longest = Status { custom: Some(vec![b'x'; MAX_CUSTOM_BYTES]), ..sample() };
    let record = encode(&longest).unwrap();
    assert!(record.len() <= MAX_RECORD_BYTES);
    assert_eq!(decode(&record), Ok(longest));
}

prop_compose! {
    fn any_status()(
        run in any::<Option<[u8; 16]>>(),
        boot in any::<Option<[u8; 16]>>(),
        sequence in 1..=u64::MAX,
        state in prop::sample::select(vec![RunState::Running, RunState::Finished, RunState::TimedOut, RunState::Interrupted, RunState::Rebooted]),
        done in any::<bool>(),
        running_info in any::<u64>(),
        interval_ms in 1..=86_400_000_u64,
        ended in prop_oneof![any::<u8>().prop_map(Ending::Exit), (1..=64_u8).prop_map(Ending::Signal)],
        sizes in any::<(u64, u64)>(),
        cut in any::<(bool, bool, bool)>(),
        custom in any::<Option<Vec<u8>>>(),
        progress in any::<Option<(u64, u64)>>(),
    ) -> Status {
        Status {
            run: run.map(RunId::from_bytes),
            sequence,
            state,
            done: done && state != RunState::Running,
            running_info,
            interval: Duration::from_millis(interval_ms),
            boot: boot.map(crate::ids::BootId::from_bytes),
            ended: state.has_ended().then_some(ended),
            stdout_bytes: sizes.0,
            stderr_bytes: sizes.1,
            truncated: Truncated { stdout: cut.0, stderr: cut.1, custom: cut.2 },
            custom,
            progress: progress.and_then(|(done, total)| Progress::new(done.min(total), total)),
        }
    }
}

proptest! {
    #[test]
    fn any_status_round_trips(status in any_status(), rest in any::<Vec<u8>>()) {
        let mut slot = encode(&status).unwrap();
        slot.extend(rest);
        prop_assert_eq!(decode(&slot), Ok(status));
    }

    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
        let _ = decode(&bytes);
        let mut prefixed = b"nlxtp-status 1\nrun: -\nsequence: ".to_vec();
        prefixed.extend(bytes);
        let _ = decode(&prefixed);
    }
}
