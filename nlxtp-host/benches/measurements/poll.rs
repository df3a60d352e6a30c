//! Guest modules of the paper's kind, in bash: what there is to compare with where none of ours run.
//!
//! A daemon looks for a start script once in an interval (3.2.2), and runs it by a monitor that makes the
//! status directory, writes a timestamp every two minutes and says in the end that it is done (3.2.3).

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::harness::Result;

/// How often ToMaTo's looks.
pub const INTERVAL: Duration = Duration::from_secs(60);

const DAEMON: &str = include_str!("poll.bash");

/// The daemon, until this value ends.
pub struct Poll(Child);

impl Poll {
    /// Starts it, and lets it look for the first time.
    pub fn start(bash: &Path, directory: &Path, interval: Duration) -> Result<Self> {
        let mut command = Command::new(bash);
        command.args(["-c", DAEMON, "daemon"]).arg(directory).arg(interval.as_secs().to_string());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut poll = Self(child);
        sleep(Duration::from_millis(500));
        match poll.0.try_wait()? {
            Some(status) => Err(format!("the daemon in bash ended at once: {status}").into()),
            None => Ok(poll),
        }
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
