//! The log that QEMU's `blklogwrites` driver keeps of a disk: every write and every flush, in order.
//!
//! The format is that of Linux's dm-log-writes: a sector that says how large sectors are, then for each
//! request a sector that says what it is, and its data. Numbers are little-endian.

use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const SECTOR: usize = 512;

/// What was written to one place of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where, in bytes.
    pub offset: u64,
    /// What; whole sectors of 512 bytes.
    pub data: Vec<u8>,
}

/// Reads a log: the writes between two flushes together. All but those of the last group were
/// flushed.
///
/// # Panics
/// If it cannot be read, or holds what a guest with a virtio disk does not do.
#[track_caller]
pub fn read(log: &Path) -> Vec<Vec<Write>> {
    let bytes = std::fs::read(log).unwrap_or_else(|error| panic!("cannot read {}: {error}", log.display()));
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Vec<Vec<Write>> {
    let mut groups = vec![Vec::new()];
    let Some((first, mut rest)) = bytes.split_at_checked(SECTOR) else { return groups };
    // QEMU writes the first sector only with the first flush, and does not keep the number of requests
    // in it up to date. Where it was killed, the last request may be there in part.
    assert!([0, MAGIC].contains(&number(first, 0)), "no log of writes");
    while let Some((head, after)) = rest.split_at_checked(SECTOR) {
        let [sector, sectors, flags] = [0, 1, 2].map(|field| number(head, field));
        let length = usize::try_from(sectors).expect("a request fits the memory") * SECTOR;
        let Some((data, after)) = after.split_at_checked(length) else { break };
        match (flags, length) {
            (FLUSH, 0) => groups.push(Vec::new()),
            (0, 1..) => {
                let write = Write { offset: sector * SECTOR as u64, data: data.to_vec() };
                groups.last_mut().expect("never empty").push(write);
            }
            (0, 0) => break,
            _ => panic!("a request with the flags {flags} and {length} bytes"),
        }
        rest = after;
    }
    groups
}

fn number(bytes: &[u8], field: usize) -> u64 {
    let bytes: [u8; 8] = bytes[field * 8..][..8].try_into().expect("8 bytes");
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(numbers: [u64; 3]) -> Vec<u8> {
        let mut sector: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
        sector.resize(SECTOR, 0);
        sector
    }

    #[test]
    fn writes_are_grouped_by_flushes() {
        let mut log = sector([MAGIC, 1, 0]);
        for (numbers, data) in [([3, 1, 0], 'a'), ([0, 0, FLUSH], ' '), ([4, 2, 0], 'b'), ([9, 1, 0], 'c')] {
            log.extend(sector(numbers));
            log.extend(vec![data as u8; numbers[1] as usize * SECTOR]);
        }
        let write = |sector: u64, data: char, sectors: usize| Write {
            offset: sector * 512,
            data: vec![data as u8; sectors * SECTOR],
        };
        let second = vec![write(4, 'b', 2), write(9, 'c', 1)];
        assert_eq!(parse(&log), [vec![write(3, 'a', 1)], second]);
        log.truncate(log.len() - 1);
        assert_eq!(parse(&log)[1], [write(4, 'b', 2)], "a request that is not whole");
    }
}
