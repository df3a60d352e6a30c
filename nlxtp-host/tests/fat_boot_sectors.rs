//! Disks and volumes whose first sectors are forged: refused with a reason, or read as other systems
//! read them.

mod fat_support;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use fat_support::forge::*;
use nlxtp_host::fat::{Extent, FatError, FatType, FatVolume, ReadAt, ReadLimits, locate};

const X: &[u8; 11] = b"X          ";

/// A volume with a file of two clusters, which is read right only if the table is.
fn forge(kind: FatType, clusters: usize) -> Forge {
    let mut forge = Forge::with_clusters(kind, clusters);
    forge.root(&[file(X, 21, 600)]);
    forge.chain(&[21, 25]);
    for cluster in [21, 25] {
        let at = forge.at(cluster);
        forge.put(at, &cluster.to_le_bytes().repeat(128));
    }
    forge
}

fn sound(seen: &Seen) {
    let wanted = [&21u32.to_le_bytes().repeat(128)[..], &25u32.to_le_bytes().repeat(22)].concat();
    assert_eq!(seen.tree["X"].as_ref(), Some(&wanted));
    assert!(seen.damaged.is_empty());
}

fn kind(forge: &Forge) -> FatType {
    let bytes = forge.bytes.as_slice();
    FatVolume::open(bytes, locate(bytes).unwrap(), ReadLimits::default()).unwrap().geometry().fat_type()
}

/// The number of clusters alone tells FAT12 from FAT16, and a table size in the old field both from
/// FAT32: the limits are those of the specification and of Linux.
#[test]
fn the_limits_between_the_types() {
    for (wanted, clusters) in [
        (FatType::Fat12, 4084),
        (FatType::Fat16, 4085),
        (FatType::Fat16, 65_524),
        (FatType::Fat32, 65_525),
        // Too few by the specification; mkfs.vfat makes them, and Linux mounts them.
        (FatType::Fat32, 30),
        (FatType::Fat32, 4085),
    ] {
        let forge = forge(wanted, clusters);
        assert_eq!(kind(&forge), wanted);
        sound(&forge.look());
    }
    // What the volume calls itself is of no matter, and neither is the type in its maker's mind.
    let mut forge = forge(FatType::Fat12, 4084);
    forge.put(54, b"FAT32   ");
    sound(&forge.look());
    assert_eq!(kind(&self::forge(FatType::Fat16, 4084)), FatType::Fat12);
    assert!(self::forge(FatType::Fat16, 65_525).refusal().contains("too many clusters"));
    assert!(self::forge(FatType::Fat12, 4085).refusal().contains("too small"));
}

#[test]
fn absurd_parameters_are_refused_in_each_type() {
    type Change = (usize, &'static [u8], &'static str);
    let changes: [Change; 32] = [
        (0, &[0x00], "jump"),
        (510, &[0xAA, 0x55], "signature"),
        (11, &[0, 0], "sector size"),
        (11, &[1, 0], "sector size"),
        (11, &[0x01, 0x02], "sector size"),
        (11, &[0xFF, 0xFF], "sector size"),
        (11, &[0, 1], "sector size"),
        (11, &[0, 3], "sector size"),
        (11, &[0, 0x20], "sector size"),
        (11, &[0, 0x80], "sector size"),
        // 256 does not fit, and is 0 then.
        (13, &[0], "power of two"),
        (13, &[3], "power of two"),
        (13, &[255], "power of two"),
        (14, &[0, 0], "reserved"),
        (14, &[0xFF, 0xFF], "room"),
        (16, &[0], "number of allocation tables"),
        (16, &[5], "number of allocation tables"),
        (16, &[255], "number of allocation tables"),
        (19, &[1, 0], "room"),
        (19, &[0xFF, 0xFF], "larger"),
        (32, &[0, 0, 0, 0], "larger"),
        (32, &[1, 0, 0, 0], "room"),
        (32, &[0xFF, 0xFF, 0xFF, 0xFF], "larger"),
        (17, &[0, 0], "no entries"),
        (17, &[0xFF, 0xFF], "room"),
        (22, &[0xFF, 0xFF], "room"),
        (36, &[0xFF, 0xFF, 0xFF, 0xFF], "room"),
        (36, &[0, 0, 0, 0], "no sectors"),
        (42, &[1, 0], "version"),
        (44, &[0, 0, 0, 0], "root"),
        (44, &[1, 0, 0, 0], "root"),
        (44, &[0xFF, 0xFF, 0xFF, 0xFF], "root"),
    ];
    for (kind, clusters) in [(FatType::Fat12, 200), (FatType::Fat16, 4200), (FatType::Fat32, 200)] {
        sound(&forge(kind, clusters).look());
        for (at, bytes, word) in changes {
            let wide = kind == FatType::Fat32;
            let other_type = if wide { [17, 22].contains(&at) } else { [36, 42, 44].contains(&at) };
            let has_room = kind == FatType::Fat16 && at == 17 && bytes[0] == 0xFF;
            if other_type || has_room {
                continue;
            }
            let mut forge = forge(kind, clusters);
            forge.put(at, bytes);
            // Not by its own words: the disk says that nothing can be found on it.
            let bytes = forge.bytes.as_slice();
            let extent = Extent { offset: 0, len: bytes.len() as u64 };
            let error = FatVolume::open(bytes, extent, ReadLimits::default()).unwrap_err();
            assert!(matches!(error, FatError::NotFat { .. }) && !error.may_retry());
            assert!(error.to_string().contains(word), "{kind:?}, {at}: {error}");
            assert!(matches!(Seen::of(&bytes), Err(FatError::NotFat { .. })));
        }
    }
}

