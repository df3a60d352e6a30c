//! How it must not be done: everything by path, with a look before each step that tells nothing
//! about the next moment. It is here to show that the attacks find what they are looking for.

use std::fs;
use std::io;
use std::path::Path;

/// Reads a file if it is no link.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::symlink_metadata(path)?.is_file() { fs::read(path) } else { Ok(Vec::new()) }
}

/// Reads everything beneath a directory, going into no link.
pub fn walk(path: &Path, all: &mut Vec<u8>) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        // What has vanished or changed is passed over.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            let _ = walk(&path, all);
        } else if metadata.is_file() {
            all.extend(fs::read(&path).unwrap_or_default());
        }
    }
    Ok(())
}

/// Removes everything beneath a directory, going into no link.
pub fn clear(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            let _ = clear(&path);
            let _ = fs::remove_dir(&path);
        } else {
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

/// Writes files into directories that are no links.
pub fn extract(root: &Path, directory: &str, files: &[&str]) -> io::Result<()> {
    let directory = root.join(directory);
    let _ = fs::create_dir(&directory);
    for file in files {
        if fs::symlink_metadata(&directory)?.is_dir() {
            let _ = fs::write(directory.join(file), "of an upload");
        }
    }
    Ok(())
}
