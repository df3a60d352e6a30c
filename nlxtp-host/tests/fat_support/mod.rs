//! What the tests of the FAT module share: trees as plain data.
#![allow(dead_code)] // Each test program uses a part of it.

pub mod forge;
pub mod judges;
pub mod mutated_disk;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use nlxtp_host::fat::{
    Extent, FatError, FatVolume, FormatOptions, Layout, Plan, ReadAt, ReadLimits, Target, WalkItem, WriteAt, Writer,
};

/// Paths with content; `None` is a directory.
pub type Tree = BTreeMap<String, Option<Vec<u8>>>;

pub const MIB: u64 = 1 << 20;
pub const TIME: i64 = 1_709_210_096;

/// Bytes that differ from place to place and from file to file.
pub fn content(seed: usize, len: usize) -> Vec<u8> {
    let mut random = Random(seed as u64 + 1);
    (0..len).map(|_| random.next().to_le_bytes()[3]).collect()
}

/// xorshift64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

/// Names and sizes of every kind.
pub fn sample(cluster_size: usize) -> Tree {
    let mut tree = Tree::new();
    let sizes = [0, 1, cluster_size - 1, cluster_size, cluster_size + 1, 3 * cluster_size];
    for (n, size) in sizes.into_iter().enumerate() {
        tree.insert(format!("sizes/size {size}.bin"), Some(content(n, size)));
    }
    let names = [
        "auto_exec.sh",
        "UPPER.TXT",
        "lower.txt",
        "Mixed.Case",
        "MIXED.cas",
        "no_extension",
        ".hidden",
        "two.dots.tar.gz",
        "with space.txt",
        " leading space",
        "plus+comma,semi;equals=[x]",
        "LONGFI~1.TXT",
        "longfile name.txt",
        "exactly13char",
        "twenty-six characters here",
        "ÄÖÜ äöü ß.txt",
        "日本語のファイル.テキスト",
        "emoji 🦀 crab",
        "a",
        "~1",
        "%$#@!(){}^&'`",
    ];
    for (n, name) in names.into_iter().enumerate() {
        tree.insert(format!("names/{name}"), Some(content(100 + n, 10 * n)));
        tree.insert(format!("directories/{name}/file"), Some(vec![b'x'; n]));
    }
    for len in [100, 200, 255] {
        tree.insert(format!("names/{}", "n".repeat(len)), Some(content(len, 50)));
    }
    tree.insert("empty directory".into(), None);
    let deep: Vec<String> = (0..30).map(|n| format!("level {n}")).collect();
    tree.insert(deep.join("/"), Some(b"deep".to_vec()));
    with_directories(tree)
}

/// The sample without characters beyond the first 65,536, which mtools cut off
/// and the `fatfs` crate refuses to write.
pub fn basic_sample(cluster_size: usize) -> Tree {
    let mut tree = sample(cluster_size);
    tree.retain(|path, _| path.chars().all(|c| c <= '\u{FFFF}'));
    tree
}

/// Adds the directories that paths go through.
pub fn with_directories(mut tree: Tree) -> Tree {
    let paths: Vec<String> = tree.keys().cloned().collect();
    for path in paths {
        for (at, _) in path.match_indices('/') {
            tree.entry(path[..at].to_owned()).or_insert(None);
        }
    }
    tree
}

pub fn plan(tree: &Tree, options: FormatOptions, len: u64) -> Result<Arc<Layout>, FatError> {
    let mut plan = Plan::new(options, len)?;
    for (path, content) in tree {
        match content {
            None => plan.add_directory(path, TIME)?,
            Some(content) => drop(plan.add_file(path, content.len() as u64, TIME)?),
        }
    }
    plan.finish()
}

pub fn write(
    tree: &Tree,
    layout: &Arc<Layout>,
    storage: impl WriteAt,
    offset: u64,
    target: Target,
) -> Result<(), FatError> {
    let mut writer = layout.writer(storage, offset, target)?;
    for content in tree.values().flatten() {
        writer.write_file(&mut content.as_slice())?;
    }
    writer.finish()?;
    Ok(())
}

