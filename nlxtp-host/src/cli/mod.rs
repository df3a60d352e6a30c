//! The command line: what is said, and which command that is.
//!
//! Each command is a clap structure with a `run`, in a file of its own. They answer through
//! [`output`], fail through [`failure`], and share what their options mean in [`options`].

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod archive;
mod archive_create;
mod archive_file;
mod archive_merge;
mod archive_output;
mod archive_show;
mod contents;
mod disk;
mod download;
mod failure;
mod http;
mod journal;
mod journal_options;
mod journal_replay;
mod journal_verify;
mod logs;
mod manifest;
mod memory_file;
mod options;
mod output;
mod package_nodes;
mod package_steps;
mod packages;
mod progress;
mod replayed_node;
mod session;
mod signals;
mod status;
mod status_report;
mod units;
mod upload;
mod wait;
mod watch;

use failure::{Failure, exit};
use session::Session;

const ABOUT: &str = "Upload to, watch and download from guests without a network";

const LONG_ABOUT: &str = "\
Upload an archive to a virtual machine or container, have its start script executed, watch it and \
take the results home, through nothing but storage that host and guest share. The guest needs no \
network interface.

TARGET is a path. A directory is a container's shared directory. A file or block device is a virtual \
machine's disk: raw, with a FAT file system in partition 1 or as a whole. `nlxtp disk create` makes \
one. A disk is never mounted and needs no root; it can only be written while its guest is off.

ARCHIVE is a path, or \"-\" for standard input or output. tar, tar.gz, tar.zst and zip are taken; \
tar.gz, tar and tar.zst are made. An archive's start script is auto_exec.sh (or any auto_exec.*) at \
its top.";

const EXIT_CODES: &str = "\
Example, a virtual machine:
  nlxtp disk create disk.img
  nlxtp upload disk.img experiment.tar.gz
  ... boot the guest with disk.img as a disk ...
  nlxtp wait disk.img --timeout 10m
  nlxtp download disk.img results.tar.gz

Sizes are written as 62MiB, 1GiB or 512K (K, M, G, T and KiB, MiB, GiB, TiB are powers of 1024; kB, \
MB, GB, TB of 1000), times as 500ms, 10s, 5m, 2h or 1h30m.

With --json, the answer is one JSON object on one line of standard output; on standard error instead \
where standard output carries content (cat, logs, and download to \"-\"). A failure is an object with \
the key \"error\" in the same place.

Exit codes:
    0  success; wait: the start script ended with exit code 0
    1  any other failure
    2  the command line or a value in it cannot be used
    3  the archive is missing, damaged or refused, or cannot be written
    4  the target is missing or cannot be used: no shared directory or FAT disk, damaged, read-only,
       too small, full
    5  the target is in use or changing, or its guest is on: try again later
    6  the time given by --timeout is over
    7  cancelled by SIGINT, SIGTERM or SIGHUP (a second one kills)
    8  the upload stands, but the monitor could not be invoked
    9  what was done stands, but is not in the journal
   10  wait, status --exit-code: the start script failed (an exit code other than 0, a signal, or its time was up)
   11  wait, status --exit-code: the monitor stopped before the start script had ended
   12  status --exit-code: the run is under way
   13  wait, status --exit-code: the guest was booted anew before the start script had ended
   14  status --exit-code, logs: the status cannot be read; wait: it still could not when the time
       was over
   15  status --exit-code: the run has not started
   16  journal: what is there differs from what the journal says, or the journal is damaged; download:
       the archive differs from the guest's digests, or these cannot be used
  141  whoever read the output has gone";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "nlxtp", version, about = ABOUT, long_about = LONG_ABOUT, after_long_help = EXIT_CODES)]
#[command(disable_help_subcommand = true, max_term_width = 100)]
struct CommandLine {
    /// Answer with one JSON object
    #[arg(long, global = true, display_order = 900)]
    json: bool,
    /// Say also what does not matter much, on standard error
    #[arg(long, short, global = true, display_order = 901)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(subcommand)]
    Disk(disk::Disk),
    Upload(upload::Upload),
    Status(status::Status),
    Wait(wait::Wait),
    Watch(watch::Watch),
    Download(download::Download),
    Ls(contents::Ls),
    Cat(contents::Cat),
    Logs(logs::Logs),
    #[command(subcommand)]
    Archive(archive::Archive),
    #[command(subcommand)]
    Journal(journal::Journal),
}

/// Runs the command that the arguments say.
pub fn main() -> ExitCode {
    // Before any other thread begins: they all must hold the signals back.
    let cancel = signals::cancel_on_signals();
    let line = match CommandLine::try_parse_from(std::env::args_os().collect::<Vec<OsString>>()) {
        Ok(line) => line,
        Err(error) => {
            // Of use to nobody if it cannot be printed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    let session = Session { json: line.json, verbose: line.verbose, cancel };
    let content_on_stdout = line.command.has_content_on_stdout();
    match line.command.run(&session) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => ExitCode::from(failure.show(session.json, content_on_stdout)),
    }
}

impl Command {
    fn run(self, session: &Session) -> Result<u8, Failure> {
        match self {
            Self::Disk(command) => command.run(session),
            Self::Upload(command) => command.run(session),
            Self::Status(command) => command.run(session),
            Self::Wait(command) => command.run(session),
            Self::Watch(command) => command.run(session),
            Self::Download(command) => command.run(session),
            Self::Ls(command) => command.run(session),
            Self::Cat(command) => command.run(session),
            Self::Logs(command) => command.run(session),
            Self::Archive(command) => command.run(session),
            Self::Journal(command) => command.run(session),
        }
    }

    /// Whether standard output carries content, so that reports must go elsewhere.
    fn has_content_on_stdout(&self) -> bool {
        match self {
            Self::Cat(_) | Self::Logs(_) => true,
            Self::Download(command) => command.is_to_stdout(),
            Self::Archive(command) => command.is_to_stdout(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command) {
            if command.has_subcommands() {
                command.get_subcommands().for_each(check);
            } else {
                let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("nlxtp "), "{}", command.get_name());
                assert!(command.get_about().is_some(), "{}", command.get_name());
            }
        }
        check(&CommandLine::command());
    }
}
