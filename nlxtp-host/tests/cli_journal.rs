//! The journal, as the command writes, shows, verifies and repeats it. Guests are real in `e2e`.

mod cli_support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use cli_support::{Finished, KINDS, Kind, Place, Target, finished, running, tar_gz};
use rextfv_core::status::Ending;
use serde_json::Value;

const JOURNAL: &str = "journal.jsonl";

/// The lines of the journal, whose chain is checked.
#[track_caller]
fn lines(place: &Place) -> Vec<Value> {
    place.call(&["journal", "verify", JOURNAL]).expect(0);
    let text = fs::read_to_string(place.path(JOURNAL)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn events(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event"].as_str().unwrap()).collect()
}

/// Uploads an archive that holds a start script and a file.
#[track_caller]
fn upload(target: &Target<'_>, place: &Place, options: &[&str]) -> Finished {
    let archive = tar_gz(&[("auto_exec.sh", b"#!/bin/sh\necho hello\n"), ("data/input", b"old content")]);
    place.write("good.tar.gz", &archive);
    target.call("upload", &[&["good.tar.gz", "--json", "--journal", JOURNAL], options].concat())
}

#[test]
fn a_whole_cycle_is_recorded_once() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        let answer = upload(&target, &place, &["--guest-power", "off", "--node", "node\u{1b}1"]).expect(0).json();
        let run = answer["run_id"].as_str().unwrap();
        let journal = ["--journal", JOURNAL, "--node", "node\u{1b}1", "--guest-power", "on"];
        target.guest_reports(&running(run, 1));
        for verb in ["status", "logs", "status"] {
            target.call(verb, &journal).expect(0);
        }
        let mut last = finished(run, 2, Ending::Exit(7));
        last.custom = Some(b"\x1b[31mred \xff".repeat(1000));
        target.guest_reports(&last);
        target.call("wait", &journal).expect(10);
        target.call("wait", &journal).expect(10);
        target.call("watch", &journal[..2]).expect(0);
        target.call("download", &["results.tar", "--journal", JOURNAL, "--node", "node\u{1b}1"]).expect(0);
        // These are no part of it.
        target.call("ls", &[]).expect(0);
        target.call("download", &["results.tar", "--journal", JOURNAL]).expect(2);

        let lines = lines(&place);
        // `watch` names the node by its path, and to that name the run is a strange one.
        assert_eq!(events(&lines), ["upload", "start", "end", "end", "download"], "{kind:?}");
        let path = place.path("target").canonicalize().unwrap();
        assert_eq!(lines[3]["node"], path.to_str().unwrap());
        assert!(lines.iter().all(|line| line["run"] == run));
        assert_eq!(lines[0]["node"], "node\\u{1b}1");
        assert_eq!(lines[0]["power"], "off");
        assert_eq!(lines[0]["storage"], if kind == Kind::Disk { "disk" } else { "directory" });
        assert_eq!(lines[0]["execution"], "at-boot");
        assert_eq!(lines[0]["archive"]["name"], "good.tar.gz");
        let sum = Command::new("sha256sum").arg(place.path("good.tar.gz")).output().unwrap().stdout;
        assert!(sum.starts_with(lines[0]["archive"]["sha256"].as_str().unwrap().as_bytes()));
        assert_eq!(lines[2]["exit_code"], 7);
        assert_eq!(lines[2]["custom"]["bytes"], 10_000);
        let text = lines[2]["custom"]["text"].as_str().unwrap();
        assert!(text.starts_with("\\u{1b}[31mred \\xff\\u{1b}") && text.len() < 4000, "{text}");
        assert_eq!(lines[4]["archive"]["format"], "tar");
        let listed = lines[4]["results"]["listed"].as_array().unwrap();
        let paths: Vec<_> = listed.iter().map(|entry| entry["path"].as_str().unwrap()).collect();
        assert_eq!(paths, ["auto_exec.sh", "data", "data/input", "exec_status"]);

        let shown = place.call(&["journal", "show", JOURNAL, "--run", &run[..6]]).expect(0);
        assert_eq!(shown.text().lines().count(), 6, "{}", shown.text());
        assert!(!shown.text().contains('\u{1b}'), "{}", shown.text());
        let shown = place.call(&["journal", "show", JOURNAL, "--node", "node\\u{1b}1", "--json"]).expect(0);
        assert_eq!(shown.text().lines().count(), 4);
        let none = place.call(&["journal", "show", JOURNAL, "--run", "0000000000"]).expect(0);
        assert_eq!(none.text(), "");
        none.says(&["nothing in the journal", "--run"]);
        place.call(&["journal", "show", JOURNAL, "--node", "nobody", "--json"]).expect(0).says(&["--node"]);
    }
}

