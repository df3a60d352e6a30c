//! The wheel of the Python package on the oldest Python that it is made for: 3.9, on a Debian bullseye of
//! its own, with a C library older than this host's.
//!
//! The tests themselves are Python: `bindings-python/tests/test_installed.py`, and those of elements like
//! ToMaTo's in `bindings-c/python/tests`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::places;
use nlxtp_e2e::process::run;

/// For a whole suite, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// The wheel that `make python-package` has made.
fn wheel() -> PathBuf {
    let dist = places::repository().join("bindings-python/dist");
    let files = fs::read_dir(&dist).map(|found| found.filter_map(Result::ok).map(|entry| entry.path()).collect());
    let wheels =
        files.unwrap_or_else(|_| Vec::new()).into_iter().filter(|path| path.extension() == Some("whl".as_ref()));
    let mut wheels: Vec<PathBuf> = wheels.collect();
    assert_eq!(wheels.len(), 1, "one wheel in {}: run `make python-package` (`make test` does)", dist.display());
    wheels.remove(0)
}

/// A host with the wheel unpacked where its Python finds it, as pip would unpack it.
fn host_folder() -> tempfile::TempDir {
    let folder = places::temporary_folder("python-package");
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("share/nlxtp/python")).expect("a folder for the package");
    let mut unzip = Command::new(places::tool("unzip"));
    run(unzip.arg("-q").arg(wheel()).arg("-d").arg(path("share/nlxtp/python")), PATIENCE).success();
    let tests = places::repository().join("bindings-c/python/tests");
    run(Command::new("cp").arg("-r").arg(tests).arg(path("tests")), PATIENCE).success();
    let own = places::repository().join("bindings-python/tests/test_installed.py");
    fs::copy(own, path("tests/test_installed.py")).expect("the package's test");
    fs::copy(places::nlxtp_guest(), path("nlxtp-guest")).expect("the guest's program");
    fs::copy(places::guest_boot().join("busybox"), path("busybox")).expect("busybox");
    folder
}

/// Runs test modules with that host's Python, which must succeed, and must not be empty.
fn test(root: &Path, folder: &Path, environment: &[&str], modules: &[&str]) {
    let mut python = Command::new(places::tool("unshare"));
    python.args(["--mount", "--propagation", "private", "--", "sh"]).arg(places::guest_file("python2-host.sh"));
    python.arg(root).arg(folder).arg("env").args(environment);
    python.args(["python3.9", "-W", "error", "-m", "unittest", "-v"]).args(modules);
    let told = run(&mut python, PATIENCE).success().error_text();
    let passed = told.lines().filter(|line| line.ends_with("ok")).count();
    assert!(passed > 3 && told.trim_end().ends_with("OK"), "{told}");
}

#[test]
#[ignore = "needs root, debootstrap and network access to Debian; `make test` runs it"]
fn the_oldest_python() {
    places::require_root();
    let root = places::target().join("guests/python2");
    assert!(
        root.join("usr/bin/python3.9").exists(),
        "no Python 3.9 in {}: run scripts/python2-root.sh (`make test` does)",
        root.display()
    );
    let folder = host_folder();
    // With the program that the wheel holds.
    test(&root, folder.path(), &["-u", "NLXTP_GUEST"], &["test_installed"]);
    test(&root, folder.path(), &["NLXTP_TOMATO=nlxtp.tomato"], &["test_tomato", "test_container"]);
}
