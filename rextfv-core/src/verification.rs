//! Whether what a download took home is what the guest wrote: its files, compared with the
//! [digests] that the guest wrote down before it said Done.

use alloc::collections::BTreeMap;
use alloc::string::String;

use crate::digests::{self, Sha256Digest};
use crate::entry_path::{EntryPath, displayable};
use crate::listing::Listing;

/// What came of comparing a download with the guest's digests.
///
/// It tells damage and late changes, not lies: who can write results can write digests that fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "outcome", rename_all = "kebab-case"))]
pub enum Verification {
    /// The archive holds exactly the files that the guest wrote down, with the contents that they had.
    Verified {
        /// How many files that are.
        files: u64,
    },
    /// It does not.
    Differs(Differences),
    /// The guest has written no digests, or its run is not done, so that they do not count yet.
    #[default]
    NoDigests,
    /// What is in the place of the guest's digests cannot be used.
    Unusable {
        /// Why not, in words.
        reason: String,
    },
}

/// A word for what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Outcome {
    /// See [`Verification::Verified`].
    Verified,
    /// See [`Verification::Differs`].
    Differs,
    /// See [`Verification::NoDigests`].
    NoDigests,
    /// See [`Verification::Unusable`].
    Unusable,
}

/// Where a download differs from the guest's digests: paths, escaped for showing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Differences {
    /// Files whose content in the archive is another one.
    pub content: Listing<String>,
    /// Files that the guest wrote down and the archive lacks.
    pub missing: Listing<String>,
    /// Files in the archive that the guest did not write down.
    pub unlisted: Listing<String>,
}

impl Verification {
    /// What came of it, without the particulars.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Verified { .. } => Outcome::Verified,
            Self::Differs(_) => Outcome::Differs,
            Self::NoDigests => Outcome::NoDigests,
            Self::Unusable { .. } => Outcome::Unusable,
        }
    }
}

impl Outcome {
    /// The word that users see.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Differs => "differs",
            Self::NoDigests => "no-digests",
            Self::Unusable => "unusable",
        }
    }

    /// Whether there is something wrong with the download, or may be.
    pub const fn is_suspicious(self) -> bool {
        matches!(self, Self::Differs | Self::Unusable)
    }
}

impl Differences {
    /// How many files differ.
    pub fn count(&self) -> u64 {
        self.content.count() + self.missing.count() + self.unlisted.count()
    }
}

/// Compares the files of a download, one after the other, with the guest's digests.
#[derive(Debug)]
pub struct Comparison {
    /// Of the files that have not come yet.
    expected: BTreeMap<EntryPath, Sha256Digest>,
    same: u64,
    differences: Differences,
}

impl Comparison {
    /// Begins with what the guest wrote down. Files that [go on changing](digests::is_left_out) are not
    /// compared, even where it wrote them down.
    pub fn new(mut digests: BTreeMap<EntryPath, Sha256Digest>) -> Self {
        digests.retain(|path, _| !digests::is_left_out(path.as_bytes()));
        Self { expected: digests, same: 0, differences: Differences::default() }
    }

    /// A regular file of the archive, and the digest of its content there.
    pub fn file(&mut self, path: &EntryPath, digest: &Sha256Digest) {
        if digests::is_left_out(path.as_bytes()) {
            return;
        }
        match self.expected.remove(path) {
            Some(expected) if expected == *digest => self.same += 1,
            Some(_) => self.differences.content.push(displayable(path.as_bytes())),
            None => self.differences.unlisted.push(displayable(path.as_bytes())),
        }
    }

    /// There are no more files.
    pub fn finish(mut self) -> Verification {
        self.expected.keys().for_each(|path| self.differences.missing.push(displayable(path.as_bytes())));
        if self.differences.count() > 0 {
            return Verification::Differs(self.differences);
        }
        Verification::Verified { files: self.same }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    const NOTED: [(&str, u8); 5] =
        [("a", 1), ("d/x\n", 2), ("exec_status/done", 3), ("exec_status/stdout", 4), ("nlxtp_run_id", 5)];

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text.as_bytes()).unwrap()
    }

    /// What comes of these files, where the guest wrote down [`NOTED`].
    fn compared(files: &[(&str, u8)]) -> Verification {
        let mut comparison = Comparison::new(NOTED.iter().map(|&(name, byte)| (path(name), [byte; 32])).collect());
        files.iter().for_each(|&(name, byte)| comparison.file(&path(name), &[byte; 32]));
        comparison.finish()
    }

    #[test]
    fn what_goes_on_changing_is_not_compared() {
        let stable = [NOTED[0], NOTED[1], NOTED[3], NOTED[4]];
        assert_eq!(compared(&stable), Verification::Verified { files: 4 });
        let changing = [("exec_status/status.0", 9), ("EXEC_STATUS/STATUS.1", 9), ("exec_status/digests", 9)];
        assert_eq!(compared(&[&stable[..], &changing].concat()), Verification::Verified { files: 4 });
        assert_eq!(Comparison::new(BTreeMap::new()).finish(), Verification::Verified { files: 0 });
    }

    #[test]
    fn each_difference_is_told_with_its_kind() {
        let verification = compared(&[("A", 1), NOTED[1], ("exec_status/stdout", 9), ("d/new\u{1b}", 2)]);
        let Verification::Differs(differences) = verification else { panic!("{verification:?}") };
        assert_eq!(differences.content.listed, ["exec_status/stdout"]);
        assert_eq!(differences.missing.listed, ["a", "nlxtp_run_id"]);
        assert_eq!(differences.unlisted.listed, ["A", r"d/new\u{1b}"]);
        assert_eq!(differences.count(), 5);
    }

    #[test]
    fn as_many_are_told_as_there_is_room_for() {
        let names: Vec<_> = (0..1500).map(|number| format!("new/{number}")).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let verification = compared(&files);
        assert_eq!(verification.outcome(), Outcome::Differs);
        let Verification::Differs(differences) = verification else { panic!("{verification:?}") };
        assert_eq!((differences.unlisted.listed.len(), differences.unlisted.omitted), (1000, 500));
        assert_eq!(differences.count(), 1504);
    }
}
