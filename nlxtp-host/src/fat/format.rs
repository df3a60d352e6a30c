//! The shape of a new file system.

use super::error::FatError;
use super::geometry::{FIRST_CLUSTER, FatType, Geometry, MAX_FAT12_CLUSTERS, MAX_FAT16_CLUSTERS, MAX_FAT32_CLUSTERS};
use super::names;

/// Bytes in a sector of a new file system.
pub(super) const SECTOR: u32 = 512;
/// Slots in a sector.
const SLOTS_PER_SECTOR: u32 = 16;
/// Sectors in 4 KiB. Larger volumes are aligned to it.
const PAGE: u32 = 8;
/// Distance from the limits between the types, where old drivers are off by a
/// few clusters (Microsoft, page 15, asks for 16).
const MARGIN: u32 = 16;

/// What a new file system shall be like.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FormatOptions {
    pub(super) label: [u8; 11],
    /// Serial number; should differ between volumes. The default is 0.
    pub volume_id: u32,
    /// Block of the disk at which the partition begins; 0 for a bare file
    /// system. The default is 0.
    pub hidden_sectors: u32,
    /// Seconds since 1970 for the label, and for directories without a time of
    /// their own. The default is 0, which FAT shows as 1980.
    pub timestamp: i64,
    /// Bytes in a cluster, instead of what suits the size.
    pub cluster_size: Option<u32>,
    /// The type, instead of what suits the size.
    pub fat_type: Option<FatType>,
}

impl FormatOptions {
    /// Options for a volume with this label, which is turned to upper case.
    /// It may be empty.
    ///
    /// # Errors
    /// [`FatError::BadName`] if it is no label.
    pub fn new(label: &str) -> Result<Self, FatError> {
        let label =
            names::encode_label(label).map_err(|problem| FatError::BadName { name: names::escape(label), problem })?;
        Ok(Self { label, volume_id: 0, hidden_sectors: 0, timestamp: 0, cluster_size: None, fat_type: None })
    }

    /// Whether there is a label at all.
    pub(super) fn has_label(&self) -> bool {
        self.label != [b' '; 11]
    }

    /// The possible shapes for a partition of `sectors`, the best first.
    ///
    /// `root_slots` are needed in the root directory.
    pub(super) fn shapes(&self, sectors: u32, root_slots: u32) -> Vec<Geometry> {
        let preferred = preferred(sectors);
        let types = [preferred.0, FatType::Fat16, FatType::Fat32, FatType::Fat12];
        // Smaller clusters waste less and may hold what the best does not.
        let sizes = (0..8).rev().map(|power| 1u32 << power);
        let mut shapes: Vec<Geometry> = Vec::new();
        for (nth, fat_type) in types.into_iter().enumerate() {
            if types.iter().take(nth).any(|before| *before == fat_type)
                || self.fat_type.is_some_and(|wanted| wanted != fat_type)
            {
                continue;
            }
            for size in [preferred.1].into_iter().chain(sizes.clone()) {
                let wanted = self.cluster_size.is_none_or(|bytes| bytes == size * SECTOR);
                let known = |shape: &Geometry| shape.fat_type == fat_type && shape.sectors_per_cluster == size;
                if wanted && !shapes.iter().any(known) {
                    shapes.extend(self.shape(fat_type, size, sectors, root_slots));
                }
            }
        }
        shapes
    }

