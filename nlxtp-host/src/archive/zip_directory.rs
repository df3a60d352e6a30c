//! The records of a zip: where its central directory lies, and what an entry of it says. Bytes in,
//! values out.

#![forbid(unsafe_code)]

use super::member::MemberKind;

pub(super) const END_BYTES: usize = 22;
pub(super) const ZIP64_LOCATOR_BYTES: usize = 20;
pub(super) const ZIP64_END_BYTES: usize = 56;
pub(super) const CENTRAL_BYTES: usize = 46;
pub(super) const LOCAL_BYTES: usize = 30;

/// Where the central directory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirectoryEnd {
    pub(super) entries: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// In several parts, which nobody makes any more.
    pub(super) split: bool,
}

impl DirectoryEnd {
    /// Finds the record in the last bytes of a file: the last one whose comment ends with the
    /// file. Returns where it begins, too.
    pub(super) fn find(tail: &[u8]) -> Option<(usize, Self)> {
        let last = tail.len().checked_sub(END_BYTES)?;
        (0..=last).rev().find_map(|at| {
            let record = &tail[at..];
            let comment = usize::from(u16_at(record, 20));
            let found = record.starts_with(b"PK\x05\x06") && END_BYTES + comment == record.len();
            found.then(|| (at, Self::parse(record)))
        })
    }

    fn parse(record: &[u8]) -> Self {
        Self {
            entries: u64::from(u16_at(record, 10)),
            offset: u64::from(u32_at(record, 16)),
            bytes: u64::from(u32_at(record, 12)),
            split: (u16_at(record, 4), u16_at(record, 6)) != (0, 0) || u16_at(record, 8) != u16_at(record, 10),
        }
    }

    /// Whether a zip64 record must say what this one has no room for.
    pub(super) fn is_zip64(&self) -> bool {
        self.entries == 0xffff || self.offset == 0xffff_ffff || self.bytes == 0xffff_ffff
    }

    /// Where the zip64 record lies, by the locator just before this record.
    pub(super) fn zip64_position(locator: &[u8; ZIP64_LOCATOR_BYTES]) -> Option<u64> {
        locator.starts_with(b"PK\x06\x07").then(|| u64_at(locator, 8))
    }

    /// The zip64 record.
    pub(super) fn parse_zip64(record: &[u8; ZIP64_END_BYTES]) -> Option<Self> {
        record.starts_with(b"PK\x06\x06").then(|| Self {
            entries: u64_at(record, 32),
            offset: u64_at(record, 48),
            bytes: u64_at(record, 40),
            split: (u32_at(record, 16), u32_at(record, 20)) != (0, 0) || u64_at(record, 24) != u64_at(record, 32),
        })
    }
}

/// Lengths of the parts of variable length in a central entry: name, extra field, comment.
pub(super) fn central_lengths(fixed: &[u8; CENTRAL_BYTES]) -> Option<[usize; 3]> {
    let length = |at| usize::from(u16_at(fixed, at));
    fixed.starts_with(b"PK\x01\x02").then(|| [length(28), length(30), length(32)])
}

/// An entry of the central directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CentralEntry {
    /// The name as the local header must repeat it.
    pub(super) name: Vec<u8>,
    /// The name in UTF-8 that some programs write beside one in an old code page.
    pub(super) unicode_name: Option<Vec<u8>>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) checksum: u32,
    pub(super) compressed: u64,
    pub(super) size: u64,
    /// Where the local header lies.
    pub(super) offset: u64,
    /// Type and mode, if it was made on a system that has them.
    unix_mode: Option<u32>,
    dos_directory: bool,
    pub(super) modified: i64,
    pub(super) has_owner: bool,
}

