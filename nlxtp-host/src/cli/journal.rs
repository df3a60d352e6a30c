//! `nlxtp journal`, and its `show`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::journal::record::{ArchiveFile, End, Upload};
use nlxtp_host::journal::{self, Digest, Event, Record, Utc};
use rextfv_core::operations::Execution;
use rextfv_core::verification::Outcome;
use serde::Serialize;

use super::failure::{Failure, exit};
use super::journal_options::from_environment;
use super::journal_replay::Replay;
use super::journal_verify::Verify;
use super::output::{json_line, print};
use super::session::Session;
use super::units::{show_count, show_size};

/// Show, verify and repeat what a journal holds
#[derive(Debug, Subcommand)]
pub enum Journal {
    Show(Show),
    Verify(Verify),
    Replay(Box<Replay>),
}

impl Journal {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        match self {
            Self::Show(command) => command.run(session),
            Self::Verify(command) => command.run(session),
            Self::Replay(command) => command.run(session),
        }
    }
}

/// The journal that is named, or that the environment names.
pub fn named(path: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    path.cloned().or_else(from_environment).ok_or_else(|| {
        let error = Error::new(ErrorKind::InvalidInput, "no journal is named");
        Failure::other(error.with_hint("name one, or set NLXTP_JOURNAL"))
    })
}

const EXAMPLE: &str = "\
One line for each upload, start, end and download, in the order in which they were written; times are \
the host's, in UTC. A line that cannot be read or does not follow the one before is told on standard \
error, and the exit code is 16 then.

Example:
  nlxtp journal show experiment.jsonl
  nlxtp journal show experiment.jsonl --run 787b4059 --json";

/// Print what a journal holds
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Show {
    /// The journal [default: $NLXTP_JOURNAL]
    journal: Option<PathBuf>,
    /// Only what happened to this node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Only what belongs to this run; the first digits of its id are enough
    #[arg(long, value_name = "ID")]
    run: Option<String>,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Shown<'a> {
    line: u64,
    digest: Digest,
    #[serde(flatten)]
    record: &'a Record,
}

impl Show {
    fn run(self, session: &Session) -> Result<u8, Failure> {
        let path = named(self.journal.as_ref())?;
        let mut reader = journal::read(&path).map_err(Failure::other)?;
        let mut timeline = Timeline::default();
        let mut code = exit::SUCCESS;
        let mut is_silent = true;
        while let Some(line) = reader.next_line().map_err(|error| read_failed(error, &path))? {
            if let Some(problem) = line.problem() {
                session.note(&format!("line {}: {}", line.number, clean(&problem)));
                code = exit::DIFFERS;
            }
            let Ok(record) = &line.record else { continue };
            if self.wants(record) {
                is_silent = false;
                print(&if session.json {
                    json_line(&Shown { line: line.number, digest: line.digest, record })
                } else {
                    timeline.show(record)
                })?;
            }
        }
        if reader.lines() == 0 {
            session.note("the journal is empty");
        } else if is_silent && (self.node.is_some() || self.run.is_some()) {
            session.note("nothing in the journal is of that node and run; leave out --node and --run to see all");
        }
        if reader.torn() > 0 {
            session.note("the last line is not whole: whoever wrote it was stopped, or is just writing it");
        }
        Ok(code)
    }

    fn wants(&self, record: &Record) -> bool {
        let of_node = self.node.as_ref().is_none_or(|node| *node == record.node);
        let run = record.run.map(|run| run.to_string()).unwrap_or_default();
        of_node && self.run.as_ref().is_none_or(|wanted| !run.is_empty() && run.starts_with(wanted))
    }
}

/// A failure to read a journal.
pub fn read_failed(error: std::io::Error, journal: &Path) -> Failure {
    Failure::other(Error::io("read the journal", error).with_path(journal))
}

/// Digits of an identifier or digest that people get to see.
const DIGITS: usize = 8;

/// Characters of a Custom Status that people get to see.
const CUSTOM_SHOWN: usize = 60;

