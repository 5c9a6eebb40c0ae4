//! The paper's tables, from demonstrations to figures beside the paper's.
//!
//! * [`paper`]: the tables and what the paper reports in them;
//! * [`report`]: our cells beside the paper's, as JSON and Markdown;
//! * [`codes`]: which modes get codes of their own, seed by seed;
//! * [`robustness`]: random actions, switched codes, and what λ_S does to either;
//! * [`pieces`]: the independent pieces of a reproduction, each made by itself;
//! * [`slurm`]: the pieces as array jobs of a cluster.
//!
//! [`reproduce`] and [`find_codes`](codes::find_codes) work through every task, algorithm and seed
//! of a [`Reproduction`]. Everything they make lies in one directory, and what is there already is not made
//! again:
//!
//! ```text
//! DIR/TASK/demos.safetensors         demonstrations (seed 0)
//! DIR/TASK/heldout.safetensors       demonstrations that are embedded in evaluation (seed 1), but
//!                                    for VAE-GAIL, which has codes for those it has learned from
//! DIR/TASK/ALGORITHM-SEED/           the run directory, policy.safetensors in it
//! DIR/TASK/ALGORITHM-SEED/evaluation.json
//! DIR/TASK/ALGORITHM-SEED/codes.json
//! DIR/TABLE.json, DIR/TABLE.md       the table so far
//! DIR/codes.json, DIR/codes.md       the codes found so far
//! DIR/robustness.json, .md, .png     the robustness so far
//! ```
//!
//! SOG-GAIL starts from the SOG-BC run of the same seed, GAIL from that of BC: the very policies
//! that they would clone themselves.

pub mod codes;
pub mod paper;
pub mod pieces;
pub mod report;
pub mod robustness;
pub mod slurm;
mod what;

pub use what::What;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use sog_rl::run::{Run, RunError, write_atomic};
use sog_runtime::policy::PolicyFile;
use sog_sim::{
    task::Modes,
    tasks::{TaskFolder, TaskMaker, TaskOptions},
};

use crate::{
    config::{Algorithm, Assignment, SogCodes, TrainConfig},
    data::{
        DataError, DemoFile, hex,
        record::{self, RecordOptions},
    },
    defaults::start_of,
    device::Compute,
    error::TrainError,
    evaluate::{
        measure::{Measures, Shown, default_rollouts, measure},
        modes::ModeOptions,
    },
    train::{CODES_FILE, Job, POLICY_FILE, read_codes, train},
};
use paper::{Figure, Quantity, Table};
use report::{Cell, Report};

/// Seeds of the demonstrations that are learned from, and of those held out for evaluation.
const DEMO_SEED: u64 = 0;
const HELD_OUT_SEED: u64 = 1;

/// Their files in a task's directory.
const DEMO_FILES: [&str; 2] = ["demos.safetensors", "heldout.safetensors"];

/// Most held-out episodes of a mode, or goals.
const HELD_OUT: usize = 100;

/// Name of the file with a run's evaluation.
const EVALUATION_FILE: &str = "evaluation.json";

/// Rough cost of a gradient step of cloning, of a step of an environment against a discriminator,
/// and of an evaluation, for the time left: only their ratios count.
const COST: [f64; 3] = [1.0, 0.15, 3000.0];

/// What to reproduce.
#[derive(Clone, Debug)]
pub struct Reproduction {
    /// Tasks.
    pub tasks: Vec<Arc<TaskFolder>>,
    /// Algorithms.
    pub algorithms: Vec<Algorithm>,
    /// Seeds 0, 1, … of each.
    pub seeds: u64,
    /// Factor on the length of training; 1 is the defaults.
    pub budget: f64,
    /// Whether codes are assigned by the smallest loss from the first update on, as in the paper;
    /// such runs lie in `ALGORITHM-plain-SEED`.
    pub plain: bool,
    /// λ_S of SOG-GAIL in place of the tuned one; such runs lie in `sog-gail-lambda-λ_S-SEED`.
    pub lambda_s: Option<f32>,
    /// Where everything goes.
    pub dir: PathBuf,
    /// Set to stop: training then ends with [`TrainError::Interrupted`].
    pub stop: Arc<AtomicBool>,
}

