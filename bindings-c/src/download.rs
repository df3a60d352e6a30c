//! Downloads: by paths, by descriptors and by callbacks.

use std::ffi::{c_char, c_int};
use std::fs::File;
use std::io::Write;
use std::path::Path;

use nlxtp_host::archive::files::{NewArchive, with_way_out};
use nlxtp_host::archive::{OutputFormat, default_threads};
use nlxtp_host::download::until_settled;
use nlxtp_host::error::{Error, Result};
use rextfv_core::retry::RetryPolicy;

use crate::boundary::{self, Out, borrow, give, guard, invalid, path, read_struct};
use crate::control::{control, nlxtp_control};
use crate::descriptor;
use crate::error::{nlxtp_error, nlxtp_result};
use crate::node::nlxtp_node;
use crate::report::{Downloaded, nlxtp_download};
use crate::streams::{nlxtp_writer, sink};

/// The format of an archive that is made.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum nlxtp_format {
    /// What the path ends with (.tar, .tar.zst, .tzst); else, and without a path, tar.gz.
    NLXTP_FORMAT_BY_NAME = 0,
    /// tar.gz.
    NLXTP_FORMAT_TAR_GZ = 1,
    /// tar, not compressed.
    NLXTP_FORMAT_TAR = 2,
    /// tar.zst.
    NLXTP_FORMAT_TAR_ZST = 3,
}

/// How a shared directory is packed. Fill it with zeros, which mean "as usual", then set `size` and what is
/// wanted. NULL in its place means: all as usual.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct nlxtp_download_options {
    /// sizeof(nlxtp_download_options).
    pub size: usize,
    /// The archive's format, a number of nlxtp_format.
    pub format: i32,
    /// How hard to compress: from 1, fastest, to 9 for tar.gz and to 22 for tar.zst; 0 for 6 and 3.
    pub level: i32,
    /// How many threads compress; 0 for as many as there are cores, at most 8. The archive is the same.
    pub threads: u32,
    /// How often to pack, at most, until nothing changed meanwhile; 0 for once. More than once only where the
    /// archive is at a path, and not a pipe there: what was written elsewhere cannot be taken back.
    pub attempts: u32,
    /// Not 0: replace an existing file, where the archive is at a path.
    pub replace: c_int,
}

const AS_USUAL: nlxtp_download_options =
    nlxtp_download_options { size: 0, format: 0, level: 0, threads: 0, attempts: 0, replace: 0 };

boundary::growable!(nlxtp_download_options, AS_USUAL);

/// How the caller wants a shared directory to be packed.
struct Packing {
    format: OutputFormat,
    threads: usize,
    attempts: u32,
    replace: bool,
}

impl Packing {
    /// Looks at all that the caller gave, before anything is opened.
    fn read(given: *const nlxtp_download_options, archive: Option<&Path>) -> Result<Self> {
        let given = read_struct(given)?.unwrap_or(AS_USUAL);
        let format = format(given.format, archive)?;
        Ok(Self {
            format: if given.level == 0 { format } else { format.with_level(given.level)? },
            threads: match given.threads {
                0 => default_threads(),
                threads => usize::try_from(threads).unwrap_or(usize::MAX),
            },
            attempts: given.attempts.max(1),
            replace: given.replace != 0,
        })
    }

    /// Refuses to pack again where what was written is written.
    fn check_once(&self) -> Result<()> {
        match self.attempts {
            1 => Ok(()),
            _ => Err(invalid("what was written cannot be written again".into())
                .with_hint("name a file, or let `attempts` be 0")),
        }
    }
}

fn format(number: i32, archive: Option<&Path>) -> Result<OutputFormat> {
    const BY_NAME: i32 = nlxtp_format::NLXTP_FORMAT_BY_NAME as i32;
    const TAR_GZ: i32 = nlxtp_format::NLXTP_FORMAT_TAR_GZ as i32;
    const TAR: i32 = nlxtp_format::NLXTP_FORMAT_TAR as i32;
    const TAR_ZST: i32 = nlxtp_format::NLXTP_FORMAT_TAR_ZST as i32;
    match number {
        BY_NAME => Ok(archive.map_or_else(OutputFormat::default, OutputFormat::from_path)),
        TAR_GZ => Ok(OutputFormat::default()),
        TAR => Ok(OutputFormat::Tar),
        TAR_ZST => Ok(OutputFormat::TarZst { level: 3 }),
        other => Err(invalid(format!("{other} is no nlxtp_format"))),
    }
}

/// Packs the whole shared directory into an archive at a path, which stands for it only when it is
/// complete. An existing file is only replaced if `options` say so. `options`, `control` and `report` may be
/// NULL; what `report` gets is freed with nlxtp_download_free(). NLXTP_ERROR_CHANGING: the guest changed a
/// disk meanwhile, in each attempt. With several attempts, `done` of the progress begins anew with each.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_download(
    node: *const nlxtp_node,
    archive: *const c_char,
    options: *const nlxtp_download_options,
    control: *const nlxtp_control,
    report: *mut *mut nlxtp_download,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_download", error, || {
        let archive = path(archive, "archive")?;
        let packing = Packing::read(options, Some(archive))?;
        let (open, control) = (borrow(node)?, self::control(control)?);
        let about = |error: Error| with_way_out(error).with_path(archive);
        let (downloaded, attempts) = open.with(|node| {
            let mut new = NewArchive::create(archive, packing.replace).map_err(about)?;
            if !new.can_restart() {
                packing.check_once().map_err(about)?;
            }
            node.set_threads(packing.threads);
            node.name_journalled_archive(Some(archive));
            let policy = RetryPolicy { attempts: packing.attempts, ..RetryPolicy::DOWNLOAD };
            let downloaded = until_settled(&policy, &control, || {
                node.download(&mut *new.writer(&control).map_err(about)?, packing.format, &control)
            })?;
            new.complete().map_err(about)?;
            node.confirm_download();
            Ok(downloaded)
        })?;
        Out::optional(report).set(|| give(Downloaded::new(downloaded, attempts)));
        Ok(())
    })
}

/// The same, written to an open descriptor from its position on. It stays open and is not flushed;
/// after a failure, what was written is of no use.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_download_fd(
    node: *const nlxtp_node,
    archive: c_int,
    options: *const nlxtp_download_options,
    control: *const nlxtp_control,
    report: *mut *mut nlxtp_download,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_download_fd", error, || {
        let mut file: File = descriptor::own(archive)?;
        download_to(node, &mut file, options, control, report)
    })
}

/// The same, written by a callback.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_node_download_writer(
    node: *const nlxtp_node,
    archive: *const nlxtp_writer,
    options: *const nlxtp_download_options,
    control: *const nlxtp_control,
    report: *mut *mut nlxtp_download,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("node_download_writer", error, || {
        let mut sink = sink(archive)?;
        download_to(node, &mut sink, options, control, report)
    })
}

fn download_to(
    node: *const nlxtp_node,
    archive: &mut dyn Write,
    options: *const nlxtp_download_options,
    control: *const nlxtp_control,
    report: *mut *mut nlxtp_download,
) -> Result<()> {
    let packing = Packing::read(options, None)?;
    packing.check_once()?;
    let (open, control) = (borrow(node)?, self::control(control)?);
    let downloaded = open.with(|node| {
        node.set_threads(packing.threads);
        node.name_journalled_archive(None);
        let downloaded = node.download(archive, packing.format, &control)?;
        node.confirm_download();
        Ok(downloaded)
    })?;
    Out::optional(report).set(|| give(Downloaded::new(downloaded, 1)));
    Ok(())
}
