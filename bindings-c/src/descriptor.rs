//! Descriptors that the caller lends.

use std::ffi::c_int;
use std::fs::File;

use nlxtp_host::error::{Error, Result};

use crate::boundary::{duplicate, invalid};

/// A descriptor of our own to what the caller's leads to.
pub fn own(descriptor: c_int) -> Result<File> {
    if descriptor < 0 {
        return Err(invalid(format!("{descriptor} is no file descriptor")));
    }
    duplicate(descriptor).map_err(|error| Error::io("use the file descriptor", error))
}
