//! Volumes that a hostile guest made: nothing may panic, loop, or cost more
//! than the volume's size justifies.

mod fat_support;
#[path = "../../fuzz/seed.rs"]
mod seed;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use fat_support::*;
use nlxtp_host::fat::{
    Damage, Extent, FatError, FatType, FatVolume, FormatOptions, MemoryStorage, ReadAt, ReadLimits, Target, WalkItem,
    WriteAt, locate, write_mbr,
};

/// An image with a few bytes changed, which counts what is read.
struct Mutated<'b> {
    base: &'b [u8],
    changes: Vec<(u64, u8)>,
    read: AtomicU64,
}

impl ReadAt for Mutated<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.base.read_exact_at(buf, offset)?;
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        for (at, byte) in &self.changes {
            let within = at.checked_sub(offset).and_then(|n| usize::try_from(n).ok());
            if let Some(place) = within.and_then(|n| buf.get_mut(n)) {
                *place = *byte;
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(self.base)
    }
}

/// Does everything that the host does with a volume.
fn use_all(storage: &impl ReadAt) -> Result<(), FatError> {
    read_all(storage, true)
}

/// Counting the free clusters takes most of the time, so it can be left out.
fn read_all(storage: &impl ReadAt, count_free: bool) -> Result<(), FatError> {
    let volume = FatVolume::open(storage, locate(storage)?, ReadLimits::default())?;
    let _ = volume.label();
    if count_free {
        let _ = volume.free_bytes()?;
    }
    let mut buf = vec![0; 64 * 1024];
    let mut first_error = None;
    for item in volume.walk(volume.root()) {
        let WalkItem::Entry { path, entry } = item? else {
            continue;
        };
        assert!(!path.split('/').any(|name| matches!(name, "" | "." | "..")));
        assert!(!path.chars().any(char::is_control));
        if entry.is_dir {
            continue;
        }
        let result = volume.open_file(&entry).and_then(|mut reader| {
            let mut total = 0;
            loop {
                match reader.read(&mut buf)? {
                    0 => return Ok(total),
                    len => total += len as u64,
                }
            }
        });
        match result {
            Ok(total) => assert_eq!(total, u64::from(entry.size)),
            Err(error) => first_error = first_error.or(Some(error)),
        }
        let _ = volume.read_file_at(&entry, u64::from(entry.size / 2), &mut buf[..10]);
    }
    first_error.map_or(Ok(()), Err)
}

fn options(fat_type: FatType) -> FormatOptions {
    let mut options = FormatOptions::new("hostile").unwrap();
    options.fat_type = Some(fat_type);
    options
}

fn image(tree: &Tree, fat_type: FatType, len: u64) -> Vec<u8> {
    let storage = MemoryStorage::zeroed(usize::try_from(len).unwrap());
    let layout = plan(tree, options(fat_type), len).unwrap();
    write(tree, &layout, &storage, 0, Target::Zeroed).unwrap();
    storage.into_bytes()
}

/// The places where a change matters: not zero, or soon after.
fn interesting(image: &[u8]) -> Vec<u64> {
    let mut places = Vec::new();
    let mut since = usize::MAX;
    for (at, byte) in image.iter().enumerate() {
        since = if *byte == 0 { since.saturating_add(1) } else { 0 };
        if since < 8 {
            places.push(at as u64);
        }
    }
    places
}

