//! The guest's digests: read before a download packs, and compared with what it has packed.

#![forbid(unsafe_code)]

use rextfv_core::digests::{self, DigestsProblem, MAX_DIGESTS_BYTES};
use rextfv_core::entry_path::EntryPath;
use rextfv_core::layout;
use rextfv_core::shared_directory::{Entry, EntryKind, LeftOut, View};
use rextfv_core::status_reader::{Reading, read_status};
use rextfv_core::verification::{Comparison, Verification};

use crate::error::{Error, ErrorKind, Result};
use crate::journal::digest::Digest;

/// How far the comparison of a download with the guest's digests has come.
pub(super) enum Check {
    /// The guest has written none, or is not done.
    NoDigests,
    /// It has written some.
    Comparing {
        comparison: Comparison,
        /// The digest of the file that was read.
        read: Digest,
        /// The digest of the file that was packed.
        packed: Option<Digest>,
    },
    /// What is in their place cannot be used, for this reason.
    Unusable(String),
}

impl Check {
    /// Reads what the guest has written down so far.
    ///
    /// # Errors
    /// The storage cannot be read. Whatever the guest has put there is no error.
    pub fn begin(view: &mut dyn View<Error = Error>) -> Result<Self> {
        match read(view) {
            Ok(Found::Nothing) => Ok(Self::NoDigests),
            Ok(Found::Other(what)) => Ok(Self::Unusable(what.into())),
            Ok(Found::File(bytes)) => {
                Ok(Self::of(&bytes).unwrap_or_else(|problem| Self::Unusable(problem.to_string())))
            }
            Err(error) if error.is_the_guests_doing() => Ok(Self::Unusable(error.message())),
            Err(error) => Err(error),
        }
    }

    fn of(file: &[u8]) -> Result<Self, DigestsProblem> {
        let digests = digests::lines(file)?.collect::<Result<_, _>>()?;
        Ok(Self::Comparing { comparison: Comparison::new(digests), read: Digest::of(file), packed: None })
    }

    /// Whether [`file`](Self::file) makes anything of a digest.
    pub const fn wants_digests(&self) -> bool {
        matches!(self, Self::Comparing { .. })
    }

    /// A file was packed, whose content in the archive has this digest.
    pub fn file(&mut self, path: &EntryPath, digest: Digest) {
        let Self::Comparing { comparison, packed, .. } = self else { return };
        // A FAT may have it in capitals.
        if path.as_bytes().eq_ignore_ascii_case(layout::DIGESTS.as_bytes()) {
            *packed = Some(digest);
        }
        comparison.file(path, digest.as_bytes());
    }

    /// Something was left out: a FIFO, for one, is nothing that can be looked at beforehand.
    pub fn left_out(&mut self, left_out: &LeftOut) {
        if left_out.path == layout::DIGESTS {
            *self = Self::Unusable(left_out.reason.to_string());
        }
    }

    /// All was packed.
    pub fn finish(self) -> Verification {
        match self {
            Self::NoDigests => Verification::NoDigests,
            Self::Comparing { comparison, read, packed } if packed == Some(read) => comparison.finish(),
            Self::Comparing { .. } => {
                Verification::Unusable { reason: "it changed while the download was made".into() }
            }
            Self::Unusable(reason) => Verification::Unusable { reason },
        }
    }
}

/// What there is in the place of the digests.
enum Found {
    /// Nothing that counts: before the run is done, they may be torn.
    Nothing,
    Other(&'static str),
    File(Vec<u8>),
}

/// Reads no more than may be there, and a byte that shows that there is more.
fn read(view: &mut dyn View<Error = Error>) -> Result<Found> {
    let path = EntryPath::parse(layout::DIGESTS.as_bytes())
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))?;
    let size = match view.entry(&path)? {
        None => return Ok(Found::Nothing),
        Some(Entry { kind: EntryKind::Directory, .. }) => return Ok(Found::Other("it is a directory")),
        Some(Entry { kind: EntryKind::Symlink, .. }) => return Ok(Found::Other("it is a symbolic link")),
        Some(Entry { kind: EntryKind::File, size, .. }) => size,
    };
    match read_status(view)?.reading {
        Reading::Record(status) if status.done => {}
        Reading::Tomato(status) if status.done => {}
        Reading::Unusable(_) => return Ok(Found::Other("the status cannot be read, so that they may be torn")),
        _ => return Ok(Found::Nothing),
    }
    let most = usize::try_from(size).unwrap_or(usize::MAX).min(MAX_DIGESTS_BYTES) + 1;
    let mut file = vec![0; most];
    let read = view.read_at(&path, 0, &mut file)?;
    file.truncate(read.unwrap_or(0));
    Ok(if read.is_some() { Found::File(file) } else { Found::Nothing })
}
