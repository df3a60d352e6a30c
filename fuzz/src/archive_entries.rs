//! Archives: what is accepted lies inside the shared directory, once, and within the limits; and
//! extracting it makes that and nothing else.
//!
//! The first byte of the input says for which target the archive is (see [`Choice`]) and what the
//! rest is: an archive as it stands, a tar to be packed, or the source of arbitrary entries.

use std::io::Cursor;

use arbitrary::Unstructured;
use nlxtp_host::archive::ArchiveReader;
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::shared_directory::MemoryDirectory;
use rextfv_core::archive_rules::{ArchiveRules, LinkPolicy, Manifest, ManifestLinkKind};
use rextfv_core::ids::RunId;
use rextfv_core::layout;
use rextfv_core::limits::Limits;
use rextfv_core::shared_directory::{Representation, SharedDirectory};

use crate::archive_making::{self, Entry};
use crate::archive_oracle;
use crate::walked::{Thing, Walked};

/// What the first byte says.
struct Choice(u8);

impl Choice {
    fn rules(&self) -> ArchiveRules {
        let representation = if self.0 & 1 == 0 { Representation::Posix } else { Representation::Fat };
        let links = if self.0 & 2 == 0 { LinkPolicy::Refuse } else { LinkPolicy::Copy };
        let limits = if self.0 & 4 == 0 {
            Limits { total_bytes: 4 << 20, ..Limits::DEFAULT }
        } else {
            Limits { entries: 12, total_bytes: 100_000, file_bytes: 60_000, path_bytes: 100, depth: 4 }
        };
        ArchiveRules { representation, links, limits }
    }
}

/// Checks one input.
pub fn check(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let choice = Choice(*first);
    match first >> 3 & 7 {
        0 | 1 => drop(examine_and_extract(rest, &choice.rules(), None)),
        2 => {
            let mut tar = rest.to_vec();
            archive_making::mend_tar(&mut tar);
            examine_and_extract(&tar, &choice.rules(), None);
        }
        3 => drop(examine_and_extract(&archive_making::gzip(rest), &choice.rules(), None)),
        4 => drop(examine_and_extract(&archive_making::zstd(rest), &choice.rules(), None)),
        _ => drop(entries(&mut Unstructured::new(rest), &choice.rules())),
    }
}

/// Arbitrary entries in every format.
fn entries(source: &mut Unstructured<'_>, rules: &ArchiveRules) -> arbitrary::Result<()> {
    let (long_names, deflated, tame): (u8, u8, bool) = source.arbitrary()?;
    let mut entries: Vec<Entry> = Vec::new();
    for _ in 0..source.int_in_range(0..=20)? {
        entries.push(Entry::any(source, tame)?);
    }
    // Extra headers among the entries belong to those after them: their numbers are no positions.
    let positions = entries.iter().all(|entry| !b"LKgxD".contains(&entry.kind));
    let expected = positions.then_some(&entries[..]);
    let tar = archive_making::tar(&entries, long_names);
    let packed = if deflated & 1 == 0 { archive_making::gzip(&tar) } else { archive_making::zstd(&tar) };
    let from_tar = examine_and_extract(&tar, rules, expected);
    assert_eq!(examine_and_extract(&packed, rules, expected), from_tar, "packing changes what is accepted");
    examine_and_extract(&archive_making::zip(&entries, deflated), rules, expected);
    Ok(())
}

/// In two passes and in one, which must agree; gives what was accepted.
fn examine_and_extract(archive: &[u8], rules: &ArchiveRules, entries: Option<&[Entry]>) -> Option<Manifest> {
    let control = Control::none();
    let examined = ArchiveReader::open(Cursor::new(archive))
        .and_then(|mut reader| reader.examine(rules, &control).map(|manifest| (reader, manifest)));
    let (mut reader, manifest) = match examined {
        Ok(accepted) => accepted,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::BadArchive | ErrorKind::Refused), "{error:?}");
            assert!(!error.to_string().chars().any(|c| c.is_control() && c != '\n'), "{error:?} drives a terminal");
            let in_one = unpack(archive, rules).err().map(|in_one| in_one.to_string());
            assert_eq!(in_one, Some(error.to_string()), "one pass takes what two refuse, or for other reasons");
            return None;
        }
    };
    archive_oracle::check(&manifest, rules);

    let directory = MemoryDirectory::new(rules.representation);
    let mut replacement = directory.replace(&manifest, &go_on).expect("memory takes all");
    reader.extract(&manifest, &mut *replacement, &control).expect("what was examined can be extracted");
    replacement.commit(RUN, &go_on).expect("memory takes all");
    made(&directory, &manifest, entries);
    let (in_one, directory) = unpack(archive, rules).expect("one pass takes what two take");
    assert_eq!(in_one, manifest, "one pass makes something else");
    made(&directory, &manifest, entries);
    Some(manifest)
}

const RUN: RunId = RunId::from_bytes([7; 16]);

fn go_on() -> Result<(), Error> {
    Ok(())
}

/// In one pass.
fn unpack(archive: &[u8], rules: &ArchiveRules) -> Result<(Manifest, MemoryDirectory), Error> {
    let directory = MemoryDirectory::new(rules.representation);
    let mut replacement = directory.begin(&go_on)?.expect("memory holds old and new content");
    let manifest = ArchiveReader::open(Cursor::new(archive))?.unpack(rules, &mut *replacement, &Control::none())?;
    replacement.commit(RUN, &go_on)?;
    Ok((manifest, directory))
}

/// The directory holds what the manifest lists, and nothing else but the run id.
fn made(directory: &MemoryDirectory, manifest: &Manifest, entries: Option<&[Entry]>) {
    let mut view = directory.view().expect("memory can be read");
    let mut walked = Walked::through(&mut *view).expect("memory can be read");
    assert!(walked.left_out.is_empty() && walked.unreadable == 0);
    let run_id = walked.things.remove(layout::RUN_ID.as_bytes()).map(|(thing, _)| thing);
    assert_eq!(run_id, Some(Thing::File(format!("{}\n", "07".repeat(16)).into_bytes())));
    assert_eq!(walked.things.len() as u64, manifest.entries(), "more or fewer entries than listed");

    for directory in &manifest.directories {
        assert_eq!(walked.things[directory.path.as_bytes()], (Thing::Directory, directory.attributes));
    }
    for file in &manifest.files {
        let (Thing::File(content), attributes) = &walked.things[file.path.as_bytes()] else {
            panic!("{} is no file", file.path);
        };
        assert_eq!((content.len() as u64, attributes), (file.size, &file.attributes), "{}", file.path);
        if let Some(entries) = entries {
            assert!(*content == entries[file.index as usize].content, "{} has another's content", file.path);
        }
    }
    for link in &manifest.links {
        let made = &walked.things[link.path.as_bytes()].0;
        match &link.kind {
            ManifestLinkKind::Symlink(target) => assert_eq!(*made, Thing::Symlink(target.to_vec())),
            ManifestLinkKind::HardLink(existing) | ManifestLinkKind::Copy { existing, .. } => {
                assert_eq!(*made, walked.things[existing.as_bytes()].0, "{} is not {existing}", link.path);
            }
        }
    }
}
