//! Nodes that lose their power between the probing and the installation, and in the middle of it. What was cut
//! off is never called done, and the next upload of the same archive completes it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::file_server::FileServer;
use nlxtp_e2e::process::{run, wait_until};
use nlxtp_e2e::{Container, places};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(100);
const SYSTEM: &str = "debian-12-amd64";

/// In place of the program that reads packages for dpkg: when it is to give their files, it gives a part of them.
const GIVES_A_PART: &str = "#!/bin/sh
[ \"$1\" = --fsys-tarfile ] || exec dpkg-deb.whole \"$@\"
dpkg-deb.whole \"$@\" | head -c 60000
";

/// Lines of a script that hold it for as long as there is a file, and tell that it holds.
fn holds(moment: &str) -> String {
    format!("while [ -e /run/hold-{moment} ]; do touch /run/holds; sleep 0.05; done\n")
}

/// States of the packages as dpkg tells them.
const UNPACKED_AND_NOT: &str = "example-lib: install ok unpacked\nexample-tool: install reinstreq half-installed\n";
const NOT_CONFIGURED: &str = "example-lib: install ok half-configured\nexample-tool: install ok unpacked\n";

/// Two packages, one of which needs the other, and the archive that installs them on a node like those here.
struct Scene {
    _folder: TempDir,
    archive: PathBuf,
}

impl Scene {
    /// Probes a node, and makes the archive of its answer; returns the node, too.
    fn probed() -> (Self, Container) {
        let folder = places::temporary_folder("packages");
        let packages = folder.path().join("packages");
        fs::create_dir(&packages).expect("a folder for the packages");
        build(&packages, "example-lib", "", "postinst");
        build(&packages, "example-tool", "Depends: example-lib\n", "preinst");
        list(&packages);
        let mirror = FileServer::of(folder.path());
        let mut node = fresh_node().with_network_of_the_host();
        mirror.is_package_source_of(&node.root(), "packages");
        node.start();
        let archive = folder.path().join("example.tar.gz");
        let mut command = Command::new(places::nlxtp());
        command.args(["archive", "packages", "example-tool", "--node"]).arg(node.shared_directory());
        command.arg("--force-upload").arg("-o").arg(&archive).arg("--cache").arg(folder.path().join("cache"));
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1").env_remove("NLXTP_JOURNAL");
        run(&mut command, PATIENCE).success();
        (Self { _folder: folder, archive }, node)
    }

    #[track_caller]
    fn upload(&self, node: &Container) -> Target {
        let target = Target::new(&node.shared_directory());
        target.upload(&self.archive, &["--force"]);
        target
    }
}

/// A stopped node, whose daemon starts at its boot.
fn fresh_node() -> Container {
    let node = Container::copied_from(&places::guest_root_of("bookworm", "amd64"));
    node.install(&places::nlxtp_guest(), "/usr/bin/nlxtp-guest");
    node.start_at_boot("exec nlxtp-guest daemon");
    node
}

/// Builds a package with a program of its name, these control lines, and this script, which may be held and
/// be made to fail.
fn build(folder: &Path, name: &str, control: &str, script: &str) {
    let tree = folder.join(name);
    for directory in ["DEBIAN", "usr/bin", "usr/share"] {
        fs::create_dir_all(tree.join(directory)).expect("a folder of the package");
    }
    let control = format!(
        "Package: {name}\nVersion: 1.0-1\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\n{control}Description: an example\n"
    );
    fs::write(tree.join("DEBIAN/control"), control).expect("its description");
    fs::write(tree.join("usr/share").join(name), vec![7; 100_000]).expect("its data");
    executable(&tree.join("DEBIAN").join(script), &format!("#!/bin/sh\n{}[ ! -e /run/fails ]\n", holds(script)));
    executable(&tree.join("usr/bin").join(name), "#!/bin/sh\necho it works\n");
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "--build"]).arg(&tree).arg(folder.join(format!("{name}_1.0-1_all.deb")));
    run(&mut command, PATIENCE).success();
}

fn executable(path: &Path, script: &str) {
    fs::write(path, script).expect("a script");
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("its mode");
}

/// Writes the list of the packages in a folder.
fn list(folder: &Path) {
    let script = "for file in *.deb; do dpkg-deb --field \"$file\"
        printf 'Filename: ./%s\\nSize: %s\\n' \"$file\" \"$(stat -c %s \"$file\")\"
        printf 'SHA256: %s\\n\\n' \"$(sha256sum <\"$file\" | cut -d ' ' -f 1)\"; done >Packages";
    run(Command::new("sh").args(["-e", "-c", script]).current_dir(folder), PATIENCE).success();
}

