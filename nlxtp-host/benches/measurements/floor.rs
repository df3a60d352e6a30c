//! What cannot be avoided: unpacking or packing the same bytes with the fastest encoder and decoder
//! that is known to be compatible with zlib, libdeflate, and one pass over one plain file.

use std::cell::RefCell;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use libdeflater::{CompressionLvl, Compressor, Decompressor};

use super::inputs::Input;
use crate::harness::{Contender, Fresh, Result, flush};

/// Bytes that are read, written and compressed at once.
const PIECE: usize = 1 << 20;

/// The level of downloads and of gzip, unless another is asked for.
const LEVEL: i32 = 6;

/// Decompresses the archive as a whole, in memory that is there already, writes the tar to one file
/// and flushes it.
pub fn of_upload<'a>(fresh: &'a Fresh<'_>, input: &Input) -> Result<Contender<'a>> {
    let packed = fs::read(&input.archive)?;
    let mut unpacked = vec![1; usize::try_from(unpacked_length(&packed)?)?];
    let written = fresh.path("floor.tar");
    Ok(Contender::new("floor: libdeflate, write, fdatasync", move || {
        let length = Decompressor::new().gzip_decompress(&packed, &mut unpacked)?;
        let mut file = File::create(&written)?;
        for piece in unpacked[..length].chunks(PIECE) {
            file.write_all(piece)?;
        }
        Ok(file.sync_data()?)
    }))
}

/// What the file system takes for the files themselves: they are made in an empty directory, with content
/// that is in memory, and flushed. No attributes, nothing unpacked.
pub fn of_file_system<'a>(fresh: &'a Fresh<'_>, input: &Input, target: &'a RefCell<PathBuf>) -> Result<Contender<'a>> {
    let packed = fs::read(&input.archive)?;
    let mut unpacked = vec![0; usize::try_from(unpacked_length(&packed)?)?];
    Decompressor::new().gzip_decompress(&packed, &mut unpacked)?;
    let (mut directories, mut files) = (Vec::new(), Vec::new());
    for entry in tar::Archive::new(&unpacked[..]).entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        if entry.header().entry_type().is_dir() {
            directories.push(path);
        } else if entry.header().entry_type().is_file() {
            let start = usize::try_from(entry.raw_file_position())?;
            files.push((path, start..start + usize::try_from(entry.size())?));
        }
    }
    Ok(Contender::new("floor: creating the files, sync -f", move || {
        let target = target.borrow();
        // The first is the directory itself.
        for directory in directories.iter().skip(1) {
            fs::create_dir(target.join(directory))?;
        }
        for (path, range) in &files {
            File::create_new(target.join(path))?.write_all(&unpacked[range.clone()])?;
        }
        flush(fresh.work())
    }))
}

/// Reads one file that holds the same bytes, a tar, and compresses it piece by piece in one thread.
pub fn of_download(fresh: &Fresh<'_>, input: &Input) -> Result<Contender<'static>> {
    let tar = tar_of(fresh, input)?;
    let mut encoder = Compressor::new(CompressionLvl::new(LEVEL).map_err(|_| "no such level")?);
    let (mut piece, mut packed) = (vec![0; PIECE], vec![0; encoder.deflate_compress_bound(PIECE)]);
    Ok(Contender::new("floor: read, libdeflate", move || {
        let mut file = File::open(&tar)?;
        loop {
            let length = file.read(&mut piece)?;
            if length == 0 {
                return Ok(());
            }
            black_box(encoder.deflate_compress(&piece[..length], &mut packed)?);
        }
    }))
}

/// The same where the bytes are those of files: each is opened by its path, read at once and closed. Nobody is
/// distrusted, and the place of each file's header stays empty.
pub fn of_download_of_files(directory: &Path, input: &Input) -> Result<Contender<'static>> {
    const HEADER: usize = 512;
    let mut encoder = Compressor::new(CompressionLvl::new(LEVEL).map_err(|_| "no such level")?);
    let (mut piece, mut packed) = (vec![0; PIECE], vec![0; encoder.deflate_compress_bound(PIECE)]);
    let files: Vec<_> = input.content.iter().map(|(path, (length, _))| (directory.join(path), *length)).collect();
    Ok(Contender::new("floor: open, read, close, libdeflate", move || {
        let mut filled = 0;
        let mut compress = |piece: &[u8]| encoder.deflate_compress(piece, &mut packed).map(black_box);
        for (path, length) in &files {
            if filled + HEADER > PIECE {
                compress(&piece[..std::mem::take(&mut filled)])?;
            }
            filled += HEADER;
            let mut file = File::open(path)?;
            let mut left = usize::try_from(*length)?;
            while left > 0 {
                if filled == PIECE {
                    compress(&piece)?;
                    filled = 0;
                }
                let now = left.min(PIECE - filled);
                file.read_exact(&mut piece[filled..filled + now])?;
                filled += now;
                left -= now;
            }
        }
        compress(&piece[..filled])?;
        Ok(())
    }))
}

fn tar_of(fresh: &Fresh<'_>, input: &Input) -> Result<PathBuf> {
    let packed = fs::read(&input.archive)?;
    let mut unpacked = vec![0; usize::try_from(unpacked_length(&packed)?)?];
    let length = Decompressor::new().gzip_decompress(&packed, &mut unpacked)?;
    let path = fresh.path("floor-input.tar");
    fs::write(&path, &unpacked[..length])?;
    Ok(path)
}

/// As a gzip file of one member says at its end; less than 4 GiB.
fn unpacked_length(packed: &[u8]) -> Result<u32> {
    Ok(u32::from_le_bytes(*packed.last_chunk::<4>().ok_or("the archive is too short")?))
}
