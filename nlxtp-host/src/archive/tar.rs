//! The members of a tar.
//!
//! Understood are the old tar of version 7, POSIX ustar and pax, and GNU tar, with numbers, long
//! names and types of each. Metadata is bounded before it is read into memory, and whatever is not
//! understood is given to the rules as unknown, never skipped.

#![forbid(unsafe_code)]

use std::io::{Read, Seek};

use rextfv_core::entry_path::displayable;

use super::format::Format;
use super::member::{Fingerprint, Member, MemberKind, Members};
use super::source::{CHUNK, Unpacked};
use super::tar_header::{self, BLOCK, PaxRecords, TarHeader};
use crate::error::{Error, ErrorKind, Remedy, Result};

/// Longest PAX header; those that GNU tar writes have some hundred bytes, with extended attributes
/// some ten thousand.
const MOST_PAX_BYTES: u64 = 1 << 20;
/// Longest name or link target; Linux takes 4095 bytes.
const MOST_NAME_BYTES: u64 = 64 << 10;
/// Longest padding after the end; tar's largest usual record has 1 MiB.
const MOST_PADDING: u64 = 64 << 20;
/// Most headers that describe one member.
const MOST_HEADERS: u32 = 16;

/// Reads a tar, packed or not.
pub(super) struct TarMembers<'a, R> {
    stream: Unpacked<'a, R>,
    /// The records of global PAX headers.
    global: PaxRecords,
    /// The path of the current member, for messages.
    current: Vec<u8>,
    /// Bytes of its content that were not read yet, and those that pad it to a block.
    content_left: u64,
    padding_left: u64,
    any_header: bool,
    ended: bool,
}

/// What the headers before a member's own say about it.
#[derive(Default)]
struct Extra {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<PaxRecords>,
    headers: u32,
}

impl<'a, R: Read + Seek> TarMembers<'a, R> {
    pub(super) fn new(stream: Unpacked<'a, R>) -> Self {
        Self {
            stream,
            global: PaxRecords::default(),
            current: Vec::new(),
            content_left: 0,
            padding_left: 0,
            any_header: false,
            ended: false,
        }
    }

    fn corrupt(&self, what: &str) -> Error {
        let message = format!("the archive is corrupt: {what} at byte {} of the tar", self.stream.position());
        Error::new(ErrorKind::BadArchive, message).with_hint("copy or pack it again")
    }

    fn truncated(&self, what: &str) -> Error {
        let message = format!("the archive is truncated: {what} at byte {} of the tar", self.stream.position());
        Error::new(ErrorKind::BadArchive, message).with_hint("copy or pack it again")
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", displayable(&self.current))
    }

