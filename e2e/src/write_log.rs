//! The log that QEMU's `blklogwrites` driver keeps of a disk: every write and every flush, in order.
//!
//! The format is that of Linux's dm-log-writes: a sector that says how large sectors are, then for each
//! request a sector that says what it is, and its data. Numbers are little-endian.

use std::fs::File;
use std::io::{self, BufReader, Read};
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

/// What was done to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// This was written.
    Write(Write),
    /// All that was written before is durable.
    Flush,
}

/// All that was done, in this order.
///
/// # Panics
/// If the log cannot be read, or holds what nobody does to a disk here.
#[track_caller]
pub fn records(log: &Path) -> Vec<Record> {
    parse(&mut BufReader::new(open(log)))
}

/// How many records the log's head counts: those up to a flush, though not always the last one.
///
/// # Panics
/// If the log cannot be read.
#[track_caller]
pub fn counted(log: &Path) -> usize {
    let mut head = [0; SECTOR];
    open(log).read_exact(&mut head).expect("a head");
    usize::try_from(number(&head, 2)).expect("a count of records")
}

/// The writes between two flushes together. All but those of the last group were flushed.
///
/// # Panics
/// As for [`records`].
#[track_caller]
pub fn groups(log: &Path) -> Vec<Vec<Write>> {
    let mut groups = vec![Vec::new()];
    for record in records(log) {
        match record {
            Record::Write(write) => groups.last_mut().expect("never empty").push(write),
            Record::Flush => groups.push(Vec::new()),
        }
    }
    groups
}

#[track_caller]
fn open(log: &Path) -> File {
    File::open(log).unwrap_or_else(|error| panic!("cannot read {}: {error}", log.display()))
}

fn parse(log: &mut impl Read) -> Vec<Record> {
    let mut records = Vec::new();
    let mut head = [0; SECTOR];
    if !fill(log, &mut head) {
        return records;
    }
    // QEMU writes the first sector only with the first flush, and does not keep the number of requests
    // in it up to date. Where it was killed, the last request may be there in part.
    assert!([0, MAGIC].contains(&number(&head, 0)), "no log of writes");
    while fill(log, &mut head) {
        let [sector, sectors, flags] = [0, 1, 2].map(|field| number(&head, field));
        let mut data = vec![0; usize::try_from(sectors).expect("a request fits the memory") * SECTOR];
        if !fill(log, &mut data) {
            break;
        }
        match (flags, sectors) {
            (FLUSH, 0) => records.push(Record::Flush),
            (0, 1..) => records.push(Record::Write(Write { offset: sector * SECTOR as u64, data })),
            // The rest of a file that was made longer beforehand.
            (0, 0) => break,
            _ => panic!("a request with the flags {flags} and {sectors} sectors"),
        }
    }
    records
}

/// Whether there was enough to fill the buffer.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> bool {
    match log.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        outcome => outcome.map(|()| true).expect("the log"),
    }
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
    fn a_log_is_read_as_far_as_it_goes() {
        let mut log = sector([MAGIC, 1, 0]);
        for (numbers, data) in [([3, 1, 0], 'a'), ([0, 0, FLUSH], ' '), ([4, 2, 0], 'b'), ([9, 1, 0], 'c')] {
            log.extend(sector(numbers));
            log.extend(vec![data as u8; numbers[1] as usize * SECTOR]);
        }
        let write = |sector: u64, data: char, sectors: usize| {
            Record::Write(Write { offset: sector * 512, data: vec![data as u8; sectors * SECTOR] })
        };
        let all = [write(3, 'a', 1), Record::Flush, write(4, 'b', 2), write(9, 'c', 1)];
        assert_eq!(parse(&mut &log[..]), all);
        let longer = [&log[..], &[0; 9 * SECTOR]].concat();
        assert_eq!(parse(&mut &longer[..]), all, "a file that was made longer beforehand");
        log.truncate(log.len() - 1);
        assert_eq!(parse(&mut &log[..]), all[..3], "a request that is not whole");
    }
}
