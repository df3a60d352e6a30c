//! Appending a line: under a lock, flushed, and never after half of another one.

#![forbid(unsafe_code)]

use std::fs::{File, TryLockError};
use std::io::{self, Read, Take, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::digest::Digest;
use super::record::{self, MOST_LINE_BYTES, Record};
use crate::error::{Error, ErrorKind, Remedy, Result};

/// How long another process's lock is waited for. Nobody holds it longer than it takes to write a line.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file that only this process may write to while this value lives.
#[derive(Debug)]
struct LockedFile(File);

impl Drop for LockedFile {
    fn drop(&mut self) {
        // To close it would not do: a child that was forked meanwhile has the same open file, and the lock.
        let _ = self.0.unlock();
    }
}

/// A journal that only this process may write to while this value lives.
#[derive(Debug)]
pub(super) struct LockedJournal {
    file: LockedFile,
    /// The end of the last whole line.
    end: u64,
    head: Digest,
    torn: u64,
}

impl LockedJournal {
    /// Opens the journal, makes it where there is none, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let file = open(path).map_err(|error| error.with_path(path))?;
            let file = lock(file, deadline).map_err(|error| error.with_path(path))?;
            // Somebody may have renamed it, to begin a new one, before we had the lock.
            let (opened, found) = (file.0.metadata(), std::fs::metadata(path));
            match (opened, found) {
                (Ok(opened), Ok(found)) if (opened.dev(), opened.ino()) == (found.dev(), found.ino()) => {
                    return Self::at_the_end(file).map_err(|error| error.with_path(path));
                }
                (Err(error), _) => return Err(Error::io("look at the journal", error).with_path(path)),
                _ if Instant::now() > deadline => return Err(in_use().with_path(path)),
                _ => {}
            }
        }
    }

    fn at_the_end(file: LockedFile) -> Result<Self> {
        let length = file.0.metadata().map_err(reading)?.len();
        // The last line and what is torn of the next one lie in here, whatever they are.
        let most = 2 * (MOST_LINE_BYTES as u64 + 1);
        let mut room = 8 << 10;
        loop {
            let start = length.saturating_sub(room);
            let mut tail = vec![0; usize::try_from(length - start).unwrap_or_default()];
            file.0.read_exact_at(&mut tail, start).map_err(reading)?;
            let mut newlines = tail.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
            let (last, before) = (newlines.next(), newlines.next());
            if start > 0 && before.is_none() {
                if room >= most {
                    return Err(not_a_journal("it has a line that is longer than any of a journal".into()));
                }
                room = (room * 4).min(most);
                continue;
            }
            let whole = last.map_or(0, |last| last + 1);
            let line = &tail[before.map_or(0, |before| before + 1)..whole];
            let torn = &tail[whole..];
            let mut journal = Self { file, end: start + whole as u64, head: Digest::NONE, torn: torn.len() as u64 };
            if let [line @ .., b'\n'] = line {
                record::parse(line).map_err(not_a_journal)?;
                journal.head = Digest::of(&[line, b"\n"].concat());
            }
            journal.mend(torn)?;
            return Ok(journal);
        }
    }

    /// A line that lacks nothing but its newline gets it.
    fn mend(&mut self, torn: &[u8]) -> Result<()> {
        match record::parse(torn) {
            Ok(record) if record.prev == self.head => {
                self.file.0.write_all(b"\n").map_err(writing)?;
                self.file.0.sync_data().map_err(writing)?;
                self.end += torn.len() as u64 + 1;
                self.head = Digest::of(&[torn, b"\n"].concat());
                self.torn = 0;
            }
            // The beginning of a journal's first line, or somebody's file that is none.
            _ if self.end == 0
                && !torn.is_empty()
                && !FIRST_BYTES.starts_with(&torn[..torn.len().min(FIRST_BYTES.len())]) =>
            {
                return Err(not_a_journal("its first line is none of a journal".into()));
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn file(&self) -> &File {
        &self.file.0
    }

    /// The end of the last whole line.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Appends a line, chained to the last one, and flushes it. Either all of it is there then, or
    /// nothing.
    pub(super) fn append(mut self, mut record: Record) -> Result<Digest> {
        record.prev = self.head;
        record.torn = self.torn;
        let mut line = serde_json::to_vec(&record)
            .map_err(|error| Error::new(ErrorKind::Io, "cannot write a line of the journal").with_source(error))?;
        if line.len() > MOST_LINE_BYTES {
            return Err(Error::new(ErrorKind::InvalidInput, "the line would be longer than any of a journal")
                .with_hint("give the node a shorter name"));
        }
        line.push(b'\n');
        if self.torn > 0 {
            self.file.0.set_len(self.end).map_err(writing)?;
        }
        let written = self.file.0.write_all(&line).and_then(|()| self.file.0.sync_data());
        if let Err(error) = written {
            // Half a line is of no use; if that fails too, the next who appends removes it.
            let _ = self.file.0.set_len(self.end);
            return Err(writing(error));
        }
        Ok(Digest::of(&line))
    }
}

/// What every line begins with.
const FIRST_BYTES: &[u8] = b"{\"journal\":";

fn open(path: &Path) -> Result<File> {
    let open = |create| {
        let mut options = File::options();
        // Non-blocking, should it be a FIFO.
        options.read(true).append(true).create_new(create).mode(0o600).custom_flags(libc::O_NONBLOCK);
        options.open(path)
    };
    let opening = |error| {
        Error::io("open the journal", error)
            .with_hint("name a file in a folder that there is, and that you may write to")
    };
    let file = match open(false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match open(true) {
            // Another process was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open(false),
            made => made.inspect(|_| sync_folder(path)),
        },
        other => other,
    }
    .map_err(opening)?;
    if !file.metadata().map_err(reading)?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "a journal must be a regular file"));
    }
    Ok(file)
}

