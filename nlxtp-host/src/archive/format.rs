//! Which format an archive has, by its first bytes.

#![forbid(unsafe_code)]

use super::tar_header;
use crate::error::{Error, ErrorKind, Remedy, Result};

/// The format of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// tar, in any of its dialects.
    Tar,
    /// tar in gzip.
    TarGz,
    /// tar in Zstandard.
    TarZst,
    /// zip.
    Zip,
}

/// Bytes that [`Format::detect`] wants to see.
pub(super) const DETECTION_BYTES: usize = tar_header::BLOCK;

/// First bytes of what is known and not taken, and what it is called. The longer of two that begin
/// alike stands first.
const OTHERS: &[(&[u8], &str)] = &[
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\xfd7zXZ\0", "xz-compressed"),
    (b"BZh", "bzip2-compressed"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"LZIP", "lzip-compressed"),
    (b"\x04\x22\x4d\x18", "lz4-compressed"),
    (b"\x1f\x9d", "compressed with compress"),
    (b"\x5d\0\0", "lzma-compressed"),
    (b"PK\x07\x08", "a zip archive in several parts"),
    (b"Salted__", "encrypted with OpenSSL"),
    (b"-----BEGIN PGP", "encrypted or signed with OpenPGP"),
    (b"age-encryption.org/", "encrypted with age"),
    (b"07070", "a cpio archive"),
    (b"!<arch>\n", "an ar archive or a Debian package"),
    (b"\x7fELF", "a program, not an archive"),
    (b"#!", "a script, not an archive"),
    (b"MSCF", "a cabinet archive"),
    (b"xar!", "a xar archive"),
];

impl Format {
    /// Tells the format by the archive's first bytes: 512 of them, or all if there are fewer.
    ///
    /// # Errors
    /// [`ErrorKind::BadArchive`], naming the format where it is a known one.
    pub fn detect(first: &[u8]) -> Result<Self> {
        if first.is_empty() {
            return Err(refuse("the archive is an empty file"));
        }
        match first {
            [0x1f, 0x8b, ..] => return Ok(Self::TarGz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => return Ok(Self::TarZst),
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => return Ok(Self::Zip),
            _ => {}
        }
        if let Some(block) = first.first_chunk::<{ tar_header::BLOCK }>() {
            if tar_header::is_header(block) {
                return Ok(Self::Tar);
            }
            if tar_header::has_magic(block) {
                return Err(refuse("the archive is a tar whose first header is corrupt"));
            }
            if block.iter().all(|&byte| byte == 0) {
                return Err(refuse("the archive begins with nothing but zeros"));
            }
        }
        if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| first.starts_with(magic)) {
            return Err(refuse(format!("it is {name}; only tar, tar.gz, tar.zst and zip are taken")));
        }
        if is_openpgp(first) {
            return Err(refuse("it is encrypted with OpenPGP; only tar, tar.gz, tar.zst and zip are taken"));
        }
        Err(refuse("the archive is of no known format; only tar, tar.gz, tar.zst and zip are taken"))
    }

    /// The usual name of the format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::TarGz => "tar.gz",
            Self::TarZst => "tar.zst",
            Self::Zip => "zip",
        }
    }
}

/// Whether it begins with an OpenPGP packet that holds an encrypted session key.
fn is_openpgp(first: &[u8]) -> bool {
    match first {
        // Old packet format, public-key encrypted (version 3) with a length of one or two bytes.
        [0x84, _, 3, ..] | [0x85, _, _, 3, ..] => true,
        // With a passphrase (version 4).
        [0x8c, _, 4, ..] => true,
        // New packet format, both kinds, versions 3 to 6.
        [0xc1 | 0xc3, length, 3..=6, ..] => *length < 0xc0,
        _ => false,
    }
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadArchive, message).with_remedy(Remedy::Pack)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(first: &[u8]) -> String {
        let error = Format::detect(first).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArchive);
        assert!(error.hint().is_some());
        error.to_string()
    }

    #[test]
    fn what_is_taken() {
        assert_eq!(Format::detect(b"\x1f\x8b\x08").unwrap(), Format::TarGz);
        assert_eq!(Format::detect(b"\x28\xb5\x2f\xfd").unwrap(), Format::TarZst);
        assert_eq!(Format::detect(b"\x50\x2a\x4d\x18").unwrap(), Format::TarZst);
        assert_eq!(Format::detect(b"PK\x03\x04").unwrap(), Format::Zip);
        assert_eq!(Format::detect(b"PK\x05\x06").unwrap(), Format::Zip);
        for header in [tar::Header::new_gnu(), tar::Header::new_ustar(), tar::Header::new_old()] {
            let mut header = header;
            header.set_path("x").unwrap();
            header.set_cksum();
            assert_eq!(Format::detect(header.as_bytes()).unwrap(), Format::Tar);
        }
    }

    #[test]
    fn what_is_not_taken_is_named() {
        for (first, word) in [
            (&b""[..], "empty file"),
            (b"7z\xbc\xaf\x27\x1c\0\x04", "7z"),
            (b"\xfd7zXZ\0\0", "xz"),
            (b"BZh91AY", "bzip2"),
            (b"Rar!\x1a\x07\x01\0", "rar"),
            (b"Salted__12345678", "OpenSSL"),
            (b"-----BEGIN PGP MESSAGE-----", "OpenPGP"),
            (b"\x8c\x0d\x04\x09\x03", "OpenPGP"),
            (b"\x85\x01\x0c\x03", "OpenPGP"),
            (b"#!/bin/sh\n", "script"),
            (b"PK\x07\x08", "several parts"),
            (&[0; 512], "zeros"),
            (b"hello", "no known format"),
        ] {
            assert!(refusal(first).contains(word), "{}", refusal(first));
        }
    }

    #[test]
    fn a_corrupt_first_header_is_told_from_another_format() {
        let mut header = tar::Header::new_ustar();
        header.set_path("x").unwrap();
        header.set_cksum();
        header.as_mut_bytes()[0] ^= 1;
        assert!(refusal(header.as_bytes()).contains("corrupt"));
    }
}
