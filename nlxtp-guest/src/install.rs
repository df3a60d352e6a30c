//! Installing this program into a guest: `install`, `upgrade` and `uninstall`.
//!
//! An installation is a list of items. It is recorded in the root before the first of them is put
//! there, so that one that broke off can be removed, or repeated.

#![forbid(unsafe_code)]

pub mod init_system;
pub mod record;
pub mod root;
pub mod site;
pub mod tomato;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::{Config, assignments};
use crate::error::{Doing, Error, note};

use init_system::{InitSystem, call};
use record::{Kind, Record};
use root::Root;
use site::{Site, above};
use tomato::Modules;

/// Where the program is installed.
pub const PROGRAM: &str = "/usr/local/sbin/nlxtp-guest";

/// Where the configuration is.
const CONFIGURATION: &str = "/etc/nlxtp.conf";

const SHIPPED_CONFIGURATION: &str = include_str!("../install/nlxtp.conf");

/// What dpkg knows our own package by.
const PACKAGE: &str = "/var/lib/dpkg/info/nlxtp-guest.list";

const RUN_LEVELS: [char; 8] = ['0', '1', '2', '3', '4', '5', '6', 'S'];

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Puts this program where it was not.
    Install,
    /// Replaces an older one, or ToMaTo's modules.
    Upgrade,
    /// Takes away what was installed.
    Uninstall,
}

/// How it is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The offline root; `None` for this system.
    pub root: Option<PathBuf>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// The init system; `None` for the one found, else the one that was installed for.
    pub init: Option<InitSystem>,
    /// The program to install; `None` for this one.
    pub program: Option<PathBuf>,
    /// Leave the daemon as it is, running or not.
    pub no_start: bool,
}

/// One thing that is to be in a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A file.
    File {
        /// Where it is.
        path: String,
        /// What it holds.
        content: Vec<u8>,
        /// Its permissions.
        mode: u32,
        /// Whether it takes the place of whatever is there.
        always: bool,
    },
    /// A symbolic link.
    Link {
        /// Where it is.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// A line in a file of others.
    Line {
        /// The file.
        path: String,
        /// The line.
        line: String,
    },
    /// A directory whose files the init system makes.
    Scraps {
        /// Where it is.
        path: String,
    },
    /// Our service among the targets of insserv's list, which Debian's System V init goes by.
    Target {
        /// The list; it is there.
        path: String,
    },
    /// A link in a run level of System V.
    RunLevel {
        /// The run level.
        level: char,
    },
}

impl Item {
    /// A file that is left alone if somebody has changed it.
    pub fn file(path: &str, content: Vec<u8>, mode: u32) -> Self {
        Self::File { path: path.to_owned(), content, mode, always: false }
    }

    /// Where it is; `None` for what stands only in directories that are there.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::File { path, .. } | Self::Link { path, .. } | Self::Line { path, .. } => Some(path),
            Self::Scraps { .. } | Self::Target { .. } | Self::RunLevel { .. } => None,
        }
    }

    /// A link.
    pub fn link(path: &str, target: &str) -> Self {
        Self::Link { path: path.to_owned(), target: target.to_owned() }
    }
}

/// Does the task.
///
/// # Errors
/// It does not fit what is there; else the system's.
pub fn run(task: Task, options: &Options) -> Result<(), Error> {
    let root = match &options.root {
        Some(path) => Root::offline(path).doing(|| format!("use {} as a root file system", path.display()))?,
        None => Root::running().doing(|| "open /")?,
    };
    if root.leads_somewhere(PACKAGE) {
        return Err(Error::Refused(
            "the Debian package nlxtp-guest is installed there: install, upgrade and remove it with apt".into(),
        ));
    }
    let before = Record::load(&root).doing(|| format!("read {}", record::PLACE))?;
    if options.dry_run {
        say("Nothing is changed. This would be done:\n");
    }
    let site = Site { root: &root, dry_run: options.dry_run, before: Record::default(), after: Record::default() };
    match (task, before) {
        (Task::Uninstall, None) => {
            Err(Error::Refused("nothing is there that \"nlxtp-guest install\" has installed".into()))
        }
        (Task::Uninstall, Some(before)) => uninstall(Site { before, ..site }, options),
        (_, before) => {
            let modules = Modules::find(&root).doing(|| "look for ToMaTo's guest modules")?;
            match (task, &modules, &before) {
                (Task::Install, Some(modules), _) => {
                    return Err(Error::Refused(format!(
                        "ToMaTo's guest modules are there ({}); \"nlxtp-guest upgrade\" replaces them and carries their configuration over",
                        modules.paths[0]
                    )));
                }
                (Task::Upgrade, None, None) => {
                    return Err(Error::Refused(
                        "nothing is there to upgrade; \"nlxtp-guest install\" installs it".into(),
                    ));
                }
                _ => {}
            }
            install(Site { before: before.unwrap_or_default(), ..site }, options, modules)
        }
    }
}

