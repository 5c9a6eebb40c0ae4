//! The main job in two acts, through the public commands: from demonstrations to a policy in the
//! control loop on circles, and a committed policy of the ant, switched live.

mod ant;
mod circles;

use std::{fs, process::Command};

use anyhow::Context;
use serde_json::Value;

use crate::shell::{cargo, output, root, step, target_dir};

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seed of demonstrations and training.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Demonstrations recorded per mode.
    #[arg(long, default_value_t = 100)]
    episodes_per_mode: u32,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let dir = root().join("runs/demo");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    step(
        "build",
        // The whole workspace, so that its dependencies are compiled with the features that the
        // tests use too, and once.
        &mut cargo(&["build", "--release", "--workspace", "--bins"]),
    )?;
    circles::run(options, &dir)?;
    ant::run(&dir)
}

fn sog(args: &[&str]) -> Command {
    binary("sog", args)
}

fn sog_sim(args: &[&str]) -> Command {
    binary("sog-sim", args)
}

/// A binary that the build has left in the target directory.
fn binary(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(target_dir().join("release").join(name));
    command.args(args).current_dir(root());
    command
}

fn json(command: &mut Command) -> anyhow::Result<Value> {
    let out = output(command)?;
    serde_json::from_str(&out).with_context(|| format!("not JSON: {}", out.trim()))
}

fn number(value: &Value, what: &str) -> anyhow::Result<f64> {
    value.as_f64().with_context(|| format!("`{what}` is {value}, need a number"))
}
