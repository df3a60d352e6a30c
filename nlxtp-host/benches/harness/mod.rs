//! Paired measurements: contenders in turn, in one process, so that what disturbs one disturbs all.

pub mod machine;
pub mod report;

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use report::Report;

pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

type Step<'a> = Box<dyn FnMut() -> Result + 'a>;

/// One way of doing the work.
pub struct Contender<'a> {
    name: String,
    prepare: Step<'a>,
    run: Step<'a>,
}

impl<'a> Contender<'a> {
    pub fn new(name: impl Into<String>, run: impl FnMut() -> Result + 'a) -> Self {
        Self { name: name.into(), prepare: Box::new(|| Ok(())), run: Box::new(run) }
    }

    /// The same with what is to be done before each run, and is not measured.
    pub fn prepared(mut self, prepare: impl FnMut() -> Result + 'a) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    fn time(&mut self, repeat: u32, work: &Path) -> Result<Duration> {
        (self.prepare)()?;
        if repeat == 1 {
            touch_memory(work)?;
        }
        let start = Instant::now();
        for _ in 0..repeat {
            (self.run)()?;
        }
        Ok(start.elapsed() / repeat)
    }
}

/// An operation of ours beside its baselines.
pub struct Comparison<'a> {
    operation: &'a str,
    input: &'a str,
    contenders: Vec<Contender<'a>>,
    repeat: u32,
    warmup: bool,
}

impl<'a> Comparison<'a> {
    pub fn new(operation: &'a str, input: &'a str, ours: Contender<'a>) -> Self {
        Self { operation, input, contenders: vec![ours], repeat: 1, warmup: true }
    }

    pub fn against(mut self, baseline: Contender<'a>) -> Self {
        self.contenders.push(baseline);
        self
    }

    /// For what takes microseconds: each round does it so many times in a row.
    pub fn repeated(mut self, repeat: u32) -> Self {
        self.repeat = repeat;
        self
    }

    /// For what takes minutes.
    pub fn without_warmup(mut self) -> Self {
        self.warmup = false;
        self
    }

    /// Runs all contenders once to warm up, then in turn for so many rounds.
    pub fn measure(mut self, fresh: &Fresh<'_>, rounds: usize, report: &mut Report) -> Result {
        eprintln!("measuring: {}, {}", self.operation, self.input);
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); self.contenders.len()];
        for round in usize::from(!self.warmup)..=rounds {
            for (contender, times) in self.contenders.iter_mut().zip(&mut times) {
                let time = contender
                    .time(self.repeat, fresh.work())
                    .map_err(|error| format!("{}, {}, {}: {error}", self.operation, self.input, contender.name))?;
                if round > 0 {
                    times.push(time);
                }
            }
        }
        let ours = &times[0];
        for (contender, theirs) in self.contenders.iter().zip(&times).skip(1) {
            let mut ratios: Vec<f64> =
                ours.iter().zip(theirs).map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64()).collect();
            ratios.sort_unstable_by(f64::total_cmp);
            let row = [
                self.operation.into(),
                self.input.into(),
                report::time(median(ours)),
                contender.name.clone(),
                report::time(median(theirs)),
                format!("{:.2}", ratios[ratios.len() / 2]),
            ];
            report.timings.push(row);
        }
        Ok(())
    }
}

/// Bytes that the largest contender may put into the page cache.
const TOUCHED: usize = 512 << 20;

/// Uses memory and gives it back, so that whoever comes next is given that.
///
/// A virtual machine's host hands out memory when it is touched for the first time. Writing 256 MiB into
/// such memory takes four times as long as into memory that was used before; without this, it would be
/// chance who gets which. It is used as contenders use it, for a file's pages: what a process has given back
/// comes to files now and then only. The file stays, empty; see [`Fresh`].
fn touch_memory(work: &Path) -> Result {
    let mut file = File::create(work.join("touched"))?;
    let piece = vec![1; 1 << 20];
    for _ in 0..TOUCHED / piece.len() {
        file.write_all(&piece)?;
    }
    Ok(file.set_len(0)?)
}

pub fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// Waits until everything written to the file system is on the disk.
pub fn flush(directory: &Path) -> Result {
    Ok(nix::unistd::syncfs(File::open(directory)?)?)
}

/// Paths where nothing is yet.
///
/// Nothing is removed between measurements: ext4 goes on searching for inodes that were not freed in
/// the last seconds, which would slow down whoever creates files next.
pub struct Fresh<'a> {
    work: &'a Path,
    used: Cell<u32>,
}

impl<'a> Fresh<'a> {
    pub fn new(work: &'a Path) -> Self {
        Self { work, used: Cell::new(0) }
    }

    /// The directory that all of it is in.
    pub fn work(&self) -> &'a Path {
        self.work
    }

    pub fn path(&self, name: &str) -> PathBuf {
        let number = self.used.get() + 1;
        self.used.set(number);
        self.work.join(format!("{number}-{name}"))
    }

    pub fn directory(&self) -> Result<PathBuf> {
        let path = self.path("tree");
        std::fs::create_dir(&path)?;
        Ok(path)
    }
}

/// Runs a command that must succeed.
pub fn succeed(command: &mut Command) -> Result {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// Whether a program is there.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|at| at.join(program).is_file()))
}
