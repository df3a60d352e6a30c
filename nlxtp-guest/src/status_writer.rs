//! Writing status records into the two slots.
//!
//! The slots are written in turn, so a torn record hides itself and never its predecessor. They are
//! made of zeros beforehand and overwritten in place: an update then changes data only and no
//! metadata, which on FAT is what makes it a single write to the disk.

#![forbid(unsafe_code)]

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rextfv_core::ids::{BootId, RunId};
use rextfv_core::layout::STATUS_SLOTS;
use rextfv_core::status::{Ending, Progress, RunState, Status, Truncated};
use rextfv_core::status_codec::{self, MAX_RECORD_BYTES};

use crate::directory::{Directory, base_name, is_directory, is_regular, same_file};
use crate::error::{Doing, Error};
use crate::sys::stat;

/// What a slot holds at first: any record without a long Custom Status.
const FIRST_CAPACITY: usize = 8 << 10;

/// More than a record needs beside its Custom Status.
const HEADER_ROOM: usize = 1 << 10;

/// What changes from record to record.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// How far the run has come.
    pub state: RunState,
    /// The Done Flag.
    pub done: bool,
    /// How the script ended.
    pub ended: Option<Ending>,
    /// Bytes of standard output that are on the disk.
    pub stdout_bytes: u64,
    /// Bytes of error output that are on the disk.
    pub stderr_bytes: u64,
    /// What was cut.
    pub truncated: Truncated,
    /// The Custom Status.
    pub custom: Option<&'a [u8]>,
    /// The progress.
    pub progress: Option<Progress>,
}

struct Slot {
    file: File,
    capacity: usize,
}

/// The writer of a run's status. While it lives, it holds the lock on the first slot, by which
/// others know that the run has its monitor.
pub struct StatusWriter {
    slots: [Option<Slot>; 2],
    run: Option<RunId>,
    boot: Option<BootId>,
    interval: Duration,
    sequence: u64,
    running_info: u64,
}

