//! Scratch directories and what is put into them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::TempDir;

/// A scratch directory, in memory where that can be had: flushing costs nothing there.
pub(crate) fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a scratch directory can be made")
}

/// Makes or replaces a file; pages of zeros become holes.
pub(crate) fn write_sparse(path: &Path, content: &[u8]) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(content.len() as u64)?;
    for (nth, page) in content.chunks(4096).enumerate() {
        // Compared as a whole, which is quick although this code is watched.
        if *page != [0; 4096][..page.len()] {
            file.write_all_at(page, nth as u64 * 4096)?;
        }
    }
    Ok(())
}
