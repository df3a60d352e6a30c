//! Whole cycles of upload, run and download over a real node, with failures in between. After
//! every step content and status are those of a reference model.
//!
//! The input: a byte for the kind of shared directory (memory, memory as a disk, directory, disk),
//! then pairs of an operation's letter and a number for it; see [`Cycle::step`].

mod faults;
mod model;
mod stores;
mod uploads;

use std::io::Read;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind, Result};
use nlxtp_host::node::Node;
use rextfv_core::archive_rules::LinkPolicy;
use rextfv_core::ids::{BootId, RunId};
use rextfv_core::layout::STATUS_SLOTS;
use rextfv_core::limits::Limits;
use rextfv_core::liveness::LivenessRules;
use rextfv_core::operations::Execution;
use rextfv_core::powers::{GuestPower, PowerState};
use rextfv_core::status::{Ending, Progress, RunState, Status, Truncated};
use rextfv_core::status_codec;
use rextfv_core::status_reader::{Reading, read_status};
use tempfile::TempDir;

use self::faults::{FailingDirectory, FailingSource, Fuse};
use self::model::{Model, Slot, Telling};
use self::stores::Store;
use crate::walked::{Thing, Walked};

/// Most steps of one input: it is to be quick.
const MOST_STEPS: usize = 24;

/// Checks one input.
pub fn check(input: &[u8]) {
    let Some((kind, steps)) = input.split_first() else { return };
    let mut cycle = Cycle::new(*kind);
    for &[letter, number] in steps.as_chunks().0.iter().take(MOST_STEPS) {
        cycle.step(letter, number);
        cycle.compare();
    }
}

/// A power state that changes.
#[derive(Clone, Default)]
struct Power(Arc<AtomicU8>);

impl Power {
    fn get(&self) -> PowerState {
        match self.0.load(Ordering::Relaxed) {
            0 => PowerState::Unknown,
            1 => PowerState::Off,
            _ => PowerState::On,
        }
    }
}

impl GuestPower for Power {
    type Error = Error;

    fn power_state(&self) -> Result<PowerState> {
        Ok(self.get())
    }
}

/// How the next upload fails.
#[derive(Clone, Copy)]
enum Fault {
    /// The storage fails once, at the operation after so many others.
    Storage(u32),
    /// The host is killed there.
    Kill(u32),
    /// The archive cannot be read after so many reads.
    Source(u32),
}

struct Cycle {
    store: Store,
    node: Node,
    power: Power,
    fuse: Fuse,
    fault: Option<Fault>,
    model: Model,
}

impl Cycle {
    fn new(kind: u8) -> Self {
        let (store, power, fuse) = (Store::new(kind), Power::default(), Fuse::default());
        let node = node(&store, &power, &fuse);
        Self { store, node, power, fuse, fault: None, model: Model::default() }
    }

    /// Does one step. Letters are taken modulo their number, so that every byte means something.
    fn step(&mut self, letter: u8, number: u8) {
        const LETTERS: &[u8] = b"UBFKSDQPNHCRTWOXL";
        let known = LETTERS.iter().copied().find(|&known| known == letter);
        match known.unwrap_or(LETTERS[usize::from(letter) % LETTERS.len()]) {
            b'U' => self.upload(number),
            b'B' => self.upload_bad(number),
            b'F' => self.fault = Some(Fault::Storage(number.into())),
            b'K' => self.fault = Some(Fault::Kill(number.into())),
            b'S' => self.fault = Some(Fault::Source(number.into())),
            b'D' => self.download(number),
            b'Q' => self.query(),
            b'P' => self.power.0.store(number % 3, Ordering::Relaxed),
            b'N' => self.new_host(true),
            b'H' => self.new_host(false),
            b'C' => self.guest_writes("exec_status/stdout", b""),
            b'R' => self.guest_records(number, None),
            b'T' => self.guest_records(number, Some(number)),
            b'W' => self.guest_writes(["result", "Result of a run.text"][usize::from(number % 2)], &[number; 5000]),
            b'O' => self.guest_writes("exec_status/stdout", &vec![b'o'; usize::from(number) * 40]),
            b'X' => {
                self.guest_removes(["exec_status", "auto_exec.sh", "result", "nlxtp_run_id"][usize::from(number % 4)])
            }
            _ => self.guest_speaks_tomatos(number),
        }
    }

