//! What becomes of an archive's links once all its entries are known.

use alloc::vec::Vec;
use core::mem;

use super::{ManifestBuilder, ManifestLink, ManifestLinkKind, Node, PendingLink, PendingTarget, RefusalReason, shown};
use crate::archive_rules::ManifestDirectory;
use crate::entry_path::{EntryPath, InvalidPath};
use crate::shared_directory::{Attributes, Representation, Watch};

/// Most links that lead to each other before it is taken for a loop; Linux has the same bound.
const MOST_HOPS: u32 = 40;

/// Why a link is not decided.
enum Undecided<E> {
    Refused(RefusalReason),
    /// The caller wants to go on no longer.
    Stopped(E),
}

impl<E> From<RefusalReason> for Undecided<E> {
    fn from(reason: RefusalReason) -> Self {
        Self::Refused(reason)
    }
}

impl ManifestBuilder {
    pub(super) fn decide_links<E>(&mut self, watch: Watch<'_, E>) -> Result<(), E> {
        // Kept in place, not moved out: a link may lead to another one.
        let links = mem::take(&mut self.pending_links);
        for link in &links {
            let decided = match self.rules.representation {
                Representation::Posix => {
                    watch()?;
                    self.keep_link(&links, link).map_err(Undecided::Refused)
                }
                Representation::Fat => self.copy_link(&links, link, watch),
            };
            match decided {
                Ok(()) => {}
                Err(Undecided::Refused(reason)) => self.refuse(link.path.as_bytes(), reason),
                Err(Undecided::Stopped(stopped)) => return Err(stopped),
            }
        }
        Ok(())
    }

    fn keep_link(&mut self, links: &[PendingLink], link: &PendingLink) -> Result<(), RefusalReason> {
        let kind = match &link.target {
            PendingTarget::Symlink(target) => ManifestLinkKind::Symlink(target.clone()),
            PendingTarget::HardLink(_) => {
                let file = self.hard_link_target(links, link)?;
                ManifestLinkKind::HardLink(self.manifest.files[file].path.clone())
            }
        };
        self.manifest.links.push(ManifestLink { path: link.path.clone(), kind, attributes: link.attributes });
        Ok(())
    }

    /// The file that a hard link stands for, through other hard links.
    fn hard_link_target(&self, links: &[PendingLink], link: &PendingLink) -> Result<usize, RefusalReason> {
        let mut link = link;
        for _ in 0..MOST_HOPS {
            let PendingTarget::HardLink(existing) = &link.target else { break };
            match self.node(existing) {
                Some((_, Node::File(file))) => return Ok(*file),
                Some((_, Node::Link(next))) => link = &links[*next],
                _ => return Err(RefusalReason::LinkTargetMissing(shown(existing.as_bytes()))),
            }
        }
        Err(RefusalReason::LinkLoop)
    }

    /// Puts a copy of what the link leads to in the link's place.
    fn copy_link<E>(
        &mut self,
        links: &[PendingLink],
        link: &PendingLink,
        watch: Watch<'_, E>,
    ) -> Result<(), Undecided<E>> {
        let mut work = Vec::from([(link.path.clone(), self.resolve(links, link)?)]);
        while let Some((path, node)) = work.pop() {
            watch().map_err(Undecided::Stopped)?;
            match node {
                Node::File(file) => {
                    let file = &self.manifest.files[file];
                    let (existing, size, attributes) = (file.path.clone(), file.size, file.attributes);
                    self.count_bytes(size)?;
                    self.push_copy(path, ManifestLinkKind::Copy { existing, size }, attributes)?;
                }
                Node::Directory { index, .. } => {
                    let directory = self.manifest.directories[index].clone();
                    if link.path.starts_with(&directory.path) {
                        return Err(RefusalReason::LinkLoop.into());
                    }
                    self.check_copied_path(&path)?;
                    for (name, child) in self.children(&directory.path) {
                        let child = match child {
                            Node::Link(inner) => self.resolve(links, &links[inner])?,
                            other => other,
                        };
                        let below = path.join(&name).ok_or(RefusalReason::LinkLoop)?;
                        work.push((below, child));
                    }
                    self.manifest.directories.push(ManifestDirectory { path, attributes: directory.attributes });
                }
                Node::Link(_) => return Err(RefusalReason::LinkLoop.into()),
            }
        }
        Ok(())
    }

