//! Small volumes put together slot by slot, in which anything can be wrong; and what is seen of them.

use std::collections::BTreeMap;

use super::Tree;
use nlxtp_host::fat::{Damage, FatError, FatType, FatVolume, NameProblem, ReadAt, ReadLimits, WalkItem, locate};

/// Bytes in a sector and in a cluster.
pub const CLUSTER: usize = 512;
/// Marks the end of a chain, in every width.
pub const END: u32 = 0x0FFF_FFFF;
/// Slots of the fixed root directory.
const ROOT_SLOTS: usize = 64;

pub type Slot = [u8; 32];
pub const KINDS: [FatType; 3] = [FatType::Fat12, FatType::Fat16, FatType::Fat32];

/// A bare volume with clusters of one sector and two tables.
#[derive(Clone)]
pub struct Forge {
    pub bytes: Vec<u8>,
    pub kind: FatType,
    reserved: usize,
    table_sectors: usize,
}

impl Forge {
    /// An empty volume with the fewest clusters that make it FAT16, or with 200.
    pub fn new(kind: FatType) -> Self {
        Self::with_clusters(kind, if kind == FatType::Fat16 { 4085 } else { 200 })
    }

    pub fn with_clusters(kind: FatType, clusters: usize) -> Self {
        let wide = kind == FatType::Fat32;
        let table_bytes = ((clusters + 2) * kind.bits() as usize).div_ceil(8);
        let (reserved, table_sectors) = (if wide { 8 } else { 1 }, table_bytes.div_ceil(CLUSTER));
        let root_sectors = if wide { 0 } else { ROOT_SLOTS * 32 / CLUSTER };
        let sectors = reserved + 2 * table_sectors + root_sectors + clusters;
        let mut forge = Self { bytes: vec![0; sectors * CLUSTER], kind, reserved, table_sectors };
        forge.put(0, &[0xEB, 0x58, 0x90]);
        forge.put(11, &[0, 2, 1, reserved.to_le_bytes()[0], 0, 2]);
        forge.put(510, &[0x55, 0xAA]);
        forge.put(21, &[0xF8]);
        forge.put(32, &u32::try_from(sectors).unwrap().to_le_bytes());
        let table_sectors = u32::try_from(table_sectors).unwrap().to_le_bytes();
        if wide {
            forge.put(36, &table_sectors);
            forge.put(44, &[2, 0, 0, 0, 1, 0, 6, 0]);
            forge.link(2, END);
        } else {
            forge.put(17, &[u8::try_from(ROOT_SLOTS).unwrap(), 0]);
            forge.put(22, &table_sectors[..2]);
        }
        forge.link(0, 0x0FFF_FFF8);
        forge.link(1, END);
        forge
    }

    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Sets an entry in both tables.
    pub fn link(&mut self, cluster: u32, value: u32) {
        for copy in [0, 1] {
            self.link_in(copy, cluster, value);
        }
    }

