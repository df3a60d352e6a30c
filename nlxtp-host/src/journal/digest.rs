//! SHA-256 digests, and archives that are digested as they go by.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::node::ReadSeek;

/// A SHA-256 digest; as text, 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// The text is not a digest: 64 lower-case hexadecimal digits are expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 digest: 64 lower-case hexadecimal digits are expected")]
pub struct InvalidDigest;

impl Digest {
    /// All zeros: what the first line of a journal has for the digest of the line before it.
    pub const NONE: Self = Self([0; 32]);

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn finish(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(InvalidDigest),
        };
        let digits: &[u8; 64] = text.as_bytes().try_into().map_err(|_| InvalidDigest)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// Digests all that is still to be read. Returns how many bytes that were, too.
pub(crate) fn digest_rest(
    source: &mut (impl Read + ?Sized),
    mut see: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let bytes = hash_rest(source, &mut hasher, &mut see)?;
    Ok((Digest::finish(hasher), bytes))
}

fn hash_rest(
    source: &mut (impl Read + ?Sized),
    hasher: &mut Sha256,
    see: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut piece = vec![0; PIECE];
    let mut bytes = 0;
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(read) => {
                hasher.update(&piece[..read]);
                see(&piece[..read])?;
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// An archive that is digested while it is read: what is read in order costs no second reading. What is
/// left, or was read in another order, is read in the end.
pub(crate) struct DigestedSource<'a> {
    inner: &'a mut dyn ReadSeek,
    hasher: Sha256,
    /// Bytes from the beginning that are in the digest.
    digested: u64,
    position: u64,
}

impl<'a> DigestedSource<'a> {
    pub(crate) fn new(inner: &'a mut dyn ReadSeek) -> io::Result<Self> {
        let position = inner.stream_position()?;
        Ok(Self { inner, hasher: Sha256::new(), digested: 0, position })
    }

    /// The digest of the whole, and its length.
    pub(crate) fn finish(self) -> io::Result<(Digest, u64)> {
        let Self { inner, mut hasher, digested, .. } = self;
        inner.seek(SeekFrom::Start(digested))?;
        let rest = hash_rest(inner, &mut hasher, &mut |_| Ok(()))?;
        Ok((Digest::finish(hasher), digested + rest))
    }
}

impl Read for DigestedSource<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let end = self.position + read as u64;
        if self.position <= self.digested && end > self.digested {
            // Both lie within what was just read.
            let known = usize::try_from(self.digested - self.position).unwrap_or(read);
            self.hasher.update(&buffer[known..read]);
            self.digested = end;
        }
        self.position = end;
        Ok(read)
    }
}

impl Seek for DigestedSource<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.inner.seek(to)?;
        Ok(self.position)
    }
}

/// A sink that digests what goes into it.
pub(crate) struct DigestedSink<'a> {
    inner: &'a mut dyn Write,
    hasher: Sha256,
}

impl<'a> DigestedSink<'a> {
    pub(crate) fn new(inner: &'a mut dyn Write) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    pub(crate) fn finish(self) -> Digest {
        Digest::finish(self.hasher)
    }
}

impl Write for DigestedSink<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn text_form_round_trips() {
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        for text in ["", "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD", &text[1..]] {
            assert_eq!(text.parse::<Digest>(), Err(InvalidDigest));
        }
    }

    #[test]
    fn a_source_is_digested_in_whatever_order_it_is_read() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let orders: [&[(u64, usize)]; 4] = [
            &[],
            &[(0, 512), (0, 4096), (4096, 4096), (8192, 100)],
            &[(300_000, 1000), (0, 10), (5, 20), (399_999, 100)],
            &[(0, 400_000)],
        ];
        for order in orders {
            let mut source = Cursor::new(&bytes);
            let mut digested = DigestedSource::new(&mut source).unwrap();
            for &(position, length) in order {
                digested.seek(SeekFrom::Start(position)).unwrap();
                let mut buffer = vec![0; length];
                let read = digested.read(&mut buffer).unwrap();
                assert_eq!(buffer[..read], bytes[position as usize..][..read]);
            }
            assert_eq!(digested.finish().unwrap(), (Digest::of(&bytes), bytes.len() as u64), "{order:?}");
        }
    }
}
