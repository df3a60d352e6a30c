//! What `nlxtp download` says where the guest has written digests; the guest's part is played by writing
//! what it would write.

mod cli_support;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use cli_support::{KINDS, Kind, Place, Target, finished, tar_gz};
use nlxtp_host::journal::Digest;
use rextfv_core::digests;
use rextfv_core::entry_path::EntryPath;
use rextfv_core::status::Ending;
use serde_json::{Value, json};

const SCRIPT: &[u8] = b"#!/bin/sh\necho hello\n";

/// Uploads, and writes what a guest writes until it is done.
fn upload_and_run(target: &Target<'_>) {
    let run = format!("{}\n", target.upload_something());
    let files: [(&str, &[u8]); 4] = [
        ("auto_exec.sh", SCRIPT),
        ("data/input", b"old content"),
        ("exec_status/stdout", b"hello\n"),
        ("nlxtp_run_id", run.as_bytes()),
    ];
    let line = |&(path, content): &(&str, &[u8])| {
        digests::line(Digest::of(content).as_bytes(), &EntryPath::parse(path.as_bytes()).unwrap())
    };
    let digests: Vec<u8> = files.iter().flat_map(line).collect();
    target.guest_writes(&[("stdout", b"hello\n"), ("digests", &digests), ("done", b"")]);
}

/// Changes the content of the file `data/input`: of a disk, as damage does it.
fn damage(target: &Target<'_>) {
    match target.kind {
        Kind::Directory => fs::write(target.path().join("data/input"), "OLD content").unwrap(),
        Kind::Disk => {
            let mut image = fs::read(target.path()).unwrap();
            let content = b"old content";
            let at = image.windows(content.len()).position(|window| window == content).unwrap();
            image[at..at + 3].copy_from_slice(b"OLD");
            fs::write(target.path(), image).unwrap();
        }
    }
}

fn journal_show(place: &Place) -> String {
    place.call(&["journal", "show", "journal.jsonl"]).expect(0).text().to_owned()
}

#[test]
fn what_differs_is_named_and_the_archive_kept() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        let journal = ["--journal", "journal.jsonl"];
        upload_and_run(&target);
        let answer = target.call("download", &[&["a.tar"], &journal[..]].concat()).expect(0);
        assert!(answer.text().ends_with("\nverified: 4 files\n"), "{answer:?}");
        assert!(journal_show(&place).contains(", verified\n"));
        let answer = target.call("download", &["b.tar", "--json"]).expect(0).json();
        assert_eq!(answer["verification"], json!({ "outcome": "verified", "files": 4 }));

        damage(&target);
        let answer = target.call("download", &[&["c.tar"], &journal[..]].concat()).expect(16);
        let expected = "\nnot verified: 1 file differs from the guest's digests\n\
                        other content than the guest has written:\n  data/input\n";
        assert!(answer.text().ends_with(expected), "{answer:?}");
        assert!(journal_show(&place).ends_with(", not verified: differs from the guest's digests\n"));
        assert!(place.path("c.tar").exists());
        let answer = target.call("download", &["d.tar", "--json"]).expect(16).json();
        let none = json!({ "listed": [], "omitted": 0 });
        let expected = json!({
            "outcome": "differs", "content": { "listed": ["data/input"], "omitted": 0 }, "missing": none, "unlisted": none,
        });
        assert_eq!(answer["verification"], expected);

        target.guest_writes(&[("digests", b"?\n")]);
        let answer = target.call("download", &[&["e.tar"], &journal[..]].concat()).expect(16);
        let expected = "\nnot verified: the guest's digests (exec_status/digests) cannot be used: line 1: ";
        assert!(answer.text().contains(expected), "{answer:?}");
        assert!(journal_show(&place).ends_with(", not verified: the guest's digests could not be used\n"));
        let answer = target.call("download", &["-", "--format", "tar", "--json"]).expect(16);
        let verification = &answer.json_aside()["verification"];
        assert_eq!(verification["outcome"], "unusable");
        assert!(verification["reason"].as_str().is_some_and(|reason| reason.starts_with("line 1: ")));
    }
}

