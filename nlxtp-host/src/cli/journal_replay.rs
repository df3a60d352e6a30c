//! `nlxtp journal replay`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::archive::files::NewArchive;
use nlxtp_host::error::{Error, ErrorKind, Result as HostResult};
use nlxtp_host::journal::Tree;
use nlxtp_host::journal::compare::{Difference, compare_ends, compare_outcomes, compare_results};
use nlxtp_host::journal::glob::Glob;
use nlxtp_host::journal::record::{Download, Upload};
use nlxtp_host::journal::replay::{Action, Plan, Step, plan};
use nlxtp_host::journal::verify::find_archive;
use rextfv_core::entry_path::{displayable, from_displayable};
use rextfv_core::tomato;
use rextfv_core::verification::Outcome;
use serde::Serialize;

use super::failure::{Failure, exit};
use super::journal::clean;
use super::journal_options::{JournalOption, node_name, tell};
use super::journal_verify::show_differences;
use super::options::{LimitOptions, open_node};
use super::output::{print, print_json};
use super::replayed_node::{Hooks, ReplayedNode};
use super::session::Session;
use super::units::{parse_duration, show_count};
use super::upload::{SAY_FORCE, check_ours};

const EXAMPLE: &str = "\
Uploads the same archives in the same order to other nodes, waits for each start and end that the journal \
has seen, downloads, and compares: how each run ended, and each file of the results. Status slots, run ids, \
the Running Info and the Done Flag differ by their nature and are not compared. Exit code 0: all is the \
same; 16: something differs, and that is said.

Archives are taken from what --keep-archives has kept, else from the journal's folder or where \
--archives says. Whether they are the same is told by their digests; all of them must be there before \
anything begins.

What starts the script: for a container's directory its daemon, or --invoke. For a disk both --power-on \
and --power-off are needed: shell commands that turn the guest on and return, and that return when it is \
off. They find the node's name in $NLXTP_NODE and the path of its disk in $NLXTP_TARGET.

Example:
  nlxtp journal replay experiment.jsonl --on /srv/node1=/srv/fresh1 --on /srv/node2=/srv/fresh2
  nlxtp journal replay experiment.jsonl --on client=disk.img --ignore '*.log' \\
      --power-on 'virsh start client2' --power-off 'virsh shutdown client2 && ./wait-until-off'";

/// Do again on fresh nodes what a journal says, and compare the results
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Replay {
    /// The journal
    replayed: PathBuf,
    /// A node of the journal, and the shared directory or disk in its place; for each node
    #[arg(long, value_name = "OLD=NEW", required = true)]
    on: Vec<OsString>,
    /// Leave this node of the journal out
    #[arg(long, value_name = "OLD")]
    skip: Vec<String>,
    /// Look for archives at this file, or at those in this folder [default: the journal's folder]
    #[arg(long, value_name = "PATH")]
    archives: Vec<PathBuf>,
    /// Put the new results into this folder, which is made
    #[arg(long, value_name = "FOLDER")]
    results: Option<PathBuf>,
    /// Do not compare what this pattern means: * anything within a name, ** anything, ? one byte
    #[arg(long, value_name = "GLOB")]
    ignore: Vec<String>,
    /// Shell command that starts the monitor inside a running container
    #[arg(long, value_name = "COMMAND")]
    invoke: Option<String>,
    /// Shell command that turns the guest on
    #[arg(long, value_name = "COMMAND", requires = "power_off")]
    power_on: Option<String>,
    /// Shell command that turns the guest off, and waits until it is
    #[arg(long, value_name = "COMMAND", requires = "power_on")]
    power_off: Option<String>,
    /// Wait for each start and end no longer than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Replace the content of any directory or disk, also of the nodes in the journal themselves
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    journal: JournalOption,
    #[command(flatten)]
    limits: LimitOptions,
}

/// How one step came out.
#[derive(Serialize)]
struct Done {
    line: u64,
    node: String,
    step: &'static str,
    differences: Vec<Difference>,
}

