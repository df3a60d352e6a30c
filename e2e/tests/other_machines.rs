//! The guest's program for machines of other architectures than the host's: what it is, and a run with it,
//! emulated where this machine does not run it itself.

use std::env::consts::ARCH;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nlxtp_e2e::Container;
use nlxtp_e2e::archive::{Archive, judge_next, upload_next};
use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::places::{self, tool};
use nlxtp_e2e::process::{Finished, run};
use rextfv_core::status::{Ending, RunState, Status};
use rextfv_core::status_codec;

const PATIENCE: Duration = Duration::from_secs(100);

/// An architecture of guests.
struct Machine {
    /// As Debian calls it.
    name: &'static str,
    /// As Rust calls it.
    target: &'static str,
    /// What `file` says of its programs.
    described_as: &'static str,
    /// The processor, as Rust calls it, on which they run as they are.
    runs_on: &'static str,
    /// What runs them elsewhere.
    emulator: &'static str,
}

const I386: Machine = Machine {
    name: "i386",
    target: "i686-unknown-linux-gnu",
    described_as: "ELF 32-bit LSB executable, Intel 80386",
    runs_on: "x86_64",
    emulator: "qemu-i386-static",
};

const ARM64: Machine = Machine {
    name: "arm64",
    target: "aarch64-unknown-linux-gnu",
    described_as: "ELF 64-bit LSB executable, ARM aarch64",
    runs_on: "aarch64",
    emulator: "qemu-aarch64-static",
};

/// What is not kept is a file of more bytes than 32 bits count.
const MANIFEST: &str = "keep = ['result']\ntimeout = '90s'\n";

const SCRIPT: &str = "#!/bin/sh
printf %s 'half way' >custom
echo 1/2 >progress
echo hello; echo trouble >&2
truncate -s 5G \"$archive_dir/large\" || exit 1
echo 42 >\"$archive_dir/result\"
exit 7
";

impl Machine {
    #[track_caller]
    fn program(&self) -> PathBuf {
        let program = places::target().join(self.target).join("guest/nlxtp-guest");
        let how = format!("run scripts/cross-guest.sh {} (`make test-long` does)", self.name);
        assert!(program.is_file(), "{} is not built: {how}", program.display());
        program
    }

    #[track_caller]
    fn call(&self, arguments: &[&str]) -> Finished {
        let mut command = if ARCH == self.runs_on {
            Command::new(self.program())
        } else {
            let mut emulated = Command::new(tool(self.emulator));
            emulated.arg(self.program());
            emulated
        };
        run(command.args(arguments), PATIENCE).success()
    }

    #[track_caller]
    fn runs_an_archive(&self) {
        let described = run(Command::new(tool("file")).arg("--brief").arg(self.program()), PATIENCE).success().text();
        assert!(described.starts_with(self.described_as), "{described}");
        assert!(described.contains("statically linked"), "{described}");
        assert_eq!(self.call(&["--version"]).text(), concat!("nlxtp-guest ", env!("CARGO_PKG_VERSION"), "\n"));

        let folder = places::temporary_folder(self.name);
        let (content, shared) = (folder.path().join("content"), folder.path().join("shared"));
        let [config, archive] = ["nlxtp.conf", "archive.tar.gz"].map(|name| folder.path().join(name));
        fs::write(&config, format!("nlxtp_dir={}\nnlxtp_settle=0\n", shared.display())).expect("the configuration");
        let config = config.to_str().expect("a path of ours");
        let checked = self.call(&["check-config", "--config", config]).text();
        assert!(checked.contains(&format!("nlxtp_dir={}\n", shared.display())), "{checked}");

        fs::create_dir(&shared).expect("the shared directory");
        fs::create_dir(&content).expect("a folder for the archive's content");
        fs::write(content.join("nlxtp.toml"), MANIFEST).expect("the manifest");
        fs::write(content.join("auto_exec.sh"), SCRIPT).expect("the start script");
        fs::set_permissions(content.join("auto_exec.sh"), PermissionsExt::from_mode(0o755)).expect("its mode");
        let mut create = Command::new(places::nlxtp());
        run(create.args(["archive", "create"]).arg(&content).arg("-o").arg(&archive), PATIENCE).success();
        let target = Target::new(&shared);
        target.upload(&archive, &[]);
        self.call(&["monitor", "--config", config]);

        let slots = ["status.0", "status.1"].map(|slot| fs::read(shared.join("exec_status").join(slot)));
        let records = slots.into_iter().flatten().flat_map(|record| status_codec::decode(&record));
        let last: Status = records.max_by_key(|status| status.sequence).expect("a status");
        assert_eq!((last.state, last.done, last.ended), (RunState::Finished, true, Some(Ending::Exit(7))), "{last:?}");
        assert_eq!(last.custom.as_deref(), Some(&b"half way"[..]), "{last:?}");
        assert_eq!(last.progress.map(|progress| progress.to_string()).as_deref(), Some("1/2"), "{last:?}");
        assert_eq!(last.run.expect("a run id").to_string(), target.status(&[])["run_id"], "{last:?}");
        assert_eq!(target.call("logs", &[]).success().text(), "hello\n");
        assert_eq!(target.call("logs", &["--stderr"]).success().text(), "trouble\n");
        assert_eq!(fs::read_to_string(shared.join("result")).expect("its result"), "42\n");
        assert!(!shared.join("large").exists(), "what was not to be kept is there");
        is_verified(&target, &folder.path().join("results.tar"));
    }
}

/// That the guest has left digests of its results, and they fit what is downloaded.
#[track_caller]
fn is_verified(target: &Target, archive: &Path) {
    let downloaded = target.call("download", &[archive.to_str().expect("a path of ours")]).success().text();
    assert!(downloaded.contains("\nverified: "), "{downloaded}");
}

#[test]
#[ignore = "needs cross compilers; `make test-long` runs it"]
fn the_guest_program_runs_on_i386() {
    I386.runs_an_archive();
}

#[test]
#[ignore = "needs root, a prepared guest and cross compilers; `make test-long` runs it"]
fn the_guest_program_runs_on_a_whole_system_for_i386() {
    let mut node = Container::copied_from(&places::guest_root_of("trixie", "i386"));
    node.install(&I386.program(), "/usr/bin/nlxtp-guest");
    node.start_at_boot("exec nlxtp-guest daemon");
    node.start();
    let target = Target::new(&node.shared_directory());
    upload_next(&target);
    judge_next(&target);
    let archive =
        Archive::of_script("#!/bin/sh\nhead -c 5 /bin/sh | tail -c 1 | od -An -tu1\n\"$nlxtp_guest\" set-status set\n");
    target.upload(&archive.path(), &[]);
    assert_eq!(target.call("wait", &["--timeout", "100s"]).code(), 0);
    assert_eq!(target.call("logs", &[]).success().text().trim(), "1", "a program of 32 bits");
    assert_eq!(target.status(&[])["custom"], "set");
    is_verified(&target, &target.beside("results.tar"));
}

#[test]
#[ignore = "needs cross compilers and QEMU's user mode emulation; `make test-long` runs it"]
fn the_guest_program_runs_on_arm64() {
    ARM64.runs_an_archive();
}
