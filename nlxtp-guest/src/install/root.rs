//! The root file system that is installed into: this system's own, or an offline one.
//!
//! In an offline root every path is resolved as if the root were `/` (`openat2` with
//! `RESOLVE_IN_ROOT`): an absolute link, `..`, or a link of `/proc` leads to no file of the host,
//! whoever wrote it. Everything is then done by handle in the directory that was found, so that
//! nobody can swap a component between a check and its use.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::symlinkat;

use crate::directory::Directory;
use crate::sys::FileStat;

/// Bytes of a file that is read, at most.
const MOST_READ: u64 = 16 << 20;

/// How often a resolution is tried again that something moving has disturbed.
const MOST_RESOLUTIONS: usize = 64;

/// A root file system.
pub struct Root {
    top: OwnedFd,
    offline: bool,
    shown: PathBuf,
}

impl Root {
    /// This system's own root.
    ///
    /// # Errors
    /// The system's.
    pub fn running() -> io::Result<Self> {
        Self::open(Path::new("/"), false)
    }

    /// A root file system that lies in a directory.
    ///
    /// # Errors
    /// The system's; on kernels that cannot keep paths beneath it, that.
    pub fn offline(path: &Path) -> io::Result<Self> {
        let root = Self::open(path, true)?;
        match root.resolve(".", OFlag::O_PATH | OFlag::O_CLOEXEC) {
            Err(Errno::ENOSYS | Errno::EPERM) => Err(io::Error::other(
                "this kernel has no openat2 (Linux 5.6), which keeps links from leading out of it; run this in the guest",
            )),
            other => other.map(|_| root).map_err(Into::into),
        }
    }

    fn open(path: &Path, offline: bool) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self { top: open(path, flags, Mode::empty())?, offline, shown: path.to_owned() })
    }

    /// Whether this is not the system that runs this program.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Where it lies.
    pub fn place(&self) -> &Path {
        &self.shown
    }

    fn resolve(&self, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        let relative = Some(path.trim_start_matches('/')).filter(|path| !path.is_empty()).unwrap_or(".");
        if !self.offline {
            return openat(&self.top, relative, flags, Mode::empty());
        }
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            match openat2(&self.top, relative, OpenHow::new().flags(flags).resolve(resolve)) {
                // Something was moved, and the kernel cannot tell whether that led out.
                Err(Errno::EAGAIN) if tries < MOST_RESOLUTIONS => tries += 1,
                other => return other,
            }
        }
    }

    fn directory(&self, path: &str) -> Result<Directory, Errno> {
        self.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).map(Directory::from)
    }

    /// The directory that a path's last part stands in; `None` if it is not there.
    fn parent<'p>(&self, path: &'p str) -> io::Result<Option<(Directory, &'p str)>> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        match self.directory(parent) {
            Ok(parent) => Ok(Some((parent, name))),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn existing_parent<'p>(&self, path: &'p str) -> io::Result<(Directory, &'p str)> {
        self.parent(path)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// What stands under a path, its last part not followed.
    ///
    /// # Errors
    /// The system's.
    pub fn look(&self, path: &str) -> io::Result<Option<FileStat>> {
        self.parent(path)?.map_or(Ok(None), |(parent, name)| parent.look(name))
    }

    /// Whether anything stands where a path leads, links followed.
    pub fn leads_somewhere(&self, path: &str) -> bool {
        self.resolve(path, OFlag::O_PATH | OFlag::O_CLOEXEC).is_ok()
    }

    /// Whether a directory stands where a path leads, links followed.
    pub fn has_directory(&self, path: &str) -> bool {
        self.directory(path).is_ok()
    }

    /// The content and permissions of a regular file, links followed; `None` if there is none.
    ///
    /// # Errors
    /// It is something else, or too large; else the system's.
    pub fn read(&self, path: &str) -> io::Result<Option<(Vec<u8>, u32)>> {
        // Opening a FIFO must not wait for somebody to write to it.
        let file = match self.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC) {
            Ok(file) => std::fs::File::from(file),
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let about = file.metadata()?;
        if !about.is_file() || about.len() > MOST_READ {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file, or larger than 16 MiB"));
        }
        let mut content = Vec::new();
        file.take(MOST_READ).read_to_end(&mut content)?;
        Ok(Some((content, about.permissions().mode() & 0o7777)))
    }

    /// Where a link leads; `None` if there is no link.
    ///
    /// # Errors
    /// The system's.
    pub fn link(&self, path: &str) -> io::Result<Option<String>> {
        let Some((parent, name)) = self.parent(path)? else { return Ok(None) };
        match readlinkat(&parent, name) {
            Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
            Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The names in a directory; none if it is not there.
    ///
    /// # Errors
    /// The system's.
    pub fn names(&self, path: &str) -> io::Result<Vec<String>> {
        match self.directory(path) {
            Ok(directory) => {
                let mut names: Vec<String> =
                    directory.names()?.iter().map(|name| name.to_string_lossy().into_owned()).collect();
                names.sort_unstable();
                Ok(names)
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a directory; its parent is there.
    ///
    /// # Errors
    /// The system's.
    pub fn make_directory(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.existing_parent(path)?;
        parent.create_directory(name)?;
        parent.sync()
    }

    /// Writes a file: all of it stands there, or what stood there before. A link of that name is
    /// replaced, not followed.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, path: &str, content: &[u8], mode: u32) -> io::Result<()> {
        let (parent, name) = self.existing_parent(path)?;
        let fresh = format!(".{name}.nlxtp-new");
        // Of an earlier try that broke off.
        parent.remove_file(&fresh)?;
        let mut file = parent.create_file(&fresh)?;
        let written = file
            .write_all(content)
            .and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(mode)))
            .and_then(|()| file.sync_all())
            .and_then(|()| parent.rename(&fresh, name));
        if let Err(error) = written {
            let _ = parent.remove_file(&fresh);
            return Err(error);
        }
        parent.sync()
    }

    /// Makes a link; what of that name is no directory is replaced.
    ///
    /// # Errors
    /// The system's.
    pub fn make_link(&self, path: &str, target: &str) -> io::Result<()> {
        let (parent, name) = self.existing_parent(path)?;
        let fresh = format!(".{name}.nlxtp-new");
        parent.remove_file(&fresh)?;
        symlinkat(target, &parent, fresh.as_str())?;
        if let Err(error) = parent.rename(&fresh, name) {
            let _ = parent.remove_file(&fresh);
            return Err(error);
        }
        parent.sync()
    }

    /// Renames within a directory.
    ///
    /// # Errors
    /// The system's.
    pub fn rename(&self, path: &str, new_name: &str) -> io::Result<()> {
        let (parent, name) = self.existing_parent(path)?;
        parent.rename(name, new_name)?;
        parent.sync()
    }

    /// Removes a file or a link; that there is none is fine.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let Some((parent, name)) = self.parent(path)? else { return Ok(()) };
        parent.remove_file(name)?;
        parent.sync()
    }

    /// Removes a directory; false if something is in it or mounted on it.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_directory(&self, path: &str) -> io::Result<bool> {
        let Some((parent, name)) = self.parent(path)? else { return Ok(true) };
        match parent.remove_directory(name) {
            Ok(()) => parent.sync().map(|()| true),
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT) => Ok(true),
                Some(Errno::ENOTEMPTY | Errno::EBUSY | Errno::ENOTDIR) => Ok(false),
                _ => Err(error),
            },
        }
    }
}