    fn push_copy(
        &mut self,
        path: EntryPath,
        kind: ManifestLinkKind,
        attributes: Attributes,
    ) -> Result<(), RefusalReason> {
        self.check_copied_path(&path)?;
        self.manifest.links.push(ManifestLink { path, kind, attributes });
        Ok(())
    }

    /// Copies of directories can nest; the limits bound that too.
    fn check_copied_path(&mut self, path: &EntryPath) -> Result<(), RefusalReason> {
        if self.manifest.entries() >= self.rules.limits.entries {
            return Err(RefusalReason::TooManyEntries(self.rules.limits.entries));
        }
        self.count_name(path.as_bytes().len())?;
        self.check_path(path)
    }

    /// The names in a directory and what they stand for.
    fn children(&self, directory: &EntryPath) -> Vec<(Vec<u8>, Node)> {
        let mut prefix = self.key(directory).into_vec();
        prefix.push(b'/');
        self.nodes
            .range(prefix.clone().into_boxed_slice()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter(|(key, _)| !key[prefix.len()..].contains(&b'/'))
            .filter_map(|(_, (path, node))| Some((path.name()?.to_vec(), *node)))
            .collect()
    }

    /// The file or directory that a link leads to, through other links.
    fn resolve(&self, links: &[PendingLink], link: &PendingLink) -> Result<Node, RefusalReason> {
        match &link.target {
            PendingTarget::HardLink(_) => self.hard_link_target(links, link).map(Node::File),
            PendingTarget::Symlink(target) => {
                self.follow(links, link.path.parent().unwrap_or_else(EntryPath::root), target)
            }
        }
    }

    /// The file or directory that a link's target leads to from the directory of the link, through other
    /// links.
    pub(super) fn follow(
        &self,
        links: &[PendingLink],
        directory: EntryPath,
        target: &[u8],
    ) -> Result<Node, RefusalReason> {
        let target_shown = || shown(target);
        if target.first() == Some(&b'/') {
            return Err(RefusalReason::LinkEscapes(target_shown()));
        }
        let mut hops = 0;
        let mut here = directory;
        // Components still to go, the next one last.
        let mut ahead: Vec<Vec<u8>> = target.rsplit(|&byte| byte == b'/').map(<[u8]>::to_vec).collect();
        while let Some(component) = ahead.pop() {
            match component.as_slice() {
                b"" | b"." => {}
                b".." => here = here.parent().ok_or_else(|| RefusalReason::LinkEscapes(target_shown()))?,
                name => {
                    let next = here.join(name).ok_or(RefusalReason::Path(InvalidPath::Nul))?;
                    match self.node(&next) {
                        Some((_, Node::Link(inner))) => {
                            hops += 1;
                            if hops > MOST_HOPS {
                                return Err(RefusalReason::LinkLoop);
                            }
                            match &links[*inner].target {
                                PendingTarget::HardLink(existing) => here = existing.clone(),
                                PendingTarget::Symlink(inner_target) if inner_target.first() == Some(&b'/') => {
                                    return Err(RefusalReason::LinkEscapes(shown(inner_target)));
                                }
                                PendingTarget::Symlink(inner_target) => {
                                    ahead.extend(inner_target.rsplit(|&byte| byte == b'/').map(<[u8]>::to_vec));
                                }
                            }
                        }
                        Some((path, _)) => here = path.clone(),
                        None => return Err(RefusalReason::LinkTargetMissing(target_shown())),
                    }
                }
            }
        }
        match self.node(&here) {
            Some((_, node @ (Node::File(_) | Node::Directory { .. }))) => Ok(*node),
            Some((_, Node::Link(inner))) => self.hard_link_target(links, &links[*inner]).map(Node::File),
            // The shared directory itself holds every link.
            None if here.is_root() => Err(RefusalReason::LinkLoop),
            None => Err(RefusalReason::LinkTargetMissing(target_shown())),
        }
    }
}
