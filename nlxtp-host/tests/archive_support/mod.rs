//! What the tests of archives share.

#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek};
use std::path::Path;
use std::process::Command;

use nlxtp_host::archive::ArchiveReader;
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind, Result};
use rextfv_core::archive_rules::{ArchiveRules, LinkPolicy, Manifest};
use rextfv_core::entry_path::EntryPath;
use rextfv_core::ids::RunId;
use rextfv_core::limits::Limits;
use rextfv_core::shared_directory::{Attributes, Content, Replacement, Representation, Watch};

/// Something that was extracted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Copy(Vec<u8>),
}

/// A replacement that keeps what it is given in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    pub made: BTreeMap<Vec<u8>, (Made, ModeAndTime)>,
}

/// Links have none.
type ModeAndTime = Option<(u32, i64)>;

impl Recording {
    fn add(&mut self, path: &EntryPath, made: Made, attributes: Option<Attributes>) {
        if let Some(parent) = path.parent().filter(|parent| !parent.is_root()) {
            assert_eq!(self.made[parent.as_bytes()].0, Made::Directory, "{path} came before its directory");
        }
        let attributes = attributes.map(|attributes| (attributes.mode, attributes.modified));
        assert!(self.made.insert(path.as_bytes().to_vec(), (made, attributes)).is_none(), "{path} twice");
    }

    pub fn get(&self, path: &str) -> &Made {
        &self.made.get(path.as_bytes()).unwrap_or_else(|| panic!("{path} is missing")).0
    }

    pub fn attributes(&self, path: &str) -> (u32, i64) {
        self.made[path.as_bytes()].1.unwrap()
    }
}

impl Replacement for Recording {
    type Error = Error;

    fn directory(&mut self, path: &EntryPath, attributes: Attributes) -> Result<()> {
        // It may come again, with other attributes.
        if self.made.get(path.as_bytes()).is_some_and(|(made, _)| *made == Made::Directory) {
            self.made.remove(path.as_bytes());
        }
        self.add(path, Made::Directory, Some(attributes));
        Ok(())
    }

    fn file(
        &mut self,
        path: &EntryPath,
        attributes: Attributes,
        size: u64,
        content: &mut dyn Content<Error = Error>,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        // An odd length, to meet the ends of blocks and chunks everywhere.
        let mut chunk = [0; 7001];
        loop {
            match content.read(&mut chunk)? {
                0 => break,
                read => bytes.extend_from_slice(&chunk[..read]),
            }
        }
        assert_eq!(bytes.len() as u64, size);
        self.add(path, Made::File(bytes), Some(attributes));
        Ok(())
    }

    fn copy(
        &mut self,
        path: &EntryPath,
        existing: &EntryPath,
        attributes: Attributes,
        _: Watch<'_, Error>,
    ) -> Result<()> {
        assert!(self.made.contains_key(existing.as_bytes()));
        self.add(path, Made::Copy(existing.as_bytes().to_vec()), Some(attributes));
        Ok(())
    }

    fn symlink(&mut self, path: &EntryPath, target: &[u8]) -> Result<()> {
        self.add(path, Made::Symlink(target.to_vec()), None);
        Ok(())
    }

    fn hard_link(&mut self, path: &EntryPath, existing: &EntryPath) -> Result<()> {
        assert!(self.made.contains_key(existing.as_bytes()));
        self.add(path, Made::HardLink(existing.as_bytes().to_vec()), None);
        Ok(())
    }

    fn commit(self: Box<Self>, _: RunId, _: Watch<'_, Error>) -> Result<()> {
        Ok(())
    }
}

pub fn rules() -> ArchiveRules {
    ArchiveRules { representation: Representation::Posix, links: LinkPolicy::Refuse, limits: Limits::DEFAULT }
}

/// Rules under which a bomb is noticed soon.
pub fn small_rules() -> ArchiveRules {
    let limits = Limits { entries: 1000, total_bytes: 1 << 20, file_bytes: 1 << 20, ..Limits::DEFAULT };
    ArchiveRules { limits, ..rules() }
}

/// What an archive holds, or why it is not taken: in two passes and in one, which must agree.
pub fn extract_from<R: Read + Seek>(source: R, rules: &ArchiveRules) -> Result<(Manifest, Recording)> {
    let control = Control::none();
    let mut reader = ArchiveReader::open(source)?;
    let in_two = reader.examine(rules, &control).and_then(|manifest| {
        let mut recording = Recording::default();
        reader.extract(&manifest, &mut recording, &control)?;
        Ok((manifest, recording))
    });
    let mut recording = Recording::default();
    let in_one = reader.unpack(rules, &mut recording, &control).map(|manifest| (manifest, recording));
    let shown = |outcome: &Result<(Manifest, Recording)>| match outcome {
        Ok(made) => Ok(made.clone()),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(shown(&in_two), shown(&in_one));
    in_one
}

pub fn extract(archive: &[u8]) -> Result<Recording> {
    extract_from(Cursor::new(archive), &rules()).map(|(_, recording)| recording)
}

/// The error that an archive is met with, which must be one about the archive.
pub fn failure(archive: &[u8], rules: &ArchiveRules) -> Error {
    let error = extract_from(Cursor::new(archive), rules).expect_err("should not be taken");
    assert!(matches!(error.kind(), ErrorKind::BadArchive | ErrorKind::Refused), "{error:?}");
    error
}

/// Asserts that the archive is met with an error whose message holds all these words.
#[track_caller]
pub fn assert_fails(archive: &[u8], words: &[&str]) {
    let message = failure(archive, &rules()).to_string();
    for word in words {
        assert!(message.contains(word), "\"{word}\" is not in: {message}");
    }
}

/// Runs a program that every Debian has, or that the test says that it needs.
#[track_caller]
pub fn run(program: &str, arguments: &[&str], directory: &Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    output.stdout
}

/// A tar with these headers, each with its content, and the end marker.
pub fn tar_of(members: &[(tar::Header, &[u8])]) -> Vec<u8> {
    let mut archive = tar_without_end(members);
    archive.resize(archive.len() + 1024, 0);
    archive
}

pub fn tar_without_end(members: &[(tar::Header, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (header, content) in members {
        let mut header = header.clone();
        header.set_cksum();
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive
}

pub fn tar_header(path: &str, kind: u8, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(1000);
    header.set_uid(0);
    header.set_gid(0);
    header
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
