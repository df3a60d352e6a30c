//! Where things are: the repository, prepared guests, the programs under test. And what
//! to do when they are not there.

use std::path::{Path, PathBuf};
use std::{env, fs};

use tempfile::TempDir;

/// The repository's top folder.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("this crate is a folder of the repository").to_path_buf()
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => repository().join(folder),
        None => repository().join("target"),
    }
}

/// One of the files in `e2e/guests/`.
pub fn guest_file(name: &str) -> PathBuf {
    repository().join("e2e/guests").join(name)
}

/// The folder that `scripts/guest-boot.sh` fills: kernel, modules, busybox.
///
/// # Panics
/// If it is not there.
#[track_caller]
pub fn guest_boot() -> PathBuf {
    let folder = target().join("guests/boot");
    assert!(
        folder.join("complete").exists(),
        "no guest kernel in {}: run scripts/guest-boot.sh (`make test` does)",
        folder.display()
    );
    folder
}

/// The Debian root file system that `scripts/guest-root.sh` makes.
///
/// # Panics
/// If it is not there.
#[track_caller]
pub fn guest_root() -> PathBuf {
    let link = target().join("guests/root");
    let folder = link.canonicalize().unwrap_or(link);
    assert!(
        folder.join("etc/nlxtp-guest-root").exists(),
        "no guest root file system in {}: run scripts/guest-root.sh (`make test` does)",
        folder.display()
    );
    folder
}

/// The root file system of another suite and architecture, which `scripts/guest-root.sh` makes.
///
/// # Panics
/// If it is not there.
#[track_caller]
pub fn guest_root_of(suite: &str, architecture: &str) -> PathBuf {
    let folder = target().join(format!("guests/root-{suite}-{architecture}"));
    assert!(
        folder.join("etc/nlxtp-guest-root").exists(),
        "no guest root file system in {}: run scripts/guest-root.sh {suite} {architecture} (`make test` does)",
        folder.display()
    );
    folder
}

/// A temporary folder beside the prepared guests, on their file system.
///
/// # Panics
/// If it cannot be made.
#[track_caller]
pub fn temporary_folder(kind: &str) -> TempDir {
    let scratch = target().join("guests/scratch");
    fs::create_dir_all(&scratch).unwrap_or_else(|error| panic!("cannot make {}: {error}", scratch.display()));
    temporary_folder_in(&scratch, kind)
}

/// A temporary folder whose path is short enough for sockets.
///
/// # Panics
/// If it cannot be made.
#[track_caller]
pub fn temporary_folder_for_sockets() -> TempDir {
    temporary_folder_in(&env::temp_dir(), "nlxtp-e2e")
}

#[track_caller]
fn temporary_folder_in(parent: &Path, kind: &str) -> TempDir {
    remove_leftovers(parent, kind);
    tempfile::Builder::new()
        .prefix(&format!("{kind}-{}-", std::process::id()))
        .tempdir_in(parent)
        .unwrap_or_else(|error| panic!("cannot make a folder in {}: {error}", parent.display()))
}

/// Removes the folders that killed test processes have left behind.
fn remove_leftovers(parent: &Path, kind: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            let (process, _) = name.strip_prefix(kind)?.strip_prefix('-')?.split_once('-')?;
            process.parse::<u32>().ok()
        });
        if let Some(owner) = owner
            && !Path::new("/proc").join(owner.to_string()).exists()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The `nlxtp` command under test: what `NLXTP` names, else the release build.
///
/// # Panics
/// If it is not there.
#[track_caller]
pub fn nlxtp() -> PathBuf {
    program("NLXTP", &["release/nlxtp"], "cargo build --release -p nlxtp-host")
}

/// The static guest program under test: what `NLXTP_GUEST` names, else the guest build.
///
/// # Panics
/// If it is not there.
#[track_caller]
pub fn nlxtp_guest() -> PathBuf {
    program(
        "NLXTP_GUEST",
        &[
            "guest/nlxtp-guest",
            "x86_64-unknown-linux-gnu/guest/nlxtp-guest",
            "x86_64-unknown-linux-musl/guest/nlxtp-guest",
        ],
        "make guest",
    )
}

#[track_caller]
fn program(variable: &str, candidates: &[&str], how_to_build: &str) -> PathBuf {
    if let Some(named) = env::var_os(variable) {
        let path = repository().join(named);
        assert!(path.is_file(), "{variable} names {}, which is no file", path.display());
        return path;
    }
    candidates.iter().map(|candidate| target().join(candidate)).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "{} is not built: run `{how_to_build}`, or let {variable} name it",
            target().join(candidates[0]).display()
        )
    })
}

/// The path of a program that the harness needs.
///
/// # Panics
/// If no folder of `PATH` (or of root's usual one) has it.
#[track_caller]
pub fn tool(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: run scripts/setup.sh test (`make test` does)"))
}

/// Makes sure that the test runs as root.
///
/// # Panics
/// If it does not.
#[track_caller]
pub fn require_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "a container guest needs root: run the tests as root, for example with `sudo make test`"
    );
}
