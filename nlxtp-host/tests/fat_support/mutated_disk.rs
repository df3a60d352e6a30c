//! A disk that is changed here and there, and as it was again.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nlxtp_host::fat::{
    Extent, FatType, FatVolume, FormatOptions, Geometry, ReadAt, ReadLimits, Target, WalkItem, WriteAt as _, locate,
    write_mbr,
};
use rextfv_core::layout;
use rextfv_core::status::{RunState, Status, Truncated};
use rextfv_core::status_codec;

use super::forge::Forge;
use super::{Random, Tree, content, plan, with_directories, write};

/// What a run leaves on a disk, and some more.
fn content_of_a_run() -> Tree {
    let status = |sequence| Status {
        run: None,
        sequence,
        state: RunState::Running,
        done: false,
        running_info: sequence,
        interval: Duration::from_secs(1),
        boot: None,
        ended: None,
        stdout_bytes: 700,
        stderr_bytes: 0,
        truncated: Truncated::default(),
        custom: Some(b"half of it".to_vec()),
        progress: None,
    };
    let mut tree = Tree::new();
    let mut add = |path: &str, content: Vec<u8>| drop(tree.insert(path.to_owned(), Some(content)));
    add(layout::START_SCRIPT, b"#!/bin/sh\necho hello\n".to_vec());
    add(layout::STATUS_SLOTS[0], status_codec::encode(&status(5)).unwrap());
    add(layout::STATUS_SLOTS[1], status_codec::encode(&status(6)).unwrap());
    add(layout::STDOUT, content(1, 700));
    add(layout::STDERR, vec![]);
    add("results/a rather long name of a result.data", content(2, 5000));
    add("results/Größe.txt", content(3, 512));
    add("results/deep/deeper/deepest/SHORT.TXT", content(4, 513));
    for n in 0..12 {
        add(&format!("many/file number {n}"), content(n, 40 * n));
    }
    with_directories(tree)
}

/// A file that is nowhere but in memory.
fn in_memory(len: u64) -> File {
    let file = File::from(memfd_create("disk", MFdFlags::MFD_CLOEXEC).unwrap());
    file.set_len(len).unwrap();
    file
}

/// A disk in a file, of which all that is not zero is known.
pub struct Disk {
    pub name: &'static str,
    pub path: PathBuf,
    pub file: File,
    pub len: u64,
    /// From the beginning to the last byte that is not zero.
    base: Vec<u8>,
    pub extent: Extent,
    pub geometry: Geometry,
    /// Where the tables begin, and the entries that are in use in them.
    tables: Vec<u64>,
    clusters: u32,
    /// Where the slots of all directories lie.
    slots: Vec<u64>,
    /// What was changed, to be undone.
    changed: Vec<(u64, usize)>,
}

impl Disk {
    pub fn new(name: &'static str, kind: FatType, offset: u64, len: u64) -> Self {
        let tree = content_of_a_run();
        let file = in_memory(offset + len);
        let mut options = FormatOptions::new("nlxtp").unwrap();
        options.fat_type = Some(kind);
        options.cluster_size = Some(512);
        let layout = plan(&tree, options, len).unwrap();
        write(&tree, &layout, &file, offset, Target::Zeroed).unwrap();
        if offset > 0 {
            let blocks = |bytes: u64| u32::try_from(bytes / 512).unwrap();
            write_mbr(&file, blocks(offset), blocks(len), 1, layout.partition_type()).unwrap();
        }
        Self::open(name, file)
    }

    /// A FAT32 with so few clusters that they are all of interest.
    pub fn forged(name: &'static str) -> Self {
        let mut forge = Forge::new(FatType::Fat32);
        // The root has a second cluster.
        forge.chain(&[2, 199]);
        forge.plant(&content_of_a_run());
        let file = in_memory(forge.bytes.len() as u64);
        file.write_all_at(&forge.bytes, 0).unwrap();
        Self::open(name, file)
    }