/// Whether the attributes are those of a directory.
pub fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory that holds an offline root and, beside it, what no link may lead to.
    fn place() -> (tempfile::TempDir, Root, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let (root, outside) = (place.path().join("root"), place.path().join("outside"));
        for dir in [&root, &root.join("etc"), &outside] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(outside.join("secret"), "the host's").unwrap();
        let root = Root::offline(&root).unwrap();
        (place, root, outside)
    }

    #[test]
    fn no_link_leads_out_of_the_root() {
        let (_place, root, outside) = place();
        let (within, outside_text) = (root.place().to_owned(), outside.display().to_string());
        symlink(&outside, within.join("absolute")).unwrap();
        symlink("../../../../outside", within.join("etc/climbs")).unwrap();
        symlink(format!("/proc/self/root{outside_text}"), within.join("magic")).unwrap();
        symlink(outside.join("secret"), within.join("etc/secret")).unwrap();
        for directory in ["/absolute", "/etc/climbs", "/magic", &outside_text] {
            assert!(!root.has_directory(directory), "{directory}");
            assert!(root.write(&format!("{directory}/new"), b"x", 0o644).is_err(), "{directory}");
            assert!(root.make_directory(&format!("{directory}/new")).is_err(), "{directory}");
            assert!(root.make_link(&format!("{directory}/new"), "x").is_err(), "{directory}");
            assert!(root.remove(&format!("{directory}/secret")).is_ok());
        }
        assert_eq!(root.read("/etc/secret").unwrap(), None);
        assert_eq!(root.read("/../outside/secret").unwrap(), None);
        root.write("/etc/secret", b"the guest's", 0o600).unwrap();
        assert_eq!(root.read("/etc/secret").unwrap(), Some((b"the guest's".to_vec(), 0o600)));
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"the host's");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "nothing was added outside");
    }

    #[test]
    fn the_links_of_proc_are_not_followed() {
        assert!(Path::new("/proc/self/root/tmp").is_dir());
        let root = Root::offline(Path::new("/proc")).unwrap();
        assert!(root.has_directory("/self/net") && !root.has_directory("/self/root/tmp"));
        assert!(root.write("/self/root/tmp/nlxtp-test", b"x", 0o644).is_err());
    }

    #[test]
    fn an_absolute_link_leads_to_a_place_in_the_root() {
        let (_place, root, _) = place();
        symlink("/etc", root.place().join("conf")).unwrap();
        root.write("/conf/file", b"x", 0o644).unwrap();
        assert_eq!(fs::read(root.place().join("etc/file")).unwrap(), b"x");
        assert_eq!(root.link("/conf").unwrap().as_deref(), Some("/etc"));
        assert_eq!(root.link("/etc").unwrap(), None);
    }

    #[test]
    fn a_fifo_blocks_nobody() {
        let (_place, root, _) = place();
        nix::unistd::mkfifo(&root.place().join("etc/fifo"), Mode::from_bits_truncate(0o600)).unwrap();
        assert!(root.read("/etc/fifo").is_err());
        root.write("/etc/fifo", b"x", 0o644).unwrap();
        assert_eq!(root.read("/etc/fifo").unwrap().unwrap().0, b"x");
    }

    #[test]
    fn directories_are_removed_only_when_they_are_empty() {
        let (_place, root, _) = place();
        root.write("/etc/file", b"x", 0o644).unwrap();
        assert!(!root.remove_directory("/etc").unwrap());
        root.remove("/etc/file").unwrap();
        assert!(root.remove_directory("/etc").unwrap());
        assert!(root.remove_directory("/etc").unwrap(), "gone is gone");
    }
}
