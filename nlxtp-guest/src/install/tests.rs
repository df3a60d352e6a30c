use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// An offline root file system.
struct Place(tempfile::TempDir);

impl Place {
    /// One that boots with System V init.
    fn sysvinit() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for dir in ["sbin", "usr/bin", "etc/init.d", "etc/rc0.d", "etc/rc2.d", "mnt"] {
            fs::create_dir_all(place.path(dir)).unwrap();
        }
        place.write("sbin/init", "x");
        place.write("program", "\x7fELF, or so");
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))).into()
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    fn run(&self, task: Task, change: impl FnOnce(&mut Options)) -> Result<(), String> {
        let (root, program) = (Some(self.0.path().to_owned()), Some(self.path("program")));
        let mut options = Options { root, program, ..Options::default() };
        change(&mut options);
        run(task, &options).map_err(|error| error.to_string())
    }

    fn done(&self, task: Task) {
        self.run(task, |_| ()).unwrap();
    }

    /// Every path with what tells it apart.
    fn everything(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut left = vec![self.0.path().to_owned()];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                let (path, about) = (entry.path(), entry.metadata().unwrap());
                let content = if about.is_file() { record::digest(&fs::read(&path).unwrap()) } else { String::new() };
                let target = fs::read_link(&path).unwrap_or_default();
                all.push(format!("{} {:o} {content} {}", path.display(), about.permissions().mode(), target.display()));
                if about.is_dir() {
                    left.push(path);
                }
            }
        }
        all.sort();
        all
    }
}

