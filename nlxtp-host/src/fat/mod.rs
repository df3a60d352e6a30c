//! FAT file systems in user space: a reader for hostile ones, a builder for
//! fresh ones.
//!
//! A virtual machine's shared directory is a FAT file system on a disk image.
//! An upload replaces everything in it, so the host needs no driver that
//! changes a file system in place:
//!
//! - [`FatVolume`] reads. The guest owns every byte and may change it at any
//!   moment, so nothing is believed: each operation is bounded, and ends with a
//!   result or a [`FatError`]; [`FatError::may_retry`] says when a guest that
//!   is writing could be the cause.
//! - [`Plan`] takes the tree that is wanted, as far as it is known, [`Layout`]
//!   says where everything will lie and whether it fits, [`Writer`] streams the
//!   data, and takes more files as they come. Each file and directory lies in
//!   one piece, but for a large root directory of FAT32, which lies in two.
//! - [`locate`] and [`write_mbr`] deal with the partition table.
//!
//! What it does not do: change a file system in place, read exFAT or GPT,
//! repair, write short names outside ASCII, or use a code page other than 437
//! for short names without a long one.
//!
//! Sources: Microsoft, "FAT: General Overview of On-Disk Format", version 1.03
//! (2000), and where practice differs from it, what Linux, mtools and
//! dosfstools agree on.
//!
//! # Examples
//! ```
//! use nlxtp_host::fat::{
//!     FatVolume, FormatOptions, MemoryStorage, Plan, ReadLimits, Target, locate,
//! };
//!
//! let mut plan = Plan::new(FormatOptions::new("NLXTP")?, 1 << 20)?;
//! plan.add_file("data/hello.txt", 5, 1_700_000_000)?;
//! let layout = plan.finish()?;
//!
//! let disk = MemoryStorage::zeroed(1 << 20);
//! let mut writer = layout.writer(&disk, 0, Target::Zeroed)?;
//! writer.write_file(&mut &b"hello"[..])?;
//! writer.finish()?;
//!
//! let volume = FatVolume::open(&disk, locate(&disk)?, ReadLimits::default())?;
//! let entry = volume.lookup("data/hello.txt")?;
//! assert_eq!(volume.read_file(&entry, 100)?, b"hello");
//! # Ok::<(), nlxtp_host::fat::FatError>(())
//! ```

#![forbid(unsafe_code)]

mod boot_sector;
mod directory;
mod error;
mod file;
mod format;
mod geometry;
mod layout;
mod names;
mod partition;
mod plan;
mod short_names;
mod slot;
mod storage;
mod stream;
mod table;
mod time;
mod tree;
mod volume;
mod walk;
mod writer;

pub use directory::{DirListing, Directory, Entry, LeftOut};
pub use error::{Damage, FatError, WrongLength};
pub use file::FileReader;
pub use format::FormatOptions;
pub use geometry::{FatType, Geometry};
pub use layout::{Layout, PlannedFile};
pub use names::NameProblem;
pub use partition::{DEFAULT_FIRST_LBA, Extent, locate, partition_type, write_mbr};
pub use plan::Plan;
pub use storage::{MemoryStorage, ReadAt, WriteAt};
pub use tree::FileIndex;
pub use volume::{FatVolume, ReadLimits};
pub use walk::{Walk, WalkItem};
pub use writer::{Target, UNFINISHED, Writer};
