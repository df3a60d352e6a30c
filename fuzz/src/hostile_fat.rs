//! Disks that a hostile guest made: nothing panics, work and memory are bounded by the disk, names
//! are harmless; and a disk that nobody has changed holds what was written to it.
//!
//! The first byte of the input says what the rest is: 0 for the parts of a disk that are not zero
//! (length in sectors, 4 bytes; then for each part the offset, 4 bytes, the length, 2 bytes, and
//! the bytes; all little endian), else the source of a tree and of changes to the disk that holds it.

use std::collections::BTreeMap;
use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use arbitrary::Unstructured;
use nlxtp_host::fat::{
    Extent, FatError, FatType, FatVolume, FormatOptions, Layout, MemoryStorage, Plan, ReadAt, ReadLimits, Target,
    WalkItem, locate, partition_type, write_mbr,
};
use nlxtp_host::shared_directory::DiskImage;
use rextfv_core::shared_directory::SharedDirectory;
use rextfv_core::status_reader::read_status;
use tempfile::TempDir;

use crate::scratch;
use crate::walked::{Thing, Walked, inside};

/// The largest disk that is made from parts.
const MOST_SECTORS: u32 = 80_000;
/// Disks up to this length are also read as a host reads them: from a file.
const MOST_FILE_BYTES: usize = 3 << 20;
/// Where our own writer puts a partition here; small, to keep the disks small.
const FIRST_SECTOR: u32 = 8;

/// Checks one input.
pub fn check(input: &[u8]) {
    match input.split_first() {
        Some((0, parts)) => {
            let disk = from_parts(parts);
            if !disk.is_empty() {
                read_everything(disk);
            }
        }
        // An input that is too short stands for zeros.
        Some((_, source)) => drop(written_and_changed(&mut Unstructured::new(source))),
        None => {}
    }
}

fn from_parts(mut parts: &[u8]) -> Vec<u8> {
    let mut number = |length: usize| {
        let bytes = parts.split_off(..length)?;
        Some(bytes.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte)))
    };
    let sectors = number(4).unwrap_or(0).min(MOST_SECTORS as usize);
    let mut disk = vec![0; sectors * 512];
    while let (Some(offset), Some(length)) = (number(4), number(2)) {
        for at in offset..offset + length {
            let Some(byte) = number(1) else { return disk };
            if let Some(place) = disk.get_mut(at) {
                *place = byte as u8;
            }
        }
    }
    disk
}

type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// A disk that was written by us, and then changed.
fn written_and_changed(source: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    // The smallest FAT32 takes a hundred times as long as the others.
    let (fat_type, sectors) = match source.int_in_range(0..=63)? {
        0..=55 => (FatType::Fat12, source.int_in_range(100..=1200)?),
        56..=62 => (FatType::Fat16, 4250),
        _ => (FatType::Fat32, 67_000),
    };
    let first = if source.arbitrary()? { FIRST_SECTOR } else { 0 };
    let tree = any_tree(source)?;
    let mut options = FormatOptions::new("FUZZ").expect("it is a label");
    options.fat_type = Some(fat_type);
    options.hidden_sectors = first;
    let Ok(layout) = plan(&tree, options, u64::from(sectors) * 512) else { return Ok(()) };

    let disk = MemoryStorage::zeroed((first + sectors) as usize * 512);
    write(&tree, &layout, &disk, first, sectors).expect("what was planned can be written");
    holds(&disk, &tree);
    let mut disk = disk.into_bytes();
    if change(source, &mut disk, &layout, first as usize * 512)? {
        read_everything(disk);
    } else {
        from_a_file(&disk, Some(&tree));
    }
    Ok(())
}

fn any_tree(source: &mut Unstructured<'_>) -> arbitrary::Result<Tree> {
    const NAMES: &[&str] =
        &["a", "B", "exec_status", "status.0", "A long name.text", "ä", "日本", "LONGFI~1.TXT", "x.y.z"];
    let mut directories = vec![String::new()];
    let mut tree = Tree::new();
    for _ in 0..source.int_in_range(0..=24)? {
        let parent = source.choose(&directories)?;
        let name = match source.int_in_range(0..=12)? {
            known @ 0..=8 => NAMES[known].to_owned(),
            9 => "n".repeat(source.int_in_range(1..=255)?),
            10 => source.arbitrary::<&str>()?.to_owned(),
            _ => format!("file {}", source.int_in_range(0..=20)?),
        };
        let path = if parent.is_empty() { name } else { format!("{parent}/{name}") };
        if source.ratio(1, 3)? {
            // The name may be a file's.
            if tree.entry(path.clone()).or_insert(None).is_none() {
                directories.push(path);
            }
        } else {
            let byte: u8 = source.arbitrary()?;
            // Some so large that few of them, on the same clusters, are more than the disk.
            let longest = if source.ratio(1, 8)? { 30_000 } else { 3000 };
            let length = source.int_in_range(0..=longest)?;
            tree.entry(path).or_insert_with(|| Some((0..length).map(|n| (n as u8).wrapping_mul(byte)).collect()));
        }
    }
    Ok(tree)
}

