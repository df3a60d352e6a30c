//! How soon after an upload the start script's first instruction is executed.
//!
//! The script names this very program as its interpreter, which writes down the time as the first
//! thing that it does. No one has to look for a file meanwhile, and the clock is the same for all:
//! the system's monotonic one.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use nlxtp_host::control::Control;
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::HostDirectory;
use rextfv_core::layout;
use rextfv_core::liveness::State;

use super::guest_program::{self, Daemon};
use super::poll::{self, Poll};
use super::rest::find;
use crate::harness::report::Report;
use crate::harness::{Fresh, Result, succeed};

/// The argument that makes this program a start script's interpreter.
pub const STAMP: &str = "--stamp";

/// What it leaves in its working directory.
const STAMP_FILE: &str = "first-instruction";

/// What the interpreter does.
pub fn stamp() -> Result {
    let now = nanoseconds()?;
    fs::write("stamp.new", now.to_string())?;
    Ok(fs::rename("stamp.new", STAMP_FILE)?)
}

fn nanoseconds() -> Result<i64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(now.tv_sec() * 1_000_000_000 + now.tv_nsec())
}

pub fn measure(fresh: &Fresh<'_>, rounds: usize, quick: bool, report: &mut Report) -> Result {
    let what = "from an upload to the script's first instruction";
    let Some(program) = guest_program::find() else {
        report.leave_out(what, "the guest program is not built (make guest)");
        return Ok(());
    };
    eprintln!("measuring: {what}");
    let script = format!("#!{} {STAMP}\n", env::current_exe()?.display());
    if script.len() > 250 || script.matches(' ').count() > 1 {
        report.leave_out(what, "the path of this program cannot be an interpreter's");
        return Ok(());
    }
    let source = fresh.directory()?;
    let script_path = source.join(layout::START_SCRIPT);
    fs::write(&script_path, script)?;
    fs::set_permissions(&script_path, fs::Permissions::from_mode(0o755))?;
    let archive = fresh.path("script.tar.gz");
    succeed(Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(&source).arg("."))?;

    let directory = fresh.directory()?;
    let _daemon = Daemon::start(&program, &directory)?;
    let mut node = Node::new(HostDirectory::open(&directory)?);
    let (mut after_upload, mut after_call, mut uploads, mut spawned) = (vec![], vec![], vec![], vec![]);
    for round in 0..=rounds {
        let called = nanoseconds()?;
        node.upload(&mut File::open(&archive)?, &Control::none())?;
        let uploaded = nanoseconds()?;
        let patience = Control::none().with_deadline(Some(Instant::now() + Duration::from_secs(60)));
        let end = node.wait(&patience, |_| {})?;
        if end.state != State::Finished || end.exit_code != Some(0) {
            return Err(format!("the script ended as {:?}, {:?}", end.state, end.exit_code).into());
        }
        let started = read_stamp(&directory.join(layout::STATUS_DIRECTORY).join(STAMP_FILE))?;

        let plain = fresh.directory()?;
        let before = nanoseconds()?;
        succeed(Command::new(&script_path).current_dir(&plain))?;
        let plainly_started = read_stamp(&plain.join(STAMP_FILE))?;
        if round > 0 {
            after_upload.push(started - uploaded);
            after_call.push(started - called);
            uploads.push(uploaded - called);
            spawned.push(plainly_started - before);
        }
        // The daemon goes back to rest.
        sleep(Duration::from_millis(50));
    }
    for (name, mut times) in [
        ("upload of a start script to a directory", uploads),
        ("from that upload's beginning to the script's first instruction", after_call),
        ("from that upload's end to the script's first instruction", after_upload),
        ("plain fork and exec of the same script", spawned),
    ] {
        times.sort_unstable();
        let shown = |time: i64| format!("{:.2} ms", time as f64 / 1e6);
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        report.delays.push([name.into(), shown(median), shown(worst), times.len().to_string()]);
    }
    beside_polling(fresh, &archive, quick, report)
}

/// Beside a daemon that looks now and then: an upload that comes right after a look, which is the worst
/// case. On the average it takes half as long.
fn beside_polling(fresh: &Fresh<'_>, archive: &Path, quick: bool, report: &mut Report) -> Result {
    let interval = if quick { Duration::from_secs(3) } else { poll::INTERVAL };
    let what = format!(
        "from an upload's end to the first instruction, with a daemon of bash that looks every {} s",
        interval.as_secs()
    );
    let Some(bash) = find("bash") else {
        report.leave_out(&what, "bash is not installed");
        return Ok(());
    };
    eprintln!("measuring: {what}");
    let directory = fresh.directory()?;
    let _daemon = Poll::start(&bash, &directory, interval)?;
    Node::new(HostDirectory::open(&directory)?).upload(&mut File::open(archive)?, &Control::none())?;
    let (uploaded, patience) = (nanoseconds()?, Instant::now() + 2 * interval + Duration::from_secs(10));
    let stamp = directory.join(layout::STATUS_DIRECTORY).join(STAMP_FILE);
    while !stamp.exists() {
        if Instant::now() > patience {
            return Err(format!("{what} did not start the script").into());
        }
        sleep(Duration::from_millis(20));
    }
    let shown = format!("{:.0} ms", (read_stamp(&stamp)? - uploaded) as f64 / 1e6);
    report.delays.push([format!("{what}, right after a look"), shown.clone(), shown, "1".into()]);
    Ok(())
}

fn read_stamp(path: &Path) -> Result<i64> {
    Ok(fs::read_to_string(path)?.parse()?)
}
