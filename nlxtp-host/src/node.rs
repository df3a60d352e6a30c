//! A node: a shared directory, the guest's power state, and a way of invoking the monitor.

#![forbid(unsafe_code)]

mod look;
mod packing;
mod recording;
mod telling;
mod verifying;

use std::io::{Read, Seek, Write};
use std::time::Duration;

use rextfv_core::archive_rules::{ArchiveRules, LinkPolicy, Manifest};
use rextfv_core::entry_path::{EntryPath, displayable};
use rextfv_core::ids::RunId;
use rextfv_core::layout;
use rextfv_core::limits::Limits;
use rextfv_core::liveness::{LivenessRules, Memory, State};
use rextfv_core::operations::{Dialect, DownloadReport, Execution, Rextfv, StatusReport, UploadReport};
use rextfv_core::powers::{Clock, GuestPower, InvokeMonitor, PowerState};
use rextfv_core::retry::{Attempt, RetryPolicy, retry};
use rextfv_core::shared_directory::{BegunReplacement, MayRetry, SharedDirectory, Sharing};
use rextfv_core::status_reader::{Reading, StatusReader};
use rextfv_core::tomato;

use crate::archive::{ArchiveReader, OutputFormat};
use crate::control::{Control, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::guest::KnownPower;
use crate::host_clock::HostClock;
use crate::journal::NodeJournal;
use crate::wait::Wait;

pub(crate) use look::Look;
use telling::blank_report;

/// Bytes that can be read from any position: an archive.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// One of the start script's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Output {
    /// The standard output. Of ToMaTo's guest modules, both outputs together.
    Stdout,
    /// The error output.
    Stderr,
}

/// A virtual machine or container that is controlled through its shared directory.
///
/// ```no_run
/// use nlxtp_host::control::Control;
/// use nlxtp_host::node::Node;
/// use nlxtp_host::shared_directory::DiskImage;
///
/// let mut node = Node::new(DiskImage::open("disk.img")?);
/// let mut archive = std::fs::File::open("experiment.tar.gz")?;
/// node.upload(&mut archive, &Control::none())?;
/// // … the testbed boots the guest …
/// let report = node.wait(&Control::none(), |_| {})?;
/// println!("exit code {:?}", report.exit_code);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Node {
    directory: Box<dyn SharedDirectory<Error = Error> + Send + Sync>,
    power: Box<dyn GuestPower<Error = Error> + Send + Sync>,
    invoker: Option<Box<dyn InvokeMonitor<Error = Error> + Send + Sync>>,
    clock: HostClock,
    limits: Limits,
    links: LinkPolicy,
    /// As many as usual where none were asked for, which takes a while to find out.
    threads: Option<usize>,
    liveness: LivenessRules,
    memory: Option<Memory>,
    reader: StatusReader,
    /// Whether looks are noted: they are compared with later ones.
    notes_looks: bool,
    look: Option<Look>,
    /// By the clock, when silence alone would be told; see [`patience_left`](rextfv_core::liveness::patience_left).
    silence_at: Option<Duration>,
    journal: Option<Box<NodeJournal>>,
}

impl Node {
    /// A node about whose guest nothing is known but where its shared directory is.
    pub fn new(directory: impl SharedDirectory<Error = Error> + Send + Sync + 'static) -> Self {
        Self::from_boxed(Box::new(directory))
    }

    /// The same with a directory whose type is known only when the program runs.
    pub fn from_boxed(directory: Box<dyn SharedDirectory<Error = Error> + Send + Sync>) -> Self {
        Self {
            directory,
            power: Box::new(KnownPower(PowerState::Unknown)),
            invoker: None,
            clock: HostClock::new(),
            limits: Limits::DEFAULT,
            links: LinkPolicy::Refuse,
            threads: None,
            liveness: LivenessRules::default(),
            memory: None,
            reader: StatusReader::default(),
            notes_looks: false,
            look: None,
            silence_at: None,
            journal: None,
        }
    }

    /// The same with somebody who knows whether the guest is on.
    #[must_use]
    pub fn with_power(mut self, power: impl GuestPower<Error = Error> + Send + Sync + 'static) -> Self {
        self.power = Box::new(power);
        self
    }

    /// The same with a way of invoking the monitor in the running guest.
    #[must_use]
    pub fn with_invoker(mut self, invoker: impl InvokeMonitor<Error = Error> + Send + Sync + 'static) -> Self {
        self.invoker = Some(Box::new(invoker));
        self
    }

