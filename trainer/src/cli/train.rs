//! `sog train`: one training run, or several that differ in their seeds.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::atomic::Ordering,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use sha2::{Digest, Sha256};
use sog_rl::run::{EVENTS_FILE, METRICS_FILE, Run, parse_config};
use sog_runtime::{
    os::files::Outputs,
    policy::{LatentKind, PolicyFile},
};
use sog_sim::task::{Modes, TaskInfo};

use super::{
    OpenTask, Outcome, cuda::device::DeviceArg, environments, interrupt::stop_on_signals,
    load_demos, load_policy, progress::Progress, task_parser,
};
use crate::{
    codes::separation::{Count, MOST_BETWEEN, Separation, count},
    config::{Algorithm, TrainConfig},
    data::{Demonstrations, hex},
    defaults::overlay,
    device::Compute,
    error::TrainError,
    export::network_of,
    figures::{self, codes::CountRow},
    normalise::ObsNormaliser,
    train::{
        BEST_FILE, CODES_FILE, Job, POLICY_FILE, PRETRAIN, ProgressFn, new_policy, train,
        train_together, why_not_together,
    },
};

/// What `--codes` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codes {
    /// This latent.
    Latent(LatentKind),
    /// As many one-hot codes as ways are found.
    Auto,
}

impl FromStr for Codes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let kind = text.parse::<usize>().map_or(text.to_string(), |k| format!("one-hot:{k}"));
        kind.parse().map(Self::Latent).map_err(|e: sog_runtime::policy::ParseKindError| {
            format!("found `{text}`, need a number of codes, `gaussian:D`, `none` or `auto` ({e})")
        })
    }
}

/// `A..B`, both among them, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seeds(Vec<u64>);

/// Where a run keeps its configuration.
const CONFIG_FILE: &str = "config.toml";

/// Most runs that one command does.
const MOST_SEEDS: u64 = 10_000;

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            let parsed = part.trim().parse::<u64>();
            parsed.map_err(|_| format!("found `{part}`, need seeds as `0..31` or `0,3,5`"))
        };
        let Some((first, last)) = text.split_once("..") else {
            let mut seeds = text.split(',').map(number).collect::<Result<Vec<u64>, _>>()?;
            seeds.sort_unstable();
            if let Some(pair) = seeds.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(format!("seed {} stands there twice", pair[0]));
            }
            return Ok(Self(seeds));
        };
        let (first, last) = (number(first)?, number(last)?);
        match last.checked_sub(first) {
            None => Err(format!("{first} is after {last}: the smaller seed comes first")),
            Some(more) if more >= MOST_SEEDS => {
                Err(format!("{first} to {last} are more than {MOST_SEEDS} runs"))
            }
            Some(_) => Ok(Self((first..=last).collect())),
        }
    }
}

