//! What an archive asks for its run: the optional manifest `nlxtp.toml` at its top
//! (`docs/manifest.md` specifies it).
//!
//! The host validates it before an upload, the guest obeys it. A guest without our modules does not
//! know it and runs the start script as ever.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::units::{parse_duration, parse_size};

mod pattern;
mod toml;

pub use self::pattern::{Cover, Pattern};
use self::toml::{Assignment, Value};

/// Longest manifest, in bytes: 64 KiB.
pub const MAX_MANIFEST_BYTES: usize = 64 << 10;

/// Longest time that a manifest may give its run: a year.
const MAX_TIMEOUT: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Names of the environment that the monitor sets itself.
const OWN_VARIABLES: [&str; 5] = ["nlxtp_dir", "archive_dir", "archive_version", "nlxtp_guest", "nlxtp_run"];

/// What an archive asks for its run. All of it is optional.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunManifest {
    /// The command that is started in place of the start script, and its arguments; empty for the
    /// start script itself.
    pub start: Vec<String>,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// Bytes that are kept of its standard output.
    pub stdout_limit: Option<u64>,
    /// Bytes that are kept of its error output.
    pub stderr_limit: Option<u64>,
    /// Name or number of the user to run as.
    pub user: Option<String>,
    /// What is set in its environment, in the manifest's order.
    pub environment: Vec<(String, String)>,
    /// What stays in the shared directory when it has ended; empty for everything.
    pub keep: Vec<Pattern>,
    /// What is deleted when it has ended well.
    pub delete: Vec<Pattern>,
    /// Whether the digests of what is there in the end are wanted; `None` for as the guest does it.
    pub digests: Option<bool>,
}

/// What is wrong with a manifest, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ManifestProblem {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl ManifestProblem {
    fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        Self { line, column: before[line_start..].chars().count() + 1, message: message.into() }
    }
}

impl RunManifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestProblem> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            let message = format!("the manifest is longer than {MAX_MANIFEST_BYTES} bytes");
            return Err(ManifestProblem { line: 1, column: 1, message });
        }
        let text = str::from_utf8(bytes).map_err(|error| {
            let valid = str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
            ManifestProblem::at(valid, valid.len(), "this is not UTF-8")
        })?;
        let mut manifest = Self::default();
        for assignment in toml::assignments(text)? {
            manifest.set(&assignment).map_err(|message| ManifestProblem::at(text, assignment.offset, message))?;
        }
        Ok(manifest)
    }

    fn set(&mut self, assignment: &Assignment) -> Result<(), String> {
        let value = &assignment.value;
        let key = assignment.key.join(".");
        let wrong = |allowed: &str| format!("\"{key}\" is {}; allowed is {allowed}", value.shown());
        let path: Vec<&str> = assignment.key.iter().map(String::as_str).collect();
        match path[..] {
            ["start"] => {
                let allowed = "a command such as \"./run\", or a list of it and its arguments such as [\"python3\", \"main.py\"]; one in the archive without ..";
                self.start = match value {
                    Value::Text(command) => Vec::from([command.clone()]),
                    value => value.texts().ok_or_else(|| wrong(allowed))?,
                };
                let usable = self.start.first().is_some_and(|command| is_command(command));
                if !usable || self.start.iter().any(|word| word.contains('\0')) {
                    return Err(wrong(allowed));
                }
            }
            ["timeout"] => {
                let time = value.text().and_then(|text| parse_duration(text).ok());
                let time = time.filter(|time| !time.is_zero() && *time <= MAX_TIMEOUT);
                self.timeout =
                    Some(time.ok_or_else(|| wrong("a time such as \"90s\", \"10m\" or \"1h30m\", at most a year"))?);
            }
            ["stdout-limit"] => self.stdout_limit = Some(size(value).ok_or_else(|| wrong(SIZE))?),
            ["stderr-limit"] => self.stderr_limit = Some(size(value).ok_or_else(|| wrong(SIZE))?),
            ["user"] => {
                let user = match value {
                    Value::Integer(number) => u32::try_from(*number).ok().map(|number| number.to_string()),
                    value => value.text().filter(|name| is_user_name(name)).map(Into::into),
                };
                self.user = Some(user.ok_or_else(|| wrong("the name or the number of a user of the guest"))?);
            }
            ["keep"] => self.keep = patterns(value).map_err(|problem| wrong(&problem))?,
            ["delete"] => self.delete = patterns(value).map_err(|problem| wrong(&problem))?,
            ["digests"] => {
                let Value::Boolean(wanted) = value else { return Err(wrong("true or false")) };
                self.digests = Some(*wanted);
            }
            ["environment", name] => {
                let value =
                    value.text().filter(|value| !value.contains('\0')).ok_or_else(|| wrong("a text without NUL"))?;
                if !is_variable(name) {
                    return Err(format!(
                        "\"{name}\" is no name for the environment; allowed are letters, digits and _, not beginning with a digit"
                    ));
                }
                if OWN_VARIABLES.contains(&name) {
                    return Err(format!("\"{name}\" is set by the monitor itself; choose another name"));
                }
                self.environment.push((name.into(), value.into()));
            }
            ["environment"] => {
                return Err(wrong("a table: [environment], and lines such as NAME = \"value\" below it"));
            }
            _ => {
                return Err(format!(
                    "there is no key \"{key}\"; known are start, timeout, stdout-limit, stderr-limit, user, keep, delete, digests and the table [environment]"
                ));
            }
        }
        Ok(())
    }

    /// Whether anything is to be removed when the run has ended.
    pub fn tidies(&self) -> bool {
        !self.keep.is_empty() || !self.delete.is_empty()
    }
}

const SIZE: &str = "a size such as \"512K\" or \"64MiB\", or a number of bytes";

fn size(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(bytes) => u64::try_from(*bytes).ok(),
        value => parse_size(value.text()?).ok(),
    }
}

fn patterns(value: &Value) -> Result<Vec<Pattern>, String> {
    const ALLOWED: &str = "a list of paths in the archive, such as [\"results\", \"*.log\"]";
    let texts = value.texts().ok_or(ALLOWED)?;
    texts
        .iter()
        .map(|text| {
            Pattern::parse(text)
                .ok_or_else(|| format!("{ALLOWED}, not beginning with / and without . and .. (\"{text}\")"))
        })
        .collect()
}

/// One with a slash lies in the archive, unless it begins with one, and must not lead out.
fn is_command(command: &str) -> bool {
    let leads_out = !command.starts_with('/') && command.contains('/') && command.split('/').any(|part| part == "..");
    !command.is_empty() && !leads_out
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_user_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('-')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.$@".contains(&byte))
}

#[cfg(test)]
mod tests;
