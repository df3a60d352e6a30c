//! What the archive asks for its run: `nlxtp.toml` at the top of the shared directory.

#![forbid(unsafe_code)]

use std::io::Read;

use rextfv_core::layout::MANIFEST;
use rextfv_core::run_manifest::{MAX_MANIFEST_BYTES, RunManifest};

use crate::config::Config;
use crate::directory::Directory;
use crate::user::User;

/// What is to be obeyed.
#[derive(Debug, Default)]
pub struct Request {
    /// As the archive says it.
    pub manifest: RunManifest,
    /// The user that it names, as this system knows them.
    pub user: Option<User>,
}

impl Request {
    /// Reads it. Without a manifest, nothing is asked for.
    ///
    /// # Errors
    /// What keeps the manifest from being obeyed, in words: then nothing may be started, since it would
    /// be something else than was meant.
    pub fn read(shared: &Directory) -> Result<Self, String> {
        let refused = |why: &dyn std::fmt::Display| format!("{MANIFEST}: {why}; nothing was started");
        let file = shared.read_file(MANIFEST).map_err(|error| refused(&error))?;
        let Some(file) = file else { return Ok(Self::default()) };
        let mut bytes = Vec::new();
        // One byte more than is allowed tells that it is too long.
        file.take(MAX_MANIFEST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| refused(&error))?;
        let manifest = RunManifest::parse(&bytes).map_err(|problem| refused(&problem))?;
        let user = manifest.user.as_deref().map(User::find).transpose().map_err(|why| refused(&why))?;
        Ok(Self { manifest, user })
    }

    /// The configuration, with less where less is asked for: what the administrator allows is the most.
    pub fn limit(&self, config: &Config) -> Config {
        let timeouts = [self.manifest.timeout, config.run_timeout];
        let digests = config.digests && self.manifest.digests != Some(false);
        Config { run_timeout: timeouts.into_iter().flatten().min(), digests, ..config.clone() }
    }

    /// Bytes that are kept of standard output and of the error output.
    pub fn output_limits(&self, config: &Config) -> [u64; 2] {
        [self.manifest.stdout_limit, self.manifest.stderr_limit]
            .map(|limit| limit.map_or(config.output_limit, |limit| limit.min(config.output_limit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    fn read(dir: &tempfile::TempDir) -> Result<Request, String> {
        Request::read(&Directory::open(dir.path()).unwrap())
    }

    #[test]
    fn what_cannot_be_obeyed_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&dir).unwrap().manifest, RunManifest::default());
        let file = dir.path().join("nlxtp.toml");
        for (text, words) in [
            ("timeot = '1s'", "line 1, column 1: there is no key \"timeot\""),
            ("user = 'no-such-user'", "no user \"no-such-user\""),
            (&"#".repeat(70_000), "longer than 65536 bytes"),
        ] {
            fs::write(&file, text).unwrap();
            let told = read(&dir).unwrap_err();
            assert!(told.starts_with("nlxtp.toml: ") && told.contains(words), "{told}");
            assert!(told.ends_with("nothing was started"), "{told}");
        }
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
        assert!(read(&dir).unwrap_err().contains("nlxtp.toml: it is a symbolic link, which is not followed; nothing"));
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(read(&dir).unwrap_err().contains("not a regular file"));
    }

    #[test]
    fn the_administrator_has_the_last_word() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("nlxtp.toml"), "timeout = '10s'\nstdout-limit = 5\nstderr-limit = '1T'").unwrap();
        let request = read(&dir).unwrap();
        let mut config = Config { output_limit: 100, ..Config::default() };
        assert_eq!(request.output_limits(&config), [5, 100]);
        assert_eq!(request.limit(&config).run_timeout, Some(Duration::from_secs(10)));
        config.run_timeout = Some(Duration::from_secs(2));
        assert_eq!(request.limit(&config).run_timeout, Some(Duration::from_secs(2)));
        for (wanted, allowed, expected) in [
            ("", true, true),
            ("digests = true", true, true),
            ("digests = true", false, false),
            ("digests = false", true, false),
        ] {
            fs::write(dir.path().join("nlxtp.toml"), wanted).unwrap();
            config.digests = allowed;
            assert_eq!(read(&dir).unwrap().limit(&config).digests, expected, "{wanted} {allowed}");
        }
    }
}
