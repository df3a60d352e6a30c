//! Downloads, beside the tools that make an archive of a directory or a disk image.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use nlxtp_host::archive::{OutputFormat, default_threads};
use nlxtp_host::control::Control;

use super::inputs::{Input, content_of_archive};
use super::{empty_disk, floor, node, partition, upload};
use crate::harness::report::Report;
use crate::harness::{Comparison, Contender, Fresh, Result, flush, has, succeed};

pub fn measure(fresh: &Fresh<'_>, input: &Input, rounds: usize, report: &mut Report) -> Result {
    let (directory, disk) = (fresh.directory()?, empty_disk(fresh)?);
    let (ours, theirs) = (fresh.path("ours.tar.gz"), fresh.path("theirs.tar.gz"));
    for (target, operation) in [(&directory, "download from a directory"), (&disk, "download from a disk image")] {
        upload::upload(target, input)?;
        download(target, &ours, default_threads())?;
        input.check(&content_of_archive(&ours)?, operation)?;
        let run = || download(target, &ours, 1);
        let operation = format!("{operation}, one thread");
        let mut comparison = Comparison::new(&operation, &input.name, Contender::new("nlXTP", run))
            .against(floor::of_download(fresh, input)?);
        if target.is_dir() {
            comparison = comparison.against(floor::of_download_of_files(target, input)?);
        }
        comparison.measure(fresh, rounds, report)?;
    }

    let prepare = || flush(fresh.work());
    let run = || download(&directory, &ours, default_threads());
    let tar = || tar_create(&directory, &theirs, "gzip");
    let mut comparison =
        Comparison::new("download from a directory", &input.name, Contender::new("nlXTP", run).prepared(prepare))
            .against(Contender::new("tar -czf", tar).prepared(prepare));
    if has("pigz") {
        let pigz = || tar_create(&directory, &fresh.work().join("pigz.tar.gz"), "pigz");
        comparison = comparison.against(Contender::new("tar -I pigz -cf", pigz).prepared(prepare));
    }
    comparison.measure(fresh, rounds, report)?;
    report.facts.push([
        format!("size of the downloaded archive, {}, beside that of tar -czf", input.name),
        format!("{} KiB, {} KiB", fs::metadata(&ours)?.len() >> 10, fs::metadata(&theirs)?.len() >> 10),
    ]);

    if !has("mcopy") {
        report.leave_out("download from a disk image beside mcopy", "mtools is not installed");
        return Ok(());
    }
    let tree = RefCell::new(PathBuf::new());
    let mcopy = || -> Result {
        let tree = tree.borrow();
        succeed(Command::new("mcopy").args(["-s", "-n", "-i"]).arg(partition(&disk)).arg("::*").arg(&*tree))?;
        tar_create(&tree, &theirs, "gzip")
    };
    let mcopy = Contender::new("mcopy -s, tar -czf", mcopy).prepared(|| {
        tree.replace(fresh.directory()?);
        flush(fresh.work())
    });
    let run = || download(&disk, &ours, default_threads());
    Comparison::new("download from a disk image", &input.name, Contender::new("nlXTP", run).prepared(prepare))
        .against(mcopy)
        .measure(fresh, rounds, report)
}

/// A download through a node.
pub fn download(target: &Path, archive: &Path, threads: usize) -> Result {
    let mut node = node(target)?.with_threads(threads);
    node.download(&mut File::create(archive)?, OutputFormat::default(), &Control::none())?;
    Ok(())
}

fn tar_create(directory: &Path, archive: &Path, compressor: &str) -> Result {
    let mut command = Command::new("tar");
    succeed(command.args(["-I", compressor, "-cf"]).arg(archive).arg("-C").arg(directory).arg("."))
}
