//! gzip output in blocks that are compressed at the same time.
//!
//! What comes out is one member, as every gunzip expects it (RFC 1952): readers that know of one
//! member only are not rare, Python's `tarfile` among them when it reads a stream. Blocks are cut by
//! length alone, so the bytes are the same whatever the number of threads. Each is compressed for
//! itself, brought to a byte's end by an empty block, and put after the one before.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use libdeflater::{CompressionLvl, Compressor, Crc};

use super::deflate_blocks::Finder;

/// Bytes that are compressed at once. A larger block loses less where it begins, and takes more
/// memory: each thread has one, and a third of it for the encoder.
const BLOCK: usize = 1 << 20;

/// Blocks beyond those that are being compressed, so that no thread waits for the reader.
const SPARE: usize = 1;

/// An empty block that is not the last: what follows begins with a byte (after its first bits).
const EMPTY_STORED: [u8; 4] = [0, 0, 0xff, 0xff];

/// DEFLATE, no flags, no time, and an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// An empty block that is the last one.
const EMPTY_LAST: [u8; 2] = [3, 0];

/// Compresses what is written to it.
pub(super) struct GzipEncoder<W: Write> {
    inner: W,
    /// What is being filled.
    block: Vec<u8>,
    begun: bool,
    /// Of all that was written to it, and how many bytes that were, of which the lowest 32 bits are kept.
    checksum: Crc,
    length: u32,
    pool: Pool,
}

impl<W: Write> GzipEncoder<W> {
    /// Compresses with so many threads besides the caller's; with one, in the caller's alone.
    pub(super) fn new(inner: W, level: CompressionLvl, threads: usize) -> Self {
        let pool = Pool::new(level, if threads > 1 { threads } else { 0 });
        Self { inner, block: Vec::new(), begun: false, checksum: Crc::new(), length: 0, pool }
    }

    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        // Here, because the bytes have just been read: the processor has them at hand.
        self.checksum.update(bytes);
        self.length = self.length.wrapping_add(bytes.len() as u32);
        while !bytes.is_empty() {
            if self.block.capacity() == 0 {
                self.block = self.pool.spare.pop().unwrap_or_default();
                self.block.clear();
                self.block.reserve_exact(Worker::ROOM);
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK {
                self.submit()?;
            }
        }
        Ok(())
    }

    /// Writes all that was kept back, and what ends the member.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            self.submit()?;
        }
        while let Some(block) = self.pool.take(0) {
            self.put(block?)?;
        }
        self.begin()?;
        self.inner.write_all(&EMPTY_LAST)?;
        self.inner.write_all(&self.checksum.sum().to_le_bytes())?;
        self.inner.write_all(&self.length.to_le_bytes())?;
        self.inner.flush()
    }

    pub(super) fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Has a block compressed, and writes those that are ready.
    fn submit(&mut self) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        self.pool.compress(block)?;
        while let Some(block) = self.pool.take(self.pool.workers.len() + SPARE) {
            self.put(block?)?;
        }
        Ok(())
    }

    fn put(&mut self, block: Vec<u8>) -> io::Result<()> {
        self.begin()?;
        self.inner.write_all(&block)?;
        self.pool.spare.push(block);
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        self.inner.write_all(&HEADER)
    }
}

struct Job {
    block: Vec<u8>,
    /// Takes what becomes of the block.
    done: SyncSender<io::Result<Vec<u8>>>,
}

/// Threads that compress blocks, and the blocks in their order.
struct Pool {
    level: CompressionLvl,
    most: usize,
    workers: Vec<JoinHandle<()>>,
    /// `None` once there is nothing more to come.
    jobs: Option<SyncSender<Job>>,
    queue: Arc<Mutex<Receiver<Job>>>,
    pending: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    /// Compresses in the caller's thread, where there are no others.
    own: Option<Worker>,
    /// Buffers for blocks to come.
    spare: Vec<Vec<u8>>,
}

impl Pool {
    fn new(level: CompressionLvl, most: usize) -> Self {
        // As many as may be pending: to hand over a job never blocks.
        let (jobs, queue) = sync_channel(most + SPARE + 1);
        Self {
            level,
            most,
            workers: Vec::new(),
            jobs: Some(jobs),
            queue: Arc::new(Mutex::new(queue)),
            pending: VecDeque::new(),
            own: None,
            spare: Vec::new(),
        }
    }

