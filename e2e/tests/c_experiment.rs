//! The paper's first experiment (section 4.3.1), in its three cases, driven by a program in C through the
//! installed library: a running container, a stopped container, a stopped virtual machine. The
//! program asks for the guest's power state and for the monitor by callbacks; this test answers as
//! the testbed's hypervisor would.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nlxtp_e2e::c_library::{CLibrary, Linking};
use nlxtp_e2e::command_line::{Observed, Target};
use nlxtp_e2e::experiment::{Experiment, Interpreter, sums_command};
use nlxtp_e2e::process::{bound_to_this_thread, run, wait_for_exit};
use nlxtp_e2e::{Container, Initramfs, Vm, VmOptions, places};
use serde_json::Value;

/// For a boot under emulation on a busy machine, and the run. The program itself gives up before.
const PATIENCE: Duration = Duration::from_secs(240);

/// What `nlxtp_upload_execution` may tell.
const AT_BOOT: i32 = 1;
const INVOKED: i32 = 2;
const BY_DAEMON: i32 = 3;

/// The testbed in C, and what it asks.
struct Testbed {
    child: Child,
}

/// What the program has seen.
struct Seen {
    states: Vec<String>,
    observed: Observed,
    custom: String,
    stdout: String,
    questions: u32,
}

impl Testbed {
    /// Whether it can have the monitor started is said by the last argument.
    fn start(program: &Path, target: &Path, experiment: &Experiment, invokes: bool) -> Self {
        let mut command = bound_to_this_thread(program);
        command.arg(target).arg(experiment.archive()).arg(experiment.download()).args(invokes.then_some("invoke"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        Self { child: command.spawn().expect("the testbed starts") }
    }

    /// Answers the program until it ends: with the guest's power state, by having the monitor started,
    /// and by starting the guest after the upload.
    fn serve(mut self, is_on: impl Fn() -> bool, invoke: impl Fn() -> i32, mut uploaded: impl FnMut(i32)) -> Seen {
        let mut answers = self.child.stdin.take().expect("piped above");
        let mut answer = |text: &str| answers.write_all(format!("{text}\n").as_bytes()).expect("the program listens");
        let (mut states, mut custom, mut stdout) = (Vec::new(), None, None);
        let (mut running_for, mut last, mut questions) = (None, Value::Null, 0);
        for line in BufReader::new(self.child.stdout.take().expect("piped above")).lines() {
            let line = line.expect("text");
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "power" => {
                    questions += 1;
                    answer(if is_on() { "on" } else { "off" });
                }
                "invoke" => answer(&invoke().to_string()),
                "uploaded" => {
                    uploaded(rest.parse().expect("a number"));
                    answer("go on");
                }
                "state" => states.push(rest.to_owned()),
                "running" => running_for = Some(Duration::from_millis(rest.parse().expect("milliseconds"))),
                "custom" => custom = Some(rest.to_owned()),
                "json" => last = serde_json::from_str(rest).expect("JSON"),
                "stdout" => stdout = Some(rest.to_owned()),
                _ => panic!("the program says {line:?}"),
            }
        }
        let status = wait_for_exit(&mut self.child, PATIENCE).expect("the program ends");
        assert!(status.success(), "{status}; what was not so, it has said above");
        let observed = Observed { running_for: running_for.expect("it has said how long"), last };
        Seen { states, observed, custom: custom.expect("a custom status"), stdout: stdout.expect("output"), questions }
    }
}

/// Judges what the program has seen and taken home.
#[track_caller]
fn judge(experiment: &Experiment, seen: &Seen) -> PathBuf {
    experiment.judge_status(&seen.observed);
    assert_eq!(seen.custom, seen.observed.last["custom"].as_str().expect("text"));
    assert_eq!(seen.stdout, "a string on standard output");
    assert!(seen.questions > 3, "whether the guest is on was asked {} times only", seen.questions);
    let states: Vec<_> = seen.states.iter().map(String::as_str).collect();
    assert!(states.ends_with(&["running", "finished"]) && states.len() <= 3, "{states:?}");
    assert!(states.len() == 2 || states[0] == "not-started", "{states:?}");
    experiment.judge_download()
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn three_kinds_of_guests_driven_by_a_c_program() {
    let library = CLibrary::install();
    let program = library.compile("bindings-c/tests/c/experiment.c", "c", Linking::Shared);
    a_running_container_whose_monitor_the_host_invokes(&program);
    a_running_container_whose_daemon_notices(&program);
    a_stopped_container_that_is_then_started(&program);
    // The same program, with the library in it.
    let program = library.compile("bindings-c/tests/c/experiment.c", "c", Linking::Static);
    a_stopped_virtual_machine_that_is_then_started(&program);
}

fn a_running_container_whose_monitor_the_host_invokes(program: &Path) {
    let experiment = Experiment::new(Interpreter::Bash);
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    container.start();
    let command = container.invoke_command();
    let invoked = Cell::new(0);
    let invoke = || {
        invoked.set(invoked.get() + 1);
        run(Command::new("sh").arg("-c").arg(&command), PATIENCE).success();
        0
    };
    let testbed = Testbed::start(program, &container.shared_directory(), &experiment, true);
    let seen = testbed.serve(|| true, invoke, |execution| assert_eq!(execution, INVOKED));
    assert_eq!(invoked.get(), 1);
    experiment.judge_inside(&judge(&experiment, &seen), &container.output_of(&sums_command()));
}

fn a_running_container_whose_daemon_notices(program: &Path) {
    let experiment = Experiment::new(Interpreter::Bash);
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    container.start_at_boot("exec /usr/bin/nlxtp-guest daemon");
    container.start();
    let testbed = Testbed::start(program, &container.shared_directory(), &experiment, false);
    let invoke = || panic!("it was given no callback for that");
    let seen = testbed.serve(|| true, invoke, |execution| assert_eq!(execution, BY_DAEMON));
    experiment.judge_inside(&judge(&experiment, &seen), &container.output_of(&sums_command()));
    container.stop();
}

fn a_stopped_container_that_is_then_started(program: &Path) {
    let experiment = Experiment::new(Interpreter::Bash);
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    container.start_at_boot("exec /usr/bin/nlxtp-guest daemon");
    let (directory, on) = (container.shared_directory(), Cell::new(false));
    let testbed = Testbed::start(program, &directory, &experiment, true);
    let seen = testbed.serve(
        || on.get(),
        || panic!("a stopped container's monitor cannot be invoked"),
        |execution| {
            assert_eq!(execution, AT_BOOT);
            container.start();
            on.set(true);
        },
    );
    experiment.judge_inside(&judge(&experiment, &seen), &container.output_of(&sums_command()));
    container.stop();
}

fn a_stopped_virtual_machine_that_is_then_started(program: &Path) {
    let experiment = Experiment::new(Interpreter::Sh);
    let image = experiment.path("disk.img");
    Target::create_disk(&image, &["--size", "62MiB"]);
    let options = VmOptions::new(Initramfs::Daemon(places::nlxtp_guest())).disk(&image);
    let (mut vm, on) = (None, Cell::new(false));
    let seen = Testbed::start(program, &image, &experiment, true).serve(
        || on.get(),
        || panic!("a virtual machine's monitor cannot be invoked"),
        |execution| {
            assert_eq!(execution, AT_BOOT);
            // From now on, QEMU's lock on the image says the same.
            on.set(true);
            vm = Some(Vm::start(&options));
        },
    );
    let downloaded = judge(&experiment, &seen);
    let mut vm = vm.expect("it was started");
    vm.wait_for_boot();
    experiment.judge_inside(&downloaded, &vm.output_of(&sums_command()));
    vm.pull_the_plug();
}
