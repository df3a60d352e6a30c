//! The init systems: how each is recognised, what makes it start the daemon at boot, and how it is
//! told to start or stop it now.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Doing, Error};

use super::root::Root;
use super::{Item, PROGRAM};

/// What starts the programs of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitSystem {
    /// systemd.
    Systemd,
    /// System V init, or another that runs `/etc/rc?.d`.
    Sysvinit,
    /// OpenRC.
    OpenRc,
    /// runit.
    Runit,
    /// The init of busybox.
    Busybox,
}

const NAMES: [(&str, InitSystem); 5] = [
    ("systemd", InitSystem::Systemd),
    ("sysvinit", InitSystem::Sysvinit),
    ("openrc", InitSystem::OpenRc),
    ("runit", InitSystem::Runit),
    ("busybox", InitSystem::Busybox),
];

/// The line for busybox's `/etc/inittab`.
const INITTAB_LINE: &str = "::respawn:/usr/local/sbin/nlxtp-guest daemon --stay";

/// Where runit looks for the services to run: Debian's place, then that of Void and Artix.
const RUNIT_SERVICES: [&str; 3] = ["/etc/service", "/etc/runit/runsvdir/default", "/service"];

impl InitSystem {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, system)| *system)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, system)| *system == self).map_or("", |(name, _)| name)
    }

    /// The one that a root file system boots with.
    pub fn of(root: &Root) -> Option<Self> {
        let target = |path: &str| root.link(path).ok().flatten().unwrap_or_default();
        let first = [target("/sbin/init"), target("/init")];
        let first_is = |name: &str| first.iter().any(|path| path.rsplit('/').next() == Some(name));
        let there = |path: &str| root.leads_somewhere(path);
        match () {
            () if first_is("systemd") || !root.is_offline() && there("/run/systemd/system") => Some(Self::Systemd),
            () if first_is("runit-init") || first_is("runit") => Some(Self::Runit),
            () if there("/sbin/openrc-run") || there("/usr/sbin/openrc-run") => Some(Self::OpenRc),
            () if first_is("busybox") => Some(Self::Busybox),
            () if there("/sbin/init") && root.has_directory("/etc/init.d") => Some(Self::Sysvinit),
            () => None,
        }
    }

    /// What makes it start the daemon.
    pub fn items(self, root: &Root) -> Vec<Item> {
        let unit = |path: &'static str, text: &'static str, mode| Item::file(path, text.as_bytes().to_vec(), mode);
        match self {
            Self::Systemd => vec![
                unit(
                    "/etc/systemd/system/nlxtp-guest.service",
                    include_str!("../../install/nlxtp-guest.service"),
                    0o644,
                ),
                Item::link("/etc/systemd/system/multi-user.target.wants/nlxtp-guest.service", "../nlxtp-guest.service"),
            ],
            Self::Sysvinit => {
                let script = unit("/etc/init.d/nlxtp-guest", include_str!("../../install/nlxtp-guest.sysvinit"), 0o755);
                let levels = ('0'..='6').map(|level| Item::RunLevel { level });
                let lists = ["/etc/init.d/.depend.start", "/etc/init.d/.depend.stop"].map(str::to_owned);
                let targets = lists.into_iter().filter(|path| root.leads_somewhere(path));
                [script].into_iter().chain(levels).chain(targets.map(|path| Item::Target { path })).collect()
            }
            Self::OpenRc => vec![
                unit("/etc/init.d/nlxtp-guest", include_str!("../../install/nlxtp-guest.openrc"), 0o755),
                Item::link("/etc/runlevels/default/nlxtp-guest", "/etc/init.d/nlxtp-guest"),
            ],
            Self::Runit => {
                let services = RUNIT_SERVICES.into_iter().find(|path| root.has_directory(path));
                vec![
                    unit("/etc/sv/nlxtp-guest/run", include_str!("../../install/nlxtp-guest.runit"), 0o755),
                    Item::Scraps { path: "/etc/sv/nlxtp-guest/supervise".into() },
                    Item::link(
                        &format!("{}/nlxtp-guest", services.unwrap_or(RUNIT_SERVICES[0])),
                        "/etc/sv/nlxtp-guest",
                    ),
                ]
            }
            Self::Busybox if root.leads_somewhere("/etc/inittab") => {
                let inittab = root.read("/etc/inittab").ok().flatten().unwrap_or_default().0;
                // One that we have made is ours as a whole.
                if inittab == include_bytes!("../../install/inittab") {
                    vec![unit("/etc/inittab", include_str!("../../install/inittab"), 0o644)]
                } else {
                    vec![Item::Line { path: "/etc/inittab".into(), line: INITTAB_LINE.into() }]
                }
            }
            Self::Busybox => vec![unit("/etc/inittab", include_str!("../../install/inittab"), 0o644)],
        }
    }

    /// Whether it is what runs this system just now.
    pub fn is_running(self) -> bool {
        let first = fs::read_to_string("/proc/1/comm").unwrap_or_default();
        match self {
            Self::Systemd => Path::new("/run/systemd/system").exists(),
            Self::OpenRc => Path::new("/run/openrc/softlevel").exists(),
            Self::Runit => first.trim() == "runit",
            Self::Sysvinit | Self::Busybox => first.trim() == "init",
        }
    }

    /// The commands that let it start the daemon, or start it anew.
    pub fn start(self) -> &'static [&'static str] {
        match self {
            Self::Systemd => &["systemctl daemon-reload", "systemctl restart nlxtp-guest.service"],
            Self::Sysvinit => &["/etc/init.d/nlxtp-guest restart"],
            Self::OpenRc => &["rc-service nlxtp-guest restart"],
            // It sees the new link by itself, within five seconds.
            Self::Runit => &[],
            Self::Busybox => &["kill -HUP 1"],
        }
    }

    /// The commands that let it stop the daemon, before its files go.
    pub fn stop(self) -> &'static [&'static str] {
        match self {
            Self::Systemd => &["systemctl stop nlxtp-guest.service"],
            Self::Sysvinit => &["/etc/init.d/nlxtp-guest stop"],
            Self::OpenRc => &["rc-service nlxtp-guest stop"],
            Self::Runit => &["sv force-stop /etc/sv/nlxtp-guest"],
            Self::Busybox => &[],
        }
    }

    /// The commands that tell it that the files have gone.
    pub fn forget(self) -> &'static [&'static str] {
        match self {
            Self::Systemd => &["systemctl daemon-reload"],
            // It then ends what has no line any more.
            Self::Busybox => &["kill -HUP 1"],
            Self::Sysvinit | Self::OpenRc | Self::Runit => &[],
        }
    }
}

