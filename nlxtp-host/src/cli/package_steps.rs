//! `nlxtp archive probe` and `nlxtp archive installer`: the steps, for whoever runs the probing.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::packages::{self, Answer, PackageCache, PackageName, write_probe};
use rextfv_core::entry_path::displayable;
use rextfv_core::status::MAX_CUSTOM_BYTES;
use serde::Serialize;

use super::archive_file::Sink;
use super::archive_output::Output;
use super::failure::{Failure, exit};
use super::http::Http;
use super::progress::Meter;
use super::session::Session;
use super::units::{parse_duration, show_count, show_size};

const PROBE_EXAMPLE: &str = "\
The archive's start script sets the Custom Status to which system the node is, and which package files \
it misses. Run it on a node of each system that reaches its package mirror, and keep what comes of it \
for `nlxtp archive installer`.

Example:
  nlxtp archive probe jq -o probe.tar.gz
  nlxtp upload /srv/node1/mnt/nlXTP probe.tar.gz && nlxtp wait /srv/node1/mnt/nlXTP
  nlxtp cat /srv/node1/mnt/nlXTP exec_status/custom > node1.probe";

const INSTALLER_EXAMPLE: &str = "\
ANSWER is a file that holds what a node has set as Custom Status when a probing archive ran there. \
The package files are downloaded once, verified, and packed into one archive.

Example:
  nlxtp archive installer node1.probe node2.probe -o jq.tar.gz";

/// Make an archive that asks a node which package files it misses
#[derive(Debug, Args)]
#[command(after_long_help = PROBE_EXAMPLE)]
pub struct Probe {
    /// The packages, as the nodes' package manager names them
    #[arg(required = true, value_name = "PACKAGE", value_parser = parse_package)]
    packages: Vec<PackageName>,
    #[command(flatten)]
    output: Output,
}

/// Make an archive that installs packages, of what probed nodes have answered
#[derive(Debug, Args)]
#[command(after_long_help = INSTALLER_EXAMPLE)]
pub struct Installer {
    /// What nodes have answered
    #[arg(required = true, value_name = "ANSWER")]
    answers: Vec<PathBuf>,
    #[command(flatten)]
    making: Making,
    /// Give up if it takes longer than this; what has been downloaded is
    /// kept [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// How the installer archive is made.
#[derive(Debug, Args)]
pub struct Making {
    #[command(flatten)]
    output: Output,
    /// Keep downloaded packages here [default: $XDG_CACHE_HOME/nlxtp/packages or
    /// ~/.cache/nlxtp/packages]
    #[arg(long, value_name = "DIRECTORY")]
    cache: Option<PathBuf>,
    /// Download only from URLs that begin with this, for instance https://mirror.example/debian/; may
    /// be given more than once
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    only_from: Vec<String>,
}

#[derive(Serialize)]
struct ProbeAnswer<'a> {
    archive: String,
    bytes: u64,
    wanted: Vec<&'a str>,
}

#[derive(Serialize)]
struct InstallerAnswer {
    archive: String,
    bytes: u64,
    files: usize,
    downloaded: u64,
    reused: u64,
    systems: Vec<SystemAnswer>,
}

#[derive(Serialize)]
struct SystemAnswer {
    system: String,
    manager: &'static str,
    wanted: Vec<String>,
    files: Vec<String>,
}

impl Probe {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let control = session.control(None);
        let mut sink = self.output.begin()?;
        let written = sink
            .writer(&control)
            .and_then(|mut out| write_probe(&self.packages, self.output.format(), &mut *out, &control));
        let bytes = written.map_err(|error| self.output.failure(error))?;
        self.output.complete(sink)?;
        let wanted: Vec<&str> = self.packages.iter().map(PackageName::as_str).collect();
        let answer = ProbeAnswer { archive: self.output.shown(), bytes, wanted };
        self.output.tell(session, &answer, |answer| {
            format!("{}: {}, asks for {}\n", answer.archive, show_size(answer.bytes), answer.wanted.join(" "))
        })?;
        Ok(exit::SUCCESS)
    }
}

impl Installer {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let control = session.control(self.timeout);
        let answers: Result<Vec<Answer>, Failure> = self.answers.iter().map(|path| read_answer(path)).collect();
        let answers = answers?;
        let output = self.making.begin()?;
        self.making.make(&answers, output, &control, session)?;
        Ok(exit::SUCCESS)
    }
}

impl Probe {
    /// Whether the archive goes to standard output.
    pub fn is_to_stdout(&self) -> bool {
        self.output.is_standard()
    }
}

