//! The 32-byte slots that directories are made of.
//!
//! A slot is an entry (short name, attributes, first cluster, size) or one
//! piece of the long name of the entry that follows it ("FAT: General
//! Overview of On-Disk Format", version 1.03, pages 22 to 32).

use super::time::Stamp;

/// One slot, as it lies on the disk.
pub(super) type Slot = [u8; SLOT_LEN];
/// Bytes in a slot.
pub(super) const SLOT_LEN: usize = 32;
/// Slots in the largest directory that FAT allows (2 MiB).
pub(super) const MAX_DIRECTORY_SLOTS: u32 = 65_536;
/// UTF-16 units in one piece of a long name.
pub(super) const UNITS_PER_PIECE: usize = 13;
/// UTF-16 units in the longest name.
pub(super) const MAX_NAME_UNITS: usize = 255;

/// First byte: this slot and all after it have never been used.
pub(super) const END: u8 = 0x00;
/// First byte: deleted.
pub(super) const DELETED: u8 = 0xE5;

pub(super) const ATTR_VOLUME_LABEL: u8 = 0x08;
pub(super) const ATTR_DIRECTORY: u8 = 0x10;
pub(super) const ATTR_ARCHIVE: u8 = 0x20;
pub(super) const ATTR_LONG_NAME: u8 = 0x0F;
const ATTR_LONG_NAME_MASK: u8 = 0x3F;

/// The piece with the end of the name, which comes first on the disk.
const LAST_PIECE: u8 = 0x40;
/// Where the 13 units of a piece lie in its slot.
const UNIT_AT: [usize; UNITS_PER_PIECE] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// An entry slot, field by field.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShortEntry {
    /// Base and extension, padded with spaces.
    pub name: [u8; 11],
    pub attributes: u8,
    /// Bits 3 and 4: base and extension are lower case (Windows NT's use of a
    /// reserved byte).
    pub case: u8,
    pub modified: Stamp,
    pub first_cluster: u32,
    pub size: u32,
}

impl ShortEntry {
    /// Reads a slot that is neither free nor a piece of a long name.
    pub fn decode(slot: &Slot, wide_clusters: bool) -> Self {
        let mut name = [0; 11];
        name.copy_from_slice(&slot[..11]);
        let high = u16::from_le_bytes([slot[20], slot[21]]);
        let low = u16::from_le_bytes([slot[26], slot[27]]);
        // FAT12 and FAT16 systems used the high half for other things.
        let high = if wide_clusters { high } else { 0 };
        Self {
            name,
            attributes: slot[11],
            case: slot[12],
            modified: Stamp {
                time: u16::from_le_bytes([slot[22], slot[23]]),
                date: u16::from_le_bytes([slot[24], slot[25]]),
            },
            first_cluster: (u32::from(high) << 16) | u32::from(low),
            size: u32::from_le_bytes([slot[28], slot[29], slot[30], slot[31]]),
        }
    }

    /// The slot. Created and accessed are set to the time of modification.
    pub fn encode(&self) -> Slot {
        let mut slot = [0; SLOT_LEN];
        slot[..11].copy_from_slice(&self.name);
        slot[11] = self.attributes;
        slot[12] = self.case;
        let date = self.modified.date.to_le_bytes();
        let time = self.modified.time.to_le_bytes();
        slot[14..16].copy_from_slice(&time);
        slot[16..18].copy_from_slice(&date);
        slot[18..20].copy_from_slice(&date);
        slot[22..24].copy_from_slice(&time);
        slot[24..26].copy_from_slice(&date);
        let cluster = self.first_cluster.to_le_bytes();
        slot[20..22].copy_from_slice(&cluster[2..]);
        slot[26..28].copy_from_slice(&cluster[..2]);
        slot[28..32].copy_from_slice(&self.size.to_le_bytes());
        slot
    }
}

/// Whether a slot in use is a piece of a long name.
pub(super) fn is_long_name_piece(slot: &Slot) -> bool {
    slot[11] & ATTR_LONG_NAME_MASK == ATTR_LONG_NAME
}

/// The sum over a short name that ties the pieces of a long name to it.
pub(super) fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// Number of pieces for a long name of so many UTF-16 units.
pub(super) fn pieces(units: usize) -> usize {
    units.div_ceil(UNITS_PER_PIECE)
}

/// Appends the pieces of a long name, last piece first, as they precede their
/// entry. `units` are 1 to 255.
pub(super) fn encode_long_name(units: &[u16], short: &[u8; 11], out: &mut Vec<u8>) {
    let sum = checksum(short);
    let last = pieces(units.len());
    for (index, piece) in units.chunks(UNITS_PER_PIECE).enumerate().rev() {
        let number = index + 1;
        let mut slot = [0xFF; SLOT_LEN];
        // At most 20, so it fits beside the flag.
        slot[0] = u8::try_from(number).unwrap_or(u8::MAX);
        if number == last {
            slot[0] |= LAST_PIECE;
        }
        slot[11] = ATTR_LONG_NAME;
        slot[12] = 0;
        slot[13] = sum;
        slot[26..28].fill(0);
        // One zero ends a name that does not fill its last piece; the rest
        // stays 0xFFFF.
        let units = piece.iter().copied().chain([0]);
        for (at, unit) in UNIT_AT.into_iter().zip(units) {
            let bytes = unit.to_le_bytes();
            slot[at] = bytes[0];
            slot[at + 1] = bytes[1];
        }
        out.extend_from_slice(&slot);
    }
}

