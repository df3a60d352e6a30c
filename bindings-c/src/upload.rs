//! Uploads: by paths, by descriptors and by callbacks.

use std::ffi::{c_char, c_int};
use std::path::Path;

use nlxtp_host::archive::files;
use nlxtp_host::control::Control;
use nlxtp_host::error::{Error, Result};
use nlxtp_host::node::ReadSeek;
use rextfv_core::limits::Limits;

use crate::boundary::{Out, borrow, give, guard, path};
use crate::control::{control, nlxtp_control};
use crate::descriptor;
use crate::error::{nlxtp_error, nlxtp_result};
use crate::node::nlxtp_node;
use crate::report::{Uploaded, nlxtp_upload};
use crate::streams::{nlxtp_reader, source};

/// Uploads what is opened, which the journal knows by its path.
fn upload(
    node: *const nlxtp_node,
    name: Option<&Path>,
    given: *const nlxtp_control,
    report: *mut *mut nlxtp_upload,
    archive: impl FnOnce(&Limits, &Control<'_>) -> Result<Box<dyn ReadSeek>>,
) -> Result<()> {
    let (open, control) = (borrow(node)?, control(given)?);
    let uploaded = open.with(|node| {
        node.name_journalled_archive(name);
        node.upload(&mut *archive(&open.limits, &control)?, &control)
    })?;
    Out::optional(report).set(|| give(Uploaded::from(uploaded)));
    Ok(())
}

/// Replaces the shared directory's content by that of the archive at a path (tar, tar.gz, tar.zst or
/// zip), and has its start script executed. On failure the old content stands, but for
/// NLXTP_ERROR_INVOKE_FAILED (the new content stands), for a block device or descriptor whose writing was cut
/// off (NLXTP_ERROR_UNFINISHED from then on, until an upload succeeds), and for NLXTP_ERROR_UNFINISHED of a
/// directory (the next operation puts the new content in its place). `control` and `report` may be NULL; what
/// `report` gets is freed with nlxtp_upload_free().
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
        upload(node, Some(archive), control, report, |limits, control| {
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
        upload(node, None, control, report, |limits, control| {
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
        upload(node, None, control, report, |_, _| Ok(Box::new(archive)))
    })
}
