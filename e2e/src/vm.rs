//! A virtual machine without a network.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::accelerator::Accelerator;
use crate::console::Console;
use crate::initramfs::Initramfs;
use crate::places;
use crate::process::{bound_to_this_thread, wait_for_exit, wait_until};
use crate::qmp::Qmp;

/// Emulated guests boot in 3 seconds; on a busy machine it may be many more.
const BOOT: Duration = Duration::from_secs(120);
/// For what takes no time, yet must not wait for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a virtual machine is to be.
#[derive(Clone, Debug)]
pub struct VmOptions {
    initramfs: Initramfs,
    disks: Vec<Disk>,
    memory_mib: u32,
    kernel_arguments: String,
    guest_config: String,
    accelerator: Option<Accelerator>,
    paused: bool,
    saved_state: Option<PathBuf>,
    agent_port: bool,
}

/// A raw image as a virtio disk.
#[derive(Clone, Debug)]
enum Disk {
    /// With one of QEMU's words for its `cache=` option.
    Cached(PathBuf, &'static str),
    /// Image and log of all writes; see [`crate::write_log`].
    Logged(PathBuf, PathBuf),
}

impl Disk {
    fn arguments(&self, number: usize) -> Vec<String> {
        // QEMU reads two commas as one within a value.
        let quoted = |path: &Path| path.display().to_string().replace(',', ",,");
        match self {
            Disk::Cached(image, cache) => {
                vec!["-drive".into(), format!("if=virtio,format=raw,cache={cache},file={}", quoted(image))]
            }
            Disk::Logged(image, log) => vec![
                "-blockdev".into(),
                format!(
                    "driver=blklogwrites,node-name=disk{number},file.driver=file,file.filename={},\
                     log.driver=file,log.filename={},log-sector-size=512",
                    quoted(image),
                    quoted(log)
                ),
                "-device".into(),
                format!("virtio-blk-pci,drive=disk{number}"),
            ],
        }
    }
}

impl VmOptions {
    /// A machine with 128 MiB of memory and no disk.
    pub fn new(initramfs: Initramfs) -> Self {
        VmOptions {
            initramfs,
            disks: Vec::new(),
            memory_mib: 128,
            kernel_arguments: String::new(),
            guest_config: String::new(),
            accelerator: None,
            paused: false,
            saved_state: None,
            agent_port: false,
        }
    }

    /// Attaches a raw image as the next virtio disk (`/dev/vda`, `/dev/vdb`, …), with
    /// QEMU's default way of caching, `writeback`.
    #[must_use]
    pub fn disk(self, image: &Path) -> Self {
        self.disk_with_cache(image, "writeback")
    }

    /// Like [`VmOptions::disk`], with one of QEMU's words for its `cache=` option.
    #[must_use]
    pub fn disk_with_cache(mut self, image: &Path, cache: &'static str) -> Self {
        self.disks.push(Disk::Cached(image.to_path_buf(), cache));
        self
    }

    /// Like [`VmOptions::disk`], with everything that is written kept in a log; see
    /// [`crate::write_log`].
    #[must_use]
    pub fn disk_with_log(mut self, image: &Path, log: &Path) -> Self {
        self.disks.push(Disk::Logged(image.to_path_buf(), log.to_path_buf()));
        self
    }

    /// Leaves the processor standing still until [`Vm::resume`].
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// Goes on from a state that [`Vm::save`] has written, of a machine that was the same but
    /// for its images' content and paths.
    #[must_use]
    pub fn saved_state(mut self, file: &Path) -> Self {
        self.saved_state = Some(file.to_path_buf());
        self
    }

    /// Adds the port at which QEMU's guest agent waits for orders; nobody gives any.
    #[must_use]
    pub fn agent_port(mut self) -> Self {
        self.agent_port = true;
        self
    }

    /// Sets the size of the memory.
    #[must_use]
    pub fn memory_mib(mut self, size: u32) -> Self {
        self.memory_mib = size;
        self
    }

    /// Adds to the kernel's command line.
    #[must_use]
    pub fn kernel_arguments(mut self, arguments: &str) -> Self {
        self.kernel_arguments = arguments.to_owned();
        self
    }

    /// Adds lines to the guest's `/etc/nlxtp.conf`.
    #[must_use]
    pub fn guest_config(mut self, lines: &str) -> Self {
        self.guest_config = lines.to_owned();
        self
    }

