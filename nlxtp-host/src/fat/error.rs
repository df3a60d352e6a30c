//! What can go wrong while reading or building a FAT file system.

use std::fmt;
use std::io;

use super::names::NameProblem;

/// Why an operation on a FAT file system failed.
///
/// Paths and names in the messages may come from a guest; they never contain
/// control characters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FatError {
    /// There is no FAT file system that this module reads.
    #[error("not a usable FAT file system: {reason}")]
    NotFat {
        /// What speaks against it.
        reason: String,
    },
    /// An upload in place was cut off there, or is under way; see
    /// [`UNFINISHED`](super::UNFINISHED).
    #[error("the file system is being written, or that was cut off")]
    Unfinished,
    /// The file system contradicts itself, because it is damaged, forged, or
    /// being written at this moment.
    #[error("the FAT file system contradicts itself: {damage} ({place})")]
    Damaged {
        /// The contradiction.
        damage: Damage,
        /// Where it was found.
        place: String,
    },
    /// A limit of [`ReadLimits`](super::ReadLimits) or of FAT itself was
    /// exceeded.
    #[error("{place}: more than {limit} {what}")]
    Limit {
        /// What is limited, with its unit.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// Where it was exceeded.
        place: String,
    },
    /// No entry has this path.
    #[error("'{path}' does not exist in the FAT file system")]
    NotFound {
        /// The path asked for.
        path: String,
    },
    /// A directory was wanted here.
    #[error("'{path}' is not a directory")]
    NotADirectory {
        /// The path asked for.
        path: String,
    },
    /// A file was wanted here.
    #[error("'{path}' is not a file")]
    NotAFile {
        /// The path or name asked for.
        path: String,
    },
    /// FAT cannot hold this name.
    #[error("'{name}' cannot be stored in a FAT file system: {problem}")]
    BadName {
        /// The name or path, escaped.
        name: String,
        /// What is wrong with it.
        problem: NameProblem,
    },
    /// The plan already holds an entry of this name; FAT ignores case.
    #[error("'{path}' and '{other}' are one name in a FAT file system")]
    Exists {
        /// The path to be added.
        path: String,
        /// The path that is there.
        other: String,
    },
    /// The content does not fit.
    #[error("the content needs {needed} bytes, but the partition has {available}")]
    TooSmall {
        /// Length in bytes that the partition would have to have, at least.
        needed: u64,
        /// Length in bytes that it has.
        available: u64,
    },
    /// No FAT file system can have this shape.
    #[error("impossible shape of a FAT file system: {reason}")]
    BadGeometry {
        /// Why not.
        reason: String,
    },
    /// A file's data are not as long as the plan said.
    #[error("'{path}' was planned with {planned} bytes, but its data are {found}")]
    WrongLength {
        /// The file's path.
        path: String,
        /// Bytes that the plan has for it.
        planned: u64,
        /// What came instead.
        found: WrongLength,
    },
    /// Files were not written in the order of the plan, or not all of them.
    #[error("files must be written in the order of the plan: {reason}")]
    WrongOrder {
        /// What was wrong.
        reason: String,
    },
    /// The storage failed.
    #[error("storage: {0}")]
    Io(#[from] io::Error),
}

impl FatError {
    /// Whether a guest that is writing at this moment could be the cause, so
    /// that opening the volume again and repeating may succeed.
    ///
    /// A wrong boot sector is not among them: a guest has no reason to touch
    /// it while the file system is mounted.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    pub(super) fn not_fat(reason: impl Into<String>) -> Self {
        Self::NotFat { reason: reason.into() }
    }

    pub(super) fn damaged(damage: Damage, place: impl Into<String>) -> Self {
        Self::Damaged { damage, place: place.into() }
    }
}

/// A contradiction inside a FAT file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// A cluster chain comes back to itself.
    Cycle,
    /// A cluster chain ends before the size of its file is reached.
    ShortChain,
    /// A cluster number lies outside the volume.
    OutOfRange {
        /// The number.
        cluster: u32,
    },
    /// A chain leads to a cluster that is marked free.
    FreeCluster {
        /// Its number.
        cluster: u32,
    },
    /// A chain leads to a cluster that is marked bad.
    BadCluster {
        /// Its number.
        cluster: u32,
    },
    /// A file is larger than the volume.
    OversizedFile,
    /// A directory is reached twice: it contains itself or has two parents.
    SharedDirectory {
        /// Its first cluster.
        cluster: u32,
    },
    /// The files together claim more clusters than there are.
    SharedClusters,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cycle => f.write_str("a cluster chain comes back to itself"),
            Self::ShortChain => f.write_str("a cluster chain ends before its file does"),
            Self::OutOfRange { cluster } => {
                write!(f, "cluster {cluster} lies outside the volume")
            }
            Self::FreeCluster { cluster } => {
                write!(f, "cluster {cluster} is in use and marked free")
            }
            Self::BadCluster { cluster } => {
                write!(f, "cluster {cluster} is in use and marked bad")
            }
            Self::OversizedFile => f.write_str("a file is larger than the volume"),
            Self::SharedDirectory { cluster } => {
                write!(f, "the directory at cluster {cluster} contains itself or has two parents")
            }
            Self::SharedClusters => f.write_str("the files together claim more clusters than there are"),
        }
    }
}

/// How a file's data differ from its planned length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongLength {
    /// They ended after this many bytes.
    Shorter(u64),
    /// There were more.
    Longer,
}

impl fmt::Display for WrongLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shorter(len) => write!(f, "{len}"),
            Self::Longer => f.write_str("more"),
        }
    }
}
