//! Removing what is not to be kept when a run has ended.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rextfv_core::layout::{MANIFEST, RUN_ID, STAGING_DIRECTORY, STATUS_DIRECTORY, is_start_script};
use rextfv_core::run_manifest::{Cover, Pattern, RunManifest};
use rextfv_core::status::{Ending, RunState};

use crate::directory::{Directory, is_directory};

/// Deeper directories are left alone.
const MAX_DEPTH: usize = 128;

/// Removes what the manifest does not keep, and after success what it deletes. Names of the protocol, the
/// manifest and start scripts stay. Doing it twice does no harm. Returns what could not be removed, in words.
///
/// `may_go_on` is asked before each entry at the top: what an upload has brought meanwhile is not ours to
/// remove. `beat` is called before every entry, since it may be long until all are gone.
pub fn tidy(
    shared: &Directory,
    manifest: &RunManifest,
    success: bool,
    may_go_on: &dyn Fn() -> bool,
    beat: &mut dyn FnMut(),
) -> Vec<String> {
    let mut tidying = Tidying { manifest, success, may_go_on, beat, problems: Vec::new() };
    let device = match shared.stat() {
        Ok(stat) => stat.st_dev,
        Err(error) => return vec![format!("cannot look at the shared directory: {error}")],
    };
    let mut path = Vec::new();
    tidying.directory(shared, device, &mut path, Cover::Above);
    tidying.problems
}

/// Whether a run that ended like this was a success.
pub fn is_success(state: RunState, ended: Option<Ending>) -> bool {
    state == RunState::Finished && ended == Some(Ending::Exit(0))
}

struct Tidying<'a> {
    manifest: &'a RunManifest,
    success: bool,
    may_go_on: &'a dyn Fn() -> bool,
    beat: &'a mut dyn FnMut(),
    problems: Vec<String>,
}