#[test]
fn results_are_the_same_from_a_directory_and_a_disk() {
    let place = Place::new();
    let mut digests = Vec::new();
    for kind in KINDS {
        let target = place.target(kind, &format!("{kind:?}"));
        upload(&target, &place, &[]).expect(0);
        target.call("download", &[&format!("{kind:?}.tar.zst"), "--journal", JOURNAL]).expect(0);
        digests.push(lines(&place).last().unwrap()["results"]["sha256"].clone());
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn the_environment_names_a_journal_and_nothing_is_written_without() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    place.write("good.tar.gz", &tar_gz(&[("file", b"x")]));
    let before = place.snapshot();
    target.call("upload", &["good.tar.gz"]).expect(0);
    let names = |snapshot: &std::collections::BTreeMap<_, _>| snapshot.keys().cloned().collect::<Vec<_>>();
    let after = names(&place.snapshot());
    assert!(after.iter().all(|path| path.starts_with(target.path()) || before.contains_key(path)), "{after:?}");
    let mut command = place.command(&["upload", "target", "good.tar.gz"]);
    let finished: Finished = command.env("NLXTP_JOURNAL", JOURNAL).output().unwrap().into();
    finished.expect(0);
    assert_eq!(events(&lines(&place)), ["upload"]);
    let finished: Finished = place.command(&["journal", "show"]).env("NLXTP_JOURNAL", JOURNAL).output().unwrap().into();
    assert!(finished.expect(0).text().contains("good.tar.gz"));
    place.call(&["journal", "show"]).expect(2).says(&["no journal is named", "NLXTP_JOURNAL"]);
    place.call(&["journal", "show", "none.jsonl"]).expect(1).says(&["none.jsonl", "cannot open the journal"]);
}

#[test]
fn a_journal_that_cannot_be_written_ends_the_command_before_anything_is_touched() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    place.write("good.tar.gz", &tar_gz(&[("file", b"x")]));
    place.write("notes.txt", b"notes\n");
    for journal in ["none/journal.jsonl", "notes.txt", "target", "target/journal.jsonl"] {
        for arguments in [
            &["upload", "target", "good.tar.gz", "--force", "--journal", journal][..],
            &["download", "target", "results.tar.gz", "--journal", journal],
            &["status", "target", "--journal", journal],
        ] {
            let failed = place.call_changing_nothing(arguments);
            assert!(matches!(failed.code, Some(1 | 2)), "{arguments:?}: {failed:?}");
            assert!(failed.stderr.contains("journal"), "{failed:?}");
        }
    }
    target.call("upload", &["good.tar.gz", "--keep-archives"]).expect(2).says(&["--journal"]);
}

