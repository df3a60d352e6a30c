//! What a guest writes on its console: kept, waited for, shown when a test fails.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// More than any guest here writes; a guest that runs wild does not fill the memory.
const LIMIT: usize = 4 << 20;

/// A guest's console. Clones show the same console.
#[derive(Clone, Default)]
pub struct Console {
    shared: Arc<(Mutex<Log>, Condvar)>,
}

#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    /// What has been waited for so far ends here.
    seen: usize,
    streams: usize,
}

impl Console {
    /// An empty console.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what a stream brings, on a thread of its own, until the stream ends.
    pub fn follow(&self, mut stream: impl Read + Send + 'static) {
        self.log().streams += 1;
        let console = self.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                console.change(|log| {
                    let room = LIMIT.saturating_sub(log.bytes.len());
                    log.bytes.extend_from_slice(&buffer[..length.min(room)]);
                });
            }
            console.change(|log| log.streams -= 1);
        });
    }

    /// Waits until the guest has written `text` after what was last waited for.
    ///
    /// Returns false when the time is up, when the console has ended without it, or when
    /// the guest's kernel has panicked instead.
    pub fn shows(&self, text: &str, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut log = self.log();
        loop {
            let new = &log.bytes[log.seen..];
            if let Some(at) = find(new, text.as_bytes()) {
                log.seen += at + text.len();
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || log.streams == 0 || find(new, b"Kernel panic").is_some() {
                return false;
            }
            let (_, changed) = &*self.shared;
            (log, _) = changed.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Everything that the guest has written so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.log().bytes).replace('\r', "")
    }

    /// Everything that the guest has written when the console has ended, or time is up.
    pub fn whole_text(&self, timeout: Duration) -> String {
        let (log, changed) = &*self.shared;
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_timeout_while(log, timeout, |log| log.streams > 0));
        self.text()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Log)) {
        change(&mut self.log());
        self.shared.1.notify_all();
    }
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::Console;
    use std::time::Duration;

    const SHORT: Duration = Duration::from_secs(5);

    #[test]
    fn waits_for_texts_in_their_order() {
        let console = Console::new();
        console.follow(&b"one two one"[..]);
        assert!(console.shows("two", SHORT));
        assert!(console.shows("one", SHORT));
        assert!(!console.shows("one", SHORT), "both were waited for already");
    }

    #[test]
    fn a_panicked_kernel_ends_the_waiting() {
        let console = Console::new();
        let (mut writer, reader) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
        console.follow(reader);
        std::io::Write::write_all(&mut writer, b"Kernel panic - not syncing").expect("written");
        assert!(!console.shows("login:", Duration::from_secs(600)));
    }
}
