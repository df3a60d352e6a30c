//! The Python module over the library, `python/nlxtp_ctypes`, with this host's Python 3. With Python 2.7,
//! and with real guests, it is tested by `e2e/tests/tomato.rs`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory with `libnlxtp.so`: this test's own, or the one above.
fn library() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let found = own.ancestors().skip(1).take(2).find(|directory| directory.join("libnlxtp.so").is_file());
    found.expect("libnlxtp.so is built with its tests").join("libnlxtp.so")
}

fn test(module: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = [here.join("python"), here.join("python/tests")];
    let output = Command::new("python3")
        .args(["-W", "error", "-m", "unittest", "-v", module])
        .env("PYTHONPATH", std::env::join_paths(modules).unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NLXTP_LIBRARY", library())
        .env("NLXTP_HEADER", here.join("include/nlxtp.h"))
        .output()
        .unwrap_or_else(|error| panic!("python3: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    let passed = told.lines().filter(|line| line.ends_with("ok")).count();
    assert!(output.status.success() && passed > 3, "{}\n{told}", output.status);
}

#[test]
#[ignore = "needs Python 3 and a C compiler; `make test` runs it"]
fn the_module() {
    test("test_ctypes");
}

#[test]
#[ignore = "needs Python 3; `make test` runs it"]
fn watchers_and_descriptors() {
    test("test_watcher");
}

#[test]
#[ignore = "needs Python 3; `make test` runs it"]
fn disks_downloads_and_journals() {
    test("test_disks");
}

#[test]
#[ignore = "needs Python 3; `make test` runs it"]
fn signals() {
    test("test_interrupts");
}

#[test]
#[ignore = "needs Python 3, mtools, dosfstools and fdisk; `make test` runs it"]
fn elements_like_those_of_tomato() {
    test("test_tomato");
}