impl StatusWriter {
    /// Makes both slots for a run that was just claimed. `None` if somebody else has made them:
    /// then the claim was taken for that of a dead monitor, and must be given up.
    ///
    /// A disk without room is no reason to give up: what could not be made is tried again at each
    /// record.
    ///
    /// # Errors
    /// None but the lock's.
    pub fn create(
        status: &Directory,
        run: Option<RunId>,
        boot: Option<BootId>,
        interval: Duration,
    ) -> io::Result<Option<Self>> {
        let mut writer = Self { slots: [None, None], run, boot, interval, sequence: 0, running_info: 0 };
        for (slot, path) in STATUS_SLOTS.iter().enumerate() {
            match writer.make_slot(status, slot) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
                Err(error) => crate::error::note(format_args!("cannot make {path}: {error}")),
                Ok(()) => {}
            }
        }
        Ok(Some(writer))
    }

    /// Goes on after a dead monitor, whose lock the caller has taken.
    pub fn resume(slots: [Option<File>; 2], last: &Status, boot: Option<BootId>) -> io::Result<Self> {
        let mut opened = [None, None];
        for (slot, file) in opened.iter_mut().zip(slots) {
            if let Some(file) = file {
                let capacity = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
                *slot = Some(Slot { file, capacity });
            }
        }
        let (sequence, running_info) = (last.sequence, last.running_info);
        Ok(Self { slots: opened, run: last.run, boot, interval: last.interval, sequence, running_info })
    }

    fn make_slot(&mut self, status: &Directory, slot: usize) -> io::Result<()> {
        let file = status.create_file(base_name(STATUS_SLOTS[slot]))?;
        if slot == 0 {
            // Whoever looks for dead monitors may hold the lock for a moment; what it wrote then
            // tells that it has taken this one for dead.
            file.lock()?;
            if file.metadata()?.len() > 0 {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
        }
        let made = file.write_all_at(&[0; FIRST_CAPACITY], 0);
        let capacity = if made.is_ok() { FIRST_CAPACITY } else { 0 };
        self.slots[slot] = Some(Slot { file, capacity });
        made
    }

    /// Writes the next record and brings it to the disk. If that fails, the next call tries the
    /// same slot again, and the other slot keeps the record before.
    ///
    /// # Errors
    /// The system's, with the slot that it is about.
    pub fn commit(&mut self, status: &Directory, snapshot: Snapshot<'_>) -> Result<(), Error> {
        let sequence = self.sequence + 1;
        let running_info = fresh_running_info(self.running_info);
        let mut record = Status {
            run: self.run,
            sequence,
            state: snapshot.state,
            done: snapshot.done,
            running_info,
            interval: self.interval,
            boot: self.boot,
            ended: snapshot.ended,
            stdout_bytes: snapshot.stdout_bytes,
            stderr_bytes: snapshot.stderr_bytes,
            truncated: snapshot.truncated,
            custom: snapshot.custom.map(<[u8]>::to_vec),
            progress: snapshot.progress,
        };
        let index = usize::from(sequence % 2 == 1);
        let path = STATUS_SLOTS[index];
        let slot = self.slot_in_place(status, index).doing(|| format!("make {path} anew"))?;
        slot.write(&mut record).doing(|| format!("write {path}"))?;
        (self.sequence, self.running_info) = (sequence, running_info);
        Ok(())
    }

    /// The slot, made anew if it does not stand under its name.
    fn slot_in_place(&mut self, status: &Directory, index: usize) -> io::Result<&mut Slot> {
        let name = base_name(STATUS_SLOTS[index]);
        let was_made = self.slots[index].is_some();
        if self.slots[index].as_ref().is_none_or(|slot| !is_in_place(status, index, &slot.file)) {
            match status.look(name)? {
                Some(stat) if is_directory(&stat) => status.remove_directory(name)?,
                // A file where we have made none is that of whoever has taken us for dead.
                Some(stat) if was_made || !is_regular(&stat) => status.remove_file(name)?,
                _ => {}
            }
            self.make_slot(status, index)?;
        }
        self.slots[index].as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Slot {
    /// Writes a record and brings it to the disk.
    fn write(&mut self, record: &mut Status) -> io::Result<()> {
        let mut bytes = encode(record)?;
        if bytes.len() > self.capacity
            && let Err(error) = self.grow(bytes.len())
        {
            // No room for the whole Custom Status: what fits is better than a silent monitor.
            let room = self.capacity.checked_sub(HEADER_ROOM).ok_or(error)?;
            if let Some(custom) = &mut record.custom
                && custom.len() > room
            {
                custom.truncate(room);
                record.truncated.custom = true;
            }
            bytes = encode(record)?;
        }
        self.file.write_all_at(&bytes, 0)?;
        self.file.sync_data()
    }

    fn grow(&mut self, needed: usize) -> io::Result<()> {
        let mut capacity = self.capacity.max(FIRST_CAPACITY);
        while capacity < needed {
            capacity *= 2;
        }
        let zeros = vec![0; capacity - self.capacity];
        self.file.write_all_at(&zeros, self.capacity as u64)?;
        // The new length has to be on the disk before a record needs it.
        self.file.sync_data()?;
        self.capacity = capacity;
        Ok(())
    }
}

/// Whether a slot's file still stands under its name: a script may have removed or replaced it,
/// and nobody would read what goes to the old one. If the whole directory is gone, nothing can be
/// put in its place, so the old one is as good as any.
fn is_in_place(status: &Directory, slot: usize, file: &File) -> bool {
    let gone = status.stat().is_ok_and(|stat| stat.st_nlink == 0);
    let there = status.look(base_name(STATUS_SLOTS[slot])).ok().flatten();
    gone || there.is_some_and(|there| stat(file).is_ok_and(|ours| same_file(&there, &ours)))
}

fn encode(record: &Status) -> io::Result<Vec<u8>> {
    status_codec::encode(record).map_err(|rule| io::Error::new(io::ErrorKind::InvalidData, rule))
}

/// Milliseconds since 1970, or what else differs from the number before.
fn fresh_running_info(last: u64) -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since_1970.as_millis()).unwrap_or(0);
    if now == last { last.wrapping_add(1) } else { now }
}

