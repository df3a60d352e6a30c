//! What an archive asks for its run by `nlxtp.toml`, and what the real monitor makes of it.

mod common;

use std::fs;

use common::{Share, write_script};
use rextfv_core::status::{Ending, RunState};

/// A shared directory with this manifest; its start script leaves a mark.
fn share(manifest: &str) -> Share {
    let share = Share::with_script("#!/bin/sh\ntouch \"$archive_dir/started\"\nexit 9\n");
    fs::write(share.at("nlxtp.toml"), manifest).unwrap();
    share
}

#[test]
fn a_command_with_arguments_and_an_environment_of_its_own() {
    let share = share(
        "start = ['./tools/measure', '--name', 'two words']\nstdout-limit = '1K'\nstderr-limit = 5\n\
         [environment]\nLEVEL = '3'\nPATH = '/nowhere:/usr/bin:/bin'\n",
    );
    fs::create_dir(share.at("tools")).unwrap();
    write_script(
        &share.at("tools/measure"),
        "#!/bin/sh\npwd\nprintf '%s\\n' \"$@\" \"$LEVEL\" \"$PATH\" \"$nlxtp_dir\"\necho 123456789 >&2\n",
    );
    assert!(share.monitor(&[]).status.success());
    let here = share.path().canonicalize().unwrap();
    let (here, dir) = (here.display(), share.path());
    assert_eq!(
        share.read("exec_status/stdout"),
        format!("{here}\n--name\ntwo words\n3\n/nowhere:/usr/bin:/bin\n{}\n", dir.display())
    );
    assert_eq!(share.read("exec_status/stderr"), "12345");
    let status = share.record().unwrap();
    assert_eq!((status.ended, status.done), (Some(Ending::Exit(0)), true));
    assert!(status.truncated.stderr && !status.truncated.stdout);
    assert!(!share.has("started"), "the start script is not what was asked for");
}

#[test]
fn programs_of_the_system_and_scripts_that_are_not_executable_are_started() {
    let found = share("start = ['cat', 'words']");
    fs::write(found.at("words"), "from the archive\n").unwrap();
    assert!(found.monitor(&[]).status.success());
    assert_eq!(found.read("exec_status/stdout"), "from the archive\n");

    let script = share("start = ['./run', 'x']");
    fs::write(script.at("run"), "#!/bin/sh\necho \"ran $1\"\n").unwrap();
    assert!(script.monitor(&[]).status.success());
    assert_eq!(script.read("exec_status/stdout"), "ran x\n");

    for missing in ["./not-there", "no-such-program-anywhere"] {
        let missing = share(&format!("start = ['{missing}']"));
        assert!(missing.monitor(&[]).status.success());
        assert_eq!(missing.record().unwrap().ended, Some(Ending::Exit(127)));
        assert!(missing.read("exec_status/stderr").contains("cannot start"), "{}", missing.read("exec_status/stderr"));
        assert!(!missing.has("started"));
    }
}

#[test]
fn a_manifest_without_start_leaves_the_start_script() {
    let share = share("[environment]\nA = '1'\n");
    assert!(share.monitor(&[]).status.success());
    assert!(share.has("started"));
    assert_eq!(share.record().unwrap().ended, Some(Ending::Exit(9)));
}

#[test]
fn a_run_that_takes_longer_than_it_asked_for_is_ended() {
    let share = share("start = ['sleep', '1000']\ntimeout = '200ms'");
    assert!(share.monitor(&[]).status.success());
    let status = share.record().unwrap();
    assert_eq!((status.state, status.done), (RunState::TimedOut, true));
    assert_eq!(status.ended, Some(Ending::Signal(15)));
}

#[test]
fn what_cannot_be_obeyed_starts_nothing_and_says_why() {
    for (manifest, words) in [
        ("start = ['./run']\ntimeot = '1s'\n", "nlxtp.toml: line 2, column 1: there is no key \"timeot\""),
        ("user = 'no-such-user'", "there is no user \"no-such-user\""),
        ("\u{0}", "not TOML"),
    ] {
        let share = share(manifest);
        assert!(share.monitor(&[]).status.success());
        let status = share.record().unwrap();
        assert_eq!((status.state, status.done), (RunState::Finished, true));
        assert_eq!(status.ended, Some(Ending::Exit(126)));
        let custom = String::from_utf8(status.custom.unwrap()).unwrap();
        assert!(custom.contains(words) && custom.ends_with("nothing was started"), "{custom}");
        assert!(share.read("exec_status/stderr").contains(words));
        assert!(!share.has("started"));
    }
}

#[test]
fn what_is_not_kept_is_gone_when_done_is_told() {
    let manifest = "start = ['sh', 'run', '0']\nkeep = ['results', 'input']\ndelete = ['input/big']\n";
    for (code, has_big) in [(0, false), (1, true)] {
        let share = share(&manifest.replace("'0'", &format!("'{code}'")));
        fs::create_dir(share.at("input")).unwrap();
        fs::write(share.at("input/big"), "").unwrap();
        fs::write(share.at("run"), "mkdir results other; echo 1 >results/1; echo 2 >other/2; exit $1").unwrap();
        assert!(share.monitor(&[]).status.success());
        let status = share.record().unwrap();
        assert_eq!((status.done, status.ended), (true, Some(Ending::Exit(code))));
        assert_eq!(share.read("results/1"), "1\n");
        assert!(share.has("input") && share.has("auto_exec.sh") && share.has("nlxtp.toml"));
        assert!(!share.has("other") && !share.has("run"));
        assert_eq!(share.has("input/big"), has_big);
    }
}
