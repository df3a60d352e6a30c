//! Uploads, beside the tools that put an archive's content into a directory or a disk image.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;

use super::inputs::{Input, content_of_archive, content_of_tree};
use super::{empty_disk, node, partition};
use crate::harness::report::Report;
use crate::harness::{Comparison, Contender, Fresh, Result, flush, has, succeed};

pub fn measure(fresh: &Fresh<'_>, input: &Input, rounds: usize, report: &mut Report) -> Result {
    to_directory(fresh, input, rounds, report)?;
    to_disk(fresh, input, rounds, report)
}

/// An upload through a node.
pub fn upload(target: &Path, input: &Input) -> Result {
    node(target)?.upload(&mut File::open(&input.archive)?, &Control::none())?;
    Ok(())
}

fn tar_extract(input: &Input, into: &Path) -> Result {
    succeed(Command::new("tar").arg("-xzf").arg(&input.archive).arg("-C").arg(into))
}

fn to_directory(fresh: &Fresh<'_>, input: &Input, rounds: usize, report: &mut Report) -> Result {
    let operation = "upload to a directory";
    let check = fresh.directory()?;
    upload(&check, input)?;
    input.check(&content_of_tree(&check)?, operation)?;

    let target = RefCell::new(PathBuf::new());
    let prepare = || -> Result {
        target.replace(fresh.directory()?);
        flush(fresh.work())
    };
    let tar = || tar_extract(input, &target.borrow());
    let ours = Contender::new("nlXTP", || upload(&target.borrow(), input)).prepared(prepare);
    let plain = Contender::new("tar -xzf", tar).prepared(prepare);
    let flushed = Contender::new("tar -xzf, sync -f", || {
        tar()?;
        flush(fresh.work())
    })
    .prepared(prepare);
    Comparison::new(operation, input.name, ours).against(plain).against(flushed).measure(rounds, report)
}

fn to_disk(fresh: &Fresh<'_>, input: &Input, rounds: usize, report: &mut Report) -> Result {
    let operation = "upload to a disk image";
    let (check, archive) = (empty_disk(fresh)?, fresh.path("check.tar.gz"));
    upload(&check, input)?;
    node(&check)?.download(&mut File::create(&archive)?, OutputFormat::default(), &Control::none())?;
    input.check(&content_of_archive(&archive)?, operation)?;

    if !has("mcopy") {
        report.leave_out(operation, "mtools is not installed");
        return Ok(());
    }
    let (disk, tree) = (RefCell::new(PathBuf::new()), RefCell::new(PathBuf::new()));
    let prepare = || -> Result {
        disk.replace(empty_disk(fresh)?);
        tree.replace(fresh.directory()?);
        flush(fresh.work())
    };
    let mcopy = || -> Result {
        let (disk, tree) = (disk.borrow(), tree.borrow());
        tar_extract(input, &tree)?;
        let mut command = Command::new("mcopy");
        command.args(["-s", "-Q", "-i"]).arg(partition(&disk));
        for entry in fs::read_dir(&*tree)? {
            command.arg(entry?.path());
        }
        succeed(command.arg("::/"))
    };
    let ours = Contender::new("nlXTP", || upload(&disk.borrow(), input)).prepared(prepare);
    let plain = Contender::new("tar -xzf, mcopy -s", mcopy).prepared(prepare);
    let flushed = Contender::new("tar -xzf, mcopy -s, sync -f", || {
        mcopy()?;
        flush(fresh.work())
    })
    .prepared(prepare);
    Comparison::new(operation, input.name, ours).against(plain).against(flushed).measure(rounds, report)
}