/// A slot of a run that somebody else has written: its file, and its record if it holds one.
pub struct FoundSlot {
    /// The file, for reading and writing; `None` also where something else stands.
    pub file: Option<File>,
    /// The record.
    pub record: Option<Status>,
}

/// Opens and reads both slots.
///
/// # Errors
/// The system's.
pub fn read_slots(status: &Directory) -> io::Result<[FoundSlot; 2]> {
    let [a, b] = STATUS_SLOTS.map(|path| -> io::Result<FoundSlot> {
        let name = base_name(path);
        let is_file = status.look(name)?.is_some_and(|stat| is_regular(&stat));
        let file = if is_file { status.write_file(name)? } else { None };
        let Some(file) = file else {
            return Ok(FoundSlot { file: None, record: None });
        };
        let mut bytes = Vec::new();
        (&file).take(MAX_RECORD_BYTES as u64).read_to_end(&mut bytes)?;
        Ok(FoundSlot { file: Some(file), record: status_codec::decode(&bytes).ok() })
    });
    Ok([a?, b?])
}

/// The newest record of both slots.
pub fn newest(slots: &[FoundSlot; 2]) -> Option<&Status> {
    slots.iter().filter_map(|slot| slot.record.as_ref()).max_by_key(|status| status.sequence)
}