#[derive(Args, Clone)]
pub(super) struct TrainArgs {
    /// The task: the name of a built-in one (see `sog tasks`), or the folder of your own
    #[arg(long, value_parser = task_parser())]
    task: OpenTask,
    /// bc, sog-bc, gail, sog-gail, infogail or vae-gail
    #[arg(long, value_parser = |s: &str| s.parse::<Algorithm>())]
    algo: Algorithm,
    /// Demonstration file
    #[arg(long, value_name = "FILE")]
    demos: PathBuf,
    /// Run directory; `policy.safetensors` is written there, and beside it `best.safetensors`, the
    /// best by the run's own measure
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Policy to start from, for the adversarial algorithms; they clone first otherwise
    #[arg(long, value_name = "FILE")]
    start: Option<PathBuf>,
    /// Continue the run in DIR from its last checkpoint, with its own configuration; `--set` may make
    /// it longer
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
    /// Several runs: seeds from A to B, or a list (`0..31`, `0,3,5`); that of seed N goes to DIR/seed-N. On
    /// a device bc and sog-bc are trained in all of them at once, else one run after the other
    #[arg(long, value_name = "A..B", conflicts_with = "seed")]
    seeds: Option<Seeds>,
    /// TOML file whose keys replace defaults; DIR/config.toml of another run is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The latent code: a number K of one-hot codes, `gaussian:D`, `none`, or `auto`, as many one-hot
    /// codes as the demonstrations have ways [default: the task's modes, else auto]
    #[arg(long, value_name = "K")]
    codes: Option<Codes>,
    /// Replaces one key, for instance `--set cloning.updates=10000`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(super) fn run(args: &TrainArgs) -> Result<Outcome> {
    let compute = args.device.open()?;
    let demos = load_demos(&args.demos, args.task.info())?.demonstrations;
    let Some(Seeds(seeds)) = &args.seeds else {
        return one(Plan::new(args, &demos, None)?, &compute, &demos);
    };
    let each: Vec<TrainArgs> = seeds
        .iter()
        .map(|seed| {
            let out = args.out.join(format!("seed-{seed}"));
            TrainArgs { seed: Some(*seed), seeds: None, out, ..args.clone() }
        })
        .collect();
    // One that was never begun has the settings of the others.
    let begun = each.iter().find(|each| each.resume && each.out.join(CONFIG_FILE).is_file());
    let like = begun.map(|begun| Run::config(&begun.out)).transpose()?;
    let plan = |args| of_seed(args, Plan::new(args, &demos, like.as_ref()));
    if matches!(compute, Compute::Candle(_)) && each.len() > 1 {
        let plans = each.iter().map(plan);
        let plans = plans.collect::<Result<Vec<_>>>()?;
        let configs: Vec<TrainConfig> = plans.iter().map(|plan| plan.config.clone()).collect();
        match why_not_together(&configs)? {
            None => return together(plans, &compute, &demos),
            Some(reason) => eprintln!("note: one run after the other: {reason}"),
        }
    }
    for (i, args) in each.iter().enumerate() {
        eprintln!("run {} of {}: {}", i + 1, each.len(), args.out.display());
        match of_seed(args, one(plan(args)?, &compute, &demos))? {
            Outcome::Good => {}
            other => return Ok(other),
        }
    }
    Ok(Outcome::Good)
}

/// Says whose `result` it is.
fn of_seed<T>(args: &TrainArgs, result: Result<T>) -> Result<T> {
    result.with_context(|| format!("the run with seed {}", args.seed.unwrap_or_default()))
}

fn one(plan: Plan<'_>, compute: &Compute, demos: &Demonstrations) -> Result<Outcome> {
    let args = plan.args;
    // Cloning needs no simulator, and no time to start one.
    let env = if args.algo.is_adversarial() { environments(&args.task)? } else { None };
    if args.algo.is_adversarial() && env.is_none() {
        return Err(TrainError::no_simulator(args.algo, args.task.info()).into());
    }
    let (mut run, config) = plan.open()?;
    let start = plan.start.as_ref();
    watched(args, "", |progress, interrupted| {
        let job = Job {
            config: &config,
            task: args.task.info(),
            env: env.as_ref(),
            demos,
            start,
            compute,
            progress,
            interrupted,
        };
        train(&mut run, job)?;
        said_to_be_written(&run);
        Ok(())
    })
}

/// All runs at once.
fn together(plans: Vec<Plan<'_>>, compute: &Compute, demos: &Demonstrations) -> Result<Outcome> {
    let Some(args) = plans.first().map(|plan| plan.args) else { return Ok(Outcome::Good) };
    // None begins where another cannot.
    for plan in
        plans.iter().filter(|plan| !plan.resumed && plan.args.out.join(CONFIG_FILE).exists())
    {
        of_seed(plan.args, plan.open().map(drop))?;
    }
    let (mut runs, mut configs) = (vec![], vec![]);
    for plan in &plans {
        let (run, config) = of_seed(plan.args, plan.open())?;
        runs.push(run);
        configs.push(config);
    }
    eprintln!("{} runs at once", runs.len());
    watched(args, &format!(", {} runs", runs.len()), |progress, interrupted| {
        let job = |config| Job {
            config,
            task: args.task.info(),
            env: None,
            demos,
            start: None,
            compute,
            progress,
            interrupted,
        };
        let jobs: Vec<Job<'_>> = configs.iter().map(job).collect();
        train_together(&mut runs, &jobs)?;
        runs.iter().for_each(said_to_be_written);
        Ok(())
    })
}

fn said_to_be_written(run: &Run) {
    println!("wrote {} after {:.1} s", run.dir().join(POLICY_FILE).display(), run.wall_s());
}

