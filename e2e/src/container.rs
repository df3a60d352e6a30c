//! A container, without a network if none is asked for: a Debian of its own in namespaces of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::console::Console;
use crate::places::{self, guest_file, tool};
use crate::process::{Finished, bound_to_this_thread, run, wait_for_exit};

const BOOT: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(30);
const COPY: Duration = Duration::from_secs(120);

const GUEST_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A container, stopped or running. When this value is dropped, its processes are killed
/// and its root file system is removed.
pub struct Container {
    folder: TempDir,
    console: Console,
    has_network: bool,
    running: Option<Running>,
}

struct Running {
    /// `unshare`, which lives as long as the container's first process.
    supervisor: Child,
    /// The first process, as the host sees it.
    init: Pid,
}

impl Container {
    /// Makes a stopped container from a copy of the prepared Debian root file system.
    ///
    /// # Panics
    /// Without root, or if the root file system was not prepared or cannot be copied.
    #[track_caller]
    pub fn create() -> Self {
        Self::copied_from(&places::guest_root())
    }

    /// Makes a stopped container from a copy of another root file system.
    ///
    /// # Panics
    /// As [`Container::create`].
    #[track_caller]
    pub fn copied_from(original: &Path) -> Self {
        places::require_root();
        let folder = places::temporary_folder("container");
        let container = Container { folder, console: Console::new(), has_network: false, running: None };
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto", "--"]).arg(original).arg(container.root());
        run(&mut copy, COPY).success();
        container.install(&guest_file("container-init.sh"), "/run/container-init.sh");
        container
    }

    /// Makes a stopped container that holds this `nlxtp-guest`.
    ///
    /// # Panics
    /// As [`Container::create`].
    #[track_caller]
    pub fn with_guest_program(program: &Path) -> Self {
        let container = Self::create();
        container.install(program, "/usr/bin/nlxtp-guest");
        container
    }

    /// Lets it use the network of the host, from its next start on: to reach a server of the test's.
    pub fn with_network_of_the_host(mut self) -> Self {
        self.has_network = true;
        self
    }

    /// The guest's root file system, as the host sees it.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// The shared directory (`/mnt/nlXTP` in the guest), as the host sees it.
    pub fn shared_directory(&self) -> PathBuf {
        self.root().join("mnt/nlXTP")
    }

    /// A path as the running guest sees it, its own mounts included, for the host to use. It is
    /// of no use any more when the guest has ended.
    ///
    /// # Panics
    /// If the container is not running.
    #[track_caller]
    pub fn in_guest(&self, path: &str) -> PathBuf {
        let running = self.running.as_ref().expect("the container is not running");
        PathBuf::from(format!("/proc/{}/root{path}", running.init))
    }

    /// Copies an executable file to a path in the guest.
    ///
    /// # Panics
    /// If it cannot be copied.
    #[track_caller]
    pub fn install(&self, file: &Path, path_in_guest: &str) {
        let target = self.root().join(path_in_guest.trim_start_matches('/'));
        fs::copy(file, &target)
            .and_then(|_| fs::set_permissions(&target, PermissionsExt::from_mode(0o755)))
            .unwrap_or_else(|error| panic!("cannot copy {} to {}: {error}", file.display(), target.display()));
    }

    /// Sets what the guest starts at its boot: lines of shell.
    ///
    /// # Panics
    /// If they cannot be written.
    #[track_caller]
    pub fn start_at_boot(&self, shell: &str) {
        fs::write(self.root().join("etc/guest-program"), format!("{shell}\n"))
            .expect("writing into the guest's root file system");
    }

