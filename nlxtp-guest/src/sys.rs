//! What needs unsafe system calls.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
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

/// What a look at a file tells. Lengths and inode numbers have 64 bits on every machine; those of the plain
/// `stat` have 32 on some, and a look at a long file fails there.
pub type FileStat = libc::stat64;

/// What stands under a name in a directory.
///
/// # Errors
/// The system's.
pub fn stat_at(directory: impl AsFd, name: &OsStr, flags: AtFlags) -> nix::Result<FileStat> {
    let mut stat = MaybeUninit::uninit();
    let directory = directory.as_fd().as_raw_fd();
    let done = name.with_nix_path(|name| {
        // SAFETY: the descriptor is open and the name ends with NUL for as long as the call lasts, and
        // `stat` has room for what it writes.
        unsafe { libc::fstatat64(directory, name.as_ptr(), stat.as_mut_ptr(), flags.bits()) }
    })?;
    Errno::result(done)?;
    // SAFETY: the call has succeeded, so it has written all of it.
    Ok(unsafe { stat.assume_init() })
}

/// What an open file or directory is.
///
/// # Errors
/// The system's.
pub fn stat(file: impl AsFd) -> nix::Result<FileStat> {
    stat_at(file, OsStr::new(""), AtFlags::AT_EMPTY_PATH)
}

/// The type of the file system that a path leads to, a number that the kernel's `magic.h` lists. The plain
/// `statfs` fails on some machines where the file system is large.
///
/// # Errors
/// The system's.
pub fn file_system_type(path: &Path) -> nix::Result<u32> {
    let mut found = MaybeUninit::<libc::statfs64>::uninit();
    // SAFETY: the path ends with NUL for as long as the call lasts, and `found` has room for what it writes.
    let done = path.with_nix_path(|path| unsafe { libc::statfs64(path.as_ptr(), found.as_mut_ptr()) })?;
    Errno::result(done)?;
    // SAFETY: the call has succeeded, so it has written all of it. The numbers have 32 bits; the type that holds
    // them differs from machine to machine.
    Ok(unsafe { found.assume_init() }.f_type as u32)
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
