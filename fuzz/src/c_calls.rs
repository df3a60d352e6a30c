//! Sequences of calls of the C library: with handles of the right kind, of others, and NULL, with callbacks
//! that answer anything, over a directory and a disk. No call does anything but what a model of the
//! handles allows: it fails with an error object and leaves its output alone, or succeeds and writes it.
//!
//! The input: triples of a function's letter, which handle, and a number for it; see [`Program::step`].

#[path = "c_calls/callbacks.rs"]
mod callbacks;

use std::ffi::{CString, c_char, c_void};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::ptr::{null, null_mut};

use nlxtp::c::*;
use tempfile::TempDir;

use crate::scratch;

use self::callbacks::{Answers, control, packing, reader, writer};

/// Most calls of one input: it is to be quick.
const MOST_STEPS: usize = 32;
/// Handles of one kind that are open at a time.
const SLOTS: usize = 3;
const DISK_BYTES: u64 = (1 << 20) + (512 << 10);

/// Checks one input. Returns how many of its calls have succeeded.
pub fn check(input: &[u8]) -> usize {
    let mut program = Program::new();
    for &[letter, which, number] in input.as_chunks().0.iter().take(MOST_STEPS) {
        program.step(letter, which, number);
    }
    program.succeeded
}

/// A handle as the program has it: NULL, or what a call gave.
type Slots<T> = [*mut T; SLOTS];

/// Where the fuzzed program has its handles.
struct Program {
    scratch: TempDir,
    succeeded: usize,
    nodes: Slots<nlxtp_node>,
    /// By which watcher, and under what number, each of these nodes is watched.
    watched: [Option<(usize, u64)>; SLOTS],
    watchers: Slots<nlxtp_watcher>,
    /// Nodes of each watcher, also those whose handles were freed.
    members: [usize; SLOTS],
    statuses: Slots<nlxtp_status>,
    uploads: Slots<nlxtp_upload>,
    downloads: Slots<nlxtp_download>,
    changes: Slots<nlxtp_change>,
    cancels: Slots<nlxtp_cancel>,
    disks: Slots<nlxtp_disk>,
    journals: Slots<nlxtp_journal>,
    errors: Slots<nlxtp_error>,
    texts: Slots<c_char>,
}

/// What an output argument holds before a call, to see that a failure leaves it alone. Never followed.
fn untouched<T>() -> *mut T {
    std::ptr::without_provenance_mut(0x5a5a)
}

impl Program {
    fn new() -> Self {
        let scratch = scratch::directory();
        fs::create_dir(scratch.path().join("directory")).expect("a directory");
        fs::write(scratch.path().join("good.tar"), archive(&[("auto_exec.sh", 20), ("data", 3000)])).expect("a file");
        fs::write(scratch.path().join("large.tar"), archive(&[("large", 700_000)])).expect("a file");
        fs::write(scratch.path().join("bad.tar"), "no archive").expect("a file");
        let program = Self {
            scratch,
            succeeded: 0,
            nodes: [null_mut(); SLOTS],
            watched: [None; SLOTS],
            watchers: [null_mut(); SLOTS],
            members: [0; SLOTS],
            statuses: [null_mut(); SLOTS],
            uploads: [null_mut(); SLOTS],
            downloads: [null_mut(); SLOTS],
            changes: [null_mut(); SLOTS],
            cancels: [null_mut(); SLOTS],
            disks: [null_mut(); SLOTS],
            journals: [null_mut(); SLOTS],
            errors: [null_mut(); SLOTS],
            texts: [null_mut(); SLOTS],
        };
        let options = nlxtp_disk_options { size: size_of::<nlxtp_disk_options>(), bytes: DISK_BYTES, label: null() };
        let made = nlxtp_disk_create(program.path("disk").as_ptr(), &raw const options, null_mut());
        assert_eq!(made, nlxtp_result::NLXTP_OK);
        program
    }

    fn path(&self, name: &str) -> CString {
        CString::new(self.scratch.path().join(name).into_os_string().into_encoded_bytes()).expect("no NUL")
    }

    /// A handle of any kind, or NULL, in place of one of the right kind.
    fn any<T>(&self, number: u8) -> *mut T {
        let which = usize::from(number / 10) % SLOTS;
        match number % 10 {
            0 => self.nodes[which].cast(),
            1 => self.watchers[which].cast(),
            2 => self.statuses[which].cast(),
            3 => self.uploads[which].cast(),
            4 => self.downloads[which].cast(),
            5 => self.changes[which].cast(),
            6 => self.cancels[which].cast(),
            7 => self.errors[which].cast(),
            8 => self.disks[which].cast(),
            _ => self.journals[which].cast(),
        }
    }