#[test]
fn thousands_of_mutations() {
    let mut tree = sample(512);
    for n in 0..100 {
        tree.insert(format!("more files with long names {n}"), Some(vec![0; 700]));
    }
    for (fat_type, mib, rounds) in [(FatType::Fat12, 2, 1200), (FatType::Fat16, 5, 1200), (FatType::Fat32, 40, 600)] {
        let base = image(&tree, fat_type, mib * MIB);
        use_all(&base.as_slice()).unwrap();
        let places = interesting(&base);
        let mut random = Random(0x5EED_0001);
        let (mut refused, mut damaged, mut worst) = (0, 0, 0);
        for round in 0..rounds {
            let mut changes = Vec::new();
            for _ in 0..1 + round % 40 {
                // The boot sector seldom: it hides everything else.
                let at = match random.below(64) {
                    0 => random.next() % 96,
                    _ => places[random.below(places.len())],
                };
                let byte = match random.below(4) {
                    0 => 0xFF,
                    1 => 0,
                    _ => random.next().to_le_bytes()[2],
                };
                changes.push((at, byte));
            }
            let mutated = Mutated { base: &base, changes, read: AtomicU64::new(0) };
            match read_all(&mutated, round % 20 == 0) {
                Ok(()) => {}
                Err(FatError::NotFat { .. }) => refused += 1,
                Err(error) if error.may_retry() => damaged += 1,
                Err(error) => panic!("{error:?}"),
            }
            worst = worst.max(mutated.read.into_inner());
        }
        assert!(refused > 10 && damaged > 10, "{refused} {damaged}");
        assert!(worst < 8 * mib * MIB, "{fat_type:?} read {worst} bytes");
    }
}

#[test]
fn noise_is_no_file_system() {
    let mut random = Random(7);
    for _ in 0..200 {
        let mut noise: Vec<u8> = (0..4096).map(|_| random.next().to_le_bytes()[1]).collect();
        noise[510] = 0x55;
        noise[511] = 0xAA;
        assert!(!use_all(&noise.as_slice()).unwrap_err().may_retry());
    }
}

/// A FAT16 image whose parts can be found and changed.
struct Victim(MemoryStorage);

/// Where FAT16's tables begin in our images.
const TABLE: u64 = 4096;

impl Victim {
    fn new() -> Self {
        let mut tree = Tree::new();
        tree.insert("DIR".into(), None);
        tree.insert("DIR/SUB".into(), None);
        tree.insert("DIR/SUB/DEEP".into(), Some(vec![4; 100]));
        tree.insert("FILE".into(), Some(content(1, 3 * 2048)));
        tree.insert("OTHER".into(), Some(content(2, 2048)));
        Self(MemoryStorage::from(image(&tree, FatType::Fat16, 16 * MIB)))
    }

    fn volume(&self) -> FatVolume<&MemoryStorage> {
        let extent = locate(&self.0).unwrap();
        FatVolume::open(&self.0, extent, ReadLimits::default()).unwrap()
    }

    fn cluster(&self, path: &str) -> u32 {
        self.volume().lookup(path).unwrap().first_cluster
    }

    /// Where the slot with a short name lies.
    fn slot(&self, name: &[u8; 11]) -> u64 {
        let mut bytes = vec![0; usize::try_from(MIB).unwrap()];
        self.0.read_exact_at(&mut bytes, 0).unwrap();
        let at = bytes.windows(11).position(|window| window == name);
        at.unwrap() as u64
    }

    fn set_cluster(&self, name: &[u8; 11], cluster: u32) {
        let at = self.slot(name);
        self.0.write_all_at(&cluster.to_le_bytes()[..2], at + 26).unwrap();
    }

    fn set_size(&self, name: &[u8; 11], size: u32) {
        let at = self.slot(name);
        self.0.write_all_at(&size.to_le_bytes(), at + 28).unwrap();
    }

    fn set_link(&self, cluster: u32, value: u16) {
        let at = TABLE + 2 * u64::from(cluster);
        self.0.write_all_at(&value.to_le_bytes(), at).unwrap();
    }

    /// The damage. Keeps the disk as a seed, too: its length in sectors, then what is not zero,
    /// but for the content of the files, which lies in the first five clusters and does not matter.
    fn damage(&self, name: &str) -> Damage {
        let mut disk = vec![0; usize::try_from(ReadAt::len(&self.0).unwrap()).unwrap()];
        self.0.read_exact_at(&mut disk, 0).unwrap();
        let start = usize::try_from(self.volume().geometry().metadata_bytes()).unwrap();
        disk[start..start + 5 * 2048].fill(0);
        let mut parts = vec![0];
        parts.extend_from_slice(&u32::try_from(disk.len() / 512).unwrap().to_le_bytes());
        for (nth, part) in disk.chunks(64).enumerate().filter(|(_, part)| part.iter().any(|byte| *byte != 0)) {
            parts.extend_from_slice(&u32::try_from(nth * 64).unwrap().to_le_bytes());
            parts.extend_from_slice(&64_u16.to_le_bytes());
            parts.extend_from_slice(part);
        }
        seed::keep("hostile_fat", name, &parts);
        match use_all(&self.0) {
            Err(error @ FatError::Damaged { .. }) if !error.may_retry() => unreachable!(),
            Err(FatError::Damaged { damage, .. }) => damage,
            other => panic!("{other:?}"),
        }
    }
}

