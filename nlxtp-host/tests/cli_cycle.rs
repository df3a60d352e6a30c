//! The whole cycle with the real command, the guest's part played by writing status records; and the
//! shapes of all JSON answers.

mod cli_support;

use std::fs;

use cli_support::{KINDS, Kind, Place, Target, finished, keys, running, tar_gz, unpack};
use rextfv_core::ids::BootId;
use rextfv_core::status::{Ending, Progress, RunState, Status, Truncated};
use serde_json::{Value, json};

const STATUS_KEYS: [&str; 17] = [
    "attempts",
    "custom",
    "custom_lossy",
    "dialect",
    "done",
    "exit_code",
    "progress",
    "reason",
    "run_id",
    "running",
    "sequence",
    "signal",
    "state",
    "stderr_bytes",
    "stdout_bytes",
    "timed_out",
    "truncated",
];

/// That a status has all its members, and these values.
#[track_caller]
fn has(status: &Value, expected: &Value) {
    assert_eq!(keys(status), STATUS_KEYS);
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&status[key], value, "{key} in {status}");
    }
}

#[test]
fn upload_run_and_download() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        cycle(&place, &target);
        // And once more on what is left of the first run.
        cycle(&place, &target);
    }
}

fn cycle(place: &Place, target: &Target<'_>) {
    let run = target.upload_something();
    let nothing = json!({
        "state": "not-started", "done": false, "running": false, "custom": null, "custom_lossy": false, "progress": null,
        "exit_code": null, "signal": null, "sequence": null, "run_id": run, "stdout_bytes": null,
        "stderr_bytes": null, "truncated": [], "dialect": null, "reason": null, "attempts": 1,
    });
    has(&target.status(&[]), &nothing);

    target.guest_writes(&[("stdout", b"hello\n"), ("stderr", b"")]);
    let progress = Progress::new(3, 10);
    let mut record = Status { custom: Some(b"stage 1".into()), progress, ..running(&run, 1) };
    target.guest_reports(&record);
    let under_way = json!({
        "state": "running", "done": false, "running": true, "custom": "stage 1", "exit_code": null,
        "progress": { "done": 3, "total": 10 },
        "sequence": 1, "run_id": run, "stdout_bytes": 0, "stderr_bytes": 0, "dialect": "nlxtp",
    });
    has(&target.status(&[]), &under_way);
    let text = target.call("status", &[]).expect(0);
    let expected = "state:     running\ncustom:    stage 1\nprogress:  [######..............]  30 %, 3/10\n";
    assert!(text.text().starts_with(expected), "{text:?}");

    record = Status {
        stdout_bytes: 6,
        custom: Some(b"done: \xff".into()),
        truncated: Truncated { stdout: true, stderr: false, custom: true },
        ..finished(&run, 2, Ending::Exit(0))
    };
    target.guest_reports(&record);
    let over = json!({
        "state": "finished", "done": true, "running": false, "custom": "done: \u{fffd}", "custom_lossy": true,
        "exit_code": 0, "signal": null, "sequence": 2, "stdout_bytes": 6, "truncated": ["stdout", "custom"],
    });
    has(&target.status(&[]), &over);
    let waited = target.call("wait", &["--json"]).expect(0).json();
    has(&waited, &over);

    assert_eq!(target.call("logs", &[]).expect(0).text(), "hello\n");
    assert_eq!(target.call("cat", &["data/input"]).expect(0).text(), "old content");
    let archive = format!("{run}.tar.gz");
    target.call("download", &[&archive]).expect(0);
    let files = unpack(&fs::read(place.path(&archive)).unwrap());
    assert_eq!(files["exec_status/stdout"], b"hello\n");
    assert_eq!(files["auto_exec.sh"], b"#!/bin/sh\necho hello\n");
    assert_eq!(files["data/input"], b"old content");
    assert_eq!(files["nlxtp_run_id"], format!("{run}\n").as_bytes());

    // What was taken home can be uploaded again; the protocol's own files stay out.
    let again = target.call("upload", &[&archive, "--json"]).expect(0).json();
    assert_ne!(again["left_out"]["listed"].as_array().unwrap().len(), 0, "{again}");
    assert_ne!(again["run_id"], *run);
    has(&target.status(&[]), &json!({ "state": "not-started" }));
}

