//! The discriminator of the adversarial algorithms: its data, its training, its reward.
//!
//! Sign convention (derived in `sog_engine::discriminator`): D(s,a) = P(expert | s,a), the reward
//! is log D − log(1 − D), the logit itself, or what [`RewardForm`] makes of it.

use rand::{RngExt, seq::SliceRandom};
use sog_engine::{
    EngineError,
    adam::{Adam, AdamConfig},
    discriminator::{
        Discriminator, DiscriminatorBatch, DiscriminatorConfig as UpdateConfig, DiscriminatorStats,
    },
    mlp::Part,
    net::{Init, Mlp, MlpArch},
    shard::Parallelism,
};
use sog_rl::run::{Checkpoint, Snapshot, SnapshotError};
use sog_sim::{
    rollout::Batch,
    seed::{self, Rng},
};

use crate::{
    config::{DiscriminatorConfig, RewardForm},
    data::Demonstrations,
    device::Compute,
    error::TrainError,
    nn::updates::DiscriminatorUpdates,
    normalise::ObsNormaliser,
};

/// Rows of states, actions and codes, side by side.
#[derive(Default)]
struct Rows {
    obs: Vec<f32>,
    actions: Vec<f32>,
    codes: Vec<f32>,
}

/// The discriminator with its expert data.
pub struct Adversary {
    config: DiscriminatorConfig,
    net: Mlp,
    adam: Adam,
    /// For rewards, which stay on the processor.
    engine: Discriminator,
    updates: Box<dyn DiscriminatorUpdates>,
    rng: Rng,
    /// Iterations trained.
    iterations: u64,
    /// Widths S, A, and Z (0 where it does not see the code).
    widths: [usize; 3],
    /// Subsampled demonstrations.
    expert: Rows,
    /// Order in which expert rows are visited, and how many have been.
    order: Vec<u32>,
    visited: usize,
    /// The first this many environments are perturbed.
    perturbed: usize,
    /// What the last training reported.
    stats: DiscriminatorStats,
}

impl Adversary {
    /// A new discriminator over every [`DiscriminatorConfig::expert_stride`]-th pair of the
    /// demonstrations, trained by `compute`. It sees the codes of the trajectories `[N, Z]` where
    /// they are given.
    ///
    /// # Errors
    /// If a size is zero.
    pub fn new(
        demos: &Demonstrations,
        normaliser: &ObsNormaliser,
        codes: Option<&[f32]>,
        config: &DiscriminatorConfig,
        compute: &Compute,
        seed: u64,
    ) -> Result<Self, EngineError> {
        let few = demos.subsampled(config.expert_stride);
        let z = codes.map_or(0, |codes| codes.len() / demos.len());
        let mut expert = Rows { actions: few.actions().to_vec(), ..Rows::default() };
        normaliser.extend(few.observations(), &mut expert.obs);
        for n in 0..few.len() {
            let code = codes.map_or(&[][..], |codes| &codes[n * z..(n + 1) * z]);
            expert.codes.extend(code.repeat(few.rows(n).len()));
        }
        let widths = [demos.obs_dim(), demos.action_dim(), z];
        let arch = MlpArch::discriminator(widths.iter().sum());
        let mut rng = seed::rng(seed);
        let net = Mlp::new(arch, Init { last_gain: 1.0, ..Init::default() }, &mut rng)?;
        let rows = few.total_rows();
        Ok(Self {
            config: config.clone(),
            adam: Adam::new(AdamConfig::default(), net.params.len()),
            engine: Discriminator::new(net.arch())?.with_parallelism(Parallelism::Rayon),
            updates: compute.discriminator(net.arch())?,
            net,
            rng,
            iterations: 0,
            widths,
            expert,
            order: (0..rows as u32).collect(),
            visited: rows,
            perturbed: 0,
            stats: DiscriminatorStats::default(),
        })
    }

    /// The same, where the first `perturbed` environments are
    /// ([`DiscriminatorConfig::quiet`]).
    pub fn with_perturbed(self, perturbed: usize) -> Self {
        Self { perturbed, ..self }
    }

