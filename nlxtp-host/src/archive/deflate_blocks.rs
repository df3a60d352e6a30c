//! Where the last block of a DEFLATE stream begins and ends (RFC 1951).
//!
//! An encoder that is given a piece of a file makes a whole stream of it, whose last block says that
//! it is the last. To put the streams of several pieces after one another, that bit must be found,
//! and with it the stream's end, which need not be a byte's. Blocks are as long as their codes take
//! them, so all codes are passed over; nothing is unpacked.

#![forbid(unsafe_code)]

/// Positions in a stream, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastBlock {
    /// The bit that says that it is the last.
    pub(super) begin: usize,
    /// The bit after its last one.
    pub(super) end: usize,
}

/// Looks through one whole stream. `None` where it is none.
pub(super) fn find_last(stream: &[u8]) -> Option<LastBlock> {
    let mut bits = Bits { stream, next: 0, held: 0, count: 0 };
    let mut codes = Codes::new();
    loop {
        let begin = bits.position();
        bits.refill();
        let last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => bits.pass_stored()?,
            1 => {
                codes.set_fixed()?;
                codes.pass(&mut bits)?;
            }
            2 => {
                codes.read(&mut bits)?;
                codes.pass(&mut bits)?;
            }
            _ => return None,
        }
        if last {
            return Some(LastBlock { begin, end: bits.position() });
        }
    }
}

/// A stream, from its bytes' lowest bits on.
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

    fn pass(&mut self, count: u8) -> Option<()> {
        self.count = self.count.checked_sub(count.into())?;
        // By fewer than 64, since that many were held.
        self.held = self.held.wrapping_shr(count.into());
        Some(())
    }

    fn take(&mut self, count: u8) -> Option<usize> {
        let taken = self.held & ((1 << count) - 1);
        self.pass(count)?;
        Some(taken as usize)
    }

    fn pass_stored(&mut self) -> Option<()> {
        let at = self.position().div_ceil(8);
        let header = self.stream.get(at..)?.first_chunk::<4>()?;
        let length = u16::from_le_bytes([header[0], header[1]]);
        if u16::from_le_bytes([header[2], header[3]]) != !length {
            return None;
        }
        self.next = at + 4 + usize::from(length);
        (self.held, self.count) = (0, 0);
        (self.next <= self.stream.len()).then_some(())
    }
}

/// Longest code, in bits.
const LONGEST: usize = 15;

/// Literals and lengths, and distances, that a block may have codes for.
const SYMBOLS: usize = 288;
const DISTANCES: usize = 32;

/// What the next bits are, by their value: how many belong to the code and what follows it within
/// the same symbol, and what the symbol is; or [`NO_CODE`].
struct Table {
    entries: Box<[u8; 1 << LONGEST]>,
    mask: usize,
}

impl Table {
    fn new() -> Self {
        Self { entries: Box::new([NO_CODE; 1 << LONGEST]), mask: 0 }
    }

    /// Assigns codes to symbols by the codes' lengths; `entry` says what is kept of a symbol.
    fn set(&mut self, lengths: &[u8], entry: impl Fn(usize, u8) -> u8) -> Option<()> {
        let mut used = [0_usize; LONGEST + 1];
        lengths.iter().for_each(|&length| used[usize::from(length)] += 1);
        used[0] = 0;
        let longest = used.iter().rposition(|&used| used > 0).unwrap_or(0);
        let mut next = [0_usize; LONGEST + 1];
        for length in 1..=LONGEST {
            next[length] = (next[length - 1] + used[length - 1]) << 1;
            if next[length] + used[length] > 1 << length {
                return None;
            }
        }
        self.mask = (1 << longest) - 1;
        let entries = &mut self.entries[..=self.mask];
        entries.fill(NO_CODE);
        for (symbol, &length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
            let code = next[usize::from(length)];
            next[usize::from(length)] += 1;
            // Codes begin with their highest bit, everything else with the lowest.
            let first = code.reverse_bits() >> (usize::BITS - u32::from(length));
            entries.iter_mut().skip(first).step_by(1 << length).for_each(|found| *found = entry(symbol, length));
        }
        Some(())
    }

