//! An operation under way: detached from the interpreter, but asking it for signals.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use nlxtp_host::control::{self, Control, Progress};
use nlxtp_host::error::{Error, ErrorKind, Result};
use pyo3::prelude::*;

use crate::error::exception;

/// Between two looks for signals.
const BETWEEN_SIGNALS: Duration = Duration::from_millis(20);

/// Cancels operations from another thread. One token may be given to any number of them.
#[pyclass(frozen, module = "nlxtp")]
#[derive(Default)]
pub struct CancelToken(pub control::CancelToken);

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Lets the operations that hold this token end soon, with CancelledError.
    fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether it was cancelled.
    #[getter]
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn __repr__(&self) -> String {
        let cancelled = if self.0.is_cancelled() { ", cancelled" } else { "" };
        format!("<nlxtp.CancelToken{cancelled}>")
    }
}

/// Sleeps so long, unless the time that is given is over before or the token is cancelled.
#[pyfunction]
#[pyo3(signature = (seconds, timeout, cancel))]
pub fn pause(py: Python<'_>, seconds: f64, timeout: Option<f64>, cancel: Option<&CancelToken>) -> PyResult<()> {
    let time = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    run(py, "wait", Asked::new(timeout, cancel, None), |control, _| {
        control.check()?;
        control.sleep(time)
    })
}

/// What the caller asks of an operation.
#[derive(Default)]
pub struct Asked {
    pub deadline: Option<Instant>,
    pub cancel: Option<control::CancelToken>,
    pub progress: Option<Py<PyAny>>,
}

impl Asked {
    /// A time too long to be added is no deadline; one in the past is over now.
    pub fn new(timeout: Option<f64>, cancel: Option<&CancelToken>, progress: Option<Py<PyAny>>) -> Self {
        let deadline = timeout.and_then(|seconds| {
            let seconds = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
            Instant::now().checked_add(seconds)
        });
        Self { deadline, cancel: cancel.map(|token| token.0.clone()), progress }
    }
}

/// What Python code that was called meanwhile has raised.
#[derive(Default)]
pub struct Raised {
    exception: RefCell<Option<PyErr>>,
    token: control::CancelToken,
}

impl Raised {
    /// Calls Python; what that raises ends the operation, and is raised in the end as it is.
    pub fn call(&self, python: impl FnOnce(Python<'_>) -> PyResult<()>) -> Result<()> {
        // Nobody is attached any more to an interpreter that ends.
        let raised = Python::try_attach(python).unwrap_or(Ok(())).err();
        match raised {
            None => Ok(()),
            Some(raised) => {
                self.exception.borrow_mut().get_or_insert(raised);
                self.token.cancel();
                Err(Error::new(ErrorKind::Cancelled, "the operation was interrupted"))
            }
        }
    }
}

/// Does what may take time, while other Python threads go on.
pub fn run<T: Send>(
    py: Python<'_>,
    operation: &str,
    asked: Asked,
    work: impl FnOnce(&Control<'_>, &Raised) -> Result<T> + Send,
) -> PyResult<T> {
    let done = py.detach(move || {
        let raised = Raised::default();
        let looked = Cell::new(Instant::now());
        let mut control = Control::none().with_deadline(asked.deadline).with_cancel(raised.token.clone());
        control = control.with_watch(|| {
            if looked.get().elapsed() < BETWEEN_SIGNALS {
                return Ok(());
            }
            looked.set(Instant::now());
            raised.call(|py| py.check_signals())
        });
        if let Some(token) = asked.cancel {
            control = control.with_cancel(token);
        }
        if let Some(progress) = &asked.progress {
            control = control.with_progress(|done| {
                // The check that follows a report ends the operation.
                let _ = raised.call(|py| progress.call1(py, told(done)).map(drop));
            });
        }
        let result = work(&control, &raised);
        drop(control);
        match raised.exception.into_inner() {
            Some(exception) if result.is_err() => Err(Failure::Raised(exception)),
            _ => result.map_err(Failure::Failed),
        }
    });
    done.map_err(|failure| match failure {
        Failure::Raised(raised) => raised,
        Failure::Failed(error) => exception(py, operation, error),
    })
}

enum Failure {
    Raised(PyErr),
    Failed(Error),
}

fn told(progress: Progress) -> (&'static str, u64, Option<u64>) {
    match progress {
        Progress::Examining { done, total } => ("examining", done, Some(total)),
        Progress::Extracting { done, total } => ("extracting", done, Some(total)),
        Progress::Packing { done, total } => ("packing", done, total),
        Progress::Flushing => ("flushing", 0, None),
        _ => ("other", 0, None),
    }
}
