//! A node as C sees it, and the operations on it.

use std::ffi::{c_char, c_int, c_void};
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use nlxtp_host::archive::OutputFormat;
use nlxtp_host::archive::files::{self, NewArchive};
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, ErrorKind, Result};
use nlxtp_host::node::{Node, Output, ReadSeek};
use nlxtp_host::shared_directory;
use rextfv_core::archive_rules::LinkPolicy;
use rextfv_core::limits::Limits;
use rextfv_core::liveness::{LivenessRules, Memory};
use rextfv_core::powers::{GuestPower, InvokeMonitor, PowerState};

use crate::boundary::{
    self, Handle, Out, UserData, borrow, buffer, free, give, give_text, guard, invalid, path, read_struct, text,
};
use crate::control::{control, nlxtp_control};
use crate::descriptor;
use crate::error::{nlxtp_error, nlxtp_result};
use crate::report::{Downloaded, Uploaded, nlxtp_download, nlxtp_upload};
use crate::status::{Found, nlxtp_status};
use crate::streams::{nlxtp_reader, nlxtp_writer, sink, source};

/// A virtual machine or container that is controlled through its shared directory. It belongs to
/// the caller, who frees it with nlxtp_node_free(). Any thread may use it, one at a time: a call
/// with a node that is in use, also from a callback, fails with NLXTP_ERROR_IN_USE.
pub struct nlxtp_node;

impl Handle for nlxtp_node {
    type Inner = OpenNode;
    const NAME: &'static str = "nlxtp_node";
    const TAG: u64 = 0x6e6c_7874_704e_4f44;
}

/// What is behind a node.
pub struct OpenNode {
    node: Mutex<Node>,
    limits: Limits,
}

impl OpenNode {
    fn lock(&self) -> Result<MutexGuard<'_, Node>> {
        match self.node.try_lock() {
            Ok(node) => Ok(node),
            // A panic has left it as it was: nothing of a node is half changed.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Error::new(ErrorKind::InUse, "another call is using this node")
                .with_hint("open a node for each thread, or call again later")),
        }
    }
}

/// Whether a guest is on.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum nlxtp_power {
    /// Nobody can say.
    NLXTP_POWER_UNKNOWN = 0,
    /// The guest runs, or may be about to.
    NLXTP_POWER_ON = 1,
    /// The guest is shut down and stays so for the length of the call.
    NLXTP_POWER_OFF = 2,
}

/// Tells whether the guest is on: one of nlxtp_power, or a negative errno value where that could not
/// be found out; the call that asked then fails. It is called in the thread of that call.
pub type nlxtp_power_fn = Option<extern "C" fn(user_data: *mut c_void) -> c_int>;

/// Starts the monitor inside the running guest and need not wait for the run to end. Returns 0, or a
/// negative errno value; the upload then fails with NLXTP_ERROR_INVOKE_FAILED, and stands. It is
/// called in the thread of the upload.
pub type nlxtp_invoke_fn = Option<extern "C" fn(user_data: *mut c_void) -> c_int>;

/// What is known of a node. Fill it with zeros, which mean "as usual", then set `size` and what is
/// wanted. NULL in its place means: all as usual.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct nlxtp_node_options {
    /// sizeof(nlxtp_node_options).
    pub size: usize,
    /// Whether the guest is on, one of nlxtp_power, where `power_state` is NULL.
    pub power: i32,
    /// Not 0: on a disk, which has no links, upload a copy of what a link in the archive leads to.
    pub follow_links: c_int,
    /// Tells whether the guest is on; may be NULL.
    pub power_state: nlxtp_power_fn,
    /// Starts the monitor in a running container; may be NULL: then its daemon has to notice.
    pub invoke_monitor: nlxtp_invoke_fn,
    /// What the two callbacks get back. It must stay for as long as the node.
    pub user_data: *mut c_void,
    /// Most files, directories and links in an archive or a shared directory; 0 for a million.
    pub max_entries: u64,
    /// Most bytes of all files together, unpacked; 0 for 64 GiB.
    pub max_bytes: u64,
    /// Milliseconds that the monitor may be silent beyond three of the intervals that it promised; 0
    /// for 5000.
    pub grace_ms: u64,
    /// The same for ToMaTo's guest modules, which promise nothing; 0 for 600000.
    pub tomato_patience_ms: u64,
    /// What nlxtp_node_memory() gave for this node before; NULL where there is nothing.
    pub memory: *const c_char,
}

const AS_USUAL: nlxtp_node_options = nlxtp_node_options {
    size: 0,
    power: 0,
    follow_links: 0,
    power_state: None,
    invoke_monitor: None,
    user_data: std::ptr::null_mut(),
    max_entries: 0,
    max_bytes: 0,
    grace_ms: 0,
    tomato_patience_ms: 0,
    memory: std::ptr::null(),
};

