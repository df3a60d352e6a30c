//! The one error of this crate, and how the program speaks to whoever watches it.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Write};

/// Something that could not be done; the text says what, on which object, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused an operation.
    #[error("cannot {doing}: {source}")]
    System {
        /// The operation and its object.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The command line cannot be understood.
    #[error("{0}; see nlxtp-guest --help")]
    Usage(String),
    /// A rule of the protocol forbids it.
    #[error("{0}")]
    Refused(String),
}

/// Adds to an error of the system what was being done.
pub trait Doing<T> {
    /// Names the operation and its object, to follow the words "cannot".
    ///
    /// # Errors
    /// The error itself, with the operation named.
    fn doing<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T, Error> {
        self.map_err(|source| Error::System { doing: doing().to_string(), source: source.into() })
    }
}

/// Writes one line to standard error. Nothing can be done if that fails, and nothing is: a closed
/// terminal must not end a run.
pub fn note(text: impl fmt::Display) {
    // One write, so that the lines of several processes do not mix.
    let _ = io::stderr().write_all(format!("nlxtp-guest: {text}\n").as_bytes());
}

/// Reports a failure that the run survives.
pub fn survive<T>(result: Result<T, Error>) -> Option<T> {
    result.map_err(note).ok()
}
