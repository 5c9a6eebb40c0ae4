//! Part `times`: single updates on the processor and on the device, by width and batch.

use std::time::{Duration, Instant};

use anyhow::Result;
use candle_core::Device;
use rand::RngExt;
use serde_json::json;
use sog_engine::{
    adam::{Adam, AdamConfig},
    discriminator::{Discriminator, DiscriminatorBatch, DiscriminatorConfig},
    mlp::Part,
    net::{Activation, Init, LEAKY_SLOPE, Mlp, MlpArch, PolicyArch, PolicyNet},
    ppo::{ActorCritic, Ppo, PpoBatch, PpoConfig},
    search::{CodeSearch, Groups},
    shard::Parallelism,
    sog_bc::{Codes, SogBatch, SogPlan},
};
use sog_rl::ppo::Updates;
use sog_sim::seed::{self, Rng};

use super::part::Place;
use crate::{
    config::CloningConfig,
    device::Compute,
    nn::{
        ppo::DevicePpo,
        updates::{DiscriminatorUpdates, Member},
    },
    train::in_the_pool,
};

pub(super) const COLUMNS: [&str; 7] = [
    "H",
    "batch",
    "1 thread",
    "all threads",
    "device",
    "1 thread / device",
    "all threads / device",
];

/// Small enough that no number of updates changes what an update does.
const LR: f32 = 1e-7;

/// Seconds for each figure.
const SECONDS: f64 = 0.2;

/// Widths of the hidden layers.
pub(super) fn widths(place: &Place) -> Vec<usize> {
    if place.how.quick { vec![32, 128] } else { vec![128, 512, 1024, 2048] }
}

/// Rows of a minibatch; the discriminator's of each kind.
pub(super) fn batches(place: &Place) -> Vec<usize> {
    if place.how.quick { vec![64] } else { vec![64, 512, 4096] }
}

pub(super) fn run(place: &Place) -> Result<()> {
    let device = place.device().open()?;
    let threads = rayon::current_num_threads();
    place.tell(&format!("{threads} threads; S = 27, K = 6 one-hot codes, A = 8"), None, &[])?;
    let seconds = if place.how.quick { 0.05 } else { SECONDS };
    for hidden in widths(place) {
        for batch in batches(place) {
            for kind in Kind::ALL {
                if place.until.saturating_duration_since(Instant::now()) < Duration::from_secs(2) {
                    let rest = format!(
                        "{}, H = {hidden}, batch {batch} and on: no time left",
                        kind.name()
                    );
                    return place.tell(&rest, false, &[]);
                }
                let case = Case { hidden, rows: batch, ..Case::ant(kind) };
                let on_device = case.median_us(&device, Parallelism::Rayon, seconds)?;
                let all = case.median_us(&Compute::Engine, Parallelism::Rayon, seconds)?;
                let one = case.median_us(&Compute::Engine, Parallelism::Serial, seconds)?;
                let good = match (hidden, batch) {
                    (1024, 4096) => Some(all >= 10.0 * on_device),
                    (128, 64) => Some(on_device <= 3.0 * one),
                    _ => None,
                };
                place.tell(
                    kind.name(),
                    good.filter(|_| place.is_cuda()),
                    &[
                        ("H", json!(hidden)),
                        ("batch", json!(batch)),
                        ("1 thread", json!(one)),
                        ("all threads", json!(all)),
                        ("device", json!(on_device)),
                        ("1 thread / device", json!(one / on_device)),
                        ("all threads / device", json!(all / on_device)),
                    ],
                )?;
            }
        }
    }
    Ok(())
}

/// An update that dominates training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Kind {
    /// Algorithm 2, all rows under one code.
    SogBc,
    /// A minibatch of PPO with a critic.
    Ppo,
    /// The discriminator with its gradient penalty.
    Discriminator,
}

impl Kind {
    pub(in crate::cli) const ALL: [Self; 3] = [Self::SogBc, Self::Ppo, Self::Discriminator];

