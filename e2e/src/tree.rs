//! What is in a directory, to be compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything in a directory, by its path in there.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// One entry of a directory, with all that an upload brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    mode: u32,
    /// Seconds since 1970; of files only.
    modified: Option<i64>,
    /// A file's content, or a link's target.
    content: Vec<u8>,
}

/// Looks at everything in a directory; `wanted` chooses among its top names.
///
/// # Panics
/// If anything of it cannot be read.
#[track_caller]
pub fn tree(directory: &Path, wanted: impl Fn(&str) -> bool) -> Tree {
    let mut found = Tree::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("a name").path();
            let name = path.strip_prefix(directory).expect("beneath").to_path_buf();
            if next == directory && !name.to_str().is_some_and(&wanted) {
                continue;
            }
            let status = fs::symlink_metadata(&path).expect("it is there");
            let (modified, content) = if status.is_dir() {
                directories.push(path);
                (None, Vec::new())
            } else if status.is_symlink() {
                (None, fs::read_link(&path).expect("a link").into_os_string().into_encoded_bytes())
            } else {
                (Some(status.mtime()), fs::read(&path).expect("a file"))
            };
            found.insert(name, Entry { mode: status.mode(), modified, content });
        }
    }
    found
}

/// In what two trees differ, in few words.
pub fn difference(found: &Tree, wanted: &Tree) -> String {
    let names = |tree: &Tree, other: &Tree| {
        let names = tree.iter().filter(|(name, entry)| other.get(*name).is_none_or(|there| there != *entry));
        names.map(|(name, _)| name.display().to_string()).take(8).collect::<Vec<_>>().join(" ")
    };
    format!("wrong or superfluous: [{}]; wrong or missing: [{}]", names(found, wanted), names(wanted, found))
}