impl CentralEntry {
    /// Takes an entry apart. `None` if a 64-bit value is missing.
    pub(super) fn parse(fixed: &[u8; CENTRAL_BYTES], name: &[u8], extra: &[u8]) -> Option<Self> {
        let made_on = fixed[5];
        let attributes = u32_at(fixed, 38);
        let from_unix = matches!(made_on, 3 | 19) && attributes >> 16 != 0;
        let mut entry = Self {
            name: name.to_vec(),
            unicode_name: None,
            flags: u16_at(fixed, 8),
            method: u16_at(fixed, 10),
            checksum: u32_at(fixed, 16),
            compressed: u64::from(u32_at(fixed, 20)),
            size: u64::from(u32_at(fixed, 24)),
            offset: u64::from(u32_at(fixed, 42)),
            unix_mode: from_unix.then_some(attributes >> 16),
            dos_directory: attributes & 0x10 != 0,
            modified: dos_time(u16_at(fixed, 14), u16_at(fixed, 12)),
            has_owner: false,
        };
        let mut zip64 = &[][..];
        for (id, data) in extra_fields(extra) {
            match id {
                0x0001 => zip64 = data,
                // Extended timestamp: the modification time comes first, if it is there.
                0x5455 if data.len() >= 5 && data[0] & 1 != 0 => {
                    entry.modified = i64::from(u32_at(data, 1).cast_signed());
                }
                0x7075 => entry.unicode_name = unicode_path(name, data),
                0x7875 => entry.has_owner = owner_is_not_root(data).unwrap_or(false),
                _ => {}
            }
        }
        for value in [&mut entry.size, &mut entry.compressed, &mut entry.offset] {
            if *value == 0xffff_ffff {
                let (bytes, rest) = zip64.split_first_chunk::<8>()?;
                *value = u64::from_le_bytes(*bytes);
                zip64 = rest;
            }
        }
        Some(entry)
    }

    pub(super) fn is_encrypted(&self) -> bool {
        // Traditional, strong, and with an encrypted central directory; method 99 is AES.
        self.flags & (1 | 1 << 6 | 1 << 13) != 0 || self.method == 99
    }

    /// Whether sizes and checksum follow the content instead of standing in the local header.
    pub(super) fn has_descriptor(&self) -> bool {
        self.flags & 8 != 0
    }

    /// The path, in UTF-8 where the archive gives it so.
    pub(super) fn path(&self) -> &[u8] {
        self.unicode_name.as_deref().unwrap_or(&self.name)
    }

    /// What it is. The target of a symbolic link is its content and not known yet.
    pub(super) fn kind(&self) -> MemberKind {
        let slash = self.path().ends_with(b"/");
        match self.unix_mode.map_or(0, |mode| mode & 0o170_000) {
            _ if self.is_encrypted() => MemberKind::Encrypted,
            0o040_000 => MemberKind::Directory,
            0 | 0o100_000 if slash => {
                if self.size == 0 {
                    MemberKind::Directory
                } else {
                    MemberKind::Unknown
                }
            }
            0 if self.dos_directory && self.size == 0 => MemberKind::Directory,
            0 | 0o100_000 => MemberKind::File,
            0o120_000 if !slash => MemberKind::Symlink(Vec::new()),
            0o010_000 => MemberKind::Fifo,
            0o020_000 | 0o060_000 => MemberKind::Device,
            _ => MemberKind::Unknown,
        }
    }

    pub(super) fn mode(&self) -> u32 {
        match self.unix_mode {
            Some(mode) => mode & 0o7777,
            None if self.kind() == MemberKind::Directory => 0o755,
            None => 0o644,
        }
    }
}

/// A local header, as far as it must agree with the central directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LocalHeader {
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) checksum: u32,
    /// Compressed and uncompressed; all ones where a zip64 field has them.
    pub(super) compressed: u32,
    pub(super) size: u32,
    pub(super) name_bytes: usize,
    pub(super) extra_bytes: usize,
}

impl LocalHeader {
    pub(super) fn parse(fixed: &[u8; LOCAL_BYTES]) -> Option<Self> {
        fixed.starts_with(b"PK\x03\x04").then(|| Self {
            flags: u16_at(fixed, 6),
            method: u16_at(fixed, 8),
            checksum: u32_at(fixed, 14),
            compressed: u32_at(fixed, 18),
            size: u32_at(fixed, 22),
            name_bytes: usize::from(u16_at(fixed, 26)),
            extra_bytes: usize::from(u16_at(fixed, 28)),
        })
    }

    /// Whether it describes the same content as an entry of the central directory.
    pub(super) fn agrees_with(&self, entry: &CentralEntry) -> bool {
        let same = |here: u32, there: u64| here == 0xffff_ffff || u64::from(here) == there;
        // Sizes and checksum are 0 here where they follow the content.
        let sizes_agree = entry.has_descriptor()
            || (self.checksum == entry.checksum
                && same(self.compressed, entry.compressed)
                && same(self.size, entry.size));
        self.method == entry.method && (self.flags ^ entry.flags) & 9 == 0 && sizes_agree
    }
}

