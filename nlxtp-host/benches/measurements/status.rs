//! Status queries, beside reading the same bytes from one plain file.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use nlxtp_host::control::Control;
use rextfv_core::ids::{BootId, RunId};
use rextfv_core::layout;
use rextfv_core::liveness::State;
use rextfv_core::status::{Ending, RunState, Status, Truncated};
use rextfv_core::status_codec;

use super::{empty_disk, node};
use crate::harness::report::Report;
use crate::harness::{Comparison, Contender, Fresh, Result};
use crate::stores::mounted;

/// Bytes of a slot before it grows, as our guest makes it.
const SLOT_BYTES: usize = 8 << 10;

pub fn measure(fresh: &Fresh<'_>, rounds: usize, report: &mut Report) -> Result {
    for (input, custom_bytes) in [("custom status of 100 bytes", 100), ("custom status of 100 KiB", 100 << 10)] {
        let targets = [("status of a directory", fresh.directory()?), ("status of a disk image", empty_disk(fresh)?)];
        for (operation, target) in targets {
            query(operation, input, &target, custom_bytes, rounds, report)?;
        }
    }
    Ok(())
}

fn query(
    operation: &str,
    input: &str,
    target: &Path,
    custom_bytes: usize,
    rounds: usize,
    report: &mut Report,
) -> Result {
    let archive = target.with_file_name("status.tar");
    script_archive(&archive)?;
    let mut node = node(target)?;
    let run = node.upload(&mut File::open(&archive)?, &Control::none())?.run_id;

    let custom: Vec<u8> = (b'a'..=b'z').cycle().take(custom_bytes).collect();
    let records = [record(run, 6, &custom)?, record(run, 7, &custom)?];
    for (name, record) in layout::STATUS_SLOTS.iter().zip(&records) {
        let mut slot = record.clone();
        slot.resize(record.len().max(SLOT_BYTES).next_power_of_two(), 0);
        guest_writes(target, name, &slot)?;
    }
    let found = node.status()?;
    if found.state != State::Finished || found.sequence != Some(7) || found.custom.as_ref() != Some(&custom) {
        return Err(format!("{operation}: found {:?}, sequence {:?}", found.state, found.sequence).into());
    }

    // What must be read, in one file: the run id and the two records.
    let same = target.with_file_name("same-bytes");
    let mut bytes = format!("{run}\n").into_bytes();
    let starts = records.each_ref().map(|record| {
        bytes.extend_from_slice(record);
        bytes.len() - record.len()
    });
    fs::write(&same, &bytes)?;
    let read = || -> Result<Vec<u8>> {
        let file = File::open(&same)?;
        let mut buffer = vec![0; bytes.len()];
        file.read_exact_at(&mut buffer, 0)?;
        Ok(buffer)
    };
    let plain = Contender::new("open, pread, close", || {
        black_box(read()?);
        Ok(())
    });
    let verified = Contender::new("the same and verifying checksums", || {
        let buffer = read()?;
        for start in starts {
            black_box(status_codec::decode(&buffer[start..])?);
        }
        Ok(())
    });
    let ours = Contender::new("nlXTP", || {
        black_box(node.status()?);
        Ok(())
    });
    Comparison::new(operation, input, ours).against(plain).against(verified).repeated(500).measure(rounds, report)
}

fn record(run: RunId, sequence: u64, custom: &[u8]) -> Result<Vec<u8>> {
    Ok(status_codec::encode(&Status {
        run: Some(run),
        sequence,
        state: RunState::Finished,
        done: true,
        running_info: 1_700_000_000_000 + sequence,
        interval: Duration::from_secs(10),
        boot: Some(BootId::from_bytes([7; 16])),
        ended: Some(Ending::Exit(0)),
        stdout_bytes: 120,
        stderr_bytes: 0,
        truncated: Truncated::default(),
        custom: Some(custom.to_vec()),
    })?)
}

/// What the guest does, through its own eyes: a disk's file system in another implementation.
fn guest_writes(target: &Path, path: &str, content: &[u8]) -> Result {
    if target.is_dir() {
        let path = target.join(path);
        fs::create_dir_all(path.parent().ok_or("a path without a parent")?)?;
        return Ok(fs::write(path, content)?);
    }
    let volume = mounted(target);
    {
        let (directory, name) = path.split_once('/').ok_or("a path without a directory")?;
        let mut file = volume.root_dir().create_dir(directory)?.create_file(name)?;
        file.write_all(content)?;
        file.flush()?;
    }
    Ok(volume.unmount()?)
}

/// The smallest archive there is to upload.
fn script_archive(path: &Path) -> Result {
    let mut builder = tar::Builder::new(File::create(path)?);
    let script = b"#!/bin/sh\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(script.len() as u64);
    header.set_mode(0o755);
    builder.append_data(&mut header, layout::START_SCRIPT, script.as_slice())?;
    Ok(builder.finish()?)
}
