//! What a download makes: read back by GNU tar and by us, well-formed whatever the guest does.

mod archive_support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use archive_support::{Made, extract, run};
use nlxtp_host::archive::{OutputFormat, Packer};
use nlxtp_host::control::{CancelToken, Control, Progress};
use nlxtp_host::error::{Error, ErrorKind, Result};
use proptest::prelude::*;
use rextfv_core::entry_path::EntryPath;
use rextfv_core::limits::Limits;
use rextfv_core::operations::{ContentProblem, DownloadReport};
use rextfv_core::shared_directory::{Attributes, Content, Entry, EntryKind, LeftOut, LeftOutReason, Visitor};

const FORMATS: [OutputFormat; 3] =
    [OutputFormat::Tar, OutputFormat::TarGz { level: 6 }, OutputFormat::TarZst { level: 3 }];

/// Content in memory that may end in an error.
struct Bytes<'a>(&'a [u8], Option<ErrorKind>);

impl Content for Bytes<'_> {
    type Error = Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let length = self.0.len().min(buffer.len()).min(1000);
        if let (0, Some(kind)) = (length, self.1) {
            return Err(Error::new(kind, "the test says so"));
        }
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

fn entry(path: &[u8], kind: EntryKind, size: u64, modified: i64) -> Entry {
    let mode = if kind == EntryKind::Directory { 0o750 } else { 0o640 };
    Entry { path: EntryPath::parse(path).unwrap(), kind, size, attributes: Attributes { mode, modified } }
}

fn pack(
    format: OutputFormat,
    fill: impl FnOnce(&mut dyn Visitor<Error = Error>) -> Result<()>,
) -> Result<(Vec<u8>, DownloadReport)> {
    let control = Control::none();
    let mut archive = Vec::new();
    let mut packer = Packer::new(format, &mut archive, &control)?;
    fill(&mut packer)?;
    let report = packer.finish()?;
    assert_eq!(report.archive_bytes, archive.len() as u64);
    Ok((archive, report))
}

fn pack_tree(format: OutputFormat, tree: &BTreeMap<Vec<u8>, Made>) -> (Vec<u8>, DownloadReport) {
    pack(format, |visitor| {
        for (path, made) in tree {
            match made {
                Made::Directory => visitor.directory(&entry(path, EntryKind::Directory, 0, 1_000_000))?,
                Made::File(content) => {
                    let entry = entry(path, EntryKind::File, content.len() as u64, -5);
                    visitor.file(&entry, &mut Bytes(content, None))?;
                }
                Made::Symlink(target) => {
                    visitor.symlink(&entry(path, EntryKind::Symlink, target.len() as u64, 7), target)?;
                }
                Made::HardLink(_) | Made::Copy(_) => unreachable!(),
            }
        }
        Ok(())
    })
    .unwrap()
}

fn sample() -> BTreeMap<Vec<u8>, Made> {
    let long = b"0123456789abcdef/".repeat(16);
    let mut tree = BTreeMap::from([
        (b"auto_exec.sh".to_vec(), Made::File(b"#!/bin/sh\n".to_vec())),
        (b"\xff\xfe".to_vec(), Made::File(b"not utf-8".to_vec())),
        (b"line\nfeed".to_vec(), Made::File(vec![1; 512])),
        ("grüße".into(), Made::File(vec![2; 100_000])),
        (b"link".to_vec(), Made::Symlink(b"/nowhere".to_vec())),
        (b"long-link".to_vec(), Made::Symlink(b"t/".repeat(2000))),
        ([&long[..], b"file"].concat(), Made::File(Vec::new())),
    ]);
    // Names around the length that a header has room for ("./" comes before them).
    for length in 96..=101 {
        tree.insert(vec![b'f'; length], Made::File(vec![3; length]));
        tree.insert(vec![b'd'; length], Made::Directory);
        tree.insert(vec![b'l'; length], Made::Symlink(vec![b't'; length + 1]));
    }
    for end in (0..long.len()).filter(|&at| long[at] == b'/') {
        tree.insert(long[..end].to_vec(), Made::Directory);
    }
    tree
}

#[test]
fn gnu_tar_restores_every_byte() {
    let tree = sample();
    for format in [OutputFormat::Tar, OutputFormat::TarGz { level: 6 }] {
        let temporary = tempfile::tempdir().unwrap();
        let (archive, report) = pack_tree(format, &tree);
        assert_eq!(report.files + report.directories + report.symlinks, tree.len() as u64);
        assert!(report.changed.is_empty() && report.left_out.is_empty());
        fs::write(temporary.path().join("archive"), archive).unwrap();
        fs::create_dir(temporary.path().join("out")).unwrap();
        run("tar", &["-xpf", "archive", "-C", "out"], temporary.path());
        for (path, made) in &tree {
            let path = temporary.path().join("out").join(OsStr::from_bytes(path));
            let metadata = fs::symlink_metadata(&path).unwrap();
            match made {
                Made::Directory => assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o750, 1_000_000)),
                Made::File(content) => {
                    assert_eq!(fs::read(&path).unwrap(), *content);
                    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o640, -5));
                }
                Made::Symlink(target) => {
                    assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), target);
                    assert_eq!(metadata.mtime(), 7);
                }
                Made::HardLink(_) | Made::Copy(_) => unreachable!(),
            }
        }
        let listing = run("tar", &["--numeric-owner", "-tvf", "archive"], temporary.path());
        let listing = String::from_utf8(listing).unwrap();
        assert!(listing.lines().next().unwrap().ends_with(" ./"), "{listing}");
        assert!(listing.lines().all(|line| line.contains(" 0/0 ")), "{listing}");
    }
}

