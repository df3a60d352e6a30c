//! What is uploaded and downloaded, and whether it has come through whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Crc;
use flate2::read::GzDecoder;

use crate::harness::{Result, succeed};

/// Files by their paths: lengths and checksums.
pub type Content = BTreeMap<PathBuf, (u64, u32)>;

pub struct Input {
    pub name: String,
    pub archive: PathBuf,
    pub content: Content,
}

pub struct Inputs([Input; 3]);

impl Inputs {
    /// One large file, many small ones, and a real source tree; less of each if it is to be quick.
    pub fn make(work: &Path, quick: bool) -> Result<Self> {
        let (megabytes, files) = if quick { (64, 5000) } else { (256, 20_000) };
        let mut random = Random(0x9e37_79b9_7f4a_7c15, 1_700_000_000_000_000);
        let one = Input::make(work, "one", format!("1 file of {megabytes} MiB"), |tree| {
            let mut file = File::create(tree.join("log"))?;
            for _ in 0..megabytes {
                file.write_all(&random.log(1 << 20))?;
            }
            Ok(())
        })?;
        let name = format!("{},{:03} files of 4 KiB", files / 1000, files % 1000);
        let many = Input::make(work, "many", name, |tree| {
            for index in 0..files {
                let directory = tree.join(format!("directory-{:03}", index / 100));
                if index % 100 == 0 {
                    fs::create_dir(&directory)?;
                }
                fs::write(directory.join(format!("file-{index:05}.dat")), random.half_compressible(4 << 10))?;
            }
            Ok(())
        })?;
        // What everybody who builds this can have: the sources of what it depends on.
        let mut sources = Input::make(work, "sources", "source tree".into(), |tree| {
            let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
            let mut vendor = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
            succeed(
                vendor.args(["vendor", "--locked", "--quiet", "--manifest-path", manifest]).arg(tree.join("vendor")),
            )
        })?;
        let (files, bytes) = (sources.content.len(), sources.content.values().map(|(length, _)| length).sum::<u64>());
        sources.name = format!("{files} files of a source tree, {} MiB", bytes >> 20);
        Ok(Self([one, many, sources]))
    }

    pub fn all(&self) -> &[Input] {
        &self.0
    }

    /// Those that are many and small.
    pub fn small_files(&self) -> &Input {
        let [_, many, _] = &self.0;
        many
    }
}

impl Input {
    /// Lets something fill a directory, and packs that.
    pub fn make(work: &Path, short: &str, name: String, fill: impl FnOnce(&Path) -> Result) -> Result<Self> {
        eprintln!("making the input: {name}");
        let tree = work.join(short);
        fs::create_dir(&tree)?;
        fill(&tree)?;
        let content = content_of_tree(&tree)?;
        let archive = work.join(format!("{short}.tar.gz"));
        succeed(Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(&tree).arg("."))?;
        Ok(Self { name, archive, content })
    }

    /// Fails unless the content is this input's.
    pub fn check(&self, found: &Content, what: &str) -> Result {
        let mut found = found.clone();
        found.remove(Path::new(rextfv_core::layout::RUN_ID));
        if found == self.content {
            return Ok(());
        }
        Err(format!("{what} of {}: the content is not what it was ({} files)", self.name, found.len()).into())
    }
}

/// The files in a directory.
pub fn content_of_tree(tree: &Path) -> Result<Content> {
    let mut content = Content::new();
    let mut directories = vec![tree.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(tree)?.to_path_buf();
                content.insert(path, checksum(&mut File::open(entry.path())?)?);
            }
        }
    }
    Ok(content)
}

/// The files in a tar.gz, as another implementation than ours reads it.
pub fn content_of_archive(archive: &Path) -> Result<Content> {
    let mut content = Content::new();
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(archive)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let path = entry.path()?;
            let path = path.strip_prefix(".").unwrap_or(&path).to_path_buf();
            content.insert(path, checksum(&mut entry)?);
        }
    }
    Ok(content)
}

fn checksum(reader: &mut dyn Read) -> Result<(u64, u32)> {
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0;
    let mut checksum = Crc::new();
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok((length, checksum.sum()));
        }
        length += read as u64;
        checksum.update(&buffer[..read]);
    }
}

/// Numbers that look random and are the same each time (Marsaglia's xorshift64*), and the time in
/// the log, in microseconds.
struct Random(u64, u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Lines as an experiment may write them.
    fn log(&mut self, length: usize) -> Vec<u8> {
        const EVENTS: [&str; 8] = [
            "packet received",
            "packet sent",
            "connection opened",
            "connection closed",
            "route changed",
            "timer expired",
            "neighbour lost",
            "retransmission",
        ];
        let mut bytes = Vec::with_capacity(length + 100);
        while bytes.len() < length {
            let random = self.next();
            self.1 += random & 0x3fff;
            let event = EVENTS[(random >> 61) as usize];
            let (node, address, size) = ((random >> 14) % 24, (random >> 24) as u8, (random >> 32) % 1460);
            let time = (self.1 / 1_000_000, self.1 % 1_000_000, (random >> 44) % 40_000);
            bytes.extend(
                format!(
                    "{}.{:06} node-{node:02} {event} from 10.0.3.{address}, {size} bytes, {:.3} ms\n",
                    time.0,
                    time.1,
                    time.2 as f64 / 1e3
                )
                .bytes(),
            );
        }
        bytes.truncate(length);
        bytes
    }

    /// By turns 1 KiB of noise and 1 KiB of words.
    fn half_compressible(&mut self, length: usize) -> Vec<u8> {
        const WORDS: [&str; 8] =
            ["upload", "status ", "download ", "execute ", "monitor ", "directory\n", "guest ", "of the host "];
        let mut bytes = Vec::with_capacity(length + 1024);
        while bytes.len() < length {
            for _ in 0..128 {
                bytes.extend(self.next().to_le_bytes());
            }
            let end = bytes.len() + 1024;
            while bytes.len() < end {
                bytes.extend(WORDS[(self.next() >> 61) as usize].bytes());
            }
            bytes.truncate(end);
        }
        bytes.truncate(length);
        bytes
    }
}
