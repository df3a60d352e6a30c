//! Reading archives: in one pass, or in one that examines and one that extracts.

#![forbid(unsafe_code)]

use std::io::{Read, Seek};

use rextfv_core::archive_rules::{
    ArchiveRules, Judgement, Manifest, ManifestBuilder, ManifestDirectory, ManifestFile, ManifestLinkKind,
};
use rextfv_core::entry_path::{EntryPath, displayable};
use rextfv_core::limits::Limits;
use rextfv_core::run_manifest::RunManifest;
use rextfv_core::shared_directory::Replacement;

use super::format::{DETECTION_BYTES, Format};
use super::member::{Budget, Fingerprint, Member, MemberKind, Members, Passes};
use super::pipeline;
use super::preview::{Preview, Previewed};
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
    /// What was read when it was examined.
    examined: Option<Fingerprint>,
    warnings: Vec<String>,
    run: Option<RunManifest>,
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
        Ok(Self { source, format, examined: None, warnings: Vec::new(), run: None })
    }

    /// The archive's format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What may keep the start script from running as it was meant, in words; known when the archive
    /// was examined or unpacked.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What the archive asks for its run (`nlxtp.toml`); known when it was examined or unpacked.
    pub fn run_manifest(&self) -> Option<&RunManifest> {
        self.run.as_ref()
    }

    /// Gives the source back.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// Reads the whole archive, to the last checksum, and decides what an upload will make of it.
    /// Nothing is made.
    ///
    /// # Errors
    /// [`ErrorKind::BadArchive`] if the archive is truncated or corrupt, [`ErrorKind::Refused`]
    /// with all entries that the rules do not take. The messages name the entry; the caller, who
    /// knows the archive's name, adds it with [`Error::with_path`].
    pub fn examine(&mut self, rules: &ArchiveRules, control: &Control<'_>) -> Result<Manifest> {
        let step = |done, total| control.report(Progress::Examining { done, total });
        let mut preview = Preview::default();
        let budget = Budget::for_content(rules.limits.total_bytes);
        let members = self.members(&step, budget, rules.limits.entries, Passes::Two)?;
        let mut members = Previewed::new(members, &mut preview);
        let mut judge = Judge::new(rules);
        let mut chunk = vec![0; CHUNK];
        while let Some(member) = members.next()? {
            judge.add(&member);
            if judge.has_enough() {
                break;
            }
            while members.read(&mut chunk)? > 0 {}
        }
        let fingerprint = members.fingerprint();
        drop(members);
        let (manifest, run, warnings) = judge.finish(&preview, control)?;
        (self.run, self.warnings) = (run, warnings);
        self.examined = Some(fingerprint);
        Ok(manifest)
    }

    /// Makes what the manifest, which [`examine`](Self::examine) gave, lists. The replacement is not
    /// committed.
    ///
    /// # Errors
    /// [`ErrorKind::BadArchive`] if the archive was changed since it was examined, or whatever the
    /// replacement fails with.
    pub fn extract(
        &mut self,
        manifest: &Manifest,
        replacement: &mut (dyn Replacement<Error = Error> + Send),
        control: &Control<'_>,
    ) -> Result<()> {
        pipeline::run(replacement, &|| control.check(), |feed| {
            self.make_each(manifest, control, &mut |made| match made {
                Made::Directory(directory) => feed.directory(&directory.path, directory.attributes),
                Made::File(file, members) => feed.file(&file.path, file.attributes, file.size, members),
            })
        })?;
        make_links(manifest, replacement, control)
    }

    /// Reads the archive again, and hands on its directories and then its files.
    pub(super) fn make_each(
        &mut self,
        manifest: &Manifest,
        control: &Control<'_>,
        make: &mut dyn FnMut(Made<'_>) -> Result<()>,
    ) -> Result<()> {
        let examined = self.examined;
        let budget = examined
            .map_or(Budget::for_content(Limits::DEFAULT.total_bytes), |examined| Budget::exactly(examined.bytes));
        let step = |done, total| control.report(Progress::Extracting { done, total });
        let mut members = self.members(&step, budget, u64::MAX, Passes::Two)?;
        for directory in &manifest.directories {
            make(Made::Directory(directory))?;
        }
        let mut chunk = vec![0; CHUNK];
        let mut files = manifest.files.iter().peekable();
        let mut index = 0;
        while let Some(member) = members.next()? {
            if let Some(file) = files.next_if(|file| file.index == index) {
                check_same(&member, file)?;
                make(Made::File(file, &mut *members))?;
            }
            while members.read(&mut chunk)? > 0 {}
            index += 1;
        }
        if files.peek().is_some() || examined.is_some_and(|examined| examined != members.fingerprint()) {
            return Err(changed("it does not hold what it held before"));
        }
        Ok(())
    }

    /// Both in one: makes what the rules take while the archive is read, to its last checksum. The
    /// replacement is not committed, and after an error it is of no use.
    ///
    /// From the first refused entry on, nothing more is made, but the archive is read on.
    ///
    /// # Errors
    /// As for [`examine`](Self::examine), or whatever the replacement fails with.
    pub fn unpack(
        &mut self,
        rules: &ArchiveRules,
        replacement: &mut (dyn Replacement<Error = Error> + Send),
        control: &Control<'_>,
    ) -> Result<Manifest> {
        let step = |done, total| control.report(Progress::Extracting { done, total });
        let mut preview = Preview::default();
        let budget = Budget::for_content(rules.limits.total_bytes);
        let members = self.members(&step, budget, rules.limits.entries, Passes::One)?;
        let mut members = Previewed::new(members, &mut preview);
        let (manifest, run, warnings) = pipeline::run(replacement, &|| control.check(), |feed| {
            let mut judge = Judge::new(rules);
            let mut made = 0;
            let mut chunk = vec![0; CHUNK];
            while let Some(member) = members.next()? {
                let judgement = judge.add(&member);
                if judge.has_enough() {
                    break;
                }
                let so_far = judge.so_far();
                match judgement {
                    Judgement::Refused | Judgement::RefusedAtOnce => feed.stop(),
                    Judgement::Directory(known) if known < made => {
                        let directory = &so_far.directories[known];
                        feed.directory(&directory.path, directory.attributes)?;
                    }
                    Judgement::Directory(_) | Judgement::File(_) | Judgement::Link | Judgement::LeftOut => {}
                }
                for directory in &so_far.directories[made..] {
                    feed.directory(&directory.path, directory.attributes)?;
                }
                made = so_far.directories.len();
                if let Judgement::File(position) = judgement {
                    let file = &so_far.files[position];
                    feed.file(&file.path, file.attributes, file.size, &mut members)?;
                }
                while members.read(&mut chunk)? > 0 {}
            }
            let judged = judge.finish(members.preview(), control)?;
            let (manifest, ..) = &judged;
            // Copies of directories to which links lead have come to them.
            if manifest.directories.len() > made {
                for directory in &manifest.directories {
                    feed.directory(&directory.path, directory.attributes)?;
                }
            }
            Ok(judged)
        })?;
        drop(members);
        (self.run, self.warnings) = (run, warnings);
        make_links(&manifest, replacement, control)?;
        Ok(manifest)
    }

    /// Shows everything in the archive that a shared directory can hold, the protocol's own files
    /// included: for looking at a download. Nothing is judged but that it can be read, to the last
    /// checksum, within the limits.
    pub(crate) fn show(
        &mut self,
        limits: &Limits,
        control: &Control<'_>,
        see: &mut dyn FnMut(&EntryPath, Shown<'_>) -> Result<()>,
    ) -> Result<()> {
        let step = |done, total| control.report(Progress::Examining { done, total });
        let mut members = self.members(&step, Budget::for_content(limits.total_bytes), limits.entries, Passes::One)?;
        let mut met = 0;
        while let Some(member) = members.next()? {
            met += 1;
            if met > limits.entries {
                let message = format!("it has more than {} entries", limits.entries);
                return Err(Error::new(ErrorKind::BadArchive, message));
            }
            if member.size > limits.total_bytes {
                return Err(too_large(&member));
            }
            let parse = |path| {
                EntryPath::parse(path)
                    .map_err(|error| Error::new(ErrorKind::BadArchive, format!("\"{}\": {error}", displayable(path))))
            };
            let path = parse(&member.path)?;
            match &member.kind {
                MemberKind::File => see(&path, Shown::File(&mut |buffer| members.read(buffer)))?,
                MemberKind::Directory => see(&path, Shown::Directory)?,
                MemberKind::Symlink(target) => see(&path, Shown::Symlink(target))?,
                MemberKind::HardLink(existing) => see(&path, Shown::HardLink(&parse(existing)?))?,
                // No download holds any of these.
                MemberKind::Device
                | MemberKind::Fifo
                | MemberKind::Sparse
                | MemberKind::Encrypted
                | MemberKind::Unknown => {}
            }
        }
        Ok(())
    }

    fn members<'a>(
        &'a mut self,
        step: Step<'a>,
        budget: Budget,
        most_entries: u64,
        passes: Passes,
    ) -> Result<Box<dyn Members + 'a>> {
        let format = self.format;
        let source = Source::new(&mut self.source, step)?;
        Ok(match format {
            Format::Zip => Box::new(ZipMembers::new(source, budget, most_entries)?),
            Format::Tar | Format::TarGz | Format::TarZst => {
                Box::new(TarMembers::new(Unpacked::new(source, format, budget, passes)?))
            }
        })
    }
}