/// Plans the tree. What cannot be planned is taken out of it.
fn plan(tree: &Tree, options: FormatOptions, len: u64) -> Result<std::sync::Arc<Layout>, FatError> {
    let mut plan = Plan::new(options, len)?;
    for (path, content) in tree {
        match content {
            None => plan.add_directory(path, 0)?,
            Some(content) => drop(plan.add_file(path, content.len() as u64, 0)?),
        }
    }
    plan.finish()
}

fn write(
    tree: &Tree,
    layout: &std::sync::Arc<Layout>,
    disk: &MemoryStorage,
    first: u32,
    sectors: u32,
) -> Result<(), FatError> {
    let mut writer = layout.writer(disk, u64::from(first) * 512, Target::Zeroed)?;
    for content in tree.values().flatten() {
        writer.write_file(&mut content.as_slice())?;
    }
    writer.finish()?;
    if first > 0 {
        write_mbr(disk, first, sectors, 7, partition_type(layout.geometry().fat_type()))?;
    }
    Ok(())
}

/// The disk holds the tree, no more and no less.
fn holds(disk: &MemoryStorage, tree: &Tree) {
    let extent = locate(disk).expect("it is a disk");
    let volume = FatVolume::open(disk, extent, ReadLimits::default()).expect("it has a file system");
    assert_eq!(volume.label().expect("it can be read").as_deref(), Some("FUZZ"));
    let mut found = Tree::new();
    for item in volume.walk(volume.root()) {
        let WalkItem::Entry { path, entry } = item.expect("it can be read") else { panic!("an entry is left out") };
        let content = (!entry.is_dir).then(|| volume.read_file(&entry, u32::MAX).expect("it can be read"));
        assert_eq!(volume.lookup(&path).expect("it is found").size, entry.size);
        found.insert(path, content);
    }
    assert_eq!(found, normalised(tree));
}

/// Paths as they are read: doubled slashes and dots gone, directories that are only implied added.
fn normalised(tree: &Tree) -> Tree {
    let mut normal = Tree::new();
    for (path, content) in tree {
        let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        for depth in 1..names.len() {
            normal.entry(names[..depth].join("/")).or_insert(None);
        }
        if !names.is_empty() {
            normal.insert(names.join("/"), content.clone());
        }
    }
    normal
}

/// Changes bytes where it matters; gives whether any were.
fn change(source: &mut Unstructured<'_>, disk: &mut [u8], layout: &Layout, start: usize) -> arbitrary::Result<bool> {
    let geometry = layout.geometry();
    let metadata = geometry.metadata_bytes() as usize;
    // Everything but free clusters lies at the beginning.
    let used = disk.len().min(start + metadata + (256 << 10));
    let slots = nonzero_sectors(&disk[..used]).filter(|&at| at > start).flat_map(|at| (at..at + 512).step_by(32));
    let slots: Vec<usize> = slots.filter(|&at| is_slot(&disk[at..at + 32])).collect();
    let full: Vec<usize> =
        nonzero_sectors(&disk[..used]).flat_map(|at| at..at + 512).filter(|&at| disk[at] != 0).collect();
    let mut changed = false;
    // Entries that lead to what another one leads to, with its size.
    for _ in 0..source.int_in_range(0..=20)? {
        if source.arbitrary()? && !slots.is_empty() {
            let (from, to) = (*source.choose(&slots)?, *source.choose(&slots)?);
            changed |= disk[from + 20..from + 32] != disk[to + 20..to + 32];
            disk.copy_within(from + 20..from + 32, to + 20);
        }
    }
    for _ in 0..source.int_in_range(0..=20)? {
        let at = match source.int_in_range(0..=7)? {
            0 => start + source.int_in_range(0..=95)?,
            1 if start > 0 => source.int_in_range(440..=511)?,
            // Entries of the allocation table are short, and the first clusters are in use.
            1..=3 => {
                let tables = metadata - geometry.root_entries() as usize * 32;
                let table = tables - geometry.fats() as usize * table_bytes(layout);
                start + table + source.int_in_range(0..=200)?
            }
            4 | 5 if !slots.is_empty() => source.choose(&slots)? + source.int_in_range(0..=31)?,
            6 => source.int_in_range(0..=disk.len() - 1)?,
            _ => *source.choose(&full)?,
        };
        let byte = *source.choose(&[0, 0xFF, 0xE5, 0x10, 2, 3])?;
        let byte = if source.arbitrary()? { byte } else { source.arbitrary()? };
        if let Some(place) = disk.get_mut(at) {
            changed |= *place != byte;
            *place = byte;
        }
    }
    Ok(changed)
}