/// A volume that ends before its boot sector says so is refused whole: what is missing may be anything.
#[test]
fn volumes_cut_off_anywhere() {
    for (kind, clusters) in [(FatType::Fat12, 40), (FatType::Fat16, 4085), (FatType::Fat32, 40)] {
        let bytes = forge(kind, clusters).bytes;
        let step = if kind == FatType::Fat16 { 65_521 } else { 97 };
        for len in [1, 511, 512, 513, bytes.len() - 1].into_iter().chain((0..bytes.len()).step_by(step)) {
            let error = Seen::of(&&bytes[..len]).unwrap_err();
            assert!(matches!(error, FatError::NotFat { .. }), "{len}: {error:?}");
        }
    }
}

/// The first table counts, unless FAT32 says that another one does; the others are never compared,
/// since a guest that is writing updates them one after the other.
#[test]
fn tables_that_differ() {
    for (kind, clusters) in [(FatType::Fat12, 200), (FatType::Fat16, 4085), (FatType::Fat32, 200)] {
        let mut forge = forge(kind, clusters);
        forge.link_in(1, 21, 0);
        sound(&forge.look());
        let mut forge = self::forge(kind, clusters);
        forge.link_in(0, 21, 0);
        assert_eq!(forge.look().damaged.len(), 1);
        // The number counts only together with the bit that says so.
        forge.put(40, &[0x01, 0]);
        assert_eq!(forge.look().damaged.len(), 1);
        forge.put(40, &[0x81, 0xFF]);
        if kind == FatType::Fat32 {
            sound(&forge.look());
            for absent in [0x82, 0x8F] {
                forge.put(40, &[absent, 0]);
                assert!(forge.refusal().contains("active"));
            }
        } else {
            assert_eq!(forge.look().damaged.len(), 1);
        }
    }
}

/// A running guest's volume always is marked as in use, and hints are only hints.
#[test]
fn marks_and_hints_are_of_no_matter() {
    for (kind, clusters) in [(FatType::Fat12, 200), (FatType::Fat16, 4085), (FatType::Fat32, 200)] {
        let wide = kind == FatType::Fat32;
        let mut forge = forge(kind, clusters);
        // In use, and with errors: in the boot sector, and in the table.
        forge.put(if wide { 65 } else { 37 }, &[0x03]);
        forge.link(1, 0);
        // Another medium than the table says.
        forge.put(21, &[0x00]);
        forge.link(0, 0x0123);
        if wide {
            forge.put(512, &[0xFF; 512]);
            forge.put(48, &[0xFF, 0xFF, 0xFF, 0xFF]);
            forge.link(21, 0xF000_0000 | 25);
        }
        sound(&forge.look());
    }
}

/// A disk of 512-byte blocks with a volume at block 8, and a partition table.
fn disk(partitions: &[(usize, u8, u32, u32)]) -> Vec<u8> {
    let volume = forge(FatType::Fat12, 200).bytes;
    let mut disk = vec![0; 8 * 512];
    disk.extend(&volume);
    for (number, kind, first, blocks) in partitions {
        let at = 446 + 16 * number;
        disk[at + 4] = *kind;
        disk[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&blocks.to_le_bytes());
    }
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk
}

