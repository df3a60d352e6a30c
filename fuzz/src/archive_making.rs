//! Archives made of arbitrary entries, byte by byte: what no well-behaved packer would write.

use std::io::Write;

use arbitrary::Unstructured;
use flate2::Compression;

/// An entry of an archive, unchecked.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    /// The type byte of tar; zip has it in the mode.
    pub(crate) kind: u8,
    pub(crate) target: Vec<u8>,
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) modified: u32,
    pub(crate) owner: u8,
}

/// Pieces of paths that matter to somebody.
const NAMES: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"dir",
    b"auto_exec.sh",
    "ä".as_bytes(),
    "Ä".as_bytes(),
    // From here on, those that are not taken everywhere.
    b"A",
    b"DIR",
    b"..",
    b".",
    b"",
    b"exec_status",
    b"Nlxtp_Run_Id",
    b".nlxtp_upload",
    b"a.",
    b"x:y",
    b"\xff",
    "\u{17f}".as_bytes(),
    "ß".as_bytes(),
    "İ".as_bytes(),
    b"a\0b",
    b"nul ",
];

/// The first of them are taken everywhere, but for the two that differ in case.
const HARMLESS_NAMES: usize = 7;

impl Entry {
    /// Any entry. The tamer, the more often it is taken: one bad entry spoils the whole archive.
    pub(crate) fn any(source: &mut Unstructured<'_>, tame: bool) -> arbitrary::Result<Self> {
        let mut content: Vec<u8> = source.arbitrary()?;
        if source.ratio(1, 32)? {
            content = content.repeat(source.int_in_range(1..=5000)?);
            content.truncate(300 << 10);
        }
        Ok(Self {
            path: path(source, tame)?,
            kind: *source.choose(if tame { &b"000551222"[..] } else { b"0000005555122\x003467DSLKgx" })?,
            target: path(source, tame)?,
            content,
            mode: source.int_in_range(0..=0o7777)?,
            modified: source.arbitrary()?,
            owner: source.int_in_range(0..=1)?,
        })
    }
}

fn path(source: &mut Unstructured<'_>, tame: bool) -> arbitrary::Result<Vec<u8>> {
    let mut path = Vec::new();
    for _ in 0..source.int_in_range(1..=4)? {
        match source.int_in_range(0..=15)? {
            2.. if tame => path.extend_from_slice(source.choose(&NAMES[..HARMLESS_NAMES])?),
            0 => path.extend_from_slice(source.arbitrary()?),
            1 => path.resize(path.len() + source.int_in_range(0..=300)?, b'n'),
            _ => path.extend_from_slice(source.choose(NAMES)?),
        }
        if source.ratio(3, 4)? {
            path.push(b'/');
        }
    }
    if source.ratio(7, 8)? && path.last() == Some(&b'/') {
        path.pop();
    }
    Ok(path)
}

