//! What the testbed knows of a guest and can do to it.

#![forbid(unsafe_code)]

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rextfv_core::entry_path::displayable;
use rextfv_core::powers::{GuestPower, InvokeMonitor, PowerState};

use crate::error::{Error, ErrorKind, Result};

/// A power state that somebody has said once and for all.
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownPower(pub PowerState);

impl GuestPower for KnownPower {
    type Error = Error;

    fn power_state(&self) -> Result<PowerState> {
        Ok(self.0)
    }
}

/// How long a command that invokes the monitor is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a failed command's error output that are shown.
const SHOWN_BYTES: usize = 2000;

/// Invokes the monitor by a shell command on the host, such as `lxc-attach -n NODE -- nlxtp-guest
/// monitor --background`.
///
/// A command that is still running after ten seconds is taken for a monitor in the foreground and
/// left alone.
#[derive(Debug, Clone)]
pub struct InvokeCommand {
    command: String,
}

impl InvokeCommand {
    /// Will run this command with `sh -c`.
    pub fn new(command: impl Into<String>) -> Self {
        Self { command: command.into() }
    }
}

impl InvokeMonitor for InvokeCommand {
    type Error = Error;

    fn invoke_monitor(&self) -> Result<()> {
        let failed = |message: String| {
            Error::new(ErrorKind::InvokeFailed, message)
                .with_object(displayable(self.command.as_bytes()))
                .with_hint("the upload stands; invoke the monitor by hand, or boot the guest")
        };
        let mut child = Command::new("sh")
            .args(["-c", &self.command])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("cannot run the shell: {error}")))?;
        let complaints = collect_complaints(&mut child);
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(1);
        while Instant::now() < deadline {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    let complaints = complaints.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
                    let separator = if complaints.is_empty() { "" } else { ": " };
                    let complaints = displayable(&complaints);
                    return Err(failed(format!("the command failed ({status}){separator}{complaints}")));
                }
                Ok(None) => {}
                Err(error) => return Err(failed(format!("cannot wait for the command: {error}"))),
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        // Still to be waited for when it ends, or it would stay as a zombie.
        thread::spawn(move || child.wait());
        Ok(())
    }
}

/// Reads the command's error output to its end, so that it never blocks; sends the beginning.
fn collect_complaints(child: &mut Child) -> std::sync::mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    if let Some(mut stderr) = child.stderr.take() {
        thread::spawn(move || {
            let mut kept = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                let room = SHOWN_BYTES.saturating_sub(kept.len());
                kept.extend_from_slice(&buffer[..length.min(room)]);
            }
            let _ = sender.send(kept.trim_ascii().to_vec());
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_quoted() {
        let error = InvokeCommand::new("echo no such guest >&2; exit 3").invoke_monitor().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvokeFailed);
        let text = error.to_string();
        assert!(text.contains("no such guest") && text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn a_command_that_leaves_something_behind_is_not_waited_for() {
        let before = Instant::now();
        InvokeCommand::new("sleep 60 & exit 0").invoke_monitor().unwrap();
        assert!(before.elapsed() < PATIENCE);
    }
}