impl Tidying<'_> {
    /// Goes through a directory; true if nothing is left in it.
    fn directory(&mut self, directory: &Directory, device: u64, path: &mut Vec<Vec<u8>>, above: Cover) -> bool {
        let names = match directory.names() {
            Ok(names) => names,
            Err(error) => {
                self.tell(path, &error);
                return false;
            }
        };
        let mut all_gone = true;
        for name in names {
            let bytes = name.as_bytes();
            let is_ours =
                [STATUS_DIRECTORY, RUN_ID, STAGING_DIRECTORY, MANIFEST].iter().any(|own| bytes == own.as_bytes());
            if path.is_empty() && (is_ours || is_start_script(bytes)) {
                all_gone = false;
                continue;
            }
            if path.is_empty() && !(self.may_go_on)() {
                return false;
            }
            (self.beat)();
            path.push(bytes.to_vec());
            all_gone &= self.entry(directory, &name, device, path, above);
            path.pop();
        }
        all_gone
    }

    /// Decides about one entry; true if it is gone. `above` is [`Cover::Whole`] where all is to go.
    fn entry(
        &mut self,
        directory: &Directory,
        name: &OsStr,
        device: u64,
        path: &mut Vec<Vec<u8>>,
        above: Cover,
    ) -> bool {
        let removal = if above == Cover::Whole { Cover::Whole } else { self.removal(path) };
        if removal == Cover::No {
            return false;
        }
        let removed = (|| -> io::Result<bool> {
            let Some(stat) = directory.look(name)? else { return Ok(true) };
            if !is_directory(&stat) {
                if removal == Cover::Whole {
                    directory.remove_file(name)?;
                }
                return Ok(removal == Cover::Whole);
            }
            if stat.st_dev != device {
                return Err(io::Error::other("another file system is mounted there"));
            }
            if path.len() >= MAX_DEPTH {
                return Err(io::Error::other("it is too deep"));
            }
            let below = directory.open_beneath(name)?;
            if self.directory(&below, device, path, removal) && removal == Cover::Whole {
                directory.remove_directory(name)?;
                return Ok(true);
            }
            Ok(false)
        })();
        removed.unwrap_or_else(|error| {
            self.tell(path, &error);
            false
        })
    }

    /// Whether a path is to go: it and all below it, only something below it, or nothing.
    fn removal(&self, path: &[Vec<u8>]) -> Cover {
        let path: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
        let deleted = match self.success {
            true => Pattern::cover_of(&self.manifest.delete, &path),
            false => Cover::No,
        };
        if self.manifest.keep.is_empty() || deleted == Cover::Whole {
            return deleted;
        }
        match Pattern::cover_of(&self.manifest.keep, &path) {
            Cover::Whole => deleted,
            // Some of it may be kept, so each entry is looked at.
            Cover::Above => Cover::Above,
            Cover::No => Cover::Whole,
        }
    }

    fn tell(&mut self, path: &[Vec<u8>], error: &io::Error) {
        const MOST: usize = 20;
        if self.problems.len() < MOST {
            let path = String::from_utf8_lossy(&path.join(&b'/')).escape_debug().to_string();
            self.problems.push(format!("cannot remove \"{path}\": {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::{Claim, Claiming, claim};
    use std::fs;
    use std::path::Path;

    fn tree(dir: &Path, below: &str, into: &mut Vec<String>) {
        for entry in fs::read_dir(dir.join(below)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{below}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                tree(dir, &format!("{path}/"), into);
            }
            into.push(path);
        }
    }

    fn tidy_claimed(claim: &Claim, manifest: &RunManifest, success: bool) -> Vec<String> {
        tidy(&claim.shared, manifest, success, &|| claim.still_holds(), &mut || {})
    }

    /// What is left of a shared directory.
    fn left(manifest: &str, success: bool) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for file in ["auto_exec.sh", "nlxtp.toml", "nlxtp_run_id", "a.log", "input/big", "results/x/y", "results/big"] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join("link")).unwrap();
        fs::write(dir.path().join("elsewhere/kept"), "").unwrap();
        let Claiming::Ours(claim) = claim(dir.path()).unwrap() else { panic!("nobody else is here") };
        let manifest = RunManifest::parse(manifest.as_bytes()).unwrap();
        assert_eq!(tidy_claimed(&claim, &manifest, success), Vec::<String>::new());
        let mut found = Vec::new();
        tree(dir.path(), "", &mut found);
        found.retain(|path| !path.starts_with("auto_exec") && !path.starts_with("nlxtp") && path != "exec_status");
        found.sort_unstable();
        found
    }

    #[test]
    fn what_is_kept_stays_and_what_is_deleted_goes() {
        assert_eq!(
            left("keep = ['results', '*.log']", false),
            ["a.log", "results", "results/big", "results/x", "results/x/y"]
        );
        assert_eq!(left("keep = ['results/x']", true), ["results", "results/x", "results/x/y"]);
        assert_eq!(left("keep = ['results']\ndelete = ['results/big']", true), ["results", "results/x", "results/x/y"]);
        assert_eq!(left("keep = ['results']\ndelete = ['results/big']", false).len(), 4);
        assert_eq!(left("delete = ['input', 'link', 'auto_exec.sh', 'nothing']", true).len(), 7, "the link alone goes");
        assert_eq!(left("delete = ['*/big']", true).len(), 8);
        assert_eq!(left("delete = ['*']", true), Vec::<String>::new());
        assert_eq!(left("", true).len(), 10);
    }

    #[test]
    fn what_an_upload_has_brought_meanwhile_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("auto_exec.sh"), "").unwrap();
        let Claiming::Ours(claim) = claim(dir.path()).unwrap() else { panic!("nobody else is here") };
        fs::write(dir.path().join("new"), "").unwrap();
        fs::write(dir.path().join("nlxtp_run_id"), "0".repeat(32)).unwrap();
        let manifest = RunManifest::parse(b"delete = ['*']").unwrap();
        assert_eq!(tidy_claimed(&claim, &manifest, true), Vec::<String>::new());
        assert!(dir.path().join("new").exists());
    }
}