/// Waits for the installation, and that it is whole.
#[track_caller]
fn is_installed(node: &Container, target: &Target) {
    let waited = target.call("wait", &["--timeout", "100s"]);
    let status = target.status(&[]);
    assert_eq!(
        waited.code(),
        0,
        "{status} {}{}",
        target.call("logs", &["--stderr"]).text(),
        target.call("logs", &[]).text()
    );
    assert_eq!(status["custom"], format!("installed on {SYSTEM}: example-lib example-tool\n"), "{status}");
    assert_eq!(node.output_of("example-lib; example-tool; dpkg --audit"), "it works\nit works\n");
}

/// What dpkg says of the packages: which it knows, and in which state they are.
fn states(node: &Container) -> String {
    node.output_of("dpkg-query --show --showformat '${Package}: ${Status}\\n' 'example-*' 2>/dev/null || true")
}

/// Has an installation cut off at a moment, and done again after `mend`. Then, `left` is what dpkg knows of the
/// packages.
#[track_caller]
fn a_loss_of_power(scene: &Scene, moment: &str, mut node: Container, mend: impl Fn(&Container), left: &str) {
    let (hold, held) = (node.root().join(format!("run/hold-{moment}")), node.root().join("run/holds"));
    fs::write(&hold, "").expect("a file that holds the script");
    node.start();
    let target = scene.upload(&node);
    wait_until("the installation to be held", PATIENCE, || held.exists().then_some(()));
    let status = target.status(&[]);
    assert_eq!((&status["state"], &status["done"]), (&"running".into(), &false.into()), "{status}");
    assert_eq!(status["custom"], format!("installing on {SYSTEM}: example-tool\n"), "{status}");
    node.pull_the_plug();
    let status = target.status(&["--guest-power", "off"]);
    assert_eq!((&status["state"], &status["done"]), (&"monitor-stopped".into(), &false.into()), "{status}");

    fs::remove_file(&hold).expect("the script is let go");
    mend(&node);
    node.start();
    let closed = wait_until("the daemon to close the run", PATIENCE, || {
        let status = target.status(&[]);
        (status["state"] == "guest-rebooted").then_some(status)
    });
    assert_eq!((&closed["done"], &closed["exit_code"]), (&false.into(), &Value::Null), "{closed}");
    assert_eq!(target.call("wait", &["--timeout", "100s"]).code(), 13);
    assert_eq!(states(&node), left, "at {moment}");

    is_installed(&node, &scene.upload(&node));
    // And once more: there is nothing to do.
    let target = scene.upload(&node);
    assert_eq!(target.call("wait", &["--timeout", "100s"]).code(), 0);
    let custom = &target.status(&[])["custom"];
    assert_eq!(*custom, format!("nothing to do on {SYSTEM}: example-tool: installed already\n"));
}

#[test]
#[ignore = "needs root and prepared guests; `make test` runs it"]
fn a_node_that_dies_between_probing_and_installing() {
    let (scene, mut node) = Scene::probed();
    node.pull_the_plug();
    let target = scene.upload(&node);
    assert_eq!(target.status(&["--guest-power", "off"])["state"], "not-started");
    node.start();
    is_installed(&node, &target);
}

#[test]
#[ignore = "needs root and prepared guests; `make test` runs it"]
fn a_node_that_dies_in_the_middle_of_installing() {
    let (scene, _node) = Scene::probed();
    // While dpkg writes the files of the first package.
    let node = fresh_node();
    let program = node.root().join("usr/bin/dpkg-deb");
    fs::rename(&program, node.root().join("usr/bin/dpkg-deb.whole")).expect("dpkg-deb, put aside");
    executable(&program, &format!("{GIVES_A_PART}{}", holds("files")));
    let mend = |node: &Container| {
        fs::rename(node.root().join("usr/bin/dpkg-deb.whole"), node.root().join("usr/bin/dpkg-deb")).expect("put back");
    };
    a_loss_of_power(&scene, "files", node, mend, "example-lib: install reinstreq half-installed\n");
    // Before it writes those of the second one; and while it configures the first one.
    let nothing = |_: &Container| ();
    a_loss_of_power(&scene, "preinst", fresh_node(), nothing, UNPACKED_AND_NOT);
    a_loss_of_power(&scene, "postinst", fresh_node(), nothing, NOT_CONFIGURED);
}

#[test]
#[ignore = "needs root and prepared guests; `make test` runs it"]
fn an_installation_that_fails_says_why_and_is_completed_by_the_next() {
    let (scene, _node) = Scene::probed();
    let mut node = fresh_node();
    let fails = node.root().join("run/fails");
    fs::write(&fails, "").expect("a file that makes the scripts fail");
    node.start();
    let target = scene.upload(&node);
    assert_eq!(target.call("wait", &["--timeout", "100s"]).code(), 10);
    let custom = target.status(&[])["custom"].as_str().expect("a reason").to_owned();
    for words in [
        "failed: example-tool: not installed",
        "dpkg: error processing",
        "pre-installation script subprocess returned error",
    ] {
        assert!(custom.contains(words), "{custom}");
    }
    fs::remove_file(&fails).expect("the scripts are mended");
    is_installed(&node, &scene.upload(&node));
}
