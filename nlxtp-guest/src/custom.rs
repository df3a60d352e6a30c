//! The Custom Status and the progress: how the script sets them and how the monitor takes them in.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rextfv_core::layout;
use rextfv_core::status::{MAX_CUSTOM_BYTES, Progress};

use crate::claim::read_run_id;
use crate::directory::{Directory, base_name};
use crate::error::{Doing, Error};

/// Environment variable that tells a start script's own calls which run they belong to.
pub const RUN_VARIABLE: &str = "nlxtp_run";

/// Longer than any progress.
const MAX_PROGRESS_BYTES: u64 = 64;

/// Sets Custom Status or progress of the run in the shared directory, or both. Whoever reads one of
/// them meanwhile reads the old one or the new one.
///
/// # Errors
/// The text is longer than 1 MiB, there is no run, or the system refuses.
pub fn set(
    shared: &Path,
    text: Option<&[u8]>,
    progress: Option<Progress>,
    caller_run: Option<&str>,
) -> Result<(), Error> {
    if text.is_some_and(|text| text.len() > MAX_CUSTOM_BYTES) {
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
    // The progress first: the monitor then takes both into one record.
    let line = progress.map(|progress| format!("{progress}\n"));
    let files = [(layout::PROGRESS, line.as_deref().map(str::as_bytes)), (layout::CUSTOM, text)];
    for (path, content) in files {
        if let Some(content) = content {
            replace(&status, base_name(path), content).doing(|| format!("write {shown}/{path}"))?;
        }
    }
    Ok(())
}

/// Writes a file under another name and renames it.
pub fn replace(status: &Directory, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.new.{}", std::process::id());
    let write = || -> io::Result<()> {
        status.remove_file(&temporary)?;
        status.create_file(&temporary)?.write_all(content)?;
        status.rename(&temporary, name)
    };
    write().inspect_err(|_| {
        let _ = status.remove_file(&temporary);
    })
}

/// The Custom Status and the progress as they stand in their files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Custom {
    /// At most [`MAX_CUSTOM_BYTES`] of the Custom Status; `None` where there is no such file.
    pub text: Option<Vec<u8>>,
    /// It is longer.
    pub cut: bool,
    /// The progress; `None` where there is no such file.
    pub progress: Option<Progress>,
}

/// Reads the Custom Status and the progress. A file that tells no progress, for example because it is
/// just being written, leaves it as it was.
///
/// # Errors
/// The system's.
pub fn read(status: &Directory, before: Option<Progress>) -> io::Result<Custom> {
    let progress = read_progress(status, before)?;
    let Some(file) = status.read_file(base_name(layout::CUSTOM))? else {
        return Ok(Custom { progress, ..Custom::default() });
    };
    let mut text = Vec::new();
    file.take(MAX_CUSTOM_BYTES as u64 + 1).read_to_end(&mut text)?;
    let cut = text.len() > MAX_CUSTOM_BYTES;
    text.truncate(MAX_CUSTOM_BYTES);
    Ok(Custom { text: Some(text), cut, progress })
}

fn read_progress(status: &Directory, before: Option<Progress>) -> io::Result<Option<Progress>> {
    let Some(file) = status.read_file(base_name(layout::PROGRESS))? else { return Ok(None) };
    let mut text = Vec::new();
    file.take(MAX_PROGRESS_BYTES).read_to_end(&mut text)?;
    let told = str::from_utf8(&text).ok().and_then(|text| text.trim_ascii().parse().ok());
    Ok(told.or(before))
}

/// Tells when the Custom Status or the progress may have changed.
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

    /// Whether one of them may have changed since the last call.
    pub fn changed(&self) -> bool {
        let mut changed = false;
        while let Ok(events) = self.0.read_events() {
            changed |= events.iter().any(|event| {
                let names = [layout::CUSTOM, layout::PROGRESS].map(base_name);
                event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)
                    || event.name.as_ref().is_some_and(|name| names.iter().any(|ours| name == ours))
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
        assert!(set(dir.path(), Some(b"x"), None, None).is_err(), "no run, no status");
        fs::create_dir(dir.path().join("exec_status")).unwrap();
        let status = Directory::open(&dir.path().join("exec_status")).unwrap();
        assert_eq!(read(&status, None).unwrap(), Custom::default());
        for text in [&b"one"[..], b"", b"\xff\0\n"] {
            set(dir.path(), Some(text), None, None).unwrap();
            assert_eq!(read(&status, None).unwrap(), Custom { text: Some(text.to_vec()), cut: false, progress: None });
        }
        assert_eq!(status.names().unwrap(), ["custom"], "no temporary file is left");
    }

    #[test]
    fn progress_is_taken_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("exec_status")).unwrap();
        let status = Directory::open(&dir.path().join("exec_status")).unwrap();
        let file = dir.path().join("exec_status/progress");
        let third = Progress::new(1, 3);
        set(dir.path(), None, third, None).unwrap();
        assert_eq!(read(&status, None).unwrap(), Custom { text: None, cut: false, progress: third });
        set(dir.path(), Some(b"more"), Progress::new(2, 3), None).unwrap();
        let both = Custom { text: Some(b"more".to_vec()), cut: false, progress: Progress::new(2, 3) };
        assert_eq!(read(&status, None).unwrap(), both);
        for (text, told) in [("3/3", Progress::new(3, 3)), ("", third), ("4/3\n", third), (&"1".repeat(70), third)] {
            fs::write(&file, text).unwrap();
            assert_eq!(read(&status, third).unwrap().progress, told, "{text:?}");
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(read(&status, third).unwrap().progress, None);
    }

    #[test]
    fn the_limit_is_exact() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("exec_status")).unwrap();
        let status = Directory::open(&dir.path().join("exec_status")).unwrap();
        let mut text = vec![b'x'; MAX_CUSTOM_BYTES];
        set(dir.path(), Some(&text), None, None).unwrap();
        assert_eq!(read(&status, None).unwrap(), Custom { text: Some(text.clone()), cut: false, progress: None });
        text.push(b'x');
        assert!(set(dir.path(), Some(&text), None, None).unwrap_err().to_string().contains("1048576 bytes"));
        fs::write(dir.path().join("exec_status/custom"), &text).unwrap();
        text.pop();
        assert_eq!(read(&status, None).unwrap(), Custom { text: Some(text), cut: true, progress: None });
    }

    #[test]
    fn a_script_of_an_earlier_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let run = "00112233445566778899aabbccddeeff";
        fs::create_dir(dir.path().join("exec_status")).unwrap();
        fs::write(dir.path().join("nlxtp_run_id"), format!("{run}\n")).unwrap();
        set(dir.path(), Some(b"x"), None, Some(run)).unwrap();
        set(dir.path(), Some(b"x"), None, None).unwrap();
        assert!(set(dir.path(), Some(b"x"), None, Some("")).is_err());
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink("secret", dir.path().join("custom")).unwrap();
        let told = read(&Directory::open(dir.path()).unwrap(), None).unwrap_err().to_string();
        assert!(told.contains("symbolic link"), "{told}");
    }
}
