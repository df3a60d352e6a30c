//! Archives: what an upload brings and what a download takes home.
//!
//! In come tar, tar.gz, tar.zst and zip, told apart by their first bytes; out go tar.gz, tar and
//! tar.zst. An archive is untrusted and is read twice: [`ArchiveReader::examine`] reads all of it,
//! to the last checksum, and decides what an upload will make; [`ArchiveReader::extract`] makes it.
//! Both stream: memory grows with the number of entries, never with their content.
//!
//! Framing and bounds of all formats are read by our own code, since an archive's metadata is where
//! the attacks are; the `tar` crate knows the fields of a header, `flate2` and `zstd` decompress.

pub mod format;
pub mod packer;
pub mod reader;

pub use format::Format;
pub use packer::{ChangedFile, DownloadReport, Listing, OutputFormat, Packer};
pub use reader::ArchiveReader;
