//! SOG-BC: multimodal behaviour cloning with searched codes (Algorithm 2 of the paper).
//!
//! Where each line of Algorithm 2 lives:
//!
//! | line | | here |
//! |---|---|---|
//! | 1 | define L(â, a) = ‖â − a‖² | `sog_engine::sog_bc` |
//! | 2 | input: θ₀, expert trajectories τ_E | [`SogBc::new`] |
//! | 3 | for iteration = 0, 1, 2, … | the caller's loop over [`Together::update`] |
//! | 4 | sample state-action pairs χ_E ~ τ_E | `SogBc::draw`, [`Sampler::next`] |
//! | 5, 6 | candidates z_i ~ p(z), z_E = argmin | `SogBc::member`, `sog_engine::search` |
//! | 7, 8 | L_SOG, its gradient, a step on θ | [`CloningUpdates::update`] |
//!
//! A minibatch holds [`CloningConfig::batch`] pairs of each of a few trajectories; the pairs of one
//! trajectory share one code. The step is Adam's. Learners that differ in their seeds alone may be updated
//! [`Together`]; each draws what it would draw alone.
//!
//! The other algorithms clone before they imitate adversarially, with codes from elsewhere: see
//! [`CodeSource`].

use std::collections::VecDeque;

use rayon::iter::{IntoParallelRefMutIterator, ParallelIterator};
use sog_engine::{
    adam::{Adam, AdamConfig},
    net::{PolicyArch, PolicyNet},
    search::CodeSearch,
    shard::Parallelism,
    sog_bc::{Codes, SogPlan},
};
use sog_rl::run::{Checkpoint, Snapshot, SnapshotError};
use sog_runtime::policy::LatentKind;
use sog_sim::rollout::sample_prior;

use super::sample::Sampler;
use crate::{
    codes::{
        assign,
        embed::{Embedding, embed},
        first::first_codes,
    },
    config::{Assignment, CloningConfig},
    data::Demonstrations,
    device::Compute,
    error::TrainError,
    nn::updates::{Choose, CloningUpdates, Heard, Member},
    normalise::ObsNormaliser,
};

/// Bounds of the log standard deviation taken from the cloning residual.
pub const LOG_STD_BOUNDS: (f32, f32) = (-4.0, 0.0);

/// Pairs of each trajectory that the residual and the loss of all look at.
const RESIDUAL_ROWS: usize = 256;

/// Where the code of a trajectory comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum CodeSource {
    /// The search of Algorithm 2.
    Search,
    /// The prior, anew for each minibatch (InfoGAIL's start).
    Prior,
    /// Given codes `[N, Z]`, one a trajectory (VAE-GAIL's start).
    Given(Vec<f32>),
}

/// The learner: policy, optimiser, and the order in which trajectories are visited.
pub struct SogBc<'a> {
    sampler: Sampler<'a>,
    config: CloningConfig,
    latent: LatentKind,
    codes: CodeSource,
    seed: u64,
    /// First codes `[N, Z]`, once they are needed.
    first_codes: Option<Vec<f32>>,
    /// The policy f_θ.
    pub net: PolicyNet,
    adam: Adam,
    /// Updates done.
    pub step: u64,
    /// Codes `[trajectories, Z]` of the minibatch, where they do not come from a search.
    given: Vec<f32>,
    stats: CloningStats,
    /// Trajectories of the minibatches whose updates have not been counted.
    uncounted: VecDeque<Vec<u32>>,
}

/// Sums since the last line of metrics.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct CloningStats {
    updates: u64,
    loss: f64,
    grad_norm: f64,
    /// How often each code won.
    wins: Vec<u64>,
    /// Code each trajectory had when last visited.
    last_code: Vec<Option<u32>>,
    visits: u64,
    /// Visits at which the trajectory kept its code.
    kept: u64,
}

impl<'a> SogBc<'a> {
    /// Line 2: initial parameters θ₀ (in `net`) and expert trajectories.
    pub fn new(
        demos: &'a Demonstrations,
        normaliser: ObsNormaliser,
        config: CloningConfig,
        latent: LatentKind,
        net: PolicyNet,
        seed: u64,
    ) -> Self {
        let stats = CloningStats {
            wins: vec![0; if let LatentKind::OneHot(k) = latent { k } else { 0 }],
            last_code: vec![None; demos.len()],
            ..CloningStats::default()
        };
        let size = (config.trajectories, config.batch);
        Self {
            seed,
            first_codes: None,
            sampler: Sampler::new(demos, normaliser, size, seed)
                .with_noise(config.observation_noise),
            adam: Adam::new(AdamConfig::default(), net.params.len()),
            codes: CodeSource::Search,
            step: 0,
            given: vec![],
            config,
            latent,
            net,
            stats,
            uncounted: VecDeque::new(),
        }
    }

