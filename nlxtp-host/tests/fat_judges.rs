//! Other implementations of FAT judge what we build, and we read what they
//! build: dosfstools, mtools, and the crates `fatfs` and `hadris-fat`.

mod fat_support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use fat_support::judges::{self, contents, fsck, run};
use fat_support::*;
use nlxtp_host::control::Control;
use nlxtp_host::fat::{
    DEFAULT_FIRST_LBA, Extent, FatType, FatVolume, FormatOptions, ReadLimits, Target, locate, write_mbr,
};
use nlxtp_host::shared_directory::{DiskImage, DiskOptions};
use serde_json::Value;
use tempfile::tempdir;

/// Length in MiB, type, and bytes in a cluster.
const KINDS: [(u64, FatType, Option<u32>); 7] = [
    (1, FatType::Fat12, None),
    (4, FatType::Fat12, None),
    (5, FatType::Fat16, None),
    (64, FatType::Fat16, None),
    (40, FatType::Fat32, Some(512)),
    (300, FatType::Fat32, Some(4096)),
    (600, FatType::Fat32, None),
];

fn options(fat_type: FatType, cluster_size: Option<u32>) -> FormatOptions {
    let mut options = FormatOptions::new("nlxtp").unwrap();
    options.fat_type = Some(fat_type);
    options.cluster_size = cluster_size;
    options.volume_id = 0xCAFE_F00D;
    options.timestamp = TIME;
    options
}

/// 3,000 files in one directory, half of them with one prefix.
fn crowded() -> Tree {
    let mut tree = Tree::new();
    for n in 0..1500 {
        tree.insert(format!("crowd/common prefix {n}.data"), Some(vec![1; n % 3]));
        tree.insert(format!("crowd/{n}"), Some(vec![2; n % 5]));
    }
    with_directories(tree)
}

fn part(image: &Path, extent: Extent) -> Part {
    Part { file: open_rw(image), extent, position: 0 }
}

#[test]
fn fatfs_hadris_and_we_read_what_we_build() {
    let directory = tempdir().unwrap();
    for (n, (mib, fat_type, cluster_size)) in KINDS.into_iter().enumerate() {
        let image = directory.path().join(n.to_string());
        let tree = sample(cluster_size.unwrap_or(2048) as usize);
        let options = options(fat_type, cluster_size);
        let layout = build_file(&image, &tree, options, mib * MIB);
        assert_eq!(layout.geometry().fat_type(), fat_type);
        let extent = whole(mib * MIB);
        assert_same(&contents(judges::fatfs(part(&image, extent))), &tree);
        assert_same(&contents(judges::hadris(&image)), &tree);
        let file = open_rw(&image);
        assert_eq!(locate(&file).unwrap(), extent);
        assert_same(&read_tree(&file, extent).unwrap(), &tree);
        let volume = FatVolume::open(&file, extent, ReadLimits::default()).unwrap();
        assert_eq!(volume.label().unwrap().as_deref(), Some("NLXTP"));
        assert_eq!(volume.geometry().volume_id(), 0xCAFE_F00D);
        assert_eq!(volume.free_bytes().unwrap(), layout.free_bytes());
        let entry = volume.lookup("NAMES/upper.txt").unwrap();
        assert_eq!(entry.modified, Some(TIME));
    }
}

#[test]
fn we_read_what_fatfs_builds() {
    let directory = tempdir().unwrap();
    for (n, (mib, fat_type)) in
        [(2, FatType::Fat12), (20, FatType::Fat16), (40, FatType::Fat32)].into_iter().enumerate()
    {
        let image = directory.path().join(n.to_string());
        let mut part = Part { file: new_file(&image, mib * MIB), extent: whole(mib * MIB), position: 0 };
        let format = fatfs::FormatVolumeOptions::new().volume_label(*b"OTHER      ").fat_type(match fat_type {
            FatType::Fat12 => fatfs::FatType::Fat12,
            FatType::Fat16 => fatfs::FatType::Fat16,
            FatType::Fat32 => fatfs::FatType::Fat32,
        });
        fatfs::format_volume(&mut part, format).unwrap();
        let mut tree = basic_sample(2048);
        // It reuses an entry that differs in case.
        tree.remove("names/MIXED.cas");
        let volume = fatfs::FileSystem::new(part, fatfs::FsOptions::new()).unwrap();
        for (path, content) in &tree {
            match content {
                None => drop(volume.root_dir().create_dir(path).unwrap()),
                Some(content) => {
                    let mut file = volume.root_dir().create_file(path).unwrap();
                    file.write_all(content).unwrap();
                }
            }
        }
        volume.unmount().unwrap();
        let file = open_rw(&image);
        let extent = locate(&file).unwrap();
        assert_same(&read_tree(&file, extent).unwrap(), &tree);
        let volume = FatVolume::open(&file, extent, ReadLimits::default()).unwrap();
        assert_eq!(volume.geometry().fat_type(), fat_type);
        assert_eq!(volume.label().unwrap().as_deref(), Some("OTHER"));
    }
}