/// Tries to take the lock of a run's monitor. `None` if it cannot be told who holds it.
pub fn lock_of_dead_monitor(slot: &File) -> Option<bool> {
    match slot.try_lock() {
        Ok(()) => Some(true),
        Err(TryLockError::WouldBlock) => Some(false),
        Err(TryLockError::Error(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SNAPSHOT: Snapshot<'_> = Snapshot {
        state: RunState::Running,
        done: false,
        ended: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
        truncated: Truncated { stdout: false, stderr: false, custom: false },
        custom: None,
        progress: None,
    };

    fn writer(dir: &tempfile::TempDir) -> (Directory, StatusWriter) {
        let status = Directory::open(dir.path()).unwrap();
        let writer = StatusWriter::create(&status, None, None, Duration::from_secs(1)).unwrap().unwrap();
        (status, writer)
    }

    #[test]
    fn records_alternate_and_rise() {
        let dir = tempfile::tempdir().unwrap();
        let (status, mut writer) = writer(&dir);
        let mut last_info = 0;
        for sequence in 1..=6 {
            writer.commit(&status, SNAPSHOT).unwrap();
            let slots = read_slots(&status).unwrap();
            let newest = newest(&slots).unwrap();
            assert_eq!(newest.sequence, sequence);
            assert_ne!(newest.running_info, last_info);
            last_info = newest.running_info;
            assert_eq!(slots[usize::from(sequence % 2 == 1)].record.as_ref().unwrap().sequence, sequence);
        }
        assert_eq!(fs::metadata(dir.path().join("status.0")).unwrap().len(), FIRST_CAPACITY as u64);
    }

    #[test]
    fn a_slot_grows_in_doubling_steps_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (status, mut writer) = writer(&dir);
        let long = vec![b'x'; 20_000];
        writer.commit(&status, Snapshot { custom: Some(&long), ..SNAPSHOT }).unwrap();
        assert_eq!(newest(&read_slots(&status).unwrap()).unwrap().custom.as_deref(), Some(&long[..]));
        let length = |slot: &str| fs::metadata(dir.path().join(slot)).unwrap().len();
        assert_eq!((length("status.1"), length("status.0")), (32 << 10, 8 << 10));
        for _ in 0..2 {
            writer.commit(&status, SNAPSHOT).unwrap();
        }
        assert_eq!(newest(&read_slots(&status).unwrap()).unwrap().custom, None);
        assert_eq!(length("status.1"), 32 << 10);
    }

    #[test]
    fn without_room_the_custom_status_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let (status, mut writer) = writer(&dir);
        // A file that is opened for reading only refuses to grow and to be written; here only the
        // growing must fail, so the first slot's capacity is what it is.
        let slot = writer.slots[1].as_mut().unwrap();
        let writable = std::mem::replace(&mut slot.file, File::open(dir.path().join("status.1")).unwrap());
        assert!(slot.grow(10_000).is_err());
        assert_eq!(slot.capacity, FIRST_CAPACITY);
        slot.file = writable;
        writer.commit(&status, SNAPSHOT).unwrap();
        assert_eq!(newest(&read_slots(&status).unwrap()).unwrap().sequence, 1);
    }

    #[test]
    fn a_failed_commit_is_tried_again_in_the_same_slot() {
        let dir = tempfile::tempdir().unwrap();
        let (status, mut writer) = writer(&dir);
        writer.commit(&status, SNAPSHOT).unwrap();
        let slot = writer.slots[0].as_mut().unwrap();
        let writable = std::mem::replace(&mut slot.file, File::open(dir.path().join("status.0")).unwrap());
        assert!(writer.commit(&status, SNAPSHOT).is_err());
        assert_eq!(newest(&read_slots(&status).unwrap()).unwrap().sequence, 1);
        writer.slots[0].as_mut().unwrap().file = writable;
        writer.commit(&status, SNAPSHOT).unwrap();
        assert_eq!(newest(&read_slots(&status).unwrap()).unwrap().sequence, 2);
    }

    #[test]
    fn a_slot_that_is_removed_or_replaced_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (status, mut writer) = writer(&dir);
        let slot = dir.path().join("status.1");
        let replacements: [fn(&std::path::Path); 6] = [
            |_| {},
            |slot| fs::remove_file(slot).unwrap(),
            |slot| fs::rename(slot, slot.with_extension("moved")).unwrap(),
            |slot| {
                fs::remove_file(slot).unwrap();
                std::os::unix::fs::symlink("elsewhere", slot).unwrap();
            },
            |slot| {
                fs::remove_file(slot).unwrap();
                fs::create_dir(slot).unwrap();
            },
            |slot| {
                fs::remove_file(slot).unwrap();
                nix::unistd::mkfifo(slot, nix::sys::stat::Mode::S_IRWXU).unwrap();
            },
        ];
        for (round, replace) in (0..).zip(replacements) {
            replace(&slot);
            writer.commit(&status, SNAPSHOT).unwrap();
            writer.commit(&status, SNAPSHOT).unwrap();
            let slots = read_slots(&status).unwrap();
            assert_eq!(slots.map(|slot| slot.record.unwrap().sequence), [2 * round + 2, 2 * round + 1]);
        }
        assert!(!dir.path().join("elsewhere").exists());
        fs::remove_file(dir.path().join("status.0")).unwrap();
        for _ in 0..2 {
            writer.commit(&status, SNAPSHOT).unwrap();
        }
        let slot = File::open(dir.path().join("status.0")).unwrap();
        assert_eq!(lock_of_dead_monitor(&slot), Some(false), "the new one is locked, too");
    }

    #[test]
    fn what_cannot_be_replaced_is_named_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let (status, mut writer) = writer(&dir);
        let slot = dir.path().join("status.1");
        fs::remove_file(&slot).unwrap();
        fs::create_dir_all(slot.join("full")).unwrap();
        for _ in 0..2 {
            let told = writer.commit(&status, SNAPSHOT).unwrap_err().to_string();
            assert!(told.starts_with("cannot make exec_status/status.1 anew: Directory not empty"), "{told}");
        }
        fs::remove_dir(slot.join("full")).unwrap();
        writer.commit(&status, SNAPSHOT).unwrap();
        assert_eq!(newest(&read_slots(&status).unwrap()).unwrap().sequence, 1);
    }

    #[test]
    fn slots_that_are_there_end_the_claim() {
        let dir = tempfile::tempdir().unwrap();
        let (status, _writer) = writer(&dir);
        assert!(StatusWriter::create(&status, None, None, Duration::from_secs(1)).unwrap().is_none());
    }

    #[test]
    fn the_lock_tells_a_living_monitor_from_a_dead_one() {
        let dir = tempfile::tempdir().unwrap();
        let (_, writer) = writer(&dir);
        let slot = File::open(dir.path().join("status.0")).unwrap();
        assert_eq!(lock_of_dead_monitor(&slot), Some(false));
        drop(writer);
        assert_eq!(lock_of_dead_monitor(&slot), Some(true));
    }
}