    fn compress(&mut self, block: Vec<u8>) -> io::Result<()> {
        // A thread more for each of the first blocks that are full: what is smaller needs none.
        if self.workers.len() < self.most && block.len() == BLOCK && !self.spawn() {
            self.most = self.workers.len();
        }
        let (done, result) = sync_channel(1);
        self.pending.push_back(result);
        let job = Job { block, done };
        if self.workers.is_empty() {
            self.own.get_or_insert_with(|| Worker::new(self.level)).work(job);
            return Ok(());
        }
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(job).map_err(|_| ended())
    }

    /// The first block, if it is ready, or if more than so many are not yet taken.
    fn take(&mut self, allowed: usize) -> Option<io::Result<Vec<u8>>> {
        let first = self.pending.front()?;
        let result = if self.pending.len() > allowed {
            first.recv().unwrap_or_else(|_| Err(ended()))
        } else {
            first.try_recv().ok()?
        };
        self.pending.pop_front();
        Some(result)
    }

    /// Where the system has no thread to give, those that there are do the work.
    fn spawn(&mut self) -> bool {
        let queue = Arc::clone(&self.queue);
        let mut worker = Worker::new(self.level);
        let work = move || {
            loop {
                let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = job else { return };
                worker.work(job);
            }
        };
        let spawned = thread::Builder::new().name("compress".into()).spawn(work);
        spawned.map(|worker| self.workers.push(worker)).is_ok()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        // What nobody waits for any more need not be compressed.
        while self.queue.lock().unwrap_or_else(PoisonError::into_inner).try_recv().is_ok() {}
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("a thread that compresses has ended")
}

/// Compresses one block after the other.
struct Worker {
    encoder: Compressor,
    finder: Finder,
    output: Vec<u8>,
}

impl Worker {
    /// What a block takes that cannot be compressed at all.
    const ROOM: usize = BLOCK + BLOCK / 512;

    fn new(level: CompressionLvl) -> Self {
        let mut encoder = Compressor::new(level);
        let output = vec![0; encoder.deflate_compress_bound(BLOCK)];
        Self { encoder, finder: Finder::new(), output }
    }

    fn work(&mut self, job: Job) {
        let result = self.compress(job.block);
        // The receiver is gone where the archive was given up.
        let _ = job.done.send(result);
    }

    fn compress(&mut self, mut block: Vec<u8>) -> io::Result<Vec<u8>> {
        let length = self.encoder.deflate_compress(&block, &mut self.output).map_err(io::Error::other)?;
        let stream = &mut self.output[..length];
        let last =
            self.finder.find_last(stream, &block).ok_or_else(|| io::Error::other("the encoder made no stream"))?;
        stream[last.begin / 8] &= !(1 << (last.begin % 8));
        block.clear();
        block.extend_from_slice(stream);
        // Three bits of the empty block's header, at least.
        block.resize((last.end + 3).div_ceil(8), 0);
        block.extend_from_slice(&EMPTY_STORED);
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn pack(content: &[u8], piece: usize, level: i32, threads: usize) -> Vec<u8> {
        let mut encoder = GzipEncoder::new(Vec::new(), CompressionLvl::new(level).unwrap(), threads);
        content.chunks(piece).for_each(|piece| encoder.write_all(piece).unwrap());
        encoder.finish().unwrap();
        std::mem::take(encoder.get_mut())
    }

    fn content(length: usize) -> Vec<u8> {
        let mut seed = 7_u64;
        let mut next = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 40) as u8
        };
        // Megabytes that can be compressed well, a little, and not at all.
        (0..length).map(|at| next() & [0, 7, 255][(at >> 20) % 3]).collect()
    }

    #[test]
    fn any_number_of_threads_makes_the_same_single_member() {
        for length in [0, 1, BLOCK, 4 * BLOCK + 77] {
            let content = content(length);
            for level in [0, 6] {
                let packed = pack(&content, 65_536, level, 1);
                let mut decoder = GzDecoder::new(&packed[..]);
                let mut unpacked = Vec::new();
                decoder.read_to_end(&mut unpacked).unwrap();
                assert!(unpacked == content && decoder.into_inner().is_empty());
                assert!(packed.len() <= length + length / 512 + 64, "{length} bytes became {}", packed.len());
                for (threads, piece) in [(2, 1000), (3, 3 * BLOCK), (8, 12_345)] {
                    assert!(pack(&content, piece, level, threads) == packed, "{length} bytes, {threads} threads");
                }
            }
        }
    }

    #[test]
    fn a_sink_that_fails_ends_it() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let noise: Vec<u8> = content(4 << 20)[2 << 20..3 << 20].repeat(20);
        for threads in [1, 4] {
            let mut encoder = GzipEncoder::new(Full(3 << 20), CompressionLvl::new(1).unwrap(), threads);
            let error = encoder.write_all(&noise).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
}
