//! Sound volumes, made by four writers and read by four readers: all see the same names, sizes, contents
//! and times.

mod fat_support;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use fat_support::judges::{self, all_agree, contents, fsck, run};
use fat_support::*;
use hadris_fat::{FatKind, FatOptions};
use hadris_storage::host::FileDevice;
use nlxtp_host::fat::{FatType, FormatOptions};
use tempfile::tempdir;

/// Length in MiB, and type.
const KINDS: [(u64, FatType); 3] = [(7, FatType::Fat12), (24, FatType::Fat16), (80, FatType::Fat32)];

/// Names and sizes of every kind, and many entries in one directory.
fn tree() -> Tree {
    let mut tree = basic_sample(2048);
    for n in 0..80 {
        tree.insert(format!("crowd/one of many entries {n}.data"), Some(content(n, n % 50)));
        tree.insert(format!("crowd/N{n}"), Some(content(n, 0)));
    }
    // Multiples of every size that a cluster may have here.
    for size in [512, 1024, 4096, 8192, 65_536] {
        tree.insert(format!("sizes/multiple of {size}"), Some(content(size, 3 * size)));
    }
    with_directories(tree)
}

#[test]
#[ignore = "needs mtools and dosfstools; `make test` runs it"]
fn on_what_we_write() {
    let (directory, tree) = (tempdir().unwrap(), tree());
    for (mib, fat_type) in KINDS {
        let image = directory.path().join(mib.to_string());
        let mut options = FormatOptions::new("compared").unwrap();
        options.fat_type = Some(fat_type);
        build_file(&image, &tree, options, mib * MIB);
        fsck(&image);
        let seen = all_agree(&image);
        assert!(seen.values().all(|(_, modified)| *modified == Some(TIME)));
        assert_same(&contents(seen), &tree);
    }
}

#[test]
#[ignore = "needs mtools and dosfstools; `make test` runs it"]
fn on_what_mkfs_and_mcopy_write() {
    let (directory, tree) = (tempdir().unwrap(), tree());
    let source = directory.path().join("source");
    fs::create_dir(&source).unwrap();
    write_host(&tree, &source);
    // Each file has a time of its own, which FAT can express.
    let time = |number: usize| TIME + 7202 * i64::try_from(number).unwrap();
    for (number, path) in tree.keys().enumerate().filter(|(_, path)| tree[*path].is_some()) {
        let seconds = Duration::from_secs(u64::try_from(time(number)).unwrap());
        File::options().write(true).open(source.join(path)).unwrap().set_modified(UNIX_EPOCH + seconds).unwrap();
    }
    for (mib, fat_type) in KINDS {
        let image = directory.path().join(mib.to_string());
        drop(new_file(&image, mib * MIB));
        let bits = fat_type.bits().to_string();
        // mtools need room for the longest name in a cluster.
        run(Command::new("/usr/sbin/mkfs.vfat")
            .args(["-F", &bits, "-s", if mib == 80 { "2" } else { "4" }])
            .arg(&image));
        let mut copy = Command::new("mcopy");
        copy.args(["-s", "-m", "-i"]).arg(&image);
        copy.args(fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().path()));
        run(copy.arg("::/"));
        fsck(&image);
        let seen = all_agree(&image);
        for (number, (path, content)) in tree.iter().enumerate() {
            assert!(content.is_none() || seen[path].1 == Some(time(number)), "{path}");
        }
        assert_same(&contents(seen), &tree);
    }
}

#[test]
#[ignore = "needs mtools; `make test` runs it"]
fn on_what_fatfs_writes() {
    let (directory, mut tree) = (tempdir().unwrap(), tree());
    // It reuses an entry that differs in case.
    tree.remove("names/MIXED.cas");
    // It takes its time over them.
    tree.retain(|path, _| !path.starts_with("crowd/"));
    for (mib, fat_type) in KINDS {
        let image = directory.path().join(mib.to_string());
        let mut part = Part { file: new_file(&image, mib * MIB), extent: whole(mib * MIB), position: 0 };
        let format = fatfs::FormatVolumeOptions::new().fat_type(match fat_type {
            FatType::Fat12 => fatfs::FatType::Fat12,
            FatType::Fat16 => fatfs::FatType::Fat16,
            FatType::Fat32 => fatfs::FatType::Fat32,
        });
        fatfs::format_volume(&mut part, format).unwrap();
        let volume = fatfs::FileSystem::new(part, fatfs::FsOptions::new()).unwrap();
        for (path, content) in &tree {
            match content {
                None => drop(volume.root_dir().create_dir(path).unwrap()),
                Some(content) => volume.root_dir().create_file(path).unwrap().write_all(content).unwrap(),
            }
        }
        volume.unmount().unwrap();
        assert_same(&contents(all_agree(&image)), &tree);
    }
}

#[test]
#[ignore = "needs mtools and dosfstools; `make test` runs it"]
fn on_what_hadris_writes() {
    let (directory, mut tree) = (tempdir().unwrap(), tree());
    // To it as to us, names that differ in case are one.
    tree.remove("names/MIXED.cas");
    for (mib, fat_type) in KINDS {
        let image = directory.path().join(mib.to_string());
        format_with_hadris(&image, mib * MIB, fat_type);
        let volume = judges::hadris_volume(&image);
        for (path, content) in &tree {
            match content {
                None => volume.create_dir(path).unwrap(),
                Some(content) => volume.write(path, content).unwrap(),
            }
        }
        volume.lock().unwrap().sync().unwrap();
        drop(volume);
        fsck(&image);
        assert_same(&contents(all_agree(&image)), &tree);
    }
}

fn format_with_hadris(image: &Path, len: u64, fat_type: FatType) {
    let mut device = FileDevice::new(new_file(image, len)).unwrap();
    let kind = match fat_type {
        FatType::Fat12 => FatKind::Fat12,
        FatType::Fat16 => FatKind::Fat16,
        FatType::Fat32 => FatKind::Fat32,
    };
    hadris_fat::sync::format(&mut device, &FatOptions::new().with_kind(kind)).unwrap();
}
