//! Shared directories by their paths.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nlxtp_host::error::Result;
use nlxtp_host::shared_directory::{BoxedDirectory, DiskImage, DiskOptions, HostDirectory};
use pyo3::prelude::*;
use rextfv_core::limits::Limits;

use crate::operation::{Asked, run};

/// A path as Python's `os.fsencode` gives it.
pub fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// Where a node's shared directory is. It is opened anew for each use that does not keep it open.
#[derive(Debug, Clone)]
pub struct Target {
    pub path: PathBuf,
    pub is_disk: bool,
}

impl Target {
    pub fn open(&self, limits: Limits) -> Result<BoxedDirectory> {
        let path = self.path.clone();
        if self.is_disk {
            let disk = DiskImage::open(path).map_err(|error| error.with_path(&self.path))?;
            Ok(Box::new(disk.with_limits(limits)))
        } else {
            let directory = HostDirectory::open(path).map_err(|error| error.with_path(&self.path))?;
            Ok(Box::new(directory.with_limits(limits)))
        }
    }
}

/// Fails where there is no shared directory of this kind.
#[pyfunction]
pub fn open_target(py: Python<'_>, path: Vec<u8>, is_disk: bool) -> PyResult<()> {
    let target = Target { path: self::path(path), is_disk };
    run(py, "open", Asked::default(), |_, _| target.open(Limits::DEFAULT).map(drop))
}

/// Makes an empty disk.
#[pyfunction]
pub fn create_disk(py: Python<'_>, path: Vec<u8>, size: Option<u64>, label: Option<String>) -> PyResult<()> {
    let path = self::path(path);
    let usual = DiskOptions::default();
    let options = DiskOptions { size: size.unwrap_or(usual.size), label: label.unwrap_or(usual.label) };
    run(py, "create", Asked::default(), |_, _| {
        DiskImage::create(&path, &options).map(drop).map_err(|error| error.with_path(&path))
    })
}