    /// Makes a call with a place for its error. What comes of it must be said by both, alike.
    fn call(&mut self, slot: usize, made: impl FnOnce(*mut *mut nlxtp_error) -> nlxtp_result) -> bool {
        let mut error = untouched();
        let result = made(&raw mut error);
        if result == nlxtp_result::NLXTP_OK {
            assert_eq!(error, untouched(), "a success has an error");
            self.succeeded += 1;
            return true;
        }
        assert_ne!(result, nlxtp_result::NLXTP_ERROR_INTERNAL, "a fault in the library");
        assert_eq!(nlxtp_error_code(error), result);
        for text in [nlxtp_error_kind(error), nlxtp_error_operation(error), nlxtp_error_text(error)] {
            assert!(!text.is_null());
        }
        assert!(!nlxtp_error_message(error).is_null());
        let refused = nlxtp_error_refusal_count(error) > 0;
        assert_eq!(refused, result == nlxtp_result::NLXTP_ERROR_REFUSED);
        assert_eq!(refused, !nlxtp_error_refusal_reason(error, 0).is_null());
        let stands = result == nlxtp_result::NLXTP_ERROR_INVOKE_FAILED;
        assert_eq!(stands, !nlxtp_upload_run_id(nlxtp_error_upload(error)).is_null());
        nlxtp_error_free(std::mem::replace(&mut self.errors[slot], error));
        false
    }

    /// The same for a call that gives a handle: a failure leaves the place alone.
    fn give<T>(
        &mut self,
        slot: usize,
        made: impl FnOnce(*mut *mut T, *mut *mut nlxtp_error) -> nlxtp_result,
    ) -> Option<*mut T> {
        let mut given = untouched();
        let done = self.call(slot, |error| made(&raw mut given, error));
        assert_eq!(done, given != untouched(), "an output that belongs to a failure, or is missing");
        done.then_some(given)
    }

    fn refused(&self, slot: usize) -> bool {
        nlxtp_error_code(self.errors[slot]) == nlxtp_result::NLXTP_ERROR_INVALID_INPUT
    }