    /// What all adversarial algorithms do with the rollouts of an iteration: trains on them, then
    /// writes their rewards. `obs [rows, S]` are the normalised observations, `rewards [rows]`.
    ///
    /// # Errors
    /// If a shape does not match or the device fails.
    pub fn judge(
        &mut self,
        batch: &Batch,
        obs: &[f32],
        rewards: &mut [f32],
    ) -> Result<(), TrainError> {
        self.train(batch, obs)?;
        Ok(self.rewards(batch, obs, rewards)?)
    }

    /// Trains on the rollouts of one iteration: `passes` over them in minibatches (more in the
    /// first iterations), each against as many expert pairs, and a gradient penalty on their
    /// mixtures. The metrics are means over the last pass.
    fn train(&mut self, batch: &Batch, obs: &[f32]) -> Result<(), TrainError> {
        // Those of the environments behind the perturbed ones.
        let first = if self.config.quiet { self.perturbed * batch.steps } else { 0 };
        let rows = batch.rows() - first;
        let size = self.config.batch.min(rows);
        let warm_up = self.iterations < self.config.warmup_iterations;
        let passes = if warm_up { self.config.warmup_passes } else { self.config.passes };
        self.iterations += 1;
        let policy = Rows {
            obs: obs.to_vec(),
            actions: batch.actions.clone(),
            codes: if self.widths[2] > 0 { batch.codes.clone() } else { vec![] },
        };
        let mut order: Vec<u32> = (first as u32..batch.rows() as u32).collect();
        let (mut ours, mut theirs, mut mix) = (Rows::default(), Rows::default(), vec![]);
        let mut sum = StatsSum::default();
        for _ in 0..passes {
            order.shuffle(&mut self.rng);
            sum = StatsSum::default();
            for chosen in order.chunks_exact(size) {
                ours.gather(&policy, chosen, self.widths);
                let experts = self.next_experts(size);
                theirs.gather(&self.expert, &experts, self.widths);
                mix.clear();
                mix.extend((0..size).map(|_| self.rng.random::<f32>()));
                let (expert, policy) = (theirs.parts(self.widths), ours.parts(self.widths));
                let batch = DiscriminatorBatch { expert: &expert, policy: &policy, mix: &mix };
                let update = UpdateConfig {
                    penalty: self.config.gradient_penalty,
                    ..UpdateConfig::default()
                };
                let (net, adam, lr) = (&mut self.net, &mut self.adam, self.config.learning_rate);
                sum.add(self.updates.update(net, adam, &update, lr, batch)?);
            }
        }
        self.updates.finish(&mut self.net, &mut self.adam)?;
        self.stats = sum.mean();
        Ok(())
    }

    /// Rewards of the rollouts' rows `[rows]`.
    fn rewards(&mut self, batch: &Batch, obs: &[f32], out: &mut [f32]) -> Result<(), EngineError> {
        let [s, a, z] = self.widths;
        let codes: &[f32] = if z > 0 { &batch.codes } else { &[] };
        let parts = [
            Part { data: obs, width: s },
            Part { data: &batch.actions, width: a },
            Part { data: codes, width: z },
        ];
        let parts = if z > 0 { &parts[..] } else { &parts[..2] };
        self.engine.rewards(&self.net, parts, out)?;
        out.iter_mut().for_each(|f| *f = reward(self.config.reward, *f));
        Ok(())
    }

    /// Names and values of the last training, for a run's metrics.
    pub fn metrics(&self) -> Vec<(&'static str, f64)> {
        let s = &self.stats;
        vec![
            ("discriminator/loss", s.loss.into()),
            ("discriminator/penalty", s.penalty.into()),
            ("discriminator/logit_expert", s.expert_logit.into()),
            ("discriminator/logit_policy", s.policy_logit.into()),
            ("discriminator/accuracy_expert", s.expert_accuracy.into()),
            ("discriminator/accuracy_policy", s.policy_accuracy.into()),
            ("discriminator/slope", s.slope.into()),
            ("discriminator/grad_norm", s.grad_norm.into()),
        ]
    }

