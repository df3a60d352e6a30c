//! What stands in the shared directory, and the claim on a run.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rextfv_core::ids::{ID_DIGITS, RunId};
use rextfv_core::layout::{RUN_ID, STAGED_CONTENT, STATUS_DIRECTORY, choose_start_script, is_start_script};

use crate::directory::{Directory, same_file};
use crate::error::{Doing, Error};

/// What a look at the shared directory found. Monitor and daemon both decide by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// `exec_status` is there: the run was taken up, now or earlier.
    Claimed,
    /// An upload is being put in its place, or was cut off while it was.
    Uploading,
    /// There is no start script.
    Empty,
    /// There is a start script that nobody has taken up.
    New {
        /// Its name.
        script: OsString,
        /// The upload's id; without one, nobody tells when the upload is complete.
        run: Option<RunId>,
    },
}

/// Looks at the shared directory.
///
/// # Errors
/// The system's.
pub fn look(shared: &Directory) -> io::Result<Sight> {
    // In this order the usual case, a run taken up long ago, costs one system call.
    if shared.look(STATUS_DIRECTORY)?.is_some() {
        return Ok(Sight::Claimed);
    }
    for staged in STAGED_CONTENT {
        if shared.look(staged)?.is_some() {
            return Ok(Sight::Uploading);
        }
    }
    let mut names = shared.names()?;
    // A link that leads nowhere cannot be started, which whoever has uploaded it is to hear.
    names.retain(|name| is_start_script(name.as_bytes()) && shared.holds_file_or_lost_link(name));
    let Some(script) = choose_start_script(names.iter().map(|name| name.as_bytes())) else {
        return Ok(Sight::Empty);
    };
    Ok(Sight::New { script: OsString::from_vec(script.to_vec()), run: read_run_id(shared) })
}

/// The upload's id, if the host has left one that can be read.
pub fn read_run_id(shared: &Directory) -> Option<RunId> {
    let file: File = shared.read_file(RUN_ID).ok()??;
    let mut text = String::new();
    file.take(ID_DIGITS as u64 + 2).read_to_string(&mut text).ok()?;
    text.trim_ascii_end().parse().ok()
}

/// A run that is ours alone.
#[derive(Debug)]
pub struct Claim {
    /// The shared directory.
    pub shared: Directory,
    /// `exec_status`, as we have made it.
    pub status: Directory,
    /// The start script's name.
    pub script: OsString,
    /// The upload's id.
    pub run: Option<RunId>,
}

impl Claim {
    /// Whether what stands in the shared directory is still what was claimed. An upload that has
    /// replaced it meanwhile has brought another script under the same path, and that one is not
    /// ours to start.
    pub fn still_holds(&self) -> bool {
        still_holds(&self.shared, &self.status, self.run)
    }

    /// Whether an upload has come since. A script that was started may have removed `exec_status` already,
    /// so that tells of an upload only where there is no run id that does.
    pub fn is_superseded(&self) -> bool {
        match self.run {
            Some(_) => !is_upload(&self.shared, self.run),
            None => !self.still_holds(),
        }
    }
}

/// Whether the shared directory still holds the run that has this `exec_status` and this id.
pub fn still_holds(shared: &Directory, status: &Directory, run: Option<RunId>) -> bool {
    let (Ok(Some(there)), Ok(ours)) = (shared.look(STATUS_DIRECTORY), status.stat()) else {
        return false;
    };
    same_file(&there, &ours) && is_upload(shared, run)
}

/// Whether the shared directory holds the upload with this id, and no other is being put in its place.
fn is_upload(shared: &Directory, run: Option<RunId>) -> bool {
    !STAGED_CONTENT.iter().any(|staged| shared.holds(staged)) && read_run_id(shared) == run
}

/// What came of trying to claim the run.
#[derive(Debug)]
pub enum Claiming {
    /// It is ours.
    Ours(Claim),
    /// There is nothing to run; the text says why.
    Nothing(String),
}

