//! The script's outputs: from its pipes into files, up to a limit.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rextfv_core::{layout, tomato};

use crate::directory::{Directory, base_name};
use crate::error::{Doing, note, survive};

/// As much as a pipe holds unless somebody asks for more.
const PIPE_BYTES: usize = 64 << 10;

/// A file that is only ever appended to, up to a limit.
struct Sink {
    name: &'static str,
    file: Option<File>,
    /// Bytes written to the file.
    written: u64,
    /// Bytes of them that are on the disk.
    flushed: u64,
    limit: u64,
    cut: bool,
}

impl Sink {
    fn create(status: &Directory, path: &'static str, limit: u64) -> Self {
        let name = base_name(path);
        let file = survive(status.create_file(name).doing(|| format!("make {path}")));
        Self { name, file, written: 0, flushed: 0, limit, cut: false }
    }

    /// Appends what fits. After the first byte that is lost nothing more is taken, so that the file
    /// holds the output's beginning without gaps.
    fn append(&mut self, mut bytes: &[u8]) {
        if self.cut {
            return;
        }
        let room = usize::try_from(self.limit - self.written).unwrap_or(usize::MAX);
        if bytes.len() > room {
            bytes = &bytes[..room];
            self.cut = true;
        }
        while !bytes.is_empty() {
            match self.file.as_mut().map_or(Err(io::ErrorKind::NotFound.into()), |file| file.write(bytes)) {
                Ok(length) => {
                    self.written += length as u64;
                    bytes = &bytes[length..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    note(format_args!("cannot write {}, the rest is lost: {error}", self.name));
                    self.cut = true;
                    return;
                }
            }
        }
    }

    /// Brings what was written to the disk, if there is anything new.
    fn flush(&mut self) {
        if self.flushed == self.written {
            return;
        }
        if let Some(file) = &self.file
            && survive(file.sync_data().doing(|| format!("flush {}", self.name))).is_some()
        {
            self.flushed = self.written;
        }
    }
}

/// One output: its pipe and its file.
pub struct Stream {
    pipe: Option<File>,
    sink: Sink,
}

impl Stream {
    /// Bytes that are on the disk.
    pub fn committed(&self) -> u64 {
        self.sink.flushed
    }

    /// Whether something was lost.
    pub fn cut(&self) -> bool {
        self.sink.cut
    }

    /// The pipe, until its writers have all closed it.
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }
}

/// Both outputs, and ToMaTo's file that takes both.
pub struct Outputs {
    /// Standard output.
    pub stdout: Stream,
    /// Error output.
    pub stderr: Stream,
    both: Option<Sink>,
    buffer: Vec<u8>,
}

impl Outputs {
    /// Makes the files, with the most bytes of standard output and error output. That one cannot be made is reported and survived.
    pub fn create(status: &Directory, limits: [u64; 2], tomato: bool) -> Self {
        let stream = |path, limit| Stream { pipe: None, sink: Sink::create(status, path, limit) };
        let [stdout, stderr] = limits;
        Self {
            stdout: stream(layout::STDOUT, stdout),
            stderr: stream(layout::STDERR, stderr),
            both: tomato.then(|| Sink::create(status, tomato::OUT, stdout.saturating_add(stderr))),
            buffer: vec![0; PIPE_BYTES],
        }
    }

