//! Uploads and downloads: by paths, by descriptors and by callbacks.

use std::ffi::{c_char, c_int};
use std::fs::File;
use std::path::Path;

use nlxtp_host::archive::OutputFormat;
use nlxtp_host::archive::files::{self, NewArchive};
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, Result};
use nlxtp_host::node::ReadSeek;
use rextfv_core::limits::Limits;

use crate::boundary::{Out, borrow, give, guard, invalid, path};
use crate::control::{control, nlxtp_control};
use crate::descriptor;
use crate::error::{nlxtp_error, nlxtp_result};
use crate::node::nlxtp_node;
use crate::report::{Downloaded, Uploaded, nlxtp_download, nlxtp_upload};
use crate::streams::{nlxtp_reader, nlxtp_writer, sink, source};

fn upload(
    node: *const nlxtp_node,
    given: *const nlxtp_control,
    report: *mut *mut nlxtp_upload,
    archive: impl FnOnce(&Limits, &Control<'_>) -> Result<Box<dyn ReadSeek>>,
) -> Result<()> {
    let (open, control) = (borrow(node)?, control(given)?);
    let uploaded = open.with(|node| node.upload(&mut *archive(&open.limits, &control)?, &control))?;
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
        let (open, control) = (borrow(node)?, self::control(control)?);
        let about = |error: Error| error.with_path(archive);
        let downloaded = open.with(|node| {
            let mut new = NewArchive::create(archive, replace != 0).map_err(about)?;
            let downloaded = node.download(&mut *new.writer(&control).map_err(about)?, format, &control)?;
            new.complete().map_err(about)?;
            Ok(downloaded)
        })?;
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
    let (open, control) = (borrow(node)?, self::control(control)?);
    let downloaded = open.with(|node| node.download(archive, format, &control))?;
    Out::optional(report).set(|| give(Downloaded::from(downloaded)));
    Ok(())
}
