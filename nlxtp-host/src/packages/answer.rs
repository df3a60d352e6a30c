//! What a node answers to a probing archive. A guest wrote it: it is bounded, and parsed strictly.
//! `docs/packages.md` describes the form.

use std::collections::HashSet;
use std::fmt;

use rextfv_core::entry_path::displayable;
use rextfv_core::status::MAX_CUSTOM_BYTES;

use super::managers::{self, Manager};
use crate::error::{Error, ErrorKind, Result};

/// The first line: what this is, and the version of its form.
const FIRST_LINE: &str = "nlxtp-packages 1";

/// Most package files of one system. A whole desktop has some two thousand.
const MAX_FILES: usize = 10_000;

/// Most packages that are asked for at once.
pub(super) const MAX_WANTED: usize = 1_000;

/// Longest package file: one that FAT holds.
const MAX_FILE_BYTES: u64 = u32::MAX as u64;

/// Longest name of a package, and of a package file: one that every file system holds, with a prefix.
const MAX_NAME_BYTES: usize = 200;

/// Longest URL.
const MAX_URL_BYTES: usize = 2_000;

/// Longest identifier of a system.
const MAX_SYSTEM_BYTES: usize = 100;

/// The name of a package, for instance `jq` or `libc6:i386`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName(String);

impl PackageName {
    /// Takes a name that no package manager mistakes for anything else.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`].
    pub fn parse(name: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._:".contains(&byte);
        let begins_well = name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        // apt-get takes "jq-" for an order to remove it.
        if begins_well && name.len() <= MAX_NAME_BYTES && name.bytes().all(plain) && !name.ends_with(['-', ':', '.']) {
            return Ok(Self(name.to_owned()));
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("\"{}\" is no name of a package", displayable(name.as_bytes())),
        )
        .with_hint("name packages as the package manager does: letters, digits and + - . _ :, without a version"))
    }

    /// As it is spelt.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let mut bytes = [0; 32];
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
            let [high, low] = *pair else { return None };
            *byte = digit(high)? << 4 | digit(low)?;
        }
        (text.len() == 64).then_some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A package file that a node misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile {
    /// Of its content.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// As the package manager calls it.
    pub name: String,
    /// Where it can be had; `http` or `https`.
    pub url: String,
}

impl PackageFile {
    /// Its name in an installer archive: one that every file system holds, and no other file has.
    pub(super) fn entry_name(&self) -> String {
        let plain = |character: char| if character == '%' { '_' } else { character };
        let name: String = self.name.chars().map(plain).collect();
        format!("{:.12}-{name}", self.digest.to_string())
    }
}

/// What a node has answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The system's identifier: distribution, version and architecture.
    pub system: String,
    /// Its package manager.
    pub manager: &'static Manager,
    /// The packages that it was asked for.
    pub wanted: Vec<PackageName>,
    /// What it misses of them and their dependencies.
    pub files: Vec<PackageFile>,
}

impl Answer {
    /// Reads a node's Custom Status.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where the node says that a package, its package lists or its system
    /// cannot be had; [`ErrorKind::Damaged`] for what is no answer, or not whole.
    pub fn parse(custom_status: &[u8]) -> Result<Self> {
        if custom_status.len() > MAX_CUSTOM_BYTES {
            return Err(unusable("it is longer than any Custom Status"));
        }
        let text = str::from_utf8(custom_status).map_err(|_| unusable("it is no text"))?;
        let mut lines = text.lines();
        match lines.next() {
            Some(FIRST_LINE) => {}
            Some(line) if line.starts_with("nlxtp-packages ") => {
                let message = format!("its form is \"{}\", and this nlxtp knows \"{FIRST_LINE}\"", shown(line));
                return Err(unusable(message).with_hint("probe with the archive that this nlxtp makes"));
            }
            _ => return Err(unusable(format!("it does not begin with \"{FIRST_LINE}\""))),
        }
        let mut draft = Draft::default();
        for (number, line) in lines.enumerate() {
            draft.line(line).map_err(|error| error.with_object(format!("line {}", number + 2)))?;
        }
        draft.finish()
    }
}

/// An answer of which some lines have been read.
#[derive(Default)]
struct Draft {
    system: Option<String>,
    manager: Option<&'static Manager>,
    wanted: Vec<PackageName>,
    files: Vec<PackageFile>,
    names: HashSet<String>,
    ended: bool,
}

