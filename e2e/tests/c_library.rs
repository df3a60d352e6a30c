//! The C library as it is installed: found by pkg-config and CMake, linked in both ways, and used by the
//! examples, in C and C++, with real guests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nlxtp_e2e::c_library::{CLibrary, Linking};
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::experiment::{Experiment, Interpreter};
use nlxtp_e2e::process::{Finished, bound_to_this_thread, run, wait_for_exit};
use nlxtp_e2e::{Container, places};

/// For building with CMake and a run.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs a program with these paths as its arguments.
fn call(program: &Path, arguments: &[&Path]) -> Finished {
    run(Command::new(program).args(arguments), PATIENCE)
}

/// An example, which says how it is used.
fn example(library: &CLibrary, name: &str, linking: Linking) -> PathBuf {
    let language = if name.ends_with(".cc") { "c++" } else { "c" };
    let program = library.compile(&format!("bindings-c/examples/{name}"), language, linking);
    let usage = call(&program, &[]);
    assert_eq!(usage.code(), 2, "{name}: {usage:?}");
    assert!(usage.error_text().starts_with("usage: "), "{name}: {usage:?}");
    let needed = run(Command::new(places::tool("objdump")).arg("-p").arg(&program), PATIENCE).success().text();
    assert_eq!(needed.contains("libnlxtp.so.0"), linking == Linking::Shared, "{name}: {needed}");
    program
}

#[test]
#[ignore = "needs root, a C++ compiler, CMake and debootstrap; `make test` runs it"]
fn examples_in_c_and_cpp_drive_guests() {
    let library = CLibrary::install();
    what_is_installed(&library);
    cmake_finds_it(&library);
    for linking in [Linking::Shared, Linking::Static] {
        let programs = ["smallest.c", "raii.cc"].map(|name| example(&library, name, linking));
        a_container(&library, &programs);
        a_disk_whose_power_state_comes_from_a_function(&library, &example(&library, "libvirt_style.c", linking));
        disks_into_which_it_fits(&example(&library, "fits.c", linking));
        let programs = ["poll_loop.c", "watch.cc"].map(|name| example(&library, name, linking));
        many_guests(&programs);
    }
    // No other example is left out.
    let mut names: Vec<_> = fs::read_dir(places::repository().join("bindings-c/examples"))
        .expect("the examples")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    assert_eq!(names, ["fits.c", "libvirt_style.c", "poll_loop.c", "raii.cc", "smallest.c", "watch.cc"]);
}

fn what_is_installed(library: &CLibrary) {
    let shared = library.path("lib/libnlxtp.so");
    let symbols = run(Command::new(places::tool("nm")).args(["-D", "--defined-only"]).arg(&shared), PATIENCE);
    let symbols = symbols.success().text();
    let exported: Vec<_> = symbols.lines().filter(|line| line.contains(" T ")).collect();
    let script = places::repository().join("bindings-c/install/nlxtp.map");
    let script = fs::read_to_string(script).expect("the version script");
    let listed: Vec<_> = script.lines().filter_map(|line| line.trim().strip_suffix(';')).collect();
    let listed: Vec<_> = listed.iter().filter(|name| name.starts_with("nlxtp_")).collect();
    assert_eq!(exported.len(), listed.len(), "{symbols}");
    for (line, name) in exported.iter().zip(listed) {
        assert!(line.ends_with(&format!(" T {name}@@NLXTP_0.1")), "{line} in the place of {name}");
    }
    let dynamic = run(Command::new(places::tool("objdump")).arg("-p").arg(&shared), PATIENCE).success().text();
    assert!(dynamic.contains("SONAME               libnlxtp.so.0\n"), "{dynamic}");
    for name in
        ["lib/libnlxtp.so.0", "lib/libnlxtp.a", "include/nlxtp.h", "include/nlxtp.hpp", "share/man/man3/nlxtp.3"]
    {
        assert!(library.path(name).is_file(), "{name}");
    }
}

/// A program in C and one in C++, with the shared library and with the static one.
fn cmake_finds_it(library: &CLibrary) {
    let project = library.path("project");
    fs::create_dir(&project).expect("a folder");
    let examples = places::repository().join("bindings-c/examples");
    let lists = format!(
        "cmake_minimum_required(VERSION 3.13)\nproject(uses C CXX)\nset(CMAKE_CXX_STANDARD 17)\n\
         find_package(nlxtp 0.1 REQUIRED)\n\
         foreach(kind c-shared c-static cpp-shared cpp-static)\n\
         string(REGEX REPLACE \"-.*\" \"\" language ${{kind}})\n\
         set(source_c {0}/smallest.c)\nset(source_cpp {0}/raii.cc)\n\
         add_executable(${{kind}} ${{source_${{language}}}})\nendforeach()\n\
         foreach(language c cpp)\ntarget_link_libraries(${{language}}-shared nlxtp::nlxtp)\n\
         target_link_libraries(${{language}}-static nlxtp::static)\nendforeach()\n",
        examples.display()
    );
    fs::write(project.join("CMakeLists.txt"), lists).expect("written");
    let build = project.join("build");
    let mut cmake = Command::new(places::tool("cmake"));
    cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", library.prefix().display()));
    run(cmake.arg("-S").arg(&project).arg("-B").arg(&build), PATIENCE).success();
    run(Command::new(places::tool("cmake")).arg("--build").arg(&build), PATIENCE).success();
    for program in ["c-shared", "c-static", "cpp-shared", "cpp-static"] {
        assert_eq!(call(&build.join(program), &[]).code(), 2, "{program} says how it is used");
    }
}