    pub fn link_in(&mut self, copy: usize, cluster: u32, value: u32) {
        let at = (self.reserved + copy * self.table_sectors) * CLUSTER;
        let cluster = cluster as usize;
        match self.kind {
            FatType::Fat12 => {
                let at = at + cluster * 3 / 2;
                let old = u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]);
                let value = u16::try_from(value & 0xFFF).unwrap();
                let new = if cluster % 2 == 1 { old & 0xF | value << 4 } else { old & 0xF000 | value };
                self.put(at, &new.to_le_bytes());
            }
            FatType::Fat16 => self.put(at + cluster * 2, &value.to_le_bytes()[..2]),
            FatType::Fat32 => self.put(at + cluster * 4, &value.to_le_bytes()),
        }
    }

    /// Links these clusters one after the other, and ends after the last.
    pub fn chain(&mut self, clusters: &[u32]) {
        for pair in clusters.windows(2) {
            self.link(pair[0], pair[1]);
        }
        self.link(*clusters.last().unwrap(), END);
    }

    fn root_at(&self) -> usize {
        (self.reserved + 2 * self.table_sectors) * CLUSTER
    }

    pub fn at(&self, cluster: u32) -> usize {
        let fixed_root = if self.kind == FatType::Fat32 { 0 } else { ROOT_SLOTS * 32 };
        self.root_at() + fixed_root + (cluster as usize - 2) * CLUSTER
    }

    /// Fills the root directory from its beginning.
    pub fn root(&mut self, slots: &[Slot]) {
        let at = self.root_at();
        self.put(at, slots.as_flattened());
    }

    /// Fills a cluster from its beginning.
    pub fn slots(&mut self, cluster: u32, slots: &[Slot]) {
        assert!(slots.len() <= CLUSTER / 32);
        let at = self.at(cluster);
        self.put(at, slots.as_flattened());
    }

    /// Puts a tree in place, one cluster after the other, everything with a long name.
    pub fn plant(&mut self, tree: &Tree) {
        let root = if self.kind == FatType::Fat32 { 2 } else { 0 };
        let mut next = 3;
        let mut firsts = BTreeMap::from([("", root)]);
        // Directories come before what is in them, and know how much that is.
        for (path, content) in tree {
            let slots = |child: &String| match child.rsplit_once('/').unwrap_or(("", child)) {
                (above, name) if above == path => 1 + units(name).len().div_ceil(13),
                _ => 0,
            };
            let bytes = content.as_ref().map_or_else(|| 64 + 32 * tree.keys().map(slots).sum::<usize>(), Vec::len);
            let chain: Vec<u32> = (next..).take(bytes.div_ceil(CLUSTER)).collect();
            firsts.insert(path, if chain.is_empty() { 0 } else { next });
            next += u32::try_from(chain.len()).unwrap();
            if !chain.is_empty() {
                self.chain(&chain);
                let at = self.at(chain[0]);
                self.put(at, content.as_deref().unwrap_or_default());
            }
        }
        let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, (path, content)) in tree.iter().enumerate() {
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            let short = numbered(number);
            let mut slots = Vec::new();
            if !above.is_empty() && !ends.contains_key(above) {
                slots.extend([directory(b".          ", firsts[above]), directory(b"..         ", 0)]);
            }
            slots.extend(long(&units(name), &short));
            let (first, size) = (firsts[path.as_str()], content.as_ref().map_or(0, Vec::len));
            slots.push(match content {
                Some(_) => file(&short, first, u32::try_from(size).unwrap()),
                None => directory(&short, first),
            });
            let start = if firsts[above] == 0 { self.root_at() } else { self.at(firsts[above]) };
            let end = ends.entry(above).or_insert(start);
            let at = *end;
            *end += 32 * slots.len();
            self.put(at, slots.as_flattened());
        }
    }

    pub fn look(&self) -> Seen {
        Seen::of(&self.bytes.as_slice()).unwrap()
    }

    /// The reason for which it is refused.
    pub fn refusal(&self) -> String {
        match Seen::of(&self.bytes.as_slice()) {
            Err(error @ FatError::NotFat { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

fn entry(name: &[u8; 11], attributes: u8, cluster: u32, size: u32) -> Slot {
    let mut slot = [0; 32];
    slot[..11].copy_from_slice(name);
    slot[11] = attributes;
    let cluster = cluster.to_le_bytes();
    slot[20..22].copy_from_slice(&cluster[2..]);
    slot[26..28].copy_from_slice(&cluster[..2]);
    slot[28..].copy_from_slice(&size.to_le_bytes());
    slot
}

pub fn file(name: &[u8; 11], cluster: u32, size: u32) -> Slot {
    entry(name, 0x20, cluster, size)
}

pub fn directory(name: &[u8; 11], cluster: u32) -> Slot {
    entry(name, 0x10, cluster, 0)
}

pub fn label(name: &[u8; 11]) -> Slot {
    entry(name, 0x08, 0, 0)
}

/// A name for the file or directory of this number.
pub fn numbered(number: usize) -> [u8; 11] {
    format!("N{number:<10}").into_bytes().try_into().unwrap()
}

/// The pieces of a long name for a short one, as they lie before the entry; as many units as wished.
pub fn long(units: &[u16], short: &[u8; 11]) -> Vec<Slot> {
    let sum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut slots: Vec<Slot> = Vec::new();
    for (index, piece) in units.chunks(13).enumerate() {
        let mut padded = piece.to_vec();
        padded.push(0);
        padded.resize(14, 0xFFFF);
        let units: Vec<u8> = padded.into_iter().flat_map(u16::to_le_bytes).collect();
        let mut slot = [0; 32];
        slot[0] = u8::try_from(index + 1).unwrap();
        slot[1..11].copy_from_slice(&units[..10]);
        slot[11] = 0x0F;
        slot[13] = sum;
        slot[14..26].copy_from_slice(&units[10..22]);
        slot[28..].copy_from_slice(&units[22..26]);
        slots.push(slot);
    }
    slots.reverse();
    slots[0][0] |= 0x40;
    slots
}

pub fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// What a walk finds that reads each file.
#[derive(Debug, Default)]
pub struct Seen {
    /// Directories, and files that could be read.
    pub tree: BTreeMap<String, Option<Vec<u8>>>,
    pub left_out: Vec<(String, NameProblem)>,
    pub too_deep: Vec<String>,
    /// The contradictions; those within a file's content too.
    pub damaged: Vec<(String, Damage)>,
    /// Other reasons for which something could not be read.
    pub limits: Vec<String>,
}

impl Seen {
    pub fn of(storage: &impl ReadAt) -> Result<Self, FatError> {
        let volume = FatVolume::open(storage, locate(storage)?, ReadLimits::default())?;
        let mut seen = Self::default();
        for item in volume.walk(volume.root()) {
            match item? {
                WalkItem::Entry { path, entry } if entry.is_dir => drop(seen.tree.insert(path, None)),
                WalkItem::Entry { path, entry } => match volume.read_file(&entry, u32::MAX) {
                    Ok(content) => drop(seen.tree.insert(path, Some(content))),
                    Err(error) => seen.unreadable(path, error),
                },
                WalkItem::LeftOut { directory, left_out } if directory.is_empty() => {
                    seen.left_out.push((left_out.name, left_out.problem));
                }
                WalkItem::LeftOut { directory, left_out } => {
                    seen.left_out.push((format!("{directory}/{}", left_out.name), left_out.problem));
                }
                WalkItem::TooDeep { path } => seen.too_deep.push(path),
                WalkItem::Unreadable { path, error } => seen.unreadable(path, error),
                other => panic!("{other:?}"),
            }
        }
        Ok(seen)
    }

    fn unreadable(&mut self, path: String, error: FatError) {
        match error {
            FatError::Damaged { damage, .. } => self.damaged.push((path, damage)),
            FatError::Limit { .. } => self.limits.push(path),
            other => panic!("{path}: {other:?}"),
        }
    }

    pub fn paths(&self) -> Vec<&str> {
        self.tree.keys().map(String::as_str).collect()
    }

    pub fn damaged(&self) -> Vec<(&str, Damage)> {
        self.damaged.iter().map(|(path, damage)| (path.as_str(), *damage)).collect()
    }

    pub fn left_out(&self) -> Vec<(&str, NameProblem)> {
        self.left_out.iter().map(|(path, problem)| (path.as_str(), *problem)).collect()
    }
}
