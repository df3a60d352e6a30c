//! A status as JSON, the same for the command line and for other languages.

#![forbid(unsafe_code)]

use rextfv_core::liveness::State;
use rextfv_core::operations::{Dialect, StatusReport};
use rextfv_core::status::Progress;
use serde::Serialize;

/// What is serialised of a [`StatusReport`]; `docs/command.md` describes the object ("JSON").
#[derive(Debug, Serialize)]
pub struct StatusJson {
    state: State,
    done: bool,
    running: bool,
    custom: Option<String>,
    /// The Custom Status is not UTF-8, and `custom` has U+FFFD for what is not.
    custom_lossy: bool,
    progress: Option<Progress>,
    exit_code: Option<u8>,
    signal: Option<u8>,
    timed_out: bool,
    sequence: Option<u64>,
    run_id: Option<String>,
    stdout_bytes: Option<u64>,
    stderr_bytes: Option<u64>,
    truncated: Vec<&'static str>,
    dialect: Option<Dialect>,
    reason: Option<String>,
    attempts: u32,
}

impl From<&StatusReport> for StatusJson {
    fn from(report: &StatusReport) -> Self {
        let custom = report.custom.as_deref();
        Self {
            state: report.state,
            done: report.done(),
            running: report.running(),
            custom: custom.map(|custom| String::from_utf8_lossy(custom).into_owned()),
            custom_lossy: custom.is_some_and(|custom| str::from_utf8(custom).is_err()),
            progress: report.progress,
            exit_code: report.exit_code,
            signal: report.signal,
            timed_out: report.timed_out,
            sequence: report.sequence,
            run_id: report.run_id.map(|id| id.to_string()),
            stdout_bytes: report.stdout_bytes,
            stderr_bytes: report.stderr_bytes,
            truncated: report.truncated.words(),
            dialect: report.dialect,
            reason: report.reason.clone(),
            attempts: report.attempts,
        }
    }
}
