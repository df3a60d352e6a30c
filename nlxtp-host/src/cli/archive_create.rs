//! `nlxtp archive create`.

use std::path::PathBuf;

use clap::Args;
use nlxtp_host::archive::builder::{Builder, Built, REPRODUCIBLE_TIME, Stamps};
use nlxtp_host::error::Error;
use rextfv_core::entry_path::displayable;
use rextfv_core::listing::Listing;
use serde::Serialize;

use super::archive::TargetKind;
use super::archive_output::Output;
use super::failure::{Failure, exit};
use super::options::LimitOptions;
use super::progress::Meter;
use super::session::Session;
use super::units::{show_count, show_size};
use super::upload::{show_left_out, show_start_script, show_warnings};

const EXAMPLE: &str = "\
What an upload would refuse is refused here, and all of it listed. Everything belongs to user and group \
0 in the archive. Names of the protocol (exec_status, nlxtp_run_id) are left out, so that results that \
were unpacked can be packed again.

Example:
  nlxtp archive create experiment -o experiment.tar.gz
  nlxtp archive create experiment -o experiment.tar.gz --for fat --reproducible";

/// Make an archive of a directory
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Create {
    /// What is packed: auto_exec.sh at its top is the start script
    directory: PathBuf,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    kind: TargetKind,
    /// Give all entries the same time (1980) and the mode 0755 or 0644: the same content then makes the
    /// same archive, whoever packs it when
    #[arg(long)]
    reproducible: bool,
    #[command(flatten)]
    limits: LimitOptions,
}

#[derive(Serialize)]
struct Answer<'a> {
    archive: String,
    format: &'static str,
    entries: u64,
    bytes: u64,
    archive_bytes: u64,
    start_script: Option<String>,
    left_out: &'a Listing<String>,
    warnings: &'a [String],
}

impl Create {
    /// Whether the archive goes to standard output.
    pub fn is_to_stdout(&self) -> bool {
        self.output.is_standard()
    }

    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let control = session.control(None);
        let unreadable = |error| Failure::archive(Error::io("read the directory", error), &self.directory);
        std::fs::read_dir(&self.directory).map_err(unreadable)?;
        self.output.check_outside(&self.directory)?;
        let mut sink = self.output.begin()?;
        let built = {
            let meter = Meter::new();
            let control = meter.watch(control);
            sink.writer(&control).and_then(|mut out| {
                let rules = self.kind.rules(self.limits.limits());
                let mut builder = Builder::new(self.output.format(), &mut *out, rules, &control)?;
                let stamps = if self.reproducible { Stamps::Fixed(REPRODUCIBLE_TIME) } else { Stamps::Kept };
                builder.tree("".as_ref(), &self.directory, stamps)?;
                builder.finish()
            })
        };
        let built = built.map_err(|error| Failure::making(error, &self.directory))?;
        self.output.complete(sink)?;
        self.output.tell(session, &self.answer(&built), |answer| answer.show())?;
        Ok(exit::SUCCESS)
    }

    fn answer<'a>(&self, built: &'a Built) -> Answer<'a> {
        Answer {
            archive: self.output.shown(),
            format: self.output.format().name(),
            entries: built.manifest.entries(),
            bytes: built.manifest.total_bytes,
            archive_bytes: built.report.archive_bytes,
            start_script: built.manifest.start_script().map(displayable),
            left_out: &built.manifest.left_out,
            warnings: &built.warnings,
        }
    }
}

impl Answer<'_> {
    fn show(&self) -> String {
        let entries = show_count(self.entries, "entry", "entries");
        let (bytes, packed) = (show_size(self.bytes), show_size(self.archive_bytes));
        let mut text = format!("{}: {entries}, {bytes} ({packed} packed)\n", self.archive);
        text.push_str(&show_start_script(self.start_script.as_deref()));
        text.push_str(&show_warnings(self.warnings));
        text.push_str(&show_left_out(self.left_out));
        text
    }
}