/// Claims the run that waits in the shared directory, if one does: whoever makes `exec_status` has
/// it, so that no start script is ever started twice.
///
/// # Errors
/// The directory could not be read or written.
pub fn claim(path: &Path) -> Result<Claiming, Error> {
    let shown = path.display();
    let shared = Directory::open(path).doing(|| format!("open the shared directory {shown}"))?;
    let nothing = |why: &str| Ok(Claiming::Nothing(format!("nothing to run in {shown}: {why}")));
    let taken = "exec_status is there, so the start script was started before";
    let uploading = "an upload is under way or was cut off (.nlxtp_upload holds its content)";
    let script = match look(&shared).doing(|| format!("read the shared directory {shown}"))? {
        Sight::Claimed => return nothing(taken),
        Sight::Uploading => return nothing(uploading),
        Sight::Empty => return nothing("there is no start script (auto_exec.sh)"),
        Sight::New { script, .. } => script,
    };
    match shared.create_directory(STATUS_DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return nothing(taken),
        made => made.doing(|| format!("make {shown}/{STATUS_DIRECTORY}"))?,
    }
    let status = shared.open_beneath(STATUS_DIRECTORY).doing(|| format!("open {shown}/{STATUS_DIRECTORY}"))?;
    // An upload may have begun between the look and the claim; its content is not to be run yet.
    if STAGED_CONTENT.iter().any(|staged| shared.holds(staged)) {
        match shared.remove_directory(STATUS_DIRECTORY) {
            // The host has cleared it away with the old content.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.doing(|| "give back the claim on an upload under way")?,
        }
        return nothing(uploading);
    }
    let run = read_run_id(&shared);
    Ok(Claiming::Ours(Claim { shared, status, script, run }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn each_sight_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let shared = Directory::open(dir.path()).unwrap();
        let at = |name: &str| dir.path().join(name);
        assert_eq!(look(&shared).unwrap(), Sight::Empty);

        fs::create_dir(at("auto_exec.d")).unwrap();
        symlink("auto_exec.d", at("auto_exec.sh")).unwrap();
        assert_eq!(look(&shared).unwrap(), Sight::Empty, "directories are no start scripts");
        for target in ["nowhere", "auto_exec.sh"] {
            fs::remove_file(at("auto_exec.sh")).unwrap();
            symlink(target, at("auto_exec.sh")).unwrap();
            assert_eq!(look(&shared).unwrap(), Sight::New { script: "auto_exec.sh".into(), run: None });
        }
        fs::remove_file(at("auto_exec.sh")).unwrap();

        fs::write(at("auto_exec.py"), "").unwrap();
        assert_eq!(look(&shared).unwrap(), Sight::New { script: "auto_exec.py".into(), run: None });

        fs::write(at("nlxtp_run_id"), "00112233445566778899aabbccddeeff\n").unwrap();
        let run = "00112233445566778899aabbccddeeff".parse().ok();
        assert_eq!(look(&shared).unwrap(), Sight::New { script: "auto_exec.py".into(), run });

        fs::create_dir_all(at(".nlxtp_upload/new")).unwrap();
        assert!(matches!(look(&shared).unwrap(), Sight::New { .. }), "the old content still counts");
        for staged in ["commit", "ready"] {
            fs::rename(at(".nlxtp_upload/new"), at(".nlxtp_upload").join(staged)).unwrap();
            assert_eq!(look(&shared).unwrap(), Sight::Uploading);
            fs::rename(at(".nlxtp_upload").join(staged), at(".nlxtp_upload/new")).unwrap();
        }
        fs::rename(at(".nlxtp_upload/new"), at(".nlxtp_upload/commit")).unwrap();

        fs::create_dir(at("exec_status")).unwrap();
        assert_eq!(look(&shared).unwrap(), Sight::Claimed);
    }

    #[test]
    fn a_run_is_claimed_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("auto_exec.sh"), "").unwrap();
        assert!(matches!(claim(dir.path()).unwrap(), Claiming::Ours(_)));
        assert!(matches!(claim(dir.path()).unwrap(), Claiming::Nothing(_)));
    }

    #[test]
    fn a_claim_ends_when_the_content_is_replaced() {
        type Replace = fn(&Path);
        // What is done, whether the claim still holds, and whether an upload is seen in it, without and with a run id.
        let replacements: [(&str, bool, [bool; 2], Replace); 5] = [
            ("nothing", true, [false, false], |_| {}),
            ("an upload is put in its place", false, [true, true], |dir| {
                fs::create_dir_all(dir.join(".nlxtp_upload/commit")).unwrap();
            }),
            ("another upload has come", false, [true, true], |dir| {
                fs::write(dir.join("nlxtp_run_id"), "0".repeat(32)).unwrap();
            }),
            ("somebody else has claimed that", false, [true, false], |dir| {
                fs::rename(dir.join("exec_status"), dir.join("old")).unwrap();
                fs::create_dir(dir.join("exec_status")).unwrap();
            }),
            ("the script has removed its status", false, [true, false], |dir| {
                fs::remove_dir(dir.join("exec_status")).unwrap();
            }),
        ];
        for (what, holds, superseded, replace) in replacements {
            for (superseded, has_id) in superseded.into_iter().zip([false, true]) {
                let dir = tempfile::tempdir().unwrap();
                fs::write(dir.path().join("auto_exec.sh"), "").unwrap();
                if has_id {
                    fs::write(dir.path().join("nlxtp_run_id"), "1".repeat(32)).unwrap();
                }
                let Claiming::Ours(claim) = claim(dir.path()).unwrap() else { panic!("nobody else is here") };
                replace(dir.path());
                assert_eq!((claim.still_holds(), claim.is_superseded()), (holds, superseded), "{what}, {has_id}");
            }
        }
    }

    #[test]
    fn other_content_of_the_run_id_is_no_id() {
        let dir = tempfile::tempdir().unwrap();
        let shared = Directory::open(dir.path()).unwrap();
        for text in [&b""[..], b"xyz\n", b"00112233445566778899aabbccddeeff00\n", b"\xff\xff"] {
            fs::write(dir.path().join("nlxtp_run_id"), text).unwrap();
            assert_eq!(read_run_id(&shared), None);
        }
    }
}
