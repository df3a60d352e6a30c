//! What the tests of the command share: the real binary, archives, targets, and a guest that is
//! played by writing what a guest would write.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use rextfv_core::ids::BootId;
use rextfv_core::status::{Ending, RunState, Status, Truncated};
use rextfv_core::status_codec;
use serde_json::Value;
use tempfile::TempDir;

/// Bytes of the disks in these tests.
pub const DISK_BYTES: u64 = 4 << 20;

/// Where the partition of a disk begins.
pub const PARTITION: usize = 1 << 20;

/// A directory of its own for one test, with the state that the command keeps in it.
pub struct Place {
    directory: TempDir,
    pub program: PathBuf,
}

/// What a finished call came to.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).expect("messages are UTF-8");
        Self { code: output.status.code(), stdout: output.stdout, stderr }
    }
}

impl Finished {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }

    #[track_caller]
    pub fn text(&self) -> &str {
        str::from_utf8(&self.stdout).expect("text")
    }

    /// Standard output as one line of JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        one_line(self.text())
    }

    /// Standard error as one line of JSON.
    #[track_caller]
    pub fn json_aside(&self) -> Value {
        one_line(&self.stderr)
    }

    /// That all these words are in the message.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
        self
    }
}

#[track_caller]
fn one_line(text: &str) -> Value {
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

impl Place {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), program: env!("CARGO_BIN_EXE_nlxtp").into() }
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The command, run in this place; its state is kept outside of it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(self.root());
        command.env("XDG_STATE_HOME", self.path(".state")).env_remove("TMPDIR");
        command.env_remove("NLXTP_JOURNAL");
        command.stdin(Stdio::null());
        command
    }

    pub fn call(&self, arguments: &[&str]) -> Finished {
        self.command(arguments).output().unwrap().into()
    }

    /// Begins a call whose outputs are read while it runs.
    pub fn begin(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The same with this on standard input.
    pub fn call_with_input(&self, arguments: &[&str], input: &[u8]) -> Finished {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        output.into()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Makes an empty shared directory, or a disk, with this name.
    pub fn target(&self, kind: Kind, name: &str) -> Target<'_> {
        match kind {
            Kind::Directory => fs::create_dir(self.path(name)).unwrap(),
            Kind::Disk => {
                self.call(&["disk", "create", name, "--size", &DISK_BYTES.to_string()]).expect(0);
            }
        }
        Target { place: self, kind, name: name.into() }
    }

    /// Everything in this place with its bytes, but for the command's own state.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        let mut directories = vec![self.root().to_path_buf()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let kind = fs::symlink_metadata(&path).unwrap().file_type();
                if path == self.path(".state") {
                    continue;
                } else if kind.is_dir() {
                    directories.push(path.clone());
                    all.insert(path, Vec::new());
                } else if kind.is_symlink() {
                    all.insert(path.clone(), fs::read_link(&path).unwrap().as_os_str().as_bytes().into());
                } else if kind.is_file() {
                    all.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        all
    }

    /// Calls, and demands that nothing is different afterwards.
    #[track_caller]
    pub fn call_changing_nothing(&self, arguments: &[&str]) -> Finished {
        let before = self.snapshot();
        let finished = self.call(arguments);
        let changed: Vec<_> = {
            let after = self.snapshot();
            let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
            names.into_iter().filter(|name| before.get(name) != after.get(name)).collect()
        };
        assert!(changed.is_empty(), "{arguments:?} changed {changed:?}");
        finished
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Directory,
    Disk,
}

pub const KINDS: [Kind; 2] = [Kind::Directory, Kind::Disk];

/// A shared directory or disk in a place.
pub struct Target<'a> {
    place: &'a Place,
    pub kind: Kind,
    pub name: String,
}

