//! Checking a journal, and what lies beside it.

#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rextfv_core::entry_path::displayable;
use rextfv_core::limits::Limits;
use serde::Serialize;

use super::compare::{Difference, compare_results};
use super::digest::{Digest, digest_rest};
use super::record::{ArchiveFile, Download, Event, Record};
use super::store::Store;
use super::tree::{Tree, TreeSummary};
use super::utc::Utc;
use crate::control::Control;
use crate::error::{Error, Result};

/// What a journal was found to be.
#[derive(Debug, Serialize)]
pub struct Verification {
    /// How many lines it has.
    pub lines: u64,
    /// The digest of the last one. Whoever has noted it can tell later that all up to here is as it was.
    pub head: Digest,
    /// What is wrong. Nothing, in a journal that is as it was written, with files that are.
    pub problems: Vec<Remark>,
    /// What is worth knowing, and no fault.
    pub notes: Vec<Remark>,
    /// Each archive that the journal knows, and whether it is at hand.
    pub archives: Vec<Checked>,
}

/// Something about a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The line that it is about.
    pub line: Option<u64>,
    /// What is to be said.
    pub message: String,
}

/// An archive that a journal knows.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// The line that it was found in first.
    pub line: u64,
    /// `upload` or `download`.
    pub event: &'static str,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Its digest.
    pub sha256: Digest,
    /// Whether it is at hand.
    pub at_hand: AtHand,
}

/// Whether an archive is at hand.
#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum AtHand {
    /// A file has its digest.
    Matches {
        /// That file.
        file: String,
    },
    /// A file of its name holds the same results, packed in another way.
    Repacked {
        /// That file.
        file: String,
    },
    /// A file of its name is another one.
    Differs {
        /// That file.
        file: String,
        /// How the results in it differ.
        differences: Vec<Difference>,
    },
    /// There is none.
    Missing,
}

/// What is to be checked beside the chain.
#[derive(Debug, Default)]
pub struct Files<'a> {
    /// Files, and folders whose files are looked at, in which archives and results are looked for. None:
    /// the journal's own folder.
    pub paths: &'a [PathBuf],
    /// The digest of a line that the journal must have, as it was noted at an earlier time.
    pub head: Option<Digest>,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
            && !self.archives.iter().any(|archive| matches!(archive.at_hand, AtHand::Differs { .. }))
    }

    /// Whether every archive is at hand.
    pub fn is_complete(&self) -> bool {
        !self.archives.iter().any(|archive| matches!(archive.at_hand, AtHand::Missing))
    }
}

/// Checks that the chain is whole, and that archives and results at hand are those of the journal.
///
/// # Errors
/// The journal or a file cannot be read; as the control says. What is wrong is no error.
pub fn verify(journal: &Path, files: &Files<'_>, limits: &Limits, control: &Control<'_>) -> Result<Verification> {
    let mut reader = super::read(journal)?;
    let mut lines = Lines::default();
    let mut head_found = files.head.is_none();
    while let Some(line) =
        reader.next_line().map_err(|error| Error::io("read the journal", error).with_path(journal))?
    {
        control.check()?;
        head_found |= files.head == Some(line.digest);
        if let Some(message) = line.problem() {
            lines.problems.push(Remark { line: Some(line.number), message });
        }
        if let Ok(record) = line.record {
            lines.add(line.number, record);
        }
    }
    if reader.torn() > 0 {
        let message = format!(
            "after the last line there are {} bytes of one that is not whole: whoever wrote it was stopped; the next \
             line that is appended replaces them",
            reader.torn()
        );
        lines.notes.push(Remark { line: None, message });
    }
    if let Some(head) = files.head.filter(|_| !head_found) {
        let message = format!("no line has the digest {head}: lines were removed or changed since it was noted");
        lines.problems.push(Remark { line: None, message });
    }
    let Lines { mut problems, notes, mut wanted, .. } = lines;
    let store = Store::beside(journal);
    for archive in &mut wanted {
        archive.look_in_store(&store, control, &mut problems)?;
    }
    look_around(journal, files.paths, &mut wanted, &mut problems, limits, control)?;
    let archives = wanted.into_iter().map(|wanted| wanted.checked).collect();
    Ok(Verification { lines: reader.lines(), head: reader.head(), problems, notes, archives })
}