    /// The same with codes from elsewhere.
    pub fn with_codes(self, codes: CodeSource) -> Self {
        Self { codes, ..self }
    }

    /// The normaliser of the observations.
    pub fn normaliser(&self) -> &ObsNormaliser {
        self.sampler.normaliser()
    }

    /// Whether all updates have been done.
    pub fn is_done(&self) -> bool {
        self.step >= self.config.updates
    }

    /// Line 4 of an iteration: state-action pairs with the same batch size from each trajectory.
    fn draw(&mut self) {
        let begins = self.begins_with_first_codes();
        if begins || self.keeps_first_codes() {
            let (demos, normaliser) = (self.sampler.demos(), self.sampler.normaliser());
            let first = || first_codes(demos, normaliser, self.latent, self.seed);
            self.first_codes.get_or_insert_with(first);
        }
        self.sampler.next();
        self.uncounted.push_back(self.sampler.trajectories.clone());
        self.given = if self.searches() { vec![] } else { self.given_codes() };
    }

    /// Lines 5 to 8 of it, for who computes them: candidate codes, and for each trajectory the one of smallest
    /// loss, or codes from elsewhere; then a step on θ along the gradient of L_SOG, the codes taken as given.
    fn member(&mut self) -> Member<'_> {
        let (k, left, lr) = (self.latent.width(), self.assignment_left(), self.learning_rate());
        let codes = match self.searches() {
            true => Codes::Search(code_search(&self.config, self.latent)),
            false => Codes::Given(&self.given),
        };
        let bound = self.config.max_grad_norm;
        let plan = SogPlan { codes, lr, max_grad_norm: (bound > 0.0).then_some(bound) };
        let one_hot = matches!(self.latent, LatentKind::OneHot(_));
        let (keeps, assigns) = (self.keeps_first_codes(), one_hot && left > 0.0);
        let (batch, trajectories, rng) = self.sampler.parts();
        let (config, first) = (&self.config, self.first_codes.as_deref().unwrap_or_default());
        // Replaces the plain minimum by an assignment that keeps codes alive.
        let set = move |codes: &mut [f32], chosen: Vec<usize>| {
            for (code, chosen) in codes.chunks_exact_mut(k).zip(chosen) {
                code.fill(0.0);
                code[chosen] = 1.0;
            }
        };
        let choose: Option<Box<Choose<'_>>> = match config.assignment {
            Assignment::Clustered if keeps => Some(Box::new(move |losses, codes, _| {
                let of = |&n: &u32| first[n as usize * k..][..k].iter().position(|&z| z > 0.5);
                let of = trajectories.iter().map(|n| of(n).unwrap_or(0));
                set(codes, assign::loyal(losses, k, of, config.first_code_margin));
            })),
            Assignment::Balanced if assigns => Some(Box::new(move |losses, codes, _| {
                set(codes, assign::balanced(losses, k));
            })),
            Assignment::Annealed if assigns => Some(Box::new(move |losses, codes, rng| {
                set(codes, assign::boltzmann(losses, k, config.temperature * left, rng));
            })),
            _ => None,
        };
        Member { net: &mut self.net, adam: &mut self.adam, plan, batch, rng, choose }
    }

    /// Whether codes come from the search.
    fn searches(&self) -> bool {
        (self.codes == CodeSource::Search && !self.begins_with_first_codes())
            || self.latent.width() == 0
    }

    /// Codes `[trajectories, Z]` of the minibatch that do not come from a search.
    fn given_codes(&mut self) -> Vec<f32> {
        let z = self.latent.width();
        let mut codes = vec![0.0; self.sampler.trajectories.len() * z];
        let given = match &self.codes {
            CodeSource::Given(given) => Some(given.as_slice()),
            CodeSource::Search => self.first_codes.as_deref(),
            CodeSource::Prior => None,
        };
        for (code, &n) in codes.chunks_exact_mut(z).zip(&self.sampler.trajectories) {
            match given {
                Some(given) => code.copy_from_slice(&given[n as usize * z..][..z]),
                None => sample_prior(self.latent, &mut self.sampler.rng, code),
            }
        }
        codes
    }

    /// How much of the assignment's phase is left, 1 to 0.
    fn assignment_left(&self) -> f32 {
        let phase = self.config.updates as f32 * self.config.assignment_share;
        (1.0 - self.step as f32 / phase.max(1.0)).max(0.0)
    }

    /// Whether codes are still the first ones, which do not come from the search.
    fn begins_with_first_codes(&self) -> bool {
        self.codes == CodeSource::Search
            && self.config.assignment == Assignment::Clustered
            && self.assignment_left() > 0.0
    }

    /// Whether trajectories leave their first codes only for ones that are better by a margin.
    fn keeps_first_codes(&self) -> bool {
        self.codes == CodeSource::Search
            && self.config.assignment == Assignment::Clustered
            && self.config.first_code_margin > 0.0
            && matches!(self.latent, LatentKind::OneHot(_))
    }

    /// Half a cosine from the initial step size to its final share.
    fn learning_rate(&self) -> f32 {
        let progress = self.step as f64 / self.config.updates.max(1) as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()) as f32;
        let end = self.config.final_learning_rate;
        self.config.learning_rate * (end + (1.0 - end) * cosine)
    }

    /// Counts the first update that has not been.
    fn count(&mut self, heard: &Heard) {
        let (stats, trajectories) = (&mut self.stats, self.uncounted.pop_front());
        stats.updates += 1;
        stats.loss += f64::from(heard.step.loss);
        stats.grad_norm += f64::from(heard.step.grad_norm);
        if !matches!(self.latent, LatentKind::OneHot(_)) {
            return;
        }
        for (trajectory, &code) in trajectories.into_iter().flatten().zip(&heard.codes) {
            stats.wins[code as usize] += 1;
            stats.visits += 1;
            let last = stats.last_code[trajectory as usize].replace(code);
            stats.kept += u64::from(last == Some(code));
        }
    }

    /// Metrics of the updates that were counted ([`Together::count`]) since the last call: `sog_loss`,
    /// `grad_norm`, `learning_rate`, `code_k_share` (how often each code wins) and `code_stability`
    /// (share of visits at which a trajectory kept its code).
    pub fn metrics(&mut self) -> Vec<(String, f64)> {
        let stats = &mut self.stats;
        let (updates, visits) = (stats.updates.max(1) as f64, stats.visits.max(1) as f64);
        let mut metrics = vec![
            ("sog_loss".to_string(), stats.loss / updates),
            ("grad_norm".to_string(), stats.grad_norm / updates),
        ];
        for (k, wins) in stats.wins.iter_mut().enumerate() {
            metrics.push((format!("code_{k}_share"), std::mem::take(wins) as f64 / visits));
        }
        if !stats.wins.is_empty() {
            metrics.push(("code_stability".to_string(), stats.kept as f64 / visits));
        }
        (stats.updates, stats.loss, stats.grad_norm, stats.visits, stats.kept) =
            (0, 0.0, 0.0, 0, 0);
        metrics.push(("learning_rate".to_string(), f64::from(self.learning_rate())));
        metrics
    }

    /// Mean loss of all trajectories, each under its best code; of the settled policy.
    ///
    /// # Errors
    /// If a shape does not match, which a constructed learner rules out.
    pub fn loss_of_all(&self) -> Result<f64, TrainError> {
        let found = self.embedded()?;
        let sum: f64 = found.losses.iter().map(|&loss| f64::from(loss)).sum();
        Ok(sum / found.losses.len() as f64)
    }

    fn embedded(&self) -> Result<Embedding, TrainError> {
        let (demos, normaliser) = (self.sampler.demos(), self.sampler.normaliser());
        let search = code_search(&self.config, self.latent);
        Ok(embed(&self.net, normaliser, search, demos, RESIDUAL_ROWS, 0)?)
    }

    /// The settled policy with the exploration taken from the cloning residual (cloning itself never
    /// trains it): log of the root mean square error of each action component, within
    /// [`LOG_STD_BOUNDS`].
    ///
    /// # Errors
    /// As [`SogBc::loss_of_all`].
    pub fn with_log_std(&self) -> Result<PolicyNet, TrainError> {
        let found = self.embedded()?;
        let (low, high) = LOG_STD_BOUNDS;
        let mut net = self.net.clone();
        for (log_std, rms) in net.log_std_mut().iter_mut().zip(found.rms_error) {
            *log_std = rms.max(f32::MIN_POSITIVE).ln().clamp(low, high);
        }
        Ok(net)
    }
}

