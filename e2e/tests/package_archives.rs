//! Packages on nodes without a network: the paper's sections 4.3.2 and 4.3.3.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::Container;
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::file_server::FileServer;
use nlxtp_e2e::places;
use nlxtp_e2e::process::{Finished, run};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(300);

/// A system that is probed, and installed on.
struct System {
    suite: &'static str,
    architecture: &'static str,
    /// How the archives call it.
    identifier: &'static str,
}

/// Each suite, and both architectures.
const SYSTEMS: [System; 3] = [
    System { suite: "bookworm", architecture: "amd64", identifier: "debian-12-amd64" },
    System { suite: "bullseye", architecture: "amd64", identifier: "debian-11-amd64" },
    System { suite: "trixie", architecture: "i386", identifier: "debian-13-i386" },
];

/// Each suite for the other architecture.
const OTHER_SYSTEMS: [System; 3] = [
    System { suite: "bookworm", architecture: "i386", identifier: "debian-12-i386" },
    System { suite: "bullseye", architecture: "i386", identifier: "debian-11-i386" },
    System { suite: "trixie", architecture: "amd64", identifier: "debian-13-amd64" },
];

impl System {
    fn root(&self) -> PathBuf {
        places::guest_root_of(self.suite, self.architecture)
    }

    /// A fresh node, stopped, with the guest program.
    fn node(&self) -> Container {
        let node = Container::copied_from(&self.root());
        node.install(&places::nlxtp_guest(), "/usr/bin/nlxtp-guest");
        node
    }

    /// A fresh node that reaches a package mirror, running.
    fn node_with(&self, mirror: &FileServer) -> Container {
        let mut node = self.node().with_network_of_the_host();
        mirror.is_package_source_of(&node.root(), self.identifier);
        node.start();
        node
    }
}

/// Fills a folder with the package files that a system misses.
fn fill_repository(root: &Path, folder: &Path, package: &str) {
    let mut command = Command::new(places::repository().join("scripts/package-repository.sh"));
    run(command.arg(root).arg(folder).arg(package), PATIENCE).success();
}

/// `nlxtp archive packages jq` for these nodes; the arguments come after.
fn archive_packages(folder: &TempDir, nodes: &[&Container], arguments: &[&str]) -> Finished {
    let mut command = Command::new(places::nlxtp());
    command.args(["archive", "packages", "jq", "--json", "--force-upload"]);
    for node in nodes {
        command.arg("--node").arg(node.shared_directory()).arg("--invoke").arg(node.invoke_command());
    }
    command.arg("--cache").arg(folder.path().join("cache")).args(arguments);
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1").env_remove("NLXTP_JOURNAL");
    run(&mut command, PATIENCE)
}

/// Runs an archive on a running node; returns how its start script ended, and the Custom Status.
fn run_archive(node: &Container, archive: &Path) -> (Value, String) {
    let target = Target::new(&node.shared_directory());
    target.upload(archive, &["--force", "--invoke", &node.invoke_command()]);
    target.call("wait", &["--timeout", "100s"]);
    let status = target.status(&[]);
    assert_eq!(status["state"], "finished", "{status}");
    let custom = status["custom"].as_str().unwrap_or_default().to_owned();
    (status, custom)
}

#[track_caller]
fn has_jq(node: &Container) {
    let answer = node.output_of("echo '{\"works\": [1, 2]}' | jq --compact-output .works");
    assert_eq!(answer, "[1,2]\n");
}

/// What has become of an experiment.
struct Installed {
    /// The nodes that reach this package mirror; nothing is installed there.
    probed: Vec<Container>,
    mirror: FileServer,
    archive: PathBuf,
}