#[test]
#[ignore = "needs mtools and dosfstools; `make test` runs it"]
fn fsck_and_mtools_accept_what_we_build() {
    let directory = tempdir().unwrap();
    for (n, (mib, fat_type, cluster_size)) in KINDS.into_iter().enumerate() {
        let image = directory.path().join(n.to_string());
        let tree = basic_sample(cluster_size.unwrap_or(2048) as usize);
        build_file(&image, &tree, options(fat_type, cluster_size), mib * MIB);
        let streamed = directory.path().join(format!("{n} streamed"));
        stream_file(&streamed, &tree, options(fat_type, cluster_size), mib * MIB);
        for image in [image, streamed] {
            fsck(&image);
            assert_same(&contents(judges::mtools(image.to_str().unwrap())), &tree);
            let label = run(Command::new("mlabel").arg("-s").arg("-i").arg(&image).arg("::"));
            assert!(label.contains("NLXTP"), "{label}");
        }
    }
}

#[test]
#[ignore = "needs mtools and dosfstools; `make test` runs it"]
fn crowded_directories_and_roots() {
    let directory = tempdir().unwrap();
    let mut tree = crowded();
    // More than the 512 entries that a fixed root directory usually has.
    for n in 0..1000 {
        tree.insert(format!("in the root {n}"), Some(vec![3; n % 7]));
    }
    for (mib, fat_type) in [(7, FatType::Fat12), (20, FatType::Fat16), (50, FatType::Fat32)] {
        let image = directory.path().join(mib.to_string());
        if fat_type == FatType::Fat32 {
            // Here the root directory may grow, and goes on behind the files.
            stream_file(&image, &tree, options(fat_type, None), mib * MIB);
        } else {
            build_file(&image, &tree, options(fat_type, None), mib * MIB);
        }
        fsck(&image);
        let file = open_rw(&image);
        assert_same(&read_tree(&file, whole(mib * MIB)).unwrap(), &tree);
        assert_same(&contents(judges::mtools(image.to_str().unwrap())), &tree);
        assert_same(&contents(judges::fatfs(part(&image, whole(mib * MIB)))), &tree);
    }
}

#[test]
#[ignore = "needs mtools and dosfstools; `make test` runs it"]
fn a_partition_over_old_content() {
    let directory = tempdir().unwrap();
    let image = directory.path().join("disk");
    let file = new_file(&image, 70 * MIB);
    // Nothing of this may shine through.
    let old = vec![0xA5; usize::try_from(MIB).unwrap()];
    for n in 0..70 {
        std::os::unix::fs::FileExt::write_all_at(&file, &old, n * MIB).unwrap();
    }
    let tree = basic_sample(2048);
    for fat_type in [FatType::Fat16, FatType::Fat32] {
        let mut options = options(fat_type, None);
        options.hidden_sectors = DEFAULT_FIRST_LBA;
        let layout = plan(&tree, options, 68 * MIB).unwrap();
        let sectors = u32::try_from(68 * MIB / 512).unwrap();
        let kind = layout.partition_type();
        write_mbr(&file, DEFAULT_FIRST_LBA, sectors, 0x1234_5678, kind).unwrap();
        write(&tree, &layout, &file, MIB, Target::InUse).unwrap();
        let extent = locate(&file).unwrap();
        assert_eq!((extent.offset, extent.len), (MIB, 68 * MIB));
        assert_same(&read_tree(&file, extent).unwrap(), &tree);
        assert_same(&contents(judges::fatfs(part(&image, extent))), &tree);
        let place = format!("{}@@1M", image.display());
        assert_same(&contents(judges::mtools(&place)), &tree);
        let part = directory.path().join("part");
        run(Command::new("dd")
            .args(["bs=1M", "skip=1", "count=68", "status=none"])
            .arg(format!("if={}", image.display()))
            .arg(format!("of={}", part.display())));
        fsck(&part);
    }
}

