//! Thousands of nodes watched at once by one process.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nlxtp_host::control::Control;
use nlxtp_host::error::ErrorKind;
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::{self, DiskImage, DiskOptions};
use nlxtp_host::watcher::{Pace, Watcher};
use rextfv_core::layout;

use super::status::{fill, write_slots};
use crate::harness::machine::value;
use crate::harness::report::Report;
use crate::harness::{Fresh, Result};

/// First argument of the process that watches, and is measured.
pub const WATCH: &str = "watch-nodes";

const NODES: usize = 10_000;

/// How long the watching is measured.
const MEASURED: Duration = Duration::from_secs(20);

/// Files that a process may usually open, at the most.
const USUAL_OPEN_FILES: u64 = 1 << 19;

/// Every node is asked once a second.
const PACE: Pace = Pace { shortest: Duration::from_secs(1), longest: Duration::from_secs(1) };

pub fn measure(fresh: &Fresh<'_>, report: &mut Report) -> Result {
    eprintln!("measuring: {NODES} nodes watched at once");
    let nodes = fresh.directory()?;
    make_nodes(fresh, &nodes)?;
    crate::harness::flush(&nodes)?;
    let output = Command::new(std::env::current_exe()?).arg(WATCH).arg(&nodes).output()?;
    if !output.status.success() {
        return Err(format!("watching: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    for line in String::from_utf8(output.stdout)?.lines() {
        let (what, value) = line.split_once('\t').ok_or("a line without a value")?;
        report.facts.push([format!("{NODES} nodes watched, asked once a second: {what}"), value.into()]);
    }
    Ok(())
}

/// Half directories, half disk images, each with two records.
fn make_nodes(fresh: &Fresh<'_>, at: &Path) -> Result {
    let template = fresh.path("small.img");
    DiskImage::create(&template, &DiskOptions { size: 4 << 20, ..DiskOptions::default() })?;
    fill(&template, 100)?;
    let bytes = fs::read(&template)?;
    let blocks: Vec<_> =
        bytes.chunks(4096).enumerate().filter(|(_, block)| block.iter().any(|&byte| byte != 0)).collect();
    let tree = fresh.directory()?;
    fill(&tree, 100)?;
    let files = [layout::RUN_ID, layout::STATUS_SLOTS[0], layout::STATUS_SLOTS[1]];
    let contents = files.map(|file| fs::read(tree.join(file)));
    for node in 0..NODES {
        let path = node_path(at, node);
        if node % 2 == 0 {
            fs::create_dir_all(path.join(layout::STATUS_DIRECTORY))?;
            for (file, content) in files.iter().zip(&contents) {
                fs::write(path.join(file), content.as_ref().map_err(|error| error.to_string())?)?;
            }
        } else {
            let image = File::create_new(&path)?;
            image.set_len(bytes.len() as u64)?;
            for (block, content) in &blocks {
                image.write_all_at(content, *block as u64 * 4096)?;
            }
        }
    }
    Ok(())
}

fn node_path(at: &Path, node: usize) -> PathBuf {
    at.join(format!("node{node}"))
}

/// What the measured process does: watches, and prints what that cost.
pub fn watch(at: &Path) -> Result {
    // What services get by default; root may, and others may have as much.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let files = hard.max(USUAL_OPEN_FILES);
    if setrlimit(Resource::RLIMIT_NOFILE, files, files).is_err() {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let mut watcher = Watcher::new(PACE).with_open_files(usize::try_from(soft)? / 10 * 9);
    let mut ids = Vec::new();
    for node in 0..NODES {
        ids.push(watcher.add(Node::from_boxed(shared_directory::open(node_path(at, node))?)));
    }
    let start = Instant::now();
    let mut runs = HashMap::new();
    for _ in 0..NODES {
        let change = watcher.next(&Control::none())?.ok_or("nobody is watched")?;
        runs.insert(change.node, change.status?.run_id.ok_or("a status without a run id")?);
    }
    let first = start.elapsed();
    // One more round, so that all nodes have come to their pace.
    let told = until(&mut watcher, Instant::now() + Duration::from_secs(2))?;
    if told != 0 {
        return Err(format!("{told} changes, and nothing has changed").into());
    }

    let (begin, before) = (Instant::now(), cpu_time()?);
    let told = until(&mut watcher, begin + MEASURED)?;
    let (elapsed, used) = (begin.elapsed(), cpu_time()? - before);
    if told != 0 {
        return Err(format!("{told} changes, and nothing has changed").into());
    }
    for (node, id) in ids.iter().enumerate().take(100) {
        write_slots(&node_path(at, node), runs[id], b"changed")?;
    }
    let told = until(&mut watcher, Instant::now() + Duration::from_secs(5))?;
    if told != 100 {
        return Err(format!("{told} changes of 100 were told").into());
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "processor time, of one core\t{:.1} %", 100.0 * used.as_secs_f64() / elapsed.as_secs_f64())?;
    writeln!(
        out,
        "processor time of one query\t{:.1} µs",
        1e6 * used.as_secs_f64() / (elapsed.as_secs_f64() * NODES as f64)
    )?;
    writeln!(out, "resident (VmRSS)\t{}", value(&status, "VmRSS").unwrap_or("unknown"))?;
    writeln!(out, "threads\t{}", value(&status, "Threads").unwrap_or("unknown"))?;
    writeln!(out, "files held open\t{}", fs::read_dir("/proc/self/fd")?.count())?;
    writeln!(out, "first status of all nodes\t{:.1} s", first.as_secs_f64())?;
    Ok(())
}

/// Watches until then, and counts the changes.
fn until(watcher: &mut Watcher, end: Instant) -> Result<usize> {
    let control = Control::none().with_deadline(Some(end));
    let mut told = 0;
    loop {
        match watcher.next(&control) {
            Ok(Some(change)) => {
                change.status?;
                told += 1;
            }
            Ok(None) => return Err("nobody is watched".into()),
            Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(told),
            Err(error) => return Err(error.into()),
        }
    }
}

/// What this process has used of the processors so far.
fn cpu_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let time = |value: nix::sys::time::TimeVal| {
        Duration::from_secs(value.tv_sec().unsigned_abs()) + Duration::from_micros(value.tv_usec().unsigned_abs())
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}
