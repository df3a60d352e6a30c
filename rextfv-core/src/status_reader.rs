//! How a host reads the status: the run id, the two slots, and else ToMaTo's files.

use alloc::borrow::Cow;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::entry_path::EntryPath;
use crate::ids::{ID_DIGITS, RunId};
use crate::layout;
use crate::shared_directory::{EntryKind, MayRetry, View};
use crate::status::{MAX_CUSTOM_BYTES, Status};
use crate::status_codec::{Header, MAX_HEADER_BYTES, StatusDamage};
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
    /// Status slots are there, but none can be used; or there is something in place of their directory.
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
    /// What should hold it, `exec_status`, is no directory.
    NoDirectory,
}

impl fmt::Display for SlotProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the slot is missing"),
            Self::Unreadable => f.write_str("the slot cannot be read from the disk"),
            Self::Damaged(damage) => damage.fmt(f),
            Self::OtherRun => f.write_str("the slot is about an earlier run"),
            Self::NoDirectory => write!(f, "{} is something else than a directory", layout::STATUS_DIRECTORY),
        }
    }
}

/// Bytes of a slot that are read at first: all of most records.
const FIRST_READ_BYTES: usize = 2048;

/// Bytes of a record that is known that are compared at once.
const PIECE_BYTES: usize = 32 << 10;

/// Room for the beginning of a slot: any header, and all of most records.
type Beginning = [u8; MAX_HEADER_BYTES];

/// Reads what the guest says of the run.
///
/// The result may be [`Reading::Unusable`] only because the guest is just writing; the caller
/// decides whether to look again.
///
/// # Errors
/// The storage could not be read.
pub fn read_status<E: MayRetry>(view: &mut dyn View<Error = E>) -> Result<Found, E> {
    StatusReader::default().read(view)
}

/// A record that is longer is not remembered by every reader: a guest chooses how long.
const FEW_BYTES: usize = 128 << 10;

/// Reads the status of one shared directory again and again.
///
/// It remembers the newest record, of at most 128 KiB unless it [remembers all](Self::remembering_all), its Custom
/// Status once more, and both headers: bytes that were verified are compared and not verified again.
#[derive(Debug, Clone)]
pub struct StatusReader {
    run_id: EntryPath,
    slots: [EntryPath; 2],
    /// Bytes of a record that is remembered, at most.
    most: usize,
    /// The header last seen in each slot.
    headers: [Option<(Vec<u8>, Header)>; 2],
    known: Option<Known>,
}

impl Default for StatusReader {
    fn default() -> Self {
        let (run_id, slots) = (path(layout::RUN_ID), layout::STATUS_SLOTS.map(path));
        Self { run_id, slots, most: FEW_BYTES, headers: [None, None], known: None }
    }
}

/// A record that was found valid. The same bytes are the same record, and are not verified again.
#[derive(Debug, Clone)]
struct Known {
    bytes: Vec<u8>,
    status: Status,
}

impl StatusReader {
    /// The same, remembering the newest record however long it is, up to
    /// [`MAX_RECORD_BYTES`](crate::status_codec::MAX_RECORD_BYTES).
    #[must_use]
    pub fn remembering_all(mut self) -> Self {
        self.most = usize::MAX;
        self
    }

    /// Bytes that are remembered.
    pub fn remembered_bytes(&self) -> usize {
        let custom = |status: &Status| status.custom.as_ref().map_or(0, Vec::len);
        self.known.as_ref().map_or(0, |known| known.bytes.len() + custom(&known.status))
    }

    /// The record that was found last, if it is remembered.
    pub fn remembered(&self) -> Option<&Status> {
        self.known.as_ref().map(|known| &known.status)
    }

    /// Forgets what is remembered; the next record is verified whether it is the same or not.
    pub fn forget(&mut self) {
        self.known = None;
    }