boundary::growable!(nlxtp_node_options, AS_USUAL);

struct Power {
    callback: extern "C" fn(*mut c_void) -> c_int,
    data: UserData,
}

impl GuestPower for Power {
    type Error = Error;

    fn power_state(&self) -> Result<PowerState> {
        let state = (self.callback)(self.data.get());
        power_state(state).map_err(|error| match state {
            ..0 => Error::io("find out whether the guest is on", errno(state)),
            _ => error,
        })
    }
}

struct Invoker {
    callback: extern "C" fn(*mut c_void) -> c_int,
    data: UserData,
}

impl InvokeMonitor for Invoker {
    type Error = Error;

    fn invoke_monitor(&self) -> Result<()> {
        match (self.callback)(self.data.get()) {
            0 => Ok(()),
            failed => Err(Error::io("invoke the monitor", errno(failed))),
        }
    }
}

fn errno(returned: c_int) -> std::io::Error {
    std::io::Error::from_raw_os_error(returned.checked_abs().unwrap_or(libc::EIO))
}

fn power_state(number: i32) -> Result<PowerState> {
    const UNKNOWN: i32 = nlxtp_power::NLXTP_POWER_UNKNOWN as i32;
    const ON: i32 = nlxtp_power::NLXTP_POWER_ON as i32;
    const OFF: i32 = nlxtp_power::NLXTP_POWER_OFF as i32;
    match number {
        UNKNOWN => Ok(PowerState::Unknown),
        ON => Ok(PowerState::On),
        OFF => Ok(PowerState::Off),
        other => Err(invalid(format!("{other} is no nlxtp_power"))),
    }
}

fn open(target: &Path, options: nlxtp_node_options) -> Result<OpenNode> {
    let or = |given: u64, usual: u64| if given == 0 { usual } else { given };
    let usual = Limits::DEFAULT;
    let total_bytes = or(options.max_bytes, usual.total_bytes);
    let entries = or(options.max_entries, usual.entries);
    let limits = Limits { entries, total_bytes, file_bytes: total_bytes, ..usual };
    let rules = LivenessRules::default();
    let patience = |given: u64, usual| if given == 0 { usual } else { Duration::from_millis(given) };
    let rules = LivenessRules {
        grace: patience(options.grace_ms, rules.grace),
        tomato_patience: patience(options.tomato_patience_ms, rules.tomato_patience),
        ..rules
    };
    let known = power_state(options.power)?;
    let memory: Option<Memory> = match options.memory.is_null() {
        true => None,
        false => Some(
            serde_json::from_str(text(options.memory, "memory")?)
                .map_err(|error| invalid(format!("the memory is not what nlxtp_node_memory() gives: {error}")))?,
        ),
    };
    let data = UserData::new(options.user_data);
    let directory = shared_directory::open_with_limits(target, limits)?;
    let mut node = Node::from_boxed(directory).with_limits(limits).with_liveness(rules).with_memory(memory);
    node = match options.power_state {
        Some(callback) => node.with_power(Power { callback, data }),
        None => node.with_power(nlxtp_host::guest::KnownPower(known)),
    };
    if let Some(callback) = options.invoke_monitor {
        node = node.with_invoker(Invoker { callback, data });
    }
    if options.follow_links != 0 {
        node = node.with_links(LinkPolicy::Copy);
    }
    Ok(OpenNode { node: Mutex::new(node), limits })
}

/// Opens a node by the path of its shared directory: a directory is a container's, a file or block
/// device a virtual machine's disk (raw, with a FAT file system in partition 1 or as a whole).
/// `options` may be NULL. `node` gets the node, to be freed with nlxtp_node_free().
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_open(
    target: *const c_char,
    options: *const nlxtp_node_options,
    node: *mut *mut nlxtp_node,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_open", error, || {
        let out = Out::new(node, "nlxtp_node")?;
        let options = read_struct(options)?.unwrap_or(AS_USUAL);
        let opened = open(path(target, "target")?, options)?;
        out.set(|| give(opened));
        Ok(())
    })
}

/// Frees a node. It must not be in use. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_free(node: *mut nlxtp_node) {
    free(node);
}

/// What must be remembered for the next query, should that come from another process: a small JSON
/// value, UTF-8, for `memory` in nlxtp_node_options. `memory` gets NULL where there is nothing to
/// remember, and else a string to be freed with nlxtp_string_free().
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_memory(
    node: *const nlxtp_node,
    memory: *mut *mut c_char,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_memory", error, || {
        let out = Out::new(memory, "memory")?;
        let node = borrow(node)?.lock()?;
        let json = node.memory().map(serde_json::to_string).transpose();
        let json = json.map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
        out.set(|| json.map_or(std::ptr::null_mut(), |json| give_text(&json)));
        Ok(())
    })
}

