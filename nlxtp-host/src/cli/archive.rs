//! `nlxtp archive`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use nlxtp_host::archive::ArchiveReader;
use rextfv_core::archive_rules::{ArchiveRules, LinkPolicy, Lost, Manifest};
use rextfv_core::entry_path::displayable;
use rextfv_core::limits::Limits;
use rextfv_core::listing::Listing;
use rextfv_core::run_manifest::RunManifest;
use rextfv_core::shared_directory::Representation;
use serde::Serialize;

use super::archive_create::Create;
use super::archive_file;
use super::archive_merge::Merge;
use super::archive_show::Show;
use super::failure::{Failure, exit};
use super::manifest::{ManifestJson, show_manifest};
use super::options::{LimitOptions, LinkOption};
use super::output::{print, print_json};
use super::package_steps::{Installer, Probe};
use super::packages::Packages;
use super::progress::Meter;
use super::session::Session;
use super::units::{show_count, show_size};
use super::upload::{show_left_out, show_losses, show_start_script, show_warnings};

const EXAMPLE: &str = "\
All of the archive is read, and every entry that an upload would refuse is listed with the reason. What \
may keep the start script from running as it was meant (no interpreter line, Windows line ends) is told \
as a warning. What the archive's nlxtp.toml asks for its run is listed; of the environment the names only.

Example:
  nlxtp archive check experiment.tar.gz --for fat
  nlxtp archive check experiment.zip --for fat --follow-links --json";

/// Make archives, look at them, and put several into one
#[derive(Debug, Subcommand)]
pub enum Archive {
    Create(Create),
    Check(Check),
    Show(Show),
    Merge(Merge),
    Packages(Packages),
    Probe(Probe),
    Installer(Installer),
}

/// Tell whether an upload would take an archive
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Check {
    /// A tar, tar.gz, tar.zst or zip; "-" reads standard input
    archive: PathBuf,
    #[command(flatten)]
    kind: TargetKind,
    #[command(flatten)]
    links: LinkOption,
    #[command(flatten)]
    limits: LimitOptions,
}

/// `--for`.
#[derive(Debug, Clone, Copy, Args)]
pub struct TargetKind {
    /// For which kind of target: fat, a virtual machine's disk; directory, a container's shared
    /// directory, which takes links and more names
    #[arg(long = "for", value_enum, default_value = "directory", value_name = "KIND")]
    kind: Kind,
}

impl TargetKind {
    /// The rules for such a target, where links that it has not are refused.
    pub fn rules(self, limits: Limits) -> ArchiveRules {
        let representation = match self.kind {
            Kind::Fat => Representation::Fat,
            Kind::Directory => Representation::Posix,
        };
        ArchiveRules { representation, links: LinkPolicy::Refuse, limits }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Fat,
    Directory,
}

#[derive(Serialize)]
struct Answer<'a> {
    format: &'static str,
    r#for: Kind,
    entries: u64,
    files: u64,
    directories: u64,
    links: u64,
    bytes: u64,
    start_script: Option<String>,
    left_out: &'a Listing<String>,
    lost: Lost,
    warnings: &'a [String],
    /// What the archive's `nlxtp.toml` asks for, if there is one.
    manifest: Option<ManifestJson<'a>>,
}

impl Archive {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        match self {
            Self::Create(command) => command.run(session),
            Self::Check(command) => command.run(session),
            Self::Show(command) => command.run(session),
            Self::Merge(command) => command.run(session),
            Self::Packages(command) => command.run(session),
            Self::Probe(command) => command.run(session),
            Self::Installer(command) => command.run(session),
        }
    }

    /// Whether standard output carries content.
    pub fn is_to_stdout(&self) -> bool {
        match self {
            Self::Check(_) | Self::Show(_) => false,
            Self::Create(command) => command.is_to_stdout(),
            Self::Merge(command) => command.is_to_stdout(),
            Self::Packages(command) => command.is_to_stdout(),
            Self::Probe(command) => command.is_to_stdout(),
            Self::Installer(command) => command.is_to_stdout(),
        }
    }
}

impl Check {
    fn run(self, session: &Session) -> Result<u8, Failure> {
        let limits = self.limits.limits();
        let rules = ArchiveRules { links: self.links.policy(), ..self.kind.rules(limits) };
        let control = session.control(None);
        let source = archive_file::open(&self.archive, &limits, &control)?;
        let failed = |error| Failure::archive(error, &self.archive);
        let mut reader = ArchiveReader::open(source).map_err(failed)?;
        let manifest = {
            let meter = Meter::new();
            reader.examine(&rules, &meter.watch(control)).map_err(failed)?
        };
        let asked = reader.run_manifest();
        let answer = Answer {
            manifest: asked.map(ManifestJson::from),
            ..self.answer(reader.format().name(), &manifest, reader.warnings())
        };
        if session.json {
            print_json(&answer)?;
        } else {
            print(&self.show(&answer, asked, rules.representation))?;
        }
        Ok(exit::SUCCESS)
    }

    fn answer<'a>(&self, format: &'static str, manifest: &'a Manifest, warnings: &'a [String]) -> Answer<'a> {
        Answer {
            format,
            r#for: self.kind.kind,
            entries: manifest.entries(),
            files: manifest.files.len() as u64,
            directories: manifest.directories.len() as u64,
            links: manifest.links.len() as u64,
            bytes: manifest.total_bytes,
            start_script: manifest.start_script().map(displayable),
            left_out: &manifest.left_out,
            lost: manifest.lost,
            warnings,
            manifest: None,
        }
    }

    fn show(&self, answer: &Answer<'_>, asked: Option<&RunManifest>, representation: Representation) -> String {
        let target = match self.kind.kind {
            Kind::Fat => "a disk (FAT)",
            Kind::Directory => "a container's directory",
        };
        let mut text = format!(
            "{}: {}, {}, {} unpacked; {target} takes it\n",
            displayable(self.archive.as_os_str().as_encoded_bytes()),
            answer.format,
            show_count(answer.entries, "entry", "entries"),
            show_size(answer.bytes),
        );
        text.push_str(&show_start_script(answer.start_script.as_deref()));
        if let Some(manifest) = asked {
            text.push_str(&show_manifest(manifest));
        }
        text.push_str(&show_warnings(answer.warnings));
        text.push_str(&show_losses(answer.lost, representation));
        text.push_str(&show_left_out(answer.left_out));
        text
    }
}
