//! Uploads to where something is already, which has to go.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::inputs::{Input, content_of_tree};
use super::upload::{mcopy, tar_extract, upload};
use super::{empty_disk, partition};
use crate::harness::report::Report;
use crate::harness::{Comparison, Contender, Fresh, Result, flush, has, succeed};

/// The same content once more: as many files go as come.
pub fn measure(fresh: &Fresh<'_>, input: &Input, rounds: usize, report: &mut Report) -> Result {
    let target = RefCell::new(PathBuf::new());
    let name = format!("{} in the place of as many", input.name);
    let directory = || -> Result {
        target.replace(fresh.directory()?);
        upload(&target.borrow(), input)?;
        flush(fresh.work())
    };
    let check = fresh.directory()?;
    upload(&check, input)?;
    upload(&check, input)?;
    input.check(&content_of_tree(&check)?, "upload in the place of another")?;

    let ours = || Contender::new("nlXTP", || upload(&target.borrow(), input));
    let theirs = |decompressor| {
        let target = target.borrow();
        remove_all(&target)?;
        tar_extract(input, &target, decompressor)?;
        flush(fresh.work())
    };
    let mut comparison = Comparison::new("upload to a directory", &name, ours().prepared(directory))
        .against(Contender::new("rm -r, tar -xzf, sync -f", || theirs("gzip")).prepared(directory));
    if has("pigz") {
        let pigz = Contender::new("rm -r, tar -I pigz -xf, sync -f", || theirs("pigz"));
        comparison = comparison.against(pigz.prepared(directory));
    }
    comparison.measure(fresh, rounds, report)?;

    if !has("mdeltree") {
        report.leave_out("upload to a disk image in the place of another", "mtools is not installed");
        return Ok(());
    }
    let tree = RefCell::new(PathBuf::new());
    let disk = || -> Result {
        target.replace(empty_disk(fresh)?);
        tree.replace(fresh.directory()?);
        upload(&target.borrow(), input)?;
        flush(fresh.work())
    };
    let theirs = || -> Result {
        let target = target.borrow();
        succeed(Command::new("mdeltree").arg("-i").arg(partition(&target)).arg("::*"))?;
        mcopy(input, &tree.borrow(), &target)?;
        flush(fresh.work())
    };
    Comparison::new("upload to a disk image", &name, ours().prepared(disk))
        .against(Contender::new("mdeltree, tar -xzf, mcopy -s, sync -f", theirs).prepared(disk))
        .measure(fresh, rounds, report)
}

fn remove_all(directory: &Path) -> Result {
    let mut command = Command::new("rm");
    command.arg("-rf");
    for entry in fs::read_dir(directory)? {
        command.arg(entry?.path());
    }
    succeed(&mut command)
}
