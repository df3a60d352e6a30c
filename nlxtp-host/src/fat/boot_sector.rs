//! The boot sector: the [`Geometry`] of a file system, read and written.
//!
//! Field names and rules follow "FAT: General Overview of On-Disk Format",
//! version 1.03 (Microsoft), pages 7 to 15.

use super::error::FatError;
use super::geometry::{FatType, Geometry, MAX_FAT12_CLUSTERS, MAX_FAT16_CLUSTERS, MAX_FAT32_CLUSTERS, MEDIA};
use super::names::NO_LABEL;
use super::storage::ReadAt;
use super::writer::UNFINISHED;

/// Bytes of a boot sector that mean something, whatever the sector size.
pub(super) const BOOT_SECTOR_LEN: usize = 512;
/// Two bytes at the end of each boot sector.
pub(super) const SIGNATURE: [u8; 2] = [0x55, 0xAA];
impl Geometry {
    /// Reads and checks the boot sector at `offset`.
    ///
    /// # Errors
    /// [`FatError::NotFat`] with what is wrong; [`FatError::Unfinished`]; [`FatError::Io`].
    pub(super) fn read(storage: &(impl ReadAt + ?Sized), offset: u64, len: u64) -> Result<Self, FatError> {
        if len < BOOT_SECTOR_LEN as u64 {
            return Err(FatError::not_fat("it is shorter than a boot sector"));
        }
        let mut sector = [0; BOOT_SECTOR_LEN];
        storage.read_exact_at(&mut sector, offset)?;
        if sector.starts_with(UNFINISHED) {
            return Err(FatError::Unfinished);
        }
        Self::decode(&sector, len).map_err(FatError::not_fat)
    }

