//! The `sog` command.

fn main() {}
