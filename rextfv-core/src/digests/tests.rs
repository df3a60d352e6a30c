use super::*;
use crate::seed;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use proptest::prelude::*;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn path(bytes: &[u8]) -> EntryPath {
    EntryPath::parse(bytes).unwrap()
}

fn read(file: &[u8]) -> Result<Vec<(EntryPath, Sha256Digest)>, DigestsProblem> {
    lines(file)?.collect()
}

/// What is told about a file.
fn told(file: &str) -> String {
    read(file.as_bytes()).expect_err(file).to_string()
}

#[test]
fn lines_are_those_of_sha256sum() {
    let mut digest = [0; 32];
    digest[0] = 0xa7;
    digest[31] = 0x0f;
    let hex = format!("a7{}0f", "0".repeat(60));
    let mut all = Vec::new();
    for (name, expected) in [
        (&b" two  blanks "[..], format!("{hex}   two  blanks \n")),
        (b"a\nb\\c\rd", format!("\\{hex}  a\\nb\\\\c\\rd\n")),
        (b"exec_status/stdout", format!("{hex}  exec_status/stdout\n")),
        ("\u{fc}/*".as_bytes(), format!("{hex}  \u{fc}/*\n")),
    ] {
        let line = line(&digest, &path(name));
        assert_eq!(line, expected.as_bytes());
        assert_eq!(read(&line), Ok(vec![(path(name), digest)]));
        all.extend(line);
    }
    assert_eq!(read(&all).map(|found| found.len()), Ok(4));
    seed::keep("guest_digests", "right", &all);
    assert_eq!(read(b""), Ok(vec![]));
    // What an old `sha256sum` writes for a carriage return, and one that knows no backslashes.
    for line in [format!("{EMPTY}  a\rb\\n\n"), format!("\\{EMPTY}  a\rb\\\\n\n")] {
        assert_eq!(read(line.as_bytes()).unwrap()[0].0.as_bytes(), b"a\rb\\n");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let good = format!("{EMPTY}  a\n");
    let mut wrongs = String::new();
    for (wrong, words) in [
        ("\n".into(), "it does not begin with 64"),
        (format!("{EMPTY} b\n"), "two blanks"),
        (format!("{EMPTY} *b\n"), "two blanks"),
        (format!("{}  b\n", &EMPTY[1..]), "64 lower-case"),
        (format!("{}  b\n", EMPTY.to_uppercase()), "64 lower-case"),
        (format!("{EMPTY}0  b\n"), "two blanks"),
        (format!("\\{EMPTY}  b\\t\n"), "a backslash in the path"),
        (format!("\\{EMPTY}  b\\\n"), "a backslash in the path"),
        (format!("{EMPTY}  /b\n"), "the path is absolute"),
        (format!("{EMPTY}  b/../c\n"), "\"..\""),
        (format!("{EMPTY}  b\0\n"), "NUL"),
        (format!("{EMPTY}  \n"), "the path is empty"),
        (format!("{EMPTY}  ./b\n"), "an empty part or a part \".\""),
        (format!("{EMPTY}  b//c\n"), "an empty part"),
        (format!("{EMPTY}  b/\n"), "an empty part"),
        (good.clone(), "the path is there twice or not in byte order"),
        (format!("{EMPTY}  A\n"), "byte order"),
    ] {
        let told = told(&format!("{good}{wrong}{EMPTY}  z\n"));
        assert!(told.starts_with("line 2: ") && told.contains(words), "{wrong:?}: {told}");
        wrongs.push_str(&wrong);
    }
    seed::keep("guest_digests", "wrong", wrongs.as_bytes());
    assert_eq!(told(&format!("{good}{EMPTY}  b")), "line 2: the line is cut off");
    let mut found = lines(b"x\n").unwrap();
    assert!(found.next().unwrap().is_err() && found.next().is_none(), "the first problem is the last");
}

#[test]
fn the_limit_is_exact() {
    let mut file = format!("{EMPTY}  {}\n", "x".repeat(MAX_DIGESTS_BYTES - 67)).into_bytes();
    assert_eq!(read(&file).map(|found| found.len()), Ok(1));
    file.push(b'\n');
    assert_eq!(read(&file), Err(DigestsProblem::TooLong));
    assert!(DigestsProblem::TooLong.to_string().contains("33554432"));
}

#[test]
fn what_still_changes_is_left_out() {
    for (path, left_out) in [
        ("exec_status/status.0", true),
        ("EXEC_STATUS/STATUS.1", true),
        ("exec_status/running", true),
        ("exec_status/done", true),
        ("exec_status/digests", true),
        ("exec_status/digests.part", true),
        (".nlxtp_upload", true),
        (".nlxtp_upload/new/a", true),
        ("exec_status/stdout", false),
        ("exec_status/out", false),
        ("exec_status/custom", false),
        ("exec_status/done/x", true),
        ("sub/exec_status/done", false),
        ("sub/.nlxtp_upload", false),
        ("nlxtp_run_id", false),
        ("done", false),
        ("exec_status/done2", false),
        ("exec_status", false),
    ] {
        assert_eq!(is_left_out(path.as_bytes()), left_out, "{path}");
    }
}

/// A path of any bytes, often of those that are escaped.
fn any_path() -> impl Strategy<Value = EntryPath> {
    let byte = prop_oneof![any::<u8>(), Just(b'\\'), Just(b'\n'), Just(b'\r'), Just(b' '), Just(b'.')];
    let part = prop::collection::vec(byte, 1..8);
    prop::collection::vec(part, 1..5).prop_map(|parts| {
        parts.iter().fold(EntryPath::root(), |path, part| path.join(part).unwrap_or(path)).join(b"x").unwrap()
    })
}

proptest! {
    #[test]
    fn any_files_are_read_as_they_were_written(
        files in prop::collection::btree_map(any_path(), any::<Sha256Digest>(), 0..20),
    ) {
        let file: Vec<u8> = files.iter().flat_map(|(path, digest)| line(digest, path)).collect();
        prop_assert_eq!(lines(&file).unwrap().collect::<Result<BTreeMap<_, _>, _>>(), Ok(files.clone()));
        // No cut passes for the whole.
        for end in 0..file.len() {
            let found = read(&file[..end]);
            prop_assert!(found.is_err() || found.is_ok_and(|found| found.len() < files.len()));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>(), escaped in any::<bool>()) {
        let _ = read(&bytes);
        let mut prefixed = format!("{}{EMPTY}  ", if escaped { "\\" } else { "" }).into_bytes();
        prefixed.extend(&bytes);
        prefixed.push(b'\n');
        if let Ok(found) = read(&prefixed) {
            let again: Vec<u8> = found.iter().flat_map(|(path, digest)| line(digest, path)).collect();
            prop_assert_eq!(read(&again), Ok(found));
        }
    }
}
