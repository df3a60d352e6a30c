//! The members of a zip, as its central directory lists them.
//!
//! Programs differ in what they make of a zip whose parts contradict each other. Here such a zip is
//! corrupt: the directory must fill its place exactly, every local header must repeat it, members
//! may not share bytes, and a name may not stand there twice (which the rules see to).

#![forbid(unsafe_code)]

use std::io::{Read, Seek};

use flate2::{Decompress, FlushDecompress, Status};
use rextfv_core::archive_rules::{Refusal, RefusalReason};
use rextfv_core::entry_path::displayable;
use rextfv_core::listing::Listing;

use super::member::{Budget, Fingerprint, Member, MemberKind, Members};
use super::source::{CHUNK, Source};
use super::zip_directory::{
    CENTRAL_BYTES, CentralEntry, DirectoryEnd, END_BYTES, LOCAL_BYTES, LocalHeader, ZIP64_END_BYTES,
    ZIP64_LOCATOR_BYTES, central_lengths, method_name,
};
use crate::error::{Error, ErrorKind, Remedy, Result};

/// Longest comment at the end of a zip.
const MOST_COMMENT: usize = 0xffff;
/// Longest target of a symbolic link, more than Linux takes.
const MOST_TARGET: u64 = 4096;

/// Reads a zip.
pub(super) struct ZipMembers<'a, R> {
    source: Source<'a, R>,
    budget: Budget,
    /// Where the next entry of the central directory is, and what is left of the directory.
    directory_start: u64,
    directory_at: u64,
    directory_end: u64,
    entries_left: u64,
    /// A piece of the directory, so that small entries do not cost a read each.
    piece: Vec<u8>,
    piece_at: u64,
    body: Body,
    /// Packed bytes of all members so far.
    packed: u64,
    /// Bytes of the directory and of content, and the directory's checksum.
    bytes: u64,
    checksum: libdeflater::Crc,
}

/// The content of the current member.
struct Body {
    /// The member's name, for messages.
    path: Vec<u8>,
    inflate: Option<Decompress>,
    input: Vec<u8>,
    input_start: usize,
    /// Packed bytes that were not read yet, and unpacked ones that were not given yet.
    packed_left: u64,
    left: u64,
    stream_ended: bool,
    expected: u32,
    checksum: libdeflater::Crc,
    /// Nothing to read or to verify (any more).
    done: bool,
}

impl<'a, R: Read + Seek> ZipMembers<'a, R> {
    /// Finds the central directory.
    pub(super) fn new(mut source: Source<'a, R>, budget: Budget, most_entries: u64) -> Result<Self> {
        let length = source.length();
        let tail_at = length.saturating_sub((END_BYTES + MOST_COMMENT) as u64);
        let mut tail = vec![0; (length - tail_at) as usize];
        source.seek(tail_at)?;
        let read = source.fill(&mut tail)?;
        tail.truncate(read);
        let Some((at, mut end)) = DirectoryEnd::find(&tail) else {
            return Err(bad("the zip archive is truncated: the directory at its end is missing"));
        };
        let mut directory_end = tail_at + at as u64;
        if end.is_zip64() && directory_end >= ZIP64_LOCATOR_BYTES as u64 {
            let locator = read_array(&mut source, directory_end - ZIP64_LOCATOR_BYTES as u64)?;
            if let Some(position) = DirectoryEnd::zip64_position(&locator) {
                let record = read_array::<ZIP64_END_BYTES, _>(&mut source, position)?;
                end = DirectoryEnd::parse_zip64(&record)
                    .ok_or_else(|| bad("the zip archive is corrupt: its zip64 record is not where it should be"))?;
                directory_end = position;
            }
        }
        if end.split {
            let message = "the zip archive is one of several parts";
            return Err(Error::new(ErrorKind::BadArchive, message).with_remedy(Remedy::Pack));
        }
        if end.offset.checked_add(end.bytes) != Some(directory_end) {
            let message = "the zip archive is corrupt: its directory is not where it should be, \
                           as if bytes had been lost or put before it";
            return Err(bad(message));
        }
        // Before anything grows with their number.
        if end.entries > most_entries {
            let reason = RefusalReason::TooManyEntries(most_entries);
            let refusal = Refusal { entry: format!("{} entries", end.entries), reason };
            return Err(Error::refused(Listing { listed: vec![refusal], omitted: 0 }));
        }
        Ok(Self {
            source,
            budget,
            directory_start: end.offset,
            directory_at: end.offset,
            directory_end,
            entries_left: end.entries,
            piece: Vec::new(),
            piece_at: 0,
            body: Body::none(),
            packed: 0,
            bytes: 0,
            checksum: libdeflater::Crc::new(),
        })
    }

