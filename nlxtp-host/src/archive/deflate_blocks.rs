//! Where the last block of a DEFLATE stream begins and ends (RFC 1951).
//!
//! An encoder that is given a piece of a file makes a whole stream of it, whose last block says that
//! it is the last. To put the streams of several pieces after one another, that bit must be found,
//! and with it the stream's end, which need not be a byte's. Blocks are as long as their codes take
//! them, so all codes are passed over; nothing is unpacked. The encoder's input is at hand, though: where
//! the stream has literals, it is compared with their codes, several at a time.

#![forbid(unsafe_code)]

/// Positions in a stream, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastBlock {
    /// The bit that says that it is the last.
    pub(super) begin: usize,
    /// The bit after its last one.
    pub(super) end: usize,
}

/// Looks through streams, one after the other.
pub(super) struct Finder {
    /// Of the block that is looked at. They are large, and need not be made anew for each stream.
    codes: Codes,
}

impl Finder {
    pub(super) fn new() -> Self {
        Self { codes: Codes::new() }
    }

    /// Looks through one whole stream. `None` where it is none. What it unpacks to is only believed where the
    /// stream says the same: another content makes this slower, and nothing else.
    pub(super) fn find_last(&mut self, stream: &[u8], content: &[u8]) -> Option<LastBlock> {
        let mut content = Content(content);
        let mut bits = Bits { stream, next: 0, held: 0, count: 0 };
        loop {
            let begin = bits.position();
            bits.refill();
            let last = bits.take(1)? == 1;
            match bits.take(2)? {
                0 => content.pass(bits.pass_stored()?),
                1 => {
                    self.codes.set_fixed()?;
                    bits = self.codes.pass(bits, &mut content)?;
                }
                2 => {
                    self.codes.read(&mut bits)?;
                    bits = self.codes.pass(bits, &mut content)?;
                }
                _ => return None,
            }
            if last {
                return Some(LastBlock { begin, end: bits.position() });
            }
        }
    }
}

/// A stream, from its bytes' lowest bits on.
#[derive(Clone, Copy)]
struct Bits<'a> {
    stream: &'a [u8],
    /// The first byte that is not held yet.
    next: usize,
    /// Bits taken from the stream; above `count` they may be those to come, and never others.
    held: u64,
    count: u32,
}

impl Bits<'_> {
    fn position(&self) -> usize {
        self.next * 8 - self.count as usize
    }

    /// Holds at least 56 bits, or all that are left.
    fn refill(&mut self) {
        if let Some(bytes) = self.stream.get(self.next..).and_then(|rest| rest.first_chunk::<8>()) {
            // Never as much as would overflow; this is done for every few symbols.
            self.held |= u64::from_le_bytes(*bytes).wrapping_shl(self.count);
            self.next = self.next.wrapping_add((63_u32.wrapping_sub(self.count) / 8) as usize);
            self.count |= 56;
            return;
        }
        while self.count <= 56 && self.next < self.stream.len() {
            self.held |= u64::from(self.stream[self.next]) << self.count;
            self.next += 1;
            self.count += 8;
        }
    }

    fn pass(&mut self, count: u32) -> Option<()> {
        self.count = self.count.checked_sub(count)?;
        // By fewer than 64, since that many were held.
        self.held = self.held.wrapping_shr(count);
        Some(())
    }

    fn take(&mut self, count: u32) -> Option<usize> {
        let taken = self.held & ((1 << count) - 1);
        self.pass(count)?;
        Some(taken as usize)
    }

    /// Returns how many bytes were stored.
    fn pass_stored(&mut self) -> Option<usize> {
        let at = self.position().div_ceil(8);
        let header = self.stream.get(at..)?.first_chunk::<4>()?;
        let length = u16::from_le_bytes([header[0], header[1]]);
        if u16::from_le_bytes([header[2], header[3]]) != !length {
            return None;
        }
        self.next = at + 4 + usize::from(length);
        (self.held, self.count) = (0, 0);
        (self.next <= self.stream.len()).then_some(length.into())
    }
}

/// What the stream unpacks to, from where it is looked at.
struct Content<'a>(&'a [u8]);

