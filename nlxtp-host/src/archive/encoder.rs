//! What an archive goes through on its way out: compression, and a count of its bytes.

#![forbid(unsafe_code)]

use std::io::{self, BufWriter, Write};

use libdeflater::CompressionLvl;

use super::gzip_encoder::GzipEncoder;
use super::packer::OutputFormat;
use super::source::CHUNK;
use crate::error::{Error, ErrorKind, Result};

/// Compresses what is written to it, or does not.
pub(super) struct Encoder<W: Write> {
    layer: Layer<Sink<W>>,
}

enum Layer<S: Write> {
    Plain(BufWriter<S>),
    // Boxed for its size.
    Gzip(Box<GzipEncoder<S>>),
    Zstd(zstd::Encoder<'static, S>),
}

/// Counts bytes, and takes none any more when the archive is given up.
struct Sink<W> {
    inner: W,
    bytes: u64,
    closed: bool,
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Err(io::Error::other("the archive was given up"));
        }
        let written = self.inner.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed { Ok(()) } else { self.inner.flush() }
    }
}

impl<W: Write> Encoder<W> {
    /// With so many threads, where the format can make use of them.
    pub(super) fn new(format: OutputFormat, inner: W, threads: usize) -> Result<Self> {
        let sink = Sink { inner, bytes: 0, closed: false };
        let no_level = |levels| Error::new(ErrorKind::InvalidInput, format!("the compression levels are {levels}"));
        let layer = match format {
            OutputFormat::Tar => Layer::Plain(BufWriter::with_capacity(CHUNK, sink)),
            OutputFormat::TarGz { level } => {
                let level = i32::try_from(level).ok().filter(|level| (0..=9).contains(level));
                let level =
                    level.and_then(|level| CompressionLvl::new(level).ok()).ok_or_else(|| no_level("0 to 9"))?;
                Layer::Gzip(GzipEncoder::new(sink, level, threads).into())
            }
            OutputFormat::TarZst { level: level @ 1..=22 } => Layer::Zstd(
                zstd(sink, level, threads).map_err(|error| Error::io("begin to compress with zstd", error))?,
            ),
            OutputFormat::TarZst { .. } => return Err(no_level("1 to 22")),
        };
        Ok(Self { layer })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match &mut self.layer {
            Layer::Plain(encoder) => encoder.write_all(bytes),
            Layer::Gzip(encoder) => encoder.write_all(bytes),
            Layer::Zstd(encoder) => encoder.write_all(bytes),
        };
        written.map_err(write_failed)
    }

    /// Writes all that was kept back. Returns the length of the archive.
    pub(super) fn finish(&mut self) -> Result<u64> {
        match &mut self.layer {
            Layer::Plain(_) => Ok(()),
            Layer::Gzip(encoder) => encoder.finish(),
            Layer::Zstd(encoder) => encoder.do_finish(),
        }
        .map_err(write_failed)?;
        match &mut self.layer {
            Layer::Plain(encoder) => encoder.flush(),
            Layer::Gzip(encoder) => encoder.get_mut().flush(),
            Layer::Zstd(encoder) => encoder.get_mut().flush(),
        }
        .map_err(write_failed)?;
        Ok(self.sink().bytes)
    }

    fn sink(&mut self) -> &mut Sink<W> {
        match &mut self.layer {
            Layer::Plain(encoder) => encoder.get_mut(),
            Layer::Gzip(encoder) => encoder.get_mut(),
            Layer::Zstd(encoder) => encoder.get_mut(),
        }
    }
}

impl<W: Write> Drop for Encoder<W> {
    /// Without this the buffer's own drop would write on, to an archive that was given up.
    fn drop(&mut self) {
        self.sink().closed = true;
    }
}

/// Its own threads do the work, one at least: without any, it would make other bytes. Each takes more
/// memory than one of gzip's.
fn zstd<S: Write>(sink: S, level: i32, threads: usize) -> io::Result<zstd::Encoder<'static, S>> {
    let mut encoder = zstd::Encoder::new(sink, level)?;
    encoder.include_checksum(true)?;
    encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(2 << 20))?;
    encoder.multithread(threads.clamp(1, 3) as u32)?;
    Ok(encoder)
}

fn write_failed(error: io::Error) -> Error {
    Error::io("write the archive", error)
}
