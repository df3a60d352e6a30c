//! One installer archive of many answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;

use super::answer::{Answer, Digest, PackageFile, PackageName};
use super::archives::{ArchiveWriter, PARTS};
use super::cache::PackageCache;
use super::managers::Manager;
use crate::archive::OutputFormat;
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};

/// What is installed on which system.
#[derive(Debug)]
pub struct Installer {
    systems: BTreeMap<String, SystemList>,
}

/// What is installed on one system.
#[derive(Debug)]
pub struct SystemList {
    /// Its package manager.
    pub manager: &'static Manager,
    /// The packages that are to be there in the end.
    pub wanted: BTreeSet<PackageName>,
    /// The files that the probed nodes of this system missed. None where they had all.
    pub files: Vec<PackageFile>,
    /// Of which a system can hold only one, and which file that is.
    slots: HashMap<Option<String>, Digest>,
}

impl Installer {
    /// Brings together what nodes have answered. Nodes of one system may miss different files; the
    /// installer brings all of them, and a node takes those that it misses.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for no answers, and for nodes of one system that would install
    /// different versions of a package.
    pub fn new(answers: &[Answer]) -> Result<Self> {
        let mut systems: BTreeMap<String, SystemList> = BTreeMap::new();
        for answer in answers {
            let list = systems.entry(answer.system.clone()).or_insert_with(|| SystemList {
                manager: answer.manager,
                wanted: BTreeSet::new(),
                files: Vec::new(),
                slots: HashMap::new(),
            });
            list.merge(answer)?;
        }
        if systems.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "no node was probed"));
        }
        let installer = Self { systems };
        installer.check_digests()?;
        Ok(installer)
    }

    /// What is installed on which system, by its identifier.
    pub fn systems(&self) -> impl Iterator<Item = (&str, &SystemList)> {
        self.systems.iter().map(|(system, list)| (system.as_str(), list))
    }

    /// All files, each once, whichever systems it is for.
    pub fn files(&self) -> Vec<&PackageFile> {
        let mut once: BTreeMap<Digest, &PackageFile> = BTreeMap::new();
        for file in self.systems.values().flat_map(|list| &list.files) {
            once.entry(file.digest).or_insert(file);
        }
        once.into_values().collect()
    }

    /// Writes the installer archive, of files that are in the cache. Returns its length.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a file that is not in the cache; the archive cannot be written; as
    /// the control says.
    pub fn write<W: Write>(
        &self,
        cache: &PackageCache,
        format: OutputFormat,
        sink: W,
        control: &Control<'_>,
    ) -> Result<u64> {
        let files = self.files();
        let total = files.iter().map(|file| file.size).sum();
        let start_script = include_str!("scripts/install.sh");
        let mut archive = ArchiveWriter::begin(start_script, format, sink, Some(total), control)?;
        archive.directory(&format!("{PARTS}/systems"))?;
        for (system, list) in &self.systems {
            archive.text(&format!("{PARTS}/systems/{system}"), &list.text(), 0o644)?;
        }
        archive.directory("packages")?;
        for file in files {
            let found = cache.find(file, control)?.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, "it is not in the cache any more")
                    .with_object(file.name.clone())
                    .with_hint("try again")
            })?;
            archive.file(&format!("packages/{}", file.entry_name()), file.size, found)?;
        }
        archive.finish()
    }

    /// Files are told apart by their digests, so one digest must always stand for the same file.
    fn check_digests(&self) -> Result<()> {
        let mut sizes: HashMap<Digest, u64> = HashMap::new();
        for file in self.systems.values().flat_map(|list| &list.files) {
            if *sizes.entry(file.digest).or_insert(file.size) != file.size {
                let message = "two nodes have told different sizes of one file: one of them lies";
                return Err(Error::new(ErrorKind::Damaged, message).with_object(file.name.clone()));
            }
        }
        Ok(())
    }
}

impl SystemList {
    fn merge(&mut self, answer: &Answer) -> Result<()> {
        self.wanted.extend(answer.wanted.iter().cloned());
        for file in &answer.files {
            let slot = (answer.manager.slot)(&file.name);
            let known = *self.slots.entry(slot).or_insert_with(|| {
                self.files.push(file.clone());
                file.digest
            });
            if known != file.digest {
                let known = self.files.iter().find(|other| other.digest == known);
                let known = known.map_or("another", |known| &known.name);
                let message = format!(
                    "nodes that are {} would install different files: {known} and {}",
                    answer.system, file.name
                );
                return Err(Error::new(ErrorKind::InvalidInput, message).with_hint(
                    "probe them at the same time with the same package sources, or make an installer archive for each",
                ));
            }
        }
        Ok(())
    }

    /// As the start script reads it.
    fn text(&self) -> String {
        let wanted = self.wanted.iter().map(|name| format!("wanted {}\n", name.as_str()));
        let files = self.files.iter().map(|file| format!("file {} {} {}\n", file.digest, file.entry_name(), file.name));
        wanted.chain(files).collect()
    }
}

#[cfg(test)]
#[path = "installer/tests.rs"]
mod tests;
