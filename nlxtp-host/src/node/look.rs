//! Whether a query must read anything: what changes from one look at a shared directory to the next.

#![forbid(unsafe_code)]

use std::time::Duration;

use rextfv_core::ids::RunId;
use rextfv_core::powers::{Clock, PowerState};
use rextfv_core::shared_directory::Version;
use rextfv_core::status_reader::{Found, Reading};

use super::Node;
use crate::shared_directory::change_time::LONGEST_TRUST;

/// A look at the shared directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// By the node's clock, when it began.
    at: Duration,
    /// The content's, when it began.
    pub(super) version: Option<Version>,
    power: PowerState,
    /// The run of the record that it found; `None` where it found something else.
    record: Option<Option<RunId>>,
}

impl Look {
    /// Whether another one sees the same, as far as the content's version tells.
    fn is_of_same_content(&self, later: &Self) -> bool {
        self.version.is_some() && self.version == later.version && self.is_fresh(later.at)
    }

    fn is_fresh(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) < LONGEST_TRUST
    }
}

impl Node {
    /// Begins or ends to note looks.
    pub(crate) fn note_looks(&mut self, note: bool) {
        self.notes_looks = note;
        self.look = None;
    }

    /// The last look, if it found a status that can be read, and looks are noted.
    pub(crate) fn last_look(&self) -> Option<Look> {
        self.look
    }

    /// Whether a query now would tell what it told after this look. `is_quiet` says that nothing has
    /// changed in the directory since then, as far as the kernel tells.
    pub(crate) fn is_as_seen(&self, look: &Look, is_quiet: impl FnOnce() -> bool) -> bool {
        let now = self.clock.now();
        look.is_fresh(now)
            && self.silence_at.is_none_or(|silence| now < silence)
            && self.power.power_state().is_ok_and(|power| power == look.power)
            && (is_quiet() || (look.version.is_some() && look.version == self.directory.version()))
    }

    /// A look that begins now, if looks are noted. The content's version is not known before there is a view.
    pub(super) fn begin_look(&self, power: PowerState) -> Option<Look> {
        self.notes_looks.then(|| Look { at: self.clock.now(), version: None, power, record: None })
    }

    /// What a look that begins now would find, if the last one found a record, which is remembered, and
    /// the content is still the same.
    pub(super) fn seen_before(&self, now: &Look) -> Option<Found> {
        let last = self.look.as_ref().filter(|last| last.is_of_same_content(now))?;
        let run = last.record?;
        Some(Found { run, reading: Reading::Record(self.reader.remembered()?.clone()) })
    }

