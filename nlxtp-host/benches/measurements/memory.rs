//! How much memory the command takes for an archive that is much larger.
//!
//! The peak is the kernel's own mark (`VmHWM`), looked at each millisecond. What `getrusage` says of
//! a child begins with the size of its parent, which here is the larger of the two.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{command, empty_disk_of};
use crate::harness::machine::value;
use crate::harness::report::Report;
use crate::harness::{Fresh, Result};

pub fn measure(fresh: &Fresh<'_>, quick: bool, report: &mut Report) -> Result {
    let Some(program) = command() else {
        report.leave_out("memory of the command", "the command is not built (make build)");
        return Ok(());
    };
    let (bytes, name) = if quick { (256 << 20, "256 MiB") } else { (4 << 30, "4 GiB") };
    eprintln!("measuring: memory of the command, {name}");
    let archive = large_archive(fresh, bytes)?;
    let (directory, disk) = (fresh.directory()?, empty_disk_of(fresh, bytes + bytes / 8)?);
    for (target, kind) in [(&directory, "a directory"), (&disk, "a disk image")] {
        let up = peak(Command::new(&program).arg("upload").arg(target).arg(&archive))?;
        report.facts.push([format!("nlxtp upload to {kind}, {name}, peak resident"), up]);
        let back = fresh.path("download.tar.gz");
        let down = peak(Command::new(&program).arg("download").arg(target).arg(&back))?;
        report.facts.push([format!("nlxtp download from {kind}, {name}, peak resident"), down]);
        // Gigabytes that nothing else needs.
        fs::remove_file(&back)?;
        if kind == "a directory" { fs::remove_dir_all(target)? } else { fs::remove_file(target)? }
    }
    Ok(fs::remove_file(archive)?)
}

/// Files of 1 GiB (or all in one) whose content is made while it is packed.
fn large_archive(fresh: &Fresh<'_>, bytes: u64) -> Result<PathBuf> {
    let path = fresh.path("large.tar.gz");
    let mut archive = GzEncoder::new(File::create(&path)?, Compression::fast());
    let size = bytes.min(1 << 30);
    for index in 0..bytes / size {
        let mut header = tar::Header::new_gnu();
        header.set_path(format!("data-{index}"))?;
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        archive.write_all(header.as_bytes())?;
        let mut piece = vec![0; 1 << 20];
        for number in 0..size >> 20 {
            // Half of it is zeros, as in many a disk image or core dump.
            for (at, byte) in piece[..512 << 10].iter_mut().enumerate() {
                *byte = (number as usize + at / 64 * (at % 7)) as u8;
            }
            archive.write_all(&piece)?;
        }
    }
    archive.write_all(&[0; 1024])?;
    archive.finish()?.sync_all()?;
    Ok(path)
}

fn peak(command: &mut Command) -> Result<String> {
    // Where it fails, it says why on standard error.
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
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
