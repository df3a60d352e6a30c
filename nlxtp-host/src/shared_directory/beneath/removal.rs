//! Moving things out of the way and removing them, in a directory that a guest may fill meanwhile.

use std::io;

use nix::errno::Errno;
use nix::sys::stat::{self, Mode};
use nix::unistd::geteuid;
use rextfv_core::entry_path::displayable;

use super::{Directory, PINNED_DIRECTORY, change_mode};

/// Names that are read at once.
const BATCH: usize = 10_000;

/// Names tried before a guest that takes each of them is given up.
const MOST_NAMES_TRIED: u32 = 100;

/// Looks at one name, each of which shows something else there, before a guest is given up.
const MOST_LOOKS: u32 = 100;

/// How many entries somebody is willing to deal with before a guest that adds more and more of them
/// is given up, and who may end it before.
pub(crate) struct Patience<'a> {
    left: u64,
    may_go_on: &'a dyn Fn() -> io::Result<()>,
}

impl<'a> Patience<'a> {
    /// For an upload, which must come to an end one way or the other.
    pub fn of_an_upload() -> Self {
        Self { left: 10_000_000, may_go_on: &|| Ok(()) }
    }

    /// For a look at the directory, which only tidies up in passing.
    pub fn of_a_view() -> Self {
        Self { left: 200_000, may_go_on: &|| Ok(()) }
    }

    /// The same, that ends when this says so.
    pub fn while_allowed(self, may_go_on: &'a dyn Fn() -> io::Result<()>) -> Self {
        Self { may_go_on, ..self }
    }

    /// Notes that one more entry is dealt with.
    pub fn spend(&mut self) -> io::Result<()> {
        self.spend_some(1)
    }

    /// Notes that a directory is gone through once more. A guest can see to it that nothing is
    /// achieved by that, so it costs more than an entry.
    pub fn spend_pass(&mut self) -> io::Result<()> {
        self.spend_some(100)
    }

    fn spend_some(&mut self, cost: u64) -> io::Result<()> {
        (self.may_go_on)()?;
        let left = self.left.checked_sub(cost);
        self.left = left.ok_or_else(|| io::Error::other("the guest makes more and more entries"))?;
        Ok(())
    }
}

/// Names that nobody else uses.
#[derive(Debug)]
pub(crate) struct UniqueNames(u128);

impl UniqueNames {
    /// Begins anywhere: neither a guest nor an upload that was cut off has used these names.
    pub fn new() -> io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self(u128::from_le_bytes(bytes)))
    }

    /// One of them.
    pub fn next(&mut self) -> String {
        self.0 = self.0.wrapping_add(1);
        format!("{:032x}", self.0)
    }
}

impl Directory {
    /// Removes whatever has this name: a file, or a directory and all that it holds.
    ///
    /// Depth costs nothing, because subdirectories are first moved up into the directory itself.
    pub fn remove_tree(&self, name: &[u8], patience: &mut Patience<'_>) -> io::Result<()> {
        let mut unique = UniqueNames::new()?;
        while let Some(top) = self.remove_unless_directory(name)? {
            patience.spend_pass()?;
            for child in if_there(top.names(BATCH))? {
                patience.spend()?;
                let failed = |error| at(&child, error);
                let Some(directory) = top.remove_unless_directory(&child).map_err(failed)? else { continue };
                for grandchild in if_there(directory.names(BATCH))? {
                    patience.spend()?;
                    let failed = |error| at(&grandchild, error);
                    if directory.remove_unless_directory(&grandchild).map_err(failed)?.is_some() {
                        directory.move_under_free_name(&grandchild, &top, &mut unique).map_err(failed)?;
                    }
                }
                top.remove_directory_if_empty(&child).map_err(failed)?;
            }
            self.remove_directory_if_empty(name)?;
        }
        Ok(())
    }

    /// Removes an entry, but for a directory, which is opened instead. `None` if nothing has the
    /// name (any more).
    pub fn remove_unless_directory(&self, name: &[u8]) -> io::Result<Option<Self>> {
        let mut failure = Errno::EBUSY.into();
        for _ in 0..MOST_LOOKS {
            match self.remove_file(name).map_err(|error| (error.raw_os_error(), error)) {
                Ok(()) | Err((Some(libc::ENOENT), _)) => return Ok(None),
                Err((Some(libc::EISDIR), _)) => {}
                // Some file systems say so of a directory, and all of what is immutable.
                Err((Some(libc::EPERM), error)) => failure = error,
                Err((_, error)) => return Err(error),
            }
            match self.directory_at_any_rate(name) {
                // It has become something else.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP | libc::ENOENT)) => {}
                other => return other.map(Some),
            }
        }
        Err(failure)
    }

    /// Opens a directory that is to be emptied, and lets its owner do that if need be.
    fn directory_at_any_rate(&self, name: &[u8]) -> io::Result<Self> {
        if !geteuid().is_root() {
            let named = self.resolve(name, PINNED_DIRECTORY)?;
            let mode = Mode::from_bits_truncate(stat::fstat(&named)?.st_mode & 0o7777);
            if !mode.contains(Mode::S_IRWXU) {
                // If it is somebody else's, what comes next says so.
                let _ = change_mode(&named, Mode::S_IRWXU);
            }
        }
        self.directory(name)
    }

    /// Removes a directory, unless it is not empty (it held more than a batch, or the guest has
    /// added something) or has become something else.
    fn remove_directory_if_empty(&self, name: &[u8]) -> io::Result<()> {
        match self.remove_empty_directory(name) {
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOTEMPTY | libc::EEXIST | libc::ENOENT | libc::ENOTDIR)
                ) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Moves an entry into another directory under a name that is free there. It is no failure if
    /// the entry has vanished.
    pub fn move_under_free_name(&self, name: &[u8], to: &Self, unique: &mut UniqueNames) -> io::Result<()> {
        for _ in 0..MOST_NAMES_TRIED {
            match self.rename_new(name, to, unique.next().as_bytes()) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY)) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => return other,
            }
        }
        Err(Errno::EEXIST.into())
    }
}

/// A failure at an entry, with its name where it is one that somebody must find: it was made immutable, perhaps.
fn at(name: &[u8], error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EPERM) => io::Error::new(error.kind(), format!("\"{}\": {error}", displayable(name))),
        _ => error,
    }
}

/// No names, if the directory itself was removed.
fn if_there(names: io::Result<Vec<Vec<u8>>>) -> io::Result<Vec<Vec<u8>>> {
    match names {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}