    /// Notes a look by what it found.
    pub(super) fn note_look(&mut self, look: Option<Look>, found: Option<&Found>) {
        let readable = found.filter(|found| !matches!(found.reading, Reading::Unusable(_)));
        self.look = look.zip(readable).map(|(look, found)| {
            let record = matches!(found.reading, Reading::Record(_)).then_some(found.run);
            Look { record, ..look }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    use rextfv_core::archive_rules::Manifest;
    use rextfv_core::entry_path::EntryPath;
    use rextfv_core::layout;
    use rextfv_core::liveness::State;
    use rextfv_core::powers::GuestPower;
    use rextfv_core::shared_directory::{
        BegunReplacement, Entry, Representation, SharedDirectory, Sharing, View, Visitor, Watch,
    };
    use rextfv_core::status::{RunState, Status, Truncated};
    use rextfv_core::status_codec;

    use super::*;
    use crate::error::{Error, Result};
    use crate::shared_directory::MemoryDirectory;

    /// A shared directory that tells its version, and counts how often its run id is read.
    struct Counted {
        inner: MemoryDirectory,
        /// None where it is negative.
        version: AtomicI64,
        reads: AtomicU32,
    }

    struct CountedView<'a> {
        inner: Box<dyn View<Error = Error> + 'a>,
        directory: &'a Counted,
    }

    impl View for CountedView<'_> {
        type Error = Error;

        fn version(&self) -> Option<Version> {
            self.directory.version()
        }

        fn entry(&mut self, path: &EntryPath) -> Result<Option<Entry>> {
            self.inner.entry(path)
        }

        fn read_at(&mut self, path: &EntryPath, offset: u64, buffer: &mut [u8]) -> Result<Option<usize>> {
            let is_run_id = path.as_bytes() == layout::RUN_ID.as_bytes();
            self.directory.reads.fetch_add(is_run_id.into(), Ordering::Relaxed);
            self.inner.read_at(path, offset, buffer)
        }

        fn top_names(&mut self) -> Result<Vec<Vec<u8>>> {
            self.inner.top_names()
        }

        fn walk(&mut self, visitor: &mut dyn Visitor<Error = Error>) -> Result<()> {
            self.inner.walk(visitor)
        }
    }

    impl SharedDirectory for Counted {
        type Error = Error;

        fn representation(&self) -> Representation {
            self.inner.representation()
        }

        fn sharing(&self) -> Sharing {
            self.inner.sharing()
        }

        fn view(&self) -> Result<Box<dyn View<Error = Error> + '_>> {
            Ok(Box::new(CountedView { inner: self.inner.view()?, directory: self }))
        }

        fn version(&self) -> Option<Version> {
            let version = self.version.load(Ordering::Relaxed);
            (version >= 0).then(|| Version::new([version; 5]))
        }

        fn replace(&self, manifest: &Manifest, watch: Watch<'_, Error>) -> Result<BegunReplacement<'_, Error>> {
            self.inner.replace(manifest, watch)
        }
    }

    struct Guest(Arc<Counted>, Arc<Mutex<PowerState>>);

    impl GuestPower for Guest {
        type Error = Error;

        fn power_state(&self) -> Result<PowerState> {
            Ok(*self.1.lock().unwrap())
        }
    }

    fn guest() -> (Guest, Node) {
        let inner = MemoryDirectory::new(Representation::Fat);
        let shared = Arc::new(Counted { inner, version: AtomicI64::new(0), reads: AtomicU32::new(0) });
        let power = Arc::new(Mutex::new(PowerState::On));
        let guest = Guest(Arc::clone(&shared), Arc::clone(&power));
        guest.says(1);
        let eyes = Guest(Arc::clone(&shared), power);
        (guest, Node::new(shared).with_power(eyes).kept_open())
    }

    impl Guest {
        /// Writes a record, and tells of no change.
        fn says(&self, sequence: u64) {
            let status = Status {
                run: None,
                sequence,
                state: RunState::Running,
                done: false,
                running_info: sequence,
                interval: Duration::from_secs(60),
                boot: None,
                ended: None,
                stdout_bytes: 0,
                stderr_bytes: 0,
                truncated: Truncated::default(),
                custom: Some(b"said".to_vec()),
                progress: None,
            };
            self.writes(&status_codec::encode(&status).unwrap());
        }

        fn writes(&self, slot: &[u8]) {
            self.0.inner.write(&EntryPath::parse(b"exec_status/status.0").unwrap(), slot);
        }

        /// Queries, and returns how often that read.
        fn looks(&self, node: &mut Node, sequence: Option<u64>) -> u32 {
            let before = self.0.reads.load(Ordering::Relaxed);
            assert_eq!(node.status().unwrap().sequence, sequence);
            self.0.reads.load(Ordering::Relaxed) - before
        }
    }

    #[test]
    fn what_has_the_same_version_is_not_read_again() {
        let (guest, mut node) = guest();
        assert_eq!(guest.looks(&mut node, Some(1)), 1);
        let first = node.status().unwrap();
        assert_eq!((guest.looks(&mut node, Some(1)), node.status().unwrap()), (0, first));
        guest.says(2);
        guest.0.version.store(1, Ordering::Relaxed);
        assert_eq!(guest.looks(&mut node, Some(2)), 1);
        assert_eq!(guest.looks(&mut node, Some(2)), 0);
        guest.0.version.store(-1, Ordering::Relaxed);
        assert_eq!([guest.looks(&mut node, Some(2)), guest.looks(&mut node, Some(2))], [1, 1]);
        // Nothing is known of whether that has changed since.
        guest.0.version.store(1, Ordering::Relaxed);
        assert_eq!(guest.looks(&mut node, Some(2)), 1);
        node.drop_kept_bytes();
        assert_eq!(guest.looks(&mut node, Some(2)), 1);
        node.keep_open(false);
        assert_eq!([guest.looks(&mut node, Some(2)), guest.looks(&mut node, Some(2))], [1, 1]);
    }

    #[test]
    fn nothing_is_taken_for_unchanged_for_long() {
        let (guest, mut node) = guest();
        assert_eq!(guest.looks(&mut node, Some(1)), 1);
        guest.says(2);
        assert_eq!(guest.looks(&mut node, Some(1)), 0);
        let mut look = node.look.unwrap();
        assert!(node.is_as_seen(&look, || false) && node.is_as_seen(&look, || true));
        look.at = look.at.saturating_sub(LONGEST_TRUST);
        assert!(!node.is_as_seen(&look, || true));
        node.look = Some(look);
        assert_eq!(guest.looks(&mut node, Some(2)), 1);
    }

    #[test]
    fn a_status_that_cannot_be_read_is_read_again() {
        let (guest, mut node) = guest();
        guest.writes(b"nlxtp-status 1\nrun: -\n");
        assert!(guest.looks(&mut node, None) > 1);
        assert!(node.last_look().is_none());
        guest.says(2);
        assert_eq!(guest.looks(&mut node, Some(2)), 1);
    }

    #[test]
    fn the_guests_power_and_silence_are_looked_at_all_the_same() {
        let (guest, mut node) = guest();
        node.status().unwrap();
        let look = node.last_look().unwrap();
        *guest.1.lock().unwrap() = PowerState::Off;
        assert!(!node.is_as_seen(&look, || true));
        assert_eq!(node.status().unwrap().state, State::MonitorStopped);
        *guest.1.lock().unwrap() = PowerState::On;
        assert!(node.is_as_seen(&look, || true));
        node.silence_at = Some(Duration::ZERO);
        assert!(!node.is_as_seen(&look, || true));
    }
}
