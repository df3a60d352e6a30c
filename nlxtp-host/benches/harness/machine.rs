//! On what was measured.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::Result;

pub struct Machine {
    date: String,
    processor: String,
    cores: usize,
    memory: String,
    kernel: String,
    file_system: String,
    /// Of the minute before, by others.
    load: String,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, processor, cores, memory, kernel, file_system, load } = self;
        write!(
            f,
            "{date}; {processor}, {cores} cores, {memory} of memory; Linux {kernel}; {file_system}; load before {load}"
        )
    }
}

/// The machine, and the file system that holds a directory.
pub fn describe(directory: &Path) -> Result<Machine> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let processor = value(&processors, "model name").unwrap_or("an unknown processor");
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kilobytes: f64 =
        value(&memory, "MemTotal").and_then(|value| value.strip_suffix(" kB")?.parse().ok()).unwrap_or(0.0);
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(Machine {
        load: load.split(' ').next().unwrap_or("unknown").into(),
        date: output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?,
        processor: processor.into(),
        cores: std::thread::available_parallelism()?.get(),
        memory: format!("{:.0} GiB", kilobytes / f64::from(1 << 20)),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().into(),
        file_system: output(Command::new("df").arg("--output=fstype").arg(directory))?
            .lines()
            .last()
            .unwrap_or("an unknown file system")
            .into(),
    })
}

/// A value of the form `name : value`, as /proc has many.
pub fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim_end() == name).then(|| value.trim())
    })
}

fn output(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8(command.output()?.stdout)?.trim().into())
}
