//! What an upload will make.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::entry_path::EntryPath;
use crate::layout;
use crate::listing::Listing;
use crate::shared_directory::Attributes;

/// A file of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Where it goes.
    pub path: EntryPath,
    /// Mode and time.
    pub attributes: Attributes,
    /// Bytes of content.
    pub size: u64,
    /// Which entry of the archive it is, counted from 0.
    pub index: u64,
}

/// A directory of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestDirectory {
    /// Where it goes.
    pub path: EntryPath,
    /// Mode and time.
    pub attributes: Attributes,
}

/// A link of a [`Manifest`], or the copy that takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestLink {
    /// Where it goes.
    pub path: EntryPath,
    /// What is made of it.
    pub kind: ManifestLinkKind,
    /// Mode and time.
    pub attributes: Attributes,
}

/// What is made of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestLinkKind {
    /// A symbolic link with this target.
    Symlink(Box<[u8]>),
    /// Another name of a file of the manifest.
    HardLink(EntryPath),
    /// A copy of a file of the manifest.
    Copy {
        /// The file that is copied.
        existing: EntryPath,
        /// Its bytes.
        size: u64,
    },
}

/// What of an archive the target does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Lost {
    /// Entries whose mode the target cannot hold (all but 0755 on FAT), or that lose their
    /// set-user-id, set-group-id or sticky bit.
    pub modes: u64,
    /// Entries that belong to another user or group than root in the archive. Everything is given
    /// the owner of the shared directory.
    pub owners: u64,
}

/// What an upload will make: checked, and complete.
///
/// Where all of it is known beforehand, it is made in this order: directories (parents first), files
/// (in the archive's order), links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Directories, parents before what they hold; also those that the archive only implies.
    pub directories: Vec<ManifestDirectory>,
    /// Files in the archive's order.
    pub files: Vec<ManifestFile>,
    /// Links and the copies made of links.
    pub links: Vec<ManifestLink>,
    /// Entries that belong to the protocol and are left out, escaped for showing.
    pub left_out: Listing<String>,
    /// What the target does not keep.
    pub lost: Lost,
    /// Bytes of all files and copies together.
    pub total_bytes: u64,
}

impl Manifest {
    /// The name of the start script, if there is one.
    pub fn start_script(&self) -> Option<&[u8]> {
        let files = self.files.iter().map(|file| &file.path);
        let links = self.links.iter().map(|link| &link.path);
        layout::choose_start_script(files.chain(links).filter_map(top_level_name))
    }

    /// Directories, files and links together.
    pub fn entries(&self) -> u64 {
        (self.directories.len() + self.files.len() + self.links.len()) as u64
    }
}

pub(super) fn top_level_name(path: &EntryPath) -> Option<&[u8]> {
    let mut components = path.components();
    components.next().filter(|_| components.next().is_none())
}
