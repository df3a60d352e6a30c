//! What is looked at closer while an archive is read or made: the beginning of its start script, and what
//! it asks for its run.

#![forbid(unsafe_code)]

use rextfv_core::archive_rules::ManifestBuilder;
use rextfv_core::entry_path::{EntryPath, displayable};
use rextfv_core::layout::{MANIFEST, choose_start_script, is_start_script};
use rextfv_core::run_manifest::{MAX_MANIFEST_BYTES, RunManifest};
use rextfv_core::start_script::{self, HEAD_BYTES};

use super::member::{Fingerprint, Member, MemberKind, Members};
use crate::error::Result;

/// What is kept of an archive. Of several start scripts, only the one that will be started counts.
#[derive(Debug, Default)]
pub(super) struct Preview {
    script: Option<Kept>,
    run: Option<Kept>,
    current: Current,
}

/// Whose content comes now.
#[derive(Debug, Clone, Copy, Default)]
enum Current {
    Script,
    Run,
    #[default]
    Other,
}

/// The beginning of a file.
#[derive(Debug)]
struct Kept {
    name: Vec<u8>,
    mode: u32,
    bytes: Vec<u8>,
}

impl Preview {
    /// A file comes, whose content [`take`](Self::take) is told next.
    pub(super) fn begin(&mut self, path: &[u8], mode: u32) {
        self.current = Current::Other;
        let Ok(path) = EntryPath::parse(path) else { return };
        let name = path.as_bytes();
        if name == MANIFEST.as_bytes() {
            self.current = Current::Run;
            self.run = Some(Kept { name: name.to_vec(), mode, bytes: Vec::new() });
        }
        if !is_start_script(name) || name.contains(&b'/') {
            return;
        }
        let known = self.script.as_ref().map(|script| script.name.as_slice());
        if choose_start_script([name].into_iter().chain(known)) == Some(name) {
            self.current = Current::Script;
            self.script = Some(Kept { name: name.to_vec(), mode, bytes: Vec::new() });
        }
    }

    /// Some of the content.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let (kept, most) = match self.current {
            Current::Script => (&mut self.script, HEAD_BYTES),
            // One byte more than is allowed tells that it is too long.
            Current::Run => (&mut self.run, MAX_MANIFEST_BYTES + 1),
            Current::Other => return,
        };
        if let Some(kept) = kept {
            let room = most - kept.bytes.len();
            kept.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Judges what is started of the archive, all of whose entries the builder was shown: what the archive asks
    /// for its run is checked, and what may keep the start script from running as it was meant is returned, in
    /// words, with the run that is asked for.
    pub(super) fn judge(&self, builder: &mut ManifestBuilder) -> (Option<RunManifest>, Vec<String>) {
        let run = self.run.as_ref().map(|run| RunManifest::parse(&run.bytes));
        if let Some(run) = &run {
            builder.check_run(run);
        }
        let run = run.and_then(Result::ok);
        let mut warnings: Vec<String> = builder.start_problems(run.as_ref()).iter().map(ToString::to_string).collect();
        // A link in its place leads to something that was not looked at.
        if let Some(script) = self.script.as_ref().filter(|script| builder.start_script() == Some(&script.name)) {
            let problems = start_script::problems(&script.bytes, script.mode & 0o111 != 0);
            warnings.extend(problems.iter().map(|problem| format!("{}: {problem}", displayable(&script.name))));
        }
        (run, warnings)
    }
}

/// The members of an archive, of which a preview is kept.
pub(super) struct Previewed<'a> {
    members: Box<dyn Members + 'a>,
    preview: &'a mut Preview,
}

impl<'a> Previewed<'a> {
    pub(super) fn new(members: Box<dyn Members + 'a>, preview: &'a mut Preview) -> Self {
        Self { members, preview }
    }

    pub(super) fn preview(&self) -> &Preview {
        self.preview
    }
}

impl Members for Previewed<'_> {
    fn next(&mut self) -> Result<Option<Member>> {
        let member = self.members.next()?;
        match &member {
            Some(file) if file.kind == MemberKind::File => self.preview.begin(&file.path, file.mode),
            _ => self.preview.current = Current::Other,
        }
        Ok(member)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.members.read(buffer)?;
        self.preview.take(&buffer[..read]);
        Ok(read)
    }

    fn fingerprint(&self) -> Fingerprint {
        self.members.fingerprint()
    }
}