    /// One call. `which` is the handle, `number` what else the call needs.
    fn step(&mut self, letter: u8, which: u8, number: u8) {
        let slot = usize::from(which) % SLOTS;
        let answers = Answers(number);
        let given_control = control(answers, self.cancels[slot]);
        let with_control: *const nlxtp_control = if which & 0x40 == 0 { null() } else { &raw const given_control };
        // Now and then a handle of the wrong kind.
        let wrong = which & 0x80 != 0;
        let node: *mut nlxtp_node = if wrong { self.any(number) } else { self.nodes[slot] };
        match letter {
            b'O' => self.open(slot, number),
            b'U' => {
                let archive = self.path(["good.tar", "large.tar", "bad.tar", "absent"][usize::from(number % 4)]);
                let made = self
                    .give(slot, |upload, error| nlxtp_node_upload(node, archive.as_ptr(), with_control, upload, error));
                self.judge_node(node, slot, made.is_some());
                self.keep_upload(slot, made);
            }
            b'F' => {
                let file = File::open(self.scratch.path().join(["good.tar", "bad.tar"][usize::from(number % 2)]));
                let descriptor = if number > 200 { -1 } else { file.as_ref().expect("it is there").as_raw_fd() };
                let made = self
                    .give(slot, |upload, error| nlxtp_node_upload_fd(node, descriptor, with_control, upload, error));
                self.judge_node(node, slot, made.is_some());
                self.keep_upload(slot, made);
            }
            b'R' => {
                let archive = reader(answers);
                let made = self.give(slot, |upload, error| {
                    nlxtp_node_upload_reader(node, &raw const archive, with_control, upload, error)
                });
                assert!(made.is_none(), "what such a reader gives is no archive");
                self.judge_node(node, slot, false);
            }
            b'Q' => {
                let made = self.give(slot, |status, error| nlxtp_node_status(node, status, error));
                self.judge_node(node, slot, made.is_some());
                self.keep_status(slot, made);
            }
            b'W' => {
                // Nobody executes anything here: no run ends, so no wait does but by its time.
                let control = nlxtp_control { has_timeout: 1, timeout_ms: 0, ..given_control };
                let made = self.give(slot, |status, error| {
                    nlxtp_node_wait(node, &raw const control, None, null_mut(), status, error)
                });
                assert!(made.is_none());
                self.judge_node(node, slot, false);
            }
            b'M' => {
                let made = self.give(slot, |memory, error| nlxtp_node_memory(node, memory, error));
                self.judge_node(node, slot, made.is_some());
                if let Some(memory) = made {
                    nlxtp_string_free(std::mem::replace(&mut self.texts[slot], memory));
                }
            }
            b'P' => {
                let status: *mut nlxtp_status = if number & 1 == 0 { self.any(number) } else { self.statuses[slot] };
                let (mut bytes, mut length) = ([0_u8; 16], 77);
                let wanted = usize::from(number % 17);
                let done = self.call(slot, |error| {
                    let buffer = bytes.as_mut_ptr().cast::<c_void>();
                    let output = i32::from(number % 4);
                    nlxtp_node_read_output(node, status, output, number.into(), buffer, wanted, &raw mut length, error)
                });
                assert!(if done { length <= wanted } else { length == 77 });
                self.judge_node(node, slot, done);
            }
            b'D' => {
                let archive = self.path(["out.tar", "out.tar.gz", "absent/out"][usize::from(number % 3)]);
                let options = nlxtp_download_options {
                    level: i32::from(number / 16),
                    attempts: (number & 1).into(),
                    replace: (number & 8).into(),
                    ..packing(1)
                };
                let made = self.give(slot, |download, error| {
                    nlxtp_node_download(node, archive.as_ptr(), &raw const options, with_control, download, error)
                });
                self.judge_node(node, slot, made.is_some());
                self.keep_download(slot, made);
            }
            b'E' => {
                let archive = writer(answers);
                let made = self.give(slot, |download, error| {
                    let options = packing(i32::from(number % 5));
                    nlxtp_node_download_writer(
                        node,
                        &raw const archive,
                        &raw const options,
                        with_control,
                        download,
                        error,
                    )
                });
                self.judge_node(node, slot, made.is_some());
                self.keep_download(slot, made);
            }
            b'w' => self.new_watcher(slot, number),
            b'A' => self.watch(slot, usize::from(number) % SLOTS),
            b'Z' => self.forget(slot, usize::from(number) % SLOTS),
            b'N' => self.next(slot, wrong, number),
            b'K' => self.look(slot, number, with_control),
            b'J' => {
                let file = self.path(["journal", "good.tar", "absent/journal"][usize::from(number % 3)]);
                let size = size_of::<nlxtp_journal_options>();
                let options = nlxtp_journal_options { size, keep_archives: (number & 4).into() };
                let made = self
                    .give(slot, |journal, error| nlxtp_journal_open(file.as_ptr(), &raw const options, journal, error));
                assert_eq!(made.is_some(), number.is_multiple_of(3));
                nlxtp_journal_free(std::mem::replace(&mut self.journals[slot], made.unwrap_or(null_mut())));
            }
            b'j' => {
                let made = self.give(slot, |failure, error| nlxtp_node_journal_failure(node, failure, error));
                self.judge_node(node, slot, made.is_some());
                assert!(made.is_none_or(|failure| failure.is_null()), "there is nothing that cannot be recorded");
            }
            b'C' => {
                let made = self.give(slot, |cancel, error| nlxtp_cancel_new(cancel, error));
                nlxtp_cancel_free(std::mem::replace(&mut self.cancels[slot], made.expect("it needs nothing")));
            }
            b'!' => nlxtp_cancel_now(self.any(number)),
            b'?' => self.ask(self.any(number)),
            b'X' => self.free(slot, number),
            _ => {}
        }
    }

    /// What a call with a node must have come to, whatever else it is about.
    fn judge_node(&self, node: *mut nlxtp_node, slot: usize, done: bool) {
        let known = self.nodes.contains(&node) && !node.is_null();
        assert!(known || (!done && self.refused(slot)), "a call with what is no node");
    }

