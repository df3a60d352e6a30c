//! Errors of the library as Python's exceptions.

use std::error::Error as StdError;
use std::io;

use nlxtp_host::error::{Error, ErrorKind, Remedy};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use rextfv_core::shared_directory::MayRetry;

/// An error of the library that a Python exception has caused.
pub fn caused_by(kind: ErrorKind, message: &str, cause: PyErr) -> Error {
    Error::new(kind, message).with_source(cause)
}

/// An argument that cannot be used.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// The exception for an error: one of `nlxtp._errors`, or what a callable has raised to end the
/// program (`KeyboardInterrupt`, `SystemExit`).
pub fn exception(py: Python<'_>, operation: &str, error: Error) -> PyErr {
    let error = &error.in_words_of(parameters);
    let cause = python_cause(error);
    if let Some(cause) = cause.filter(|cause| !cause.is_instance_of::<PyException>(py)) {
        return cause.clone_ref(py);
    }
    match make(py, operation, error, cause.is_some()) {
        Ok(exception) => {
            exception.set_cause(py, cause.map(|cause| cause.clone_ref(py)));
            exception
        }
        // Out of memory, or the package is not whole.
        Err(failed) => failed,
    }
}

/// A way out in the words of the package.
fn parameters(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::CreateDisk => {
            "make a disk for a virtual machine with DiskImage.create(), or give a container's directory"
        }
        Remedy::CreateLargerDisk => "make a larger one with DiskImage.create(size=...)",
        Remedy::RaiseMaxBytes => "raise the node's max_bytes",
        Remedy::Replace => "choose another name, or say replace=True",
        Remedy::FollowLinks => "a node with follow_links=True uploads a copy of what a link leads to",
        _ => remedy.words(),
    }
}

fn make(py: Python<'_>, operation: &str, error: &Error, from_callable: bool) -> PyResult<PyErr> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = MAKE.import(py, "nlxtp._errors", "from_native")?;
    let listing = error.refusals();
    let listed = listing.map(|listing| listing.listed.as_slice()).unwrap_or_default();
    let refusals: Vec<_> = listed.iter().map(|one| (one.entry.clone(), one.reason.to_string())).collect();
    let upload = error.upload().map(|report| serde_json::to_string(report).unwrap_or_default());
    let about = (operation, error.kind().word(), error.message(), error.to_string());
    let details = (error.object(), error.hint(), error.may_retry(), errno(error));
    let exception = make.call1((
        (about.0, about.1, about.2, about.3),
        (details.0, details.1, details.2, details.3),
        (refusals, listing.map_or(0, |listing| listing.count())),
        upload,
        from_callable,
    ))?;
    Ok(PyErr::from_value(exception))
}

/// The number of the operating system's error beneath it.
fn errno(error: &Error) -> Option<i32> {
    causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())
}

/// The Python exception beneath it.
fn python_cause(error: &Error) -> Option<&PyErr> {
    causes(error).find_map(|cause| cause.downcast_ref::<PyErr>())
}

/// What has caused it, from the nearest on.
fn causes(error: &Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |cause| cause_of(*cause))
}

fn cause_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>() {
        // Its own `source` would leave out what it wraps.
        Some(wrapping) => wrapping.get_ref().map(|inner| inner as _),
        None => error.source(),
    }
}
