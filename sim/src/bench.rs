//! How fast a task runs, beside MuJoCo alone on the same states and actions.
//!
//! The task runs as it does in learning: a [`Fleet`] with uniform random actions, observations and
//! rewards recorded, failed episodes begun anew. MuJoCo alone then takes the same robots through
//! the same actions from the same starts: frame skip × `mj_step`, plus one
//! `mj_rnePostConstraint` where the task reads contact forces, plus one `mj_forward` where the
//! task asks for it. Both take turns of a hundredth of a second on one thread, one straight after the
//! other, measured by the thread's own processor time; what counts is the median over the turns: of
//! the rates, and of the ratio of the two halves of each turn. What else the machine does falls on
//! both alike, or on few turns.

use std::time::{Duration, Instant};

use mujoco_rs::prelude::MjData;
use rustix::time::{ClockId, clock_gettime};

use crate::{
    compiled::task::ControlStep,
    error::SimError,
    physics::Data,
    rollout::{Actor, ActorWorker, Batch, Ended, Fleet, FleetConfig, Noise, reset_seed},
    seed,
    task::{Task, TaskInfo},
    tasks::TaskMaker,
};

/// Environments stepped by one core.
const ENVS_PER_CORE: usize = 8;
/// Length of a turn.
const TURN: Duration = Duration::from_millis(10);
/// Seed of starts and actions.
const SEED: u64 = 1;

/// How fast a task runs.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchReport {
    /// The task.
    pub task: String,
    /// Cores that "all" means.
    pub cores: usize,
    /// Control steps per second of one core's time.
    pub control_steps_per_s_1: f64,
    /// Control steps per second on all cores.
    pub control_steps_per_s_all: f64,
    /// Physics steps per second on one core; absent without MuJoCo.
    pub physics_steps_per_s_1: Option<f64>,
    /// The same for MuJoCo alone.
    pub raw_physics_steps_per_s_1: Option<f64>,
    /// Share of MuJoCo's own speed that the task reaches: the median over turns.
    pub share_of_raw: Option<f64>,
    /// Turns taken.
    pub turns: usize,
}

impl BenchReport {
    /// Speed on all cores over that on one.
    pub fn scaling(&self) -> f64 {
        self.control_steps_per_s_all / self.control_steps_per_s_1
    }
}

/// Measures a task for about `time` in all.
///
/// # Errors
/// As [`Fleet::run`].
///
/// # Panics
/// If the system gives no threads.
pub fn bench(maker: &TaskMaker, time: Duration) -> Result<BenchReport, SimError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
    };
    let (single, all) = (pool(1), pool(cores));
    let mut one = single.install(|| Turns::new(maker, ENVS_PER_CORE))?;
    let mut many = all.install(|| Turns::new(maker, ENVS_PER_CORE * cores))?;
    let mut raw = Raw::new(maker, &one.batch)?;
    let (mut one_s, mut raw_s, mut many_s, mut shares) = (vec![], vec![], vec![], vec![]);
    let begun = Instant::now();
    while begun.elapsed() < time || one_s.is_empty() {
        // Who goes first alternates: the second finds the caches as the first has left them.
        let raw_first = one_s.len() % 2 == 0;
        let mut turn_of_raw = || raw.as_mut().map(|raw| single.install(|| timed(|| raw.turn()).1));
        let before = if raw_first { turn_of_raw() } else { None };
        let (turn, ours) = single.install(|| timed(|| one.turn()));
        turn?;
        let raw_turn = if raw_first { before } else { turn_of_raw() };
        if let Some(raw) = raw_turn {
            raw_s.push(raw);
            shares.push(raw / ours);
        }
        one_s.push(ours);
        // All cores at once heat and fill everything: seldom.
        if one_s.len() % 8 == 1 {
            many_s.push(all.install(|| many.turn())?);
        }
    }
    let turns = one_s.len();
    let share_of_raw = (!shares.is_empty()).then(|| median(&mut shares));
    let [one_s, raw_s, many_s] = [&mut one_s, &mut raw_s, &mut many_s].map(|times| median(times));
    let skip = maker.control_step().map(|c| c.frame_skip as f64);
    let rate_1 = one.batch.rows() as f64 / one_s;
    Ok(BenchReport {
        task: maker.info().name().to_string(),
        cores,
        control_steps_per_s_1: rate_1,
        control_steps_per_s_all: many.batch.rows() as f64 / many_s,
        physics_steps_per_s_1: skip.map(|skip| skip * rate_1),
        raw_physics_steps_per_s_1: skip.map(|skip| skip * one.batch.rows() as f64 / raw_s),
        share_of_raw,
        turns,
    })
}

/// What `work` gives, and the processor time of this thread that it took, s.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let now_s = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
    };
    let begun_s = now_s();
    let result = work();
    (result, now_s() - begun_s)
}

/// The middle of a few numbers; NaN of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Decides nothing: the noise does.
struct Nobody<'a>(&'a TaskInfo);

impl Actor for Nobody<'_> {
    fn obs_dim(&self) -> usize {
        self.0.obs_dim()
    }

    fn latent_dim(&self) -> usize {
        0
    }

    fn action_dim(&self) -> usize {
        self.0.action_dim()
    }

    fn worker(&self, _max_batch: usize) -> Box<dyn ActorWorker + '_> {
        Box::new(Nobody(self.0))
    }
}

