//! What an archive asks for its run by `nlxtp.toml`, obeyed by the static guest program in a container.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::Container;
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::places;
use nlxtp_e2e::process::run;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(100);

/// The guest's program is to be small: 1.5 MiB.
const MOST_BYTES: u64 = 3 << 19;

const MANIFEST: &str = "\
start = ['python-or-sh', 'a word']
user = 'backup'
timeout = '1h'
keep = ['results']
[environment]
PATH = '/mnt/nlXTP/tools:/usr/bin:/bin'
";

/// Looks at who it is; writes where it may, and tries where it may not.
const SCRIPT: &str = "#!/bin/sh
id -u; id -g; id -G; echo \"$HOME $USER\"; pwd; echo \"$1\"
grep -E '^(Uid|Gid|Groups):' /proc/self/status
cd \"$archive_dir\" || exit
touch mine 2>/dev/null && exit 4
archive_setstatus() { \"$nlxtp_guest\" set-status \"$*\"; }
archive_setstatus 'as another user' || exit 5
echo result >exec_status/result
";

#[test]
#[ignore = "needs root and a prepared guest; `make test` runs it"]
fn a_run_as_another_user() {
    let folder = places::temporary_folder("manifest");
    let content = folder.path().join("content");
    fs::create_dir_all(content.join("tools")).expect("a folder for the archive's content");
    fs::write(content.join("nlxtp.toml"), MANIFEST).expect("the manifest");
    fs::write(content.join("auto_exec.sh"), "#!/bin/sh\nexit 1\n").expect("the start script");
    fs::write(content.join("tools/python-or-sh"), SCRIPT).expect("the script that is started");
    run(Command::new("chmod").arg("755").arg(content.join("tools/python-or-sh")), PATIENCE).success();
    let archive = folder.path().join("archive.tar");
    let mut create = Command::new(places::nlxtp());
    run(create.args(["archive", "create"]).arg(&content).arg("-o").arg(&archive), PATIENCE).success();

    let mut node = Container::with_guest_program(&places::nlxtp_guest());
    node.start_at_boot("exec nlxtp-guest daemon");
    node.start();
    // Groups that the daemon has are not the user's.
    node.output_of("usermod -a -G audio,video backup");
    let target = Target::new(&node.shared_directory());
    target.upload(&archive, &["--force"]);
    target.call("wait", &["--timeout", "100s"]);
    let status = target.status(&[]);
    let errors = target.call("logs", &["--stderr"]).success().text();
    assert_eq!((&status["state"], &status["exit_code"]), (&json!("finished"), &json!(0)), "{status} {errors}");
    assert_eq!(status["custom"], "as another user", "{status}");
    let logs = target.call("logs", &[]).success().text();
    let mut groups: Vec<u32> = node.output_of("id -G backup").split_whitespace().flat_map(str::parse).collect();
    groups.sort_unstable();
    assert_eq!(groups.len(), 3, "{groups:?}");
    let lines: Vec<&str> = logs.lines().collect();
    let mut found: Vec<u32> = lines[2].split_whitespace().flat_map(str::parse).collect();
    found.sort_unstable();
    assert_eq!((lines[0], lines[1], found), ("34", "34", groups), "{logs}");
    assert_eq!(&lines[3..6], ["/var/backups backup", "/mnt/nlXTP", "a word"], "{logs}");
    // All four of each kind: there is no way back.
    assert_eq!(&lines[6..8], ["Uid:\t34\t34\t34\t34", "Gid:\t34\t34\t34\t34"], "{logs}");
    let shared = node.shared_directory();
    assert_eq!(fs::read_to_string(shared.join("exec_status/result")).expect("its result"), "result\n");
    assert!(!shared.join("tools").exists() && shared.join("auto_exec.sh").exists());
}

#[test]
#[ignore = "needs the built guest program; `make test` runs it"]
fn the_guest_program_is_small() {
    let bytes = fs::metadata(places::nlxtp_guest()).expect("the guest program").len();
    assert!(bytes <= MOST_BYTES, "nlxtp-guest has {bytes} bytes, more than {MOST_BYTES}");
}
