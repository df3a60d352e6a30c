//! How far an operation is, shown on a terminal and nowhere else.

use std::cell::Cell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use nlxtp_host::control::{Control, Progress};

/// A line on the terminal that is gone when the operation is over.
pub struct Meter {
    bar: ProgressBar,
    phase: Cell<&'static str>,
}

impl Meter {
    /// A line that shows nothing yet; hidden unless standard error is a terminal.
    pub fn new() -> Self {
        Self { bar: ProgressBar::new_spinner(), phase: Cell::new("") }
    }

    /// The same control, with its progress shown.
    pub fn watch<'a>(&'a self, control: Control<'a>) -> Control<'a> {
        control.with_progress(|progress| self.show(progress))
    }

    /// Shows a text with a sign of life.
    pub fn say(&self, text: String) {
        if self.phase.replace("say") != "say" {
            self.bar.set_style(style("{spinner} {msg}"));
            self.bar.enable_steady_tick(Duration::from_millis(200));
        }
        self.bar.set_message(text);
    }

    /// Does something that prints, with the line out of the way.
    pub fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    fn show(&self, progress: Progress) {
        match progress {
            Progress::Examining { done, total } => self.bytes("checking", done, Some(total)),
            Progress::Extracting { done, total } => self.bytes("writing", done, Some(total)),
            Progress::Packing { done, total } => self.bytes("packing", done, total),
            Progress::Downloading { done, total } => self.bytes("fetching", done, Some(total)),
            Progress::Flushing => self.say("flushing".into()),
            // A phase of a later library.
            _ => {}
        }
    }

    fn bytes(&self, phase: &'static str, done: u64, total: Option<u64>) {
        if self.phase.replace(phase) != phase {
            let template = match total {
                Some(_) => "{msg:8} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
                None => "{msg:8} {bytes} {bytes_per_sec} {elapsed}",
            };
            self.bar.set_style(style(template));
            self.bar.set_message(phase);
            self.bar.reset();
        }
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
