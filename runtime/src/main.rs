//! The deployed controller.
fn main() {}
