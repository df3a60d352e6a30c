//! Archives that are damaged, or made to harm.

mod archive_support;
#[path = "../../fuzz/seed.rs"]
mod seed;

use std::cell::Cell;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::LazyLock;
use std::time::Instant;

use archive_support::{
    Made, Recording, assert_fails, extract, extract_from, failure, gzip, rules, small_rules, tar_header, tar_of,
    tar_without_end,
};
use nlxtp_host::archive::ArchiveReader;
use nlxtp_host::control::{CancelToken, Control, Progress};
use nlxtp_host::error::ErrorKind;
use rextfv_core::archive_rules::{ArchiveRules, RefusalReason};
use rextfv_core::shared_directory::Representation;

fn small_tar() -> Vec<u8> {
    let noise: Vec<u8> = (0..1500_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    tar_of(&[
        (tar_header("./", b'5', 0), b""),
        (tar_header("./auto_exec.sh", b'0', 10), b"#!/bin/sh\n"),
        (tar_header("./data", b'0', 1500), &noise),
        (tar_header("./last", b'0', 3), b"end"),
    ])
}

fn small_zip() -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, content) in [("auto_exec.sh", "#!/bin/sh\n"), ("data", &"x".repeat(2000)), ("last", "end")] {
        writer.start_file(name, options).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// What the first byte of a seed says of the rest: an archive, a tar whose checksums are to be put
/// right, or a tar that is to be compressed. (How compressors do that differs between machines.)
const AS_IT_STANDS: u8 = 0;
const MENDED: u8 = 2 << 3;
const GZIPPED: u8 = 3 << 3;
const ZSTD: u8 = 4 << 3;

fn keep_seed(name: &str, how: u8, archive: &[u8]) {
    seed::keep("archive_entries", name, &[&[how], archive].concat());
}

#[test]
fn a_truncated_archive_is_never_taken_for_whole() {
    let tar = small_tar();
    let whole = extract(&tar).unwrap();
    let content_end = tar.len() - 1024;
    for length in (0..tar.len()).step_by(64).chain([tar.len() - 1]) {
        match extract(&tar[..length]) {
            // Without the second block of zeros nothing is lost.
            Ok(made) => assert!(made == whole && length >= content_end + 512, "{length}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::BadArchive, "{length}: {error}"),
        }
    }
    for (name, how) in [("tar", AS_IT_STANDS), ("mended-tar", MENDED), ("tar-gz", GZIPPED), ("tar-zst", ZSTD)] {
        keep_seed(name, how, &tar);
    }
    let zst = zstd::encode_all(&tar[..], 3).unwrap();
    for archive in [gzip(&tar), zst, small_zip()] {
        extract(&archive).unwrap();
        for length in 0..archive.len() {
            let error = extract(&archive[..length]).expect_err("truncated");
            assert_eq!(error.kind(), ErrorKind::BadArchive, "{length}: {error}");
        }
    }
    assert_fails(&tar[..content_end], &["truncated", "end is missing"]);
    assert_fails(&tar[..2048 + 700], &["truncated", "\"./data\"", "byte 2748"]);
}

#[test]
fn a_flipped_bit_is_noticed_or_changes_nothing() {
    let tar = small_tar();
    let whole = extract(&tar).unwrap();
    let mut zst = Vec::new();
    let mut encoder = zstd::Encoder::new(&mut zst, 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(&tar).unwrap();
    encoder.finish().unwrap();
    for archive in [gzip(&tar), zst] {
        for at in 0..archive.len() {
            for bit in [0, 3, 7] {
                let mut flipped = archive.clone();
                flipped[at] ^= 1 << bit;
                match extract(&flipped) {
                    Ok(made) => assert_eq!(made, whole, "byte {at}, bit {bit}"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::BadArchive, "byte {at}, bit {bit}: {error}"),
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_a_zip_changes_no_content() {
    let archive = small_zip();
    let whole = extract(&archive).unwrap();
    let contents = |made: &Recording| made.made.values().map(|(made, _)| made.clone()).collect::<Vec<_>>();
    for at in 0..archive.len() {
        for bit in 0..8 {
            let mut flipped = archive.clone();
            flipped[at] ^= 1 << bit;
            // Modes, times and the host system have no checksum in zip.
            if let Ok(made) = extract(&flipped) {
                let same = contents(&made) == contents(&whole);
                let typed = made.made.values().any(|(made, _)| !matches!(made, Made::File(_)));
                assert!(same || typed, "byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn random_damage_does_no_harm() {
    let tar = small_tar();
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    for archive in [tar, small_zip()] {
        for _ in 0..3000 {
            let mut damaged = archive.clone();
            for _ in 0..=random(4) {
                let at = random(damaged.len());
                damaged[at] = [0, 1, 0x7f, 0x80, 0xff, b'7'][random(6)];
            }
            if let Err(error) = extract_from(Cursor::new(damaged), &small_rules()) {
                assert!(matches!(error.kind(), ErrorKind::BadArchive | ErrorKind::Refused), "{error:?}");
            }
        }
    }
}

#[test]
fn damaged_headers_are_named_by_position() {
    let mut tar = small_tar();
    tar[1536] ^= 1;
    assert_fails(&tar, &["corrupt", "header", "byte 2048"]);
    let mut tar = small_tar();
    tar[0] ^= 1;
    assert_fails(&tar, &["first header"]);
    let mut tar = small_tar();
    *tar.last_mut().unwrap() = 1;
    assert_fails(&tar, &["after its end"]);
    assert_fails(&[small_tar(), small_tar()].concat(), &["after its end"]);
    let mut header = tar_header("x", b'0', 0);
    header.as_old_mut().size = *b"0000000000x\0";
    assert_fails(&tar_of(&[(header, b"")]), &["\"x\"", "no valid size"]);
    let mut header = tar_header("x", b'0', 0);
    header.as_old_mut().size = [0xff; 12];
    assert_fails(&tar_of(&[(header, b"")]), &["\"x\"", "no valid size"]);
}

fn pax(record: &str) -> Vec<u8> {
    let length = (record.len() + 2..).find(|n| n.to_string().len() + 1 + record.len() + 1 == *n).unwrap();
    format!("{length} {record}\n").into_bytes()
}

#[test]
fn extended_headers_are_checked() {
    let file = || (tar_header("x", b'0', 1), &b"y"[..]);
    let with = |kind: u8, content: &[u8]| {
        let extra = tar_header("extra", kind, content.len() as u64);
        tar_of(&[(extra, content), file()])
    };
    assert_fails(&with(b'x', b"nonsense"), &["malformed PAX"]);
    assert_fails(&with(b'g', &pax("path=everywhere")), &["global PAX"]);
    assert_fails(&with(b'x', &pax("path=../up")), &["../up", ".."]);
    assert_fails(&with(b'x', &pax("path=nul\0nul")), &["NUL"]);
    assert_fails(&with(b'L', b"/etc/passwd\0"), &["/etc/passwd", "absolute"]);
    assert_fails(&with(b'x', &pax("size=999999")), &["truncated", "\"x\""]);
    for (name, kind, content) in [
        ("pax-path", b'x', pax("path=a\nb")),
        ("pax-size", b'x', pax("size=1")),
        ("pax-time", b'x', pax("mtime=-1.5")),
        ("pax-global", b'g', pax("comment=git")),
        ("long-name", b'L', [&[b'n'; 150][..], b"\0"].concat()),
    ] {
        keep_seed(name, MENDED, &with(kind, &content));
    }
    assert_eq!(*extract(&with(b'g', &pax("comment=git"))).unwrap().get("x"), Made::File(b"y".to_vec()));
    assert_eq!(*extract(&with(b'x', &pax("path=a\nb"))).unwrap().get("a\nb"), Made::File(b"y".to_vec()));
    let lone = tar_of(&[file(), (tar_header("long", b'L', 2), b"z\0")]);
    assert_fails(&lone, &["belongs to no entry"]);
    let many: Vec<_> = (0..50).map(|_| (tar_header("long", b'L', 2), &b"z\0"[..])).chain([file()]).collect();
    assert_fails(&tar_of(&many), &["too many extended headers"]);
}

#[test]
fn paths_and_links_that_leave_are_refused() {
    let mut link = tar_header("link", b'1', 0);
    link.as_old_mut().linkname[..11].copy_from_slice(b"/etc/shadow");
    let archive = tar_of(&[
        (tar_header("/absolute", b'0', 0), b""),
        (tar_header("a/../../b", b'0', 0), b""),
        (tar_header("same", b'0', 0), b""),
        (tar_header("./same", b'0', 0), b""),
        (link, b""),
    ]);
    keep_seed("leaving", MENDED, &archive);
    let error = failure(&archive, &rules());
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.refusals().unwrap().count(), 4, "{error}");
}

#[test]
fn names_that_fat_takes_for_the_same_are_refused() {
    let archive = tar_of(&[(tar_header("Größe", b'0', 0), b""), (tar_header("GRÖßE", b'0', 0), b"")]);
    // For a disk.
    keep_seed("case-collision", AS_IT_STANDS | 1, &archive);
    let fat = ArchiveRules { representation: Representation::Fat, ..rules() };
    let error = failure(&archive, &fat);
    assert!(matches!(error.refusals().unwrap().listed[0].reason, RefusalReason::CaseCollision(_)), "{error}");
    extract(&archive).unwrap();
}

/// Packs the beginning of an archive, and zeros after it that unpack to this many gibibytes.
fn gzip_bomb(begin: &[u8], gibibytes: usize) -> Vec<u8> {
    // gzip files may have many members, and repeating one costs nothing.
    static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| gzip(&vec![0; 8 << 20]));
    let mut bomb = gzip(begin);
    (0..gibibytes * 128).for_each(|_| bomb.extend_from_slice(&ZEROS));
    bomb
}

/// A source that counts what is read of it.
struct Counted<'a> {
    inner: Cursor<&'a [u8]>,
    bytes: &'a Cell<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}

#[test]
fn bombs_end_soon() {
    let unending = 4 << 30;
    let begins = [
        ("long name", tar_without_end(&[(tar_header("././@LongLink", b'L', unending), b"")])),
        ("PAX header", tar_without_end(&[(tar_header("pax", b'x', unending), b"")])),
        ("global PAX header", tar_without_end(&[(tar_header("pax", b'g', unending), b"")])),
        ("file", tar_without_end(&[(tar_header("file", b'0', unending), b"")])),
        ("unknown type", tar_without_end(&[(tar_header("unknown", b'M', unending), b"")])),
        ("reserved name", tar_without_end(&[(tar_header("exec_status/x", b'0', unending), b"")])),
        ("padding", tar_of(&[(tar_header("file", b'0', 0), b"")])),
    ];
    for (what, begin) in begins {
        let bomb = gzip_bomb(&begin, 4);
        let bytes = Cell::new(0);
        let source = Counted { inner: Cursor::new(&bomb), bytes: &bytes };
        let started = Instant::now();
        let error = extract_from(source, &small_rules()).expect_err(what);
        assert!(matches!(error.kind(), ErrorKind::BadArchive | ErrorKind::Refused), "{what}: {error:?}");
        // 64 MiB of padding at most were unpacked, far less of everything else.
        assert!(bytes.get() < bomb.len() as u64 / 20, "{what}: read {} of {}", bytes.get(), bomb.len());
        assert!(started.elapsed().as_secs() < 60, "{what}");
    }
}

#[test]
fn endless_extended_headers_end() {
    // Global headers describe no member and may come in any number.
    let global = tar_without_end(&[(tar_header("pax", b'g', 0), b"")]);
    let archive = gzip(&global.repeat(100_000));
    let error = failure(&archive, &small_rules());
    assert!(error.to_string().contains("limits"), "{error}");
}

#[test]
fn too_many_entries_and_bytes_are_refused() {
    let entries: Vec<_> = (0..1500).map(|i| (tar_header(&format!("f{i}"), b'0', 0), &b""[..])).collect();
    let error = failure(&tar_of(&entries), &small_rules());
    assert_eq!(error.refusals().unwrap().listed[0].reason, RefusalReason::TooManyEntries(1000));

    let half = vec![0; 600 << 10];
    let size = half.len() as u64;
    let archive = tar_of(&[(tar_header("a", b'0', size), &half), (tar_header("b", b'0', size), &half)]);
    let error = failure(&archive, &small_rules());
    assert_eq!(error.refusals().unwrap().listed[0].reason, RefusalReason::TotalTooLarge(1 << 20));
}

#[test]
fn zip_bombs_end_soon() {
    // A directory that claims more entries than anybody wants.
    let mut archive = b"PK\x05\x06".to_vec();
    archive.extend([0, 0, 0, 0, 0xff, 0xfe, 0xff, 0xfe]);
    archive.extend([0; 10]);
    let error = failure(&archive, &small_rules());
    assert_eq!(error.refusals().unwrap().listed[0].reason, RefusalReason::TooManyEntries(1000));

    // Two entries that share one content: both records point at the first local header.
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    writer.start_file("aaa", options).unwrap();
    writer.write_all(&[0; 5000]).unwrap();
    let archive = writer.finish().unwrap().into_inner();
    let directory = archive.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let end = archive.windows(4).position(|bytes| bytes == b"PK\x05\x06").unwrap();
    let record = &archive[directory..end];
    let mut tail = archive[end..].to_vec();
    tail[8] = 2;
    tail[10] = 2;
    let length = u32::try_from(2 * record.len()).unwrap();
    tail[12..16].copy_from_slice(&length.to_le_bytes());
    let overlapping = [&archive[..directory], record, record, &tail].concat();
    assert_fails(&overlapping, &["aaa", "shares bytes"]);
}

#[test]
fn a_zip_member_longer_than_declared_is_corrupt() {
    let archive = small_zip();
    let mut changed = archive.clone();
    for at in 0..archive.len() - 4 {
        // "data" has 2000 bytes; both headers are made to say 1999.
        let offset = match &archive[at..at + 4] {
            b"PK\x01\x02" => 24,
            b"PK\x03\x04" => 22,
            _ => continue,
        };
        if archive[at + offset..at + offset + 4] == 2000_u32.to_le_bytes() {
            changed[at + offset..at + offset + 4].copy_from_slice(&1999_u32.to_le_bytes());
        }
    }
    assert_ne!(archive, changed);
    assert_fails(&changed, &["\"data\"", "longer"]);
}

/// A source whose bytes can be exchanged between the passes.
struct Exchanged<'a>(Cursor<Vec<u8>>, &'a Cell<Option<Vec<u8>>>);

impl Read for Exchanged<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for Exchanged<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        if let Some(bytes) = self.1.take() {
            *self.0.get_mut() = bytes;
        }
        self.0.seek(position)
    }
}

#[test]
fn an_archive_that_changes_between_the_passes_is_noticed() {
    let control = Control::none();
    let one = |name: &str, content: &[u8]| tar_of(&[(tar_header(name, b'0', content.len() as u64), content)]);
    let two = tar_of(&[(tar_header("a", b'0', 4), b"good"), (tar_header("b", b'0', 0), b"")]);
    for later in [one("b", b"good"), one("a", b"longer"), one("a", b"evil"), two, one("a", b"good")[..512].to_vec()] {
        let exchange = Cell::new(None);
        let mut reader = ArchiveReader::open(Exchanged(Cursor::new(one("a", b"good")), &exchange)).unwrap();
        let manifest = reader.examine(&rules(), &control).unwrap();
        exchange.set(Some(later));
        let error = reader.extract(&manifest, &mut Recording::default(), &control).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArchive, "{error}");
    }
}

#[test]
fn failing_disks_are_no_bad_archives() {
    struct Failing(Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.position() > 1000 {
                return Err(io::Error::other("the disk fails"));
            }
            let most = buffer.len().min(1001);
            self.0.read(&mut buffer[..most])
        }
    }
    impl Seek for Failing {
        fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
            self.0.seek(position)
        }
    }
    let noise: Vec<u8> = (0..50_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let tar = tar_of(&[(tar_header("f", b'0', 50_000), &noise)]);
    for archive in [gzip(&tar), zstd::encode_all(&tar[..], 3).unwrap(), tar] {
        let error = extract_from(Failing(Cursor::new(archive)), &rules()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains("the disk fails"), "{error}");
    }
}

#[test]
fn both_passes_can_be_cancelled_and_report() {
    let content = vec![0; 1 << 20];
    let tar = tar_of(&[(tar_header("f", b'0', 1 << 20), &content)]);
    for archive in [tar.clone(), gzip(&tar)] {
        let token = CancelToken::new();
        let cancelled = Control::none().with_cancel(token.clone());
        let mut reader = ArchiveReader::open(Cursor::new(&archive)).unwrap();
        let manifest = reader.examine(&rules(), &cancelled).unwrap();
        token.cancel();
        let error = reader.examine(&rules(), &cancelled).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        let error = reader.extract(&manifest, &mut Recording::default(), &cancelled).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);

        let mut seen = Vec::new();
        let control = Control::none().with_progress(|progress| seen.push(progress));
        reader.examine(&rules(), &control).unwrap();
        reader.extract(&manifest, &mut Recording::default(), &control).unwrap();
        drop(control);
        let total = archive.len() as u64;
        assert!(seen.contains(&Progress::Examining { done: total, total }), "{seen:?}");
        assert_eq!(seen.last(), Some(&Progress::Extracting { done: total, total }));
    }
}