#[derive(Serialize)]
struct Answer<'a> {
    same: bool,
    left_out: u64,
    steps: &'a [Done],
}

impl Replay {
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        self.journal.check_is_not(&self.replayed)?;
        let mut plan = plan(&self.replayed).map_err(|error| match error.kind() {
            ErrorKind::Damaged => Failure::other(error).with_code(exit::DIFFERS),
            _ => Failure::other(error),
        })?;
        plan.steps.retain(|step| !self.skip.contains(&step.node));
        plan.nodes.retain(|node| !self.skip.contains(node));
        let places = self.places(&plan).map_err(Failure::other)?;
        let archives = self.find_archives(&plan, session)?;
        let mut nodes = self.open_nodes(&plan, &places)?;
        if let Some(folder) = &self.results {
            fs::create_dir_all(folder)
                .map_err(|error| Failure::other(Error::io("make the folder for results", error).with_path(folder)))?;
        }
        let mut done = Vec::new();
        let mut code = exit::SUCCESS;
        let replayed = plan.steps.iter().try_for_each(|step| {
            let node = nodes.get_mut(&step.node).ok_or_else(|| unknown(&step.node))?;
            let differences = self.play(step, node, &archives, session)?;
            if let Some(error) = node.take_journal_failure() {
                code = tell(&error, session, code);
            }
            let result = Done { line: step.line, node: step.node.clone(), step: word(&step.action), differences };
            if !session.json {
                print(&show(&result))?;
            }
            done.push(result);
            Ok(())
        });
        // Whatever has come of it, no guest is left on that was off before.
        for name in &plan.nodes {
            if let Some(error) = nodes.get_mut(name).and_then(|node| node.turn_off().err()) {
                session.note(&format!("the guest of \"{}\" may still be on: {error}", clean(name)));
            }
        }
        replayed?;
        let same = done.iter().all(|done| done.differences.is_empty());
        if session.json {
            print_json(&Answer { same, left_out: plan.left_out, steps: &done })?;
        } else {
            print(&self.verdict(&done, plan.left_out))?;
        }
        Ok(if same { code } else { exit::DIFFERS })
    }

    /// Which path takes which node's place.
    fn places(&self, plan: &Plan) -> HostResult<HashMap<String, PathBuf>> {
        let invalid = |message: String, hint| Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint));
        let mut places: HashMap<String, PathBuf> = HashMap::new();
        for pair in &self.on {
            let bytes = pair.as_bytes();
            // Names and paths may themselves hold the sign: what is a node's name counts.
            let signs = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'=').map(|(at, _)| at);
            let mut named = signs.filter_map(|at| {
                let name = plan.nodes.iter().find(|name| name.as_bytes() == &bytes[..at])?;
                Some((name.clone(), PathBuf::from(OsString::from_vec(bytes[at + 1..].to_vec()))))
            });
            let Some((name, path)) = named.next_back() else {
                let nodes = plan.nodes.iter().map(|node| format!("\"{}\"", clean(node))).collect::<Vec<_>>().join(", ");
                let message =
                    format!("--on {}: it does not begin with a node of the journal and =", displayable(bytes));
                return invalid(
                    format!("{message}; those are: {nodes}"),
                    "write --on OLD=NEW, OLD as the journal has it",
                );
            };
            if places.values().any(|other| node_name(other) == node_name(&path)) {
                let message = format!("--on {}: another node has this place already", displayable(bytes));
                return invalid(message, "give each node a directory or disk of its own");
            }
            if !self.force && displayable(&node_name(&path)) == name {
                let message = format!("--on {}: this is the node that the journal tells of", displayable(bytes));
                return invalid(message, "replay on a fresh node, or say --force to replace what it holds");
            }
            places.insert(name, path);
        }
        if let Some(missing) = plan.nodes.iter().find(|node| !places.contains_key(*node)) {
            let message = format!("nothing takes the place of the node \"{}\"", clean(missing));
            return invalid(message, "add --on OLD=NEW for it, or --skip OLD to leave it out");
        }
        Ok(places)
    }

    /// The files of all archives that are to be uploaded, by the line.
    fn find_archives(&self, plan: &Plan, session: &Session) -> Result<HashMap<u64, PathBuf>, Failure> {
        let control = session.control(None);
        let mut found = HashMap::new();
        for step in &plan.steps {
            let Action::Upload(upload) = &step.action else { continue };
            let archive = &upload.archive;
            let path = find_archive(&self.replayed, archive, &self.archives, &control).map_err(Failure::other)?;
            let Some(path) = path else {
                let name = archive.name.as_deref().map(|name| format!(" \"{}\"", clean(name))).unwrap_or_default();
                let message =
                    format!("line {}: its archive{name} with the digest {} is not at hand", step.line, archive.sha256);
                let error = Error::new(ErrorKind::NotFound, message)
                    .with_hint("name the file or its folder by --archives; --keep-archives keeps them for next time");
                return Err(Failure::archive(error, &self.replayed));
            };
            found.insert(step.line, path);
        }
        Ok(found)
    }

    fn open_nodes(
        &self,
        plan: &Plan,
        places: &HashMap<String, PathBuf>,
    ) -> Result<HashMap<String, ReplayedNode>, Failure> {
        let journal = self.journal.open()?;
        let mut nodes = HashMap::new();
        for (name, path) in places {
            let node = open_node(path, self.limits.limits())?;
            if !self.force {
                check_ours(path, SAY_FORCE).map_err(|error| Failure::target(error, path))?;
            }
            let entry = journal.as_ref().map(|journal| journal.for_node(node_name(path)));
            let hooks = Hooks { invoke: self.invoke.clone(), power: self.power_on.clone().zip(self.power_off.clone()) };
            let has_script = plan.steps.iter().any(|step| {
                step.node == *name && matches!(&step.action, Action::Upload(upload) if upload.start_script.is_some())
            });
            let node = ReplayedNode::new(name, path, node, hooks, entry);
            if has_script && node.needs_power() {
                let error = Error::new(ErrorKind::InvalidInput, "the guest of a disk must be turned on and off")
                    .with_hint("give the commands for that: --power-on COMMAND --power-off COMMAND");
                return Err(Failure::other(error.with_path(path)));
            }
            nodes.insert(name.clone(), node);
        }
        Ok(nodes)
    }

    /// Does one step, and returns how it came out otherwise.
    fn play(
        &self,
        step: &Step,
        node: &mut ReplayedNode,
        archives: &HashMap<u64, PathBuf>,
        session: &Session,
    ) -> Result<Vec<Difference>, Failure> {
        let control = session.control(self.timeout);
        match &step.action {
            Action::Upload(upload) => {
                let archive = archives.get(&step.line).map(PathBuf::as_path).unwrap_or(Path::new(""));
                upload_again(upload, archive, node, session)?;
                Ok(Vec::new())
            }
            Action::AwaitStart => {
                let started = node.await_start(&control);
                started.map(|()| Vec::new()).map_err(|error| node.failure(in_words(error, step, "started")))
            }
            Action::AwaitEnd(recorded) => {
                let report = node.await_end(&control).map_err(|error| node.failure(in_words(error, step, "ended")))?;
                Ok(recorded.as_deref().map(|recorded| compare_ends(recorded, &report)).unwrap_or_default())
            }
            Action::Download(recorded) => {
                let (tree, outcome) = self.download_again(step.line, recorded, node, session)?;
                // The guest makes that after it has said Done: it may be off, or its results be packed, by then.
                let own = [tomato::DONE];
                let ignored: Vec<Glob> = self.ignore.iter().map(String::as_str).chain(own).map(Glob::new).collect();
                let mut differences = compare_results(&recorded.results, &tree, &ignored);
                differences.extend(compare_outcomes(recorded.verified, outcome));
                Ok(differences)
            }
        }
    }

    fn download_again(
        &self,
        line: u64,
        recorded: &Download,
        node: &mut ReplayedNode,
        session: &Session,
    ) -> Result<(Tree, Outcome), Failure> {
        let format = match recorded.archive.format.as_str() {
            "tar" => OutputFormat::Tar,
            "tar.zst" => OutputFormat::TarZst { level: 3 },
            _ => OutputFormat::default(),
        };
        let control = session.control(None);
        let Some(folder) = &self.results else {
            let downloaded = session.with_retries(&control, || node.download(&mut io::sink(), None, format, &control));
            return downloaded.map(|(found, _)| found).map_err(|error| node.failure(error));
        };
        let path = folder.join(format!("results-of-line-{line}.{}", format.name()));
        let failed = |error: Error| Failure::archive(error, &path);
        let mut archive = NewArchive::create(&path, self.force).map_err(failed)?;
        let downloaded = session
            .with_retries(&control, || node.download(&mut *archive.writer(&control)?, Some(&path), format, &control));
        let (found, _) = downloaded.map_err(|error| node.failure(error))?;
        archive.complete().map_err(failed)?;
        Ok(found)
    }

    fn verdict(&self, done: &[Done], left_out: u64) -> String {
        let differing = done.iter().filter(|done| !done.differences.is_empty()).count() as u64;
        let mut text = String::new();
        if left_out > 0 {
            let lines = show_count(left_out, "line", "lines");
            text = format!("{lines} of the journal not repeated: see \"replay\" in the manual\n");
        }
        text.push_str(&match differing {
            0 => "all came out the same\n".to_owned(),
            _ => format!("{} came out otherwise\n", show_count(differing, "step", "steps")),
        });
        text
    }
}

