//! Uploads, beside the tools that put an archive's content into a directory or a disk image.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;

use super::guestfish;
use super::inputs::{Input, content_of_archive, content_of_tree};
use super::{empty_disk, floor, node, partition};
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

/// What tar does in a directory.
pub fn tar_extract(input: &Input, into: &Path, decompressor: &str) -> Result {
    let mut command = Command::new("tar");
    command.args(["-I", decompressor, "-xf"]).arg(&input.archive).arg("-C").arg(into);
    succeed(&mut command)
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
    let tar = || tar_extract(input, &target.borrow(), "gzip");
    let ours = Contender::new("nlXTP", || upload(&target.borrow(), input)).prepared(prepare);
    let plain = Contender::new("tar -xzf", tar).prepared(prepare);
    let flushed = Contender::new("tar -xzf, sync -f", || {
        tar()?;
        flush(fresh.work())
    })
    .prepared(prepare);
    let mut comparison = Comparison::new(operation, &input.name, ours)
        .against(floor::of_upload(fresh, input)?.prepared(|| flush(fresh.work())))
        .against(floor::of_file_system(fresh, input, &target)?.prepared(prepare))
        .against(plain)
        .against(flushed);
    if has("pigz") {
        let pigz = || {
            tar_extract(input, &target.borrow(), "pigz")?;
            flush(fresh.work())
        };
        comparison = comparison.against(Contender::new("tar -I pigz -xf, sync -f", pigz).prepared(prepare));
    } else {
        report.leave_out("tar with pigz", "pigz is not installed (scripts/setup.sh bench)");
    }
    comparison.measure(fresh, rounds, report)
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
    let ours = Contender::new("nlXTP", || upload(&disk.borrow(), input)).prepared(prepare);
    let flushed = Contender::new("tar -xzf, mcopy -s, sync -f", || {
        mcopy(input, &tree.borrow(), &disk.borrow())?;
        flush(fresh.work())
    })
    .prepared(prepare);
    Comparison::new(operation, &input.name, ours)
        .against(floor::of_upload(fresh, input)?.prepared(|| flush(fresh.work())))
        .against(flushed)
        .measure(fresh, rounds, report)
}

/// What people do with tar and mtools: unpack an archive in a directory, and copy that into a disk.
pub fn mcopy(input: &Input, tree: &Path, disk: &Path) -> Result {
    tar_extract(input, tree, "gzip")?;
    let mut command = Command::new("mcopy");
    command.args(["-s", "-Q", "-i"]).arg(partition(disk));
    for entry in fs::read_dir(tree)? {
        command.arg(entry?.path());
    }
    succeed(command.arg("::/"))
}

/// Beside libguestfs, which takes so long that once must do.
pub fn beside_guestfish(fresh: &Fresh<'_>, inputs: &[Input], report: &mut Report) -> Result {
    let disk = RefCell::new(empty_disk(fresh)?);
    eprintln!("starting libguestfs");
    if let Err(why) = guestfish::find(&disk.borrow()) {
        report.leave_out("upload to a disk image beside libguestfs", &why);
        return Ok(());
    }
    let prepare = || -> Result {
        disk.replace(empty_disk(fresh)?);
        flush(fresh.work())
    };
    for input in inputs {
        let ours = Contender::new("nlXTP", || upload(&disk.borrow(), input)).prepared(prepare);
        let theirs = || guestfish::tar_in(&disk.borrow(), input);
        let theirs = Contender::new("guestfish tar-in (under TCG, once)", theirs).prepared(prepare);
        Comparison::new("upload to a disk image", &input.name, ours)
            .against(theirs)
            .without_warmup()
            .measure(fresh, 1, report)?;
    }
    Ok(())
}
