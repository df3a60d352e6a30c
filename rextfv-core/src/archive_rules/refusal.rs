//! Why entries of an archive are refused.

use alloc::string::String;

use crate::entry_path::InvalidPath;
use crate::fat_names::FatNameProblem;
#[cfg(doc)]
use crate::limits::Limits;
use crate::run_manifest::ManifestProblem;

/// Why an entry is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The path is absolute, leads upwards or holds a NUL byte.
    #[error("{0}")]
    Path(#[from] InvalidPath),
    /// The archive's top directory is given as something else than a directory.
    #[error("it stands for the shared directory itself but is no directory")]
    RootNotDirectory,
    /// More entries than [`Limits::entries`].
    #[error("the archive has more than {0} entries")]
    TooManyEntries(u64),
    /// The files are together larger than [`Limits::total_bytes`].
    #[error("the content is larger than {0} bytes unpacked")]
    TotalTooLarge(u64),
    /// Paths and link targets are together longer than [`Limits::names_bytes`].
    #[error("the names are together longer than {0} bytes")]
    NamesTooLong(u64),
    /// A file is larger than [`Limits::file_bytes`].
    #[error("the file is larger than {0} bytes")]
    FileTooLarge(u64),
    /// A path is longer than [`Limits::path_bytes`].
    #[error("the path is longer than {0} bytes")]
    PathTooLong(usize),
    /// A component is longer than the 255 bytes that Linux takes.
    #[error("a name in the path is longer than 255 bytes")]
    NameTooLong,
    /// A path has more components than [`Limits::depth`].
    #[error("the path has more than {0} components")]
    TooDeep(usize),
    /// The same path was there before.
    #[error("the same path appears more than once")]
    Duplicate,
    /// The path leads through, or stands for, both a directory and something else.
    #[error("\"{0}\" is a directory for one entry and something else for another")]
    NotADirectory(String),
    /// Devices are never made from an archive.
    #[error("it is a device")]
    Device,
    /// Named pipes are never made from an archive.
    #[error("it is a named pipe")]
    Fifo,
    /// Sparse members are not understood.
    #[error("it is a sparse member; pack again without sparse members")]
    Sparse,
    /// Encrypted members cannot be read.
    #[error("it is encrypted; pack again without a password")]
    Encrypted,
    /// A type of entry that this program does not know.
    #[error("it is of an unknown type")]
    Unknown,
    /// A link's target is empty or longer than 4095 bytes.
    #[error("the link's target is empty or too long")]
    LinkTarget,
    /// A link's target is not a file (or, for a symbolic link, a directory) in the archive.
    #[error("the link's target \"{0}\" is not in the archive before it")]
    LinkTargetMissing(String),
    /// A link leads out of the archive.
    #[error("the link's target \"{0}\" lies outside the archive")]
    LinkEscapes(String),
    /// Links lead to each other, or to a directory that holds them.
    #[error("the link leads back to itself or to a directory that holds it")]
    LinkLoop,
    /// FAT has no symbolic links.
    #[error("FAT has no symbolic links")]
    SymlinkOnFat,
    /// FAT has no hard links.
    #[error("FAT has no hard links")]
    HardLinkOnFat,
    /// FAT cannot hold a name in the path.
    #[error("{0}")]
    FatName(#[from] FatNameProblem),
    /// FAT takes the path for the same as another one's.
    #[error("FAT does not tell it apart from \"{0}\"")]
    CaseCollision(String),
    /// FAT takes the name for one that guests look for, and guests do not.
    #[error("FAT does not tell it apart from \"{0}\", which guests know in small letters only; spell it so")]
    Capitals(String),
    /// The place of `nlxtp.toml` is taken by something that guests do not read.
    #[error("it is a directory or a link, and guests start nothing then; pack it as a file of its own")]
    ManifestNoFile,
    /// What the archive asks for its run cannot be understood.
    #[error("{0}")]
    RunManifest(#[from] ManifestProblem),
    /// It names a command to start, and there is nothing by which a guest would notice the archive.
    #[error(
        "it says what to start, but guests start nothing without an auto_exec.* at the archive's top; add one, such as an auto_exec.sh that does the same for guests that do not know nlxtp.toml"
    )]
    NothingToStart,
}

/// One refused entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The path as the archive spells it, escaped for showing.
    pub entry: String,
    /// Why it is refused.
    pub reason: RefusalReason,
}
