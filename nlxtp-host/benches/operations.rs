//! How fast the operations are, each beside what cannot be avoided or what people use today.
//!
//! `make bench` runs all of it. `docs/performance.md` says what is measured and how, and holds a
//! run's tables. Nothing here fails because of a time; it fails where a result is wrong.

#![forbid(unsafe_code)]

mod harness;
mod measurements;
#[expect(dead_code, reason = "the behaviour tests use all of it")]
#[path = "../tests/stores/mod.rs"]
mod stores;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use harness::report::{Form, Report};
use harness::{Fresh, Result, machine};
use measurements::inputs::Inputs;

const HELP: &str = "\
Measures the operations of nlXTP, each in turn with its baseline.

  cargo bench -p nlxtp-host --bench operations -- [OPTIONS] [WORD...]

  WORD        only measurements whose name holds one of the words:
              status watcher upload download sizes guestfish growth memory start rest replace
  --quick     3 rounds instead of 5, and smaller inputs
  --rounds N  so many rounds
  --markdown  print the tables as Markdown
  --into FILE put the tables into this document, between its marks
  --dir DIR   work in DIR instead of target/tmp; its file system is what is measured
  --help      this

Environment: NLXTP_GUEST, the static guest program; NLXTP, the command.
";

struct Options {
    rounds: usize,
    starts: usize,
    quick: bool,
    form: Form,
    into: Option<PathBuf>,
    directory: PathBuf,
    only: Vec<String>,
}

impl Options {
    /// `None` where only help is wanted.
    fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Option<Self>> {
        let mut options = Self {
            rounds: 5,
            starts: 20,
            quick: false,
            form: Form::Text,
            into: None,
            directory: env!("CARGO_TARGET_TMPDIR").into(),
            only: Vec::new(),
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or("a value is missing after the last option");
            match argument.to_str() {
                // What cargo itself adds.
                Some("--bench") => {}
                Some("--quick") => (options.quick, options.rounds, options.starts) = (true, 3, 5),
                Some("--rounds") => options.rounds = value()?.to_string_lossy().parse::<usize>()?.max(1),
                Some("--markdown") => options.form = Form::Markdown,
                Some("--into") => options.into = Some(value()?.into()),
                Some("--dir") => options.directory = value()?.into(),
                Some("--help") => return Ok(None),
                Some(word) if !word.starts_with('-') => options.only.push(word.into()),
                _ => return Err(format!("unknown option {}; see --help", argument.display()).into()),
            }
        }
        Ok(Some(options))
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| name.contains(word.as_str()))
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let done = if arguments.next_if(|first| first == measurements::start::STAMP).is_some() {
        measurements::start::stamp()
    } else if arguments.next_if(|first| first == measurements::watcher::WATCH).is_some() {
        measurements::watcher::watch(&PathBuf::from(arguments.next().unwrap_or_default()))
    } else {
        run(arguments)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl Iterator<Item = OsString>) -> Result {
    let Some(options) = Options::parse(arguments)? else {
        print!("{HELP}");
        return Ok(());
    };
    let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(&options.directory)?;
    let fresh = Fresh::new(scratch.path());
    let mut report = Report::new(machine::describe(fresh.work())?, options.rounds);
    let measured = measure(&options, &fresh, &mut report);
    // What was measured before something failed took its time, too.
    print!("{}", report.print(options.form));
    measured?;
    match options.into {
        Some(document) => report.put_into(&document),
        None => Ok(()),
    }
}

fn measure(options: &Options, fresh: &Fresh<'_>, report: &mut Report) -> Result {
    if options.wants("status") {
        measurements::status::measure(fresh, options.rounds, report)?;
    }
    if options.wants("watcher") {
        measurements::watcher::measure(fresh, report)?;
    }
    let of_files = ["upload", "download", "sizes", "guestfish", "replace"];
    let inputs = if of_files.iter().any(|name| options.wants(name)) {
        Some(Inputs::make(fresh.work(), options.quick)?)
    } else {
        None
    };
    if let Some(inputs) = &inputs {
        for input in inputs.all() {
            if options.wants("upload") {
                measurements::upload::measure(fresh, input, options.rounds, report)?;
            }
            if options.wants("download") {
                measurements::download::measure(fresh, input, options.rounds, report)?;
            }
        }
        if options.wants("sizes") {
            measurements::sizes::measure(fresh, inputs.small_files(), options.rounds, report)?;
        }
        if options.wants("guestfish") {
            measurements::upload::beside_guestfish(fresh, inputs.all(), report)?;
        }
    }
    if options.wants("growth") {
        measurements::growth::of_status(fresh, report)?;
        measurements::growth::measure(fresh, options.quick, report)?;
    }
    if options.wants("memory") {
        measurements::memory::measure(fresh, options.quick, report)?;
    }
    if options.wants("start") {
        measurements::start::measure(fresh, options.starts, options.quick, report)?;
    }
    if options.wants("rest") {
        measurements::rest::measure(fresh, options.quick, report)?;
    }
    // Last: after files were removed, ext4 makes new ones slowly for a while.
    if let Some(inputs) = inputs.filter(|_| options.wants("replace")) {
        measurements::replace::measure(fresh, inputs.small_files(), options.rounds, report)?;
    }
    Ok(())
}
