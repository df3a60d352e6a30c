//! Noticing that something happened to the shared directory.
//!
//! At rest nothing wakes up: inotify tells of changes in the directory, and the mount table, which
//! can be polled, tells that another file system has come to stand there. Where the host's changes
//! make no events (network and shared file systems), and where the directory is not there, the
//! daemon looks at intervals as well.
//!
//! The directory is never held open between two looks: an open handle would delay the event of its
//! removal and keep its file system from being unmounted.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::config::{Config, Noticing};
use crate::error::note;
use crate::sys;

/// What the daemon waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Anything new.
    Arrivals,
    /// That `exec_status` vanishes. Until then no upload can be started, and whatever the script
    /// writes beside it need not wake anybody.
    Removal,
}

/// File systems that other machines change without events here: 9p, FUSE (virtiofs too), NFS,
/// SMB, CIFS, Ceph, VirtualBox's and VMware's shared folders.
const WITHOUT_EVENTS: [u32; 9] =
    [0x0102_1997, 0x6573_5546, 0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x786f_4256, 0xbacb_acbc];

/// A watch on a directory that may or may not be there.
pub struct Watch {
    path: PathBuf,
    inotify: Option<Inotify>,
    /// What is watched at present, and for what.
    current: Option<(WatchDescriptor, PathBuf, AddWatchFlags)>,
    mounts: Option<File>,
}

impl Watch {
    /// Prepares to watch the shared directory.
    pub fn new(config: &Config) -> Self {
        let inotify = match config.noticing {
            Noticing::Poll => None,
            Noticing::Auto => Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
                .map_err(|error| note(format_args!("no events, so the directory is looked at at intervals: {error}")))
                .ok(),
        };
        let mounts = File::open("/proc/self/mountinfo").ok();
        Self { path: config.dir.clone(), inotify, current: None, mounts }
    }

    /// Sees to it that the directory that the path names *now* is watched, or else the nearest one
    /// above it that is there. Tells whether every change will be noticed; if not, look again after
    /// a while.
    ///
    /// What happened before this call makes no event: look at the directory after it.
    pub fn arm(&mut self, interest: Interest) -> bool {
        if self.inotify.is_none() {
            return false;
        }
        let wanted = match interest {
            Interest::Arrivals => {
                // By new times of the directory, a host that has finished an upload gives notice.
                AddWatchFlags::IN_ATTRIB
                    | AddWatchFlags::IN_CREATE
                    | AddWatchFlags::IN_MOVED_TO
                    | AddWatchFlags::IN_CLOSE_WRITE
                    | AddWatchFlags::IN_MODIFY
                    | AddWatchFlags::IN_DELETE
                    | AddWatchFlags::IN_MOVED_FROM
            }
            Interest::Removal => AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM,
        };
        let own_end = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ONLYDIR;
        let path = self.path.clone();
        if self.add(&path, wanted | own_end) {
            return has_events(&path);
        }
        let arrivals = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        for above in path.ancestors().skip(1) {
            if self.add(above, arrivals | own_end) {
                break;
            }
        }
        false
    }

    /// Adding a watch again changes nothing, except that it finds another directory under the same
    /// path: so this is both the first watch and the check of an old one.
    fn add(&mut self, path: &Path, mask: AddWatchFlags) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let Ok(descriptor) = inotify.add_watch(path, mask) else { return false };
        if let Some((old, ..)) = self.current.replace((descriptor, path.to_owned(), mask))
            && old != descriptor
        {
            // It may be gone with its directory.
            let _ = inotify.rm_watch(old);
        }
        true
    }

    /// What to poll.
    pub fn descriptors(&self) -> impl Iterator<Item = PollFd<'_>> {
        let events = self.inotify.as_ref().map(|inotify| PollFd::new(inotify.as_fd(), PollFlags::POLLIN));
        // The mount table is always readable; its changes show as urgent.
        let mounts = self.mounts.as_ref().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI));
        events.into_iter().chain(mounts)
    }

    /// Takes all events in; tells whether there were any.
    ///
    /// # Errors
    /// The system's.
    pub fn take_events(&self) -> io::Result<bool> {
        let mut any = false;
        let Some(inotify) = &self.inotify else { return Ok(false) };
        loop {
            match inotify.read_events() {
                // What they say, an overflow too, is found by looking.
                Ok(_) => any = true,
                Err(nix::errno::Errno::EAGAIN) => return Ok(any),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn has_events(path: &Path) -> bool {
    sys::file_system_type(path).is_ok_and(|found| !WITHOUT_EVENTS.contains(&found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn watch(path: &Path) -> Watch {
        Watch::new(&Config { dir: path.to_owned(), ..Config::default() })
    }

    #[test]
    fn a_file_system_is_known_by_its_type() {
        assert_eq!(sys::file_system_type(Path::new("/proc")), Ok(0x9fa0));
        assert!(has_events(Path::new("/proc")) && !has_events(Path::new("/nowhere/at/all")));
    }

    #[test]
    fn a_directory_is_watched_for_arrivals() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = watch(dir.path());
        assert!(watch.arm(Interest::Arrivals));
        assert!(!watch.take_events().unwrap());
        fs::write(dir.path().join("file"), "x").unwrap();
        assert!(watch.take_events().unwrap());
        File::open(dir.path()).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
        assert!(watch.take_events().unwrap());
    }

    #[test]
    fn a_running_script_wakes_nobody_by_writing() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("exec_status")).unwrap();
        let mut watch = watch(dir.path());
        watch.arm(Interest::Arrivals);
        assert!(watch.arm(Interest::Removal));
        fs::write(dir.path().join("file"), "x").unwrap();
        assert!(!watch.take_events().unwrap());
        fs::rename(dir.path().join("exec_status"), dir.path().join("old")).unwrap();
        assert!(watch.take_events().unwrap());
    }

    #[test]
    fn a_missing_directory_is_waited_for_above() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let mut watch = watch(&path);
        assert!(!watch.arm(Interest::Arrivals));
        fs::create_dir(dir.path().join("a")).unwrap();
        assert!(watch.take_events().unwrap());
        assert!(!watch.arm(Interest::Arrivals));
        fs::create_dir(&path).unwrap();
        assert!(watch.take_events().unwrap());
        assert!(watch.arm(Interest::Arrivals));
        fs::remove_dir(&path).unwrap();
        assert!(watch.take_events().unwrap());
    }

    #[test]
    fn a_replaced_directory_is_watched_instead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("share");
        fs::create_dir(&path).unwrap();
        let mut watch = watch(&path);
        assert!(watch.arm(Interest::Arrivals));
        fs::rename(&path, dir.path().join("old")).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(watch.arm(Interest::Arrivals));
        watch.take_events().unwrap();
        fs::write(dir.path().join("old/file"), "x").unwrap();
        assert!(!watch.take_events().unwrap());
        fs::write(path.join("file"), "x").unwrap();
        assert!(watch.take_events().unwrap());
    }
}
