//! `libnlxtp`: [`nlxtp_host`] behind a C ABI. `include/nlxtp.h` is made of this crate, and
//! `docs/c-api.md` sets out its conventions.
//!
//! It has no logic of its own. Each function is a few lines: arguments come in and results go out
//! through [`boundary`], which holds all `unsafe` code; in between stands one call of the library.

// The names are C's.
#![allow(non_camel_case_types)]

mod boundary;
mod control;
mod descriptor;
mod disk;
mod download;
mod error;
mod journal;
mod library;
mod node;
mod node_options;
mod report;
mod status;
mod streams;
mod upload;
mod verification;
mod watcher;

/// What the library exports, for programs in Rust that try it as a program in C does. It is no interface: who
/// writes Rust takes `nlxtp_host`.
#[doc(hidden)]
pub mod c {
    pub use crate::control::{
        nlxtp_cancel, nlxtp_cancel_free, nlxtp_cancel_new, nlxtp_cancel_now, nlxtp_control, nlxtp_phase,
        nlxtp_progress, nlxtp_progress_fn,
    };
    pub use crate::disk::{
        nlxtp_disk, nlxtp_disk_bytes, nlxtp_disk_create, nlxtp_disk_fat_bits, nlxtp_disk_free, nlxtp_disk_json,
        nlxtp_disk_open, nlxtp_disk_options,
    };
    pub use crate::download::{nlxtp_download_options, nlxtp_node_download, nlxtp_node_download_writer};
    pub use crate::error::{
        nlxtp_error, nlxtp_error_code, nlxtp_error_free, nlxtp_error_kind, nlxtp_error_message, nlxtp_error_operation,
        nlxtp_error_refusal_count, nlxtp_error_refusal_reason, nlxtp_error_text, nlxtp_error_upload, nlxtp_result,
    };
    pub use crate::journal::{nlxtp_journal, nlxtp_journal_free, nlxtp_journal_open, nlxtp_journal_options};
    pub use crate::library::nlxtp_string_free;
    pub use crate::node::{
        nlxtp_node, nlxtp_node_free, nlxtp_node_journal_failure, nlxtp_node_memory, nlxtp_node_open,
        nlxtp_node_open_fd, nlxtp_node_read_output, nlxtp_node_status, nlxtp_node_wait,
    };
    pub use crate::node_options::nlxtp_node_options;
    pub use crate::report::{
        nlxtp_download, nlxtp_download_bytes, nlxtp_download_changed, nlxtp_download_files, nlxtp_download_free,
        nlxtp_download_json, nlxtp_download_left_out, nlxtp_upload, nlxtp_upload_bytes, nlxtp_upload_entries,
        nlxtp_upload_free, nlxtp_upload_json, nlxtp_upload_run_id, nlxtp_upload_start_script,
    };
    pub use crate::status::{
        nlxtp_state, nlxtp_status, nlxtp_status_custom, nlxtp_status_done, nlxtp_status_free, nlxtp_status_json,
        nlxtp_status_state, nlxtp_status_state_word,
    };
    pub use crate::streams::{nlxtp_reader, nlxtp_writer};
    pub use crate::upload::{nlxtp_node_upload, nlxtp_node_upload_fd, nlxtp_node_upload_reader};
    pub use crate::watcher::{
        nlxtp_change, nlxtp_change_error, nlxtp_change_free, nlxtp_change_node, nlxtp_change_status,
        nlxtp_change_user_data, nlxtp_watcher, nlxtp_watcher_add, nlxtp_watcher_count, nlxtp_watcher_free,
        nlxtp_watcher_new, nlxtp_watcher_next, nlxtp_watcher_options, nlxtp_watcher_remove, nlxtp_watcher_wake,
    };
}
