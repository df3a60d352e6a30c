//! Starting the start script.

#![forbid(unsafe_code)]

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::{EACCES, ENOENT, ENOEXEC, ETXTBSY};
use rextfv_core::ids::RunId;
use rextfv_core::start_script;

use crate::custom::RUN_VARIABLE;
use crate::request::Request;
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
    /// What the archive asks for.
    pub request: &'a Request,
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
    /// Starts the script, or what is asked for in its place, in a process group of its own, with both
    /// outputs in pipes.
    ///
    /// # Errors
    /// It cannot be started in any way.
    pub fn start(&self) -> Result<Child, NotStarted> {
        let (path, arguments) = match self.request.manifest.start.split_first() {
            None => (self.shared.join(self.name), &[][..]),
            // What is in the archive; a name without a slash is one of the system's programs.
            Some((program, arguments)) if program.contains('/') => (self.shared.join(program), arguments),
            Some((program, arguments)) => (program.into(), arguments),
        };
        let arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
        let first = match self.spawn(path.as_os_str(), &arguments) {
            Ok(child) => return Ok(child),
            Err(error) => error,
        };
        let line = if path.is_absolute() { interpreter_line(&path) } else { None };
        // Not marked executable, or no program by itself: then through its interpreter, or a shell.
        let second = match first.raw_os_error() {
            Some(EACCES | ENOEXEC) if path.is_absolute() => {
                let mut words: Vec<OsString> = line.clone().unwrap_or_else(|| vec![shell().into()]);
                words.push(path.clone().into());
                words.extend(arguments);
                match self.spawn(&words[0], &words[1..]) {
                    Ok(child) => return Ok(child),
                    Err(error) => error,
                }
            }
            _ => first,
        };
        let code = if second.raw_os_error() == Some(ENOENT) { 127 } else { 126 };
        let why = match (line.as_deref(), fs::read_link(&path)) {
            (Some([interpreter, ..]), _) if code == 127 => {
                let hint = if interpreter.as_bytes().ends_with(b"\r") {
                    " (its first line ends with a carriage return; convert it to Unix line ends)"
                } else {
                    ""
                };
                format!("its interpreter {interpreter:?} is not there{hint}")
            }
            (None, Ok(target)) if code == 127 && !path.exists() => {
                format!("it is a link to {target:?}, which leads nowhere")
            }
            _ => second.to_string(),
        };
        Err(NotStarted { code, message: format!("cannot start {}: {why}", path.display()) })
    }

    fn spawn(&self, program: &OsStr, arguments: &[OsString]) -> io::Result<Child> {
        let mut command = Command::new(program);
        if !self.request.manifest.start.is_empty() {
            command.current_dir(self.shared);
        }
        if env::var_os("PATH").is_none() {
            command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        }
        if let Some(user) = &self.request.user {
            let name = user.name.as_deref().map(OsStr::new);
            let known = [("HOME", user.home.as_deref().map(Path::as_os_str)), ("USER", name), ("LOGNAME", name)];
            for (variable, value) in known {
                match value {
                    Some(value) => command.env(variable, value),
                    None => command.env_remove(variable),
                };
            }
        }
        command
            .args(arguments)
            .envs(self.request.manifest.environment.iter().map(|(name, value)| (name, value)))
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
        sys::with_default_signals(&mut command);
        if let Some(user) = &self.request.user {
            sys::as_user(&mut command, user.uid, user.gid, user.groups.clone());
        }
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
    let words = start_script::interpreter_line(&line)?;
    Some(words.into_iter().map(|word| OsStr::from_bytes(word).to_owned()).collect())
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
