//! Journals as C sees them.

use std::ffi::{c_char, c_int};

use nlxtp_host::journal::Journal;

use crate::boundary::{self, Handle, Out, free, give, guard, path, read_struct};
use crate::error::{nlxtp_error, nlxtp_result};

/// A journal on the host: nodes that are opened with it append each upload, start, end and download to its
/// file, for `nlxtp journal show`, `verify` and `replay`. It belongs to the caller, who frees it with
/// nlxtp_journal_free(). Any number of nodes, threads and processes may use it at once.
pub struct nlxtp_journal;

impl Handle for nlxtp_journal {
    type Inner = Journal;
    const NAME: &'static str = "nlxtp_journal";
    const TAG: u64 = 0x6e6c_7874_704a_4f55;
}

/// What a journal is to keep. Fill it with zeros, which mean "as usual", then set `size` and what is
/// wanted. NULL in its place means: all as usual.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct nlxtp_journal_options {
    /// sizeof(nlxtp_journal_options).
    pub size: usize,
    /// Not 0: keep a copy of each uploaded archive in the folder of the journal's name with ".d", for a replay.
    pub keep_archives: c_int,
}

const AS_USUAL: nlxtp_journal_options = nlxtp_journal_options { size: 0, keep_archives: 0 };

boundary::growable!(nlxtp_journal_options, AS_USUAL);

/// Opens the journal in this file, which is made where there is none; it is open only while a line is
/// written. `options` may be NULL. `journal` gets the journal, to be freed with nlxtp_journal_free().
/// NLXTP_ERROR_INVALID_INPUT: the file holds anything but a journal.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_journal_open(
    file: *const c_char,
    options: *const nlxtp_journal_options,
    journal: *mut *mut nlxtp_journal,
    error: *mut *mut nlxtp_error,
) -> nlxtp_result {
    guard("journal_open", error, || {
        let out = Out::new(journal, "nlxtp_journal")?;
        let options = read_struct(options)?.unwrap_or(AS_USUAL);
        let opened = Journal::open(path(file, "file")?)?;
        out.set(|| give(if options.keep_archives != 0 { opened.keeping_archives() } else { opened }));
        Ok(())
    })
}

/// Frees a journal; nodes that were opened with it go on recording. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_journal_free(journal: *mut nlxtp_journal) {
    free(journal);
}
