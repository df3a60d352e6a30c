//! `nlxtp ls` and `nlxtp cat`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use nlxtp_host::error::{Error, ErrorKind, Result as HostResult};
use rextfv_core::entry_path::{EntryPath, displayable, from_displayable};
use rextfv_core::listing::Listing;
use rextfv_core::shared_directory::{Content, Entry, EntryKind, LeftOut, Visitor};
use serde::Serialize;

use super::failure::{Failure, exit};
use super::options::{LimitOptions, open_node};
use super::output::{ContentOutput, json_line, print, print_aside, print_json, show_listing};
use super::session::Session;
use super::units::show_time;

const LS_EXAMPLE: &str = "\
Mode, length, time (UTC) and path of everything in the shared directory. Links are shown and never \
followed.

Example:
  nlxtp ls disk.img
  nlxtp ls disk.img --json | jq -r '.entries[].path'";

/// List what the shared directory holds
#[derive(Debug, Args)]
#[command(after_long_help = LS_EXAMPLE)]
pub struct Ls {
    /// The shared directory or disk
    target: PathBuf,
    #[command(flatten)]
    limits: LimitOptions,
}

/// One entry, of which only what is shown is kept.
#[derive(Serialize)]
pub struct Line {
    pub path: String,
    pub kind: &'static str,
    pub size: u64,
    /// As octal digits.
    pub mode: String,
    pub modified: i64,
    /// What a link says, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

#[derive(Default, Serialize)]
struct Lines {
    entries: Vec<Line>,
    left_out: Listing<LeftOut>,
}

impl Lines {
    fn add(&mut self, entry: &Entry, target: Option<&[u8]>) {
        let kind = match entry.kind {
            EntryKind::File => "file",
            EntryKind::Directory => "directory",
            EntryKind::Symlink => "symlink",
        };
        self.entries.push(Line {
            path: entry.path.to_string(),
            kind,
            size: entry.size,
            mode: format!("{:04o}", entry.attributes.mode),
            modified: entry.attributes.modified,
            target: target.map(displayable),
        });
    }
}

impl Visitor for Lines {
    type Error = Error;

    fn file(&mut self, entry: &Entry, _: &mut dyn Content<Error = Error>) -> HostResult<()> {
        self.add(entry, None);
        Ok(())
    }

    fn directory(&mut self, entry: &Entry) -> HostResult<()> {
        self.add(entry, None);
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry, target: &[u8]) -> HostResult<()> {
        self.add(entry, Some(target));
        Ok(())
    }

    fn left_out(&mut self, left_out: LeftOut) -> HostResult<()> {
        self.left_out.push(left_out);
        Ok(())
    }
}

impl Ls {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let node = open_node(&self.target, self.limits.limits())?;
        let control = session.control(None);
        let walked = session.with_retries(&control, || {
            let mut lines = Lines::default();
            node.directory().view()?.walk(&mut lines)?;
            Ok(lines)
        });
        let (mut lines, _) = walked.map_err(|error| Failure::target(error, &self.target))?;
        lines.entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        if session.json {
            print_json(&lines)?;
        } else {
            print(&show(&lines))?;
        }
        Ok(exit::SUCCESS)
    }
}

fn show(lines: &Lines) -> String {
    let mut text = show_lines(&lines.entries);
    text.push_str(&show_listing("cannot be taken along:", &lines.left_out, |left| {
        format!("{}: {}", left.path, left.reason)
    }));
    text
}

/// Shows entries, one a line.
pub fn show_lines(lines: &[Line]) -> String {
    let width = lines.iter().map(|line| line.size.to_string().len()).max().unwrap_or(1);
    let mut text = String::new();
    for line in lines {
        let (letter, end) = match line.kind {
            "directory" => ('d', "/"),
            "symlink" => ('l', ""),
            _ => ('-', ""),
        };
        let (mode, size, time) = (&line.mode, line.size, show_time(line.modified));
        text.push_str(&format!("{letter} {mode} {size:>width$}  {time}  {}{end}", line.path));
        if let Some(target) = &line.target {
            text.push_str(" -> ");
            text.push_str(target);
        }
        text.push('\n');
    }
    text
}