const FILE: &[u8; 11] = b"FILE       ";
const OTHER: &[u8; 11] = b"OTHER      ";
const SUB: &[u8; 11] = b"SUB        ";

fn narrow(cluster: u32) -> u16 {
    u16::try_from(cluster).unwrap()
}

#[test]
fn the_victim_is_sound() {
    use_all(&Victim::new().0).unwrap();
}

#[test]
fn directories_that_contain_themselves() {
    let victim = Victim::new();
    let cluster = victim.cluster("DIR");
    victim.set_cluster(SUB, cluster);
    assert_eq!(victim.damage("shared-directory"), Damage::SharedDirectory { cluster });

    // The root has no cluster number in FAT16, and one in FAT32.
    let victim = Victim::new();
    victim.set_cluster(SUB, 0);
    assert_eq!(victim.damage("root-as-child"), Damage::OutOfRange { cluster: 0 });

    let mut tree = Tree::new();
    tree.insert("DIR".into(), None);
    let mut bytes = image(&tree, FatType::Fat32, 40 * MIB);
    let at = bytes.windows(4).position(|window| window == b"DIR ").unwrap();
    bytes[at + 26] = 2;
    let error = use_all(&bytes.as_slice()).unwrap_err();
    let damage = Damage::SharedDirectory { cluster: 2 };
    assert!(matches!(error, FatError::Damaged { damage: found, .. } if found == damage));
}

#[test]
fn directory_chains_without_end() {
    let victim = Victim::new();
    let cluster = victim.cluster("DIR/SUB");
    let offset = {
        let geometry = victim.volume().geometry().clone();
        geometry.metadata_bytes() + u64::from(cluster - 2) * u64::from(geometry.cluster_size())
    };
    // Only deleted slots, so that nothing ends the directory.
    victim.0.write_all_at(&[0xE5; 2048], offset).unwrap();
    victim.set_link(cluster, narrow(cluster));
    assert_eq!(victim.damage("directory-cycle"), Damage::Cycle);

    // No cycle, but longer than a directory may be.
    let count = 2 * 1024 * 1024 / 2048 + 10;
    let start = victim.cluster("OTHER") + 10;
    victim.set_cluster(SUB, start);
    for n in 0..count {
        let at = offset + u64::from(start + n - cluster) * 2048;
        victim.0.write_all_at(&[0xE5; 2048], at).unwrap();
        victim.set_link(start + n, narrow(start + n + 1));
    }
    let error = use_all(&victim.0).unwrap_err();
    assert!(matches!(error, FatError::Limit { limit: 65_536, .. }), "{error}");
    assert!(!error.may_retry());
}

#[test]
fn file_chains() {
    let file = Victim::new().cluster("FILE");
    for (link, damage) in [
        (narrow(file), Damage::Cycle),
        (0, Damage::FreeCluster { cluster: file + 1 }),
        (0xFFF7, Damage::BadCluster { cluster: file + 1 }),
        (0xFFFF, Damage::ShortChain),
        (1, Damage::OutOfRange { cluster: 1 }),
        (0xFFF0, Damage::OutOfRange { cluster: 0xFFF0 }),
    ] {
        let victim = Victim::new();
        victim.set_link(file + 1, link);
        assert_eq!(victim.damage(&format!("link-{link:x}")), damage);
        // What comes before the damage can be read by position.
        let volume = victim.volume();
        let entry = volume.lookup("FILE").unwrap();
        let mut buf = [0; 10];
        let read = volume.read_file_at(&entry, 5000, &mut buf);
        assert!(read.unwrap_err().may_retry());
    }
    for cluster in [0, 1, 0xFFFF] {
        let victim = Victim::new();
        victim.set_cluster(FILE, cluster);
        assert_eq!(victim.damage(&format!("first-cluster-{cluster:x}")), Damage::OutOfRange { cluster });
    }
}

