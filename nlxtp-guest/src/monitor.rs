//! The monitor: one run of the start script, from the claim to the Done Flag.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, fchdir};
use rextfv_core::layout;
use rextfv_core::status::{Ending, RunState, Truncated};

use crate::boot;
use crate::claim::{Claim, Claiming, claim};
use crate::config::{Config, Noticing};
use crate::custom::{self, Custom};
use crate::digests;
use crate::directory::{Directory, base_name};
use crate::drain;
use crate::error::{Doing, Error, note, survive};
use crate::output::Outputs;
use crate::request::Request;
use crate::script::{NotStarted, Script};
use crate::signals::{self, Signals};
use crate::status_writer::{Snapshot, StatusWriter};
use crate::sys;
use crate::tidy;
use crate::tomato_files::{self, TomatoFiles};

/// Shortest time between two records: a script that sets its status in a tight loop wears no disk
/// out.
const SHORTEST_GAP: Duration = Duration::from_millis(50);

/// The exit code of a shell that cannot start something.
const CANNOT_START: u8 = 126;

/// How often the last record is tried.
const LAST_RECORD_TRIES: usize = 3;

/// Runs the start script if there is one to run, and returns when the run has ended. In the
/// background, the caller's process ends as soon as the run is claimed.
///
/// # Errors
/// The run could not be claimed or watched. That the script failed is no error.
pub fn run(config: &Config, background: bool) -> Result<(), Error> {
    let signals = Signals::take().doing(|| "take over the signals")?;
    let claim = match claim(&config.dir)? {
        Claiming::Ours(claim) => claim,
        Claiming::Nothing(why) => {
            note(why);
            return Ok(());
        }
    };
    let writer = StatusWriter::create(&claim.status, claim.run, boot::current(), config.heartbeat)
        .doing(|| "lock the status file")?;
    let Some(writer) = writer else {
        note("the run was given up: its monitor was taken for dead");
        return Ok(());
    };
    fchdir(&claim.status).doing(|| "enter exec_status")?;
    if background {
        sys::continue_in_child().doing(|| "go on in the background")?;
        survive(leave_terminal().doing(|| "leave the terminal"));
    }
    let asked = Request::read(&claim.shared);
    let (request, refused) = match asked {
        Ok(request) => (request, None),
        Err(why) => (Request::default(), Some(why)),
    };
    let config = &request.limit(config);
    let outputs = Outputs::create(&claim.status, request.output_limits(config), config.tomato_status);
    if let Some(user) = &request.user {
        // It is the only place of ours where the script is to write. FAT knows no owners.
        survive(claim.status.give_to(user.uid, user.gid).doing(|| "give exec_status to the user of the run"));
    }
    let watch = match config.noticing {
        Noticing::Auto => survive(custom::Watch::on_working_directory().doing(|| "watch exec_status")),
        Noticing::Poll => None,
    };
    let now = Instant::now();
    let mut run = Run {
        config,
        request: &request,
        claim: &claim,
        signals,
        writer,
        outputs,
        watch,
        tomato: None,
        custom: Custom::default(),
        custom_due: false,
        custom_unflushed: false,
        last_record: now,
        next_beat: now,
    };
    run.begin();
    // Making the claim last has taken a while.
    if !run.claim.still_holds() {
        note("another upload came before the start script was started; it was not started");
        run.end(RunState::Interrupted, None);
        return Ok(());
    }
    let script = Script { shared: &config.dir, name: &run.claim.script, run: run.claim.run, request: &request };
    let started = match refused {
        None => script.start(),
        Some(why) => Err(run.refuse(&why)),
    };
    let (state, ended) = match started {
        Ok(child) => run.watch_over(child)?,
        Err(NotStarted { code, message }) => {
            note(&message);
            run.outputs.say(&format!("nlxtp-guest: {message}\n"));
            (RunState::Finished, Some(Ending::Exit(code)))
        }
    };
    run.end(state, ended);
    Ok(())
}

/// A script that is being stopped, and when patience ends.
#[derive(Clone, Copy)]
struct Stop {
    timed_out: bool,
    kill_at: Instant,
    killed: bool,
}

struct Run<'a> {
    config: &'a Config,
    request: &'a Request,
    claim: &'a Claim,
    signals: Signals,
    writer: StatusWriter,
    outputs: Outputs,
    watch: Option<custom::Watch>,
    tomato: Option<TomatoFiles>,
    custom: Custom,
    /// The Custom Status may have changed since the last record.
    custom_due: bool,
    /// It was read, but the file itself may not be on the disk yet.
    custom_unflushed: bool,
    last_record: Instant,
    next_beat: Instant,
}

