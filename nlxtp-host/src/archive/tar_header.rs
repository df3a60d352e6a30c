//! The fields of a tar header and the records of a PAX header. Bytes in, values out.

#![forbid(unsafe_code)]

use std::ops::Range;

/// The unit of tar.
pub(super) const BLOCK: usize = 512;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MODIFIED: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK_NAME: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..263;
/// What GNU tar has in place of the magic and the version that comes after it.
const GNU_MAGIC: Range<usize> = 257..265;
const PREFIX: Range<usize> = 345..500;
/// Whether GNU tar's list of a sparse file's pieces goes on in another block.
const SPARSE_GOES_ON: usize = 482;
/// The same in that other block.
const SPARSE_STILL_GOES_ON: usize = 504;

/// A header block, its checksum verified, its other fields not.
#[derive(Clone)]
pub(super) struct TarHeader([u8; BLOCK]);

impl TarHeader {
    /// Takes a block, if it has the checksum of a header.
    pub(super) fn new(block: &[u8; BLOCK]) -> Option<Self> {
        if is_header(block) { Some(Self(*block)) } else { None }
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[TYPE]
    }

    /// The path, with the prefix that POSIX tar splits off.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.0[NAME]);
        let prefix = if self.0[MAGIC] == *b"ustar\0" { until_nul(&self.0[PREFIX]) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        until_nul(&self.0[LINK_NAME]).to_vec()
    }

    pub(super) fn size(&self) -> Option<u64> {
        u64::try_from(number(&self.0[SIZE])?).ok()
    }

    pub(super) fn mode(&self) -> Option<u32> {
        u32::try_from(number(&self.0[MODE])?).ok()
    }

    pub(super) fn modified(&self) -> Option<i64> {
        number(&self.0[MODIFIED])
    }

    /// `None` where it cannot be told, as for numbers that are in a PAX record instead.
    pub(super) fn owner(&self) -> Option<i64> {
        number(&self.0[UID])
    }

    pub(super) fn group(&self) -> Option<i64> {
        number(&self.0[GID])
    }

    pub(super) fn sparse_goes_on(&self) -> bool {
        self.0[SPARSE_GOES_ON] != 0
    }
}

/// A header to be written, in GNU tar's format. The member belongs to user and group 0, without names.
pub(super) struct NewHeader<'a> {
    pub(super) kind: u8,
    /// Of this and the link's target, as much is written as fits before a NUL.
    pub(super) name: &'a [u8],
    pub(super) link_name: &'a [u8],
    pub(super) mode: u32,
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) modified: i64,
}

impl NewHeader<'_> {
    pub(super) fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        put_name(&mut block[NAME], self.name);
        put_number(&mut block[MODE], self.mode.into());
        put_number(&mut block[UID], 0);
        put_number(&mut block[GID], 0);
        put_number(&mut block[SIZE], self.size.into());
        put_number(&mut block[MODIFIED], self.modified.into());
        block[TYPE] = self.kind;
        put_name(&mut block[LINK_NAME], self.link_name);
        block[GNU_MAGIC].copy_from_slice(b"ustar  \0");
        let sum = checksum(&block);
        put_number(&mut block[CHECKSUM], sum.into());
        block
    }
}

fn put_name(field: &mut [u8], name: &[u8]) {
    let length = name.len().min(field.len() - 1);
    field[..length].copy_from_slice(&name[..length]);
}

/// Writes octal digits and a NUL, or GNU tar's binary number, which may have a sign, where these are too few.
fn put_number(field: &mut [u8], value: i128) {
    let [digits @ .., _] = field else { return };
    match u64::try_from(value) {
        Ok(mut left) if left >> (3 * digits.len()) == 0 => {
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (left & 7) as u8;
                left >>= 3;
            }
        }
        _ => {
            let binary = value.to_be_bytes();
            let length = field.len();
            field.copy_from_slice(&binary[binary.len() - length..]);
            field[0] |= 0x80;
        }
    }
}

/// Whether a block that continues the list of a sparse file's pieces is continued itself.
pub(super) fn sparse_still_goes_on(block: &[u8; BLOCK]) -> bool {
    block[SPARSE_STILL_GOES_ON] != 0
}

/// Whether a block has the magic of POSIX or GNU tar.
pub(super) fn has_magic(block: &[u8; BLOCK]) -> bool {
    block[MAGIC].starts_with(b"ustar")
}

