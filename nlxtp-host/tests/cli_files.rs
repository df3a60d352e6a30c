//! Archives in and out, lists, and single files.

mod cli_support;

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use cli_support::{KINDS, Kind, Place, Target, tar, tar_gz, unpack};

fn names(place: &Place) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(place.root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn nothing_is_overwritten_without_force() {
    let place = Place::new();
    let target = place.target(Kind::Disk, "target");
    target.upload_something();
    place.write("out.tar.gz", b"precious");
    place.call_changing_nothing(&["download", "target", "out.tar.gz"]).expect(2).says(&[
        "out.tar.gz",
        "already",
        "way out",
        "--force",
    ]);
    target.call("download", &["out.tar.gz", "--force"]).expect(0);
    assert_eq!(unpack(&fs::read(place.path("out.tar.gz")).unwrap())["data/input"], b"old content");
    // Nothing else is left behind.
    assert_eq!(names(&place), ["good.tar.gz", "out.tar.gz", "target"]);

    // A link stays a link, also one that leads nowhere.
    symlink("out.tar.gz", place.path("link")).unwrap();
    target.call("download", &["link", "--force"]).expect(0);
    assert!(fs::symlink_metadata(place.path("link")).unwrap().is_symlink());
    symlink("nowhere", place.path("dangling")).unwrap();
    place.call_changing_nothing(&["download", "target", "dangling"]).expect(3).says(&["dangling"]);
    // Least of all the target itself.
    let own = ["download", "target", "target", "--force"];
    place.call_changing_nothing(&own).expect(2).says(&["target itself"]);
    let container = place.target(Kind::Directory, "container");
    container.upload_something();
    let inside = ["download", "container", "container/data/out.tar"];
    place.call_changing_nothing(&inside).expect(2).says(&["container/data/out.tar", "target itself"]);
    place.call_changing_nothing(&["download", "target", "."]).expect(2);
}

#[test]
fn no_half_archive_is_left() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    target.upload_something();
    target.call("download", &["out.tar.gz", "--max-bytes", "5"]).expect(4).says(&["target"]);
    target.call("download", &["out.tar.gz", "--timeout", "0"]).expect(6);
    target.call("download", &["no/such/place.tar"]).expect(3).says(&["no/such/place.tar"]);
    assert_eq!(names(&place), ["good.tar.gz", "target"]);
    // A device is written to and never replaced.
    target.call("download", &["/dev/null"]).expect(0);
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    target.call("download", &["/dev/full"]).expect(3).says(&["/dev/full"]);
}

#[test]
fn the_format_follows_the_name() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    target.upload_something();
    for (name, options, magic) in [
        ("a.tar.gz", &[][..], &[0x1f, 0x8b][..]),
        ("a.tar.zst", &[], &[0x28, 0xb5, 0x2f, 0xfd]),
        ("a.tar", &[], b"auto_exec.sh"),
        ("a.bin", &[], &[0x1f, 0x8b]),
        ("b.tar", &["--format", "tar.zst", "--level", "19"], &[0x28, 0xb5, 0x2f, 0xfd]),
        ("c.tar.gz", &["--level", "0"], &[0x1f, 0x8b]),
    ] {
        target.call("download", &[&[name], options].concat()).expect(0);
        let archive = fs::read(place.path(name)).unwrap();
        let begins = archive.starts_with(magic) || (name == "a.tar" && archive[257..].starts_with(b"ustar"));
        assert!(begins, "{name}: {:x?}", &archive[..8]);
        assert_eq!(unpack(&archive)["data/input"], b"old content");
    }
    target.call("download", &["d.tar", "--level", "3"]).expect(2).says(&["tar has no level 3"]);
    target.call("download", &["d.tar.gz", "--level", "10"]).expect(2).says(&["0 to 9"]);
    target.call("download", &["d.tar.gz", "--format", "rar"]).expect(2);
    // A name that promises what is not made.
    target.call("download", &["d.ZIP"]).expect(2).says(&["d.ZIP", "\"zip\" is not made", "tar.gz"]);
    target.call("download", &["d.zip", "--format", "tar"]).expect(0);
}

#[test]
fn archives_come_and_go_through_pipes() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        let content = vec![9; 700_000];
        let archive = tar_gz(&[("auto_exec.sh", b"#!/bin/sh\n"), ("big", &content)]);
        let answer = place.call_with_input(&["upload", "target", "-", "--json"], &archive).expect(0).json();
        assert_eq!(answer["bytes"], 700_010);
        assert_eq!(target.call("cat", &["big"]).expect(0).stdout, content);

        let out = target.call("download", &["-", "--json"]).expect(0);
        assert_eq!(out.json_aside()["format"], "tar.gz");
        assert_eq!(unpack(&out.stdout)["big"], content);
        let out = target.call("download", &["-", "--format", "tar"]).expect(0);
        assert_eq!(unpack(&out.stdout)["big"], content);

        let check = place.call_with_input(&["archive", "check", "-", "--json"], &archive).expect(0);
        assert_eq!(check.json()["files"], 2);
        place.call_with_input(&["upload", "target", "-"], &archive[..100]).expect(3).says(&["nlxtp: -: ", "truncated"]);
        place.call_with_input(&["upload", "target", "-"], b"").expect(3).says(&["empty"]);
        // No temporary file of any of these is left.
        assert_eq!(names(&place), ["target"]);
    }
}

