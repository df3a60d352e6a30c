//! The bytes of a status record, format version 1 (`docs/protocol.md` specifies them).
//!
//! A record is text that a person can read and a POSIX shell can write: header lines in a fixed
//! order, an empty line, the Custom Status, and a last line with the SHA-256 of every byte before
//! it. What follows the record in its slot is ignored.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;
use core::time::Duration;

use sha2::{Digest, Sha256};

use crate::ids::{RunId, parse_hex};
use crate::status::{Ending, MAX_CUSTOM_BYTES, Progress, RunState, Status, StatusRule, Truncated, decimal};

/// First line of every record, without its newline: the format and its version.
pub const FIRST_LINE: &str = "nlxtp-status 1";

/// Name of the line that tells the progress, which may follow those that are always there.
const PROGRESS: &str = "progress";

/// What the first line of any version begins with.
const MAGIC: &[u8] = b"nlxtp-status ";

/// Longest header in bytes, from the first line to the empty line, both included.
pub const MAX_HEADER_BYTES: usize = 4096;

/// Length of the last line: `sha256: `, 64 digits, newline.
const CHECKSUM_LINE_BYTES: usize = 8 + 64 + 1;

/// Longest record in bytes. A reader never needs more of a slot than this.
pub const MAX_RECORD_BYTES: usize = MAX_HEADER_BYTES + MAX_CUSTOM_BYTES + 1 + CHECKSUM_LINE_BYTES;

