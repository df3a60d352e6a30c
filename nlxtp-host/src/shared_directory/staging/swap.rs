//! Steps 3 to 6 of an upload to a directory: the old content goes out of the way, and the new one, which counts
//! already, comes into its place.

#![forbid(unsafe_code)]

use std::io;

use rextfv_core::entry_path::displayable;
use rextfv_core::layout;

use super::super::beneath::{Directory, Patience, UniqueNames};
use super::{BATCH, COMMIT, OLD, PRIVATE_MODE, READY, STAGING};
use crate::error::{Error, ErrorKind, Result};

/// From new content that counts to new content in its place.
///
/// What is in the staging directory and cannot be of our making is removed: it must not stand in the
/// way of all uploads to come.
pub(super) fn roll_forward(root: &Directory, staging: &Directory, patience: &mut Patience<'_>) -> Result<()> {
    let mut swap = Swap { root, staging, patience, unique: UniqueNames::new().map_err(placing)? };
    if staging.remove_unless_directory(COMMIT).map_err(placing)?.is_some() {
        staging.remove_tree(READY, swap.patience).map_err(placing)?;
        swap.move_old(layout::is_start_script)?;
        root.flush_file_system().map_err(placing)?;
        swap.move_old(|name| name != STAGING)?;
        staging.rename_new(COMMIT, staging, READY).map_err(placing)?;
        root.flush_file_system().map_err(placing)?;
    }
    if let Some(ready) = staging.remove_unless_directory(READY).map_err(placing)? {
        swap.put_new(&ready, |name| name == layout::RUN_ID.as_bytes())?;
        swap.put_new(&ready, |name| !layout::is_start_script(name))?;
        root.flush_file_system().map_err(placing)?;
        // The preferred start script last.
        swap.put_new(&ready, |name| name != layout::START_SCRIPT.as_bytes())?;
        swap.put_new(&ready, |_| true)?;
        staging.remove_tree(READY, swap.patience).map_err(placing)?;
        // A guest's daemon has seen the start script come while it might not start it; the end of the
        // staging directory, which it would see too, may take long.
        let _ = root.touch();
        root.flush_file_system().map_err(placing)?;
    }
    Ok(())
}

/// An error once the new content counts.
fn placing(error: io::Error) -> Error {
    let error = Error::io("put the new content in its place", error);
    match error.kind() {
        ErrorKind::NoSpace => error.with_hint("it counts already: make room, and the next operation goes on"),
        _ => error,
    }
}

/// The same at an entry that is to be moved.
fn moving(name: &[u8], error: io::Error) -> Error {
    with_way_to_move(error, |error| placing(error).with_object(displayable(name)))
}

/// Tells that something cannot be moved or removed, with the way out where not even root may do it.
pub(super) fn with_way_to_move(error: io::Error, tell: impl FnOnce(io::Error) -> Error) -> Error {
    let not_even_root = error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error() != Some(libc::EACCES);
    let told = tell(error);
    if !not_even_root {
        return told;
    }
    told.with_hint(
        "it may be immutable or append-only, as lsattr shows: take that away with chattr -i -a, and upload again",
    )
}

/// Moves entries between the top of the shared directory and the staging directory.
struct Swap<'a, 'p> {
    root: &'a Directory,
    staging: &'a Directory,
    patience: &'a mut Patience<'p>,
    unique: UniqueNames,
}

impl Swap<'_, '_> {
    /// Moves what is wanted from the top out of the way.
    fn move_old(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Result<()> {
        loop {
            let names = self.root.names_where(BATCH, &wanted).map_err(placing)?;
            if names.is_empty() {
                return Ok(());
            }
            self.patience.spend_pass().map_err(placing)?;
            // Each time anew: nothing can be moved into a directory that the guest has removed.
            let old = self.old().map_err(placing)?;
            for name in names {
                self.patience.spend().map_err(placing)?;
                let moved = self.root.move_under_free_name(&name, &old, &mut self.unique);
                moved.map_err(|error| moving(&name, error))?;
            }
        }
    }

    /// Moves what is wanted of the new content to the top. A guest may have put the staging
    /// directory's own name among it, which cannot be moved there.
    fn put_new(&mut self, ready: &Directory, wanted: impl Fn(&[u8]) -> bool) -> Result<()> {
        loop {
            let names = ready.names_where(BATCH, |name| name != STAGING && wanted(name)).map_err(placing)?;
            if names.is_empty() {
                return Ok(());
            }
            self.patience.spend_pass().map_err(placing)?;
            for name in names {
                self.patience.spend().map_err(placing)?;
                let moved = match ready.rename_new(&name, self.root, &name) {
                    // What stands in the way was made by the guest, meanwhile; then once more.
                    Err(error) if is_in_the_way(&error) => {
                        let old = self.old().map_err(placing)?;
                        self.root.move_under_free_name(&name, &old, &mut self.unique)
                    }
                    other => other,
                };
                moved.map_err(|error| moving(&name, error))?;
            }
        }
    }

    fn old(&self) -> io::Result<Directory> {
        if let Some(old) = self.staging.remove_unless_directory(OLD)? {
            return Ok(old);
        }
        self.staging.create_directory(OLD, PRIVATE_MODE)?;
        self.staging.directory(OLD)
    }
}

fn is_in_the_way(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY | libc::EISDIR | libc::ENOTDIR))
}
