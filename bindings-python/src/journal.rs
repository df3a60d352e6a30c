//! Journals as the package's `Journal` uses them.

use std::os::unix::ffi::OsStrExt;
use std::process;

use nlxtp_host::error::Result;
use nlxtp_host::journal::{self, NodeJournal, check_apart};
use nlxtp_host::shared_directory::BoxedDirectory;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::invalid;
use crate::operation::{Asked, run};
use crate::target;

/// A journal. What it is for is said in the package.
#[pyclass(frozen, module = "nlxtp._native")]
#[derive(Clone)]
pub struct Journal {
    opened: journal::Journal,
    /// The process that opened it.
    process: u32,
}

#[pymethods]
impl Journal {
    #[new]
    fn new(py: Python<'_>, path: Vec<u8>, keep_archives: bool) -> PyResult<Self> {
        let opened = run(py, "open", Asked::default(), |_, _| {
            let opened = journal::Journal::open(target::path(path))?;
            Ok(if keep_archives { opened.keeping_archives() } else { opened })
        })?;
        Ok(Self { opened, process: process::id() })
    }

    /// Where it is, whatever the working directory.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.opened.path().as_os_str().as_bytes())
    }
}

/// A journal, and the name of a node in it.
pub struct Entry {
    journal: Journal,
    name: Vec<u8>,
}

impl Entry {
    /// What a node is given: both, or neither.
    pub fn of(journal: Option<&Journal>, name: Option<Vec<u8>>) -> Result<Option<Self>> {
        match (journal, name) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(invalid("a node with a journal needs a name in it")),
            (None, Some(_)) => Err(invalid("a node has its name in a journal, and none is given")),
            (Some(_), Some(name)) if name.is_empty() => Err(invalid("the name in the journal is empty")),
            (Some(journal), Some(name)) => Ok(Some(Self { journal: journal.clone(), name })),
        }
    }

    /// Refuses a journal that lies in the shared directory.
    pub fn check(&self, directory: &BoxedDirectory) -> Result<()> {
        check_apart(self.journal.opened.path(), directory.host_directory())
    }

    /// The journal for a node of this process.
    pub fn open(&self) -> NodeJournal {
        let opened = &self.journal.opened;
        let own = if self.journal.process == process::id() { opened.clone() } else { opened.apart() };
        own.for_node(&self.name).deferring_downloads()
    }
}
