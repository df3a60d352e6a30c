//! Short names ("8.3") for the entries of a new directory.
//!
//! A name that is a short name in upper case is stored as it is. Every other
//! name is stored as a long name, also `lower.txt`: Windows NT's two bits for
//! lower case would save a slot, but not every guest knows them, while all
//! agree on long names. A long name needs a short one beside it. If only its
//! case keeps it from being one, that is its upper case; else it gets a
//! numeric tail (`LONGNA~1.TXT`).

use std::collections::{HashMap, HashSet};

use super::names::is_short_byte;
use super::slot::pieces;

/// A short name as it stands in its slot.
pub(super) type ShortName = [u8; 11];

/// Whether `name` needs a long name beside its short one.
pub(super) fn needs_long_name(name: &str) -> bool {
    exact(name).is_none() || name.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// The number of slots that an entry of this name takes in its directory.
pub(super) fn slots_for(name: &str) -> u32 {
    if !needs_long_name(name) {
        return 1;
    }
    let pieces = pieces(name.encode_utf16().count());
    u32::try_from(pieces).map_or(u32::MAX, |pieces| pieces.saturating_add(1))
}

/// Upper case of a name that is a short name but for its case.
fn exact(name: &str) -> Option<ShortName> {
    let (base, extension) = match name.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (name, ""),
    };
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3;
    if !fits || !base.bytes().chain(extension.bytes()).all(is_short_byte) {
        return None;
    }
    Some(join(base.as_bytes(), extension.as_bytes()))
}

fn join(base: &[u8], extension: &[u8]) -> ShortName {
    let mut short = [b' '; 11];
    let (left, right) = short.split_at_mut(8);
    for (to, from) in left.iter_mut().zip(base) {
        *to = from.to_ascii_uppercase();
    }
    for (to, from) in right.iter_mut().zip(extension) {
        *to = from.to_ascii_uppercase();
    }
    short
}

/// Short names for all the names of one directory, in their order. The names
/// must differ by more than case.
///
/// The time is linear in the number of names: each number is tried once for
/// each prefix, and is taken already only if one of the exact names has it.
pub(super) fn assign<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Vec<ShortName> {
    // Exact ones first: a generated name must not be in the way of a given.
    let mut taken: HashSet<ShortName> = names.clone().filter_map(exact).collect();
    let mut tails = Tails::default();
    names
        .map(|name| exact(name).unwrap_or_else(|| tails.generate(name, &mut taken)))
        .collect()
}

/// The next free number for each prefix with each extension. The prefix is
/// what the tail leaves of the base, so `ABCDEF~9` and `ABCDE~10` count apart.
#[derive(Default)]
struct Tails(HashMap<(Vec<u8>, Vec<u8>), u32>);

impl Tails {
    fn generate(&mut self, name: &str, taken: &mut HashSet<ShortName>) -> ShortName {
        let (base, extension) = basis(name);
        // A directory holds fewer than 10^5 long names, so that five digits
        // always do; six are what fits beside one letter.
        for digits in 1..=6u32 {
            let keep = 7 - digits as usize;
            let prefix = base.get(..keep).unwrap_or(&base);
            let first = 10u32.pow(digits - 1);
            let next = self
                .0
                .entry((prefix.to_vec(), extension.clone()))
                .or_insert(first);
            // A short base is its own prefix for several lengths of number.
            *next = (*next).max(first);
            while *next < first * 10 {
                let tail = format!("~{next}");
                *next += 1;
                let short = join(&[prefix, tail.as_bytes()].concat(), &extension);
                if taken.insert(short) {
                    return short;
                }
            }
        }
        // Not reachable with the names of one directory.
        join(&base, &extension)
    }
}

/// Base and extension of the short name that a long one resembles: no leading
/// dots, no spaces, the last dot divides, `_` for what a short name cannot
/// hold.
fn basis(name: &str) -> (Vec<u8>, Vec<u8>) {
    let name = name.trim_start_matches(['.', ' ']);
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let convert = |part: &str, len: usize| -> Vec<u8> {
        part.chars()
            .filter(|c| !matches!(c, ' ' | '.'))
            .map(|c| match u8::try_from(c) {
                Ok(byte) if is_short_byte(byte) => byte.to_ascii_uppercase(),
                _ => b'_',
            })
            .take(len)
            .collect()
    };
    let mut base = convert(base, 6);
    if base.is_empty() {
        base.push(b'_');
    }
    (base, convert(extension, 3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fat::names::decode_short;

    fn short(names: &[&str]) -> Vec<String> {
        assign(names.iter().copied())
            .iter()
            .map(|name| decode_short(name, 0))
            .collect()
    }

    #[test]
    fn exact_names_stay() {
        assert_eq!(
            short(&["A", "README.TXT", "lower.c", "Mixed.Case"]),
            ["A", "README.TXT", "LOWER.C", "MIXED~1.CAS"]
        );
        assert!(!needs_long_name("README.TXT"));
        assert!(needs_long_name("readme.txt"));
        for name in ["A.B.C", ".A", "A ", "A+B", "ÄB", "TOOLONGNAME", "A.LONG"] {
            assert!(needs_long_name(name), "{name}");
        }
        assert_eq!(slots_for("README"), 1);
        assert_eq!(slots_for("readme"), 2);
        assert_eq!(slots_for("auto_exec.sh"), 2);
        assert_eq!(slots_for(&"x".repeat(255)), 21);
    }

    #[test]
    fn tails_avoid_given_names() {
        assert_eq!(
            short(&[
                "longfile.txt1",
                "LONGFI~1.TXT",
                "longfi~2.txt",
                "longfile.txt2"
            ]),
            [
                "LONGFI~3.TXT",
                "LONGFI~1.TXT",
                "LONGFI~2.TXT",
                "LONGFI~4.TXT"
            ]
        );
    }

    #[test]
    fn odd_names_get_a_base() {
        assert_eq!(
            short(&[".bashrc", "日本.txt", " . x", "a.tar.gz", "+"]),
            ["BASHRC~1", "__~1.TXT", "X~1", "ATAR~1.GZ", "_~1"]
        );
    }

    #[test]
    fn many_names_of_one_prefix_differ() {
        let names: Vec<String> = (0..32_000)
            .map(|n| format!("common prefix {n}.data"))
            .collect();
        let all = assign(names.iter().map(String::as_str));
        let distinct: HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert_eq!(decode_short(&all[0], 0), "COMMON~1.DAT");
        assert_eq!(decode_short(&all[9], 0), "COMMO~10.DAT");
    }

    #[test]
    fn prefixes_that_grow_together_differ() {
        let names: Vec<String> = (0..20_000)
            .map(|n| format!("x{}{}.longer", n % 100, "y".repeat(n / 1000)))
            .enumerate()
            .map(|(n, name)| format!("{name}{n}"))
            .collect();
        let all = assign(names.iter().map(String::as_str));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), names.len());
    }
}
