//! A root file system while it is worked on: every change to it is made and reported here, or, in
//! a dry run, only reported.

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io;

use crate::error::{Doing, Error};

use super::record::{Entry, Kind, Record};
use super::root::{Root, is_directory};
use super::{Item, run_level, run_level_links, say};

/// The service's name in run levels.
const SERVICE: &str = "nlxtp-guest";

/// A root file system, what is recorded of it, and what is to be done with both.
pub struct Site<'a> {
    /// The root.
    pub root: &'a Root,
    /// Whether nothing is changed.
    pub dry_run: bool,
    /// What was ours before.
    pub before: Record,
    /// What will be ours.
    pub after: Record,
}

impl Site<'_> {
    /// Tells what is done.
    pub fn report(&self, verb: &str, what: impl Display) {
        say(&format!("{verb:<8} {what}\n"));
    }

    /// Does something to a path, unless this is a dry run.
    fn change(&self, verb: &str, path: &str, change: impl FnOnce() -> io::Result<()>) -> Result<(), Error> {
        if !self.dry_run {
            change().doing(|| format!("{verb} {path}{}", self.in_root()))?;
        }
        self.report(verb, path);
        Ok(())
    }

    fn in_root(&self) -> String {
        if self.root.is_offline() { format!(" in {}", self.root.place().display()) } else { String::new() }
    }

    fn looked<T>(&self, path: &str, result: io::Result<T>) -> Result<T, Error> {
        result.doing(|| format!("look at {path}{}", self.in_root()))
    }

    /// The directories that are missing on a path, the topmost first.
    pub fn missing_directories<'p>(&self, path: &'p str) -> impl Iterator<Item = &'p str> {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        ends.map(|end| &path[..end]).filter(|directory| !directory.is_empty() && !self.root.has_directory(directory))
    }

    /// Checks that nothing stands where a directory is to be made.
    pub fn check_free(&self, path: &str) -> Result<(), Error> {
        if self.looked(path, self.root.look(path))?.is_none() {
            return Ok(());
        }
        let what = match self.looked(path, self.root.link(path))? {
            Some(target) if self.root.is_offline() => {
                format!("a link to {target}, which leads out of this root or to no directory in it")
            }
            Some(target) => format!("a link to {target}, which leads to no directory"),
            None => "no directory".into(),
        };
        Err(Error::Refused(format!("{path}{} is {what}; put a directory there. Nothing was done", self.in_root())))
    }

    /// Makes a directory and those above it that are missing.
    pub fn make_directories(&self, path: &str) -> Result<(), Error> {
        self.missing_directories(path)
            .try_for_each(|directory| self.change("make", directory, || self.root.make_directory(directory)))
    }

    /// Puts an item where it belongs. What the administrator has changed is left as it is.
    pub fn put(&self, item: &Item) -> Result<(), Error> {
        match item {
            Item::File { path, content, mode, always } => self.put_file(path, content, *mode, *always),
            Item::Link { path, target } => {
                self.make_directories(above(path))?;
                if self.looked(path, self.root.link(path))?.as_ref() == Some(target) {
                    self.report("same", path);
                    return Ok(());
                }
                self.change("link", path, || self.root.make_link(path, target))
            }
            Item::Line { path, line } => {
                let (text, mode) = self.looked(path, self.root.read(path))?.unwrap_or((Vec::new(), 0o644));
                let mut text = String::from_utf8(text).map_err(io::Error::other).doing(|| format!("read {path}"))?;
                if text.lines().any(|present| present == line) {
                    self.report("same", path);
                    return Ok(());
                }
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
                text.push_str(&format!("{line}\n"));
                self.change("add to", path, || self.root.write(path, text.as_bytes(), mode))
            }
            // Made by the init system itself.
            Item::Scraps { .. } => Ok(()),
            Item::Target { path } => self.change_targets(path, "add to", |words| {
                if !words.contains(&SERVICE) {
                    words.push(SERVICE);
                }
            }),
            Item::RunLevel { level } => {
                let directory = run_level(*level);
                if !self.root.has_directory(&directory)
                    || !self.looked(&directory, run_level_links(self.root, &directory, SERVICE))?.is_empty()
                {
                    return Ok(());
                }
                // Last to start, first to stop; insserv, where there is one, numbers anew.
                let number = if matches!(level, '2'..='5') { "S99" } else { "K01" };
                let path = format!("{directory}/{number}{SERVICE}");
                self.change("link", &path, || self.root.make_link(&path, &format!("../init.d/{SERVICE}")))
            }
        }
    }

    /// Changes the list of services that insserv has written, as it will write it itself the next
    /// time: in its line of targets. What depends on what, it knows from the scripts.
    fn change_targets(&self, path: &str, verb: &str, change: impl Fn(&mut Vec<&str>)) -> Result<(), Error> {
        let Some((text, mode)) = self.looked(path, self.root.read(path))? else { return Ok(()) };
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = |line: &str| match line.strip_prefix("TARGETS =") {
            Some(targets) => {
                let mut words: Vec<&str> = targets.split_whitespace().collect();
                change(&mut words);
                format!("TARGETS = {}\n", words.join(" "))
            }
            None => format!("{line}\n"),
        };
        let changed: String = text.lines().map(line).collect();
        if changed == text {
            return Ok(());
        }
        self.change(verb, path, || self.root.write(path, changed.as_bytes(), mode))
    }

    fn put_file(&self, path: &str, content: &[u8], mode: u32, always: bool) -> Result<(), Error> {
        self.make_directories(above(path))?;
        let verb = match self.looked(path, self.root.read(path))? {
            None => "write",
            Some((present, present_mode)) if present == content && (present_mode == mode || !always) => {
                self.report("same", path);
                return Ok(());
            }
            Some((present, _)) if always || self.before.has_file(path, &present) => "replace",
            Some(_) => {
                self.report("keep", format_args!("{path} (not as it was installed; left as it is)"));
                return Ok(());
            }
        };
        self.change(verb, path, || self.root.write(path, content, mode))
    }

    /// Removes a file or link of others.
    pub fn remove(&self, path: &str) -> Result<(), Error> {
        self.change("remove", path, || self.root.remove(path))
    }

    /// Renames a file within its directory.
    pub fn rename(&self, path: &str, new_name: &str) -> Result<(), Error> {
        if !self.dry_run {
            self.root.rename(path, new_name).doing(|| format!("rename {path}{}", self.in_root()))?;
        }
        self.report("rename", format_args!("{path} to {new_name}"));
        Ok(())
    }

    /// Takes away what an entry of the old record names, unless it was changed since; then tells so
    /// with `false`.
    pub fn take(&self, entry: &Entry) -> Result<bool, Error> {
        let path = &entry.path;
        match entry.kind {
            Kind::File => match self.looked(path, self.root.read(path))? {
                Some((content, _)) if !self.before.has_file(path, &content) => return Ok(false),
                Some(_) => self.remove(path)?,
                None => {}
            },
            Kind::Link => match self.looked(path, self.root.link(path))? {
                Some(target) if target != entry.value => return Ok(false),
                Some(_) => self.remove(path)?,
                None => return Ok(self.looked(path, self.root.look(path))?.is_none()),
            },
            Kind::Line => {
                let Some((text, mode)) = self.looked(path, self.root.read(path))? else { return Ok(true) };
                let text = String::from_utf8_lossy(&text).into_owned();
                let kept: String = text.split_inclusive('\n').filter(|line| line.trim_end() != entry.value).collect();
                if kept != text {
                    self.change("clear", path, || self.root.write(path, kept.as_bytes(), mode))?;
                }
            }
            Kind::Scraps => {
                for name in self.looked(path, self.root.names(path))? {
                    self.remove(&format!("{path}/{name}"))?;
                }
                return self.take_directory(path);
            }
            Kind::Target => self.change_targets(path, "clear", |words| words.retain(|word| *word != SERVICE))?,
            Kind::RunLevel => {
                for link in self.looked(path, run_level_links(self.root, path, SERVICE))? {
                    self.remove(&link)?;
                }
            }
            Kind::Directory => return self.take_directory(path),
        }
        Ok(true)
    }

    fn take_directory(&self, path: &str) -> Result<bool, Error> {
        if !self.looked(path, self.root.look(path))?.is_some_and(|stat| is_directory(&stat)) {
            return Ok(true);
        }
        if self.dry_run {
            self.report("remove", format_args!("{path} (if nothing else is in it)"));
            return Ok(true);
        }
        let gone = self.root.remove_directory(path).doing(|| format!("remove {path}{}", self.in_root()))?;
        if gone {
            self.report("remove", path);
        }
        Ok(gone)
    }
}

/// The directory that a path stands in.
pub fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}