#[test]
fn an_archive_in_a_named_pipe() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    nix::unistd::mkfifo(&place.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let pipe = place.path("pipe");
    let writing = std::thread::spawn(move || fs::write(pipe, tar(&[("file", b"through a pipe")])).unwrap());
    target.call("upload", &["pipe"]).expect(0);
    writing.join().unwrap();
    assert_eq!(target.call("cat", &["file"]).expect(0).text(), "through a pipe");
}

#[test]
fn a_reader_that_goes_away_is_no_failure_to_talk_about() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    place.write("a.tar", &tar(&[("big", &content)]));
    target.call("upload", &["a.tar"]).expect(0);
    for arguments in [&["cat", "target", "big"][..], &["download", "target", "-"], &["cat", "target", "big", "--json"]]
    {
        let mut child = place.begin(arguments);
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 10]).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(141), "{arguments:?}");
        assert_eq!(output.stderr, b"", "{arguments:?}");
    }
    // Nor is anything said where the error output has gone too.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.command(&["status", "nope"]);
    let status = command.stdout(Stdio::null()).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(4));
}

#[test]
fn a_full_disk_under_the_output_is_told() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    target.upload_something();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = place.command(&["ls", "target"]);
    let finished = cli_support::Finished::from(command.stdout(full).stderr(Stdio::piped()).output().unwrap());
    finished.expect(1).says(&["standard output", "No space left"]);
}

#[test]
fn lists() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    target.upload_something();
    symlink("/etc/\x1b[31mpasswd", target.path().join("link")).unwrap();
    nix::unistd::mkfifo(&target.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let list = target.call("ls", &[]).expect(0);
    let text = list.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "- 0755 21  2023-11-14 22:13:20  auto_exec.sh");
    assert!(lines[1].starts_with("d 0755  0  ") && lines[1].ends_with("  data/"), "{text}");
    assert_eq!(lines[2], "- 0755 11  2023-11-14 22:13:20  data/input");
    assert!(lines[3].ends_with("  link -> /etc/\\u{1b}[31mpasswd"), "{text}");
    assert!(text.ends_with("cannot be taken along:\n  pipe: it is a FIFO, socket or device\n"), "{text}");
    let answer = target.call("ls", &["--json"]).expect(0).json();
    assert_eq!(answer["left_out"]["listed"][0]["path"], "pipe");
    assert_eq!(answer["entries"][3]["kind"], "symlink");
    target.call("ls", &["--max-entries", "2"]).expect(4).says(&["target", "more than 2 entries"]);
}

#[test]
fn single_files() {
    for kind in KINDS {
        let place = Place::new();
        let target: Target<'_> = place.target(kind, "target");
        target.upload_something();
        assert_eq!(target.call("cat", &["./data//input"]).expect(0).text(), "old content");
        target.call("cat", &["data/nope"]).expect(4).says(&["target: data/nope: ", "nlxtp ls TARGET"]);
        target.call("cat", &["data"]).expect(2).says(&["it is a directory"]);
        target.call("cat", &["../secret"]).expect(2).says(&["../secret", "relative to the shared directory"]);
        target.call("cat", &["/etc/passwd"]).expect(2).says(&["absolute"]);
    }
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    // A name that `ls` must escape is taken as `ls` shows it.
    fs::write(target.path().join("new\nline \\ \u{9b}"), "odd").unwrap();
    let list = target.call("ls", &["--json"]).expect(0).json();
    let shown = list["entries"][0]["path"].as_str().unwrap().to_owned();
    assert_eq!(shown, "new\\nline \\\\ \\u{9b}");
    assert_eq!(target.call("cat", &[&shown]).expect(0).text(), "odd");
    target.call("cat", &["a\\x2f..\\x2f..\\x2fsecret"]).expect(2).says(&["relative to the shared directory"]);
    place.write("secret", b"the host's");
    symlink("../secret", target.path().join("link")).unwrap();
    let refused = target.call("cat", &["link"]).expect(2);
    assert!(refused.stdout.is_empty());
    refused.says(&["not followed"]);
}

/// The same call with a terminal for its outputs, as `script` gives one. What it printed.
fn on_a_terminal(place: &Place, call: &str) -> String {
    let call = format!("{} {call}", place.program.display());
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &call, "/dev/null"]).current_dir(place.root()).stdin(Stdio::null());
    let output = script.env("XDG_STATE_HOME", place.path(".state")).output().expect("script");
    String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n")
}

#[test]
#[ignore = "needs script; `make test` runs it"]
fn a_terminal_gets_no_archive_and_no_control_characters() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    target.upload_something();
    fs::write(target.path().join("evil"), b"a\x1b[31mb\tc\n\\d\xff").unwrap();
    assert_eq!(on_a_terminal(&place, "cat target evil"), "a\\u{1b}[31mb\tc\n\\d\\xff");
    assert!(on_a_terminal(&place, "cat --raw target evil").starts_with("a\x1b[31mb\tc\n"));
    assert!(on_a_terminal(&place, "download target -").contains("not written to a terminal"));
    assert!(on_a_terminal(&place, "upload target -").contains("standard input is a terminal"));
}
