//! What a walk through a shared directory shows.

use std::collections::BTreeMap;

use nlxtp_host::error::{Error, Result};
use rextfv_core::shared_directory::{Attributes, Content, Entry, EntryKind, LeftOut, View, Visitor};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thing {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
}

/// Everything that a walk showed.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) things: BTreeMap<Vec<u8>, (Thing, Attributes)>,
    pub(crate) left_out: Vec<LeftOut>,
    /// Files whose content could not be read to its end.
    pub(crate) unreadable: usize,
}

impl Walked {
    /// Walks through a whole view.
    pub(crate) fn through(view: &mut dyn View<Error = Error>) -> Result<Self> {
        let mut walked = Self::default();
        view.walk(&mut walked)?;
        Ok(walked)
    }

    fn add(&mut self, entry: &Entry, kind: EntryKind, thing: Thing) {
        assert_eq!(entry.kind, kind);
        let path = entry.path.as_bytes();
        inside(path);
        if let Some(parent) = entry.path.parent().filter(|parent| !parent.is_root()) {
            let above = self.things.get(parent.as_bytes()).map(|(thing, _)| thing);
            assert_eq!(above, Some(&Thing::Directory), "{} came before its directory", entry.path);
        }
        let before = self.things.insert(path.to_vec(), (thing, entry.attributes));
        assert!(before.is_none(), "{} was shown twice", entry.path);
    }
}

/// Asserts that a path leads nowhere but into the shared directory.
pub(crate) fn inside(path: &[u8]) {
    let harmless = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
    assert!(path.split(|&byte| byte == b'/').all(harmless), "{:?} leads out", String::from_utf8_lossy(path));
}

/// All the content, and whether it ended without a failure.
pub(crate) fn read_all(content: &mut dyn Content<Error = Error>) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 5000];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return (bytes, true),
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            Err(_) => return (bytes, false),
        }
    }
}

impl Visitor for Walked {
    type Error = Error;

    fn file(&mut self, entry: &Entry, content: &mut dyn Content<Error = Error>) -> Result<()> {
        let (bytes, whole) = read_all(content);
        self.unreadable += usize::from(!whole);
        assert!(!whole || bytes.len() as u64 == entry.size, "{} is not as long as was said", entry.path);
        self.add(entry, EntryKind::File, Thing::File(bytes));
        Ok(())
    }

    fn directory(&mut self, entry: &Entry) -> Result<()> {
        self.add(entry, EntryKind::Directory, Thing::Directory);
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry, target: &[u8]) -> Result<()> {
        self.add(entry, EntryKind::Symlink, Thing::Symlink(target.to_vec()));
        Ok(())
    }

    fn left_out(&mut self, left_out: LeftOut) -> Result<()> {
        self.left_out.push(left_out);
        Ok(())
    }
}
