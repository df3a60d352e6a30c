//! RexTFV over nlXTP, the pure part.
//!
//! RexTFV (remote execution and transfer of files for virtual computers) is three operations on a
//! guest whose network must stay untouched: *upload and execute*, *query execution status* and
//! *download*. nlXTP (network-less execution and transfer protocol) is how host and guest do that
//! over a *shared directory*. This crate turns bytes into decisions; the host and the guest carry
//! them out. It opens no file, reads no clock, starts no process and holds no unsafe code, and it
//! needs no standard library, only `alloc`.
//!
//! # Where to look
//!
//! - [`status`]: what a status file says; [`status_codec`]: its bytes (specified byte by byte in
//!   `docs/protocol.md`); [`status_reader`]: how a host reads the two slots, and ToMaTo's dialect.
//! - [`liveness`]: from what is read to what is told: running, finished, monitor stopped, …
//!   without comparing clocks.
//! - [`archive_rules`]: which archive entries are taken, for which target, within which limits.
//! - [`run_manifest`]: what an archive may ask for its run.
//! - [`digests`]: what the guest says the shared directory holds in the end; [`verification`]: whether a
//!   download holds that.
//! - [`start_script`]: what keeps a start script from being started.
//! - [`shared_directory`]: the trait of the storage that host and guest share;
//!   [`operations`]: the three operations; [`powers`]: what comes in from outside (clock, guest
//!   power, a way of invoking the monitor).
//!
//! # What this crate does not do
//!
//! A checksum finds damage, not lies: whoever is root in the guest can write any status. Nothing
//! here authenticates a guest.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod archive_rules;
pub mod digests;
pub mod entry_path;
pub mod fat_names;
pub mod ids;
pub mod layout;
pub mod limits;
pub mod listing;
pub mod liveness;
pub mod operations;
pub mod powers;
pub mod retry;
pub mod run_manifest;
pub mod shared_directory;
pub mod start_script;
pub mod status;
pub mod status_codec;
pub mod status_reader;
pub mod tomato;
pub mod units;
pub mod verification;

#[cfg(test)]
#[path = "../../fuzz/seed.rs"]
mod seed;