    /// The next block; `None` at the end of the stream.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        match self.stream.fill(&mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ if !self.any_header => Err(self.no_tar()),
            _ => Err(self.truncated("it breaks off inside a block")),
        }
    }

    fn no_tar(&self) -> Error {
        let message = match self.stream.format() {
            Format::TarGz => "the gzip file holds no tar archive",
            Format::TarZst => "the zstd file holds no tar archive",
            Format::Tar | Format::Zip => "the archive is no tar archive",
        };
        Error::new(ErrorKind::BadArchive, message).with_remedy(Remedy::Pack)
    }

    /// Reads over what is left of the current member.
    fn skip_rest(&mut self) -> Result<()> {
        if self.content_left > 0 {
            let mut chunk = [0; 8 << 10];
            while self.read(&mut chunk)? > 0 {}
        }
        self.skip_padding()
    }

    /// After the content comes padding up to the next block.
    fn skip_padding(&mut self) -> Result<()> {
        let mut padding = [0; BLOCK];
        let length = std::mem::take(&mut self.padding_left) as usize;
        if self.stream.fill(&mut padding[..length])? < length {
            let entry = self.quoted();
            return Err(self.truncated(&format!("it breaks off after the content of {entry}")));
        }
        Ok(())
    }

    /// Reads the content of a header that describes the next member, or all that follow.
    fn metadata(&mut self, header: &TarHeader, most: u64) -> Result<Vec<u8>> {
        let size = header.size().ok_or_else(|| self.corrupt("an extended header has no size"))?;
        if size > most {
            return Err(self.corrupt(&format!("an extended header of {size} bytes (at most {most} are taken)")));
        }
        let mut content = vec![0; size as usize];
        if self.stream.fill(&mut content)? < content.len() {
            return Err(self.truncated("it breaks off in an extended header"));
        }
        self.padding_left = padding_of(size);
        self.skip_padding()?;
        Ok(content)
    }

    /// A long name or link target of GNU tar's: ended by a NUL.
    fn long_name(&mut self, header: &TarHeader) -> Result<Vec<u8>> {
        let mut name = self.metadata(header, MOST_NAME_BYTES)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn pax(&mut self, header: &TarHeader) -> Result<PaxRecords> {
        let content = self.metadata(header, MOST_PAX_BYTES)?;
        let records = PaxRecords::parse(&content).ok_or_else(|| self.corrupt("a malformed PAX header"))?;
        let names = [&records.path, &records.link_name];
        if names.into_iter().flatten().any(|name| name.len() as u64 > MOST_NAME_BYTES) {
            return Err(self.corrupt(&format!("a name of more than {MOST_NAME_BYTES} bytes")));
        }
        Ok(records)
    }

    /// Takes a header's word, and that of those before it, for what the next member is.
    fn member(&mut self, header: &TarHeader, extra: Extra) -> Result<Member> {
        let pax = extra.pax.unwrap_or_default();
        self.current = pax.path.or(extra.long_name).unwrap_or_else(|| header.path());
        let declared = pax.size.or_else(|| header.size()).ok_or_else(|| {
            let entry = self.quoted();
            self.corrupt(&format!("{entry} has no valid size"))
        })?;
        let link = || pax.link_name.or(extra.long_link).unwrap_or_else(|| header.link_name());
        let kind = match header.kind() {
            _ if pax.sparse => MemberKind::Sparse,
            // Old tar had no type for directories.
            b'0' | 0 if self.current.ends_with(b"/") && declared == 0 => MemberKind::Directory,
            b'0' | 0 if self.current.ends_with(b"/") => MemberKind::Unknown,
            b'0' | 0 | b'7' => MemberKind::File,
            b'1' => MemberKind::HardLink(link()),
            b'2' => MemberKind::Symlink(link()),
            b'3' | b'4' => MemberKind::Device,
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            b'S' => MemberKind::Sparse,
            _ => MemberKind::Unknown,
        };
        // POSIX: these have no content, whatever their size says.
        let size = if matches!(header.kind(), b'1'..=b'6') { 0 } else { declared };
        let mode = header.mode().ok_or_else(|| {
            let entry = self.quoted();
            self.corrupt(&format!("{entry} has no valid mode"))
        })?;
        let modified = pax.modified.or(self.global.modified).or_else(|| header.modified()).ok_or_else(|| {
            let entry = self.quoted();
            self.corrupt(&format!("{entry} has no valid time"))
        })?;
        let owner = pax.owner.or(self.global.owner).or_else(|| header.owner());
        let group = pax.group.or(self.global.group).or_else(|| header.group());
        let has_owner = owner != Some(0) || group != Some(0);
        self.content_left = size;
        self.padding_left = padding_of(size);
        let path = self.current.clone();
        Ok(Member { path, kind, size, mode, modified, has_owner })
    }

    /// Skips the rest of GNU tar's list of a sparse file's pieces, to get at what follows.
    fn skip_sparse_list(&mut self, header: &TarHeader) -> Result<()> {
        let mut goes_on = header.sparse_goes_on();
        while goes_on {
            let block = self.block()?.ok_or_else(|| self.truncated("it breaks off in a sparse file's header"))?;
            goes_on = tar_header::sparse_still_goes_on(&block);
        }
        Ok(())
    }

    /// After the first block of zeros only zeros may follow. Something else would be an archive
    /// behind the archive, which one reader sees and another does not.
    fn end(&mut self) -> Result<()> {
        let mut chunk = vec![0; CHUNK];
        let mut padding = 0;
        loop {
            let read = self.stream.fill(&mut chunk)?;
            if let Some(at) = chunk[..read].iter().position(|&byte| byte != 0) {
                let at = self.stream.position() - (read - at) as u64;
                let message = format!("the archive holds something after its end, at byte {at} of the tar");
                return Err(Error::new(ErrorKind::BadArchive, message).with_hint("pack everything into one archive"));
            }
            padding += read as u64;
            if padding > MOST_PADDING {
                let message = format!("more than {MOST_PADDING} bytes of padding follow the end of the archive");
                return Err(Error::new(ErrorKind::BadArchive, message).with_remedy(Remedy::Pack));
            }
            if read < chunk.len() {
                self.ended = true;
                return Ok(());
            }
        }
    }
}

