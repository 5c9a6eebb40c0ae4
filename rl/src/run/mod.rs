//! A run directory: configuration, metrics and checkpoints of one training run.
//!
//! ```text
//! DIR/config.toml                           the resolved configuration
//! DIR/metrics.jsonl                         one JSON object a line: step, wall_s, named numbers
//! DIR/events.out.tfevents.0.sog             the same for TensorBoard
//! DIR/checkpoints/000000004096.safetensors  the state after 4096 steps; the newest two are kept,
//!                                           and the best by the run's own measure
//! DIR/lock                                  held by the process that writes here
//! ```
//!
//! Everything that is replaced is replaced atomically (temporary file, fsync, rename, fsync of the
//! directory), and a checkpoint holds the lengths of the metric files at its moment: a kill at any
//! instant leaves a run that [`Run::resume`] takes up at its last checkpoint, bit for bit as if it
//! had never stopped.
//!
//! What an algorithm has to do is say what its state is ([`Checkpoint`]) and what its
//! configuration may be ([`Config`]):
//!
//! ```
//! use sog_rl::run::{Checkpoint, Config, ConfigError, Run, Snapshot, SnapshotError, within};
//!
//! #[derive(Clone, serde::Serialize, serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings { learning_rate: f64, steps: u64 }
//! impl Config for Settings {
//!     fn check(&self) -> Result<(), ConfigError> {
//!         within("learning_rate", self.learning_rate, 0.0..=1.0)
//!     }
//! }
//!
//! struct Learner { weights: Vec<f32>, step: u64 }
//! impl Checkpoint for Learner {
//!     fn save(&self, to: &mut Snapshot) {
//!         to.f32s("weights", &[self.weights.len()], &self.weights);
//!         to.state("step", &self.step);
//!     }
//!     fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
//!         from.read_f32s("weights", &mut self.weights)?;
//!         self.step = from.read_state("step")?;
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = std::env::temp_dir().join(format!("sog-run-doc-{}", std::process::id()));
//! let settings = Settings { learning_rate: 0.5, steps: 4 };
//! let (mut run, settings) = Run::create_or_resume(&dir, &settings)?;
//! let mut learner = Learner { weights: vec![1.0; 3], step: 0 };
//! run.restore(&mut learner)?;
//! while learner.step < settings.steps {
//!     learner.weights.iter_mut().for_each(|w| *w *= 1.0 - settings.learning_rate as f32);
//!     learner.step += 1;
//!     run.log(learner.step, &[("loss", f64::from(learner.weights[0]))])?;
//!     run.checkpoint(learner.step, &learner)?;
//! }
//! # drop(run);
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok(()) }
//! ```

mod config;
mod files;
mod metrics;
mod snapshot;
mod tensorboard;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

pub use config::{Config, ConfigError, parse_config, read_config, within};
pub use files::write_atomic;
pub use metrics::{EVENTS_FILE, METRICS_FILE};
pub use snapshot::{Checkpoint, Snapshot, SnapshotError};

use files::Lock;
use metrics::{MetricFiles, MetricLengths};

/// How many checkpoints are kept: the last good one and the one before.
const KEPT: usize = 2;

/// Snapshot entry of the run's own state.
const RUN_STATE: &str = "run";