/// Computes the updates of learners that are in step: all at the same step, of one shape and one
/// configuration but for the seed. They are the same ones each time.
pub struct Together {
    updates: Box<dyn CloningUpdates>,
}

impl Together {
    /// Updates of policies of this shape by `compute`; on a device all at once, on the engine one learner's
    /// after the other's.
    pub fn new(compute: &Compute, arch: &PolicyArch) -> Self {
        Self { updates: compute.cloning(arch, Parallelism::Rayon) }
    }

    /// One iteration of each: lines 4 to 8.
    ///
    /// # Errors
    /// If a shape does not match, which constructed learners rule out, or the device fails.
    pub fn update<'l, 'a: 'l>(
        &mut self,
        learners: impl Iterator<Item = &'l mut SogBc<'a>>,
    ) -> Result<(), TrainError> {
        let mut learners: Vec<&mut SogBc<'a>> = learners.collect();
        match &mut learners[..] {
            [one] => one.draw(),
            more => more.par_iter_mut().for_each(|learner| learner.draw()),
        }
        let mut members: Vec<Member<'_>> = learners.iter_mut().map(|l| l.member()).collect();
        self.updates.update(&mut members)?;
        drop(members);
        learners.iter_mut().for_each(|learner| learner.step += 1);
        Ok(())
    }

    /// Brings the learners' metrics up to date.
    ///
    /// # Errors
    /// If the device fails.
    pub fn count<'l, 'a: 'l>(
        &mut self,
        learners: impl Iterator<Item = &'l mut SogBc<'a>>,
    ) -> Result<(), TrainError> {
        let mut learners: Vec<&mut SogBc<'a>> = learners.collect();
        let heard = self.updates.told()?;
        for each in heard.chunks(learners.len().max(1)) {
            learners.iter_mut().zip(each).for_each(|(learner, heard)| learner.count(heard));
        }
        Ok(())
    }

    /// Brings the learners up to date: policies, optimisers and metrics. Needed before a checkpoint and
    /// before a `net` is read.
    ///
    /// # Errors
    /// If the device fails.
    pub fn settle<'l, 'a: 'l>(
        &mut self,
        learners: impl Iterator<Item = &'l mut SogBc<'a>>,
    ) -> Result<(), TrainError> {
        let mut learners: Vec<&mut SogBc<'a>> = learners.collect();
        self.count(learners.iter_mut().map(|learner| &mut **learner))?;
        self.updates.finish(learners.into_iter().map(|l| (&mut l.net, &mut l.adam)).collect())
    }
}

