//! Recording demonstrations from an expert, reproducible byte for byte from a seed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_distr::StandardNormal;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use sog_rl::experts::{self, ExpertFile};
use sog_sim::{
    seed::{self, Rng},
    task::{GoalSpace, Modes, Task, TaskInfo},
    tasks::{TaskFolder, TaskMaker, circles},
};

use super::{
    DataError, DemoFile, DemoProvenance, Labels, StartStates,
    file::{Raw, hex},
};

/// Stream of the seed that orders the trajectories; episodes take the streams from 0.
const ORDER_STREAM: u64 = u64::MAX;

/// Stream of an episode's seed for the noise of its actions.
const NOISE_STREAM: u64 = u64::MAX;

/// What an expert is asked to do in one episode.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// Mode number; for continuous tasks the number of the goal.
    pub mode: usize,
    /// Value of the mode (direction, speed, signed radius) or the goal's numbers.
    pub value: Vec<f64>,
}

/// Someone who knows how to do a task. One instance serves one episode at a time.
pub trait Expert: Send {
    /// Action `[A]` for an observation `[S]`.
    fn act(&mut self, goal: &Goal, obs: &[f64], action: &mut [f64]);
}

/// Makes experts, one for each thread that records.
pub trait ExpertSource: Sync {
    /// `scripted`, or the SHA-256 of the expert's file.
    fn id(&self) -> String;

    /// A new expert.
    fn make(&self) -> Box<dyn Expert>;
}

/// The scripted expert of `circles`.
#[derive(Clone, Copy, Debug)]
pub struct CirclesExpert;

impl ExpertSource for CirclesExpert {
    fn id(&self) -> String {
        "scripted".to_string()
    }

    fn make(&self) -> Box<dyn Expert> {
        Box::new(*self)
    }
}

impl Expert for CirclesExpert {
    fn act(&mut self, goal: &Goal, obs: &[f64], action: &mut [f64]) {
        // The newest position comes last.
        let position = [obs[obs.len() - 2], obs[obs.len() - 1]];
        action.copy_from_slice(&circles::expert_action(goal.value[0], position));
    }
}

/// A trained expert: the mean action of the network of the mode, or of the one that takes the goal.
pub struct TrainedExpert {
    expert: Arc<experts::Expert>,
    /// SHA-256 of its file.
    sha256: String,
    /// What the codes of goals are scaled by; `None` for discrete modes.
    goals: Option<GoalSpace>,
}

impl TrainedExpert {
    /// Reads and verifies an expert file of `task`.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Expert`] for a file that is refused,
    /// [`DataError::Task`] for one of another task.
    pub fn read(path: &Path, task: &TaskInfo) -> Result<Self, DataError> {
        let bytes = std::fs::read(path)
            .map_err(|source| DataError::Io { path: path.to_path_buf(), source })?;
        let file = ExpertFile::parse(&bytes)
            .map_err(|source| DataError::Expert { path: path.to_path_buf(), source })?;
        if file.task != task.name() {
            return Err(DataError::Task { found: file.task, needed: task.name().to_string() });
        }
        let goals = match &task.modes {
            Modes::Discrete(_) => None,
            Modes::Continuous(space) => Some(space.clone()),
        };
        let expert = Arc::new(experts::Expert::new(&file));
        Ok(Self { expert, sha256: hex(&Sha256::digest(&bytes)), goals })
    }
}

impl ExpertSource for TrainedExpert {
    fn id(&self) -> String {
        self.sha256.clone()
    }

    fn make(&self) -> Box<dyn Expert> {
        Box::new(TrainedWorker {
            pilot: self.expert.pilot(),
            goals: self.goals.clone(),
            obs: vec![],
            action: vec![],
            code: vec![],
        })
    }
}

/// One thread's [`TrainedExpert`].
struct TrainedWorker {
    pilot: experts::Pilot,
    goals: Option<GoalSpace>,
    obs: Vec<f32>,
    action: Vec<f32>,
    code: Vec<f32>,
}

impl Expert for TrainedWorker {
    fn act(&mut self, goal: &Goal, obs: &[f64], action: &mut [f64]) {
        self.obs.clear();
        self.obs.extend(obs.iter().map(|&x| x as f32));
        self.action.resize(action.len(), 0.0);
        let network = match &self.goals {
            Some(space) => {
                self.code.resize(space.dims(), 0.0);
                experts::goal_code(space, &goal.value, &mut self.code);
                0
            }
            None => goal.mode,
        };
        self.pilot.act(network, &self.obs, &self.code, &mut self.action);
        for (to, &from) in action.iter_mut().zip(&self.action) {
            *to = f64::from(from);
        }
    }
}