/// What an upload makes of an archive, links apart; see [`ArchiveReader::make_each`].
pub(super) enum Made<'a> {
    Directory(&'a ManifestDirectory),
    /// A file, whose content is the present member's.
    File(&'a ManifestFile, &'a mut dyn Members),
}

/// An entry of an archive, as [`ArchiveReader::show`] shows it.
pub(crate) enum Shown<'a> {
    /// A file, and how to read on in its content.
    File(&'a mut dyn FnMut(&mut [u8]) -> Result<usize>),
    Directory,
    Symlink(&'a [u8]),
    HardLink(&'a EntryPath),
}

/// What an upload makes of an archive, what the archive asks for its run, and warnings.
type Judged = (Manifest, Option<RunManifest>, Vec<String>);

/// Judges members, and notices when there is no use in reading on.
struct Judge {
    builder: ManifestBuilder,
    most_bytes: u64,
    refused_at_once: bool,
    too_large: Option<Error>,
}

impl Judge {
    fn new(rules: &ArchiveRules) -> Self {
        let most_bytes = rules.limits.total_bytes;
        Self { builder: ManifestBuilder::new(*rules), most_bytes, refused_at_once: false, too_large: None }
    }

    fn add(&mut self, member: &Member) -> Judgement {
        let judgement = self.builder.add(&member.raw());
        self.refused_at_once = judgement == Judgement::RefusedAtOnce;
        // Nobody reads over that much, even of what the rules do not count.
        if member.size > self.most_bytes {
            self.too_large = Some(too_large(member));
        }
        judgement
    }

    fn has_enough(&self) -> bool {
        self.refused_at_once || self.too_large.is_some()
    }

    fn so_far(&self) -> &Manifest {
        self.builder.so_far()
    }

    fn finish(mut self, preview: &Preview, control: &Control<'_>) -> Result<Judged> {
        let (run, warnings) = preview.judge(&mut self.builder);
        let manifest = self.builder.finish_watched(&|| control.check())?.map_err(Error::refused)?;
        self.too_large.map_or(Ok((manifest, run, warnings)), Err)
    }
}

fn make_links(
    manifest: &Manifest,
    replacement: &mut dyn Replacement<Error = Error>,
    control: &Control<'_>,
) -> Result<()> {
    for link in &manifest.links {
        control.check()?;
        match &link.kind {
            ManifestLinkKind::Symlink(target) => replacement.symlink(&link.path, target)?,
            ManifestLinkKind::HardLink(existing) => replacement.hard_link(&link.path, existing)?,
            ManifestLinkKind::Copy { existing, .. } => {
                replacement.copy(&link.path, existing, link.attributes, &|| control.check())?;
            }
        }
    }
    Ok(())
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