/// Whether a block has the checksum of a header. Old programs added up signed bytes.
pub(super) fn is_header(block: &[u8; BLOCK]) -> bool {
    let field = &block[CHECKSUM];
    let Some(stored) = number(field).filter(|_| field.iter().any(u8::is_ascii_digit)) else { return false };
    let negative = |bytes: &[u8]| bytes.iter().fold(0_u32, |count, byte| count.wrapping_add(u32::from(byte >> 7)));
    let unsigned = i64::from(checksum(block));
    let signed = unsigned - 256 * i64::from(negative(block).wrapping_sub(negative(field)));
    stored == unsigned || stored == signed
}

/// The checksum that belongs into a header: the sum of its bytes, with spaces for the checksum itself.
pub(super) fn checksum(block: &[u8; BLOCK]) -> u32 {
    // Far from an overflow; a sum that looks for one takes ten times as long.
    let sum = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    sum(block).wrapping_sub(sum(&block[CHECKSUM])).wrapping_add(8 * u32::from(b' '))
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A numeric field: octal digits among spaces and NULs, or GNU tar's binary number. An empty one
/// is 0.
fn number(field: &[u8]) -> Option<i64> {
    match field.first()? {
        first @ (0x80 | 0xff) => {
            let sign = if *first == 0xff { -1 } else { 0 };
            // At most 11 bytes follow: no overflow.
            let value = field[1..].iter().fold(sign, |value: i128, &byte| (value << 8) | i128::from(byte));
            i64::try_from(value).ok()
        }
        _ => {
            let digits = until_nul(field).trim_ascii();
            digits.iter().try_fold(0_i64, |value, &digit| match digit {
                b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
                _ => None,
            })
        }
    }
}

/// What PAX records say of the members to which they apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PaxRecords {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<i64>,
    pub(super) owner: Option<i64>,
    pub(super) group: Option<i64>,
    /// GNU tar's description of a sparse file, in any of its three versions.
    pub(super) sparse: bool,
}

impl PaxRecords {
    /// Parses the content of a PAX header, whose later records override earlier ones. `None` if
    /// it is malformed.
    ///
    /// A record is "LENGTH KEY=VALUE\n", and only the length says where it ends: a value may hold
    /// line feeds.
    pub(super) fn parse(mut rest: &[u8]) -> Option<Self> {
        let mut records = Self::default();
        while !rest.is_empty() {
            let space = rest.iter().take(20).position(|&byte| byte == b' ')?;
            let length = usize::try_from(decimal(&rest[..space])?).ok()?;
            let record = rest.get(space + 1..length)?.strip_suffix(b"\n")?;
            rest = &rest[length..];
            let equals = record.iter().position(|&byte| byte == b'=')?;
            records.take(&record[..equals], &record[equals + 1..])?;
        }
        Some(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            // An empty value takes back what an earlier record said.
            b"path" => self.path = (!value.is_empty()).then(|| value.to_vec()),
            b"linkpath" => self.link_name = (!value.is_empty()).then(|| value.to_vec()),
            b"size" => self.size = optional(value, decimal)?,
            b"mtime" => self.modified = optional(value, seconds)?,
            b"uid" => self.owner = optional(value, seconds)?,
            b"gid" => self.group = optional(value, seconds)?,
            b"GNU.sparse.name" => {
                self.sparse = true;
                self.path = Some(value.to_vec());
            }
            _ => self.sparse |= key.starts_with(b"GNU.sparse."),
        }
        Some(())
    }
}

