//! Files in memory that change while they are read.

use std::collections::BTreeMap;

use rextfv_core::entry_path::EntryPath;
use rextfv_core::shared_directory::{Attributes, Entry, EntryKind, MayRetry, View, Visitor};

/// One state of the files: paths with content; `None` for one that the disk cannot give just now.
pub(crate) type Files = BTreeMap<&'static str, Option<Vec<u8>>>;

/// A view of files that go from one state to the next between two calls.
pub(crate) struct ChangingFiles {
    states: Vec<Files>,
    /// Whether to go on to the next state, bit by bit, before each call.
    schedule: u64,
    now: usize,
}

/// What a torn file fails with.
#[derive(Debug)]
pub(crate) struct Torn;

impl MayRetry for Torn {
    fn may_retry(&self) -> bool {
        true
    }
}

impl ChangingFiles {
    /// Begins in the first of the states.
    pub(crate) fn new(states: Vec<Files>, schedule: u64) -> Self {
        Self { states, schedule, now: 0 }
    }

    /// Files that stay as they are.
    pub(crate) fn still(files: Files) -> Self {
        Self::new(vec![files], 0)
    }

    /// The states that may have been seen so far.
    pub(crate) fn seen(&self) -> &[Files] {
        &self.states[..=self.now]
    }

    fn look(&mut self) -> &Files {
        if self.schedule & 1 == 1 && self.now + 1 < self.states.len() {
            self.now += 1;
        }
        self.schedule >>= 1;
        &self.states[self.now]
    }
}

impl View for ChangingFiles {
    type Error = Torn;

    fn entry(&mut self, path: &EntryPath) -> Result<Option<Entry>, Torn> {
        let files = self.look();
        let below =
            |name: &str| name.as_bytes().strip_prefix(path.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"));
        let found = match path.as_str().and_then(|path| files.get(path)) {
            Some(Some(content)) => Some((EntryKind::File, content.len() as u64)),
            Some(None) => return Err(Torn),
            None if files.keys().any(|name| below(name)) => Some((EntryKind::Directory, 0)),
            None => None,
        };
        let attributes = Attributes { mode: 0o644, modified: 0 };
        Ok(found.map(|(kind, size)| Entry { path: path.clone(), kind, size, attributes }))
    }

    fn read_at(&mut self, path: &EntryPath, offset: u64, buffer: &mut [u8]) -> Result<Option<usize>, Torn> {
        let files = self.look();
        let content = match path.as_str().and_then(|path| files.get(path)) {
            Some(Some(content)) => content,
            Some(None) => return Err(Torn),
            None => return Ok(None),
        };
        let rest = usize::try_from(offset).ok().and_then(|offset| content.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(Some(length))
    }

    fn top_names(&mut self) -> Result<Vec<Vec<u8>>, Torn> {
        unreachable!("reading a status lists nothing")
    }

    fn walk(&mut self, _: &mut dyn Visitor<Error = Torn>) -> Result<(), Torn> {
        unreachable!("reading a status walks nothing")
    }
}