    fn name(self) -> &'static str {
        match self {
            Self::SogBc => "SOG-BC",
            Self::Ppo => "PPO",
            Self::Discriminator => "discriminator",
        }
    }
}

/// An update with its sizes.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Case {
    pub(in crate::cli) kind: Kind,
    /// Widths S, K, A.
    pub(in crate::cli) widths: [usize; 3],
    /// Width H of the hidden layers.
    pub(in crate::cli) hidden: usize,
    /// Rows of the minibatch.
    pub(in crate::cli) rows: usize,
}

pub(in crate::cli) type Update = Box<dyn FnMut() -> Result<()> + Send>;

impl Case {
    /// The reference: the ant with six directions.
    pub(in crate::cli) fn ant(kind: Kind) -> Self {
        Self { kind, widths: [27, 6, 8], hidden: 128, rows: 64 }
    }

    /// Median of microseconds an update over about `seconds`; `threads` are the engine's.
    pub(in crate::cli) fn median_us(
        self,
        by: &Compute,
        threads: Parallelism,
        seconds: f64,
    ) -> Result<f64> {
        let update = self.update(by, threads)?;
        in_the_pool(|| median_us(seconds, &by.device(), update))
    }

    /// The update, each call one.
    pub(in crate::cli) fn update(self, by: &Compute, threads: Parallelism) -> Result<Update> {
        match self.kind {
            Kind::SogBc => self.cloning(by, threads, 1, 1),
            Kind::Ppo => self.ppo(by, threads),
            Kind::Discriminator => self.discriminator(by, threads),
        }
    }

    /// Median of microseconds of an update of SOG-BC in so many runs at once, with so many trajectories of equal
    /// shares of the rows.
    pub(super) fn together_us(
        self,
        by: &Compute,
        runs: usize,
        trajectories: usize,
        seconds: f64,
    ) -> Result<f64> {
        let update = self.cloning(by, Parallelism::Rayon, runs, trajectories)?;
        in_the_pool(|| median_us(seconds, &by.device(), update))
    }

    fn cloning(
        self,
        by: &Compute,
        threads: Parallelism,
        runs: usize,
        trajectories: usize,
    ) -> Result<Update> {
        let (mut rng, [s, _, a]) = (seed::rng(0), self.widths);
        let mut learners = vec![];
        for _ in 0..runs {
            let net = self.policy(&mut rng)?;
            let (obs, actions) =
                (uniform(self.rows * s, &mut rng), uniform(self.rows * a, &mut rng));
            let adam = Adam::new(AdamConfig::default(), net.params.len());
            learners.push((net, adam, obs, actions, rng.clone()));
        }
        let of_row: Vec<u32> =
            (0..self.rows).map(|row| (row * trajectories / self.rows) as u32).collect();
        let arch = PolicyArch::paper(s, self.widths[1], self.hidden, a);
        let (mut updates, mut done) = (by.cloning(&arch, threads), 0u64);
        let codes = Codes::Search(CodeSearch::OneHot);
        let plan = SogPlan { codes, lr: LR, max_grad_norm: None };
        Ok(Box::new(move || {
            let groups = match trajectories {
                1 => Groups::Shared,
                count => Groups::Index { of_row: &of_row, count },
            };
            let mut members: Vec<Member<'_>> = learners
                .iter_mut()
                .map(|(net, adam, obs, actions, rng)| {
                    let batch = SogBatch { obs, actions, groups };
                    Member { net, adam, plan, batch, rng, choose: None }
                })
                .collect();
            updates.update(&mut members)?;
            done += 1;
            if done.is_multiple_of(CloningConfig::default().log_interval) {
                updates.told()?;
            }
            Ok(())
        }))
    }

