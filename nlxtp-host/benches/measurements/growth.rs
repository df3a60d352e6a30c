//! Whether time grows in proportion to the number of files.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nlxtp_host::archive::default_threads;

use super::inputs::Input;
use super::{download, empty_disk, node, status, upload};
use crate::harness::report::{Report, time};
use crate::harness::{Fresh, Result, flush, median};

pub fn measure(fresh: &Fresh<'_>, quick: bool, report: &mut Report) -> Result {
    let counts: &[u32] = if quick { &[100, 1000, 10_000] } else { &[1000, 10_000, 100_000] };
    let inputs: Vec<Input> = counts.iter().map(|&files| input(fresh.work(), files)).collect::<Result<_>>()?;
    let rounds = 3;
    for (target, is_disk) in [("a directory", false), ("a disk image", true)] {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for input in &inputs {
            eprintln!("measuring: growth, {target}, {}", input.name);
            let (mut uploads, mut downloads) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let target = if is_disk { empty_disk(fresh)? } else { fresh.directory()? };
                flush(fresh.work())?;
                uploads.push(timed(|| upload::upload(&target, input))?);
                downloads.push(timed(|| download::download(&target, &fresh.path("growth.tar.gz"), default_threads()))?);
            }
            up.push(median(&uploads));
            down.push(median(&downloads));
        }
        for (operation, times) in [(format!("upload to {target}"), up), (format!("download from {target}"), down)] {
            let shown = |time_taken: Duration, files: u32| {
                format!("{} ({:.1} µs each)", time(time_taken), time_taken.as_secs_f64() * 1e6 / f64::from(files))
            };
            let values: Vec<String> = times.iter().zip(counts).map(|(time, files)| shown(*time, *files)).collect();
            let names: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
            report.facts.push([format!("{operation}: {}", names.join("; ")), values.join("; ")]);
        }
    }
    Ok(())
}

/// Whether a status query takes as much longer as the Custom Status is larger.
pub fn of_status(fresh: &Fresh<'_>, report: &mut Report) -> Result {
    const KILOBYTES: [usize; 3] = [1, 10, 100];
    for (target, is_disk) in [("a directory", false), ("a disk image", true)] {
        eprintln!("measuring: growth, status of {target}");
        let mut values = Vec::new();
        for kilobytes in KILOBYTES {
            let target = if is_disk { empty_disk(fresh)? } else { fresh.directory()? };
            status::fill(&target, kilobytes << 10)?;
            let mut node = node(&target)?;
            let mut times = Vec::new();
            for _ in 0..9 {
                let mut query = || (0..200).try_for_each(|_| node.status().map(drop));
                times.push(timed(|| Ok(query()?))? / 200);
            }
            values.push(time(median(&times)));
        }
        let what =
            format!("status of {target}: custom status of {} KiB", KILOBYTES.map(|size| size.to_string()).join("; "));
        report.facts.push([what, values.join("; ")]);
    }
    Ok(())
}

fn timed(run: impl FnOnce() -> Result) -> Result<Duration> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed())
}

fn input(work: &Path, files: u32) -> Result<Input> {
    Input::make(work, &format!("growth-{files}"), format!("{files} files of 100 bytes"), |tree| {
        for index in 0..files {
            let directory = tree.join(format!("{:04}", index / 100));
            if index % 100 == 0 {
                fs::create_dir(&directory)?;
            }
            fs::write(directory.join(format!("{index:06}")), format!("{index:0100}"))?;
        }
        Ok(())
    })
}
