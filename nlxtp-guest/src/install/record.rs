//! The record of what an installation has put into a root file system, kept there: so that an
//! upgrade and a removal know what is theirs, and what the administrator has changed since.

#![forbid(unsafe_code)]

use std::io;

use super::Item;
use super::init_system::InitSystem;
use super::root::Root;

/// Where the record is.
pub const PLACE: &str = "/var/lib/nlxtp-guest/installed";

const HEAD: &str = "# What nlxtp-guest has installed here; \"nlxtp-guest uninstall\" removes it by this list.\n";

/// What was installed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Each once, in the order in which it came. A file may stand here with several contents: while
    /// one takes another's place, both are ours.
    pub entries: Vec<Entry>,
    /// The init system that was told.
    pub init: Option<InitSystem>,
}

/// One thing of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What kind of thing it is.
    pub kind: Kind,
    /// A file's digest, a link's target, a line's text.
    pub value: String,
    /// Where it is.
    pub path: String,
}

/// The kinds of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file, by its digest.
    File,
    /// A link, by its target.
    Link,
    /// A line in a file of others.
    Line,
    /// A directory that was not there before.
    Directory,
    /// A directory whose files the init system makes.
    Scraps,
    /// Our service in a list of insserv's.
    Target,
    /// The links of a run level, whatever their numbers.
    RunLevel,
}

const KINDS: [(&str, Kind); 7] = [
    ("file", Kind::File),
    ("link", Kind::Link),
    ("line", Kind::Line),
    ("directory", Kind::Directory),
    ("scraps", Kind::Scraps),
    ("target", Kind::Target),
    ("run-level", Kind::RunLevel),
];

impl Record {
    /// Reads the record of a root; `None` if nothing was installed there.
    ///
    /// # Errors
    /// It is no record; else the system's.
    pub fn load(root: &Root) -> io::Result<Option<Self>> {
        let Some((text, _)) = root.read(PLACE)? else { return Ok(None) };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged; remove it, and install anew");
        let text = String::from_utf8(text).map_err(|_| damaged())?;
        let mut record = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.splitn(3, '\t');
            let (kind, value, path) = match (fields.next(), fields.next(), fields.next()) {
                (Some("init"), Some(name), None) => {
                    record.init = InitSystem::named(name);
                    continue;
                }
                (Some(kind), Some(value), Some(path)) if path.starts_with('/') => (kind, value, path),
                _ => return Err(damaged()),
            };
            let kind = KINDS.iter().find(|(name, _)| *name == kind).ok_or_else(damaged)?.1;
            record.add(kind, value, path);
        }
        Ok(Some(record))
    }

    /// Adds something.
    pub fn add(&mut self, kind: Kind, value: &str, path: &str) {
        let entry = Entry { kind, value: value.to_owned(), path: path.to_owned() };
        if !self.entries.contains(&entry) {
            self.entries.push(entry);
        }
    }

    /// Adds what an item will be.
    pub fn add_item(&mut self, item: &Item) {
        match item {
            Item::File { path, content, .. } => self.add(Kind::File, &digest(content), path),
            Item::Link { path, target } => self.add(Kind::Link, target, path),
            Item::Line { path, line } => self.add(Kind::Line, line, path),
            Item::Scraps { path } => self.add(Kind::Scraps, "", path),
            Item::Target { path } => self.add(Kind::Target, "", path),
            Item::RunLevel { level } => self.add(Kind::RunLevel, "", &super::run_level(*level)),
        }
    }

    /// Whether a file with this content is one that we have put there.
    pub fn has_file(&self, path: &str, content: &[u8]) -> bool {
        let digest = digest(content);
        self.entries.iter().any(|entry| entry.kind == Kind::File && entry.path == path && entry.value == digest)
    }

    /// Writes the record.
    ///
    /// # Errors
    /// The system's.
    pub fn store(&self, root: &Root) -> io::Result<()> {
        let mut text = HEAD.to_owned();
        if let Some(init) = self.init {
            text.push_str(&format!("init\t{}\n", init.name()));
        }
        for entry in &self.entries {
            let kind = KINDS.iter().find(|(_, kind)| *kind == entry.kind).map_or("", |(name, _)| name);
            text.push_str(&format!("{kind}\t{}\t{}\n", entry.value, entry.path));
        }
        root.write(PLACE, text.as_bytes(), 0o644)
    }
}

/// A content's digest.
pub fn digest(content: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("var/lib/nlxtp-guest")).unwrap();
        let root = Root::offline(place.path()).unwrap();
        assert_eq!(Record::load(&root).unwrap(), None);
        let mut record = Record { init: Some(InitSystem::Runit), ..Record::default() };
        record.add_item(&Item::file("/etc/a b", b"x".to_vec(), 0o644));
        record.add_item(&Item::link("/etc/l", "../t"));
        record.add_item(&Item::Line { path: "/etc/inittab".into(), line: "::respawn:a b".into() });
        record.add_item(&Item::RunLevel { level: '2' });
        record.add_item(&Item::Scraps { path: "/s".into() });
        record.add(Kind::Directory, "", "/d");
        record.add(Kind::Directory, "", "/d");
        record.store(&root).unwrap();
        assert_eq!(Record::load(&root).unwrap(), Some(record.clone()));
        assert_eq!(record.entries.len(), 6);
        assert!(record.has_file("/etc/a b", b"x") && !record.has_file("/etc/a b", b"y"));
    }

    #[test]
    fn a_damaged_record_is_refused() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("var/lib/nlxtp-guest")).unwrap();
        let root = Root::offline(place.path()).unwrap();
        for text in ["file\tx", "file\tx\tetc/relative", "device\tx\t/x", "\u{1}"] {
            root.write(PLACE, text.as_bytes(), 0o644).unwrap();
            assert!(Record::load(&root).is_err(), "{text}");
        }
    }
}