/// Which candidates line 5 tries: every one-hot code, or samples of the prior, coordinate by
/// coordinate (Algorithm 4).
pub(crate) fn code_search(config: &CloningConfig, latent: LatentKind) -> CodeSearch {
    match latent {
        LatentKind::Gaussian(d) => CodeSearch::Coordinate {
            samples: config.search_samples,
            block: config.search_block,
            rounds: if d > 1 { config.search_rounds } else { 1 },
        },
        LatentKind::None | LatentKind::OneHot(_) => CodeSearch::OneHot,
    }
}

impl Checkpoint for SogBc<'_> {
    fn save(&self, to: &mut Snapshot) {
        to.f32s("params", &[self.net.params.len()], &self.net.params);
        to.f32s("adam.m", &[self.adam.m.len()], &self.adam.m);
        to.f32s("adam.v", &[self.adam.v.len()], &self.adam.v);
        to.state("adam.steps", &self.adam.steps);
        to.nest("sampler", &self.sampler);
        to.state("step", &self.step);
        to.state("stats", &self.stats);
        // That of the attempt that was gone on with: first codes are drawn from it.
        to.state("seed", &self.seed);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        self.uncounted.clear();
        from.read_f32s("params", &mut self.net.params)?;
        from.read_f32s("adam.m", &mut self.adam.m)?;
        from.read_f32s("adam.v", &mut self.adam.v)?;
        self.adam.steps = from.read_state("adam.steps")?;
        from.read_nested("sampler", &mut self.sampler)?;
        self.step = from.read_state("step")?;
        self.stats = from.read_state("stats")?;
        self.seed = from.read_state("seed")?;
        Ok(())
    }
}