/// How one run turned out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Seed of the run.
    pub seed: u64,
    /// SHA-256 of the policy file.
    pub policy_sha256: String,
    /// Rollouts.
    pub rollouts: usize,
    /// Each quantity; the deviation is over rollouts.
    pub figures: BTreeMap<Quantity, Figure>,
    /// Mean return of each mode, where modes are discrete.
    pub per_mode: Vec<f64>,
}

/// `evaluation.json`: the result, and what no table holds, or it would be another on each machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Evaluated {
    #[serde(flatten)]
    result: RunResult,
    /// Wall-clock time of training, seconds, without that of the run it started from.
    train_s: f64,
}

/// How far a reproduction is, in units of rough cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Status<'a> {
    /// Work done since it was started.
    pub done: f64,
    /// Work in all since it was started.
    pub total: f64,
    /// What is being done, and how it goes.
    pub message: &'a str,
}

/// Told how far a reproduction is.
pub type StatusFn<'a> = &'a (dyn Fn(&Status<'_>) + Sync);

/// Makes what is missing of `plan` and returns the table, which is also written after each run.
///
/// # Errors
/// [`TrainError`]; what was finished before stays and is not made again.
pub fn reproduce(
    table: Table,
    plan: &Reproduction,
    status: StatusFn<'_>,
) -> Result<Report, TrainError> {
    let mut work = Work::new(plan, EVALUATION_FILE, status);
    let budget = plan.budget;
    let mut cells = vec![];
    for task in &plan.tasks {
        let data = work.data(task)?;
        let name = task.info().name();
        let mut of_task: Vec<Cell> =
            plan.algorithms.iter().map(|&a| Cell::new(table, name, a)).collect();
        let expert = Cell::expert(table, name, &data.demos.provenance.mean_return);
        for (algorithm, seed) in plan.runs() {
            let evaluation = work.evaluated(&data, algorithm, seed)?;
            if let Some(cell) = of_task.iter_mut().find(|c| c.algorithm == algorithm.name()) {
                cell.add(evaluation);
            }
            let so_far = cells.iter().chain(&of_task).cloned().chain([expert.clone()]).collect();
            Report { table, budget, cells: so_far }.save(&plan.dir)?;
        }
        cells.extend(of_task);
        cells.push(expert);
    }
    let report = Report { table, budget, cells };
    report.save(&plan.dir)?;
    Ok(report)
}

impl Reproduction {
    /// Every algorithm and seed, one seed of all algorithms after the other.
    fn runs(&self) -> impl Iterator<Item = (Algorithm, u64)> + use<'_> {
        (0..self.seeds).flat_map(|seed| self.algorithms.iter().map(move |&a| (a, seed)))
    }

    fn run_dir(&self, task: &TaskFolder, algorithm: Algorithm, seed: u64) -> PathBuf {
        let plain = if self.plain { "-plain" } else { "" };
        let lambda = match self.lambda_s {
            Some(lambda) if algorithm == Algorithm::SogGail => format!("-lambda-{lambda}"),
            _ => String::new(),
        };
        self.dir.join(task.info().name()).join(format!("{algorithm}{plain}{lambda}-{seed}"))
    }

    /// Choices of a run.
    fn config(
        &self,
        task: &TaskFolder,
        algorithm: Algorithm,
        seed: u64,
    ) -> Result<TrainConfig, TrainError> {
        let mut config = TrainConfig::defaults(task, algorithm)?;
        let scaled = |n: u64| ((n as f64 * self.budget).round() as u64).max(1);
        config.seed = seed;
        config.cloning.updates = scaled(config.cloning.updates);
        config.adversarial.total_steps = scaled(config.adversarial.total_steps);
        if self.plain {
            config.cloning.assignment = Assignment::Plain;
            config.sog_gail.codes = SogCodes::Searched;
        }
        // Not of the SOG-BC run that it starts from, which all share.
        if let (Some(lambda), Algorithm::SogGail) = (self.lambda_s, algorithm) {
            config.sog_gail.lambda_s = lambda;
        }
        Ok(config)
    }
}

/// Demonstrations and environments of a task.
struct TaskData {
    maker: TaskMaker,
    demos: DemoFile,
    held_out: DemoFile,
}

/// A reproduction under way.
struct Work<'a> {
    plan: &'a Reproduction,
    /// Name of what is made of each run: a run that has it is finished.
    result: &'static str,
    status: StatusFn<'a>,
    done: f64,
    total: f64,
}