    /// Asks for an accelerator instead of what suits this machine.
    #[must_use]
    pub fn accelerator(mut self, accelerator: Accelerator) -> Self {
        self.accelerator = Some(accelerator);
        self
    }
}

/// A running virtual machine. It ends when this value is dropped, as if unplugged.
pub struct Vm {
    qemu: Child,
    console: Console,
    qmp: Qmp,
    control: Option<BufReader<UnixStream>>,
    commands: u32,
    // Holds the initramfs and the sockets.
    folder: TempDir,
}

impl Vm {
    /// Switches a virtual machine on. Does not wait for its boot.
    ///
    /// # Panics
    /// If QEMU cannot be started.
    #[track_caller]
    pub fn start(options: &VmOptions) -> Self {
        Self::try_start(options).unwrap_or_else(|said| panic!("QEMU ended at once: {said}"))
    }

    /// The same, where QEMU itself may refuse; then this is what it said.
    ///
    /// # Errors
    /// What QEMU said before it ended.
    ///
    /// # Panics
    /// If QEMU cannot be started, or neither ends nor answers.
    #[track_caller]
    pub fn try_start(options: &VmOptions) -> Result<Self, String> {
        let boot = places::guest_boot();
        let accelerator = options.accelerator.unwrap_or_else(Accelerator::of_this_machine);
        let folder = places::temporary_folder_for_sockets();
        let in_folder = |name: &str| folder.path().join(name);
        match &options.saved_state {
            // Loaded and gone long ago; but the machine must be the same.
            Some(state) => drop(fs::copy(initramfs_of(state), in_folder("initramfs")).expect("what was saved")),
            None => options.initramfs.build(&in_folder("initramfs"), &options.guest_config),
        }

        let mut command = bound_to_this_thread(&places::tool("qemu-system-x86_64"));
        command
            .args(["-nodefaults", "-no-user-config", "-nic", "none", "-display", "none"])
            .args(["-accel", accelerator.name(), "-m", &options.memory_mib.to_string()])
            .args(["-serial", "stdio"])
            .arg("-chardev")
            .arg(format!("socket,id=control,path={},server=on,wait=off", in_folder("control").display()))
            .args(["-serial", "chardev:control"])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", in_folder("qmp").display()))
            .arg("-kernel")
            .arg(boot.join("vmlinuz"))
            .arg("-initrd")
            .arg(in_folder("initramfs"))
            .arg("-append")
            // On a busy machine an emulated timer is so late that the kernel takes it for broken.
            .arg(format!("console=ttyS0 quiet no_timer_check {}", options.kernel_arguments));
        for (number, disk) in options.disks.iter().enumerate() {
            command.args(disk.arguments(number));
        }
        if options.agent_port {
            let socket = in_folder("agent");
            command
                .arg("-chardev")
                .arg(format!("socket,id=agent,path={},server=on,wait=off", socket.display()))
                .args(["-device", "virtio-serial-pci"])
                .args(["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]);
        }
        if options.paused {
            command.arg("-S");
        }
        if let Some(state) = &options.saved_state {
            command.arg("-incoming").arg(format!("exec:cat '{}'", state.display()));
        }
        let mut qemu = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start QEMU: {error}"));
        let console = Console::new();
        console.follow(qemu.stdout.take().expect("piped above"));
        console.follow(qemu.stderr.take().expect("piped above"));

        let connected = wait_until("QEMU's control socket", PATIENCE, || match qemu.try_wait() {
            Ok(Some(status)) => Some(Err(status)),
            _ => Qmp::try_connect(&in_folder("qmp")).ok().map(Ok),
        });
        let mut qmp = match connected {
            Ok(qmp) => qmp,
            Err(status) => return Err(format!("{status}: {}", console.whole_text(PATIENCE))),
        };
        if options.saved_state.is_some() {
            // What came to its serial ports before would be lost.
            wait_until("the saved state", BOOT, || (qmp.execute("query-status")["running"] == true).then_some(()));
        }
        let control = options.initramfs.takes_commands().then(|| {
            let stream = UnixStream::connect(in_folder("control")).expect("QEMU's second serial port");
            BufReader::new(stream)
        });
        Ok(Vm { qemu, console, qmp, control, commands: 0, folder })
    }

    /// Switches on and waits until the guest has booted.
    ///
    /// # Panics
    /// If it does not boot.
    #[track_caller]
    pub fn boot(options: &VmOptions) -> Self {
        let vm = Self::start(options);
        vm.wait_for_boot();
        vm
    }

    /// Waits until a guest that takes commands has booted (again).
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn wait_for_boot(&self) {
        self.wait_for_console("guest: ready", BOOT);
    }

    /// The guest's console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Waits until the guest has written `text` on its console, after what was last waited
    /// for.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn wait_for_console(&self, text: &str, timeout: Duration) {
        assert!(
            self.console.shows(text, timeout),
            "the guest did not write '{text}' on its console within {timeout:?}"
        );
    }

    /// Runs a command (one line) in the guest's shell, and returns its exit code and what
    /// it wrote.
    ///
    /// # Panics
    /// If the guest does not answer, or is one that takes no commands.
    #[track_caller]
    pub fn run(&mut self, command: &str, timeout: Duration) -> (i32, Vec<u8>) {
        assert!(!command.contains('\n'), "a command for the guest is one line");
        self.commands += 1;
        let id = self.commands.to_string();
        let control = self.control.as_mut().expect("this guest takes no commands");
        let mut exchange = || {
            control.get_mut().set_read_timeout(Some(timeout))?;
            writeln!(control.get_mut(), "{id} {command}")?;
            let mut header = String::new();
            control.read_line(&mut header)?;
            Ok::<_, std::io::Error>(header)
        };
        let header =
            exchange().unwrap_or_else(|error| panic!("the guest did not answer '{command}' in {timeout:?}: {error}"));
        let fields: Vec<&str> = header.split_whitespace().collect();
        let [answered, status, length] = fields[..] else {
            panic!("the guest answered '{command}' with '{header}'");
        };
        assert_eq!(answered, id, "the guest answered another command than '{command}'");
        let mut output = vec![0; length.parse().expect("a length")];
        control
            .read_exact(&mut output)
            .unwrap_or_else(|error| panic!("the guest's answer to '{command}' broke off: {error}"));
        (status.parse().expect("an exit code"), output)
    }

    /// Like [`Vm::run`], for commands that must succeed and write text.
    ///
    /// # Panics
    /// If the command fails.
    #[track_caller]
    pub fn output_of(&mut self, command: &str) -> String {
        let (code, output) = self.run(command, PATIENCE);
        let output = String::from_utf8_lossy(&output).into_owned();
        assert_eq!(code, 0, "'{command}' failed in the guest: {output}");
        output
    }

    /// Shuts the guest down: ends its program, unmounts, powers off.
    ///
    /// # Panics
    /// If it does not power off, or is one that takes no commands.
    #[track_caller]
    pub fn power_off(mut self) {
        let control = self.control.as_mut().expect("this guest takes no commands");
        writeln!(control.get_mut(), "0 power_off").expect("the guest's second serial port");
        self.wait_for_end();
    }

    /// Waits until the guest has powered itself off.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn wait_for_end(&mut self) {
        let status = wait_for_exit(&mut self.qemu, PATIENCE * 2);
        let status = status.unwrap_or_else(|| panic!("the guest did not power off"));
        assert!(status.success(), "QEMU failed: {status}");
    }