/// Why a run cannot be opened, written or resumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another process writes this run.
    #[error("{} is in use by another process; wait for it or choose another directory", dir.display())]
    Locked {
        /// The run directory.
        dir: PathBuf,
    },
    /// A new run was asked for where there is one.
    #[error("{} already holds a run; resume it or choose another directory", dir.display())]
    Exists {
        /// The run directory.
        dir: PathBuf,
    },
    /// A file is there that the run would write over.
    #[error(
        "{} is there and is of no run that could be taken up (there is no config.toml, or it is no \
         checkpoint): move it away, or choose another directory", path.display()
    )]
    InTheWay {
        /// The file.
        path: PathBuf,
    },
    /// There is no run to resume.
    #[error("{} holds no run (no config.toml); start one there without resuming", dir.display())]
    NotARun {
        /// The run directory.
        dir: PathBuf,
    },
    /// The configuration is not acceptable.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file, or a name for where it came from.
        path: PathBuf,
        /// Which key and why.
        source: ConfigError,
    },
    /// The run was started with another configuration.
    #[error(
        "{}: the run has `{key}` = {stored}, now asked for is {given}; \
         resume with the run's own value or start a new run", dir.display()
    )]
    ConfigDiffers {
        /// The run directory.
        dir: PathBuf,
        /// First key that differs.
        key: String,
        /// Value in the run's `config.toml`.
        stored: String,
        /// Value asked for.
        given: String,
    },
    /// A checkpoint is damaged or does not fit the algorithm.
    #[error("checkpoint {} cannot be used ({source}){}", path.display(), fallback(older.as_deref()))]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The checkpoint before it, if there is one.
        older: Option<PathBuf>,
        /// What is wrong.
        source: SnapshotError,
    },
    /// A metric file lost lines that were there at the checkpoint.
    #[error(
        "{} has {found} bytes, at the checkpoint it had {needed}: it was cut or replaced; \
         restore it, or delete it together with the checkpoints and start again", path.display()
    )]
    Metrics {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// Its length at the checkpoint.
        needed: u64,
    },
}

fn fallback(older: Option<&Path>) -> String {
    match older {
        Some(path) => format!("; delete it to resume from {}", path.display()),
        None => "; there is no older one, start a new run".to_string(),
    }
}

impl RunError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

/// What a checkpoint remembers for the run itself.
#[derive(serde::Serialize, serde::Deserialize)]
struct RunState {
    step: u64,
    wall_s: f64,
    metrics: MetricLengths,
    /// The best checkpoint so far, where checkpoints are scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best: Option<Best>,
}

/// The checkpoint with the largest score.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Best {
    /// Steps done by then.
    pub step: u64,
    /// Its score; larger is better.
    pub score: f64,
}

/// An open run; dropping it releases the directory.
#[derive(Debug)]
pub struct Run {
    dir: PathBuf,
    metrics: MetricFiles,
    best: Option<Best>,
    wall_before_s: f64,
    opened: Instant,
    _lock: Lock,
}

impl Run {
    /// Starts a run in a directory that holds none; the directory is created where necessary.
    ///
    /// # Errors
    /// [`RunError::Exists`], [`RunError::InTheWay`], [`RunError::Locked`], [`RunError::Config`],
    /// [`RunError::Io`].
    pub fn create<C: Config>(dir: &Path, config: &C) -> Result<Self, RunError> {
        let path = dir.join("config.toml");
        config.check().map_err(|source| RunError::Config { path: path.clone(), source })?;
        let checkpoints = dir.join("checkpoints");
        std::fs::create_dir_all(&checkpoints).map_err(RunError::io("create", &checkpoints))?;
        let lock = Lock::take(dir)?;
        if path.exists() {
            return Err(RunError::Exists { dir: dir.to_path_buf() });
        }
        if let Some(path) = files::in_the_way(dir) {
            return Err(RunError::InTheWay { path });
        }
        let run = Self::with(dir, lock)?;
        run.reconfigure(config)?;
        Ok(run)
    }

    /// Takes up the run in a directory; [`restore`](Self::restore) then loads its state.
    ///
    /// # Errors
    /// [`RunError::NotARun`], [`RunError::Locked`], [`RunError::Config`], [`RunError::Io`].
    pub fn resume<C: Config>(dir: &Path) -> Result<(Self, C), RunError> {
        let path = dir.join("config.toml");
        if !path.is_file() {
            return Err(RunError::NotARun { dir: dir.to_path_buf() });
        }
        let lock = Lock::take(dir)?;
        let config = read_config(&path)?;
        let checkpoints = dir.join("checkpoints");
        std::fs::create_dir_all(&checkpoints).map_err(RunError::io("create", &checkpoints))?;
        Ok((Self::with(dir, lock)?, config))
    }

    /// [`resume`](Self::resume) where there is a run, [`create`](Self::create) where there is
    /// none: what a job that may be killed at any instant is restarted with.
    ///
    /// # Errors
    /// [`RunError::ConfigDiffers`] if the run that is there has another configuration; else as
    /// the two.
    pub fn create_or_resume<C: Config>(dir: &Path, config: &C) -> Result<(Self, C), RunError> {
        if !dir.join("config.toml").is_file() {
            return Ok((Self::create(dir, config)?, config.clone()));
        }
        Self::resume_with(dir, config, &[])
    }

