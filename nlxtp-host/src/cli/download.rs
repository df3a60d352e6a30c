//! `nlxtp download`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use nlxtp_host::archive::{OutputFormat, default_threads, files};
use nlxtp_host::download::until_settled;
use nlxtp_host::error::{Error, ErrorKind};
use rextfv_core::entry_path::displayable;
use rextfv_core::layout;
use rextfv_core::limits::Limits;
use rextfv_core::liveness::State;
use rextfv_core::operations::DownloadReport;
use rextfv_core::retry::RetryPolicy;
use rextfv_core::shared_directory::MayRetry;
use rextfv_core::verification::Verification;
use serde::Serialize;

use super::archive_file::{self, Sink, Watched};
use super::failure::{Failure, exit};
use super::journal_options::{NodeJournalOptions, tell_failure};
use super::options::{LimitOptions, open_node};
use super::output::{json_line, print, print_aside, show_listing};
use super::progress::Meter;
use super::session::Session;
use super::units::{parse_duration, parse_number, show_count, show_size};

const EXAMPLE: &str = "\
The archive holds everything in the shared directory, the outputs and status in exec_status/ too. It \
appears under its name only when it is complete; an existing file is only replaced with --force. \
Where a guest that is on changes a disk meanwhile, the download is tried again a few times (not if \
the archive goes to a pipe, where what was written is written).

Where the guest has written digests of its files when it was done, those in the archive are compared with \
them, and the answer names what differs. The archive is kept; exit code 16.

Example:
  nlxtp download disk.img results.tar.gz
  nlxtp download disk.img results.tar.zst --level 19
  nlxtp download disk.img - --format tar | tar -x -C results";

/// Take the whole shared directory home as an archive
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Download {
    /// The shared directory or disk
    target: PathBuf,
    /// The archive to be made; "-" writes standard output
    archive: PathBuf,
    /// The archive's format [default: what its name ends with, else tar.gz]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// How hard to compress: tar.gz from 0 to 9 [default: 6], tar.zst from 1 to 22 [default: 3]
    #[arg(long, value_name = "NUMBER", value_parser = parse_number::<u8>)]
    level: Option<u8>,
    /// How many threads compress [default: as many as there are cores, at most 8]
    #[arg(long, value_name = "NUMBER", value_parser = parse_number::<usize>)]
    threads: Option<usize>,
    /// Pack again, so many times at most, until nothing changed while it was packed
    #[arg(long, value_name = "NUMBER", value_parser = parse_number::<u32>)]
    retries: Option<u32>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    journal: NodeJournalOptions,
    /// Give up if it takes longer than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    #[value(name = "tar.gz", alias = "tgz")]
    TarGz,
    #[value(name = "tar")]
    Tar,
    #[value(name = "tar.zst", alias = "tzst")]
    TarZst,
}

#[derive(Serialize)]
struct Answer<'a> {
    format: &'static str,
    attempts: u32,
    #[serde(flatten)]
    report: &'a DownloadReport,
}