    /// One shape, if it is possible.
    fn shape(&self, fat_type: FatType, sectors_per_cluster: u32, sectors: u32, root_slots: u32) -> Option<Geometry> {
        let (fewest, most) = match fat_type {
            FatType::Fat12 => (1, MAX_FAT12_CLUSTERS - MARGIN),
            FatType::Fat16 => (MAX_FAT12_CLUSTERS + MARGIN, MAX_FAT16_CLUSTERS - MARGIN),
            FatType::Fat32 => (MAX_FAT16_CLUSTERS + MARGIN, MAX_FAT32_CLUSTERS),
        };
        // Small volumes have one reserved sector, as floppies; FAT32 has room
        // for its backup. Else the data begin at a page.
        let (reserved_sectors, page) = match fat_type {
            FatType::Fat12 => (1, 1),
            FatType::Fat16 => (PAGE, PAGE),
            FatType::Fat32 => (32, PAGE),
        };
        let root_sectors = match fat_type {
            FatType::Fat32 => 0,
            _ => root_slots.max(512).div_ceil(SLOTS_PER_SECTOR).checked_next_multiple_of(page)?,
        };
        let root_entries = root_sectors * SLOTS_PER_SECTOR;
        if root_entries > u32::from(u16::MAX) {
            return None;
        }
        let available = sectors.checked_sub(reserved_sectors + root_sectors)?;
        let fat_sectors_for = |clusters: u32| -> Option<u32> {
            let sectors = fat_type.table_len(clusters).div_ceil(u64::from(SECTOR));
            // Both copies together fill pages.
            let sectors = sectors.checked_next_multiple_of(u64::from(page.div_ceil(2)))?;
            u32::try_from(sectors).ok()
        };
        let clusters_beside = |fat_sectors: u32| -> Option<u32> {
            let data = available.checked_sub(fat_sectors.checked_mul(2)?)?;
            Some(data / sectors_per_cluster)
        };
        // A table for more clusters than there can be is large enough. Make it
        // smaller as long as it stays so.
        let mut fat_sectors = fat_sectors_for(available / sectors_per_cluster)?;
        loop {
            let smaller = fat_sectors_for(clusters_beside(fat_sectors)?)?;
            let enough = fat_sectors_for(clusters_beside(smaller)?)? <= smaller;
            if smaller >= fat_sectors || !enough {
                break;
            }
            fat_sectors = smaller;
        }
        let cluster_count = clusters_beside(fat_sectors)?;
        if !(fewest..=most).contains(&cluster_count) {
            return None;
        }
        Some(Geometry {
            fat_type,
            bytes_per_sector: SECTOR,
            sectors_per_cluster,
            reserved_sectors,
            fats: 2,
            fat_sectors,
            root_entries,
            total_sectors: sectors,
            cluster_count,
            root_cluster: match fat_type {
                FatType::Fat32 => FIRST_CLUSTER,
                _ => 0,
            },
            active_fat: 0,
            hidden_sectors: self.hidden_sectors,
            volume_id: self.volume_id,
            label: match self.has_label() {
                true => self.label,
                false => *names::NO_LABEL,
            },
        })
    }
}

/// Type and sectors per cluster that suit a size: Microsoft's tables (pages 19
/// and 20), with FAT12 where these have nothing.
fn preferred(sectors: u32) -> (FatType, u32) {
    match sectors {
        0..=4000 => (FatType::Fat12, 1),
        4001..=8400 => (FatType::Fat12, 4),
        8401..=32_680 => (FatType::Fat16, 2),
        32_681..=262_144 => (FatType::Fat16, 4),
        262_145..=524_288 => (FatType::Fat16, 8),
        524_289..=1_048_576 => (FatType::Fat16, 16),
        1_048_577..=16_777_216 => (FatType::Fat32, 8),
        16_777_217..=33_554_432 => (FatType::Fat32, 16),
        33_554_433..=67_108_864 => (FatType::Fat32, 32),
        _ => (FatType::Fat32, 64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_valid_whatever_the_size() {
        let options = FormatOptions::new("X").unwrap();
        let sizes = (64..200_000).step_by(97).chain((200_000..u32::MAX).step_by(3_999_971)).chain([
            8400,
            8401,
            32_680,
            262_144,
            524_288,
            1_048_576,
            u32::MAX,
        ]);
        for sectors in sizes {
            for slots in [0, 513, 60_000] {
                let shapes = options.shapes(sectors, slots);
                assert!(slots > 513 || !shapes.is_empty(), "{sectors} {slots}");
                for shape in shapes {
                    let decoded = Geometry::decode(&shape.encode(), shape.total_bytes());
                    assert_eq!(decoded, Ok(shape.clone()));
                    assert!(shape.root_entries >= slots || shape.fat_type == FatType::Fat32);
                    if shape.fat_type != FatType::Fat12 {
                        assert_eq!(shape.metadata_bytes() % 4096, 0);
                    }
                }
            }
        }
    }

    #[test]
    fn usual_sizes() {
        let options = FormatOptions::new("X").unwrap();
        for (mib, fat_type, cluster) in [
            (1, FatType::Fat12, 512),
            (4, FatType::Fat12, 2048),
            (16, FatType::Fat16, 2048),
            (64, FatType::Fat16, 2048),
            (128, FatType::Fat16, 2048),
            (256, FatType::Fat16, 4096),
            (512, FatType::Fat16, 8192),
            (513, FatType::Fat32, 4096),
            (16_384, FatType::Fat32, 8192),
        ] {
            let shape = options.shapes(mib * 2048, 10).remove(0);
            assert_eq!((shape.fat_type, shape.cluster_size()), (fat_type, cluster));
        }
    }

    #[test]
    fn wishes_are_met_or_refused() {
        let mut options = FormatOptions::new("X").unwrap();
        options.fat_type = Some(FatType::Fat32);
        let shape = options.shapes(100 * 2048, 10).remove(0);
        assert_eq!(shape.fat_type, FatType::Fat32);
        options.cluster_size = Some(65_536);
        assert!(options.shapes(100 * 2048, 10).is_empty());
        options.cluster_size = Some(1000);
        assert!(options.shapes(100 * 2048, 10).is_empty());
    }
}
