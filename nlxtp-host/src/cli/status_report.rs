//! A status, shown.

use rextfv_core::entry_path::displayable;
use rextfv_core::liveness::State;
use rextfv_core::operations::{Dialect, StatusReport};
use rextfv_core::status::Progress;

use super::failure::exit;
use super::units::show_size;

/// Characters of a Custom Status that people get to see.
const CUSTOM_SHOWN: usize = 2000;

fn show_custom(custom: &[u8]) -> String {
    let shown = displayable(custom);
    match shown.char_indices().nth(CUSTOM_SHOWN) {
        Some((end, _)) => {
            format!("{}... ({} in all; --json shows it whole)", &shown[..end], show_size(custom.len() as u64))
        }
        None => shown,
    }
}

fn show_ending(report: &StatusReport) -> Option<String> {
    match (report.exit_code, report.signal) {
        (Some(code), _) => Some(format!("exit code {code}")),
        (None, Some(signal)) => Some(format!("ended by signal {signal}")),
        (None, None) => None,
    }
}

/// Characters of a bar.
const BAR: usize = 20;

/// A progress as a bar: `[######..............]  30 %, 3/10`.
pub fn show_progress(progress: Progress) -> String {
    let filled = BAR * usize::from(progress.percent()) / 100;
    format!("[{}{}] {:3} %, {progress}", "#".repeat(filled), ".".repeat(BAR - filled), progress.percent())
}

/// A status in aligned lines.
pub fn show_lines(report: &StatusReport) -> String {
    let mut lines = vec![("state", report.state.word().to_owned())];
    lines.extend(show_ending(report).map(|ending| ("script", ending)));
    lines.extend(report.reason.as_deref().map(|reason| ("reason", displayable(reason.as_bytes()))));
    lines.extend(report.custom.as_deref().map(|custom| ("custom", show_custom(custom))));
    lines.extend(report.progress.map(|progress| ("progress", show_progress(progress))));
    if let (Some(stdout), Some(stderr)) = (report.stdout_bytes, report.stderr_bytes) {
        lines.push(("output", format!("stdout {}, stderr {}", show_size(stdout), show_size(stderr))));
    }
    let cut = report.truncated.words();
    if !cut.is_empty() {
        lines.push(("truncated", cut.join(", ")));
    }
    lines.extend(report.run_id.map(|run| ("run", run.to_string())));
    if report.dialect == Some(Dialect::Tomato) {
        lines.push(("dialect", "ToMaTo's guest modules".into()));
    }
    lines.into_iter().map(|(name, value)| format!("{:<11}{value}\n", format!("{name}:"))).collect()
}

/// A status in one line, without its end.
pub fn show_line(report: &StatusReport) -> String {
    let mut parts = vec![format!("{:<16}", report.state.word())];
    parts.extend(show_ending(report));
    parts.extend(report.progress.map(show_progress));
    parts.extend(report.custom.as_deref().map(|custom| format!("custom: {}", show_custom(custom))));
    if let (Some(stdout), Some(stderr)) = (report.stdout_bytes, report.stderr_bytes) {
        parts.push(format!("stdout: {}, stderr: {}", show_size(stdout), show_size(stderr)));
    }
    parts.extend(report.reason.as_deref().map(|reason| displayable(reason.as_bytes())));
    parts.join("  ").trim_end().to_owned()
}

/// The exit code that tells a state.
pub fn exit_code(report: &StatusReport) -> u8 {
    match report.state {
        State::NotStarted => exit::NOT_STARTED,
        State::Running => exit::RUNNING,
        // ToMaTo's modules keep no exit code: done is all that can be told.
        State::Finished if report.exit_code.unwrap_or(0) == 0 && report.signal.is_none() && !report.timed_out => {
            exit::SUCCESS
        }
        State::Finished => exit::SCRIPT_FAILED,
        State::MonitorStopped => exit::MONITOR_STOPPED,
        State::GuestRebooted => exit::GUEST_REBOOTED,
        State::Unreadable => exit::UNREADABLE,
    }
}
