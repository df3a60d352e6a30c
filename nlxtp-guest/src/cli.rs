//! The command line.

#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::Arg;
use rextfv_core::status::{MAX_CUSTOM_BYTES, Progress};

use crate::config::{Config, ConfigError, Loaded};
use crate::custom::{self, RUN_VARIABLE};
use crate::error::{Doing, Error, note};
use crate::install::init_system::InitSystem;
use crate::install::tomato::MONITOR;
use crate::install::{self, Options, Task};
use crate::{daemon, drain, init, monitor};

const HELP: &str = "\
The guest's side of nlXTP: runs start scripts from a directory shared with the host.

Usage: nlxtp-guest [OPTIONS] COMMAND

Commands:
  monitor [--background]  Run the start script, if there is one that was not started before, and
                          keep its status; returns when the script has ended. In the background,
                          returns as soon as the run is claimed
  daemon                  Notice new start scripts and call the monitor; ends on SIGTERM
  set-status [--progress DONE/TOTAL] [TEXT]
                          Set the Custom Status of the run (at most 1 MiB; - reads it from standard
                          input), its progress, or both. For start scripts
  check-config            Print the effective configuration; exit code 1 if it has errors
  install                 Put this program, its configuration and what starts the daemon at boot
                          into this system, and start it
  upgrade                 The same over an older version, or in place of ToMaTo's guest modules
  uninstall               Take away all that was installed, but not what was changed since

Options:
  --dir DIR               The shared directory [nlxtp_dir, /mnt/nlXTP]
  --config FILE           The configuration [/etc/nlxtp.conf, else /etc/nlXTP.conf]
  --set KEY=VALUE         Overrides one key of the configuration
  --stay                  daemon: wait for SIGTERM when there is nothing left to do (nlxtp_mode 0
                          and 1), for supervisors that start again what ends
  --root DIR              install, upgrade, uninstall: into the root file system in DIR; no link
                          in it leads out of it, and nothing is started
  --dry-run               install, upgrade, uninstall: only say what would be done
  --init NAME             install, upgrade: systemd, sysvinit, openrc, runit or busybox, instead of
                          what is found
  --program FILE          install, upgrade: this program, for a guest of another architecture
  --no-start              install, upgrade, uninstall: neither start nor stop the daemon
  -h, --help              This text
  -V, --version           The version

Exit codes: 0 done (whatever the script's own exit code), 1 failed, 2 wrong usage.
Called without a command as process 1, it serves as the guest's only program.
";

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Monitor { background: bool },
    Daemon { stay: bool },
    Install(Task, Options),
    SetStatus { text: Option<OsString>, progress: Option<Progress> },
    CheckConfig,
    Drain,
    Help,
    Version,
}

