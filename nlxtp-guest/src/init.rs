//! Process 1 of a guest that holds nothing but a kernel and this program.
//!
//! The kernel's command line is the configuration: `nlxtp_device=/dev/vda1` and the like come to
//! process 1 as environment variables.
//!
//! The disk is mounted without `sync` and without `flush`: the first would flush every write of
//! every script, the second waits a tenth of a second at every close. What has to be on the disk,
//! the monitor brings there: each record by `fdatasync`, everything by `syncfs` before Done.

#![forbid(unsafe_code)]

use std::env;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
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
use rextfv_core::layout::VOLUME_LABEL;

use crate::config::{Config, ConfigError};
use crate::daemon;
use crate::error::{Doing, Error, note, survive};

/// How long the disk is waited for.
const DISK_DEADLINE: Duration = Duration::from_secs(30);

/// `MODULE_INIT_COMPRESSED_FILE` of finit_module(2): the kernel unpacks the file itself.
const COMPRESSED: u32 = 4;

/// How scripts see the disk; names in UTF-8, letters as they were written.
const VFAT_OPTIONS: &str = "umask=022,utf8=1,shortname=mixed";

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
    let (shown, place) = (device.display(), config.dir.display());
    fs::create_dir_all(&config.dir).doing(|| format!("make {place}"))?;
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    mount(Some(&device), &config.dir, Some("vfat"), flags, Some(VFAT_OPTIONS))
        .doing(|| format!("mount {shown} at {place}"))?;
    let served = daemon::run(&config);
    end_processes(config.grace);
    survive(umount2(&config.dir, MntFlags::empty()).doing(|| format!("unmount {place}")));
    served
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
            Ok(Some(warning)) => note(format_args!("kernel command line: {key} {warning}")),
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
    let deadline = Instant::now() + DISK_DEADLINE;
    loop {
        let found = match &config.device {
            Some(device) => Some(device.clone()).filter(|device| device.exists()),
            None => find_disk(),
        };
        if let Some(device) = found {
            return Ok(device);
        }
        if Instant::now() >= deadline {
            let wanted = config.device.as_deref().map_or_else(
                || format!("no disk with a FAT file system labelled {VOLUME_LABEL} came up"),
                |device| format!("{} did not come up", device.display()),
            );
            return Err(Error::Refused(format!("{wanted} within {} seconds", DISK_DEADLINE.as_secs())));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn find_disk() -> Option<PathBuf> {
    let mut names: Vec<_> = fs::read_dir("/sys/class/block").ok()?.flatten().map(|entry| entry.file_name()).collect();
    names.sort_unstable();
    names.iter().map(|name| Path::new("/dev").join(name)).find(|device| {
        let mut sector = [0; 512];
        File::open(device).and_then(|mut device| device.read_exact(&mut sector)).is_ok() && is_ours(&sector)
    })
}

/// Whether this is the boot sector of a FAT file system with our volume label.
fn is_ours(sector: &[u8; 512]) -> bool {
    let signed = sector[510..] == [0x55, 0xaa];
    // FAT32 has its sectors per FAT elsewhere, and its label behind them.
    let fat32 = sector[22..24] == [0, 0];
    let label = if fat32 { &sector[71..82] } else { &sector[43..54] };
    signed && label.trim_ascii_end() == VOLUME_LABEL.as_bytes()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(label_at: usize, label: &[u8; 11], fat16_sectors: u8) -> [u8; 512] {
        let mut sector = [0; 512];
        sector[22] = fat16_sectors;
        sector[label_at..label_at + 11].copy_from_slice(label);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    #[test]
    fn our_disk_is_found_by_its_label() {
        assert!(is_ours(&sector(43, b"NLXTP      ", 9)));
        assert!(is_ours(&sector(71, b"NLXTP      ", 0)));
        assert!(!is_ours(&sector(43, b"NLXTP      ", 0)), "the label of FAT16 in a FAT32");
        assert!(!is_ours(&sector(43, b"NLXTP2     ", 9)));
        let mut unsigned = sector(43, b"NLXTP      ", 9);
        unsigned[511] = 0;
        assert!(!is_ours(&unsigned));
    }
}
