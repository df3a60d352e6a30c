//! The script's outputs, by committed sizes only.

mod cli_support;

use std::io::Read;

use cli_support::{KINDS, Kind, Place, finished, running};
use rextfv_core::status::{Ending, RunState, Status};

#[test]
fn only_what_is_committed_is_shown() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        let run = target.upload_something();
        assert_eq!(target.call("logs", &[]).expect(0).text(), "");
        target.guest_writes(&[("stdout", b"abcdEFGH"), ("stderr", b"oops")]);
        target.guest_reports(&running(&run, 1));
        assert_eq!(target.call("logs", &[]).expect(0).text(), "");
        target.guest_reports(&Status { stdout_bytes: 4, stderr_bytes: 3, ..running(&run, 2) });
        assert_eq!(target.call("logs", &[]).expect(0).text(), "abcd");
        assert_eq!(target.call("logs", &["--stderr"]).expect(0).text(), "oop");
        // A guest that promises more than there is gets no more.
        target.guest_reports(&Status { stdout_bytes: u64::MAX, ..running(&run, 3) });
        assert_eq!(target.call("logs", &[]).expect(0).text(), "abcdEFGH");
    }
}

#[test]
fn following_shows_each_byte_once_and_when_it_counts() {
    for kind in KINDS {
        let place = Place::new();
        let target = place.target(kind, "target");
        let run = target.upload_something();
        target.guest_writes(&[("stdout", b"abcdEFGH")]);
        target.guest_reports(&Status { stdout_bytes: 4, ..running(&run, 1) });
        let mut child = target.begin("logs", &["--follow", "--timeout", "60s"]);
        let mut stdout = child.stdout.take().unwrap();
        let mut first = [0; 4];
        stdout.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"abcd");
        // What was there and not committed would have come by now; it changes once more.
        target.guest_writes(&[("stdout", b"abcdefgh")]);
        target.guest_reports(&Status { stdout_bytes: 8, ..finished(&run, 2, Ending::Exit(0)) });
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "efgh");
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    }
}

#[test]
fn following_ends_with_the_run() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let run = target.upload_something();
    target.call("logs", &["--follow", "--timeout", "50ms"]).expect(6);
    target.guest_writes(&[("stdout", b"abc")]);
    target.guest_reports(&Status { state: RunState::Interrupted, stdout_bytes: 3, ..running(&run, 1) });
    let ended = target.call("logs", &["-f", "--json"]).expect(0);
    assert_eq!(ended.text(), "abc");
    ended.says(&["monitor-stopped", "\"state\":\"monitor-stopped\"", "\"bytes\":3"]);
}

#[test]
fn following_notices_a_new_upload() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let run = target.upload_something();
    target.guest_writes(&[("stdout", b"abcd")]);
    target.guest_reports(&Status { stdout_bytes: 4, ..running(&run, 1) });
    let mut child = target.begin("logs", &["--follow", "--timeout", "60s"]);
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
    target.upload_something();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8(output.stderr).unwrap().contains("a new upload has replaced the run"));
}

#[test]
fn bytes_stay_as_they_are_in_a_pipe() {
    let place = Place::new();
    let target = place.target(Kind::Disk, "target");
    let run = target.upload_something();
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    target.guest_writes(&[("stdout", &bytes)]);
    target.guest_reports(&Status { stdout_bytes: 200_000, ..finished(&run, 1, Ending::Exit(0)) });
    assert!(target.call("logs", &[]).expect(0).stdout == bytes);
    assert!(target.call("cat", &["exec_status/stdout"]).expect(0).stdout == bytes);
}