#[test]
fn a_download_without_digests_says_so() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        let run = target.upload_something();
        let answer = target.call("download", &["a.tar", "--journal", "journal.jsonl"]).expect(0);
        assert_eq!(answer.text().lines().nth(1), Some("not verified: the guest is not done (not-started)"));
        target.guest_reports(&finished(&run, 1, Ending::Exit(0)));
        let answer = target.call("download", &["b.tar"]).expect(0);
        assert_eq!(answer.text().lines().nth(1), Some("not verified: the guest has written no digests"));
        assert!(!journal_show(&place).contains("verified"));
    }
}

#[test]
fn names_of_a_guest_drive_no_terminal() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    upload_and_run(&target);
    let hostile = std::ffi::OsStr::from_bytes(b"\x1b[2J\n\xff");
    fs::write(target.path().join(hostile), "").unwrap();
    let answer = target.call("download", &["a.tar"]).expect(16);
    assert!(answer.text().ends_with("new since the guest was done:\n  \\u{1b}[2J\\n\\xff\n"), "{answer:?}");
    let answer = target.call("download", &["b.tar", "--json"]).expect(16).json();
    assert_eq!(answer["verification"]["unlisted"]["listed"], json!(["\\u{1b}[2J\\n\\xff"]));
}

#[test]
fn a_journal_of_an_earlier_version_is_read() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    upload_and_run(&target);
    target.call("download", &["a.tar", "--journal", "journal.jsonl"]).expect(0);
    let line = fs::read_to_string(place.path("journal.jsonl")).unwrap();
    let record: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(record["verified"], "verified");
    place.write("earlier.jsonl", line.replace(",\"verified\":\"verified\"", "").as_bytes());
    let shown = place.call(&["journal", "show", "earlier.jsonl"]).expect(0);
    assert!(shown.text().contains("download") && !shown.text().contains("verified"), "{shown:?}");
    place.call(&["journal", "verify", "earlier.jsonl"]).expect(0);
}

#[test]
fn a_replay_compares_what_came_of_it() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    // Plays the guest in a directory.
    let guest = "cd $1 && mkdir exec_status && sha256sum auto_exec.sh data/input nlxtp_run_id >exec_status/digests && \
                 : >exec_status/done";
    place.write("guest.sh", guest.as_bytes());
    let journal = ["--journal", "journal.jsonl", "--node", "n"];
    place.write("good.tar.gz", &tar_gz(&[("auto_exec.sh", SCRIPT), ("data/input", b"old content")]));
    target.call("upload", &[&["good.tar.gz"], &journal[..]].concat()).expect(0);
    assert!(Command::new("sh").args(["guest.sh", "target"]).current_dir(place.root()).status().unwrap().success());
    target.call("download", &[&["results.tar.gz"], &journal[..]].concat()).expect(0);

    fs::create_dir(place.path("fresh")).unwrap();
    let replay = |invoke: &str| {
        place.call(&[
            "journal",
            "replay",
            "journal.jsonl",
            "--on",
            "n=fresh",
            "--invoke",
            invoke,
            "--json",
            "--journal",
            "second.jsonl",
        ])
    };
    replay("sh guest.sh fresh").expect(0);
    place.call(&["journal", "verify", "second.jsonl"]).expect(0);
    // The results are the same, but nobody can tell whether they are what the guest wrote.
    let answer = replay("sh guest.sh fresh && echo >fresh/exec_status/digests").expect(16).json();
    let steps = answer["steps"].as_array().unwrap();
    let expected = json!([{
        "about": "compared with the guest's digests", "recorded": "verified", "found": "unusable",
    }]);
    assert_eq!(steps.last().unwrap()["differences"], expected, "{answer}");
    let verified = place.call(&["journal", "verify", "second.jsonl"]).expect(0);
    assert!(verified.text().contains("could not be verified by the guest's digests"), "{verified:?}");
}