impl ActorWorker for Nobody<'_> {
    fn mean_actions(&mut self, _obs: &[f32], _latent: &[f32], _actions: &mut [f32]) {}
}

/// The task's side: a segment that is the same in each turn.
struct Turns {
    info: TaskInfo,
    fleet: Fleet,
    batch: Batch,
}

impl Turns {
    /// Chooses the segment's length by the time that a short one takes.
    fn new(maker: &TaskMaker, envs: usize) -> Result<Self, SimError> {
        let fleet = Fleet::new(maker, &FleetConfig { envs, seed: SEED, ..Default::default() })?;
        let batch = fleet.batch(16);
        let mut turns = Self { info: maker.info().clone(), fleet, batch };
        turns.turn()?;
        let short_s = turns.turn()?;
        let steps = (16.0 * TURN.as_secs_f64() / short_s) as usize;
        turns.batch = turns.fleet.batch(steps.clamp(16, 20_000));
        turns.turn()?;
        Ok(turns)
    }

    /// Seconds of one segment.
    fn turn(&mut self) -> Result<f64, SimError> {
        self.fleet.restart(SEED);
        let begun = Instant::now();
        self.fleet.run(&Nobody(&self.info), Noise::Uniform, &|_| {}, &mut self.batch)?;
        Ok(begun.elapsed().as_secs_f64())
    }
}

/// MuJoCo's side: the same starts and actions.
struct Raw {
    data: Data,
    control: ControlStep,
    episodes: Vec<RawEpisode>,
}

/// One episode of one environment.
struct RawEpisode {
    qpos: Vec<f64>,
    qvel: Vec<f64>,
    /// Numbers of a step: controls, or the mocap body's position and quaternion.
    width: usize,
    commands: Vec<f64>,
}

impl Raw {
    /// What the fleet of `batch` did; `None` without MuJoCo.
    fn new(maker: &TaskMaker, batch: &Batch) -> Result<Option<Self>, SimError> {
        let mut task = maker.make()?;
        let Some(control) = maker.control_step() else { return Ok(None) };
        let Some(physics) = task.physics() else { return Ok(None) };
        let data = MjData::new(physics.data().model_clone());
        let a = maker.info().action_dim();
        let mut rewards = vec![0.0; task.reward_count()];
        let mut episodes = Vec::new();
        for env in 0..batch.envs {
            let env_seed = seed::derive(SEED, env as u64);
            let mut at = env * batch.steps;
            let ended = &batch.ended[at..at + batch.steps];
            for (n, steps) in ended.split_inclusive(|&e| e != Ended::No).enumerate() {
                task.reset(reset_seed(seed::derive(env_seed, n as u64)))?;
                let actions = &batch.actions[at * a..][..steps.len() * a];
                episodes.push(RawEpisode::of(&mut *task, actions, &mut rewards)?);
                at += steps.len();
            }
        }
        Ok(Some(Self { data, control, episodes }))
    }

    /// All episodes.
    fn turn(&mut self) {
        let (data, control) = (&mut self.data, &self.control);
        for episode in &self.episodes {
            data.reset();
            data.qpos_mut().copy_from_slice(&episode.qpos);
            data.qvel_mut().copy_from_slice(&episode.qvel);
            data.forward();
            for command in episode.commands.chunks_exact(episode.width) {
                if control.mocap {
                    data.mocap_pos_mut()[0].copy_from_slice(&command[..3]);
                    data.mocap_quat_mut()[0].copy_from_slice(&command[3..]);
                } else {
                    for (&index, &number) in control.controls.iter().zip(command) {
                        data.ctrl_mut()[index] = number;
                    }
                }
                for _ in 0..control.frame_skip {
                    data.step();
                }
                if control.contact_forces {
                    data.rne_post_constraint();
                }
                if control.forward_after {
                    data.forward();
                }
            }
        }
    }
}

impl RawEpisode {
    /// Takes a robot, just reset, through `actions` and notes what MuJoCo was given.
    fn of(task: &mut dyn Task, actions: &[f32], rewards: &mut [f64]) -> Result<Self, SimError> {
        let data = data_of(task);
        let (qpos, qvel) = (data.qpos().to_vec(), data.qvel().to_vec());
        let (mut commands, mut width) = (Vec::new(), task.info().action_dim());
        for action in actions.chunks_exact(task.info().action_dim()) {
            let action: Vec<f64> = action.iter().map(|&x| f64::from(x)).collect();
            task.step(&action, rewards)?;
            let data = data_of(task);
            if let [position, ..] = data.mocap_pos() {
                commands.extend_from_slice(position);
                commands.extend_from_slice(&data.mocap_quat()[0]);
                width = 3 + 4;
            } else {
                commands.extend_from_slice(&action);
            }
        }
        Ok(Self { qpos, qvel, width, commands })
    }
}

/// The state of a robot in MuJoCo.
fn data_of(task: &dyn Task) -> &Data {
    task.physics().expect("only robots in MuJoCo come here").data()
}
