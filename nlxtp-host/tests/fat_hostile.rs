//! Chains and directories that a guest forged, in each width of the table: what is sound is read, what
//! is not is told, and neither costs more than the volume justifies.

mod fat_support;
#[path = "../../fuzz/seed.rs"]
mod seed;

use fat_support::forge::*;
use nlxtp_host::fat::{Damage, FatError, FatType, FatVolume, NameProblem, ReadLimits, WalkItem, locate};

/// `GOOD` in cluster 10, to see that one attack does not take the rest along.
fn forge(kind: FatType, slots: &[Slot]) -> Forge {
    let mut forge = Forge::new(kind);
    forge.root(&[&[file(b"GOOD       ", 10, 4)], slots].concat());
    forge.link(10, END);
    let at = forge.at(10);
    forge.put(at, b"good");
    forge
}

fn good(seen: &Seen) {
    assert_eq!(seen.tree["GOOD"].as_deref(), Some(&b"good"[..]));
}

/// Keeps an attack for the fuzz target, too.
fn keep(attack: &str, number: u32, forge: &Forge) {
    let kind = forge.kind.bits();
    seed::keep("hostile_fat", &format!("{attack}-{number:x}-fat{kind}"), &forge.seed());
}

const X: &[u8; 11] = b"X          ";
const D: &[u8; 11] = b"D          ";
const E: &[u8; 11] = b"E          ";

/// The first number that means "bad", and the last cluster that a number can name.
fn bad(kind: FatType) -> u32 {
    match kind {
        FatType::Fat12 => 0xFF7,
        FatType::Fat16 => 0xFFF7,
        FatType::Fat32 => 0x0FFF_FFF7,
    }
}

fn last(forge: &Forge) -> u32 {
    let volume =
        FatVolume::open(forge.bytes.as_slice(), locate(forge.bytes.as_slice()).unwrap(), ReadLimits::default());
    volume.unwrap().geometry().cluster_count() + 1
}

#[test]
fn first_clusters_that_cannot_be() {
    for kind in KINDS {
        let last = last(&Forge::new(kind));
        for cluster in [0, 1, last + 1, bad(kind) - 1, bad(kind), END & (bad(kind) | 0xF)] {
            let forge = forge(kind, &[file(X, cluster, 1), directory(D, cluster)]);
            keep("first-cluster", cluster, &forge);
            let seen = forge.look();
            good(&seen);
            let damage = Damage::OutOfRange { cluster };
            assert_eq!(seen.damaged(), [("D", damage), ("X", damage)], "{kind:?}");
        }
        // The last cluster there is.
        let mut forge = forge(kind, &[file(X, last, 512), directory(D, last - 1)]);
        forge.link(last, END);
        forge.link(last - 1, END);
        assert_eq!(forge.look().paths(), ["D", "GOOD", "X"]);
        // Without a byte there is no cluster to be looked at.
        assert_eq!(self::forge(kind, &[file(X, bad(kind), 0)]).look().tree["X"].as_deref(), Some(&[][..]));
    }
    // Cluster numbers have no upper half but in FAT32.
    let cluster = 0x1_0000 + 10;
    assert_eq!(forge(FatType::Fat16, &[file(X, cluster, 4)]).look().tree["X"].as_deref(), Some(&b"good"[..]));
    let seen = forge(FatType::Fat32, &[file(X, cluster, 4)]).look();
    assert_eq!(seen.damaged(), [("X", Damage::OutOfRange { cluster })]);
}

#[test]
fn files_whose_chains_are_wrong() {
    for kind in KINDS {
        let last = last(&Forge::new(kind));
        for (link, damage) in [
            (20, Damage::Cycle),
            (21, Damage::Cycle),
            (22, Damage::Cycle),
            (0, Damage::FreeCluster { cluster: 22 }),
            (bad(kind), Damage::BadCluster { cluster: 22 }),
            (1, Damage::OutOfRange { cluster: 1 }),
            (last + 1, Damage::OutOfRange { cluster: last + 1 }),
            (bad(kind) - 1, Damage::OutOfRange { cluster: bad(kind) - 1 }),
            (bad(kind) + 1, Damage::ShortChain),
            (END, Damage::ShortChain),
        ] {
            // A hundred clusters, so that going round would be worth it.
            let mut forge = forge(kind, &[file(X, 20, 51_200)]);
            forge.chain(&[20, 21, 22]);
            forge.link(22, link);
            keep("file-chain", link, &forge);
            let seen = forge.look();
            good(&seen);
            assert_eq!(seen.damaged(), [("X", damage)], "{kind:?}, {link:#x}");
        }
        // Longer than the size: what guests do to reserve space. Where it leads to is of no matter.
        for link in [0, 20, bad(kind), last + 1] {
            let mut forge = forge(kind, &[file(X, 20, 1024)]);
            forge.chain(&[20, 21, 22]);
            forge.link(22, link);
            assert_eq!(forge.look().tree["X"].as_ref().map(Vec::len), Some(1024));
        }
    }
}

