//! What all formats have in common: members one after the other, each with its content.

#![forbid(unsafe_code)]

use rextfv_core::archive_rules::{RawEntry, RawKind};

use crate::error::{Error, ErrorKind, Result};

/// An entry as it stands in an archive, unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) path: Vec<u8>,
    pub(super) kind: MemberKind,
    /// Bytes of content as the archive declares them.
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) modified: i64,
    pub(super) has_owner: bool,
}

/// [`RawKind`] with targets of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MemberKind {
    File,
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Device,
    Fifo,
    Sparse,
    Encrypted,
    Unknown,
}

impl Member {
    /// The member as the rules want to see it.
    pub(super) fn raw(&self) -> RawEntry<'_> {
        let kind = match &self.kind {
            MemberKind::File => RawKind::File,
            MemberKind::Directory => RawKind::Directory,
            MemberKind::Symlink(target) => RawKind::Symlink(target),
            MemberKind::HardLink(target) => RawKind::HardLink(target),
            MemberKind::Device => RawKind::Device,
            MemberKind::Fifo => RawKind::Fifo,
            MemberKind::Sparse => RawKind::Sparse,
            MemberKind::Encrypted => RawKind::Encrypted,
            MemberKind::Unknown => RawKind::Unknown,
        };
        RawEntry {
            path: &self.path,
            kind,
            size: self.size,
            mode: self.mode,
            modified: self.modified,
            has_owner: self.has_owner,
        }
    }
}

/// The members of an archive, in its order.
pub(super) trait Members {
    /// The next member, or `None` when the archive was read and verified to its very end. What is
    /// left of the content of the one before is read over, and verified too.
    fn next(&mut self) -> Result<Option<Member>>;

    /// Reads on in the content of the current member; 0 only when all of it was read and verified,
    /// or for an empty buffer.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize>;

    /// What was read: its length, and where there are two passes a checksum. The same archive gives
    /// the same.
    fn fingerprint(&self) -> Fingerprint;
}

/// How often an archive is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passes {
    One,
    Two,
}

/// What was read of an archive, to see whether the second pass reads the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) bytes: u64,
    pub(super) checksum: u32,
}

/// How much an archive may unpack to, headers and padding included, so that no archive keeps the
/// host busy much longer than its content could.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    left: u64,
    given: u64,
}

impl Budget {
    /// Allowed for headers, long names and padding, for each member that is met.
    const PER_MEMBER: u64 = 16 << 10;
    /// Allowed beside that: padding at the end, large extended headers.
    const SPARE: u64 = 16 << 20;

    /// A budget for this many bytes of content.
    pub(super) fn for_content(bytes: u64) -> Self {
        let left = bytes.saturating_add(Self::SPARE);
        Self { left, given: left }
    }

    /// A budget of exactly this many bytes, whatever the members.
    pub(super) fn exactly(bytes: u64) -> Self {
        Self { left: bytes, given: bytes }
    }

    /// One more member was met.
    pub(super) fn add_member(&mut self) {
        self.left = self.left.saturating_add(Self::PER_MEMBER);
        self.given = self.given.saturating_add(Self::PER_MEMBER);
    }

    /// Bytes were unpacked.
    pub(super) fn spend(&mut self, bytes: u64) -> Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| self.exceeded())?;
        Ok(())
    }

    fn exceeded(&self) -> Error {
        let message = format!("the archive unpacks to more than the {} bytes that the limits allow", self.given);
        Error::new(ErrorKind::BadArchive, message)
    }
}
