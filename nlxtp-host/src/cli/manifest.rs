//! What an archive's manifest (`nlxtp.toml`) asks for its run, as it is told.

use rextfv_core::entry_path::displayable;
use rextfv_core::run_manifest::{Pattern, RunManifest};
use serde::Serialize;

use super::units::{show_duration, show_size};

/// What the manifest asks for; what it says nothing of is null or empty.
#[derive(Serialize)]
pub struct ManifestJson<'a> {
    start: &'a [String],
    timeout_ms: Option<u128>,
    user: Option<&'a str>,
    /// The names only: a value may be a secret.
    environment: Vec<&'a str>,
    stdout_limit: Option<u64>,
    stderr_limit: Option<u64>,
    keep: Vec<String>,
    delete: Vec<String>,
    digests: Option<bool>,
}

impl<'a> From<&'a RunManifest> for ManifestJson<'a> {
    fn from(manifest: &'a RunManifest) -> Self {
        Self {
            start: &manifest.start,
            timeout_ms: manifest.timeout.map(|timeout| timeout.as_millis()),
            user: manifest.user.as_deref(),
            environment: manifest.environment.iter().map(|(name, _)| name.as_str()).collect(),
            stdout_limit: manifest.stdout_limit,
            stderr_limit: manifest.stderr_limit,
            keep: paths(&manifest.keep),
            delete: paths(&manifest.delete),
            digests: manifest.digests,
        }
    }
}

fn paths(patterns: &[Pattern]) -> Vec<String> {
    patterns.iter().map(|pattern| pattern.parts().join("/")).collect()
}

/// Shows the keys that are given, one a line, in the manifest's own form and order.
pub fn show_manifest(manifest: &RunManifest) -> String {
    let list = |texts: &[String]| {
        let quoted: Vec<String> = texts.iter().map(|text| format!("\"{}\"", displayable(text.as_bytes()))).collect();
        (!texts.is_empty()).then(|| quoted.join(" "))
    };
    let names: Vec<&str> = manifest.environment.iter().map(|(name, _)| name.as_str()).collect();
    let lines = [
        ("start", list(&manifest.start)),
        ("timeout", manifest.timeout.map(show_duration)),
        ("stdout-limit", manifest.stdout_limit.map(show_size)),
        ("stderr-limit", manifest.stderr_limit.map(show_size)),
        ("user", manifest.user.clone()),
        ("keep", list(&paths(&manifest.keep))),
        ("delete", list(&paths(&manifest.delete))),
        ("digests", manifest.digests.map(|wanted| wanted.to_string())),
        ("environment", (!names.is_empty()).then(|| names.join(" "))),
    ];
    let mut text = String::from("manifest: nlxtp.toml\n");
    for (key, value) in lines {
        if let Some(value) = value {
            text.push_str(&format!("  {:<13} {value}\n", format!("{key}:")));
        }
    }
    text
}