impl<'a> Work<'a> {
    fn new(plan: &'a Reproduction, result: &'static str, status: StatusFn<'a>) -> Self {
        let mut work = Self { plan, result, status, done: 0.0, total: 0.0 };
        for task in &plan.tasks {
            for (algorithm, seed) in plan.runs() {
                work.total += work.cost(task, algorithm, seed);
            }
        }
        work
    }

    /// Work on one run alone.
    fn of_run(
        plan: &'a Reproduction,
        result: &'static str,
        status: StatusFn<'a>,
        (task, algorithm, seed): (&TaskFolder, Algorithm, u64),
    ) -> Self {
        let mut work = Self { plan, result, status, done: 0.0, total: 0.0 };
        work.total = work.cost(task, algorithm, seed);
        work
    }

    fn say(&self, message: &str) {
        (self.status)(&Status { done: self.done, total: self.total, message });
    }

    /// Rough cost of what is missing of a run.
    fn cost(&self, task: &TaskFolder, algorithm: Algorithm, seed: u64) -> f64 {
        let dir = self.plan.run_dir(task, algorithm, seed);
        if dir.join(self.result).exists() {
            return 0.0;
        }
        let [of_update, of_step, of_evaluation] = COST;
        let mut cost = of_evaluation;
        if !dir.join(POLICY_FILE).exists() {
            cost += self.training_cost(task, algorithm, seed, of_update, of_step);
        }
        cost
    }

    fn training_cost(
        &self,
        task: &TaskFolder,
        algorithm: Algorithm,
        seed: u64,
        of_update: f64,
        of_step: f64,
    ) -> f64 {
        // What is wrong with a folder is said when its turn comes.
        let Ok(config) = self.plan.config(task, algorithm, seed) else { return 0.0 };
        let adversarial = of_step * config.adversarial.total_steps as f64;
        let start = start_of(algorithm);
        // The start may be a run of its own that is planned, or there, already.
        let cloned = start.is_some_and(|start| {
            self.plan.algorithms.contains(&start)
                || self.plan.run_dir(task, start, seed).join(POLICY_FILE).exists()
        });
        let cloning = if cloned { 0.0 } else { of_update * config.cloning.updates as f64 };
        cloning + if algorithm.is_adversarial() { adversarial } else { 0.0 }
    }

    /// Demonstrations, recorded where there are none yet.
    fn data(&self, task: &Arc<TaskFolder>) -> Result<TaskData, TrainError> {
        let info = task.info();
        let maker = TaskMaker::of(task, &TaskOptions::default())?;
        let episodes = RecordOptions::of(task, 0).episodes_per_mode;
        let of = |name: &str, seed: u64, episodes_per_mode: usize| {
            let path = self.plan.dir.join(info.name()).join(name);
            if !path.exists() {
                self.say(&format!("{}: recording demonstrations", info.name()));
                make_parent(&path)?;
                let expert = record::expert_for(task, None)?;
                let options = RecordOptions { episodes_per_mode, ..RecordOptions::of(task, seed) };
                record::record(&maker, info, expert.as_ref(), &options, &|| ())?
                    .save(&path, info)?;
            }
            Ok::<_, TrainError>(DemoFile::load(&path, info)?)
        };
        let [demos, held_out] = DEMO_FILES;
        let demos = of(demos, DEMO_SEED, episodes)?;
        let held_out = of(held_out, HELD_OUT_SEED, episodes.min(HELD_OUT))?;
        Ok(TaskData { maker, demos, held_out })
    }