/// What is wrong with the bytes of a status record. Each may be nothing but an update that the
/// guest is just writing, so reading again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatusDamage {
    /// No bytes, or only zero bytes: a slot that was made and never written.
    #[error("the slot was never written")]
    Blank,
    /// The bytes do not begin like a status record.
    #[error("the slot does not begin with \"nlxtp-status \"")]
    NotAStatus,
    /// A record of another version than 1.
    #[error("the status has a format version that this program does not know")]
    UnknownVersion,
    /// The bytes end, or 4096 bytes have passed, before the header does.
    #[error("the header has no end within the slot")]
    HeaderCut,
    /// The header holds a byte that is not printable ASCII.
    #[error("the header holds bytes that are not printable ASCII")]
    HeaderNotText,
    /// A header line is missing, misspelt or not in its place.
    #[error("the header line \"{0}\" is missing or not in its place")]
    FieldMissing(&'static str),
    /// The value of a header line is not of its form, or out of its range.
    #[error("the header line \"{0}\" has an unusable value")]
    FieldValue(&'static str),
    /// A line after the known ones is not of the form `name: value`.
    #[error("the header holds a line that is not of the form \"name: value\"")]
    ExtraLine,
    /// The bytes end before the Custom Status does.
    #[error("the custom status is cut off")]
    CustomCut,
    /// There is no checksum line where the Custom Status ends.
    #[error("the checksum line is missing")]
    ChecksumMissing,
    /// The checksum is not that of the bytes before it.
    #[error("the checksum does not match")]
    ChecksumMismatch,
    /// The checksum is right, but the values contradict each other.
    #[error("the status contradicts itself: {0}")]
    Rule(StatusRule),
}

/// Encodes a status as one record.
///
/// # Errors
/// The rule that the status breaks; nothing is ever written that [`decode`] would refuse.
pub fn encode(status: &Status) -> Result<Vec<u8>, StatusRule> {
    status.check()?;
    let custom = status.custom.as_deref();
    let mut record = Vec::with_capacity(1024 + custom.map_or(0, <[u8]>::len));
    let header = format!(
        "{FIRST_LINE}\n\
         run: {}\n\
         sequence: {}\n\
         state: {}\n\
         done: {}\n\
         running-info: {}\n\
         interval-ms: {}\n\
         boot: {}\n\
         ended: {}\n\
         stdout-bytes: {}\n\
         stderr-bytes: {}\n\
         truncated: {}\n\
         custom-bytes: {}\n\
         {}\
         \n",
        or_dash(status.run),
        status.sequence,
        status.state.word(),
        if status.done { "yes" } else { "no" },
        status.running_info,
        status.interval.as_millis(),
        or_dash(status.boot),
        ending_text(status.ended),
        status.stdout_bytes,
        status.stderr_bytes,
        truncated_text(status.truncated),
        or_dash(custom.map(<[u8]>::len)),
        status.progress.map_or_else(String::new, |progress| format!("{PROGRESS}: {progress}\n")),
    );
    record.extend_from_slice(header.as_bytes());
    record.extend_from_slice(custom.unwrap_or_default());
    record.push(b'\n');
    let digest = Sha256::digest(&record);
    record.extend_from_slice(b"sha256: ");
    for byte in digest {
        record.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
    record.push(b'\n');
    Ok(record)
}

/// Decodes the record at the beginning of a slot's bytes.
///
/// At most [`MAX_RECORD_BYTES`] of them are looked at, in one pass.
///
/// # Errors
/// What is wrong with the bytes, by name.
pub fn decode(slot: &[u8]) -> Result<Status, StatusDamage> {
    Header::decode(slot)?.verify(slot.into())
}

/// A record's header. Nothing in it counts before [`verify`](Self::verify) has seen the checksum.
#[derive(Debug, Clone)]
pub struct Header {
    /// All but the Custom Status.
    status: Status,
    bytes: usize,
    custom_bytes: Option<usize>,
}

impl Header {
    /// Decodes the header at the beginning of a slot's bytes.
    ///
    /// # Errors
    /// What is wrong with the bytes, by name.
    pub fn decode(slot: &[u8]) -> Result<Self, StatusDamage> {
        if !slot.starts_with(MAGIC) {
            let blank = slot.iter().take(MAX_HEADER_BYTES).all(|&byte| byte == 0);
            return Err(if blank { StatusDamage::Blank } else { StatusDamage::NotAStatus });
        }
        let bytes = header_len(slot).ok_or(StatusDamage::HeaderCut)?;
        let header = text(&slot[..bytes])?;
        let mut fields = Fields { rest: header };
        if fields.line() != Some(FIRST_LINE) {
            return Err(StatusDamage::UnknownVersion);
        }
        let status = Status {
            run: fields.optional("run", parse)?,
            sequence: fields.required("sequence", decimal)?,
            state: fields.required("state", RunState::from_word)?,
            done: fields.required("done", yes_or_no)?,
            running_info: fields.required("running-info", decimal)?,
            interval: fields.required("interval-ms", decimal).map(Duration::from_millis)?,
            boot: fields.optional("boot", parse)?,
            ended: fields.optional("ended", ending)?,
            stdout_bytes: fields.required("stdout-bytes", decimal)?,
            stderr_bytes: fields.required("stderr-bytes", decimal)?,
            truncated: fields.required("truncated", truncated)?,
            custom: None,
            progress: None,
        };
        let custom_bytes = fields.optional("custom-bytes", custom_len)?;
        let status = Status { progress: fields.extra_lines()?, ..status };
        Ok(Self { status, bytes, custom_bytes })
    }

    /// The sequence number that the record claims.
    pub fn sequence(&self) -> u64 {
        self.status.sequence
    }

    /// The run that the record claims to be about.
    pub fn run(&self) -> Option<RunId> {
        self.status.run
    }

    /// Bytes of the header itself, the empty line included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the whole record, at most [`MAX_RECORD_BYTES`].
    pub fn record_bytes(&self) -> usize {
        self.custom_end() + 1 + CHECKSUM_LINE_BYTES
    }

    fn custom_end(&self) -> usize {
        self.bytes + self.custom_bytes.unwrap_or(0)
    }

    /// Checks the rest of the record. `slot` begins with the bytes that the header was decoded from; of one
    /// that is owned, the memory becomes the Custom Status's.
    ///
    /// # Errors
    /// What is wrong with the bytes, by name.
    pub fn verify(self, slot: Cow<'_, [u8]>) -> Result<Status, StatusDamage> {
        let custom_end = self.custom_end();
        if slot.len() < custom_end {
            return Err(StatusDamage::CustomCut);
        }
        verify_checksum(&slot, custom_end)?;
        let custom = self.custom_bytes.map(|_| match slot {
            Cow::Borrowed(slot) => slot[self.bytes..custom_end].to_vec(),
            Cow::Owned(mut slot) => {
                slot.truncate(custom_end);
                slot.drain(..self.bytes);
                slot
            }
        });
        let status = Status { custom, ..self.status };
        status.check().map_err(StatusDamage::Rule)?;
        Ok(status)
    }
}

/// Length of the header with its empty line, if that comes within the slot and the limit.
fn header_len(slot: &[u8]) -> Option<usize> {
    let window = &slot[..slot.len().min(MAX_HEADER_BYTES)];
    let mut at = 0;
    loop {
        at += window[at..].iter().position(|&byte| byte == b'\n')? + 1;
        if window.get(at) == Some(&b'\n') {
            return Some(at + 1);
        }
    }
}

fn text(header: &[u8]) -> Result<&str, StatusDamage> {
    let printable = |byte: &u8| matches!(byte, b'\n' | b' '..=b'~');
    // To look at all of them, many at once, costs less than to stop at the first that is none.
    if !header.iter().fold(true, |all, byte| all & printable(byte)) {
        return Err(StatusDamage::HeaderNotText);
    }
    str::from_utf8(header).map_err(|_| StatusDamage::HeaderNotText)
}

fn verify_checksum(slot: &[u8], custom_end: usize) -> Result<(), StatusDamage> {
    let line_start = custom_end + 1;
    let line = slot
        .get(line_start..line_start + CHECKSUM_LINE_BYTES)
        .filter(|_| slot[custom_end] == b'\n')
        .ok_or(StatusDamage::ChecksumMissing)?;
    let digits = line
        .strip_prefix(b"sha256: ")
        .and_then(|rest| rest.strip_suffix(b"\n"))
        .ok_or(StatusDamage::ChecksumMissing)?;
    let digest = Sha256::digest(&slot[..line_start]);
    let is_right = parse_hex(digits).is_some_and(|written: [u8; 32]| written == *digest);
    if is_right { Ok(()) } else { Err(StatusDamage::ChecksumMismatch) }
}

/// The header's lines, taken in their fixed order.
struct Fields<'a> {
    /// Whole lines.
    rest: &'a str,
}

impl<'a> Fields<'a> {
    fn line(&mut self) -> Option<&'a str> {
        let end = self.rest.bytes().position(|byte| byte == b'\n')?;
        let (line, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Some(line)
    }

    fn value(&mut self, name: &'static str) -> Result<&'a str, StatusDamage> {
        let value = self.rest.strip_prefix(name).and_then(|rest| rest.strip_prefix(": "));
        self.rest = value.ok_or(StatusDamage::FieldMissing(name))?;
        self.line().ok_or(StatusDamage::FieldMissing(name))
    }

    fn required<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Option<T>) -> Result<T, StatusDamage> {
        parse(self.value(name)?).ok_or(StatusDamage::FieldValue(name))
    }

    /// A value that may be absent, which is written as `-`.
    fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, StatusDamage> {
        match self.value(name)? {
            "-" => Ok(None),
            value => parse(value).map(Some).ok_or(StatusDamage::FieldValue(name)),
        }
    }

    /// Takes the progress from the lines that may follow. All others are a later writer's, and so is a
    /// progress of another form: a reader of version 1 passes over them.
    fn extra_lines(mut self) -> Result<Option<Progress>, StatusDamage> {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let mut progress = None;
        while let Some(line) = self.line().filter(|line| !line.is_empty()) {
            let (name, value) =
                line.split_once(": ").filter(|(name, _)| is_name(name)).ok_or(StatusDamage::ExtraLine)?;
            if name == PROGRESS && progress.is_none() {
                progress = parse(value);
            }
        }
        Ok(progress)
    }
}

fn or_dash<T: core::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value}"))
}