/// The paper's third experiment: one archive installs a package and its dependencies on fresh nodes
/// of different systems, which have no network.
#[track_caller]
fn installs_on(folder: &TempDir, all: &[&System]) -> Installed {
    let repositories = folder.path().join("repositories");
    for system in all {
        fill_repository(&system.root(), &repositories.join(system.identifier), "jq");
    }
    let mirror = FileServer::of(&repositories);
    let probed: Vec<Container> = all.iter().map(|system| system.node_with(&mirror)).collect();
    let nodes: Vec<&Container> = probed.iter().collect();

    let archive = folder.path().join("jq.tar.gz");
    let output = ["-o", archive.to_str().expect("a path of ours")];
    // A node must not have the host ask just anybody.
    let refused = archive_packages(folder, &nodes, &[&output[..], &["--only-from", "http://elsewhere/"]].concat());
    assert_ne!(refused.code(), 0, "{refused:?}");
    assert!(refused.text().contains("--only-from"), "{refused:?}");
    assert!(!archive.exists(), "an archive was made all the same");

    let made = archive_packages(folder, &nodes, &output).success();
    let answer: Value = serde_json::from_slice(&made.stdout).expect("one JSON object");
    let systems = answer["systems"].as_array().expect("a list");
    assert_eq!(systems.len(), all.len(), "{answer}");
    for system in all {
        let list = systems.iter().find(|list| list["system"] == system.identifier);
        let list = list.unwrap_or_else(|| panic!("{} was not probed: {answer}", system.identifier));
        let files = list["files"].as_array().expect("a list");
        for package in ["jq_", "libjq1_", "libonig5_"] {
            let is_it = |file: &Value| file.as_str().is_some_and(|name| name.starts_with(package));
            assert!(files.iter().any(is_it), "{package} is not among {files:?}");
        }
    }
    let asked_for = mirror.asked_for();
    assert!(asked_for.iter().any(|path| path.ends_with(".deb")), "{asked_for:?}");

    for system in all {
        let mut node = system.node();
        node.start();
        assert!(!node.run("command -v jq", PATIENCE).status.success(), "jq was there before");
        assert_eq!(node.output_of("cat /proc/net/route | wc -l").trim(), "1", "there is a network");
        let (status, custom) = run_archive(&node, &archive);
        assert!(custom.starts_with(&format!("installed on {}: ", system.identifier)), "{status}");
        has_jq(&node);
        // Once more: all is there.
        let (status, custom) = run_archive(&node, &archive);
        assert!(custom.starts_with(&format!("nothing to do on {}: jq", system.identifier)), "{status}");
    }
    Installed { probed, mirror, archive }
}

#[test]
#[ignore = "needs root, a package mirror and prepared guests; `make test-long` runs it"]
fn one_archive_installs_on_each_suite_and_architecture() {
    let folder = places::temporary_folder("packages");
    installs_on(&folder, &SYSTEMS.iter().chain(&OTHER_SYSTEMS).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs root, a package mirror and prepared guests; `make test` runs it"]
fn one_archive_installs_on_all_probed_systems() {
    let folder = places::temporary_folder("packages");
    let Installed { probed, mirror, archive } = installs_on(&folder, &SYSTEMS.iter().collect::<Vec<_>>());

    // A node that has it already: an empty list, and success.
    let (status, custom) = run_archive(&probed[0], &archive);
    assert!(custom.starts_with("installed on"), "{status}");
    mirror.asked_for();
    let empty = folder.path().join("empty.tar.gz");
    let made = archive_packages(&folder, &[&probed[0]], &["-o", empty.to_str().expect("a path of ours")]).success();
    let answer: Value = serde_json::from_slice(&made.stdout).expect("one JSON object");
    assert_eq!(answer["systems"][0]["files"], Value::Array(Vec::new()), "{answer}");
    assert!(!mirror.asked_for().iter().any(|path| path.ends_with(".deb")), "something was downloaded");
    let (status, custom) = run_archive(&probed[0], &empty);
    assert!(custom.starts_with("nothing to do on"), "{status}");

    // A node of a system that was not probed is left alone, and says so.
    let mut stranger = SYSTEMS[1].node();
    stranger.start();
    let (status, custom) = run_archive(&stranger, &empty);
    assert!(custom.contains("was not probed"), "{status}");
    assert!(!stranger.run("command -v jq", PATIENCE).status.success());
}

/// The paper's second experiment: the archive holds zsh's package, whose dependencies were installed
/// before, and goes into a running container.
#[test]
#[ignore = "needs root, a package mirror and prepared guests; `make test` runs it"]
fn a_debian_package_installs_in_a_running_container() {
    let folder = places::temporary_folder("packages");
    let (packages, content) = (folder.path().join("packages"), folder.path().join("content"));
    let system = &SYSTEMS[0];
    fill_repository(&system.root(), &packages, "zsh");
    fs::create_dir(&content).expect("a folder for the archive's content");
    let mut node = system.node();
    let before = node.root().join("root/dependencies");
    fs::create_dir(&before).expect("a folder for the dependencies");
    for entry in fs::read_dir(&packages).expect("the package files").flatten() {
        let name = entry.file_name();
        let name = name.to_str().expect("a name of Debian's");
        if name.starts_with("zsh_") {
            fs::copy(entry.path(), content.join("zsh.deb")).expect("zsh's package");
        } else if name.ends_with(".deb") {
            fs::copy(entry.path(), before.join(name)).expect("a dependency's package");
        }
    }
    fs::write(content.join("auto_exec.sh"), "#!/bin/sh\nexec dpkg --install \"$archive_dir/zsh.deb\"\n")
        .expect("the start script");
    let archive = folder.path().join("zsh.tar");
    run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&content).arg("."), PATIENCE).success();

    node.start();
    node.run("dpkg --install /root/dependencies/*.deb", PATIENCE).success();
    assert!(!node.run("command -v zsh", PATIENCE).status.success(), "zsh was there before");
    let (status, _) = run_archive(&node, &archive);
    assert_eq!(status["exit_code"], 0, "{status}");
    assert_eq!(node.output_of("zsh -c 'print ${(U):-it works}'"), "IT WORKS\n");
}