/// The expert file of a task that comes with the program ([`sog_sim::expert::find`]).
///
/// # Errors
/// [`DataError::NoExpert`] if there is none.
pub fn expert_path(task: &str) -> Result<PathBuf, DataError> {
    sog_sim::expert::find(task).ok_or_else(|| DataError::NoExpert {
        task: task.to_string(),
        reason: format!(
            "models/experts/{task}.safetensors is neither here nor above this program; train it \
             with `sog expert train --task {task}`, or give the file with --expert"
        ),
    })
}

/// The expert of a task: the one in `file`, or where none is given the scripted one that its folder
/// names (`[demos] scripted`), else the one that comes with the program.
///
/// # Errors
/// [`DataError::NoExpert`] where there is none; as [`TrainedExpert::read`].
pub fn expert_for(
    task: &TaskFolder,
    file: Option<&Path>,
) -> Result<Box<dyn ExpertSource>, DataError> {
    let name = task.info().name();
    if let (None, Some(scripted)) = (file, &task.definition().demos.scripted) {
        return match scripted.name.as_str() {
            "circles" => Ok(Box::new(CirclesExpert)),
            unknown => Err(DataError::NoExpert {
                task: name.to_string(),
                reason: format!("no scripted expert is called `{unknown}`; there is `circles`"),
            }),
        };
    }
    let path = file.map_or_else(|| expert_path(name), |f| Ok(f.to_path_buf()))?;
    Ok(Box::new(TrainedExpert::read(&path, task.info())?))
}

/// Which demonstrations to record.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordOptions {
    /// Episodes of each mode; for continuous tasks the number of goals.
    pub episodes_per_mode: usize,
    /// Everything random comes from it.
    pub seed: u64,
    /// Standard deviation of the noise added to the expert's actions before they are taken, in units
    /// of half the actions' range. What is recorded is the action taken, so that demonstrations can
    /// be replayed; a learner that minimises squared error averages the noise away, and sees how
    /// the expert recovers from small errors (as in DART, Laskey et al. 2017, whose demonstrations
    /// keep the action without the noise).
    pub action_noise: f64,
}

/// Episodes a mode (or goals) that are recorded where a task's folder does not say.
const EPISODES: usize = 100;

impl RecordOptions {
    /// What a task's folder says (`[demos]`), with `seed`.
    pub fn of(task: &TaskFolder, seed: u64) -> Self {
        let demos = &task.definition().demos;
        let episodes_per_mode = demos.episodes.unwrap_or(EPISODES);
        Self { episodes_per_mode, seed, action_noise: demos.action_noise }
    }
}

/// One recorded episode.
struct Episode {
    goal: Goal,
    /// State in MuJoCo that it starts from; both empty without MuJoCo.
    qpos: Vec<f64>,
    qvel: Vec<f64>,
    observations: Vec<f32>,
    actions: Vec<f32>,
    /// Sum of the reward of the goal.
    episode_return: f64,
}

/// Records demonstrations of every mode, in an order that tells nothing about the modes.
/// `progress` is called once an episode, from any thread.
///
/// # Errors
/// [`DataError::Sim`].
pub fn record(
    maker: &TaskMaker,
    info: &TaskInfo,
    source: &dyn ExpertSource,
    options: &RecordOptions,
    progress: &(dyn Fn() + Sync),
) -> Result<DemoFile, DataError> {
    let goals = goals(info, options);
    let mut episodes: Vec<Episode> = goals
        .into_par_iter()
        .enumerate()
        .map_init(
            || (maker.make(), source.make()),
            |(task, expert), (n, goal)| {
                let task = match task {
                    Ok(task) => task,
                    // The error cannot be shared between episodes: make it anew.
                    Err(_) => &mut maker.make()?,
                };
                let seed = seed::derive(options.seed, n as u64);
                let noise = options.action_noise;
                let episode = run_episode(task.as_mut(), info, expert.as_mut(), goal, seed, noise);
                progress();
                episode
            },
        )
        .collect::<Result<_, _>>()?;
    let provenance = DemoProvenance {
        expert: source.id(),
        seed: options.seed,
        action_noise: options.action_noise,
        generator: concat!("sog-trainer ", env!("CARGO_PKG_VERSION")).to_string(),
        mean_return: mean_returns(info, &episodes),
    };
    let mut rng = Rng::seed_from_u64(seed::derive(options.seed, ORDER_STREAM));
    episodes.shuffle(&mut rng);
    assemble(info, &episodes, provenance)
}

fn goals(info: &TaskInfo, options: &RecordOptions) -> Vec<Goal> {
    match &info.modes {
        Modes::Discrete(modes) => modes
            .iter()
            .enumerate()
            .flat_map(|(mode, m)| {
                let goal = Goal { mode, value: vec![m.value] };
                std::iter::repeat_n(goal, options.episodes_per_mode)
            })
            .collect(),
        Modes::Continuous(space) => (0..options.episodes_per_mode)
            .map(|mode| {
                let mut value = vec![0.0; space.dims()];
                let stream = seed::derive(options.seed, ORDER_STREAM - 1);
                space.sample(&mut seed::stream(stream, mode as u64), &mut value);
                Goal { mode, value }
            })
            .collect(),
    }
}

