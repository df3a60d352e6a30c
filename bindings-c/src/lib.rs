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
mod error;
mod library;
mod node;
mod node_options;
mod report;
mod status;
mod streams;
mod transfer;
mod watcher;