impl Content<'_> {
    fn pass(&mut self, bytes: usize) {
        self.0 = self.0.get(bytes..).unwrap_or_default();
    }
}

/// Longest code, in bits.
const LONGEST: u32 = 15;

/// Literals and lengths, and distances, that a block may have codes for.
const SYMBOLS: usize = 288;
const DISTANCES: usize = 32;

/// What the next bits are, by their value: how many belong to the code and what follows it within
/// the same symbol, and what the symbol is; or [`NO_CODE`].
struct Table {
    entries: Box<[u16; 1 << LONGEST]>,
    mask: usize,
}

impl Table {
    fn new() -> Self {
        Self { entries: Box::new([NO_CODE; 1 << LONGEST]), mask: 0 }
    }

    /// Assigns codes to symbols by the codes' lengths; `entry` says what is kept of a symbol that has this
    /// code of this length.
    fn set(&mut self, lengths: &[u8], mut entry: impl FnMut(usize, u16, u16) -> u16) -> Option<()> {
        // The symbols by the lengths of their codes: where those of each begin, and then, where they end.
        let mut ends = [0_usize; LONGEST as usize + 2];
        lengths.iter().for_each(|&length| ends[usize::from(length) + 1] += 1);
        let longest = ends.iter().rposition(|&used| used > 0).unwrap_or(1) - 1;
        for length in 1..ends.len() {
            ends[length] += ends[length - 1];
        }
        let mut order = [0; SYMBOLS];
        for (symbol, &length) in lengths.iter().enumerate() {
            let place = &mut ends[usize::from(length)];
            order[*place] = symbol;
            *place += 1;
        }
        self.entries[0] = NO_CODE;
        let (mut size, mut next) = (1, 0_u16);
        for length in 1..=longest {
            // Shorter codes stay what they are, whatever bit follows them.
            self.entries.copy_within(..size, size);
            (size, next) = (2 * size, 2 * next);
            for &symbol in &order[ends[length - 1]..ends[length]] {
                if usize::from(next) == size {
                    return None;
                }
                // Codes begin with their highest bit, everything else with the lowest.
                let code = next.reverse_bits() >> (u16::BITS - length as u32);
                self.entries[usize::from(code)] = entry(symbol, code, length as u16);
                next += 1;
            }
        }
        self.mask = size - 1;
        Some(())
    }

    fn look(&self, bits: &Bits<'_>) -> u16 {
        self.entries[bits.held as usize & self.mask & ((1 << LONGEST) - 1)]
    }
}

/// What an entry of the table of symbols says: bits in all, how many of them tell more about a length,
/// and which of [`LENGTHS`] that is. One of a literal says the first alone, and is less than all others.
const BITS: u16 = 0x1f;
const MORE_SHIFT: u32 = 5;
const LENGTH_SHIFT: u32 = 8;
const LENGTH: u16 = 0x2000;
const END: u16 = 0x4000;
const NO_CODE: u16 = 0xffff;

/// The least length that a symbol stands for.
const LENGTHS: [u16; 32] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
    0, 0, 0,
];

/// The bits of a literal's code, and above them its code; or more bits than are ever held.
const CODE_SHIFT: u32 = 8;
const LENGTH_OF_CODE: u32 = 0xff;
const NO_LITERAL: u32 = LENGTH_OF_CODE;

/// Times that three literals must have come in a row before more of them are expected. Numbers in a log have
/// fewer, noise has more.
const FEW: u32 = 4;

/// The codes of a block.
struct Codes {
    symbols: Table,
    distances: Table,
    literals: [u32; 256],
}

impl Codes {
    fn new() -> Self {
        Self { symbols: Table::new(), distances: Table::new(), literals: [NO_LITERAL; 256] }
    }

    fn set(&mut self, symbols: &[u8], distances: &[u8]) -> Option<()> {
        let literals = &mut self.literals;
        literals.fill(NO_LITERAL);
        self.symbols.set(symbols, |symbol, code, length| {
            let more = match symbol {
                0..=255 => {
                    literals[symbol] = u32::from(code) << CODE_SHIFT | u32::from(length);
                    return length;
                }
                256 => return END | length,
                257..=264 | 285.. => 0,
                265..=284 => ((symbol - 261) / 4) as u16,
            };
            LENGTH | ((symbol - 257) as u16) << LENGTH_SHIFT | more << MORE_SHIFT | (length + more)
        })?;
        self.distances.set(distances, |symbol, _, length| length + (symbol / 2).saturating_sub(1) as u16)
    }