    fn ppo(self, by: &Compute, threads: Parallelism) -> Result<Update> {
        let (mut rng, [s, z, a], rows) = (seed::rng(0), self.widths, self.rows);
        let policy = self.policy(&mut rng)?;
        let arch = MlpArch::new("critic", s + z, &[self.hidden; 2], Activation::Tanh, 1);
        let critic = Mlp::new(arch, Init::default(), &mut rng)?;
        let mut updates: Box<dyn Updates> = match by {
            Compute::Candle(device) => Box::new(DevicePpo::new(device.clone())),
            Compute::Engine => {
                Box::new(Ppo::new(policy.arch(), critic.arch())?.with_parallelism(threads))
            }
        };
        let mut nets = ActorCritic::new(policy, critic, AdamConfig::default());
        let (obs, actions) = (uniform(rows * s, &mut rng), uniform(rows * a, &mut rng));
        let (latents, row) = (uniform(rows * z, &mut rng), uniform(rows, &mut rng));
        let (log_probs, config) = (vec![-10.0; rows], PpoConfig::default());
        Ok(Box::new(move || {
            let batch = PpoBatch {
                obs: &obs,
                latents: &latents,
                actions: &actions,
                log_probs: &log_probs,
                advantages: &row,
                targets: &row,
                values: &row,
            };
            let stats = updates.update(&mut nets, &config, LR, batch, None);
            stats.map_err(anyhow::Error::from_boxed).map(|_| ())
        }))
    }

    fn discriminator(self, by: &Compute, threads: Parallelism) -> Result<Update> {
        let (mut rng, [s, _, a], rows) = (seed::rng(0), self.widths, self.rows);
        let activation = Activation::LeakyRelu { slope: LEAKY_SLOPE };
        let arch = MlpArch::new("discriminator", s + a, &[self.hidden; 2], activation, 1);
        let mut net = Mlp::new(arch, Init::default(), &mut rng)?;
        let mut adam = Adam::new(AdamConfig::default(), net.params.len());
        let mut updates: Box<dyn DiscriminatorUpdates> = match by {
            Compute::Candle(_) => by.discriminator(net.arch())?,
            Compute::Engine => Box::new(Discriminator::new(net.arch())?.with_parallelism(threads)),
        };
        let (expert, policy) =
            (uniform(rows * (s + a), &mut rng), uniform(rows * (s + a), &mut rng));
        let mix: Vec<f32> = (0..rows).map(|_| rng.random()).collect();
        let config = DiscriminatorConfig::default();
        Ok(Box::new(move || {
            let expert = [Part { data: &expert, width: s + a }];
            let policy = [Part { data: &policy, width: s + a }];
            let batch = DiscriminatorBatch { expert: &expert, policy: &policy, mix: &mix };
            updates.update(&mut net, &mut adam, &config, LR, batch)?;
            Ok(())
        }))
    }

    /// The policy of the case, at its start.
    pub(in crate::cli) fn policy(self, rng: &mut Rng) -> Result<PolicyNet> {
        let [obs, latent, action] = self.widths;
        let arch = PolicyArch::paper(obs, latent, self.hidden, action);
        Ok(PolicyNet::new(arch, Init::default(), rng)?)
    }
}

/// Median of microseconds a call of `work`, in blocks that the device finishes, over `seconds`.
fn median_us(seconds: f64, device: &Device, mut work: Update) -> Result<f64> {
    let mut block = |updates: usize| -> Result<f64> {
        let start = Instant::now();
        (0..updates).try_for_each(|_| work())?;
        device.synchronize()?;
        Ok(start.elapsed().as_secs_f64() / updates as f64)
    };
    let first = block(1)?;
    if first > 0.05 {
        // Slow ones say enough by one more, and would take the time of all others.
        return Ok(first.min(block(1)?) * 1e6);
    }
    let once = block(3)?;
    // Short ones on a processor, so that what else runs there falls into few of them; long ones where a
    // device is waited for at each end.
    let span = if device.is_cpu() { 0.002_f64.min(seconds / 10.0) } else { seconds / 10.0 };
    let updates = (span / once).clamp(1.0, 1000.0) as usize;
    let (begin, mut times) = (Instant::now(), vec![]);
    while begin.elapsed().as_secs_f64() < seconds || times.is_empty() {
        times.push(block(updates)?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2] * 1e6)
}

pub(in crate::cli) fn uniform(count: usize, rng: &mut Rng) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}
