//! What came of comparing a download with the guest's digests, as C sees it.

use std::ffi::{CString, c_char};

use rextfv_core::verification::{Outcome, Verification};

use crate::boundary::{c_text, get, pointer};
use crate::report::nlxtp_download;

/// What came of comparing a download with the digests that the guest wrote before it was done. Later
/// versions may add outcomes.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum nlxtp_verification {
    /// The guest has written none, or its run is not done.
    NLXTP_VERIFICATION_NO_DIGESTS = 0,
    /// The archive holds exactly the files that the guest wrote down, with the contents that they had.
    NLXTP_VERIFICATION_VERIFIED = 1,
    /// It does not.
    NLXTP_VERIFICATION_DIFFERS = 2,
    /// What is in the place of the guest's digests cannot be used.
    NLXTP_VERIFICATION_UNUSABLE = 3,
}

/// The part of a download's report that is told here.
pub struct Verified {
    outcome: Outcome,
    reason: Option<CString>,
    /// How many there are in all.
    differences: u64,
    /// Their paths, and what is wrong.
    listed: Vec<(CString, CString)>,
}

impl From<&Verification> for Verified {
    fn from(verification: &Verification) -> Self {
        let mut verified = Self { outcome: verification.outcome(), reason: None, differences: 0, listed: Vec::new() };
        match verification {
            Verification::Unusable { reason } => verified.reason = Some(c_text(reason)),
            Verification::Differs(differences) => {
                verified.differences = differences.count();
                for (paths, problem) in [
                    (&differences.content, "its content is not what the guest has written"),
                    (&differences.missing, "the guest has written it, and it is missing"),
                    (&differences.unlisted, "it is new since the guest was done"),
                ] {
                    verified.listed.extend(paths.listed.iter().map(|path| (c_text(path), c_text(problem))));
                }
            }
            Verification::Verified { .. } | Verification::NoDigests => {}
        }
        verified
    }
}

/// Whether the archive holds what the guest had written when it was done; NLXTP_VERIFICATION_NO_DIGESTS for
/// NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_verification(download: *const nlxtp_download) -> nlxtp_verification {
    get(download, nlxtp_verification::NLXTP_VERIFICATION_NO_DIGESTS, |downloaded| match downloaded.verified.outcome {
        Outcome::NoDigests => nlxtp_verification::NLXTP_VERIFICATION_NO_DIGESTS,
        Outcome::Verified => nlxtp_verification::NLXTP_VERIFICATION_VERIFIED,
        Outcome::Differs => nlxtp_verification::NLXTP_VERIFICATION_DIFFERS,
        Outcome::Unusable => nlxtp_verification::NLXTP_VERIFICATION_UNUSABLE,
    })
}

/// Why the guest's digests cannot be used, for people; NULL if they can, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_verification_reason(download: *const nlxtp_download) -> *const c_char {
    get(download, std::ptr::null(), |downloaded| pointer(downloaded.verified.reason.as_ref()))
}

/// How many files differ from the guest's digests: have another content, are missing in the archive, or are
/// new; 0 for NULL. The first 1000 of each kind can be asked for one by one.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_differences(download: *const nlxtp_download) -> u64 {
    get(download, 0, |downloaded| downloaded.verified.differences)
}

/// The path of such a file, escaped for showing; NULL if there are fewer, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_difference_path(download: *const nlxtp_download, index: usize) -> *const c_char {
    get(download, std::ptr::null(), |downloaded| pointer(downloaded.verified.listed.get(index).map(|(path, _)| path)))
}

/// How it differs, for people; NULL if there are fewer, and for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_download_difference_problem(download: *const nlxtp_download, index: usize) -> *const c_char {
    get(download, std::ptr::null(), |downloaded| pointer(downloaded.verified.listed.get(index).map(|(_, how)| how)))
}
