//! Seeds for the fuzz targets, out of the cases of the crates' own tests, which include this file.

extern crate std;

use std::path::Path;
use std::{env, fs};

/// Asserts that the seed `name` of the target is what the test has; `make seeds` writes it.
#[track_caller]
pub fn keep(target: &str, name: &str, seed: &[u8]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target).join(name);
    if env::var_os("NLXTP_WRITE_SEEDS").is_some() {
        fs::write(&file, seed).unwrap();
    }
    let kept = fs::read(&file).unwrap_or_default();
    assert!(kept == seed, "{} is not what this test has; write it with `make seeds`", file.display());
}