fn parse<T: FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

fn custom_len(value: &str) -> Option<usize> {
    decimal(value).and_then(|len| usize::try_from(len).ok()).filter(|&len| len <= MAX_CUSTOM_BYTES)
}

fn yes_or_no(value: &str) -> Option<bool> {
    match value {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn ending(value: &str) -> Option<Ending> {
    let (kind, number) = value.split_once(' ')?;
    let number = u8::try_from(decimal(number)?).ok()?;
    match kind {
        "exit" => Some(Ending::Exit(number)),
        "signal" => Some(Ending::Signal(number)),
        _ => None,
    }
}

fn ending_text(ended: Option<Ending>) -> String {
    match ended {
        None => "-".into(),
        Some(Ending::Exit(code)) => format!("exit {code}"),
        Some(Ending::Signal(number)) => format!("signal {number}"),
    }
}

fn truncated(value: &str) -> Option<Truncated> {
    let mut flags = [false; 3];
    if value != "-" {
        // Each word at most once and in this order, so that a status has one encoding.
        let mut next = 0;
        for word in value.split(' ') {
            let found = next + Truncated::WORDS.get(next..)?.iter().position(|known| *known == word)?;
            flags[found] = true;
            next = found + 1;
        }
    }
    let [stdout, stderr, custom] = flags;
    Some(Truncated { stdout, stderr, custom })
}

fn truncated_text(truncated: Truncated) -> String {
    let words = truncated.words();
    if words.is_empty() { "-".into() } else { words.join(" ") }
}

#[cfg(test)]
mod tests;
