//! How a command fails: what it says, and its exit code.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nlxtp_host::error::{Error, ErrorKind, Remedy};
use nlxtp_host::status_json::StatusJson;
use rextfv_core::entry_path::displayable;
use rextfv_core::operations::UploadReport;
use rextfv_core::shared_directory::MayRetry;
use serde::Serialize;

use super::output;

/// Exit codes; `nlxtp --help` and `docs/command.md` explain them.
pub mod exit {
    pub const SUCCESS: u8 = 0;
    pub const OTHER: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const ARCHIVE: u8 = 3;
    pub const TARGET: u8 = 4;
    pub const TRY_LATER: u8 = 5;
    pub const TIMED_OUT: u8 = 6;
    pub const CANCELLED: u8 = 7;
    pub const INVOKE_FAILED: u8 = 8;
    pub const NOT_IN_JOURNAL: u8 = 9;
    pub const SCRIPT_FAILED: u8 = 10;
    pub const MONITOR_STOPPED: u8 = 11;
    pub const RUNNING: u8 = 12;
    pub const GUEST_REBOOTED: u8 = 13;
    pub const UNREADABLE: u8 = 14;
    pub const NOT_STARTED: u8 = 15;
    /// What is at hand differs from what the journal says, or what was downloaded from the guest's digests.
    pub const DIFFERS: u8 = 16;
    /// As a shell shows a program that was ended by SIGPIPE.
    pub const OUTPUT_CLOSED: u8 = 141;
}

/// Whose fault a failure is, where its kind does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Target,
    Archive,
    Neither,
}

/// Why a command failed.
pub enum Failure {
    /// Whoever read standard output has gone: nothing is said.
    OutputClosed,
    /// An operation failed.
    Failed(Box<Failed>),
}

/// A failed operation.
pub struct Failed {
    error: Error,
    about: About,
    /// The target or archive at which it failed.
    file: Option<PathBuf>,
    /// The last status that was seen, for somebody who waited.
    status: Option<StatusJson>,
    /// An exit code that says more than the error's kind.
    code: Option<u8>,
}

/// A way out in the words of this command.
fn flags(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::CreateDisk => {
            "make a disk for a virtual machine: nlxtp disk create DISK; or give a container's directory"
        }
        Remedy::CreateLargerDisk => "make a larger one: nlxtp disk create DISK --size SIZE",
        Remedy::Pack => "pack it as tar.gz: tar --numeric-owner -czf ARCHIVE.tar.gz -C DIRECTORY .",
        Remedy::RaiseMaxBytes => "that is the limit of --max-bytes: raise it",
        Remedy::Replace => "choose another name, or replace it with --force",
        Remedy::FollowLinks => "--follow-links uploads a copy of what a link leads to",
        Remedy::GoOn => {
            "run it again, with a longer --timeout if that was too short: what has come is kept, and it goes on there"
        }
        Remedy::NameAnotherJournal => "`nlxtp journal verify FILE` tells more; or name another file",
        _ => remedy.words(),
    }
}

/// The same for a command that makes an archive: only an upload puts copies in the place of links.
fn flags_of_making(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::FollowLinks => "leave out --for fat; an upload to a disk takes a copy of a link with --follow-links",
        _ => flags(remedy),
    }
}

/// The object that `--json` prints for a failure.
#[derive(Serialize)]
struct FailureJson<'a> {
    error: ErrorJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a StatusJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload: Option<&'a UploadReport>,
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    kind: &'static str,
    message: String,
    file: Option<String>,
    object: Option<&'a str>,
    hint: Option<&'static str>,
    may_retry: bool,
    refusals: Vec<RefusalJson<'a>>,
    refusals_omitted: u64,
}

#[derive(Serialize)]
struct RefusalJson<'a> {
    entry: &'a str,
    reason: String,
}

impl Failure {
    fn failed(error: Error, about: About, file: Option<&Path>) -> Self {
        Self::failed_in_words(error, about, file, flags)
    }

    fn failed_in_words(error: Error, about: About, file: Option<&Path>, words: fn(Remedy) -> &'static str) -> Self {
        let file = file.map(Path::to_path_buf);
        let error = error.in_words_of(words);
        Self::Failed(Box::new(Failed { error, about, file, status: None, code: None }))
    }

    /// A failure at the target.
    pub fn target(error: Error, target: &Path) -> Self {
        Self::failed(error, About::Target, Some(target))
    }

    /// A failure at the archive.
    pub fn archive(error: Error, archive: &Path) -> Self {
        Self::failed(error, About::Archive, Some(archive))
    }

    /// A failure to make an archive of this.
    pub fn making(error: Error, of: &Path) -> Self {
        Self::failed_in_words(error, About::Archive, Some(of), flags_of_making)
    }

    /// A failure that lies neither at the target nor at the archive.
    pub fn other(error: Error) -> Self {
        Self::failed(error, About::Neither, None)
    }

