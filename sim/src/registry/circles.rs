//! A point in the plane that runs around circles through the origin; no MuJoCo.
//!
//! The observation is the last five positions, so the policy sees its own heading but not its mode;
//! the modes part at the origin and demonstrations do not say which is which.

use std::f64::consts::TAU;

use rand_distr::{Distribution, StandardNormal};

use crate::{
    checks::{check_action, check_numbers, check_width},
    definition::{Definition, Registered, Reward},
    error::SimError,
    rollout::{Actor, ActorWorker},
    seed::{self, Rng},
    task::{Probe, Step, Task, TaskInfo},
};

/// Signed radii of the paper's three circles: the circle of radius |R| about (0, R).
pub const RADII: [f64; 3] = [-10.0, 10.0, 20.0];

/// Largest displacement a step and axis.
pub const ACTION_BOUND: f64 = 1.5;

/// Standard deviation of the displacement's noise, per axis.
const NOISE_STD: f64 = 0.15;

/// Positions in an observation.
const HISTORY: usize = 5;

/// Outside of ± this the episode ends.
const BOUND: [f64; 2] = [30.0, 60.0];

/// Reward of being at `position` for the circle of signed radius `radius`:
/// exp(−10·((r − |R|)/|R|)²) with r the distance from (0, R).
pub fn reward(radius: f64, position: [f64; 2]) -> f64 {
    let r = position[0].hypot(position[1] - radius);
    let off = (r - radius.abs()) / radius.abs();
    (-10.0 * off * off).exp()
}

/// The scripted expert: aims at the point of the perimeter 2π/100 rad counter-clockwise of the
/// present angle about the centre, within the action's bound.
pub fn expert_action(radius: f64, position: [f64; 2]) -> [f64; 2] {
    let angle = (position[1] - radius).atan2(position[0]) + TAU / 100.0;
    let target = [radius.abs() * angle.cos(), radius + radius.abs() * angle.sin()];
    [0, 1].map(|i| (target[i] - position[i]).clamp(-ACTION_BOUND, ACTION_BOUND))
}

/// The scripted expert as an [`Actor`]; the code `[3]` says with its largest component which of
/// [`RADII`] to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct CirclesExpert;

impl Actor for CirclesExpert {
    fn obs_dim(&self) -> usize {
        2 * HISTORY
    }

    fn latent_dim(&self) -> usize {
        RADII.len()
    }

    fn action_dim(&self) -> usize {
        2
    }

    fn worker(&self, _max_batch: usize) -> Box<dyn ActorWorker + '_> {
        Box::new(*self)
    }
}

impl ActorWorker for CirclesExpert {
    fn mean_actions(&mut self, obs: &[f32], latent: &[f32], actions: &mut [f32]) {
        let rows = obs.chunks_exact(2 * HISTORY).zip(latent.chunks_exact(RADII.len()));
        for ((obs, code), out) in rows.zip(actions.chunks_exact_mut(2)) {
            let best = (1..RADII.len()).fold(0, |b, i| if code[i] > code[b] { i } else { b });
            let position = [8, 9].map(|i| f64::from(obs[i]));
            let action = expert_action(RADII[best], position);
            out.copy_from_slice(&action.map(|a| a as f32));
        }
    }
}

/// The environment.
pub(crate) struct Circles {
    info: TaskInfo,
    /// One a mode.
    radii: Vec<f64>,
    /// Newest last.
    positions: [[f64; 2]; HISTORY],
    rng: Rng,
}

impl Circles {
    /// A new environment of a definition, reset with seed 0.
    ///
    /// # Errors
    /// [`SimError::Definition`] if it is not a point's: five positions, a displacement, and modes
    /// that are circles.
    pub(super) fn of(
        registered: &Registered,
        definition: &Definition,
        info: &TaskInfo,
    ) -> Result<Self, SimError> {
        if [info.obs_dim(), info.action_dim()] != [2 * HISTORY, 2] {
            let needed =
                format!("need an observation of {} numbers and an action of 2", 2 * HISTORY);
            return Err(registered.at.error(needed).into());
        }
        let mut radii = Vec::new();
        for mode in &definition.modes {
            let Some(Reward::Rust(circle)) = mode
                .reward
                .as_ref()
                .filter(|reward| matches!(reward, Reward::Rust(circle) if circle.name == "circle"))
            else {
                return Err(mode
                    .at
                    .error("need reward = { rust = \"circle\", radius = … }")
                    .into());
            };
            circle.only(&["radius"])?;
            radii.push(circle.parameter("radius")?);
        }
        Ok(Self { info: info.clone(), radii, positions: Default::default(), rng: seed::rng(0) })
    }

    fn position(&self) -> [f64; 2] {
        self.positions[HISTORY - 1]
    }
}

impl Task for Circles {
    fn info(&self) -> &TaskInfo {
        &self.info
    }

    fn reset(&mut self, seed: u64) -> Result<(), SimError> {
        self.positions = Default::default();
        self.rng = seed::rng(seed);
        Ok(())
    }

