//! The allocation table: which cluster follows which.

use std::sync::{Mutex, PoisonError};

use super::error::{Damage, FatError};
use super::geometry::{FIRST_CLUSTER, FatType, Geometry};
use super::storage::ReadAt;

/// Bytes of the table that are read at once. A forged chain can make each
/// step read another block, so blocks are not larger.
const BLOCK_LEN: usize = 512;
/// Blocks that are kept: 64 KiB, half of the largest FAT16 table.
const BLOCKS: usize = 128;
/// Bytes of the table that are read at once to count in it: whole entries of any width.
const PIECE_LEN: u32 = 96 << 10;

/// What the table says about a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// It is free.
    Free,
    /// The chain goes on with this cluster, which may not exist.
    Next(u32),
    /// It is unusable.
    Bad,
    /// It is the last of its chain.
    End,
}

/// The active copy of the table, read through a small cache.
#[derive(Debug)]
pub(super) struct Table {
    fat_type: FatType,
    /// First byte on the storage.
    offset: u64,
    /// Bytes that hold entries of clusters.
    len: u64,
    cluster_count: u32,
    /// Block `n` is kept in place `n % BLOCKS`; there are no places before the first.
    cache: Mutex<Vec<Option<Block>>>,
}

#[derive(Debug)]
struct Block {
    number: u64,
    bytes: Vec<u8>,
}

impl Table {
    pub fn new(geometry: &Geometry, volume_offset: u64) -> Self {
        Self {
            fat_type: geometry.fat_type,
            offset: volume_offset.saturating_add(geometry.fat_offset(geometry.active_fat)),
            len: geometry.fat_type.table_len(geometry.cluster_count),
            cluster_count: geometry.cluster_count,
            cache: Mutex::default(),
        }
    }

    /// Drops what was read of the table.
    pub fn forget(&self) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.clear();
    }

    /// Whether there is a cluster of this number.
    pub fn has(&self, cluster: u32) -> bool {
        cluster.checked_sub(FIRST_CLUSTER).is_some_and(|index| index < self.cluster_count)
    }

    /// What the table says about a cluster, which must exist.
    pub fn link(&self, storage: &(impl ReadAt + ?Sized), cluster: u32) -> Result<Link, FatError> {
        if !self.has(cluster) {
            let place = "allocation table";
            return Err(FatError::damaged(Damage::OutOfRange { cluster }, place));
        }
        let at = u64::from(cluster) * u64::from(self.fat_type.bits()) / 8;
        let mut bytes = [0; 4];
        let len = if self.fat_type == FatType::Fat32 { 4 } else { 2 };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = bytes.get_mut(..len).unwrap_or_default();
        let mut at = at;
        // Twice for an entry of FAT12 that lies across two blocks.
        while !wanted.is_empty() {
            let found = self.bytes_from(storage, &mut cache, at)?;
            let (now, later) = wanted.split_at_mut(found.len().min(wanted.len()));
            for (to, from) in now.iter_mut().zip(found) {
                *to = *from;
            }
            at += now.len() as u64;
            wanted = later;
        }
        drop(cache);
        Ok(self.decode(cluster, u32::from_le_bytes(bytes)))
    }

    /// The bytes of the table from a position to the end of their block; at
    /// least one.
    fn bytes_from<'c>(
        &self,
        storage: &(impl ReadAt + ?Sized),
        cache: &'c mut Vec<Option<Block>>,
        at: u64,
    ) -> Result<&'c [u8], FatError> {
        let number = at / BLOCK_LEN as u64;
        let within = usize::try_from(at % BLOCK_LEN as u64).unwrap_or_default();
        let place = usize::try_from(number % BLOCKS as u64).unwrap_or_default();
        let outside = || FatError::not_fat("the allocation table ends early");
        if cache.is_empty() {
            cache.resize_with(BLOCKS, || None);
        }
        let kept = cache.get_mut(place).ok_or_else(outside)?;
        if kept.as_ref().is_none_or(|block| block.number != number) {
            let start = number * BLOCK_LEN as u64;
            let len = self.len.saturating_sub(start).min(BLOCK_LEN as u64);
            let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
            storage.read_exact_at(&mut bytes, self.offset.saturating_add(start))?;
            *kept = Some(Block { number, bytes });
        }
        match kept.as_ref().and_then(|block| block.bytes.get(within..)) {
            Some(bytes @ [_, ..]) => Ok(bytes),
            _ => Err(outside()),
        }
    }

    fn decode(&self, cluster: u32, raw: u32) -> Link {
        let (value, bad) = match self.fat_type {
            // Two entries share three bytes.
            FatType::Fat12 if cluster % 2 == 1 => (raw >> 4 & 0xFFF, 0xFF7),
            FatType::Fat12 => (raw & 0xFFF, 0xFF7),
            FatType::Fat16 => (raw & 0xFFFF, 0xFFF7),
            // The upper four bits are reserved.
            FatType::Fat32 => (raw & 0x0FFF_FFFF, 0x0FFF_FFF7),
        };
        match value {
            0 => Link::Free,
            value if value == bad => Link::Bad,
            value if value > bad => Link::End,
            value => Link::Next(value),
        }
    }

    /// Counts the free clusters: reads the whole table once, in pieces, and asks before each whether to
    /// go on.
    pub fn count_free<E: From<FatError>>(
        &self,
        storage: &(impl ReadAt + ?Sized),
        mut check: impl FnMut() -> Result<(), E>,
    ) -> Result<u32, E> {
        let bits = self.fat_type.bits();
        let width = if self.fat_type == FatType::Fat32 { 4 } else { 2 };
        let entries_in_piece = PIECE_LEN * 8 / bits;
        let end = self.cluster_count.saturating_add(FIRST_CLUSTER);
        let mut bytes = Vec::new();
        let mut free = 0u32;
        let mut start = 0u32;
        while start < end {
            check()?;
            let at = u64::from(start) * u64::from(bits) / 8;
            let len = self.len.saturating_sub(at).min(u64::from(PIECE_LEN));
            bytes.resize(usize::try_from(len).unwrap_or_default(), 0);
            storage.read_exact_at(&mut bytes, self.offset.saturating_add(at)).map_err(FatError::from)?;
            let next = end.min(start.saturating_add(entries_in_piece));
            for cluster in start.max(FIRST_CLUSTER)..next {
                let within = usize::try_from((cluster - start) * bits / 8).unwrap_or(usize::MAX);
                let entry = bytes.get(within..).and_then(|rest| rest.get(..width));
                let entry = entry.ok_or_else(|| FatError::not_fat("the allocation table ends early"))?;
                let raw = entry.iter().rev().fold(0, |raw, byte| raw << 8 | u32::from(*byte));
                free += u32::from(self.decode(cluster, raw) == Link::Free);
            }
            start = next;
        }
        Ok(free)
    }
}