fn upload(
    node: *const nlxtp_node,
    given: *const nlxtp_control,
    report: *mut *mut nlxtp_upload,
    archive: impl FnOnce(&Limits, &Control<'_>) -> Result<Box<dyn ReadSeek>>,
) -> Result<()> {
    let (open, control) = (borrow(node)?, control(given)?);
    let mut node = open.lock()?;
    let mut archive = archive(&open.limits, &control)?;
    let uploaded = node.upload(&mut *archive, &control)?;
    Out::optional(report).set(|| give(Uploaded::from(uploaded)));
    Ok(())
}

/// Replaces the shared directory's content by that of the archive at a path (tar, tar.gz, tar.zst or
/// zip), and has its start script executed. On failure the old content stands, but for
/// NLXTP_ERROR_INVOKE_FAILED (the new content stands) and a block device whose writing was cut off
/// (NLXTP_ERROR_UNFINISHED from then on, until an upload succeeds). `control` and `report` may be
/// NULL; what `report` gets is freed with nlxtp_upload_free().
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_upload(
    node: *const nlxtp_node,
    archive: *const c_char,
    control: *const nlxtp_control,
    report: *mut *mut nlxtp_upload,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_upload", error, || {
        let archive = path(archive, "archive")?;
        upload(node, control, report, |limits, control| {
            let file = files::open(archive, limits, control).map_err(|error| error.with_path(archive))?;
            Ok(Box::new(file))
        })
    })
}

/// The same with an archive that is open already: a file, which is read from its beginning whatever
/// its position, or a pipe, which is first copied to a temporary file. The descriptor stays open,
/// and its position is of no meaning afterwards.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_upload_fd(
    node: *const nlxtp_node,
    archive: c_int,
    control: *const nlxtp_control,
    report: *mut *mut nlxtp_upload,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_upload_fd", error, || {
        upload(node, control, report, |limits, control| {
            let file = descriptor::own(archive)?;
            let found = file.metadata().map_err(|error| Error::io("look at the archive", error))?;
            let file = if found.is_file() { file } else { files::spool(move || Ok(file), limits, control)? };
            Ok(Box::new(file))
        })
    })
}

/// The same with an archive that callbacks read.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_upload_reader(
    node: *const nlxtp_node,
    archive: *const nlxtp_reader,
    control: *const nlxtp_control,
    report: *mut *mut nlxtp_upload,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_upload_reader", error, || {
        let archive = source(archive)?;
        upload(node, control, report, |_, _| Ok(Box::new(archive)))
    })
}

/// Tells how far the run has come. A status that is just being written is read again, for at most a
/// second; one that cannot be read is no error but NLXTP_STATE_UNREADABLE. `status` gets what was
/// found, to be freed with nlxtp_status_free().
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_status(
    node: *const nlxtp_node,
    status: *mut *mut nlxtp_status,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_status", error, || {
        let out = Out::new(status, "nlxtp_status")?;
        let found = borrow(node)?.lock()?.status()?;
        out.set(|| give(Found::from(found)));
        Ok(())
    })
}

/// Is shown each status that differs from the one before, in the thread of the call. The status is
/// the library's and is gone when the callback returns.
pub type nlxtp_change_fn = Option<extern "C" fn(user_data: *mut c_void, status: *const nlxtp_status)>;

/// Queries the status until the run has ended one way or another: NLXTP_STATE_FINISHED,
/// NLXTP_STATE_MONITOR_STOPPED or NLXTP_STATE_GUEST_REBOOTED. `control`, which may be NULL, says how
/// long; its `progress` is not called. `on_change` may be NULL. NLXTP_ERROR_CHANGING: another upload
/// has begun a new run.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_wait(
    node: *const nlxtp_node,
    control: *const nlxtp_control,
    on_change: nlxtp_change_fn,
    user_data: *mut c_void,
    status: *mut *mut nlxtp_status,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_wait", error, || {
        let out = Out::new(status, "nlxtp_status")?;
        let (open, control) = (borrow(node)?, crate::control::control(control)?);
        let found = open.lock()?.wait(&control, |report| {
            if let Some(callback) = on_change {
                let shown: *mut nlxtp_status = give(Found::from(report.clone()));
                callback(user_data, shown);
                free(shown);
            }
        })?;
        out.set(|| give(Found::from(found)));
        Ok(())
    })
}

/// One of the start script's outputs.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum nlxtp_output {
    /// The standard output. Of ToMaTo's guest modules, both outputs together.
    NLXTP_OUTPUT_STDOUT = 1,
    /// The error output.
    NLXTP_OUTPUT_STDERR = 2,
}

