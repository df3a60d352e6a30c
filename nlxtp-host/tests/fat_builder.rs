//! What is built is read back equal, and what cannot be built is refused.

mod fat_support;

use fat_support::*;
use nlxtp_host::fat::{
    FatError, FatType, FatVolume, FileIndex, FormatOptions, MemoryStorage, NameProblem, Plan, ReadAt, ReadLimits,
    Target, locate,
};
use proptest::prelude::*;

fn options() -> FormatOptions {
    FormatOptions::new("test").unwrap()
}

fn storage(len: u64) -> MemoryStorage {
    MemoryStorage::zeroed(usize::try_from(len).unwrap())
}

#[test]
fn bad_names_and_clashes_are_refused() {
    let mut plan = Plan::new(options(), MIB).unwrap();
    for (path, problem) in [
        ("a/..", NameProblem::Dots),
        ("../a", NameProblem::Dots),
        ("a:b", NameProblem::Forbidden(':')),
        ("a\\b", NameProblem::Forbidden('\\')),
        ("a\n", NameProblem::Control),
        ("end.", NameProblem::TrailingDotOrSpace),
        ("end /x", NameProblem::TrailingDotOrSpace),
        ("./", NameProblem::Empty),
    ] {
        match plan.add_file(path, 0, TIME) {
            Err(FatError::BadName { problem: found, .. }) => assert_eq!(found, problem),
            other => panic!("{path}: {other:?}"),
        }
    }
    plan.add_file("./Dir//file", 1, TIME).unwrap();
    plan.add_directory("Dir", TIME).unwrap();
    for path in ["Dir/file", "Dir/FILE", "dir/x", "Dir"] {
        let error = plan.add_file(path, 0, TIME).unwrap_err();
        assert!(matches!(error, FatError::Exists { .. }), "{path}: {error}");
    }
    let error = plan.add_file("Dir/file/x", 0, TIME).unwrap_err();
    assert!(matches!(error, FatError::NotADirectory { .. }), "{error}");
    let error = plan.add_file("big", 1 << 32, TIME).unwrap_err();
    assert!(matches!(error, FatError::Limit { .. }), "{error}");
    assert_eq!(plan.file_count(), 1);
}

#[test]
fn full_directories_are_refused() {
    let mut plan = Plan::new(options(), MIB).unwrap();
    let error = (0..70_000).find_map(|n| plan.add_file(&format!("D/{n}"), 0, TIME).err()).unwrap();
    assert!(matches!(error, FatError::Limit { limit: 65_536, .. }), "{error}");
    assert_eq!(plan.file_count(), 65_534);
}

#[test]
fn what_does_not_fit_is_refused_with_its_size() {
    let mut plan = Plan::new(options(), MIB).unwrap();
    plan.add_file("big", 2 * MIB, TIME).unwrap();
    match plan.finish() {
        Err(FatError::TooSmall { needed, available }) => {
            assert_eq!(available, MIB);
            assert!(needed > 2 * MIB && needed < 2 * MIB + 100_000);
        }
        other => panic!("{other:?}"),
    }
    let mut plan = Plan::new(options(), 1000).unwrap();
    plan.add_file("x", 1, TIME).unwrap();
    assert!(matches!(plan.finish(), Err(FatError::BadGeometry { .. })));
    assert!(Plan::new(options(), u64::MAX).is_err());

    let layout = Plan::new(options(), 2 * MIB).unwrap().finish().unwrap();
    let error = layout.writer(storage(MIB), 0, Target::Zeroed).unwrap_err();
    assert!(matches!(error, FatError::TooSmall { .. }), "{error}");
}

