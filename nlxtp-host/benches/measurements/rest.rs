//! What a program in the guest costs while nothing happens: ours, and what others have there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::guest_program::{self, Daemon};
use super::poll::{self, Poll};
use crate::harness::machine::value;
use crate::harness::report::Report;
use crate::harness::{Fresh, Result, has};

/// How long is watched.
const WATCHED: Duration = Duration::from_secs(10);

/// What else is done where no program notices a file: to look for it, again and again, without a minute's
/// pause.
const LOOP: &str = r#"
while :; do
    if [ -e "$1/auto_exec.sh" ]; then
        mv "$1/auto_exec.sh" "$1/started.sh"
        bash "$1/started.sh"
    fi
    sleep 1
done
"#;

pub fn measure(fresh: &Fresh<'_>, quick: bool, report: &mut Report) -> Result {
    if let Some(program) = guest_program::find() {
        let daemon = Daemon::start(&program, &fresh.directory()?)?;
        watch("nlxtp-guest daemon", &[program], daemon.pid(), WATCHED, report)?;
    } else {
        report.leave_out("nlxtp-guest at rest", "the guest program is not built (make guest)");
    }

    let directory = fresh.directory()?;
    if let Some(program) = find("qemu-ga") {
        let mut agent = Command::new(&program);
        agent.args(["--method", "unix-listen", "--path"]).arg(directory.join("agent.sock"));
        agent.arg("--statedir").arg(&directory).arg("--pidfile").arg(directory.join("agent.pid"));
        let agent = Other::start(&mut agent)?;
        watch("qemu-guest-agent, listening on a socket", &[program], agent.0.id(), WATCHED, report)?;
    } else {
        report.leave_out("qemu-guest-agent at rest", "qemu-ga is not installed (scripts/setup.sh bench)");
    }

    let [bash, sleeper] = ["bash", "sleep"].map(find);
    if let (Some(bash), Some(sleeper)) = (bash, sleeper) {
        let looping = Other::start(Command::new(&bash).args(["-c", LOOP, "loop"]).arg(&directory))?;
        watch(
            "loop of bash that looks once a second",
            &[bash.clone(), sleeper.clone()],
            looping.0.id(),
            WATCHED,
            report,
        )?;
        let interval = if quick { WATCHED } else { poll::INTERVAL };
        let name = format!("daemon of bash as in the paper that looks every {} s", interval.as_secs());
        let daemon = Poll::start(&bash, &directory, interval)?;
        watch(&name, &[bash, sleeper], daemon.pid(), interval, report)?;
    } else {
        report.leave_out("a loop of bash at rest", "bash is not installed");
    }
    Ok(())
}

/// A program of others, until this value ends.
struct Other(Child);

impl Other {
    fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut other = Self(child);
        sleep(Duration::from_millis(500));
        match other.0.try_wait()? {
            Some(status) => Err(format!("{command:?} ended at once: {status}").into()),
            None => Ok(other),
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch(name: &str, programs: &[PathBuf], pid: u32, watched: Duration, report: &mut Report) -> Result {
    eprintln!("measuring: at rest, {name}");
    sleep(Duration::from_secs(1));
    let before = (switches(pid)?, children_reaped(pid)?);
    sleep(watched);
    let wakeups = switches(pid)? - before.0;
    let mut size = 0;
    for file in files(programs)? {
        size += fs::metadata(file)?.len();
    }
    let mut fact = |what: &str, found: String| report.facts.push([format!("{name}: {what}"), found]);
    fact("on the disk, with the libraries that it loads", format!("{} KiB", size.div_ceil(1024)));
    fact("resident (VmRSS), with its children", format!("{} kB", resident(pid)?));
    fact(
        &format!("wake-ups in {} s (voluntary context switches, without its children's)", watched.as_secs()),
        wakeups.to_string(),
    );
    if children_reaped(pid)? != before.1 {
        fact("page faults of children that came and went meanwhile", (children_reaped(pid)? - before.1).to_string());
    }
    Ok(())
}

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    let places = std::env::var_os("PATH")?;
    // Where a normal user's PATH does not look.
    let system = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    std::env::split_paths(&places).chain(system).map(|place| place.join(program)).find(|path| path.is_file())
}

/// The programs, and the libraries that the loader finds for them.
fn files(programs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = programs.to_vec();
    for program in programs.iter().filter(|_| has("ldd")) {
        let found = Command::new("ldd").arg(program).output()?;
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        let words = found.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
        files.extend(words.filter(|path| path.is_file()));
    }
    files.sort();
    files.dedup();
    Ok(files)
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

/// Minor page faults of children that have ended: a sign of processes that are started again and
/// again.
fn children_reaped(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no state of the process")?;
    Ok(fields.split_whitespace().nth(8).ok_or("no count of page faults")?.parse()?)
}

/// Kilobytes of a process and its children.
fn resident(pid: u32) -> Result<u64> {
    let own = |pid: &str| -> Option<u64> {
        let status = fs::read_to_string(Path::new("/proc").join(pid).join("status")).ok()?;
        value(&status, "VmRSS")?.strip_suffix(" kB")?.parse().ok()
    };
    let pid = pid.to_string();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let processes = std::iter::once(pid.as_str()).chain(children.split_whitespace());
    Ok(processes.filter_map(own).sum())
}