    /// Reads what the guest says of the run. Of two records the newer one alone is read whole and
    /// verified, if it proves valid.
    ///
    /// # Errors
    /// As for [`read_status`].
    pub fn read<E: MayRetry>(&mut self, view: &mut dyn View<Error = E>) -> Result<Found, E> {
        let run = read_run_id(view, &self.run_id)?;
        let reading = match self.newest(view, run)? {
            Ok(status) => Reading::Record(status),
            Err([SlotProblem::Missing, SlotProblem::Missing]) => without_slots(view)?,
            // Also where a slot is about another run. Everything beside it is that run's too; or an
            // upload came while we were reading.
            Err(problems) => Reading::Unusable(problems),
        };
        Ok(Found { run, reading })
    }

    fn newest<E: MayRetry>(
        &mut self,
        view: &mut dyn View<Error = E>,
        run: Option<RunId>,
    ) -> Result<Result<Status, [SlotProblem; 2]>, E> {
        let mut beginnings: [Beginning; 2] = [[0; MAX_HEADER_BYTES]; 2];
        let [a, b] = &mut beginnings;
        let heads = [self.read_head(view, 0, run, a)?, self.read_head(view, 1, run, b)?];
        let sequence = |head: &Result<Head, SlotProblem>| head.as_ref().ok().map(|head| head.header.sequence());
        let first = usize::from(sequence(&heads[1]) > sequence(&heads[0]));
        let mut problems = [SlotProblem::Missing; 2];
        let mut tried = false;
        let [a, b] = heads;
        let in_order = if first == 0 { [(0, a), (1, b)] } else { [(1, b), (0, a)] };
        for (slot, head) in in_order {
            let beginning = &mut beginnings[slot];
            // While the other slot was tried, the guest may have gone on to this one.
            let head = if tried { self.read_head(view, slot, run, beginning)? } else { head };
            tried |= head.is_ok();
            problems[slot] = match head {
                Ok(Head { header, len }) => match self.verify(view, slot, header, &beginning[..len])? {
                    Ok(status) => return Ok(Ok(status)),
                    Err(problem) => problem,
                },
                Err(problem) => problem,
            };
        }
        Ok(Err(problems))
    }

    /// Reads the header in a slot, if it is one of this run.
    fn read_head<E: MayRetry>(
        &mut self,
        view: &mut dyn View<Error = E>,
        slot: usize,
        run: Option<RunId>,
        beginning: &mut Beginning,
    ) -> Result<Result<Head, SlotProblem>, E> {
        let mut wanted = FIRST_READ_BYTES;
        loop {
            let len = match or_unreadable(view.read_at(&self.slots[slot], 0, &mut beginning[..wanted]))? {
                Ok(Some(len)) => len,
                Ok(None) => return Ok(Err(SlotProblem::Missing)),
                Err(problem) => return Ok(Err(problem)),
            };
            return Ok(match self.decode_header(slot, &beginning[..len]) {
                Err(StatusDamage::HeaderCut | StatusDamage::Blank) if len == wanted && wanted < MAX_HEADER_BYTES => {
                    wanted = MAX_HEADER_BYTES;
                    continue;
                }
                Err(damage) => Err(SlotProblem::Damaged(damage)),
                Ok(header) if run.is_some() && header.run() != run => Err(SlotProblem::OtherRun),
                Ok(header) => Ok(Head { header, len }),
            });
        }
    }

    /// Decodes a header, unless it is the one that is known of this slot.
    fn decode_header(&mut self, slot: usize, bytes: &[u8]) -> Result<Header, StatusDamage> {
        if let Some((_, header)) = self.headers[slot].as_ref().filter(|(known, _)| bytes.starts_with(known)) {
            return Ok(header.clone());
        }
        let header = Header::decode(bytes)?;
        self.headers[slot] = Some((bytes[..header.bytes()].to_vec(), header.clone()));
        Ok(header)
    }

