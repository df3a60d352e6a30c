//! How much memory the command takes for an archive that is much larger.
//!
//! The peak is the kernel's own mark (`VmHWM`), looked at each millisecond. What `getrusage` says of
//! a child begins with the size of its parent, which here is the larger of the two.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::inputs::Input;
use super::{empty_disk, upload};
use crate::harness::machine::value;
use crate::harness::report::Report;
use crate::harness::{Fresh, Result};

pub fn measure(fresh: &Fresh<'_>, input: &Input, report: &mut Report) -> Result {
    let Some(program) = find() else {
        report.leave_out("memory of the command", "the command is not built (make build)");
        return Ok(());
    };
    eprintln!("measuring: memory of the command");
    let (directory, disk) = (fresh.directory()?, empty_disk(fresh)?);
    for (target, name) in [(&directory, "a directory"), (&disk, "a disk image")] {
        let peak = peak(Command::new(&program).arg("upload").arg(target).arg(&input.archive))?;
        report.facts.push([format!("nlxtp upload to {name}, {}, peak resident", input.name), peak]);
        upload::upload(target, input)?;
        let archive = fresh.path("download.tar.gz");
        let peak = self::peak(Command::new(&program).arg("download").arg(target).arg(&archive))?;
        report.facts.push([format!("nlxtp download from {name}, {}, peak resident", input.name), peak]);
    }
    Ok(())
}

/// Where the command is: as the environment says, or where `make build` puts it.
fn find() -> Option<PathBuf> {
    let built = || Path::new(env!("CARGO_TARGET_TMPDIR")).parent().map(|target| target.join("release/nlxtp"));
    let program = std::env::var_os("NLXTP").map(PathBuf::from).or_else(built)?;
    let help = Command::new(&program).arg("--help").output().ok()?;
    (help.status.success() && !help.stdout.is_empty()).then_some(program)
}

fn peak(command: &mut Command) -> Result<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut peak = String::from("unknown");
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let found = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        if let Some(mark) = value(&found, "VmHWM") {
            peak = mark.into();
        }
        sleep(Duration::from_millis(1));
    };
    if status.success() { Ok(peak) } else { Err(format!("{command:?}: {status}").into()) }
}