#[test]
fn a_volume_can_be_filled_to_the_last_cluster() {
    for fat_type in [FatType::Fat12, FatType::Fat16, FatType::Fat32] {
        let len = 40 * MIB;
        let mut options = options();
        options.fat_type = Some(fat_type);
        let free = |options: &FormatOptions| {
            let layout = Plan::new(options.clone(), len).unwrap().finish().unwrap();
            usize::try_from(layout.free_bytes()).unwrap()
        };
        let tree = Tree::from([("all".to_owned(), Some(content(5, free(&options))))]);
        let layout = plan(&tree, options, len).unwrap();
        assert_eq!(layout.free_bytes(), 0);
        let disk = storage(len);
        write(&tree, &layout, &disk, 0, Target::Zeroed).unwrap();
        let found = read_tree(&disk, locate(&disk).unwrap()).unwrap();
        assert_same(&found, &tree);
    }
}

#[test]
fn many_small_files_get_small_clusters() {
    let mut plan = Plan::new(options(), 4 * MIB).unwrap();
    for n in 0..3000 {
        plan.add_file(&format!("F{n}"), 100, TIME).unwrap();
    }
    let layout = plan.finish().unwrap();
    assert!(layout.geometry().cluster_size() < 2048);
    assert!(layout.geometry().root_entries() >= 3000);
}

#[test]
fn data_of_another_length_are_refused() {
    for data in [&b"123"[..], b"12345"] {
        let mut plan = Plan::new(options(), MIB).unwrap();
        plan.add_file("four", 4, TIME).unwrap();
        let layout = plan.finish().unwrap();
        let disk = storage(MIB);
        let mut writer = layout.writer(&disk, 0, Target::Zeroed).unwrap();
        let error = writer.write_file(&mut { data }).unwrap_err();
        assert!(matches!(error, FatError::WrongLength { .. }), "{error}");
        let error = writer.write_file(&mut &b"1234"[..]).unwrap_err();
        assert!(matches!(error, FatError::WrongOrder { .. }), "{error}");
        let error = writer.finish().unwrap_err();
        assert!(matches!(error, FatError::WrongOrder { .. }), "{error}");
        assert!(locate(&disk).is_err(), "an unfinished volume has no boot sector");
    }
}

#[test]
fn copies_of_written_files() {
    let data = content(9, 3_000_000);
    for target in [Target::Zeroed, Target::InUse] {
        let mut plan = Plan::new(options(), 20 * MIB).unwrap();
        let size = data.len() as u64;
        let first = plan.add_file("first", size, TIME).unwrap();
        plan.add_file("empty", 0, TIME).unwrap();
        plan.add_file("second", size, TIME).unwrap();
        let empty = FileIndex(1);
        plan.add_file("third", 0, TIME).unwrap();
        let layout = plan.finish().unwrap();
        let disk = MemoryStorage::from(match target {
            Target::Zeroed => vec![0; usize::try_from(20 * MIB).unwrap()],
            _ => vec![0xA5; usize::try_from(20 * MIB).unwrap()],
        });
        let mut writer = layout.writer(&disk, 0, target).unwrap();
        writer.write_file(&mut data.as_slice()).unwrap();
        writer.write_file(&mut std::io::empty()).unwrap();
        assert_eq!(writer.copy_from(first, &|| Ok(())).unwrap(), FileIndex(2));
        writer.copy_from(empty, &|| Ok(())).unwrap();
        assert_eq!(writer.next_file(), None);
        writer.finish().unwrap();
        let found = read_tree(&disk, locate(&disk).unwrap()).unwrap();
        assert!(found["second"].as_ref() == Some(&data));
        assert_eq!(found["third"], Some(Vec::new()));
    }
}

