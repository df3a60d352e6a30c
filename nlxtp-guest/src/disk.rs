//! The shared disk of a virtual machine: found among the guest's disks, and mounted.
//!
//! It is found by what the kernel itself tells, so with and without udev: the names in
//! `/sys/class/block`, and the kernel's own events when a disk comes later.
//!
//! It is mounted without `sync` and without `flush`: the first would flush every write of every
//! script, the second waits a tenth of a second at every close. What has to be on the disk, the
//! monitor brings there: each record by `fdatasync`, everything by `syncfs` before Done.

#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use rextfv_core::layout::VOLUME_LABEL;

use crate::config::{Config, Device};
use crate::error::{Doing, Error, note};
use crate::volume;

/// How long a disk that must come is waited for.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How scripts see the disk; names in UTF-8, letters as they were written.
const VFAT_OPTIONS: &str = "umask=022,utf8=1,shortname=mixed";

/// The disk, if it is there: the one named, else the best that can be found.
pub fn find(device: &Device) -> Option<PathBuf> {
    match device {
        Device::At(device) => Some(device.clone()).filter(|device| device.exists()),
        Device::Unsaid | Device::Auto => find_volume(),
    }
}

/// What was looked for, to say that it is not there.
pub fn wanted(device: &Device) -> String {
    match device {
        Device::At(device) => device.display().to_string(),
        Device::Unsaid | Device::Auto => {
            format!("a disk with a FAT file system that is labelled {VOLUME_LABEL} or holds a start script")
        }
    }
}

fn find_volume() -> Option<PathBuf> {
    let entries = fs::read_dir("/sys/class/block").ok()?.flatten();
    let mut names: Vec<_> = entries.filter(|entry| may_be_ours(&entry.path())).map(|entry| entry.file_name()).collect();
    names.sort_unstable();
    let devices = names.iter().map(|name| Path::new("/dev").join(name));
    let known = devices.filter_map(|device| Some((volume::recognise(&File::open(&device).ok()?)?, device)));
    // Of equals, the first.
    known.min_by_key(|(reason, _)| Reverse(*reason)).map(|(_, device)| device)
}

/// Neither an empty drive nor a floppy disk's, which would take seconds to say that it is empty.
fn may_be_ours(block: &Path) -> bool {
    let floppy = block.file_name().is_some_and(|name| name.as_bytes().starts_with(b"fd"));
    !floppy && fs::read_to_string(block.join("size")).is_ok_and(|size| size.trim() != "0")
}

/// Mounts the disk.
///
/// # Errors
/// The directory cannot be made, or the system refuses.
pub fn mount_at(device: &Path, dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).doing(|| format!("make {}", dir.display()))?;
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    mount(Some(device), dir, Some("vfat"), flags, Some(VFAT_OPTIONS))
        .doing(|| format!("mount {} at {}", device.display(), dir.display()))
}

/// The disk that a daemon has not found yet.
pub struct Search<'a> {
    config: &'a Config,
    events: Option<OwnedFd>,
    until: Instant,
    /// What was said last, so that it is not said again and again.
    said: Option<String>,
}

impl<'a> Search<'a> {
    /// Begins to look, if there is anything to be looked for: not where the configuration names no
    /// disk, not where something is mounted already, and not in a container, whose disks are the
    /// host's.
    pub fn begin(config: &'a Config) -> Option<Self> {
        if config.device == Device::Unsaid || is_mount_point(&config.dir) || in_container() {
            return None;
        }
        let events = kernel_events()
            .map_err(|error| note(format_args!("no events of disks, so they are looked at at intervals: {error}")))
            .ok();
        Some(Self { config, events, until: Instant::now() + DEADLINE, said: None })
    }