#[test]
#[ignore = "needs busybox and pigz; `make test` runs it"]
fn every_gunzip_reads_it() {
    // Lines that repeat, noise, and zeros: more than a megabyte of each.
    let mut seed = 1_u64;
    let mut content: Vec<u8> = (0..100_000).flat_map(|line| format!("line {line} of many\n").into_bytes()).collect();
    content.extend((0..1_500_000).map(|_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    }));
    content.resize(content.len() + 1_500_000, 0);
    let tree = BTreeMap::from([(b"large".to_vec(), Made::File(content))]);
    let (plain, _) = pack_tree(OutputFormat::Tar, &tree);
    let temporary = tempfile::tempdir().unwrap();
    for level in 0..=9 {
        let (archive, _) = pack_tree(OutputFormat::TarGz { level }, &tree);
        fs::write(temporary.path().join("archive.tar.gz"), &archive).unwrap();
        for gunzip in [&["gzip", "-dc"][..], &["busybox", "gunzip", "-c"], &["pigz", "-dc"]] {
            let arguments = [&gunzip[1..], &["archive.tar.gz"]].concat();
            assert!(run(gunzip[0], &arguments, temporary.path()) == plain, "{gunzip:?}, level {level}");
        }
        let listing = run("tar", &["-tzf", "archive.tar.gz"], temporary.path());
        assert_eq!(listing, b"./\n./large\n");
        // A reader that knows of one member only has all of it, too.
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&archive[..]).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain);
    }
}

#[test]
fn we_read_what_we_write_and_it_is_always_the_same() {
    let tree = sample();
    for format in FORMATS {
        let (archive, _) = pack_tree(format, &tree);
        assert_eq!(archive, pack_tree(format, &tree).0);
        let made = extract(&archive).unwrap();
        let read: BTreeMap<_, _> = made.made.iter().map(|(path, (made, _))| (path.clone(), made.clone())).collect();
        assert_eq!(read, tree);
        assert_eq!(made.attributes("grüße"), (0o640, -5));
    }
}

#[test]
fn an_empty_directory_makes_an_archive_too() {
    for format in FORMATS {
        let (archive, report) = pack(format, |_| Ok(())).unwrap();
        assert_eq!(report.files, 0);
        assert!(extract(&archive).unwrap().made.is_empty());
    }
}

#[test]
fn files_that_change_meanwhile_are_told_and_harm_no_others() {
    let (archive, report) = pack(OutputFormat::Tar, |visitor| {
        let file = |path: &[u8]| entry(path, EntryKind::File, 2000, 5);
        visitor.file(&file(b"short"), &mut Bytes(&[1; 1500], None))?;
        visitor.file(&file(b"long"), &mut Bytes(&[2; 2001], None))?;
        visitor.file(&file(b"torn"), &mut Bytes(&[3; 700], Some(ErrorKind::Changing)))?;
        visitor.file(&file(b"damaged"), &mut Bytes(&[], Some(ErrorKind::Damaged)))?;
        visitor.file(&file(b"whole"), &mut Bytes(&[4; 2000], Some(ErrorKind::Changing)))?;
        visitor.left_out(LeftOut { path: "fifo".to_owned(), reason: LeftOutReason::Special })
    })
    .unwrap();
    let made = extract(&archive).unwrap();
    let filled = |byte: u8, length: usize| {
        let mut content = vec![byte; length];
        content.resize(2000, 0);
        Made::File(content)
    };
    assert_eq!(*made.get("short"), filled(1, 1500));
    assert_eq!(*made.get("long"), filled(2, 2000));
    assert_eq!(*made.get("torn"), filled(3, 700));
    assert_eq!(*made.get("damaged"), filled(0, 0));
    assert_eq!(*made.get("whole"), filled(4, 2000));
    let changed: Vec<_> = report.changed.listed.iter().map(|file| (file.path.as_str(), file.problem)).collect();
    let unreadable = ContentProblem::Unreadable;
    let expected = [
        ("short", ContentProblem::Shorter),
        ("long", ContentProblem::Longer),
        ("torn", unreadable),
        ("damaged", unreadable),
    ];
    assert_eq!(changed, expected);
    assert_eq!(report.left_out.listed[0].path, "fifo");
}