/// Trains with a bar of progress until it is done or a signal stops it.
fn watched(
    args: &TrainArgs,
    what: &str,
    train: impl FnOnce(ProgressFn<'_>, &(dyn Fn() -> bool + Sync)) -> Result<(), TrainError>,
) -> Result<Outcome> {
    let progress = Progress::new(&format!("{} on {}{what}", args.algo, args.task.info().name()), 1);
    let report = |done: u64, total: u64, message: &str| progress.set_of(done, total, message);
    let stop = stop_on_signals()?;
    let trained = train(&report, &|| stop.load(Ordering::Relaxed));
    progress.finish();
    if stop.load(Ordering::Relaxed)
        && let Err(error @ TrainError::Interrupted { .. }) = &trained
    {
        eprintln!("{error}");
        return Ok(Outcome::Interrupted);
    }
    trained?;
    Ok(Outcome::Good)
}

/// A run before it is opened.
struct Plan<'a> {
    args: &'a TrainArgs,
    config: TrainConfig,
    /// Whether there is a run to go on with.
    resumed: bool,
    /// The policy to start from.
    start: Option<PolicyFile>,
    /// How many ways were found, where that was asked.
    count: Option<Count>,
}

impl<'a> Plan<'a> {
    /// `like`: what a run has that is not begun yet, where others beside it are.
    fn new(
        args: &'a TrainArgs,
        demos: &Demonstrations,
        like: Option<&TrainConfig>,
    ) -> Result<Self> {
        // What a run has been started with it keeps; a directory without one begins one.
        let resumed = args.resume && args.out.join(CONFIG_FILE).is_file();
        let (base, count) = if resumed {
            (Run::config(&args.out)?, None)
        } else if let Some(like) = like {
            check_codes(args, like)?;
            (like.clone(), None)
        } else {
            let (latent, count) = latent(args, demos);
            (TrainConfig::defaults_with(&args.task, args.algo, latent)?, count)
        };
        let mut config = resolve(args, &base, demos.sha256())?;
        if resumed {
            check_codes(args, &base)?;
            check_length(&args.out, &base, &config)?;
        }
        let task = args.task.info();
        let start = args.start.as_ref().map(|path| load_start(path, task, &config)).transpose()?;
        if let Some((_, sha256)) = &start {
            config.start_sha256.clone_from(sha256);
        }
        if start.is_none() && !config.start_sha256.is_empty() {
            bail!(
                "the run in {} began with the policy of SHA-256 {}: name it again with --start",
                args.out.display(),
                config.start_sha256
            );
        }
        Ok(Self { args, config, resumed, start: start.map(|(file, _)| file), count })
    }

    /// Begins the run, or takes it up.
    fn open(&self) -> Result<(Run, TrainConfig)> {
        let Self { args, config, .. } = self;
        let inputs = [Some(&args.demos), args.start.as_ref(), args.config.as_ref()];
        let mut outputs = Outputs::new(true).reads_all(inputs.into_iter().flatten());
        for dir in [args.out.clone(), args.out.join(PRETRAIN)].iter().filter(|dir| dir.is_dir()) {
            let ours = [POLICY_FILE, BEST_FILE, CODES_FILE, METRICS_FILE, EVENTS_FILE];
            ours.iter().try_for_each(|name| outputs.claim(&dir.join(name)).map(drop))?;
        }
        if self.count.is_some() && args.out.is_dir() && !args.out.join(CONFIG_FILE).exists() {
            let mut outputs = Outputs::new(false);
            let pictures = ["png", "svg"].map(|kind| format!("{}.{kind}", figures::codes::NAME));
            pictures.iter().try_for_each(|name| outputs.claim(&args.out.join(name)).map(drop))?;
        }
        let opened = if self.resumed {
            Run::resume_with(&args.out, config, &config.extendable())?
        } else {
            let run = Run::create(&args.out, config)?;
            if args.resume {
                eprintln!("note: {} held no run to resume: one is begun there", args.out.display());
            }
            (run, config.clone())
        };
        if let Some(count) = &self.count {
            say(count, &args.out)?;
        }
        Ok(opened)
    }
}

/// The latent that is asked for; where ways have to be counted for it, what was found.
fn latent(args: &TrainArgs, demos: &Demonstrations) -> (Option<LatentKind>, Option<Count>) {
    let unknown = matches!(&args.task.info().modes, Modes::Discrete(modes) if modes.is_empty());
    match args.codes {
        Some(Codes::Latent(latent)) => (Some(latent), None),
        None if !unknown => (None, None),
        // Nothing to count for an algorithm without codes, or with those of an encoder.
        _ if !args.algo.is_conditioned() || args.algo == Algorithm::VaeGail => (None, None),
        None | Some(Codes::Auto) => {
            let count = count(demos, &ObsNormaliser::of(demos), args.seed.unwrap_or(0));
            (Some(LatentKind::OneHot(count.codes)), Some(count))
        }
    }
}

