//! Names inside the shared directory.

use alloc::vec::Vec;

use crate::entry_path::EntryPath;
use crate::fat_names;
use crate::shared_directory::Representation;

/// The directory that the monitor makes for a run. Making it is the claim: whoever makes it runs
/// the start script, and nobody else does.
pub const STATUS_DIRECTORY: &str = "exec_status";

/// The two status slots.
pub const STATUS_SLOTS: [&str; 2] = ["exec_status/status.0", "exec_status/status.1"];

/// The script's standard output.
pub const STDOUT: &str = "exec_status/stdout";

/// The script's error output.
pub const STDERR: &str = "exec_status/stderr";

/// The Custom Status as the script writes it; the monitor takes it from here into the status.
pub const CUSTOM: &str = "exec_status/custom";

/// The progress as the script writes it, `3/10` and a newline; the monitor takes it from here into the
/// status.
pub const PROGRESS: &str = "exec_status/progress";

/// The digests of what the shared directory holds when the run has ended, see [`digests`](crate::digests).
pub const DIGESTS: &str = "exec_status/digests";

/// The same while they are being written; it is then renamed.
pub const DIGESTS_PART: &str = "exec_status/digests.part";

/// The run id that the host writes with each upload: 32 hexadecimal digits and a newline.
pub const RUN_ID: &str = "nlxtp_run_id";

/// What an archive asks for its run, see [`run_manifest`](crate::run_manifest).
pub const MANIFEST: &str = "nlxtp.toml";

/// Where a host stages an upload to a directory.
pub const STAGING_DIRECTORY: &str = ".nlxtp_upload";

/// While one of these is there, an upload is being put in its place, and no start script may be
/// started.
pub const STAGED_CONTENT: [&str; 2] = [".nlxtp_upload/commit", ".nlxtp_upload/ready"];

/// The start script that is preferred among several.
pub const START_SCRIPT: &str = "auto_exec.sh";

/// What the name of any start script begins with.
pub const START_SCRIPT_PREFIX: &str = "auto_exec.";

/// The volume label of a disk made for nlXTP.
pub const VOLUME_LABEL: &str = "NLXTP";

/// Whether a name at the top of the shared directory belongs to the protocol. An archive's
/// entries of these names are left out of an upload: they are what an earlier download holds.
/// Compared as FAT compares names, which does not tell case apart.
pub fn is_reserved(path: &EntryPath) -> bool {
    let top = path.components().next().and_then(|top| str::from_utf8(top).ok());
    top.is_some_and(|top| {
        [STATUS_DIRECTORY, RUN_ID, STAGING_DIRECTORY].into_iter().any(|name| fat_names::are_one(top, name))
    })
}

/// Whether a path is [`STAGING_DIRECTORY`] or lies in it, as the storage compares names: what belongs to
/// an upload that is under way or was cut off, and what it has replaced. No walk shows it.
pub fn is_staged(path: &[u8], representation: Representation) -> bool {
    let top = path.split(|&byte| byte == b'/').next().unwrap_or_default();
    match representation {
        Representation::Posix => top == STAGING_DIRECTORY.as_bytes(),
        Representation::Fat => str::from_utf8(top).is_ok_and(|top| fat_names::are_one(top, STAGING_DIRECTORY)),
    }
}

/// Whether a name at the top of the shared directory is a start script's.
pub fn is_start_script(name: &[u8]) -> bool {
    name.strip_prefix(START_SCRIPT_PREFIX.as_bytes()).is_some_and(|rest| !rest.is_empty())
}

/// The start script among the names at the top of the shared directory: [`START_SCRIPT`] if it is
/// there, else the first in byte order.
pub fn choose_start_script<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let mut found: Vec<&[u8]> = names.into_iter().filter(|name| is_start_script(name)).collect();
    found.sort_unstable_by_key(|name| (*name != START_SCRIPT.as_bytes(), *name));
    found.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_script_is_preferred() {
        let names = [&b"auto_exec.py"[..], b"auto_exec.sh", b"auto_exec.", b"readme"];
        assert_eq!(choose_start_script(names), Some(&b"auto_exec.sh"[..]));
        assert_eq!(choose_start_script([&b"auto_exec.py"[..], b"auto_exec.bin"]), Some(&b"auto_exec.bin"[..]));
        assert_eq!(choose_start_script([&b"auto_exec"[..], b"xauto_exec.sh"]), None);
    }

    #[test]
    fn what_is_staged_is_found_as_the_storage_compares() {
        for (path, posix, fat) in [
            (".nlxtp_upload", true, true),
            (".nlxtp_upload/new/a", true, true),
            (".NLXTP_Upload/old", false, true),
            (".nlxtp_uploads", false, false),
            ("sub/.nlxtp_upload", false, false),
            ("", false, false),
        ] {
            let staged = [Representation::Posix, Representation::Fat].map(|kind| is_staged(path.as_bytes(), kind));
            assert_eq!(staged, [posix, fat], "{path}");
        }
    }

    #[test]
    fn reserved_names_are_found_without_case() {
        for (path, reserved) in [
            ("exec_status/out", true),
            ("EXEC_STATUS", true),
            // Small letters whose capitals are S and I.
            ("exec_\u{17f}tatus/done", true),
            ("nlxtp_run_\u{131}d", true),
            ("nlxtp_run_id", true),
            ("sub/exec_status", false),
            ("a", false),
        ] {
            assert_eq!(is_reserved(&EntryPath::parse(path.as_bytes()).unwrap()), reserved, "{path}");
        }
    }
}
