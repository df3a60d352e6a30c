//! The comparison with the last release's ABI (`scripts/check-abi.sh`), and that it can fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

struct Checker {
    scratch: TempDir,
}

/// What the checker said, if it was content.
type Said = Result<String, String>;

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The folder with the library: this test's own, or the one above.
fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.expect("the library is built with its tests")
}

fn call(command: &mut Command) -> Said {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(text) } else { Err(text) }
}

fn check_abi(arguments: &[&Path]) -> Said {
    call(Command::new(here("../scripts/check-abi.sh")).args(arguments))
}

impl Checker {
    /// One for which what there is now is the last release.
    fn new() -> Self {
        let checker = Self { scratch: tempfile::tempdir().unwrap() };
        check_abi(&[Path::new("--write"), &checker.path("release.abi")]).unwrap();
        checker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn check(&self, library: &Path, header: &Path) -> Said {
        check_abi(&[library, header, &self.path("release.abi")])
    }

    /// With the header as it would be after a change.
    fn changed(&self, from: &str, to: &str) -> Said {
        let old = fs::read_to_string(here("include/nlxtp.h")).unwrap();
        let new = old.replace(from, to);
        assert_ne!(old, new, "the header has no {from:?}");
        fs::write(self.path("changed.h"), new).unwrap();
        self.check(&built("libnlxtp.so"), &self.path("changed.h"))
    }
}

#[test]
#[ignore = "needs abidiff and a C compiler; `make test` runs it"]
fn the_library_keeps_the_abi_of_the_last_release() {
    let said = check_abi(&[&built("libnlxtp.so")]).unwrap();
    assert!(said.contains("work on") || said.contains("no release has an ABI"), "{said}");
}

#[test]
#[ignore = "needs abidiff and a C compiler; `make test` runs it"]
fn changes_that_break_programs_are_found() {
    let checker = Checker::new();
    checker.check(&built("libnlxtp.so"), &here("include/nlxtp.h")).unwrap();
    let field = "    int has_timeout;\n";
    for (from, to, said) in [
        (field, "    int has_timeout;\n    int inserted;\n", "inserted"),
        ("void nlxtp_watcher_wake(const", "int nlxtp_watcher_wake(const", "return type changed"),
    ] {
        let report = checker.changed(from, to).unwrap_err();
        assert!(report.contains(said), "{from:?} to {to:?}: {report}");
    }
}

#[test]
#[ignore = "needs abidiff and a C compiler; `make test` runs it"]
fn growth_is_no_break() {
    let checker = Checker::new();
    let (field, number) = ("    const nlxtp_cancel *cancel;\n", "    NLXTP_ERROR_EXISTS = 20,\n");
    checker.changed(field, &format!("{field}    uint64_t more;\n")).unwrap();
    checker.changed(number, &format!("{number}    NLXTP_ERROR_OTHER = 21,\n")).unwrap();
}

/// A library without one of its functions, linked as `make install` links it.
#[test]
#[ignore = "needs abidiff and a C compiler; `make test` runs it"]
fn a_library_that_lacks_a_function_is_found() {
    let checker = Checker::new();
    let versions = checker.path("versions");
    fs::write(&versions, "NLXTP_0.1 { global: nlxtp_*; local: nlxtp_watcher_wake; *; };").unwrap();
    let library = checker.path("libnlxtp.so");
    let mut linker = Command::new("cc");
    linker.args(["-shared", "-Wl,-soname,libnlxtp.so.0", "-Wl,--gc-sections", "-o"]).arg(&library);
    linker.arg(format!("-Wl,--version-script={}", versions.display()));
    linker.args(["-Wl,--whole-archive"]).arg(built("libnlxtp.a")).args(["-Wl,--no-whole-archive", "-lm"]);
    call(&mut linker).unwrap();
    let report = checker.check(&library, &here("include/nlxtp.h")).unwrap_err();
    assert!(report.contains("< nlxtp_watcher_wake"), "{report}");

    // Where it is gone from the header, too, it is gone from the ABI.
    let declaration = "void nlxtp_watcher_wake(const nlxtp_watcher *watcher);";
    let header = fs::read_to_string(here("include/nlxtp.h")).unwrap();
    assert!(header.contains(declaration));
    fs::write(checker.path("less.h"), header.replace(declaration, "")).unwrap();
    let report = checker.check(&library, &checker.path("less.h")).unwrap_err();
    assert!(report.contains("1 Removed"), "{report}");
}
