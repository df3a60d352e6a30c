//! What a container's guest can do to its directory while the host works on it.

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use nix::sys::signal::{SigHandler, Signal, signal};
use nlxtp_host::error::{Error, ErrorKind, Result};
use nlxtp_host::shared_directory::HostDirectory;
use rextfv_core::archive_rules::{ArchiveRules, LinkPolicy, Manifest, ManifestBuilder, RawEntry, RawKind};
use rextfv_core::entry_path::EntryPath;
use rextfv_core::limits::Limits;
use rextfv_core::shared_directory::{Content, Entry, LeftOut, LeftOutReason, Representation, SharedDirectory, Visitor};

#[derive(Default)]
struct Seen {
    files: Vec<String>,
    left_out: Vec<LeftOut>,
}

impl Visitor for Seen {
    type Error = Error;

    fn file(&mut self, entry: &Entry, _: &mut dyn Content<Error = Error>) -> Result<()> {
        self.files.push(entry.path.to_string());
        Ok(())
    }

    fn directory(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }

    fn symlink(&mut self, _: &Entry, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn left_out(&mut self, left_out: LeftOut) -> Result<()> {
        self.left_out.push(left_out);
        Ok(())
    }
}

#[test]
fn a_lease_blocks_nobody_and_spoils_no_walk() {
    let scratch = tempfile::tempdir().unwrap();
    for name in ["free", "leased"] {
        fs::write(scratch.path().join(name), name).unwrap();
    }
    // Whoever wants to open it makes a signal for its holder, which would end this process.
    // SAFETY: no handler is installed; the signal is only ignored.
    unsafe { signal(Signal::SIGIO, SigHandler::SigIgn) }.unwrap();
    let leased = File::options().read(true).write(true).open(scratch.path().join("leased")).unwrap();
    // SAFETY: a call with two numbers on a descriptor that is open.
    let taken = unsafe { libc::fcntl(leased.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
    if taken != 0 {
        // A file system without leases.
        return;
    }

    let directory = HostDirectory::open(scratch.path()).unwrap();
    let mut view = directory.view().unwrap();
    let mut seen = Seen::default();
    view.walk(&mut seen).unwrap();
    assert_eq!(seen.files, ["free"]);
    assert_eq!(seen.left_out, [LeftOut { path: "leased".into(), reason: LeftOutReason::Unreadable }]);
    let path = EntryPath::parse(b"leased").unwrap();
    let error = view.read_at(&path, 0, &mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changing, "a status in it is looked at again");
}

#[test]
fn names_count_before_they_are_visited() {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir(scratch.path().join("0")).unwrap();
    for number in 1..=6 {
        fs::write(scratch.path().join(format!("0/{number}")), "").unwrap();
        fs::write(scratch.path().join(number.to_string()), "").unwrap();
    }
    let walk = |entries| {
        let limits = Limits { entries, ..Limits::DEFAULT };
        let directory = HostDirectory::open(scratch.path()).unwrap().with_limits(limits);
        let mut seen = Seen::default();
        let walked = directory.view().unwrap().walk(&mut seen);
        (walked.map_err(|error| error.kind()), seen.files.len())
    };
    assert_eq!(walk(13), (Ok(()), 12));
    assert_eq!(walk(12), (Err(ErrorKind::Refused), 0), "no names of two levels beyond the limit are held");
}

#[test]
fn leftovers_of_an_upload_do_not_take_its_space() {
    let scratch = tempfile::tempdir().unwrap();
    let leftover = scratch.path().join(".nlxtp_upload/new");
    fs::create_dir_all(&leftover).unwrap();
    fs::write(leftover.join("big"), "of an upload that was cut off").unwrap();
    fs::write(scratch.path().join("old"), "old").unwrap();
    let directory = HostDirectory::open(scratch.path()).unwrap();
    let error = directory.replace(&manifest_of_one_file(1 << 60), &|| Ok(())).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooSmall);
    assert!(!leftover.exists(), "it was removed before the space was measured");
    assert_eq!(fs::read(scratch.path().join("old")).unwrap(), b"old");
}

fn manifest_of_one_file(size: u64) -> Manifest {
    let limits = Limits { total_bytes: u64::MAX, file_bytes: u64::MAX, ..Limits::DEFAULT };
    let rules = ArchiveRules { representation: Representation::Posix, links: LinkPolicy::Refuse, limits };
    let mut builder = ManifestBuilder::new(rules);
    let kind = RawKind::File;
    builder.add(&RawEntry { path: b"big", kind, size, mode: 0o644, modified: 0, has_owner: false });
    builder.finish().unwrap()
}