    fn set_fixed(&mut self) -> Option<()> {
        let length = |symbol| match symbol {
            0..=143 => 8,
            144..=255 => 9,
            256..=279 => 7,
            _ => 8,
        };
        self.set(&std::array::from_fn::<u8, SYMBOLS, _>(length), &[5; DISTANCES])
    }

    /// Reads the lengths of a block's own codes.
    fn read(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let symbols = bits.take(5)? + 257;
        let distances = bits.take(5)? + 1;
        let described = bits.take(4)? + 4;
        let mut lengths = [0; ORDER.len()];
        for &symbol in &ORDER[..described] {
            bits.refill();
            lengths[symbol] = bits.take(3)? as u8;
        }
        // For a moment, the table holds the codes in which the lengths are written.
        self.symbols.set(&lengths, |symbol, _, length| (symbol as u16) << 3 | length)?;
        let mut lengths = [0; SYMBOLS + DISTANCES];
        let mut known = 0;
        while known < symbols + distances {
            bits.refill();
            let entry = self.symbols.look(bits);
            // Of what is no code, too, but that ends it.
            bits.pass(u32::from(entry & 7))?;
            let (value, repeat) = match entry >> 3 {
                _ if entry == NO_CODE => return None,
                length @ ..16 => (length as u8, 1),
                16 => (*lengths.get(known.checked_sub(1)?)?, 3 + bits.take(2)?),
                17 => (0, 3 + bits.take(3)?),
                _ => (0, 11 + bits.take(7)?),
            };
            lengths.get_mut(known..known + repeat)?.fill(value);
            known += repeat;
        }
        if known > symbols + distances || symbols > SYMBOLS {
            return None;
        }
        self.set(&lengths[..symbols], &lengths[symbols..known])
    }

    /// Passes over all symbols of a block, and in the content over what they stand for.
    fn pass<'a>(&self, mut bits: Bits<'a>, content: &mut Content<'_>) -> Option<Bits<'a>> {
        let mut threes = 0;
        loop {
            bits.refill();
            let mut entry = self.symbols.look(&bits);
            let mut literals = 0;
            // Three literals have 45 bits at most; to look at the next takes no more than 15.
            while entry < LENGTH && literals < 3 {
                bits.pass(u32::from(entry))?;
                entry = self.symbols.look(&bits);
                literals += 1;
            }
            content.pass(literals);
            if entry < LENGTH {
                threes += 1;
                if threes > FEW {
                    bits = self.pass_literals(bits, content)?;
                }
                continue;
            }
            threes = 0;
            if entry == NO_CODE {
                return None;
            }
            // A length has 20 bits at most, and a distance 28.
            if bits.count < 48 {
                bits.refill();
            }
            let symbol = bits.held;
            bits.pass(u32::from(entry & BITS))?;
            if entry & END != 0 {
                return Some(bits);
            }
            let more = entry >> MORE_SHIFT & 7;
            let value = symbol >> ((entry & BITS) - more) & ((1 << more) - 1);
            content.pass(usize::from(LENGTHS[usize::from(entry >> LENGTH_SHIFT & 31)]) + value as usize);
            let distance = self.distances.look(&bits);
            if distance == NO_CODE {
                return None;
            }
            bits.pass(u32::from(distance))?;
        }
    }

    /// Passes over literals, four at a time, as long as the stream says the same as the content. The content
    /// tells how long their codes are, so that the processor need not know one's end to look at the next.
    fn pass_literals<'a>(&self, mut bits: Bits<'a>, known: &mut Content<'_>) -> Option<Bits<'a>> {
        let mut content = known.0;
        while let Some((literals, rest)) = content.split_first_chunk::<4>() {
            bits.refill();
            let (mut expected, mut length) = (0, 0);
            for literal in literals {
                let entry = self.literals[usize::from(*literal)];
                expected |= u64::from(entry >> CODE_SHIFT).wrapping_shl(length);
                length += entry & LENGTH_OF_CODE;
            }
            if length > bits.count || (bits.held ^ expected).wrapping_shl(64 - length) != 0 {
                break;
            }
            bits.pass(length)?;
            content = rest;
        }
        known.0 = content;
        Some(bits)
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress, FlushDecompress, Status};
    use proptest::prelude::*;

