//! The states in which a loss of power can leave a disk.
//!
//! What was flushed is there. Of what was written since, each sector is there or not: no order
//! holds between two flushes, and a write can be torn.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::mounts::{LoopDevice, Mount};
use crate::recorded_disk::Recording;
use crate::write_log::{Record, Write};

/// What a disk holds, in the order in which an upload may make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// What was there before the upload, whole.
    Old,
    /// A mark that says that an upload was cut off.
    Unfinished,
    /// What was uploaded, whole.
    New,
}

/// What became of a disk in all the states that were looked at.
#[derive(Debug, Default)]
pub struct Survival {
    /// Flushes after each of which the power was cut.
    pub flushes: usize,
    /// Writes between them.
    pub writes: usize,
    /// States looked at.
    pub states: usize,
    /// How many of them were old, unfinished, new.
    pub contents: [usize; 3],
    /// What was wrong with the others.
    pub wrong: Vec<String>,
}

impl fmt::Display for Survival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flushes, writes, states, contents: [old, unfinished, new], wrong } = self;
        write!(f, "{writes} writes, {flushes} flushes, {states} states: ")?;
        write!(f, "{old} old, {unfinished} unfinished, {new} new, {} wrong", wrong.len())
    }
}

impl Recording {
    /// Judges the states after each flush of an upload: one that holds nothing but what was flushed,
    /// and `variants` with some of what was written between this flush and the next.
    ///
    /// A disk writes `sector` bytes, at multiples of their number, all or not at all. The upload began
    /// before the first record of `range`, and had returned after the last one. A judge says what a state holds, or what is wrong with it. It is wrong, too, to go back behind
    /// what was flushed, or not to be new at the end.
    pub fn judge_power_cuts(
        &self,
        range: Range<usize>,
        sector: usize,
        variants: u64,
        mut judge: impl FnMut(&[u8]) -> Result<Content, String>,
    ) -> Survival {
        let mut survival = Survival::default();
        let mut disk = self.base.clone();
        self.records[..range.start].iter().for_each(|record| record.apply(&mut disk));
        let (mut durable, mut least) = (range.start, Content::Old);
        loop {
            let rest = &self.records[durable..range.end];
            let next = rest.iter().position(|record| *record == Record::Flush).unwrap_or(rest.len());
            let written = &rest[..next];
            if rest.is_empty() {
                least = Content::New;
            }
            // Where nothing was written there are no others.
            for variant in 0..=if written.is_empty() { 0 } else { variants } {
                let mut state = disk.clone();
                if variant > 0 {
                    let mut chance = Chance::new(variant << 32 | durable as u64);
                    written.iter().for_each(|record| record.apply_some(sector, &mut state, &mut chance));
                }
                survival.states += 1;
                match judge(&state) {
                    Ok(content) if content >= least => {
                        survival.contents[content as usize] += 1;
                        if variant == 0 {
                            least = content;
                        }
                    }
                    outcome => {
                        let flush = survival.flushes;
                        survival.wrong.push(format!("flush {flush}, variant {variant}: {outcome:?} and not {least:?}"));
                    }
                }
            }
            if next == rest.len() {
                return survival;
            }
            written.iter().for_each(|record| record.apply(&mut disk));
            durable += next + 1;
            survival.flushes += 1;
            survival.writes += next;
        }
    }
}

impl Record {
    fn apply(&self, disk: &mut [u8]) {
        if let Self::Write(Write { offset, data }) = self {
            disk[place(*offset)..][..data.len()].copy_from_slice(data);
        }
    }

    /// All of it, nothing, or some of its sectors.
    fn apply_some(&self, sector: usize, disk: &mut [u8], chance: &mut Chance) {
        let Self::Write(Write { offset, data }) = self else { return };
        match chance.below(3) {
            0 => {}
            1 => self.apply(disk),
            _ => {
                let mut at = place(*offset);
                // What comes before the first multiple is less than a sector.
                let (first, others) = data.split_at(data.len().min((sector - at % sector) % sector));
                for part in [first].into_iter().chain(others.chunks(sector)) {
                    if chance.below(2) == 0 {
                        disk[at..][..part.len()].copy_from_slice(part);
                    }
                    at += part.len();
                }
            }
        }
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("a disk that fits the memory")
}

/// Numbers that look random and are the same each time (SplitMix64).
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

/// A block device in memory that takes one state after the other.
pub struct Replay {
    // In this order: the device goes before its memory.
    device: LoopDevice,
    _memory: Mount,
}

impl Replay {
    /// A device of so many bytes; `folder` is where its memory is mounted.
    ///
    /// # Panics
    /// If it cannot be made.
    #[track_caller]
    pub fn new(folder: &Path, bytes: u64) -> Self {
        let memory = Mount::memory(&folder.join("memory"), &format!("size={}", bytes + (1 << 20))).expect("memory");
        let file = memory.path().join("disk");
        File::create(&file).and_then(|file| file.set_len(bytes)).expect("a disk in memory");
        Self { device: LoopDevice::new(&file), _memory: memory }
    }

    /// Puts this onto the device.
    ///
    /// # Panics
    /// If it cannot be written.
    #[track_caller]
    pub fn load(&self, disk: &[u8]) {
        let device = File::options().write(true).open(self.device.path()).expect("the device");
        device.write_all_at(disk, 0).expect("written");
    }

    /// The device.
    pub fn device(&self) -> &Path {
        self.device.path()
    }
}