    /// The next bytes of the directory.
    fn directory_bytes(&mut self, length: usize) -> Result<Vec<u8>> {
        let end = self.directory_at + length as u64;
        if end > self.directory_end {
            return Err(bad("the zip archive is corrupt: its directory ends inside an entry"));
        }
        if self.directory_at < self.piece_at || end > self.piece_at + self.piece.len() as u64 {
            let most = (self.directory_end - self.directory_at).min((length.max(CHUNK)) as u64);
            self.piece.resize(most as usize, 0);
            self.piece_at = self.directory_at;
            self.source.seek(self.piece_at)?;
            if self.source.fill(&mut self.piece)? < self.piece.len() {
                return Err(bad("the zip archive became shorter while it was read"));
            }
        }
        let start = (self.directory_at - self.piece_at) as usize;
        let bytes = self.piece[start..start + length].to_vec();
        self.directory_at = end;
        self.checksum.update(&bytes);
        self.bytes += length as u64;
        Ok(bytes)
    }

    fn central_entry(&mut self) -> Result<CentralEntry> {
        let at = self.directory_at;
        let corrupt = || bad(format!("the zip archive is corrupt: the directory entry at byte {at} is damaged"));
        let fixed = self.directory_bytes(CENTRAL_BYTES)?;
        let fixed = fixed.first_chunk().ok_or_else(corrupt)?;
        let [name, extra, comment] = central_lengths(fixed).ok_or_else(corrupt)?;
        let name = self.directory_bytes(name)?;
        let extra = self.directory_bytes(extra)?;
        self.directory_bytes(comment)?;
        CentralEntry::parse(fixed, &name, &extra).ok_or_else(corrupt)
    }

    /// Goes to the content of an entry, past its local header.
    fn begin_body(&mut self, entry: &CentralEntry) -> Result<()> {
        let shown = displayable(entry.path());
        let at = entry.offset;
        let corrupt = |what: &str| bad(format!("the zip archive is corrupt: \"{shown}\" (at byte {at}) {what}"));
        if at.saturating_add(LOCAL_BYTES as u64) > self.directory_start {
            return Err(corrupt("lies outside the archive's content"));
        }
        let local = LocalHeader::parse(&read_array(&mut self.source, at)?)
            .ok_or_else(|| corrupt("has no header where the directory says"))?;
        let mut name = vec![0; local.name_bytes];
        self.source.fill(&mut name)?;
        if name != entry.name || !local.agrees_with(entry) {
            return Err(corrupt("is not what the directory says that it is"));
        }
        let header = (LOCAL_BYTES + local.name_bytes + local.extra_bytes) as u64;
        let end = at.checked_add(header).and_then(|start| start.checked_add(entry.compressed));
        if end.is_none_or(|end| end > self.directory_start) {
            return Err(corrupt("reaches beyond the archive's content"));
        }
        // Honest members lie beside each other; if they share bytes, a small zip could unpack to
        // anything.
        self.packed += header + entry.compressed;
        if self.packed > self.directory_start {
            return Err(corrupt("shares bytes with another entry"));
        }
        let inflate = match entry.method {
            0 if entry.compressed != entry.size => return Err(corrupt("has two different sizes")),
            0 => None,
            8 => Some(Decompress::new(false)),
            other => {
                let message =
                    format!("\"{shown}\" is compressed with {}; only deflate is taken in zip", method_name(other));
                return Err(Error::new(ErrorKind::BadArchive, message).with_remedy(Remedy::Pack));
            }
        };
        self.source.seek(at + header)?;
        let input = std::mem::take(&mut self.body.input);
        self.body = Body {
            path: entry.path().to_vec(),
            inflate,
            input,
            input_start: 0,
            packed_left: entry.compressed,
            left: entry.size,
            stream_ended: false,
            expected: entry.checksum,
            checksum: libdeflater::Crc::new(),
            done: false,
        };
        self.body.input.clear();
        Ok(())
    }

