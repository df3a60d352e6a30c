//! The configuration: `/etc/nlxtp.conf`, or else that of ToMaTo's guest modules.
//!
//! Its syntax is that of assignments in a shell, but no shell ever reads it: there are no
//! expansions and no commands, and what would be one is an error.

#![forbid(unsafe_code)]

pub(crate) mod assignments;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the configuration is looked for, in this order.
pub const FILES: [&str; 2] = ["/etc/nlxtp.conf", "/etc/nlXTP.conf"];

/// When the daemon looks for a start script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Never.
    Never,
    /// Once, when it is started.
    Once,
    /// Always.
    Watch,
}

/// How the daemon and the monitor notice changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noticing {
    /// By events where they arrive, else by looking at intervals.
    Auto,
    /// Only by looking at intervals.
    Poll,
}

/// Where the disk is that is the shared directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Device {
    /// Nothing is said: process 1 finds it, a daemon mounts nothing.
    #[default]
    Unsaid,
    /// To be found by its label or its content.
    Auto,
    /// Here.
    At(PathBuf),
}

/// The effective configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The shared directory, as an absolute path.
    pub dir: PathBuf,
    /// When the daemon looks for a start script.
    pub mode: Mode,
    /// Time between two heartbeats of the monitor.
    pub heartbeat: Duration,
    /// Time between two looks of the daemon, where no events arrive.
    pub poll_interval: Duration,
    /// How long an upload without a run id must have been quiet before it is run.
    pub settle: Duration,
    /// How changes are noticed.
    pub noticing: Noticing,
    /// Bytes kept of each of the script's outputs.
    pub output_limit: u64,
    /// Whether the status files of ToMaTo's guest modules are written, too.
    pub tomato_status: bool,
    /// Whether digests of all files are written when a run has ended.
    pub digests: bool,
    /// Time between SIGTERM and SIGKILL when a run is stopped.
    pub grace: Duration,
    /// How long a script may run; `None` for as long as it wants.
    pub run_timeout: Option<Duration>,
    /// The disk to mount at the shared directory.
    pub device: Device,
    /// As process 1: kernel modules to load, in this order.
    pub modules: Vec<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("/mnt/nlXTP"),
            mode: Mode::Watch,
            heartbeat: Duration::from_secs(10),
            poll_interval: Duration::from_secs(10),
            settle: Duration::from_secs(1),
            noticing: Noticing::Auto,
            output_limit: 64 << 20,
            tomato_status: true,
            digests: true,
            grace: Duration::from_secs(5),
            run_timeout: None,
            device: Device::Unsaid,
            modules: Vec::new(),
        }
    }
}

/// A configuration and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The effective values.
    pub config: Config,
    /// The file that was read; `None` where there is none and the defaults hold.
    pub file: Option<PathBuf>,
    /// What was passed over, by file and line.
    pub warnings: Vec<String>,
}

/// Everything that is wrong with a configuration, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Each names file, line and key, and says what is allowed. Last come the keys that are passed over.
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\nnlxtp-guest: "))
    }
}

impl std::error::Error for ConfigError {}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const YEAR_MS: u64 = 365 * DAY_MS;

impl Config {
    /// Reads the configuration from the file named, or else from the first of [`FILES`] that is
    /// there. A file that is named must be there.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn load(named: Option<&Path>) -> Result<Loaded, ConfigError> {
        let candidates = named.map_or_else(|| FILES.iter().map(PathBuf::from).collect(), |file| vec![file.to_owned()]);
        for file in candidates {
            match fs::read_to_string(&file) {
                Ok(text) => {
                    let (config, warnings) = Self::parse(&text, &file.display().to_string())?;
                    return Ok(Loaded { config, file: Some(file), warnings });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {}
                Err(error) => {
                    return Err(ConfigError { problems: vec![format!("cannot read {}: {error}", file.display())] });
                }
            }
        }
        Ok(Loaded { config: Self::default(), file: None, warnings: Vec::new() })
    }

