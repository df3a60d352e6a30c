//! The guest's side of nlXTP: *monitor* and *daemon*.
//!
//! The [`monitor`] runs the start script that the host has put into the shared directory and keeps
//! the status file; the [`daemon`] notices a new start script and calls the monitor. Names, bytes
//! and rules come from `rextfv_core`; this crate holds what touches the system.
//!
//! Every process of this program has one thread and one `poll` loop.

pub mod boot;
pub mod claim;
pub mod cli;
pub mod config;
pub mod custom;
pub mod daemon;
pub mod digests;
pub mod directory;
pub mod disk;
pub mod drain;
pub mod error;
pub mod init;
pub mod install;
pub mod monitor;
pub mod output;
pub mod recover;
pub mod request;
pub mod script;
pub mod settle;
pub mod signals;
pub mod status_writer;
pub mod sys;
pub mod tidy;
pub mod tomato_files;
pub mod user;
pub mod volume;
pub mod watch;