    fn read_target(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MOST_TARGET {
            // The rules refuse an empty target.
            return Ok(Vec::new());
        }
        let mut target = vec![0; size as usize];
        let mut filled = 0;
        while filled < target.len() {
            match self.read(&mut target[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(target)
    }

    /// Makes sure that there are packed bytes to go on with, if there are any left.
    fn refill(&mut self) -> Result<()> {
        let body = &mut self.body;
        if body.input_start < body.input.len() || body.packed_left == 0 {
            return Ok(());
        }
        let most = body.packed_left.min(CHUNK as u64) as usize;
        body.input.resize(most, 0);
        body.input_start = 0;
        if self.source.fill(&mut body.input)? < most {
            return Err(body.corrupt("breaks off"));
        }
        body.packed_left -= most as u64;
        Ok(())
    }

    /// Unpacks into the buffer; 0 only at the end of the packed stream.
    fn unpack(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            self.refill()?;
            let body = &mut self.body;
            let input = &body.input[body.input_start..];
            let Some(inflate) = &mut body.inflate else {
                let length = input.len().min(buffer.len());
                buffer[..length].copy_from_slice(&input[..length]);
                body.input_start += length;
                return Ok(length);
            };
            if body.stream_ended {
                return Ok(0);
            }
            let (in_before, out_before) = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(input, buffer, FlushDecompress::None);
            let (taken, given) = (inflate.total_in() - in_before, inflate.total_out() - out_before);
            body.input_start += taken as usize;
            match status {
                Ok(Status::StreamEnd) => body.stream_ended = true,
                Ok(_) if taken == 0 && given == 0 => return Err(body.corrupt("breaks off")),
                Ok(_) => {}
                Err(_) => return Err(body.corrupt("has damaged content")),
            }
            if given > 0 || body.stream_ended {
                return Ok(given as usize);
            }
        }
    }

    /// Verifies that the content ends where it should, and its checksum.
    fn end_body(&mut self) -> Result<()> {
        let mut beyond = [0];
        if self.body.inflate.is_some() && !self.body.stream_ended && self.unpack(&mut beyond)? > 0 {
            return Err(self.body.corrupt("is longer than the directory says"));
        }
        let body = &mut self.body;
        if body.packed_left > 0 || body.input_start < body.input.len() {
            return Err(body.corrupt("is shorter than the directory says"));
        }
        if body.checksum.sum() != body.expected {
            return Err(body.corrupt("has damaged content: its checksum is wrong"));
        }
        body.done = true;
        Ok(())
    }
}

impl Body {
    fn none() -> Self {
        Self {
            path: Vec::new(),
            inflate: None,
            input: Vec::new(),
            input_start: 0,
            packed_left: 0,
            left: 0,
            stream_ended: false,
            expected: 0,
            checksum: libdeflater::Crc::new(),
            done: true,
        }
    }

    fn corrupt(&self, what: &str) -> Error {
        bad(format!("the zip archive is corrupt: \"{}\" {what}", displayable(&self.path)))
    }
}

impl<R: Read + Seek> Members for ZipMembers<'_, R> {
    fn next(&mut self) -> Result<Option<Member>> {
        let mut chunk = [0; 8 << 10];
        while self.read(&mut chunk)? > 0 {}
        if self.entries_left == 0 {
            if self.directory_at != self.directory_end {
                return Err(bad("the zip archive is corrupt: its directory holds more entries than it counts"));
            }
            self.source.report(self.source.length())?;
            return Ok(None);
        }
        self.entries_left -= 1;
        self.budget.add_member();
        self.source.report(self.packed)?;
        let entry = self.central_entry()?;
        let mut kind = entry.kind();
        let mut size = entry.size;
        if kind == MemberKind::Encrypted {
            self.body = Body::none();
        } else {
            self.begin_body(&entry)?;
            if matches!(kind, MemberKind::Symlink(_)) {
                kind = MemberKind::Symlink(self.read_target(size)?);
                size = 0;
            }
        }
        let (mode, modified, has_owner) = (entry.mode(), entry.modified, entry.has_owner);
        let path = entry.unicode_name.unwrap_or(entry.name);
        Ok(Some(Member { path, kind, size, mode, modified, has_owner }))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.body.done || buffer.is_empty() {
            return Ok(0);
        }
        if self.body.left == 0 {
            self.end_body()?;
            return Ok(0);
        }
        let most = usize::try_from(self.body.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.unpack(&mut buffer[..most])?;
        if read == 0 {
            return Err(self.body.corrupt("is shorter than the directory says"));
        }
        self.body.left -= read as u64;
        self.bytes += read as u64;
        self.body.checksum.update(&buffer[..read]);
        self.budget.spend(read as u64)?;
        Ok(read)
    }

    fn fingerprint(&self) -> Fingerprint {
        // The directory holds the checksum of every member, and each was verified.
        Fingerprint { bytes: self.bytes, checksum: self.checksum.sum() }
    }
}

fn read_array<const N: usize, R: Read + Seek>(source: &mut Source<'_, R>, at: u64) -> Result<[u8; N]> {
    let mut array = [0; N];
    source.seek(at)?;
    if source.fill(&mut array)? < N {
        return Err(bad("the zip archive is corrupt: a record that it needs lies beyond its end"));
    }
    Ok(array)
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadArchive, message).with_hint("copy or pack it again")
}