#[test]
fn directories_whose_chains_are_wrong() {
    // No slot of them is the last, so the chain decides.
    let full: Vec<Slot> = (0..16).map(|n| file(&numbered(n), 0, 0)).collect();
    for kind in KINDS {
        let last = last(&Forge::new(kind));
        for (link, damage) in [
            (20, Damage::Cycle),
            (21, Damage::Cycle),
            (0, Damage::FreeCluster { cluster: 21 }),
            (bad(kind), Damage::BadCluster { cluster: 21 }),
            (1, Damage::OutOfRange { cluster: 1 }),
            (last + 1, Damage::OutOfRange { cluster: last + 1 }),
        ] {
            let mut forge = forge(kind, &[directory(D, 20), directory(E, 25)]);
            forge.chain(&[20, 21]);
            forge.slots(20, &full);
            forge.slots(21, &full);
            forge.link(21, link);
            forge.link(25, END);
            forge.slots(25, &full[..3]);
            keep("directory-chain", link, &forge);
            let seen = forge.look();
            good(&seen);
            // Nothing of it is shown, and the next one is.
            assert_eq!(seen.damaged(), [("D", damage)], "{kind:?}, {link:#x}");
            assert_eq!(seen.paths(), ["E", "E/N0", "E/N1", "E/N2", "GOOD"]);
        }
    }
}

#[test]
fn a_root_whose_chain_is_wrong_is_an_error_and_may_be_changing() {
    for link in [0, 2, 0x0FFF_FFF7, 1, 4000] {
        let mut forge = Forge::new(FatType::Fat32);
        let full: Vec<Slot> = (0..16).map(|n| file(&numbered(n), 0, 0)).collect();
        forge.slots(2, &full);
        forge.link(2, link);
        let error = Seen::of(&forge.bytes.as_slice()).unwrap_err();
        assert!(error.may_retry(), "{error}");
    }
}

#[test]
fn directories_in_two_places() {
    for kind in KINDS {
        let root = if kind == FatType::Fat32 { 2 } else { 0 };
        // In itself, in its child, and the root in it.
        let mut forge = forge(kind, &[directory(D, 20), directory(E, 20)]);
        forge.link(20, END);
        forge.link(21, END);
        forge.slots(20, &[directory(D, 20), directory(E, 21), directory(b"ROOT       ", root)]);
        forge.slots(21, &[directory(b"UP         ", 20), file(X, 10, 4)]);
        let seen = forge.look();
        good(&seen);
        let shared = Damage::SharedDirectory { cluster: 20 };
        let to_root = match kind {
            FatType::Fat32 => Damage::SharedDirectory { cluster: 2 },
            _ => Damage::OutOfRange { cluster: 0 },
        };
        assert_eq!(seen.paths(), ["D", "D/E", "D/E/X", "GOOD"]);
        let all = [("D/D", shared), ("D/E/UP", shared), ("D/ROOT", to_root), ("E", shared)];
        assert_eq!(seen.damaged(), all, "{kind:?}");
    }
}

/// Two chains that join are two ways to the same clusters, and no cycle; each is read, as other
/// systems do, as long as all together are not larger than the volume.
#[test]
fn chains_that_join() {
    let full: Vec<Slot> = (0..16).map(|n| file(&numbered(n), 0, 0)).collect();
    for kind in KINDS {
        let mut forge =
            forge(kind, &[file(X, 20, 1024), file(b"Y          ", 22, 1024), directory(D, 30), directory(E, 31)]);
        forge.chain(&[20, 21]);
        forge.chain(&[22, 21]);
        forge.chain(&[30, 32]);
        forge.chain(&[31, 32]);
        for (cluster, slots) in [(30, &full[..]), (31, &full[..]), (32, &[directory(X, 40)][..])] {
            forge.slots(cluster, slots);
        }
        forge.link(40, END);
        let seen = forge.look();
        good(&seen);
        assert_eq!(seen.tree["X"].as_ref().unwrap()[512..], seen.tree["Y"].as_ref().unwrap()[512..]);
        assert!(seen.tree.contains_key("D/X") && seen.tree.contains_key("E/N15"));
        assert_eq!(seen.damaged(), [("E/X", Damage::SharedDirectory { cluster: 40 })]);
    }
}

