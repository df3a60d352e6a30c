//! The digests of what the shared directory holds when a run has ended, for whoever takes the results.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::libc;
use rextfv_core::digests::{MAX_DIGESTS_BYTES, Sha256Digest, is_left_out, line};
use rextfv_core::entry_path::{EntryPath, displayable};
use rextfv_core::layout::{DIGESTS, DIGESTS_PART};
use rextfv_core::limits::Limits;
use sha2::{Digest, Sha256};

use crate::directory::{Directory, base_name, is_directory, is_regular};
use crate::error::{Doing, Error, note, survive};
use crate::signals::Came;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// What no host takes as it is set up at first needs no digests, which could take for ever.
const LIMITS: Limits = Limits::DEFAULT;

/// Writes the digests of all files into `exec_status`, the directory that is given as `status`. What
/// keeps that from being done is told, and nothing is left of them then.
///
/// `go_on` is called again and again, between any two pieces of a file; the error that it returns is
/// why the rest is given up.
pub fn write(shared: &Directory, status: &Directory, go_on: &mut dyn FnMut() -> Result<(), Error>) {
    if let Err(error) = try_write(shared, status, go_on) {
        note(format_args!("no digests of the results are written: {error}"));
        discard(status);
    }
}

/// What `go_on` returns: whether the run is still ours, and whether we are not asked to stop.
///
/// # Errors
/// Which of them is not so.
pub fn may_go_on(is_ours: bool, came: Came) -> Result<(), Error> {
    if !is_ours {
        return Err(Error::Refused("another upload has come meanwhile".into()));
    }
    if came.stop { Err(Error::Refused("a signal asked this program to stop".into())) } else { Ok(()) }
}

/// Removes what a run that has not come to its end has of them.
pub fn discard(status: &Directory) {
    for path in [DIGESTS_PART, DIGESTS] {
        survive(status.remove_file(base_name(path)).doing(|| format!("remove {path}")));
    }
}

fn try_write(
    shared: &Directory,
    status: &Directory,
    go_on: &mut dyn FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    let part = base_name(DIGESTS_PART);
    let doing = || format!("write {DIGESTS_PART}");
    // A monitor that was killed meanwhile has left it.
    status.remove_file(part).doing(doing)?;
    let file = status.create_file(part).doing(doing)?;
    let device = shared.stat().doing(|| "look at the shared directory")?.st_dev;
    let mut digesting = Digesting {
        into: BufWriter::new(file),
        device,
        written: 0,
        bytes_left: LIMITS.total_bytes,
        piece: vec![0; PIECE_BYTES],
        go_on,
    };
    digesting.directory(shared, &EntryPath::root())?;
    digesting.into.flush().doing(doing)?;
    status.rename(part, base_name(DIGESTS)).doing(|| format!("rename {DIGESTS_PART}"))
}

struct Digesting<'a> {
    into: BufWriter<File>,
    /// The file system of the shared directory: the host sees nothing of others that are mounted below.
    device: libc::dev_t,
    written: usize,
    /// How much more is read.
    bytes_left: u64,
    piece: Vec<u8>,
    go_on: &'a mut dyn FnMut() -> Result<(), Error>,
}