    /// Boots the container and waits until its first process is ready.
    ///
    /// # Panics
    /// If it is running already or does not boot.
    #[track_caller]
    pub fn start(&mut self) {
        assert!(self.running.is_none(), "the container is running already");
        let pid_file = self.folder.path().join("pid");
        let mut command = bound_to_this_thread(&tool("unshare"));
        command
            .args(["--mount", "--propagation", "private", "--pid", "--uts", "--ipc"])
            .args((!self.has_network).then_some("--net"))
            .args(["--fork", "--kill-child=KILL", "--", "/bin/sh"])
            .arg(guest_file("container-start.sh"))
            .arg(self.root())
            .arg(self.hostname())
            .arg(places::guest_boot().join("busybox"))
            .arg(&pid_file);
        let mut supervisor = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start unshare: {error}"));
        let console = Console::new();
        console.follow(supervisor.stdout.take().expect("piped above"));
        console.follow(supervisor.stderr.take().expect("piped above"));
        self.console = console;
        let ready = self.console.shows("guest: ready", BOOT);
        let init = fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok());
        // Killing the supervisor kills the guest, so it must be ours before anything fails.
        let init = init.map(Pid::from_raw);
        self.running = Some(Running { supervisor, init: init.unwrap_or(Pid::from_raw(0)) });
        assert!(ready && init.is_some(), "the container did not boot");
    }

    /// The name that the guest has given to itself.
    pub fn hostname(&self) -> String {
        "nlxtp-container".to_owned()
    }

    /// What the guest's first process and the guest program have written since the start.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Shuts the container down: its processes get SIGTERM and the time to end.
    ///
    /// # Panics
    /// If it is not running or does not end.
    #[track_caller]
    pub fn stop(&mut self) {
        let running = self.running.as_mut().expect("the container is not running");
        kill(running.init, Signal::SIGTERM).expect("signalling the container's first process");
        let status = wait_for_exit(&mut running.supervisor, PATIENCE);
        assert!(status.is_some(), "the container did not end within {PATIENCE:?}");
        self.running = None;
    }

    /// Kills the whole container at once.
    ///
    /// # Panics
    /// If it is not running or does not end.
    #[track_caller]
    pub fn pull_the_plug(&mut self) {
        let mut running = self.running.take().expect("the container is not running");
        assert!(running.kill(), "the container's processes could not be killed");
    }

    /// Runs a shell command in the running container and waits for its end.
    ///
    /// # Panics
    /// If the container is not running, or the command does not end in time.
    #[track_caller]
    pub fn run(&self, command: &str, timeout: Duration) -> Finished {
        let words = self.enter();
        let mut entering = Command::new(&words[0]);
        entering.args(&words[1..]).args(["/bin/sh", "-c", command]);
        run(&mut entering, timeout)
    }

    /// What a shell command that must succeed writes in the running container.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn output_of(&self, command: &str) -> String {
        self.run(command, PATIENCE).success().text()
    }

    /// A command for the host's shell that starts the monitor within the running container:
    /// what `nlxtp upload --invoke` takes.
    ///
    /// # Panics
    /// If the container is not running.
    #[track_caller]
    pub fn invoke_command(&self) -> String {
        self.host_command_for("/usr/bin/nlxtp-guest monitor --background")
    }

    /// A command for the host's shell that runs a command within the running container.
    ///
    /// # Panics
    /// If the container is not running.
    #[track_caller]
    pub fn host_command_for(&self, command: &str) -> String {
        format!("{} {command}", self.enter().join(" "))
    }

    /// The words before a command that make it run within the container.
    #[track_caller]
    fn enter(&self) -> Vec<String> {
        let running = self.running.as_ref().expect("the container is not running");
        let nsenter = tool("nsenter").display().to_string();
        let target = format!("--target={}", running.init);
        let namespaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--"];
        let environment = ["/usr/bin/env", "-i", GUEST_PATH, "HOME=/root"];
        [nsenter, target].into_iter().chain(namespaces.into_iter().chain(environment).map(str::to_owned)).collect()
    }
}

impl Running {
    /// False if there are processes left.
    fn kill(&mut self) -> bool {
        let _ = self.supervisor.kill();
        let gone = wait_for_exit(&mut self.supervisor, PATIENCE).is_some();
        // `unshare --kill-child` has the first process killed; the kernel then ends the
        // rest of its namespace before it lets go of the first process.
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.init.as_raw() > 0 && kill(self.init, None).is_ok() {
            if std::time::Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        gone
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take()
            && !running.kill()
        {
            eprintln!("the processes of a container could not be killed");
        }
        if thread::panicking() {
            eprintln!("--- console of the container:\n{}--- end of the console", self.console.text());
        }
    }
}