/// Where the sectors begin that hold anything.
fn nonzero_sectors(disk: &[u8]) -> impl Iterator<Item = usize> {
    let full = |(nth, sector): (usize, &[u8; 512])| (*sector != [0; 512]).then_some(nth * 512);
    disk.as_chunks().0.iter().enumerate().filter_map(full)
}

/// Whether 32 bytes look like an entry of a directory.
fn is_slot(bytes: &[u8]) -> bool {
    bytes[0] > 0x20 && (matches!(bytes[11], 0x0F | 0x10 | 0x20 | 0x08))
}

/// Bytes of one copy of the allocation table.
fn table_bytes(layout: &Layout) -> usize {
    let geometry = layout.geometry();
    let bits = (geometry.cluster_count() as usize + 2) * geometry.fat_type().bits() as usize;
    bits.div_ceil(8).next_multiple_of(512)
}

/// A disk that counts what is read of it.
struct Counted<'a> {
    disk: &'a [u8],
    read: AtomicU64,
}

impl ReadAt for Counted<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.disk.read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.len() as u64)
    }
}

fn read_everything(disk: Vec<u8>) {
    let counted = Counted { disk: &disk, read: AtomicU64::new(0) };
    // What a guest can do to a disk never looks like a failure of the host.
    if let Err(FatError::Io(error)) = walk_and_read(&counted) {
        panic!("{error}");
    }
    let (read, length) = (counted.read.into_inner(), disk.len() as u64);
    assert!(read <= 8 * length + (1 << 20), "{read} bytes were read of a disk of {length}");
    if disk.len() <= MOST_FILE_BYTES {
        from_a_file(&disk, None);
    }
}

fn walk_and_read(disk: &Counted<'_>) -> Result<(), FatError> {
    let extent: Extent = locate(disk)?;
    let volume = FatVolume::open(disk, extent, ReadLimits::default())?;
    let label = volume.label();
    if let Ok(Some(label)) = &label {
        assert!(!label.contains(char::is_control));
    }
    assert!(volume.free_bytes()? <= extent.len);
    let mut buffer = vec![0; 16 << 10];
    let mut total = 0;
    for item in volume.walk(volume.root()) {
        let (path, entry) = match item? {
            WalkItem::Entry { path, entry } => (path, entry),
            WalkItem::LeftOut { left_out, .. } => {
                assert!(!left_out.name.contains(char::is_control));
                continue;
            }
            _ => continue,
        };
        inside(path.as_bytes());
        assert!(!path.contains(char::is_control));
        if entry.is_dir {
            continue;
        }
        let Ok(mut reader) = volume.open_file(&entry) else { continue };
        let mut length = 0;
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            length += read as u64;
        }
        assert!(length <= u64::from(entry.size));
        total += length;
        let _ = volume.read_file_at(&entry, u64::from(entry.size / 2), &mut buffer[..10]);
    }
    assert!(total <= extent.len, "more content than the volume can hold");
    Ok(())
}

/// Reads a disk as a host does.
fn from_a_file(disk: &[u8], tree: Option<&Tree>) {
    static SCRATCH: LazyLock<TempDir> = LazyLock::new(scratch::directory);
    let path = SCRATCH.path().join("disk");
    scratch::write_sparse(&path, disk).expect("the disk can be written");
    let opened = DiskImage::open(&path);
    let walked = opened.and_then(|image| {
        let mut view = image.view()?;
        // A damaged disk has a status that cannot be read, or is a failure; never more.
        let _ = read_status(&mut *view);
        let _ = view.top_names();
        Walked::through(&mut *view)
    });
    let Some(tree) = tree else { return };
    let walked = walked.expect("nobody has changed it");
    assert!(walked.left_out.is_empty() && walked.unreadable == 0);
    let found: Vec<_> = walked.things.into_iter().map(|(path, (thing, _))| (path, thing)).collect();
    let thing = |content: Option<Vec<u8>>| content.map_or(Thing::Directory, Thing::File);
    let expected = normalised(tree).into_iter().map(|(path, content)| (path.into_bytes(), thing(content)));
    assert_eq!(found, expected.collect::<Vec<_>>());
}
