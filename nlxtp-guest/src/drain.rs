//! Somebody to read on where a script's children still write.
//!
//! The run ends with the script. A child that it leaves behind may hold its outputs open; if the
//! reading ends vanished, the child would be killed by SIGPIPE at its next word. So a process of
//! its own reads and throws away until the last writer is gone.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::unistd::read;

use crate::script::own_program;
use crate::signals;

/// Leaves a process that drains these pipes. It holds nothing else: every other descriptor closes
/// at exec, and its working directory is the root.
///
/// # Errors
/// The system's.
pub fn leave(pipes: [Option<OwnedFd>; 2]) -> io::Result<()> {
    if pipes.iter().all(Option::is_none) {
        return Ok(());
    }
    let [stdin, stdout] = pipes.map(|pipe| pipe.map_or_else(Stdio::null, Stdio::from));
    let mut command = Command::new(own_program());
    command.arg("drain").stdin(stdin).stdout(stdout).stderr(Stdio::null()).current_dir("/").process_group(0);
    crate::sys::with_default_signals(&mut command).spawn().map(drop)
}

/// What that process does. Its standard input and output are the reading ends.
///
/// # Errors
/// The system's.
pub fn run() -> io::Result<()> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let mut open = vec![stdin.as_fd(), stdout.as_fd()];
    let mut buffer = [0; 4096];
    while !open.is_empty() {
        let mut descriptors: Vec<_> = open.iter().map(|pipe| PollFd::new(*pipe, PollFlags::POLLIN)).collect();
        signals::wait(&mut descriptors, None)?;
        open.retain(|pipe| match read(pipe, &mut buffer) {
            Ok(0) => false,
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => true,
            Err(_) => false,
        });
    }
    Ok(())
}
