//! ToMaTo's elements over the Python module of the C library, as it is installed: on a host of the time
//! of Python 2.7 (Debian bullseye), with the library linked for that one, and on this host.
//!
//! The tests themselves are Python: `bindings-c/python/tests`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::places;
use nlxtp_e2e::process::{Finished, run};

/// For compiling and linking the library, or a whole suite.
const PATIENCE: Duration = Duration::from_secs(900);

/// The library with its module, installed for one test, and what the tests need beside it.
struct Installed {
    folder: tempfile::TempDir,
}

impl Installed {
    fn new(sysroot: Option<&Path>) -> Self {
        places::require_root();
        let installed = Self { folder: places::temporary_folder("tomato") };
        let mut make = Command::new("make");
        make.arg("-C").arg(places::repository().join("bindings-c")).arg("install");
        make.arg(format!("PREFIX={}", installed.path("").display()));
        if let Some(sysroot) = sysroot {
            // Not where the library for this host is linked.
            make.arg(format!("SYSROOT={}", sysroot.display()));
            make.arg(format!("BUILT={}", installed.path("built").display()));
        }
        run(&mut make, PATIENCE).success();
        let tests = places::repository().join("bindings-c/python/tests");
        run(Command::new("cp").arg("-r").arg(tests).arg(installed.path("tests")), PATIENCE).success();
        fs::copy(places::nlxtp_guest(), installed.path("nlxtp-guest")).expect("the guest's program");
        fs::copy(places::guest_boot().join("busybox"), installed.path("busybox")).expect("busybox");
        installed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The root file system with Python 2.7.
fn python2_root() -> PathBuf {
    let root = places::target().join("guests/python2");
    assert!(
        root.join("etc/nlxtp-python2-root").exists(),
        "no root file system with Python 2.7 in {}: run scripts/python2-root.sh (`make test` does)",
        root.display()
    );
    root
}

/// Runs test modules, which must succeed, and must not be empty.
fn test(mut python: Command, modules: &[&str]) {
    let finished: Finished = run(python.args(["-m", "unittest", "-v"]).args(modules), PATIENCE).success();
    let told = finished.error_text();
    let passed = told.lines().filter(|line| line.ends_with("ok")).count();
    assert!(passed > 3 && told.trim_end().ends_with("OK"), "{told}");
}

#[test]
#[ignore = "needs root, debootstrap and network access to Debian; `make test` runs it"]
fn a_hostmanager_on_python_2_7() {
    let root = python2_root();
    let installed = Installed::new(Some(&root));
    // It is the library for that host: with nothing of its C library that is newer.
    let symbols = Command::new(places::tool("objdump")).arg("-T").arg(installed.path("lib/libnlxtp.so.0")).output();
    let symbols = String::from_utf8(symbols.expect("objdump runs").stdout).expect("text");
    let newest = |name: &str| symbols.contains(&format!("(GLIBC_2.{name})"));
    assert!(newest("2.5") && !(32..60).any(|minor| newest(&minor.to_string())), "{symbols}");
    let mut python = Command::new(places::tool("unshare"));
    python.args(["--mount", "--propagation", "private", "--", "sh"]).arg(places::guest_file("python2-host.sh"));
    python.arg(&root).arg(installed.path(""));
    // Not with anything of this host's.
    python.arg("python2.7");
    test(python, &["test_ctypes", "test_disks", "test_watcher", "test_interrupts", "test_tomato", "test_container"]);
}

#[test]
#[ignore = "needs root; `make test` runs it"]
fn a_hostmanager_on_python_3() {
    let installed = Installed::new(None);
    let mut python = Command::new("python3");
    python.args(["-W", "error"]).env_remove("NLXTP_LIBRARY").env("PYTHONDONTWRITEBYTECODE", "1");
    let modules = [installed.path("share/nlxtp/python"), installed.path("tests")];
    python.env("PYTHONPATH", std::env::join_paths(modules).expect("paths"));
    python.env("NLXTP_GUEST", installed.path("nlxtp-guest")).env("NLXTP_BUSYBOX", installed.path("busybox"));
    python.env("TMPDIR", installed.path(""));
    test(python, &["test_container"]);
}