/// What all lines say together.
#[derive(Default)]
struct Lines {
    problems: Vec<Remark>,
    notes: Vec<Remark>,
    wanted: Vec<Wanted>,
    by_digest: HashMap<Digest, usize>,
    runs: HashSet<String>,
    last: Option<Utc>,
}

impl Lines {
    fn add(&mut self, line: u64, record: Record) {
        let mut note = |message: String| self.notes.push(Remark { line: Some(line), message });
        if self.last.is_some_and(|last| record.time < last) {
            note("its time is before that of the line before: the host's clock was set back".into());
        }
        self.last = Some(record.time);
        if record.torn > 0 {
            note(format!(
                "{} bytes of a line that was not whole were removed before this one was written",
                record.torn
            ));
        }
        let run = record.run.map(|run| format!("{run} {}", record.node));
        match (&record.event, run) {
            (Event::Upload(_), Some(run)) => drop(self.runs.insert(run)),
            (_, Some(run)) if self.runs.insert(run.clone()) => note(
                "the upload of its run is not in the journal: it was made without, or was killed before its line was \
                 written, or the guest has invented the run"
                    .into(),
            ),
            _ => {}
        }
        if let Event::Download(Download { verified: Some(outcome), .. }) = &record.event
            && outcome.is_suspicious()
        {
            note(format!(
                "when it was downloaded, it could not be verified by the guest's digests ({})",
                outcome.word()
            ));
        }
        let event = record.event.word();
        match record.event {
            Event::Upload(upload) => self.want(line, event, upload.archive, None),
            Event::Download(download) => self.want(line, event, download.archive, Some(download.results)),
            Event::Start | Event::End(_) => {}
        }
    }

    fn want(&mut self, line: u64, event: &'static str, archive: ArchiveFile, results: Option<TreeSummary>) {
        let at = *self.by_digest.entry(archive.sha256).or_insert(self.wanted.len());
        if let Some(known) = self.wanted.get_mut(at) {
            known.kept |= archive.kept;
            known.results = known.results.take().or(results);
            known.names.extend(archive.name);
            return;
        }
        let ArchiveFile { sha256, bytes, name, kept, .. } = archive;
        let names = name.iter().cloned().collect();
        let checked = Checked { line, event, name, sha256, at_hand: AtHand::Missing };
        self.wanted.push(Wanted { checked, bytes, kept, names, results });
    }
}

/// An archive that is looked for.
struct Wanted {
    checked: Checked,
    bytes: u64,
    kept: bool,
    names: HashSet<String>,
    results: Option<TreeSummary>,
}

impl Wanted {
    fn is_missing(&self) -> bool {
        matches!(self.checked.at_hand, AtHand::Missing)
    }

    fn look_in_store(&mut self, store: &Store, control: &Control<'_>, problems: &mut Vec<Remark>) -> Result<()> {
        let path = store.path(self.checked.sha256);
        let line = Some(self.checked.line);
        if !path.is_file() {
            if self.kept {
                let message = format!("its archive was kept beside the journal and is gone: {}", shown(&path));
                problems.push(Remark { line, message });
            }
        } else if digest_file(&path, control)? == self.checked.sha256 {
            self.checked.at_hand = AtHand::Matches { file: shown(&path) };
        } else {
            let message = format!("its archive was kept beside the journal and has been changed: {}", shown(&path));
            problems.push(Remark { line, message });
        }
        Ok(())
    }

    /// Takes a file of this archive's name that is not this archive.
    fn judge(&mut self, path: &Path, limits: &Limits, control: &Control<'_>) -> Result<()> {
        let file = shown(path);
        let Some(results) = &self.results else {
            self.checked.at_hand = AtHand::Differs { file, differences: Vec::new() };
            return Ok(());
        };
        let tree = open(path).and_then(|mut archive| Tree::of_archive(&mut archive, limits, control));
        control.check()?;
        self.checked.at_hand = match tree {
            Ok(tree) if tree.digest() == results.sha256 && !self.is_missing() => return Ok(()),
            Ok(tree) if tree.digest() == results.sha256 => AtHand::Repacked { file },
            Ok(tree) => AtHand::Differs { file, differences: compare_results(results, &tree, &[]) },
            Err(error) => {
                let recorded = "an archive".into();
                let difference = Difference { about: "the archive".into(), recorded, found: error.to_string() };
                AtHand::Differs { file, differences: vec![difference] }
            }
        };
        Ok(())
    }
}