#[test]
fn partition_tables() {
    let blocks = u32::try_from(disk(&[]).len() / 512).unwrap() - 8;
    for kind in [0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E] {
        // Others beside it, even over it, are not looked at.
        sound(&Seen::of(&disk(&[(0, kind, 8, blocks), (1, 0x83, 0, u32::MAX), (2, 0x0C, 8, 9)]).as_slice()).unwrap());
    }
    for (partitions, word) in [
        (&[][..], "no partition 1"),
        (&[(1, 0x0E, 8, blocks)], "no partition 1"),
        // A protective entry for a GPT, even one of the right place.
        (&[(0, 0xEE, 8, blocks)], "GPT"),
        (&[(0, 0xEE, 1, u32::MAX), (1, 0x0E, 8, blocks)], "GPT"),
        // Extended partitions: logical ones are not looked for.
        (&[(0, 0x05, 8, blocks)], "0x05"),
        (&[(0, 0x0F, 8, blocks)], "0x0f"),
        (&[(0, 0x85, 8, blocks)], "0x85"),
        (&[(0, 0x83, 8, blocks)], "0x83"),
        (&[(0, 0x0E, 0, blocks)], "does not lie"),
        (&[(0, 0x0E, 8, 0)], "does not lie"),
        (&[(0, 0x0E, 8, blocks + 1)], "does not lie"),
        (&[(0, 0x0E, u32::MAX, 1)], "does not lie"),
        (&[(0, 0x0E, u32::MAX, u32::MAX)], "does not lie"),
        (&[(0, 0x0E, 8, u32::MAX - 7)], "does not lie"),
        // Shorter than the volume, beside it, and within it.
        (&[(0, 0x0E, 8, blocks - 1)], "larger"),
        (&[(0, 0x0E, 7, blocks)], "signature"),
        (&[(0, 0x0E, 9, blocks - 1)], "signature"),
    ] {
        let error = Seen::of(&disk(partitions).as_slice()).unwrap_err();
        assert!(matches!(error, FatError::NotFat { .. }), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// Where the first block is a volume's, the partition table that may lie in its code is not read.
#[test]
fn a_boot_sector_that_is_a_partition_table_too() {
    let mut forge = forge(FatType::Fat12, 200);
    forge.put(446 + 4, &[0x0E, 0, 0, 0, 100, 0, 0, 0, 50, 0, 0, 0]);
    sound(&forge.look());
}

/// Zeros beyond what is kept, without taking memory; counts what is read.
struct Sparse {
    kept: Vec<(u64, Vec<u8>)>,
    len: u64,
    reads: AtomicU64,
    bytes: AtomicU64,
}

impl ReadAt for Sparse {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf.fill(0);
        for (at, kept) in &self.kept {
            for (place, byte) in (*at..).zip(kept) {
                let within = place.checked_sub(offset).and_then(|n| usize::try_from(n).ok());
                if let Some(to) = within.and_then(|n| buf.get_mut(n)) {
                    *to = *byte;
                }
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}

/// The largest volume that can be: 2^32 - 1 sectors of 4 KiB in clusters of 64 KiB, 16 TiB, with a file
/// in the last cluster. What is read of it has nothing to do with its size.
#[test]
fn a_giant() {
    let clusters = 0x0FFF_FFF5_u64.min((u64::from(u32::MAX) - 40 - 524_288) / 16);
    let mut boot = Forge::new(FatType::Fat32).bytes[..512].to_vec();
    boot[11..17].copy_from_slice(&[0, 16, 16, 40, 0, 1]);
    boot[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    boot[36..40].copy_from_slice(&524_288_u32.to_le_bytes());
    let table = 40 * 4096;
    let data = table + 524_288 * 4096;
    let last = u32::try_from(clusters + 1).unwrap();
    let len = u64::from(u32::MAX) * 4096;
    let volume = Sparse {
        kept: vec![
            (0, boot),
            (data, file(X, last, 65_536).to_vec()),
            (data + 65_536 * clusters - 4, b"last".to_vec()),
            (table + 8, END.to_le_bytes().to_vec()),
            (table + 4 * u64::from(last), END.to_le_bytes().to_vec()),
        ],
        len,
        reads: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    };
    let seen = Seen::of(&volume).unwrap();
    assert!(seen.tree["X"].as_ref().unwrap().ends_with(b"last"));
    assert!(volume.reads.load(Ordering::Relaxed) < 10);
    assert!(volume.bytes.load(Ordering::Relaxed) < 300_000);
    // A disk longer than any can be.
    for len in [u64::MAX, i64::MAX.unsigned_abs() + 1] {
        let volume = Sparse { len, kept: volume.kept.clone(), reads: AtomicU64::new(0), bytes: AtomicU64::new(0) };
        assert!(matches!(Seen::of(&volume), Err(FatError::NotFat { .. })));
    }
}

/// Partitions as a caller may give them who has them from elsewhere.
#[test]
fn extents_that_cannot_be() {
    let bytes = forge(FatType::Fat12, 200).bytes;
    let len = bytes.len() as u64;
    assert!(FatVolume::open(bytes.as_slice(), Extent { offset: 0, len }, ReadLimits::default()).is_ok());
    for (offset, len) in
        [(u64::MAX, 1), (0, u64::MAX), (u64::MAX, u64::MAX), (1 << 62, 1 << 62), (0, 511), (1, len), (0, len - 1)]
    {
        assert!(FatVolume::open(bytes.as_slice(), Extent { offset, len }, ReadLimits::default()).is_err());
    }
    // Where the storage ends before its partition does, as after a cut while it is open.
    let error = FatVolume::open(&bytes[..100], Extent { offset: 0, len }, ReadLimits::default()).unwrap_err();
    assert!(matches!(error, FatError::Io(_)), "{error:?}");
}

#[test]
fn noise_is_no_file_system() {
    let mut random = fat_support::Random(7);
    for _ in 0..1000 {
        let mut noise: Vec<u8> = (0..1024).map(|_| random.next().to_le_bytes()[1]).collect();
        noise[510] = 0x55;
        noise[511] = 0xAA;
        assert!(matches!(Seen::of(&noise.as_slice()), Err(FatError::NotFat { .. })));
    }
}
