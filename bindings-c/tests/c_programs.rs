//! The library as C programs use it. They are compiled with all warnings as errors, run as they are,
//! with the sanitizers of the C compiler, and under valgrind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The directory with `libnlxtp.so`: this test's own, or the one above.
fn library() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let found = own.ancestors().skip(1).take(2).find(|directory| directory.join("libnlxtp.so").is_file());
    found.expect("libnlxtp.so is built with its tests").to_path_buf()
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Runs a command that must succeed.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

/// How a program is compiled and started.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Plain,
    /// With the compiler's address and undefined-behaviour sanitizers.
    Sanitized,
    Valgrind,
}

struct Programs {
    scratch: TempDir,
    how: How,
}

impl Programs {
    fn new(how: How) -> Self {
        Self { scratch: tempfile::tempdir().unwrap(), how }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Compiles `tests/c/NAME.c`.
    fn compile(&self, name: &str) -> PathBuf {
        let (program, library) = (self.path(name), library());
        let mut compiler = Command::new("cc");
        compiler.args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-pthread"]);
        if self.how == How::Sanitized {
            compiler.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
        }
        compiler.arg(format!("-DVERSION=\"{}\"", env!("CARGO_PKG_VERSION")));
        compiler.arg("-I").arg(source("include")).arg("-o").arg(&program).arg(source(&format!("tests/c/{name}.c")));
        compiler.arg("-L").arg(&library).arg("-lnlxtp").arg(format!("-Wl,-rpath,{}", library.display()));
        run(&mut compiler);
        program
    }

    /// A call of a compiled program.
    fn call(&self, program: &Path) -> Command {
        if self.how != How::Valgrind {
            return Command::new(program);
        }
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=definite,indirect"]);
        valgrind.args(["--errors-for-leak-kinds=definite,indirect", "--track-fds=yes"]);
        valgrind.arg(program);
        valgrind
    }

    /// Makes the archives that the programs upload.
    fn make_archives(&self) {
        let content = self.path("content");
        fs::create_dir_all(content.join("data")).unwrap();
        fs::write(content.join("auto_exec.sh"), "#!/bin/sh\necho done\n").unwrap();
        fs::write(content.join("data/input"), [7; 300_000]).unwrap();
        run(Command::new("tar").arg("-czf").arg(self.path("good.tar.gz")).arg("-C").arg(&content).arg("."));
        nix::unistd::mkfifo(&content.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        run(Command::new("tar").arg("-cf").arg(self.path("refused.tar")).arg("-C").arg(&content).arg("."));
    }

    fn check_arguments(&self) {
        let program = self.compile("arguments");
        fs::create_dir(self.path("empty")).unwrap();
        run(self.call(&program).arg(self.path("empty")).arg(self.path("good.tar.gz")));
    }

    fn check_watcher(&self) {
        let program = self.compile("watcher");
        fs::create_dir(self.path("guests")).unwrap();
        run(self.call(&program).arg(self.path("guests")));
    }

    fn check_cycle(&self) {
        let program = self.compile("cycle");
        for kind in ["disk", "directory"] {
            let place = self.path(&format!("place-{kind}"));
            fs::create_dir(&place).unwrap();
            for archive in ["good.tar.gz", "refused.tar"] {
                fs::copy(self.path(archive), place.join(archive)).unwrap();
            }
            let target = self.path(kind);
            if kind == "directory" {
                fs::create_dir(&target).unwrap();
            }
            run(self.call(&program).arg(kind).arg(target).arg(place));
        }
    }
}

fn check_all(how: How) {
    let programs = Programs::new(how);
    programs.make_archives();
    programs.check_arguments();
    programs.check_cycle();
    programs.check_watcher();
}

#[test]
#[ignore = "needs a C compiler; `make test` runs it"]
fn arguments_and_the_whole_cycle() {
    check_all(How::Plain);
}

#[test]
#[ignore = "needs a C compiler; `make test` runs it"]
fn the_same_with_the_sanitizers() {
    check_all(How::Sanitized);
}

#[test]
#[ignore = "needs valgrind; `make test` runs it"]
fn the_same_under_valgrind() {
    check_all(How::Valgrind);
}

#[test]
#[ignore = "needs a C compiler; `make test` runs it"]
fn golden_vectors() {
    let programs = Programs::new(How::Plain);
    let program = programs.compile("status");
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rextfv-core/tests/vectors");
    let catalogue = fs::read_to_string(vectors.join("vectors.json")).unwrap();
    let catalogue: Vec<Value> = serde_json::from_str(&catalogue).unwrap();
    assert!(catalogue.len() >= 15);
    for vector in &catalogue {
        let file = vector["file"].as_str().unwrap();
        let target = programs.path(&format!("target-{file}"));
        fs::create_dir_all(target.join("exec_status")).unwrap();
        fs::copy(vectors.join(file), target.join("exec_status/status.0")).unwrap();
        fs::write(target.join("exec_status/status.1"), [0; 512]).unwrap();
        fs::write(target.join("exec_status/stdout"), "all that was written").unwrap();
        let output = run(Command::new(&program).arg(&target));
        let text = String::from_utf8(output.stdout).unwrap();
        let found: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once('=')).collect();
        if vector["damage"].is_string() {
            assert_eq!(found["state"], "unreadable", "{file}: {text}");
            continue;
        }
        let state = match (vector["state"].as_str().unwrap(), vector["done"].as_bool().unwrap()) {
            ("finished" | "timed-out", true) => "finished",
            ("interrupted", _) => "monitor-stopped",
            ("rebooted", _) => "guest-rebooted",
            _ => "running",
        };
        assert_eq!(found["state"], state, "{file}: {text}");
        assert_eq!(found["sequence"], vector["sequence"], "{file}");
        assert_eq!(found["run"], vector["run"].as_str().unwrap_or("-"), "{file}");
        assert_eq!(found["custom"], vector["custom_hex"].as_str().unwrap_or("-"), "{file}");
        let (exit, signal) = match vector["ended"].as_str().and_then(|ended| ended.split_once(' ')) {
            Some(("exit", code)) => (code, "0"),
            Some((_, signal)) => ("-1", signal),
            None => ("-1", "0"),
        };
        assert_eq!((found["exit"], found["signal"]), (exit, signal), "{file}");
        let cut = |word: &str| vector["truncated"].as_array().unwrap().iter().any(|cut| cut == word);
        let cut: String = ["stdout", "stderr", "custom"].map(|word| if cut(word) { '1' } else { '0' }).iter().collect();
        assert_eq!(found["cut"], cut, "{file}");
        // No more than the status says to be on the disk.
        let committed: usize = vector["stdout_bytes"].as_str().unwrap().parse().unwrap_or(usize::MAX);
        let all = "all that was written";
        assert_eq!(found["stdout"], &all[..committed.min(all.len())], "{file}");
        let json: Value = serde_json::from_str(found["json"]).unwrap();
        assert_eq!(json["state"], state, "{file}");
    }
}

#[test]
#[ignore = "needs a C and a C++ compiler; `make test` runs it"]
fn the_header_stands_alone() {
    let scratch = tempfile::tempdir().unwrap();
    for (compiler, standard, ending) in [("cc", "c99", "c"), ("cc", "c11", "c"), ("c++", "c++17", "cc")] {
        let file = scratch.path().join(format!("alone.{ending}"));
        fs::write(&file, "#include <nlxtp.h>\n#include <nlxtp.h>\n").unwrap();
        let mut compiler = Command::new(compiler);
        compiler.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]);
        run(compiler.arg(format!("-std={standard}")).arg("-I").arg(source("include")).arg(&file));
    }
}

#[test]
#[ignore = "needs nm; `make test` runs it"]
fn only_our_names_are_exported_and_all_are_declared() {
    let output = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library().join("libnlxtp.so")));
    let text = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = text.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert!(names.len() > 50, "{text}");
    let header = fs::read_to_string(source("include/nlxtp.h")).unwrap();
    for name in names {
        assert!(name.starts_with("nlxtp_"), "{name} is exported");
        assert!(header.contains(&format!("{name}(")), "{name} is not declared in the header");
    }
}