#[test]
#[ignore = "needs mtools and dosfstools; `make test` runs it"]
fn we_read_what_mkfs_and_mcopy_build() {
    let directory = tempdir().unwrap();
    let tree = basic_sample(4096);
    let source = directory.path().join("source");
    fs::create_dir(&source).unwrap();
    write_host(&tree, &source);
    let variants: [(&str, &[&str]); 7] = [
        ("2M", &["-F", "12"]),
        ("20M", &["-F", "16"]),
        // mtools need room for the longest name in a cluster.
        ("80M", &["-F", "32", "-s", "2"]),
        ("64M", &[]),
        ("64M", &["-S", "4096"]),
        ("64M", &["-s", "64", "-f", "1"]),
        ("300M", &["-F", "32", "-s", "8", "-R", "100"]),
    ];
    for (n, (len, arguments)) in variants.into_iter().enumerate() {
        let image = directory.path().join(n.to_string());
        run(Command::new("truncate").args(["-s", len]).arg(&image));
        run(Command::new("/usr/sbin/mkfs.vfat").args(["-n", "JUDGE"]).args(arguments).arg(&image));
        let mut copy = Command::new("mcopy");
        copy.args(["-s", "-i"]).arg(&image);
        for entry in fs::read_dir(&source).unwrap() {
            copy.arg(entry.unwrap().path());
        }
        run(copy.arg("::/"));
        let file = open_rw(&image);
        let extent = locate(&file).unwrap();
        assert_same(&read_tree(&file, extent).unwrap(), &tree);
        let volume = FatVolume::open(&file, extent, ReadLimits::default()).unwrap();
        assert_eq!(volume.label().unwrap().as_deref(), Some("JUDGE"));
    }
}

/// Fewer clusters than the specification allows for FAT32: mkfs.vfat makes
/// them, Linux mounts them, mtools refuse.
#[test]
#[ignore = "needs mtools and dosfstools; `make test` runs it"]
fn we_read_a_small_fat32() {
    let directory = tempdir().unwrap();
    let image = directory.path().join("image");
    drop(new_file(&image, 20 * MIB));
    run(Command::new("/usr/sbin/mkfs.vfat").args(["-F", "32", "-n", "JUDGE"]).arg(&image));
    let file = open_rw(&image);
    let extent = locate(&file).unwrap();
    assert_same(&read_tree(&file, extent).unwrap(), &Tree::new());
    let volume = FatVolume::open(&file, extent, ReadLimits::default()).unwrap();
    assert_eq!(volume.geometry().fat_type(), FatType::Fat32);
    assert_eq!(volume.label().unwrap().as_deref(), Some("JUDGE"));
}

/// What mkfs.vfat was told, and what fsck.vfat counts.
#[test]
#[ignore = "needs mtools and dosfstools; `make test` runs it"]
fn a_bare_disk_is_described() {
    let directory = tempdir().unwrap();
    for (bits, sectors_per_cluster, len) in [(12, 4, 2 * MIB), (16, 4, 20 * MIB), (32, 1, 80 * MIB)] {
        let image = directory.path().join(bits.to_string());
        drop(new_file(&image, len));
        let mut make = Command::new("/usr/sbin/mkfs.vfat");
        make.args(["-n", "JUDGE", "-i", "1234abcd", "-F", &bits.to_string(), "-s", &sectors_per_cluster.to_string()]);
        run(make.arg(&image));
        let content = directory.path().join("content");
        fs::write(&content, [7; 5000]).unwrap();
        run(Command::new("mcopy").arg("-i").arg(&image).arg(&content).arg("::/content"));

        let found = DiskImage::open(&image).unwrap().describe(&Control::none()).unwrap();
        assert_eq!((found.size, found.partition, found.unfinished), (len, None, false));
        let fat = found.file_system.unwrap();
        assert_eq!((fat.fat_bits, fat.cluster_size, fat.serial), (bits, sectors_per_cluster * 512, 0x1234_abcd));
        assert_eq!(fat.label.as_deref(), Some("JUDGE"));
        let (used, all) = counted_clusters(&image);
        let bytes = |clusters| clusters * u64::from(fat.cluster_size);
        assert_eq!((fat.capacity, fat.capacity - fat.free), (bytes(all), bytes(used)));
    }
}

