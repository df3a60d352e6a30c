//! Sequences of calls, checked as the fuzz target `c_calls` checks them: those that are its seeds, and as many
//! that a generator makes.

#[path = "../../fuzz/src/c_calls.rs"]
mod c_calls;
#[path = "../../fuzz/src/scratch.rs"]
#[allow(dead_code)]
mod scratch;
#[path = "../../fuzz/seed.rs"]
mod seed;

/// Opens the directory as node 0 and the disk as node 1.
const OPEN: [[u8; 3]; 2] = [[b'O', 0, 0], [b'O', 1, 1]];

/// How many of these calls must succeed is said, too: not all inputs may be failures.
fn keep(name: &str, succeed: usize, steps: &[[u8; 3]]) {
    let input = [&OPEN[..], steps].concat().concat();
    seed::keep("c_calls", name, &input);
    assert_eq!(c_calls::check(&input), OPEN.len() + succeed, "{name}");
}

#[test]
fn whole_cycles() {
    keep("cycle", 5, &[[b'U', 0, 0], [b'Q', 0, 0], [b'P', 0, 1], [b'D', 0, 0], [b'M', 0, 0], [b'W', 0, 0]]);
    keep("cycle-disk", 5, &[[b'U', 1, 0], [b'Q', 1, 0], [b'P', 1, 1], [b'E', 1, 2], [b'U', 1, 0], [b'?', 0, 3]]);
    keep("descriptors", 3, &[[b'F', 0, 0], [b'F', 1, 0], [b'F', 0, 1], [b'F', 0, 255], [b'Q', 0, 0]]);
}

#[test]
fn disks_and_journals() {
    keep(
        "disks",
        3,
        &[[b'K', 0, 0], [b'K', 1, 1], [b'U', 1, 0], [b'K', 0, 4], [b'?', 0, 8], [b'X', 0, 9], [b'K', 0, 3]],
    );
    let recorded = [[b'J', 0, 6], [b'X', 0, 0], [b'O', 0, 0], [b'X', 0, 10], [b'U', 0, 0], [b'D', 0, 16], [b'j', 0, 0]];
    keep("journals", 5, &[&recorded[..], &[[b'J', 1, 1], [b'J', 1, 2], [b'Q', 0x80, 9]]].concat());
}

#[test]
fn failures() {
    keep(
        "bad-archives",
        0,
        &[[b'U', 0, 1], [b'U', 1, 2], [b'U', 0, 3], [b'R', 0, 0x40], [b'R', 1, 0x80], [b'E', 0, 0xb0]],
    );
    keep(
        "cancelled",
        2,
        &[[b'C', 0, 0], [b'U', 0x42, 0x20], [b'!', 0, 6], [b'U', 0x42, 0], [b'D', 0x42, 0], [b'Q', 0, 0]],
    );
    keep("power", 2, &[[b'O', 2, 0xa8], [b'U', 2, 0], [b'Q', 2, 0], [b'X', 2, 0], [b'O', 2, 0x29], [b'U', 2, 0]]);
}

#[test]
fn handles() {
    keep(
        "wrong",
        1,
        &[[b'Q', 0, 0], [b'U', 0x81, 2], [b'Q', 0x81, 9], [b'D', 0x81, 7], [b'X', 0, 11], [b'?', 0, 0], [b'?', 0, 7]],
    );
    keep("freed", 1, &[[b'X', 0, 0], [b'U', 0, 0], [b'X', 0, 0], [b'Q', 0, 0], [b'X', 0, 7], [b'O', 0, 1]]);
}

#[test]
fn watchers() {
    let watch = [[b'w', 0, 200], [b'A', 0, 0], [b'A', 0, 1]];
    keep("watched", 8, &[&watch[..], &[[b'N', 0, 1], [b'N', 0, 1], [b'N', 0, 0], [b'Q', 0, 0], [b'U', 1, 0]]].concat());
    keep(
        "freed-node",
        6,
        &[&watch[..], &[[b'X', 0, 0], [b'N', 0, 1], [b'N', 0, 1], [b'O', 0, 1], [b'X', 0, 1]]].concat(),
    );
    keep(
        "freed-watcher",
        7,
        &[&watch[..], &[[b'Z', 0, 1], [b'X', 0, 1], [b'Q', 0, 0], [b'w', 1, 0], [b'A', 1, 0]]].concat(),
    );
}

/// Always the same ones, so that who breaks something is told at once; `make fuzz` finds others. As many as
/// `NLXTP_SEQUENCES` says.
#[test]
fn what_a_generator_makes() {
    let sequences = std::env::var("NLXTP_SEQUENCES").map_or(150, |number| number.parse().unwrap());
    let letters = b"OUFRQWMPDEKJjwAZNC!?X";
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        // Xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    for _ in 0..sequences {
        let mut input = OPEN.concat();
        for _ in 0..30 {
            input.extend([letters[usize::from(next()) % letters.len()], next(), next()]);
        }
        c_calls::check(&input);
    }
}