impl Target<'_> {
    pub fn path(&self) -> PathBuf {
        self.place.path(&self.name)
    }

    /// Calls `nlxtp VERB TARGET ARGUMENTS…`.
    pub fn call(&self, verb: &str, arguments: &[&str]) -> Finished {
        self.place.call(&[&[verb, &self.name], arguments].concat())
    }

    pub fn begin(&self, verb: &str, arguments: &[&str]) -> Child {
        self.place.begin(&[&[verb, &self.name], arguments].concat())
    }

    /// Uploads an archive that holds a start script and a file, and returns the run id.
    #[track_caller]
    pub fn upload_something(&self) -> String {
        let archive = tar_gz(&[("auto_exec.sh", b"#!/bin/sh\necho hello\n"), ("data/input", b"old content")]);
        self.place.write("good.tar.gz", &archive);
        let answer = self.call("upload", &["good.tar.gz", "--json"]).expect(0).json();
        answer["run_id"].as_str().unwrap().to_owned()
    }

    /// Writes files below `exec_status/`, as the guest does.
    pub fn guest_writes(&self, files: &[(&str, &[u8])]) {
        match self.kind {
            Kind::Directory => {
                let folder = self.path().join("exec_status");
                fs::create_dir_all(&folder).unwrap();
                files.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
            }
            Kind::Disk => self.edit_disk(|root| {
                let folder = root.create_dir("exec_status").unwrap();
                for (name, bytes) in files {
                    let mut file = folder.create_file(name).unwrap();
                    file.truncate().unwrap();
                    file.write_all(bytes).unwrap();
                }
            }),
        }
    }

    /// Changes a disk as a guest's own driver would.
    pub fn edit_disk(&self, edit: impl FnOnce(fatfs::Dir<'_, Cursor<&mut [u8]>>)) {
        let image = fs::File::options().read(true).write(true).open(self.path()).unwrap();
        let mut bytes = fs::read(self.path()).unwrap();
        {
            let partition = Cursor::new(&mut bytes[PARTITION..]);
            let volume = fatfs::FileSystem::new(partition, fatfs::FsOptions::new()).unwrap();
            edit(volume.root_dir());
            volume.unmount().unwrap();
        }
        image.write_all_at(&bytes, 0).unwrap();
    }

    /// Writes a status record, alternately to the two slots.
    pub fn guest_reports(&self, status: &Status) {
        let slot = format!("status.{}", status.sequence % 2);
        self.guest_writes(&[(&slot, &status_codec::encode(status).unwrap())]);
    }

    /// The status as JSON.
    #[track_caller]
    pub fn status(&self, options: &[&str]) -> Value {
        self.call("status", &[&["--json"], options].concat()).expect(0).json()
    }
}

/// Whether whoever runs the tests has a signal ignored, as shells do with SIGINT for their background
/// jobs, and `nohup` with SIGHUP; the command respects that.
pub fn is_ignored(signal: Signal) -> bool {
    signals("self", "SigIgn") & (1 << (signal as u64 - 1)) != 0
}

/// One of the sets of signals in a process' status, one bit each, from bit 0 for signal 1.
pub fn signals(process: &str, set: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let digits = status.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(':')).unwrap().trim();
    u64::from_str_radix(digits, 16).unwrap()
}

/// A record of a run that is under way.
pub fn running(run_id: &str, sequence: u64) -> Status {
    Status {
        run: Some(run_id.parse().unwrap()),
        sequence,
        state: RunState::Running,
        done: false,
        running_info: 1_700_000_000_000 + sequence,
        interval: Duration::from_secs(3600),
        boot: Some(BootId::from_bytes([1; 16])),
        ended: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
        truncated: Truncated::default(),
        custom: None,
        progress: None,
    }
}

/// A record of a run that is over.
pub fn finished(run_id: &str, sequence: u64, ended: Ending) -> Status {
    Status { state: RunState::Finished, done: true, ended: Some(ended), ..running(run_id, sequence) }
}

/// A tar of these files, all with mode 0755.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        append(&mut builder, name.as_bytes(), tar::EntryType::Regular, content, None);
    }
    builder.into_inner().unwrap()
}

/// Adds an entry whose name the `tar` crate would refuse.
pub fn append(
    builder: &mut tar::Builder<Vec<u8>>,
    name: &[u8],
    kind: tar::EntryType,
    content: &[u8],
    link: Option<&[u8]>,
) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    if let Some(link) = link {
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    }
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    builder.append(&header, content).unwrap();
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn tar_gz(files: &[(&str, &[u8])]) -> Vec<u8> {
    gzip(&tar(files))
}

/// The files in a tar, tar.gz or tar.zst.
pub fn unpack(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let plain: Box<dyn Read> = match archive {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::GzDecoder::new(archive)),
        [0x28, 0xb5, ..] => Box::new(zstd::Decoder::new(archive).unwrap()),
        _ => Box::new(archive),
    };
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(plain).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(path.trim_start_matches("./").to_owned(), content);
        }
    }
    files
}

/// The names of an object's members, sorted.
#[track_caller]
pub fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