    fn upload(&mut self, number: u8) {
        let upload = uploads::good(number, self.store.is_fat());
        let refused = self.power.get() == PowerState::On && self.store.is_fat();
        let fault = self.fault.take();
        let (result, crashed) = self.try_upload(upload.archive, fault);
        match result {
            Ok(report) => {
                assert!(!refused, "a disk was written while its guest is on");
                assert_eq!(report.start_script.is_some(), upload.starts);
                let execution = match (upload.starts, self.power.get()) {
                    (false, _) => Execution::NoStartScript,
                    (true, PowerState::Off) => Execution::AtBoot,
                    (true, _) if self.store.is_fat() => Execution::AtBoot,
                    (true, _) => Execution::ByDaemon,
                };
                assert_eq!(report.execution, execution);
                self.model.uploaded(upload.makes, report.run_id);
            }
            Err(error) if refused => assert_eq!(error.kind(), ErrorKind::GuestOn),
            Err(error) => assert!(fault.is_some() && error.kind() == ErrorKind::Io, "{error:?}"),
        }
        if let Some(left) = crashed {
            self.store.restore(left);
            self.new_host(true);
        }
    }

    fn upload_bad(&mut self, number: u8) {
        let fault = self.fault.take();
        let archive = uploads::bad(number, self.store.is_fat());
        let (result, crashed) = self.try_upload(archive, fault);
        let error = result.expect_err("a bad archive is refused");
        let expected = [ErrorKind::BadArchive, ErrorKind::Refused, ErrorKind::TooSmall, ErrorKind::GuestOn];
        assert!(expected.contains(&error.kind()) || (fault.is_some() && error.kind() == ErrorKind::Io), "{error:?}");
        if let Some(left) = crashed {
            self.store.restore(left);
            self.new_host(true);
        }
    }

    /// Uploads; gives also what a crash has left, if there was one.
    fn try_upload(
        &mut self,
        archive: Vec<u8>,
        fault: Option<Fault>,
    ) -> (Result<rextfv_core::operations::UploadReport>, Option<TempDir>) {
        let left = Arc::new(Mutex::new(None));
        let mut reads = None;
        match fault {
            Some(Fault::Storage(operations)) => self.fuse.set(operations, Box::new(|| {})),
            Some(Fault::Kill(operations)) => {
                let (left, copier) = (left.clone(), self.store.copier());
                let keep = move || *left.lock().expect("nobody panics with it") = copier.map(|copy| copy());
                self.fuse.set(operations, Box::new(keep));
            }
            Some(Fault::Source(after)) => reads = Some(after),
            None => {}
        }
        let mut source = FailingSource::new(archive, reads);
        let result = self.node.upload(&mut source, &Control::none());
        self.fuse.clear();
        let left = left.lock().expect("nobody panics with it").take();
        (result, left)
    }

    fn new_host(&mut self, remembers: bool) {
        let memory = self.node.memory().filter(|_| remembers).cloned();
        self.node = node(&self.store, &self.power, &self.fuse).with_memory(memory);
        if !remembers {
            self.model.forget();
        }
    }

    /// A monitor's next record, or what a torn update leaves of it.
    fn guest_records(&mut self, number: u8, torn: Option<u8>) {
        let newest = self.model.newest();
        let sequence = newest.map_or(1, |status| status.sequence + 1);
        let slot = match self.model.slots.iter().position(|slot| match slot {
            Some(Slot::Whole(status)) => Some(status) == newest,
            _ => false,
        }) {
            Some(holds_newest) => 1 - holds_newest,
            None => usize::from(number >> 7),
        };
        let states =
            [RunState::Running, RunState::Finished, RunState::TimedOut, RunState::Interrupted, RunState::Rebooted];
        let state = states[usize::from(number % 5)];
        let status = Status {
            // Sometimes about another run.
            run: if number & 0x60 == 0x60 { Some(RunId::from_bytes([number; 16])) } else { self.model.run },
            sequence,
            state,
            done: number & 8 != 0 && state != RunState::Running,
            running_info: sequence,
            interval: Duration::from_secs(60),
            boot: (number & 0x10 != 0).then(|| BootId::from_bytes([number >> 6; 16])),
            ended: state.has_ended().then_some(Ending::Exit(number)),
            stdout_bytes: u64::from(number),
            stderr_bytes: 0,
            truncated: Truncated::default(),
            custom: (number & 4 != 0).then(|| vec![number; usize::from(number) * 60]),
            progress: Progress::new(number.into(), 255),
        };
        let mut bytes = status_codec::encode(&status).expect("it obeys the rules");
        bytes.resize(bytes.len().max(1024), 0);
        let mut holds = Slot::Whole(status);
        if let Some(torn) = torn {
            // Somewhere in what every record has.
            bytes[100 + usize::from(torn % 100)] ^= 1;
            holds = Slot::Torn;
        }
        self.store.write(STATUS_SLOTS[slot], &bytes);
        self.model.wrote_slot(slot, &bytes, holds);
    }

    fn guest_speaks_tomatos(&mut self, number: u8) {
        match number % 4 {
            0 => self.guest_writes("exec_status/running", number.to_string().as_bytes()),
            1 => self.guest_writes("exec_status/done", b""),
            2 => self.guest_writes("exec_status/custom", &[number; 20]),
            _ => self.guest_writes("exec_status/out", b"output"),
        }
    }