fn optional<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { parse(value).map(Some) }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if all_digits { str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

/// A number of seconds with or without a fraction, rounded down.
fn seconds(value: &[u8]) -> Option<i64> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |&byte| byte == b'.');
    let whole = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let round_up = negative && fraction.iter().any(|&digit| digit != b'0');
    let whole = whole.checked_add(i64::from(round_up))?;
    Some(if negative { -whole } else { whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_all_spellings() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"00000000017"), Some(0o17));
        assert_eq!(number(&[0; 8]), Some(0));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1]), Some(0x2_0000_0001));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0x80, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), None);
        assert_eq!(number(b"0000648\0"), None);
        assert_eq!(number(b"-000001\0"), None);
    }

    #[test]
    fn headers_of_the_tar_crate_are_understood() {
        let mut header = tar::Header::new_ustar();
        header.set_path("d".repeat(120) + "/file").unwrap();
        header.set_mode(0o750);
        header.set_size(77);
        header.set_mtime(1234);
        header.set_uid(1000);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        let ours = TarHeader::new(header.as_bytes()).unwrap();
        assert_eq!(ours.path(), header.path_bytes().as_ref());
        assert_eq!((ours.size(), ours.mode(), ours.modified()), (Some(77), Some(0o750), Some(1234)));
        assert_eq!((ours.owner(), ours.kind()), (Some(1000), b'0'));
        header.as_mut_bytes()[300] ^= 4;
        assert!(TarHeader::new(header.as_bytes()).is_none());
    }

    #[test]
    fn headers_are_what_the_tar_crate_would_write() {
        for (name, size, modified) in [("./a", 0, 0), ("./d/", 1, 1_800_000_000), ("./b", 8 << 30, (8 << 30) - 1)] {
            let mut theirs = tar::Header::new_gnu();
            theirs.set_entry_type(tar::EntryType::Link);
            theirs.set_path(name).unwrap();
            theirs.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            theirs.set_link_name("target").unwrap();
            theirs.set_mode(0o755);
            theirs.set_uid(0);
            theirs.set_gid(0);
            theirs.set_size(size);
            theirs.set_mtime(modified);
            theirs.set_cksum();
            let ours = NewHeader {
                kind: b'1',
                name: name.as_bytes(),
                link_name: b"target",
                mode: 0o755,
                size,
                modified: modified.cast_signed(),
            };
            let block = ours.encode();
            assert_eq!(number(&block[CHECKSUM]), number(&theirs.as_bytes()[CHECKSUM]));
            theirs.as_old_mut().cksum.copy_from_slice(&block[CHECKSUM]);
            assert!(block == *theirs.as_bytes(), "{name}");
        }
    }

    #[test]
    fn headers_are_read_as_they_were_written() {
        let long = [b'n'; 150];
        for (size, modified) in [(0, -1), (u64::MAX >> 1, i64::MIN), (5, i64::MAX)] {
            let new = NewHeader { kind: b'0', name: &long, link_name: b"", mode: 0o644, size, modified };
            let header = TarHeader::new(&new.encode()).unwrap();
            assert_eq!((header.path(), header.link_name()), (long[..99].to_vec(), Vec::new()));
            assert_eq!((header.kind(), header.mode(), header.size()), (b'0', Some(0o644), Some(size)));
            assert_eq!((header.modified(), header.owner(), header.group()), (Some(modified), Some(0), Some(0)));
        }
    }

    #[test]
    fn signed_checksums_of_old_programs_are_taken() {
        let mut block = [0_u8; BLOCK];
        block[0] = 0xe4;
        let sum = 8 * 32 + i64::from(0xe4_u8.cast_signed());
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(is_header(&block));
        assert!(!is_header(&[0; BLOCK]));
    }

    #[test]
    fn pax_records() {
        let records = PaxRecords::parse(b"12 path=a\nb\n10 size=5\n14 mtime=-1.5\n").unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"a\nb"[..]));
        assert_eq!(records.size, Some(5));
        assert_eq!(records.modified, Some(-2));
        assert!(PaxRecords::parse(b"22 GNU.sparse.major=1\n").unwrap().sparse);
        assert_eq!(PaxRecords::parse(b"10 path=a\n8 path=\n").unwrap().path, None);
        assert_eq!(PaxRecords::parse(b"10 path=a\n9 path=\n"), None);
    }

    #[test]
    fn malformed_pax_records() {
        for bad in [
            &b"path=a\n"[..],
            b"99 path=a\n",
            b"9 path=a\n\n",
            b"11 path=a\n",
            b"3 \n",
            b"0 path=a\n",
            b" path=a\n",
            b"11 size=-5\n",
            b"99999999999999999999 path=a\n",
            b"18446744073709551615 path=a\n",
            b"+10 path=a\n",
        ] {
            assert_eq!(PaxRecords::parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn seconds_are_rounded_down() {
        assert_eq!(seconds(b"12.999999999"), Some(12));
        assert_eq!(seconds(b"-12.0"), Some(-12));
        assert_eq!(seconds(b"-12.1"), Some(-13));
        assert_eq!(seconds(b"1e5"), None);
        assert_eq!(seconds(b"99999999999999999999"), None);
    }
}
