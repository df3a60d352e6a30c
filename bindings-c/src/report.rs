//! What an upload and a download did, as C sees it.

use std::ffi::{CString, c_char};

use rextfv_core::operations::{DownloadReport, Execution, UploadReport};
use serde::Serialize;

use crate::boundary::{Handle, c_text, free, get, pointer};
use crate::verification::Verified;

/// How the start script comes to be executed after an upload. Later versions may add ways.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum nlxtp_execution {
    /// The archive holds no start script: nothing will be executed.
    NLXTP_EXECUTION_NO_START_SCRIPT = 0,
    /// The guest is off: when it boots.
    NLXTP_EXECUTION_AT_BOOT = 1,
    /// The host has invoked the monitor.
    NLXTP_EXECUTION_INVOKED = 2,
    /// The daemon in the guest will notice it.
    NLXTP_EXECUTION_BY_DAEMON = 3,
}

/// What an upload did. It never changes, and any thread may read it. It belongs to the caller, who
/// frees it with nlxtp_upload_free(); what its functions return belongs to it.
pub struct nlxtp_upload;

impl Handle for nlxtp_upload {
    type Inner = Uploaded;
    const NAME: &'static str = "nlxtp_upload";
    const TAG: u64 = 0x6e6c_7874_7055_504c;
}

/// What is behind an upload's report.
pub struct Uploaded {
    report: UploadReport,
    run_id: CString,
    start_script: Option<CString>,
    left_out: Vec<CString>,
    warnings: Vec<CString>,
    json: CString,
}

impl From<UploadReport> for Uploaded {
    fn from(report: UploadReport) -> Self {
        Self {
            run_id: c_text(&report.run_id.to_string()),
            start_script: report.start_script.as_deref().map(c_text),
            left_out: report.left_out.listed.iter().map(|entry| c_text(entry)).collect(),
            warnings: report.warnings.iter().map(|warning| c_text(warning)).collect(),
            json: json(&report),
            report,
        }
    }
}

/// What is behind a download's report.
pub struct Downloaded {
    report: DownloadReport,
    attempts: u32,
    changed: Vec<(CString, CString)>,
    left_out: Vec<(CString, CString)>,
    pub(crate) verified: Verified,
    json: CString,
}

impl Downloaded {
    pub fn new(report: DownloadReport, attempts: u32) -> Self {
        let (changed, left_out) = (&report.changed.listed, &report.left_out.listed);
        Self {
            changed: changed.iter().map(|one| (c_text(&one.path), c_text(&one.problem.to_string()))).collect(),
            left_out: left_out.iter().map(|one| (c_text(&one.path), c_text(&one.reason.to_string()))).collect(),
            verified: (&report.verification).into(),
            json: json(&report),
            report,
            attempts,
        }
    }
}

fn json(report: &impl Serialize) -> CString {
    // A report always can be written.
    c_text(&serde_json::to_string(report).unwrap_or_default())
}

/// The run that the upload began, 32 hexadecimal digits; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_run_id(upload: *const nlxtp_upload) -> *const c_char {
    get(upload, std::ptr::null(), |uploaded| uploaded.run_id.as_ptr())
}

/// Files, directories and links made; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_entries(upload: *const nlxtp_upload) -> u64 {
    get(upload, 0, |uploaded| uploaded.report.entries)
}

/// Bytes of all files together; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_bytes(upload: *const nlxtp_upload) -> u64 {
    get(upload, 0, |uploaded| uploaded.report.bytes)
}

/// The start script's name, escaped for showing; NULL where there is none, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_start_script(upload: *const nlxtp_upload) -> *const c_char {
    get(upload, std::ptr::null(), |uploaded| pointer(uploaded.start_script.as_ref()))
}

/// How the start script comes to be executed; NLXTP_EXECUTION_NO_START_SCRIPT for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_execution(upload: *const nlxtp_upload) -> nlxtp_execution {
    get(upload, nlxtp_execution::NLXTP_EXECUTION_NO_START_SCRIPT, |uploaded| match uploaded.report.execution {
        Execution::NoStartScript => nlxtp_execution::NLXTP_EXECUTION_NO_START_SCRIPT,
        Execution::AtBoot => nlxtp_execution::NLXTP_EXECUTION_AT_BOOT,
        Execution::Invoked => nlxtp_execution::NLXTP_EXECUTION_INVOKED,
        Execution::ByDaemon => nlxtp_execution::NLXTP_EXECUTION_BY_DAEMON,
    })
}

/// How many entries of the archive were left out because their names belong to the protocol; 0 for NULL. The
/// first 1000 can be asked for one by one.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_left_out(upload: *const nlxtp_upload) -> u64 {
    get(upload, 0, |uploaded| uploaded.report.left_out.count())
}