#[test]
fn positions_in_files() {
    let data = content(3, 100_000);
    let tree = Tree::from([("file".to_owned(), Some(data.clone()))]);
    let layout = plan(&tree, options(), MIB).unwrap();
    let disk = storage(MIB);
    write(&tree, &layout, &disk, 0, Target::Zeroed).unwrap();
    let offset = layout.file(FileIndex(0)).unwrap().offset.unwrap();
    let mut direct = vec![0; 100];
    disk.read_exact_at(&mut direct, offset).unwrap();
    assert_eq!(direct, data[..100]);
    let volume = FatVolume::open(&disk, locate(&disk).unwrap(), ReadLimits::default()).unwrap();
    let entry = volume.lookup("FILE").unwrap();
    for (offset, len) in [(0, 10), (511, 2), (512, 512), (99_990, 100), (100_000, 5)] {
        let mut buf = vec![0; len];
        let read = volume.read_file_at(&entry, offset, &mut buf).unwrap();
        let start = usize::try_from(offset).unwrap();
        let end = data.len().min(start + len);
        assert_eq!(buf[..read], data[start..end]);
    }
    assert_eq!(volume.read_file_at(&entry, u64::MAX, &mut [0]).unwrap(), 0);
    for (path, found) in [("nothing", false), ("", false), ("/file/", true)] {
        assert_eq!(volume.lookup(path).is_ok(), found, "{path}");
    }
    let error = volume.lookup("file/x").unwrap_err();
    assert!(matches!(error, FatError::NotADirectory { .. }), "{error}");
    assert!(volume.lookup_dir("/").is_ok());
    assert!(volume.lookup_dir("file").is_err());
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-cA-C]{1,2}",
        "[A-Z]{1,8}\\.[A-Z]{3}",
        "longer name [0-9]{1,3}\\.[a-z]{1,5}",
        "[ -~]{1,40}",
        "[a-zäöüÄÖÜ日本🦀.+~ ]{1,30}",
    ]
}

fn entries() -> impl Strategy<Value = Vec<(Vec<String>, Option<usize>)>> {
    let size = prop_oneof![Just(0), 1..600usize, 600..9000usize];
    let path = prop::collection::vec(name(), 1..4);
    prop::collection::vec((path, prop::option::weighted(0.8, size)), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn random_trees_come_back(
        entries in entries(),
        (fat_type, mib) in prop_oneof![
            Just((FatType::Fat12, 3)),
            Just((FatType::Fat16, 5)),
            Just((FatType::Fat32, 36)),
        ],
        target in prop_oneof![Just(Target::Zeroed), Just(Target::InUse)],
        planned in any::<bool>(),
    ) {
        let mut options = options();
        options.fat_type = Some(fat_type);
        let mut plan = Plan::new(options.clone(), mib * MIB).unwrap();
        let (mut tree, mut data) = (Tree::new(), Vec::new());
        for (n, (path, size)) in entries.iter().enumerate() {
            let path = path.join("/");
            let parts: Vec<&str> = path.split('/').filter(|p| !matches!(*p, "" | ".")).collect();
            let path = parts.join("/");
            if path.is_empty() {
                continue;
            }
            // Clashes and bad names are refused; what is accepted must work.
            let Some(size) = size else {
                if plan.add_directory(&path, TIME).is_ok() {
                    tree.insert(path, None);
                }
                continue;
            };
            if plan.add_file(&path, *size as u64, TIME).is_ok() {
                data.push(content(n, *size));
                tree.insert(path, data.last().cloned());
            }
        }
        if !planned {
            // Added again, as it comes.
            plan = Plan::new(options, mib * MIB).unwrap();
        }
        let layout = plan.finish().unwrap();
        let background = if target == Target::Zeroed { 0 } else { 0xA5 };
        let len = usize::try_from(mib * MIB).unwrap();
        let disk = MemoryStorage::from(vec![background; len]);
        let mut writer = layout.writer(&disk, 0, target).unwrap();
        if planned {
            for content in &data {
                writer.write_file(&mut content.as_slice()).unwrap();
            }
        } else {
            stream(&tree, &mut writer).unwrap();
        }
        writer.finish().unwrap();
        let mut found = read_tree(&disk, locate(&disk).unwrap()).unwrap();
        // A refused path may have left directories behind.
        found.retain(|path, content| content.is_some() || tree.contains_key(path));
        assert_same(&found, &tree);
    }
}