/// Finds an archive of a journal by its digest: in the store, else in these files and folders, or where
/// none are given in the journal's own folder.
///
/// # Errors
/// A file cannot be read; as the control says.
pub fn find_archive(
    journal: &Path,
    archive: &ArchiveFile,
    paths: &[PathBuf],
    control: &Control<'_>,
) -> Result<Option<PathBuf>> {
    let kept = Store::beside(journal).path(archive.sha256);
    let mut candidates = vec![kept];
    let own_folder = [own_folder(journal)];
    for path in if paths.is_empty() { &own_folder } else { paths } {
        candidates.extend(files_at(path)?.0);
    }
    for file in candidates {
        let has_length = fs::metadata(&file).is_ok_and(|found| found.is_file() && found.len() == archive.bytes);
        if has_length && digest_file(&file, control)? == archive.sha256 {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn own_folder(journal: &Path) -> PathBuf {
    journal.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf()
}

/// Looks for archives in files and folders.
fn look_around(
    journal: &Path,
    paths: &[PathBuf],
    wanted: &mut [Wanted],
    problems: &mut Vec<Remark>,
    limits: &Limits,
    control: &Control<'_>,
) -> Result<()> {
    let own_folder = [own_folder(journal)];
    let sizes: HashSet<u64> = wanted.iter().map(|wanted| wanted.bytes).collect();
    let mut others = Vec::new();
    for path in if paths.is_empty() { &own_folder } else { paths } {
        let (files, named) = files_at(path)?;
        for file in files {
            control.check()?;
            let name = displayable(file.file_name().unwrap_or_default().as_encoded_bytes());
            let length = fs::metadata(&file).map(|found| found.len()).unwrap_or_default();
            let has_name = wanted.iter().any(|wanted| wanted.names.contains(&name));
            if !sizes.contains(&length) && !has_name {
                if named {
                    let message = format!("the journal knows no archive like {}", shown(&file));
                    problems.push(Remark { line: None, message });
                }
                continue;
            }
            let digest = digest_file(&file, control)?;
            match wanted.iter_mut().find(|wanted| wanted.checked.sha256 == digest) {
                Some(found) => found.checked.at_hand = AtHand::Matches { file: shown(&file) },
                None if has_name => others.push((name, file)),
                None if named => {
                    let message = format!("the journal knows no archive like {}", shown(&file));
                    problems.push(Remark { line: None, message });
                }
                None => {}
            }
        }
    }
    // A file is held against the last archive of its name that is not at hand, else against the last one: a
    // copy elsewhere does not make up for it.
    for (name, file) in others {
        let of_its_name = |wanted: &Wanted| wanted.names.contains(&name);
        let last = wanted.iter().rposition(|wanted| of_its_name(wanted) && wanted.is_missing());
        if let Some(last) = last.or_else(|| wanted.iter().rposition(of_its_name)) {
            wanted[last].judge(&file, limits, control)?;
        }
    }
    Ok(())
}

/// The files in a folder, or the file itself; and whether it was named as such.
fn files_at(path: &Path) -> Result<(Vec<PathBuf>, bool)> {
    let failed = |error| Error::io("look for archives", error).with_path(path);
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok((vec![path.to_path_buf()], true));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok((files, false))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| Error::io("read the archive", error).with_path(path))
}

fn digest_file(path: &Path, control: &Control<'_>) -> Result<Digest> {
    let digested = digest_rest(&mut open(path)?, |_| control.check().map_err(std::io::Error::other));
    digested.map(|(digest, _)| digest).map_err(|error| Error::io("read the archive", error).with_path(path))
}

fn shown(path: &Path) -> String {
    displayable(path.as_os_str().as_encoded_bytes())
}
