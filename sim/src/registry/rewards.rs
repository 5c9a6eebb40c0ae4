//! The rewards of the paper's robots, as the reference computes them, to the last bit.

use std::f64::consts::TAU;

use super::{
    StepReward, StepView,
    fetch::{SUCCESS_M, distance_m},
};

/// Σ x².
fn square_sum(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

/// A direction in the plane.
struct Direction {
    cos: f64,
    sin: f64,
}

impl Direction {
    fn all(degrees: &[f64]) -> Vec<Self> {
        let of = |degrees: &f64| {
            let angle = TAU * degrees / 360.0;
            Self { cos: angle.cos(), sin: angle.sin() }
        };
        degrees.iter().map(of).collect()
    }

    /// Projection of a velocity on it.
    fn along(&self, velocity_m_s: [f64; 2]) -> f64 {
        velocity_m_s[0] * self.cos + velocity_m_s[1] * self.sin
    }
}

/// The ant runs in a direction: v + 1 − 0.5 ‖a‖² − 0.5e-3 Σ clip(contact forces, ±1)².
pub(super) struct AntDirection(Vec<Direction>);

impl AntDirection {
    pub(super) fn new(degrees: &[f64]) -> Self {
        Self(Direction::all(degrees))
    }
}

impl StepReward for AntDirection {
    fn reads_contact_forces(&self) -> bool {
        true
    }

    fn rewards(&self, step: &StepView<'_>, out: &mut [f64]) {
        let forces = step.data.cfrc_ext().as_flattened();
        let contact: f64 = forces.iter().map(|f| f.clamp(-1.0, 1.0).powi(2)).sum();
        let common = 1.0 - 0.5 * square_sum(step.action) - 0.5e-3 * contact;
        for (reward, direction) in out.iter_mut().zip(&self.0) {
            *reward = direction.along(step.velocity_m_s) + common;
        }
    }
}

/// The humanoid runs in a direction: 1.25 v + 5 − 0.1 ‖a‖² − min(0.5e-6 ‖contact forces‖², 10).
///
/// The reference divides the displacement of a control step by the time of one of its five
/// physics steps: 0.25·Δ/0.003 s = 1.25·Δ/0.015 s.
pub(super) struct HumanoidDirection(Vec<Direction>);

impl HumanoidDirection {
    pub(super) fn new(degrees: &[f64]) -> Self {
        Self(Direction::all(degrees))
    }
}

impl StepReward for HumanoidDirection {
    fn reads_contact_forces(&self) -> bool {
        true
    }

    fn rewards(&self, step: &StepView<'_>, out: &mut [f64]) {
        let contact = 0.5e-6 * square_sum(step.data.cfrc_ext().as_flattened());
        let common = 5.0 - 0.1 * square_sum(step.action) - contact.min(10.0);
        for (reward, direction) in out.iter_mut().zip(&self.0) {
            *reward = 0.25 * 5.0 * direction.along(step.velocity_m_s) + common;
        }
    }
}

/// The half-cheetah runs in a direction ±1: ±v − 0.05 ‖a‖².
pub(super) struct CheetahDirection(pub(super) Vec<f64>);

impl StepReward for CheetahDirection {
    fn rewards(&self, step: &StepView<'_>, out: &mut [f64]) {
        let common = -0.05 * square_sum(step.action);
        for (reward, sign) in out.iter_mut().zip(&self.0) {
            *reward = sign * step.velocity_m_s[0] + common;
        }
    }
}

/// The half-cheetah keeps the goal's speed g: −|v − g| − 0.05 ‖a‖².
pub(super) struct CheetahSpeed;

impl StepReward for CheetahSpeed {
    fn rewards(&self, step: &StepView<'_>, out: &mut [f64]) {
        let common = -0.05 * square_sum(step.action);
        for (reward, goal) in out.iter_mut().zip(step.goals) {
            *reward = -(step.velocity_m_s[0] - goal).abs() + common;
        }
    }
}

/// A planar robot keeps a speed g: |g| − |v − g| + 1 − 1e-3 ‖a‖². The 1 is for being there, also in
/// the step that falls.
pub(super) struct PlanarSpeed(pub(super) Vec<f64>);

impl StepReward for PlanarSpeed {
    fn rewards(&self, step: &StepView<'_>, out: &mut [f64]) {
        let common = 1.0 - 1e-3 * square_sum(step.action);
        for (reward, goal) in out.iter_mut().zip(&self.0) {
            *reward = goal.abs() - (step.velocity_m_s[0] - goal).abs() + common;
        }
    }
}

/// −1 further from the goal than [`SUCCESS_M`], else 0.
pub(super) struct FetchReach;

impl StepReward for FetchReach {
    fn when_diverged(&self) -> f64 {
        -1.0
    }

    fn rewards(&self, step: &StepView<'_>, out: &mut [f64]) {
        for (reward, goal) in out.iter_mut().zip(step.goals.chunks_exact(3)) {
            *reward = if distance_m(&step.position_m, goal) > SUCCESS_M { -1.0 } else { 0.0 };
        }
    }
}