    /// [`resume`](Self::resume) with `config`, which may differ from the run's in the keys `free`
    /// (budgets, intervals): it replaces the run's then.
    ///
    /// # Errors
    /// [`RunError::ConfigDiffers`] naming the first other key that differs; as
    /// [`resume`](Self::resume).
    pub fn resume_with<C: Config>(
        dir: &Path,
        config: &C,
        free: &[&str],
    ) -> Result<(Self, C), RunError> {
        let (run, stored) = Self::resume::<C>(dir)?;
        let mut differences = config::differences(&stored, config);
        if differences.is_empty() {
            return Ok((run, stored));
        }
        differences.retain(|d| !free.contains(&d.key.as_str()));
        if let Some(config::Difference { key, stored, given }) = differences.into_iter().next() {
            return Err(RunError::ConfigDiffers { dir: dir.to_path_buf(), key, stored, given });
        }
        run.reconfigure(config)?;
        Ok((run, config.clone()))
    }

    fn with(dir: &Path, lock: Lock) -> Result<Self, RunError> {
        log::debug!("{}: opened", dir.display());
        files::remove_temporary(dir)?;
        files::remove_temporary(&dir.join("checkpoints"))?;
        Ok(Self {
            dir: dir.to_path_buf(),
            metrics: MetricFiles::open(dir)?,
            best: None,
            wall_before_s: 0.0,
            opened: Instant::now(),
            _lock: lock,
        })
    }

    /// The run directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Wall time of training so far in seconds, all sittings together.
    pub fn wall_s(&self) -> f64 {
        self.wall_before_s + self.opened.elapsed().as_secs_f64()
    }

    /// Replaces the configuration, for the few keys that may change between sittings (a budget).
    ///
    /// # Errors
    /// [`RunError::Config`] if it does not pass its own check; [`RunError::Io`].
    pub fn reconfigure<C: Config>(&self, config: &C) -> Result<(), RunError> {
        let path = self.dir.join("config.toml");
        let text = config::to_toml(config)
            .map_err(|source| RunError::Config { path: path.clone(), source })?;
        write_atomic(&path, text.as_bytes())
    }

    /// Loads the newest checkpoint into `state`, cuts the metrics back to its moment, and returns
    /// its step; without a checkpoint `state` is left alone, the metrics start empty, and the
    /// result is `None`. Call it once, before the first [`log`](Self::log).
    ///
    /// # Errors
    /// [`RunError::Checkpoint`] if the newest checkpoint is damaged or does not fit `state`;
    /// nothing is deleted or cut then.
    pub fn restore(&mut self, state: &mut impl Checkpoint) -> Result<Option<u64>, RunError> {
        let dir = self.dir.join("checkpoints");
        let mut checkpoints = files::checkpoints(&dir)?;
        let Some(path) = checkpoints.pop() else {
            self.metrics.truncate(&MetricLengths::default())?;
            return Ok(None);
        };
        let bytes = std::fs::read(&path).map_err(RunError::io("read", &path))?;
        let mut load = || -> Result<RunState, SnapshotError> {
            let snapshot = Snapshot::parse(&bytes)?;
            let own: RunState = snapshot.read_state(RUN_STATE)?;
            state.load(&snapshot.nested("state"))?;
            Ok(own)
        };
        let older = checkpoints.pop();
        let own = load().map_err(|source| RunError::Checkpoint { path, older, source })?;
        self.metrics.truncate(&own.metrics)?;
        self.best = own.best;
        // A kill between the writing of the newest and the removal of the oldest leaves one more.
        files::keep_newest(&dir, KEPT, self.best.map(|best| best.step))?;
        self.wall_before_s = own.wall_s;
        self.opened = Instant::now();
        Ok(Some(own.step))
    }