impl Digesting<'_> {
    /// Goes through a directory, in the byte order of all paths below it.
    fn directory(&mut self, directory: &Directory, path: &EntryPath) -> Result<(), Error> {
        if path.components().count() > LIMITS.depth {
            let top = path.components().next().unwrap_or_default();
            let (top, most) = (displayable(top), LIMITS.depth);
            return Err(Error::Refused(format!("{top} holds directories that are more than {most} deep")));
        }
        let doing = || format!("read {path}");
        let mut names = Vec::new();
        for name in if_there(directory.names()).doing(doing)?.unwrap_or_default() {
            (self.go_on)()?;
            let Some(stat) = directory.look(&name).doing(doing)? else { continue };
            let mut name = name.into_vec();
            if is_directory(&stat) {
                // What is below a directory has the slash in its path: `a.b` comes before `a/b`.
                name.push(b'/');
            } else if !is_regular(&stat) {
                continue;
            }
            if stat.st_dev == self.device {
                names.push(name);
            }
        }
        names.sort_unstable();
        for name in names {
            let (name, is_directory) = name.strip_suffix(b"/").map_or((&*name, false), |name| (name, true));
            let Some(path) = path.join(name).filter(|path| !is_left_out(path.as_bytes())) else { continue };
            let name = OsStr::from_bytes(name);
            let doing = || format!("read {path}");
            if is_directory {
                if let Some(below) = if_there(directory.open_beneath(name)).doing(doing)? {
                    self.directory(&below, &path)?;
                }
            } else if let Some(file) = if_there(directory.read_file(name)).doing(doing)?.flatten() {
                let digest = self.file(file, &path)?;
                self.line(&line(&digest, &path))?;
            }
        }
        Ok(())
    }

    /// The digest of what the file holds now: one that grows meanwhile has no end.
    fn file(&mut self, file: File, path: &EntryPath) -> Result<Sha256Digest, Error> {
        let doing = || format!("read {path}");
        let bytes = file.metadata().doing(doing)?.len();
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left =
            left.ok_or_else(|| Error::Refused(format!("there are more than {} bytes", LIMITS.total_bytes)))?;
        let mut content = file.take(bytes);
        let mut hasher = Sha256::new();
        loop {
            (self.go_on)()?;
            match content.read(&mut self.piece) {
                Ok(0) => return Ok(hasher.finalize().into()),
                Ok(length) => hasher.update(&self.piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).doing(doing),
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Error> {
        self.written += line.len();
        if self.written > MAX_DIGESTS_BYTES {
            return Err(Error::Refused(format!("they would take more than {MAX_DIGESTS_BYTES} bytes")));
        }
        self.into.write_all(line).doing(|| format!("write {DIGESTS_PART}"))
    }
}

/// Nothing, for what has gone since it was looked at or has become something else.
fn if_there<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// The paths in the digests after `meddle` was called each time with the number of the call.
    fn written(dir: &Path, meddle: &mut dyn FnMut(usize) -> Result<(), Error>) -> Option<Vec<(String, Sha256Digest)>> {
        let shared = Directory::open(dir).unwrap();
        let mut calls = 0;
        write(&shared, &shared.open_beneath("exec_status").unwrap(), &mut || {
            calls += 1;
            meddle(calls)
        });
        assert!(!dir.join(DIGESTS_PART).exists());
        let file = fs::read(dir.join(DIGESTS)).ok()?;
        let lines = rextfv_core::digests::lines(&file).unwrap();
        Some(lines.map(|line| line.unwrap()).map(|(path, digest)| (path.to_string(), digest)).collect())
    }

    /// Six names at the top, so the seventh call comes in the first file.
    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["below", "exec_status", "other"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for name in ["a", "below/x", "other/y", "vanishing", "victim"] {
            fs::write(dir.path().join(name), name.repeat(20_000)).unwrap();
        }
        dir
    }

    #[test]
    fn what_changes_meanwhile_is_left_out_or_as_it_was() {
        let dir = tree();
        let at = |name: &str| dir.path().join(name);
        let found = written(dir.path(), &mut |call| {
            if call == 7 {
                fs::OpenOptions::new().append(true).open(at("a")).unwrap().write_all(b"more").unwrap();
                fs::remove_file(at("vanishing")).unwrap();
                fs::remove_file(at("victim")).unwrap();
                symlink("/etc/passwd", at("victim")).unwrap();
                fs::remove_dir_all(at("below")).unwrap();
                symlink("/etc", at("below")).unwrap();
                fs::remove_dir_all(at("other")).unwrap();
                fs::write(at("other"), "a file by now").unwrap();
            }
            Ok(())
        });
        assert_eq!(found, Some(vec![("a".into(), Sha256::digest("a".repeat(20_000)).into())]));
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let dir = tree();
        let calls = {
            let mut last = 0;
            written(dir.path(), &mut |call| {
                last = call;
                Ok(())
            });
            last
        };
        for stop_at in 1..=calls {
            let stopped = Came { stop: true, child: true };
            let found = written(dir.path(), &mut |call| {
                may_go_on(true, if call == stop_at { stopped } else { Came::default() })
            });
            assert_eq!(found, None, "{stop_at} of {calls}");
        }
        assert_eq!(written(dir.path(), &mut |_| may_go_on(false, Came::default())), None);
    }

    #[test]
    fn they_are_no_longer_than_a_host_reads() {
        let dir = tempfile::tempdir().unwrap();
        let mut go_on = || Ok(());
        let mut digesting = Digesting {
            into: BufWriter::new(File::create(dir.path().join("x")).unwrap()),
            device: 0,
            written: MAX_DIGESTS_BYTES - 70,
            bytes_left: 0,
            piece: Vec::new(),
            go_on: &mut go_on,
        };
        digesting.line(&[b'x'; 70]).unwrap();
        assert!(digesting.line(b"x").unwrap_err().to_string().contains("33554432"));
    }

    #[test]
    fn what_is_too_deep_is_given_up() {
        let dir = tree();
        let mut deep = dir.path().to_owned();
        deep.extend(["d"; 128]);
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(written(dir.path(), &mut |_| Ok(())).map(|found| found.len()), Some(5));
        fs::create_dir(deep.join("d")).unwrap();
        assert_eq!(written(dir.path(), &mut |_| Ok(())), None);
    }
}