/// A limit on the length of files stands for a full disk: the journal is the only file that reaches it.
#[test]
fn an_upload_stands_although_its_line_cannot_be_written() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let long = "n".repeat(3000);
    upload(&target, &place, &["--node", &long]).expect(0);
    let before = fs::read(place.path(JOURNAL)).unwrap();
    let limited = format!("trap '' XFSZ; ulimit -f 8; exec {} \"$@\"", place.program.display());
    let call = |arguments: &[&str]| -> Finished {
        let mut command = Command::new("sh");
        command.args(["-c", &limited, "sh"]).args(arguments).current_dir(place.root());
        command.env("XDG_STATE_HOME", place.path(".state")).env_remove("NLXTP_JOURNAL");
        command.output().unwrap().into()
    };
    let journal = ["--journal", JOURNAL, "--node", &long];
    let answer = call(&[&["upload", "target", "good.tar.gz", "--json"], &journal[..]].concat()).expect(9);
    let run = answer.json()["run_id"].as_str().unwrap().to_owned();
    let answer = answer.says(&["what was done stands, but is not in the journal", "cannot write to the journal"]);
    assert_eq!(answer.stderr.lines().count(), 1, "{answer:?}");
    assert_eq!(fs::read_to_string(target.path().join("nlxtp_run_id")).unwrap(), format!("{run}\n"));
    // A download is complete under its name, and a failed script's exit code says more than 9.
    call(&[&["download", "target", "results.tar.gz"], &journal[..]].concat()).expect(9);
    assert!(cli_support::unpack(&fs::read(place.path("results.tar.gz")).unwrap()).contains_key("data/input"));
    target.guest_reports(&finished(&run, 1, Ending::Exit(1)));
    call(&[&["wait", "target"], &journal[..]].concat()).expect(10).says(&["not in the journal"]);
    assert_eq!(fs::read(place.path(JOURNAL)).unwrap(), before, "no half line is left");
    // With room again, the end is recorded, and what is missing is told.
    target.call("wait", &journal).expect(10);
    assert_eq!(events(&lines(&place)), ["upload", "end"]);
    let verified = place.call(&["journal", "verify", JOURNAL]).expect(0);
    assert!(verified.text().contains("the upload of its run is not in the journal"), "{}", verified.text());
}

/// The monitor is invoked between the upload and its line: the command that does so kills the caller.
#[test]
fn killed_between_the_upload_and_its_line() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    upload(&target, &place, &[]).expect(0);
    let killed = upload(&target, &place, &["--guest-power", "on", "--invoke", "kill -KILL $PPID; sleep 1"]);
    assert_eq!(killed.code, None, "{killed:?}");
    let run = fs::read_to_string(target.path().join("nlxtp_run_id")).unwrap();
    assert_eq!(events(&lines(&place)), ["upload"]);
    assert_ne!(lines(&place)[0]["run"], run.trim());
    target.guest_reports(&finished(run.trim(), 1, Ending::Exit(0)));
    target.call("wait", &["--journal", JOURNAL]).expect(0);
    target.call("download", &["results.tar.gz", "--journal", JOURNAL]).expect(0);
    assert_eq!(events(&lines(&place)), ["upload", "end", "download"]);
    let answer = place.call(&["journal", "verify", JOURNAL, "--json"]).expect(0).json();
    assert_eq!(answer["notes"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["notes"][0]["line"], 2);
    // Where the monitor only cannot be invoked, the upload is recorded with that.
    upload(&target, &place, &["--guest-power", "on", "--invoke", "false"]).expect(8);
    assert_eq!(lines(&place)[3]["invoke_failed"], true);
    // An upload that fails is not recorded.
    place.write("bad.tar.gz", b"#!/bin/sh\n");
    target.call("upload", &["bad.tar.gz", "--journal", JOURNAL]).expect(3);
    assert_eq!(lines(&place).len(), 4);
}

#[test]
fn many_processes_append_at_once_and_some_are_killed() {
    let place = Place::new();
    place.write("good.tar.gz", &tar_gz(&[("file", b"x")]));
    let names: Vec<String> = (0..4).map(|number| format!("target{number}")).collect();
    let targets: Vec<_> = names.iter().map(|name| place.target(Kind::Directory, name)).collect();
    let uploaded: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = targets
            .iter()
            .map(|target| {
                let upload = || {
                    for _ in 0..5 {
                        target.call("upload", &["good.tar.gz", "--journal", JOURNAL]).expect(0);
                        let mut killed = target.begin("download", &["-", "--journal", JOURNAL]);
                        std::thread::sleep(std::time::Duration::from_millis(3));
                        let _ = killed.kill();
                        killed.wait().unwrap();
                    }
                    5
                };
                scope.spawn(upload)
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let lines = lines(&place);
    for name in &names {
        let path = place.path(name).canonicalize().unwrap();
        let of_node = lines.iter().filter(|line| line["node"] == path.to_str().unwrap());
        assert_eq!(of_node.filter(|line| line["event"] == "upload").count(), 5);
    }
    assert_eq!(events(&lines).iter().filter(|event| **event == "upload").count(), uploaded);
}

fn golden(place: &Place) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, place.path(path.file_name().unwrap().to_str().unwrap())).unwrap();
    }
}

