//! What the Python package costs beyond the library that it stands on.
//!
//! Both do the same in turn, this process with [`nlxtp_host`] and an interpreter with the package as
//! `make python-package` has installed it. Printed are medians over the rounds: for status queries the
//! difference of the two times of a round, for uploads and downloads their ratio.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use nix::time::{ClockId, clock_gettime};
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::archive::files::{self, NewArchive};
use nlxtp_host::control::Control;
use nlxtp_host::guest::KnownPower;
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::{self, DiskImage, DiskOptions};
use rextfv_core::limits::Limits;
use rextfv_core::powers::PowerState;

/// Queries of one round.
const QUERIES: u32 = 2000;

/// Bytes that are uploaded and downloaded.
const CONTENT: usize = 128 << 20;

/// What something took.
#[derive(Clone, Copy)]
struct Taken {
    clock: f64,
    processor: f64,
}

/// The interpreter.
struct Python {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Python {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/overhead.py");
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
        let interpreter = target.join("python-tools/bin/python");
        let mut child = Command::new(&interpreter)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run `make python-package`", interpreter.display()));
        let ask = child.stdin.take().expect("piped above");
        let answers = BufReader::new(child.stdout.take().expect("piped above"));
        Self { child, ask, answers }
    }

    fn does(&mut self, verb: &str, target: &Path, words: &[&str]) -> Taken {
        writeln!(self.ask, "{verb}\t{}\t{}", target.display(), words.join("\t")).expect("asked");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("answered");
        let mut numbers = answer.split_whitespace().map(|number| number.parse().expect("nanoseconds"));
        let mut next = || numbers.next().expect("two numbers");
        Taken { clock: next(), processor: next() }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("a clock of every Linux").into()
}

#[expect(clippy::cast_precision_loss, reason = "times")]
fn timed(work: impl FnOnce()) -> Taken {
    let (clock, processor) = (std::time::Instant::now(), processor_time());
    work();
    let clock = clock.elapsed().as_nanos() as f64;
    Taken { clock, processor: (processor_time() - processor).as_nanos() as f64 }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Both do it in turn, beginning by turns; once more before, to warm up.
fn pairs(rounds: u32, mut rust: impl FnMut() -> Taken, mut python: impl FnMut() -> Taken) -> Vec<(Taken, Taken)> {
    let mut pairs = Vec::new();
    for round in 0..=rounds {
        let pair = if round % 2 == 0 {
            let rust = rust();
            (rust, python())
        } else {
            let python = python();
            (rust(), python)
        };
        if round > 0 {
            pairs.push(pair);
        }
    }
    pairs
}

fn column(pairs: &[(Taken, Taken)], of: impl Fn(&Taken, &Taken) -> f64) -> f64 {
    median(pairs.iter().map(|(rust, python)| of(rust, python)).collect())
}

fn show_queries(what: &str, pairs: &[(Taken, Taken)]) {
    let each = 1e-3 / f64::from(QUERIES);
    println!(
        "| {what} | {:.2} µs | {:.2} µs | {:+.2} µs | {:+.2} µs |",
        column(pairs, |rust, _| rust.clock) * each,
        column(pairs, |_, python| python.clock) * each,
        column(pairs, |rust, python| python.clock - rust.clock) * each,
        column(pairs, |rust, python| python.processor - rust.processor) * each,
    );
}

fn show_transfer(what: &str, pairs: &[(Taken, Taken)]) {
    println!(
        "| {what} | {:.1} ms | {:.1} ms | {:.3} | {:.3} |",
        column(pairs, |rust, _| rust.clock) / 1e6,
        column(pairs, |_, python| python.clock) / 1e6,
        column(pairs, |rust, python| python.clock / rust.clock),
        column(pairs, |rust, python| python.processor / rust.processor),
    );
}

fn node(target: &Path) -> Node {
    Node::from_boxed(shared_directory::open(target).expect("made before"))
}

fn upload(target: &Path, archive: &Path) {
    let mut node = node(target).with_power(KnownPower(PowerState::Off));
    let mut archive = files::open(archive, &Limits::DEFAULT, &Control::none()).expect("made before");
    node.upload(&mut archive, &Control::none()).expect("uploaded");
}

fn download(target: &Path, archive: &Path) {
    let mut node = node(target).with_power(KnownPower(PowerState::Off)).with_threads(1);
    let mut new = NewArchive::create(archive, true).expect("a new archive");
    let format = OutputFormat::from_path(archive);
    let control = Control::none();
    node.download(&mut *new.writer(&control).expect("empty"), format, &control).expect("downloaded");
    new.complete().expect("complete");
}

/// Lines of a log, which are packed to a fifth or so.
fn content() -> Vec<u8> {
    let mut content = Vec::with_capacity(CONTENT);
    let mut number = 1_u32;
    while content.len() < CONTENT {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        writeln!(content, "{number:08x} node-{} took {} ms", number >> 24, number >> 12 & 0xfff).expect("in memory");
    }
    content
}

fn main() {
    let rounds = if env::args().any(|argument| argument == "--quick") { 5 } else { 25 };
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = |name: &str| scratch.path().join(name);
    let (directory, disk, archive) = (path("directory"), path("disk.img"), path("archive.tar.gz"));
    fs::create_dir(&directory).expect("made");
    DiskImage::create(&disk, &DiskOptions { size: 256 << 20, ..DiskOptions::default() }).expect("made");
    let targets = [("directory", &directory), ("disk image", &disk)];
    let mut python = Python::start();

    fs::create_dir(path("content")).expect("made");
    fs::write(path("content/log"), content()).expect("written");
    download(&path("content"), &archive);

    println!("| status query | Rust | Python | more by the clock | more of the processor |");
    println!("| --- | --- | --- | --- | --- |");
    for (kind, target) in targets {
        upload(target, &archive);
        for keep_open in [false, true] {
            let mut own = node(target).with_power(KnownPower(PowerState::On));
            own.keep_open(keep_open);
            let taken = pairs(
                rounds,
                || timed(|| (0..QUERIES).for_each(|_| drop(own.status().expect("a status")))),
                || python.does("status", target, &[&keep_open.to_string(), &QUERIES.to_string()]),
            );
            let how = if keep_open { "kept open" } else { "opened anew" };
            show_queries(&format!("{kind}, {how}"), &taken);
        }
    }

    println!("\n| transfer | Rust | Python | ratio by the clock | ratio of the processor |");
    println!("| --- | --- | --- | --- | --- |");
    for (kind, target) in targets {
        let given = archive.display().to_string();
        let taken = pairs(rounds, || timed(|| upload(target, &archive)), || python.does("upload", target, &[&given]));
        show_transfer(&format!("upload to a {kind}"), &taken);
        let home = path("home.tar.gz");
        let told = home.display().to_string();
        let taken = pairs(rounds, || timed(|| download(target, &home)), || python.does("download", target, &[&told]));
        show_transfer(&format!("download from a {kind}"), &taken);
    }
}
