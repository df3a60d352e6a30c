//! Reading a journal line by line, with the chain of digests that holds it together.

#![forbid(unsafe_code)]

use std::io::{self, BufRead};

use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::record::{self, MOST_LINE_BYTES, Record};

/// One line of a journal, and what is wrong with it.
#[derive(Debug)]
pub struct Line {
    /// Its number; the first is 1.
    pub number: u64,
    /// The digest of its bytes, newline included: what the next line has as `prev`.
    pub digest: Digest,
    /// What it says, or why that cannot be read.
    pub record: Result<Record, String>,
    /// The digest of the line before, where this line says another.
    pub expected: Option<Digest>,
}

impl Line {
    /// What is wrong with it, in words.
    pub fn problem(&self) -> Option<String> {
        match (&self.record, self.expected) {
            (Err(problem), _) => Some(problem.clone()),
            (Ok(record), Some(expected)) => Some(format!(
                "the chain is broken: it follows a line with the digest {}, and the line before has {expected}",
                record.prev
            )),
            (Ok(_), None) => None,
        }
    }
}

/// Reads a journal, whatever it holds: a bad line is told, and the next one read.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    lines: u64,
    head: Digest,
    torn: u64,
}

impl<R: BufRead> Reader<R> {
    /// Begins at the first line.
    pub fn new(source: R) -> Self {
        Self { source, lines: 0, head: Digest::NONE, torn: 0 }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// The journal cannot be read. What it holds is no error.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let mut hasher = Sha256::new();
        loop {
            let piece = match self.source.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                piece => piece?,
            };
            if piece.is_empty() {
                // Without a newline it is no line: whoever was writing it was stopped.
                self.torn = line.len() as u64;
                return Ok(None);
            }
            let end = piece.iter().position(|&byte| byte == b'\n');
            let used = end.map_or(piece.len(), |end| end + 1);
            hasher.update(&piece[..used]);
            // One byte more than may be, so that it is known to be too long.
            let room = (MOST_LINE_BYTES + 1).saturating_sub(line.len());
            let content = &piece[..end.unwrap_or(used)];
            line.extend_from_slice(&content[..content.len().min(room)]);
            self.source.consume(used);
            if end.is_some() {
                break;
            }
        }
        let record = record::parse(&line);
        let before = std::mem::replace(&mut self.head, Digest::finish(hasher));
        self.lines += 1;
        let broken = record.as_ref().is_ok_and(|record| record.prev != before);
        Ok(Some(Line { number: self.lines, digest: self.head, record, expected: broken.then_some(before) }))
    }

    /// How many lines were read.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The digest of the last line that was read.
    pub fn head(&self) -> Digest {
        self.head
    }

    /// Bytes after the last newline, known at the end: a line whose writer was stopped.
    pub fn torn(&self) -> u64 {
        self.torn
    }
}