/// The name of such an entry, escaped for showing; NULL if there are fewer, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_left_out_entry(upload: *const nlxtp_upload, index: usize) -> *const c_char {
    get(upload, std::ptr::null(), |uploaded| pointer(uploaded.left_out.get(index)))
}

/// How many entries lose their mode: on FAT all but 0755, elsewhere the set-user-id, set-group-id and sticky
/// bits; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_lost_modes(upload: *const nlxtp_upload) -> u64 {
    get(upload, 0, |uploaded| uploaded.report.lost.modes)
}

/// How many entries belong to another user or group than root in the archive, which they lose: everything is
/// given the owner of the shared directory; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_lost_owners(upload: *const nlxtp_upload) -> u64 {
    get(upload, 0, |uploaded| uploaded.report.lost.owners)
}

/// How many warnings there are of what may keep the start script from running as it was meant; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_warning_count(upload: *const nlxtp_upload) -> usize {
    get(upload, 0, |uploaded| uploaded.warnings.len())
}

/// One of them, for people, UTF-8; NULL if there are fewer, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_warning(upload: *const nlxtp_upload, index: usize) -> *const c_char {
    get(upload, std::ptr::null(), |uploaded| pointer(uploaded.warnings.get(index)))
}

/// The whole report as a JSON object on one line, UTF-8: the same as `nlxtp upload --json` prints. NULL for
/// NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_json(upload: *const nlxtp_upload) -> *const c_char {
    get(upload, std::ptr::null(), |uploaded| uploaded.json.as_ptr())
}

/// Frees an upload's report. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_free(upload: *mut nlxtp_upload) {
    free(upload);
}

/// What a download took home. It never changes, and any thread may read it. It belongs to the
/// caller, who frees it with nlxtp_download_free(); what its functions return belongs to it.
pub struct nlxtp_download;

impl Handle for nlxtp_download {
    type Inner = Downloaded;
    const NAME: &'static str = "nlxtp_download";
    const TAG: u64 = 0x6e6c_7874_7044_4f57;
}

/// Files in the archive; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_files(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.report.files)
}

/// Directories in the archive, the shared directory itself not counted; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_directories(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.report.directories)
}

/// Symbolic links in the archive; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_symlinks(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.report.symlinks)
}

/// Bytes of all files together; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_bytes(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.report.bytes)
}

/// Bytes of the archive; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_archive_bytes(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.report.archive_bytes)
}

/// How many files changed while they were read, or could not be read whole: their content in the
/// archive is not what the guest wrote; 0 for NULL. The first 1000 can be asked for one by one.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_changed(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.report.changed.count())
}

/// The path of such a file, escaped for showing; NULL if there are fewer, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_changed_path(download: *const nlxtp_download, index: usize) -> *const c_char {
    get(download, std::ptr::null(), |downloaded| pointer(downloaded.changed.get(index).map(|(path, _)| path)))
}

/// What is wrong with its content in the archive; NULL if there are fewer, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_changed_problem(download: *const nlxtp_download, index: usize) -> *const c_char {
    get(download, std::ptr::null(), |downloaded| pointer(downloaded.changed.get(index).map(|(_, problem)| problem)))
}

/// How many entries the archive lacks: devices, FIFOs, what vanished; 0 for NULL. The first 1000 can be asked
/// for one by one.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_left_out(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.report.left_out.count())
}

/// The path of such an entry, escaped for showing; NULL if there are fewer, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_left_out_path(download: *const nlxtp_download, index: usize) -> *const c_char {
    get(download, std::ptr::null(), |downloaded| pointer(downloaded.left_out.get(index).map(|(path, _)| path)))
}

/// Why it was left out; NULL if there are fewer, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_left_out_reason(download: *const nlxtp_download, index: usize) -> *const c_char {
    get(download, std::ptr::null(), |downloaded| pointer(downloaded.left_out.get(index).map(|(_, reason)| reason)))
}

/// How often the shared directory was packed, the last time into this archive; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_attempts(download: *const nlxtp_download) -> u32 {
    get(download, 0, |downloaded| downloaded.attempts)
}

/// Whether nothing is known to have changed or vanished while it was packed; false for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_settled(download: *const nlxtp_download) -> bool {
    get(download, false, |downloaded| downloaded.report.is_settled())
}

/// The whole report as a JSON object on one line, UTF-8. NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_json(download: *const nlxtp_download) -> *const c_char {
    get(download, std::ptr::null(), |downloaded| downloaded.json.as_ptr())
}

/// Frees a download's report. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_free(download: *mut nlxtp_download) {
    free(download);
}