    fn look(&self, bits: &Bits<'_>) -> u8 {
        self.entries[bits.held as usize & self.mask & ((1 << LONGEST) - 1)]
    }
}

/// What an entry of the table of symbols says beside a number of bits; one of a literal says nothing, and
/// is less than all others.
const BITS: u8 = 0x1f;
const LENGTH: u8 = 0x40;
const END: u8 = 0x80;
const NO_CODE: u8 = 0xff;

/// The codes of a block.
struct Codes {
    symbols: Table,
    distances: Table,
}

impl Codes {
    fn new() -> Self {
        Self { symbols: Table::new(), distances: Table::new() }
    }

    fn set(&mut self, symbols: &[u8], distances: &[u8]) -> Option<()> {
        self.symbols.set(symbols, |symbol, length| match symbol {
            0..=255 => length,
            256 => END | length,
            257..=264 | 285.. => LENGTH | length,
            265..=284 => LENGTH | (length + ((symbol - 261) / 4) as u8),
        })?;
        self.distances.set(distances, |symbol, length| length + (symbol / 2).saturating_sub(1) as u8)
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
        self.symbols.set(&lengths, |symbol, length| (symbol as u8) << 3 | length)?;
        let mut lengths = [0; SYMBOLS + DISTANCES];
        let mut known = 0;
        while known < symbols + distances {
            bits.refill();
            let entry = self.symbols.look(bits);
            // Of what is no code, too, but that ends it.
            bits.pass(entry & 7)?;
            let (value, repeat) = match entry >> 3 {
                _ if entry == NO_CODE => return None,
                length @ ..16 => (length, 1),
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

    /// Passes over all symbols of a block.
    fn pass(&self, bits: &mut Bits<'_>) -> Option<()> {
        loop {
            bits.refill();
            let mut entry = self.symbols.look(bits);
            // Three literals have 45 bits at most; to look at the next takes no more than 15.
            for _ in 0..3 {
                if entry >= LENGTH {
                    break;
                }
                bits.pass(entry)?;
                entry = self.symbols.look(bits);
            }
            if entry < LENGTH {
                continue;
            }
            if entry == NO_CODE {
                return None;
            }
            // A length has 20 bits at most, and a distance 28.
            if bits.count < 48 {
                bits.refill();
            }
            bits.pass(entry & BITS)?;
            if entry & END != 0 {
                return Some(());
            }
            let distance = self.distances.look(bits);
            if distance == NO_CODE {
                return None;
            }
            bits.pass(distance)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress, FlushDecompress, Status};
    use proptest::prelude::*;

    use super::*;

    /// Bytes of which some repeat and some do not, for every kind of block.
    fn contents() -> impl Strategy<Value = Vec<u8>> {
        let noise = prop::collection::vec(any::<u8>(), 0..3000);
        const WORDS: &[&[u8]] = &[b"status ", b"run\n", b"0"];
        let words = prop::collection::vec(prop::sample::select(WORDS), 0..2000);
        let words = words.prop_map(|words| words.concat());
        let run = (any::<u8>(), 0..90_000_usize).prop_map(|(byte, length)| vec![byte; length]);
        prop::collection::vec(prop_oneof![noise, words, run], 0..6).prop_map(|parts| parts.concat())
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
        let last = find_last(&stream).unwrap();
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
            find_last(&stream);
            if let Some(first) = stream.first_mut() {
                *first = *first & !7 | kind << 1;
            }
            find_last(&stream);
        }
    }

    #[test]
    fn a_stream_that_breaks_off_is_none() {
        let stream = zlib(&b"to be or not to be, that is the question. ".repeat(9), 6);
        for length in 0..stream.len() {
            assert_eq!(find_last(&stream[..length]), None, "{length}");
        }
    }
}
