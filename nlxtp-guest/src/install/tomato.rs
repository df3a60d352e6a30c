//! ToMaTo's guest modules (up to version 0.3): found, and replaced.
//!
//! They are two bash programs and an init script, put there by hand or by the Debian package
//! `nlxtp-guest-modules`. Hosts call the monitor by its name, so that name goes on to lead to a
//! monitor: ours.

#![forbid(unsafe_code)]

use std::fs;
use std::io;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::root::{Root, is_directory};

/// ToMaTo's monitor; also the name by which our program knows that it is called as one.
pub const MONITOR: &str = "/usr/bin/nlXTP_mon";
const DAEMON: &str = "/usr/bin/nlXTP_daemon";
const INIT_SCRIPT: &str = "/etc/init.d/nlXTP_daemon";
const SERVICE: &str = "nlXTP_daemon";

/// Their configuration.
pub const CONFIGURATION: &str = "/etc/nlXTP.conf";

/// The name in `/etc` that their configuration has when they are replaced.
pub const KEPT_CONFIGURATION: &str = "nlXTP.conf.replaced";

/// What dpkg knows their package by.
const PACKAGE: &str = "/var/lib/dpkg/info/nlxtp-guest-modules.list";

/// The modules that are in a root.
#[derive(Debug, PartialEq, Eq)]
pub struct Modules {
    /// All that is theirs, but the configuration.
    pub paths: Vec<String>,
    /// Their configuration, if it is there.
    pub configuration: Option<String>,
    /// Whether dpkg has a package of them.
    pub packaged: bool,
}

impl Modules {
    /// Looks for them; their configuration alone is none of them.
    ///
    /// # Errors
    /// The system's, or a configuration that is no text.
    pub fn find(root: &Root) -> io::Result<Option<Self>> {
        let mut paths = Vec::new();
        for path in [DAEMON, MONITOR, INIT_SCRIPT] {
            // A link of this name is ours.
            let there = root.look(path)?.is_some_and(|stat| !is_directory(&stat));
            if there && !(path == MONITOR && root.link(path)?.is_some()) {
                paths.push(path.to_owned());
            }
        }
        if paths.is_empty() {
            return Ok(None);
        }
        for level in super::RUN_LEVELS {
            paths.extend(super::run_level_links(root, &super::run_level(level), SERVICE)?);
        }
        let configuration = match root.read(CONFIGURATION)? {
            Some((text, _)) => Some(String::from_utf8(text).map_err(io::Error::other)?),
            None => None,
        };
        Ok(Some(Self { paths, configuration, packaged: root.leads_somewhere(PACKAGE) }))
    }
}

/// Ends their daemon in this system. A monitor goes on to the end of its run.
pub fn stop_daemon() {
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let is_theirs = command.split(|&byte| byte == 0).take(2).any(|word| word == DAEMON.as_bytes());
        if let Some(pid) = pid.filter(|_| is_theirs) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
}