    fn open(name: &'static str, file: File) -> Self {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
        let extent = locate(&file).unwrap();
        let volume = FatVolume::open(&file, extent, ReadLimits::default()).unwrap();
        let geometry = volume.geometry().clone();
        let len = ReadAt::len(&file).unwrap();
        // The builder begins at the front.
        let mut base = vec![0; at(len).min(2 << 20)];
        file.read_exact_at(&mut base, 0).unwrap();
        base.truncate(base.iter().rposition(|byte| *byte != 0).unwrap() + 1);
        base.shrink_to_fit();
        let data = extent.offset + geometry.metadata_bytes();
        let place = |cluster: u32| data + u64::from(cluster - 2) * u64::from(geometry.cluster_size());
        // The builder's directories are short; what follows in their clusters is as good to change.
        let mut slots: Vec<u64> = match geometry.root_entries() {
            0 => (0..16).map(|n| data + 32 * n).collect(),
            entries => (0..48).map(|n| data - 32 * u64::from(entries) + 32 * n).collect(),
        };
        let mut clusters = 3;
        for item in volume.walk(volume.root()) {
            let WalkItem::Entry { entry, .. } = item.unwrap() else { panic!() };
            clusters = clusters.max(entry.first_cluster + entry.size.div_ceil(512));
            if entry.is_dir {
                slots.extend((0..16).map(|n| place(entry.first_cluster) + 32 * n));
            }
        }
        let reserved = extent.offset
            + u64::from(u16::from_le_bytes([base[at(extent.offset) + 14], base[at(extent.offset) + 15]])) * 512;
        let fat_len =
            (geometry.metadata_bytes() - (reserved - extent.offset) - 32 * u64::from(geometry.root_entries())) / 2;
        let tables = vec![reserved, reserved + fat_len];
        Self { name, path, file, len, base, extent, geometry, tables, clusters, slots, changed: Vec::new() }
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, at).unwrap();
        self.changed.push((at, bytes.len()));
    }

    pub fn undo(&mut self) {
        let mut whole = vec![];
        for (at, len) in std::mem::take(&mut self.changed) {
            let start = self::at(at).min(self.base.len());
            let end = (self::at(at) + len).min(self.base.len());
            whole.clear();
            whole.extend_from_slice(&self.base[start..end]);
            whole.resize(len, 0);
            self.file.write_all_at(&whole, at).unwrap();
        }
        self.file.set_len(self.len).unwrap();
    }

    /// One change; most are such that what they change is looked at.
    pub fn mutate(&mut self, random: &mut Random) {
        let odd_byte = |random: &mut Random| {
            pick(random, &[0x00, 0x01, 0x02, 0x05, 0x0F, 0x10, 0x2E, 0x2F, 0x7F, 0x80, 0xE5, 0xFF])
        };
        match random.below(100) {
            // The boot sector seldom: what is refused at once hides everything else.
            0..3 => {
                let field =
                    pick(random, &[11, 13, 14, 16, 17, 19, 21, 22, 28, 32, 36, 40, 42, 44, 48, 50, 65, 66, 510]);
                let bytes = [odd_byte(random), odd_byte(random), odd_byte(random), odd_byte(random)];
                let len = pick(random, &[1, 2, 4]).min(512 - field);
                self.put(self.extent.offset + field as u64, &bytes[..len]);
            }
            // The partition table, or what lies there.
            3 => {
                let at = 440 + random.below(72) as u64;
                self.put(at, &[odd_byte(random)]);
            }
            // Hints, copies, reserved sectors.
            4 => {
                let at = self.extent.offset + 512 + random.next() % (self.tables[0] - self.extent.offset).max(1024);
                self.put(at, &random.next().to_le_bytes());
            }
            5..35 => self.change_link(random),
            35..80 => self.change_slot(random),
            80..98 => {
                let at = random.below(self.base.len()) as u64;
                let bytes = random.next().to_le_bytes();
                self.put(at, &bytes[..1 + random.below(8)]);
            }
            98 => {
                let cut = match random.below(3) {
                    0 => random.next() % self.len,
                    1 => self.len - 1 - random.next() % 512,
                    _ => 512 * (random.next() % (self.len / 512)),
                };
                self.file.set_len(cut).unwrap();
                self.changed.push((cut, usize::try_from((self.base.len() as u64).saturating_sub(cut)).unwrap()));
            }
            _ => {
                // A disk and a volume of any size, without a byte more of it.
                self.file.set_len(1 << (28 + random.below(14))).unwrap();
                let total = (random.next() >> random.below(40)).to_le_bytes();
                self.put(self.extent.offset + 32, &total[..4]);
                self.put(self.extent.offset + 19, &[0, 0]);
                if random.below(2) == 0 {
                    self.put(self.extent.offset + 13, &[1 << random.below(8)]);
                    self.put(self.extent.offset + 36, &random.next().to_le_bytes()[..3]);
                }
            }
        }
    }

    /// A number that a cluster may be given.
    fn cluster(&self, random: &mut Random) -> u32 {
        let count = self.geometry.cluster_count();
        match random.below(10) {
            0 => pick(random, &[0, 1, 2, count, count + 1, count + 2, u32::MAX]),
            1 => pick(random, &[0xFF6, 0xFF7, 0xFF8, 0xFFF6, 0xFFF7, 0xFFF8, 0x0FFF_FFF6, 0x0FFF_FFF7, 0x0FFF_FFF8]),
            2 => 2 + u32::try_from(random.below(count as usize)).unwrap(),
            _ => 2 + u32::try_from(random.below(self.clusters as usize)).unwrap(),
        }
    }

    fn change_link(&mut self, random: &mut Random) {
        let cluster = 2 + random.next() % u64::from(self.clusters);
        let value = self.cluster(random);
        let copies = if random.below(4) == 0 { 1..2 } else { 0..1 + random.below(2) };
        for table in self.tables.clone().drain(copies) {
            match self.geometry.fat_type() {
                FatType::Fat12 => {
                    let at = table + cluster * 3 / 2;
                    let mut old = [0; 2];
                    self.file.read_exact_at(&mut old, at).unwrap_or_default();
                    let (old, value) = (u16::from_le_bytes(old), u16::try_from(value & 0xFFF).unwrap());
                    let new = if cluster % 2 == 1 { old & 0xF | value << 4 } else { old & 0xF000 | value };
                    self.put(at, &new.to_le_bytes());
                }
                FatType::Fat16 => self.put(table + 2 * cluster, &value.to_le_bytes()[..2]),
                FatType::Fat32 => self.put(table + 4 * cluster, &value.to_le_bytes()),
            }
        }
    }

    fn change_slot(&mut self, random: &mut Random) {
        let slot = self.slots[random.below(self.slots.len())];
        let odd = [0, 1, 0x1B, b'.', b'/', b'\\', b' ', 0x41, 0x42, 0x54, 0x7F, 0xD8, 0xDC, 0xE5, 0xFF];
        match random.below(10) {
            0 => self.put(slot, &[pick(random, &odd)]),
            1 => self.put(slot + 1 + random.below(10) as u64, &[pick(random, &odd)]),
            2 => self
                .put(slot + 11, &[pick(random, &[0x00, 0x01, 0x08, 0x0F, 0x10, 0x18, 0x20, 0x30, 0x3F, 0x4F, 0xFF])]),
            3 | 4 => {
                let cluster = self.cluster(random).to_le_bytes();
                self.put(slot + 26, &cluster[..2]);
                if random.below(4) == 0 {
                    self.put(slot + 20, &cluster[2..]);
                }
            }
            5 => {
                let size = pick(random, &[0, 1, 511, 512, 513, 5000, 65_536, 1 << 20, 1 << 24, 1 << 31, u32::MAX]);
                self.put(slot + 28, &size.to_le_bytes());
            }
            6 => self.put(slot + random.below(32) as u64, &[random.next().to_le_bytes()[3], pick(random, &odd)]),
            7 => self.put(slot + pick(random, &[12, 13, 22, 24]), &random.next().to_le_bytes()[..2]),
            // Another slot here, which may be a directory's, a piece of a name, or a label.
            _ => {
                let mut other = [0; 32];
                let from = self.slots[random.below(self.slots.len())];
                // Nothing is there where the disk was cut.
                self.file.read_exact_at(&mut other, from).unwrap_or_default();
                self.put(slot, &other);
            }
        }
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

fn pick<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[random.below(choices.len())]
}
