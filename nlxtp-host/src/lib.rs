//! The host's side of nlXTP.

pub mod error;
