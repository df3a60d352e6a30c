//! The C library as it is installed: found by pkg-config and CMake, linked in both ways, and used by
//! programs in C and C++ that drive a real container and write a real disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::experiment::{Experiment, Interpreter};
use nlxtp_e2e::process::{Finished, run};
use nlxtp_e2e::{Container, places};

/// For compiling the library and a run.
const PATIENCE: Duration = Duration::from_secs(600);

/// The library, installed for this test alone.
struct Installed {
    folder: tempfile::TempDir,
}

impl Installed {
    fn new() -> Self {
        let folder = places::temporary_folder("c-library");
        let mut make = Command::new("make");
        make.arg("-C").arg(places::repository()).arg("install").arg(format!("PREFIX={}", folder.path().display()));
        run(&mut make, PATIENCE).success();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What pkg-config answers.
    fn flags(&self, arguments: &[&str]) -> Vec<String> {
        let mut pkg_config = Command::new(places::tool("pkg-config"));
        pkg_config.env("PKG_CONFIG_PATH", self.path("lib/pkgconfig"));
        let answer = run(pkg_config.args(arguments).arg("nlxtp"), PATIENCE).success().text();
        answer.split_whitespace().map(str::to_owned).collect()
    }

    /// Compiles an example against the shared library.
    fn compile(&self, example: &str) -> PathBuf {
        let source = places::repository().join("bindings-c/examples").join(example);
        let program = self.path(example).with_extension("");
        let cpp = example.ends_with(".cc");
        let mut compiler = Command::new(if cpp { "c++" } else { "cc" });
        compiler.arg(if cpp { "-std=c++17" } else { "-std=c99" });
        compiler.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"]).arg(&program).arg(source);
        compiler.args(self.flags(&["--cflags", "--libs"]));
        run(compiler.arg(format!("-Wl,-rpath,{}", self.path("lib").display())), PATIENCE).success();
        program
    }
}

/// Runs a program with these paths as its arguments.
fn call(program: &Path, arguments: &[&Path]) -> Finished {
    run(Command::new(program).args(arguments), PATIENCE)
}

#[test]
#[ignore = "needs root, a C++ compiler, CMake and debootstrap; `make test` runs it"]
fn programs_in_c_and_cpp_drive_guests() {
    let installed = Installed::new();
    what_is_installed(&installed);
    static_linking(&installed);
    cmake_finds_it(&installed);
    a_container(&installed, "smallest.c");
    a_container(&installed, "raii.cc");
    a_disk_whose_power_state_comes_from_a_function(&installed);
}

fn what_is_installed(installed: &Installed) {
    let library = installed.path("lib/libnlxtp.so");
    let symbols = run(Command::new(places::tool("nm")).args(["-D", "--defined-only"]).arg(&library), PATIENCE);
    let symbols = symbols.success().text();
    let exported: Vec<_> = symbols.lines().filter(|line| line.contains(" T ")).collect();
    assert!(exported.len() > 50, "{symbols}");
    for line in exported {
        assert!(line.contains(" T nlxtp_") && line.ends_with("@@NLXTP_0.1"), "{line}");
    }
    let dynamic = run(Command::new(places::tool("objdump")).arg("-p").arg(&library), PATIENCE).success().text();
    assert!(dynamic.contains("SONAME               libnlxtp.so.0\n"), "{dynamic}");
    for name in
        ["lib/libnlxtp.so.0", "lib/libnlxtp.a", "include/nlxtp.h", "include/nlxtp.hpp", "share/man/man3/nlxtp.3"]
    {
        assert!(installed.path(name).is_file(), "{name}");
    }
}

fn static_linking(installed: &Installed) {
    let program = installed.path("static");
    let source = places::repository().join("bindings-c/examples/smallest.c");
    let mut compiler = Command::new("cc");
    compiler.arg("-o").arg(&program).arg(source).args(installed.flags(&["--cflags"]));
    compiler.arg(installed.path("lib/libnlxtp.a"));
    let native = installed.flags(&["--static", "--libs-only-l"]);
    run(compiler.args(native.iter().filter(|flag| *flag != "-lnlxtp")), PATIENCE).success();
    assert_eq!(call(&program, &[]).code(), 2, "it says how it is used");
}

fn cmake_finds_it(installed: &Installed) {
    let project = installed.path("project");
    fs::create_dir(&project).expect("a folder");
    let example = places::repository().join("bindings-c/examples/smallest.c");
    let lists = format!(
        "cmake_minimum_required(VERSION 3.13)\nproject(uses C)\nfind_package(nlxtp 0.1 REQUIRED)\n\
         add_executable(shared {0})\ntarget_link_libraries(shared nlxtp::nlxtp)\n\
         add_executable(static {0})\ntarget_link_libraries(static nlxtp::static)\n",
        example.display()
    );
    fs::write(project.join("CMakeLists.txt"), lists).expect("written");
    let mut cmake = Command::new(places::tool("cmake"));
    cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", installed.folder.path().display()));
    run(cmake.arg("-S").arg(&project).arg("-B").arg(project.join("build")), PATIENCE).success();
    run(Command::new(places::tool("cmake")).arg("--build").arg(project.join("build")), PATIENCE).success();
    for program in ["shared", "static"] {
        assert_eq!(call(&project.join("build").join(program), &[]).code(), 2, "{program} says how it is used");
    }
}

/// The paper's first experiment in a container whose daemon runs, driven by an example.
fn a_container(installed: &Installed, example: &str) {
    let program = installed.compile(example);
    let experiment = Experiment::new(Interpreter::Bash);
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    container.start_at_boot("exec /usr/bin/nlxtp-guest daemon");
    container.start();
    let arguments = [&*container.shared_directory(), &experiment.archive(), &experiment.download()];
    let finished = call(&program, &arguments).success();
    assert!(finished.text().contains("finished"), "{}", finished.text());
    experiment.judge_download();
    container.stop();
    let refused = call(&program, &[&installed.path("nowhere"), &experiment.archive(), &experiment.download()]);
    assert_eq!(refused.code(), 1);
    assert!(refused.error_text().contains("node_open"), "{}", refused.error_text());
}

fn a_disk_whose_power_state_comes_from_a_function(installed: &Installed) {
    let program = installed.compile("libvirt_style.c");
    let experiment = Experiment::new(Interpreter::Sh);
    let (state, disk) = (installed.path("state"), installed.path("disk.img"));
    let target = Target::create_disk(&disk, &["--size", "8MiB"]);
    fs::write(&state, "running\n").expect("written");
    let refused = call(&program, &[&state, &disk, &experiment.archive()]);
    assert_eq!(refused.code(), 1);
    assert!(refused.text().contains("shut the domain down"), "{}", refused.text());
    fs::write(&state, "shut off\n").expect("written");
    let uploaded = call(&program, &[&state, &disk, &experiment.archive()]).success().text();
    let run_id = uploaded.trim().rsplit(' ').next().expect("a run id").to_owned();
    assert_eq!(target.status(&[])["run_id"], run_id, "{uploaded}");
}
