//! The shape of a file system: its type, its areas and where they lie.

use super::names;

/// "Fixed disk", also the first byte of the table.
pub(super) const MEDIA: u8 = 0xF8;
/// The first cluster of the data area.
pub(super) const FIRST_CLUSTER: u32 = 2;

/// More clusters than this, and it is no longer FAT12 (page 14).
pub(super) const MAX_FAT12_CLUSTERS: u32 = 4084;
/// More clusters than this, and it is no longer FAT16.
pub(super) const MAX_FAT16_CLUSTERS: u32 = 65_524;
/// Entries from 0x0FFF_FFF7 on have other meanings.
pub(super) const MAX_FAT32_CLUSTERS: u32 = 0x0FFF_FFF5;

/// The three widths of the allocation table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FatType {
    /// 12-bit entries, up to 4,084 clusters.
    Fat12,
    /// 16-bit entries, up to 65,524 clusters.
    Fat16,
    /// 32-bit entries.
    Fat32,
}

impl FatType {
    /// Bits of one entry in the table.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }

    /// Bytes that the table needs for so many clusters.
    pub(super) fn table_len(self, clusters: u32) -> u64 {
        let entries = u64::from(clusters) + u64::from(FIRST_CLUSTER);
        (entries * u64::from(self.bits())).div_ceil(8)
    }
}

/// The shape of a FAT file system, checked for contradictions.
///
/// It exists only in valid form, so its methods cannot overflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub(super) fat_type: FatType,
    pub(super) bytes_per_sector: u32,
    pub(super) sectors_per_cluster: u32,
    pub(super) reserved_sectors: u32,
    pub(super) fats: u32,
    pub(super) fat_sectors: u32,
    /// Slots of the fixed root directory; 0 for FAT32.
    pub(super) root_entries: u32,
    pub(super) total_sectors: u32,
    pub(super) cluster_count: u32,
    /// First cluster of the root directory; 0 if it is fixed.
    pub(super) root_cluster: u32,
    /// The table that counts; the others are copies.
    pub(super) active_fat: u32,
    pub(super) hidden_sectors: u32,
    pub(super) volume_id: u32,
    /// The label in the boot sector.
    pub(super) label: [u8; 11],
}

impl Geometry {
    /// Width of the allocation table.
    #[must_use]
    pub fn fat_type(&self) -> FatType {
        self.fat_type
    }

    /// Bytes in a sector.
    #[must_use]
    pub fn bytes_per_sector(&self) -> u32 {
        self.bytes_per_sector
    }

    /// Bytes in a cluster.
    #[must_use]
    pub fn cluster_size(&self) -> u32 {
        self.sectors_per_cluster * self.bytes_per_sector
    }

    /// Number of clusters for files and directories.
    #[must_use]
    pub fn cluster_count(&self) -> u32 {
        self.cluster_count
    }

    /// Bytes from the boot sector to the end.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.sectors(self.total_sectors)
    }

    /// Bytes for the data of files and directories.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        u64::from(self.cluster_count) * u64::from(self.cluster_size())
    }

    /// Bytes before the first cluster.
    #[must_use]
    pub fn metadata_bytes(&self) -> u64 {
        self.root_offset() + self.sectors(self.root_sectors())
    }

    /// Serial number of the volume.
    #[must_use]
    pub fn volume_id(&self) -> u32 {
        self.volume_id
    }

    /// Slots of the fixed root directory of FAT12 and FAT16, else 0.
    #[must_use]
    pub fn root_entries(&self) -> u32 {
        self.root_entries
    }

    /// Number of copies of the allocation table.
    #[must_use]
    pub fn fats(&self) -> u32 {
        self.fats
    }

    fn sectors(&self, count: u32) -> u64 {
        u64::from(count) * u64::from(self.bytes_per_sector)
    }

    pub(super) fn root_sectors(&self) -> u32 {
        (self.root_entries * 32).div_ceil(self.bytes_per_sector)
    }

    /// Where a copy of the table begins, from the boot sector.
    pub(super) fn fat_offset(&self, copy: u32) -> u64 {
        self.sectors(self.reserved_sectors) + u64::from(copy) * self.fat_len()
    }

    pub(super) fn fat_len(&self) -> u64 {
        self.sectors(self.fat_sectors)
    }

    /// Where the fixed root directory begins, or would.
    pub(super) fn root_offset(&self) -> u64 {
        self.fat_offset(self.fats)
    }

    /// Where a cluster begins, or `None` if there is none of this number.
    pub(super) fn cluster_offset(&self, cluster: u32) -> Option<u64> {
        let index = cluster.checked_sub(FIRST_CLUSTER)?;
        (index < self.cluster_count).then(|| self.metadata_bytes() + u64::from(index) * u64::from(self.cluster_size()))
    }

    /// The label, or `None` if the boot sector says that there is none.
    pub(super) fn label(&self) -> Option<String> {
        names::decode_label(&self.label)
    }
}
