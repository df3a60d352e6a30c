//! Downloads, beside the tools that make an archive of a directory or a disk image.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;

use super::inputs::{Input, content_of_archive};
use super::{empty_disk, node, partition, upload};
use crate::harness::report::Report;
use crate::harness::{Comparison, Contender, Fresh, Result, flush, has, succeed};

pub fn measure(fresh: &Fresh<'_>, input: &Input, rounds: usize, report: &mut Report) -> Result {
    let directory = fresh.directory()?;
    upload::upload(&directory, input)?;
    let (ours, theirs) = (fresh.path("ours.tar.gz"), fresh.path("theirs.tar.gz"));
    let tar = Contender::new("tar -czf", || tar_create(&directory, &theirs)).prepared(|| flush(fresh.work()));
    compare("download from a directory", fresh, (&directory, &ours), input, tar, rounds, report)?;
    report.facts.push([
        format!("size of the downloaded archive, {}, beside that of tar -czf", input.name),
        format!("{} KiB, {} KiB", fs::metadata(&ours)?.len() >> 10, fs::metadata(&theirs)?.len() >> 10),
    ]);

    if !has("mcopy") {
        report.leave_out("download from a disk image", "mtools is not installed");
        return Ok(());
    }
    let disk = empty_disk(fresh)?;
    upload::upload(&disk, input)?;
    let tree = RefCell::new(PathBuf::new());
    let mcopy = || -> Result {
        let tree = tree.borrow();
        succeed(Command::new("mcopy").args(["-s", "-n", "-i"]).arg(partition(&disk)).arg("::*").arg(&*tree))?;
        tar_create(&tree, &theirs)
    };
    let mcopy = Contender::new("mcopy -s, tar -czf", mcopy).prepared(|| {
        tree.replace(fresh.directory()?);
        flush(fresh.work())
    });
    compare("download from a disk image", fresh, (&disk, &ours), input, mcopy, rounds, report)
}

fn tar_create(directory: &Path, archive: &Path) -> Result {
    succeed(Command::new("tar").arg("-czf").arg(archive).arg("-C").arg(directory).arg("."))
}

fn compare(
    operation: &str,
    fresh: &Fresh<'_>,
    (target, archive): (&Path, &Path),
    input: &Input,
    baseline: Contender<'_>,
    rounds: usize,
    report: &mut Report,
) -> Result {
    let download = || -> Result {
        node(target)?.download(&mut File::create(archive)?, OutputFormat::default(), &Control::none())?;
        Ok(())
    };
    download()?;
    input.check(&content_of_archive(archive)?, operation)?;
    let ours = Contender::new("nlXTP", download).prepared(|| flush(fresh.work()));
    Comparison::new(operation, input.name, ours).against(baseline).measure(rounds, report)
}
