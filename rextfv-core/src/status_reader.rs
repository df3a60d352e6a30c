//! How a host reads the status: the run id, the two slots, and else ToMaTo's files.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::entry_path::EntryPath;
use crate::ids::{ID_DIGITS, RunId};
use crate::layout;
use crate::shared_directory::{MayRetry, View};
use crate::status::{MAX_CUSTOM_BYTES, Status};
use crate::status_codec::{self, MAX_RECORD_BYTES, StatusDamage};
use crate::tomato::{self, TomatoStatus};

/// What a look at the shared directory found of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// No monitor has claimed the run yet.
    NotStarted,
    /// A monitor has claimed the run and written nothing yet.
    Claimed,
    /// The newest valid record.
    Record(Status),
    /// The files of ToMaTo's guest modules.
    Tomato(TomatoStatus),
    /// Status slots are there, but none can be used.
    Unusable([SlotProblem; 2]),
}

/// What a status query found in the shared directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The run that the last upload began, as far as it is known.
    pub run: Option<RunId>,
    /// What the guest says of it.
    pub reading: Reading,
}

/// Why a slot cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotProblem {
    /// There is no such file.
    Missing,
    /// The storage was changing, or is damaged, where the slot lies.
    Unreadable,
    /// Its bytes are no valid record.
    Damaged(StatusDamage),
    /// Its record is about another run than the last upload's.
    OtherRun,
}

impl fmt::Display for SlotProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the slot is missing"),
            Self::Unreadable => f.write_str("the slot cannot be read from the disk"),
            Self::Damaged(damage) => damage.fmt(f),
            Self::OtherRun => f.write_str("the slot is about an earlier run"),
        }
    }
}

/// Bytes of a slot that are read at first: all of most records.
const FIRST_READ_BYTES: usize = 8192;

/// Reads what the guest says of the run.
///
/// The result may be [`Reading::Unusable`] only because the guest is just writing; the caller
/// decides whether to look again.
///
/// # Errors
/// The storage could not be read.
pub fn read_status<E: MayRetry>(view: &mut dyn View<Error = E>) -> Result<Found, E> {
    let run = read_run_id(view)?;
    let slots = [read_slot(view, 0, run)?, read_slot(view, 1, run)?];
    let reading = match newest(slots) {
        Ok(status) => Reading::Record(status),
        Err([SlotProblem::Missing, SlotProblem::Missing]) => without_slots(view)?,
        // Also where a slot is about another run. Everything beside it is that run's too; or an
        // upload came while we were reading.
        Err(problems) => Reading::Unusable(problems),
    };
    Ok(Found { run, reading })
}

/// What there is of a run that has written no status slot.
fn without_slots<E>(view: &mut dyn View<Error = E>) -> Result<Reading, E> {
    if let Some(status) = read_tomato(view)? {
        return Ok(Reading::Tomato(status));
    }
    let claimed = view.entry(&path(layout::STATUS_DIRECTORY))?.is_some();
    Ok(if claimed { Reading::Claimed } else { Reading::NotStarted })
}

/// The run id that the last upload left, if it left one that can be read.
fn read_run_id<E>(view: &mut dyn View<Error = E>) -> Result<Option<RunId>, E> {
    let mut buffer = [0; ID_DIGITS + 1];
    let length = view.read_at(&path(layout::RUN_ID), 0, &mut buffer)?;
    let text = length.and_then(|length| str::from_utf8(&buffer[..length]).ok());
    Ok(text.and_then(|text| text.trim_ascii_end().parse().ok()))
}

type Slot = Result<Status, SlotProblem>;

fn read_slot<E: MayRetry>(view: &mut dyn View<Error = E>, slot: usize, run: Option<RunId>) -> Result<Slot, E> {
    match decode_slot(view, &path(layout::STATUS_SLOTS[slot])) {
        Ok(Some(Ok(status))) if run.is_some() && status.run != run => Ok(Err(SlotProblem::OtherRun)),
        Ok(Some(Ok(status))) => Ok(Ok(status)),
        Ok(Some(Err(damage))) => Ok(Err(SlotProblem::Damaged(damage))),
        Ok(None) => Ok(Err(SlotProblem::Missing)),
        // A slot that is just growing on a disk. The other one need not be.
        Err(error) if error.may_retry() => Ok(Err(SlotProblem::Unreadable)),
        Err(error) => Err(error),
    }
}

/// The record in a slot; `None` where there is no such file.
fn decode_slot<E>(view: &mut dyn View<Error = E>, path: &EntryPath) -> Result<Option<Result<Status, StatusDamage>>, E> {
    let mut bytes = vec![0; FIRST_READ_BYTES];
    let Some(length) = view.read_at(path, 0, &mut bytes)? else { return Ok(None) };
    let decoded = status_codec::decode(&bytes[..length]);
    let cut = matches!(decoded, Err(StatusDamage::CustomCut | StatusDamage::ChecksumMissing));
    if !cut || length < bytes.len() {
        return Ok(Some(decoded));
    }
    bytes.resize(MAX_RECORD_BYTES, 0);
    let length = view.read_at(path, 0, &mut bytes)?;
    Ok(length.map(|length| status_codec::decode(&bytes[..length])))
}

fn newest(slots: [Slot; 2]) -> Result<Status, [SlotProblem; 2]> {
    match slots {
        [Ok(a), Ok(b)] => Ok(if a.sequence >= b.sequence { a } else { b }),
        [Ok(status), Err(_)] | [Err(_), Ok(status)] => Ok(status),
        [Err(a), Err(b)] => Err([a, b]),
    }
}

fn read_tomato<E>(view: &mut dyn View<Error = E>) -> Result<Option<TomatoStatus>, E> {
    let running = read_up_to(view, tomato::RUNNING, 64)?;
    let custom = read_up_to(view, layout::CUSTOM, MAX_CUSTOM_BYTES)?;
    // Looked at after `running`: the guest removes that first and makes `done` then.
    let done = view.entry(&path(tomato::DONE))?.is_some();
    let started = done || running.is_some() || custom.is_some() || view.entry(&path(tomato::OUT))?.is_some();
    Ok(started.then(|| TomatoStatus { running_info: running.as_deref().and_then(tomato::running_info), done, custom }))
}

fn read_up_to<E>(view: &mut dyn View<Error = E>, name: &str, limit: usize) -> Result<Option<Vec<u8>>, E> {
    let Some(entry) = view.entry(&path(name))? else { return Ok(None) };
    let size = usize::try_from(entry.size).unwrap_or(limit).min(limit);
    let mut bytes = vec![0; size];
    Ok(view.read_at(&path(name), 0, &mut bytes)?.map(|length| {
        bytes.truncate(length);
        bytes
    }))
}

fn path(name: &str) -> EntryPath {
    EntryPath::parse(name.as_bytes()).unwrap_or_else(|_| EntryPath::root())
}

#[cfg(test)]
mod tests;