    fn open(&mut self, slot: usize, number: u8) {
        if !self.nodes[slot].is_null() {
            return;
        }
        let target = self.path(["directory", "disk", "good.tar", "absent"][usize::from(number % 4)]);
        let answers = Answers(number);
        let options = nlxtp_node_options {
            memory: if number & 0x80 == 0 { null() } else { self.texts[slot] },
            max_bytes: 600_000,
            journal: self.journals[slot],
            journal_name: c"node".as_ptr(),
            ..answers.node_options()
        };
        let made = self.give(slot, |node, error| nlxtp_node_open(target.as_ptr(), &raw const options, node, error));
        assert_eq!(made.is_some(), number % 4 < 2);
        self.nodes[slot] = made.unwrap_or(null_mut());
        self.watched[slot] = None;
    }

    fn keep_upload(&mut self, slot: usize, made: Option<*mut nlxtp_upload>) {
        let Some(upload) = made else { return };
        assert!(!nlxtp_upload_run_id(upload).is_null() && !nlxtp_upload_json(upload).is_null());
        assert_eq!((nlxtp_upload_entries(upload), nlxtp_upload_bytes(upload)), (2, 3020));
        assert!(!nlxtp_upload_start_script(upload).is_null());
        nlxtp_upload_free(std::mem::replace(&mut self.uploads[slot], upload));
    }

    fn keep_download(&mut self, slot: usize, made: Option<*mut nlxtp_download>) {
        let Some(download) = made else { return };
        assert!(nlxtp_download_files(download) <= 3 && nlxtp_download_bytes(download) < 4000);
        assert_eq!(nlxtp_download_changed(download) + nlxtp_download_left_out(download), 0);
        nlxtp_download_free(std::mem::replace(&mut self.downloads[slot], download));
    }

    fn keep_status(&mut self, slot: usize, made: Option<*mut nlxtp_status>) {
        let Some(status) = made else { return };
        assert_eq!(nlxtp_status_state(status), nlxtp_state::NLXTP_STATE_NOT_STARTED);
        assert!(!nlxtp_status_done(status) && nlxtp_status_custom(status, null_mut()).is_null());
        nlxtp_status_free(std::mem::replace(&mut self.statuses[slot], status));
    }

    fn look(&mut self, slot: usize, number: u8, control: *const nlxtp_control) {
        let target = self.path(["disk", "directory", "good.tar", "absent"][usize::from(number % 4)]);
        let made = self.give(slot, |disk, error| nlxtp_disk_open(target.as_ptr(), control, disk, error));
        let Some(disk) = made else {
            assert!(!number.is_multiple_of(4) || !control.is_null(), "nothing is wrong with the disk");
            return;
        };
        assert_eq!((number % 4, nlxtp_disk_bytes(disk), nlxtp_disk_fat_bits(disk)), (0, DISK_BYTES, 12));
        nlxtp_disk_free(std::mem::replace(&mut self.disks[slot], disk));
    }

    fn new_watcher(&mut self, slot: usize, number: u8) {
        if !self.watchers[slot].is_null() {
            return;
        }
        let options = nlxtp_watcher_options {
            size: size_of::<nlxtp_watcher_options>(),
            shortest_ms: 0,
            longest_ms: number.into(),
            open_files: (number / 8).into(),
        };
        let made = self.give(slot, |watcher, error| nlxtp_watcher_new(&raw const options, watcher, error));
        (self.watchers[slot], self.members[slot]) = (made.expect("that is all right"), 0);
    }

    fn watch(&mut self, slot: usize, node: usize) {
        let (watcher, handle, mut id) = (self.watchers[slot], self.nodes[node], 77);
        let data = std::ptr::without_provenance_mut(node + 1);
        let done = self.call(slot, |error| nlxtp_watcher_add(watcher, handle, data, &raw mut id, error));
        let possible = !watcher.is_null() && !self.nodes[node].is_null() && self.watched[node].is_none();
        assert!(done == possible && (done || (id == 77 && self.refused(slot))));
        if done {
            self.watched[node] = Some((slot, id));
            self.members[slot] += 1;
        }
        assert_eq!(nlxtp_watcher_count(watcher), self.members[slot]);
    }

    fn forget(&mut self, slot: usize, node: usize) {
        let watcher = self.watchers[slot];
        let id = self.watched[node].map_or(0, |(_, id)| id);
        let known = self.watched[node].is_some_and(|(by, _)| by == slot);
        // Numbers are each watcher's own: that of another's node may be one of this one's.
        if !known && id != 0 {
            return;
        }
        let done = self.call(slot, |error| nlxtp_watcher_remove(watcher, id, error));
        assert_eq!(done, known);
        if done {
            self.watched[node] = None;
            self.members[slot] -= 1;
        }
    }

