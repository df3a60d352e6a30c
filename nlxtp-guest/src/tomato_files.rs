//! The status files of ToMaTo's guest modules, for a host that knows no others.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

use rextfv_core::{layout, tomato};

use crate::directory::{Directory, base_name};

/// Keeps `running` and, in the end, `done`.
pub struct TomatoFiles {
    running: File,
}

impl TomatoFiles {
    /// Makes `running`; that it is there is on the disk when the directory is.
    ///
    /// # Errors
    /// The system's.
    pub fn start(status: &Directory) -> io::Result<Self> {
        let files = Self { running: status.create_file(base_name(tomato::RUNNING))? };
        files.write_time()?;
        files.running.sync_data()?;
        Ok(files)
    }

    /// Writes the present time, and brings it and a new `custom` to the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn beat(&self, status: &Directory, custom_changed: bool) -> io::Result<()> {
        self.write_time()?;
        self.running.sync_data()?;
        if custom_changed && let Some(custom) = status.read_file(base_name(layout::CUSTOM))? {
            custom.sync_data()?;
            status.sync()?;
        }
        Ok(())
    }

    /// The number is overwritten in place, so that no reader finds the file empty.
    fn write_time(&self) -> io::Result<()> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let text = format!("{seconds}\n");
        self.running.write_all_at(text.as_bytes(), 0)?;
        // Cutting changes metadata, and only another time of the world makes the number shorter.
        if self.running.metadata()?.len() > text.len() as u64 {
            self.running.set_len(text.len() as u64)
        } else {
            Ok(())
        }
    }
}

/// Takes `running` away, and then, if the run has come to its end, makes `done`.
///
/// # Errors
/// The system's.
pub fn end(status: &Directory, done: bool) -> io::Result<()> {
    status.remove_file(base_name(tomato::RUNNING))?;
    if done {
        match status.create_file(base_name(tomato::DONE)) {
            // Gone with its directory: another upload has come.
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {}
            made => drop(made?),
        }
    }
    status.sync_file_system()
}
