//! How fast a task runs, beside MuJoCo alone on the same states and actions.
//!
//! The task runs as it does in learning: a [`Fleet`] with uniform random actions, observations and
//! rewards recorded, failed episodes begun anew. MuJoCo alone then takes the same robots through
//! the same actions from the same starts: frame skip × `mj_step`, plus one
//! `mj_rnePostConstraint` where the task reads contact forces, plus one `mj_forward` where the
//! task asks for it. It does so twice: one robot after the other from start to end, the fastest that
//! MuJoCo can do, and as a fleet does, all robots in turn, a control step each, where each finds the
//! caches as the others have left them. All take turns of a hundredth of a second on one thread, one
//! straight after the other, measured by the thread's own processor time; what counts is the median
//! over the turns: of the rates, and of the ratios within each turn. What else the machine does falls
//! on all alike, or on few turns.

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
    /// The same of MuJoCo's speed with as many robots in turn.
    pub share_of_raw_in_turn: Option<f64>,
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
    let (mut one_s, mut raw_s, mut many_s) = (vec![], vec![], vec![]);
    let (mut shares, mut shares_in_turn) = (vec![], vec![]);
    let begun = Instant::now();
    while begun.elapsed() < time || one_s.is_empty() {
        // Who goes first changes: the others find the caches as it has left them.
        let mut halves = [None; 3];
        for side in [0, 1, 2].map(|n| (n + one_s.len()) % 3) {
            halves[side] = match (side, &mut raw) {
                (0, _) => {
                    let (turn, seconds) = single.install(|| timed(|| one.turn()));
                    turn?;
                    Some(seconds)
                }
                (_, None) => None,
                (1, Some(raw)) => Some(single.install(|| timed(|| raw.turn()).1)),
                (_, Some(raw)) => Some(single.install(|| timed(|| raw.turn_in_turn()).1)),
            };
        }
        let [ours, alone, in_turn] = halves;
        let ours = ours.unwrap_or(f64::NAN);
        raw_s.extend(alone);
        shares.extend(alone.map(|s| s / ours));
        shares_in_turn.extend(in_turn.map(|s| s / ours));
        one_s.push(ours);
        // All cores at once heat and fill everything: seldom.
        if one_s.len() % 8 == 1 {
            many_s.push(all.install(|| many.turn())?);
        }
    }
    let turns = one_s.len();
    let [share_of_raw, share_of_raw_in_turn] = [&mut shares, &mut shares_in_turn]
        .map(|shares| (!shares.is_empty()).then(|| median(shares)));
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
        share_of_raw_in_turn,
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
    control: ControlStep,
    robots: Vec<RawRobot>,
}

/// A robot, with all that it is taken through.
struct RawRobot {
    data: Data,
    starts: Vec<Start>,
    /// Numbers of a step: controls, or the mocap body's position and quaternion.
    width: usize,
    commands: Vec<f64>,
}

impl Raw {
    /// What the fleet of `batch` did; `None` without MuJoCo.
    fn new(maker: &TaskMaker, batch: &Batch) -> Result<Option<Self>, SimError> {
        let mut task = maker.make()?;
        let Some(control) = maker.control_step() else { return Ok(None) };
        if task.physics().is_none() {
            return Ok(None);
        }
        let robots = (0..batch.envs).map(|env| RawRobot::of(&mut *task, batch, env));
        Ok(Some(Self { control, robots: robots.collect::<Result<_, _>>()? }))
    }

    /// One robot after the other, in the place of the first.
    fn turn(&mut self) {
        let Some((first, others)) = self.robots.split_first_mut() else { return };
        let RawRobot { data, starts, width, commands } = first;
        run(data, starts, commands.chunks_exact(*width), &self.control);
        for robot in others {
            run(data, &robot.starts, robot.commands.chunks_exact(robot.width), &self.control);
        }
    }

    /// All robots in turn, a control step each.
    fn turn_in_turn(&mut self) {
        let steps = |robot: &RawRobot| robot.commands.len() / robot.width;
        let mut next = vec![0; self.robots.len()];
        for step in 0..self.robots.iter().map(steps).max().unwrap_or(0) {
            for (robot, next) in self.robots.iter_mut().zip(&mut next) {
                let RawRobot { data, starts, width, commands } = robot;
                let Some(command) = commands.get(step * *width..(step + 1) * *width) else {
                    continue;
                };
                if let Some(start) = starts.get(*next).filter(|start| start.0 == step) {
                    begin(data, start);
                    *next += 1;
                }
                control_step(data, command, &self.control);
            }
        }
    }
}

/// Control step before which an episode begins, and its qpos and qvel.
type Start = (usize, Vec<f64>, Vec<f64>);

fn run<'a>(
    data: &mut Data,
    starts: &[Start],
    commands: impl Iterator<Item = &'a [f64]>,
    control: &ControlStep,
) {
    let mut starts = starts.iter().peekable();
    for (step, command) in commands.enumerate() {
        if let Some(start) = starts.next_if(|start| start.0 == step) {
            begin(data, start);
        }
        control_step(data, command, control);
    }
}

fn begin(data: &mut Data, (_, qpos, qvel): &Start) {
    data.reset();
    data.qpos_mut().copy_from_slice(qpos);
    data.qvel_mut().copy_from_slice(qvel);
    data.forward();
}

fn control_step(data: &mut Data, command: &[f64], control: &ControlStep) {
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

impl RawRobot {
    /// Takes the task's robot through what robot `env` of the fleet did and notes what MuJoCo was given.
    fn of(task: &mut dyn Task, batch: &Batch, env: usize) -> Result<Self, SimError> {
        let (env_seed, a) = (seed::derive(SEED, env as u64), task.info().action_dim());
        let mut rewards = vec![0.0; task.reward_count()];
        let data = MjData::new(data_of(task).model_clone());
        let mut robot = Self { data, starts: vec![], width: a, commands: vec![] };
        let (rows, mut step) = (env * batch.steps..(env + 1) * batch.steps, 0);
        let episodes = batch.ended[rows.clone()].split_inclusive(|&e| e != Ended::No);
        for (n, steps) in episodes.enumerate() {
            task.reset(reset_seed(seed::derive(env_seed, n as u64)))?;
            let data = data_of(task);
            robot.starts.push((step, data.qpos().to_vec(), data.qvel().to_vec()));
            let actions = &batch.actions[(rows.start + step) * a..][..steps.len() * a];
            for action in actions.chunks_exact(a) {
                let action: Vec<f64> = action.iter().map(|&x| f64::from(x)).collect();
                task.step(&action, &mut rewards)?;
                let data = data_of(task);
                if let [position, ..] = data.mocap_pos() {
                    robot.commands.extend_from_slice(position);
                    robot.commands.extend_from_slice(&data.mocap_quat()[0]);
                    robot.width = 3 + 4;
                } else {
                    robot.commands.extend_from_slice(&action);
                }
            }
            step += steps.len();
        }
        Ok(robot)
    }
}

/// The state of a robot in MuJoCo.
fn data_of(task: &dyn Task) -> &Data {
    task.physics().expect("only robots in MuJoCo come here").data()
}
