//! What was measured, as tables for people.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::Result;
use super::machine::Machine;

/// Between these, a document holds the tables.
const BEGIN: &str = "<!-- measured: make bench -->";
const END: &str = "<!-- end of what was measured -->";

/// How tables are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    Markdown,
}

pub struct Report {
    machine: Machine,
    rounds: usize,
    /// Operations beside their baselines.
    pub timings: Table<6>,
    /// Times that have no baseline in the same unit.
    pub delays: Table<4>,
    /// Sizes and counts.
    pub facts: Table<2>,
    left_out: Vec<String>,
}

impl Report {
    pub fn new(machine: Machine, rounds: usize) -> Self {
        Self {
            machine,
            rounds,
            timings: Table::new(["operation", "input", "nlXTP", "compared with", "takes", "ratio"]),
            delays: Table::new(["delay", "median", "worst", "of"]),
            facts: Table::new(["what", "value"]),
            left_out: Vec::new(),
        }
    }

    /// Notes what cannot be measured here.
    pub fn leave_out(&mut self, what: &str, why: &str) {
        eprintln!("left out: {what}: {why}");
        self.left_out.push(format!("{what}: {why}"));
    }

    pub fn print(&self, form: Form) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{}\n", self.machine);
        let _ = writeln!(
            text,
            "Medians of {} rounds. Ratio: our time through the other, below 1 is faster.\n",
            self.rounds
        );
        for table in [self.timings.print(form), self.delays.print(form), self.facts.print(form)] {
            if !table.is_empty() {
                let _ = writeln!(text, "{table}");
            }
        }
        for left_out in &self.left_out {
            let _ = match form {
                Form::Text => writeln!(text, "NOT MEASURED: {left_out}."),
                Form::Markdown => writeln!(text, "**Not measured**: {left_out}.\n"),
            };
        }
        text
    }

    /// Replaces what an earlier run has left between a document's marks.
    pub fn put_into(&self, document: &Path) -> Result {
        let text = fs::read_to_string(document)?;
        let marks = text.find(BEGIN).map(|at| at + BEGIN.len()).zip(text.find(END));
        let (begin, end) = marks.filter(|(begin, end)| begin <= end).ok_or("the document lacks the marks")?;
        let tables = self.print(Form::Markdown);
        Ok(fs::write(document, format!("{}\n\n{}\n\n{}", &text[..begin], tables.trim(), &text[end..]))?)
    }
}

/// Rows of cells under a heading.
pub struct Table<const N: usize> {
    heading: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    fn new(heading: [&'static str; N]) -> Self {
        Self { heading, rows: Vec::new() }
    }

    pub fn push(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// Nothing where there are no rows.
    fn print(&self, form: Form) -> String {
        let mut text = String::new();
        if self.rows.is_empty() {
            return text;
        }
        let heading = self.heading.map(String::from);
        let all = || std::iter::once(&heading).chain(&self.rows);
        let widths: [usize; N] =
            std::array::from_fn(|column| all().map(|row| row[column].chars().count()).max().unwrap_or(0));
        let numeric: [bool; N] = std::array::from_fn(|column| {
            self.rows.iter().all(|row| row[column].starts_with(|first: char| first == '-' || first.is_ascii_digit()))
                && !matches!(self.heading[column], "input")
        });
        let mut line = |cells: [String; N]| {
            let joined = match form {
                Form::Text => cells.join("  "),
                Form::Markdown => format!("| {} |", cells.join(" | ")),
            };
            let _ = writeln!(text, "{}", joined.trim_end());
        };
        for (index, row) in all().enumerate() {
            line(std::array::from_fn(|column| {
                let (cell, width) = (&row[column], widths[column]);
                if numeric[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            }));
            if index == 0 {
                line(std::array::from_fn(|column| {
                    let (width, numeric) = (widths[column], numeric[column]);
                    match form {
                        Form::Text => "-".repeat(width),
                        Form::Markdown if numeric => format!("{}:", "-".repeat(width.max(4) - 1)),
                        Form::Markdown => "-".repeat(width.max(3)),
                    }
                }));
            }
        }
        text
    }
}

/// A time in the unit that suits it.
pub fn time(time: Duration) -> String {
    let microseconds = time.as_secs_f64() * 1e6;
    match microseconds {
        ..100.0 => format!("{microseconds:.1} µs"),
        ..1000.0 => format!("{microseconds:.0} µs"),
        ..100_000.0 => format!("{:.1} ms", microseconds / 1e3),
        _ => format!("{:.0} ms", microseconds / 1e3),
    }
}
