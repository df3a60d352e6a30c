//! Reading archives, in two passes.

#![forbid(unsafe_code)]

use std::io::{Read, Seek};

use rextfv_core::archive_rules::{ArchiveRules, Manifest};
use rextfv_core::shared_directory::Replacement;

use super::format::Format;
use crate::control::Control;
use crate::error::{Error, Result};

/// An archive that can be examined and extracted.
#[derive(Debug)]
pub struct ArchiveReader<R> {
    source: R,
    format: Format,
}

impl<R: Read + Seek> ArchiveReader<R> {
    /// Finds out what format the archive has.
    ///
    /// # Errors
    /// [`BadArchive`](crate::error::ErrorKind::BadArchive) if it is empty or of no known format.
    pub fn open(source: R) -> Result<Self> {
        Ok(Self { source, format: Format::Tar })
    }

    /// The archive's format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The first pass: reads the whole archive, to the last checksum, and decides what an upload
    /// will make of it.
    ///
    /// # Errors
    /// [`BadArchive`](crate::error::ErrorKind::BadArchive) if it is truncated or corrupt,
    /// [`Refused`](crate::error::ErrorKind::Refused) with all entries that the rules do not take.
    pub fn examine(&mut self, rules: &ArchiveRules, control: &Control<'_>) -> Result<Manifest> {
        let _ = (&mut self.source, rules, control);
        todo!()
    }

    /// The second pass: makes what the manifest, which the first pass gave, lists. The replacement
    /// is not committed.
    ///
    /// # Errors
    /// The archive was changed since the first pass, or the replacement failed.
    pub fn extract(
        &mut self,
        manifest: &Manifest,
        replacement: &mut dyn Replacement<Error = Error>,
        control: &Control<'_>,
    ) -> Result<()> {
        let _ = (manifest, replacement, control);
        todo!()
    }
}
