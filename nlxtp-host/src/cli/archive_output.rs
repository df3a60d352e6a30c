//! Where an archive goes that is made of something else than a shared directory.

use std::path::{Path, PathBuf};

use clap::Args;
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::error::{Error, ErrorKind};
use rextfv_core::entry_path::displayable;
use serde::Serialize;

use super::archive_file::{Sink, check_ending, is_standard};
use super::failure::Failure;
use super::output::{json_line, print, print_aside};
use super::session::Session;

/// Where the archive goes.
#[derive(Debug, Args)]
pub struct Output {
    /// The archive to be made: tar.gz, or what its name says (.tar, .tar.zst); "-" writes standard
    /// output
    #[arg(short, long, value_name = "FILE", required = true)]
    output: PathBuf,
    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,
}

impl Output {
    /// Begins the archive.
    pub fn begin(&self) -> Result<Sink, Failure> {
        check_ending(&self.output, "let the name end with .tar.gz, .tar.zst or .tar")
            .and_then(|()| Sink::create(&self.output, self.force))
            .map_err(|error| self.failure(error))
    }

    /// Gives the complete archive its name.
    pub fn complete(&self, sink: Sink) -> Result<(), Failure> {
        sink.complete(&self.output)
    }

    /// A failure that has to do with the archive.
    pub fn failure(&self, error: Error) -> Failure {
        Failure::archive(error, &self.output)
    }

    /// The format that the name asks for.
    pub fn format(&self) -> OutputFormat {
        OutputFormat::from_path(&self.output)
    }

    /// The name, for showing.
    pub fn shown(&self) -> String {
        displayable(self.output.as_os_str().as_encoded_bytes())
    }

    /// Whether the archive goes to standard output.
    pub fn is_standard(&self) -> bool {
        is_standard(&self.output)
    }

    /// Refuses an archive that would be packed into itself.
    pub fn check_outside(&self, directory: &Path) -> Result<(), Failure> {
        let folder = self.output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (Ok(directory), Ok(folder)) = (directory.canonicalize(), folder.canonicalize()) else { return Ok(()) };
        if self.is_standard() || !folder.starts_with(&directory) {
            return Ok(());
        }
        let error = Error::new(ErrorKind::InvalidInput, "the archive would lie in the directory that is packed");
        Err(self.failure(error.with_hint("name a file elsewhere")))
    }

    /// Answers, beside the archive if that goes to standard output.
    pub fn tell<T: Serialize>(
        &self,
        session: &Session,
        answer: &T,
        for_people: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let text = if session.json { json_line(answer) } else { for_people(answer) };
        if self.is_standard() {
            print_aside(&text);
            return Ok(());
        }
        print(&text)
    }
}
