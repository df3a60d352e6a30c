//! What a disk is: where its file system lies, and how much it holds.

use std::fs::File;

use serde::Serialize;

use super::disk_opening::locate;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::fat::{FatError, FatVolume, ReadAt, ReadLimits};

/// A disk as [`DiskImage::describe`](super::DiskImage::describe) found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiskDescription {
    /// Bytes of the whole disk.
    pub size: u64,
    /// Partition 1; `None` where the disk has no partition table.
    pub partition: Option<DiskPartition>,
    /// Whether an upload was cut off, or is under way. There is no file system then.
    pub unfinished: bool,
    /// The FAT file system; `None` only where an upload is unfinished.
    pub file_system: Option<FatDescription>,
}

/// Where a partition lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiskPartition {
    /// Its first byte, from the beginning of the disk.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
}

/// A FAT file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FatDescription {
    /// Bits of an entry in its allocation table: 12, 16 or 32.
    pub fat_bits: u32,
    /// Bytes in a cluster: a file takes whole ones.
    pub cluster_size: u32,
    /// The volume label: the root directory's, else the boot sector's.
    pub label: Option<String>,
    /// Serial number of the volume, 0 where it has none.
    pub serial: u32,
    /// Bytes in all clusters.
    pub capacity: u64,
    /// Bytes in the clusters that are free.
    pub free: u64,
}

impl DiskDescription {
    /// Looks at a disk. Its allocation table is read once, and of the directories only the root.
    pub(super) fn read(disk: &File, limits: ReadLimits, control: &Control<'_>) -> Result<Self> {
        let size = ReadAt::len(disk).map_err(|error| Error::io("look at the disk", error))?;
        let extent = locate(disk)?;
        // The first block holds the partition table, so no partition begins there.
        let partition = (extent.offset != 0).then_some(DiskPartition { offset: extent.offset, size: extent.len });
        let file_system = match FatVolume::open(disk, extent, limits) {
            Ok(volume) => Some(describe_volume(&volume, control)?),
            Err(FatError::Unfinished) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { size, partition, unfinished: file_system.is_none(), file_system })
    }
}

fn describe_volume(volume: &FatVolume<&File>, control: &Control<'_>) -> Result<FatDescription> {
    let geometry = volume.geometry();
    Ok(FatDescription {
        fat_bits: geometry.fat_type().bits(),
        cluster_size: geometry.cluster_size(),
        label: volume.label()?,
        serial: geometry.volume_id(),
        capacity: geometry.data_bytes(),
        free: volume.free_bytes_while(|| control.check())?,
    })
}
