//! What others see of a volume that lies in a file from its beginning.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

use hadris_fat::sync::FatFs;
use hadris_fs::MountOptions;
use hadris_storage::host::FileDevice;
use nlxtp_host::fat::{FatVolume, ReadLimits, WalkItem, locate};
use tempfile::tempdir;

use super::{Part, Tree, open_rw, whole};

/// An entry's content, which directories have not, and its time, in seconds since 1970, if it is told.
pub type Found = (Option<Vec<u8>>, Option<i64>);

/// Everything on a volume.
pub type Listing = BTreeMap<String, Found>;

/// The names and contents alone.
pub fn contents(listing: Listing) -> Tree {
    listing.into_iter().map(|(path, (content, _))| (path, content)).collect()
}

pub fn run(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

pub fn fsck(image: &Path) {
    let text = run(Command::new("/usr/sbin/fsck.vfat").args(["-n", "-v"]).arg(image));
    for complaint in ["differ", "wrong", "bad", "Orphan", "Dirty", "dirty", "Auto", "should"] {
        assert!(!text.contains(complaint), "{text}");
    }
}

/// What we see.
pub fn ours(image: &Path) -> Listing {
    let file = open_rw(image);
    let volume = FatVolume::open(&file, locate(&file).unwrap(), ReadLimits::default()).unwrap();
    let items = volume.walk(volume.root()).map(|item| {
        let WalkItem::Entry { path, entry } = item.unwrap() else { panic!("nothing is wrong there") };
        let content = (!entry.is_dir).then(|| volume.read_file(&entry, u32::MAX).unwrap());
        (path, (content, entry.modified))
    });
    items.collect()
}

/// What mtools see; for directories they tell no time. The image may be followed by `@@` and where the
/// volume begins.
pub fn mtools(image: &str) -> Listing {
    let directory = tempdir().unwrap();
    run(Command::new("mcopy").args(["-s", "-n", "-m", "-i", image, "::/"]).arg(directory.path()));
    let tree = super::read_host(directory.path());
    let items = tree.into_iter().map(|(path, content)| {
        let modified = fs::metadata(directory.path().join(&path)).unwrap().modified().unwrap();
        let seconds = i64::try_from(modified.duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let modified = content.is_some().then_some(seconds);
        (path, (content, modified))
    });
    items.collect()
}

/// What the `fatfs` crate sees.
pub fn fatfs(part: Part) -> Listing {
    let volume = fatfs::FileSystem::new(part, fatfs::FsOptions::new()).unwrap();
    let mut listing = Listing::new();
    let mut todo = vec![(String::new(), volume.root_dir())];
    while let Some((prefix, directory)) = todo.pop() {
        for entry in directory.iter() {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name());
            if matches!(entry.file_name().as_str(), "." | "..") {
                continue;
            }
            let mut content = None;
            if entry.is_dir() {
                todo.push((format!("{path}/"), entry.to_dir()));
            } else {
                entry.to_file().read_to_end(content.insert(Vec::new())).unwrap();
            }
            listing.insert(path, (content, Some(seconds(entry.modified()))));
        }
    }
    listing
}

fn seconds(fatfs::DateTime { date, time }: fatfs::DateTime) -> i64 {
    let date = hadris_fs::CivilDate::new(date.year.into(), small(date.month), small(date.day)).unwrap();
    let time = hadris_fs::CivilTime::new(small(time.hour), small(time.min), small(time.sec)).unwrap();
    hadris_fs::DateTime::from_civil(date, time, None).unwrap().unix_seconds()
}

fn small(number: u16) -> u8 {
    u8::try_from(number).unwrap()
}

pub type Hadris = hadris_fs::sync::Volume<FatFs<FileDevice>>;

pub fn hadris_volume(image: &Path) -> Hadris {
    let device = FileDevice::new(open_rw(image)).unwrap();
    Hadris::new(FatFs::mount(device, MountOptions::new()).unwrap())
}

/// What the `hadris-fat` crate sees.
pub fn hadris(image: &Path) -> Listing {
    let volume = hadris_volume(image);
    let entries = volume.walk("/").unwrap().map(|entry| {
        let entry = entry.unwrap();
        let metadata = *entry.entry().metadata();
        let path = String::from_utf8(entry.path().to_vec()).unwrap();
        let path = path.trim_start_matches('/').to_owned();
        let content = metadata.file_type().is_file().then(|| volume.read(&path).unwrap());
        (path, (content, metadata.modified().map(|time| time.unix_seconds())))
    });
    entries.collect()
}

/// Whatever all of them see is the same.
pub fn all_agree(image: &Path) -> Listing {
    let ours = ours(image);
    let part =
        Part { file: open_rw(image), extent: whole(File::metadata(&open_rw(image)).unwrap().len()), position: 0 };
    for (name, theirs) in
        [("mtools", mtools(image.to_str().unwrap())), ("fatfs", fatfs(part)), ("hadris-fat", hadris(image))]
    {
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{name}");
        for (path, (content, modified)) in &theirs {
            assert!(ours[path].0 == *content, "content of {path}, {name}");
            assert!(modified.is_none() || ours[path].1 == *modified, "time of {path}, {name}: {modified:?}");
        }
    }
    ours
}
