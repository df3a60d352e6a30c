//! Where on a disk the file system lies: in partition 1 of a master boot
//! record, or bare from the first byte.

use super::boot_sector::{BOOT_SECTOR_LEN, SIGNATURE, chs_shape, put, u32_at};
use super::error::FatError;
use super::geometry::{FatType, Geometry};
use super::storage::{ReadAt, WriteAt};

/// First block of the only partition that [`write_mbr`] is usually asked for:
/// 1 MiB, what partitioning tools have used since disks have 4 KiB sectors.
pub const DEFAULT_FIRST_LBA: u32 = 2048;

/// Blocks are counted in 512 bytes.
const BLOCK: u64 = 512;
const TABLE_AT: usize = 446;
const ENTRY_LEN: usize = 16;

/// A piece of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// Finds the FAT file system of a disk.
///
/// A boot sector at the very beginning is a bare file system; else the disk
/// has to have a master boot record whose first partition is of a FAT type.
/// Other partitions are not looked at. Nothing is said yet about what is
/// inside the partition.
///
/// # Errors
/// [`FatError::NotFat`] with the reason; [`FatError::Io`].
pub fn locate(storage: &(impl ReadAt + ?Sized)) -> Result<Extent, FatError> {
    let len = storage.len()?;
    if len < BLOCK {
        return Err(FatError::not_fat("the disk is shorter than one block"));
    }
    let mut sector = [0; BOOT_SECTOR_LEN];
    storage.read_exact_at(&mut sector, 0)?;
    if sector[510..] != SIGNATURE {
        return Err(FatError::not_fat(
            "the first block has no signature 55 AA: neither partition table nor boot sector",
        ));
    }
    let Err(bare) = Geometry::decode(&sector, len) else {
        return Ok(Extent { offset: 0, len });
    };
    let kind = sector[TABLE_AT + 4];
    match kind {
        0x01 | 0x04 | 0x06 | 0x0B | 0x0C | 0x0E => {}
        0x00 => {
            let reason = format!("the disk has no partition 1, and is no file system as a whole: {bare}");
            return Err(FatError::not_fat(reason));
        }
        0xEE => {
            return Err(FatError::not_fat("the disk has a GPT; a master boot record is needed"));
        }
        _ => {
            return Err(FatError::not_fat(format!("partition 1 has the type {kind:#04x}, which is not a FAT type")));
        }
    }
    let first = u32_at(&sector, TABLE_AT + 8);
    let blocks = u32_at(&sector, TABLE_AT + 12);
    let extent = Extent { offset: u64::from(first) * BLOCK, len: u64::from(blocks) * BLOCK };
    if first == 0 || blocks == 0 || extent.offset + extent.len > len {
        return Err(FatError::not_fat("partition 1 does not lie between the first block and the end of the disk"));
    }
    Ok(extent)
}

/// Writes a master boot record with one partition, and no boot code.
///
/// The rest of the disk is left as it is. `partition_type` is what
/// [`partition_type`] gives.
///
/// # Errors
/// [`FatError::BadGeometry`] if the partition does not lie behind the first
/// block and before the end of the disk; [`FatError::Io`].
pub fn write_mbr(
    storage: &(impl WriteAt + ?Sized),
    first_lba: u32,
    sectors: u32,
    disk_signature: u32,
    partition_type: u8,
) -> Result<(), FatError> {
    let blocks = storage.len()? / BLOCK;
    let end = u64::from(first_lba) + u64::from(sectors);
    if first_lba == 0 || sectors == 0 || end > blocks {
        return Err(FatError::BadGeometry {
            reason: format!("a partition of {sectors} blocks from block {first_lba} on a disk of {blocks}"),
        });
    }
    let shape = chs_shape(u32::try_from(blocks).unwrap_or(u32::MAX));
    let mut entry = [0; ENTRY_LEN];
    entry[1..4].copy_from_slice(&chs(u64::from(first_lba), shape));
    entry[4] = partition_type;
    entry[5..8].copy_from_slice(&chs(end - 1, shape));
    entry[8..12].copy_from_slice(&first_lba.to_le_bytes());
    entry[12..16].copy_from_slice(&sectors.to_le_bytes());

    let mut sector = [0; BOOT_SECTOR_LEN];
    put(&mut sector, 440, &disk_signature.to_le_bytes());
    put(&mut sector, TABLE_AT, &entry);
    put(&mut sector, 510, &SIGNATURE);
    storage.write_all_at(&sector, 0)?;
    Ok(())
}

/// The type byte that belongs in the partition table for a file system.
#[must_use]
pub fn partition_type(fat_type: FatType) -> u8 {
    match fat_type {
        FatType::Fat12 => 0x01,
        // The types that say "addressed by block number".
        FatType::Fat16 => 0x0E,
        FatType::Fat32 => 0x0C,
    }
}

/// Head, sector and cylinder of a block; the last possible ones for blocks
/// beyond, which tells the reader to use the block number.
fn chs(block: u64, (sectors, heads): (u16, u16)) -> [u8; 3] {
    let sectors = u64::from(sectors);
    let heads = u64::from(heads);
    let cylinder = block / (sectors * heads);
    if cylinder > 1023 {
        return [254, 0xFF, 0xFF];
    }
    let head = block / sectors % heads;
    let sector = block % sectors + 1;
    // Two bits of the cylinder share a byte with the sector.
    let mixed = sector | (cylinder >> 8 << 6);
    [head, mixed, cylinder].map(|value| value.to_le_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fat::storage::MemoryStorage;

    fn reason(storage: &MemoryStorage) -> String {
        match locate(storage) {
            Err(error @ FatError::NotFat { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_written_is_found() {
        let disk = MemoryStorage::zeroed(4 << 20);
        write_mbr(&disk, 2048, 6144, 7, 0x0E).unwrap();
        let extent = Extent { offset: 1 << 20, len: 3 << 20 };
        assert_eq!(locate(&disk).unwrap(), extent);
        for (first, sectors) in [(0, 10), (2048, 0), (2048, 6145), (u32::MAX, u32::MAX)] {
            assert!(write_mbr(&disk, first, sectors, 7, 0x0E).is_err());
        }
    }

    #[test]
    fn other_disks_are_refused_with_a_reason() {
        let disk = MemoryStorage::zeroed(1 << 20);
        assert!(reason(&disk).contains("signature"));
        assert!(reason(&MemoryStorage::zeroed(100)).contains("shorter"));
        for (kind, word) in [(0x00, "no partition"), (0xEE, "GPT"), (0x83, "0x83")] {
            write_mbr(&disk, 1, 100, 7, kind).unwrap();
            assert!(reason(&disk).contains(word));
        }
        write_mbr(&disk, 1, 100, 7, 0x06).unwrap();
        for end in [[0xFF; 4], [0; 4]] {
            disk.write_all_at(&end, 446 + 12).unwrap();
            assert!(reason(&disk).contains("partition 1"));
        }
    }

    #[test]
    fn old_addresses() {
        assert_eq!(chs(2048, (63, 255)), [32, 33, 0]);
        assert_eq!(chs(u64::from(u32::MAX), (63, 255)), [254, 255, 255]);
        assert_eq!(chs(63 * 16 * 1023, (63, 16)), [0, 0xC1, 0xFF]);
    }
}