    /// Decodes a boot sector of a file system that may take `available` bytes.
    pub(super) fn decode(sector: &[u8; BOOT_SECTOR_LEN], available: u64) -> Result<Self, &'static str> {
        if sector[510..] != SIGNATURE {
            return Err("the boot sector has no signature 55 AA");
        }
        if !matches!(sector[0], 0xEB | 0xE9) {
            return Err("the boot sector does not begin with a jump");
        }
        let bytes_per_sector = u32::from(u16_at(sector, 11));
        if !matches!(bytes_per_sector, 512 | 1024 | 2048 | 4096) {
            return Err("the sector size is none of 512, 1024, 2048 and 4096");
        }
        let sectors_per_cluster = u32::from(sector[13]);
        if !sectors_per_cluster.is_power_of_two() {
            return Err("the sectors per cluster are no power of two");
        }
        let reserved_sectors = u32::from(u16_at(sector, 14));
        if reserved_sectors == 0 {
            return Err("there are no reserved sectors");
        }
        let fats = u32::from(sector[16]);
        if !(1..=4).contains(&fats) {
            return Err("the number of allocation tables is not between 1 and 4");
        }
        let root_entries = u32::from(u16_at(sector, 17));
        let total_sectors = match u16_at(sector, 19) {
            0 => u32_at(sector, 32),
            small => u32::from(small),
        };
        // Page 14 tells the types apart by the number of clusters alone. Linux
        // takes a 16-bit table size of 0 for FAT32 first, and `mkfs.vfat -F 32`
        // makes such file systems with few clusters; so do we.
        let wide = u16_at(sector, 22) == 0;
        let fat_sectors = match u16_at(sector, 22) {
            0 => u32_at(sector, 36),
            small => u32::from(small),
        };
        if fat_sectors == 0 {
            return Err("the allocation table has no sectors");
        }
        if total_sectors == 0 || u64::from(total_sectors) * u64::from(bytes_per_sector) > available {
            return Err("the file system is larger than its partition");
        }
        let root_sectors = (root_entries * 32).div_ceil(bytes_per_sector);
        let data_sectors = u64::from(fat_sectors)
            .checked_mul(u64::from(fats))
            .and_then(|fats| fats.checked_add(u64::from(reserved_sectors + root_sectors)))
            .and_then(|used| u64::from(total_sectors).checked_sub(used))
            .ok_or("the allocation tables do not leave room for data")?;
        let clusters = data_sectors / u64::from(sectors_per_cluster);
        // Not more than total_sectors, which has 32 bits.
        let cluster_count = u32::try_from(clusters).unwrap_or(u32::MAX);
        let fat_type = match cluster_count {
            0 => return Err("there is no cluster"),
            count if wide && count <= MAX_FAT32_CLUSTERS => FatType::Fat32,
            count if !wide && count <= MAX_FAT12_CLUSTERS => FatType::Fat12,
            count if !wide && count <= MAX_FAT16_CLUSTERS => FatType::Fat16,
            _ => return Err("there are too many clusters for the type"),
        };
        let mut geometry = Self {
            fat_type,
            bytes_per_sector,
            sectors_per_cluster,
            reserved_sectors,
            fats,
            fat_sectors,
            root_entries,
            total_sectors,
            cluster_count,
            root_cluster: 0,
            active_fat: 0,
            hidden_sectors: u32_at(sector, 28),
            volume_id: 0,
            label: *NO_LABEL,
        };
        if geometry.fat_len() < fat_type.table_len(cluster_count) {
            return Err("the allocation table is too small for the clusters");
        }
        let extended = if wide {
            geometry.decode_fat32(sector)?;
            64
        } else {
            if root_entries == 0 {
                return Err("the root directory has no entries");
            }
            36
        };
        // Extended boot signature: the serial number, and with 0x29 a label.
        if matches!(sector[extended + 2], 0x28 | 0x29) {
            geometry.volume_id = u32_at(sector, extended + 3);
        }
        if sector[extended + 2] == 0x29 {
            for (to, from) in geometry.label.iter_mut().zip(&sector[extended + 7..]) {
                *to = *from;
            }
        }
        Ok(geometry)
    }

    fn decode_fat32(&mut self, sector: &[u8; BOOT_SECTOR_LEN]) -> Result<(), &'static str> {
        if self.root_entries != 0 {
            return Err("FAT32 with a fixed root directory");
        }
        if u16_at(sector, 42) != 0 {
            return Err("a version of FAT32 that is not 0.0");
        }
        // Bit 7: only the table with the number in bits 0-3 is kept up.
        let flags = u16_at(sector, 40);
        if flags & 0x80 != 0 {
            self.active_fat = u32::from(flags & 0x0F);
        }
        if self.active_fat >= self.fats {
            return Err("the active allocation table does not exist");
        }
        self.root_cluster = u32_at(sector, 44);
        if self.cluster_offset(self.root_cluster).is_none() {
            return Err("the root directory lies outside the volume");
        }
        Ok(())
    }

    /// The boot sector of a file system that this module built.
    pub(super) fn encode(&self) -> [u8; BOOT_SECTOR_LEN] {
        let wide = self.fat_type == FatType::Fat32;
        let small_total = u16::try_from(self.total_sectors).ok().filter(|_| !wide);
        let (sectors_per_track, heads) = chs_shape(self.total_sectors);
        let mut sector = [0; BOOT_SECTOR_LEN];
        // Over the parameters, to two bytes that wait for ever.
        let code = if wide { 90u8 } else { 62 };
        put(&mut sector, 0, &[0xEB, code - 2, 0x90]);
        put(&mut sector, 3, b"MSWIN4.1");
        put(&mut sector, 11, &low_16(self.bytes_per_sector));
        put(&mut sector, 13, &low_16(self.sectors_per_cluster)[..1]);
        put(&mut sector, 14, &low_16(self.reserved_sectors));
        put(&mut sector, 16, &low_16(self.fats)[..1]);
        put(&mut sector, 17, &low_16(self.root_entries));
        put(&mut sector, 19, &small_total.unwrap_or(0).to_le_bytes());
        put(&mut sector, 21, &[MEDIA]);
        if !wide {
            put(&mut sector, 22, &low_16(self.fat_sectors));
        }
        put(&mut sector, 24, &sectors_per_track.to_le_bytes());
        put(&mut sector, 26, &heads.to_le_bytes());
        put(&mut sector, 28, &self.hidden_sectors.to_le_bytes());
        if small_total.is_none() {
            put(&mut sector, 32, &self.total_sectors.to_le_bytes());
        }
        let extended = if wide {
            put(&mut sector, 36, &self.fat_sectors.to_le_bytes());
            put(&mut sector, 44, &self.root_cluster.to_le_bytes());
            put(&mut sector, 48, &FS_INFO_SECTOR.to_le_bytes());
            put(&mut sector, 50, &BACKUP_SECTOR.to_le_bytes());
            64
        } else {
            36
        };
        put(&mut sector, extended, &[0x80, 0, 0x29]);
        put(&mut sector, extended + 3, &self.volume_id.to_le_bytes());
        put(&mut sector, extended + 7, &self.label);
        let name = match self.fat_type {
            FatType::Fat12 => b"FAT12   ",
            FatType::Fat16 => b"FAT16   ",
            FatType::Fat32 => b"FAT32   ",
        };
        put(&mut sector, extended + 18, name);
        put(&mut sector, usize::from(code), &[0xEB, 0xFE]);
        put(&mut sector, 510, &SIGNATURE);
        sector
    }
}

/// Where FAT32 keeps its hints about free clusters.
pub(super) const FS_INFO_SECTOR: u16 = 1;
/// Where FAT32 keeps a copy of its first sectors.
pub(super) const BACKUP_SECTOR: u16 = 6;

/// FAT32's hints: how many clusters are free, and where to look for one.
pub(super) fn fs_info(free: u32, next: u32) -> [u8; BOOT_SECTOR_LEN] {
    let mut sector = [0; BOOT_SECTOR_LEN];
    put(&mut sector, 0, b"RRaA");
    put(&mut sector, 484, b"rrAa");
    put(&mut sector, 488, &free.to_le_bytes());
    put(&mut sector, 492, &next.to_le_bytes());
    put(&mut sector, 510, &SIGNATURE);
    sector
}

