//! What of an archive will be started, and whether it is there.

use alloc::string::String;
use alloc::vec::Vec;

use super::manifest::top_level_name;
use super::{ManifestBuilder, Node, PendingTarget, RefusalReason, shown};
use crate::entry_path::EntryPath;
use crate::layout;
use crate::run_manifest::RunManifest;

/// What may keep an archive from being started as it was meant, as far as its entries tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartProblem {
    /// There are several start scripts.
    #[error("{started}: it is started, and the other start scripts are not: {ignored}")]
    Several {
        /// The one that is started.
        started: String,
        /// The others, or the first of them.
        ignored: String,
    },
    /// The start script is a link to nothing.
    #[error("{script}: it is a link to \"{target}\", which is no file in the archive: nothing will be started")]
    LinkToNothing {
        /// The start script.
        script: String,
        /// What the link says.
        target: String,
    },
    /// The start script is a link out of the archive.
    #[error(
        "{script}: it is a link to \"{target}\", outside the archive: nothing will be started unless the guest has a file there"
    )]
    LinkOutside {
        /// The start script.
        script: String,
        /// What the link says.
        target: String,
    },
    /// The manifest's command is a whole command line.
    #[error(
        "nlxtp.toml: \"start\" is \"{0}\", which stands for one program with blanks in its name, since no shell reads it; write a list of the command and its arguments, such as [\"python3\", \"main.py\"]"
    )]
    CommandLine(String),
    /// The manifest's command lies in the archive and is not there.
    #[error("nlxtp.toml: \"start\" is \"{0}\", and there is no such file in the archive")]
    NoCommand(String),
}

/// Start scripts beside the one that is started that are named.
const MOST_NAMED: usize = 3;

impl ManifestBuilder {
    /// The name of the start script, if there is one. Called when all entries were taken.
    pub fn start_script(&self) -> Option<&[u8]> {
        layout::choose_start_script(self.start_scripts())
    }

    fn start_scripts(&self) -> impl Iterator<Item = &[u8]> {
        let files = self.manifest.files.iter().map(|file| &file.path);
        let links = self.pending_links.iter().map(|link| &link.path);
        files.chain(links).filter_map(top_level_name).filter(|name| layout::is_start_script(name))
    }

    /// What may be wrong with what is started: the start script, and what the archive asks for instead.
    /// Called when all entries were taken.
    pub fn start_problems(&self, run: Option<&RunManifest>) -> Vec<StartProblem> {
        let script = self.start_script();
        let command = run.and_then(|run| run.start.first());
        [
            script.and_then(|script| self.other_scripts(script)),
            script.and_then(|script| self.script_link(script)),
            command.and_then(|command| self.command(command)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn other_scripts(&self, started: &[u8]) -> Option<StartProblem> {
        let mut others: Vec<&[u8]> = self.start_scripts().filter(|name| *name != started).collect();
        others.sort_unstable();
        let mut named: Vec<String> = others.iter().take(MOST_NAMED).map(|name| shown(name)).collect();
        if others.len() > MOST_NAMED {
            named.push(String::from('…'));
        }
        (!named.is_empty()).then(|| StartProblem::Several { started: shown(started), ignored: named.join(", ") })
    }

    /// Guests follow a link in the start script's place.
    fn script_link(&self, script: &[u8]) -> Option<StartProblem> {
        let (_, Node::Link(link)) = self.node(&EntryPath::root().join(script)?)? else { return None };
        let PendingTarget::Symlink(target) = &self.pending_links[*link].target else { return None };
        let (script, shown_target) = (shown(script), shown(target));
        match self.follow(&self.pending_links, EntryPath::root(), target) {
            Ok(Node::File(_)) => None,
            Err(RefusalReason::LinkEscapes(_)) => Some(StartProblem::LinkOutside { script, target: shown_target }),
            _ => Some(StartProblem::LinkToNothing { script, target: shown_target }),
        }
    }

    /// A command without a slash is the guest's, and so is one that a link leads to outside the archive.
    fn command(&self, command: &str) -> Option<StartProblem> {
        let is_line = command.contains(char::is_whitespace);
        let is_ours = command.contains('/') && !command.starts_with('/');
        let found = is_ours.then(|| self.follow(&self.pending_links, EntryPath::root(), command.as_bytes()));
        match found {
            Some(Ok(Node::File(_)) | Err(RefusalReason::LinkEscapes(_))) => None,
            _ if is_line => Some(StartProblem::CommandLine(shown(command.as_bytes()))),
            Some(_) => Some(StartProblem::NoCommand(shown(command.as_bytes()))),
            None => None,
        }
    }
}
