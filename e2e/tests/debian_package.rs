//! The Debian package of the guest program: installed, upgraded, removed and purged in containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::experiment::{Experiment, Interpreter};
use nlxtp_e2e::process::run;
use nlxtp_e2e::{Container, places};

const PATIENCE: Duration = Duration::from_secs(180);
const DPKG: &str = "DEBIAN_FRONTEND=noninteractive dpkg --force-confold";

/// The package that `make deb` has built.
#[track_caller]
fn package() -> PathBuf {
    let folder = places::target().join("deb");
    let names = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}; run make deb", folder.display()));
    let paths = names.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "deb"))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nlxtp-guest_")))
        .unwrap_or_else(|| panic!("no package in {}: run make deb (`make test` does)", folder.display()))
}

/// The same package as a later version, whose configuration has a further line.
#[track_caller]
fn next_version(package: &Path, folder: &Path) -> PathBuf {
    let next = folder.join("next.deb");
    let script = "dpkg-deb -R \"$1\" \"$2\"/next && cd \"$2\" && \
                  sed -i 's/^Version: .*/&+next/' next/DEBIAN/control && \
                  echo '# of the next version' >>next/etc/nlxtp.conf && \
                  dpkg-deb --root-owner-group -b next \"$3\" && rm -r next";
    run(Command::new("sh").args(["-ec", script, "sh"]).arg(package).arg(folder).arg(&next), PATIENCE).success();
    next
}

/// All paths of the guest but those that every container and every call of dpkg changes.
const LIST: &str = "find / -xdev \\( -path /run -o -path /proc -o -path /sys -o -path /dev -o -path /var/lib/dpkg \
                    -o -path /var/log -o -path /root -o -path /tmp \\) -prune -o -print | sort";

#[track_caller]
fn lives_in(original: &Path) {
    let experiment = Experiment::new(Interpreter::Bash);
    let mut container = Container::copied_from(original);
    let root = container.root();
    let package = package();
    fs::copy(&package, root.join("root/first.deb")).expect("the package");
    fs::copy(next_version(&package, &experiment.path("")), root.join("root/next.deb")).expect("the package");
    container.start();
    let before = container.output_of(LIST);

    container.run(&format!("{DPKG} -i /root/first.deb"), PATIENCE).success();
    let audit = container.output_of("dpkg --audit && dpkg --verify nlxtp-guest");
    assert_eq!(audit.lines().filter(|line| !line.contains("/usr/share/")).count(), 0, "{audit}");
    let refused = container.run("nlxtp-guest install", PATIENCE);
    assert_eq!(refused.code(), 1);
    assert!(refused.error_text().contains("apt"), "{refused:?}");

    // An upgrade keeps what the administrator has changed.
    container.output_of("echo nlxtp_mon_check_interval=2 >>/etc/nlxtp.conf");
    container.run(&format!("{DPKG} -i /root/next.deb"), PATIENCE).success();
    assert!(container.output_of("dpkg-query -W nlxtp-guest").contains("+next"));
    assert!(container.output_of("nlxtp-guest check-config").contains("nlxtp_mon_check_interval=2\n"));

    // What is installed runs the whole cycle.
    let target = Target::new(&container.shared_directory());
    let invoke = container.host_command_for("/usr/sbin/nlxtp-guest monitor --background");
    target.upload(&experiment.archive(), &["--guest-power", "on", "--invoke", &invoke]);
    experiment.judge_status(&target.watch(&["--guest-power", "on"], PATIENCE));
    target.download(&experiment.download());
    experiment.judge_download();
    container.output_of("rm -rf /mnt/nlXTP/* /mnt/nlXTP/.[!.]*");

    container.run(&format!("{DPKG} -r nlxtp-guest"), PATIENCE).success();
    assert!(container.output_of("cat /etc/nlxtp.conf").contains("nlxtp_mon_check_interval=2\n"), "removed, not purged");
    container.run(&format!("{DPKG} -P nlxtp-guest"), PATIENCE).success();
    let after = container.output_of(LIST);
    let added: Vec<_> = after.lines().filter(|path| !before.lines().any(|known| known == *path)).collect();
    assert!(added.is_empty(), "left behind: {added:?}");
    let lost: Vec<_> = before.lines().filter(|path| !after.lines().any(|known| known == *path)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
}

#[test]
#[ignore = "needs root, debootstrap, debhelper and QEMU; `make test` runs it"]
fn a_debian_bookworm_takes_the_package_and_loses_it_again() {
    lives_in(&places::guest_root());
}

#[test]
#[ignore = "needs root, debootstrap, debhelper and QEMU; `make test` runs it"]
fn a_debian_bullseye_takes_the_package_and_loses_it_again() {
    lives_in(&places::guest_root_of("bullseye", "amd64"));
}
