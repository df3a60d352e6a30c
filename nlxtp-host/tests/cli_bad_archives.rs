//! Archives that are refused: the message names the archive, the entry and the way out, the exit code
//! is 3, and no byte of the target has changed.

mod cli_support;

use cli_support::{KINDS, Kind, Place, append, gzip, tar, tar_gz};
use tar::EntryType;

/// Uploads a bad archive to both kinds of target.
#[track_caller]
fn refused(name: &str, archive: &[u8], words: &[&str]) {
    for kind in KINDS {
        refused_by(kind, name, archive, words);
    }
}

#[track_caller]
fn refused_by(kind: Kind, name: &str, archive: &[u8], words: &[&str]) {
    let place = Place::new();
    let target = place.target(kind, "target");
    target.upload_something();
    place.write(name, archive);
    let words = [&[name], words].concat();
    place.call_changing_nothing(&["upload", "target", name]).expect(3).says(&words);

    let answer = place.call_changing_nothing(&["upload", "target", name, "--json"]).expect(3).json();
    let error = &answer["error"];
    assert!(matches!(error["kind"].as_str(), Some("bad-archive" | "refused")), "{answer}");
    assert_eq!(error["file"], name);
    assert_eq!(error["may_retry"], false);

    let representation = if kind == Kind::Disk { "fat" } else { "directory" };
    place.call(&["archive", "check", name, "--for", representation]).expect(3).says(&words);
}

fn good() -> Vec<u8> {
    tar_gz(&[("auto_exec.sh", b"#!/bin/sh\n"), ("data", &[7; 5000])])
}

#[test]
fn a_truncated_archive() {
    let whole = good();
    refused("cut.tar.gz", &whole[..whole.len() / 2], &["truncated", "way out"]);
    let plain = tar(&[("auto_exec.sh", b"#!/bin/sh\n"), ("data", &[7; 5000])]);
    refused("cut.tar", &plain[..3000], &["truncated", "way out"]);
    let packed = zstd::encode_all(&plain[..], 3).unwrap();
    refused("cut.tar.zst", &packed[..packed.len() - 5], &["way out"]);
    let zipped = zip();
    refused("cut.zip", &zipped[..zipped.len() - 30], &["way out"]);
}

#[test]
fn a_corrupt_archive() {
    let mut archive = good();
    let middle = archive.len() / 2;
    archive[middle] ^= 0xff;
    refused("corrupt.tar.gz", &archive, &["way out"]);
    let mut archive = tar(&[("auto_exec.sh", b"#!/bin/sh\n"), ("data", &[7; 5000])]);
    // In the second header.
    archive[1024] ^= 1;
    refused("corrupt.tar", &archive, &["way out"]);
}

#[test]
fn an_encrypted_archive() {
    // The bit that says so, in the local header and in the central directory.
    let mut archive = zip();
    let central = archive.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    archive[6] |= 1;
    archive[central + 8] |= 1;
    refused("secret.zip", &archive, &["\"auto_exec.sh\"", "encrypted", "without a password"]);
    refused("secret.tar.gz.gpg", b"\x8c\x0d\x04\x09\x03\x02 and so on", &["encrypted with OpenPGP", "way out"]);
}

#[test]
#[ignore = "needs zip; `make test` runs it"]
fn an_archive_that_zip_encrypted() {
    let place = Place::new();
    place.write("auto_exec.sh", b"#!/bin/sh\n");
    let mut zip = std::process::Command::new("zip");
    zip.args(["-q", "-P", "secret", "a.zip", "auto_exec.sh"]).current_dir(place.root());
    assert!(zip.status().expect("zip").success());
    let archive = std::fs::read(place.path("a.zip")).unwrap();
    refused("a.zip", &archive, &["\"auto_exec.sh\"", "encrypted"]);
}

#[test]
fn an_unknown_archive() {
    refused("letter.txt", b"Dear guest, please run this.", &["no known format", "tar -", "way out"]);
    refused("a.tar.xz", b"\xfd7zXZ\0\0\x04\xe6", &["xz", "way out"]);
    refused("empty.tar", b"", &["empty", "way out"]);
}

#[test]
fn an_absolute_path() {
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, b"auto_exec.sh", EntryType::Regular, b"#!/bin/sh\n", None);
    append(&mut builder, b"/etc/passwd", EntryType::Regular, b"root::0:0", None);
    refused("absolute.tar", &builder.into_inner().unwrap(), &["\"/etc/passwd\"", "absolute"]);
}

#[test]
fn a_path_that_leads_upwards() {
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, b"a/../../escaped", EntryType::Regular, b"out", None);
    append(&mut builder, b"..", EntryType::Directory, b"", None);
    let archive = gzip(&builder.into_inner().unwrap());
    refused("up.tar.gz", &archive, &["\"a/../../escaped\"", "\"..\": ", "component \"..\""]);
}

