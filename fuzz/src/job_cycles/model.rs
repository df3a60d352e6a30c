//! The reference model: what a shared directory holds, and what is to be told of its run.

use std::collections::BTreeMap;

use rextfv_core::ids::{BootId, RunId};
use rextfv_core::layout::{RUN_ID, STATUS_SLOTS};
use rextfv_core::liveness::State;
use rextfv_core::powers::PowerState;
use rextfv_core::status::{RunState, Status};

use crate::walked::Thing;

/// What stands at a path, and its mode where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) thing: Thing,
    pub(super) mode: Option<u32>,
}

/// What a shared directory holds, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content(pub(super) BTreeMap<String, Kept>);

impl Content {
    /// Puts something at a path, and directories above it where there are none.
    pub(super) fn add(&mut self, path: &str, kept: Kept) {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Kept { thing: Thing::Directory, mode: None });
        }
        self.0.insert(path.to_owned(), kept);
    }

    pub(super) fn write(&mut self, path: &str, content: &[u8]) {
        self.add(path, Kept { thing: Thing::File(content.to_vec()), mode: None });
    }

    pub(super) fn remove(&mut self, name: &str) {
        let below = format!("{name}/");
        self.0.retain(|path, _| path != name && !path.starts_with(&below));
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    fn file(&self, path: &str) -> Option<&[u8]> {
        match self.0.get(path).map(|kept| &kept.thing) {
            Some(Thing::File(content)) => Some(content),
            _ => None,
        }
    }
}

/// What a slot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    Whole(Status),
    Torn,
}

/// What the host has seen of the run, for the verdicts that need a past.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// Sequence and running info; `None` for those of a run that has said nothing.
    beat: (u64, Option<u64>),
    first_boot: Option<BootId>,
    was_off: bool,
    run: Option<RunId>,
}

/// The whole model.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) content: Content,
    pub(super) run: Option<RunId>,
    pub(super) slots: [Option<Slot>; 2],
    seen: Option<Seen>,
}

/// What is to be told of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Telling {
    State(State),
    /// The slots cannot be used at this moment.
    Unusable,
}

impl Model {
    /// An upload was put in its place.
    pub(super) fn uploaded(&mut self, content: Content, run: RunId) {
        *self = Self { content, run: Some(run), ..Self::default() };
        self.content.write(RUN_ID, format!("{run}\n").as_bytes());
    }

    /// A guest has written to a slot.
    pub(super) fn wrote_slot(&mut self, slot: usize, bytes: &[u8], holds: Slot) {
        self.content.write(STATUS_SLOTS[slot], bytes);
        self.slots[slot] = Some(holds);
    }

    /// A guest has removed something at the top.
    pub(super) fn removed(&mut self, name: &str) {
        self.content.remove(name);
        if name == "exec_status" {
            self.slots = [None, None];
        }
        if name == RUN_ID {
            self.run = None;
        }
    }

    /// A host that remembers nothing.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }

    /// The record that counts.
    pub(super) fn newest(&self) -> Option<&Status> {
        let records = self.slots.iter().filter_map(|slot| match slot {
            Some(Slot::Whole(status)) if self.run.is_none() || status.run == self.run => Some(status),
            _ => None,
        });
        // Of two equal ones the first.
        records.reduce(|best, next| if next.sequence > best.sequence { next } else { best })
    }

    /// Whether a status query would have to look again and again.
    pub(super) fn is_unusable(&self) -> bool {
        self.newest().is_none() && self.slots.iter().any(Option::is_some)
    }

    /// What a status query tells, and remembers.
    pub(super) fn query(&mut self, power: PowerState) -> Telling {
        if self.is_unusable() {
            return Telling::Unusable;
        }
        let record = self.newest().cloned();
        let in_words = record.as_ref().and_then(|status| match status.state {
            RunState::Finished | RunState::TimedOut if status.done => Some(State::Finished),
            RunState::Interrupted => Some(State::MonitorStopped),
            RunState::Rebooted => Some(State::GuestRebooted),
            _ => None,
        });
        if let Some(state) = in_words {
            return Telling::State(state);
        }
        let file = |name: &str| self.content.file(&format!("exec_status/{name}"));
        let (beat, boot) = match &record {
            Some(status) => ((status.sequence, Some(status.running_info)), status.boot),
            None if file("done").is_some() => return Telling::State(State::Finished),
            None if !self.content.has("exec_status") => {
                self.seen = None;
                return Telling::State(State::NotStarted);
            }
            None => {
                let number = file("running").and_then(|text| str::from_utf8(text).ok()?.parse().ok());
                ((0, number), None)
            }
        };
        let fresh = Seen { beat, first_boot: boot, was_off: false, run: self.run };
        let seen = self.seen.get_or_insert_with(|| fresh.clone());
        if beat.0 < seen.beat.0 || seen.run != self.run {
            *seen = fresh;
        }
        seen.first_boot = seen.first_boot.or(boot);
        if seen.beat != beat {
            (seen.beat, seen.was_off) = (beat, false);
        }
        seen.was_off |= power == PowerState::Off;
        Telling::State(match power {
            _ if boot.is_some() && boot != seen.first_boot => State::GuestRebooted,
            PowerState::Off => State::MonitorStopped,
            PowerState::On if seen.was_off => State::GuestRebooted,
            _ => State::Running,
        })
    }
}
