//! Finds the compiler's static unwinder, so that `sog-run` needs no shared library but libc.
//!
//! Where there is none, the shared one (libgcc_s) is used, as in any other program.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CC");
    println!("cargo:rustc-check-cfg=cfg(static_unwinder)");
    let set = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let native = env::var("HOST") == env::var("TARGET");
    let gnu = set("CARGO_CFG_TARGET_OS", "linux") && set("CARGO_CFG_TARGET_ENV", "gnu");
    if !(native && gnu && env::var("CARGO_FEATURE_CLI").is_ok()) {
        return;
    }
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_string());
    let asked = Command::new(compiler).arg("-print-file-name=libgcc_eh.a").output();
    let Ok(answer) = asked else { return };
    let found = String::from_utf8_lossy(&answer.stdout);
    // A library that is not there is echoed without a folder.
    if let Some(folder) = Path::new(found.trim()).parent().filter(|f| f.is_absolute()) {
        println!("cargo:rustc-link-search=native={}", folder.display());
        println!("cargo:rustc-cfg=static_unwinder");
    }
}
