//! The library as C programs use it. They are compiled with all warnings as errors, run as they are,
//! with the sanitizers of the C compiler, and under valgrind's tools.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nlxtp_host::control::Control;
use nlxtp_host::journal::{self, Event, Store};
use nlxtp_host::shared_directory::{DiskImage, DiskOptions};
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
    /// Under memcheck, which knows of every allocation, and of descriptors that stay open.
    Valgrind,
    /// Under helgrind. It cannot see how the library's own threads and locks wait for each other, and
    /// `helgrind.supp` says so; what the C program does, it sees.
    Helgrind,
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

    /// Compiles a file of `tests/c`.
    fn compile(&self, name: &str) -> PathBuf {
        self.compile_file(&source(&format!("tests/c/{name}")))
    }

    fn compile_file(&self, file: &Path) -> PathBuf {
        let (program, library) = (self.path("programs").join(file.file_stem().unwrap()), library());
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        let (compiler, standard) =
            if file.extension().unwrap() == "c" { ("cc", "-std=c11") } else { ("c++", "-std=c++17") };
        let mut compiler = Command::new(compiler);
        compiler.args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-pthread"]);
        if self.how == How::Sanitized {
            compiler.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
        }
        compiler.arg(format!("-DVERSION=\"{}\"", env!("CARGO_PKG_VERSION")));
        compiler.arg("-I").arg(source("include")).arg("-I").arg(source("tests/c")).arg("-o").arg(&program).arg(file);
        compiler.arg("-L").arg(&library).arg("-lnlxtp").arg(format!("-Wl,-rpath,{}", library.display()));
        run(&mut compiler);
        program
    }

    /// A call of a compiled program.
    fn call(&self, program: &Path) -> Command {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--error-exitcode=99"]);
        match self.how {
            How::Plain | How::Sanitized => return Command::new(program),
            How::Valgrind => valgrind
                .args(["--leak-check=full", "--show-leak-kinds=definite,indirect"])
                .args(["--errors-for-leak-kinds=definite,indirect", "--track-fds=yes"]),
            How::Helgrind => {
                let file = source("tests/helgrind.supp");
                valgrind.arg("--tool=helgrind").arg(format!("--suppressions={}", file.display()))
            }
        };
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
        let program = self.compile("arguments.c");
        fs::create_dir(self.path("empty")).unwrap();
        run(self.call(&program).arg(self.path("empty")).arg(self.path("good.tar.gz")));
    }

    fn check_watcher(&self) {
        let program = self.compile("watcher.c");
        fs::create_dir(self.path("guests")).unwrap();
        run(self.call(&program).arg(self.path("guests")));
    }

    fn check_cycle(&self) {
        let program = self.compile("cycle.c");
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

    /// An archive of this start script and this file.
    fn make_archive(&self, name: &str, script: &str, file: &str, bytes: &[u8]) {
        let content = self.path("content-of-a-run");
        fs::create_dir(&content).unwrap();
        fs::write(content.join("auto_exec.sh"), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::write(content.join(file), bytes).unwrap();
        run(Command::new("tar").arg("-czf").arg(self.path(name)).arg("-C").arg(&content).arg("."));
        fs::remove_dir_all(content).unwrap();
    }

    /// For runs with a guest, and for failures.
    fn make_archives_of_runs(&self) {
        let first = "echo printed; echo bad >&2; printf 'a\\000\\377\\nb' >custom; \
                     echo 'a result' >\"$archive_dir/results\"; exit 3";
        self.make_archive("first.tar.gz", first, "input", &[7; 40_000]);
        self.make_archive("second.tar.gz", "kill -9 $$", "other", b"other");
        // Zeros, which take no room until they are unpacked.
        self.make_archive("large.tar.gz", "true", "zeros", &vec![0; 12 << 20]);
        let whole = fs::read(self.path("first.tar.gz")).unwrap();
        fs::write(self.path("truncated.tar.gz"), &whole[..whole.len() / 2]).unwrap();
        fs::write(self.path("noise"), [0x55; 4096]).unwrap();
    }

    /// An archive with all that an upload reports on.
    fn make_odd_archive(&self) {
        let content = self.path("odd");
        fs::create_dir_all(content.join("exec_status")).unwrap();
        fs::write(content.join("exec_status/old"), "").unwrap();
        fs::write(content.join("program"), "").unwrap();
        fs::write(content.join("auto_exec.sh"), "#!/bin/sh\r\ntrue\r\n").unwrap();
        for (name, mode) in [("auto_exec.sh", 0o755), ("program", 0o4755)] {
            fs::set_permissions(content.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut tar = Command::new("tar");
        tar.args(["--owner=user:1000", "--group=user:1000", "-cf"]).arg(self.path("odd.tar")).arg("-C").arg(&content);
        run(tar.args(["auto_exec.sh", "program", "exec_status/old"]));
    }

    /// A new directory or disk.
    fn target(&self, kind: &str, name: &str) -> PathBuf {
        let path = self.path(&format!("{name}-{kind}"));
        if kind == "directory" {
            fs::create_dir(&path).unwrap();
        } else {
            DiskImage::create(&path, &DiskOptions { size: 8 << 20, ..DiskOptions::default() }).unwrap();
        }
        path
    }

    fn check_behaviour(&self) {
        let program = self.compile("behaviour.c");
        for kind in ["directory", "disk"] {
            let target = self.target(kind, "runs");
            let guest = format!("{} {kind} {}", source("tests/guest.sh").display(), target.display());
            run(self.call(&program).arg(kind).arg(&target).arg(self.scratch.path()).arg(guest));
        }
    }

    fn check_failures(&self) {
        let program = self.compile("failures.c");
        for kind in ["directory", "disk"] {
            run(self.call(&program).arg(kind).arg(self.target(kind, "fails")).arg(self.scratch.path()));
        }
    }

    fn check_reports(&self) {
        let program = self.compile("reports.c");
        self.make_odd_archive();
        for kind in ["directory", "disk"] {
            run(self.call(&program).arg(kind).arg(self.target(kind, "reports")).arg(self.scratch.path()));
        }
    }

    /// Also what the journal came to hold, as Rust reads it.
    fn check_options(&self) {
        let program = self.compile("options.c");
        run(self.call(&program).arg(self.target("directory", "options")).arg(self.scratch.path()));
        let mut journal = journal::read(&self.path("journal.jsonl")).unwrap();
        let lines: Vec<_> = std::iter::from_fn(|| journal.next_line().unwrap()).collect();
        assert!(lines.iter().all(|line| line.problem().is_none()), "{lines:?}");
        let records: Vec<_> = lines.into_iter().map(|line| line.record.unwrap()).collect();
        let words: Vec<_> = records.iter().map(|record| record.event.word()).collect();
        assert_eq!(words, ["upload", "start", "end", "download", "download", "upload", "download", "download"]);
        assert!(records.iter().all(|record| record.node == "client"));
        let archives = records.iter().filter_map(|record| match &record.event {
            Event::Upload(upload) => Some(&upload.archive),
            Event::Download(download) => Some(&download.archive),
            _ => None,
        });
        let names: Vec<_> = archives.clone().map(|archive| archive.name.as_deref()).collect();
        assert_eq!(names, [Some("first.tar.gz"), Some("recorded.tar"), None, Some("first.tar.gz"), None, None]);
        let kept = Store::beside(&self.path("journal.jsonl")).path(archives.clone().next().unwrap().sha256);
        assert_eq!(fs::read(kept).unwrap(), fs::read(self.path("first.tar.gz")).unwrap());
    }

    fn check_wrapper(&self) {
        let (directory, disk) = (self.target("directory", "wrapped"), self.target("disk", "wrapped"));
        run(self.call(&self.compile("wrapper.cc")).args([&directory, &disk, self.scratch.path()]));
    }

    fn check_threads(&self, rounds: u32) {
        let program = self.compile("threads.c");
        let place = self.target("directory", "threads");
        run(self.call(&program).arg(place).arg(self.path("good.tar.gz")).arg(rounds.to_string()));
    }
}

fn check_all(how: How) {
    let programs = Programs::new(how);
    programs.make_archives();
    programs.make_archives_of_runs();
    programs.check_arguments();
    programs.check_cycle();
    programs.check_watcher();
    programs.check_behaviour();
    programs.check_failures();
    programs.check_reports();
    programs.check_options();
    programs.check_wrapper();
    programs.check_threads(if how == How::Valgrind { 4 } else { 12 });
}

#[test]
#[ignore = "needs valgrind; `make test` runs it"]
fn threads_under_helgrind() {
    let programs = Programs::new(How::Helgrind);
    programs.make_archives();
    programs.check_threads(4);
}

#[test]
#[ignore = "needs a C compiler and mtools; `make test` runs it"]
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
    let program = programs.compile("status.c");
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
        let progress = vector["progress"].as_str().unwrap_or("0/0");
        assert_eq!(found["progress"], progress, "{file}");
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

/// What the header says that a function answers to NULL, and the call.
fn answers_to_null(header: &str) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    for piece in header.split("\n/**\n").skip(1) {
        let (comment, rest) = piece.split_once("*/\n").unwrap();
        let declaration = rest.split_once(");").map_or("", |(declaration, _)| declaration);
        let Some((head, arguments)) = declaration.split_once('(') else { continue };
        let Some(name) = head.rsplit([' ', '*']).next().filter(|name| name.starts_with("nlxtp_")) else { continue };
        let answers_at_all = head != format!("void {name}") && arguments != "void";
        // One that can fail has an error for that.
        if head.starts_with("typedef") || arguments.contains("nlxtp_error **error") || !answers_at_all {
            continue;
        }
        let text = comment.split_whitespace().filter(|word| *word != "*").collect::<Vec<_>>().join(" ");
        let said = text.split("; ").flat_map(|part| part.split(". ")).find(|part| part.contains("for NULL"));
        let said = said.unwrap_or_else(|| panic!("what {name}() answers to NULL is not said"));
        let answer = said.split(' ').next().unwrap().to_owned();
        let call = format!("{name}({})", vec!["0"; arguments.matches(',').count() + 1].join(", "));
        answers.push((call, if answer == "False" { "false".into() } else { answer }));
    }
    answers
}

#[test]
#[ignore = "needs a C compiler; `make test` runs it"]
fn null_is_answered_as_the_header_says() {
    let answers = answers_to_null(&fs::read_to_string(source("include/nlxtp.h")).unwrap());
    assert!(answers.len() > 60, "{answers:?}");
    let checks: Vec<_> = answers.iter().map(|(call, answer)| format!("    CHECK({call} == {answer});\n")).collect();
    let programs = Programs::new(How::Sanitized);
    let file = programs.path("null.c");
    fs::write(&file, format!("#include \"check.h\"\nint main(void) {{\n{}    return 0;\n}}\n", checks.concat()))
        .unwrap();
    run(&mut programs.call(&programs.compile_file(&file)));
}

/// With guests they are run by `e2e/tests/c_library.rs`.
#[test]
#[ignore = "needs a C and a C++ compiler; `make test` runs it"]
fn every_example_says_how_it_is_used() {
    let programs = Programs::new(How::Plain);
    for example in fs::read_dir(source("examples")).unwrap() {
        let example = example.unwrap().path();
        let output = programs.call(&programs.compile_file(&example)).output().unwrap();
        let name = example.file_stem().unwrap().to_str().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with(&format!("usage: {name} ")), "{output:?}");
    }
}

#[test]
#[ignore = "needs a C compiler; `make test` runs it"]
fn an_example_tells_what_disks_are_like() {
    let programs = Programs::new(How::Sanitized);
    let fits = programs.compile_file(&source("examples/fits.c"));
    let (made, new) = (programs.target("disk", "made"), programs.path("new.img"));
    let output = run(programs.call(&fits).arg("3000000").args([&made, &new]));
    let told = String::from_utf8(output.stdout).unwrap();
    for (line, path) in told.lines().zip([&made, &new]) {
        let fat = DiskImage::open(path).unwrap().describe(&Control::none()).unwrap().file_system.unwrap();
        assert!(fat.capacity >= 3_000_000);
        let shown = format!("FAT{} \"NLXTP\", {} of {} bytes free: fits", fat.fat_bits, fat.free, fat.capacity);
        assert_eq!(line, format!("{}: {shown}", path.display()));
    }
    assert_eq!(told.lines().count(), 2, "{told}");
    for (bytes, path, code, words) in
        [("3000000000", &made, 1, ": too small\n"), ("1", &programs.scratch.path().into(), 1, "block device")]
    {
        let output = programs.call(&fits).arg(bytes).arg(path).output().unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.code() == Some(code) && told.contains(words), "{told}");
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