/// Runs one of the commands above, whose words hold no blanks.
///
/// # Errors
/// It cannot be run, or fails.
pub fn call(command: &str) -> Result<(), Error> {
    let mut words = command.split(' ');
    let mut process = Command::new(words.next().unwrap_or(PROGRAM));
    let status = process.args(words).stdin(Stdio::null()).status().doing(|| format!("run \"{command}\""))?;
    if status.success() { Ok(()) } else { Err(Error::Refused(format!("\"{command}\" has failed: {status}"))) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn of(make: impl Fn(&Path)) -> Option<InitSystem> {
        let place = tempfile::tempdir().unwrap();
        for dir in ["sbin", "bin", "etc/init.d", "lib/systemd"] {
            fs::create_dir_all(place.path().join(dir)).unwrap();
        }
        make(place.path());
        InitSystem::of(&Root::offline(place.path()).unwrap())
    }

    #[test]
    fn each_is_recognised_by_what_boots() {
        let link = |target: &'static str| move |root: &Path| symlink(target, root.join("sbin/init")).unwrap();
        let file = |path: &'static str| move |root: &Path| fs::write(root.join(path), "x").unwrap();
        assert_eq!(of(link("/lib/systemd/systemd")), Some(InitSystem::Systemd));
        assert_eq!(of(link("../lib/systemd/systemd")), Some(InitSystem::Systemd));
        assert_eq!(of(link("runit-init")), Some(InitSystem::Runit));
        assert_eq!(of(link("/bin/busybox")), Some(InitSystem::Busybox));
        assert_eq!(of(|root| symlink("bin/busybox", root.join("init")).unwrap()), Some(InitSystem::Busybox));
        assert_eq!(of(file("sbin/init")), Some(InitSystem::Sysvinit));
        assert_eq!(of(|_| ()), None);
        // Alpine's: OpenRC, started by busybox's init.
        let both = |root: &Path| {
            link("/bin/busybox")(root);
            file("sbin/openrc-run")(root);
        };
        assert_eq!(of(both), Some(InitSystem::OpenRc));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for (name, system) in NAMES {
            assert_eq!(InitSystem::named(name), Some(system));
            assert_eq!(system.name(), name);
        }
        assert_eq!(InitSystem::named("upstart"), None);
    }

    #[test]
    fn every_unit_names_the_program_where_it_is_installed() {
        let place = tempfile::tempdir().unwrap();
        let root = Root::offline(place.path()).unwrap();
        for (name, system) in NAMES {
            let named = system.items(&root).iter().any(
                |item| matches!(item, Item::File { content, .. } if String::from_utf8_lossy(content).contains(PROGRAM)),
            );
            assert!(named, "{name}");
        }
        assert!(include_str!("../../install/inittab").contains(INITTAB_LINE));
    }
}
