//! `cargo xtask`: set-up and one-command entry points.

fn main() {}