#[test]
fn the_golden_journal_is_shown_as_it_was() {
    let place = Place::new();
    golden(&place);
    let shown = place.call(&["journal", "show", "experiment.jsonl"]).expect(0);
    assert_eq!(shown.text(), fs::read_to_string(place.path("experiment.txt")).unwrap());
}

#[test]
fn an_empty_journal_is_said_to_be_empty() {
    let place = Place::new();
    place.write("empty.jsonl", b"");
    let verified = place.call(&["journal", "verify", "empty.jsonl"]).expect(0);
    assert_eq!(verified.text(), "the journal is empty: there is nothing to check\n");
    place.call(&["journal", "verify", "empty.jsonl", "--head", &"1".repeat(64)]).expect(16);
    place.call(&["journal", "show", "empty.jsonl"]).expect(0).says(&["the journal is empty"]);
}

#[test]
fn verifying_says_what_differs() {
    let place = Place::new();
    golden(&place);
    let verify = |options: &[&str]| place.call(&[&["journal", "verify", "experiment.jsonl"], options].concat());
    let answer = verify(&["--json", "--complete"]).expect(0).json();
    assert_eq!((&answer["ok"], &answer["complete"], &answer["lines"]), (&true.into(), &true.into(), &8.into()));
    let head = answer["head"].as_str().unwrap().to_owned();
    let states = |answer: &Value| -> Vec<String> {
        let archives = answer["archives"].as_array().unwrap();
        archives.iter().map(|archive| archive["at_hand"]["state"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(states(&answer), ["matches"; 4]);
    verify(&["--head", &head]).expect(0);
    verify(&["--head", &"0".repeat(64)]).expect(16);
    verify(&["--head", "123"]).expect(2);

    // Packed in another way; another one; gone.
    let results = place.path("client-results.tar.zst");
    let plain = zstd::decode_all(&fs::read(&results).unwrap()[..]).unwrap();
    fs::write(&results, &plain).unwrap();
    let results = place.path("server-results.tar.gz");
    let mut files = cli_support::unpack(&fs::read(&results).unwrap());
    files.insert("written.txt".into(), b"another string".to_vec());
    files.remove("a.txt");
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .filter(|(name, _)| name.is_ascii() && !name.contains(['\n', '\u{fffd}']))
        .map(|(name, bytes)| (&**name, &**bytes))
        .collect();
    fs::write(&results, tar_gz(&files)).unwrap();
    fs::remove_file(place.path("client.tar.gz")).unwrap();
    let answer = verify(&["--json"]).expect(16).json();
    assert_eq!(states(&answer), ["matches", "missing", "differs", "repacked"]);
    let differences = answer["archives"][2]["at_hand"]["differences"].as_array().unwrap();
    let about: Vec<_> = differences.iter().map(|difference| difference["about"].as_str().unwrap()).collect();
    assert_eq!(about, ["a", "a.txt", "exec_status", "link", "name\\xff\\nx", "written.txt"]);
    let text = verify(&[]).expect(16);
    assert!(text.text().contains("written.txt: recorded: file of 18 bytes"), "{}", text.text());
    assert!(text.text().contains("client.tar.gz") && text.text().contains("not at hand"), "{}", text.text());

    // A line changed: told with its number, and never repeated.
    fs::copy(place.path("server.tar.gz"), place.path("strange.tar.gz")).unwrap();
    golden(&place);
    verify(&["--complete"]).expect(0);
    let journal = fs::read_to_string(place.path("experiment.jsonl")).unwrap();
    place.write("experiment.jsonl", journal.replacen("\"exit_code\":3", "\"exit_code\":0", 1).as_bytes());
    let text = verify(&[]).expect(16);
    assert!(text.text().starts_with("problem: line 6: the chain is broken"), "{}", text.text());
    place.call(&["journal", "show", "experiment.jsonl"]).expect(16).says(&["line 6"]);
    fs::create_dir(place.path("fresh")).unwrap();
    let refused = ["journal", "replay", "experiment.jsonl", "--on", "server=fresh", "--skip", "client"];
    place.call_changing_nothing(&refused).expect(16).says(&["line 6", "chain"]);
    // A file that is named must be one of the journal's.
    golden(&place);
    place.write("other.tar.gz", b"other");
    verify(&["--at", "other.tar.gz"]).expect(16);
    verify(&["--at", "server.tar.gz"]).expect(0);
    verify(&["--at", "server.tar.gz", "--complete"]).expect(16);
}

#[test]
fn kept_archives_are_checked_and_used() {
    let place = Place::new();
    for kind in KINDS {
        let name = format!("{kind:?}");
        let target = place.target(kind, &name);
        let archive = tar_gz(&[("data/input", name.as_bytes())]);
        place.write("good.tar.gz", &archive);
        target.call("upload", &["good.tar.gz", "--journal", JOURNAL, "--node", &name, "--keep-archives"]).expect(0);
        target.call("download", &[&format!("{name}.tar.gz"), "--journal", JOURNAL, "--node", &name]).expect(0);
    }
    // A kept copy does not make up for a changed file of the archive's name.
    place.call(&["journal", "verify", JOURNAL, "--complete"]).expect(0);
    place.write("good.tar.gz", &tar_gz(&[("data/input", b"changed")]));
    let changed = place.call(&["journal", "verify", JOURNAL, "--json"]).expect(16).json();
    let at_hand = |at: usize| changed["archives"][at]["at_hand"]["state"].as_str();
    let states: Vec<_> = (0..4).map(at_hand).collect();
    assert_eq!(states, [Some("matches"), Some("matches"), Some("differs"), Some("matches")], "{changed}");
    assert!(changed["archives"][2]["at_hand"]["file"].as_str().unwrap().ends_with("good.tar.gz"), "{changed}");
    fs::remove_file(place.path("good.tar.gz")).unwrap();
    let store = place.path("journal.jsonl.d/sha256");
    let kept: Vec<_> = fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    place.call(&["journal", "verify", JOURNAL, "--complete"]).expect(0);

    // On fresh nodes of the other kind each.
    fs::create_dir(place.path("fresh1")).unwrap();
    place.call(&["disk", "create", "fresh2", "--size", "4MiB"]).expect(0);
    let replay = ["journal", "replay", JOURNAL, "--on", "Disk=fresh1", "--on", "Directory=fresh2"];
    let answer = place.call(&[&replay[..], &["--json"]].concat()).expect(0).json();
    assert_eq!((&answer["same"], answer["steps"].as_array().unwrap().len()), (&true.into(), 4), "{answer}");
    assert_eq!(fs::read_to_string(place.path("fresh1/data/input")).unwrap(), "Disk");

    let damaged = &kept[0];
    fs::write(damaged, b"damaged").unwrap();
    let text = place.call(&["journal", "verify", JOURNAL]).expect(16);
    assert!(text.text().contains("kept beside the journal and has been changed"), "{}", text.text());
    fs::remove_file(damaged).unwrap();
    let text = place.call(&["journal", "verify", JOURNAL]).expect(16);
    assert!(text.text().contains("kept beside the journal and is gone"), "{}", text.text());
    place.call_changing_nothing(&replay).expect(3).says(&["is not at hand", "--archives"]);
}

#[test]
fn a_replay_is_refused_before_anything_is_touched() {
    let place = Place::new();
    golden(&place);
    let node = place.target(Kind::Directory, "node");
    place.write("good.tar.gz", &tar_gz(&[("file", b"x")]));
    node.call("upload", &["good.tar.gz", "--journal", JOURNAL]).expect(0);
    let own = node.path().canonicalize().unwrap().display().to_string();
    fs::create_dir(place.path("foreign")).unwrap();
    place.write("foreign/precious", b"precious");
    fs::create_dir(place.path("fresh")).unwrap();
    place.call(&["disk", "create", "disk.img", "--size", "4MiB"]).expect(0);
    let golden = "experiment.jsonl";
    for (arguments, code, words) in [
        (&[golden, "--on", "server=fresh"][..], 2, &["\"client\"", "--skip"][..]),
        (&[golden, "--on", "server=fresh", "--on", "client=fresh"], 2, &["another node"]),
        (&[golden, "--on", "nobody=fresh"], 2, &["nobody", "\"server\", \"client\""]),
        (&[golden, "--on", "server=none", "--skip", "client"], 4, &["none"]),
        (&[golden, "--on", "server=foreign", "--skip", "client"], 2, &["precious"]),
        (&[golden, "--on", "server=disk.img", "--skip", "client"], 2, &["--power-on"]),
        (&[JOURNAL, "--on", &format!("{own}=node")], 2, &["this is the node"]),
        (&[JOURNAL, "--on", &format!("{own}=fresh"), "--archives", "foreign"], 3, &["good.tar.gz", "not at hand"]),
    ] {
        let arguments = [&["journal", "replay"], arguments].concat();
        place.call_changing_nothing(&arguments).expect(code).says(words);
    }
    // The journal that is replayed is not written to, whatever name it has.
    symlink(JOURNAL, place.path("symbolic.jsonl")).unwrap();
    fs::hard_link(place.path(JOURNAL), place.path("hard.jsonl")).unwrap();
    let on = format!("{own}=fresh");
    let replay = ["journal", "replay", JOURNAL, "--on", &on, "--json"];
    for journal in [JOURNAL, "symbolic.jsonl", "hard.jsonl"] {
        let arguments = [&replay[..], &["--journal", journal]].concat();
        let refused = place.call_changing_nothing(&arguments).expect(2).json();
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains("journal that is replayed"), "{message}");
    }
    let before = place.snapshot();
    let refused: Finished = place.command(&replay).env("NLXTP_JOURNAL", JOURNAL).output().unwrap().into();
    assert!(refused.expect(2).text().contains("NLXTP_JOURNAL"));
    assert_eq!(place.snapshot(), before);
    // In a name, too, there may be a sign like the one after it.
    node.call("upload", &["good.tar.gz", "--journal", "j2.jsonl", "--node", "a=b"]).expect(0);
    place.call(&["journal", "replay", "j2.jsonl", "--on", "a=b=fresh"]).expect(0);
    assert!(place.path("fresh/file").exists());
}

#[test]
fn a_replay_compares_and_ignores() {
    let place = Place::new();
    let node = place.target(Kind::Directory, "node");
    place.write("good.tar.gz", &tar_gz(&[("file", b"x"), ("logs/today.log", b"1"), ("logs/sub/b.log", b"2")]));
    node.call("upload", &["good.tar.gz", "--journal", JOURNAL, "--node", "n"]).expect(0);
    // As if something in the node had made these.
    fs::write(node.path().join("logs/today.log"), "other").unwrap();
    fs::remove_file(node.path().join("logs/sub/b.log")).unwrap();
    fs::write(node.path().join("logs/new.log"), "new").unwrap();
    node.call("download", &["results.tar.gz", "--journal", JOURNAL, "--node", "n"]).expect(0);
    fs::create_dir(place.path("fresh")).unwrap();
    let replay = |options: &[&str]| {
        place.call(&[&["journal", "replay", JOURNAL, "--on", "n=fresh", "--json"], options].concat())
    };
    let answer = replay(&["--results", "again", "--journal", "second.jsonl"]).expect(16).json();
    let differences = &answer["steps"][1]["differences"];
    let about: Vec<_> =
        differences.as_array().unwrap().iter().map(|difference| difference["about"].as_str().unwrap()).collect();
    assert_eq!(about, ["logs/new.log", "logs/today.log", "logs/sub/b.log"], "{answer}");
    assert_eq!(differences[0]["found"], "missing");
    assert_eq!(differences[2]["recorded"], "not there");
    let results = fs::read(place.path("again/results-of-line-2.tar.gz")).unwrap();
    assert!(cli_support::unpack(&results).contains_key("logs/sub/b.log"));
    replay(&["--ignore", "logs/*.log"]).expect(16);
    replay(&["--ignore", "logs/*.log", "--ignore", "**/b.log"]).expect(0);
    replay(&["--ignore", "*.log"]).expect(0);
    // The replay has a journal of its own, which leads back.
    let text = place.call(&["journal", "verify", "second.jsonl"]).expect(0);
    assert!(text.text().contains("good.tar.gz"), "{}", text.text());
    let fresh = place.path("fresh").canonicalize().unwrap();
    fs::create_dir(place.path("third")).unwrap();
    let on = format!("{}=third", fresh.display());
    place.call(&["journal", "replay", "second.jsonl", "--on", &on]).expect(0);
}

/// The guest makes it after it has said Done, so a download may lack it.
#[test]
fn a_replay_does_not_compare_the_done_flag() {
    let place = Place::new();
    let node = place.target(Kind::Directory, "node");
    place.write("good.tar.gz", &tar_gz(&[("file", b"x")]));
    node.call("upload", &["good.tar.gz", "--journal", JOURNAL, "--node", "n"]).expect(0);
    node.guest_writes(&[("done", b"")]);
    node.call("download", &["results.tar.gz", "--journal", JOURNAL, "--node", "n"]).expect(0);
    fs::create_dir(place.path("fresh")).unwrap();
    let answer = place.call(&["journal", "replay", JOURNAL, "--on", "n=fresh", "--json"]).expect(16).json();
    let [directory] = &answer["steps"][1]["differences"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert_eq!(directory["about"], "exec_status", "which nothing makes here");
}

/// What `docs/journal.md` says to check a journal with, run as it stands there.
#[test]
#[ignore = "needs jq; `make test` runs it"]
fn other_peoples_tools_check_the_chain_and_the_results() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/journal.md")).unwrap();
    let blocks: Vec<&str> = document.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    let script = |word: &str| *blocks.iter().find(|block| block.contains(word)).expect(word);
    let place = Place::new();
    golden(&place);
    fs::rename(place.path("experiment.jsonl"), place.path(JOURNAL)).unwrap();
    let run = |script: &str| -> String {
        let output = Command::new("sh").args(["-euc", script]).current_dir(place.root()).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let answer = place.call(&["journal", "verify", JOURNAL, "--json"]).expect(0).json();
    let chain = script("does not follow");
    assert_eq!(run(chain), format!("8 lines, the last has the digest {}\n", answer["head"].as_str().unwrap()));

    let digests: Vec<String> =
        lines(&place).iter().filter_map(|line| Some(line["results"]["sha256"].as_str()?.to_owned())).collect();
    let listed = run(script(".results.listed"));
    assert_eq!(listed, digests.iter().map(|digest| format!("{digest}  -\n")).collect::<String>());

    fs::create_dir(place.path("results")).unwrap();
    run("tar --zstd -xf client-results.tar.zst -C results");
    assert_eq!(run(script("find . -mindepth 1")), format!("{}  -\n", digests[1]));

    let journal = fs::read_to_string(place.path(JOURNAL)).unwrap();
    place.write(JOURNAL, journal.replacen("\"exit_code\":3", "\"exit_code\":0", 1).as_bytes());
    assert!(run(chain).starts_with("line 6 does not follow the one before\n"));

    // The example in the document is a journal, too.
    let example = document.split("```\n").find(|block| block.starts_with("{\"journal\":1")).unwrap();
    place.write(JOURNAL, example.as_bytes());
    let shown = place.call(&["journal", "show", JOURNAL, "--json"]).expect(0);
    assert_eq!(shown.text().lines().count(), 3, "{shown:?}");
}
