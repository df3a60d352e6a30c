//! Status records and slots: nothing panics, nothing false is accepted, and a damaged newer record
//! never hides the older one.
//!
//! The input is a slot's bytes, taken as they are, then with a right checksum put at their end, and
//! last as the source of two records and of what a torn update leaves of the newer one.

use std::time::Duration;

use arbitrary::Unstructured;
use rextfv_core::ids::{BootId, RunId};
use rextfv_core::layout;
use rextfv_core::status::{Ending, Progress, RunState, Status, Truncated};
use rextfv_core::status_codec::{MAX_RECORD_BYTES, decode, encode};
use rextfv_core::status_reader::{Reading, SlotProblem, read_status};
use sha2::{Digest, Sha256};

use crate::changing_files::{ChangingFiles, Files};

const CHECKSUM_LINE: usize = 73;

/// Checks one input.
pub fn check(input: &[u8]) {
    any_bytes(input);
    any_bytes(&with_checksum(input));
    // An input that is too short stands for zeros.
    let _ = torn_update(&mut Unstructured::new(input));
}

/// The bytes up to the last checksum line, with a checksum line that fits them.
fn with_checksum(input: &[u8]) -> Vec<u8> {
    let end = input.windows(8).rposition(|window| window == b"sha256: ").unwrap_or(input.len());
    let mut record = input[..end].to_vec();
    let line = format!("sha256: {}\n", hex_digest(&record));
    record.extend_from_slice(line.as_bytes());
    record
}

fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn any_bytes(slot: &[u8]) {
    let decoded = decode(slot);
    assert_eq!(decode(&slot[..slot.len().min(MAX_RECORD_BYTES)]), decoded, "what follows a record matters");
    match decoded {
        Err(damage) => assert!(!damage.to_string().is_empty()),
        Ok(status) => accepted(slot, &status),
    }
}

/// What is accepted says what its bytes say, and every change of them is noticed.
fn accepted(slot: &[u8], status: &Status) {
    let header_end = slot.windows(2).position(|pair| pair == b"\n\n").expect("a header has an end") + 2;
    let end = header_end + status.custom.as_ref().map_or(0, Vec::len) + 1 + CHECKSUM_LINE;
    let record = &slot[..end];
    let (body, line) = record.split_at(end - CHECKSUM_LINE);
    assert_eq!(line, format!("sha256: {}\n", hex_digest(body)).as_bytes(), "a false checksum is accepted");

    // Lines of later writers are passed over: without them, it is what we write.
    let header = str::from_utf8(&slot[..header_end]).expect("a header is ASCII");
    let mut known: String = header.split_inclusive('\n').take(13).collect();
    if let Some(progress) = status.progress {
        let line = format!("progress: {progress}\n");
        assert!(header.contains(&format!("\n{line}")), "a progress that is not there");
        known.push_str(&line);
    }
    let canonical = [known.as_bytes(), b"\n", &body[header_end..]].concat();
    let encoded = encode(status).expect("what is accepted obeys the rules");
    assert_eq!(encoded[..encoded.len() - CHECKSUM_LINE], canonical, "what is written differs from what was read");
    assert_eq!(decode(&encoded).as_ref(), Ok(status));

    // Some bytes and bits that the digest chooses.
    for (nth, number) in Sha256::digest(slot).chunks_exact(4).enumerate() {
        let number = u32::from_le_bytes(number.try_into().expect("four bytes")) as usize;
        let mut changed = record.to_vec();
        changed[number % end] ^= 1 << (nth % 8);
        assert!(decode(&changed).is_err(), "bit {nth} of byte {} can be changed", number % end);
        assert!(decode(&record[..number % end]).is_err(), "{} of {end} bytes are enough", number % end);
    }
}