const CAT_EXAMPLE: &str = "\
Writes the bytes as they are; on a terminal, control characters are escaped, since they come from a \
guest. With --json, what was written is told on standard error.

Example:
  nlxtp cat disk.img results/measurements.csv > measurements.csv";

/// Write one file of the shared directory to standard output
#[derive(Debug, Args)]
#[command(after_long_help = CAT_EXAMPLE)]
pub struct Cat {
    /// The shared directory or disk
    target: PathBuf,
    /// The file, relative to the shared directory
    path: OsString,
    /// Write control characters to a terminal as they are
    #[arg(long)]
    raw: bool,
}

#[derive(Serialize)]
struct CatAnswer {
    path: String,
    bytes: u64,
}

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

impl Cat {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let failed = |error: Error| Failure::target(error, &self.target);
        let mut path = parse_path(self.path.as_encoded_bytes()).map_err(failed)?;
        let node = open_node(&self.target, Default::default())?;
        let control = session.control(None);
        let find = |path: &EntryPath| session.with_retries(&control, || node.directory().view()?.entry(path));
        let (mut entry, _) = find(&path).map_err(failed)?;
        // As `ls` shows it, perhaps.
        if entry.is_none()
            && let Some(meant) = path.as_str().and_then(from_displayable)
            && meant != path.as_bytes()
        {
            path = parse_path(&meant).map_err(failed)?;
            (entry, _) = find(&path).map_err(failed)?;
        }
        let size = self.check(&path, entry).map_err(failed)?;

        let mut output = ContentOutput::new(self.raw);
        let mut view = node.directory().view().map_err(failed)?;
        let mut buffer = vec![0; PIECE];
        let mut offset = 0;
        // No more than there was at the beginning: the guest may be writing.
        while offset < size {
            control.check().map_err(failed)?;
            let room = usize::try_from(size - offset).unwrap_or(PIECE).min(PIECE);
            let read = session.with_retries(&control, || {
                view.read_at(&path, offset, &mut buffer[..room]).inspect_err(|_| {
                    // What the view holds of a disk may be what has changed.
                    if let Ok(fresh) = node.directory().view() {
                        view = fresh;
                    }
                })
            });
            let (length, _) = read.map_err(failed)?;
            let Some(length @ 1..) = length else { break };
            output.write(&buffer[..length])?;
            offset += length as u64;
        }
        output.finish()?;
        if offset < size {
            session.note(&format!("{path}: it became shorter while it was read"));
        }
        if session.json {
            print_aside(&json_line(&CatAnswer { path: path.to_string(), bytes: offset }));
        }
        Ok(exit::SUCCESS)
    }

    /// The length of a file that can be read.
    fn check(&self, path: &EntryPath, entry: Option<Entry>) -> HostResult<u64> {
        let refuse = |kind, message: &str| {
            Err(Error::new(kind, message)
                .with_object(path.to_string())
                .with_hint("`nlxtp ls TARGET` shows what there is"))
        };
        match entry {
            None => refuse(ErrorKind::NotFound, "there is no such file in the shared directory"),
            Some(entry) if entry.kind == EntryKind::Directory => refuse(ErrorKind::InvalidInput, "it is a directory"),
            Some(entry) if entry.kind == EntryKind::Symlink => {
                refuse(ErrorKind::InvalidInput, "it is a symbolic link, and a guest's links are not followed")
            }
            Some(entry) => Ok(entry.size),
        }
    }
}

fn parse_path(bytes: &[u8]) -> HostResult<EntryPath> {
    EntryPath::parse(bytes).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, error.to_string())
            .with_object(displayable(bytes))
            .with_hint("give the path as `nlxtp ls TARGET` shows it, relative to the shared directory")
    })
}