/// A walk along one chain that ends, whatever the table says.
#[derive(Debug)]
pub(super) struct Chain {
    first: u32,
    current: u32,
    steps: u32,
    /// Brent's search for cycles: a cluster of the chain, replaced after 1, 2,
    /// 4, … steps. A walk that meets it again goes round. A cycle may have to
    /// be walked twice, so a file that ends earlier can hide one: it then has
    /// wrong data, which a guest can give it anyway.
    marker: u32,
    next_mark: u32,
}

impl Chain {
    /// The chain from a first cluster.
    pub fn new(table: &Table, first: u32) -> Result<Self, FatError> {
        if !table.has(first) {
            let damage = Damage::OutOfRange { cluster: first };
            return Err(FatError::damaged(damage, "first cluster of a chain"));
        }
        Ok(Self { first, current: first, steps: 0, marker: first, next_mark: 1 })
    }

    /// An error at the place that the walk has reached.
    pub fn damaged(&self, damage: Damage) -> FatError {
        FatError::damaged(damage, format!("chain from cluster {}, after {} steps", self.first, self.steps))
    }

    /// Goes on to the next cluster; `None` at the end of the chain.
    pub fn advance(&mut self, table: &Table, storage: &(impl ReadAt + ?Sized)) -> Result<Option<u32>, FatError> {
        let cluster = match table.link(storage, self.current)? {
            Link::End => return Ok(None),
            Link::Next(cluster) => cluster,
            Link::Free => {
                let cluster = self.current;
                return Err(self.damaged(Damage::FreeCluster { cluster }));
            }
            Link::Bad => {
                let cluster = self.current;
                return Err(self.damaged(Damage::BadCluster { cluster }));
            }
        };
        if !table.has(cluster) {
            return Err(self.damaged(Damage::OutOfRange { cluster }));
        }
        self.steps += 1;
        // The table may change on the way, so the marker alone is no bound.
        let met = cluster == self.marker || cluster == self.first;
        if met || self.steps >= table.cluster_count {
            return Err(self.damaged(Damage::Cycle));
        }
        if self.steps == self.next_mark {
            self.marker = cluster;
            self.next_mark = self.next_mark.saturating_mul(2);
        }
        self.current = cluster;
        Ok(Some(cluster))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(fat_type: FatType, cluster_count: u32) -> Table {
        Table { fat_type, offset: 0, len: fat_type.table_len(cluster_count), cluster_count, cache: Mutex::default() }
    }

    fn fat16(entries: &[u16]) -> Vec<u8> {
        entries.iter().flat_map(|e| e.to_le_bytes()).collect()
    }

    fn follow(bytes: &[u8], table: &Table, first: u32) -> Result<Vec<u32>, FatError> {
        let mut chain = Chain::new(table, first)?;
        let mut all = vec![first];
        while let Some(cluster) = chain.advance(table, bytes)? {
            all.push(cluster);
        }
        Ok(all)
    }

    #[test]
    fn entries_of_each_width() {
        // FAT12: entries 0..5 = FF8 FFF 003 FFF FF7 000
        let bytes = [0xF8, 0xFF, 0xFF, 0x03, 0xF0, 0xFF, 0xF7, 0x0F, 0x00];
        let narrow = table(FatType::Fat12, 4);
        let link = |cluster| narrow.link(bytes.as_slice(), cluster).unwrap();
        assert_eq!(link(2), Link::Next(3));
        assert_eq!(link(3), Link::End);
        assert_eq!(link(4), Link::Bad);
        assert_eq!(link(5), Link::Free);
        assert!(narrow.link(bytes.as_slice(), 6).is_err());
        assert!(narrow.link(bytes.as_slice(), 1).is_err());
        assert_eq!(count_free(&narrow, &bytes), 1);

        let wide = table(FatType::Fat32, 2);
        let bytes: Vec<u8> = [0, 0, 0xF000_0003u32, 0xFFFF_FFFF].iter().flat_map(|e| e.to_le_bytes()).collect();
        assert_eq!(follow(&bytes, &wide, 2).unwrap(), [2, 3]);
    }

    fn count_free(table: &Table, bytes: &[u8]) -> u32 {
        table.count_free(bytes, || Ok::<_, FatError>(())).unwrap()
    }

    /// As many as one look at each entry finds, and asked once for each piece.
    #[test]
    fn free_clusters_across_pieces() {
        for (fat_type, count) in [(FatType::Fat12, 4001), (FatType::Fat16, 60_001), (FatType::Fat32, 70_001)] {
            let table = table(fat_type, count);
            let len = usize::try_from(fat_type.table_len(count)).unwrap();
            // Runs of 9 bytes, of which some are not 0.
            let bytes: Vec<u8> = (0..len).map(|at| if (at / 9).pow(2) % 7 == 4 { 0x5a } else { 0 }).collect();
            let free = |cluster: &u32| table.link(bytes.as_slice(), *cluster).unwrap() == Link::Free;
            let expected = u32::try_from((2..count + 2).filter(free).count()).unwrap();
            assert!(expected > 0 && expected < count);
            let mut asked = 0;
            let counted = table.count_free(bytes.as_slice(), || {
                asked += 1;
                Ok::<_, FatError>(())
            });
            assert_eq!(counted.unwrap(), expected);
            assert_eq!(asked, len.div_ceil(96 << 10));
            let stopped = table.count_free(bytes.as_slice(), || Err(FatError::not_fat("stopped")));
            assert!(stopped.is_err());
        }
    }

    #[test]
    fn fat12_across_blocks() {
        // Every entry is its own successor; entry 2730 lies at 4095.
        let count = 4000;
        let mut bytes = vec![0u8; usize::try_from(FatType::Fat12.table_len(count)).unwrap()];
        for cluster in 2..count + 1 {
            let next = cluster + 1;
            let at = usize::try_from(cluster * 3 / 2).unwrap();
            let [low, high, ..] = if cluster % 2 == 1 { next << 4 } else { next }.to_le_bytes();
            bytes[at] |= low;
            bytes[at + 1] |= high;
        }
        let narrow = table(FatType::Fat12, count);
        for cluster in 2..count + 1 {
            let link = narrow.link(bytes.as_slice(), cluster).unwrap();
            assert_eq!(link, Link::Next(cluster + 1));
        }
    }

    #[test]
    fn bad_chains_end() {
        let table = table(FatType::Fat16, 8);
        let bytes = fat16(&[0xFFF8, 0xFFFF, 3, 4, 5, 3, 6, 0xFFF7, 0, 10]);
        let damage = |first| match follow(&bytes, &table, first) {
            Err(error @ FatError::Damaged { .. }) if !error.may_retry() => unreachable!(),
            Err(FatError::Damaged { damage, .. }) => damage,
            other => panic!("{other:?}"),
        };
        assert_eq!(damage(2), Damage::Cycle);
        assert_eq!(damage(6), Damage::Cycle);
        assert_eq!(damage(7), Damage::BadCluster { cluster: 7 });
        assert_eq!(damage(8), Damage::FreeCluster { cluster: 8 });
        assert_eq!(damage(9), Damage::OutOfRange { cluster: 10 });
        for cluster in [0, 1, 10, u32::MAX] {
            assert_eq!(damage(cluster), Damage::OutOfRange { cluster });
        }
    }
}