    /// The configuration of the run in a directory, which another process may be writing.
    ///
    /// # Errors
    /// [`RunError::NotARun`], [`RunError::Config`], [`RunError::Io`].
    pub fn config<C: Config>(dir: &Path) -> Result<C, RunError> {
        let path = dir.join("config.toml");
        if !path.is_file() {
            return Err(RunError::NotARun { dir: dir.to_path_buf() });
        }
        read_config(&path)
    }

    /// Steps done by the newest checkpoint of a run, which another process may be writing; 0 without
    /// one.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn steps_done(dir: &Path) -> Result<u64, RunError> {
        let dir = dir.join("checkpoints");
        if !dir.is_dir() {
            return Ok(0);
        }
        Ok(files::checkpoints(&dir)?.last().and_then(|path| files::step_of(path)).unwrap_or(0))
    }

    /// Loads the part `name` of the newest checkpoint of a run, which another process may be
    /// writing; returns its step, or `None` and leaves `part` alone where there is no checkpoint.
    ///
    /// # Errors
    /// [`RunError::Checkpoint`] if the newest checkpoint is damaged or does not fit.
    pub fn peek(
        dir: &Path,
        name: &str,
        part: &mut impl Checkpoint,
    ) -> Result<Option<u64>, RunError> {
        let dir = dir.join("checkpoints");
        if !dir.is_dir() {
            return Ok(None);
        }
        let mut checkpoints = files::checkpoints(&dir)?;
        let Some(path) = checkpoints.pop() else { return Ok(None) };
        let bytes = std::fs::read(&path).map_err(RunError::io("read", &path))?;
        let mut load = || -> Result<u64, SnapshotError> {
            let snapshot = Snapshot::parse(&bytes)?;
            part.load(&snapshot.nested("state").nested(name))?;
            Ok(snapshot.read_state::<RunState>(RUN_STATE)?.step)
        };
        let older = checkpoints.pop();
        load().map(Some).map_err(|source| RunError::Checkpoint { path, older, source })
    }

    /// Appends one line of named numbers; numbers that are not finite are written as `null`.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn log(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), RunError> {
        log::debug!("{}: step {step}", self.dir.display());
        self.metrics.append(step, self.wall_s(), values)
    }

    /// The best checkpoint so far, where checkpoints are scored.
    pub fn best(&self) -> Option<Best> {
        self.best
    }

    /// Whether a checkpoint with `score` would be the best so far. NaN never is.
    pub fn would_be_best(&self, score: f64) -> bool {
        !score.is_nan() && self.best.is_none_or(|best| score > best.score)
    }

    /// As [`checkpoint`](Self::checkpoint); the state with the largest score so far is kept beside
    /// the newest two.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn checkpoint_scored(
        &mut self,
        step: u64,
        state: &impl Checkpoint,
        score: f64,
    ) -> Result<(), RunError> {
        let before = self.best;
        if self.would_be_best(score) {
            self.best = Some(Best { step, score });
        }
        let written = self.checkpoint(step, state);
        if written.is_err() {
            self.best = before;
        }
        written
    }

    /// Writes the state after `step` steps and then removes all but the newest two checkpoints (and
    /// the best, see [`checkpoint_scored`](Self::checkpoint_scored)). When this returns, the state
    /// is on the disk.
    ///
    /// # Errors
    /// [`RunError::Io`], [`RunError::InTheWay`]; the checkpoints before are untouched then.
    pub fn checkpoint(&mut self, step: u64, state: &impl Checkpoint) -> Result<(), RunError> {
        log::debug!("{}: saving step {step}", self.dir.display());
        let (wall_s, metrics) = (self.wall_s(), self.metrics.sync()?);
        let own = RunState { step, wall_s, metrics, best: self.best };
        let mut snapshot = Snapshot::new();
        snapshot.state(RUN_STATE, &own);
        snapshot.nest("state", state);
        let dir = self.dir.join("checkpoints");
        let path = dir.join(files::checkpoint_name(step));
        if path.exists() && !files::is_checkpoint(&path) {
            return Err(RunError::InTheWay { path });
        }
        write_atomic(&path, &snapshot.to_bytes())?;
        files::keep_newest(&dir, KEPT, self.best.map(|best| best.step))?;
        log::debug!("{}: saved step {step}", self.dir.display());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