/// Files that claim more than there is: the last ones are told and not read, so that a download is
/// never larger than the disk.
#[test]
fn more_files_than_clusters() {
    for kind in [FatType::Fat12, FatType::Fat32] {
        let mut slots: Vec<Slot> = (0..10).map(|n| file(&numbered(n), 20, 50 * 512)).collect();
        slots.push(file(X, 20, u32::MAX));
        let mut forge = forge(kind, &slots[..8]);
        forge.chain(&(20..70).collect::<Vec<_>>());
        let seen = forge.look();
        good(&seen);
        assert_eq!(seen.tree.len(), 1 + 3, "three times 50 and 1 of 200 clusters");
        assert!(seen.damaged.iter().all(|(_, damage)| *damage == Damage::SharedClusters));
        assert_eq!(seen.damaged.len(), 5);
        let seen = self::forge(kind, &[slots[10]]).look();
        good(&seen);
        assert_eq!(seen.damaged(), [("X", Damage::SharedClusters)]);
    }
}

#[test]
fn ten_thousand_directories_in_each_other() {
    let mut forge = Forge::with_clusters(FatType::Fat16, 10_100);
    forge.root(&[directory(D, 20), file(X, 10, 4)]);
    forge.link(10, END);
    for cluster in 20..10_020 {
        forge.slots(
            cluster,
            &[directory(b".          ", cluster), directory(b"..         ", 0), directory(D, cluster + 1)],
        );
        forge.link(cluster, END);
    }
    let seen = forge.look();
    // X, and as many levels as the limit says.
    assert_eq!(seen.tree.len(), 1 + ReadLimits::default().max_depth);
    assert_eq!(seen.too_deep, ["D/".repeat(64) + "D"]);
    assert!(seen.tree.contains_key("X"));
}

#[test]
fn directories_of_too_many_slots() {
    let count = 65_536 / 16;
    let mut forge = Forge::with_clusters(FatType::Fat32, 3 * count + 100);
    let chain: Vec<u32> = (20..20 + u32::try_from(count).unwrap()).collect();
    forge.root(&[directory(D, 20), file(X, 10, 4)]);
    forge.link(10, END);
    forge.chain(&chain);
    for (at, cluster) in chain.iter().enumerate() {
        let slots: Vec<Slot> = (0..16).map(|n| file(&numbered(16 * at + n), 0, 0)).collect();
        forge.slots(*cluster, &slots);
    }
    // All that there can be, without an end but that of the chain.
    assert_eq!(forge.look().tree.len(), 2 + 65_536);
    // One more cluster, even an empty one.
    let next = chain.last().unwrap() + 1;
    forge.link(next - 1, next);
    forge.link(next, END);
    let seen = forge.look();
    assert_eq!(seen.limits, ["D"]);
    assert_eq!(seen.paths(), ["X"]);
}

/// Each costs as much to read as the largest directory, and contradicts itself at its end.
#[test]
fn too_many_directories_that_cannot_be_read() {
    let broken = |count: usize| {
        let mut forge = Forge::with_clusters(FatType::Fat32, 600);
        let root: Vec<u32> = (20..20 + u32::try_from(count.div_ceil(16)).unwrap()).collect();
        forge.chain(&[&[2], &root[..]].concat());
        forge.slots(2, &[[0xE5; 32]; 16]);
        for (at, cluster) in root.iter().enumerate() {
            let numbers = 16 * at..(16 * at + 16).min(count);
            let slots: Vec<Slot> = numbers.map(|n| directory(&numbered(n), 100)).collect();
            forge.slots(*cluster, &slots);
        }
        // It never ends.
        forge.link(100, 100);
        forge.slots(100, &[[0xE5; 32]; 16]);
        Seen::of(&forge.bytes.as_slice())
    };
    assert_eq!(broken(100).unwrap().damaged.len(), 100);
    let error = broken(101).unwrap_err();
    assert!(error.may_retry(), "{error}");
}

#[test]
fn dots_and_labels_where_they_do_not_belong() {
    for kind in KINDS {
        let dot = b".          ";
        let dots = b"..         ";
        let mut forge = forge(
            kind,
            &[label(b"FIRST      "), label(b"SECOND     "), directory(D, 20), directory(dots, 20), file(dot, 10, 4)],
        );
        forge.link(20, END);
        // Wherever they say they lead, nobody follows.
        forge.slots(
            20,
            &[directory(dot, 7), directory(dots, 20), label(b"THIRD      "), directory(dots, 20), file(dot, 10, 4)],
        );
        let seen = forge.look();
        good(&seen);
        assert_eq!(seen.paths(), ["D", "GOOD"]);
        let dots = NameProblem::Dots;
        assert_eq!(seen.left_out(), [("..", dots), (".", dots), ("D/..", dots), ("D/.", dots)]);
        let volume =
            FatVolume::open(forge.bytes.as_slice(), locate(forge.bytes.as_slice()).unwrap(), ReadLimits::default());
        assert_eq!(volume.unwrap().label().unwrap().as_deref(), Some("FIRST"));
        // Without any, the first two slots are entries like all others.
        forge.slots(20, &[file(X, 10, 4), directory(b"Y          ", 21), [0; 32]]);
        forge.link(21, END);
        assert_eq!(forge.look().paths(), ["D", "D/X", "D/Y", "GOOD"]);
    }
}