    /// The evaluation of a run: read, or made of the policy, which is trained where necessary.
    fn evaluated(
        &mut self,
        data: &TaskData,
        algorithm: Algorithm,
        seed: u64,
    ) -> Result<RunResult, TrainError> {
        let task = Arc::clone(data.maker.task());
        let what = format!("{} {algorithm}, seed {seed}", task.info().name());
        let cost = self.cost(&task, algorithm, seed);
        let before = self.done;
        let (file, sha256, train_s) = self.trained(data, algorithm, seed)?;
        let path = self.plan.run_dir(&task, algorithm, seed).join(EVALUATION_FILE);
        let known = read_result(&path).map(|e: Evaluated| e.result);
        if let Some(known) = known.filter(|result| result.policy_sha256 == sha256) {
            return Ok(known);
        }
        self.say(&format!("{what}: evaluating"));
        let options = ModeOptions { rollouts: default_rollouts(&task), ..ModeOptions::default() };
        let codes = match algorithm {
            // The encoder's, of the demonstrations that it has seen.
            Algorithm::VaeGail => {
                let shape = [data.demos.demonstrations.len(), file.latent_dim()];
                let dir = self.plan.run_dir(&task, algorithm, seed);
                Some(read_codes(&dir.join(CODES_FILE), shape)?)
            }
            _ => None,
        };
        let shown = match (&codes, &data.maker.info().modes) {
            (Some(codes), Modes::Discrete(_)) => {
                Shown { demos: &data.demos, codes: Some(codes.as_slice()) }
            }
            _ => Shown::from(&data.held_out),
        };
        let measures = measure(&data.maker, &file, Some(shown), &options, false, None)?;
        let evaluation = RunResult::new(&measures, seed, sha256);
        let file = Evaluated { result: evaluation.clone(), train_s };
        let json = serde_json::to_string_pretty(&file).unwrap_or_default();
        write_atomic(&path, json.as_bytes())?;
        self.done = before + cost;
        let figures = evaluation.figures.iter();
        let figures: Vec<String> =
            figures.map(|(q, f)| format!("{} {:.*}", q.label(), q.digits(), f.mean)).collect();
        self.say(&format!("{what}: {}", figures.join(", ")));
        Ok(evaluation)
    }

