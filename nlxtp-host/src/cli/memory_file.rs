//! What is remembered of a run between two calls: see [`rextfv_core::liveness`].
//!
//! One small file for each target, in the user's state directory. Nothing breaks without it: a
//! monitor that has stopped is then only found out by somebody who watches for long enough.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use nix::unistd::{AccessFlags, access};
use nlxtp_host::error::{Error, ErrorKind};
use rextfv_core::entry_path::displayable;
use rextfv_core::liveness::Memory;
use serde::{Deserialize, Serialize};

use super::session::Session;

/// Where the memory is kept.
#[derive(Debug, Args)]
pub struct MemoryOptions {
    /// Remember nothing between two calls
    #[arg(long, conflicts_with = "memory")]
    no_memory: bool,
    /// Keep what is remembered of the run in this file [default: one for each target, in
    /// $XDG_STATE_HOME/nlxtp or ~/.local/state/nlxtp]
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,
}

/// The memory of one target.
pub struct MemoryFile {
    /// `None` where nothing is kept.
    path: Option<PathBuf>,
    /// Whose memory it is; `None` in a file that the caller has chosen.
    target: Option<String>,
    loaded: Option<Memory>,
    /// The file holds what cannot be used.
    spoilt: bool,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// Tells apart targets whose paths have the same hash.
    target: Option<String>,
    memory: Memory,
}

const VERSION: u32 = 1;

/// No memory of ours is larger.
const MOST_BYTES: u64 = 64 << 10;

impl MemoryOptions {
    /// Reads what is remembered of the target.
    ///
    /// # Errors
    /// The file that the caller has chosen holds something else: it is neither used nor replaced.
    pub fn load(&self, target: &Path, session: &Session) -> Result<MemoryFile, Error> {
        let mut file = match self.place(target) {
            Ok((path, target)) => MemoryFile { path, target, loaded: None, spoilt: false },
            Err(reason) => {
                session.remark(&format!("nothing is remembered between calls: {reason}"));
                MemoryFile { path: None, target: None, loaded: None, spoilt: false }
            }
        };
        match file.read() {
            Ok(memory) => file.loaded = memory,
            Err(error) if self.memory.is_some() => {
                let message = "it is no file in which this program remembers runs";
                return Err(Error::new(ErrorKind::InvalidInput, message)
                    .with_source(error)
                    .with_object(file.name())
                    .with_hint("give --memory a file that nlxtp has made, or a path where there is none"));
            }
            Err(error) => {
                session.note(&format!("what was remembered of the run is ignored: {}: {error}", file.name()));
                file.spoilt = true;
            }
        }
        if file.loaded.is_none()
            && let Some(Err(error)) = self.memory.as_deref().map(check_writable)
        {
            session.note(&format!("what is known of the run cannot be remembered: {}: {error}", file.name()));
            file.path = None;
        }
        Ok(file)
    }

    fn place(&self, target: &Path) -> Result<(Option<PathBuf>, Option<String>), String> {
        if self.no_memory {
            return Ok((None, None));
        }
        if let Some(path) = &self.memory {
            return Ok((Some(path.clone()), None));
        }
        let canonical = target.canonicalize().map_err(|error| format!("the target's path: {error}"))?;
        let bytes = canonical.as_os_str().as_encoded_bytes();
        let name = format!("{:016x}.json", stable_hash(bytes));
        let directory = state_directory().ok_or("neither XDG_STATE_HOME nor HOME is set")?;
        Ok((Some(directory.join(name)), Some(displayable(bytes))))
    }
}

/// Whether a file of this path can be made, so that it is not first found out when there is something to
/// remember.
fn check_writable(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(access(folder, AccessFlags::W_OK | AccessFlags::X_OK)?)
}

/// The directory for state of the user's, as the XDG base directory specification has it.
fn state_directory() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("nlxtp"))
}

/// FNV-1a: the same in every version of this program.
fn stable_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl MemoryFile {
    /// What was remembered.
    pub fn loaded(&self) -> Option<Memory> {
        self.loaded.clone()
    }

    /// Remembers this for the next call.
    pub fn save(&self, memory: Option<&Memory>, session: &Session) {
        if memory == self.loaded.as_ref() && !self.spoilt {
            return;
        }
        let Some(memory) = memory else { return self.remove(session) };
        if let Err(error) = self.write(memory) {
            session.note(&format!("what is known of the run cannot be remembered: {}: {error}", self.name()));
        }
    }

    fn name(&self) -> String {
        self.path.as_deref().map(|path| displayable(path.as_os_str().as_encoded_bytes())).unwrap_or_default()
    }

    fn read(&self) -> io::Result<Option<Memory>> {
        let Some(path) = &self.path else { return Ok(None) };
        // Non-blocking, should it be a FIFO.
        let file = match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes)?;
        let kept: Kept = serde_json::from_slice(&bytes)?;
        if kept.version != VERSION {
            return Err(io::Error::other(format!("its version is {}", kept.version)));
        }
        let ours = self.target.is_none() || kept.target == self.target;
        Ok(ours.then_some(kept.memory))
    }

    fn write(&self, memory: &Memory) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if self.target.is_some()
            && let Some(directory) = path.parent()
        {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let kept = Kept { version: VERSION, target: self.target.clone(), memory: memory.clone() };
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}", std::process::id()));
        let beside = path.with_file_name(name);
        let written = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| file.write_all(&serde_json::to_vec(&kept)?))
            .and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// Forgets what is remembered: a new run begins.
    pub fn remove(&self, session: &Session) {
        let Some(path) = &self.path else { return };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                session.note(&format!("what was remembered of the run cannot be removed: {}: {error}", self.name()));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_specification() {
        assert_eq!(stable_hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stable_hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(stable_hash(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