/// What is asked for one by one is refused as on a walk, but for what comes before the damage.
#[test]
fn files_and_paths_asked_for() {
    for kind in KINDS {
        let mut forge = forge(kind, &[file(X, 20, 1500), file(b"HUGE       ", 20, u32::MAX), directory(D, 30)]);
        forge.chain(&[20, 21, 22]);
        forge.link(21, 0);
        forge.link(30, 0);
        forge.slots(30, &[file(X, 10, 4); 16]);
        let bytes = forge.bytes.as_slice();
        let volume = FatVolume::open(bytes, locate(bytes).unwrap(), ReadLimits::default()).unwrap();
        let damage = |error: FatError| match error {
            FatError::Damaged { damage, .. } => damage,
            other => panic!("{other:?}"),
        };
        let entry = volume.lookup("X").unwrap();
        let mut buf = [0; 10];
        // What the table says of the second cluster is only asked for the third.
        let sound = 2 * u64::from(volume.geometry().cluster_size());
        assert_eq!(volume.read_file_at(&entry, sound - 10, &mut buf).unwrap(), 10);
        for offset in [sound - 9, 1490, 5000] {
            let error = volume.read_file_at(&entry, offset, &mut buf).unwrap_err();
            assert_eq!(damage(error), Damage::FreeCluster { cluster: 21 });
        }
        assert!(matches!(volume.read_file(&entry, 1499), Err(FatError::Limit { .. })));
        let huge = volume.lookup("HUGE").unwrap();
        assert_eq!(damage(volume.open_file(&huge).unwrap_err()), Damage::OversizedFile);
        assert_eq!(damage(volume.read_file(&huge, u32::MAX).unwrap_err()), Damage::OversizedFile);
        assert_eq!(damage(volume.lookup("D/X").unwrap_err()), Damage::FreeCluster { cluster: 30 });
        assert!(matches!(volume.open_file(&volume.lookup("D").unwrap()), Err(FatError::NotAFile { .. })));
    }
}

#[test]
fn limits_are_kept() {
    // D/X, D/E/X, and a long name of four slots in D.
    let mut forge = forge(FatType::Fat12, &[directory(D, 20)]);
    let name = "n".repeat(30);
    let slots = [&[file(X, 10, 4), directory(E, 21)][..], &long(&units(&name), X), &[file(X, 10, 4)]].concat();
    forge.slots(20, &slots);
    forge.slots(21, &[file(X, 10, 4)]);
    forge.link(20, END);
    forge.link(21, END);
    let walk = |limits: ReadLimits| -> Result<Vec<String>, FatError> {
        let bytes = forge.bytes.as_slice();
        let volume = FatVolume::open(bytes, locate(bytes)?, limits)?;
        let items = volume.walk(volume.root()).map(|item| {
            Ok(match item? {
                WalkItem::Entry { path, .. } => path,
                WalkItem::TooDeep { path } => format!("deep: {path}"),
                WalkItem::Unreadable { path, error } => format!("{path}: {error}"),
                other => panic!("{other:?}"),
            })
        });
        items.collect()
    };
    let long = format!("D/{name}");
    let tight = ReadLimits { max_directory_slots: 64, max_depth: 2, max_path_len: 32, max_entries: 6 };
    assert_eq!(walk(tight).unwrap(), ["D", "D/E", "D/E/X", "D/X", &long, "GOOD"]);
    let deep = format!("deep: {long}");
    assert_eq!(walk(ReadLimits { max_path_len: 31, ..tight }).unwrap(), ["D", "D/E", "D/E/X", "D/X", &deep, "GOOD"]);
    assert_eq!(walk(ReadLimits { max_depth: 1, ..tight }).unwrap(), ["D", "deep: D/E", "D/X", &long, "GOOD"]);
    assert_eq!(walk(ReadLimits { max_depth: 0, ..tight }).unwrap(), ["deep: D", "GOOD"]);
    let error = walk(ReadLimits { max_entries: 5, ..tight }).unwrap_err();
    assert!(matches!(error, FatError::Limit { what: "entries", limit: 5, .. }), "{error}");
    // The six slots of D and the one that ends it.
    assert_eq!(walk(ReadLimits { max_directory_slots: 7, ..tight }).unwrap().len(), 6);
    let less = walk(ReadLimits { max_directory_slots: 6, ..tight }).unwrap();
    assert_eq!(less, ["D: directory at cluster 20: more than 6 slots of 32 bytes", "GOOD"]);
    let error = walk(ReadLimits { max_directory_slots: 2, ..tight }).unwrap_err();
    assert!(matches!(error, FatError::Limit { limit: 2, .. }), "{error}");
}
