//! Disks for virtual machines as C makes and describes them.

use std::ffi::{CString, c_char, c_int};

use nlxtp_host::error::Result;
use nlxtp_host::shared_directory::{DiskDescription, DiskImage, DiskOptions, FatDescription};

use crate::boundary::{self, Handle, Out, c_text, free, get, give, guard, path, pointer, read_struct, text};
use crate::control::nlxtp_control;
use crate::descriptor;
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

/// What a disk was like when it was opened: where its file system lies, and how much it holds. It never
/// changes, and any thread may read it; to see what changed since, open the disk again. It belongs to
/// the caller, who frees it with nlxtp_disk_free(); what its functions return belongs to it. The disk
/// itself is not held open.
pub struct nlxtp_disk;

impl Handle for nlxtp_disk {
    type Inner = Described;
    const NAME: &'static str = "nlxtp_disk";
    const TAG: u64 = 0x6e6c_7874_7044_5343;
}

/// What is behind a disk's handle.
pub struct Described {
    found: DiskDescription,
    label: Option<CString>,
    json: CString,
}

impl Described {
    fn fat<T>(&self, none: T, value: impl FnOnce(&FatDescription) -> T) -> T {
        self.found.file_system.as_ref().map_or(none, value)
    }
}

impl From<DiskDescription> for Described {
    fn from(found: DiskDescription) -> Self {
        Self {
            label: found.file_system.as_ref().and_then(|fat| fat.label.as_deref()).map(c_text),
            // A description always can be written.
            json: c_text(&serde_json::to_string(&found).unwrap_or_default()),
            found,
        }
    }
}

/// Looks at a virtual machine's disk by its path: a raw image file or a block device, with a FAT file
/// system in partition 1 or as a whole. Nothing is written, and nothing is believed of what the guest
/// wrote. Its allocation table is read once, so a large disk takes a moment: `control`, which may be
/// NULL, can end that; its `progress` is not called. One to which an upload was cut off can be opened, too.
/// `disk` gets what was found, to be freed with nlxtp_disk_free().
/// NLXTP_ERROR_NOT_A_TARGET: it is no such disk.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_open(
    target: *const c_char,
    control: *const nlxtp_control,
    disk: *mut *mut nlxtp_disk,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("disk_open", error, || {
        let out = Out::new(disk, "nlxtp_disk")?;
        let control = crate::control::control(control)?;
        let found = DiskImage::open(path(target, "target")?)?.describe(&control)?;
        out.set(|| give(Described::from(found)));
        Ok(())
    })
}

/// The same by a descriptor of the image file or block device, which stays the caller's and may be
/// closed. It is opened anew through /proc/self/fd, with the rights of the process.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_open_fd(
    target: c_int,
    control: *const nlxtp_control,
    disk: *mut *mut nlxtp_disk,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("disk_open_fd", error, || {
        let out = Out::new(disk, "nlxtp_disk")?;
        let control = crate::control::control(control)?;
        let found = DiskImage::from_fd(descriptor::own(target)?.into())?.describe(&control)?;
        out.set(|| give(Described::from(found)));
        Ok(())
    })
}

/// Bytes of the whole disk; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_bytes(disk: *const nlxtp_disk) -> u64 {
    get(disk, 0, |described| described.found.size)
}

/// Where partition 1 begins, in bytes from the beginning of the disk; 0 where the disk has no partition
/// table, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_partition_offset(disk: *const nlxtp_disk) -> u64 {
    get(disk, 0, |described| described.found.partition.map_or(0, |partition| partition.offset))
}

/// Bytes of partition 1; 0 where the disk has no partition table, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_partition_bytes(disk: *const nlxtp_disk) -> u64 {
    get(disk, 0, |described| described.found.partition.map_or(0, |partition| partition.size))
}

/// Whether an upload to the disk was cut off, or was under way: it had no file system then, and another
/// upload gives it one. False for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_unfinished(disk: *const nlxtp_disk) -> bool {
    get(disk, false, |described| described.found.unfinished)
}

/// The kind of FAT: 12, 16 or 32; 0 where there was no file system, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_fat_bits(disk: *const nlxtp_disk) -> u32 {
    get(disk, 0, |described| described.fat(0, |fat| fat.fat_bits))
}

/// Bytes of a cluster, of which each file takes whole ones; 0 where there was no file system, and for
/// NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_cluster_bytes(disk: *const nlxtp_disk) -> u32 {
    get(disk, 0, |described| described.fat(0, |fat| fat.cluster_size))
}

/// The volume label, escaped for showing; NULL where there was none, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_label(disk: *const nlxtp_disk) -> *const c_char {
    get(disk, std::ptr::null(), |described| pointer(described.label.as_ref()))
}

/// The serial number of the volume; 0 where there was none, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_serial(disk: *const nlxtp_disk) -> u32 {
    get(disk, 0, |described| described.fat(0, |fat| fat.serial))
}

/// Bytes that files and directories can take, in whole clusters; 0 where there was no file system, and
/// for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_capacity_bytes(disk: *const nlxtp_disk) -> u64 {
    get(disk, 0, |described| described.fat(0, |fat| fat.capacity))
}

/// Bytes of those that were free; 0 where there was no file system, and for NULL. An upload replaces
/// everything, so it can take all of nlxtp_disk_capacity_bytes().
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_free_bytes(disk: *const nlxtp_disk) -> u64 {
    get(disk, 0, |described| described.fat(0, |fat| fat.free))
}

/// All of it as a JSON object on one line, UTF-8. NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_json(disk: *const nlxtp_disk) -> *const c_char {
    get(disk, std::ptr::null(), |described| described.json.as_ptr())
}

/// Frees what was found of a disk, which itself stays as it is. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_disk_free(disk: *mut nlxtp_disk) {
    free(disk);
}
