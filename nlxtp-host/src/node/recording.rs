//! A node's operations as its journal sees them.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::Path;

use rextfv_core::archive_rules::LinkPolicy;
use rextfv_core::entry_path::EntryPath;
use rextfv_core::ids::{ID_DIGITS, RunId};
use rextfv_core::layout;
use rextfv_core::operations::{DownloadReport, UploadReport};
use rextfv_core::shared_directory::Sharing;

use super::{Node, ReadSeek};
use crate::archive::{ArchiveReader, OutputFormat};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::digest::{Digest, DigestedSink, DigestedSource};
use crate::journal::record::{ArchiveFile, Download, Event, Storage, Upload};
use crate::journal::{NodeJournal, Tree, Utc};

impl Node {
    /// The same with a journal, to which each upload, start, end and download appends a line.
    ///
    /// Where the journal cannot be written to, an upload or download fails before anything is touched.
    /// What has been done when the line cannot be written is done nevertheless: the operation returns what it
    /// did, and [`take_journal_failure`](Self::take_journal_failure) why it is not in the journal. An
    /// upload or download that fails is not recorded.
    #[must_use]
    pub fn with_journal(mut self, journal: NodeJournal) -> Self {
        self.journal = Some(Box::new(journal));
        self
    }

    /// Why something that was done since this was asked last is not in the journal.
    pub fn take_journal_failure(&mut self) -> Option<Error> {
        self.journal.as_mut()?.take_failure()
    }

    /// Records the last download, where the journal was told to wait for that
    /// ([`NodeJournal::deferring_downloads`]).
    pub fn confirm_download(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.confirm_download();
        }
    }

    /// Names the archive that is uploaded or downloaded next, for the journal; see
    /// [`NodeJournal::with_archive`]. `None` where it has no name.
    pub fn name_journalled_archive(&mut self, path: Option<&Path>) {
        if let Some(journal) = &mut self.journal {
            journal.set_archive(path);
        }
    }

    /// As [`download`](Self::download), and digests the archive and what it holds meanwhile.
    ///
    /// # Errors
    /// As for [`download`](Self::download).
    pub fn download_digested(
        &mut self,
        archive: &mut dyn Write,
        format: OutputFormat,
        control: &Control<'_>,
    ) -> Result<(DownloadReport, Digest, Tree)> {
        let began = Utc::now();
        if let Some(journal) = &self.journal {
            journal.check(self.directory.host_directory())?;
        }
        let mut sink = DigestedSink::new(archive);
        let mut tree = Tree::default();
        let (run, report) = {
            let mut view = self.directory.view()?;
            // It is only what the directory says, which is the guest's. Unreadable, it stays unknown.
            let run = read_run_id(&mut |path, buffer| view.read_at(path, 0, buffer).ok().flatten());
            (run, self.pack(&mut *view, &mut sink, format, control, Some(&mut tree))?)
        };
        let digest = sink.finish();
        if let Some(journal) = &mut self.journal {
            let event = Event::Download(Download {
                began,
                archive: ArchiveFile {
                    sha256: digest,
                    bytes: report.archive_bytes,
                    format: format.name().into(),
                    name: journal.archive(),
                    kept: false,
                },
                files: report.files,
                directories: report.directories,
                symlinks: report.symlinks,
                bytes: report.bytes,
                changed: report.changed.count(),
                left_out: report.left_out.count(),
                verified: Some(report.verification.outcome()),
                results: tree.summary(),
            });
            let power = self.power.power_state().unwrap_or_default();
            journal.downloaded(run, power, event);
        }
        Ok((report, digest, tree))
    }

    /// An upload whose archive is digested, and kept if the journal is to keep it.
    pub(super) fn upload_recorded(
        &mut self,
        journal: &mut NodeJournal,
        archive: &mut dyn ReadSeek,
        control: &Control<'_>,
    ) -> Result<UploadReport> {
        let began = Utc::now();
        journal.check(self.directory.host_directory())?;
        let power = self.power.power_state()?;
        let format = ArchiveReader::open(&mut *archive)?.format().name();
        let reading = |error| Error::io("read the archive", error);

        let (uploaded, digested, kept) = match journal.store() {
            Some(store) => {
                // What is uploaded is the copy: nobody can change that one meanwhile.
                let mut copy = store.copy(archive, control)?;
                let uploaded = self.upload_unrecorded(&mut copy.file, control);
                let kept = if stands(&uploaded).is_some() { copy.keep(&store) } else { Ok(()) };
                (uploaded, Ok((copy.digest, copy.bytes)), Some(kept))
            }
            None => {
                let mut source = DigestedSource::new(archive).map_err(reading)?;
                let uploaded = self.upload_unrecorded(&mut source, control);
                // Of no use where nothing was uploaded.
                let digested = if stands(&uploaded).is_some() { source.finish() } else { Ok((Digest::NONE, 0)) };
                (uploaded, digested.map_err(reading), None)
            }
        };
        let Some(report) = stands(&uploaded) else { return uploaded };
        let kept = match kept {
            Some(Err(error)) => {
                journal.failed(error);
                false
            }
            Some(Ok(())) => true,
            None => false,
        };
        match digested {
            Err(error) => journal.failed(error),
            Ok((sha256, bytes)) => {
                let event = Event::Upload(Upload {
                    began,
                    storage: match self.directory.sharing() {
                        Sharing::TakingTurns => Storage::Disk,
                        Sharing::Concurrent => Storage::Directory,
                    },
                    archive: ArchiveFile { sha256, bytes, format: format.into(), name: journal.archive(), kept },
                    follow_links: self.links == LinkPolicy::Copy,
                    entries: report.entries,
                    bytes: report.bytes,
                    start_script: report.start_script.clone(),
                    execution: report.execution,
                    invoke_failed: uploaded.as_ref().is_err_and(|error| error.kind() == ErrorKind::InvokeFailed),
                });
                journal.uploaded(report.run_id, power, event);
            }
        }
        uploaded
    }
}

/// The report of an upload that stands, whether the monitor could be invoked or not.
fn stands(uploaded: &Result<UploadReport>) -> Option<&UploadReport> {
    match uploaded {
        Ok(report) => Some(report),
        Err(error) => error.upload(),
    }
}

fn read_run_id(read: &mut dyn FnMut(&EntryPath, &mut [u8]) -> Option<usize>) -> Option<RunId> {
    let mut text = [0; ID_DIGITS + 1];
    let path = EntryPath::parse(layout::RUN_ID.as_bytes()).ok()?;
    let length = read(&path, &mut text)?;
    str::from_utf8(text[..length].strip_suffix(b"\n")?).ok()?.parse().ok()
}