/// Shows lines one after the other, and remembers when each run began.
#[derive(Default)]
struct Timeline {
    uploads: HashMap<(String, String), Utc>,
    day: String,
}

impl Timeline {
    fn show(&mut self, record: &Record) -> String {
        let time = record.time.to_string();
        let (day, time) = time.split_at(10);
        let mut text = String::new();
        if self.day != day {
            self.day = day.to_owned();
            text = format!("{day} (UTC)\n");
        }
        let run = record.run.map(|run| run.to_string());
        let short = run.as_deref().map_or("-", |run| &run[..DIGITS]);
        let what = match &record.event {
            Event::Upload(upload) => show_upload(upload),
            Event::Start => "running".to_owned(),
            Event::End(end) => show_end(end),
            Event::Download(download) => format!(
                "{}, {}, results {}{}{}{}",
                show_archive(&download.archive),
                show_count(download.files, "file", "files"),
                short_digest(download.results.sha256),
                show_some(download.changed, "changed meanwhile"),
                show_some(download.left_out, "left out"),
                show_outcome(download.verified),
            ),
        };
        let key = (record.node.clone(), run.clone().unwrap_or_default());
        let since = self.uploads.get(&key).and_then(|upload| record.time.since(*upload));
        let since = since.map(|since| format!(" ({:.1} s after the upload)", since.as_secs_f64())).unwrap_or_default();
        if matches!(record.event, Event::Upload(_)) {
            self.uploads.insert(key, record.time);
        }
        let (time, node, word) = (&time[1..13], clean(&record.node), record.event.word());
        text.push_str(&format!("  {time}  {node}  {short}  {word:<8}  {}{since}\n", clean(&what)));
        text
    }
}

fn show_upload(upload: &Upload) -> String {
    let execution = match upload.execution {
        Execution::NoStartScript => "no start script",
        Execution::AtBoot => "to run at the boot",
        Execution::Invoked => "monitor invoked",
        Execution::ByDaemon if upload.invoke_failed => "the monitor could not be invoked",
        Execution::ByDaemon => "to be noticed by the daemon",
    };
    format!("{}, {execution}", show_archive(&upload.archive))
}

fn show_archive(archive: &ArchiveFile) -> String {
    let name = archive.name.as_deref().unwrap_or("an archive without a name");
    let kept = if archive.kept { ", kept" } else { "" };
    format!("{name} ({}, {}, sha256 {}{kept})", archive.format, show_size(archive.bytes), short_digest(archive.sha256))
}

fn show_end(end: &End) -> String {
    let mut text = end.state.word().to_owned();
    if end.timed_out {
        text.push_str(", ran too long");
    }
    match (end.exit_code, end.signal) {
        (Some(code), _) => text.push_str(&format!(", exit code {code}")),
        (None, Some(signal)) => text.push_str(&format!(", ended by signal {signal}")),
        (None, None) => {}
    }
    if let Some(custom) = &end.custom {
        let shown: String = custom.text.chars().take(CUSTOM_SHOWN).collect();
        let cut = if shown.len() < custom.text.len() { "..." } else { "" };
        text.push_str(&format!(", custom: {shown}{cut}"));
    }
    text
}

fn show_some(count: u64, what: &str) -> String {
    if count == 0 { String::new() } else { format!(", {count} {what}") }
}

fn show_outcome(verified: Option<Outcome>) -> &'static str {
    match verified {
        None | Some(Outcome::NoDigests) => "",
        Some(Outcome::Verified) => ", verified",
        Some(Outcome::Differs) => ", not verified: differs from the guest's digests",
        Some(Outcome::Unusable) => ", not verified: the guest's digests could not be used",
    }
}

/// The first digits of a digest.
pub fn short_digest(digest: Digest) -> String {
    digest.to_string()[..DIGITS].to_owned()
}

/// Names in a journal are escaped; in one that somebody else has written, they may not be.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            clean.extend(character.escape_default());
        } else {
            clean.push(character);
        }
    }
    clean
}
