//! What a part of the check works with, and how it tells what it found: a line of JSON each.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{HowArgs, device::DeviceArg};
use crate::train::POLICY_FILE;

/// One thing that a part found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// What was looked at.
    pub(super) what: String,
    /// Whether it is as it should be, where that can be said.
    pub(super) good: Option<bool>,
    /// Numbers and words by column.
    #[serde(flatten)]
    pub(super) values: Map<String, Value>,
}

/// Where a part runs and what it may use.
pub(super) struct Place {
    pub(super) program: PathBuf,
    pub(super) out: PathBuf,
    pub(super) how: HowArgs,
    /// When the part is ended.
    pub(super) until: Instant,
}

impl Place {
    pub(super) fn device(&self) -> DeviceArg {
        self.how.device
    }

    pub(super) fn is_cuda(&self) -> bool {
        matches!(self.device(), DeviceArg::Cuda(_))
    }

    /// A file or directory of the check by its name.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.out.join("runs").join(name)
    }

    /// `small` in a quick check, else `usual`.
    pub(super) fn sized(&self, usual: u64, small: u64) -> u64 {
        if self.how.quick { small } else { usual }
    }

    /// Tells what was found.
    pub(super) fn tell(
        &self,
        what: &str,
        good: impl Into<Option<bool>>,
        values: &[(&str, Value)],
    ) -> Result<()> {
        let values = values.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
        let row = Row { what: what.to_string(), good: good.into(), values };
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{}", serde_json::to_string(&row)?)?;
        Ok(stdout.flush()?)
    }

    /// This program, to be started with a command of its own.
    pub(super) fn sog(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::null()).env("RUST_BACKTRACE", "0");
        if self.device() == DeviceArg::Candle {
            // candle hands products of a few rows to all threads, and then waits for them.
            command.env("RAYON_NUM_THREADS", "1");
        }
        command
    }

    /// `sog train` on the circles' demonstrations `demos`, into the run `run`; with seed 0, where no other is
    /// added.
    pub(super) fn train(&self, run: &Training<'_>) -> Command {
        let mut command = self.sog();
        command.args(["train", "--task", "circles", "--algo", run.algorithm]);
        command.arg("--demos").arg(self.path(run.demos)).arg("--out").arg(self.path(run.name));
        command.args(["--device", &run.device.to_string()]);
        run.settings.iter().for_each(|setting| {
            command.args(["--set", setting]);
        });
        command
    }

    /// Records demonstrations of circles, where that has not been done; their path.
    pub(super) fn demonstrations(&self, name: &str, episodes_per_mode: u64) -> Result<()> {
        let path = self.path(name);
        if !path.exists() {
            let mut command = self.sog();
            command.args(["demos", "record", "--task", "circles", "--seed", "1"]);
            command.args(["--episodes-per-mode", &episodes_per_mode.to_string(), "--out"]);
            succeed(command.arg(&path))?;
        }
        Ok(())
    }

    /// The bytes of a run's policy.
    pub(super) fn policy(&self, run: &str) -> Result<Vec<u8>> {
        let path = self.path(run).join(POLICY_FILE);
        std::fs::read(&path).with_context(|| path.display().to_string())
    }
}

/// A run of `sog train`.
#[derive(Clone, Copy)]
pub(super) struct Training<'a> {
    pub(super) name: &'a str,
    pub(super) algorithm: &'a str,
    pub(super) demos: &'a str,
    pub(super) device: DeviceArg,
    /// `KEY=VALUE`
    pub(super) settings: &'a [&'a str],
}

/// Runs a command that must succeed; how long it took in seconds, and what it printed.
pub(super) fn succeed(command: &mut Command) -> Result<(f64, Output)> {
    let start = Instant::now();
    let output = command.output().with_context(|| format!("could not start {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {}", output.status, said.trim());
    }
    Ok((start.elapsed().as_secs_f64(), output))
}

/// Checkpoints in a run's directory, oldest first.
pub(super) fn checkpoints(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir.join("checkpoints")).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    paths.sort();
    paths
}