/// Uploads the archive at this path, if it is still the recorded one.
fn upload_again(upload: &Upload, archive: &Path, node: &mut ReplayedNode, session: &Session) -> Result<(), Failure> {
    let control = session.control(None);
    let failed = |error: Error| Failure::archive(error, archive);
    let mut file = File::open(archive).map_err(|error| failed(Error::io("open the archive", error)))?;
    file.rewind().map_err(|error| failed(Error::io("read the archive", error)))?;
    // What is kept by its digest has a name of its own only in the journal.
    let name = upload.archive.name.as_deref().and_then(from_displayable).map(OsString::from_vec).map(PathBuf::from);
    node.upload(&mut file, name.as_deref(), upload.follow_links, &control).map_err(|error| match error.kind() {
        ErrorKind::BadArchive | ErrorKind::Refused => failed(error),
        _ => node.failure(error),
    })
}

/// Says what was waited for when the time was over.
fn in_words(error: Error, step: &Step, what: &str) -> Error {
    match error.kind() {
        ErrorKind::TimedOut => {
            let message = format!("line {}: the run had not {what} again when the time was over", step.line);
            Error::new(ErrorKind::TimedOut, message)
                .with_hint("look at it with `nlxtp status`; is the guest on, and its daemon there?")
        }
        _ => error,
    }
}

fn unknown(node: &str) -> Failure {
    Failure::other(Error::new(ErrorKind::NotFound, format!("the node \"{}\" has no place", clean(node))))
}

fn word(action: &Action) -> &'static str {
    match action {
        Action::Upload(_) => "upload",
        Action::AwaitStart => "start",
        Action::AwaitEnd(_) => "end",
        Action::Download(_) => "download",
    }
}

fn show(done: &Done) -> String {
    let verdict = match (done.step, done.differences.is_empty()) {
        ("upload", _) => "done again",
        ("start", _) => "seen again",
        (_, true) => "the same",
        (_, false) => "DIFFERS",
    };
    let line = format!("line {}: {}: {}: {verdict}", done.line, clean(&done.node), done.step);
    format!("{line}\n{}", show_differences(&done.differences))
}
