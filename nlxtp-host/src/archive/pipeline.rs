//! Unpacking in one thread, writing in another.
//!
//! The caller's thread reads the archive, since that is not to be shared, and fills blocks; a second
//! thread takes them and makes a replacement's entries of them. There are only a few blocks, so the
//! faster of the two waits. Whatever ends one of them ends the other.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::panic;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rextfv_core::entry_path::EntryPath;
use rextfv_core::shared_directory::{Attributes, Content, Replacement};

use super::member::Members;
use crate::error::{Error, ErrorKind, Result};

/// Blocks under way, and bytes of content in each.
const BLOCKS: usize = 4;
const BLOCK_BYTES: usize = 256 << 10;
/// Entries in a block, which would otherwise hold any number of empty ones.
const BLOCK_ENTRIES: usize = 1024;
/// How long the caller's thread waits before it asks whether it may go on.
const BETWEEN_CHECKS: Duration = Duration::from_millis(20);

/// An entry to be made.
enum Order {
    Directory(EntryPath, Attributes),
    /// A file; its content is the next of the bytes, as many as its size says.
    File(EntryPath, Attributes, u64),
}

/// Some entries, and the next of the content of all files.
struct Block {
    orders: VecDeque<Order>,
    bytes: Vec<u8>,
    filled: usize,
    taken: usize,
}

impl Block {
    fn new() -> Self {
        Self { orders: VecDeque::new(), bytes: vec![0; BLOCK_BYTES], filled: 0, taken: 0 }
    }
}

/// The blocks under way between the two threads.
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    full: VecDeque<Block>,
    empty: Vec<Block>,
    /// No more blocks will come: all of the content is there.
    complete: bool,
    /// One of the two has given up.
    given_up: bool,
    /// The writing thread has ended.
    written: bool,
}

impl Queue {
    fn new() -> Self {
        let empty = (0..BLOCKS).map(|_| Block::new()).collect();
        let state = State { full: VecDeque::new(), empty, complete: false, given_up: false, written: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Waits, in the caller's thread, until there is what is looked for.
    fn wait<T>(&self, check: &dyn Fn() -> Result<()>, look: impl Fn(&mut State) -> Option<T>) -> Result<T> {
        let mut state = self.state();
        loop {
            if let Some(found) = look(&mut state) {
                return Ok(found);
            }
            let waited = self.changed.wait_timeout(state, BETWEEN_CHECKS);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            check()?;
        }
    }

    /// The next block for the writing thread; `None` after the last, or if the other one has given up.
    fn next_full(&self) -> Option<Block> {
        let mut state = self.state();
        loop {
            if state.given_up {
                return None;
            }
            if let Some(block) = state.full.pop_front() {
                return Some(block);
            }
            if state.complete {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Does something to the queue when it goes, however that comes about.
struct AtTheEnd<'a>(&'a Queue, fn(&mut State));

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.change(self.1);
    }
}

/// Where the caller's thread puts entries and content.
pub(super) struct Feed<'a> {
    queue: &'a Queue,
    check: &'a dyn Fn() -> Result<()>,
    block: Option<Block>,
    stopped: bool,
    /// The writing thread has failed; it knows better why.
    gone: bool,
}

impl Feed<'_> {
    /// Has nothing more be written: the replacement will be of no use.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.queue.change(|state| state.given_up = true);
    }

    /// Has a directory made.
    pub(super) fn directory(&mut self, path: &EntryPath, attributes: Attributes) -> Result<()> {
        self.order(|| Order::Directory(path.clone(), attributes))
    }

    /// Has a file made of what is left of a member, which has this size.
    pub(super) fn file(
        &mut self,
        path: &EntryPath,
        attributes: Attributes,
        size: u64,
        members: &mut dyn Members,
    ) -> Result<()> {
        self.order(|| Order::File(path.clone(), attributes, size))?;
        let mut left = size;
        while left > 0 && !self.stopped {
            let block = self.block()?;
            let end = block.bytes.len().min(block.filled + usize::try_from(left).unwrap_or(usize::MAX));
            let read = members.read(&mut block.bytes[block.filled..end])?;
            if read == 0 {
                let message = format!("the content is {left} bytes shorter than {size}");
                return Err(Error::new(ErrorKind::BadArchive, message).with_object(path.to_string()));
            }
            block.filled += read;
            left -= read as u64;
        }
        Ok(())
    }

    fn order(&mut self, order: impl FnOnce() -> Order) -> Result<()> {
        if !self.stopped {
            self.block()?.orders.push_back(order());
        }
        Ok(())
    }