    /// Takes over the reading ends of the script's pipes.
    ///
    /// # Errors
    /// The system's.
    pub fn attach(&mut self, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<()> {
        for (stream, pipe) in [(&mut self.stdout, stdout), (&mut self.stderr, stderr)] {
            fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            stream.pipe = Some(pipe.into());
        }
        Ok(())
    }

    /// Appends a message of our own to the error output.
    pub fn say(&mut self, text: &str) {
        self.stderr.sink.append(text.as_bytes());
        if let Some(both) = &mut self.both {
            both.append(text.as_bytes());
        }
    }

    /// Takes in what waits in the pipes, at most as much as a pipe holds, so that a script that
    /// writes without end can keep nobody here.
    pub fn pump(&mut self) {
        for stream in [&mut self.stdout, &mut self.stderr] {
            let mut left = PIPE_BYTES;
            while let Some(pipe) = stream.pipe.as_mut().filter(|_| left > 0) {
                match pipe.read(&mut self.buffer[..left]) {
                    Ok(0) => stream.pipe = None,
                    Ok(length) => {
                        let bytes = &self.buffer[..length];
                        let before = stream.sink.written;
                        stream.sink.append(bytes);
                        if let Some(both) = &mut self.both {
                            let kept = usize::try_from(stream.sink.written - before).unwrap_or(length);
                            both.append(&bytes[..kept.min(length)]);
                        }
                        left -= length;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        note(format_args!("cannot read {}: {error}", stream.sink.name));
                        stream.pipe = None;
                    }
                }
            }
        }
    }

    /// Takes in all that is in the pipes at this moment. Some programs enlarge their pipes.
    pub fn pump_rest(&mut self) {
        let held = |stream: &Stream| {
            let size = stream.pipe().and_then(|pipe| fcntl(pipe, FcntlArg::F_GETPIPE_SZ).ok());
            size.and_then(|size| usize::try_from(size).ok()).unwrap_or(PIPE_BYTES)
        };
        for _ in 0..held(&self.stdout).max(held(&self.stderr)).div_ceil(PIPE_BYTES) {
            self.pump();
        }
    }

    /// Brings all that was written to the disk.
    pub fn flush(&mut self) {
        for sink in [&mut self.stdout.sink, &mut self.stderr.sink].into_iter().chain(&mut self.both) {
            sink.flush();
        }
    }

    /// Whether every writer has closed its end.
    pub fn ended(&self) -> bool {
        self.stdout.pipe.is_none() && self.stderr.pipe.is_none()
    }

    /// Gives the pipes away that somebody still holds.
    pub fn detach(&mut self) -> [Option<OwnedFd>; 2] {
        [&mut self.stdout, &mut self.stderr].map(|stream| stream.pipe.take().map(OwnedFd::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn outputs(dir: &tempfile::TempDir, limit: u64) -> (Outputs, File, File) {
        let mut outputs = Outputs::create(&Directory::open(dir.path()).unwrap(), [limit; 2], true);
        let (stdout, write_stdout) = nix::unistd::pipe().unwrap();
        let (stderr, write_stderr) = nix::unistd::pipe().unwrap();
        outputs.attach(stdout, stderr).unwrap();
        (outputs, write_stdout.into(), write_stderr.into())
    }

    #[test]
    fn the_limit_is_exact_and_leaves_no_gap() {
        let dir = tempfile::tempdir().unwrap();
        let (mut outputs, mut stdout, mut stderr) = outputs(&dir, 5);
        stdout.write_all(b"12345").unwrap();
        outputs.pump();
        assert!(!outputs.stdout.cut(), "exactly the limit is no cut");
        stderr.write_all(b"abcdefgh").unwrap();
        outputs.pump();
        stdout.write_all(b"6").unwrap();
        outputs.pump();
        assert!(outputs.stdout.cut() && outputs.stderr.cut());
        assert_eq!(fs::read(dir.path().join("stdout")).unwrap(), b"12345");
        assert_eq!(fs::read(dir.path().join("stderr")).unwrap(), b"abcde");
        assert_eq!(fs::read(dir.path().join("out")).unwrap(), b"12345abcde");
    }

    #[test]
    fn the_rest_of_a_large_pipe_is_taken_in() {
        let dir = tempfile::tempdir().unwrap();
        let (mut outputs, mut stdout, _stderr) = outputs(&dir, u64::MAX);
        fcntl(&stdout, FcntlArg::F_SETPIPE_SZ(512 << 10)).unwrap();
        stdout.write_all(&vec![b'x'; 400_000]).unwrap();
        outputs.pump_rest();
        assert_eq!(fs::metadata(dir.path().join("stdout")).unwrap().len(), 400_000);
    }

    #[test]
    fn only_flushed_bytes_are_committed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut outputs, mut stdout, stderr) = outputs(&dir, 100);
        stdout.write_all(b"12345").unwrap();
        outputs.pump();
        assert_eq!(outputs.stdout.committed(), 0);
        outputs.flush();
        assert_eq!(outputs.stdout.committed(), 5);
        assert!(!outputs.ended());
        drop((stdout, stderr));
        outputs.pump();
        assert!(outputs.ended());
    }
}
