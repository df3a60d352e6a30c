//! One package file on its way from its URL to the cache.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::answer::{Digest, PackageFile};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};

/// Fetches what a URL leads to: an HTTP client of the caller's.
pub trait Fetch: Send + Sync {
    /// Asks for the bytes from `from` on. A server that cannot begin there begins at 0.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where asking again is of no use; any other kind may pass.
    fn fetch(&self, url: &str, from: u64) -> Result<Fetched>;
}

/// What a server has begun to send.
pub struct Fetched {
    /// The position of the first byte.
    pub begins_at: u64,
    /// The bytes, to the end of the file.
    pub body: Box<dyn Read + Send>,
}

/// Bytes that are taken at once, at most.
const PIECE: usize = 64 << 10;

/// How long a server may send nothing at all. Clients have bounds of their own for connections.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// How an attempt at a file went wrong.
pub(super) enum Failed {
    /// The same attempt may succeed in a moment.
    ForNow(Error),
    /// It would fail again.
    ForGood(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Io => Self::ForNow(error),
            _ => Self::ForGood(error),
        }
    }
}

/// Downloads what is missing at the end of `part`, and verifies the whole. What has come stays in
/// `part` if the attempt fails, unless it is of no use. The attempt fails when nothing comes for the time
/// of `silence`, however slowly the rest came.
pub(super) fn complete(
    part: &mut File,
    file: &PackageFile,
    fetch: &Arc<dyn Fetch>,
    control: &Control<'_>,
    silence: Duration,
    arrived: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<(), Failed> {
    let (mut digest, mut length) = hash(part, control)?;
    if length > file.size {
        restart(part, &mut digest, &mut length)?;
    }
    let resumed = length > 0;
    if length < file.size {
        let pieces = begin(Arc::clone(fetch), file.url.clone(), length)?;
        loop {
            match next(&pieces, control, silence)? {
                Step::BeginsAt(position) if position == length => {}
                Step::BeginsAt(0) => restart(part, &mut digest, &mut length)?,
                Step::BeginsAt(_) => return Err(for_now("the server begins where nobody asked it to")),
                Step::Bytes(bytes) => {
                    length += bytes.len() as u64;
                    if length > file.size {
                        restart(part, &mut digest, &mut length)?;
                        let message = format!("there are more than the {} bytes that the node has told", file.size);
                        return Err(Failed::ForGood(stale(message)));
                    }
                    part.write_all(&bytes).map_err(keeping)?;
                    digest.update(&bytes);
                    arrived(length)?;
                }
                Step::End if length == file.size => break,
                Step::End => return Err(for_now(&format!("it ended after {length} of {} bytes", file.size))),
            }
        }
    }
    if Digest(digest.clone().finalize().into()) == file.digest {
        return Ok(());
    }
    restart(part, &mut digest, &mut length)?;
    let error = stale("its SHA-256 digest is not the one that the node has told".into());
    // What was kept of an earlier attempt may be to blame.
    Err(if resumed { Failed::ForNow(error) } else { Failed::ForGood(error) })
}

/// The digest of a file, and its length; the file is at its end afterwards.
pub(super) fn hash(file: &mut File, control: &Control<'_>) -> Result<(Sha256, u64)> {
    file.rewind().map_err(keeping)?;
    let (mut digest, mut length, mut piece) = (Sha256::new(), 0, vec![0; PIECE]);
    loop {
        control.check()?;
        match file.read(&mut piece) {
            Ok(0) => return Ok((digest, length)),
            Ok(read) => {
                digest.update(&piece[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(keeping(error)),
        }
    }
}

fn restart(part: &mut File, digest: &mut Sha256, length: &mut u64) -> Result<()> {
    part.set_len(0).and_then(|()| part.seek(SeekFrom::Start(0))).map_err(keeping)?;
    (*digest, *length) = (Sha256::new(), 0);
    Ok(())
}

pub(super) fn keeping(error: io::Error) -> Error {
    let error = Error::io("keep packages in the cache", error);
    // Not to be taken for a failure of the download, which is tried again.
    if error.kind() == ErrorKind::Io {
        return Error::new(ErrorKind::Damaged, error.message());
    }
    error.with_hint("make room there and see that it can be written, or name another directory with --cache")
}

fn for_now(message: &str) -> Failed {
    Failed::ForNow(Error::new(ErrorKind::Io, message))
}

/// What the server has is not what the node has told of.
fn stale(message: String) -> Error {
    Error::new(ErrorKind::Damaged, message)
        .with_hint("the mirror may have changed, or somebody between has altered the file: probe again, then try again")
}

/// What comes of a fetching thread.
enum Step {
    BeginsAt(u64),
    Bytes(Vec<u8>),
    End,
}

/// Fetches in a thread of its own: a server may stay silent, and a cancellation must be noticed
/// nevertheless. The thread ends when the client does, or with the first piece that nobody takes.
fn begin(fetch: Arc<dyn Fetch>, url: String, from: u64) -> Result<Receiver<Result<Step>>> {
    let (sender, receiver) = mpsc::sync_channel(4);
    let fetch_all = move || {
        let mut fetched = match fetch.fetch(&url, from) {
            Ok(fetched) => fetched,
            Err(error) => return drop(sender.send(Err(error))),
        };
        if sender.send(Ok(Step::BeginsAt(fetched.begins_at))).is_err() {
            return;
        }
        let mut piece = vec![0; PIECE];
        loop {
            // What has come is passed on at once: it counts even if nothing follows.
            let step = match fetched.body.read(&mut piece) {
                Ok(0) => Ok(Step::End),
                Ok(read) => Ok(Step::Bytes(piece[..read].to_vec())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(Error::new(ErrorKind::Io, "the connection failed").with_source(error)),
            };
            let over = matches!(step, Ok(Step::End) | Err(_));
            if sender.send(step).is_err() || over {
                return;
            }
        }
    };
    let started = thread::Builder::new().name("fetch".into()).spawn(fetch_all);
    started.map_err(|error| Error::io("start a thread for the download", error))?;
    Ok(receiver)
}

fn next(pieces: &Receiver<Result<Step>>, control: &Control<'_>, silence: Duration) -> Result<Step, Failed> {
    let since = Instant::now();
    loop {
        control.check()?;
        match pieces.recv_timeout(Duration::from_millis(50)) {
            Ok(step) => return Ok(step?),
            Err(RecvTimeoutError::Timeout) if since.elapsed() < silence => {}
            Err(RecvTimeoutError::Timeout) => return Err(for_now("the server sends nothing any more")),
            Err(RecvTimeoutError::Disconnected) => return Err(for_now("the download has ended without a word")),
        }
    }
}

#[cfg(test)]
#[path = "transfer/tests.rs"]
mod tests;
