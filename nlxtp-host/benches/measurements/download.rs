//! Downloads, beside the tools that make an archive of a directory or a disk image.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;

use super::inputs::{Input, content_of_archive};
use super::{empty_disk, node, partition, upload};
use crate::harness::report::Report;
use crate::harness::{Comparison, Contender, Result, empty_directory, flush, has, succeed};

pub fn measure(work: &Path, input: &Input, rounds: usize, report: &mut Report) -> Result {
    let directory = work.join("ours");
    empty_directory(&directory)?;
    upload::upload(&directory, input)?;
    let theirs = work.join("theirs.tar.gz");
    let tar = || tar_create(&directory, &theirs);
    compare("download from a directory", work, &directory, input, Contender::new("tar -czf", tar), rounds, report)?;
    let sizes = (fs::metadata(work.join("ours.tar.gz"))?.len(), fs::metadata(&theirs)?.len());
    report.facts.push([
        format!("size of the downloaded archive, {}, beside that of tar -czf", input.name),
        format!("{} KiB, {} KiB", sizes.0 >> 10, sizes.1 >> 10),
    ]);

    let disk = work.join("ours.img");
    if !has("mcopy") {
        report.leave_out("download from a disk image", "mtools is not installed");
        return Ok(());
    }
    empty_disk(&disk)?;
    upload::upload(&disk, input)?;
    let tree = work.join("theirs");
    let mcopy = || -> Result {
        succeed(Command::new("mcopy").args(["-s", "-n", "-i"]).arg(partition(&disk)).arg("::*").arg(&tree))?;
        tar_create(&tree, &theirs)
    };
    let mcopy = Contender::new("mcopy -s, tar -czf", mcopy).prepared(|| {
        empty_directory(&tree)?;
        flush(work)
    });
    compare("download from a disk image", work, &disk, input, mcopy, rounds, report)
}

fn tar_create(directory: &Path, archive: &Path) -> Result {
    succeed(Command::new("tar").arg("-czf").arg(archive).arg("-C").arg(directory).arg("."))
}

fn compare(
    operation: &str,
    work: &Path,
    target: &Path,
    input: &Input,
    baseline: Contender<'_>,
    rounds: usize,
    report: &mut Report,
) -> Result {
    let archive = work.join("ours.tar.gz");
    let download = || -> Result {
        node(target)?.download(&mut File::create(&archive)?, OutputFormat::default(), &Control::none())?;
        Ok(())
    };
    download()?;
    input.check(&content_of_archive(&archive)?, operation)?;
    let ours = Contender::new("nlXTP", download).prepared(|| flush(work));
    Comparison::with(operation, input.name, ours).against(baseline).measure(rounds, report)
}