/// The name of a compression method, for messages.
pub(super) fn method_name(method: u16) -> String {
    let name = match method {
        0 => "stored",
        8 => "deflate",
        9 => "deflate64",
        12 => "bzip2",
        14 => "lzma",
        20 | 93 => "zstd",
        95 => "xz",
        98 => "ppmd",
        _ => return format!("method {method}"),
    };
    name.to_owned()
}

/// The fields of an extra field, as far as they are whole.
fn extra_fields(mut extra: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = extra.split_first_chunk::<4>()?;
        let data = rest.get(..usize::from(u16_at(head, 2)))?;
        extra = &rest[data.len()..];
        Some((u16_at(head, 0), data))
    })
}

/// Info-ZIP's Unicode path, if it belongs to this name.
fn unicode_path(name: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let (head, path) = data.split_first_chunk::<5>()?;
    let mut checksum = flate2::Crc::new();
    checksum.update(name);
    (head[0] == 1 && u32_at(head, 1) == checksum.sum()).then(|| path.to_vec())
}

/// Info-ZIP's user and group: each with a length before it.
fn owner_is_not_root(data: &[u8]) -> Option<bool> {
    let (&version, rest) = data.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (user, rest) = rest.split_at_checked(usize::from(length))?;
    let (&length, rest) = rest.split_first()?;
    let group = rest.get(..usize::from(length))?;
    Some(version == 1 && user.iter().chain(group).any(|&byte| byte != 0))
}

/// Seconds since 1970 of a time as MS-DOS keeps it, taken for UTC, since nothing says otherwise.
fn dos_time(date: u16, time: u16) -> i64 {
    let [date, time] = [date, time].map(i64::from);
    let (year, month, day) = (1980 + (date >> 9), (date >> 5 & 15).clamp(1, 12), (date & 31).max(1));
    let (hour, minute, second) = (time >> 11, time >> 5 & 63, (time & 31) * 2);
    // Years are counted from March, so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    days * 86_400 + hour * 3600 + minute * 60 + second
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(dos_time(0x21, 0), 315_532_800);
        assert_eq!(dos_time((44 << 9) | (2 << 5) | 29, (12 << 11) | (34 << 5) | 28), 1_709_210_096);
        // Neither month nor day: as good as any.
        assert_eq!(dos_time(0, 0), 315_532_800);
    }

    #[test]
    fn the_end_is_the_last_one_whose_comment_fits() {
        let mut end = Vec::from(*b"PK\x05\x06");
        end.extend([0; 18]);
        assert_eq!(DirectoryEnd::find(&end).unwrap().0, 0);
        let twice = [&end[..], &end[..]].concat();
        assert_eq!(DirectoryEnd::find(&twice).unwrap().0, END_BYTES);
        end[20] = 3;
        assert!(DirectoryEnd::find(&end).is_none());
        end.extend(b"abc");
        assert!(DirectoryEnd::find(&end).is_some());
        assert!(DirectoryEnd::find(b"PK\x05\x06").is_none());
    }

    #[test]
    fn extra_fields_end_where_they_break_off() {
        let fields: Vec<_> = extra_fields(b"\x01\0\x02\0ab\x02\0\xff\xffc").collect();
        assert_eq!(fields, [(1, &b"ab"[..])]);
        assert_eq!(owner_is_not_root(&[1, 4, 0, 0, 0, 0, 4, 0, 0, 0, 0]), Some(false));
        assert_eq!(owner_is_not_root(&[1, 4, 0xe8, 3, 0, 0, 4, 0, 0, 0, 0]), Some(true));
        assert_eq!(owner_is_not_root(&[1, 4, 0]), None);
    }

    #[test]
    fn missing_64_bit_values_are_noticed() {
        let mut fixed = [0; CENTRAL_BYTES];
        fixed[24..28].fill(0xff);
        assert!(CentralEntry::parse(&fixed, b"x", b"").is_none());
        let extra = [&b"\x01\0\x08\0"[..], &5_u64.to_le_bytes()].concat();
        assert_eq!(CentralEntry::parse(&fixed, b"x", &extra).unwrap().size, 5);
    }
}