impl Download {
    /// Whether standard output carries the archive.
    pub fn is_to_stdout(&self) -> bool {
        archive_file::is_standard(&self.archive)
    }

    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let format = self.output_format().map_err(|error| Failure::archive(error, &self.archive))?;
        let control = session.control(self.timeout);
        let threads = self.threads.unwrap_or_else(default_threads);
        let node = open_node(&self.target, self.limits.limits())?.with_threads(threads);
        let node = &mut self.journal.give(node, &self.target, Some(&self.archive), false)?;
        self.check_apart().map_err(|error| Failure::archive(error, &self.archive))?;
        let mut archive =
            Sink::create(&self.archive, self.force).map_err(|error| Failure::archive(error, &self.archive))?;
        let meter = Meter::new();
        let control = meter.watch(control);
        let mut fault = None;
        let can_restart = archive.can_restart();
        if self.retries.is_some() && !can_restart {
            let error = Error::new(ErrorKind::InvalidInput, "what was written to a pipe cannot be written again")
                .with_hint("name a file, or leave out --retries");
            return Err(Failure::archive(error, &self.archive));
        }
        let attempt = || {
            let writer = archive.writer(&control).map_err(|error| error.with_path(&self.archive))?;
            let mut sink = Watched::new(writer);
            node.download(&mut sink, format, &control).map_err(|error| {
                if error.may_retry() && can_restart {
                    return error;
                }
                // Not to be tried again; what is told is kept aside.
                fault = Some(sink.blame(files::with_way_out(error), &self.archive, &self.target));
                Error::new(ErrorKind::Io, "the download failed")
            })
        };
        let downloaded = match self.retries {
            Some(retries) => {
                let policy = RetryPolicy { attempts: retries.saturating_add(1), ..RetryPolicy::DOWNLOAD };
                until_settled(&policy, &control, attempt)
            }
            None => session.with_retries(&control, attempt),
        };
        drop(control);
        drop(meter);
        let (report, attempts) =
            downloaded.map_err(|error| fault.unwrap_or_else(|| Failure::target(error, &self.target)))?;
        archive.complete(&self.archive)?;
        node.confirm_download();
        let code = match report.verification {
            Verification::Verified { .. } | Verification::NoDigests => exit::SUCCESS,
            Verification::Differs(_) | Verification::Unusable { .. } => exit::DIFFERS,
        };
        let code = tell_failure(node, session, code);
        let answer = if session.json {
            json_line(&Answer { format: format.name(), attempts, report: &report })
        } else {
            self.show(&report)
        };
        if self.is_to_stdout() {
            print_aside(&answer);
        } else {
            print(&answer)?;
        }
        Ok(code)
    }

    /// Refuses to write over the target or into it: the archive would replace what it is made of, or a
    /// guest could lead it elsewhere by a link.
    fn check_apart(&self) -> Result<(), Error> {
        let Ok(target) = self.target.canonicalize() else { return Ok(()) };
        let folder = self.archive.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let within = [self.archive.canonicalize(), folder.canonicalize()];
        if within.into_iter().flatten().any(|path| path.starts_with(&target)) && !self.is_to_stdout() {
            return Err(Error::new(ErrorKind::InvalidInput, "the archive would lie in the target itself")
                .with_hint("name a file elsewhere"));
        }
        Ok(())
    }

    fn output_format(&self) -> Result<OutputFormat, Error> {
        let format = match self.format {
            Some(Format::TarGz) => OutputFormat::default(),
            Some(Format::Tar) => OutputFormat::Tar,
            Some(Format::TarZst) => OutputFormat::TarZst { level: 3 },
            None => {
                let hint = "let the name end with .tar.gz, .tar.zst or .tar, or choose one by --format";
                archive_file::check_ending(&self.archive, hint)?;
                OutputFormat::from_path(&self.archive)
            }
        };
        self.level.map_or(Ok(format), |level| format.with_level(level.into()))
    }

    fn show(&self, report: &DownloadReport) -> String {
        let mut parts = vec![show_count(report.files, "file", "files")];
        parts.push(show_count(report.directories, "directory", "directories"));
        if report.symlinks > 0 {
            parts.push(show_count(report.symlinks, "symbolic link", "symbolic links"));
        }
        let name = if self.is_to_stdout() {
            "standard output".into()
        } else {
            displayable(self.archive.as_os_str().as_encoded_bytes())
        };
        let mut text = format!(
            "{name}: {}, {} ({} packed)\n",
            parts.join(", "),
            show_size(report.bytes),
            show_size(report.archive_bytes)
        );
        text.push_str(&show_listing("not as the guest wrote it:", &report.changed, |changed| {
            format!("{}: {}", changed.path, changed.problem)
        }));
        text.push_str(&show_listing("left out:", &report.left_out, |left| format!("{}: {}", left.path, left.reason)));
        text.push_str(&self.show_verification(&report.verification));
        text
    }

    fn show_verification(&self, verification: &Verification) -> String {
        match verification {
            Verification::Verified { files } => format!("verified: {}\n", show_count(*files, "file", "files")),
            Verification::NoDigests => format!("not verified: {}\n", self.why_no_digests()),
            Verification::Unusable { reason } => {
                format!("not verified: the guest's digests ({}) cannot be used: {reason}\n", layout::DIGESTS)
            }
            Verification::Differs(differences) => {
                let count = show_count(differences.count(), "file differs", "files differ");
                let listings = [
                    ("other content than the guest has written:", &differences.content),
                    ("written by the guest, and missing:", &differences.missing),
                    ("new since the guest was done:", &differences.unlisted),
                ];
                let listings = listings.map(|(heading, paths)| show_listing(heading, paths, String::clone));
                format!("not verified: {count} from the guest's digests\n{}", listings.concat())
            }
        }
    }

    /// Asks for the status, of which the archive's own files tell nothing that could be relied on.
    fn why_no_digests(&self) -> String {
        let status = open_node(&self.target, Limits::DEFAULT).ok().and_then(|mut node| node.status().ok());
        match status.map(|report| report.state) {
            Some(State::Finished) => "the guest has written no digests".into(),
            Some(state) => format!("the guest is not done ({})", state.word()),
            None => "the guest has written no digests, or is not done".into(),
        }
    }
}
