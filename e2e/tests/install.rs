//! Installing the guest program: into root file systems of Debian's releases, offline and from
//! within, over ToMaTo's modules, and away again. What is installed then runs the whole cycle.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::experiment::{Experiment, Interpreter};
use nlxtp_e2e::system::install_offline;
use nlxtp_e2e::{Container, places};

const PATIENCE: Duration = Duration::from_secs(180);
const ON: [&str; 2] = ["--guest-power", "on"];
const OFF: [&str; 2] = ["--guest-power", "off"];
const INSTALLED: &str = "/usr/local/sbin/nlxtp-guest";

/// What uninstalling must bring back: every path with its kind, permissions, and size or target.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, u64, PathBuf)> {
    let mut tree = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the guest").map(|entry| entry.expect("an entry")) {
            let (path, about) = (entry.path(), entry.metadata().expect("an entry of the guest"));
            let relative = path.strip_prefix(root).expect("beneath it").to_owned();
            let size = if about.is_dir() { 0 } else { about.size() };
            tree.insert(relative, (about.permissions().mode(), size, fs::read_link(&path).unwrap_or_default()));
            if about.is_dir() {
                left.push(path);
            }
        }
    }
    tree
}

/// An upload, a run at the next boot, and a download; the container is stopped before and after.
#[track_caller]
fn whole_cycle(container: &mut Container) {
    let experiment = Experiment::new(Interpreter::Bash);
    let target = Target::new(&container.shared_directory());
    target.upload(&experiment.archive(), &OFF);
    container.start();
    experiment.judge_status(&target.watch(&ON, PATIENCE));
    target.download(&experiment.download());
    experiment.judge_download();
    container.stop();
}

/// Installs offline, boots, runs the cycle, and removes all of it from within.
#[track_caller]
fn installed_into(original: &Path) {
    let mut container = Container::copied_from(original);
    let root = container.root();
    fs::remove_dir(root.join("mnt/nlXTP")).expect("made by scripts/guest-root.sh");
    let before = tree(&root);

    let planned = install_offline("install", &root, &["--dry-run"]);
    assert_eq!(tree(&root), before, "a dry run changes nothing");
    let done = install_offline("install", &root, &[]);
    assert_eq!(planned.lines().skip(1).collect::<Vec<_>>(), done.lines().collect::<Vec<_>>());
    assert!(done.contains(&format!("write    {INSTALLED}\n")), "{done}");
    let again = install_offline("install", &root, &[]);
    assert!(again.lines().all(|line| line.starts_with("same ")), "{again}");

    // These roots have no init system, so their first process starts the daemon, as the report says.
    container.start_at_boot(&format!("exec {INSTALLED} daemon"));
    whole_cycle(&mut container);
    let console = container.console().text();
    assert!(!console.contains("mounted") && !console.contains("waiting for"), "a container: {console}");

    fs::remove_file(root.join("etc/guest-program")).expect("written above");
    container.start();
    container.output_of("rm -rf /mnt/nlXTP/* /mnt/nlXTP/.[!.]*");
    let report = container.output_of(&format!("{INSTALLED} uninstall"));
    assert!(!report.contains("left "), "{report}");
    container.stop();
    let without_boot = |tree: BTreeMap<PathBuf, _>| -> BTreeMap<PathBuf, _> {
        tree.into_iter().filter(|(path, _)| !path.starts_with("run") && !path.starts_with("dev")).collect()
    };
    let (before, after) = (without_boot(before), without_boot(tree(&root)));
    let differing: Vec<_> = after.iter().filter(|(path, about)| before.get(*path) != Some(about)).collect();
    assert!(differing.is_empty(), "left behind: {differing:?}");
    let lost: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_debian_bookworm_is_installed_into_and_left_as_it_was() {
    installed_into(&places::guest_root());
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_debian_bullseye_is_installed_into_and_left_as_it_was() {
    installed_into(&places::guest_root_of("bullseye", "amd64"));
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_debian_trixie_is_installed_into_and_left_as_it_was() {
    installed_into(&places::guest_root_of("trixie", "i386"));
}

/// Programs of the form of ToMaTo's: bash, a daemon that polls, a monitor that it calls.
fn put_tomatos_modules(root: &Path) {
    let programs = [
        (
            "usr/bin/nlXTP_daemon",
            "#!/bin/bash\necho $$ >/run/theirs\nsource /etc/nlXTP.conf\nwhile :; do sleep $nlxtp_daemon_check_interval; done\n",
        ),
        ("usr/bin/nlXTP_mon", "#!/bin/bash\necho 'the old monitor'\n"),
        ("etc/init.d/nlXTP_daemon", "#!/bin/bash\n[ \"$1\" = start ] && /usr/bin/nlXTP_daemon --background\n"),
    ];
    for (path, text) in programs {
        fs::write(root.join(path), text).expect("a module");
        fs::set_permissions(root.join(path), PermissionsExt::from_mode(0o755)).expect("a module");
    }
    fs::create_dir_all(root.join("etc/rc2.d")).expect("a run level");
    symlink("../init.d/nlXTP_daemon", root.join("etc/rc2.d/S03nlXTP_daemon")).expect("a link");
    let configuration = "# of the testbed\nnlxtp_dir=/mnt/nlXTP\nnlxtp_mode=2\nnlxtp_mon_check_interval=2\n\
                         nlxtp_daemon_check_interval=3\nnlxtp_mon_command=\"nlXTP_mon\"\n";
    fs::write(root.join("etc/nlXTP.conf"), configuration).expect("a configuration");
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn tomatos_modules_are_replaced_while_they_run() {
    let mut container = Container::create();
    put_tomatos_modules(&container.root());
    container.install(&places::nlxtp_guest(), "/root/nlxtp-guest");
    container.start_at_boot("exec /usr/bin/nlXTP_daemon");
    container.start();
    let refused = container.run("/root/nlxtp-guest install", PATIENCE);
    assert_eq!(refused.code(), 1);
    assert!(refused.error_text().contains("nlxtp-guest upgrade"), "{refused:?}");
    container
        .run("for try in $(seq 300); do [ ! -s /run/theirs ] || exit 0; sleep 0.1; done; exit 1", PATIENCE)
        .success();
    container.output_of("kill -0 $(cat /run/theirs)");

    let report = container.output_of("/root/nlxtp-guest upgrade");
    assert!(report.contains("remove   /usr/bin/nlXTP_daemon"), "{report}");
    let ended = "for try in $(seq 300); do kill -0 $(cat /run/theirs) || exit 0; sleep 0.1; done 2>/dev/null; exit 1";
    container.run(ended, PATIENCE).success();
    let holds = container.output_of(&format!("{INSTALLED} check-config"));
    assert!(holds.contains("from /etc/nlxtp.conf") && holds.contains("nlxtp_mon_check_interval=2\n"), "{holds}");
    assert!(holds.contains("nlxtp_daemon_check_interval=3\n") && holds.contains("nlxtp_device=auto\n"), "{holds}");

    // A host made for ToMaTo calls the monitor by its old name, whatever the new one is.
    let experiment = Experiment::new(Interpreter::Bash);
    let target = Target::new(&container.shared_directory());
    let invoke = container.host_command_for("/usr/bin/nlXTP_mon --background");
    target.upload(&experiment.archive(), &["--guest-power", "on", "--invoke", &invoke]);
    experiment.judge_status(&target.watch(&ON, PATIENCE));
    target.download(&experiment.download());
    experiment.judge_download();
    container.stop();
}