/// Adds and writes everything as it comes, of which the layout knows nothing.
pub fn stream<W: WriteAt>(tree: &Tree, writer: &mut Writer<W>) -> Result<(), FatError> {
    for (path, content) in tree {
        match content {
            None => writer.add_directory(path, TIME)?,
            Some(content) => {
                writer.add_file(path, content.len() as u64, TIME)?;
                writer.write_file(&mut content.as_slice())?;
            }
        }
    }
    Ok(())
}

/// A new image file with a bare file system, which is told of everything only as it comes.
pub fn stream_file(path: &Path, tree: &Tree, options: FormatOptions, len: u64) {
    let file = new_file(path, len);
    let layout = Plan::new(options, len).unwrap().finish().unwrap();
    let mut writer = layout.writer(&file, 0, Target::Zeroed).unwrap();
    stream(tree, &mut writer).unwrap();
    writer.finish().unwrap();
}

/// A new image file with a bare file system.
pub fn build_file(path: &Path, tree: &Tree, options: FormatOptions, len: u64) -> Arc<Layout> {
    let file = new_file(path, len);
    let layout = plan(tree, options, len).unwrap();
    write(tree, &layout, &file, 0, Target::Zeroed).unwrap();
    layout
}

pub fn new_file(path: &Path, len: u64) -> File {
    let file = File::create_new(path).unwrap();
    file.set_len(len).unwrap();
    drop(file);
    open_rw(path)
}

pub fn open_rw(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

/// Reads everything with our reader; names must all be accepted.
pub fn read_tree(storage: &(impl ReadAt + ?Sized), extent: Extent) -> Result<Tree, FatError> {
    let volume = FatVolume::open(storage, extent, ReadLimits::default())?;
    let mut tree = Tree::new();
    for item in volume.walk(volume.root()) {
        match item? {
            WalkItem::Entry { path, entry } => {
                let content = match entry.is_dir {
                    true => None,
                    false => Some(volume.read_file(&entry, u32::MAX)?),
                };
                tree.insert(path, content);
            }
            other => panic!("{other:?}"),
        }
    }
    Ok(tree)
}

/// A volume that is the whole of a disk.
pub fn whole(len: u64) -> Extent {
    Extent { offset: 0, len }
}

/// A directory of the host as a tree.
pub fn read_host(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![String::new()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(root.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = match directory.as_str() {
                "" => name,
                directory => format!("{directory}/{name}"),
            };
            if entry.file_type().unwrap().is_dir() {
                tree.insert(path.clone(), None);
                todo.push(path);
            } else {
                tree.insert(path, Some(fs::read(entry.path()).unwrap()));
            }
        }
    }
    tree
}

/// Writes a tree to a directory of the host.
pub fn write_host(tree: &Tree, root: &Path) {
    for (path, content) in tree {
        match content {
            None => fs::create_dir_all(root.join(path)).unwrap(),
            Some(content) => fs::write(root.join(path), content).unwrap(),
        }
    }
}

/// Compares without printing megabytes.
pub fn assert_same(found: &Tree, wanted: &Tree) {
    let only =
        |a: &Tree, b: &Tree| -> Vec<String> { a.keys().filter(|path| !b.contains_key(*path)).cloned().collect() };
    assert_eq!(only(found, wanted), [""; 0], "too much");
    assert_eq!(only(wanted, found), [""; 0], "missing");
    for (path, content) in wanted {
        assert!(found[path] == *content, "content of {path}");
    }
}

/// A part of a file, for the `fatfs` crate.
pub struct Part {
    pub file: File,
    pub extent: Extent,
    pub position: u64,
}

impl Read for Part {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.extent.len.saturating_sub(self.position);
        let len = usize::try_from(left).unwrap().min(buf.len());
        ReadAt::read_exact_at(&self.file, &mut buf[..len], self.extent.offset + self.position)?;
        self.position += len as u64;
        Ok(len)
    }
}

impl Write for Part {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        assert!(self.position + buf.len() as u64 <= self.extent.len);
        WriteAt::write_all_at(&self.file, buf, self.extent.offset + self.position)?;
        self.position += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::Current(by) => self.position.checked_add_signed(by).unwrap(),
            SeekFrom::End(by) => self.extent.len.checked_add_signed(by).unwrap(),
        };
        Ok(self.position)
    }
}
