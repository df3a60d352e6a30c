//! `nlxtp disk`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use nlxtp_host::error::{Error, ErrorKind};
use nlxtp_host::shared_directory::{DiskDescription, DiskImage, DiskOptions};
use rextfv_core::entry_path::displayable;
use rextfv_core::layout::VOLUME_LABEL;
use serde::Serialize;

use super::failure::{Failure, exit};
use super::output::{print, print_json};
use super::session::Session;
use super::units::{parse_duration, parse_size, show_size};

const CREATE_EXAMPLE: &str = "\
The disk is a sparse file with an MBR; partition 1 begins at 1 MiB and holds an empty FAT. Attach it \
to the guest as a raw disk. An existing file is never overwritten.

Example:
  nlxtp disk create disk.img --size 1GiB
  qemu-system-x86_64 -drive file=disk.img,format=raw,if=virtio ...";

const SHOW_EXAMPLE: &str = "\
Nothing is written, and the guest may be on: what it is just writing may be counted or not. One to which \
an upload was cut off has no file system; the next upload gives it one.

Example:
  nlxtp disk show disk.img
  nlxtp disk show disk.img --json | jq .file_system.free";

/// Make a disk, or show what one is like
#[derive(Debug, Subcommand)]
pub enum Disk {
    Create(Create),
    Show(Show),
}

/// Make an empty disk for a virtual machine
#[derive(Debug, Args)]
#[command(after_long_help = CREATE_EXAMPLE)]
pub struct Create {
    /// The image file to be made
    disk: PathBuf,
    /// Bytes of the whole disk, up to 2TiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "62MiB")]
    size: u64,
    /// The volume label, 1 to 11 characters
    #[arg(long, value_name = "NAME", default_value = VOLUME_LABEL, value_parser = NonEmptyStringValueParser::new())]
    label: String,
}

/// Show where a disk's file system lies, and how much it holds
#[derive(Debug, Args)]
#[command(after_long_help = SHOW_EXAMPLE)]
pub struct Show {
    /// The image file or block device
    disk: PathBuf,
    /// Give up if it takes longer than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

#[derive(Serialize)]
struct Created {
    disk: String,
    size: u64,
    label: String,
}

#[derive(Serialize)]
struct Shown {
    disk: String,
    #[serde(flatten)]
    found: DiskDescription,
}

impl Disk {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        match self {
            Self::Create(create) => create.run(session),
            Self::Show(show) => show.run(session),
        }
    }
}

impl Create {
    fn run(self, session: &Session) -> Result<u8, Failure> {
        let options = DiskOptions { size: self.size, label: self.label };
        DiskImage::create(&self.disk, &options).map_err(|error| Failure::target(error, &self.disk))?;
        let disk = displayable(self.disk.as_os_str().as_encoded_bytes());
        let (size, label) = (options.size / 512 * 512, options.label.to_uppercase());
        if session.json {
            print_json(&Created { disk, size, label })?;
        } else {
            print(&format!(
                "{disk}: {}, FAT in partition 1, label {}\n",
                show_size(size),
                displayable(label.as_bytes())
            ))?;
        }
        Ok(exit::SUCCESS)
    }
}

impl Show {
    fn run(self, session: &Session) -> Result<u8, Failure> {
        let control = session.control(self.timeout);
        let look = || DiskImage::open(&self.disk)?.describe(&control);
        let (found, _) = session.with_retries(&control, look).map_err(|error| self.failed(error))?;
        let shown = Shown { disk: displayable(self.disk.as_os_str().as_encoded_bytes()), found };
        if session.json {
            print_json(&shown)?;
        } else {
            print(&shown.text())?;
        }
        Ok(exit::SUCCESS)
    }

    fn failed(&self, error: Error) -> Failure {
        let error = match error.kind() {
            ErrorKind::NotFound => error.with_hint("check the path, or make a disk: nlxtp disk create DISK"),
            ErrorKind::NotATarget if self.disk.is_dir() => {
                error.with_hint("what a container's directory holds is told by nlxtp ls")
            }
            _ => error,
        };
        Failure::target(error, &self.disk)
    }
}

impl Shown {
    fn text(&self) -> String {
        let found = &self.found;
        let mut text = format!("{}: {}\n", self.disk, show_size(found.size));
        match found.partition {
            Some(partition) => {
                let (size, offset) = (show_size(partition.size), show_size(partition.offset));
                text.push_str(&format!("partition 1: {size}, from {offset} on\n"));
            }
            None => text.push_str("partition 1: none; the file system is the whole disk\n"),
        }
        let Some(fat) = &found.file_system else {
            text.push_str("file system: none; an upload was cut off, or is under way: upload again\n");
            return text;
        };
        text.push_str(&format!(
            "file system: FAT{}, {}, serial number {:04X}-{:04X}, clusters of {}\n",
            fat.fat_bits,
            fat.label.as_ref().map_or("no label".into(), |label| format!("label {label}")),
            fat.serial >> 16,
            fat.serial & 0xffff,
            show_size(fat.cluster_size.into()),
        ));
        let used = fat.capacity.saturating_sub(fat.free);
        text.push_str(&format!(
            "used: {} of {}; {} free\n",
            show_size(used),
            show_size(fat.capacity),
            show_size(fat.free)
        ));
        text
    }
}
