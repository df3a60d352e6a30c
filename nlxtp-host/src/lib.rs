//! The host's side of nlXTP.

pub mod archive;
pub mod control;
pub mod error;
pub mod fat;
pub mod shared_directory;
