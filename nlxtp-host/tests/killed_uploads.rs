//! The host is killed with SIGKILL at any instant of an upload: afterwards there is the old content
//! or the new one, whole, and never a start script among content that is not its own.

mod cli_support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use cli_support::{Kind, Place, tar_gz, unpack};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::{DiskImage, HostDirectory};

type Content = BTreeMap<String, Vec<u8>>;

/// What is uploaded: some large and many small files, all different in each version.
fn content(version: u32) -> Content {
    let mut files = Content::new();
    files.insert("auto_exec.sh".into(), format!("#!/bin/sh\necho {version}\n").into_bytes());
    for number in 0..40_u32 {
        let length = if number % 10 == 0 { 60_000 } else { 100 + number as usize };
        let bytes = (0..length).map(|at| (at as u32 ^ version.wrapping_mul(131) ^ number) as u8).collect();
        let name = if number % 2 == 0 { format!("file{number}") } else { format!("dir{number}/file") };
        files.insert(name, bytes);
    }
    // Each version has a file that no other one has.
    files.insert(format!("only{version}"), Vec::new());
    files
}

fn archive(content: &Content) -> Vec<u8> {
    let files: Vec<(&str, &[u8])> = content.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
    tar_gz(&files)
}

/// What the next operation sees, without the run id.
fn seen(kind: Kind, path: &Path) -> Content {
    let mut node = match kind {
        Kind::Directory => Node::new(HostDirectory::open(path).unwrap()),
        Kind::Disk => Node::new(DiskImage::open(path).unwrap()),
    };
    let mut download = Vec::new();
    let report = node.download(&mut download, OutputFormat::Tar, &Control::none()).unwrap();
    assert!(report.left_out.is_empty() && report.changed.is_empty(), "{report:?}");
    let mut files = unpack(&download);
    assert_eq!(files.remove("nlxtp_run_id").map(|id| id.len()), Some(33));
    files
}

/// What a guest sees that looks before any host does: if there is a start script, then all that
/// belongs to it, and nothing else.
fn assert_no_wrong_start_script(path: &Path, versions: [&Content; 2]) -> bool {
    let Ok(script) = fs::read(path.join("auto_exec.sh")) else { return false };
    let version = versions.into_iter().find(|content| content["auto_exec.sh"] == script).expect("a whole script");
    for (name, bytes) in version {
        assert!(fs::read(path.join(name)).is_ok_and(|found| found == *bytes), "{name} is not beside its script");
    }
    for entry in fs::read_dir(path).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(belongs_to(version, &name), "{name} is beside the wrong script");
    }
    true
}

/// Whether an entry at the top is of this content, or of an upload itself.
fn belongs_to(version: &Content, name: &str) -> bool {
    name == ".nlxtp_upload" || name == "nlxtp_run_id" || version.keys().any(|path| path.split('/').next() == Some(name))
}

/// Rounds that there are even where time is short.
const FEWEST: u64 = 20;

/// Kills uploads to a target, `rounds` of them, or as many as there is time for.
fn kill_uploads(kind: Kind, rounds: u64, judge: impl Fn(&Path)) {
    let place = Place::new();
    let target = place.target(kind, "target");
    let versions = [1, 2].map(content);
    for (name, content) in ["1.tar.gz", "2.tar.gz"].iter().zip(&versions) {
        place.write(name, &archive(content));
    }
    // The quickest of some: the others were held up by something else.
    let timed = ["1.tar.gz", "2.tar.gz", "1.tar.gz"].map(|archive| {
        let began = Instant::now();
        target.call("upload", &[archive]).expect(0);
        began.elapsed()
    });
    let whole = *timed.iter().min().unwrap();
    let began = Instant::now();
    let mut old = 0;
    let (mut killed, mut without_script, mut changed) = (0, 0, 0);
    for round in 0..rounds {
        if round >= FEWEST && began.elapsed() > Duration::from_secs(25) {
            break;
        }
        let new = 1 - old;
        let mut upload = target.begin("upload", &[["1.tar.gz", "2.tar.gz"][new]]);
        // Spread evenly, and in no order, over the time that a whole upload takes and a bit more.
        thread::sleep(whole.mul_f64((round * 61 % 100) as f64 / 80.0));
        upload.kill().unwrap();
        let ended = upload.wait().unwrap();
        killed += u64::from(!ended.success());
        if kind == Kind::Directory && !assert_no_wrong_start_script(&target.path(), [&versions[0], &versions[1]]) {
            without_script += 1;
        }
        judge(&target.path());
        let now = seen(kind, &target.path());
        if now == versions[new] {
            old = new;
            changed += 1;
        } else {
            assert!(now == versions[old], "neither the old content nor the new: {:?}", now.keys());
            assert!(!ended.success(), "an upload that has succeeded is there");
        }
    }
    println!("{kind:?}: {killed} killed; {changed} left the new content, {without_script} no start script yet");
    assert!(killed >= FEWEST / 2, "only {killed} uploads were killed in the middle");
    target.call("upload", &["2.tar.gz"]).expect(0);
    assert_eq!(seen(kind, &target.path()), versions[1]);
    judge(&target.path());
}

#[test]
fn a_directory_holds_the_old_content_or_the_new() {
    kill_uploads(Kind::Directory, 60, |_| {});
}

/// Whatever comes to the top even for a moment would stay there if the host were killed then.
#[test]
fn nothing_but_the_content_ever_comes_to_the_top_of_a_directory() {
    let place = Place::new();
    let target = place.target(Kind::Directory, "target");
    let version = content(1);
    place.write("1.tar.gz", &archive(&version));
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    inotify.add_watch(&target.path(), AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO).unwrap();
    target.call("upload", &["1.tar.gz"]).expect(0);
    let mut came = 0;
    while let Ok(events) = inotify.read_events() {
        for event in events {
            let name = event.name.unwrap().into_string().unwrap();
            assert!(belongs_to(&version, &name), "{name} came to the top");
            came += 1;
        }
    }
    assert!(came > 40, "only {came} entries were seen to come");
}

#[test]
fn an_image_holds_the_old_content_or_the_new() {
    kill_uploads(Kind::Disk, 60, |_| {});
}

#[test]
#[ignore = "needs dosfstools; `make test` runs it"]
fn an_image_is_healthy_after_each_kill() {
    kill_uploads(Kind::Disk, 60, |image| {
        let scratch = tempfile::tempdir().unwrap();
        let partition = scratch.path().join("partition");
        fs::write(&partition, &fs::read(image).unwrap()[cli_support::PARTITION..]).unwrap();
        let output = Command::new("/usr/sbin/fsck.vfat").arg("-n").arg(&partition).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    });
}