/// Sectors per track and heads that a BIOS would report for a disk of this
/// size ("LBA assist" translation).
pub(super) fn chs_shape(sectors: u32) -> (u16, u16) {
    let heads = [16u16, 32, 64, 128].into_iter().find(|heads| u64::from(sectors) <= 1024 * 63 * u64::from(*heads));
    (63, heads.unwrap_or(255))
}

/// Copies `bytes` to `at`; what would lie outside is left off, and a test
/// sees that nothing does.
pub(super) fn put(sector: &mut [u8; BOOT_SECTOR_LEN], at: usize, bytes: &[u8]) {
    for (to, from) in sector.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

fn low_16(value: u32) -> [u8; 2] {
    let bytes = value.to_le_bytes();
    [bytes[0], bytes[1]]
}

pub(super) fn u16_at(sector: &[u8; BOOT_SECTOR_LEN], at: usize) -> u16 {
    match sector.get(at..) {
        Some([a, b, ..]) => u16::from_le_bytes([*a, *b]),
        _ => 0,
    }
}

pub(super) fn u32_at(sector: &[u8; BOOT_SECTOR_LEN], at: usize) -> u32 {
    match sector.get(at..) {
        Some([a, b, c, d, ..]) => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn fat16() -> Geometry {
        Geometry {
            fat_type: FatType::Fat16,
            bytes_per_sector: 512,
            sectors_per_cluster: 4,
            reserved_sectors: 8,
            fats: 2,
            fat_sectors: 64,
            root_entries: 512,
            total_sectors: 65_535,
            cluster_count: (65_535 - 8 - 128 - 32) / 4,
            root_cluster: 0,
            active_fat: 0,
            hidden_sectors: 2048,
            volume_id: 0x1234_5678,
            label: *b"NLXTP      ",
        }
    }

    fn fat32() -> Geometry {
        Geometry {
            fat_type: FatType::Fat32,
            reserved_sectors: 32,
            fat_sectors: 1000,
            root_entries: 0,
            total_sectors: 70_000,
            sectors_per_cluster: 1,
            cluster_count: 70_000 - 32 - 2000,
            root_cluster: 2,
            ..fat16()
        }
    }

    #[test]
    fn shapes_come_back() {
        for geometry in [fat16(), fat32()] {
            let sector = geometry.encode();
            let len = geometry.total_bytes();
            assert_eq!(Geometry::decode(&sector, len), Ok(geometry.clone()));
            assert!(Geometry::decode(&sector, len - 1).is_err());
        }
    }

    #[test]
    fn every_absurd_field_is_refused() {
        type Change = (usize, &'static [u8]);
        let both: &[Change] = &[
            (0, &[0]),
            (11, &[0, 0]),
            (11, &[0, 1]),
            (11, &[0, 32]),
            (11, &[1, 2]),
            (13, &[0]),
            (13, &[3]),
            (14, &[0, 0]),
            (16, &[0]),
            (16, &[5]),
            (16, &[255]),
            (510, &[0]),
        ];
        let narrow: &[Change] =
            &[(17, &[0, 0]), (14, &[255, 255]), (19, &[1, 0]), (19, &[0, 0]), (22, &[1, 0]), (22, &[255, 255])];
        let wide: &[Change] = &[
            (17, &[1, 0]),
            (32, &[0; 4]),
            (32, &[255; 4]),
            (36, &[0; 4]),
            (36, &[1, 0, 0, 0]),
            (36, &[255; 4]),
            (40, &[0x82, 0]),
            (42, &[1, 0]),
            (44, &[0; 4]),
            (44, &[1, 0, 0, 0]),
            (44, &[255; 4]),
        ];
        for (geometry, special) in [(fat16(), narrow), (fat32(), wide)] {
            for (at, bytes) in both.iter().chain(special) {
                let mut sector = geometry.encode();
                put(&mut sector, *at, bytes);
                let result = Geometry::decode(&sector, geometry.total_bytes());
                assert!(result.is_err(), "{at}: {bytes:?} gives {result:?}");
            }
        }
    }

    #[test]
    fn no_shape_reaches_beyond_its_partition() {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut accepted = 0;
        for round in 0..100_000 {
            let geometry = if round % 2 == 0 { fat16() } else { fat32() };
            let mut sector = geometry.encode();
            for _ in 0..=round % 3 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = 11 + usize::try_from(state % 40).unwrap();
                sector[at] = state.to_le_bytes()[5];
            }
            let available = geometry.total_bytes();
            let Ok(found) = Geometry::decode(&sector, available) else {
                continue;
            };
            accepted += 1;
            let last = found.cluster_offset(found.cluster_count + 1).unwrap();
            assert!(last + u64::from(found.cluster_size()) <= available);
            assert_eq!(found.cluster_offset(found.cluster_count + 2), None);
            assert!(found.fat_len() >= found.fat_type.table_len(found.cluster_count));
        }
        assert!(accepted > 100);
    }
}