#[test]
fn tomato_s_dialect() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        target.upload_something();
        target.guest_writes(&[("out", b"both outputs"), ("running", b"1700000000"), ("custom", b"half")]);
        has(
            &target.status(&[]),
            &json!({ "state": "running", "dialect": "tomato", "custom": "half", "sequence": null }),
        );
        assert_eq!(target.call("logs", &[]).expect(0).text(), "both outputs");
        target.call("logs", &["--stderr"]).expect(0).says(&["leave --stderr out"]);
        target.guest_writes(&[("done", b"")]);
        has(&target.status(&[]), &json!({ "state": "finished", "dialect": "tomato", "exit_code": null }));
        target.call("wait", &[]).expect(0);
    }
}

#[test]
fn a_status_that_cannot_be_read() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        target.upload_something();
        target.guest_writes(&[("status.0", b"nlxtp-status 1\nrun: "), ("status.1", &[0; 100])]);
        let status = target.status(&[]);
        has(&status, &json!({ "state": "unreadable", "done": false, "running": false, "dialect": null }));
        assert!(status["attempts"].as_u64().unwrap() > 1, "{status}");
        let reason = status["reason"].as_str().unwrap();
        assert!(reason.contains("status.0") && reason.contains("never written"), "{reason}");
        target.call("status", &["--exit-code"]).expect(14);
        target.call("logs", &[]).expect(14).says(&["cannot be read"]);
    }
}

#[test]
fn a_hostile_custom_status_drives_no_terminal() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let run = target.upload_something();
    target.guest_reports(&Status { custom: Some("\u{1b}[2J\u{9b}\n".into()), ..running(&run, 1) });
    for arguments in [&[][..], &["--json"], &["--watch", "--timeout", "1ms"]] {
        let finished = target.call("status", arguments);
        let text = finished.text().trim_end_matches('\n');
        assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text:?}");
    }
    assert_eq!(target.status(&[])["custom"], "\u{1b}[2J\u{9b}\n");
}

#[test]
fn the_other_answers_in_json() {
    let place = Place::new();
    let disk = place.call(&["disk", "create", "disk.img", "--size", "4MiB", "--label", "results", "--json"]).expect(0);
    assert_eq!(disk.json(), json!({ "disk": "disk.img", "size": 4 << 20, "label": "RESULTS" }));

    place
        .write("a.tar.gz", &tar_gz(&[("auto_exec.sh", b"#!/bin/sh\n"), ("sub/file", b"1234"), ("exec_status/x", b"")]));
    let check = place.call(&["archive", "check", "a.tar.gz", "--for", "fat", "--json"]).expect(0).json();
    assert_eq!(
        check,
        json!({
            "format": "tar.gz", "for": "fat", "entries": 3, "files": 2, "directories": 1, "links": 0, "bytes": 14,
            "start_script": "auto_exec.sh", "left_out": { "listed": ["exec_status/x"], "omitted": 0 },
            "lost": { "modes": 0, "owners": 0 },
            "warnings": [], "manifest": null,
        })
    );

    let mut upload = place.call(&["upload", "disk.img", "a.tar.gz", "--json"]).expect(0).json();
    assert_eq!(upload["run_id"].take().as_str().map(str::len), Some(32));
    assert_eq!(
        upload,
        json!({
            "run_id": null, "entries": 3, "bytes": 14, "start_script": "auto_exec.sh", "execution": "at-boot",
            "left_out": { "listed": ["exec_status/x"], "omitted": 0 }, "lost": { "modes": 0, "owners": 0 },
            "warnings": [],
        })
    );

    let list = place.call(&["ls", "disk.img", "--json"]).expect(0).json();
    assert_eq!(keys(&list), ["entries", "left_out"]);
    let entries = list["entries"].as_array().unwrap();
    let paths: Vec<_> = entries.iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["auto_exec.sh", "nlxtp_run_id", "sub", "sub/file"]);
    assert_eq!(
        entries[3],
        json!({ "path": "sub/file", "kind": "file", "size": 4, "mode": "0755", "modified": 1_700_000_000 })
    );

    let download = place.call(&["download", "disk.img", "out.tar", "--json"]).expect(0).json();
    let packed = fs::metadata(place.path("out.tar")).unwrap().len();
    assert_eq!(
        download,
        json!({
            "format": "tar", "attempts": 1, "files": 3, "directories": 1, "symlinks": 0, "bytes": 47,
            "archive_bytes": packed, "changed": { "listed": [], "omitted": 0 }, "left_out": { "listed": [], "omitted": 0 },
            "verification": { "outcome": "no-digests" },
        })
    );

    let cat = place.call(&["cat", "disk.img", "sub/file", "--json"]).expect(0);
    assert_eq!((cat.text(), cat.json_aside()), ("1234", json!({ "path": "sub/file", "bytes": 4 })));
    let logs = place.call(&["logs", "disk.img", "--json"]).expect(0);
    assert_eq!(
        (logs.text(), logs.json_aside()),
        ("", json!({ "stream": "stdout", "bytes": 0, "state": "not-started" }))
    );
    let failed = place.call(&["cat", "disk.img", "nope", "--json"]).expect(4);
    assert_eq!(
        keys(&failed.json_aside()["error"]),
        ["file", "hint", "kind", "may_retry", "message", "object", "refusals", "refusals_omitted"]
    );
}

