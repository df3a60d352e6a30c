//! Disks of other sizes, which have other kinds of FAT on them.

use std::cell::RefCell;
use std::fs::File;
use std::path::PathBuf;

use nlxtp_host::fat::{FatVolume, ReadLimits, locate};

use super::download::download;
use super::inputs::Input;
use super::upload::upload;
use super::{empty_disk_of, floor};
use crate::harness::report::Report;
use crate::harness::{Comparison, Contender, Fresh, Result, flush};

/// Megabytes: FAT16, and FAT32 with small and with large tables.
const SIZES: [u64; 3] = [192, 1024, 8192];

pub fn measure(fresh: &Fresh<'_>, input: &Input, rounds: usize, report: &mut Report) -> Result {
    for megabytes in SIZES {
        let disk = RefCell::new(empty_disk_of(fresh, megabytes << 20)?);
        upload(&disk.borrow(), input)?;
        let volume = File::open(&*disk.borrow())?;
        let volume = FatVolume::open(&volume, locate(&volume)?, ReadLimits::default())?;
        let kind = format!("{:?}", volume.geometry().fat_type()).to_uppercase();
        let place = format!("a disk of {megabytes} MiB, {kind}");

        let prepare = || -> Result {
            disk.replace(empty_disk_of(fresh, megabytes << 20)?);
            flush(fresh.work())
        };
        let ours = Contender::new("nlXTP", || upload(&disk.borrow(), input)).prepared(prepare);
        Comparison::new(&format!("upload to {place}"), &input.name, ours)
            .against(floor::of_upload(fresh, input)?.prepared(|| flush(fresh.work())))
            .measure(fresh, rounds, report)?;
        // The last round has filled it.
        let (disk, archive): (PathBuf, _) = (disk.take(), fresh.path("sizes.tar.gz"));
        let ours = Contender::new("nlXTP", || download(&disk, &archive, 1));
        Comparison::new(&format!("download from {place}, one thread"), &input.name, ours)
            .against(floor::of_download(fresh, input)?)
            .measure(fresh, rounds, report)?;
    }
    Ok(())
}
