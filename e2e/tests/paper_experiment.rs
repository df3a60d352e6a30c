//! The paper's first experiment (section 4.3.1), in its three cases, with real guests: a
//! running container, a stopped container, a stopped virtual machine. Then the same with the
//! guest program replaced by a shell script that knows nothing but `docs/protocol.md`.

use std::time::Duration;

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::experiment::{Experiment, Interpreter, sums_command};
use nlxtp_e2e::{Container, Initramfs, Vm, VmOptions, places};

/// For a boot under emulation on a busy machine, and the run.
const PATIENCE: Duration = Duration::from_secs(180);

const ON: [&str; 2] = ["--guest-power", "on"];
const OFF: [&str; 2] = ["--guest-power", "off"];

const DAEMON: &str = "exec /usr/bin/nlxtp-guest daemon";
const SHELL_GUEST: &str = "exec sh /usr/bin/shell-guest.sh";

fn container_with_shell_guest() -> Container {
    let container = Container::create();
    container.install(&places::guest_file("shell-guest.sh"), "/usr/bin/shell-guest.sh");
    container.start_at_boot(SHELL_GUEST);
    container
}

/// Watches the run in a running container to its end, and judges all that can be seen of it.
#[track_caller]
fn judge_container(experiment: &Experiment, container: &Container) {
    let target = Target::new(&container.shared_directory());
    let observed = target.watch(&ON, PATIENCE);
    experiment.judge_status(&observed);
    assert_eq!(target.call("wait", &["--timeout", "10s"]).code(), 0, "the script ended well");
    target.download(&experiment.download());
    let downloaded = experiment.judge_download();
    experiment.judge_inside(&downloaded, &container.output_of(&sums_command()));
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn case_1_a_running_container_whose_monitor_the_host_invokes() {
    let experiment = Experiment::new(Interpreter::Bash);
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    container.start();
    let invoke = container.invoke_command();
    let target = Target::new(&container.shared_directory());
    target.upload(&experiment.archive(), &["--guest-power", "on", "--invoke", &invoke]);
    judge_container(&experiment, &container);
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn case_1_a_running_container_whose_daemon_notices() {
    let experiment = Experiment::new(Interpreter::Bash);
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    container.start_at_boot(DAEMON);
    container.start();
    Target::new(&container.shared_directory()).upload(&experiment.archive(), &ON);
    judge_container(&experiment, &container);
    container.stop();
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn case_2_a_stopped_container_that_is_then_started() {
    let experiment = Experiment::new(Interpreter::Bash);
    let mut container = Container::with_guest_program(&places::nlxtp_guest());
    container.start_at_boot(DAEMON);
    let target = Target::new(&container.shared_directory());
    target.upload(&experiment.archive(), &OFF);
    assert_eq!(target.status(&OFF)["state"], "not-started");
    container.start();
    judge_container(&experiment, &container);

    // Once is enough: nothing runs again at the next boot.
    let sequence = target.status(&ON)["sequence"].clone();
    container.stop();
    container.start();
    container.output_of("sleep 2");
    let status = target.status(&ON);
    assert_eq!((&status["state"], &status["sequence"]), (&"finished".into(), &sequence), "{status}");
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn case_3_a_stopped_virtual_machine_that_is_then_started() {
    let experiment = Experiment::new(Interpreter::Sh);
    virtual_machine(&experiment, Initramfs::Daemon(places::nlxtp_guest()));
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn case_3_a_virtual_machine_with_nothing_but_the_guest_program() {
    let experiment = Experiment::new(Interpreter::Brought);
    virtual_machine(&experiment, Initramfs::Bare(places::nlxtp_guest()));
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn case_1_with_a_guest_that_is_a_shell_script() {
    let experiment = Experiment::new(Interpreter::Bash);
    let mut container = container_with_shell_guest();
    container.start();
    Target::new(&container.shared_directory()).upload(&experiment.archive(), &ON);
    judge_container(&experiment, &container);
    container.stop();
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn case_2_with_a_guest_that_is_a_shell_script() {
    let experiment = Experiment::new(Interpreter::Bash);
    let mut container = container_with_shell_guest();
    Target::new(&container.shared_directory()).upload(&experiment.archive(), &OFF);
    container.start();
    judge_container(&experiment, &container);
}

#[test]
#[ignore = "needs root, debootstrap and QEMU; `make test` runs it"]
fn case_3_with_a_guest_that_is_a_shell_script() {
    let experiment = Experiment::new(Interpreter::Sh);
    virtual_machine(&experiment, Initramfs::Shell(places::guest_file("shell-guest.sh")));
}

/// The whole cycle with a virtual machine; the host reads its image while it runs.
#[track_caller]
fn virtual_machine(experiment: &Experiment, initramfs: Initramfs) {
    let image = experiment.path("disk.img");
    let target = Target::create_disk(&image, &["--size", "62MiB"]);
    target.upload(&experiment.archive(), &OFF);
    assert_eq!(target.status(&OFF)["state"], "not-started");

    let takes_commands = initramfs.takes_commands();
    let mut vm = Vm::start(&VmOptions::new(initramfs).disk(&image));
    let observed = target.watch(&ON, PATIENCE);
    experiment.judge_status(&observed);
    assert_eq!(target.call("wait", &["--timeout", "10s"]).code(), 0, "the script ended well");

    // Done means that all is on the disk: the download needs no shutdown, nor does a loss of
    // power lose anything.
    target.download(&experiment.download());
    let downloaded = experiment.judge_download();
    if takes_commands {
        vm.wait_for_boot();
        experiment.judge_inside(&downloaded, &vm.output_of(&sums_command()));
        let interfaces = vm.output_of("ls /sys/class/net");
        assert_eq!(interfaces.trim(), "lo");
    }
    vm.pull_the_plug();
    let status = target.status(&OFF);
    assert_eq!((&status["state"], &status["done"]), (&"finished".into(), &true.into()), "{status}");
}
