//! How a host reads the status: the run id, the two slots, and else ToMaTo's files.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::entry_path::EntryPath;
use crate::ids::{ID_DIGITS, RunId};
use crate::layout;
use crate::shared_directory::View;
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

/// Why a slot cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotProblem {
    /// There is no such file.
    Missing,
    /// Its bytes are no valid record.
    Damaged(StatusDamage),
    /// Its record is about another run than the last upload's.
    OtherRun,
}

impl fmt::Display for SlotProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the slot is missing"),
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
pub fn read_status<E>(view: &mut dyn View<Error = E>) -> Result<Reading, E> {
    let run = read_run_id(view)?;
    let slots = [read_slot(view, 0, run)?, read_slot(view, 1, run)?];
    let problems = match newest(slots) {
        Ok(status) => return Ok(Reading::Record(status)),
        Err(problems) => problems,
    };
    if problems.contains(&SlotProblem::OtherRun) || problems == [SlotProblem::Missing; 2] {
        if let Some(status) = read_tomato(view)? {
            return Ok(Reading::Tomato(status));
        }
        let claimed = view.entry(&path(layout::STATUS_DIRECTORY))?.is_some();
        return Ok(if claimed { Reading::Claimed } else { Reading::NotStarted });
    }
    Ok(Reading::Unusable(problems))
}

/// The run id that the last upload left, if it left one that can be read.
///
/// # Errors
/// The storage could not be read.
pub fn read_run_id<E>(view: &mut dyn View<Error = E>) -> Result<Option<RunId>, E> {
    let mut buffer = [0; ID_DIGITS + 1];
    let length = view.read_at(&path(layout::RUN_ID), 0, &mut buffer)?;
    let text = length.and_then(|length| str::from_utf8(&buffer[..length]).ok());
    Ok(text.and_then(|text| text.trim_ascii_end().parse().ok()))
}

type Slot = Result<Status, SlotProblem>;

fn read_slot<E>(view: &mut dyn View<Error = E>, slot: usize, run: Option<RunId>) -> Result<Slot, E> {
    let path = path(layout::STATUS_SLOTS[slot]);
    let mut bytes = vec![0; FIRST_READ_BYTES];
    let Some(length) = view.read_at(&path, 0, &mut bytes)? else {
        return Ok(Err(SlotProblem::Missing));
    };
    let mut decoded = status_codec::decode(&bytes[..length]);
    let cut = matches!(decoded, Err(StatusDamage::CustomCut | StatusDamage::ChecksumMissing));
    if cut && length == bytes.len() {
        bytes.resize(MAX_RECORD_BYTES, 0);
        let Some(length) = view.read_at(&path, 0, &mut bytes)? else {
            return Ok(Err(SlotProblem::Missing));
        };
        decoded = status_codec::decode(&bytes[..length]);
    }
    Ok(match decoded {
        Ok(status) if run.is_some() && status.run != run => Err(SlotProblem::OtherRun),
        Ok(status) => Ok(status),
        Err(damage) => Err(SlotProblem::Damaged(damage)),
    })
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