fn install(mut site: Site<'_>, options: &Options, modules: Option<Modules>) -> Result<(), Error> {
    let root = site.root;
    let program = options.program.as_deref().unwrap_or(Path::new("/proc/self/exe"));
    let content = fs::read(program).doing(|| format!("read {}", program.display()))?;
    if !content.starts_with(b"\x7fELF") {
        return Err(Error::Refused(format!("{} is no program", program.display())));
    }
    let (configuration, config) = configuration(&site, modules.as_ref())?;
    let init = options.init.or_else(|| InitSystem::of(root)).or(site.before.init);

    let mut items = vec![
        Item::File { path: PROGRAM.to_owned(), content, mode: 0o755, always: true },
        Item::file(CONFIGURATION, configuration.into_bytes(), 0o644),
    ];
    items.extend(init.map_or_else(Vec::new, |init| init.items(root)));
    // Hosts go on to call the monitor by its old name.
    let had_monitor_link = site.before.entries.iter().any(|entry| entry.path == tomato::MONITOR);
    if modules.is_some() || had_monitor_link {
        items.push(Item::link(tomato::MONITOR, PROGRAM));
    }

    let shared = config.dir.to_str().map_or("", |dir| dir.trim_end_matches('/'));
    let dropped = plan(&mut site, init, &items, shared)?;
    for item in &items {
        site.put(item)?;
    }
    // What an older installation had and this one has not.
    for entry in &dropped {
        if !site.take(entry)? {
            site.report("keep", format_args!("{} (not as it was installed; left as it is)", entry.path));
        }
    }
    site.make_directories(shared)?;
    if let Some(modules) = &modules {
        replace(&site, modules)?;
    }
    if !site.dry_run {
        site.after.store(root).doing(|| format!("write {}", record::PLACE))?;
    }
    start(&site, options, init)
}

/// Prepares the record, and writes it with all that was and will be; gives what is to go.
fn plan(
    site: &mut Site<'_>,
    init: Option<InitSystem>,
    items: &[Item],
    shared: &str,
) -> Result<Vec<record::Entry>, Error> {
    let mut after = Record { init, ..Record::default() };
    // Without an init system to be known, what starts the daemon may be any of what is there.
    let stays = |entry: &&record::Entry| {
        let is_replaced = || items.iter().any(|item| item.path() == Some(entry.path.as_str()));
        entry.kind == Kind::Directory || init.is_none() && !is_replaced()
    };
    after.entries.extend(site.before.entries.iter().filter(stays).cloned());
    let of_items = items.iter().filter_map(Item::path).map(above);
    for place in [above(record::PLACE), shared].into_iter().chain(of_items) {
        for directory in site.missing_directories(place) {
            site.check_free(directory)?;
            after.add(Kind::Directory, "", directory);
        }
    }
    items.iter().for_each(|item| after.add_item(item));
    site.after = after;
    site.make_directories(above(record::PLACE))?;
    let paths: Vec<&str> = site.after.entries.iter().map(|entry| entry.path.as_str()).collect();
    let dropped =
        site.before.entries.iter().filter(|entry| !paths.contains(&entry.path.as_str())).cloned().collect::<Vec<_>>();
    if !site.dry_run {
        let mut both = site.after.clone();
        site.before.entries.iter().for_each(|entry| both.add(entry.kind, &entry.value, &entry.path));
        both.store(site.root).doing(|| format!("write {}", record::PLACE))?;
    }
    Ok(dropped)
}

/// The configuration to install: the shipped one, with the values of that which it replaces; and
/// what will hold then.
fn configuration(site: &Site<'_>, modules: Option<&Modules>) -> Result<(String, Config), Error> {
    let present = site.root.read(CONFIGURATION).doing(|| format!("read {CONFIGURATION}"))?;
    let (name, old) = match (present, modules.and_then(|modules| modules.configuration.as_ref())) {
        (Some((text, _)), _) if site.before.has_file(CONFIGURATION, &text) => {
            (CONFIGURATION, String::from_utf8_lossy(&text).into_owned())
        }
        // What somebody has written stays, so it must be one that can be used.
        (Some((text, _)), _) => {
            let (config, _) = Config::parse(&String::from_utf8_lossy(&text), CONFIGURATION)?;
            return Ok((SHIPPED_CONFIGURATION.to_owned(), config));
        }
        (None, Some(text)) => (tomato::CONFIGURATION, text.clone()),
        (None, None) => (CONFIGURATION, String::new()),
    };
    let (_, warnings) = Config::parse(&old, name)?;
    warnings.iter().for_each(note);
    let text = carry_over(&old);
    let (config, _) = Config::parse(&text, CONFIGURATION)?;
    Ok((text, config))
}

