//! `nlxtp archive merge`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nlxtp_host::archive::merge::{AfterFailure, Merger, Part};
use nlxtp_host::error::{Error, ErrorKind};
use rextfv_core::listing::Listing;
use serde::Serialize;

use super::archive::TargetKind;
use super::archive_file::{self, is_standard};
use super::archive_output::Output;
use super::failure::{Failure, exit};
use super::options::LimitOptions;
use super::progress::Meter;
use super::session::Session;
use super::units::{show_count, show_size};
use super::upload::show_left_out;

const EXAMPLE: &str = "\
Each archive is run in a folder of its own, such as 1-server, which is the shared directory to it: its \
outputs, Custom Status and exit code come to 1-server/exec_status. The Custom Status of the whole has a \
line for each archive, and its progress counts those that have ended. The merged archive needs nothing \
but a POSIX shell in the guest, whatever its monitor.

Example:
  nlxtp archive merge server.tar.gz client.tar.gz -o experiment.tar.gz
  nlxtp archive merge tests-*.tar.gz -o tests.tar.gz --after-failure go-on";

/// Make one archive of several, which runs each in turn
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Merge {
    /// The archives, in the order in which they are run; "-" reads standard input
    #[arg(required = true, value_name = "ARCHIVE")]
    archives: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
    /// What becomes of the others when one has failed
    #[arg(long, value_enum, default_value = "stop", value_name = "WHAT")]
    after_failure: After,
    #[command(flatten)]
    kind: TargetKind,
    #[command(flatten)]
    limits: LimitOptions,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum After {
    /// They are not run
    Stop,
    /// They are run all the same; the whole has failed nevertheless
    GoOn,
}

#[derive(Serialize)]
struct Answer {
    archive: String,
    archive_bytes: u64,
    entries: u64,
    bytes: u64,
    after_failure: After,
    parts: Vec<PartAnswer>,
}

#[derive(Serialize)]
struct PartAnswer {
    folder: String,
    entries: u64,
    bytes: u64,
    start_script: Option<String>,
    left_out: Listing<String>,
    warnings: Vec<String>,
}

impl From<Part> for PartAnswer {
    fn from(part: Part) -> Self {
        let Part { folder, entries, bytes, start_script, left_out, warnings } = part;
        Self { folder, entries, bytes, start_script, left_out, warnings }
    }
}

impl Merge {
    /// Whether the archive goes to standard output.
    pub fn is_to_stdout(&self) -> bool {
        self.output.is_standard()
    }

    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        if self.archives.iter().filter(|archive| is_standard(archive)).count() > 1 {
            let error = Error::new(ErrorKind::InvalidInput, "standard input is only one archive");
            return Err(Failure::other(error.with_hint("name \"-\" once")));
        }
        let limits = self.limits.limits();
        let mut sink = self.output.begin()?;
        let meter = Meter::new();
        let control = meter.watch(session.control(None));
        let failed = |error| self.output.failure(error);
        let mut parts: Vec<PartAnswer> = Vec::new();
        let mut out = sink.writer(&control).map_err(failed)?;
        let after_failure = match self.after_failure {
            After::Stop => AfterFailure::Stop,
            After::GoOn => AfterFailure::GoOn,
        };
        let mut merger = Merger::new(self.output.format(), &mut *out, self.kind.rules(limits), after_failure, &control)
            .map_err(failed)?;
        for path in &self.archives {
            let archive = archive_file::open(path, &limits, &control)?;
            let part = merger.add(path, archive).map_err(|error| Failure::making(error, path))?;
            parts.push(part.into());
        }
        let built = merger.finish().map_err(failed)?;
        drop(out);
        drop(control);
        drop(meter);
        self.output.complete(sink)?;
        let answer = Answer {
            archive: self.output.shown(),
            archive_bytes: built.report.archive_bytes,
            entries: built.manifest.entries(),
            bytes: built.manifest.total_bytes,
            after_failure: self.after_failure,
            parts,
        };
        self.output.tell(session, &answer, Answer::show)?;
        Ok(exit::SUCCESS)
    }
}

impl Answer {
    fn show(&self) -> String {
        let entries = show_count(self.entries, "entry", "entries");
        let (bytes, packed) = (show_size(self.bytes), show_size(self.archive_bytes));
        let mut text = format!("{}: {entries}, {bytes} ({packed} packed)\n", self.archive);
        let widest = self.parts.iter().map(|part| part.folder.len()).max().unwrap_or(0);
        for part in &self.parts {
            let script = part.start_script.as_deref().unwrap_or("no start script: only files");
            text.push_str(&format!("  {:<widest$}  {script}\n", part.folder));
        }
        text.push_str(match self.after_failure {
            After::Stop => "after a failure: the others are not run\n",
            After::GoOn => "after a failure: the others are run all the same\n",
        });
        for part in &self.parts {
            for warning in &part.warnings {
                text.push_str(&format!("warning: {}/{warning}\n", part.folder));
            }
            text.push_str(&show_left_out(&part.left_out));
        }
        text
    }
}
