//! Archives that are made, looked at and merged by the command.

mod cli_support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use cli_support::{Place, tar_gz, unpack};
use serde_json::json;

/// A directory that is an experiment.
fn experiment(place: &Place, name: &str, script: &str) {
    fs::create_dir_all(place.path(name).join("data")).unwrap();
    fs::write(place.path(name).join("data/input"), "7 words in a file of the experiment").unwrap();
    let path = place.path(name).join("auto_exec.sh");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn a_directory_becomes_an_archive_that_an_upload_takes() {
    let place = Place::new();
    experiment(&place, "e", "#!/bin/sh\necho hello\n");
    let text = place.call(&["archive", "create", "e", "-o", "e.tar.gz"]).expect(0);
    assert!(text.text().starts_with("e.tar.gz: 3 entries, 56 bytes ("), "{text:?}");
    assert!(text.text().ends_with("start script: auto_exec.sh\n"), "{text:?}");
    place.call(&["archive", "create", "e", "-o", "e.tar.gz"]).expect(2).says(&["e.tar.gz", "--force"]);
    let answer = place.call(&["archive", "create", "e", "-o", "e.tar.zst", "--reproducible", "--json"]).expect(0);
    let answer = answer.json();
    assert_eq!((&answer["format"], &answer["entries"]), (&json!("tar.zst"), &json!(3)), "{answer}");
    assert_eq!(answer["warnings"], json!([]));
    // The same again, made by somebody else at another time.
    fs::set_permissions(place.path("e/data/input"), PermissionsExt::from_mode(0o600)).unwrap();
    let piped = place.call(&["archive", "create", "e", "-o", "-", "--reproducible", "--force"]).expect(0);
    assert_eq!(unpack(&piped.stdout), unpack(&fs::read(place.path("e.tar.gz")).unwrap()));
    place.call(&["archive", "create", "e", "-o", "f.tar.zst", "--reproducible"]).expect(0);
    assert!(fs::read(place.path("e.tar.zst")).unwrap() == fs::read(place.path("f.tar.zst")).unwrap());

    fs::create_dir(place.path("node")).unwrap();
    place.call(&["upload", "node", "e.tar.zst"]).expect(0);
    assert_eq!(fs::read_to_string(place.path("node/auto_exec.sh")).unwrap(), "#!/bin/sh\necho hello\n");
}

#[test]
fn what_cannot_be_packed_is_told_and_leaves_nothing() {
    let place = Place::new();
    experiment(&place, "e", "#!/bin/sh\n");
    symlink("data/input", place.path("e/link")).unwrap();
    let refused = place.call(&["archive", "create", "e", "-o", "e.tar.gz", "--for", "fat"]).expect(3);
    let refused = refused.says(&["\"link\"", "FAT has no symbolic links", "leave out --for fat"]);
    assert!(!refused.stderr.contains("--follow-links uploads"), "{refused:?}");
    place.call(&["archive", "create", "e", "-o", "e/x.tar.gz"]).expect(2).says(&["lie in the directory"]);
    place.call(&["archive", "create", "nowhere", "-o", "e.tar.gz"]).expect(3).says(&["nowhere"]);
    place.call(&["archive", "create", "e/data/input", "-o", "e.tar.gz"]).expect(3).says(&["e/data/input"]);
    assert_eq!(fs::read_dir(place.root()).unwrap().filter(|entry| !entry.as_ref().unwrap().path().is_dir()).count(), 0);
}

#[test]
fn a_name_of_a_format_that_is_not_made_is_refused() {
    let place = Place::new();
    experiment(&place, "e", "#!/bin/sh\n");
    place.write("a.tar.gz", &tar_gz(&[("auto_exec.sh", b"#!/bin/sh\n")]));
    for making in [&["create", "e"][..], &["merge", "a.tar.gz"], &["probe", "jq"]] {
        for (name, format) in [("x.zip", "\"zip\""), ("x.tar.XZ", "\"xz\"")] {
            let arguments = [&["archive"], making, &["-o", name]].concat();
            place.call_changing_nothing(&arguments).expect(2).says(&[name, format, ".tar.gz"]);
        }
    }
}

#[test]
fn values_that_cannot_be_used_are_refused_in_words() {
    let place = Place::new();
    let packages = ["archive", "packages", "jq", "--node", "n", "-o", "x.tar.gz"];
    let with = |more: &[&str]| place.call_changing_nothing(&[&packages[..], more].concat()).expect(2);
    with(&["--only-from", "foo"]).says(&["--only-from", "no URL", "https://"]);
    fs::create_dir(place.path("n")).unwrap();
    place.write("n/precious", b"precious");
    with(&[]).says(&["precious", "--force-upload"]);
    with(&["--invoke", "true", "--invoke", "true"]).says(&["1 node,", "2 commands"]);
    place.call(&["archive", "check", "a", "--max-entries", "1.5"]).expect(2).says(&["1.5", "a whole number"]);
    place.call(&["download", "a", "b", "--level", "300"]).expect(2).says(&["300", "too much"]);
}

#[test]
fn a_directory_with_a_start_scripts_name_is_none() {
    let place = Place::new();
    fs::create_dir_all(place.path("e/auto_exec.sh")).unwrap();
    let created = place.call(&["archive", "create", "e", "-o", "e.tar.gz"]).expect(0);
    assert!(created.text().contains("start script: none (no file auto_exec.sh"), "{created:?}");
}

#[test]
fn what_is_wrong_with_a_start_script_is_told_by_all_who_see_it() {
    let place = Place::new();
    for (script, words) in [
        ("#!/bin/sh\r\necho\r\n", "a Windows line end"),
        ("echo hello\n", "has no interpreter line"),
        ("#!python3\n", "#!/usr/bin/env python3"),
        ("#!\n", "names no interpreter"),
        ("", "it is empty"),
    ] {
        experiment(&place, "e", script);
        let created = place.call(&["archive", "create", "e", "-o", "e.tar.gz", "--force"]).expect(0);
        let checked = place.call(&["archive", "check", "e.tar.gz"]).expect(0);
        let shown = place.call(&["archive", "show", "e.tar.gz"]).expect(0);
        let merged = place.call(&["archive", "merge", "e.tar.gz", "-o", "m.tar.gz", "--force"]).expect(0);
        fs::create_dir_all(place.path("node")).unwrap();
        let uploaded = place.call(&["upload", "node", "e.tar.gz", "--force"]).expect(0);
        for finished in [&created, &checked, &shown, &merged, &uploaded] {
            assert!(finished.text().contains("\nwarning: ") && finished.text().contains(words), "{finished:?}");
        }
        let uploaded = place.call(&["upload", "node", "e.tar.gz", "--json"]).expect(0).json();
        let checked = place.call(&["archive", "check", "e.tar.gz", "--json"]).expect(0).json();
        for answer in [uploaded, checked] {
            let warning = answer["warnings"][0].as_str().unwrap();
            assert!(warning.starts_with("auto_exec.sh: ") && warning.contains(words), "{answer}");
        }
    }
    // Of several, only the one that is started is looked into.
    place.write(
        "two.tar.gz",
        &tar_gz(&[("auto_exec.py", b"x"), ("auto_exec.sh", b"#!/bin/sh\n"), ("auto_exec.a", b"x")]),
    );
    let told = place.call(&["archive", "check", "two.tar.gz", "--json"]).expect(0).json();
    let ignored = "auto_exec.sh: it is started, and the other start scripts are not: auto_exec.a, auto_exec.py";
    assert_eq!(told["warnings"], json!([ignored]));
    fs::set_permissions(place.path("e/auto_exec.sh"), PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(place.path("e/auto_exec.sh"), "#!/bin/sh\n").unwrap();
    let created = place.call(&["archive", "create", "e", "-o", "-", "--force"]).expect(0);
    created.says(&["warning: auto_exec.sh: it is not marked executable"]);
}

#[test]
fn an_archive_is_shown() {
    let place = Place::new();
    experiment(&place, "e", "#!/bin/sh\n");
    symlink("data/input", place.path("e/link")).unwrap();
    fs::create_dir(place.path("e/exec_status")).unwrap();
    place.call(&["archive", "create", "e", "-o", "made.tar.gz", "--reproducible"]).expect(0);
    let shown = place.call(&["archive", "show", "made.tar.gz"]).expect(0);
    assert_eq!(
        shown.text(),
        "made.tar.gz: tar.gz, 4 entries, 45 bytes unpacked\n\
         start script: auto_exec.sh\n\
         - 0755 10  1980-01-01 00:00:00  auto_exec.sh\n\
         d 0755  0  1980-01-01 00:00:00  data/\n\
         - 0644 35  1980-01-01 00:00:00  data/input\n\
         l 0755  0  1980-01-01 00:00:00  link -> data/input\n"
            .replace("l 0755", &format!("l {}", if shown.text().contains("l 0755") { "0755" } else { "0644" }))
    );
    let answer = place.call(&["archive", "show", "made.tar.gz", "--json"]).expect(0).json();
    assert_eq!(answer["entries"][2]["path"], "data/input");
    assert_eq!(answer["start_script"], "auto_exec.sh");
    place.write("damaged.tar.gz", &fs::read(place.path("made.tar.gz")).unwrap()[..100]);
    place.call(&["archive", "show", "damaged.tar.gz"]).expect(3).says(&["damaged.tar.gz"]);
}

/// Runs a start script as any monitor does; returns its exit code and what it wrote.
fn run_as_a_monitor(place: &Place, node: &str) -> (i32, String) {
    let shared = place.path(node);
    fs::create_dir(shared.join("exec_status")).unwrap();
    let mut command = Command::new(shared.join("auto_exec.sh"));
    command.current_dir(shared.join("exec_status")).stdin(Stdio::null());
    for variable in ["nlxtp_dir", "archive_dir"] {
        command.env(variable, &shared);
    }
    // Of another run than that of any part: it must not be taken for theirs.
    let output = command.env("archive_version", "0.3").env("nlxtp_run", "0".repeat(32)).output().unwrap();
    assert_eq!(str::from_utf8(&output.stderr).unwrap(), "");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// Three archives of which the second fails, merged and uploaded.
fn merged(place: &Place, after_failure: &str) {
    experiment(
        place,
        "a",
        "#!/bin/sh\ncat \"$archive_dir/data/input\"; pwd; archive_setstatus half  way; echo result >\"$nlxtp_dir/result\"\n",
    );
    experiment(place, "b", "#!/bin/bash\narchive_setstatus 'two\nlines'\necho to stderr >&2\nexit 3\n");
    fs::create_dir_all(place.path("c")).unwrap();
    fs::write(place.path("c/auto_exec.py"), "#!/usr/bin/env python3\nprint('from Python')\n").unwrap();
    for name in ["a", "b", "c"] {
        place.call(&["archive", "create", name, "-o", &format!("{name}.tar.gz")]).expect(0);
    }
    let merging = ["archive", "merge", "a.tar.gz", "b.tar.gz", "c.tar.gz", "-o", "m.tar.gz", "--for", "fat"];
    let text = place.call(&[&merging[..], &["--after-failure", after_failure]].concat()).expect(0);
    assert!(text.text().contains("\n  1-a  auto_exec.sh\n  2-b  auto_exec.sh\n  3-c  auto_exec.py\n"), "{text:?}");
    fs::create_dir(place.path("node")).unwrap();
    place.call(&["upload", "node", "m.tar.gz"]).expect(0);
}

#[test]
fn a_merged_archive_stops_after_a_failure() {
    let place = Place::new();
    merged(&place, "stop");
    let (code, out) = run_as_a_monitor(&place, "node");
    assert_eq!(code, 3);
    let own = place.path("node/1-a");
    assert_eq!(
        out,
        format!(
            "--- 1-a: exit 0\n7 words in a file of the experiment{}\n--- 2-b: exit 3\nto stderr\n",
            own.join("exec_status").display()
        )
    );
    let read = |name: &str| fs::read_to_string(place.path("node").join(name)).unwrap();
    assert_eq!(read("exec_status/custom"), "1-a: exit 0: half way\n2-b: exit 3: two\n3-c: not run\n");
    assert_eq!(read("exec_status/progress"), "2/3\n");
    assert_eq!(read("1-a/result"), "result\n");
    assert_eq!(read("2-b/exec_status/custom"), "two\nlines");
    assert!(!place.path("node/3-c/exec_status").exists());
    // Each folder can be asked like a shared directory.
    let status = place.call(&["status", "node/2-b", "--json"]).expect(0).json();
    assert_eq!((&status["state"], &status["custom"]), (&json!("finished"), &json!("two\nlines")), "{status}");
    assert_eq!(place.call(&["logs", "node/2-b"]).expect(0).text(), "to stderr\n");

    // What was downloaded can be uploaded, and is run anew.
    place.call(&["download", "node", "results.tar.gz"]).expect(0);
    fs::create_dir(place.path("again")).unwrap();
    place.call(&["upload", "again", "results.tar.gz"]).expect(0);
    let (code, again) = run_as_a_monitor(&place, "again");
    assert_eq!((code, again.lines().count()), (3, out.lines().count()));
}

#[test]
fn a_merged_archive_goes_on_after_a_failure() {
    let place = Place::new();
    merged(&place, "go-on");
    let (code, out) = run_as_a_monitor(&place, "node");
    assert_eq!(code, 3, "the whole has failed nevertheless");
    assert!(out.ends_with("--- 2-b: exit 3\nto stderr\n--- 3-c: exit 0\nfrom Python\n"), "{out}");
    let custom = fs::read_to_string(place.path("node/exec_status/custom")).unwrap();
    assert_eq!(custom, "1-a: exit 0: half way\n2-b: exit 3: two\n3-c: exit 0\n");
}

#[test]
fn archives_that_cannot_be_merged_are_told() {
    let place = Place::new();
    place.write("a.tar.gz", &tar_gz(&[("auto_exec.sh", b"#!/bin/sh\n")]));
    place.write("up.tar.gz", &tar_gz(&[("../x", b"")]));
    let refused = place.call(&["archive", "merge", "a.tar.gz", "up.tar.gz", "-o", "m.tar.gz"]).expect(3);
    refused.says(&["up.tar.gz", "\"../x\""]);
    place.call(&["archive", "merge", "a.tar.gz", "gone.tar.gz", "-o", "m.tar.gz"]).expect(3).says(&["gone.tar.gz"]);
    place.call(&["archive", "merge", "-", "-", "-o", "m.tar.gz"]).expect(2).says(&["standard input"]);
    assert!(!place.path("m.tar.gz").exists());
    // One without a start script brings only files.
    place.write("files.tar", &cli_support::tar(&[("x", b"1")]));
    let answer = place.call(&["archive", "merge", "files.tar", "a.tar.gz", "-o", "m.tar", "--json"]).expect(0).json();
    assert_eq!(
        answer["parts"][0],
        json!({
            "folder": "1-files", "entries": 1, "bytes": 1, "start_script": null,
            "left_out": { "listed": [], "omitted": 0 }, "warnings": []
        })
    );
    fs::create_dir(place.path("node")).unwrap();
    place.call(&["upload", "node", "m.tar"]).expect(0);
    assert_eq!(run_as_a_monitor(&place, "node"), (0, "--- 1-files: exit 0\n--- 2-a: exit 0\n".into()));
}

#[test]
fn what_an_archive_asks_for_its_run_is_validated_before_anything_is_changed() {
    let place = Place::new();
    let script = ("auto_exec.sh", &b"#!/bin/sh\n"[..]);
    for kind in cli_support::KINDS {
        let name = format!("{kind:?}");
        let target = place.target(kind, &name);
        target.upload_something();
        let before = target.call("ls", &["--json"]).expect(0).json();
        for (manifest, words) in [
            ("timeout = '10m'\nuser = 'a'\ntimeot = 1\n", "line 3, column 1: there is no key \"timeot\""),
            ("timeout = 10\n", "line 1, column 1: \"timeout\" is 10; allowed is a time"),
            ("start = [\n", "line"),
        ] {
            let content = tar_gz(&[("./nlxtp.toml", manifest.as_bytes()), script]);
            place.write("bad.tar.gz", &content);
            for call in [&["archive", "check", "bad.tar.gz"][..], &["upload", &name, "bad.tar.gz"]] {
                place.call(call).expect(3).says(&["bad.tar.gz", "nlxtp.toml", words]);
            }
            fs::create_dir_all(place.path("e")).unwrap();
            fs::write(place.path("e/nlxtp.toml"), manifest).unwrap();
            place.call(&["archive", "create", "e", "-o", "e.tar"]).expect(3).says(&["nlxtp.toml", words]);
        }
        place.write("nothing.tar.gz", &tar_gz(&[("nlxtp.toml", b"start = './run'"), ("run", b"")]));
        place.call(&["upload", &name, "nothing.tar.gz"]).expect(3).says(&["nlxtp.toml", "add one"]);
        assert_eq!(target.call("ls", &["--json"]).expect(0).json(), before);
        place.write("good.tar.gz", &tar_gz(&[("nlxtp.toml", b"timeout = '1s'"), script]));
        target.call("upload", &["good.tar.gz"]).expect(0);
    }
    // One deeper in the archive is a file as any other; and nobody would obey that of a part.
    place.write("deep.tar.gz", &tar_gz(&[("sub/nlxtp.toml", b"x"), script]));
    place.call(&["archive", "check", "deep.tar.gz"]).expect(0);
    place.call(&["archive", "merge", "good.tar.gz", "-o", "m.tar"]).expect(2).says(&[
        "good.tar.gz",
        "not in a merged one",
        "pack it without nlxtp.toml, and let its start script do what that asks for",
    ]);
    assert!(!place.path("m.tar").exists());
}

#[test]
fn what_guests_would_not_find_is_told_before() {
    let place = Place::new();
    fs::create_dir(place.path("node")).unwrap();
    place.target(cli_support::Kind::Disk, "disk.img");
    experiment(&place, "e", "#!/bin/sh\n");
    let calls = |words: &[&str], code: i32| {
        for call in [&["archive", "create", "e", "-o", "e.tar", "--force"][..], &["archive", "check", "t.tar"]] {
            let finished = place.call(call).expect(code);
            let told = if code == 0 { finished.text() } else { &finished.stderr };
            assert!(words.iter().all(|word| told.contains(word)), "{finished:?}");
        }
        let finished = place.call(&["upload", "node", "t.tar"]).expect(code);
        let told = if code == 0 { finished.text() } else { &finished.stderr };
        assert!(words.iter().all(|word| told.contains(word)), "{finished:?}");
    };
    let pack = || {
        let packed = Command::new("tar").args(["-cf", "t.tar", "-C", "e", "."]).current_dir(place.root()).status();
        assert!(packed.unwrap().success());
    };
    let manifest = place.path("e/nlxtp.toml");

    symlink("data/input", &manifest).unwrap();
    pack();
    calls(&["nlxtp.toml\"", "a directory or a link", "pack it as a file"], 3);
    fs::remove_file(&manifest).unwrap();
    fs::create_dir(&manifest).unwrap();
    pack();
    calls(&["nlxtp.toml", "a directory or a link"], 3);
    fs::remove_dir(&manifest).unwrap();

    fs::write(&manifest, "start = 'python3 main.py'\n").unwrap();
    pack();
    calls(&["warning: nlxtp.toml: \"start\" is \"python3 main.py\"", "[\"python3\", \"main.py\"]"], 0);
    fs::remove_file(&manifest).unwrap();

    fs::rename(place.path("e/auto_exec.sh"), place.path("e/run.sh")).unwrap();
    symlink("gone.sh", place.path("e/auto_exec.sh")).unwrap();
    pack();
    calls(&["warning: auto_exec.sh: it is a link to \"gone.sh\"", "nothing will be started"], 0);

    for name in ["NLXTP.toml", "Auto_Exec.SH"] {
        place.write("t.tar", &cli_support::tar(&[(name, b"#!/bin/sh\n")]));
        place.call(&["archive", "check", "t.tar"]).expect(0);
        let lower = format!("\"{}\"", name.to_lowercase());
        for call in [&["archive", "check", "t.tar", "--for", "fat"][..], &["upload", "disk.img", "t.tar"]] {
            place.call(call).expect(3).says(&[name, &lower, "small letters"]);
        }
    }
}

#[test]
fn what_an_archive_asks_for_its_run_is_told() {
    let place = Place::new();
    let script = ("auto_exec.sh", &b"#!/bin/sh\n"[..]);
    let check = |manifest: Option<&str>| {
        let manifest = manifest.map(|text| ("nlxtp.toml", text.as_bytes()));
        place.write("a.tar.gz", &tar_gz(&manifest.into_iter().chain([script]).collect::<Vec<_>>()));
        let text = place.call(&["archive", "check", "a.tar.gz"]).expect(0).text().to_owned();
        (text, place.call(&["archive", "check", "a.tar.gz", "--json"]).expect(0).json()["manifest"].clone())
    };
    let (text, json) = check(Some(
        "start = ['python3', 'main.py', \"two\\twords\"]
timeout = '90m'
stdout-limit = '64MiB'
stderr-limit = 0
user = 1000
keep = ['results/', './*.log']
delete = ['results/tmp']
digests = false
[environment]
LANG = 'C'
TOKEN = 'secret'
",
    ));
    let lines = "manifest: nlxtp.toml
  start:        \"python3\" \"main.py\" \"two\\twords\"
  timeout:      1h30m
  stdout-limit: 64 MiB
  stderr-limit: 0 bytes
  user:         1000
  keep:         \"results\" \"*.log\"
  delete:       \"results/tmp\"
  digests:      false
  environment:  LANG TOKEN
";
    assert!(text.contains(lines), "{text}");
    let expected = json!({
        "start": ["python3", "main.py", "two\twords"], "timeout_ms": 5_400_000, "user": "1000",
        "environment": ["LANG", "TOKEN"], "stdout_limit": 64 << 20, "stderr_limit": 0,
        "keep": ["results", "*.log"], "delete": ["results/tmp"], "digests": false,
    });
    assert_eq!(json, expected);
    // It may ask for nothing; and most archives have none.
    let (text, json) = check(Some("# later\n"));
    assert!(text.ends_with("manifest: nlxtp.toml\n"), "{text}");
    assert_eq!((&json["start"], &json["timeout_ms"], &json["keep"]), (&json!([]), &json!(null), &json!([])));
    let (text, json) = check(None);
    assert!(!text.contains("manifest"), "{text}");
    assert_eq!(json, json!(null));
}