#[test]
fn names_that_drive_a_terminal_are_escaped() {
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, b"../\x1b[2Jevil\n", EntryType::Regular, b"", None);
    refused("evil.tar", &builder.into_inner().unwrap(), &["\\u{1b}[2Jevil\\n"]);
}

#[test]
fn duplicate_names() {
    let archive = tar_gz(&[("data", b"one"), ("auto_exec.sh", b"#!/bin/sh\n"), ("./data", b"two")]);
    refused("twice.tar.gz", &archive, &["\"./data\"", "more than once"]);
    let archive = tar_gz(&[("data", b"one"), ("data/inner", b"two")]);
    refused("both.tar.gz", &archive, &["\"data/inner\"", "directory for one entry"]);
}

#[test]
fn names_that_collide_on_fat() {
    let archive = tar_gz(&[("README", b"one"), ("readme", b"two")]);
    refused_by(Kind::Disk, "case.tar.gz", &archive, &["\"readme\"", "does not tell it apart from \"README\""]);

    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    place.write("case.tar.gz", &archive);
    target.call("upload", &["case.tar.gz"]).expect(0);
}

#[test]
fn names_that_fat_forbids() {
    let archive = tar_gz(&[("what?", b"one"), ("a/aux.txt ", b"two")]);
    refused_by(Kind::Disk, "names.tar.gz", &archive, &["\"what?\"", "\"a/aux.txt \""]);
}

#[test]
fn links_on_a_disk() {
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, b"auto_exec.sh", EntryType::Regular, b"#!/bin/sh\n", None);
    append(&mut builder, b"soft", EntryType::Symlink, b"", Some(b"auto_exec.sh"));
    append(&mut builder, b"hard", EntryType::Link, b"", Some(b"auto_exec.sh"));
    let archive = builder.into_inner().unwrap();
    refused_by(Kind::Disk, "links.tar", &archive, &["\"soft\"", "\"hard\"", "--follow-links"]);

    let place = Place::new();
    let target = place.target(Kind::Disk, "target");
    place.write("links.tar", &archive);
    place.call(&["archive", "check", "links.tar", "--for", "fat", "--follow-links"]).expect(0);
    target.call("upload", &["links.tar", "--follow-links"]).expect(0);
    assert_eq!(target.call("cat", &["soft"]).expect(0).text(), "#!/bin/sh\n");
}

#[test]
fn devices_and_fifos() {
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, b"null", EntryType::Char, b"", None);
    append(&mut builder, b"pipe", EntryType::Fifo, b"", None);
    refused(
        "special.tar",
        &builder.into_inner().unwrap(),
        &["\"null\": it is a device", "\"pipe\": it is a named pipe"],
    );
}

#[test]
fn more_than_the_limits_allow() {
    let place = Place::new();
    place.target(Kind::Directory, "target").upload_something();
    place.write("a.tar.gz", &good());
    place.call_changing_nothing(&["upload", "target", "a.tar.gz", "--max-bytes", "4KiB"]).expect(3).says(&[
        "a.tar.gz",
        "4096 bytes",
        "limit of --max-bytes",
    ]);
    place
        .call_changing_nothing(&["upload", "target", "a.tar.gz", "--max-entries", "1"])
        .expect(3)
        .says(&["more than 1 entries"]);
}

#[test]
fn an_archive_without_a_start_script_is_taken_with_a_notice() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        place.write("data.tar.gz", &tar_gz(&[("data", b"only data")]));
        let finished = target.call("upload", &["data.tar.gz"]).expect(0);
        assert!(finished.text().contains("start script: none"), "{finished:?}");
        assert!(finished.text().contains("auto_exec.sh"), "{finished:?}");
        let answer = target.call("upload", &["data.tar.gz", "--json"]).expect(0).json();
        assert_eq!(answer["execution"], "no-start-script");
        assert!(answer["start_script"].is_null());
        let finished = place.call(&["archive", "check", "data.tar.gz"]).expect(0);
        assert!(finished.text().contains("start script: none"), "{finished:?}");
    }
}

#[test]
fn an_archive_that_is_missing_or_a_directory() {
    let place = Place::new();
    place.target(Kind::Disk, "target").upload_something();
    place.call_changing_nothing(&["upload", "target", "nope.tar"]).expect(3).says(&["nope.tar", "open the archive"]);
    place.call_changing_nothing(&["upload", "target", "."]).expect(2).says(&["directory", "tar -"]);
}

/// A zip of one file.
fn zip() -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file("auto_exec.sh", zip::write::SimpleFileOptions::default()).unwrap();
    std::io::Write::write_all(&mut writer, b"#!/bin/sh\necho hello\n").unwrap();
    writer.finish().unwrap().into_inner()
}
