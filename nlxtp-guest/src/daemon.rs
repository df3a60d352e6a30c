//! The daemon: it notices a start script that nobody has taken up and calls the monitor.
//!
//! The monitor is a process of its own, so that a killed daemon ends no run.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::libc;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rextfv_core::ids::RunId;

use crate::claim::{Sight, look, read_run_id};
use crate::config::{Config, Mode};
use crate::directory::Directory;
use crate::disk::Search;
use crate::error::{Doing, Error, note, survive};
use crate::recover::{close_removed, recover};
use crate::script::own_program;
use crate::settle::Settling;
use crate::signals::{self, Came, Signals};
use crate::sys;
use crate::watch::{Interest, Watch};

/// Runs until a signal ends it, which it tells with `true`, or, in [`Mode::Once`], until what was
/// there at the start has run.
///
/// # Errors
/// The system no longer lets it wait for anything.
pub fn run(config: &Config) -> Result<bool, Error> {
    if config.mode == Mode::Never {
        note("nlxtp_mode is 0: no start script is ever started");
        return Ok(false);
    }
    let mut disk = Search::begin(config);
    if disk.as_mut().is_some_and(Search::look) {
        disk = None;
    }
    if let Err(error) = Directory::open(&config.dir) {
        note(format_args!("cannot open {}: {error}; waiting for it", config.dir.display()));
    }
    let signals = Signals::take().doing(|| "take over the signals")?;
    let daemon = Daemon {
        config,
        signals,
        disk,
        watch: Watch::new(config),
        interest: Interest::Arrivals,
        monitors: Vec::new(),
        starting: None,
        known: None,
        taken_up: None,
        settling: None,
        not_before: None,
        closing: false,
        stopped: false,
    };
    daemon.serve()
}

/// Waits for the signal that ends a daemon which has nothing left to do.
///
/// # Errors
/// The system's.
pub fn wait_for_stop() -> Result<(), Error> {
    let signals = Signals::take().doing(|| "take over the signals")?;
    while !signals.came().stop {
        signals::wait(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], None).doing(|| "wait for a signal")?;
    }
    Ok(())
}

/// What one look led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Wait for an event.
    Wait,
    /// Wait for an event, but look again at this moment.
    Until(Instant),
}

struct Daemon<'a> {
    config: &'a Config,
    signals: Signals,
    /// The disk that is still to come to the directory.
    disk: Option<Search<'a>>,
    watch: Watch,
    interest: Interest,
    /// The monitors that we have started and not reaped.
    monitors: Vec<Pid>,
    /// The one of them that has not claimed its run yet.
    starting: Option<Pid>,
    /// The directory that was looked at last, by device and inode.
    known: Option<(libc::dev_t, libc::ino64_t)>,
    /// The run that was taken up last in it: if its `exec_status` is removed, nothing else tells
    /// that it was.
    taken_up: Option<RunId>,
    settling: Option<Settling>,
    /// After a monitor that failed: the moment for the next try.
    not_before: Option<Instant>,
    /// No further run is started; when the last monitor has ended, so do we.
    closing: bool,
    /// A signal has asked us to end.
    stopped: bool,
}

