//! The host side of nlXTP.

pub mod fat;
