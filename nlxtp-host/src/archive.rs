//! Archives: what an upload brings and what a download takes home.
//!
//! In come tar, tar.gz, tar.zst and zip, told apart by their first bytes; out go tar.gz, tar and
//! tar.zst. An archive is untrusted: [`ArchiveReader::unpack`] makes what the rules take while it
//! reads all of it, to the last checksum, and until then nobody may see what was made. Where that
//! cannot be, [`ArchiveReader::examine`] reads the archive and decides, and
//! [`ArchiveReader::extract`] reads it again. All stream: memory grows with the number of entries,
//! never with their content.
//!
//! Framing and bounds of all formats are read by our own code, since an archive's metadata is where
//! the attacks are; `flate2` and `zstd` decompress, `libdeflate` and `zstd` compress, and the `tar`
//! crate's headers are used in packing.

pub mod builder;
mod deflate_blocks;
mod encoder;
pub mod files;
pub mod format;
mod gzip_encoder;
mod member;
pub mod merge;
pub mod packer;
mod pipeline;
mod preview;
pub mod reader;
mod source;
mod tar;
mod tar_header;
mod zip;
mod zip_directory;

pub use format::Format;
pub use packer::{OutputFormat, Packer, default_threads};
pub use reader::ArchiveReader;
