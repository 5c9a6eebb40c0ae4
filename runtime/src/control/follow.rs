//! Which way is this? A demonstration that a person gives is watched, its code is found, and the
//! policy goes on in that way.

use alloc::{vec, vec::Vec};

use super::{Controller, Observer, Request, State, TickReport};
use crate::{
    policy::{Policy, PolicyFile, Workspace},
    time::Wake,
};

/// Watches a robot that a person leads for a number of steps, adds up the policy's own loss
/// ‖π(s, z) − a‖² under each of its codes z over what the person does (Algorithm 2's choice of a code,
/// on the control computer), then selects the code of the smallest and starts the policy.
///
/// It is an [`Observer`]: it sees a tick when its command is out, and allocates nothing. A step
/// counts where the robot says that a person has taken over, and which action it applied.
#[derive(Clone, Debug)]
pub struct Follow {
    policy: Policy,
    workspace: Workspace,
    /// `[n, Z]`.
    codes: Vec<f32>,
    needed: u64,
    watched: u64,
    /// Sum of the losses under each code, `[n]`.
    losses: Vec<f64>,
    found: Option<u16>,
    /// The last observation once a code, `[n, S]`, and its step where it waits for its action.
    obs: Vec<f32>,
    waiting: Option<u64>,
    /// What the policy would have done, `[n, A]`.
    means: Vec<f32>,
}

impl Follow {
    /// Finds one of `codes` `[n, Z]`, those of the controller, after `steps` steps (at least one)
    /// that a person led.
    pub fn new(file: &PolicyFile, codes: &[f32], steps: u64) -> Self {
        let policy = Policy::new(file);
        let n = codes.len().checked_div(policy.latent_dim()).unwrap_or(1);
        Self {
            workspace: policy.workspace(n),
            codes: codes.to_vec(),
            needed: steps.max(1),
            watched: 0,
            losses: vec![0.0; n],
            found: None,
            obs: vec![0.0; n * policy.obs_dim()],
            waiting: None,
            means: vec![0.0; n * policy.action_dim()],
            policy,
        }
    }

    /// Number of the code that was found.
    pub fn found(&self) -> Option<u16> {
        self.found
    }

    /// Steps that were watched so far.
    pub fn watched(&self) -> u64 {
        self.watched
    }

    /// Mean loss under each code over what was watched, `[n]`.
    pub fn mean_losses(&self) -> impl Iterator<Item = f64> + '_ {
        self.losses.iter().map(|loss| loss / self.watched.max(1) as f64)
    }

    /// What was done at the last observation.
    fn add(&mut self, applied: &[f32]) {
        self.policy.mean_actions(&mut self.workspace, &self.obs, &self.codes, &mut self.means);
        for (loss, mean) in self.losses.iter_mut().zip(self.means.chunks_exact(applied.len())) {
            let squares =
                mean.iter().zip(applied).map(|(m, a)| f64::from(m - a) * f64::from(m - a));
            *loss += squares.sum::<f64>();
        }
        self.watched += 1;
    }

    /// The code of the smallest loss; a loss that is no number never wins.
    fn best(&self) -> u16 {
        let better =
            |best: usize, n: usize| if self.losses[n] < self.losses[best] { n } else { best };
        (1..self.losses.len()).fold(0, better) as u16
    }
}

impl Observer for Follow {
    fn observe(&mut self, controller: &Controller, _: &Wake, tick: &TickReport, _: u64) {
        let Ok(reading) = tick.read else { return };
        if self.found.is_some() || !matches!(tick.state, State::Ready) {
            return;
        }
        let guidance = controller.guidance();
        let follows = self.waiting.take().is_some_and(|step| reading.step == step + 1);
        let finite = |numbers: &[f32]| numbers.iter().all(|v| v.is_finite());
        let led = guidance.applied.filter(|a| follows && guidance.taken_over && finite(a));
        if let Some(applied) = led {
            self.add(applied);
        }
        if self.watched >= self.needed {
            let code = self.best();
            self.found = Some(code);
            controller.request(Request::Code(code));
            controller.request(Request::Start);
            return;
        }
        let obs = controller.observation();
        if finite(obs) {
            self.obs.chunks_exact_mut(obs.len()).for_each(|row| row.copy_from_slice(obs));
            self.waiting = Some(reading.step);
        }
    }
}
