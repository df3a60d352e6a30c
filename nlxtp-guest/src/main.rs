//! nlXTP guest program.
fn main() {}