    use super::*;

    fn find_last(stream: &[u8], content: &[u8]) -> Option<LastBlock> {
        Finder::new().find_last(stream, content)
    }

    /// Bytes of which some repeat and some do not, for every kind of block.
    fn contents() -> impl Strategy<Value = Vec<u8>> {
        let noise = prop::collection::vec(any::<u8>(), 0..3000);
        // Of these, none repeat, and still they can be compressed.
        let literals = prop::collection::vec(0..100_u8, 0..9000);
        const WORDS: &[&[u8]] = &[b"status ", b"run\n", b"0"];
        let words = prop::collection::vec(prop::sample::select(WORDS), 0..2000);
        let words = words.prop_map(|words| words.concat());
        let run = (any::<u8>(), 0..90_000_usize).prop_map(|(byte, length)| vec![byte; length]);
        prop::collection::vec(prop_oneof![noise, literals, words, run], 0..6).prop_map(|parts| parts.concat())
    }

    fn unpack(stream: &[u8]) -> (Vec<u8>, usize, Status) {
        let mut decoder = flate2::Decompress::new(false);
        let mut content = vec![0; 1 << 20];
        let status = decoder.decompress(stream, &mut content, FlushDecompress::Finish).unwrap();
        content.truncate(decoder.total_out() as usize);
        (content, decoder.total_in() as usize, status)
    }

    /// A stream is found to end where another implementation finds it, and its last block is the
    /// one without which it goes on.
    fn check(content: &[u8], mut stream: Vec<u8>) {
        let mut finder = Finder::new();
        let last = finder.find_last(&stream, content).unwrap();
        assert_eq!(finder.find_last(&stream, &content[content.len() / 2..]), Some(last));
        assert_eq!(last.end.div_ceil(8), unpack(&stream).1);
        stream[last.begin / 8] ^= 1 << (last.begin % 8);
        stream.truncate(last.end.div_ceil(8));
        stream.resize((last.end + 3).div_ceil(8), 0);
        stream.extend([0, 0, 0xff, 0xff]);
        let (found, _, status) = unpack(&stream);
        assert!(found == content && status != Status::StreamEnd);
        stream.extend([3, 0]);
        assert_eq!(unpack(&stream), (content.to_vec(), stream.len(), Status::StreamEnd));
    }

    fn libdeflate(content: &[u8], level: i32) -> Vec<u8> {
        let mut encoder = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(level).unwrap());
        let mut stream = vec![0; encoder.deflate_compress_bound(content.len())];
        let length = encoder.deflate_compress(content, &mut stream).unwrap();
        stream.truncate(length);
        stream
    }

    fn zlib(content: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = Compress::new(Compression::new(level), false);
        let mut stream = vec![0; content.len() + content.len() / 2 + 1000];
        assert_eq!(encoder.compress(content, &mut stream, FlushCompress::Finish).unwrap(), Status::StreamEnd);
        stream.truncate(encoder.total_out() as usize);
        stream
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn the_last_block_of_any_encoders_stream_is_found(content in contents(), level in 0..=9_u8) {
            check(&content, libdeflate(&content, level.into()));
            check(&content, zlib(&content, level.into()));
        }

        #[test]
        fn no_bytes_make_it_panic(mut stream in prop::collection::vec(any::<u8>(), 0..200), kind in 0..4_u8) {
            find_last(&stream, &stream);
            if let Some(first) = stream.first_mut() {
                *first = *first & !7 | kind << 1;
            }
            find_last(&stream, &stream);
        }
    }

    #[test]
    fn a_stream_that_breaks_off_is_none() {
        let content = b"to be or not to be, that is the question. ".repeat(9);
        let stream = zlib(&content, 6);
        for length in 0..stream.len() {
            assert_eq!(find_last(&stream[..length], &content), None, "{length}");
        }
    }
}
