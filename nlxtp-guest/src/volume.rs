//! What a volume says of itself, read without mounting it: whether it is a FAT file system that
//! the host has made or filled.
//!
//! Every volume of the guest is looked at, so anything may stand there: few reads, each bounded,
//! none of them led by what was read but within the volume.

#![forbid(unsafe_code)]

use std::io;
use std::os::unix::fs::FileExt;

use rextfv_core::layout::{RUN_ID, START_SCRIPT_PREFIX, STATUS_DIRECTORY, VOLUME_LABEL};

/// Why a volume counts as the shared disk; the better reason is the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its top directory holds what an upload or a run has put there.
    Content,
    /// It is labelled so, in the boot sector or in the top directory: some programs write only one.
    Label,
}

/// Bytes read of a top directory, at most: 2048 entries.
const MOST_OF_DIRECTORY: usize = 64 * 1024;

/// Bytes of an entry.
const ENTRY: usize = 32;

/// Looks at a volume; `None` if it is not the shared disk.
pub fn recognise(volume: &impl FileExt) -> Option<Reason> {
    let mut sector = [0; 512];
    volume.read_exact_at(&mut sector, 0).ok()?;
    let fat = Fat::of_boot_sector(&sector)?;
    if is_our_label(fat.label) {
        return Some(Reason::Label);
    }
    reason_in(&fat.top_directory(volume).ok()?)
}

fn is_our_label(label: &[u8]) -> bool {
    label.trim_ascii_end() == VOLUME_LABEL.as_bytes()
}

/// Where things are on a FAT file system, in bytes.
struct Fat<'a> {
    label: &'a [u8],
    cluster: u64,
    tables: u64,
    /// Where the tables end: there stands the top directory, or, on FAT32, the first cluster.
    behind_tables: u64,
    top: Top,
}

enum Top {
    /// FAT12 and FAT16: this many bytes behind the tables.
    Bytes(usize),
    /// FAT32: a chain of clusters that begins with this one.
    Chain(u32),
}

impl<'a> Fat<'a> {
    fn of_boot_sector(sector: &'a [u8; 512]) -> Option<Self> {
        let short = |at: usize| u64::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
        let long = |at: usize| u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]);
        let (sector_size, in_cluster) = (short(11), u64::from(sector[13]));
        let (reserved, tables) = (short(14), u64::from(sector[16]));
        let sound = sector[510..] == [0x55, 0xaa]
            && (512..=4096).contains(&sector_size)
            && sector_size.is_power_of_two()
            && in_cluster.is_power_of_two()
            && reserved > 0
            && (1..=2).contains(&tables);
        // FAT32 has its sectors per table elsewhere, and its label behind them.
        let fat32 = short(22) == 0;
        let table = if fat32 { u64::from(long(36)) } else { short(22) };
        sound.then(|| Self {
            label: if fat32 { &sector[71..82] } else { &sector[43..54] },
            cluster: sector_size * in_cluster,
            tables: sector_size * reserved,
            behind_tables: sector_size * (reserved + tables * table),
            top: if fat32 { Top::Chain(long(44)) } else { Top::Bytes(usize::try_from(short(17)).unwrap_or(0) * ENTRY) },
        })
    }

    fn top_directory(&self, volume: &impl FileExt) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut read = |at: u64, length: usize| {
            let old = bytes.len();
            bytes.resize(old + length.min(MOST_OF_DIRECTORY - old), 0);
            volume.read_exact_at(&mut bytes[old..], at).map(|()| bytes.len() < MOST_OF_DIRECTORY)
        };
        match self.top {
            Top::Bytes(length) => drop(read(self.behind_tables, length)?),
            Top::Chain(first) => {
                let mut cluster = first;
                while let Some(number) = cluster.checked_sub(2).filter(|number| *number < 0x0fff_fff5) {
                    let at = self.behind_tables + u64::from(number) * self.cluster;
                    if !read(at, usize::try_from(self.cluster).unwrap_or(MOST_OF_DIRECTORY))? {
                        break;
                    }
                    let mut next = [0; 4];
                    volume.read_exact_at(&mut next, self.tables + u64::from(cluster) * 4)?;
                    cluster = u32::from_le_bytes(next) & 0x0fff_ffff;
                }
            }
        }
        Ok(bytes)
    }
}

/// The best reason that the entries of a top directory give.
fn reason_in(directory: &[u8]) -> Option<Reason> {
    let mut best = None;
    let mut long_name = Vec::new();
    for entry in directory.chunks_exact(ENTRY) {
        let (first, attributes) = (entry[0], entry[11]);
        match (first, attributes) {
            (0, _) => break,
            (0xe5, _) => long_name.clear(),
            // A part of a long name. The last part stands first, and has this bit in its number.
            (_, 0x0f) => {
                if first & 0x40 != 0 {
                    long_name.clear();
                }
                long_name.splice(0..0, part_of_name(entry));
            }
            (_, attributes) if attributes & 0x08 != 0 => {
                if is_our_label(&entry[..11]) {
                    return Some(Reason::Label);
                }
                long_name.clear();
            }
            // All names of the protocol are too long for a short one.
            _ => {
                if is_of_the_protocol(&long_name) {
                    best = Some(Reason::Content);
                }
                long_name.clear();
            }
        }
    }
    best
}

/// The letters of a part; what is not ASCII, no name of the protocol holds.
fn part_of_name(entry: &[u8]) -> impl Iterator<Item = u8> {
    let letters = [&entry[1..11], &entry[14..26], &entry[28..32]].concat();
    let letter = |pair: &[u8]| if pair[1] == 0 { pair[0] } else { b'?' };
    letters.chunks_exact(2).map(letter).take_while(|letter| *letter != 0).collect::<Vec<_>>().into_iter()
}

fn is_of_the_protocol(name: &[u8]) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    let begin = name.get(..START_SCRIPT_PREFIX.len());
    is(RUN_ID)
        || is(STATUS_DIRECTORY)
        || begin.is_some_and(|begin| begin.eq_ignore_ascii_case(START_SCRIPT_PREFIX.as_bytes()))
}

#[cfg(test)]
mod tests;