#[test]
fn how_the_start_script_is_executed_is_told() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    place.write("a.tar.gz", &tar_gz(&[("auto_exec.sh", b"#!/bin/sh\n")]));
    for (options, word, words) in [
        (&[][..], "by-daemon", "daemon"),
        (&["--guest-power", "on"], "by-daemon", "daemon"),
        (&["--guest-power", "off"], "at-boot", "when the guest boots"),
        (&["--invoke", "echo invoked > invoked"], "invoked", "was invoked"),
    ] {
        let answer = target.call("upload", &[&["a.tar.gz", "--json"], options].concat()).expect(0).json();
        assert_eq!(answer["execution"], word);
        let text = target.call("upload", &[&["a.tar.gz"], options].concat()).expect(0);
        assert!(text.text().contains(words), "{text:?}");
    }
    assert_eq!(fs::read(place.path("invoked")).unwrap(), b"invoked\n");

    // Whatever that starts, and goes on, can be ended by signals as usual. The shell looks itself: as long as
    // it starts another program, it may block all signals.
    let blocked = "while read -r name value; do [ $name != SigBlk: ] || echo $value; done < /proc/$$/status > blocked";
    target.call("upload", &["a.tar.gz", "--invoke", blocked]).expect(0);
    assert_eq!(fs::read(place.path("blocked")).unwrap(), b"0000000000000000\n");

    let failed = target.call("upload", &["a.tar.gz", "--invoke", "echo no such guest >&2; false"]).expect(8);
    failed.says(&["no such guest", "the upload stands"]);
    let failed = target.call("upload", &["a.tar.gz", "--json", "--invoke", "false"]).expect(8).json();
    assert_eq!(failed["error"]["kind"], "invoke-failed");
    assert_eq!((&failed["upload"]["entries"], &failed["upload"]["execution"]), (&1.into(), &"by-daemon".into()));
    assert!(target.path().join("auto_exec.sh").exists());
}

#[test]
fn an_upload_onto_a_run_that_is_under_way_says_so() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        let run = target.upload_something();
        let warned = |options: &[&str]| {
            let upload = target.call("upload", &[&["good.tar.gz", "--json"], options].concat()).expect(0);
            (upload.stderr.contains("a run was still under way"), upload.json()["run_id"].as_str().unwrap().to_owned())
        };
        target.guest_reports(&running(&run, 1));
        let (told, run) = warned(&["--no-memory"]);
        // A disk is only written while its guest is off, and nothing runs there then.
        assert_eq!(told, kind == Kind::Directory, "{kind:?}");
        target.guest_reports(&running(&run, 1));
        let (told, run) = warned(&["--guest-power", "off"]);
        assert!(!told);
        target.guest_reports(&finished(&run, 1, Ending::Exit(0)));
        assert!(!warned(&[]).0);
    }
}

#[test]
fn the_exit_code_tells_the_state() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let run = target.upload_something();
    let code = |expected| {
        target.call("status", &["--exit-code"]).expect(expected);
        // Without being asked for, it does not.
        target.call("status", &[]).expect(0);
    };
    code(15);
    target.guest_reports(&running(&run, 1));
    code(12);
    target.guest_reports(&Status { boot: Some(BootId::from_bytes([2; 16])), ..running(&run, 2) });
    code(13);
    target.guest_reports(&Status { state: RunState::Interrupted, ..running(&run, 3) });
    code(11);
    target.guest_reports(&finished(&run, 4, Ending::Signal(9)));
    code(10);
    target.guest_reports(&finished(&run, 5, Ending::Exit(0)));
    code(0);
}
