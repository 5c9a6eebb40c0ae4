//! Build script of every crate that links libmujoco: binaries and tests find the library that
//! `cargo xtask setup` installed without environment variables.

pub(crate) fn main() {
    println!("cargo::rerun-if-env-changed=MUJOCO_DYNAMIC_LINK_DIR");
    if let Ok(dir) = std::env::var("MUJOCO_DYNAMIC_LINK_DIR") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{dir}");
    }
}
