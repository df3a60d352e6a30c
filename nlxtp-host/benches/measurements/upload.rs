//! Uploads, beside the tools that put an archive's content into a directory or a disk image.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;

use super::inputs::{Input, content_of_archive, content_of_tree};
use super::{empty_disk, node, partition};
use crate::harness::report::Report;
use crate::harness::{Comparison, Contender, Result, empty_directory, flush, has, succeed};

pub fn measure(work: &Path, input: &Input, rounds: usize, report: &mut Report) -> Result {
    to_directory(work, input, rounds, report)?;
    to_disk(work, input, rounds, report)
}

/// An upload through a node.
pub fn upload(target: &Path, input: &Input) -> Result {
    node(target)?.upload(&mut File::open(&input.archive)?, &Control::none())?;
    Ok(())
}

fn tar_extract(input: &Input, into: &Path) -> Result {
    succeed(Command::new("tar").arg("-xzf").arg(&input.archive).arg("-C").arg(into))
}

fn to_directory(work: &Path, input: &Input, rounds: usize, report: &mut Report) -> Result {
    let (ours, theirs) = (work.join("ours"), work.join("theirs"));
    let prepare = |directory: &Path| -> Result {
        empty_directory(directory)?;
        flush(work)
    };
    prepare(&ours)?;
    upload(&ours, input)?;
    input.check(&content_of_tree(&ours)?, "upload to a directory")?;

    let ours = Contender::new("nlXTP", || upload(&ours, input)).prepared(|| prepare(&ours));
    let plain = Contender::new("tar -xzf", || tar_extract(input, &theirs)).prepared(|| prepare(&theirs));
    let flushed = Contender::new("tar -xzf, sync -f", || {
        tar_extract(input, &theirs)?;
        flush(work)
    })
    .prepared(|| prepare(&theirs));
    Comparison::with("upload to a directory", input.name, ours).against(plain).against(flushed).measure(rounds, report)
}

fn to_disk(work: &Path, input: &Input, rounds: usize, report: &mut Report) -> Result {
    let (ours, theirs) = (work.join("ours.img"), work.join("theirs.img"));
    let tree = work.join("theirs");
    empty_disk(&ours)?;
    upload(&ours, input)?;
    let archive = work.join("check.tar.gz");
    node(&ours)?.download(&mut File::create(&archive)?, OutputFormat::default(), &Control::none())?;
    input.check(&content_of_archive(&archive)?, "upload to a disk image")?;
    fs::remove_file(archive)?;

    if !has("mcopy") {
        report.leave_out("upload to a disk image", "mtools is not installed");
        return Ok(());
    }
    let prepare_theirs = || -> Result {
        empty_disk(&theirs)?;
        empty_directory(&tree)?;
        flush(work)
    };
    let mcopy = || -> Result {
        tar_extract(input, &tree)?;
        let mut command = Command::new("mcopy");
        command.args(["-s", "-Q", "-i"]).arg(partition(&theirs));
        for entry in fs::read_dir(&tree)? {
            command.arg(entry?.path());
        }
        succeed(command.arg("::/"))
    };
    let ours = Contender::new("nlXTP", || upload(&ours, input)).prepared(|| {
        empty_disk(&ours)?;
        flush(work)
    });
    let plain = Contender::new("tar -xzf, mcopy -s", mcopy).prepared(prepare_theirs);
    let flushed = Contender::new("tar -xzf, mcopy -s, sync -f", || {
        mcopy()?;
        flush(work)
    })
    .prepared(prepare_theirs);
    Comparison::with("upload to a disk image", input.name, ours).against(plain).against(flushed).measure(rounds, report)
}
