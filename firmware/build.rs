//! The memory of each program's board; the policy that is put into flash, and what it needs.

use std::{env, fs, path::PathBuf};

use sog_core::policy::Policy;

/// Board and program: an STM32F405 (netduinoplus2 in QEMU), and Arm's MPS2 board with the image of
/// a Cortex-M4 (mps2-an386).
const BOARDS: [(&str, &str); 2] = [
    (
        "golden",
        "FLASH : ORIGIN = 0x08000000, LENGTH = 1M\n  RAM : ORIGIN = 0x20000000, LENGTH = 128K",
    ),
    ("robot", "FLASH : ORIGIN = 0x00000000, LENGTH = 4M\n  RAM : ORIGIN = 0x20000000, LENGTH = 4M"),
];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for (program, regions) in BOARDS {
        let folder = out.join(program);
        fs::create_dir_all(&folder).expect("OUT_DIR can be written to");
        let memory = format!("MEMORY\n{{\n  {regions}\n}}\n");
        fs::write(folder.join("memory.x"), memory).expect("OUT_DIR can be written to");
        println!("cargo:rustc-link-arg-bin={program}=-L{}", folder.display());
        println!("cargo:rustc-link-arg-bin={program}=-Tlink.x");
    }
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let policy = env::var("SOG_POLICY")
        .unwrap_or_else(|_| format!("{root}/../models/policies/ant-dir-6-sog-bc.safetensors"));
    let bytes = fs::read(&policy).unwrap_or_else(|error| panic!("{policy}: {error}"));
    let view = Policy::read(&bytes).unwrap_or_else(|error| panic!("{policy}: {error}"));
    let sizes = [
        ("SCRATCH", "Numbers of scratch memory", view.scratch_len()),
        ("OBSERVATION", "Width of an observation", view.obs_dim()),
        ("CODE", "Width of a code", view.latent_dim()),
        ("ACTION", "Width of an action", view.action_dim()),
    ];
    let line = |(name, what, size)| format!("/// {what}.\npub const {name}: usize = {size};\n");
    let text: String = sizes.map(line).concat();
    fs::write(out.join("sizes.rs"), text).expect("OUT_DIR can be written to");
    println!("cargo:rustc-env=SOG_POLICY={policy}");
    println!("cargo:rerun-if-env-changed=SOG_POLICY");
    println!("cargo:rerun-if-changed={policy}");
    println!("cargo:rerun-if-changed=build.rs");
}
