//! The bytes of an archive: from the disk, and unpacked.

#![forbid(unsafe_code)]

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use flate2::bufread::GzDecoder;

use super::format::Format;
use super::member::{Budget, Fingerprint, Passes};
use crate::error::{Error, ErrorKind, Remedy, Result};

/// Bytes that are read or unpacked at once.
pub(super) const CHUNK: usize = 64 << 10;

/// An archive on the disk, under a caller's control.
///
/// Its errors hold an [`Error`] of ours, so that they can be told from what a decompressor says.
pub(super) struct Source<'a, R> {
    inner: &'a mut R,
    step: Step<'a>,
    position: u64,
    length: u64,
}

/// Is told how much is done, and of how much; an error ends the operation.
pub(super) type Step<'a> = &'a dyn Fn(u64, u64) -> Result<()>;

impl<'a, R: Read + Seek> Source<'a, R> {
    /// The archive from its beginning.
    pub(super) fn new(inner: &'a mut R, step: Step<'a>) -> Result<Self> {
        let length = inner.seek(SeekFrom::End(0)).map_err(read_failed)?;
        inner.seek(SeekFrom::Start(0)).map_err(read_failed)?;
        Ok(Self { inner, step, position: 0, length })
    }

    /// Bytes of the whole archive.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Goes on elsewhere.
    pub(super) fn seek(&mut self, position: u64) -> Result<()> {
        self.inner.seek(SeekFrom::Start(position)).map_err(read_failed)?;
        self.position = position;
        Ok(())
    }

    /// Fills the buffer as far as the archive reaches.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) => return Err(ours(error).unwrap_or_else(read_failed)),
            }
        }
        Ok(filled)
    }

    /// Says how far the examination is, in bytes of the archive.
    pub(super) fn report(&self, done: u64) -> Result<()> {
        (self.step)(done.min(self.length), self.length)
    }
}

impl<R: Read> Read for Source<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.step)(self.position.min(self.length), self.length).map_err(io::Error::other)?;
        let read = loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|error| io::Error::other(read_failed(error)))?,
            }
        };
        self.position += read as u64;
        Ok(read)
    }
}

fn read_failed(error: io::Error) -> Error {
    Error::io("read the archive", error)
}

/// The error of ours that an error of [`Source`] holds.
fn ours(error: io::Error) -> std::result::Result<Error, io::Error> {
    error.downcast::<Error>()
}

/// The bytes of a tar, unpacked from whatever it is packed in.
pub(super) struct Unpacked<'a, R> {
    layer: Layer<BufReader<Source<'a, R>>>,
    format: Format,
    budget: Budget,
    bytes: u64,
    /// Where two passes are to be compared.
    checksum: Option<libdeflater::Crc>,
}

enum Layer<B> {
    Plain(B),
    // Boxed for its size. Unpacked in large pieces: at the end of each it goes slowly.
    Gzip(BufReader<Box<GzipMembers<B>>>),
    Zstd(zstd::Decoder<'static, B>),
}

impl<'a, R: Read + Seek> Unpacked<'a, R> {
    /// Begins to unpack an archive of a format that holds a tar.
    pub(super) fn new(source: Source<'a, R>, format: Format, budget: Budget, passes: Passes) -> Result<Self> {
        let buffered = BufReader::with_capacity(CHUNK, source);
        let layer = match format {
            Format::TarGz => Layer::Gzip(BufReader::with_capacity(CHUNK, Box::new(GzipMembers::new(buffered)))),
            Format::TarZst => Layer::Zstd(
                zstd::Decoder::with_buffer(buffered).map_err(|error| Error::io("begin to unpack zstd", error))?,
            ),
            Format::Tar | Format::Zip => Layer::Plain(buffered),
        };
        Ok(Self { layer, format, budget, bytes: 0, checksum: (passes == Passes::Two).then(libdeflater::Crc::new) })
    }

    /// What the tar is packed in.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Unpacked bytes so far.
    pub(super) fn position(&self) -> u64 {
        self.bytes
    }

