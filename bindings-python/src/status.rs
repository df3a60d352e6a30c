//! A status as Python sees it.

use std::hash::{Hash, Hasher};

use nlxtp_host::status_json::StatusJson;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict};
use rextfv_core::operations::{Dialect, StatusReport};
use rextfv_core::status::{Progress, Truncated};
use serde_json::Value;

/// What a status query found. It never changes.
#[pyclass(frozen, module = "nlxtp", eq, hash, weakref)]
#[derive(PartialEq)]
pub struct Status(pub StatusReport);

impl Hash for Status {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let report = &self.0;
        (report.state, &report.custom, report.exit_code, report.sequence, report.run_id).hash(state);
    }
}

impl Status {
    fn json(&self) -> String {
        // A report always can be written.
        serde_json::to_string(&StatusJson::from(&self.0)).unwrap_or_default()
    }
}

#[pymethods]
impl Status {
    /// The state of the run, a State: one of the words "not-started", "running", "finished",
    /// "monitor-stopped", "guest-rebooted", "unreadable".
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static STATES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        STATES.import(py, "nlxtp._words", "State")?.call1((self.0.state.word(),))
    }

    /// The Done Flag: whether the start script has ended and its results are on the disk.
    #[getter]
    fn done(&self) -> bool {
        self.0.done()
    }

    /// Whether the run is under way.
    #[getter]
    fn running(&self) -> bool {
        self.0.running()
    }

    /// Why the state is what it is, for people; None where that needs no words.
    #[getter]
    fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The Custom Status; None where none was set.
    #[getter]
    fn custom<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        static CUSTOM: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let make = |bytes| CUSTOM.import(py, "nlxtp._words", "CustomStatus")?.call1((PyBytes::new(py, bytes),));
        self.0.custom.as_deref().map(make).transpose()
    }

    /// How far the start script says that it is, as (done, total) of its steps; None where it says
    /// nothing.
    #[getter]
    fn progress(&self) -> Option<(u64, u64)> {
        self.0.progress.map(|progress| (progress.done, progress.total))
    }

    /// The start script's exit code; None if it has not ended by itself.
    #[getter]
    fn exit_code(&self) -> Option<u8> {
        self.0.exit_code
    }

    /// The signal that ended the start script; None if none did.
    #[getter]
    fn signal(&self) -> Option<u8> {
        self.0.signal
    }

    /// Whether the monitor has ended the script because it ran longer than it was allowed to.
    #[getter]
    fn timed_out(&self) -> bool {
        self.0.timed_out
    }

    /// The sequence number of the record, from 1.
    #[getter]
    fn sequence(&self) -> Option<u64> {
        self.0.sequence
    }

    /// The run that the last upload began, 32 hexadecimal digits, as far as it is known.
    #[getter]
    fn run_id(&self) -> Option<String> {
        self.0.run_id.map(|run| run.to_string())
    }

    /// Bytes of standard output that are on the disk; None where that is not known.
    #[getter]
    fn stdout_bytes(&self) -> Option<u64> {
        self.0.stdout_bytes
    }

    /// Bytes of error output that are on the disk; None where that is not known.
    #[getter]
    fn stderr_bytes(&self) -> Option<u64> {
        self.0.stderr_bytes
    }

    /// What the monitor has cut because it was too long: of "stdout", "stderr", "custom".
    #[getter]
    fn truncated<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyTuple>> {
        pyo3::types::PyTuple::new(py, self.0.truncated.words())
    }

    /// In whose words the status was written: "nlxtp", "tomato" (ToMaTo's guest modules), or None before
    /// a monitor has written anything.
    #[getter]
    fn dialect(&self) -> Option<&'static str> {
        self.0.dialect.map(|dialect| match dialect {
            Dialect::Nlxtp => "nlxtp",
            Dialect::Tomato => "tomato",
        })
    }

    /// How often the status was read until it could be used, or was given up.
    #[getter]
    fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The whole status as a JSON object on one line: the same as `nlxtp status --json` prints.
    fn to_json(&self) -> String {
        self.json()
    }

    /// The same as a dictionary.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        Ok(py.import("json")?.call_method1("loads", (self.json(),))?.cast_into()?)
    }

    /// For `pickle` and `copy`: the JSON object, and the Custom Status, which that may hold changed.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Kept<'py>)> {
        let restore = py.import("nlxtp._native")?.getattr("restored_status")?;
        let custom = self.0.custom.as_deref().map(|custom| PyBytes::new(py, custom));
        Ok((restore, (self.json(), custom)))
    }

    fn __repr__(&self) -> String {
        format!("<nlxtp.Status {}>", self.json())
    }

    /// A short line for people.
    fn __str__(&self) -> String {
        let report = &self.0;
        let mut line = report.state.word().to_owned();
        if let Some(code) = report.exit_code {
            line += &format!(", exit code {code}");
        }
        if let Some(signal) = report.signal {
            line += &format!(", ended by signal {signal}");
        }
        if let Some(reason) = &report.reason {
            line += &format!(" ({reason})");
        }
        line
    }
}

/// What a pickled status is made of.
type Kept<'py> = (String, Option<Bound<'py, PyBytes>>);

/// The status that was taken apart by `__reduce__`.
#[pyfunction]
#[pyo3(signature = (json, custom))]
pub fn restored_status(json: &str, custom: Option<Vec<u8>>) -> PyResult<Status> {
    let report = serde_json::from_str(json).and_then(|status| restore(&status, custom));
    let wrong = |error| pyo3::exceptions::PyValueError::new_err(format!("this is no pickled status: {error}"));
    report.map(Status).map_err(wrong)
}

fn restore(status: &Value, custom: Option<Vec<u8>>) -> serde_json::Result<StatusReport> {
    let field = |name: &str| status[name].clone();
    let word = |name: &str| status[name].as_str();
    let is_cut = |word: &str| status["truncated"].as_array().is_some_and(|cut| cut.iter().any(|one| one == word));
    let [stdout, stderr, custom_too] = Truncated::WORDS.map(is_cut);
    let steps = |name: &str| status["progress"][name].as_u64();
    Ok(StatusReport {
        state: serde_json::from_value(field("state"))?,
        reason: serde_json::from_value(field("reason"))?,
        dialect: match word("dialect") {
            Some("nlxtp") => Some(Dialect::Nlxtp),
            Some("tomato") => Some(Dialect::Tomato),
            _ => None,
        },
        custom,
        progress: steps("done").zip(steps("total")).and_then(|(done, total)| Progress::new(done, total)),
        exit_code: serde_json::from_value(field("exit_code"))?,
        signal: serde_json::from_value(field("signal"))?,
        timed_out: serde_json::from_value(field("timed_out"))?,
        sequence: serde_json::from_value(field("sequence"))?,
        run_id: serde_json::from_value(field("run_id"))?,
        stdout_bytes: serde_json::from_value(field("stdout_bytes"))?,
        stderr_bytes: serde_json::from_value(field("stderr_bytes"))?,
        truncated: Truncated { stdout, stderr, custom: custom_too },
        attempts: serde_json::from_value(field("attempts"))?,
    })
}
