//! Comparing what a journal says with what there is.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use rextfv_core::entry_path::from_displayable;
use rextfv_core::operations::StatusReport;
use rextfv_core::verification::Outcome;
use serde::Serialize;

use super::glob::Glob;
use super::record::End;
use super::tree::{Tree, TreeEntry, TreeSummary};

/// One difference between what a journal says and what there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What of the results or of the end of a run it is about: a path, escaped, or a word.
    pub about: String,
    /// What the journal says, in words.
    pub recorded: String,
    /// What there is, in words.
    pub found: String,
}

/// How results differ from those in a journal; none where they are equal. What a pattern means is not
/// compared.
pub fn compare_results(recorded: &TreeSummary, found: &Tree, ignored: &[Glob]) -> Vec<Difference> {
    if recorded.sha256 == found.digest() {
        return Vec::new();
    }
    let is_ignored = |path: &str| {
        let path = from_displayable(path).unwrap_or_else(|| path.as_bytes().into());
        ignored.iter().any(|glob| glob.matches(&path))
    };
    let mut here: HashMap<String, TreeEntry> = found.entries().map(|entry| (entry.path.clone(), entry)).collect();
    let mut differences = Vec::new();
    for entry in &recorded.listed {
        let twin = here.remove(&entry.path);
        if twin.as_ref() != Some(entry) && !is_ignored(&entry.path) {
            let found = twin.as_ref().map_or("missing".into(), in_words);
            differences.push(Difference { about: entry.path.clone(), recorded: in_words(entry), found });
        }
    }
    if recorded.omitted > 0 {
        // Which of those that are left belong to the entries that the journal does not list?
        let last = recorded.listed.last().and_then(|entry| from_displayable(&entry.path)).unwrap_or_default();
        here.retain(|path, _| from_displayable(path).is_some_and(|path| path < last));
    }
    let mut new: Vec<TreeEntry> = here.into_values().filter(|entry| !is_ignored(&entry.path)).collect();
    new.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    differences.extend(new.into_iter().map(|entry| {
        let found = in_words(&entry);
        Difference { about: entry.path, recorded: "not there".into(), found }
    }));
    if recorded.omitted > 0 {
        differences.push(Difference {
            about: "all results together".into(),
            recorded: format!(
                "{} more entries, which the journal does not list; digest {}",
                recorded.omitted, recorded.sha256
            ),
            found: format!("digest {}", found.digest()),
        });
    }
    differences
}

/// What is wrong with a download that is made again, by the guest's digests; nothing where the one in the journal
/// had the same. A guest that writes no digests is no other guest.
pub fn compare_outcomes(recorded: Option<Outcome>, found: Outcome) -> Option<Difference> {
    (found.is_suspicious() && recorded != Some(found)).then(|| Difference {
        about: "compared with the guest's digests".into(),
        recorded: recorded.map_or("not told", Outcome::word).into(),
        found: found.word().into(),
    })
}

fn in_words(entry: &TreeEntry) -> String {
    let mut words = entry.kind.word().to_owned();
    if let Some(bytes) = entry.bytes {
        words.push_str(&format!(" of {bytes} bytes"));
    }
    if let Some(sha256) = entry.sha256 {
        words.push_str(&format!(", sha256 {sha256}"));
    }
    words
}

/// How a run ended otherwise than one in a journal.
pub fn compare_ends(recorded: &End, found: &StatusReport) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut compare = |about: &str, recorded: String, found: String| {
        if recorded != found {
            differences.push(Difference { about: about.into(), recorded, found });
        }
    };
    let number = |number: Option<u8>| number.map_or("none".into(), |number| number.to_string());
    let yes = |yes: bool| String::from(if yes { "yes" } else { "no" });
    compare("state", recorded.state.word().into(), found.state.word().into());
    compare("exit code", number(recorded.exit_code), number(found.exit_code));
    compare("signal", number(recorded.signal), number(found.signal));
    compare("ran too long", yes(recorded.timed_out), yes(found.timed_out));
    differences
}
