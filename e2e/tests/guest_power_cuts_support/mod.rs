//! Runs whose results can be judged after a power cut, and machines that begin in a second.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nlxtp_e2e::command_line::Target;
use nlxtp_e2e::process::run;
use nlxtp_e2e::{Initramfs, Vm, VmOptions, places};
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;
use nlxtp_host::error::Error;
use nlxtp_host::guest::KnownPower;
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::DiskImage;
use rextfv_core::operations::DownloadReport;
use rextfv_core::powers::PowerState;
use rextfv_core::verification::Outcome;
use tempfile::TempDir;

pub const PATIENCE: Duration = Duration::from_secs(120);

/// Mounts the disk as `nlxtp-guest` itself does as process 1, and starts the guest program.
const GO_ON: &str = "mount -t vfat -o nosuid,nodev,noatime,utf8,errors=remount-ro /dev/vda1 /mnt/nlXTP && \
                     { sh /etc/guest-program </dev/null >/dev/console 2>&1 & }";

/// Numbers for choosing sizes and instants (SplitMix64).
pub struct Random(u64);

impl Random {
    /// Other numbers in each run of the tests.
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let seed = u64::try_from(since.as_nanos() % u128::from(u64::MAX)).expect("bounded");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// From 0 to 1.
    pub fn fraction(&mut self) -> f64 {
        self.below(1 << 32) as f64 / (1_u64 << 32) as f64
    }
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    Cached(&'static str),
    /// With the log `NAME.log` beside the image `NAME`.
    Logged,
}

/// A machine with a guest program that has booted and not mounted its disk yet; its state is kept.
pub struct Machine {
    folder: TempDir,
    initramfs: Initramfs,
    attached: Attached,
}

impl Machine {
    pub fn boot(initramfs: Initramfs, attached: Attached) -> Self {
        let machine = Self { folder: places::temporary_folder("machine"), initramfs, attached };
        let image = machine.folder.path().join("disk.img");
        create_disk(&image);
        let mut vm = Vm::boot(&machine.options(&image));
        // It is read at its first use; so all that goes on from here is the same boot.
        vm.output_of("cat /proc/sys/kernel/random/boot_id");
        vm.save(&machine.state());
        fs::remove_file(&image).expect("removed");
        machine
    }

    /// What the guest's digests say of results that are whole.
    fn verifies(&self) -> Outcome {
        match self.initramfs {
            Initramfs::Shell(_) => Outcome::NoDigests,
            _ => Outcome::Verified,
        }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn options(&self, image: &Path) -> VmOptions {
        let options = VmOptions::new(self.initramfs.clone())
            .guest_config("nlxtp_mon_check_interval=1")
            .kernel_arguments("guest_mount=no");
        match self.attached {
            Attached::Cached(cache) => options.disk_with_cache(image, cache),
            Attached::Logged => {
                let log = log_of(image);
                File::create(&log).expect("made");
                options.disk_with_log(image, &log)
            }
        }
    }

    /// Goes on from the state that was kept, with this disk: mounts it and starts the program.
    pub fn go_on(&self, image: &Path) -> Vm {
        let mut vm = Vm::start(&self.options(image).saved_state(&self.state()));
        vm.output_of(GO_ON);
        vm
    }
}

/// Our own guest program.
pub fn our_guest() -> Initramfs {
    Initramfs::Daemon(places::nlxtp_guest())
}

pub fn log_of(image: &Path) -> PathBuf {
    image.with_extension("log")
}

/// A disk as all machines here have it.
pub fn create_disk(image: &Path) {
    Target::create_disk(image, &["--size", "32MiB"]);
}

/// What a run is to leave behind.
pub struct Run {
    results: u64,
    verified: Outcome,
}

impl Run {
    /// Uploads, for this machine, a start script that writes results of sizes chosen at random, and a manifest of their
    /// digests. It flushes nothing itself.
    pub fn upload(image: &Path, machine: &Machine, random: &mut Random) -> Self {
        let results = 3 + random.below(12);
        let sizes: Vec<String> = (0..results)
            .map(|_| {
                let bits = 6 + random.below(13);
                (random.below(1 << bits)).to_string()
            })
            .collect();
        let script = format!(
            "#!/bin/sh\nmkdir \"$nlxtp_dir/results\" && cd \"$nlxtp_dir/results\" || exit 1\nmkdir more\nn=0\n\
             for size in {}; do\n    n=$((n + 1))\n    name=\"result $n\"\n    [ $((n % 3)) != 0 ] || name=more/$n\n    \
             head -c \"$size\" /dev/urandom >\"$name\"\n    sha256sum \"$name\" >>manifest\n    echo \"$name\"\n    \
             printf %s \"$n\" >../exec_status/custom.new\n    mv ../exec_status/custom.new ../exec_status/custom\ndone\n",
            sizes.join(" ")
        );
        let folder = places::temporary_folder("upload");
        fs::write(folder.path().join("auto_exec.sh"), script).expect("written");
        let archive = folder.path().join("archive.tar");
        let mut tar = Command::new("tar");
        run(tar.arg("-cf").arg(&archive).arg("-C").arg(folder.path()).arg("auto_exec.sh"), PATIENCE).success();
        let mut archive = File::open(archive).expect("opened");
        node(image, PowerState::Off).upload(&mut archive, &Control::none()).expect("the upload works");
        Self { results, verified: machine.verifies() }
    }

    /// Every byte of every result is there, by the digests that the guest took, and all that the
    /// script has printed.
    pub fn judge_results(&self, image: &Path) -> Result<(), String> {
        let folder = places::temporary_folder("download");
        let report = download(image, folder.path()).map_err(|error| format!("the download fails: {error}"))?;
        if !report.left_out.is_empty() || !report.changed.is_empty() {
            return Err(format!("the download is not whole: {report:?}"));
        }
        if report.verification.outcome() != self.verified {
            return Err(format!("the guest's digests say: {:?}", report.verification));
        }
        let results = folder.path().join("results");
        if !results.is_dir() {
            return Err("there are no results".into());
        }
        let mut sha256sum = Command::new("sha256sum");
        let checked = run(sha256sum.args(["--check", "--strict", "manifest"]).current_dir(&results), PATIENCE);
        let good = checked.text().lines().filter(|line| line.ends_with(": OK")).count() as u64;
        if !checked.status.success() || good != self.results {
            return Err(format!("{good} of {} results are good: {checked:?}", self.results));
        }
        let printed = fs::read_to_string(folder.path().join("exec_status/stdout")).unwrap_or_default();
        if printed.lines().count() as u64 != self.results {
            return Err(format!("of {} lines these are there: {printed}", self.results));
        }
        Ok(())
    }
}

/// Downloads, and unpacks what has come.
pub fn download(image: &Path, folder: &Path) -> Result<DownloadReport, Error> {
    let archive = folder.join("download.tar");
    let mut file = File::create(&archive).expect("made");
    let report = node(image, PowerState::Off).download(&mut file, OutputFormat::Tar, &Control::none())?;
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder), PATIENCE).success();
    Ok(report)
}

pub fn node(image: &Path, power: PowerState) -> Node {
    Node::new(DiskImage::open(image).expect("the image is readable")).with_power(KnownPower(power))
}
