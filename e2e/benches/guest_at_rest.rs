//! What a program in the guest costs while nothing happens, and how soon after the boot it runs a start
//! script: ours, qemu-guest-agent, and guest modules of the paper's kind in bash, all in one Debian with
//! systemd, in a virtual machine without a network.
//!
//! `make bench-guest` prepares the system and prints the table, which `docs/performance.md` holds.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::accelerator::Accelerator;
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::process::run;
use nlxtp_e2e::system::{System, install_offline};
use nlxtp_e2e::{Initramfs, Vm, VmOptions};

/// For the boot of a whole system under emulation, and a minute of rest.
const PATIENCE: Duration = Duration::from_secs(900);

const UNIT: &str = "[Service]\nExecStart=/bin/bash /usr/local/sbin/bash-modules /srv/bash 60\n\n\
                    [Install]\nWantedBy=multi-user.target\n";

const BASH_SCRIPT: &str = "#!/bin/sh\nread -r began _ </proc/uptime\necho \"$began\" >/srv/bash/began\n";

const PROGRAMS: [&str; 3] = ["nlxtp-guest", "qemu-guest-agent", "bash-modules"];

const ROWS: [(&str, &str); 4] = [
    ("size", "on the disk, with the libraries that it loads, KiB"),
    ("resident", "resident, with its children, kB"),
    ("wakeups", "wake-ups in a minute (voluntary context switches, without its children's)"),
    ("began", "from the kernel's start to the start script, or to being ready for orders, s"),
];

fn write_program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("in a folder")).expect("a folder of the system");
    fs::write(path, text).expect("a file of the system");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

fn install_bash_modules(root: &Path) {
    let modules = include_str!("../../nlxtp-host/benches/measurements/poll.bash");
    write_program(&root.join("usr/local/sbin/bash-modules"), modules);
    write_program(&root.join("srv/bash/auto_exec.sh"), BASH_SCRIPT);
    let units = root.join("etc/systemd/system");
    fs::write(units.join("bash-modules.service"), UNIT).expect("a unit");
    let wanted = units.join("multi-user.target.wants");
    fs::create_dir_all(&wanted).expect("a folder of systemd's");
    symlink("../bash-modules.service", wanted.join("bash-modules.service")).expect("the unit enabled");
}

fn main() {
    let system = System::with_init("agents");
    install_offline("install", &system.root(), &[]);
    install_bash_modules(&system.root());

    let content = system.beside("content");
    write_program(&content.join("auto_exec.sh"), include_str!("guest_at_rest.sh"));
    let archive = system.beside("upload.tar.gz");
    run(Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(&content).arg("."), PATIENCE).success();
    let disk = system.beside("disk.img");
    Target::create_disk(&disk, &["--size", "62MiB"]).upload(&archive, &["--guest-power", "off"]);

    let image = system.image();
    let options = VmOptions::new(Initramfs::System).memory_mib(384).disk(&image).disk(&disk).agent_port();
    let vm = Vm::start(&options);
    vm.wait_for_console("end of the figures", PATIENCE);
    let console = vm.console().text();
    vm.pull_the_plug();

    let mut figures = HashMap::new();
    for line in console.lines() {
        if let ["figure", program, what, value] = line.trim_end().split('\t').collect::<Vec<_>>()[..] {
            figures.insert((what, program), value);
        }
    }
    println!("Debian with systemd, by QEMU with {}:\n", Accelerator::of_this_machine().name());
    println!("| | nlxtp-guest | qemu-guest-agent | modules in bash |");
    println!("| --- | ---: | ---: | ---: |");
    for (what, words) in ROWS {
        let figure = |program| *figures.get(&(what, program)).unwrap_or_else(|| panic!("no {what}: {console}"));
        let values = PROGRAMS.map(figure);
        println!("| {words} | {} |", values.join(" | "));
    }
}