    /// Parses a configuration; `name` is the file's name in messages. Gives the warnings, too.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn parse(text: &str, name: &str) -> Result<(Self, Vec<String>), ConfigError> {
        let mut config = Self::default();
        let (mut warnings, mut problems) = (Vec::new(), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            let place = format!("{name}, line {number}");
            match assignments::parse_line(line) {
                Ok(None) => {}
                Ok(Some((key, value))) => match config.set(&key, &value) {
                    Ok(None) => {}
                    Ok(Some(why)) => warnings.push(format!("{place}: {key} is ignored: {why}")),
                    Err(allowed) => problems.push(format!("{place}: {key} is \"{value}\"; allowed is {allowed}")),
                },
                Err(problem) => problems.push(format!("{place}: {problem}")),
            }
        }
        if problems.is_empty() {
            return Ok((config, warnings));
        }
        // What is passed over may be a key that is spelled wrong.
        problems.append(&mut warnings);
        Err(ConfigError { problems })
    }

    /// Sets one key. Where it means nothing to us, gives the reason.
    ///
    /// # Errors
    /// What is allowed instead.
    pub fn set(&mut self, key: &str, value: &str) -> Result<Option<&'static str>, String> {
        match key {
            "nlxtp_dir" => self.dir = absolute(value)?,
            "nlxtp_mode" => self.mode = one_of(value, &[("0", Mode::Never), ("1", Mode::Once), ("2", Mode::Watch)])?,
            "nlxtp_mon_check_interval" => self.heartbeat = seconds(value, 100..=DAY_MS)?,
            "nlxtp_daemon_check_interval" => self.poll_interval = seconds(value, 100..=DAY_MS)?,
            "nlxtp_settle" => self.settle = seconds(value, 0..=DAY_MS)?,
            "nlxtp_watch" => self.noticing = one_of(value, &[("auto", Noticing::Auto), ("poll", Noticing::Poll)])?,
            "nlxtp_output_limit" => self.output_limit = number(value).ok_or("a whole number of bytes")?,
            "nlxtp_tomato_status" => self.tomato_status = one_of(value, &[("0", false), ("1", true)])?,
            "nlxtp_digests" => self.digests = one_of(value, &[("0", false), ("1", true)])?,
            "nlxtp_grace" => self.grace = seconds(value, 0..=DAY_MS)?,
            "nlxtp_run_timeout" => {
                self.run_timeout = Some(seconds(value, 0..=YEAR_MS)?).filter(|timeout| !timeout.is_zero());
            }
            "nlxtp_device" => {
                self.device = match value {
                    "" => Device::Unsaid,
                    "auto" => Device::Auto,
                    path => Device::At(absolute(path).map_err(|allowed| format!("auto, {allowed}, or nothing"))?),
                }
            }
            "nlxtp_modules" => self.modules = value.split_whitespace().map(absolute).collect::<Result<_, _>>()?,
            "nlxtp_mon_command" => return Ok(Some("this daemon calls its own monitor")),
            _ => return Ok(Some("there is no such key")),
        }
        Ok(None)
    }

    /// Every key with its value, as [`set`](Self::set) takes them.
    pub fn pairs(&self) -> [(&'static str, String); 13] {
        let path = |path: &Path| path.display().to_string();
        let modules: Vec<String> = self.modules.iter().map(|module| path(module)).collect();
        let mode = match self.mode {
            Mode::Never => "0",
            Mode::Once => "1",
            Mode::Watch => "2",
        };
        let device = match &self.device {
            Device::Unsaid => String::new(),
            Device::Auto => "auto".to_owned(),
            Device::At(device) => path(device),
        };
        let noticing = match self.noticing {
            Noticing::Auto => "auto",
            Noticing::Poll => "poll",
        };
        [
            ("nlxtp_dir", path(&self.dir)),
            ("nlxtp_mode", mode.to_owned()),
            ("nlxtp_mon_check_interval", in_seconds(self.heartbeat)),
            ("nlxtp_daemon_check_interval", in_seconds(self.poll_interval)),
            ("nlxtp_settle", in_seconds(self.settle)),
            ("nlxtp_watch", noticing.to_owned()),
            ("nlxtp_output_limit", self.output_limit.to_string()),
            ("nlxtp_tomato_status", u8::from(self.tomato_status).to_string()),
            ("nlxtp_digests", u8::from(self.digests).to_string()),
            ("nlxtp_grace", in_seconds(self.grace)),
            ("nlxtp_run_timeout", in_seconds(self.run_timeout.unwrap_or_default())),
            ("nlxtp_device", device),
            ("nlxtp_modules", modules.join(" ")),
        ]
    }

    /// Writes the configuration as a file that gives the same again.
    pub fn to_text(&self) -> String {
        let line = |(key, value): (&str, String)| format!("{}\n", assignments::line(key, &value));
        self.pairs().into_iter().map(line).collect()
    }
}

fn one_of<T: Copy>(value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices.iter().find(|(word, _)| *word == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        words.join(" or ")
    })
}

fn absolute(value: &str) -> Result<PathBuf, String> {
    if value.starts_with('/') { Ok(PathBuf::from(value)) } else { Err("an absolute path".into()) }
}

fn number(value: &str) -> Option<u64> {
    // `parse` alone would take a sign.
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

/// Seconds with at most three decimals, in whole milliseconds as the status file has them.
fn seconds(value: &str, range_ms: std::ops::RangeInclusive<u64>) -> Result<Duration, String> {
    let milliseconds = || {
        let (whole, decimals) = value.split_once('.').unwrap_or((value, "0"));
        if !(1..=3).contains(&decimals.len()) {
            return None;
        }
        let thousandths = number(&format!("{decimals:0<3}"))?;
        number(whole).filter(|_| !whole.is_empty())?.checked_mul(1000)?.checked_add(thousandths)
    };
    milliseconds().filter(|ms| range_ms.contains(ms)).map(Duration::from_millis).ok_or_else(|| {
        let bound = |ms: &u64| in_seconds(Duration::from_millis(*ms));
        format!("a number of seconds from {} to {}", bound(range_ms.start()), bound(range_ms.end()))
    })
}

/// A time as [`seconds`] reads it: floating point would add digits of its own.
fn in_seconds(time: Duration) -> String {
    let text = format!("{}.{:03}", time.as_secs(), time.subsec_millis());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
