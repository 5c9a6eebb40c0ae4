//! What decides the action, and how it explores.

use rand_distr::{Distribution, StandardNormal};
use sog_runtime::policy::{LatentKind, Policy, Workspace};

use crate::{
    seed::Rng,
    task::{TaskInfo, unit},
};

/// Decides action means from observations and codes; shared by all threads.
pub trait Actor: Sync {
    /// Observation width S.
    fn obs_dim(&self) -> usize;

    /// Code width Z; 0 without a code.
    fn latent_dim(&self) -> usize;

    /// Action width A.
    fn action_dim(&self) -> usize;

    /// One thread's evaluator of batches of up to `max_batch` rows.
    fn worker(&self, max_batch: usize) -> Box<dyn ActorWorker + '_>;
}

/// One thread's evaluator of an [`Actor`].
///
/// A row's result must not depend on the batch it is in, bit for bit.
pub trait ActorWorker {
    /// Action means `[n, A]` of raw observations `[n, S]` under codes `[n, Z]`.
    fn mean_actions(&mut self, obs: &[f32], latent: &[f32], actions: &mut [f32]);
}

impl Actor for Policy {
    fn obs_dim(&self) -> usize {
        self.obs_dim()
    }

    fn latent_dim(&self) -> usize {
        self.latent_dim()
    }

    fn action_dim(&self) -> usize {
        self.action_dim()
    }

    fn worker(&self, max_batch: usize) -> Box<dyn ActorWorker + '_> {
        Box::new(PolicyWorker { policy: self, workspace: self.workspace(max_batch) })
    }
}

struct PolicyWorker<'a> {
    policy: &'a Policy,
    workspace: Workspace,
}

impl ActorWorker for PolicyWorker<'_> {
    fn mean_actions(&mut self, obs: &[f32], latent: &[f32], actions: &mut [f32]) {
        self.policy.mean_actions(&mut self.workspace, obs, latent, actions);
    }
}

/// What is done to the action mean before it reaches the robot. Nothing here clips.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise<'a> {
    /// The mean itself.
    None,
    /// mean + σ·N(0, 1), σ `[A]`.
    Gaussian(&'a [f32]),
    /// Uniform in the action's bounds, the mean ignored.
    Uniform,
    /// With this probability the whole action is replaced by a uniform one (paper, B.2).
    Replace(f64),
}

impl Noise<'_> {
    /// Writes the action `[A]` for a mean `[A]`.
    pub(super) fn apply(self, info: &TaskInfo, rng: &mut Rng, mean: &[f32], action: &mut [f32]) {
        let uniform = match self {
            Self::None | Self::Gaussian(_) => false,
            Self::Uniform => true,
            Self::Replace(probability) => unit(rng) < probability,
        };
        action.copy_from_slice(mean);
        if uniform {
            action.iter_mut().zip(any_action(info, rng)).for_each(|(a, any)| *a = any as f32);
        } else if let Self::Gaussian(std) = self {
            for (a, std) in action.iter_mut().zip(std) {
                let standard: f32 = StandardNormal.sample(rng);
                *a += std * standard;
            }
        }
    }
}

/// An action `[A]` drawn uniformly from its bounds.
pub(super) fn any_action<'a>(
    info: &'a TaskInfo,
    rng: &'a mut Rng,
) -> impl Iterator<Item = f64> + 'a {
    let bounds = info.action_low.iter().zip(&info.action_high);
    bounds.map(|(low, high)| low + (high - low) * unit(rng))
}

/// Draws a code from its prior into `code`, `[Z]`: a uniform one-hot, or N(0, I).
pub fn sample_prior(kind: LatentKind, rng: &mut Rng, code: &mut [f32]) {
    match kind {
        LatentKind::None => {}
        LatentKind::OneHot(k) => {
            code.fill(0.0);
            code[((unit(rng) * k as f64) as usize).min(k - 1)] = 1.0;
        }
        LatentKind::Gaussian(_) => code.iter_mut().for_each(|z| *z = StandardNormal.sample(rng)),
    }
}
