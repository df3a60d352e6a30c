//! The bytes of a directory, turned into entries.

use std::collections::HashSet;

use super::names::{self, NameProblem};
use super::slot::{
    ATTR_DIRECTORY, ATTR_VOLUME_LABEL, DELETED, END, LongName, SLOT_LEN, ShortEntry, Slot, is_long_name_piece,
};

/// Where a directory's content begins: plain data, to be checked when used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Directory(pub(super) Start);

/// See [`Directory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Start {
    /// The area of FAT12 and FAT16 before the first cluster.
    FixedRoot,
    /// A chain, with the root of FAT32 among them.
    Cluster(u32),
}

/// A file or a directory, as its directory describes it.
///
/// The name is checked; everything else is what the disk says, and is checked
/// when the entry is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The long name, or the short one if there is no (valid) long one. It is
    /// one path component without control characters.
    pub name: String,
    /// The short name, in the case that is shown for it.
    pub short_name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// The size in bytes; 0 for directories.
    pub size: u32,
    /// The first cluster, 0 if there is none.
    pub first_cluster: u32,
    /// FAT's attribute bits: 1 read-only, 2 hidden, 4 system, 0x20 archive.
    pub attributes: u8,
    /// Seconds since 1970 of the last modification, the stored local time
    /// taken for UTC; `None` if the disk holds no valid date.
    pub modified: Option<i64>,
}

impl Entry {
    /// The directory that this entry stands for, or `None` for a file.
    #[must_use]
    pub fn directory(&self) -> Option<Directory> {
        self.is_dir.then_some(Directory(Start::Cluster(self.first_cluster)))
    }
}

/// An entry that is not shown, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// Its name with control characters escaped.
    pub name: String,
    /// What is wrong with the name.
    pub problem: NameProblem,
}

/// What is in a directory.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DirListing {
    /// The entries in the order of the disk, with distinct names (ASCII case
    /// apart).
    pub entries: Vec<Entry>,
    /// The entries whose names the host does not accept.
    pub left_out: Vec<LeftOut>,
    /// The volume label, if this is the root directory and has one.
    pub(super) label: Option<[u8; 11]>,
    /// Clusters that were read; 0 for a fixed root directory.
    pub(super) clusters: u64,
}

/// Whether some bytes of a directory contain its end.
pub(super) fn has_end(bytes: &[u8]) -> bool {
    let (slots, _) = bytes.as_chunks::<SLOT_LEN>();
    slots.iter().any(|slot| slot[0] == END)
}

/// Reads the slots of a directory up to its end.
///
/// `wide_clusters` is for FAT32; `root` directories have no `.` and `..` but
/// may have a label.
pub(super) fn parse(bytes: &[u8], wide_clusters: bool, root: bool) -> DirListing {
    let mut listing = DirListing::default();
    let mut names = Names::default();
    let mut long = None;
    let mut index = 0usize;
    let (slots, _) = bytes.as_chunks::<SLOT_LEN>();
    for slot in slots {
        match slot[0] {
            END => break,
            DELETED => {
                long = None;
                continue;
            }
            _ => {}
        }
        if is_long_name_piece(slot) {
            long = LongName::push(long, slot);
            continue;
        }
        let short = ShortEntry::decode(slot, wide_clusters);
        let long = long.take().and_then(|long| long.finish(&short.name));
        if short.attributes & ATTR_VOLUME_LABEL != 0 {
            if root && listing.label.is_none() {
                listing.label = Some(short.name);
            }
            continue;
        }
        let dot = !root && is_dot(index, slot);
        index += 1;
        if !dot {
            match entry(&short, long) {
                // Guests take names for one that differ in case. Beyond ASCII
                // they disagree about what case is, and the host can keep
                // both.
                Ok(entry) if !names.is_new(&entry.name, &listing.entries) => {
                    listing
                        .left_out
                        .push(LeftOut { name: names::escape(&entry.name), problem: NameProblem::Duplicate });
                }
                Ok(entry) => listing.entries.push(entry),
                Err(left_out) => listing.left_out.push(left_out),
            }
        }
    }
    listing
}

/// Entries among which a name is looked for one by one: most directories that are searched for a single file
/// have fewer.
const FEW_ENTRIES: usize = 16;

/// The names of a directory, in lower case; nothing as long as there are few.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    /// Whether none of the entries has this name, ASCII case apart. If so, it will be the next entry's.
    fn is_new(&mut self, name: &str, entries: &[Entry]) -> bool {
        if entries.len() < FEW_ENTRIES {
            return !entries.iter().any(|entry| entry.name.eq_ignore_ascii_case(name));
        }
        if self.0.is_empty() {
            self.0.extend(entries.iter().map(|entry| entry.name.to_ascii_lowercase()));
        }
        self.0.insert(name.to_ascii_lowercase())
    }
}

/// `.` and `..` are the first two entries, and are never followed. Some
/// writers put long names before them.
fn is_dot(index: usize, slot: &Slot) -> bool {
    match index {
        0 => slot.starts_with(b".          "),
        1 => slot.starts_with(b"..         "),
        _ => false,
    }
}

