//! What a journal is known to say of each run, so that a start and an end are written once.
//!
//! A journal may be long, and whoever asks for a status wants to know of one run, mostly a recent one.
//! So it is read backwards from its end, in pieces, and no further than to the run's upload. What was
//! read once is not read again for as long as the process lives.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use rextfv_core::ids::RunId;
use rextfv_core::liveness::State;
use serde::Deserialize;

use super::record::MOST_LINE_BYTES;

/// Events of a run that are in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Known(u8);

impl Known {
    pub(super) const UPLOAD: Self = Self(1);
    pub(super) const START: Self = Self(2);

    /// The event of a run being seen in this state; `None` where that is none.
    pub(super) fn by(state: State) -> Option<Self> {
        Some(match state {
            State::Running => Self::START,
            State::Finished => Self(4),
            State::MonitorStopped => Self(8),
            State::GuestRebooted => Self(16),
            State::NotStarted | State::Unreadable => return None,
        })
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Bytes that are read at once.
const PIECE: u64 = 256 << 10;

/// What is known of the lines between two positions in a journal.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The file that was read.
    file: (u64, u64),
    from: u64,
    to: u64,
    runs: HashMap<RunId, Vec<(Box<str>, Known)>>,
}

/// What of a line matters here.
#[derive(Deserialize)]
struct Brief<'a> {
    #[serde(borrow)]
    node: Cow<'a, str>,
    run: Option<RunId>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    state: Option<State>,
}

impl Index {
    /// What the first `end` bytes of the journal, which are whole lines, say of a run on this node.
    pub(super) fn look_up(&mut self, file: &File, end: u64, node: &str, run: RunId) -> io::Result<Known> {
        let found = file.metadata()?;
        let identity = (found.dev(), found.ino());
        if self.file != identity || self.to > end {
            *self = Self { file: identity, from: end, to: end, runs: HashMap::new() };
        }
        if self.to < end {
            let new = read(file, self.to, end)?;
            self.learn(&new);
            self.to = end;
        }
        loop {
            let known = self.known(node, run);
            if self.from == 0 || known.has(Known::UPLOAD) {
                return Ok(known);
            }
            self.go_back(file)?;
        }
    }

    fn known(&self, node: &str, run: RunId) -> Known {
        let of_run = self.runs.get(&run).into_iter().flatten();
        of_run.filter(|(name, _)| **name == *node).map(|(_, known)| *known).next().unwrap_or_default()
    }

    /// Reads one more piece before what is known.
    fn go_back(&mut self, file: &File) -> io::Result<()> {
        let mut length = PIECE;
        loop {
            let start = self.from.saturating_sub(length);
            let piece = read(file, start, self.from)?;
            // Up to the first newline it is the end of a line that begins earlier.
            let skipped =
                if start == 0 { Some(0) } else { piece.iter().position(|&byte| byte == b'\n').map(|at| at + 1) };
            match skipped {
                Some(skipped) if skipped < piece.len() => {
                    self.learn(&piece[skipped..]);
                    self.from = start + skipped as u64;
                    return Ok(());
                }
                _ if length > MOST_LINE_BYTES as u64 => {
                    // No line of a journal; there is nothing to be learned of it.
                    self.from = start;
                    return Ok(());
                }
                _ => length *= 2,
            }
        }
    }

    fn learn(&mut self, lines: &[u8]) {
        for line in lines.split(|&byte| byte == b'\n') {
            let Ok(Brief { node, run: Some(run), event, state }) = serde_json::from_slice(line) else { continue };
            let known = match (&*event, state) {
                ("upload", _) => Known::UPLOAD,
                ("start", _) => Known::START,
                ("end", Some(state)) => Known::by(state).unwrap_or_default(),
                _ => continue,
            };
            let nodes = self.runs.entry(run).or_default();
            match nodes.iter_mut().find(|(name, _)| **name == *node) {
                Some((_, all)) => all.add(known),
                None => nodes.push((node.into(), known)),
            }
        }
    }
}

fn read(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(to - from).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}
