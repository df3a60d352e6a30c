//! `nlxtp archive packages`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::error::Error;
use nlxtp_host::packages::{Answer, PackageName, write_probe};

use super::failure::{Failure, exit};
use super::package_nodes::{Nodes, Probed};
use super::package_steps::{Making, parse_package};
use super::session::Session;
use super::units::parse_duration;

const EXAMPLE: &str = "\
Each node is asked which system it is, and which package files it misses for the packages; the \
answer is its Custom Status. The files are downloaded once, verified, and packed into one archive, \
which installs the right ones on any node of these systems, without a network. Where nothing is \
missing, it does nothing.

The nodes need nlxtp-guest, and for the probing a way to their package mirror; all that their shared \
directories hold is replaced. So far, systems with APT are known (Debian, Ubuntu, and others like \
them). To run the probing yourself, see `nlxtp archive probe` and `nlxtp archive installer`.

Example:
  nlxtp archive packages jq --node /srv/bookworm/mnt/nlXTP --node /srv/trixie/mnt/nlXTP -o jq.tar.gz
  nlxtp upload /srv/node7/mnt/nlXTP jq.tar.gz && nlxtp wait /srv/node7/mnt/nlXTP";

/// Make an archive that installs packages on nodes without a network, by probing nodes that have one
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Packages {
    /// The packages, as the nodes' package manager names them
    #[arg(required = true, value_name = "PACKAGE", value_parser = parse_package)]
    packages: Vec<PackageName>,
    #[command(flatten)]
    nodes: Nodes,
    #[command(flatten)]
    making: Making,
    /// Keep what the nodes have answered in this directory, one file for each: `nlxtp archive
    /// installer` makes the archive of them again
    #[arg(long, value_name = "DIRECTORY")]
    answers: Option<PathBuf>,
    /// Give up if probing and downloading together take longer than this; what has been downloaded is
    /// kept [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

impl Packages {
    /// Whether the archive goes to standard output.
    pub fn is_to_stdout(&self) -> bool {
        self.making.is_to_stdout()
    }

    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let control = session.control(self.timeout);
        self.nodes.check()?;
        // Before the nodes are bothered: what cannot be written is known early.
        let output = self.making.begin()?;
        let mut probe = Vec::new();
        write_probe(&self.packages, OutputFormat::default(), &mut probe, &control).map_err(Failure::other)?;
        let probed = self.nodes.probe(&probe, &control, session)?;
        if let Some(directory) = &self.answers {
            keep_answers(&probed, directory).map_err(|error| Failure::archive(error, directory))?;
        }
        for node in &probed {
            let (system, files) = (&node.answer.system, node.answer.files.len());
            session.remark(&format!("{}: {system}, {files} package files missing", node.target.display()));
        }
        let answers: Vec<Answer> = probed.into_iter().map(|node| node.answer).collect();
        self.making.make(&answers, output, &control, session)?;
        Ok(exit::SUCCESS)
    }
}

/// One file for each node: `SYSTEM.probe`, or `SYSTEM-2.probe` for the second one of a system.
fn keep_answers(probed: &[Probed], directory: &std::path::Path) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(|error| Error::io("make the directory for the answers", error))?;
    let systems: Vec<&str> = probed.iter().map(|node| node.answer.system.as_str()).collect();
    for (number, node) in probed.iter().enumerate() {
        let system = systems[number];
        let name = match systems[..number].iter().filter(|other| **other == system).count() {
            0 => format!("{system}.probe"),
            before => format!("{system}-{}.probe", before + 1),
        };
        let written = fs::write(directory.join(&name), &node.text);
        written.map_err(|error| Error::io("keep an answer", error).with_object(name))?;
    }
    Ok(())
}
