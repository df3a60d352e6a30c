use super::*;

/// A volume in memory.
struct Volume(Vec<u8>);

impl FileExt for Volume {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem))
    }
}

const LABEL_ENTRY: u8 = 0x08;

fn entry(name: &[u8; 11], attributes: u8) -> Vec<u8> {
    let mut entry = vec![0; ENTRY];
    entry[..11].copy_from_slice(name);
    entry[11] = attributes;
    entry
}

/// A file with a long name: its parts, the last one first, then the entry itself.
fn file(name: &str) -> Vec<u8> {
    let mut letters: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    if !letters.len().is_multiple_of(26) {
        letters.extend([0, 0]);
    }
    letters.resize(letters.len().next_multiple_of(26), 0xff);
    let parts: Vec<&[u8]> = letters.chunks(26).collect();
    let mut entries = Vec::new();
    for (number, part) in (1u8..=20).zip(&parts).collect::<Vec<_>>().into_iter().rev() {
        let mut entry = entry(b"           ", 0x0f);
        entry[0] = number | if usize::from(number) == parts.len() { 0x40 } else { 0 };
        entry[1..11].copy_from_slice(&part[..10]);
        entry[14..26].copy_from_slice(&part[10..22]);
        entry[28..32].copy_from_slice(&part[22..]);
        entries.extend(entry);
    }
    entries.extend(entry(b"SHORT~1    ", 0x20));
    entries
}

/// A FAT16: one reserved sector, two tables of one sector, 64 entries.
fn fat16(label: &[u8; 11], directory: &[u8]) -> Volume {
    let mut bytes = vec![0; 16 * 512];
    bytes[11..24].copy_from_slice(&[0, 2, 1, 1, 0, 2, 64, 0, 0, 0, 0xf8, 1, 0]);
    bytes[43..54].copy_from_slice(label);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[3 * 512..3 * 512 + directory.len()].copy_from_slice(directory);
    Volume(bytes)
}

/// A FAT32 of the same kind, whose top directory is clusters 2, 5, and then `behind`.
fn fat32(label: &[u8; 11], directory: &[u8], behind: u32) -> Volume {
    let mut bytes = vec![0; 16 * 512];
    bytes[11..24].copy_from_slice(&[0, 2, 1, 1, 0, 2, 0, 0, 0, 0, 0xf8, 0, 0]);
    bytes[36..40].copy_from_slice(&1u32.to_le_bytes());
    bytes[44..48].copy_from_slice(&2u32.to_le_bytes());
    bytes[71..82].copy_from_slice(label);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[512 + 8..][..4].copy_from_slice(&5u32.to_le_bytes());
    bytes[512 + 20..][..4].copy_from_slice(&behind.to_le_bytes());
    let (first, second) = directory.split_at(directory.len().min(512));
    bytes[3 * 512..][..first.len()].copy_from_slice(first);
    bytes[6 * 512..][..second.len()].copy_from_slice(second);
    Volume(bytes)
}

const OURS: &[u8; 11] = b"NLXTP      ";
const OTHER: &[u8; 11] = b"NLXTP2     ";
const END_OF_CHAIN: u32 = 0x0fff_ffff;

#[test]
fn the_label_tells_in_the_boot_sector_and_in_the_directory() {
    assert_eq!(recognise(&fat16(OURS, &[])), Some(Reason::Label));
    assert_eq!(recognise(&fat32(OURS, &[], END_OF_CHAIN)), Some(Reason::Label));
    assert_eq!(recognise(&fat16(OTHER, &entry(OURS, LABEL_ENTRY))), Some(Reason::Label));
    assert_eq!(recognise(&fat16(OTHER, &entry(OTHER, LABEL_ENTRY))), None);
    assert_eq!(recognise(&fat16(OTHER, &entry(OURS, 0x20))), None, "a file of that name is no label");
}

#[test]
fn what_uploads_and_runs_leave_tells() {
    for name in ["nlxtp_run_id", "auto_exec.sh", "AUTO_EXEC.py", "exec_status"] {
        assert_eq!(recognise(&fat16(OTHER, &file(name))), Some(Reason::Content), "{name}");
    }
    for name in ["auto_exec", "auto_executor.sh", "nlxtp_run_id.old", "exec_status_", "a long name of another file"] {
        assert_eq!(recognise(&fat16(OTHER, &file(name))), None, "{name}");
    }
    let mut removed = file("auto_exec.sh");
    removed.iter_mut().step_by(ENTRY).for_each(|first| *first = 0xe5);
    assert_eq!(recognise(&fat16(OTHER, &removed)), None, "a removed file");
    let behind_the_end = [entry(&[0; 11], 0), file("auto_exec.sh")].concat();
    assert_eq!(recognise(&fat16(OTHER, &behind_the_end)), None, "behind the directory's end");
}

#[test]
fn the_label_counts_more_than_the_content() {
    let directory = [file("auto_exec.sh"), entry(OURS, LABEL_ENTRY)].concat();
    assert_eq!(recognise(&fat16(OTHER, &directory)), Some(Reason::Label));
    assert!(Reason::Label > Reason::Content);
}

#[test]
fn a_chain_is_followed_and_a_cycle_ends() {
    let mut directory = entry(b"FILLS   TXT", 0x20).repeat(16);
    directory.extend(file("exec_status"));
    assert_eq!(recognise(&fat32(OTHER, &directory, END_OF_CHAIN)), Some(Reason::Content));
    let full = entry(b"FILLS   TXT", 0x20).repeat(32);
    assert_eq!(recognise(&fat32(OTHER, &full, 2)), None);
    assert_eq!(recognise(&fat32(OTHER, &full, 0x0fff_0000)), None, "the chain leads out of the volume");
}

#[test]
fn anything_else_is_refused() {
    let mut unsigned = fat16(OURS, &[]);
    unsigned.0[511] = 0;
    assert_eq!(recognise(&unsigned), None);
    for (at, value) in [(12, 0), (13, 0), (13, 3), (14, 0), (16, 0), (16, 3)] {
        let mut damaged = fat16(OURS, &[]);
        damaged.0[at] = value;
        assert_eq!(recognise(&damaged), None, "byte {at} is {value}");
    }
    assert_eq!(recognise(&Volume(vec![0; 100])), None);
    let mut short = fat16(OTHER, &file("auto_exec.sh"));
    short.0.truncate(3 * 512);
    assert_eq!(recognise(&short), None);
}
