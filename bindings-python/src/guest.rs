//! What Python callables know of a guest and can do to it.
//!
//! The callables belong to the Python object that owns a node, and are reached through it by a weak
//! reference: the garbage collector then sees all cycles, such as that of a machine's object that has a
//! node whose power is a method of the machine.

use std::sync::Arc;

use nlxtp_host::error::{Error, ErrorKind, Result};
use pyo3::prelude::*;
use rextfv_core::powers::{GuestPower, InvokeMonitor, PowerState};

use crate::error::{caused_by, invalid};

/// A weak reference to the Python object that owns a node.
#[derive(Clone)]
pub struct Owner(Arc<Py<PyAny>>);

impl Owner {
    pub fn new(reference: Py<PyAny>) -> Self {
        Self(Arc::new(reference))
    }

    fn call(&self, method: &str) -> PyResult<Option<String>> {
        Python::attach(|py| self.0.call0(py)?.call_method0(py, method)?.extract(py))
    }
}

/// Asks the owner whether the guest is on.
pub struct AskedPower(pub Owner);

impl GuestPower for AskedPower {
    type Error = Error;

    fn power_state(&self) -> Result<PowerState> {
        let word = self.0.call("_ask_power").map_err(|cause| {
            caused_by(ErrorKind::Io, "the callable that tells whether the guest is on has failed", cause)
        })?;
        power(word.as_deref())
    }
}

/// Has the owner invoke the monitor.
pub struct AskedInvoker(pub Owner);

impl InvokeMonitor for AskedInvoker {
    type Error = Error;

    fn invoke_monitor(&self) -> Result<()> {
        self.0.call("_invoke").map(drop).map_err(|cause| {
            caused_by(ErrorKind::InvokeFailed, "the upload stands, but the monitor could not be invoked", cause)
        })
    }
}

/// The power state that a word stands for.
pub fn power(word: Option<&str>) -> Result<PowerState> {
    match word {
        Some("on") => Ok(PowerState::On),
        Some("off") => Ok(PowerState::Off),
        Some("unknown") | None => Ok(PowerState::Unknown),
        Some(other) => Err(invalid(format!("{other:?} is no power state"))),
    }
}
