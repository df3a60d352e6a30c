//! Several archives in one, which runs each in turn.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::{Read, Seek, Write};
use std::path::Path;

use rextfv_core::archive_rules::{ArchiveRules, ManifestLinkKind};
use rextfv_core::entry_path::displayable;
use rextfv_core::listing::Listing;
use rextfv_core::shared_directory::Content;

use super::builder::{Builder, Built};
use super::member::Members;
use super::packer::OutputFormat;
use super::reader::{ArchiveReader, Made};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};

/// Where what is ours is in a merged archive.
const OURS: &str = "nlxtp-merge";

/// What becomes of the archives after one whose start script has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterFailure {
    /// They are not run.
    #[default]
    Stop,
    /// They are run all the same.
    GoOn,
}

/// One of the archives in a merged one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its folder.
    pub folder: String,
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// The name of its start script, escaped for showing. Without one, nothing of it is run.
    pub start_script: Option<String>,
    /// Entries that were left out because their names belong to the protocol, escaped for showing.
    pub left_out: Listing<String>,
    /// What may keep its start script from running as it was meant, in words.
    pub warnings: Vec<String>,
}

/// Makes an archive of several archives. Its start script is a POSIX shell's and runs under any monitor;
/// each archive is run in a folder of its own, which is the shared directory to it.
pub struct Merger<'c, 'p, W: Write> {
    builder: Builder<'c, 'p, W>,
    control: &'c Control<'p>,
    rules: ArchiveRules,
    after_failure: AfterFailure,
    folders: Vec<String>,
}

impl<W: Write> fmt::Debug for Merger<'_, '_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merger").field("folders", &self.folders).finish_non_exhaustive()
    }
}

impl<'c, 'p, W: Write> Merger<'c, 'p, W> {
    /// Begins a merged archive for a target with these rules.
    ///
    /// # Errors
    /// As for [`Builder::new`].
    pub fn new(
        format: OutputFormat,
        sink: W,
        rules: ArchiveRules,
        after_failure: AfterFailure,
        control: &'c Control<'p>,
    ) -> Result<Self> {
        let mut builder = Builder::new(format, sink, rules, control)?;
        builder.bytes("auto_exec.sh", 0o755, 0, include_bytes!("scripts/merge.sh"))?;
        let set_status = format!("{OURS}/bin/archive_setstatus");
        builder.bytes(set_status, 0o755, 0, include_bytes!("scripts/set-status.sh"))?;
        Ok(Self { builder, control, rules, after_failure, folders: Vec::new() })
    }

    /// Adds an archive, which is run after those that were added before. Its folder's name is its number
    /// and what is usable of `name`.
    ///
    /// # Errors
    /// [`ErrorKind::BadArchive`] and [`ErrorKind::Refused`] as for an upload of this archive alone;
    /// [`ErrorKind::InvalidInput`] for one with an `nlxtp.toml`, which would not be obeyed; the merged one
    /// cannot be written; as the control says.
    pub fn add<R: Read + Seek>(&mut self, name: &Path, archive: R) -> Result<Part> {
        let mut reader = ArchiveReader::open(archive)?;
        let manifest = reader.examine(&self.rules, self.control)?;
        if reader.run_manifest().is_some() {
            let message = "it has an nlxtp.toml, which guests obey only at the top of an archive, not in a merged one";
            let hint = "pack it without nlxtp.toml, and let its start script do what that asks for, which a check of the archive tells";
            return Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint));
        }
        let folder = format!("{}-{}", self.folders.len() + 1, usable(name));
        let path_of = |path: &[u8]| [folder.as_bytes(), b"/", path].concat();
        let builder = &mut self.builder;
        reader.make_each(&manifest, self.control, &mut |made| match made {
            Made::Directory(directory) => {
                builder.add_directory(&path_of(directory.path.as_bytes()), directory.attributes)
            }
            Made::File(file, members) => {
                let path = path_of(file.path.as_bytes());
                builder.add_file(&path, file.attributes, file.size, &mut MemberContent(members))
            }
        })?;
        for link in &manifest.links {
            let path = path_of(link.path.as_bytes());
            match &link.kind {
                ManifestLinkKind::Symlink(target) => builder.add_symlink(&path, target, link.attributes)?,
                ManifestLinkKind::HardLink(existing) => {
                    builder.add_hard_link(&path, &path_of(existing.as_bytes()))?;
                }
                ManifestLinkKind::Copy { .. } => {
                    let message = "links are merged as links, not as copies of what they lead to";
                    return Err(Error::new(ErrorKind::InvalidInput, message).with_object(link.path.to_string()));
                }
            }
        }
        let part = Part {
            folder: folder.clone(),
            entries: manifest.entries(),
            bytes: manifest.total_bytes,
            start_script: manifest.start_script().map(displayable),
            warnings: reader.warnings().to_vec(),
            left_out: manifest.left_out,
        };
        self.folders.push(folder);
        Ok(part)
    }

    /// Completes the archive.
    ///
    /// # Errors
    /// As for [`Builder::finish`].
    pub fn finish(mut self) -> Result<Built> {
        let after_failure = match self.after_failure {
            AfterFailure::Stop => "stop",
            AfterFailure::GoOn => "go-on",
        };
        let parts: String = self.folders.iter().map(|folder| format!("part {folder}\n")).collect();
        let plan = format!("after-failure {after_failure}\n{parts}");
        self.builder.bytes(format!("{OURS}/plan"), 0o644, 0, plan.as_bytes())?;
        self.builder.finish()
    }
}

/// What of an archive's file name every shell and file system takes, without the format's ending.
fn usable(name: &Path) -> String {
    const ENDINGS: [&str; 7] = [".tar.gz", ".tar.zst", ".tar", ".tgz", ".tzst", ".zip", "."];
    const LONGEST: usize = 60;
    let name = name.file_name().unwrap_or_default().to_string_lossy();
    let name = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    let is_usable = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let name: String = name.chars().take(LONGEST).map(|letter| if is_usable(letter) { letter } else { '_' }).collect();
    // FAT takes no dot at the end.
    let name = name.trim_end_matches('.');
    if name.is_empty() || name == "-" { "archive".into() } else { name.into() }
}

struct MemberContent<'a>(&'a mut dyn Members);

impl Content for MemberContent<'_> {
    type Error = Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.0.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_harmless_names() {
        for (name, folder) in [
            ("/x/server.tar.gz", "server"),
            ("two words.zip", "two_words"),
            ("$(reboot).tar", "__reboot_"),
            ("größe.tar.zst", "gr__e"),
            ("..tar", "archive"),
            ("-", "archive"),
            ("a.tar.gz.tar", "a.tar.gz"),
            ("x.", "x"),
            ("", "archive"),
        ] {
            assert_eq!(usable(Path::new(name)), folder, "{name}");
        }
        assert_eq!(usable(Path::new(&"x".repeat(200))).len(), 60);
    }
}