/// The paper's first experiment in a container whose daemon runs, driven by one example after the other.
fn a_container(library: &CLibrary, programs: &[PathBuf]) {
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    container.start_at_boot("exec /usr/bin/nlxtp-guest daemon");
    container.start();
    for program in programs {
        let experiment = Experiment::new(Interpreter::Bash);
        let arguments = [&*container.shared_directory(), &experiment.archive(), &experiment.download()];
        let finished = call(program, &arguments).success();
        assert!(finished.text().contains("finished"), "{}", finished.text());
        experiment.judge_download();
        let refused = call(program, &[&library.path("nowhere"), &experiment.archive(), &experiment.download()]);
        assert_eq!(refused.code(), 1);
        assert!(refused.error_text().contains("node_open"), "{}", refused.error_text());
    }
    container.stop();
}

fn a_disk_whose_power_state_comes_from_a_function(library: &CLibrary, program: &Path) {
    let experiment = Experiment::new(Interpreter::Sh);
    let (state, disk) = (library.path("state"), experiment.path("disk.img"));
    let target = Target::create_disk(&disk, &["--size", "8MiB"]);
    fs::write(&state, "running\n").expect("written");
    let refused = call(program, &[&state, &disk, &experiment.archive()]);
    assert_eq!(refused.code(), 1);
    assert!(refused.text().contains("shut the domain down"), "{}", refused.text());
    fs::write(&state, "shut off\n").expect("written");
    let uploaded = call(program, &[&state, &disk, &experiment.archive()]).success().text();
    let run_id = uploaded.trim().rsplit(' ').next().expect("a run id").to_owned();
    assert_eq!(target.status(&[])["run_id"], run_id, "{uploaded}");
}

/// Told of a disk that holds something, whatever that is.
fn disks_into_which_it_fits(program: &Path) {
    let experiment = Experiment::new(Interpreter::Sh);
    let disk = experiment.path("disk.img");
    let target = Target::create_disk(&disk, &["--size", "8MiB"]);
    target.upload(&experiment.archive(), &[]);
    for (bytes, code, word) in [("1000000", 0, "fits"), ("9000000", 1, "too small")] {
        let told = run(Command::new(program).arg(bytes).arg(&disk), PATIENCE);
        assert_eq!((told.code(), told.text().trim().rsplit(": ").next()), (code, Some(word)), "{told:?}");
    }
}

/// Guest processes on shared directories of their own.
struct Guests {
    folder: tempfile::TempDir,
    daemons: Vec<Child>,
}

impl Guests {
    const MANY: usize = 3;

    fn start() -> Self {
        let folder = places::temporary_folder("guests");
        let mut guests = Self { folder, daemons: Vec::new() };
        for directory in guests.directories() {
            fs::create_dir(&directory).expect("a shared directory");
            let mut daemon = bound_to_this_thread(&places::nlxtp_guest());
            daemon.args(["daemon", "--dir"]).arg(&directory).stderr(Stdio::null());
            guests.daemons.push(daemon.spawn().expect("the daemon starts"));
        }
        guests
    }

    fn directories(&self) -> Vec<PathBuf> {
        (0..Self::MANY).map(|number| self.folder.path().join(format!("guest{number}"))).collect()
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// The programs follow the guests while each gets an archive and runs it.
fn many_guests([poll_loop, watch]: &[PathBuf; 2]) {
    let experiment = Experiment::new(Interpreter::Bash);
    for (program, first) in [(poll_loop, None), (watch, Some("600"))] {
        let guests = Guests::start();
        let directories = guests.directories();
        let mut command = bound_to_this_thread(program);
        command.args(first).args(&directories).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut following = command.spawn().expect("the example starts");
        for directory in &directories {
            Target::new(directory).upload(&experiment.archive(), &["--guest-power", "on"]);
        }
        let status = wait_for_exit(&mut following, PATIENCE).expect("the example ends when all runs have");
        let output = following.wait_with_output().expect("what it said");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(status.success(), "{status}: {told}\n{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(told.matches(": finished").count(), Guests::MANY, "{told}");
        if first.is_some() {
            assert_eq!(told.matches("a string on standard output\n").count(), Guests::MANY, "{told}");
            assert!(told.ends_with("0 left\n"), "{told}");
        }
    }
    // Nothing ever happens there, and another thread ends the watching.
    let quiet = experiment.path("quiet");
    fs::create_dir(&quiet).expect("a folder");
    let ended = run(Command::new(watch).arg("1").arg(&quiet), PATIENCE);
    assert_eq!((ended.code(), ended.text().ends_with("1 left\n")), (1, true), "{ended:?}");
    let absent = run(Command::new(poll_loop).arg(experiment.path("absent")), PATIENCE);
    assert!(absent.code() == 1 && absent.error_text().contains("absent"), "{absent:?}");
}
