//! Disks for virtual machines as C makes them.

use std::ffi::c_char;

use nlxtp_host::error::Result;
use nlxtp_host::shared_directory::{DiskImage, DiskOptions};

use crate::boundary::{self, guard, path, read_struct, text};
use crate::error::{nlxtp_error, nlxtp_result};

/// What a new disk is to be. Fill it with zeros, which mean "as usual", then set `size` and what is
/// wanted. NULL in its place means: all as usual.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct nlxtp_disk_options {
    /// sizeof(nlxtp_disk_options).
    pub size: usize,
    /// Bytes of the whole disk, up to 2 TiB; 0 for 62 MiB.
    pub bytes: u64,
    /// The volume label, 1 to 11 characters of ASCII; NULL for "NLXTP".
    pub label: *const c_char,
}

const AS_USUAL: nlxtp_disk_options = nlxtp_disk_options { size: 0, bytes: 0, label: std::ptr::null() };

boundary::growable!(nlxtp_disk_options, AS_USUAL);

fn options(given: *const nlxtp_disk_options) -> Result<DiskOptions> {
    let given = read_struct(given)?.unwrap_or(AS_USUAL);
    let mut options = DiskOptions::default();
    if given.bytes != 0 {
        options.size = given.bytes;
    }
    if !given.label.is_null() {
        options.label = text(given.label, "label")?.to_owned();
    }
    Ok(options)
}

/// Makes an empty disk for a virtual machine: a sparse file with an MBR, whose partition 1 begins at
/// 1 MiB and holds an empty FAT file system. Attach it to the guest as a raw disk. An existing file
/// is never overwritten. `options` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_create(
    disk: *const c_char,
    options: *const nlxtp_disk_options,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("disk_create", error, || {
        let disk = path(disk, "disk")?;
        DiskImage::create(disk, &self::options(options)?).map_err(|error| error.with_path(disk))?;
        Ok(())
    })
}