    /// A failure to print.
    pub fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::failed(Error::io("write to standard output", error), About::Neither, None)
    }

    /// The same with the last status that was seen.
    pub fn with_status(mut self, seen: Option<StatusJson>) -> Self {
        if let Self::Failed(failed) = &mut self {
            failed.status = seen;
        }
        self
    }

    /// The same with an exit code of its own.
    pub fn with_code(mut self, code: u8) -> Self {
        if let Self::Failed(failed) = &mut self {
            failed.code = Some(code);
        }
        self
    }

    /// Says it, and returns the exit code.
    pub fn show(&self, json: bool, content_on_stdout: bool) -> u8 {
        let Self::Failed(failed) = self else { return exit::OUTPUT_CLOSED };
        if !json {
            output::print_aside(&failed.for_people());
        } else if content_on_stdout {
            output::print_aside(&failed.as_json());
        } else if io::stdout().lock().write_all(failed.as_json().as_bytes()).is_err() {
            output::print_aside(&failed.for_people());
        }
        failed.code.unwrap_or_else(|| failed.code_of_kind())
    }
}

impl Failed {
    /// The file, unless the error names it anyway.
    fn file(&self) -> Option<String> {
        let shown = |path: &Path| displayable(path.as_os_str().as_encoded_bytes());
        self.file.as_deref().map(shown)
    }

    fn for_people(&self) -> String {
        let mut text = String::from("nlxtp: ");
        let canonical = self.file.as_deref().and_then(|file| file.canonicalize().ok());
        let canonical = canonical.map(|path| displayable(path.as_os_str().as_encoded_bytes()));
        let object = self.error.object().filter(|object| canonical.as_deref() != Some(object));
        let file = self.file().filter(|file| object != Some(file));
        for part in [file.as_deref(), object].into_iter().flatten() {
            text.push_str(part);
            text.push_str(": ");
        }
        text.push_str(&self.error.message());
        text.push('\n');
        if let Some(refusals) = self.error.refusals() {
            let list =
                output::show_listing("", refusals, |refusal| format!("\"{}\": {}", refusal.entry, refusal.reason));
            text.push_str(list.trim_start_matches('\n'));
        }
        if let Some(hint) = self.error.hint() {
            text.push_str(&format!("  way out: {hint}\n"));
        }
        text
    }

    fn as_json(&self) -> String {
        let refusals = self.error.refusals();
        let listed = refusals.map(|refusals| refusals.listed.as_slice()).unwrap_or_default();
        let error = ErrorJson {
            kind: self.error.kind().word(),
            message: self.error.message(),
            file: self.file(),
            object: self.error.object(),
            hint: self.error.hint(),
            may_retry: self.error.may_retry(),
            refusals: listed
                .iter()
                .map(|refusal| RefusalJson { entry: &refusal.entry, reason: refusal.reason.to_string() })
                .collect(),
            refusals_omitted: refusals.map_or(0, |refusals| refusals.omitted),
        };
        output::json_line(&FailureJson { error, status: self.status.as_ref(), upload: self.error.upload() })
    }

    fn code_of_kind(&self) -> u8 {
        match self.error.kind() {
            ErrorKind::InvalidInput | ErrorKind::Exists => exit::USAGE,
            ErrorKind::BadArchive => exit::ARCHIVE,
            ErrorKind::TooSmall | ErrorKind::NotATarget | ErrorKind::Damaged | ErrorKind::Unfinished => exit::TARGET,
            ErrorKind::InUse | ErrorKind::GuestOn | ErrorKind::Changing => exit::TRY_LATER,
            ErrorKind::TimedOut => exit::TIMED_OUT,
            ErrorKind::Cancelled => exit::CANCELLED,
            ErrorKind::InvokeFailed => exit::INVOKE_FAILED,
            kind => match self.about {
                About::Archive => exit::ARCHIVE,
                About::Target if kind != ErrorKind::Io => exit::TARGET,
                About::Target | About::Neither => exit::OTHER,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(error: Error, file: &str) -> Failed {
        match Failure::target(error, Path::new(file)) {
            Failure::Failed(failed) => *failed,
            Failure::OutputClosed => unreachable!(),
        }
    }

    #[test]
    fn the_file_is_named_once() {
        let error = || Error::new(ErrorKind::Damaged, "it is damaged");
        let text = failed(error().with_object("/a/b"), "/a/b").for_people();
        assert_eq!(text, "nlxtp: /a/b: it is damaged\n");
        let text = failed(error().with_object("x").with_hint("mend it"), "/a/b").for_people();
        assert_eq!(text, "nlxtp: /a/b: x: it is damaged\n  way out: mend it\n");
    }

    #[test]
    fn whose_fault_it_is_decides() {
        let error = || Error::new(ErrorKind::NotFound, "not there");
        let code = |failure| match failure {
            Failure::Failed(failed) => failed.code_of_kind(),
            Failure::OutputClosed => exit::OUTPUT_CLOSED,
        };
        assert_eq!(code(Failure::target(error(), Path::new("x"))), exit::TARGET);
        assert_eq!(code(Failure::archive(error(), Path::new("x"))), exit::ARCHIVE);
        assert_eq!(code(Failure::output(io::ErrorKind::StorageFull.into())), exit::OTHER);
        assert_eq!(code(Failure::output(io::ErrorKind::BrokenPipe.into())), exit::OUTPUT_CLOSED);
    }
}
