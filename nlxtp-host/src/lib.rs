//! The host side of nlXTP.