    /// The run in `dir`, as soon as no other process trains it: pieces that run side by side may need the
    /// same one to start from.
    fn run(&self, dir: &Path, config: &TrainConfig) -> Result<(Run, TrainConfig), TrainError> {
        let mut told = false;
        loop {
            match Run::create_or_resume(dir, config) {
                Err(RunError::Locked { .. }) if !self.plan.stop.load(Ordering::Relaxed) => {}
                opened => return Ok(opened?),
            }
            if !told {
                self.say(&format!("waiting for who trains {}", dir.display()));
                told = true;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// The policy of a run, its SHA-256, and how long training took, in seconds.
    fn trained(
        &mut self,
        data: &TaskData,
        algorithm: Algorithm,
        seed: u64,
    ) -> Result<(PolicyFile, String, f64), TrainError> {
        let task = Arc::clone(data.maker.task());
        let start = match start_of(algorithm) {
            Some(start) => Some(self.trained(data, start, seed)?),
            None => None,
        };
        let mut config = self.plan.config(&task, algorithm, seed)?;
        config.demos_sha256 = data.demos.demonstrations.sha256().to_string();
        if let Some((_, sha256, _)) = &start {
            config.start_sha256.clone_from(sha256);
        }
        let dir = self.plan.run_dir(&task, algorithm, seed);
        let (mut run, config) = self.run(&dir, &config)?;
        let path = dir.join(POLICY_FILE);
        if path.exists() {
            let bytes = read(&path)?;
            let known: Option<Evaluated> = read_result(&dir.join(EVALUATION_FILE));
            let train_s = known.map_or_else(|| run.wall_s(), |known| known.train_s);
            return Ok((PolicyFile::parse(&bytes)?, hex(&Sha256::digest(&bytes)), train_s));
        }
        let [of_update, of_step, _] = COST;
        let (before, started) = (self.done, Instant::now());
        let cost = match start {
            Some(_) => of_step * config.adversarial.total_steps as f64,
            None => self.training_cost(&task, algorithm, seed, of_update, of_step),
        };
        let (status, total) = (self.status, self.total);
        let steps = config.adversarial.total_steps;
        let progress = |done: u64, of: u64, message: &str| {
            let message = format!("{} {algorithm}, seed {seed}: {message}", task.info().name());
            // Cloning comes first where there is both.
            let (phase, share) = if !algorithm.is_adversarial() {
                (0.0, cost)
            } else if of == steps {
                let share = of_step * steps as f64;
                (cost - share, share)
            } else {
                (0.0, cost - of_step * steps as f64)
            };
            let done = before + phase + share * done as f64 / of.max(1) as f64;
            status(&Status { done, total, message: &message });
        };
        let stop = Arc::clone(&self.plan.stop);
        let job = Job {
            config: &config,
            task: data.maker.info(),
            env: Some(&data.maker),
            demos: &data.demos.demonstrations,
            start: start.as_ref().map(|(file, ..)| file),
            compute: &Compute::Engine,
            progress: &progress,
            interrupted: &|| stop.load(Ordering::Relaxed),
        };
        let file = train(&mut run, job)?;
        self.done = before + cost;
        log::debug!("{algorithm} took {:.1} s", started.elapsed().as_secs_f64());
        Ok((file, hex(&Sha256::digest(read(&path)?)), run.wall_s()))
    }
}

impl RunResult {
    fn new(measures: &Measures, seed: u64, policy_sha256: String) -> Self {
        let mut figures = BTreeMap::new();
        if let Some((mean, std)) = measures.task_return() {
            figures.insert(Quantity::Return, Figure { mean, std: Some(std) });
        }
        let goals = measures.goals.as_ref();
        for (quantity, value) in [
            (Quantity::EntropyNats, goals.and_then(|g| g.entropy_nats)),
            (Quantity::HitRate, goals.and_then(|g| g.hit_rate)),
            (Quantity::MutualInformationNats, goals.and_then(|g| g.mutual_information_nats)),
        ] {
            if let Some(mean) = value {
                figures.insert(quantity, Figure { mean, std: None });
            }
        }
        let modes = measures.modes.as_ref();
        let rollouts = modes.map(|m| m.rollouts).or(goals.map(|g| g.rollouts)).unwrap_or(0);
        let per_mode =
            modes.map_or_else(Vec::new, |m| m.per_mode.iter().map(|mode| mode.mean).collect());
        Self { seed, policy_sha256, rollouts, figures, per_mode }
    }
}

/// A result from before; `None` where there is none that can be read.
fn read_result<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    std::fs::read(path).map_err(|source| DataError::Io { path: path.to_path_buf(), source })
}

fn make_parent(path: &Path) -> Result<(), DataError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(parent)
        .map_err(|source| DataError::Io { path: parent.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use sog_sim::tasks;

    use super::*;

    fn plan(task: &str, dir: &Path) -> Reproduction {
        Reproduction {
            tasks: vec![tasks::open(task).unwrap()],
            algorithms: vec![],
            seeds: 1,
            budget: 1.0,
            plain: false,
            lambda_s: None,
            dir: dir.to_path_buf(),
            stop: Arc::default(),
        }
    }

    #[test]
    fn a_run_that_another_piece_trains_is_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        let plan = plan("circles", temp.path());
        let config = plan.config(&plan.tasks[0], Algorithm::Bc, 0).unwrap();
        let dir = temp.path().join("bc-0");
        let other = std::sync::Mutex::new(Some(Run::create(&dir, &config).unwrap()));
        let ends = |status: &Status<'_>| {
            assert_eq!(status.message, format!("waiting for who trains {}", dir.display()));
            *other.lock().unwrap() = None;
        };
        let work = Work::new(&plan, EVALUATION_FILE, &ends);
        work.run(&dir, &config).unwrap();
        assert!(other.lock().unwrap().is_none());
        // Who is told to stop does not wait.
        let _other = Run::resume::<TrainConfig>(&dir).unwrap();
        plan.stop.store(true, Ordering::Relaxed);
        let refused = work.run(&dir, &config).unwrap_err().to_string();
        assert!(refused.contains("in use by another process"), "{refused}");
    }

    #[test]
    fn lambda_s_is_that_of_sog_gail_alone_and_shares_its_start() {
        let usual = plan("ant-dir-6", Path::new("runs"));
        let other = Reproduction { lambda_s: Some(0.05), ..usual.clone() };
        let task = &usual.tasks[0];
        let config = |plan: &Reproduction, algorithm| plan.config(task, algorithm, 3).unwrap();
        assert_eq!(config(&usual, Algorithm::SogBc), config(&other, Algorithm::SogBc));
        assert_eq!(config(&other, Algorithm::SogGail).sog_gail.lambda_s, 0.05);
        let dir = |plan: &Reproduction, algorithm| plan.run_dir(task, algorithm, 3);
        assert_eq!(dir(&usual, Algorithm::SogBc), dir(&other, Algorithm::SogBc));
        assert_eq!(
            dir(&other, Algorithm::SogGail),
            Path::new("runs/ant-dir-6/sog-gail-lambda-0.05-3")
        );
    }
}
