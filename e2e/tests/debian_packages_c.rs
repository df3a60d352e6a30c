//! The Debian packages of the C library, libnlxtp0 and libnlxtp-dev: programs are compiled and linked with
//! them in a copy of this system that is gone afterwards, and run in a Debian that has only the library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::experiment::{Experiment, Interpreter};
use nlxtp_e2e::process::run;
use nlxtp_e2e::{Container, places};

const PATIENCE: Duration = Duration::from_secs(300);

/// Runs inside the copy: $1 holds the packages, $2 the repository, $3 gets the programs. Prints what is
/// left after the purge.
const INSTALL_COMPILE_AND_PURGE: &str = r#"
set -eu
list() { find /usr /etc /var/lib/dpkg/info /var/lib/dpkg/triggers -xdev | sort; }
packages=$1 repository=$2 programs=$3
list >/tmp/before
# Systems in containers often leave documents out.
DEBIAN_FRONTEND=noninteractive dpkg --path-include='/usr/share/*' --install "$packages"/libnlxtp0_*.deb "$packages"/libnlxtp-dev_*.deb >&2
dpkg --verify libnlxtp0 libnlxtp-dev
examples=/usr/share/doc/libnlxtp-dev/examples
for example in "$repository"/bindings-c/examples/*; do
    name=$(basename "$example")
    # What is packed may be compressed.
    [ -e "$examples/$name" ] || gzip -d "$examples/$name.gz"
    cmp "$example" "$examples/$name"
done
cc -o "$programs/shared" "$examples/libvirt_style.c" $(pkg-config --cflags --libs nlxtp)
c++ -std=c++17 -pthread -o "$programs/watch" "$examples/watch.cc" $(pkg-config --cflags --libs nlxtp)
library=$(pkg-config --variable=libdir nlxtp)/libnlxtp.a
cc -o "$programs/static" "$examples/libvirt_style.c" $(pkg-config --cflags nlxtp) "$library" \
    $(pkg-config --static --libs-only-l nlxtp | sed 's/-lnlxtp//')
ldd "$programs/shared" | grep -q 'libnlxtp.so.0 => /'
mkdir /tmp/project && cd /tmp/project
printf '%s\n' 'cmake_minimum_required(VERSION 3.13)' 'project(uses C)' 'find_package(nlxtp 0.1 REQUIRED)' \
    "add_executable(uses $examples/smallest.c)" 'target_link_libraries(uses nlxtp::nlxtp)' >CMakeLists.txt
cmake . >&2 && cmake --build . >&2
for program in ./uses "$programs/watch"; do
    code=0; "$program" 2>/dev/null || code=$?
    [ "$code" = 2 ]
done
gzip -t /usr/share/man/man3/nlxtp.3.gz
[ -e /usr/share/doc/libnlxtp0/crates ] || [ -e /usr/share/doc/libnlxtp0/crates.gz ]
rm -rf /usr/share/doc/libnlxtp-dev/examples
dpkg --purge libnlxtp-dev libnlxtp0 >&2
list >/tmp/after
diff /tmp/before /tmp/after || true
"#;

/// Runs a script in a copy of this system whose changes are in memory, and gone when it ends.
const IN_A_COPY: &str = r#"
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
mount --rbind /proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mkdir -p "$1/root$2" "$1/root$3" "$1/root$4"
mount --bind "$2" "$1/root$2"
mount --bind "$3" "$1/root$3"
mount --bind "$4" "$1/root$4"
exec chroot "$1/root" /bin/sh -c "$5" - "$2" "$3" "$4"
"#;

/// The packages that `make deb-c` has built.
#[track_caller]
fn packages() -> PathBuf {
    let folder = places::target().join("release/c/deb");
    for start in ["libnlxtp0_", "libnlxtp-dev_"] {
        package(&folder, start);
    }
    folder
}

#[track_caller]
fn package(folder: &Path, start: &str) -> PathBuf {
    let names = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}; run make deb-c", folder.display()));
    let mut found = names.map(|entry| entry.expect("an entry").path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(start) && name.ends_with(".deb")
    });
    let package = found.next();
    package.unwrap_or_else(|| panic!("no {start}*.deb in {}: run make deb-c (`make test-long` does)", folder.display()))
}

#[test]
#[ignore = "needs root, debootstrap, debhelper and CMake; `make test-long` runs it"]
fn programs_are_compiled_with_the_packages_and_run_with_the_library_alone() {
    places::require_root();
    let (packages, programs) = (packages(), places::temporary_folder("programs"));
    let scratch = places::temporary_folder("debian");
    let mut copy = Command::new(places::tool("unshare"));
    copy.args(["--mount", "--propagation", "private", "/bin/sh", "-c", IN_A_COPY, "-"]).arg(scratch.path());
    copy.arg(&packages).arg(places::repository()).arg(programs.path()).arg(INSTALL_COMPILE_AND_PURGE);
    let left = run(&mut copy, PATIENCE).success().text();
    assert_eq!(left.trim(), "", "what dpkg misses, and what the purge leaves or takes");

    // In a small Debian, with nothing but the package that the programs depend on.
    let mut container = Container::create();
    let experiment = Experiment::new(Interpreter::Sh);
    let inside = |name: &str| container.root().join("root").join(name);
    fs::copy(package(&packages, "libnlxtp0_"), inside("library.deb")).expect("the package");
    fs::copy(experiment.archive(), inside("archive.tar.gz")).expect("the archive");
    fs::write(inside("state"), "running\n").expect("the state");
    for program in ["shared", "static"] {
        container.install(&programs.path().join(program), &format!("/root/{program}"));
    }
    container.start();
    let upload = "mkdir /root/target && /root/PROGRAM /root/state /root/target /root/archive.tar.gz && \
                  test -x /root/target/auto_exec.sh && rm -r /root/target";
    container.output_of(&upload.replace("PROGRAM", "static"));
    assert_eq!(container.run(&upload.replace("PROGRAM", "shared"), PATIENCE).code(), 127, "the library is not there");
    container.output_of("rmdir /root/target && dpkg --install /root/library.deb && dpkg --audit");
    let uploaded = container.output_of(&upload.replace("PROGRAM", "shared"));
    assert!(uploaded.starts_with("node1: run "), "{uploaded}");
    container.output_of("dpkg --purge libnlxtp0 && ! ldconfig -p | grep nlxtp && ! find /usr -name '*nlxtp*' | grep .");
    container.stop();
}
