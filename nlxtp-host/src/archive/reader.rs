//! Reading archives, in two passes.

#![forbid(unsafe_code)]

use std::io::{Read, Seek};

use rextfv_core::archive_rules::{ArchiveRules, Manifest, ManifestBuilder, ManifestFile, ManifestLinkKind};
use rextfv_core::entry_path::{EntryPath, displayable};
use rextfv_core::limits::Limits;
use rextfv_core::shared_directory::{Content, Replacement};

use super::format::{DETECTION_BYTES, Format};
use super::member::{Budget, Fingerprint, Member, MemberKind, Members};
use super::source::{CHUNK, Source, Step, Unpacked};
use super::tar::TarMembers;
use super::zip::ZipMembers;
use crate::control::{Control, Progress};
use crate::error::{Error, ErrorKind, Result};

/// An archive that can be examined and extracted.
///
/// The source must not be changed meanwhile. If it is, [`extract`](Self::extract) fails.
#[derive(Debug)]
pub struct ArchiveReader<R> {
    source: R,
    format: Format,
    /// What the first pass read.
    examined: Option<Fingerprint>,
}

impl<R: Read + Seek> ArchiveReader<R> {
    /// Finds out what format the archive has.
    ///
    /// # Errors
    /// [`ErrorKind::BadArchive`] if it is empty or of no format that is taken;
    /// [`ErrorKind::Io`] and its like if it cannot be read.
    pub fn open(mut source: R) -> Result<Self> {
        let mut first = [0; DETECTION_BYTES];
        let read = Source::new(&mut source, &|_, _| Ok(()))?.fill(&mut first)?;
        let format = Format::detect(&first[..read])?;
        Ok(Self { source, format, examined: None })
    }

    /// The archive's format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Gives the source back.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// The first pass: reads the whole archive, to the last checksum, and decides what an upload
    /// will make of it.
    ///
    /// # Errors
    /// [`ErrorKind::BadArchive`] if the archive is truncated or corrupt, [`ErrorKind::Refused`]
    /// with all entries that the rules do not take. The messages name the entry; the caller, who
    /// knows the archive's name, adds it with [`Error::with_path`].
    pub fn examine(&mut self, rules: &ArchiveRules, control: &Control<'_>) -> Result<Manifest> {
        let mut builder = ManifestBuilder::new(*rules);
        let limits = &rules.limits;
        let step = |done, total| control.report(Progress::Examining { done, total });
        let mut members = self.members(&step, Budget::for_content(limits.total_bytes), limits.entries)?;
        let mut chunk = vec![0; CHUNK];
        let mut excess = None;
        while let Some(member) = members.next()? {
            let go_on = builder.add(&member.raw());
            // Nobody reads over that much, even of what the rules do not count.
            if !go_on || member.size > limits.total_bytes {
                excess = Some(too_large(&member));
                break;
            }
            while members.read(&mut chunk)? > 0 {}
        }
        let fingerprint = members.fingerprint();
        drop(members);
        let manifest = builder.finish().map_err(Error::refused)?;
        if let Some(error) = excess {
            return Err(error);
        }
        self.examined = Some(fingerprint);
        Ok(manifest)
    }

    /// The second pass: makes what the manifest, which [`examine`](Self::examine) gave, lists.
    /// The replacement is not committed.
    ///
    /// # Errors
    /// [`ErrorKind::BadArchive`] if the archive was changed since the first pass, or whatever the
    /// replacement fails with.
    pub fn extract(
        &mut self,
        manifest: &Manifest,
        replacement: &mut dyn Replacement<Error = Error>,
        control: &Control<'_>,
    ) -> Result<()> {
        let examined = self.examined;
        let budget = examined
            .map_or(Budget::for_content(Limits::DEFAULT.total_bytes), |examined| Budget::exactly(examined.bytes));
        let step = |done, total| control.report(Progress::Extracting { done, total });
        let mut meter = Meter { step: &step, done: 0, total: manifest.total_bytes };
        meter.advance(0)?;
        for directory in &manifest.directories {
            control.check()?;
            replacement.directory(&directory.path, directory.attributes)?;
        }
        let check = |_, _| control.check();
        let mut members = self.members(&check, budget, u64::MAX)?;
        let mut chunk = vec![0; CHUNK];
        let mut files = manifest.files.iter().peekable();
        let mut index = 0;
        while let Some(member) = members.next()? {
            if let Some(file) = files.next_if(|file| file.index == index) {
                check_same(&member, file)?;
                let mut content = MemberContent { members: &mut *members, meter: &mut meter };
                replacement.file(&file.path, file.attributes, file.size, &mut content)?;
            }
            while members.read(&mut chunk)? > 0 {}
            index += 1;
        }
        if files.peek().is_some() || examined.is_some_and(|examined| examined != members.fingerprint()) {
            return Err(changed("it does not hold what it held before"));
        }
        for link in &manifest.links {
            control.check()?;
            match &link.kind {
                ManifestLinkKind::Symlink(target) => replacement.symlink(&link.path, target)?,
                ManifestLinkKind::HardLink(existing) => replacement.hard_link(&link.path, existing)?,
                ManifestLinkKind::Copy { existing, size } => {
                    replacement.copy(&link.path, existing, link.attributes)?;
                    meter.advance(*size)?;
                }
            }
        }
        Ok(())
    }

    fn members<'a>(&'a mut self, step: Step<'a>, budget: Budget, most_entries: u64) -> Result<Box<dyn Members + 'a>> {
        let format = self.format;
        let source = Source::new(&mut self.source, step)?;
        Ok(match format {
            Format::Zip => Box::new(ZipMembers::new(source, budget, most_entries)?),
            Format::Tar | Format::TarGz | Format::TarZst => {
                Box::new(TarMembers::new(Unpacked::new(source, format, budget)?))
            }
        })
    }
}

fn too_large(member: &Member) -> Error {
    let message = format!("\"{}\" has {} bytes, more than the limits allow", displayable(&member.path), member.size);
    Error::new(ErrorKind::BadArchive, message)
}

/// Whether a member is still what the first pass saw.
fn check_same(member: &Member, file: &ManifestFile) -> Result<()> {
    let same = member.kind == MemberKind::File
        && member.size == file.size
        && EntryPath::parse(&member.path).is_ok_and(|path| path == file.path);
    if same { Ok(()) } else { Err(changed(&format!("\"{}\" is not where it was", file.path))) }
}

fn changed(what: &str) -> Error {
    Error::new(ErrorKind::BadArchive, format!("the archive was changed while it was uploaded: {what}"))
        .with_hint("try again when nobody writes it")
}

/// Counts the content that was extracted.
struct Meter<'a> {
    step: Step<'a>,
    done: u64,
    total: u64,
}

impl Meter<'_> {
    fn advance(&mut self, bytes: u64) -> Result<()> {
        self.done += bytes;
        (self.step)(self.done, self.total)
    }
}

/// The content of a member, for a replacement.
struct MemberContent<'a, 'm> {
    members: &'a mut (dyn Members + 'm),
    meter: &'a mut Meter<'m>,
}

impl Content for MemberContent<'_, '_> {
    type Error = Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.members.read(buffer)?;
        self.meter.advance(read as u64)?;
        Ok(read)
    }
}
