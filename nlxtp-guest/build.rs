//! Keeps the static program small: a good part of it would be relocations, which a C library from
//! glibc 2.36 on takes in packed form. What it is linked with, it brings along, so the guest's matters
//! not.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let set = |name: &str| env::var(name).unwrap_or_default();
    let is_static = set("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    if is_static && set("CARGO_CFG_TARGET_ENV") == "gnu" && set("HOST") == set("TARGET") && has_glibc_2_36() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether this system's C library is known to be new enough: an older one starts no program that has
/// packed relocations.
fn has_glibc_2_36() -> bool {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().map(|output| output.stdout);
    let told = String::from_utf8(told.unwrap_or_default()).unwrap_or_default();
    let minor = told.trim().strip_prefix("glibc 2.").and_then(|minor| minor.parse::<u32>().ok());
    minor.is_some_and(|minor| minor >= 36)
}