/// A tar. Long names go into whatever extra headers the choice says.
pub(crate) fn tar(entries: &[Entry], long_names: u8) -> Vec<u8> {
    let mut archive = Vec::new();
    for entry in entries {
        let is_link = matches!(entry.kind, b'1' | b'2');
        let mut records = Vec::new();
        for (gnu, word, name, used) in [(b'L', "path", &entry.path, true), (b'K', "linkpath", &entry.target, is_link)] {
            if !used || (name.len() <= 100 && long_names & 4 == 0) {
                continue;
            }
            match long_names & 3 {
                0 | 1 => tar_member(&mut archive, b"././@LongLink", gnu, b"", &[name, &b"\0"[..]].concat(), entry),
                2 => records.extend(pax_record(word, name)),
                // Cut, as old programs did.
                _ => {}
            }
        }
        if long_names & 8 != 0 {
            records.extend(pax_record("mtime", entry.modified.to_string().as_bytes()));
        }
        if !records.is_empty() {
            tar_member(&mut archive, b"./PaxHeaders/x", b'x', b"", &records, entry);
        }
        let holds_content = !matches!(entry.kind, b'1'..=b'6');
        let content = if holds_content { &entry.content[..] } else { b"" };
        let target = if is_link { &entry.target[..] } else { b"" };
        tar_member(&mut archive, &entry.path, entry.kind, target, content, entry);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn pax_record(word: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", word.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &rest].concat()
}

fn tar_member(archive: &mut Vec<u8>, path: &[u8], kind: u8, target: &[u8], content: &[u8], entry: &Entry) {
    let mut header = [0; 512];
    let mut put = |at: usize, length: usize, bytes: &[u8]| {
        let length = bytes.len().min(length);
        header[at..at + length].copy_from_slice(&bytes[..length]);
    };
    put(0, 100, path);
    put(100, 8, format!("{:07o}", entry.mode).as_bytes());
    put(108, 8, format!("{:07o}", entry.owner).as_bytes());
    put(116, 8, b"0000000");
    put(124, 12, format!("{:011o}", content.len()).as_bytes());
    put(136, 12, format!("{:011o}", entry.modified).as_bytes());
    put(156, 1, &[kind]);
    put(157, 100, target);
    put(257, 8, b"ustar\x0000");
    set_checksum(&mut header);
    archive.extend_from_slice(&header);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

fn set_checksum(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Makes the checksums of all that looks like a header of tar right.
pub(crate) fn mend_tar(archive: &mut [u8]) {
    for block in archive.as_chunks_mut::<512>().0 {
        if block[257..].starts_with(b"ustar") {
            set_checksum(block);
        }
    }
}

/// A zip, stored or deflated as the choice says.
pub(crate) fn zip(entries: &[Entry], deflated: u8) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    for (nth, entry) in entries.iter().enumerate() {
        let deflated = u16::from(deflated >> (nth % 8) & 1) * 8;
        let (kind, content) = match entry.kind {
            b'5' => (0o040_000, &b""[..]),
            b'2' => (0o120_000, &entry.target[..]),
            b'6' => (0o010_000, &b""[..]),
            b'3' | b'4' => (0o020_000, &b""[..]),
            _ => (0o100_000, &entry.content[..]),
        };
        let mut path = entry.path.clone();
        if entry.kind == b'5' && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let packed = if deflated == 8 { deflate(content) } else { content.to_vec() };
        let offset = archive.len();
        let u16 = |value: usize| (value as u16).to_le_bytes();
        let u32 = |value: usize| (value as u32).to_le_bytes();
        let mut common = Vec::new();
        for field in [20, 0x800, deflated] {
            common.extend_from_slice(&field.to_le_bytes());
        }
        common.extend_from_slice(&entry.modified.to_le_bytes());
        for field in [crc.sum() as usize, packed.len(), content.len()] {
            common.extend_from_slice(&u32(field));
        }
        common.extend_from_slice(&u16(path.len()));
        common.extend_from_slice(&u16(0));
        archive.extend_from_slice(b"PK\x03\x04");
        archive.extend_from_slice(&common);
        archive.extend_from_slice(&path);
        archive.extend_from_slice(&packed);

        directory.extend_from_slice(b"PK\x01\x02\x14\x03");
        directory.extend_from_slice(&common);
        directory.extend_from_slice(&[0; 6]);
        directory.extend_from_slice(&u32(((kind | entry.mode as usize) << 16) as u32 as usize));
        directory.extend_from_slice(&u32(offset));
        directory.extend_from_slice(&path);
    }
    let start = archive.len() as u32;
    let count = (entries.len() as u16).to_le_bytes();
    archive.extend_from_slice(&directory);
    archive.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    archive.extend_from_slice(&[count, count].concat());
    archive.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    archive.extend_from_slice(&start.to_le_bytes());
    archive.extend_from_slice(&[0; 2]);
    archive
}

fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).and_then(|()| encoder.finish()).expect("memory takes all")
}

/// The same bytes in gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes all")
}

/// The same bytes in Zstandard.
pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory takes all")
}
