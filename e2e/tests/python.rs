//! The paper's first experiment (section 4.3.1) in its three cases, driven by a hostmanager in Python:
//! `bindings-python/tests/hostmanager.py`, over the package as it is installed.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nlxtp_e2e::command_line::{Observed, Target};
use nlxtp_e2e::experiment::{Experiment, Interpreter, sums_command};
use nlxtp_e2e::process::{run, wait_until};
use nlxtp_e2e::{Container, Initramfs, Vm, VmOptions, places};
use serde_json::Value;

/// For a boot under emulation on a busy machine, and the run.
const PATIENCE: Duration = Duration::from_secs(240);

/// Calls the hostmanager, and returns what it prints.
#[track_caller]
fn hostmanager(verb: &str, paths: &[&Path], words: &[&str]) -> Value {
    let interpreter = places::target().join("python-tools/bin/python");
    assert!(
        interpreter.exists(),
        "the package is not installed in {}: run `make python-package` (`make test` does)",
        interpreter.display()
    );
    let mut python = Command::new(interpreter);
    python.args(["-W", "error"]).env("PYTHONDONTWRITEBYTECODE", "1");
    python.arg(places::repository().join("bindings-python/tests/hostmanager.py"));
    let printed = run(python.arg(verb).args(paths).args(words), PATIENCE).success().text();
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{verb} printed {printed:?}: {error}"))
}

/// Judges what is said of an upload.
#[track_caller]
fn judge_upload(told: &Value, execution: &str) {
    assert_eq!(told["report"]["execution"], execution, "{told}");
    assert_eq!(told["report"]["start_script"], "auto_exec.sh", "{told}");
    assert_eq!(told["report"]["run_id"], told["status"]["run_id"], "{told}");
}

/// Uploads to a guest that is off.
#[track_caller]
fn upload(shared: &Path, experiment: &Experiment) {
    let told = hostmanager("upload", &[shared, &experiment.archive()], &["off"]);
    judge_upload(&told, "at-boot");
    assert_eq!(told["status"]["state"], "not-started", "{told}");
}

/// Sees the run to its end, which begins when the guest is started, and judges all that is seen of it.
#[track_caller]
fn collect<G>(verb: &str, shared: &Path, experiment: &Experiment, start: impl FnOnce() -> G) -> G {
    let paths = [shared, &experiment.path("memory"), &experiment.download()];
    let (guest, told) = thread::scope(|scope| {
        let watching = scope.spawn(|| hostmanager(verb, &paths, &[]));
        wait_until("the hostmanager to watch", PATIENCE, || {
            (paths[1].exists() || watching.is_finished()).then_some(())
        });
        (start(), watching.join())
    });
    judge_run(&told.expect("the hostmanager has ended well"), experiment);
    guest
}

#[track_caller]
fn judge_run(told: &Value, experiment: &Experiment) {
    let running_for = Duration::from_secs_f64(told["running_for"].as_f64().expect("seconds"));
    experiment.judge_status(&Observed { running_for, last: told["last"].clone() });
    assert_eq!(told["output"], "a string on standard output\n", "{told}");
    for seen in ["states", "watched"] {
        let last = told[seen].as_array().and_then(|states| states.last());
        assert_eq!(last, Some(&"finished".into()), "{told}");
    }
}

/// An upload to a running container, and the run.
#[track_caller]
fn cycle(verb: &str, container: &Container, experiment: &Experiment, words: &[&str], execution: &str) {
    let (memory, results, archive) = (experiment.path("memory"), experiment.download(), experiment.archive());
    let told = hostmanager(verb, &[&container.shared_directory(), &memory, &results, &archive], words);
    judge_upload(&told["upload"], execution);
    judge_run(&told, experiment);
    judge_results(container, experiment);
}

#[track_caller]
fn judge_results(container: &Container, experiment: &Experiment) {
    let downloaded = experiment.judge_download();
    experiment.judge_inside(&downloaded, &container.output_of(&sums_command()));
}

#[test]
#[ignore = "needs root, debootstrap and the Python package; `make test` runs it"]
fn a_container_stopped_and_running() {
    let stopped = Experiment::new(Interpreter::Bash);
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    container.start_at_boot("exec /usr/bin/nlxtp-guest daemon");
    let shared = container.shared_directory();
    upload(&shared, &stopped);
    collect("collect", &shared, &stopped, || container.start());
    judge_results(&container, &stopped);

    // The daemon notices the next one.
    let running = Experiment::new(Interpreter::Bash);
    cycle("collect-async", &container, &running, &["on"], "by-daemon");

    container.stop();
    let status = hostmanager("status", &[&shared, &running.path("memory")], &["off"]);
    assert_eq!((&status["state"], &status["done"]), (&"finished".into(), &true.into()), "{status}");
}

#[test]
#[ignore = "needs root, debootstrap and the Python package; `make test` runs it"]
fn a_running_container_whose_monitor_python_invokes() {
    let experiment = Experiment::new(Interpreter::Bash);
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    container.start();
    cycle("collect", &container, &experiment, &["on", &container.invoke_command()], "invoked");
}

#[test]
#[ignore = "needs root, QEMU and the Python package; `make test` runs it"]
fn a_virtual_machine_driven_from_python() {
    let experiment = Experiment::new(Interpreter::Sh);
    let image = experiment.path("disk.img");
    Target::create_disk(&image, &["--size", "62MiB"]);
    upload(&image, &experiment);
    let options = VmOptions::new(Initramfs::Daemon(places::nlxtp_guest())).disk(&image);
    let vm = collect("collect", &image, &experiment, || Vm::start(&options));
    experiment.judge_download();
    // A wrong word does not help: QEMU's own lock speaks for itself.
    for (power, error, kind) in
        [("on", "GuestOnError", "guest-on"), ("off", "InUseError", "in-use"), ("unknown", "InUseError", "in-use")]
    {
        let told = hostmanager("refused", &[&image, &experiment.archive()], &[power]);
        assert_eq!((&told["error"], &told["kind"]), (&error.into(), &kind.into()), "{power}: {told}");
    }
    // Done means that all is on the disk.
    vm.pull_the_plug();
    let status = hostmanager("status", &[&image, &experiment.path("memory")], &["off"]);
    assert_eq!((&status["state"], &status["done"]), (&"finished".into(), &true.into()), "{status}");
    upload(&image, &experiment);
}
