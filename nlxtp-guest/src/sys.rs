//! What needs unsafe system calls.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use nix::unistd::{ForkResult, Gid, Uid, fork, setgid, setgroups, setuid};

/// Lets the command start with every signal at its default and none blocked, whatever this program
/// has inherited or set.
pub fn with_default_signals(command: &mut Command) -> &mut Command {
    let reset = || {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
            // SAFETY: no handler is installed, only the default action.
            unsafe { sigaction(signal, &default) }?;
        }
        Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
    };
    // SAFETY: between fork and exec, `reset` makes only async-signal-safe system calls (sigaction,
    // sigprocmask) on values of its own stack; it neither allocates nor locks.
    unsafe { command.pre_exec(reset) }
}

/// Lets the command run as this user, with these groups and no others.
pub fn as_user(command: &mut Command, uid: Uid, gid: Gid, groups: Vec<Gid>) -> &mut Command {
    let change = move || {
        // The user last: from then on nothing else can be changed.
        setgroups(&groups)?;
        setgid(gid)?;
        Ok(setuid(uid)?)
    };
    // SAFETY: between fork and exec, `change` makes only system calls, of a process with one thread, on
    // a list that was made before; it neither allocates nor locks.
    unsafe { command.pre_exec(change) }
}

/// Splits this process: the child goes on in a session of its own, the parent ends with exit
/// code 0. What the caller has opened and locked stays the child's.
///
/// # Errors
/// The system's; then there is no child.
pub fn continue_in_child() -> io::Result<()> {
    // SAFETY: no process of this program ever has a second thread, so the child may go on as if
    // nothing had happened: no lock can be held by a thread that is not there.
    match unsafe { fork() }? {
        // SAFETY: `_exit` ends the process at once and has no further preconditions; nothing that
        // the child still needs is torn down on the parent's side.
        ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
        ForkResult::Child => {
            nix::unistd::setsid()?;
            Ok(())
        }
    }
}
