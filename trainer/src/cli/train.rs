//! `sog train`: one training run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use sha2::{Digest, Sha256};
use sog_rl::run::{Run, parse_config};
use sog_runtime::policy::PolicyFile;
use sog_sim::{
    task::TaskInfo,
    tasks::{TaskMaker, TaskOptions},
};

use super::{Outcome, cuda::device::DeviceArg, load_policy, parse_task, progress::Progress};
use crate::{
    config::{Algorithm, TrainConfig},
    data::{DemoFile, hex},
    export::network_of,
    train::{Job, POLICY_FILE, new_policy, train},
    tuned::overlay,
};

#[derive(Args)]
pub(super) struct TrainArgs {
    /// The task (see `sog tasks`)
    #[arg(long, value_parser = parse_task)]
    task: TaskInfo,
    /// bc, sog-bc, gail, sog-gail, infogail or vae-gail
    #[arg(long, value_parser = |s: &str| s.parse::<Algorithm>())]
    algo: Algorithm,
    /// Demonstration file
    #[arg(long, value_name = "FILE")]
    demos: PathBuf,
    /// Run directory; `policy.safetensors` is written there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Policy to start from, for the adversarial algorithms; they clone first otherwise
    #[arg(long, value_name = "FILE")]
    start: Option<PathBuf>,
    /// Continue the run in DIR from its last checkpoint
    #[arg(long)]
    resume: bool,
    /// Where to train: cpu (the fused engine), cuda or cuda:N (an NVIDIA device, an error without
    /// one), auto (a CUDA device where there is one), candle (what runs on CUDA, on the processor:
    /// slow, for checking)
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Seed of everything random
    #[arg(long)]
    seed: Option<u64>,
    /// TOML file whose keys replace defaults; DIR/config.toml of another run is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replaces one key, for instance `--set cloning.updates=10000`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(super) fn run(args: &TrainArgs) -> Result<Outcome> {
    let compute = args.device.open()?;
    let demos = DemoFile::load(&args.demos, &args.task)
        .with_context(|| format!("{} is refused", args.demos.display()))?
        .demonstrations;
    let mut config = resolve(args, demos.sha256())?;
    let start = args.start.as_ref().map(|path| load_start(path, &config)).transpose()?;
    if let Some((_, sha256)) = &start {
        config.start_sha256.clone_from(sha256);
    }
    let start = start.as_ref().map(|(file, _)| file);
    let (mut run, config) = if args.resume {
        Run::create_or_resume(&args.out, &config)?
    } else {
        (Run::create(&args.out, &config)?, config)
    };
    let progress = Progress::new(&format!("{} on {}", args.algo, args.task.name()), 1);
    let report = |done: u64, total: u64, message: &str| progress.set_of(done, total, message);
    let maker = TaskMaker::new(args.task.id(), &TaskOptions::default())?;
    let job = Job {
        config: &config,
        maker: &maker,
        demos: &demos,
        start,
        compute: &compute,
        progress: &report,
    };
    train(&mut run, job)?;
    progress.finish();
    println!("wrote {} after {:.1} s", args.out.join(POLICY_FILE).display(), run.wall_s());
    Ok(Outcome::Good)
}

/// The policy to start from, with its SHA-256; its network must be the configured one.
fn load_start(path: &Path, config: &TrainConfig) -> Result<(PolicyFile, String)> {
    if !config.algorithm.is_adversarial() {
        bail!(
            "--start is for the adversarial algorithms; {} starts from scratch",
            config.algorithm
        );
    }
    let (file, task) = load_policy(path)?;
    let (found, needed) = (network_of(&file)?, new_policy(config, &task, 0)?);
    if task.name() != config.task || found.arch() != needed.arch() {
        bail!(
            "{} holds a policy for {} of shape {:?}, need {} and {:?}",
            path.display(),
            task.name(),
            found.arch(),
            config.task,
            needed.arch()
        );
    }
    let sha256 = hex(&Sha256::digest(std::fs::read(path)?));
    Ok((file, sha256))
}

/// Defaults, then the file, then `--set`, then `--seed`.
fn resolve(args: &TrainArgs, sha256: &str) -> Result<TrainConfig> {
    let mut table = toml::Table::try_from(TrainConfig::defaults(&args.task, args.algo))?;
    if let Some(path) = &args.config {
        overlay(&mut table, read_table(path)?);
    }
    for assignment in &args.set {
        let Some((key, value)) = assignment.split_once('=') else {
            bail!("--set {assignment}: need KEY=VALUE, for instance cloning.updates=10000");
        };
        set(&mut table, key.trim(), parse_value(value.trim()))?;
    }
    let mut config: TrainConfig = parse_config(&toml::to_string(&table)?)?;
    config.task = args.task.name().to_string();
    config.algorithm = args.algo;
    config.demos_sha256 = sha256.to_string();
    if let Some(seed) = args.seed {
        config.seed = seed;
    }
    Ok(config)
}

fn read_table(path: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", path.display()))
}

/// `value` as TOML, or as a string where it is none (`--set cloning.assignment=plain`).
fn parse_value(value: &str) -> toml::Value {
    let parsed = format!("v = {value}").parse::<toml::Table>();
    parsed
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_string()))
}

fn set(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<()> {
    let (mut at, mut rest) = (table, key);
    while let Some((first, more)) = rest.split_once('.') {
        at = match at.get_mut(first) {
            Some(toml::Value::Table(inner)) => inner,
            _ => bail!("--set {key}: there is no table `{first}`"),
        };
        rest = more;
    }
    // Whole numbers are welcome where a fraction is expected.
    let value = match (at.get(rest), value) {
        (Some(toml::Value::Float(_)), toml::Value::Integer(i)) => toml::Value::Float(i as f64),
        (_, value) => value,
    };
    at.insert(rest.to_string(), value);
    Ok(())
}