    /// Mounts the disk if it has come. True if the search is over.
    pub fn look(&mut self) -> bool {
        // What came before is seen now; what comes from now on makes an event.
        self.drain();
        if is_mount_point(&self.config.dir) {
            return true;
        }
        let problem = match find(&self.config.device) {
            Some(device) => match mount_at(&device, &self.config.dir) {
                Ok(()) => {
                    note(format_args!("mounted {} at {}", device.display(), self.config.dir.display()));
                    return true;
                }
                Err(error) => error.to_string(),
            },
            None => format!("waiting for {}", wanted(&self.config.device)),
        };
        if self.said.as_ref() != Some(&problem) {
            note(&problem);
            self.said = Some(problem);
        }
        false
    }

    /// Whether a new disk makes an event.
    pub fn has_events(&self) -> bool {
        self.events.is_some()
    }

    /// Until when somebody who has only one look at the directory should wait for the disk.
    pub fn until(&self) -> Option<Instant> {
        Some(self.until).filter(|until| Instant::now() < *until)
    }

    /// What to poll.
    pub fn descriptor(&self) -> Option<PollFd<'_>> {
        self.events.as_ref().map(|events| PollFd::new(events.as_fd(), PollFlags::POLLIN))
    }

    fn drain(&self) {
        let Some(events) = &self.events else { return };
        let mut event = [0; 256];
        // An overflow is an error that is told once; what was lost, this look finds.
        while recv(events.as_raw_fd(), &mut event, MsgFlags::MSG_DONTWAIT).is_ok_and(|length| length > 0) {}
    }
}

/// The events that the kernel sends to whoever listens, udev or not.
fn kernel_events() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let kind = SockProtocol::NetlinkKObjectUEvent;
    let events = socket(AddressFamily::Netlink, SockType::Datagram, flags, kind)?;
    bind(events.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
    Ok(events)
}

/// Whether something is mounted just there.
pub fn is_mount_point(dir: &Path) -> bool {
    let Ok(dir) = dir.canonicalize() else { return false };
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    table.split(|&byte| byte == b'\n').filter_map(|line| line.split(|&byte| byte == b' ').nth(4)).any(|place| {
        let unescaped = unescape(place);
        unescaped == dir.as_os_str().as_bytes()
    })
}

/// The mount table writes blanks, tabs, line ends and backslashes as three octal digits.
fn unescape(place: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(place.len());
    let mut rest = place;
    while let [first, tail @ ..] = rest {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match tail.get(..3).filter(|_| *first == b'\\').and_then(octal) {
            Some(byte) => {
                plain.push(byte);
                rest = &tail[3..];
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

/// Whether this is a container: it has processes of its own, or its manager says so.
pub fn in_container() -> bool {
    // The first namespace of processes has had this number in every kernel that has namespaces.
    const FIRST: &[u8] = b"pid:[4026531836]";
    let namespace = fs::read_link("/proc/self/ns/pid");
    let of_its_own = namespace.is_ok_and(|namespace| namespace.as_os_str().as_bytes() != FIRST);
    let marks = ["/run/systemd/container", "/run/.containerenv", "/.dockerenv"];
    of_its_own || marks.iter().any(|mark| Path::new(mark).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_the_mount_table_writes_them() {
        assert_eq!(unescape(br"/mnt/a\040b\134c"), b"/mnt/a b\\c");
        assert_eq!(unescape(br"/a\04"), br"/a\04");
    }

    #[test]
    fn mount_points_are_told_from_directories() {
        assert!(is_mount_point(Path::new("/proc")));
        assert!(is_mount_point(Path::new("/sys/../proc")));
        assert!(!is_mount_point(Path::new("/proc/self")));
        assert!(!is_mount_point(Path::new("/no such directory")));
    }

    #[test]
    fn nothing_is_looked_for_unless_it_is_asked_for() {
        assert!(Search::begin(&Config::default()).is_none());
        let mounted = Config { device: Device::Auto, dir: "/proc".into(), ..Config::default() };
        assert!(Search::begin(&mounted).is_none(), "something is mounted there");
    }
}