    /// A block with room for an entry and a byte.
    fn block(&mut self) -> Result<&mut Block> {
        let is_full = |block: &Block| block.filled == block.bytes.len() || block.orders.len() >= BLOCK_ENTRIES;
        if self.block.as_ref().is_some_and(is_full) {
            self.send();
        }
        if self.block.is_none() {
            let found = self
                .queue
                .wait(self.check, |state| if state.given_up { Some(None) } else { state.empty.pop().map(Some) })?;
            self.gone = found.is_none();
            self.block = found;
        }
        self.block.as_mut().ok_or_else(|| Error::new(ErrorKind::Io, "the new content could not be written"))
    }

    fn send(&mut self) {
        if let Some(block) = self.block.take() {
            self.queue.change(|state| state.full.push_back(block));
        }
    }

    /// Waits until everything is written.
    fn complete(&mut self) -> Result<()> {
        self.send();
        self.queue.change(|state| state.complete = true);
        self.queue.wait(self.check, |state| state.written.then_some(()))
    }
}

/// Has `produce` put entries into the feed, while they are made in the replacement.
///
/// What `check` returns as an error, which is asked often, ends both.
pub(super) fn run<T>(
    replacement: &mut (dyn Replacement<Error = Error> + Send),
    check: &dyn Fn() -> Result<()>,
    produce: impl FnOnce(&mut Feed<'_>) -> Result<T>,
) -> Result<T> {
    let queue = &Queue::new();
    thread::scope(|scope| {
        let failed = |error| Error::io("begin to write", error);
        let writing = thread::Builder::new().name("nlxtp-writer".into());
        let writing = writing
            .spawn_scoped(scope, move || {
                let _end = AtTheEnd(queue, |state| {
                    state.written = true;
                    // Unless it has taken all: harmless then.
                    state.given_up = true;
                });
                write(queue, replacement)
            })
            .map_err(failed)?;
        let mut feed = Feed { queue, check, block: None, stopped: false, gone: false };
        let produced = {
            let _end = AtTheEnd(queue, |state| state.given_up |= !state.complete);
            produce(&mut feed).and_then(|produced| feed.complete().map(|()| produced))
        };
        if produced.is_err() {
            queue.change(|state| state.given_up = true);
        }
        let written = writing.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked));
        match produced {
            Err(error) if !feed.gone => Err(error),
            produced => written.and(produced),
        }
    })
}

/// What the writing thread does.
fn write(queue: &Queue, replacement: &mut (dyn Replacement<Error = Error> + Send)) -> Result<()> {
    let mut stream = Stream { queue, block: None };
    while let Some(order) = stream.order() {
        match order {
            Order::Directory(path, attributes) => replacement.directory(&path, attributes)?,
            Order::File(path, attributes, size) => {
                let mut content = FileContent { stream: &mut stream, left: size };
                replacement.file(&path, attributes, size, &mut content)?;
            }
        }
    }
    Ok(())
}

/// The blocks as the writing thread sees them.
struct Stream<'a> {
    queue: &'a Queue,
    block: Option<Block>,
}

impl Stream<'_> {
    fn order(&mut self) -> Option<Order> {
        loop {
            if let Some(order) = self.block.as_mut().and_then(|block| block.orders.pop_front()) {
                return Some(order);
            }
            self.next_block()?;
        }
    }

    /// Gives the block back, and takes the next.
    fn next_block(&mut self) -> Option<&mut Block> {
        if let Some(mut block) = self.block.take() {
            (block.filled, block.taken) = (0, 0);
            self.queue.change(|state| state.empty.push(block));
        }
        self.block = self.queue.next_full();
        self.block.as_mut()
    }

    fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            if let Some(block) = self.block.as_mut().filter(|block| block.taken < block.filled) {
                let available = &block.bytes[block.taken..block.filled];
                let length = available.len().min(buffer.len());
                buffer[..length].copy_from_slice(&available[..length]);
                block.taken += length;
                return Some(length);
            }
            self.next_block()?;
        }
    }
}

/// The content of one file.
struct FileContent<'a, 'q> {
    stream: &'a mut Stream<'q>,
    left: u64,
}

impl Content for FileContent<'_, '_> {
    type Error = Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.stream.read(&mut buffer[..most]).ok_or_else(|| {
            // Nobody sees it: whoever has given up says why.
            Error::new(ErrorKind::Cancelled, "the archive was given up")
        })?;
        self.left -= read as u64;
        Ok(read)
    }
}
