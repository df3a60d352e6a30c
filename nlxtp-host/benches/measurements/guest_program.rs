//! The real guest program, started as a daemon.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::Result;

/// Where the program is: as the environment says, or where `make guest` builds it.
pub fn find() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let built = || {
        let hosts = std::fs::read_dir(target).ok()?;
        hosts.filter_map(|host| Some(host.ok()?.path().join("guest/nlxtp-guest"))).find(|path| path.is_file())
    };
    std::env::var_os("NLXTP_GUEST").map(PathBuf::from).filter(|path| path.is_file()).or_else(built)
}

/// A daemon that ends with this value.
pub struct Daemon(Child);

impl Daemon {
    /// Starts the program with its defaults, and lets it come to rest.
    pub fn start(program: &Path, directory: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["--config", "/dev/null", "daemon", "--dir"])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        sleep(Duration::from_millis(500));
        match child.try_wait()? {
            Some(status) => Err(format!("the guest program ended at once: {status}").into()),
            None => Ok(Self(child)),
        }
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.pid()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}