#[test]
fn other_failures_end_the_download() {
    let error = pack(OutputFormat::Tar, |visitor| {
        visitor.file(&entry(b"f", EntryKind::File, 10, 0), &mut Bytes(b"", Some(ErrorKind::Io)))
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Io);
    for format in [OutputFormat::TarGz { level: 10 }, OutputFormat::TarZst { level: 0 }] {
        assert_eq!(pack(format, |_| Ok(())).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn limits_hold_for_guests_too() {
    let control = Control::none();
    let limits = Limits { entries: 2, total_bytes: 1000, file_bytes: 600, ..Limits::DEFAULT };
    let mut packer = Packer::new(OutputFormat::Tar, Vec::new(), &control).unwrap().with_limits(limits);
    let file = |path: &[u8], size| entry(path, EntryKind::File, size, 0);
    let error = packer.file(&file(b"huge", 1 << 60), &mut Bytes(b"", None)).unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("huge"), "{error}");
    packer.file(&file(b"a", 600), &mut Bytes(&[0; 600], None)).unwrap();
    assert_eq!(packer.file(&file(b"b", 600), &mut Bytes(b"", None)).unwrap_err().kind(), ErrorKind::Refused);
    packer.directory(&entry(b"c", EntryKind::Directory, 0, 0)).unwrap();
    assert_eq!(packer.directory(&entry(b"d", EntryKind::Directory, 0, 0)).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn a_packer_that_is_given_up_leaves_no_whole_archive() {
    let control = Control::none();
    for format in FORMATS {
        let mut archive = Vec::new();
        let mut packer = Packer::new(format, &mut archive, &control).unwrap();
        packer.file(&entry(b"f", EntryKind::File, 5000, 0), &mut Bytes(&[1; 5000], None)).unwrap();
        drop(packer);
        assert!(extract(&archive).is_err());
    }
}

#[test]
fn a_full_disk_and_a_cancelled_download() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let control = Control::none();
    for format in FORMATS {
        let packer = Packer::new(format, Full, &control).unwrap();
        assert_eq!(packer.finish().unwrap_err().kind(), ErrorKind::NoSpace);
    }

    let token = CancelToken::new();
    let control = Control::none().with_cancel(token.clone());
    let mut packer = Packer::new(OutputFormat::Tar, io::sink(), &control).unwrap();
    token.cancel();
    let error = packer.file(&entry(b"f", EntryKind::File, 10, 0), &mut Bytes(&[0; 10], None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn large_content_streams() {
    /// As many zeros as anybody wants, in small pieces.
    struct Zeros {
        largest_read: usize,
    }
    impl Content for Zeros {
        type Error = Error;
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            self.largest_read = self.largest_read.max(buffer.len());
            buffer.fill(0);
            Ok(buffer.len())
        }
    }
    const SIZE: u64 = 64 << 20;
    let mut last = None;
    let control = Control::none().with_progress(|progress| last = Some(progress));
    let mut packer = Packer::new(OutputFormat::Tar, io::sink(), &control).unwrap().with_total(Some(SIZE));
    let mut zeros = Zeros { largest_read: 0 };
    packer.file(&entry(b"zeros", EntryKind::File, SIZE, 0), &mut zeros).unwrap();
    let report = packer.finish().unwrap();
    drop(control);
    assert_eq!(report.bytes, SIZE);
    assert_eq!(report.archive_bytes, SIZE + 4 * 512);
    assert!(zeros.largest_read <= 1 << 20);
    assert_eq!(last, Some(Progress::Packing { done: SIZE, total: Some(SIZE) }));
}

/// A tree of a few directories with files and links of random names in them.
fn trees() -> impl Strategy<Value = BTreeMap<Vec<u8>, Made>> {
    let name = prop::collection::vec(any::<u8>().prop_filter("no separator", |byte| !matches!(byte, 0 | b'/')), 1..150)
        .prop_filter("no dots", |name| name != b"." && name != b".." && !name.starts_with(b".nlxtp"));
    let made = prop_oneof![
        Just(Made::Directory),
        prop::collection::vec(any::<u8>(), 0..2000).prop_map(Made::File),
        prop::collection::vec(1_u8.., 1..300).prop_map(Made::Symlink),
    ];
    let entries = prop::collection::vec((prop::collection::vec(name, 1..4), made), 0..12);
    entries.prop_map(|entries| {
        let mut tree = BTreeMap::new();
        for (names, made) in entries {
            let paths: Vec<Vec<u8>> = (1..=names.len()).map(|end| names[..end].join(&b'/')).collect();
            let (last, parents) = paths.split_last().unwrap();
            let free = !tree.contains_key(last)
                && parents.iter().all(|path| matches!(tree.get(path), None | Some(Made::Directory)));
            if free {
                parents.iter().for_each(|path| drop(tree.insert(path.clone(), Made::Directory)));
                tree.insert(last.clone(), made);
            }
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_packed_is_read_back(tree in trees(), format in prop::sample::select(&FORMATS[..])) {
        let (archive, _) = pack_tree(format, &tree);
        let made = extract(&archive).unwrap();
        let read: BTreeMap<_, _> = made.made.into_iter().map(|(path, (made, _))| (path, made)).collect();
        prop_assert_eq!(read, tree);
    }
}