/// An older record in one slot, and a newer one that has reached the other in part.
fn torn_update(source: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let older = any_status(source)?;
    let older = Status { sequence: older.sequence.max(2), ..older };
    let before = Status { run: older.run, ..any_status(source)? };
    let newer = Status { run: older.run, sequence: older.sequence.saturating_add(1), ..any_status(source)? };
    let (older, newer) = (Status { sequence: newer.sequence - 1, ..older }, newer);
    let before = Status { sequence: (older.sequence - 1).max(1), ..before };
    for status in [&older, &newer, &before] {
        let record = encode(status).expect("it obeys the rules");
        assert_eq!(decode(&record).as_ref(), Ok(status));
    }

    // The slot held an even older record, and some sectors of the newer one have come.
    let record = encode(&newer).expect("it obeys the rules");
    let mut slot = encode(&before).expect("it obeys the rules");
    let slot_length = source.int_in_range(0..=record.len() + 600)?;
    slot.resize(slot_length.max(slot.len()), 0);
    let sector = source.int_in_range(1..=512)?;
    let arrived: u64 = source.arbitrary()?;
    slot.resize(slot.len().max(record.len()), 0);
    for (nth, chunk) in record.chunks(sector).enumerate() {
        if arrived.rotate_right(nth as u32) & 1 == 1 {
            slot[nth * sector..][..chunk.len()].copy_from_slice(chunk);
        }
    }
    let cut = source.int_in_range(0..=slot.len())?;
    slot.truncate(if source.arbitrary()? { cut } else { slot.len() });
    let torn: bool = source.ratio(1, 8)?;
    let in_slot = if torn { None } else { decode(&slot).ok() };
    assert!(
        in_slot.as_ref().is_none_or(|status| *status == newer || *status == before),
        "a mixture of two records is accepted"
    );

    let newest = usize::from(source.arbitrary::<bool>()?);
    let mut files = Files::new();
    files.insert(layout::STATUS_SLOTS[newest], if torn { None } else { Some(slot) });
    files.insert(layout::STATUS_SLOTS[1 - newest], Some(encode(&older).expect("it obeys the rules")));
    let known_run = match source.int_in_range(0..=2)? {
        0 => None,
        1 => older.run,
        _ => Some(RunId::from_bytes(source.arbitrary()?)),
    };
    if let Some(run) = known_run {
        files.insert(layout::RUN_ID, Some(format!("{run}\n").into_bytes()));
    }
    let found = read_status(&mut ChangingFiles::still(files)).expect("a torn slot is no failure");
    assert_eq!(found.run, known_run);
    match found.reading {
        Reading::Record(status) if known_run.is_none() || known_run == older.run => {
            let expected = in_slot.filter(|status| status.sequence > older.sequence).unwrap_or(older);
            assert_eq!(status, expected, "a damaged record hides its predecessor");
        }
        Reading::Unusable(problems) if known_run.is_some() && known_run != older.run => {
            assert_eq!(problems[1 - newest], SlotProblem::OtherRun);
            // Where it is not whole, its header alone may tell.
            assert!(problems[newest] == SlotProblem::OtherRun || in_slot.is_none(), "{problems:?}");
        }
        other => panic!("{other:?} with the run {known_run:?} known"),
    }
    Ok(())
}

fn any_status(source: &mut Unstructured<'_>) -> arbitrary::Result<Status> {
    let states = [RunState::Running, RunState::Finished, RunState::TimedOut, RunState::Interrupted, RunState::Rebooted];
    let state = *source.choose(&states)?;
    let ending = match source.arbitrary()? {
        true => Ending::Exit(source.arbitrary()?),
        false => Ending::Signal(source.int_in_range(1..=64)?),
    };
    let custom: Option<Vec<u8>> = source.arbitrary()?;
    // Now and then one that does not fit into the first read of a slot.
    let repeated = if source.ratio(1, 16)? { 9000 } else { 1 };
    Ok(Status {
        run: source.arbitrary::<Option<[u8; 16]>>()?.map(RunId::from_bytes),
        sequence: source.int_in_range(1..=u64::MAX)?,
        state,
        done: source.arbitrary::<bool>()? && state != RunState::Running,
        running_info: source.arbitrary()?,
        interval: Duration::from_millis(source.int_in_range(1..=86_400_000)?),
        boot: source.arbitrary::<Option<[u8; 16]>>()?.map(BootId::from_bytes),
        ended: state.has_ended().then_some(ending),
        stdout_bytes: source.arbitrary()?,
        stderr_bytes: source.arbitrary()?,
        truncated: Truncated { stdout: source.arbitrary()?, stderr: source.arbitrary()?, custom: source.arbitrary()? },
        custom: custom.map(|custom| {
            let mut long = custom.repeat(repeated);
            long.truncate(64 << 10);
            long
        }),
        // Taken last: what earlier inputs stand for stays as it was.
        progress: source.arbitrary::<Option<(u64, u64)>>()?.and_then(|(done, total)| Progress::new(done, total)),
    })
}