fn entry(short: &ShortEntry, long: Option<Vec<u16>>) -> Result<Entry, LeftOut> {
    let short_name = names::decode_short(&short.name, short.case);
    let name = match long {
        None => short_name.clone(),
        Some(units) => String::from_utf16(&units)
            .map_err(|_| LeftOut { name: names::escape_units(&units), problem: NameProblem::NotUnicode })?,
    };
    names::check_found(&name).map_err(|problem| LeftOut { name: names::escape(&name), problem })?;
    let is_dir = short.attributes & ATTR_DIRECTORY != 0;
    Ok(Entry {
        name,
        short_name: names::escape(&short_name),
        is_dir,
        size: if is_dir { 0 } else { short.size },
        first_cluster: short.first_cluster,
        attributes: short.attributes,
        modified: short.modified.to_unix(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fat::slot::{ATTR_ARCHIVE, encode_long_name};
    use crate::fat::time::Stamp;

    fn short(name: &[u8; 11], attributes: u8) -> Slot {
        ShortEntry { name: *name, attributes, case: 0, modified: Stamp::from_unix(0), first_cluster: 5, size: 7 }
            .encode()
    }

    fn file(long: &str, name: &[u8; 11]) -> Vec<u8> {
        let units: Vec<u16> = long.encode_utf16().collect();
        let mut bytes = Vec::new();
        encode_long_name(&units, name, &mut bytes);
        bytes.extend(short(name, ATTR_ARCHIVE));
        bytes
    }

    fn names(listing: &DirListing) -> Vec<&str> {
        listing.entries.iter().map(|e| e.name.as_str()).collect()
    }

    fn problems(listing: &DirListing) -> Vec<(&str, NameProblem)> {
        let all = listing.left_out.iter();
        all.map(|l| (l.name.as_str(), l.problem)).collect()
    }

    #[test]
    fn entries_of_all_kinds() {
        let mut bytes = Vec::new();
        bytes.extend(short(b"NLXTP      ", ATTR_VOLUME_LABEL));
        bytes.extend(file("Long name.txt", b"LONGNA~1TXT"));
        let mut deleted = short(b"GONE       ", ATTR_ARCHIVE);
        deleted[0] = DELETED;
        bytes.extend(deleted);
        bytes.extend(short(b"DIR        ", ATTR_DIRECTORY));
        bytes.extend([0; 32]);
        bytes.extend(short(b"AFTER      ", ATTR_ARCHIVE));
        let listing = parse(&bytes, false, true);
        assert_eq!(names(&listing), ["Long name.txt", "DIR"]);
        assert_eq!(listing.entries[0].short_name, "LONGNA~1.TXT");
        assert_eq!(listing.entries[0].size, 7);
        assert_eq!(listing.entries[1].size, 0);
        assert_eq!(listing.label, Some(*b"NLXTP      "));
        assert!(listing.left_out.is_empty());
        assert!(has_end(&bytes));
    }

    #[test]
    fn unsafe_names_are_left_out_and_reported() {
        let mut bytes = Vec::new();
        bytes.extend(short(b".          ", ATTR_DIRECTORY));
        bytes.extend(short(b"..         ", ATTR_DIRECTORY));
        bytes.extend(short(b"..         ", ATTR_DIRECTORY));
        bytes.extend(file("../../etc/passwd", b"ETCPAS~1   "));
        bytes.extend(file("..", b"DOTS~1     "));
        bytes.extend(file("bell\u{7}", b"BELL~1     "));
        bytes.extend(short(b"A/B        ", ATTR_ARCHIVE));
        bytes.extend(short(b"           ", ATTR_ARCHIVE));
        bytes.extend(file("Twice", b"TWICE      "));
        bytes.extend(file("tWICE", b"TWICE~1    "));
        let listing = parse(&bytes, false, false);
        assert_eq!(names(&listing), ["Twice"]);
        assert_eq!(
            problems(&listing),
            [
                ("..", NameProblem::Dots),
                ("../../etc/passwd", NameProblem::Forbidden('/')),
                ("..", NameProblem::Dots),
                ("bell\\u{7}", NameProblem::Control),
                ("A/B", NameProblem::Forbidden('/')),
                ("", NameProblem::Empty),
                ("tWICE", NameProblem::Duplicate),
            ]
        );
        // In a root directory the two first are as wrong as the third.
        assert_eq!(parse(&bytes, false, true).left_out.len(), 9);
    }

    #[test]
    fn broken_long_names_fall_back_and_lone_surrogates_do_not() {
        let mut bytes = file("Long name.txt", b"LONGNA~1TXT");
        bytes[13] ^= 1;
        let mut lone = Vec::new();
        encode_long_name(&[0x61, 0xDC00], b"LONE       ", &mut lone);
        bytes.extend(lone);
        bytes.extend(short(b"LONE       ", ATTR_ARCHIVE));
        let listing = parse(&bytes, false, true);
        assert_eq!(names(&listing), ["LONGNA~1.TXT"]);
        assert_eq!(problems(&listing), [("a\\u{dc00}", NameProblem::NotUnicode)]);
    }
}
