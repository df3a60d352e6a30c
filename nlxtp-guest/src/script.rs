//! Starting the start script.

#![forbid(unsafe_code)]

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::{EACCES, ENOENT, ENOEXEC, ETXTBSY};
use rextfv_core::ids::RunId;

use crate::custom::RUN_VARIABLE;
use crate::sys;

/// ToMaTo's `archive_version`: what start scripts may expect of their environment.
const ARCHIVE_VERSION: &str = "0.3";

/// ToMaTo's function that sets the Custom Status, as bash takes exported functions from the
/// environment. The text goes through a pipe, because an argument could not hold all of it.
const SETSTATUS_FUNCTION: &str = "() { if [ -x \"$nlxtp_guest\" ]; then \
    printf %s \"$*\" | \"$nlxtp_guest\" set-status -; \
    else printf %s \"$*\" > \"$nlxtp_dir/exec_status/custom\"; fi; }";

/// A longer first line is no interpreter's.
const MAX_INTERPRETER_LINE: u64 = 4096;

/// Where a start script is looked for and what it is told.
pub struct Script<'a> {
    /// The shared directory, absolute.
    pub shared: &'a Path,
    /// The start script's name in it.
    pub name: &'a OsStr,
    /// The run's id.
    pub run: Option<RunId>,
}

/// Why a start script could not be started.
#[derive(Debug)]
pub struct NotStarted {
    /// The exit code that a shell would give: 127 if something is not there, else 126.
    pub code: u8,
    /// What to tell the user.
    pub message: String,
}

impl Script<'_> {
    /// Starts the script in a process group of its own, in the present working directory, with both
    /// outputs in pipes.
    ///
    /// # Errors
    /// It cannot be started in any way.
    pub fn start(&self) -> Result<Child, NotStarted> {
        let path = self.shared.join(self.name);
        let first = match self.spawn(path.as_os_str(), &[]) {
            Ok(child) => return Ok(child),
            Err(error) => error,
        };
        let line = interpreter_line(&path);
        // Not marked executable, or no program by itself: then through its interpreter, or a shell.
        let second = match first.raw_os_error() {
            Some(EACCES | ENOEXEC) => {
                let mut arguments: Vec<OsString> = line.clone().unwrap_or_else(|| vec![shell().into()]);
                arguments.push(path.clone().into());
                match self.spawn(&arguments[0], &arguments[1..]) {
                    Ok(child) => return Ok(child),
                    Err(error) => error,
                }
            }
            _ => first,
        };
        let code = if second.raw_os_error() == Some(ENOENT) { 127 } else { 126 };
        let why = match line.as_deref() {
            Some([interpreter, ..]) if code == 127 => {
                let hint = if interpreter.as_bytes().ends_with(b"\r") {
                    " (its first line ends with a carriage return; convert it to Unix line ends)"
                } else {
                    ""
                };
                format!("its interpreter {interpreter:?} is not there{hint}")
            }
            _ => second.to_string(),
        };
        Err(NotStarted { code, message: format!("nlxtp-guest: cannot start {}: {why}\n", path.display()) })
    }

    fn spawn(&self, program: &OsStr, arguments: &[OsString]) -> io::Result<Child> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("nlxtp_dir", self.shared)
            .env("archive_dir", self.shared)
            .env("archive_version", ARCHIVE_VERSION)
            .env("nlxtp_guest", own_path())
            .env(RUN_VARIABLE, self.run.map(|run| run.to_string()).unwrap_or_default())
            .env("BASH_FUNC_archive_setstatus%%", SETSTATUS_FUNCTION)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if env::var_os("PATH").is_none() {
            command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        }
        sys::with_default_signals(&mut command);
        // A copying host may still be closing the file.
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            match command.spawn() {
                Err(error) if error.raw_os_error() == Some(ETXTBSY) && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(10));
                }
                spawned => return spawned,
            }
        }
    }
}

/// The interpreter and its argument in a script's first line.
fn interpreter_line(path: &Path) -> Option<Vec<OsString>> {
    let mut line = Vec::new();
    BufReader::new(File::open(path).ok()?.take(MAX_INTERPRETER_LINE)).read_until(b'\n', &mut line).ok()?;
    let line = line.strip_prefix(b"#!")?;
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let line = &line[line.iter().position(|byte| !blank(byte))?..];
    let end = line.iter().position(blank).unwrap_or(line.len());
    let mut words = vec![OsStr::from_bytes(&line[..end]).to_owned()];
    // Like the kernel: all that follows is one argument.
    let rest = line[end..].trim_ascii();
    if !rest.is_empty() {
        words.push(OsStr::from_bytes(rest).to_owned());
    }
    Some(words)
}

/// Start scripts written for ToMaTo use a function that only bash knows.
fn shell() -> &'static str {
    if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }
}

/// What to execute to call this program again, even if its file was replaced meanwhile.
pub fn own_program() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() { own } else { own_path() }
}

/// The path of this program, for others to call.
fn own_path() -> PathBuf {
    env::current_exe().unwrap_or_else(|_| env::args_os().next().unwrap_or_default().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreter_lines_are_read_like_the_kernel_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        for (text, words) in [
            ("#!/bin/sh\necho", Some(vec!["/bin/sh"])),
            ("#! /usr/bin/env  python3 -u \n", Some(vec!["/usr/bin/env", "python3 -u"])),
            ("#!/bin/sh\r\n", Some(vec!["/bin/sh\r"])),
            ("#!/bin/sh", Some(vec!["/bin/sh"])),
            ("#!\n", None),
            ("echo", None),
            ("", None),
        ] {
            std::fs::write(&path, text).unwrap();
            let expected = words.map(|words| words.into_iter().map(OsString::from).collect::<Vec<_>>());
            assert_eq!(interpreter_line(&path), expected, "{text:?}");
        }
    }
}
