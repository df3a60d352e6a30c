//! `nlxtp disk`.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use nlxtp_host::shared_directory::{DiskImage, DiskOptions};
use rextfv_core::entry_path::displayable;
use rextfv_core::layout::VOLUME_LABEL;
use serde::Serialize;

use super::failure::{Failure, exit};
use super::output::{print, print_json};
use super::session::Session;
use super::units::{parse_size, show_size};

const EXAMPLE: &str = "\
The disk is a sparse file with an MBR; partition 1 begins at 1 MiB and holds an empty FAT. Attach it \
to the guest as a raw disk. An existing file is never overwritten.

Example:
  nlxtp disk create disk.img --size 1GiB
  qemu-system-x86_64 -drive file=disk.img,format=raw,if=virtio ...";

/// Make disks
#[derive(Debug, Subcommand)]
pub enum Disk {
    Create(Create),
}

/// Make an empty disk for a virtual machine
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
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

#[derive(Serialize)]
struct Answer {
    disk: String,
    size: u64,
    label: String,
}

impl Disk {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let Self::Create(create) = self;
        let options = DiskOptions { size: create.size, label: create.label };
        DiskImage::create(&create.disk, &options).map_err(|error| Failure::target(error, &create.disk))?;
        let disk = displayable(create.disk.as_os_str().as_encoded_bytes());
        let (size, label) = (options.size / 512 * 512, options.label.to_uppercase());
        if session.json {
            print_json(&Answer { disk, size, label })?;
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