    fn guest_writes(&mut self, path: &str, content: &[u8]) {
        self.store.write(path, content);
        self.model.content.write(path, content);
    }

    fn guest_removes(&mut self, name: &str) {
        self.store.remove(name);
        self.model.removed(name);
    }

    fn query(&mut self) {
        // Looking again and again takes its time; once shows the same.
        if self.model.is_unusable() {
            let mut view = self.node.directory().view().expect("it can be read");
            let found = read_status(&mut *view).expect("it can be read");
            assert!(matches!(found.reading, Reading::Unusable(_)), "{found:?} for {:?}", self.model.slots);
            return;
        }
        let report = self.node.status().expect("it can be read");
        assert_eq!(Telling::State(report.state), self.model.query(self.power.get()), "{report:?}");
        assert_eq!(report.attempts, 1);
        let run = self.model.run.or(self.model.newest().and_then(|status| status.run));
        assert_eq!(report.run_id, run);
        if let Some(status) = self.model.newest() {
            assert_eq!((report.sequence, &report.custom), (Some(status.sequence), &status.custom));
            assert_eq!(report.exit_code.map(Ending::Exit), status.ended);
            assert_eq!(report.timed_out, status.state == RunState::TimedOut);
        }
    }

    fn download(&mut self, number: u8) {
        let format = match number % 3 {
            0 => OutputFormat::Tar,
            1 => OutputFormat::TarGz { level: 1 },
            _ => OutputFormat::TarZst { level: 1 },
        };
        let mut archive = Vec::new();
        let report = self.node.download(&mut archive, format, &Control::none()).expect("it can be read");
        assert!(report.left_out.is_empty() && report.changed.is_empty(), "{report:?}");
        assert_eq!(report.archive_bytes, archive.len() as u64);
        let mut tar = Vec::new();
        match format {
            OutputFormat::Tar => tar = archive,
            OutputFormat::TarGz { .. } => {
                flate2::read::GzDecoder::new(&archive[..]).read_to_end(&mut tar).map(drop).expect("it is gzip");
            }
            OutputFormat::TarZst { .. } => tar = zstd::decode_all(&archive[..]).expect("it is Zstandard"),
        }
        self.is_content(unpacked(&tar).into_iter());
    }

    /// Everything that can be seen is as the model has it.
    fn compare(&mut self) {
        let walked = {
            let mut view = self.node.directory().view().expect("it can be read");
            Walked::through(&mut *view).expect("it can be read")
        };
        assert!(walked.left_out.is_empty() && walked.unreadable == 0, "{:?}", walked.left_out);
        let modes = !self.store.is_fat();
        let things = walked.things.into_iter().map(|(path, (thing, attributes))| {
            (String::from_utf8(path).expect("ours are text"), (thing, modes.then_some(attributes.mode)))
        });
        self.is_content(things);
    }

    fn is_content(&self, things: impl Iterator<Item = (String, (Thing, Option<u32>))>) {
        let mut found: Vec<_> = things.collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let names = |name: &String| name.clone();
        let expected: Vec<String> = self.model.content.0.keys().map(names).collect();
        assert_eq!(found.iter().map(|(path, _)| names(path)).collect::<Vec<_>>(), expected);
        for ((path, (thing, mode)), kept) in found.iter().zip(self.model.content.0.values()) {
            assert!(*thing == kept.thing, "{path} is not what it should be");
            assert!(mode.is_none() || kept.mode.is_none() || *mode == kept.mode, "{path} has the mode {mode:?}");
        }
    }
}

fn node(store: &Store, power: &Power, fuse: &Fuse) -> Node {
    // The machine may stand still for a while; nothing here may depend on that.
    let patient = Duration::from_secs(1_000_000);
    let liveness = LivenessRules { missed_intervals: 3, grace: patient, tomato_patience: patient };
    Node::new(FailingDirectory { inner: store.open(), fuse: fuse.clone() })
        .with_power(power.clone())
        .with_links(LinkPolicy::Refuse)
        .with_liveness(liveness)
        .with_limits(Limits { total_bytes: 600_000, ..Limits::DEFAULT })
}

/// What is in a tar, by another reader.
fn unpacked(tar: &[u8]) -> Vec<(String, (Thing, Option<u32>))> {
    let mut things = Vec::new();
    for entry in tar::Archive::new(tar).entries().expect("it is a tar") {
        let mut entry = entry.expect("it is a tar");
        let path = String::from_utf8(entry.path_bytes().into_owned()).expect("ours are text");
        let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
        let thing = match entry.header().entry_type() {
            tar::EntryType::Directory if path.is_empty() => continue,
            tar::EntryType::Directory => Thing::Directory,
            tar::EntryType::Symlink => {
                Thing::Symlink(entry.link_name_bytes().expect("a link has a target").into_owned())
            }
            _ => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).expect("it is a tar");
                Thing::File(content)
            }
        };
        things.push((path, (thing, None)));
    }
    things
}