/// The shipped configuration with the values that an old one gives.
fn carry_over(old: &str) -> String {
    let given: Vec<(String, String)> =
        old.lines().filter_map(|line| assignments::parse_line(line).ok().flatten()).collect();
    let line = |line: &str| {
        let shipped = assignments::parse_line(line).ok().flatten();
        // The last assignment is the one that holds.
        let old = shipped.as_ref().and_then(|(key, _)| given.iter().rev().find(|(known, _)| known == key));
        match old.filter(|old| Some(*old) != shipped.as_ref()) {
            Some((key, value)) => format!("{}\n", assignments::line(key, value)),
            None => format!("{line}\n"),
        }
    };
    SHIPPED_CONFIGURATION.lines().map(line).collect()
}

/// Takes ToMaTo's modules away; ours are in their place already.
fn replace(site: &Site<'_>, modules: &Modules) -> Result<(), Error> {
    for path in modules.paths.iter().filter(|path| *path != tomato::MONITOR) {
        site.remove(path)?;
    }
    if modules.configuration.is_some() {
        site.rename(tomato::CONFIGURATION, tomato::KEPT_CONFIGURATION)?;
    }
    if !site.dry_run && !site.root.is_offline() {
        tomato::stop_daemon();
    }
    if modules.packaged {
        note(
            "dpkg still lists the package nlxtp-guest-modules; in the guest: dpkg --purge nlxtp-guest-modules && nlxtp-guest upgrade",
        );
    }
    Ok(())
}

/// Starts the daemon, or says how it will be.
fn start(site: &Site<'_>, options: &Options, init: Option<InitSystem>) -> Result<(), Error> {
    let Some(init) = init else {
        note(format_args!(
            "no init system was recognised (--init names one): let the guest start \"{PROGRAM} daemon\" at boot"
        ));
        return Ok(());
    };
    if options.no_start || site.root.is_offline() || !init.is_running() {
        say(&format!("The daemon will be started at the next boot, by {}.\n", init.name()));
        return Ok(());
    }
    for command in init.start() {
        site.report("run", command);
        if !site.dry_run {
            call(command)?;
        }
    }
    Ok(())
}

fn uninstall(site: Site<'_>, options: &Options) -> Result<(), Error> {
    let running = site.before.init.filter(|init| !site.root.is_offline() && !options.no_start && init.is_running());
    let commands = |commands: &[&str]| {
        for command in commands {
            site.report("run", command);
            if !site.dry_run
                && let Err(error) = call(command)
            {
                note(format_args!("{error}; going on"));
            }
        }
    };
    running.map_or(&[][..], InitSystem::stop).iter().for_each(|command| commands(&[command]));
    let mut left: Vec<&str> = Vec::new();
    let (directories, others): (Vec<_>, Vec<_>) =
        site.before.entries.iter().partition(|entry| entry.kind == Kind::Directory);
    for entry in others {
        if !site.take(entry)? && !left.contains(&entry.path.as_str()) {
            left.push(&entry.path);
        }
    }
    site.remove(record::PLACE)?;
    for entry in directories.iter().rev() {
        if !site.take(entry)? {
            left.push(&entry.path);
        }
    }
    running.map_or(&[][..], InitSystem::forget).iter().for_each(|command| commands(&[command]));
    for path in left {
        site.report("left", format_args!("{path} (changed since it was installed, or in use)"));
    }
    Ok(())
}

/// The directory of a run level.
pub fn run_level(level: char) -> String {
    format!("/etc/rc{level}.d")
}

/// The links of a service in the directory of a run level, whatever their numbers.
fn run_level_links(root: &Root, directory: &str, service: &str) -> io::Result<Vec<String>> {
    let numbered = |name: &str| {
        name.strip_suffix(service).is_some_and(|number| {
            let number = number.as_bytes();
            matches!(number, [b'S' | b'K', tens, ones] if tens.is_ascii_digit() && ones.is_ascii_digit())
        })
    };
    let names = root.names(directory)?;
    Ok(names.iter().filter(|name| numbered(name)).map(|name| format!("{directory}/{name}")).collect())
}

/// Writes to standard output; a closed one must not stop a half-done installation.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests;
