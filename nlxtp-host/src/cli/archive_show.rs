//! `nlxtp archive show`.

use std::path::PathBuf;

use clap::Args;
use nlxtp_host::archive::ArchiveReader;
use rextfv_core::archive_rules::{ArchiveRules, LinkPolicy, Manifest, ManifestLinkKind};
use rextfv_core::entry_path::{EntryPath, displayable};
use rextfv_core::listing::Listing;
use rextfv_core::shared_directory::{Attributes, Representation};
use serde::Serialize;

use super::archive_file;
use super::contents::{Line, show_lines};
use super::failure::{Failure, exit};
use super::options::LimitOptions;
use super::output::{print, print_json};
use super::progress::Meter;
use super::session::Session;
use super::units::{show_count, show_size};
use super::upload::{show_left_out, show_start_script, show_warnings};

const EXAMPLE: &str = "\
Shows what an upload to a container's directory would make of an archive: mode, length, time (UTC) and \
path of each entry. To show the content of one, use tar or unzip.

Example:
  nlxtp archive show experiment.tar.gz
  nlxtp archive show experiment.tar.gz --json | jq -r '.entries[].path'";

/// Show what an archive holds
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Show {
    /// A tar, tar.gz, tar.zst or zip; "-" reads standard input
    archive: PathBuf,
    #[command(flatten)]
    limits: LimitOptions,
}

#[derive(Serialize)]
struct Answer<'a> {
    format: &'static str,
    bytes: u64,
    start_script: Option<String>,
    warnings: &'a [String],
    entries: Vec<Line>,
    left_out: &'a Listing<String>,
}

impl Show {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let limits = self.limits.limits();
        let rules = ArchiveRules { representation: Representation::Posix, links: LinkPolicy::Refuse, limits };
        let control = session.control(None);
        let source = archive_file::open(&self.archive, &limits, &control)?;
        let failed = |error| Failure::archive(error, &self.archive);
        let mut reader = ArchiveReader::open(source).map_err(failed)?;
        let manifest = {
            let meter = Meter::new();
            reader.examine(&rules, &meter.watch(control)).map_err(failed)?
        };
        let answer = Answer {
            format: reader.format().name(),
            bytes: manifest.total_bytes,
            start_script: manifest.start_script().map(displayable),
            warnings: reader.warnings(),
            entries: lines(&manifest),
            left_out: &manifest.left_out,
        };
        if session.json {
            print_json(&answer)?;
        } else {
            print(&self.show(&answer))?;
        }
        Ok(exit::SUCCESS)
    }

    fn show(&self, answer: &Answer<'_>) -> String {
        let mut text = format!(
            "{}: {}, {}, {} unpacked\n",
            displayable(self.archive.as_os_str().as_encoded_bytes()),
            answer.format,
            show_count(answer.entries.len() as u64, "entry", "entries"),
            show_size(answer.bytes),
        );
        text.push_str(&show_start_script(answer.start_script.as_deref()));
        text.push_str(&show_warnings(answer.warnings));
        text.push_str(&show_lines(&answer.entries));
        text.push_str(&show_left_out(answer.left_out));
        text
    }
}

fn lines(manifest: &Manifest) -> Vec<Line> {
    let line = |path: &EntryPath, kind, size, attributes: Attributes, target| Line {
        path: path.to_string(),
        kind,
        size,
        mode: format!("{:04o}", attributes.mode),
        modified: attributes.modified,
        target,
    };
    let directories = manifest.directories.iter().map(|made| line(&made.path, "directory", 0, made.attributes, None));
    let files = manifest.files.iter().map(|made| line(&made.path, "file", made.size, made.attributes, None));
    let links = manifest.links.iter().map(|made| match &made.kind {
        ManifestLinkKind::Symlink(target) => line(&made.path, "symlink", 0, made.attributes, Some(displayable(target))),
        ManifestLinkKind::HardLink(existing) => {
            let size = manifest.files.iter().find(|file| file.path == *existing).map_or(0, |file| file.size);
            line(&made.path, "file", size, made.attributes, None)
        }
        ManifestLinkKind::Copy { .. } => line(&made.path, "file", 0, made.attributes, None),
    });
    let mut lines: Vec<Line> = directories.chain(files).chain(links).collect();
    lines.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    lines
}
