//! Downloads of a directory that changes meanwhile: what changed is told, and packing again helps
//! once the guest is quiet.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::{CancelToken, Control, Progress};
use nlxtp_host::download::until_settled;
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::HostDirectory;
use rextfv_core::operations::{ContentProblem, DownloadReport};
use rextfv_core::retry::RetryPolicy;
use rextfv_core::shared_directory::LeftOutReason;

const SIZE: usize = 1 << 20;

const QUICK: RetryPolicy = RetryPolicy { interval: Duration::from_millis(1), ..RetryPolicy::DOWNLOAD };

fn shared() -> tempfile::TempDir {
    let shared = tempfile::tempdir().unwrap();
    fs::write(shared.path().join("a"), vec![0; SIZE]).unwrap();
    fs::write(shared.path().join("b"), "b").unwrap();
    shared
}

/// A download during which the guest does something once the first file is open.
fn disturbed(shared: &Path, archive: &mut Vec<u8>, guest: impl Fn()) -> DownloadReport {
    let done = Cell::new(false);
    let control = Control::none().with_progress(|progress| {
        if matches!(progress, Progress::Packing { done: 0, .. }) && !done.replace(true) {
            // Times are kept in steps of some milliseconds.
            thread::sleep(Duration::from_millis(30));
            guest();
        }
    });
    let mut node = Node::new(HostDirectory::open(shared).unwrap());
    let report = node.download(archive, OutputFormat::Tar, &control).unwrap();
    drop(control);
    assert!(done.get());
    report
}

fn first_file(archive: &[u8]) -> Vec<u8> {
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap() == Path::new("./a") {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            return content;
        }
    }
    panic!("the archive lacks a file");
}

#[test]
fn what_changed_or_vanished_is_told() {
    let shared = shared();
    let path = shared.path().join("a");
    let write =
        |bytes: &[u8], at: usize| File::options().write(true).open(&path).unwrap().write_all_at(bytes, at as u64);
    let rewritten = disturbed(shared.path(), &mut Vec::new(), || write(&[1; SIZE], 0).unwrap());
    let longer = disturbed(shared.path(), &mut Vec::new(), || write(&[1], SIZE).unwrap());
    fs::write(&path, vec![0; SIZE]).unwrap();
    let shorter = disturbed(shared.path(), &mut Vec::new(), || File::create(&path).unwrap().sync_all().unwrap());
    for (report, problem) in
        [(rewritten, ContentProblem::Rewritten), (longer, ContentProblem::Longer), (shorter, ContentProblem::Shorter)]
    {
        let changed: Vec<_> = report.changed.listed.iter().map(|file| (file.path.as_str(), file.problem)).collect();
        assert_eq!(changed, [("a", problem)]);
        assert!(!report.is_settled());
    }
    fs::write(&path, vec![0; SIZE]).unwrap();
    let vanished = disturbed(shared.path(), &mut Vec::new(), || fs::remove_file(shared.path().join("b")).unwrap());
    assert!(vanished.changed.is_empty() && !vanished.is_settled());
    assert_eq!(vanished.left_out.listed[0].reason, LeftOutReason::Vanished);
    assert!(disturbed(shared.path(), &mut Vec::new(), || {}).is_settled());
}

#[test]
fn packing_again_helps_once_the_guest_is_quiet() {
    let shared = shared();
    let guest = File::options().write(true).open(shared.path().join("a")).unwrap();
    let download = |archive: &mut Vec<u8>, attempts: &Cell<u8>, quiet_after: u8| {
        archive.clear();
        let attempt = attempts.get() + 1;
        attempts.set(attempt);
        disturbed(shared.path(), archive, || {
            if attempt <= quiet_after {
                guest.write_all_at(&[attempt; SIZE], 0).unwrap();
            }
        })
    };
    let (mut archive, attempts) = (Vec::new(), Cell::new(0));
    let settled = until_settled(&QUICK, &Control::none(), || Ok(download(&mut archive, &attempts, 2)));
    let (report, made) = settled.unwrap();
    assert!(report.is_settled());
    assert_eq!(made, 3);
    assert!(first_file(&archive) == [2; SIZE]);

    // A guest that is never quiet: the last archive stands, and says what is wrong with it.
    attempts.set(0);
    let (report, made) =
        until_settled(&QUICK, &Control::none(), || Ok(download(&mut archive, &attempts, u8::MAX))).unwrap();
    assert_eq!((made, report.changed.count()), (QUICK.attempts, 1));
    assert_eq!(first_file(&archive).len(), SIZE);
}

#[test]
fn a_guest_that_races_for_a_while() {
    let shared = shared();
    let path = shared.path().join("a");
    let guest = thread::spawn(move || {
        let file = File::options().write(true).open(path).unwrap();
        let end = Instant::now() + Duration::from_millis(500);
        for generation in (0..=u8::MAX).cycle() {
            file.write_all_at(&[generation; SIZE], 0).unwrap();
            if Instant::now() >= end {
                return generation;
            }
        }
        unreachable!()
    });
    let mut node = Node::new(HostDirectory::open(shared.path()).unwrap());
    let control = Control::none().with_deadline(Some(Instant::now() + Duration::from_secs(60)));
    let mut archive = Vec::new();
    let policy = RetryPolicy { attempts: u32::MAX, ..QUICK };
    let (report, _) = until_settled(&policy, &control, || {
        archive.clear();
        node.download(&mut archive, OutputFormat::Tar, &control)
    })
    .unwrap();
    assert!(report.is_settled());
    assert_eq!(first_file(&archive).len(), SIZE);
    let last = guest.join().unwrap();
    archive.clear();
    assert!(node.download(&mut archive, OutputFormat::Tar, &control).unwrap().is_settled());
    assert!(first_file(&archive) == [last; SIZE]);
}

#[test]
fn errors_and_cancellations_end_it() {
    let kinds = [ErrorKind::Changing, ErrorKind::Io];
    for (kind, expected) in kinds.into_iter().zip([QUICK.attempts, 1]) {
        let mut attempts = 0;
        let error = until_settled(&QUICK, &Control::none(), || {
            attempts += 1;
            Err(Error::new(kind, "the test says so"))
        });
        assert_eq!((error.unwrap_err().kind(), attempts), (kind, expected));
    }
    let token = CancelToken::new();
    let control = Control::none().with_cancel(token.clone());
    let slow =
        RetryPolicy { interval: Duration::from_secs(3600), longest_interval: Duration::from_secs(3600), ..QUICK };
    let canceller = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        token.cancel();
    });
    let error = until_settled(&slow, &control, || Err(Error::new(ErrorKind::Changing, "the test says so")));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Cancelled);
    canceller.join().unwrap();
}