    /// What the archive may unpack to.
    pub(super) fn budget_mut(&mut self) -> &mut Budget {
        &mut self.budget
    }

    /// What was unpacked so far.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint { bytes: self.bytes, checksum: self.checksum.as_ref().map_or(0, libdeflater::Crc::sum) }
    }

    /// Reads on; 0 only at the verified end, or for an empty buffer.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        // Well-compressed data is unpacked for long without the source being read.
        if let Some(buffered) = self.buffered() {
            buffered.get_ref().report(buffered.get_ref().position)?;
        }
        let read = match &mut self.layer {
            Layer::Plain(inner) => inner.read(buffer),
            Layer::Gzip(inner) => inner.read(buffer),
            Layer::Zstd(inner) => inner.read(buffer),
        };
        let read = read.map_err(|error| self.explain(error))?;
        self.bytes += read as u64;
        if let Some(checksum) = &mut self.checksum {
            checksum.update(&buffer[..read]);
        }
        self.budget.spend(read as u64)?;
        Ok(read)
    }

    /// Fills the buffer as far as the stream reaches.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    /// Where in the archive's own bytes the stream is, as nearly as can be told.
    fn packed_position(&self) -> u64 {
        self.buffered().map_or(0, |inner| inner.get_ref().position - inner.buffer().len() as u64)
    }

    fn buffered(&self) -> Option<&BufReader<Source<'a, R>>> {
        match &self.layer {
            Layer::Plain(inner) => Some(inner),
            Layer::Gzip(inner) => inner.get_ref().get_ref(),
            Layer::Zstd(inner) => Some(inner.get_ref()),
        }
    }

    fn explain(&self, error: io::Error) -> Error {
        let error = match ours(error) {
            Ok(error) => return error,
            Err(error) => error,
        };
        let layer = if matches!(self.format, Format::TarZst) { "zstd" } else { "gzip" };
        let at = self.packed_position();
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let message = format!("the archive is truncated: its {layer} data breaks off at byte {at}");
            return Error::new(ErrorKind::BadArchive, message).with_hint("copy or pack it again");
        }
        let message = format!("the archive is corrupt: its {layer} data is wrong before byte {at}");
        let needs_memory = error.to_string().contains("too much memory");
        let error = Error::new(ErrorKind::BadArchive, message).with_source(error);
        if needs_memory { error.with_remedy(Remedy::Pack) } else { error.with_hint("copy or pack it again") }
    }
}

/// All members of a gzip file, one after the other, and the zeros with which some media pad it.
struct GzipMembers<B> {
    /// `None` only while one member takes over from another.
    decoder: Option<GzDecoder<B>>,
    ended: bool,
}

impl<B: BufRead> GzipMembers<B> {
    fn new(inner: B) -> Self {
        Self { decoder: Some(GzDecoder::new(inner)), ended: false }
    }

    fn get_ref(&self) -> Option<&B> {
        self.decoder.as_ref().map(GzDecoder::get_ref)
    }
}

impl<B: BufRead> Read for GzipMembers<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = self.decoder.as_mut().filter(|_| !self.ended) {
            let read = decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            // Here a member ended, its checksum verified.
            match decoder.get_mut().fill_buf()?.first() {
                Some(0x1f) => self.decoder = self.decoder.take().map(|ended| GzDecoder::new(ended.into_inner())),
                Some(0) => {
                    skip_zeros(decoder.get_mut())?;
                    self.ended = true;
                }
                Some(_) => return Err(follows_gzip()),
                None => self.ended = true,
            }
        }
        Ok(0)
    }
}

fn skip_zeros(inner: &mut impl BufRead) -> io::Result<()> {
    loop {
        let available = inner.fill_buf()?;
        if available.iter().any(|&byte| byte != 0) {
            return Err(follows_gzip());
        }
        match available.len() {
            0 => return Ok(()),
            length => inner.consume(length),
        }
    }
}

fn follows_gzip() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "something that is not gzip follows it")
}