impl Run<'_> {
    /// Makes the claim last: after a power cut, the script must be known to have been started.
    fn begin(&mut self) {
        self.record(RunState::Running, false, None);
        if self.config.tomato_status {
            self.tomato = survive(TomatoFiles::start(&self.claim.status).doing(|| "make exec_status/running"));
        }
        survive(self.claim.status.sync().doing(|| "flush exec_status"));
        survive(self.claim.shared.sync().doing(|| "flush the shared directory"));
    }

    /// Starts nothing, because the manifest cannot be obeyed; says why where it is seen first.
    fn refuse(&mut self, why: &str) -> NotStarted {
        let told = custom::replace(&self.claim.status, base_name(layout::CUSTOM), why.as_bytes());
        survive(told.doing(|| "set the Custom Status"));
        NotStarted { code: CANNOT_START, message: why.to_owned() }
    }

    /// Removes what the manifest does not keep, if the script has come to its end.
    fn tidy(&mut self, state: RunState, ended: Option<Ending>) {
        if !state.has_ended() || !self.request.manifest.tidies() {
            return;
        }
        let (claim, manifest) = (self.claim, &self.request.manifest);
        let success = tidy::is_success(state, ended);
        let mut beat = || {
            if Instant::now() >= self.next_beat {
                self.beat(state, ended);
            }
        };
        for problem in tidy::tidy(&claim.shared, manifest, success, &|| claim.still_holds(), &mut beat) {
            note(&problem);
            self.outputs.say(&format!("nlxtp-guest: {problem}\n"));
        }
        self.outputs.flush();
    }

    /// Leaves digests of all that the script has left, if it has come to its end.
    fn digest(&mut self, state: RunState, ended: Option<Ending>) {
        if !state.has_ended() || !self.config.digests {
            return;
        }
        let claim = self.claim;
        let mut go_on = || {
            let is_due = Instant::now() >= self.next_beat;
            if is_due {
                self.beat(state, ended);
            }
            digests::may_go_on(!is_due || claim.still_holds(), self.signals.waiting())
        };
        digests::write(&claim.shared, &claim.status, &mut go_on);
    }

    /// Keeps outputs and status until the script has ended.
    fn watch_over(&mut self, mut child: Child) -> Result<(RunState, Option<Ending>), Error> {
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            self.outputs.attach(stdout.into(), stderr.into()).doing(|| "read the script's outputs")?;
        }
        let group = Pid::from_raw(-i32::try_from(child.id()).unwrap_or(i32::MAX));
        let mut stop: Option<Stop> = None;
        if self.claim.is_superseded() {
            // An upload came in this very moment: this may be its script, which its own run starts.
            note("another upload came while the start script was being started; it is ended");
            let _ = kill(group, Signal::SIGKILL);
            stop = Some(Stop { timed_out: false, kill_at: Instant::now(), killed: true });
        }
        // A time too far away for the clock is none.
        let deadline = self.config.run_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let exit = loop {
            if let Some(exit) = child.try_wait().doing(|| "wait for the script")? {
                // A stopped run is over when the whole group is; the group's leader has been
                // reaped, so whether others live shows at the pipes, or else patience ends.
                match stop {
                    None => break exit,
                    Some(stop) if self.outputs.ended() || stop.killed => break exit,
                    Some(_) => {}
                }
            }
            let due = [stop.filter(|stop| !stop.killed).map(|stop| stop.kill_at), deadline.filter(|_| stop.is_none())];
            let until = due.into_iter().flatten().fold(self.beat_if_due(), Instant::min);
            self.wait(until)?;
            self.outputs.pump();
            if let Some(watch) = &self.watch {
                self.custom_due |= watch.changed();
            }
            let now = Instant::now();
            let timed_out = deadline.is_some_and(|deadline| now >= deadline);
            if (self.signals.came().stop || timed_out) && stop.is_none() {
                let _ = kill(group, Signal::SIGTERM);
                stop = Some(Stop { timed_out, kill_at: now + self.config.grace, killed: false });
            }
            if let Some(stop) = stop.as_mut().filter(|stop| !stop.killed && now >= stop.kill_at) {
                let _ = kill(group, Signal::SIGKILL);
                stop.killed = true;
            }
        };
        // All that the script itself wrote is in the pipes by now.
        self.outputs.pump_rest();
        let Some(stop) = stop else { return Ok((RunState::Finished, Some(ending(exit)))) };
        let _ = kill(group, Signal::SIGKILL);
        Ok(if stop.timed_out { (RunState::TimedOut, Some(ending(exit))) } else { (RunState::Interrupted, None) })
    }

    /// Writes a record if it is time, and tells when something is due next.
    fn beat_if_due(&mut self) -> Instant {
        let now = Instant::now();
        let custom_at = self.last_record + SHORTEST_GAP;
        if now >= self.next_beat {
            self.beat(RunState::Running, None);
        } else if self.custom_due && now >= custom_at && self.read_custom() {
            self.outputs.flush();
            self.record(RunState::Running, false, None);
        }
        let custom_at = self.custom_due.then_some(self.last_record + SHORTEST_GAP);
        custom_at.map_or(self.next_beat, |custom_at| custom_at.min(self.next_beat))
    }

    /// Shows that the monitor lives.
    fn beat(&mut self, state: RunState, ended: Option<Ending>) {
        self.outputs.flush();
        self.read_custom();
        self.record(state, false, ended);
        if let Some(tomato) = &self.tomato {
            let custom = std::mem::take(&mut self.custom_unflushed);
            survive(tomato.beat(&self.claim.status, custom).doing(|| "write exec_status/running"));
        }
    }

    /// Takes the Custom Status in; tells whether it is another than before.
    fn read_custom(&mut self) -> bool {
        self.custom_due = false;
        match custom::read(&self.claim.status, self.custom.progress) {
            Ok(custom) => {
                let changed = custom != self.custom;
                self.custom = custom;
                self.custom_unflushed |= changed;
                changed
            }
            Err(error) => {
                note(format_args!("cannot read the Custom Status: {error}"));
                false
            }
        }
    }

    /// Writes a record; one that fails is reported and made up for by the next.
    fn record(&mut self, state: RunState, done: bool, ended: Option<Ending>) -> bool {
        let snapshot = Snapshot {
            state,
            done,
            ended,
            stdout_bytes: self.outputs.stdout.committed(),
            stderr_bytes: self.outputs.stderr.committed(),
            truncated: Truncated {
                stdout: self.outputs.stdout.cut(),
                stderr: self.outputs.stderr.cut(),
                custom: self.custom.cut,
            },
            custom: self.custom.text.as_deref(),
            progress: self.custom.progress,
        };
        let written = survive(self.writer.commit(&self.claim.status, snapshot));
        self.last_record = Instant::now();
        self.next_beat = self.last_record + self.config.heartbeat;
        written.is_some()
    }

    fn wait(&self, until: Instant) -> Result<(), Error> {
        let watch = self.watch.as_ref().map(AsFd::as_fd);
        let sources = [Some(self.signals.as_fd()), watch, self.outputs.stdout.pipe(), self.outputs.stderr.pipe()];
        let mut descriptors: Vec<_> =
            sources.into_iter().flatten().map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
        signals::wait(&mut descriptors, Some(until)).doing(|| "wait for the script")
    }

    /// Everything is on the disk before Done is.
    fn end(&mut self, state: RunState, ended: Option<Ending>) {
        survive(
            drain::leave(self.outputs.detach()).doing(|| "leave somebody to read what the script's children write"),
        );
        self.outputs.flush();
        self.read_custom();
        if state.has_ended() {
            self.record(state, false, ended);
        }
        self.tidy(state, ended);
        self.digest(state, ended);
        let done = flush_all(&self.claim.shared) && state.has_ended();
        // There is no next heartbeat that would make up for this one.
        if !(0..LAST_RECORD_TRIES).any(|_| self.record(state, done, ended)) {
            note("the status file does not tell how the run ended");
        }
        if self.config.tomato_status {
            survive(tomato_files::end(&self.claim.status, done).doing(|| "end ToMaTo's status files"));
        }
    }
}

/// Brings the shared directory's file system to the disk.
pub fn flush_all(shared: &Directory) -> bool {
    survive(shared.sync_file_system().doing(|| "flush the shared directory's file system")).is_some()
}

fn ending(exit: ExitStatus) -> Ending {
    let small = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match exit.signal() {
        Some(signal) => Ending::Signal(small(signal)),
        None => Ending::Exit(small(exit.code().unwrap_or(i32::MAX))),
    }
}

/// Gives standard input and outputs up, which belong to whoever has called.
fn leave_terminal() -> io::Result<()> {
    let null = std::fs::File::options().read(true).write(true).open(Path::new("/dev/null"))?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok(nix::unistd::dup2_stderr(&null)?)
}