impl Draft {
    fn line(&mut self, line: &str) -> Result<()> {
        if self.ended {
            return Err(unusable("there is something after its end"));
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "system" if self.system.is_none() && is_system(rest) => self.system = Some(rest.to_owned()),
            "manager" if self.manager.is_none() => {
                let known = managers::find(rest);
                self.manager = Some(known.ok_or_else(|| unusable(format!("no package manager {}", shown(rest))))?);
            }
            "wanted" if self.wanted.len() < MAX_WANTED => {
                self.wanted.push(PackageName::parse(rest).map_err(|error| unusable(error.message()))?);
            }
            "file" if self.files.len() < MAX_FILES => {
                let manager = self.manager.ok_or_else(|| unusable("a file comes before the package manager"))?;
                let file = parse_file(rest, manager)?;
                if !self.names.insert(file.name.clone()) {
                    return Err(unusable(format!("{} is there twice", file.name)));
                }
                self.files.push(file);
            }
            "file" => return Err(unusable(format!("it has more than {MAX_FILES} files"))),
            "failed" => return Err(failed_there(rest)),
            "end" if rest.parse() == Ok(self.files.len()) => self.ended = true,
            "end" => return Err(unusable("it has another number of files than it says")),
            _ => return Err(unusable(format!("\"{}\" is not expected", shown(line)))),
        }
        Ok(())
    }

    fn finish(self) -> Result<Answer> {
        if !self.ended {
            return Err(unusable("its end is missing")
                .with_hint("a disk's shared directory may be full: use a larger disk; or probe again"));
        }
        let (Some(system), Some(manager), false) = (self.system, self.manager, self.wanted.is_empty()) else {
            return Err(unusable("the system, its package manager or what was wanted is missing"));
        };
        Ok(Answer { system, manager, wanted: self.wanted, files: self.files })
    }
}

fn unusable(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::Damaged, format!("this is no usable answer to a probing archive: {}", problem.into()))
}

fn shown(text: &str) -> String {
    let shown = displayable(text.as_bytes());
    match shown.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &shown[..end]),
        None => shown,
    }
}

/// What the probing archive itself says of its failure.
fn failed_there(rest: &str) -> Error {
    let (word, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let text: String = displayable(text.as_bytes()).chars().take(1_000).collect();
    let error = Error::new(ErrorKind::NotFound, format!("the probing failed in the node: {text}"));
    match word {
        "no-lists" => error.with_hint(
            "for the probing, a node must reach its package mirror: connect it, or correct its package sources",
        ),
        "not-available" => error.with_hint("check the packages' names, and the package sources of the node"),
        "no-manager" | "no-system" => error.with_hint("leave this node out, or install its packages another way"),
        _ => error,
    }
}

/// An identifier that is safe as a file's name.
fn is_system(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    !text.is_empty() && text.len() <= MAX_SYSTEM_BYTES && text.bytes().all(plain) && !text.starts_with(['-', '.'])
}

/// `SHA256 SIZE NAME URL`
fn parse_file(text: &str, manager: &Manager) -> Result<PackageFile> {
    let mut words = text.split(' ');
    let (Some(digest), Some(size), Some(name), Some(url), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(unusable("a file has a digest, a size, a name and a URL"));
    };
    let digest = Digest::parse(digest).ok_or_else(|| unusable("the digest is no SHA-256 digest"))?;
    let size = size.parse().ok().filter(|size| (1..=MAX_FILE_BYTES).contains(size));
    let size = size.ok_or_else(|| unusable(format!("the size is no number from 1 to {MAX_FILE_BYTES}")))?;
    if !is_file_name(name, manager.suffix) || (manager.slot)(name).is_none() {
        return Err(unusable(format!("\"{}\" is no name of a package file of {}", shown(name), manager.name)));
    }
    if !is_url(url) {
        return Err(unusable(format!("\"{}\" is no URL that a package is fetched from", shown(url)))
            .with_hint("only http and https can be fetched from the host: let the node's package sources use them"));
    }
    Ok(PackageFile { digest, size, name: name.to_owned(), url: url.to_owned() })
}

fn is_file_name(name: &str, suffix: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._~%".contains(&byte);
    let begins_well = name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    begins_well && name.len() <= MAX_NAME_BYTES && name.bytes().all(plain) && name.ends_with(suffix)
}

/// Whether it is an `http` or `https` URL of plain form: a host, perhaps a port, no user, no fragment.
fn is_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"#'<>\\^`{|}".contains(&byte);
    let host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    url.len() <= MAX_URL_BYTES && url.bytes().all(plain) && !authority.is_empty() && authority.bytes().all(host)
}

#[cfg(test)]
#[path = "answer/tests.rs"]
mod tests;