    /// The same with other bounds on archives.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same with another policy for links that the target cannot hold.
    #[must_use]
    pub fn with_links(mut self, links: LinkPolicy) -> Self {
        self.links = links;
        self
    }

    /// The same with another number of threads that compress a download, see
    /// [`Packer::with_threads`](crate::archive::Packer::with_threads).
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.set_threads(threads);
        self
    }

    /// Has the next downloads compressed by another number of threads, see
    /// [`with_threads`](Self::with_threads).
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = Some(threads);
    }

    /// The same with other patience for a silent monitor.
    #[must_use]
    pub fn with_liveness(mut self, rules: LivenessRules) -> Self {
        self.liveness = rules;
        self
    }

    /// The same with what an earlier process remembered, see [`memory`](Self::memory).
    #[must_use]
    pub fn with_memory(mut self, memory: Option<Memory>) -> Self {
        self.memory = memory;
        self
    }

    /// The same, keeping from one status query to the next what makes them cheap: open files, where a
    /// disk holds them, and the newest record. Every query still sees what there is at its moment. For
    /// nodes that are asked again and again; a directory's file system cannot be unmounted meanwhile.
    #[must_use]
    pub fn kept_open(mut self) -> Self {
        self.keep_open(true);
        self
    }

    /// Begins or ends keeping, see [`kept_open`](Self::kept_open). Returns how many files are kept open
    /// at most.
    pub fn keep_open(&mut self, keep: bool) -> usize {
        self.note_looks(keep);
        self.reader = if keep { std::mem::take(&mut self.reader).remembering_all() } else { StatusReader::default() };
        self.directory.keep_open(keep)
    }

    /// Bytes of the newest record that are kept.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.reader.remembered_bytes()
    }

    /// Drops the newest record; nothing else of what is kept.
    pub(crate) fn drop_kept_bytes(&mut self) {
        self.reader.forget();
    }

    /// How long it is until silence alone would change the state that was told last.
    pub(crate) fn patience_left(&self) -> Option<Duration> {
        Some(self.silence_at?.saturating_sub(self.clock.now()))
    }

    /// What must be remembered for the next query, should that come from another process.
    pub fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    /// The shared directory.
    pub fn directory(&self) -> &(dyn SharedDirectory<Error = Error> + Send + Sync) {
        &*self.directory
    }

    /// Replaces the shared directory's content by the archive's, and has the start script executed
    /// (paper, sections 3.2.1 and 3.2.2).
    ///
    /// # Errors
    /// [`ErrorKind::GuestOn`] where the guest is on and the storage is a disk;
    /// [`ErrorKind::BadArchive`] and [`ErrorKind::Refused`] for archives; [`ErrorKind::TooSmall`],
    /// [`ErrorKind::InUse`] and others for the target; [`ErrorKind::TimedOut`] and
    /// [`ErrorKind::Cancelled`] as the control says. In all these cases the old content is as it was,
    /// but for a block device: what interrupts the writing there leaves [`ErrorKind::Unfinished`].
    ///
    /// From the moment on in which the new content counts, the control ends nothing any more but the
    /// removal of the old content, which the next upload goes on with. If the new content of a
    /// directory cannot be put in its place then, that is [`ErrorKind::Unfinished`] too: any later
    /// operation goes on with it.
    ///
    /// [`ErrorKind::InvokeFailed`]: the upload stands, and [`Error::upload`] reports on it, but the
    /// monitor could not be invoked; only a daemon in the guest or a reboot will start the script.
    pub fn upload(&mut self, archive: &mut dyn ReadSeek, control: &Control<'_>) -> Result<UploadReport> {
        let Some(mut journal) = self.journal.take() else { return self.upload_unrecorded(archive, control) };
        let uploaded = self.upload_recorded(&mut journal, archive, control);
        self.journal = Some(journal);
        uploaded
    }

    fn upload_unrecorded(&mut self, archive: &mut dyn ReadSeek, control: &Control<'_>) -> Result<UploadReport> {
        self.check_turn()?;
        let rules =
            ArchiveRules { representation: self.directory.representation(), links: self.links, limits: self.limits };
        let mut reader = ArchiveReader::open(archive)?;
        let (manifest, replacement) = self.prepare(&mut reader, &rules, control)?;
        // That may have taken long.
        let power = self.check_turn()?;
        let run = new_run_id()?;
        control.report(Progress::Flushing)?;
        replacement.commit(run, &|| control.check())?;
        self.memory = None;

        let mut failed = None;
        let execution = match (&self.invoker, power) {
            _ if manifest.start_script().is_none() => Execution::NoStartScript,
            (_, PowerState::Off) => Execution::AtBoot,
            _ if self.directory.sharing() == Sharing::TakingTurns => Execution::AtBoot,
            (Some(invoker), _) => {
                failed = invoker.invoke_monitor().map_err(invoke_failed).err();
                if failed.is_none() { Execution::Invoked } else { Execution::ByDaemon }
            }
            (None, _) => Execution::ByDaemon,
        };
        let report = UploadReport {
            run_id: run,
            entries: manifest.entries(),
            bytes: manifest.total_bytes,
            start_script: manifest.start_script().map(displayable),
            execution,
            left_out: manifest.left_out,
            lost: manifest.lost,
            warnings: reader.warnings().to_vec(),
        };
        match failed {
            None => Ok(report),
            Some(error) => Err(error.with_upload(report)),
        }
    }

    /// Reads the archive to its end and makes the new content, which does not count yet.
    fn prepare(
        &self,
        reader: &mut ArchiveReader<&mut dyn ReadSeek>,
        rules: &ArchiveRules,
        control: &Control<'_>,
    ) -> Result<(Manifest, BegunReplacement<'_, Error>)> {
        let watch = || control.check();
        if let Some(mut replacement) = self.directory.begin(&watch)? {
            match reader.unpack(rules, &mut *replacement, control) {
                // It may fit once it is known as a whole; else it is known then what is missing.
                Err(error) if error.kind() == ErrorKind::TooSmall => {}
                unpacked => return unpacked.map(|manifest| (manifest, replacement)),
            }
        }
        let manifest = reader.examine(rules, control)?;
        self.check_turn()?;
        let mut replacement = self.directory.replace(&manifest, &watch)?;
        reader.extract(&manifest, &mut *replacement, control)?;
        Ok((manifest, replacement))
    }

    /// Refuses where it is the guest's turn to write.
    fn check_turn(&self) -> Result<PowerState> {
        let power = self.power.power_state()?;
        if power == PowerState::On && self.directory.sharing() == Sharing::TakingTurns {
            return Err(Error::new(
                ErrorKind::GuestOn,
                "the guest is on, and a disk can only be written while it is off",
            )
            .with_hint("shut the guest down, upload, and start it again"));
        }
        Ok(power)
    }

    /// Tells how far the run has come (paper, section 3.2.3).
    ///
    /// A status that is just being written is read again, for at most a second.
    ///
    /// # Errors
    /// The target is missing or cannot be read at all. A status that cannot be read is no error but
    /// [`State::Unreadable`].
    pub fn status(&mut self) -> Result<StatusReport> {
        self.status_with(&RetryPolicy::STATUS)
    }

    /// The same with other patience for a status that is just being written.
    pub(crate) fn status_with(&mut self, policy: &RetryPolicy) -> Result<StatusReport> {
        let before = self.power.power_state()?;
        let mut look = self.begin_look(before);
        let view = self.directory.view();
        if let (Some(look), Ok(view)) = (&mut look, &view) {
            look.version = view.version();
        }
        if let Some(found) = look.as_ref().and_then(|look| self.seen_before(look)) {
            drop(view);
            return Ok(self.tell(found, before, 1));
        }
        let (found, attempts) = {
            let (directory, reader, mut first) = (&self.directory, &mut self.reader, Some(view));
            let mut read = || reader.read(&mut *first.take().unwrap_or_else(|| directory.view())?);
            retry(policy, &self.clock, || match read() {
                Ok(found) if matches!(found.reading, Reading::Unusable(_)) => Attempt::Again(Ok(found)),
                Err(error) if error.may_retry() => Attempt::Again(Err(error)),
                settled => Attempt::Settled(settled),
            })
        };
        // A guest that was turned on or off meanwhile: what was read may be from before or after.
        let power = if self.power.power_state()? == before { before } else { PowerState::Unknown };
        self.note_look(look.filter(|_| power == before), found.as_ref().ok());
        match found {
            Ok(found) => Ok(self.tell(found, power, attempts)),
            Err(error) if error.may_retry() => {
                Ok(StatusReport { reason: Some(error.to_string()), attempts, ..blank_report(State::Unreadable, None) })
            }
            Err(error) => Err(error),
        }
    }

    /// Queries the status until the run has ended one way or another: [`State::Finished`],
    /// [`State::MonitorStopped`] or [`State::GuestRebooted`]. Each report that differs from the one
    /// before is shown to `on_change`.
    ///
    /// # Errors
    /// As for [`status`](Self::status); [`ErrorKind::TimedOut`] or [`ErrorKind::Cancelled`] as the
    /// control says; [`ErrorKind::Changing`] where another upload has begun a new run.
    pub fn wait(&mut self, control: &Control<'_>, mut on_change: impl FnMut(&StatusReport)) -> Result<StatusReport> {
        let mut wait = Wait::new();
        loop {
            let look = wait.look(self)?;
            if look.changed {
                on_change(&look.report);
            }
            if look.over {
                return Ok(look.report);
            }
            // Not before: a run that has ended is told even where no time is given.
            control.check()?;
            control.sleep(look.pause)?;
        }
    }

    /// Packs the whole shared directory into an archive (paper, section 3.2.4).
    ///
    /// Where the guest has written digests of its files, those in the archive are compared with them. That
    /// they differ is no error: [`DownloadReport::verification`] says so.
    ///
    /// # Errors
    /// The target cannot be read, or the archive not be written. [`ErrorKind::Changing`] where the
    /// guest changed a disk meanwhile: what was written to `archive` is of no use then.
    pub fn download(
        &mut self,
        archive: &mut dyn Write,
        format: OutputFormat,
        control: &Control<'_>,
    ) -> Result<DownloadReport> {
        if self.journal.is_some() {
            return self.download_digested(archive, format, control).map(|(report, ..)| report);
        }
        let mut view = self.directory.view()?;
        self.pack(&mut *view, archive, format, control, None)
    }

    /// Reads from one of the script's outputs, from `offset` on, and never more than the guest has
    /// said to be on the disk. Returns how many bytes; 0 where there are no more yet.
    ///
    /// # Errors
    /// The target is missing or cannot be read.
    pub fn read_output(&self, output: Output, offset: u64, report: &StatusReport, buffer: &mut [u8]) -> Result<usize> {
        let (name, committed) = match (report.dialect, output) {
            (None, _) | (Some(Dialect::Tomato), Output::Stderr) => return Ok(0),
            // Nothing is known of how much of it is complete.
            (Some(Dialect::Tomato), Output::Stdout) => (tomato::OUT, u64::MAX),
            (Some(Dialect::Nlxtp), Output::Stdout) => (layout::STDOUT, report.stdout_bytes.unwrap_or(0)),
            (Some(Dialect::Nlxtp), Output::Stderr) => (layout::STDERR, report.stderr_bytes.unwrap_or(0)),
        };
        let room = usize::try_from(committed.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let path = EntryPath::parse(name.as_bytes())
            .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))?;
        let length = self.directory.view()?.read_at(&path, offset, &mut buffer[..room])?;
        Ok(length.unwrap_or(0))
    }
}

fn new_run_id() -> Result<RunId> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Io, "the system gives no random numbers").with_source(error.to_string())
    })?;
    Ok(RunId::from_bytes(bytes))
}

/// However the testbed's own way of invoking the monitor failed: the upload stands.
fn invoke_failed(error: Error) -> Error {
    if error.kind() == ErrorKind::InvokeFailed {
        return error;
    }
    Error::new(ErrorKind::InvokeFailed, "the upload stands, but the monitor could not be invoked").with_source(error)
}

/// The operations without deadline, cancellation and progress; archives as tar.gz.
impl Rextfv for Node {
    type Source = dyn ReadSeek;
    type Sink = dyn Write;
    type Error = Error;

    fn upload(&mut self, archive: &mut (dyn ReadSeek + 'static)) -> Result<UploadReport> {
        Self::upload(self, archive, &Control::none())
    }

    fn status(&mut self) -> Result<StatusReport> {
        Self::status(self)
    }

    fn download(&mut self, archive: &mut (dyn Write + 'static)) -> Result<DownloadReport> {
        Self::download(self, archive, OutputFormat::default(), &Control::none())
    }
}