    /// Indices of the next expert rows, in a new random order each pass.
    fn next_experts(&mut self, count: usize) -> Vec<u32> {
        (0..count)
            .map(|_| {
                if self.visited == self.order.len() {
                    self.order.shuffle(&mut self.rng);
                    self.visited = 0;
                }
                self.visited += 1;
                self.order[self.visited - 1]
            })
            .collect()
    }
}

/// The reward of a logit f, where D = 1/(1 + e⁻ᶠ).
fn reward(form: RewardForm, f: f32) -> f32 {
    match form {
        RewardForm::Logit => f,
        // log(1 + eᶠ), without overflow.
        RewardForm::Positive => f.max(0.0) + (-f.abs()).exp().ln_1p(),
    }
}

impl Rows {
    fn gather(&mut self, from: &Self, chosen: &[u32], [s, a, z]: [usize; 3]) {
        let copy = |to: &mut Vec<f32>, from: &[f32], width: usize| {
            to.clear();
            for &row in chosen {
                to.extend_from_slice(&from[row as usize * width..(row as usize + 1) * width]);
            }
        };
        copy(&mut self.obs, &from.obs, s);
        copy(&mut self.actions, &from.actions, a);
        copy(&mut self.codes, &from.codes, z);
    }

    fn parts(&self, [s, a, z]: [usize; 3]) -> Vec<Part<'_>> {
        [(&self.obs, s), (&self.actions, a), (&self.codes, z)]
            .into_iter()
            .filter(|(_, width)| *width > 0)
            .map(|(data, width)| Part { data, width })
            .collect()
    }
}

/// Sums of statistics over minibatches.
#[derive(Default)]
struct StatsSum {
    sum: [f64; 8],
    count: f64,
}

impl StatsSum {
    fn add(&mut self, s: DiscriminatorStats) {
        let all = [
            s.loss,
            s.penalty,
            s.expert_logit,
            s.policy_logit,
            s.expert_accuracy,
            s.policy_accuracy,
            s.slope,
            s.grad_norm,
        ];
        self.sum.iter_mut().zip(all).for_each(|(sum, x)| *sum += f64::from(x));
        self.count += 1.0;
    }

    fn mean(&self) -> DiscriminatorStats {
        let mean = self.sum.map(|sum| (sum / self.count) as f32);
        let [
            loss,
            penalty,
            expert_logit,
            policy_logit,
            expert_accuracy,
            policy_accuracy,
            slope,
            grad_norm,
        ] = mean;
        DiscriminatorStats {
            loss,
            penalty,
            expert_logit,
            policy_logit,
            expert_accuracy,
            policy_accuracy,
            slope,
            grad_norm,
        }
    }
}

impl Checkpoint for Adversary {
    fn save(&self, to: &mut Snapshot) {
        to.f32s("params", &[self.net.params.len()], &self.net.params);
        to.f32s("adam.m", &[self.adam.m.len()], &self.adam.m);
        to.f32s("adam.v", &[self.adam.v.len()], &self.adam.v);
        to.state("adam.steps", &self.adam.steps);
        to.state("rng", &self.rng);
        to.state("iterations", &self.iterations);
        to.state("order", &self.order);
        to.state("visited", &self.visited);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        from.read_f32s("params", &mut self.net.params)?;
        from.read_f32s("adam.m", &mut self.adam.m)?;
        from.read_f32s("adam.v", &mut self.adam.v)?;
        self.adam.steps = from.read_state("adam.steps")?;
        self.rng = from.read_state("rng")?;
        self.iterations = from.read_state("iterations")?;
        self.order = from.read_state("order")?;
        self.visited = from.read_state("visited")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_are_those_of_the_probability() {
        for f in [-3.0_f32, -0.5, 0.0, 0.7, 4.0] {
            let d = 1.0 / (1.0 + f64::from(-f).exp());
            let near = |form, want: f64| {
                let found = f64::from(reward(form, f));
                assert!((found - want).abs() < 1e-6, "{form:?} of {f}: {found}, {want}");
            };
            near(RewardForm::Logit, d.ln() - (1.0 - d).ln());
            near(RewardForm::Positive, -(1.0 - d).ln());
        }
        assert_eq!(reward(RewardForm::Positive, 1e4), 1e4);
        assert_eq!(reward(RewardForm::Positive, -1e4), 0.0);
    }
}