/// Sees to it that a new name in a folder outlives a loss of power. A file system that cannot do that
/// is no reason to fail.
pub(super) fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

fn lock(file: File, deadline: Instant) -> Result<LockedFile> {
    let mut pause = Duration::from_millis(1);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(LockedFile(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(pause),
            Err(TryLockError::WouldBlock) => return Err(in_use()),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock the journal", error)),
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Opens a journal for reading, and waits until nobody is just writing a line. Where the lock cannot be
/// had, it is read all the same: what is half written is told as such.
pub(super) fn open_to_read(path: &Path) -> Result<Take<File>> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(|error| Error::io("open the journal", error).with_path(path))?;
    let found = file.metadata().map_err(|error| reading(error).with_path(path))?;
    if !found.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "a journal must be a regular file").with_path(path));
    }
    let begun = Instant::now();
    while matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) && begun.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(5));
    }
    // All that there is at this moment, under the lock; later lines are not of this reading.
    let length = file.metadata().map_err(|error| reading(error).with_path(path))?.len();
    let _ = file.unlock();
    Ok(file.take(length))
}

fn reading(error: io::Error) -> Error {
    Error::io("read the journal", error)
}

fn writing(error: io::Error) -> Error {
    let error = Error::io("write to the journal", error);
    if error.kind() == ErrorKind::NoSpace { error.with_hint("make room where the journal lies") } else { error }
}

fn in_use() -> Error {
    Error::new(ErrorKind::InUse, "another process has locked the journal for too long").with_hint("try again")
}

fn not_a_journal(why: String) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("this file is no journal, or it is damaged: {why}"))
        .with_remedy(Remedy::NameAnotherJournal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_goes_with_its_holder_whoever_else_has_the_open_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let locked = LockedJournal::open(&path).unwrap();
        // As a child that is forked just now has it.
        let _inherited = locked.file().try_clone().unwrap();
        drop(locked);
        LockedJournal::open(&path).unwrap();
    }
}
