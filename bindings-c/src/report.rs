//! What an upload and a download did, as C sees it.

use std::ffi::{CString, c_char};

use rextfv_core::operations::{DownloadReport, Execution, UploadReport};
use serde::Serialize;

use crate::boundary::{Handle, c_text, free, get};

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
    json: CString,
}

impl From<UploadReport> for Uploaded {
    fn from(report: UploadReport) -> Self {
        Self {
            run_id: c_text(&report.run_id.to_string()),
            start_script: report.start_script.as_deref().map(c_text),
            json: json(&report),
            report,
        }
    }
}

/// What is behind a download's report.
pub struct Downloaded {
    report: DownloadReport,
    json: CString,
}

impl From<DownloadReport> for Downloaded {
    fn from(report: DownloadReport) -> Self {
        Self { json: json(&report), report }
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

/// Files, directories and links made.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_entries(upload: *const nlxtp_upload) -> u64 {
    get(upload, 0, |uploaded| uploaded.report.entries)
}

/// Bytes of all files together.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_bytes(upload: *const nlxtp_upload) -> u64 {
    get(upload, 0, |uploaded| uploaded.report.bytes)
}

/// The start script's name, escaped for showing; NULL where there is none.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_upload_start_script(upload: *const nlxtp_upload) -> *const c_char {
    get(upload, std::ptr::null(), |uploaded| {
        uploaded.start_script.as_ref().map_or(std::ptr::null(), |script| script.as_ptr())
    })
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

/// The whole report as a JSON object on one line, UTF-8, with what was left out and what the target
/// does not keep: the same as `nlxtp upload --json` prints. NULL for NULL.
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

/// Files in the archive.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_files(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.report.files)
}

/// Directories in the archive, the shared directory itself not counted.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_directories(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.report.directories)
}

/// Bytes of all files together.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_bytes(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.report.bytes)
}

/// Bytes of the archive.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_archive_bytes(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.report.archive_bytes)
}

/// How many files changed while they were read, or could not be read whole: their content in the
/// archive is not what the guest wrote. The JSON form names them.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_changed(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.report.changed.count())
}

/// How many entries the archive lacks: devices, FIFOs, what vanished. The JSON form names them.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_left_out(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.report.left_out.count())
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
