//! The native module of the Python package `nlxtp`, thin over [`nlxtp_host`].
//!
//! It is private to the package: what Python programs use is in `python/nlxtp/`, and what this module
//! holds is described to type checkers by `python/nlxtp/_native.pyi`.

use pyo3::prelude::*;

/// The native part of nlxtp.
#[pymodule(gil_used = true)]
mod _native {
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
