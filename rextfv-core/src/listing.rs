//! A list that cannot be made too long from outside.

use alloc::vec::Vec;

/// The first of many, and how many more there are, so that neither an archive nor a guest can fill
/// the host's memory with reports about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Listing<T> {
    /// The first ones, at most [`Listing::MOST_LISTED`].
    pub listed: Vec<T>,
    /// How many more there are.
    pub omitted: u64,
}

impl<T> Listing<T> {
    /// Most that are listed one by one.
    pub const MOST_LISTED: usize = 1000;

    /// Adds one.
    pub fn push(&mut self, item: T) {
        if self.listed.len() < Self::MOST_LISTED {
            self.listed.push(item);
        } else {
            self.omitted += 1;
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// How many there are, those that are not listed among them.
    pub fn count(&self) -> u64 {
        self.listed.len() as u64 + self.omitted
    }
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { listed: Vec::new(), omitted: 0 }
    }
}
