//! What the guest program costs while nothing happens.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use super::guest_program::{self, Daemon};
use crate::harness::machine::value;
use crate::harness::report::Report;
use crate::harness::{Fresh, Result};

pub fn measure(fresh: &Fresh<'_>, report: &mut Report) -> Result {
    let Some(program) = guest_program::find() else {
        report.leave_out("the guest at rest", "the guest program is not built (make guest)");
        return Ok(());
    };
    eprintln!("measuring: the guest at rest");
    let directory = fresh.directory()?;
    let daemon = Daemon::start(&program, &directory)?;
    sleep(Duration::from_secs(1));
    let before = switches(daemon.pid())?;
    sleep(Duration::from_secs(5));
    let wakeups = switches(daemon.pid())? - before;
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let resident = value(&status, "VmRSS").unwrap_or("unknown");
    let size = fs::metadata(&program)?.len();
    let mut fact = |what: &str, found: String| report.facts.push([what.into(), found]);
    fact("guest program, on the disk", format!("{} KiB", size.div_ceil(1024)));
    fact("guest daemon at rest, resident (VmRSS)", resident.into());
    fact("guest daemon at rest, wake-ups in 5 s (voluntary context switches)", wakeups.to_string());
    Ok(())
}

/// How often all threads of a process have gone to sleep.
fn switches(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        sum += value(&status, "voluntary_ctxt_switches").ok_or("no count of context switches")?.parse::<u64>()?;
    }
    Ok(sum)
}