#[test]
fn absurd_sizes() {
    let victim = Victim::new();
    victim.set_size(FILE, u32::MAX);
    assert_eq!(victim.damage("absurd-size"), Damage::SharedClusters);
    let volume = victim.volume();
    let entry = volume.lookup("FILE").unwrap();
    let error = volume.open_file(&entry).unwrap_err();
    let damage = Damage::OversizedFile;
    assert!(matches!(error, FatError::Damaged { damage: found, .. } if found == damage));
    let error = volume.read_file(&entry, 1000).unwrap_err();
    assert!(matches!(error, FatError::Limit { .. }));

    // Each fits, but not both.
    let victim = Victim::new();
    let size = u32::try_from(victim.volume().geometry().data_bytes()).unwrap();
    victim.set_size(OTHER, size);
    assert_eq!(victim.damage("shared-clusters"), Damage::SharedClusters);

    // Longer than its chain.
    let victim = Victim::new();
    victim.set_size(FILE, 3 * 2048 + 1);
    assert_eq!(victim.damage("longer-than-chain"), Damage::ShortChain);

    // A chain longer than the size is what guests make by reserving space.
    let victim = Victim::new();
    victim.set_size(FILE, 5);
    use_all(&victim.0).unwrap();
}

#[test]
fn limits_are_kept() {
    let mut tree = Tree::new();
    tree.insert("a/b/c/d".into(), Some(vec![1]));
    for n in 0..50 {
        tree.insert(format!("a/{n}"), Some(vec![1]));
    }
    let bytes = image(&with_directories(tree), FatType::Fat12, MIB);
    let tight = ReadLimits { max_directory_slots: 103, max_depth: 3, max_path_len: 7, max_entries: 54 };
    let walk = |limits: ReadLimits| {
        let storage = bytes.as_slice();
        let volume = FatVolume::open(storage, locate(storage)?, limits)?;
        volume.walk(volume.root()).try_for_each(|item| item.map(drop))
    };
    let what = |limits| match walk(limits) {
        Err(FatError::Limit { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    walk(ReadLimits { max_directory_slots: 128, ..tight }).unwrap();
    let less = ReadLimits { max_directory_slots: 32, ..tight };
    assert!(what(less).contains("slots"));
    let tight = ReadLimits { max_directory_slots: 128, ..tight };
    assert!(what(ReadLimits { max_depth: 2, ..tight }).contains("directories"));
    assert!(what(ReadLimits { max_path_len: 6, ..tight }).contains("path"));
    assert!(what(ReadLimits { max_entries: 53, ..tight }).contains("entries"));
}

#[test]
fn partitions_that_lie() {
    let disk = MemoryStorage::zeroed(usize::try_from(20 * MIB).unwrap());
    let tree = Tree::from([("FILE".to_owned(), Some(vec![1; 5000]))]);
    let layout = plan(&tree, options(FatType::Fat16), 16 * MIB).unwrap();
    write(&tree, &layout, &disk, MIB, Target::Zeroed).unwrap();
    // The partition is shorter than the file system says.
    write_mbr(&disk, 2048, 15 * 2048, 1, 0x0E).unwrap();
    assert!(matches!(use_all(&disk), Err(FatError::NotFat { .. })));
    for extent in [
        Extent { offset: u64::MAX, len: 1 },
        Extent { offset: 0, len: u64::MAX },
        Extent { offset: MIB, len: 0 },
        Extent { offset: i64::MAX.unsigned_abs(), len: 0 },
    ] {
        assert!(FatVolume::open(&disk, extent, ReadLimits::default()).is_err());
    }
}