impl Daemon<'_> {
    fn serve(mut self) -> Result<bool, Error> {
        let once = self.config.mode == Mode::Once;
        loop {
            let next = if self.closing { Next::Wait } else { self.look_and_act() };
            // Who has only one look waits for the disk with it.
            let next = match self.disk.as_ref().and_then(Search::until) {
                Some(until) if once && !self.closing && next == Next::Wait => Next::Until(until),
                _ => next,
            };
            let idle = self.monitors.is_empty();
            if idle && (self.closing || once && next == Next::Wait) {
                return Ok(self.stopped);
            }
            self.wait(next)?;
        }
    }

    /// Arms the watch, looks, and does what is to be done.
    fn look_and_act(&mut self) -> Next {
        if self.disk.as_mut().is_some_and(Search::look) {
            self.disk = None;
        }
        let all_disks_noticed = self.disk.as_ref().is_none_or(Search::has_events);
        // What is watched for depends on what is seen, and what is seen counts only if it was
        // watched before.
        let (sight, noticed) = loop {
            let noticed = self.watch.arm(self.interest);
            let sight = self.look();
            let wanted = if sight == Some(Sight::Claimed) { Interest::Removal } else { Interest::Arrivals };
            if wanted == self.interest {
                break (sight, noticed);
            }
            self.interest = wanted;
        };
        let next = match sight {
            Some(Sight::New { run, .. }) => self.take_up(run),
            other => {
                if other == Some(Sight::Claimed) {
                    self.starting = None;
                }
                self.settling = None;
                self.not_before = None;
                Next::Wait
            }
        };
        match next {
            Next::Wait if !(noticed && all_disks_noticed) && self.config.mode == Mode::Watch => {
                Next::Until(Instant::now() + self.config.poll_interval)
            }
            next => next,
        }
    }

    /// What stands in the directory; `None` if it cannot be looked at.
    fn look(&mut self) -> Option<Sight> {
        let Ok(shared) = Directory::open(&self.config.dir) else {
            if self.known.take().is_some() {
                note(format_args!("{} is gone; waiting for it", self.config.dir.display()));
            }
            return None;
        };
        let identity = shared.stat().ok().map(|stat| (stat.st_dev, stat.st_ino));
        if identity != self.known {
            // Seen for the first time: runs from before we came may have been left behind.
            self.known = identity;
            self.taken_up = None;
            survive(recover(self.config, &shared, &self.signals));
        }
        let sight = survive(look(&shared).doing(|| format!("read {}", self.config.dir.display())));
        if sight == Some(Sight::Claimed) {
            self.taken_up = read_run_id(&shared);
        }
        sight
    }

    /// Starts the monitor on a new start script, as soon as its upload is complete.
    fn take_up(&mut self, run: Option<RunId>) -> Next {
        if self.starting.is_some() {
            return Next::Wait;
        }
        let now = Instant::now();
        if let Some(moment) = self.not_before.filter(|moment| now < *moment) {
            return Next::Until(moment);
        }
        if let Some(run) = run.filter(|_| run == self.taken_up) {
            // What comes of it shows at the next look.
            let closed = survive(close_removed(self.config, run));
            return if closed.is_some() { Next::Until(now) } else { self.retry_later() };
        }
        if run.is_none() && !self.config.settle.is_zero() {
            let dir = &self.config.dir;
            let settling = self.settling.get_or_insert_with(|| Settling::begin(self.config.settle, dir, now));
            if !settling.is_settled(dir, now) {
                return Next::Until(settling.check_at());
            }
        }
        self.settling = None;
        self.not_before = None;
        match self.start_monitor() {
            Ok(monitor) => {
                self.monitors.push(monitor);
                // Once is once: what is uploaded from now on is not for us.
                self.closing |= self.config.mode == Mode::Once;
                self.starting = Some(monitor);
                self.taken_up = run;
                Next::Wait
            }
            Err(error) => {
                note(format_args!("cannot start the monitor: {error}"));
                self.retry_later()
            }
        }
    }

    fn retry_later(&mut self) -> Next {
        let moment = Instant::now() + self.config.poll_interval;
        self.closing |= self.config.mode == Mode::Once;
        self.not_before = Some(moment);
        Next::Until(moment)
    }

    fn start_monitor(&self) -> io::Result<Pid> {
        let mut command = Command::new(own_program());
        // The monitor gets the values that we go by, not what a file says by now.
        command.args(["monitor", "--config", "/dev/null"]);
        for (key, value) in self.config.pairs() {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        // Last, for a path that is no text.
        command.arg("--dir").arg(&self.config.dir);
        command.stdin(Stdio::null()).process_group(0);
        let child = sys::with_default_signals(&mut command).spawn()?;
        i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)
    }

    fn wait(&mut self, next: Next) -> Result<(), Error> {
        let until = match next {
            // Taken from the queue in a recovery that took long.
            _ if self.signals.waiting() != Came::default() => Some(Instant::now()),
            Next::Wait => None,
            Next::Until(moment) => Some(moment),
        };
        let mut descriptors: Vec<_> = self.watch.descriptors().collect();
        descriptors.extend(self.disk.as_ref().and_then(Search::descriptor));
        descriptors.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        signals::wait(&mut descriptors, until).doing(|| "wait for events")?;
        drop(descriptors);
        let events = self.watch.take_events().doing(|| "read events")?;
        if let Some(settling) = self.settling.as_mut().filter(|_| events) {
            settling.disturb(Instant::now());
        }
        let came = self.signals.came();
        if came.child {
            self.reap();
        }
        if came.stop {
            self.closing = true;
            self.stopped = true;
            for monitor in &self.monitors {
                let _ = kill(*monitor, Signal::SIGTERM);
            }
        }
        Ok(())
    }

    /// Reaps every child that has ended: monitors, and, as process 1, whatever was left to us.
    fn reap(&mut self) {
        loop {
            let (pid, failure) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, 0)) => (pid, None),
                Ok(WaitStatus::Exited(pid, code)) => (pid, Some(format!("exit code {code}"))),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Some(signal.to_string())),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            let Some(monitor) = self.monitors.iter().position(|monitor| *monitor == pid) else { continue };
            self.monitors.swap_remove(monitor);
            if self.starting == Some(pid) {
                self.starting = None;
                if failure.is_some() {
                    // It has not claimed the run.
                    self.taken_up = None;
                }
            }
            if let Some(how) = failure {
                note(format_args!("a monitor of {} has failed ({how})", self.config.dir.display()));
                self.retry_later();
                // It may have claimed its run before.
                if let Ok(shared) = Directory::open(&self.config.dir) {
                    survive(recover(self.config, &shared, &self.signals));
                }
            }
        }
    }
}