/// Reads from one of the start script's outputs (a number of nlxtp_output), from `offset` on, and
/// never more than the status says to be on the disk. `length_read` gets how many bytes; 0 where
/// there are no more yet. The rest of the buffer is of no meaning afterwards, and all of it after a
/// failure.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_read_output(
    node: *const nlxtp_node,
    status: *const nlxtp_status,
    output: i32,
    offset: u64,
    bytes: *mut c_void,
    length: usize,
    length_read: *mut usize,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    const STDOUT: i32 = nlxtp_output::NLXTP_OUTPUT_STDOUT as i32;
    const STDERR: i32 = nlxtp_output::NLXTP_OUTPUT_STDERR as i32;
    guard("node_read_output", error, || {
        let out = Out::new(length_read, "number of bytes read")?;
        let output = match output {
            STDOUT => Output::Stdout,
            STDERR => Output::Stderr,
            other => return Err(invalid(format!("{other} is no nlxtp_output"))),
        };
        let (open, found, bytes) = (borrow(node)?, borrow(status)?, buffer(bytes, length)?);
        let read = open.lock()?.read_output(output, offset, &found.report, bytes)?;
        out.set(|| read);
        Ok(())
    })
}

/// The format of an archive that is made.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum nlxtp_format {
    /// What the path ends with (.tar, .tar.zst, .tzst); else, and without a path, tar.gz.
    NLXTP_FORMAT_BY_NAME = 0,
    /// tar.gz, level 6.
    NLXTP_FORMAT_TAR_GZ = 1,
    /// tar, not compressed.
    NLXTP_FORMAT_TAR = 2,
    /// tar.zst, level 3.
    NLXTP_FORMAT_TAR_ZST = 3,
}

fn format(number: i32, archive: Option<&Path>) -> Result<OutputFormat> {
    const BY_NAME: i32 = nlxtp_format::NLXTP_FORMAT_BY_NAME as i32;
    const TAR_GZ: i32 = nlxtp_format::NLXTP_FORMAT_TAR_GZ as i32;
    const TAR: i32 = nlxtp_format::NLXTP_FORMAT_TAR as i32;
    const TAR_ZST: i32 = nlxtp_format::NLXTP_FORMAT_TAR_ZST as i32;
    match number {
        BY_NAME => Ok(archive.map_or_else(OutputFormat::default, OutputFormat::from_path)),
        TAR_GZ => Ok(OutputFormat::default()),
        TAR => Ok(OutputFormat::Tar),
        TAR_ZST => Ok(OutputFormat::TarZst { level: 3 }),
        other => Err(invalid(format!("{other} is no nlxtp_format"))),
    }
}

/// Packs the whole shared directory into an archive at a path, which stands for it only when it is
/// complete. `format` is a number of nlxtp_format. An existing file is only replaced if `replace` is
/// not 0. `control` and `report` may be NULL; what `report` gets is freed with
/// nlxtp_download_free(). NLXTP_ERROR_CHANGING: the guest changed a disk meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_download(
    node: *const nlxtp_node,
    archive: *const c_char,
    format: i32,
    replace: c_int,
    control: *const nlxtp_control,
    report: *mut *mut nlxtp_download,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_download", error, || {
        let archive = path(archive, "archive")?;
        let format = self::format(format, Some(archive))?;
        let (open, control) = (borrow(node)?, crate::control::control(control)?);
        let mut node = open.lock()?;
        let about = |error: Error| error.with_path(archive);
        let mut new = NewArchive::create(archive, replace != 0).map_err(about)?;
        let downloaded = node.download(new.writer().map_err(about)?, format, &control)?;
        new.complete().map_err(about)?;
        Out::optional(report).set(|| give(Downloaded::from(downloaded)));
        Ok(())
    })
}

/// The same, written to an open descriptor from its position on. It stays open and is not flushed;
/// after a failure, what was written is of no use.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_download_fd(
    node: *const nlxtp_node,
    archive: c_int,
    format: i32,
    control: *const nlxtp_control,
    report: *mut *mut nlxtp_download,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_download_fd", error, || {
        let mut file: File = descriptor::own(archive)?;
        download_to(node, &mut file, format, control, report)
    })
}

/// The same, written by a callback.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_download_writer(
    node: *const nlxtp_node,
    archive: *const nlxtp_writer,
    format: i32,
    control: *const nlxtp_control,
    report: *mut *mut nlxtp_download,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_download_writer", error, || {
        let mut sink = sink(archive)?;
        download_to(node, &mut sink, format, control, report)
    })
}

fn download_to(
    node: *const nlxtp_node,
    archive: &mut dyn std::io::Write,
    format: i32,
    control: *const nlxtp_control,
    report: *mut *mut nlxtp_download,
) -> Result<()> {
    let format = self::format(format, None)?;
    let (open, control) = (borrow(node)?, crate::control::control(control)?);
    let downloaded = open.lock()?.download(archive, format, &control)?;
    Out::optional(report).set(|| give(Downloaded::from(downloaded)));
    Ok(())
}
