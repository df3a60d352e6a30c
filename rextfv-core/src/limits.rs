//! Bounds on what an archive or a shared directory may hold.

/// Bounds on the content of an archive or of a shared directory.
///
/// The defaults are far above what people upload, and low enough that reaching them costs the host
/// neither its memory nor its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most entries (files, directories and links together). Each costs the host some hundred
    /// bytes of memory.
    pub entries: u64,
    /// Most bytes of all files together, unpacked.
    pub total_bytes: u64,
    /// Most bytes of one file.
    pub file_bytes: u64,
    /// Longest path, in bytes; Linux takes 4095.
    pub path_bytes: usize,
    /// Most components of a path.
    pub depth: usize,
}

impl Limits {
    /// The bounds used unless others are given: a million entries, 64 GiB, paths of 4095 bytes,
    /// 128 levels.
    pub const DEFAULT: Self =
        Self { entries: 1_000_000, total_bytes: 64 << 30, file_bytes: 64 << 30, path_bytes: 4095, depth: 128 };

    /// Most bytes of all paths and link targets together: 256 for each entry, far more than is
    /// usual, since a million of the longest paths would fill the host's memory.
    pub const fn names_bytes(&self) -> u64 {
        self.entries.saturating_mul(256).saturating_add(64 << 10)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
