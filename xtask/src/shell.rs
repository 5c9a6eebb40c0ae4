//! Running other programs from the workspace root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

/// Root of the workspace: where cargo says that xtask lies now, not where it was built, else the
/// directory here or above that holds xtask.
pub(crate) fn root() -> PathBuf {
    let told = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    root_of(told.as_deref(), &std::env::current_dir().unwrap_or_default())
}

/// [`root`] where cargo says that xtask lies in `told`, from the directory `here`.
fn root_of(told: Option<&Path>, here: &Path) -> PathBuf {
    let above = || here.ancestors().find(|dir| dir.join("xtask/Cargo.toml").is_file());
    told.and_then(Path::parent).or_else(above).unwrap_or(here).to_path_buf()
}

/// Where cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// `cargo` with these arguments, in the workspace root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// Says what is done, does it with the output passed through, and says how long it took.
pub(crate) fn step(what: &str, command: &mut Command) -> anyhow::Result<()> {
    println!("\n== {what}");
    let start = Instant::now();
    let status = command.status().with_context(|| format!("could not start {command:?}"))?;
    if !status.success() {
        bail!("{what}: {command:?} ended with {status}");
    }
    println!("== {what}: done in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Standard output of a command that must succeed; its standard error is passed through.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let out = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("could not start {command:?}"))?;
    if !out.status.success() {
        bail!("{command:?} ended with {}", out.status);
    }
    String::from_utf8(out.stdout).context("output is not UTF-8")
}

/// SHA-256 of a file, in hexadecimal digits.
pub(crate) fn sha256(file: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkout that was moved after xtask was built is set up where it is.
    #[test]
    fn the_root_is_where_the_checkout_is_now() {
        let built = Path::new(env!("CARGO_MANIFEST_DIR"));
        let checkout = built.parent().unwrap();
        let moved = Path::new("/moved/sog");
        assert_eq!(root_of(Some(&moved.join("xtask")), checkout), moved);
        assert_eq!(root_of(None, &checkout.join("sim/src")), checkout);
        assert_eq!(root_of(None, Path::new("/nowhere")), Path::new("/nowhere"));
    }
}
