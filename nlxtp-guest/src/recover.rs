//! Runs whose monitor is dead: they are closed, and never started again.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use rextfv_core::ids::{BootId, RunId};
use rextfv_core::layout::STATUS_DIRECTORY;
use rextfv_core::status::{RunState, Status, Truncated};

use crate::boot;
use crate::claim::{Claiming, claim, read_run_id, still_holds};
use crate::config::Config;
use crate::digests;
use crate::directory::Directory;
use crate::error::{Doing, Error, note, survive};
use crate::monitor::flush_all;
use crate::request::Request;
use crate::signals::Signals;
use crate::status_writer::{FoundSlot, Snapshot, StatusWriter, lock_of_dead_monitor, newest, read_slots};
use crate::tidy;
use crate::tomato_files;

/// Far more than a process takes from fork to exec.
const BECOMING_THE_SCRIPT: Duration = Duration::from_secs(2);

/// Closes the run in the shared directory if it has not ended and its monitor is dead.
///
/// If the guest was booted anew since the last record, the record that is added says so; else it
/// says that the run was interrupted. A run whose script had ended, but whose monitor had not come
/// to write the Done Flag, is completed, if the guest is still in the same boot: nothing of it is
/// lost then. What its manifest does not keep is removed first, and the digests of the rest are written;
/// a signal that asks this process to stop gives them up, and is left for the caller to act upon.
///
/// If the monitor seems to live, that takes two seconds: of one that was killed, a child may hold
/// the lock until it has become the script.
///
/// # Errors
/// The status could not be read or written.
pub fn recover(config: &Config, shared: &Directory, signals: &Signals) -> Result<(), Error> {
    let Ok(status) = shared.open_beneath(STATUS_DIRECTORY) else { return Ok(()) };
    let doing = || format!("look for a dead run in {}", config.dir.display());
    let slots = read_slots(&status).doing(doing)?;
    if newest(&slots).is_some_and(has_ended) {
        return Ok(());
    }
    if slots.iter().all(|slot| slot.file.is_none()) {
        // Not ours: the slots come before everything else. Or the claim is being made right now;
        // that takes a living monitor no time.
        std::thread::sleep(Duration::from_millis(200));
        let untouched = status.names().doing(doing)?.is_empty();
        if !untouched {
            return Ok(());
        }
        note("a run was claimed and never started; it is closed");
        return close_claim(config, shared, &status);
    }
    // The lock is on the first slot; one without it is a claim that a full disk has cut short.
    let Some(slot) = &slots[0].file else { return Ok(()) };
    let deadline = Instant::now() + BECOMING_THE_SCRIPT;
    loop {
        match lock_of_dead_monitor(slot) {
            Some(true) => break,
            Some(false) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Some(false) | None => return Ok(()),
        }
    }
    // The lock stays ours until `slots` goes. Before we held it, the monitor may have come to its end.
    let fresh = read_slots(&status).doing(doing)?;
    close(config, shared, &status, fresh, signals)
}

fn has_ended(status: &Status) -> bool {
    status.done || matches!(status.state, RunState::Interrupted | RunState::Rebooted)
}

/// Closes a run whose `exec_status` was removed, by its own script say: claimed once more, so that
/// the script is not started twice and the host hears of it.
///
/// # Errors
/// The system's.
pub fn close_removed(config: &Config, run: RunId) -> Result<(), Error> {
    let Claiming::Ours(claim) = claim(&config.dir)? else { return Ok(()) };
    if claim.run != Some(run) {
        // Another upload has come meanwhile; its script is still to be started.
        return claim.shared.remove_directory(STATUS_DIRECTORY).doing(|| "give back the claim on another upload");
    }
    note("exec_status of a run that was taken up before was removed; the run is closed");
    close_claim(config, &claim.shared, &claim.status)
}