fn run_episode(
    task: &mut dyn Task,
    info: &TaskInfo,
    expert: &mut dyn Expert,
    goal: Goal,
    seed: u64,
    action_noise: f64,
) -> Result<Episode, DataError> {
    let reward_of = match info.modes {
        Modes::Discrete(_) => goal.mode,
        Modes::Continuous(_) => {
            task.set_goals(&goal.value)?;
            0
        }
    };
    task.reset(seed)?;
    let (mut obs, mut action) = (vec![0.0; info.obs_dim()], vec![0.0; info.action_dim()]);
    let mut rewards = vec![0.0; task.reward_count()];
    let mut rng = seed::stream(seed, NOISE_STREAM);
    let (qpos, qvel) = task
        .physics()
        .map_or((vec![], vec![]), |p| (p.data().qpos().to_vec(), p.data().qvel().to_vec()));
    let (mut observations, mut actions, mut episode_return) = (vec![], vec![], 0.0);
    for _ in 0..info.horizon {
        task.observe(&mut obs);
        expert.act(&goal, &obs, &mut action);
        if action_noise > 0.0 {
            for (x, (&low, &high)) in
                action.iter_mut().zip(info.action_low.iter().zip(&info.action_high))
            {
                let noise: f64 = rng.sample(StandardNormal);
                let taken = (*x + action_noise * 0.5 * (high - low) * noise).clamp(low, high);
                // What is taken is what is recorded, to the last bit.
                *x = f64::from(taken as f32);
            }
        }
        let step = task.step(&action, &mut rewards)?;
        observations.extend(obs.iter().map(|&x| x as f32));
        actions.extend(action.iter().map(|&x| x as f32));
        episode_return += rewards[reward_of];
        if step.terminated {
            break;
        }
    }
    Ok(Episode { goal, qpos, qvel, observations, actions, episode_return })
}

fn mean_returns(info: &TaskInfo, episodes: &[Episode]) -> Vec<f64> {
    let mean = |mode: Option<usize>| {
        let of = |e: &&Episode| mode.is_none_or(|m| e.goal.mode == m);
        let (sum, n) = episodes
            .iter()
            .filter(of)
            .fold((0.0, 0_usize), |(sum, n), e| (sum + e.episode_return, n + 1));
        sum / n.max(1) as f64
    };
    match info.modes.count() {
        Some(modes) => (0..modes).map(|m| mean(Some(m))).collect(),
        None => vec![mean(None)],
    }
}

/// The states that episodes start from, where MuJoCo simulates them.
fn starts(episodes: &[Episode]) -> Option<StartStates> {
    let widths = episodes.first().map(|e| (e.qpos.len(), e.qvel.len()))?;
    (widths.0 > 0).then(|| StartStates {
        widths,
        qpos: episodes.iter().flat_map(|e| e.qpos.iter().copied()).collect(),
        qvel: episodes.iter().flat_map(|e| e.qvel.iter().copied()).collect(),
    })
}

fn assemble(
    info: &TaskInfo,
    episodes: &[Episode],
    provenance: DemoProvenance,
) -> Result<DemoFile, DataError> {
    let (s, a) = (info.obs_dim(), info.action_dim());
    let n = episodes.len();
    let lengths: Vec<usize> = episodes.iter().map(|e| e.actions.len() / a).collect();
    let t = lengths.iter().copied().max().unwrap_or(0);
    let (mut observations, mut actions) = (vec![], vec![]);
    for (i, e) in episodes.iter().enumerate() {
        observations.extend_from_slice(&e.observations);
        observations.resize((i + 1) * t * s, 0.0);
        actions.extend_from_slice(&e.actions);
        actions.resize((i + 1) * t * a, 0.0);
    }
    let labels = match &info.modes {
        Modes::Discrete(_) => Labels::Modes(episodes.iter().map(|e| e.goal.mode as u32).collect()),
        Modes::Continuous(space) => Labels::Goals {
            dims: space.dims(),
            values: episodes.iter().flat_map(|e| e.goal.value.iter().map(|&g| g as f32)).collect(),
        },
    };
    let raw = Raw {
        observations: (observations, vec![n, t, s]),
        actions: (actions, vec![n, t, a]),
        lengths: Some(lengths.iter().map(|&l| l as u32).collect()),
        labels: Some(labels),
        starts: starts(episodes),
        provenance,
    };
    DemoFile::from_raw(raw, info)
}
