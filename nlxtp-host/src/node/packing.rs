//! Packing what a view shows, digested on the way where somebody asks for it.

#![forbid(unsafe_code)]

use std::io::Write;

use rextfv_core::operations::DownloadReport;
use rextfv_core::shared_directory::{Content, Entry, LeftOut, View, Visitor};
use sha2::{Digest as _, Sha256};

use super::Node;
use super::verifying::Check;
use crate::archive::{OutputFormat, Packer, default_threads};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::journal::Tree;
use crate::journal::digest::Digest;

impl Node {
    /// Packs everything that the view shows, and compares it with the guest's digests; what is packed
    /// is added to the tree, if there is one.
    pub(super) fn pack(
        &self,
        view: &mut dyn View<Error = Error>,
        archive: impl Write,
        format: OutputFormat,
        control: &Control<'_>,
        tree: Option<&mut Tree>,
    ) -> Result<DownloadReport> {
        let threads = self.threads.unwrap_or_else(default_threads);
        let packer = Packer::with_threads(format, archive, control, threads)?.with_limits(self.limits);
        let mut walk = DigestedWalk { inner: packer, tree, check: Check::begin(view)? };
        view.walk(&mut walk)?;
        let DigestedWalk { inner, check, .. } = walk;
        Ok(DownloadReport { verification: check.finish(), ..inner.finish()? })
    }
}

/// Passes a walk on to another visitor, and digests what that one makes of the files: once, for the
/// journal's tree and for the comparison with the guest's digests, and not at all where there is neither.
struct DigestedWalk<'t, V> {
    inner: V,
    tree: Option<&'t mut Tree>,
    check: Check,
}

impl<V: Visitor<Error = Error>> Visitor for DigestedWalk<'_, V> {
    type Error = Error;

    fn file(&mut self, entry: &Entry, content: &mut dyn Content<Error = Error>) -> Result<()> {
        if self.tree.is_none() && !self.check.wants_digests() {
            return self.inner.file(entry, content);
        }
        let mut digested = DigestedContent { inner: content, hasher: Sha256::new(), left: entry.size };
        self.inner.file(entry, &mut digested)?;
        let sha256 = digested.finish();
        self.check.file(&entry.path, sha256);
        if let Some(tree) = &mut self.tree {
            tree.add_file(entry, sha256);
        }
        Ok(())
    }

    fn directory(&mut self, entry: &Entry) -> Result<()> {
        self.inner.directory(entry)?;
        if let Some(tree) = &mut self.tree {
            tree.add_directory(entry);
        }
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry, target: &[u8]) -> Result<()> {
        self.inner.symlink(entry, target)?;
        if let Some(tree) = &mut self.tree {
            tree.add_symlink(entry, target);
        }
        Ok(())
    }

    fn left_out(&mut self, left_out: LeftOut) -> Result<()> {
        self.check.left_out(&left_out);
        self.inner.left_out(left_out)
    }
}

/// The content of a file as an archive has it: exactly as long as its entry says.
struct DigestedContent<'a> {
    inner: &'a mut dyn Content<Error = Error>,
    hasher: Sha256,
    /// Bytes that the archive still wants.
    left: u64,
}

impl Content for DigestedContent<'_> {
    type Error = Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.inner.read(buffer)?;
        let wanted = usize::try_from(self.left).unwrap_or(read).min(read);
        self.hasher.update(&buffer[..wanted]);
        self.left -= wanted as u64;
        Ok(read)
    }

    fn was_changed(&self) -> bool {
        self.inner.was_changed()
    }
}

impl DigestedContent<'_> {
    /// Zeros stand in the archive for what could not be read.
    fn finish(mut self) -> Digest {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.left > 0 {
            let some = usize::try_from(self.left).unwrap_or(ZEROS.len()).min(ZEROS.len());
            self.hasher.update(&ZEROS[..some]);
            self.left -= some as u64;
        }
        Digest::finish(self.hasher)
    }
}