/// Collects the pieces of a long name while a directory is read.
#[derive(Debug)]
pub(super) struct LongName {
    sum: u8,
    /// Number of the piece read last; 1 when complete.
    number: u8,
    /// Room for all pieces; the end of the name comes first.
    units: Vec<u16>,
}

impl LongName {
    /// Takes the next piece. A piece that does not continue `before` and does
    /// not begin a name makes the whole set void, as every FAT driver has it.
    pub fn push(before: Option<Self>, slot: &Slot) -> Option<Self> {
        let number = slot[0] & !LAST_PIECE;
        let sum = slot[13];
        let mut name = if slot[0] & LAST_PIECE != 0 {
            if number == 0 || usize::from(number) > pieces(MAX_NAME_UNITS) {
                return None;
            }
            Self { sum, number, units: vec![0; usize::from(number) * UNITS_PER_PIECE] }
        } else {
            let mut name = before?;
            if number == 0 || name.number.checked_sub(1) != Some(number) || name.sum != sum {
                return None;
            }
            name.number = number;
            name
        };
        let start = usize::from(number - 1) * UNITS_PER_PIECE;
        for (unit, at) in name.units.iter_mut().skip(start).zip(UNIT_AT) {
            *unit = u16::from_le_bytes([slot[at], slot[at + 1]]);
        }
        Some(name)
    }

    /// The units of the name, if all its pieces are there and belong to the
    /// entry with this short name.
    pub fn finish(self, short: &[u8; 11]) -> Option<Vec<u16>> {
        if self.number != 1 || self.sum != checksum(short) {
            return None;
        }
        let mut units = self.units;
        if let Some(end) = units.iter().position(|unit| *unit == 0) {
            units.truncate(end);
        }
        Some(units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(slots: &[u8], short: &[u8; 11]) -> Option<Vec<u16>> {
        let mut name = None;
        for slot in slots.as_chunks::<SLOT_LEN>().0 {
            assert!(is_long_name_piece(slot));
            name = LongName::push(name, slot);
        }
        name?.finish(short)
    }

    #[test]
    fn long_names_come_back() {
        let short = b"ABCDEF~1TXT";
        for len in [1, 12, 13, 14, 26, 254, 255] {
            let units: Vec<u16> = (0..len).map(|n| 0x61 + n % 26).collect();
            let mut slots = Vec::new();
            encode_long_name(&units, short, &mut slots);
            assert_eq!(slots.len(), pieces(units.len()) * SLOT_LEN);
            assert_eq!(decode(&slots, short), Some(units));
            assert_eq!(decode(&slots, b"OTHER      "), None);
        }
    }

    #[test]
    fn broken_sets_are_void() {
        let short = b"ABCDEF~1TXT";
        let mut slots = Vec::new();
        encode_long_name(&[0x61; 40], short, &mut slots);
        assert_eq!(slots.len(), 4 * SLOT_LEN);
        // A missing beginning, middle and end.
        assert_eq!(decode(&slots[SLOT_LEN..], short), None);
        let mut middle = slots.clone();
        middle.drain(SLOT_LEN..2 * SLOT_LEN);
        assert_eq!(decode(&middle, short), None);
        assert_eq!(decode(&slots[..3 * SLOT_LEN], short), None);
        // A foreign piece.
        let mut foreign = slots.clone();
        foreign[SLOT_LEN + 13] ^= 1;
        assert_eq!(decode(&foreign, short), None);
        // Absurd numbers.
        for number in [0x40, 0x40 | 21, 0x7F, 0x00] {
            let mut absurd = slots.clone();
            absurd[0] = number;
            assert_eq!(decode(&absurd, short), None);
        }
    }

    #[test]
    fn entries_come_back() {
        let entry = ShortEntry {
            name: *b"README  TXT",
            attributes: ATTR_ARCHIVE,
            case: 0x18,
            modified: Stamp::from_unix(1_709_210_096),
            first_cluster: 0x0123_4567,
            size: 0xFEDC_BA98,
        };
        let slot = entry.encode();
        let wide = ShortEntry::decode(&slot, true);
        assert_eq!(wide.name, entry.name);
        assert_eq!(wide.first_cluster, 0x0123_4567);
        assert_eq!(wide.size, entry.size);
        assert_eq!(wide.modified, entry.modified);
        assert_eq!(ShortEntry::decode(&slot, false).first_cluster, 0x4567);
    }
}