/// Clusters in use, and all of them, as fsck.vfat counts: "image: 1 files, 10/40000 clusters".
fn counted_clusters(volume: &Path) -> (u64, u64) {
    let told = run(Command::new("/usr/sbin/fsck.vfat").arg("-n").arg(volume));
    let (_, counts) = told.trim().trim_end_matches(" clusters").rsplit_once(' ').unwrap();
    let (used, all) = counts.split_once('/').unwrap();
    (used.parse().unwrap(), all.parse().unwrap())
}

/// Of disks that we make, and of one that sfdisk and mkfs.vfat make.
#[test]
#[ignore = "needs mtools, dosfstools, sfdisk and blkid; `make test` runs it"]
fn what_is_shown_of_a_disk_is_what_others_see() {
    let directory = tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (name, size) in [("fat12", 3 * MIB), ("fat16", 62 * MIB), ("fat32", 1200 * MIB)] {
        DiskImage::create(path(name), &DiskOptions { size, ..DiskOptions::default() }).unwrap();
    }
    drop(new_file(&path("other"), 40 * MIB));
    let table = path("table");
    fs::write(&table, "label: dos\nstart=6144, size=65536, type=e\nstart=71680, type=83\n").unwrap();
    run(Command::new("sfdisk").arg("--quiet").arg(path("other")).stdin(File::open(table).unwrap()));
    let mut make = Command::new("/usr/sbin/mkfs.vfat");
    run(make.args(["-n", "OTHER", "-s", "8", "--offset", "6144"]).arg(path("other")).arg("32768"));
    fs::write(path("content"), [7; 100_000]).unwrap();

    for (name, offset) in [("fat12", MIB), ("fat16", MIB), ("fat32", MIB), ("other", 3 * MIB)] {
        let image = path(name);
        let place = format!("{}@@{offset}", image.display());
        run(Command::new("mcopy").arg("-i").arg(&place).arg(path("content")).arg("::/content"));
        let mut show = Command::new(env!("CARGO_BIN_EXE_nlxtp"));
        let shown: Value = serde_json::from_str(&run(show.args(["disk", "show", "--json"]).arg(&image))).unwrap();
        let fat = &shown["file_system"];
        let number = |value: &Value| value.as_u64().unwrap();

        let told: Value = serde_json::from_str(&run(Command::new("sfdisk").arg("--json").arg(&image))).unwrap();
        let (told, shown_partition) = (&told["partitiontable"], &shown["partition"]);
        let (sector, partition) = (number(&told["sectorsize"]), &told["partitions"][0]);
        assert_eq!(number(&shown_partition["offset"]), number(&partition["start"]) * sector, "{name}");
        assert_eq!(number(&shown_partition["size"]), number(&partition["size"]) * sector, "{name}");
        assert_eq!(number(&shown["size"]), fs::metadata(&image).unwrap().len());

        let mut blkid = Command::new("blkid");
        let told = run(blkid.args(["-p", "-o", "export", "-O", &offset.to_string()]).arg(&image));
        let told: BTreeMap<_, _> = told.lines().filter_map(|line| line.split_once('=')).collect();
        assert_eq!(told["VERSION"], format!("FAT{}", fat["fat_bits"]), "{name}");
        assert_eq!(told["LABEL_FATBOOT"], fat["label"].as_str().unwrap(), "{name}");
        assert_eq!(told["LABEL"], fat["label"].as_str().unwrap(), "{name}");
        let serial = number(&fat["serial"]);
        assert_eq!(told["UUID"], format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff), "{name}");

        let volume = path("volume");
        let mut cut = Command::new("dd");
        cut.arg(format!("if={}", image.display())).arg(format!("of={}", volume.display()));
        cut.args(["bs=1M", "conv=sparse", "status=none", "iflag=skip_bytes,count_bytes"]);
        run(cut.arg(format!("skip={offset}")).arg(format!("count={}", shown_partition["size"])));
        let (used, all) = counted_clusters(&volume);
        let clusters = |bytes: u64| bytes / number(&fat["cluster_size"]);
        let (capacity, free) = (number(&fat["capacity"]), number(&fat["free"]));
        assert_eq!((clusters(capacity), clusters(capacity - free)), (all, used), "{name}");
        assert!(capacity - free >= 100_000, "{name}");
        fs::remove_file(volume).unwrap();
    }
}