#[test]
fn what_is_installed_is_all_there_and_uninstalling_leaves_nothing() {
    let place = Place::sysvinit();
    let before = place.everything();
    place.done(Task::Install);
    assert_eq!(fs::read(place.path(PROGRAM)).unwrap(), fs::read(place.path("program")).unwrap());
    assert_eq!(fs::metadata(place.path(PROGRAM)).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(place.read(CONFIGURATION), SHIPPED_CONFIGURATION);
    assert!(place.path("mnt/nlXTP").is_dir());
    for (link, level) in [("S99", 2), ("K01", 0)] {
        let target = fs::read_link(place.path(&format!("etc/rc{level}.d/{link}nlxtp-guest"))).unwrap();
        assert_eq!(target, Path::new("../init.d/nlxtp-guest"));
    }
    place.done(Task::Uninstall);
    assert_eq!(place.everything(), before);
    assert!(place.run(Task::Uninstall, |_| ()).unwrap_err().contains("nothing is there"));
}

#[test]
fn installing_again_changes_nothing() {
    let place = Place::sysvinit();
    place.done(Task::Install);
    let once = place.everything();
    // insserv has numbered the links anew.
    fs::rename(place.path("etc/rc2.d/S99nlxtp-guest"), place.path("etc/rc2.d/S02nlxtp-guest")).unwrap();
    place.done(Task::Install);
    place.done(Task::Upgrade);
    assert!(!place.path("etc/rc2.d/S99nlxtp-guest").exists());
    fs::rename(place.path("etc/rc2.d/S02nlxtp-guest"), place.path("etc/rc2.d/S99nlxtp-guest")).unwrap();
    assert_eq!(place.everything(), once);
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = Place::sysvinit();
    let before = place.everything();
    place.run(Task::Install, |options| options.dry_run = true).unwrap();
    assert_eq!(place.everything(), before);
    place.done(Task::Install);
    let installed = place.everything();
    place.run(Task::Uninstall, |options| options.dry_run = true).unwrap();
    assert_eq!(place.everything(), installed);
}

#[test]
fn what_the_administrator_changed_stays() {
    let place = Place::sysvinit();
    place.done(Task::Install);
    place.write(CONFIGURATION, "nlxtp_mode=1\n");
    place.write("etc/init.d/nlxtp-guest", "#!/bin/sh\n");
    place.write("mnt/nlXTP/file", "x");
    place.done(Task::Install);
    place.done(Task::Upgrade);
    assert_eq!(place.read(CONFIGURATION), "nlxtp_mode=1\n");
    assert_eq!(place.read("etc/init.d/nlxtp-guest"), "#!/bin/sh\n");
    place.done(Task::Uninstall);
    assert_eq!(place.read(CONFIGURATION), "nlxtp_mode=1\n");
    assert_eq!(place.read("etc/init.d/nlxtp-guest"), "#!/bin/sh\n");
    assert_eq!(place.read("mnt/nlXTP/file"), "x");
    assert!(!place.path(PROGRAM).exists() && !place.path(record::PLACE).exists());
}

#[test]
fn an_older_version_is_replaced_and_its_values_stay() {
    let place = Place::sysvinit();
    place.done(Task::Install);
    // As an older version would have left it: another program, configuration and unit.
    let old = "# the old text\nnlxtp_mode=1\nnlxtp_device=\n";
    let mut record = Record::load(&Root::offline(place.0.path()).unwrap()).unwrap().unwrap();
    for (path, content) in [(CONFIGURATION, old), ("/etc/init.d/nlxtp-guest", "old"), ("/etc/old-unit", "old")] {
        place.write(path, content);
        record.add_item(&Item::file(path, content.as_bytes().to_vec(), 0o644));
    }
    place.write(PROGRAM, "old");
    record.store(&Root::offline(place.0.path()).unwrap()).unwrap();
    place.done(Task::Upgrade);
    assert_ne!(place.read(PROGRAM), "old");
    assert_ne!(place.read("etc/init.d/nlxtp-guest"), "old");
    assert!(!place.path("etc/old-unit").exists());
    let (config, _) = Config::parse(&place.read(CONFIGURATION), "f").unwrap();
    assert_eq!((config.mode, config.device), (crate::config::Mode::Once, crate::config::Device::Unsaid));
    assert!(!place.read(CONFIGURATION).contains("old text"));
}

#[test]
fn an_installation_that_broke_off_is_completed_or_removed() {
    for task in [Task::Install, Task::Uninstall] {
        let place = Place::sysvinit();
        let before = place.everything();
        // The unit cannot be written: a directory stands in its place.
        fs::create_dir(place.path("etc/init.d/nlxtp-guest")).unwrap();
        let problem = place.run(Task::Install, |_| ()).unwrap_err();
        assert!(problem.contains("/etc/init.d/nlxtp-guest"), "{problem}");
        fs::remove_dir(place.path("etc/init.d/nlxtp-guest")).unwrap();
        place.done(task);
        place.done(if task == Task::Install { Task::Uninstall } else { Task::Install });
        if task == Task::Install {
            assert_eq!(place.everything(), before);
        }
    }
}

#[test]
fn busybox_gets_a_line_and_loses_only_that() {
    let place = Place::sysvinit();
    place.run(Task::Install, |options| options.init = Some(InitSystem::Busybox)).unwrap();
    assert!(place.read("etc/inittab").contains("::respawn:/usr/local/sbin/nlxtp-guest daemon --stay"));
    place.done(Task::Uninstall);
    assert!(!place.path("etc/inittab").exists());

    place.write("etc/inittab", "::sysinit:/bin/true");
    place.run(Task::Install, |options| options.init = Some(InitSystem::Busybox)).unwrap();
    place.run(Task::Install, |options| options.init = Some(InitSystem::Busybox)).unwrap();
    let line = "::respawn:/usr/local/sbin/nlxtp-guest daemon --stay\n";
    assert_eq!(place.read("etc/inittab"), format!("::sysinit:/bin/true\n{line}"));
    place.done(Task::Uninstall);
    assert_eq!(place.read("etc/inittab"), "::sysinit:/bin/true\n");
}

#[test]
fn the_lists_of_insserv_name_the_service() {
    let place = Place::sysvinit();
    let (start, stop) = ("TARGETS = cron rc.local\nINTERACTIVE =\nrc.local: cron\n", "TARGETS = sendsigs\n");
    place.write("etc/init.d/.depend.start", start);
    place.write("etc/init.d/.depend.stop", stop);
    let before = place.everything();
    place.done(Task::Install);
    place.done(Task::Install);
    let with_ours = "TARGETS = cron rc.local nlxtp-guest\nINTERACTIVE =\nrc.local: cron\n";
    assert_eq!(place.read("etc/init.d/.depend.start"), with_ours);
    assert_eq!(place.read("etc/init.d/.depend.stop"), "TARGETS = sendsigs nlxtp-guest\n");
    place.done(Task::Uninstall);
    assert_eq!(place.everything(), before);
}

#[test]
fn another_init_system_takes_the_place_of_the_first() {
    let place = Place::sysvinit();
    let before = place.everything();
    place.done(Task::Install);
    fs::create_dir(place.path("etc/service")).unwrap();
    place.run(Task::Install, |options| options.init = Some(InitSystem::Runit)).unwrap();
    assert!(!place.path("etc/init.d/nlxtp-guest").exists() && !place.path("etc/rc2.d/S99nlxtp-guest").exists());
    // As runsv leaves it.
    fs::create_dir(place.path("etc/sv/nlxtp-guest/supervise")).unwrap();
    place.write("etc/sv/nlxtp-guest/supervise/lock", "");
    assert_eq!(fs::read_link(place.path("etc/service/nlxtp-guest")).unwrap(), Path::new("/etc/sv/nlxtp-guest"));
    place.done(Task::Uninstall);
    fs::remove_dir(place.path("etc/service")).unwrap();
    assert_eq!(place.everything(), before);
}

#[test]
fn an_upgrade_goes_on_with_the_init_system_that_was_installed_for() {
    let place = Place::sysvinit();
    let (unit, wants) =
        ("etc/systemd/system/nlxtp-guest.service", "etc/systemd/system/multi-user.target.wants/nlxtp-guest.service");
    fs::remove_file(place.path("sbin/init")).unwrap();
    let before = place.everything();
    place.run(Task::Install, |options| options.init = Some(InitSystem::Systemd)).unwrap();
    let installed = place.everything();
    for task in [Task::Upgrade, Task::Install] {
        place.done(task);
        assert_eq!(place.everything(), installed);
    }
    place.done(Task::Uninstall);
    assert_eq!(place.everything(), before);

    // One that is recognised by now goes before it.
    place.run(Task::Install, |options| options.init = Some(InitSystem::Systemd)).unwrap();
    place.write("sbin/init", "x");
    place.done(Task::Upgrade);
    assert!(!place.path(unit).exists() && fs::symlink_metadata(place.path(wants)).is_err());
    assert!(place.path("etc/rc2.d/S99nlxtp-guest").exists());
}

#[test]
fn without_an_init_system_to_be_known_nothing_is_removed() {
    let place = Place::sysvinit();
    let before = place.everything();
    place.done(Task::Install);
    let installed = place.everything();
    // As a version with an init system that this one does not know would have left it.
    let record = place.read(record::PLACE);
    place.write(record::PLACE, &record.replace("init\tsysvinit\n", "init\tof-the-future\n"));
    fs::rename(place.path("sbin/init"), place.path("init-program")).unwrap();
    place.done(Task::Upgrade);
    fs::rename(place.path("init-program"), place.path("sbin/init")).unwrap();
    assert!(place.path("etc/init.d/nlxtp-guest").exists() && place.path("etc/rc2.d/S99nlxtp-guest").exists());
    assert!(!place.read(record::PLACE).contains("init\t"), "that was done without one");
    place.done(Task::Upgrade);
    assert_eq!(place.everything(), installed);
    place.done(Task::Uninstall);
    assert_eq!(place.everything(), before);
}

/// A root with ToMaTo's modules as their package leaves them.
fn with_tomato(configuration: &str) -> Place {
    let place = Place::sysvinit();
    for path in ["usr/bin/nlXTP_mon", "usr/bin/nlXTP_daemon", "etc/init.d/nlXTP_daemon"] {
        place.write(path, "#!/bin/bash\n");
    }
    for link in ["etc/rc2.d/S03nlXTP_daemon", "etc/rc0.d/K01nlXTP_daemon"] {
        symlink("../init.d/nlXTP_daemon", place.path(link)).unwrap();
    }
    place.write("etc/nlXTP.conf", configuration);
    place
}

#[test]
fn tomatos_modules_are_replaced_and_their_configuration_carried_over() {
    let place = with_tomato(
        "nlxtp_dir=\"/mnt/its own\"\nnlxtp_mode=1\nnlxtp_mon_check_interval=60\nnlxtp_mon_command=\"nlXTP_mon\"\n",
    );
    let problem = place.run(Task::Install, |_| ()).unwrap_err();
    assert!(problem.contains("/usr/bin/nlXTP_daemon") && problem.contains("upgrade"), "{problem}");
    assert!(!place.path(PROGRAM).exists(), "nothing was done");

    place.done(Task::Upgrade);
    let (config, warnings) = Config::parse(&place.read(CONFIGURATION), "f").unwrap();
    assert_eq!(config.dir, Path::new("/mnt/its own"));
    assert_eq!(config.mode, crate::config::Mode::Once);
    assert_eq!(config.heartbeat.as_secs(), 60);
    assert_eq!(config.device, crate::config::Device::Auto);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(place.path("mnt/its own").is_dir());
    assert_eq!(fs::read_link(place.path("usr/bin/nlXTP_mon")).unwrap(), Path::new(PROGRAM));
    for gone in
        ["usr/bin/nlXTP_daemon", "etc/init.d/nlXTP_daemon", "etc/rc2.d/S03nlXTP_daemon", "etc/rc0.d/K01nlXTP_daemon"]
    {
        assert!(fs::symlink_metadata(place.path(gone)).is_err(), "{gone} is left");
    }
    assert!(place.read("etc/nlXTP.conf.replaced").contains("/mnt/its own"));
    assert!(!place.path("etc/nlXTP.conf").exists());

    let upgraded = place.everything();
    place.done(Task::Upgrade);
    place.done(Task::Install);
    assert_eq!(place.everything(), upgraded, "a second time changes nothing");
    place.done(Task::Uninstall);
    assert!(fs::symlink_metadata(place.path("usr/bin/nlXTP_mon")).is_err());
    assert!(place.path("etc/nlXTP.conf.replaced").exists(), "that is the administrator's");
}

#[test]
fn a_configuration_that_cannot_be_carried_over_stops_the_upgrade() {
    let place = with_tomato("nlxtp_dir=$HOME/x\n");
    let before = place.everything();
    let problem = place.run(Task::Upgrade, |_| ()).unwrap_err();
    assert!(problem.contains("/etc/nlXTP.conf, line 1"), "{problem}");
    assert_eq!(place.everything(), before);
}

#[test]
fn upgrading_nothing_and_packages_are_refused() {
    let place = Place::sysvinit();
    assert!(place.run(Task::Upgrade, |_| ()).unwrap_err().contains("install"));
    fs::create_dir_all(place.path("var/lib/dpkg/info")).unwrap();
    place.write(PACKAGE, "");
    assert!(place.run(Task::Install, |_| ()).unwrap_err().contains("apt"));
    let script = place.path("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    fs::remove_file(place.path(PACKAGE)).unwrap();
    assert!(place.run(Task::Install, |options| options.program = Some(script)).unwrap_err().contains("no program"));
}

#[test]
fn a_hostile_root_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("nlxtp.conf"), "nlxtp_mode=1\n").unwrap();
    for link in ["etc/init.d", "etc/rc2.d", "usr", "mnt"] {
        let place = Place::sysvinit();
        fs::remove_dir_all(place.path(link)).unwrap();
        symlink(outside.path(), place.path(link)).unwrap();
        // Whether it can be completed depends on the link; nothing may come to stand outside.
        let _ = place.run(Task::Install, |_| ());
        let _ = place.run(Task::Uninstall, |_| ());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "{link}");
    }
    for path in ["usr/local", "usr/local/sbin", "var"] {
        let place = Place::sysvinit();
        fs::create_dir_all(place.path(path)).unwrap();
        fs::remove_dir(place.path(path)).unwrap();
        symlink(outside.path(), place.path(path)).unwrap();
        let before = place.everything();
        let problem = place.run(Task::Install, |_| ()).unwrap_err();
        assert!(problem.starts_with(&format!("/{path} in ")) && problem.contains("out of this root"), "{problem}");
        assert_eq!(place.everything(), before, "nothing was begun");
    }
    let place = Place::sysvinit();
    place.write("usr/local", "");
    assert!(place.run(Task::Install, |_| ()).unwrap_err().contains("is no directory"));
    let place = Place::sysvinit();
    symlink(outside.path().join("nlxtp.conf"), place.path(CONFIGURATION)).unwrap();
    place.done(Task::Install);
    assert_eq!(place.read(CONFIGURATION), SHIPPED_CONFIGURATION, "the link was replaced");
    assert_eq!(fs::read(outside.path().join("nlxtp.conf")).unwrap(), b"nlxtp_mode=1\n");
}
