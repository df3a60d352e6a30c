//! What lies outside the shared directory and must never be touched.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd;

/// Bytes that nothing that comes out of the shared directory may hold.
pub const MARK: &[u8] = b"bytes of the canary that nobody may read";

/// Files of the canary: the names that are looked for in the shared directory, so that whoever
/// follows a link finds something.
const CANARY_FILES: [&str; 10] = [
    "auto_exec.sh",
    "custom",
    "data",
    "file",
    "inner/file",
    "inner/deeper/file",
    "nlxtp_run_id",
    "out",
    "status.0",
    "stdout",
];

/// Everything that can be seen of an entry but when it was last read.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    content: Vec<u8>,
}

/// A directory tree outside the shared directory.
pub struct Canary {
    path: PathBuf,
    before: Vec<Seen>,
}

impl Canary {
    pub fn make(path: PathBuf) -> Self {
        for (number, name) in (0_u32..).zip(CANARY_FILES) {
            let file = path.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, [MARK, name.as_bytes()].concat()).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o640 | (number % 8))).unwrap();
            if unistd::geteuid().is_root() {
                std::os::unix::fs::chown(&file, Some(4000 + number), Some(5000 + number)).unwrap();
            }
            let modified = std::time::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + u64::from(number));
            File::open(&file).unwrap().set_modified(modified).unwrap();
        }
        // Whoever opens it waits forever.
        unistd::mkfifo(&path.join("fifo"), Mode::S_IRWXU).unwrap();
        symlink("inner/file", path.join("link")).unwrap();
        let mut canary = Self { path, before: Vec::new() };
        canary.before = canary.look();
        canary
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn look(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut paths = vec![self.path.clone()];
        while let Some(path) = paths.pop() {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let kind = metadata.file_type();
            let content = if kind.is_dir() {
                paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                Vec::new()
            } else if kind.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if kind.is_fifo() {
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            seen.push(Seen {
                inode: metadata.ino(),
                mode: metadata.mode(),
                owner: (metadata.uid(), metadata.gid()),
                links: metadata.nlink(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
                content,
                path,
            });
        }
        seen.sort_by(|a, b| a.path.cmp(&b.path));
        seen
    }

    pub fn is_untouched(&self) -> bool {
        self.look() == self.before
    }

    #[track_caller]
    pub fn assert_untouched(&self) {
        assert_eq!(self.look(), self.before);
    }
}

/// Whether bytes of the canary are in here.
pub fn holds_mark(bytes: &[u8]) -> bool {
    bytes.windows(MARK.len()).any(|window| window == MARK)
}