    /// Reads the rest of a record, and verifies it unless it is the one that is known.
    fn verify<E: MayRetry>(
        &mut self,
        view: &mut dyn View<Error = E>,
        slot: usize,
        header: Header,
        beginning: &[u8],
    ) -> Result<Result<Status, SlotProblem>, E> {
        let wanted = header.record_bytes();
        if let Some(whole) = beginning.get(..wanted) {
            return Ok(self.verify_whole(header, whole.into()));
        }
        if let Some(status) = self.known_behind(view, slot, wanted, beginning)? {
            return Ok(Ok(status));
        }
        let mut bytes = Vec::with_capacity(wanted);
        bytes.extend_from_slice(beginning);
        bytes.resize(wanted, 0);
        let have = beginning.len();
        Ok(match or_unreadable(view.read_at(&self.slots[slot], have as u64, &mut bytes[have..]))? {
            Ok(rest) => {
                bytes.truncate(have + rest.unwrap_or(0));
                self.verify_whole(header, bytes.into())
            }
            Err(problem) => Err(problem),
        })
    }

    /// The record that is known, if it begins so, is as long, and the rest of it is in the slot. That is
    /// compared piece by piece: memory for all of it would be as much again, got and given back each time.
    fn known_behind<E: MayRetry>(
        &self,
        view: &mut dyn View<Error = E>,
        slot: usize,
        len: usize,
        beginning: &[u8],
    ) -> Result<Option<Status>, E> {
        let Some(known) = self.known.as_ref().filter(|known| known.bytes.len() == len) else { return Ok(None) };
        let Some(mut rest) = known.bytes.strip_prefix(beginning) else { return Ok(None) };
        let mut buffer = [0; PIECE_BYTES];
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(PIECE_BYTES));
            let read = &mut buffer[..piece.len()];
            let offset = (len - rest.len()) as u64;
            if or_unreadable(view.read_at(&self.slots[slot], offset, read))? != Ok(Some(piece.len())) || read != piece {
                return Ok(None);
            }
            rest = later;
        }
        Ok(Some(known.status.clone()))
    }

    fn verify_whole(&mut self, header: Header, bytes: Cow<'_, [u8]>) -> Result<Status, SlotProblem> {
        if let Some(known) = self.known.as_ref().filter(|known| known.bytes[..] == bytes[..]) {
            return Ok(known.status.clone());
        }
        if bytes.len() > self.most {
            self.known = None;
            return header.verify(bytes).map_err(SlotProblem::Damaged);
        }
        let status = header.verify(Cow::Borrowed(&bytes)).map_err(SlotProblem::Damaged)?;
        self.known = Some(Known { bytes: bytes.into_owned(), status: status.clone() });
        Ok(status)
    }
}

/// What there is of a run that has written no status slot.
fn without_slots<E>(view: &mut dyn View<Error = E>) -> Result<Reading, E> {
    let directory = path(layout::STATUS_DIRECTORY);
    match view.entry(&directory)?.map(|entry| entry.kind) {
        // All of the other dialect's files lie in there.
        Some(EntryKind::Directory) => Ok(read_tomato(view)?.map_or(Reading::Claimed, Reading::Tomato)),
        None if !view.holds_special(&directory)? => Ok(Reading::NotStarted),
        // No monitor makes that, and no run begins as long as it is there.
        _ => Ok(Reading::Unusable([SlotProblem::NoDirectory; 2])),
    }
}

/// The run id that the last upload left, if it left one that can be read.
fn read_run_id<E>(view: &mut dyn View<Error = E>, path: &EntryPath) -> Result<Option<RunId>, E> {
    let mut buffer = [0; ID_DIGITS + 1];
    let length = view.read_at(path, 0, &mut buffer)?;
    let text = length.and_then(|length| str::from_utf8(&buffer[..length]).ok());
    Ok(text.and_then(|text| text.trim_ascii_end().parse().ok()))
}

/// The header in a slot.
struct Head {
    header: Header,
    /// Bytes that were read of the slot's beginning.
    len: usize,
}

/// A slot that is just growing on a disk cannot be read. The other one may be.
fn or_unreadable<T, E: MayRetry>(read: Result<T, E>) -> Result<Result<T, SlotProblem>, E> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(error) if error.may_retry() => Ok(Err(SlotProblem::Unreadable)),
        Err(error) => Err(error),
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
