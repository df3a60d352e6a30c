//! Process 1 of a guest that holds nothing but a kernel and this program.
//!
//! The kernel's command line is the configuration: `nlxtp_device=/dev/vda1` and the like come to
//! process 1 as environment variables.

#![forbid(unsafe_code)]

use std::env;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sync};

use crate::config::{Config, ConfigError};
use crate::daemon;
use crate::disk;
use crate::error::{Doing, Error, note, survive};

/// `MODULE_INIT_COMPRESSED_FILE` of finit_module(2): the kernel unpacks the file itself.
const COMPRESSED: u32 = 4;

/// Serves as process 1 until the end, and turns the guest off then.
pub fn run() {
    if let Err(error) = serve() {
        note(error);
    }
    turn_off();
}

fn serve() -> Result<(), Error> {
    // The sequence Ctrl-Alt-Del becomes a SIGINT to us, so that it ends the guest in order.
    survive(set_cad_enabled(false).doing(|| "take over Ctrl-Alt-Del"));
    for (kind, place) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        survive(mount_system(kind, place).doing(|| format!("mount {place}")));
    }
    let config = configuration()?;
    load_modules(&config.modules);
    let device = wait_for_disk(&config)?;
    disk::mount_at(&device, &config.dir)?;
    let served = daemon::run(&config);
    end_processes(config.grace);
    survive(umount2(&config.dir, MntFlags::empty()).doing(|| format!("unmount {}", config.dir.display())));
    served.map(|_| ())
}

fn mount_system(kind: &str, place: &str) -> io::Result<()> {
    fs::create_dir_all(place)?;
    match mount(Some(kind), place, Some(kind), MsFlags::MS_NOSUID, None::<&str>) {
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The configuration file, and above it the kernel's command line.
fn configuration() -> Result<Config, Error> {
    let loaded = Config::load(None)?;
    let mut config = loaded.config;
    loaded.warnings.iter().for_each(note);
    for (key, value) in env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value))) {
        if !key.starts_with("nlxtp_") {
            continue;
        }
        let value = value.to_string_lossy();
        match config.set(&key, &value) {
            Ok(None) => {}
            Ok(Some(why)) => note(format_args!("kernel command line: {key} is ignored: {why}")),
            Err(allowed) => {
                let problem = format!("kernel command line: {key} is \"{value}\"; allowed is {allowed}");
                return Err(ConfigError { problems: vec![problem] }.into());
            }
        }
    }
    Ok(config)
}

/// Loads the modules in their order. One that needs a later one fails at first, so those that
/// failed are tried again for as long as that gets any further.
fn load_modules(modules: &[PathBuf]) {
    let mut left: Vec<&PathBuf> = modules.iter().collect();
    loop {
        let before = left.len();
        let mut problems = Vec::new();
        left.retain(|module| match load(module) {
            Ok(()) => false,
            Err(problem) => {
                problems.push(format!("cannot load the kernel module {}: {problem}", module.display()));
                true
            }
        });
        if left.len() == before {
            problems.iter().for_each(note);
            return;
        }
    }
}

fn load(module: &Path) -> io::Result<()> {
    let file = File::open(module)?;
    let compressed = module.extension().is_some_and(|end| ["xz", "gz", "zst"].iter().any(|known| end == *known));
    let flags = ModuleInitFlags::from_bits_retain(if compressed { COMPRESSED } else { 0 });
    match finit_module(file, &CString::default(), flags) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(Errno::ENOENT) => Err(io::Error::other("it needs another module that is not loaded")),
        Err(error) => Err(error.into()),
    }
}

fn wait_for_disk(config: &Config) -> Result<PathBuf, Error> {
    let deadline = Instant::now() + disk::DEADLINE;
    loop {
        if let Some(device) = disk::find(&config.device) {
            return Ok(device);
        }
        if Instant::now() >= deadline {
            let (wanted, seconds) = (disk::wanted(&config.device), disk::DEADLINE.as_secs());
            return Err(Error::Refused(format!("{wanted} did not come up within {seconds} seconds")));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Ends every process but this one.
fn end_processes(grace: Duration) {
    let everyone = Pid::from_raw(-1);
    let _ = kill(everyone, Signal::SIGTERM);
    let deadline = Instant::now() + grace;
    while children_left() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    let _ = kill(everyone, Signal::SIGKILL);
    let deadline = Instant::now() + Duration::from_secs(1);
    while children_left() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
}

/// Reaps what has ended; process 1 is everybody's parent in the end.
fn children_left() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

fn turn_off() {
    sync();
    for how in [RebootMode::RB_POWER_OFF, RebootMode::RB_HALT_SYSTEM] {
        let Err(error) = reboot(how);
        note(format_args!("cannot turn the guest off: {error}"));
    }
}