    /// Ends the virtual machine the way a testbed switches one off hard: the guest notices
    /// nothing, QEMU closes its images properly.
    ///
    /// # Panics
    /// If QEMU does not end.
    #[track_caller]
    pub fn switch_off(mut self) {
        self.qmp.execute("quit");
        self.wait_for_end();
    }

    /// Writes the state of the machine, but not of its disks, to a file, and ends it.
    ///
    /// # Panics
    /// If QEMU does not manage.
    #[track_caller]
    pub fn save(mut self, file: &Path) {
        let uri = format!("exec:cat >'{}'", file.display());
        self.qmp.execute_with("migrate", &json!({ "uri": uri }));
        wait_until("the state to be saved", BOOT, || match self.qmp.execute("query-migrate")["status"].as_str() {
            Some("completed") => Some(()),
            Some("failed" | "cancelled") => panic!("QEMU could not save the machine's state"),
            _ => None,
        });
        fs::copy(self.folder.path().join("initramfs"), initramfs_of(file)).expect("beside the state");
        self.switch_off();
    }

    /// QEMU's process id.
    pub fn process_id(&self) -> u32 {
        self.qemu.id()
    }

    /// Kills QEMU (SIGKILL), as when the host's power fails for this guest alone.
    pub fn pull_the_plug(self) {
        drop(self);
    }

    /// Presses the reset button.
    ///
    /// # Panics
    /// If QEMU refuses.
    #[track_caller]
    pub fn reset(&mut self) {
        self.qmp.execute("system_reset");
    }

    /// Stops the guest's processor.
    ///
    /// # Panics
    /// If QEMU refuses.
    #[track_caller]
    pub fn pause(&mut self) {
        self.qmp.execute("stop");
    }

    /// Lets a paused guest go on.
    ///
    /// # Panics
    /// If QEMU refuses.
    #[track_caller]
    pub fn resume(&mut self) {
        self.qmp.execute("cont");
    }
}

/// Where the initramfs of a machine is kept whose state is this file.
fn initramfs_of(state: &Path) -> PathBuf {
    state.with_extension("initramfs")
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = wait_for_exit(&mut self.qemu, PATIENCE);
        if thread::panicking() {
            eprintln!("--- console of the virtual machine:\n{}--- end of the console", self.console.text());
        }
    }
}