impl<R: Read + Seek> Members for TarMembers<'_, R> {
    fn next(&mut self) -> Result<Option<Member>> {
        self.skip_rest()?;
        if self.ended {
            return Ok(None);
        }
        let mut extra = Extra::default();
        loop {
            let Some(block) = self.block()? else {
                return Err(if self.any_header { self.truncated("its end is missing") } else { self.no_tar() });
            };
            if block.iter().all(|&byte| byte == 0) {
                if !self.any_header {
                    let error = Error::new(ErrorKind::BadArchive, "the archive has not a single entry");
                    return Err(error.with_remedy(Remedy::Pack));
                }
                if extra.headers > 0 {
                    return Err(self.corrupt("an extended header belongs to no entry"));
                }
                self.end()?;
                return Ok(None);
            }
            let Some(header) = TarHeader::new(&block) else {
                return Err(if self.any_header { self.corrupt("a header is damaged") } else { self.no_tar() });
            };
            self.any_header = true;
            match header.kind() {
                b'L' => extra.long_name = Some(self.long_name(&header)?),
                b'K' => extra.long_link = Some(self.long_name(&header)?),
                b'x' => extra.pax = Some(self.pax(&header)?),
                b'g' => {
                    let records = self.pax(&header)?;
                    // One path for many entries makes no sense, and programs differ in reading it.
                    if records.path.is_some() || records.link_name.is_some() || records.size.is_some() || records.sparse
                    {
                        return Err(self.corrupt("a global PAX header gives a name or size"));
                    }
                    self.global = PaxRecords {
                        modified: records.modified.or(self.global.modified),
                        owner: records.owner.or(self.global.owner),
                        group: records.group.or(self.global.group),
                        ..PaxRecords::default()
                    };
                    continue;
                }
                kind => {
                    self.stream.budget_mut().add_member();
                    let member = self.member(&header, extra)?;
                    if kind == b'S' {
                        self.skip_sparse_list(&header)?;
                    }
                    return Ok(Some(member));
                }
            }
            extra.headers += 1;
            if extra.headers > MOST_HEADERS {
                return Err(self.corrupt("too many extended headers before an entry"));
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.content_left == 0 {
            self.skip_padding()?;
            return Ok(0);
        }
        let most = usize::try_from(self.content_left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.stream.read(&mut buffer[..most])?;
        if read == 0 {
            let (entry, left) = (self.quoted(), self.content_left);
            return Err(self.truncated(&format!("it breaks off {left} bytes before the end of {entry}")));
        }
        self.content_left -= read as u64;
        Ok(read)
    }

    fn fingerprint(&self) -> Fingerprint {
        self.stream.fingerprint()
    }
}

fn padding_of(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