    fn next(&mut self, slot: usize, wrong: bool, number: u8) {
        let watcher: *mut nlxtp_watcher = if wrong { self.any(number) } else { self.watchers[slot] };
        if number & 1 == 0 {
            nlxtp_watcher_wake(watcher);
        }
        let control = nlxtp_control { has_timeout: 1, ..control(Answers(0), self.cancels[slot]) };
        let made = self.give(slot, |change, error| nlxtp_watcher_next(watcher, &raw const control, change, error));
        let known = self.watchers.contains(&watcher) && !watcher.is_null();
        assert!(known || (made.is_none() && self.refused(slot)));
        if let Some(change) = made.filter(|change| !change.is_null()) {
            assert!(nlxtp_change_node(change) > 0 && !nlxtp_change_user_data(change).is_null());
            assert_ne!(nlxtp_change_status(change).is_null(), nlxtp_change_error(change).is_null());
            nlxtp_change_free(std::mem::replace(&mut self.changes[slot], change));
        }
    }

    /// Those that cannot fail answer for whatever they are given.
    fn ask(&self, handle: *mut c_void) {
        assert_eq!(
            nlxtp_error_text(handle.cast()).is_null(),
            !self.errors.contains(&handle.cast()) || handle.is_null()
        );
        let is_status = self.statuses.contains(&handle.cast()) && !handle.is_null();
        assert_eq!(!nlxtp_status_json(handle.cast()).is_null(), is_status);
        assert_eq!(!nlxtp_status_state_word(handle.cast()).is_null(), is_status);
        let is_upload = self.uploads.contains(&handle.cast()) && !handle.is_null();
        assert_eq!(!nlxtp_upload_json(handle.cast()).is_null(), is_upload);
        let is_download = self.downloads.contains(&handle.cast()) && !handle.is_null();
        assert_eq!(!nlxtp_download_json(handle.cast()).is_null(), is_download);
        let is_change = self.changes.contains(&handle.cast()) && !handle.is_null();
        assert_eq!(nlxtp_change_node(handle.cast()) != 0, is_change);
        let is_disk = self.disks.contains(&handle.cast()) && !handle.is_null();
        assert_eq!(!nlxtp_disk_json(handle.cast()).is_null(), is_disk);
        nlxtp_watcher_wake(handle.cast());
    }

    /// Frees a handle, which is NULL from then on, by its own function or by that of another kind, which
    /// leaves it alone.
    fn free(&mut self, slot: usize, number: u8) {
        match number % 12 {
            0 => {
                nlxtp_watcher_free(self.nodes[slot].cast());
                nlxtp_node_free(std::mem::replace(&mut self.nodes[slot], null_mut()));
                // It is watched on, and nobody can tell its number any more.
                self.watched[slot] = None;
            }
            1 => {
                nlxtp_node_free(self.watchers[slot].cast());
                nlxtp_watcher_free(std::mem::replace(&mut self.watchers[slot], null_mut()));
                self.watched.iter_mut().filter(|by| by.is_some_and(|(by, _)| by == slot)).for_each(|by| *by = None);
                self.members[slot] = 0;
            }
            2 => nlxtp_status_free(std::mem::replace(&mut self.statuses[slot], null_mut())),
            3 => nlxtp_upload_free(std::mem::replace(&mut self.uploads[slot], null_mut())),
            4 => nlxtp_download_free(std::mem::replace(&mut self.downloads[slot], null_mut())),
            5 => nlxtp_change_free(std::mem::replace(&mut self.changes[slot], null_mut())),
            6 => nlxtp_cancel_free(std::mem::replace(&mut self.cancels[slot], null_mut())),
            7 => nlxtp_error_free(std::mem::replace(&mut self.errors[slot], null_mut())),
            8 => nlxtp_string_free(std::mem::replace(&mut self.texts[slot], null_mut())),
            9 => nlxtp_disk_free(std::mem::replace(&mut self.disks[slot], null_mut())),
            10 => nlxtp_journal_free(std::mem::replace(&mut self.journals[slot], null_mut())),
            _ => nlxtp_error_free(self.cancels[slot].cast()),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        for slot in 0..SLOTS {
            for kind in 0..12 {
                self.free(slot, kind);
            }
        }
    }
}

/// A tar of files so long.
fn archive(files: &[(&str, usize)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, length) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(*length as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, &vec![b'#'; *length][..]).expect("into memory");
    }
    tar.into_inner().expect("into memory")
}
