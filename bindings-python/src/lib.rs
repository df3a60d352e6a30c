//! The native module of the Python package `nlxtp`, thin over [`nlxtp_host`].
//!
//! It is private to the package: what Python programs use is in `python/nlxtp/`, and what this module
//! holds is described to type checkers by `python/nlxtp/_native.pyi`.
//!
//! Everything that may block runs detached from the interpreter (`operation::run`). No native object
//! holds a Python object that could lead back to it: callables stay with the Python objects, where the
//! garbage collector sees them, and are reached by a weak reference (`guest`).

#![forbid(unsafe_code)]

use pyo3::prelude::*;

mod archive;
mod error;
mod guest;
mod journal;
mod node;
mod operation;
mod status;
mod target;
mod turns;
mod watcher;

/// The native part of nlxtp.
// The package was not tried on a free-threaded interpreter, which therefore takes its lock again when
// it imports this.
#[pymodule(gil_used = true)]
mod _native {
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_export]
    use super::journal::Journal;
    #[pymodule_export]
    use super::node::{Node, Waiting};
    #[pymodule_export]
    use super::operation::{CancelToken, pause};
    #[pymodule_export]
    use super::status::{Status, restored_status};
    #[pymodule_export]
    use super::target::{create_disk, open_target};
    #[pymodule_export]
    use super::watcher::Watcher;
}