/// Closes a run of which nothing but the claim is there. Making the first slot, we take the claim
/// over: should its monitor live after all, it finds the slot made and gives up.
fn close_claim(config: &Config, shared: &Directory, status: &Directory) -> Result<(), Error> {
    let writer = StatusWriter::create(status, read_run_id(shared), boot::current(), config.heartbeat)
        .doing(|| "lock the status file")?;
    let Some(mut writer) = writer else { return Ok(()) };
    writer.commit(status, snapshot(&never_started(config), RunState::Interrupted))
}

fn close(
    config: &Config,
    shared: &Directory,
    status: &Directory,
    slots: [FoundSlot; 2],
    signals: &Signals,
) -> Result<(), Error> {
    let last = newest(&slots).cloned().unwrap_or_else(|| Status { run: read_run_id(shared), ..never_started(config) });
    if has_ended(&last) {
        return Ok(());
    }
    let boot = boot::current();
    let state = state_of_dead(&last, boot);
    note(format_args!("the monitor of a run is dead; the run is closed as {}", state.word()));
    let slots = slots.map(|slot| slot.file);
    let mut writer = StatusWriter::resume(slots, &last, boot).doing(|| "look at the status files")?;
    if state.has_ended() {
        complete(config, shared, status, &last, &mut writer, signals);
    } else {
        digests::discard(status);
    }
    let done = state.has_ended() && flush_all(shared);
    writer.commit(status, Snapshot { done, ..snapshot(&last, state) })?;
    tomato_files::end(status, done && config.tomato_status).doing(|| "end ToMaTo's status files")
}

/// Does what the monitor may not have come to do: removes what is not kept, and writes the digests.
fn complete(
    config: &Config,
    shared: &Directory,
    status: &Directory,
    last: &Status,
    writer: &mut StatusWriter,
    signals: &Signals,
) {
    // What cannot be obeyed has started nothing, so there is nothing to remove.
    let request = Request::read(shared).map_err(note).unwrap_or_default();
    // The host goes by the interval in the record.
    let interval = config.heartbeat.min(last.interval);
    let mut last_beat = Instant::now();
    let mut beat_if_due = || {
        let is_due = last_beat.elapsed() >= interval;
        if is_due {
            survive(writer.commit(status, snapshot(last, last.state)));
            last_beat = Instant::now();
        }
        is_due
    };
    let is_ours = || still_holds(shared, status, last.run);
    if request.manifest.tidies() {
        let success = tidy::is_success(last.state, last.ended);
        let mut beat = || _ = beat_if_due();
        for problem in tidy::tidy(shared, &request.manifest, success, &is_ours, &mut beat) {
            note(problem);
        }
    }
    if request.limit(config).digests {
        let mut go_on = || digests::may_go_on(!beat_if_due() || is_ours(), signals.waiting());
        digests::write(shared, status, &mut go_on);
    }
}

/// What becomes of a run that was left like this.
fn state_of_dead(last: &Status, boot: Option<BootId>) -> RunState {
    let rebooted = last.boot.is_some() && boot.is_some() && last.boot != boot;
    match last.state {
        _ if rebooted => RunState::Rebooted,
        state @ (RunState::Finished | RunState::TimedOut) => state,
        RunState::Running | RunState::Interrupted | RunState::Rebooted => RunState::Interrupted,
    }
}

fn snapshot(last: &Status, state: RunState) -> Snapshot<'_> {
    Snapshot {
        state,
        done: false,
        ended: last.ended.filter(|_| state.has_ended()),
        stdout_bytes: last.stdout_bytes,
        stderr_bytes: last.stderr_bytes,
        truncated: last.truncated,
        custom: last.custom.as_deref(),
        progress: last.progress,
    }
}

fn never_started(config: &Config) -> Status {
    Status {
        run: None,
        sequence: 0,
        state: RunState::Running,
        done: false,
        running_info: 0,
        interval: config.heartbeat,
        boot: None,
        ended: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
        truncated: Truncated::default(),
        custom: None,
        progress: None,
    }
}