#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    command: Command,
    dir: Option<PathBuf>,
    config: Option<PathBuf>,
    set: Vec<(String, String)>,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let mut arguments = env::args_os();
    let called = arguments.next().unwrap_or_default();
    let mut arguments: Vec<OsString> = arguments.collect();
    if Path::new(&called).file_name() == Path::new(MONITOR).file_name() {
        // The name of ToMaTo's monitor, which hosts call.
        arguments.insert(0, "monitor".into());
    }
    if std::process::id() == 1 && !arguments.iter().any(|word| COMMANDS.iter().any(|known| word == *known)) {
        // Words that the kernel does not know come to process 1 as arguments; they are not for us.
        init::run();
        return ExitCode::FAILURE;
    }
    match parse(lexopt::Parser::from_args(arguments)).and_then(run) {
        Ok(code) => code,
        Err(error) => {
            note(&error);
            if matches!(error, Error::Usage(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

const COMMANDS: [&str; 12] = [
    "monitor",
    "daemon",
    "set-status",
    "check-config",
    "install",
    "upgrade",
    "uninstall",
    "drain",
    "--help",
    "-h",
    "--version",
    "-V",
];

fn parse(mut parser: lexopt::Parser) -> Result<Arguments, Error> {
    let usage = |error: lexopt::Error| Error::Usage(error.to_string());
    let mut words: Vec<OsString> = Vec::new();
    let (mut dir, mut config, mut set, mut background, mut stay) = (None, None, Vec::new(), false, false);
    let mut options = Options::default();
    let (mut asked, mut progress) = (None, None);
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Arg::Long("dir") => {
                dir = Some(std::path::absolute(parser.value().map_err(usage)?).doing(|| "use --dir")?);
            }
            Arg::Long("config") => config = Some(parser.value().map_err(usage)?.into()),
            Arg::Long("set") => {
                let pair = parser.value().map_err(usage)?.into_string();
                let pair = pair.map_err(|_| Error::Usage("--set is no text".into()))?;
                let parts = pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
                set.push(parts.ok_or_else(|| Error::Usage(format!("--set {pair}: write KEY=VALUE")))?);
            }
            Arg::Long("progress") => {
                let value = parser.value().map_err(usage)?;
                let told = value.to_string_lossy().parse::<Progress>();
                progress = Some(told.map_err(|error| Error::Usage(format!("--progress {value:?}: {error}")))?);
            }
            Arg::Long("background") => background = true,
            Arg::Long("stay") => stay = true,
            Arg::Long("root") => options.root = Some(parser.value().map_err(usage)?.into()),
            Arg::Long("dry-run") => options.dry_run = true,
            Arg::Long("no-start") => options.no_start = true,
            Arg::Long("program") => options.program = Some(parser.value().map_err(usage)?.into()),
            Arg::Long("init") => {
                let name = parser.value().map_err(usage)?;
                let known = name.to_str().and_then(InitSystem::named);
                options.init = Some(known.ok_or_else(|| {
                    Error::Usage(format!(
                        "--init {}: known are systemd, sysvinit, openrc, runit, busybox",
                        name.display()
                    ))
                })?);
            }
            Arg::Short('h') | Arg::Long("help") => asked = Some(Command::Help),
            Arg::Short('V') | Arg::Long("version") => asked = Some(Command::Version),
            Arg::Value(word) => words.push(word),
            other => return Err(usage(other.unexpected())),
        }
    }
    let names: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let command = match (asked, names.as_slice()) {
        (Some(asked), _) => asked,
        _ if stay && names != [b"daemon"] => return Err(Error::Usage("--stay belongs to daemon".into())),
        _ if options != Options::default() && !matches!(names[..], [b"install" | b"upgrade" | b"uninstall"]) => {
            return Err(Error::Usage(
                "--root, --dry-run, --init, --program and --no-start belong to install, upgrade and uninstall".into(),
            ));
        }
        _ if progress.is_some() && names.first() != Some(&&b"set-status"[..]) => {
            return Err(Error::Usage("--progress belongs to set-status".into()));
        }
        (None, [b"monitor"]) => Command::Monitor { background },
        _ if background => return Err(Error::Usage("--background belongs to monitor".into())),
        (None, [b"daemon"]) => Command::Daemon { stay },
        (None, [b"install"]) => Command::Install(Task::Install, options.clone()),
        (None, [b"upgrade"]) => Command::Install(Task::Upgrade, options.clone()),
        (None, [b"uninstall"]) => Command::Install(Task::Uninstall, options.clone()),
        (None, [b"set-status", _]) => Command::SetStatus { text: Some(words[1].clone()), progress },
        (None, [b"set-status"]) if progress.is_some() => Command::SetStatus { text: None, progress },
        (None, [b"set-status", ..]) => return Err(Error::Usage("set-status takes one TEXT (quote it), or -".into())),
        (None, [b"check-config"]) => Command::CheckConfig,
        (None, [b"drain"]) => Command::Drain,
        (None, []) => return Err(Error::Usage("a command is missing".into())),
        (None, _) => {
            let text: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            return Err(Error::Usage(format!("\"{}\" is no command", text.join(" "))));
        }
    };
    Ok(Arguments { command, dir, config, set })
}

fn run(arguments: Arguments) -> Result<ExitCode, Error> {
    let configuration = || -> Result<Loaded, Error> { Ok(configuration(&arguments)?) };
    match &arguments.command {
        Command::Monitor { background } => monitor::run(&warned(configuration()?), *background)?,
        Command::Daemon { stay } => {
            let config = warned(configuration()?);
            let stopped = daemon::run(&config)?;
            if *stay && !stopped {
                daemon::wait_for_stop()?;
            }
        }
        Command::Install(task, options) => install::run(*task, options)?,
        Command::SetStatus { text, progress } => {
            // A start script's call finds the directory in its environment and needs no file.
            let dir = match (&arguments.dir, env::var_os("nlxtp_dir")) {
                (Some(dir), _) => dir.clone(),
                (None, Some(dir)) if Path::new(&dir).is_absolute() => dir.into(),
                (None, _) => configuration()?.config.dir,
            };
            let caller = env::var(RUN_VARIABLE).ok();
            let text = text.as_ref().map(status_text).transpose()?;
            custom::set(&dir, text.as_deref(), *progress, caller.as_deref())?;
        }
        Command::CheckConfig => {
            let loaded = configuration()?;
            let from = loaded.file.as_ref().map_or_else(
                || "no configuration file; these are the defaults".into(),
                |file| format!("from {}", file.display()),
            );
            say(&format!("# {from}\n{}", loaded.config.to_text()))?;
            warned(loaded);
        }
        Command::Drain => drain::run().doing(|| "drain")?,
        Command::Help => say(HELP)?,
        Command::Version => say(concat!("nlxtp-guest ", env!("CARGO_PKG_VERSION"), "\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The configuration file with what the command line lays over it.
fn configuration(arguments: &Arguments) -> Result<Loaded, ConfigError> {
    let mut loaded = Config::load(arguments.config.as_deref())?;
    let mut problems = Vec::new();
    for (key, value) in &arguments.set {
        match loaded.config.set(key, value) {
            Ok(None) => {}
            Ok(Some(why)) => problems.push(format!("--set: {key} cannot be set: {why}")),
            Err(allowed) => problems.push(format!("--set: {key} is \"{value}\"; allowed is {allowed}")),
        }
    }
    if let Some(dir) = &arguments.dir {
        loaded.config.dir.clone_from(dir);
    }
    if problems.is_empty() { Ok(loaded) } else { Err(ConfigError { problems }) }
}

fn warned(loaded: Loaded) -> Config {
    loaded.warnings.iter().for_each(note);
    loaded.config
}

fn status_text(word: &OsString) -> Result<Vec<u8>, Error> {
    if word != "-" {
        return Ok(word.as_bytes().to_vec());
    }
    let mut text = Vec::new();
    // One byte more than is allowed tells that it is too long.
    io::stdin().take(MAX_CUSTOM_BYTES as u64 + 1).read_to_end(&mut text).doing(|| "read standard input")?;
    Ok(text)
}

fn say(text: &str) -> Result<(), Error> {
    io::stdout().write_all(text.as_bytes()).doing(|| "write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Command, String> {
        parse(lexopt::Parser::from_args(words)).map(|arguments| arguments.command).map_err(|error| error.to_string())
    }

    #[test]
    fn commands_are_understood() {
        assert_eq!(parsed(&["monitor", "--background"]), Ok(Command::Monitor { background: true }));
        assert_eq!(parsed(&["--dir", "/x", "daemon"]), Ok(Command::Daemon { stay: false }));
        let set = |text: Option<&str>, progress| Ok(Command::SetStatus { text: text.map(Into::into), progress });
        assert_eq!(parsed(&["set-status", "-"]), set(Some("-"), None));
        assert_eq!(parsed(&["set-status", "--", "--dir"]), set(Some("--dir"), None));
        assert_eq!(parsed(&["set-status", "--progress", "3/10"]), set(None, Progress::new(3, 10)));
        assert_eq!(parsed(&["set-status", "--progress=3/10", "x"]), set(Some("x"), Progress::new(3, 10)));
        assert_eq!(parsed(&["monitor", "--help"]), Ok(Command::Help));
    }

    #[test]
    fn wrong_usage_is_refused() {
        for words in [
            &[][..],
            &["run"],
            &["daemon", "--background"],
            &["monitor", "--stay"],
            &["daemon", "--dry-run"],
            &["daemon", "--progress", "1/2"],
            &["monitor", "--progress", "1/2"],
            &["set-status", "--progress", "2/1"],
            &["set-status", "--progress", "half"],
            &["set-status"],
            &["set-status", "a", "b"],
            &["--dir"],
            &["check-config", "--set", "nlxtp_mode"],
        ] {
            assert!(parsed(words).unwrap_err().contains("--help"), "{words:?}");
        }
    }
}
