//! Build script: libmujoco is found as everywhere, and what is built in is watched.

#[path = "../build-support/rpath.rs"]
mod rpath;

fn main() {
    rpath::main();
    // New files too, which the compiler does not know of.
    println!("cargo::rerun-if-changed=../models/tasks");
    println!("cargo::rerun-if-changed=../models/robots");
}
