//! Every check that CI runs, in the order in which they are cheap.

use crate::{
    cross, cuda, example, firmware, notice, robot,
    shell::{cargo, root, step},
    slurm,
};

pub(crate) fn run() -> anyhow::Result<()> {
    step("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    notice::check()?;
    no_std()?;
    step(
        "lints",
        &mut cargo(&[
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    step(
        "documentation",
        cargo(&["doc", "--release", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    step("tests", &mut cargo(&["test", "--release", "--workspace", "--no-fail-fast"]))?;
    example::run()?;
    robot::run()?;
    slurm::check()?;
    firmware::check()?;
    cross::check()?;
    cuda::check()
}

/// A library without std, with its own panic handler, does not link if anything brings std in.
fn no_std() -> anyhow::Result<()> {
    let manifest = root().join("tests/no-std/Cargo.toml");
    step(
        "runtime without std",
        cargo(&["build", "--release", "--quiet", "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(root().join("target/no-std")),
    )
}