impl Installer {
    /// Whether the archive goes to standard output.
    pub fn is_to_stdout(&self) -> bool {
        self.making.is_to_stdout()
    }
}

impl Making {
    /// Whether the archive goes to standard output.
    pub fn is_to_stdout(&self) -> bool {
        self.output.is_standard()
    }

    /// Begins the archive, before anything is done that takes long.
    pub fn begin(&self) -> Result<Sink, Failure> {
        self.output.begin()
    }

    /// Downloads what the nodes miss, and makes the installer archive of it.
    pub fn make(
        &self,
        answers: &[Answer],
        mut sink: Sink,
        control: &Control<'_>,
        session: &Session,
    ) -> Result<(), Failure> {
        let installer = packages::Installer::new(answers).map_err(Failure::other)?;
        let files = installer.files();
        for file in &files {
            self.check_origin(&file.url)?;
            session.remark(&format!("{} from {}", file.name, file.url));
        }
        let cache = self.open_cache()?;
        let (filled, bytes) = {
            let meter = Meter::new();
            let same = Control::none().with_deadline(control.deadline()).with_cancel(session.cancel.clone());
            let control = meter.watch(same);
            let filled = cache.fill(&files, &Http::client(), &control).map_err(Failure::other)?;
            let written = sink
                .writer(&control)
                .and_then(|mut out| installer.write(&cache, self.output.format(), &mut *out, &control));
            (filled, written.map_err(|error| self.output.failure(error))?)
        };
        self.output.complete(sink)?;
        let systems = installer.systems().map(|(system, list)| SystemAnswer {
            system: system.to_owned(),
            manager: list.manager.name,
            wanted: list.wanted.iter().map(|name| name.as_str().to_owned()).collect(),
            files: list.files.iter().map(|file| file.name.clone()).collect(),
        });
        let answer = InstallerAnswer {
            archive: self.output.shown(),
            bytes,
            files: files.len(),
            downloaded: filled.downloaded,
            reused: filled.reused,
            systems: systems.collect(),
        };
        self.output.tell(session, &answer, InstallerAnswer::show)
    }

    fn check_origin(&self, url: &str) -> Result<(), Failure> {
        if self.only_from.is_empty() || self.only_from.iter().any(|prefix| url.starts_with(prefix)) {
            return Ok(());
        }
        let error = Error::new(ErrorKind::InvalidInput, "a node names a URL that --only-from rules out");
        let hint = "allow it with another --only-from, or correct the package sources of the node";
        Err(Failure::other(error.with_object(displayable(url.as_bytes())).with_hint(hint)))
    }

    fn open_cache(&self) -> Result<PackageCache, Failure> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let directory = self.cache.clone().or_else(|| {
            let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
            Some(base.join("nlxtp/packages"))
        });
        let directory = directory.ok_or_else(|| {
            let error = Error::new(ErrorKind::InvalidInput, "there is no directory for downloaded packages");
            Failure::other(error.with_hint("name one with --cache, or set HOME"))
        })?;
        PackageCache::open(directory).map_err(Failure::other)
    }
}

impl InstallerAnswer {
    fn show(&self) -> String {
        let files = |number: usize| show_count(number as u64, "package file", "package files");
        let mut text = format!("{}: {}, {}\n", self.archive, files(self.files), show_size(self.bytes));
        let widest = self.systems.iter().map(|list| list.system.len()).max().unwrap_or(0);
        for list in &self.systems {
            let what = if list.files.is_empty() { "nothing is missing".into() } else { files(list.files.len()) };
            text.push_str(&format!("  {:<widest$}  {what}\n", list.system));
        }
        text.push_str(&format!("downloaded: {}; in the cache: {}\n", self.downloaded, self.reused));
        text
    }
}

/// Reads the beginning of URLs, for the command line.
fn parse_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("no URL begins with that; give one such as https://mirror.example/debian/".into()),
    }
}

/// Reads the name of a package, for the command line.
pub fn parse_package(text: &str) -> Result<PackageName, String> {
    PackageName::parse(text).map_err(|error| match error.hint() {
        Some(hint) => format!("{} ({hint})", error.message()),
        None => error.message(),
    })
}

fn read_answer(path: &Path) -> Result<Answer, Failure> {
    let read = || -> Result<Answer, Error> {
        let file = File::open(path).map_err(|error| Error::io("open the answer", error))?;
        let mut text = Vec::new();
        let read = file.take(MAX_CUSTOM_BYTES as u64 + 1).read_to_end(&mut text);
        read.map_err(|error| Error::io("read the answer", error))?;
        Answer::parse(&text)
    };
    read().map_err(|error| Failure::archive(error, path))
}