/// A run keeps its codes.
fn check_codes(args: &TrainArgs, stored: &TrainConfig) -> Result<()> {
    match args.codes {
        None => Ok(()),
        Some(Codes::Latent(latent)) if stored.latent()? == latent => Ok(()),
        Some(_) => bail!(
            "--codes: the run in {} has `{}`, and codes cannot change on the way: leave it out, or \
             begin another run",
            args.out.display(),
            stored.latent
        ),
    }
}

/// A run may be made longer, and shorter as far as it has not gone yet.
fn check_length(dir: &Path, stored: &TrainConfig, asked: &TrainConfig) -> Result<()> {
    let length = |config: &TrainConfig| match asked.algorithm.is_adversarial() {
        true => ("adversarial.total_steps", config.adversarial.total_steps),
        false => ("cloning.updates", config.cloning.updates),
    };
    let (key, asked) = length(asked);
    let done = Run::steps_done(dir)?;
    if asked < done && asked < length(stored).1 {
        bail!(
            "{key} = {asked}: the run in {} has done {done} already; ask for more, or leave it out",
            dir.display()
        );
    }
    Ok(())
}

/// Prints how many ways were found and why, and draws it in the run directory.
fn say(count: &Count, dir: &Path) -> Result<()> {
    println!("ways in the demonstrations: {}", count.codes);
    println!("{:>6} {:>15} {:>18}", "codes", "held-out loss", "between clusters");
    for row in &count.table {
        let chosen = if row.codes == count.codes { "  <- the most that keep apart" } else { "" };
        let between = 100.0 * row.between;
        println!("{:>6} {:>15.4} {between:>16.1} %{chosen}", row.codes, row.loss);
    }
    let row = |s: &Separation| CountRow { codes: s.codes, loss: s.loss, between: s.between };
    let rows: Vec<CountRow> = count.table.iter().map(row).collect();
    for path in figures::codes::draw(&rows, count.codes, MOST_BETWEEN, dir)? {
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// The policy to start from, with its SHA-256; its network must be the configured one.
fn load_start(path: &Path, task: &TaskInfo, config: &TrainConfig) -> Result<(PolicyFile, String)> {
    if !config.algorithm.is_adversarial() {
        bail!(
            "--start is for the adversarial algorithms; {} starts from scratch",
            config.algorithm
        );
    }
    let file = load_policy(path)?;
    let (found, needed) = (network_of(&file)?, new_policy(config, task, 0)?);
    if file.contract.task != config.task || found.arch() != needed.arch() {
        bail!(
            "{} holds a policy for {} of shape {:?}, need {} and {:?}",
            path.display(),
            file.contract.task,
            found.arch(),
            config.task,
            needed.arch()
        );
    }
    let sha256 = hex(&Sha256::digest(std::fs::read(path)?));
    Ok((file, sha256))
}

/// `base` (the defaults, or what a resumed run has), then the file, then `--set`, then `--seed`.
fn resolve(args: &TrainArgs, base: &TrainConfig, sha256: &str) -> Result<TrainConfig> {
    let mut table = toml::Table::try_from(base)?;
    if let Some(path) = &args.config {
        overlay(&mut table, read_table(path)?);
    }
    set_all(&mut table, &args.set, "cloning.updates=10000")?;
    let mut config: TrainConfig = parse_config(&toml::to_string(&table)?)?;
    config.task = args.task.info().name().to_string();
    config.algorithm = args.algo;
    config.demos_sha256 = sha256.to_string();
    // Another run's is no business of this one.
    config.start_sha256.clone_from(&base.start_sha256);
    if let Some(seed) = args.seed {
        config.seed = seed;
    }
    Ok(config)
}

/// Replaces the keys that `--set` names; `example` is what one looks like.
pub(super) fn set_all(
    table: &mut toml::Table,
    assignments: &[String],
    example: &str,
) -> Result<()> {
    for assignment in assignments {
        let Some((key, value)) = assignment.split_once('=') else {
            bail!("--set {assignment}: need KEY=VALUE, for instance {example}");
        };
        set(table, key.trim(), parse_value(value.trim()))?;
    }
    Ok(())
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
