//! The journal with real guests: the paper's first experiment (section 4.3.1) on containers and virtual
//! machines is recorded, verified, and done again on fresh ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::accelerator::Accelerator;
use nlxtp_e2e::experiment::{Experiment, Interpreter};
use nlxtp_e2e::process::{Finished, run};
use nlxtp_e2e::{Container, Initramfs, places};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(240);

const DAEMON: &str = "exec /usr/bin/nlxtp-guest daemon";

/// A folder with an experiment's journal and archives.
struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self { folder: places::temporary_folder("journal") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Calls `nlxtp` with the journal in the environment.
    #[track_caller]
    fn call(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(places::nlxtp());
        command.env("XDG_STATE_HOME", self.path("state")).env("NLXTP_JOURNAL", self.path("journal.jsonl"));
        run(command.args(arguments), PATIENCE)
    }

    /// The whole cycle with a node.
    #[track_caller]
    fn cycle(&self, target: &Path, node: &str, archive: &Path, options: &[&str]) {
        let (target, archive) = (target.to_str().unwrap(), archive.to_str().unwrap());
        let named = ["--node", node, "--guest-power", "on"];
        self.call(&[&["upload", target, archive, "--keep-archives"], &named[..], options].concat()).success();
        self.call(&[&["wait", target, "--timeout", "200s"], &named[..]].concat()).success();
        let results = self.path(&format!("{node}-results.tar.gz"));
        self.call(&["download", target, results.to_str().unwrap(), "--node", node]).success();
    }

    /// Replays on fresh nodes, and returns the exit code and the answer.
    #[track_caller]
    fn replay(&self, options: &[&str]) -> (i32, Value) {
        let journal = self.path("journal.jsonl");
        let mut command = Command::new(places::nlxtp());
        command.env("XDG_STATE_HOME", self.path("state")).env_remove("NLXTP_JOURNAL");
        command.args(["journal", "replay"]).arg(journal).args(["--json", "--timeout", "200s"]).args(options);
        let finished = run(&mut command, PATIENCE);
        let answer = serde_json::from_slice(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
        (finished.code(), answer)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Of a machine that a failed test has left on.
        let kill = "for pid in \"$1\"/*.pid; do [ ! -e \"$pid\" ] || kill -KILL \"$(cat \"$pid\")\"; done";
        let _ = Command::new("sh").args(["-c", kill, "sh"]).arg(self.folder.path()).status();
    }
}

fn container_with_daemon() -> Container {
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    container.start_at_boot(DAEMON);
    container.start();
    container
}

fn on(node: &str, container: &Container) -> String {
    format!("{node}={}", container.shared_directory().display())
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn an_experiment_on_two_containers_is_recorded_verified_and_repeated() {
    let folder = Folder::new();
    let experiment = Experiment::new(Interpreter::Bash);
    let first = container_with_daemon();
    let second = container_with_daemon();
    folder.cycle(&first.shared_directory(), "first", &experiment.archive(), &[]);
    folder.cycle(&second.shared_directory(), "second", &experiment.archive(), &[]);
    let show = folder.call(&["journal", "show"]).success().text();
    assert!(show.contains("finished, exit code 0"), "{show}");
    let verified = folder.call(&["journal", "verify", "--complete"]).success().text();
    assert!(verified.ends_with("all is as the journal says\n"), "{verified}");

    let fresh = container_with_daemon();
    let other = container_with_daemon();
    let (code, answer) = folder.replay(&["--on", &on("first", &fresh), "--on", &on("second", &other)]);
    assert_eq!((code, &answer["same"]), (0, &true.into()), "{answer}");
}

/// A container without a daemon, whose monitor the replay invokes.
#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_replay_invokes_the_monitor() {
    let folder = Folder::new();
    let experiment = Experiment::new(Interpreter::Bash);
    let mut first = Container::with_guest_program(&places::nlxtp_guest());
    first.start();
    folder.cycle(&first.shared_directory(), "node", &experiment.archive(), &["--invoke", &first.invoke_command()]);
    let mut fresh = Container::with_guest_program(&places::nlxtp_guest());
    fresh.start();
    let (code, answer) = folder.replay(&["--on", &on("node", &fresh), "--invoke", &fresh.invoke_command()]);
    assert_eq!((code, &answer["same"]), (0, &true.into()), "{answer}");
}

/// Shell commands that turn a virtual machine with the disk `$NLXTP_TARGET` on and off, as a testbed has them.
fn power_commands(folder: &Folder) -> [String; 2] {
    let initramfs = folder.path("initramfs");
    Initramfs::Daemon(places::nlxtp_guest()).build(&initramfs, "");
    let on = format!(
        "exec {qemu} -nodefaults -no-user-config -nic none -display none -m 128 -accel {accelerator} \
         -kernel {kernel} -initrd {initramfs} -append 'quiet no_timer_check' \
         -drive if=virtio,format=raw,file=\"$NLXTP_TARGET\" -pidfile \"$NLXTP_TARGET.pid\" -daemonize",
        qemu = places::tool("qemu-system-x86_64").display(),
        accelerator = Accelerator::of_this_machine().name(),
        kernel = places::guest_boot().join("vmlinuz").display(),
        initramfs = initramfs.display(),
    );
    let off = "pid=$(cat \"$NLXTP_TARGET.pid\") && kill \"$pid\" && \
               while [ -e \"$NLXTP_TARGET.pid\" ]; do sleep 0.1; done";
    [on, off.into()]
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn an_experiment_on_a_virtual_machine_is_repeated_on_another() {
    let folder = Folder::new();
    let [on, off] = power_commands(&folder);
    let experiment = Experiment::new(Interpreter::Sh);
    let [disk, other] = ["disk.img", "other.img"].map(|name| {
        let disk = folder.path(name).display().to_string();
        folder.call(&["disk", "create", &disk]).success();
        disk
    });
    let archive = experiment.archive().display().to_string();
    let call = |verb: &str, options: &[&str]| {
        folder.call(&[&[verb, &disk], options, &["--node", "machine"]].concat()).success();
    };
    let power = |command: &str| {
        run(Command::new("sh").args(["-c", command]).env("NLXTP_TARGET", &disk), PATIENCE).success();
    };
    call("upload", &[&archive, "--keep-archives", "--guest-power", "off"]);
    power(&on);
    call("wait", &["--timeout", "200s", "--guest-power", "on"]);
    power(&off);
    call("download", &[folder.path("results.tar.gz").to_str().unwrap()]);

    let new = format!("machine={other}");
    let (code, answer) = folder.replay(&["--on", &new, "--power-on", &on, "--power-off", &off]);
    assert_eq!((code, &answer["same"]), (0, &true.into()), "{answer}");
    assert!(!folder.path("other.img.pid").exists(), "the machine is turned off in the end");
}

/// The start script looks at what the guest is like, so that a replay elsewhere comes out otherwise.
const DEPENDS_ON_THE_GUEST: &str = "#!/bin/sh
cd \"$archive_dir\" || exit
echo same >same
cat /etc/flavour >flavour
read -r flavour </etc/flavour
test \"$flavour\" = sweet || { touch sour; exit 3; }
";

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn a_replay_that_comes_out_otherwise_says_where() {
    let folder = Folder::new();
    let content = folder.path("content");
    fs::create_dir(&content).unwrap();
    fs::write(content.join("auto_exec.sh"), DEPENDS_ON_THE_GUEST).unwrap();
    run(Command::new("chmod").arg("755").arg(content.join("auto_exec.sh")), PATIENCE).success();
    let archive = folder.path("archive.tar");
    folder.call(&["archive", "create", content.to_str().unwrap(), "-o", archive.to_str().unwrap()]).success();

    let container = container_with_daemon();
    container.output_of("echo sweet >/etc/flavour");
    folder.cycle(&container.shared_directory(), "node", &archive, &[]);
    container.output_of("echo sour >/etc/flavour");
    let (code, answer) = folder.replay(&["--on", &on("node", &container)]);
    assert_eq!((code, &answer["same"]), (16, &false.into()), "{answer}");
    let differences = |step: &str| {
        let steps = answer["steps"].as_array().unwrap();
        let step = steps.iter().find(|found| found["step"] == step).unwrap_or_else(|| panic!("no {step}: {answer}"));
        step["differences"].as_array().unwrap().clone()
    };
    assert!(differences("upload").is_empty(), "{answer}");
    assert_eq!(differences("end"), [json!({"about": "exit code", "recorded": "0", "found": "3"})]);
    let [flavour, sour] = &differences("download")[..] else { panic!("{answer}") };
    let told = |difference: &Value, key: &str| difference[key].as_str().unwrap().to_owned();
    assert_eq!(told(flavour, "about"), "flavour");
    assert!(told(flavour, "recorded").starts_with("file of 6 bytes, sha256 "), "{answer}");
    assert!(told(flavour, "found").starts_with("file of 5 bytes, sha256 "), "{answer}");
    assert_eq!((told(sour, "about"), told(sour, "recorded")), ("sour".into(), "not there".into()));
}
