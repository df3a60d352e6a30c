//! The command line of the real program.

mod common;

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};

use common::{Share, program};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check(config: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nlxtp.conf");
    fs::write(&file, config).unwrap();
    program().arg("--config").arg(file).arg("check-config").output().unwrap()
}

#[test]
fn a_configuration_is_checked() {
    let output = check("nlxtp_dir='/a b' # here\nnlxtp_mode=1\nnlxtp_colour=red\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("nlxtp_dir='/a b'\nnlxtp_mode=1\n"));
    assert!(text(&output.stderr).contains("nlxtp.conf, line 3: nlxtp_colour is ignored: there is no such key"));

    let output = check("nlxtp_mode=5\nrm -rf /\n");
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("line 1: nlxtp_mode is \"5\"; allowed is 0 or 1 or 2"), "{message}");
    assert!(message.contains("line 2: this is no assignment"), "{message}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn the_example_configuration_is_the_default() {
    let example = check(include_str!("../install/nlxtp.conf"));
    assert_eq!(example.status.code(), Some(0));
    assert_eq!(text(&example.stderr), "");
    let values = |output: &Output| text(&output.stdout).lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(values(&example), values(&check("nlxtp_device=auto")), "all but the disk");
}

#[test]
fn errors_in_the_configuration_stop_monitor_and_daemon() {
    let share = Share::with_script("#!/bin/sh\n");
    for command in ["monitor", "daemon"] {
        let output = share.command(&["--set", "nlxtp_grace=long", command]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("nlxtp_grace is \"long\""));
        assert!(!share.has("exec_status"));
    }
}

#[test]
fn a_setting_that_is_none_is_refused() {
    for (setting, code, words) in [
        ("nlxtp_mode", 2, "--set nlxtp_mode: write KEY=VALUE"),
        ("nlxtp_mode=3", 1, "--set: nlxtp_mode is \"3\"; allowed is 0 or 1 or 2"),
        ("nlxtp_colour=red", 1, "--set: nlxtp_colour cannot be set: there is no such key"),
    ] {
        let output = program().args(["--config", "/dev/null", "--set", setting, "check-config"]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{setting}");
        assert!(text(&output.stderr).contains(words), "{output:?}");
    }
}

#[test]
fn usage_is_exit_code_2() {
    for words in [&[][..], &["unknown"], &["monitor", "--unknown"], &["set-status"]] {
        let output = program().args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(text(&output.stderr).contains("--help"));
    }
    assert!(
        text(&program().arg("--help").output().unwrap().stdout).contains("set-status [--progress DONE/TOTAL] [TEXT]")
    );
    assert!(text(&program().arg("--version").output().unwrap().stdout).starts_with("nlxtp-guest 0"));
}

#[test]
fn a_missing_directory_is_named() {
    let output = program().args(["--config", "/dev/null", "--dir", "/no/such", "monitor"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot open the shared directory /no/such: No such file"));
}

fn set_from_stdin(share: &Share, bytes: &[u8]) -> Output {
    let mut command = share.command(&["set-status", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A refusal may come before the last byte is taken.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    child.wait_with_output().unwrap()
}

#[test]
fn the_custom_status_is_set_or_refused() {
    let share = Share::new();
    let output = share.command(&["set-status", "x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("has a run been started?"));

    fs::create_dir(share.at("exec_status")).unwrap();
    let output = program().env("nlxtp_dir", share.path()).args(["set-status", "--", "-text"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(share.read("exec_status/custom"), "-text");

    assert!(set_from_stdin(&share, &vec![b'y'; 1 << 20]).status.success());
    assert_eq!(share.read("exec_status/custom").len(), 1 << 20);

    let output = set_from_stdin(&share, &vec![b'z'; (1 << 20) + 1]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("1 MiB"), "{output:?}");
    assert!(share.read("exec_status/custom").starts_with('y'), "the old one stays");
}
