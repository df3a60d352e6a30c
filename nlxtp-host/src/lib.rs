//! The host's side of nlXTP: upload, status and download for virtual machines and containers,
//! through storage that host and guest share.
//!
//! A [`Node`](node::Node) ties together a [shared directory](shared_directory) (a container's
//! [`HostDirectory`](shared_directory::HostDirectory), a virtual machine's
//! [`DiskImage`](shared_directory::DiskImage)), what is known of the [guest], and does the
//! three operations of RexTFV. Long operations take a [`Control`](control::Control): deadline,
//! cancellation, progress. All failures are one [`Error`](error::Error). A
//! [`Watcher`](watcher::Watcher) asks thousands of nodes for their status and tells what changes.
//!
//! A [`Journal`](journal::Journal) keeps what was done, so that an experiment can be shown, verified and
//! repeated.
//!
//! Nothing is ever mounted, and disk images need no root. The guest is taken for hostile: its
//! directories are resolved by handle and never through its links, its FAT is read with bounds.
//!
//! The protocol itself is in [`rextfv_core`], and byte by byte in `docs/protocol.md`.

#![forbid(unsafe_code)]

/// The protocol's words and rules, for callers that name them.
pub use rextfv_core;

pub mod archive;
mod calendar;
pub mod control;
pub mod download;
mod early_flush;
pub mod error;
pub mod fat;
pub mod guest;
pub mod host_clock;
pub mod journal;
pub mod node;
pub mod packages;
pub mod shared_directory;
pub mod status_json;
pub mod wait;
pub mod watcher;
