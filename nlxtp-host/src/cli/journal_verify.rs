//! `nlxtp journal verify`.

use std::path::PathBuf;

use clap::Args;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::journal::Digest;
use nlxtp_host::journal::compare::Difference;
use nlxtp_host::journal::verify::{AtHand, Files, Remark, Verification, verify};
use serde::Serialize;

use super::failure::{Failure, exit};
use super::journal::{clean, named, short_digest};
use super::options::LimitOptions;
use super::output::{print, print_json};
use super::session::Session;
use super::units::show_count;

const EXAMPLE: &str = "\
Checks that every line follows the one before, and that the archives and results at hand are those \
that the journal knows: what is kept beside the journal, and files in its folder (or where --at says) of \
the same digest or name. Exit code 0: all is well; 16: something differs, and that is said.

It does not tell who wrote the journal: whoever may write to the file can write all of it anew. Note \
the digest of its last line elsewhere, and ask for it by --head later.

Example:
  nlxtp journal verify experiment.jsonl
  nlxtp journal verify experiment.jsonl --at results/ --complete --head 9acef2721e44ef77...";

/// Check a journal, and that archives and results are those in it
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Verify {
    /// The journal [default: $NLXTP_JOURNAL]
    journal: Option<PathBuf>,
    /// Look for archives and results at this file, or at those in this folder; can be given several
    /// times [default: the journal's folder]
    #[arg(long, value_name = "PATH")]
    at: Vec<PathBuf>,
    /// Demand that every archive and result is at hand
    #[arg(long)]
    complete: bool,
    /// Demand that a line has this digest, which an earlier verification has told as the last one's
    #[arg(long, value_name = "DIGEST")]
    head: Option<String>,
    #[command(flatten)]
    limits: LimitOptions,
}

#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    complete: bool,
    #[serde(flatten)]
    verification: &'a Verification,
}

impl Verify {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let path = named(self.journal.as_ref())?;
        let head: Option<Digest> = match &self.head {
            Some(text) => Some(text.parse().map_err(|error| {
                let error = Error::new(ErrorKind::InvalidInput, "--head").with_source(error);
                Failure::other(error.with_hint("give the digest that an earlier `nlxtp journal verify` has told"))
            })?),
            None => None,
        };
        let files = Files { paths: &self.at, head };
        let verification =
            verify(&path, &files, &self.limits.limits(), &session.control(None)).map_err(Failure::other)?;
        let complete = verification.is_complete();
        let ok = verification.is_ok() && (complete || !self.complete);
        if session.json {
            print_json(&Answer { ok, complete, verification: &verification })?;
        } else {
            print(&self.show(&verification, ok))?;
        }
        Ok(if ok { exit::SUCCESS } else { exit::DIFFERS })
    }

    fn show(&self, verification: &Verification, ok: bool) -> String {
        let mut text = String::new();
        let remark = |remark: &Remark| match remark.line {
            Some(line) => format!("line {line}: {}\n", clean(&remark.message)),
            None => format!("{}\n", clean(&remark.message)),
        };
        verification.problems.iter().for_each(|problem| text.push_str(&format!("problem: {}", remark(problem))));
        verification.notes.iter().for_each(|note| text.push_str(&format!("note: {}", remark(note))));
        for archive in &verification.archives {
            let (state, file, differences): (_, _, &[Difference]) = match &archive.at_hand {
                AtHand::Matches { file } => ("matches", Some(file), &[]),
                AtHand::Repacked { file } => ("matches, though packed in another way", Some(file), &[]),
                AtHand::Differs { file, differences } => ("differs", Some(file), differences),
                AtHand::Missing => ("not at hand", None, &[]),
            };
            let name = archive.name.as_deref().unwrap_or("an archive without a name");
            let file = file.map(|file| format!(": {file}")).unwrap_or_default();
            let digest = short_digest(archive.sha256);
            let words = format!("line {}: {} of {name} ({digest}): {state}{file}", archive.line, archive.event);
            text.push_str(&format!("{}\n", clean(&words)));
            text.push_str(&show_differences(differences));
        }
        let verdict = match (ok, verification.is_ok()) {
            (true, _) if verification.lines == 0 => "the journal is empty: there is nothing to check",
            (true, _) => "all is as the journal says",
            (false, true) => "not all archives are at hand",
            (false, false) => "not all is as the journal says",
        };
        if verification.lines > 0 {
            let lines = show_count(verification.lines, "line", "lines");
            text.push_str(&format!("{lines}, the last has the digest {}\n", verification.head));
        }
        text.push_str(&format!("{verdict}\n"));
        text
    }
}

/// Differences that people get to see of a long list.
const SHOWN: usize = 50;

/// Differences, one a line.
pub fn show_differences(differences: &[Difference]) -> String {
    let mut text = String::new();
    for difference in differences.iter().take(SHOWN) {
        let Difference { about, recorded, found } = difference;
        text.push_str(&clean(&format!("    {about}: recorded: {recorded}; found: {found}")));
        text.push('\n');
    }
    if differences.len() > SHOWN {
        text.push_str(&format!("    and {} more\n", differences.len() - SHOWN));
    }
    text
}
