//! The Custom Status: how the script sets it and how the monitor takes it in.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rextfv_core::layout;
use rextfv_core::status::MAX_CUSTOM_BYTES;

use crate::claim::read_run_id;
use crate::directory::{Directory, base_name};
use crate::error::{Doing, Error};

/// Environment variable that tells a start script's own calls which run they belong to.
pub const RUN_VARIABLE: &str = "nlxtp_run";

/// Sets the Custom Status of the run in the shared directory. Whoever reads it meanwhile reads the
/// old one or the new one.
///
/// # Errors
/// It is longer than 1 MiB, there is no run, or the system refuses.
pub fn set(shared: &Path, text: &[u8], caller_run: Option<&str>) -> Result<(), Error> {
    if text.len() > MAX_CUSTOM_BYTES {
        let message = format!("the custom status is longer than the {MAX_CUSTOM_BYTES} bytes (1 MiB) that are allowed");
        return Err(Error::Refused(message));
    }
    let shown = shared.display();
    let directory = Directory::open(shared).doing(|| format!("open the shared directory {shown}"))?;
    // A script may outlive its run: its status must not become that of the next upload.
    let run = read_run_id(&directory).map(|run| run.to_string()).unwrap_or_default();
    if caller_run.is_some_and(|caller| caller != run) {
        return Err(Error::Refused(format!("the run that this script belongs to is no longer the one in {shown}")));
    }
    let status = directory
        .open_beneath(layout::STATUS_DIRECTORY)
        .doing(|| format!("open {shown}/{} (has a run been started?)", layout::STATUS_DIRECTORY))?;
    let temporary = format!("custom.new.{}", std::process::id());
    let write = || -> io::Result<()> {
        status.remove_file(&temporary)?;
        status.create_file(&temporary)?.write_all(text)?;
        status.rename(&temporary, base_name(layout::CUSTOM))
    };
    write()
        .inspect_err(|_| {
            let _ = status.remove_file(&temporary);
        })
        .doing(|| format!("write {shown}/{}", layout::CUSTOM))
}

/// The Custom Status as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Custom {
    /// At most [`MAX_CUSTOM_BYTES`] of it; `None` where there is no such file.
    pub text: Option<Vec<u8>>,
    /// It is longer.
    pub cut: bool,
}

/// Reads the Custom Status.
///
/// # Errors
/// The system's.
pub fn read(status: &Directory) -> io::Result<Custom> {
    let Some(file) = status.read_file(base_name(layout::CUSTOM))? else { return Ok(Custom::default()) };
    let mut text = Vec::new();
    file.take(MAX_CUSTOM_BYTES as u64 + 1).read_to_end(&mut text)?;
    let cut = text.len() > MAX_CUSTOM_BYTES;
    text.truncate(MAX_CUSTOM_BYTES);
    Ok(Custom { text: Some(text), cut })
}

/// Tells when the Custom Status may have changed.
pub struct Watch(Inotify);

impl Watch {
    /// Watches `exec_status`, which is the present working directory.
    ///
    /// # Errors
    /// The system's, for example if the user has no watches left.
    pub fn on_working_directory() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(".", AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO)?;
        Ok(Self(inotify))
    }

    /// Whether the Custom Status may have changed since the last call.
    pub fn changed(&self) -> bool {
        let mut changed = false;
        while let Ok(events) = self.0.read_events() {
            changed |= events.iter().any(|event| {
                event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)
                    || event.name.as_ref().is_some_and(|name| name == base_name(layout::CUSTOM))
            });
        }
        changed
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_set_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(set(dir.path(), b"x", None).is_err(), "no run, no status");
        fs::create_dir(dir.path().join("exec_status")).unwrap();
        let status = Directory::open(&dir.path().join("exec_status")).unwrap();
        assert_eq!(read(&status).unwrap(), Custom::default());
        for text in [&b"one"[..], b"", b"\xff\0\n"] {
            set(dir.path(), text, None).unwrap();
            assert_eq!(read(&status).unwrap(), Custom { text: Some(text.to_vec()), cut: false });
        }
        assert_eq!(status.names().unwrap(), ["custom"], "no temporary file is left");
    }

    #[test]
    fn the_limit_is_exact() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("exec_status")).unwrap();
        let status = Directory::open(&dir.path().join("exec_status")).unwrap();
        let mut text = vec![b'x'; MAX_CUSTOM_BYTES];
        set(dir.path(), &text, None).unwrap();
        assert_eq!(read(&status).unwrap(), Custom { text: Some(text.clone()), cut: false });
        text.push(b'x');
        assert!(set(dir.path(), &text, None).unwrap_err().to_string().contains("1048576 bytes"));
        fs::write(dir.path().join("exec_status/custom"), &text).unwrap();
        text.pop();
        assert_eq!(read(&status).unwrap(), Custom { text: Some(text), cut: true });
    }

    #[test]
    fn a_script_of_an_earlier_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let run = "00112233445566778899aabbccddeeff";
        fs::create_dir(dir.path().join("exec_status")).unwrap();
        fs::write(dir.path().join("nlxtp_run_id"), format!("{run}\n")).unwrap();
        set(dir.path(), b"x", Some(run)).unwrap();
        set(dir.path(), b"x", None).unwrap();
        assert!(set(dir.path(), b"x", Some("")).is_err());
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink("secret", dir.path().join("custom")).unwrap();
        assert!(read(&Directory::open(dir.path()).unwrap()).is_err());
    }
}
