//! How to do again what a journal says.

#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rextfv_core::ids::RunId;

use super::record::{Download, End, Event, Record, Upload};
use crate::error::{Error, ErrorKind, Result};

/// All that is to be done, in order.
#[derive(Debug)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// The nodes, in the order in which they first had an upload.
    pub nodes: Vec<String>,
    /// How many lines are left out because the upload of their run is not in the journal, or because
    /// they are downloads before the run's last one, or before its end.
    pub left_out: u64,
}

/// One step.
#[derive(Debug)]
pub struct Step {
    /// The line that says so.
    pub line: u64,
    /// The node's name in the journal.
    pub node: String,
    /// What is to be done.
    pub action: Action,
}

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Upload this archive.
    Upload(Box<Upload>),
    /// Wait until the run has started.
    AwaitStart,
    /// Wait until the run has ended, and compare how, if the journal knows.
    AwaitEnd(Option<Box<End>>),
    /// Download, and compare the results.
    Download(Box<Download>),
}

/// A run, as far as the journal knows it.
#[derive(Default)]
struct Run {
    end: Option<usize>,
    download: Option<usize>,
    has_script: bool,
}

/// Reads a journal and makes a plan of it: uploads in their order, each start and end waited for where
/// the journal has seen it, and of the downloads of a run the last.
///
/// # Errors
/// The journal cannot be read, or has a line that is damaged or not chained to the one before: nobody
/// should repeat what may never have been ([`ErrorKind::Damaged`]).
pub fn plan(journal: &Path) -> Result<Plan> {
    let mut reader = super::read(journal)?;
    let mut records = Vec::new();
    while let Some(line) =
        reader.next_line().map_err(|error| Error::io("read the journal", error).with_path(journal))?
    {
        let number = line.number;
        if let Some(problem) = line.problem() {
            return Err(Error::new(ErrorKind::Damaged, format!("line {number}: {problem}"))
                .with_hint("`nlxtp journal verify` tells all that is wrong")
                .with_path(journal));
        }
        records.extend(line.record.ok().map(|record| (number, record)));
    }
    Ok(make(records))
}

fn make(records: Vec<(u64, Record)>) -> Plan {
    let key = |record: &Record| Some((record.node.clone(), record.run?));
    let mut runs: HashMap<(String, RunId), Run> = HashMap::new();
    for (at, (_, record)) in records.iter().enumerate() {
        let Some(key) = key(record) else { continue };
        match &record.event {
            Event::Upload(upload) => runs.entry(key).or_default().has_script = upload.start_script.is_some(),
            Event::End(_) => runs.entry(key).or_default().end = Some(at),
            Event::Download(_) => runs.entry(key).or_default().download = Some(at),
            Event::Start => {}
        }
    }
    let mut plan = Plan { steps: Vec::new(), nodes: Vec::new(), left_out: 0 };
    let mut begun = HashSet::new();
    for (at, (line, record)) in records.into_iter().enumerate() {
        let key = key(&record);
        let run = key.as_ref().and_then(|key| runs.get(key));
        let is_begun = key.as_ref().is_some_and(|key| begun.contains(key));
        let node = record.node;
        let mut push = |action| plan.steps.push(Step { line, node: node.clone(), action });
        match record.event {
            Event::Upload(upload) => {
                push(Action::Upload(Box::new(upload)));
                begun.extend(key);
                if !plan.nodes.contains(&node) {
                    plan.nodes.push(node);
                }
            }
            Event::Start if is_begun => push(Action::AwaitStart),
            Event::End(end) if is_begun => {
                // A run that was taken for stopped may have gone on.
                if run.is_some_and(|run| run.end == Some(at)) {
                    push(Action::AwaitEnd(Some(Box::new(end))));
                }
            }
            Event::Download(download) if is_begun && run.is_some_and(|run| run.download == Some(at)) => {
                match run.and_then(|run| run.end) {
                    // It was taken while the run was under way: nobody can tell how far.
                    Some(end) if end > at => plan.left_out += 1,
                    None if run.is_some_and(|run| run.has_script) => {
                        push(Action::AwaitEnd(None));
                        push(Action::Download(Box::new(download)));
                    }
                    _ => push(Action::Download(Box::new(download))),
                }
            }
            Event::Start | Event::End(_) | Event::Download(_) => plan.left_out += 1,
        }
    }
    plan
}