    /// All five remembered positions become `qpos`; the noise goes on as it was.
    fn start_from(&mut self, qpos: &[f64], qvel: &[f64]) -> Result<(), SimError> {
        check_numbers(&self.info.name, "position", qpos, 2)?;
        check_width(&self.info.name, "velocity", qvel.len(), 0)?;
        self.positions = [[qpos[0], qpos[1]]; HISTORY];
        Ok(())
    }

    fn observe(&self, obs: &mut [f64]) {
        obs.copy_from_slice(self.positions.as_flattened());
    }

    fn step(&mut self, action: &[f64], rewards: &mut [f64]) -> Result<Step, SimError> {
        check_action(&self.info.name, action, 2)?;
        check_width(&self.info.name, "rewards", rewards.len(), self.radii.len())?;
        let mut position = self.position();
        for (p, a) in position.iter_mut().zip(action) {
            let noise: f64 = StandardNormal.sample(&mut self.rng);
            *p += a.clamp(-ACTION_BOUND, ACTION_BOUND) + NOISE_STD * noise;
        }
        self.positions.rotate_left(1);
        self.positions[HISTORY - 1] = position;
        for (out, radius) in rewards.iter_mut().zip(&self.radii) {
            *out = reward(*radius, position);
        }
        Ok(Step { terminated: position.iter().zip(BOUND).any(|(p, bound)| p.abs() > bound) })
    }

    fn reward_count(&self) -> usize {
        self.radii.len()
    }

    fn probe(&self) -> Probe {
        let [before, now] = [self.positions[HISTORY - 2], self.position()];
        Probe {
            position_m: [now[0], now[1], 0.0],
            velocity_m_s: [0, 1].map(|i| (now[i] - before[i]) / self.info.dt_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles() -> Circles {
        let task = crate::tasks::open("circles").unwrap();
        let definition = task.definition();
        let crate::definition::Engine::Rust(registered) = &definition.sim.as_ref().unwrap().engine
        else {
            panic!("circles is written in Rust")
        };
        Circles::of(registered, definition, task.info()).unwrap()
    }

    /// Returns by mode of one episode of the scripted expert of `radius`.
    fn expert_returns(radius: f64, seed: u64) -> [f64; 3] {
        let mut task = circles();
        task.reset(seed).unwrap();
        let (mut returns, mut rewards) = ([0.0; 3], [0.0; 3]);
        for _ in 0..task.info().horizon {
            let step = task.step(&expert_action(radius, task.position()), &mut rewards).unwrap();
            assert!(!step.terminated);
            returns.iter_mut().zip(rewards).for_each(|(sum, r)| *sum += r);
        }
        returns
    }

    #[test]
    fn the_expert_reaches_the_published_returns() {
        // Means over 20 episodes of another implementation: 997.8, 997.8, 999.4.
        for (mode, (radius, needed)) in RADII.into_iter().zip([997.8, 997.8, 999.4]).enumerate() {
            let mean = (0..20).map(|s| expert_returns(radius, s)[mode]).sum::<f64>() / 20.0;
            assert!((mean - needed).abs() < 0.2, "R = {radius}: {mean}, need {needed}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_episode() {
        assert_eq!(expert_returns(10.0, 3), expert_returns(10.0, 3));
        assert_ne!(expert_returns(10.0, 3), expert_returns(10.0, 4));
    }

    #[test]
    fn the_observation_is_the_last_five_positions_oldest_first() {
        let mut task = circles();
        let (mut obs, mut rewards) = ([0.0; 10], [0.0; 3]);
        let mut track = vec![0.0; 10];
        for _ in 0..7 {
            task.step(&[1.0, -0.5], &mut rewards).unwrap();
            track.extend_from_slice(&task.position());
            task.observe(&mut obs);
            assert_eq!(obs, track[track.len() - 10..]);
        }
    }

    #[test]
    fn leaving_the_field_ends_the_episode() {
        let mut task = circles();
        for (qpos, action, ended) in [
            ([29.0, 0.0], [-1.5, 0.0], false),
            ([30.0, 0.0], [1.5, 0.0], true),
            ([0.0, 59.0], [0.0, -1.5], false),
            ([0.0, -60.0], [0.0, -1.5], true),
        ] {
            task.start_from(&qpos, &[]).unwrap();
            assert_eq!(task.step(&action, &mut [0.0; 3]).unwrap().terminated, ended, "{qpos:?}");
        }
    }

    #[test]
    fn actions_are_clipped_and_bad_ones_refused() {
        let (mut a, mut b) = (circles(), circles());
        a.step(&[9.0, -9.0], &mut [0.0; 3]).unwrap();
        b.step(&[1.5, -1.5], &mut [0.0; 3]).unwrap();
        assert_eq!(a.position(), b.position());
        let width = a.step(&[0.0; 3], &mut [0.0; 3]).unwrap_err().to_string();
        assert_eq!(width, "circles: action of 3 numbers, need 2");
        let nan = a.step(&[0.0, f64::NAN], &mut [0.0; 3]).unwrap_err().to_string();
        assert_eq!(nan, "circles: action holds NaN at index 1; every number must be finite");
    }
}
