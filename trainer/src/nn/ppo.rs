//! The PPO minibatch update on candle: the losses of `sog_engine::ppo`.

use candle_core::{D, DType, Device, Result, Tensor};
use sog_engine::{
    ppo::{ActorCritic, PpoBatch, PpoConfig, PpoStats, SogTerm},
    search::Search,
    sog_bc::Codes,
};
use sog_rl::ppo::{HookError, Updates};

use super::{
    Told,
    adam::{DeviceAdam, SCALARS, minimise},
    mlp::CandleMlp,
    policy::CandlePolicy,
    recorded::{Inputs, Places, Recorded},
    sog::{Loaded, Sizes},
};

/// ½ log 2π
const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_8;

/// PPO's minibatch updates on a device. The networks are taken there with the first update of an
/// iteration and given back by [`Updates::finish`].
pub struct DevicePpo {
    device: Device,
    nets: Option<Nets>,
    /// Whether the networks there are the newest.
    current: bool,
    places: Places<Key, Place>,
    search: Search,
}

struct Nets {
    policy: CandlePolicy,
    policy_adam: DeviceAdam,
    critic: CandleMlp,
    critic_adam: DeviceAdam,
}

impl Nets {
    fn new(nets: &ActorCritic, device: &Device) -> Result<Self> {
        Ok(Self {
            policy_adam: DeviceAdam::new(&nets.policy_adam, device)?,
            critic_adam: DeviceAdam::new(&nets.critic_adam, device)?,
            policy: CandlePolicy::new(&nets.policy, device)?,
            critic: CandleMlp::new(&nets.critic, device)?,
        })
    }

    fn load(&mut self, nets: &ActorCritic) -> Result<()> {
        self.policy.params.set(&nets.policy.params)?;
        self.critic.params.set(&nets.critic.params)?;
        self.policy_adam.load(&nets.policy_adam)?;
        self.critic_adam.load(&nets.critic_adam)
    }
}

impl DevicePpo {
    /// Updates on `device`.
    pub fn new(device: Device) -> Self {
        Self {
            device,
            nets: None,
            current: false,
            places: Places::default(),
            search: Search::default(),
        }
    }
}

impl Updates for DevicePpo {
    fn update(
        &mut self,
        nets: &mut ActorCritic,
        config: &PpoConfig,
        lr: f32,
        batch: PpoBatch<'_>,
        sog: Option<SogTerm<'_>>,
    ) -> std::result::Result<PpoStats, HookError> {
        let there = match self.nets.take() {
            Some(mut there) => {
                if !self.current {
                    there.load(nets)?;
                }
                there
            }
            None => Nets::new(nets, &self.device)?,
        };
        self.current = true;
        let there = self.nets.insert(there);
        let arch = nets.policy.arch();
        let key = Key {
            // The bounds of log σ may move from one iteration to the next.
            config: PpoConfig { log_std_min: 0.0, log_std_max: 0.0, ..*config },
            rows: batch.advantages.len(),
            with_code: nets.critic.arch().inputs != arch.obs,
            with_values: !batch.values.is_empty(),
            sog: sog.as_ref().map(|term| (Sizes::of(&term.batch, arch.action), term.weight)),
        };
        let place = self.places.of(key, || Place::new(there, key))?;
        let bounds = [config.log_std_min, config.log_std_max];
        Ok(place.update(there, lr, bounds, batch, sog, &mut self.search)?)
    }

    fn finish(&mut self, nets: &mut ActorCritic) -> std::result::Result<(), HookError> {
        if let Some(there) = self.nets.as_ref().filter(|_| self.current) {
            let Nets { policy, policy_adam, critic, critic_adam } = there;
            policy_adam.store(&policy.params, &mut nets.policy.params, &mut nets.policy_adam)?;
            critic_adam.store(&critic.params, &mut nets.critic.params, &mut nets.critic_adam)?;
        }
        self.current = false;
        Ok(())
    }
}

/// What an update depends on besides its numbers and the bounds of log σ.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Key {
    config: PpoConfig,
    rows: usize,
    /// Whether the critic sees the code.
    with_code: bool,
    /// Whether there are old values.
    with_values: bool,
    /// Sizes and weight λ_S of L_SOG.
    sog: Option<(Sizes, f32)>,
}

/// Minibatches on a device, and what is said of the step.
struct Place {
    key: Key,
    inputs: Inputs,
    batch: Batch,
    sog: Option<Sog>,
    scalars: Tensor,
    /// Of log σ.
    bounds: Tensor,
    told: Told<7>,
    recorded: Recorded,
}

/// A minibatch on the device, as [`PpoBatch`].
struct Batch {
    obs: Tensor,
    latents: Option<Tensor>,
    actions: Tensor,
    log_probs: Tensor,
    advantages: Tensor,
    targets: Tensor,
    values: Option<Tensor>,
}

/// L_SOG with its weight λ_S, and each row's code.
struct Sog {
    loaded: Loaded,
    codes: Option<Tensor>,
    weight: f32,
}

impl Place {
    fn new(nets: &Nets, key: Key) -> Result<Self> {
        let (arch, device) = (nets.policy.arch(), nets.policy.params.device());
        let (rows, z) = (key.rows, arch.latent);
        let sog_rows = key.sog.map_or(0, |(sizes, _)| sizes.rows());
        let old = if key.with_values { rows } else { 0 };
        let lengths = [arch.obs, z, arch.action, 1, 1, 1].map(|width| rows * width);
        let inputs =
            Inputs::new(&[&lengths[..], &[old, sog_rows * z, SCALARS, 2]].concat(), device)?;
        let code =
            |part: usize, rows: usize| (z > 0).then(|| inputs.view(part, (rows, z))).transpose();
        let batch = Batch {
            obs: inputs.view(0, (rows, arch.obs))?,
            latents: code(1, rows)?,
            actions: inputs.view(2, (rows, arch.action))?,
            log_probs: inputs.view(3, rows)?,
            advantages: inputs.view(4, rows)?,
            targets: inputs.view(5, rows)?,
            values: key.with_values.then(|| inputs.view(6, rows)).transpose()?,
        };
        let sog = match key.sog {
            None => None,
            Some((sizes, weight)) => {
                let loaded = Loaded::new(&nets.policy, sizes)?;
                Some(Sog { loaded, codes: code(7, sog_rows)?, weight })
            }
        };
        Ok(Self {
            key,
            batch,
            sog,
            scalars: inputs.view(8, SCALARS)?,
            bounds: inputs.view(9, 2)?,
            inputs,
            told: Told::new(device)?,
            recorded: Recorded::default(),
        })
    }

    fn update(
        &mut self,
        nets: &mut Nets,
        lr: f32,
        log_std: [f32; 2],
        batch: PpoBatch<'_>,
        term: Option<SogTerm<'_>>,
        search: &mut Search,
    ) -> Result<PpoStats> {
        let Self { key, inputs, batch: views, sog, scalars: step, bounds, told, recorded } = self;
        let (config, device) = (&key.config, nets.policy.params.device().clone());
        let mut row_codes = vec![];
        if let (Some(sog), Some(term)) = (&mut *sog, term) {
            sog.loaded.load(&[term.batch])?;
            let codes = match term.codes {
                Codes::Search(plan) => {
                    let groups = term.batch.groups;
                    sog.loaded.search(&nets.policy, groups, plan, search, term.rng)?;
                    search.codes()
                }
                Codes::Given(codes) => codes,
            };
            row_codes = sog.loaded.row_codes(nets.policy.arch().latent, codes)?;
        }
        let scalars = nets.policy_adam.scalars(lr, config.max_grad_norm);
        // Both take the same steps.
        nets.critic_adam.scalars(lr, config.max_grad_norm);
        let PpoBatch { obs, latents, actions, log_probs, advantages, targets, values } = batch;
        inputs.upload(&[
            obs, latents, actions, log_probs, advantages, targets, values, &row_codes, &scalars,
            &log_std,
        ])?;
        let nets = &*nets;
        recorded.run(&device, || {
            let policy = nets.policy_loss(config, views)?;
            let value_loss = nets.value_loss(config, views, key.with_code)?;
            let mut loss = (&policy.loss - (&policy.entropy * f64::from(config.entropy_coef))?)?;
            loss = (loss + (&value_loss * f64::from(config.value_coef))?)?;
            let sog_loss = match &*sog {
                None => None,
                Some(sog) => Some(sog.loaded.loss(&nets.policy, sog.codes.as_ref())?),
            };
            if let (Some(sog_loss), Some(sog)) = (&sog_loss, &*sog) {
                loss = (loss + (sog_loss * f64::from(sog.weight))?)?;
            }
            let networks = [
                (&nets.policy.params, &nets.policy_adam),
                (&nets.critic.params, &nets.critic_adam),
            ];
            let norm = minimise(&networks, &loss.backward()?, step)?;
            nets.policy.params.bound("log_std", bounds)?;
            let PolicyLoss { loss, entropy, approx_kl, clip_fraction } = &policy;
            let sog_loss = sog_loss.as_ref().unwrap_or(&norm);
            told.tell([loss, &value_loss, entropy, approx_kl, clip_fraction, &norm, sog_loss])
        })?;
        let [policy_loss, value_loss, entropy, approx_kl, clip_fraction, grad_norm, sog_loss] =
            told.read()?;
        Ok(PpoStats {
            policy_loss,
            value_loss,
            entropy,
            approx_kl,
            clip_fraction,
            grad_norm,
            sog_loss: key.sog.map(|_| sog_loss),
        })
    }
}

/// What is known of a minibatch's policy loss.
struct PolicyLoss {
    loss: Tensor,
    entropy: Tensor,
    approx_kl: Tensor,
    clip_fraction: Tensor,
}

impl Nets {
    fn policy_loss(&self, config: &PpoConfig, batch: &Batch) -> Result<PolicyLoss> {
        let log_std = self.policy.params.get("log_std")?;
        let mean = self.policy.mean(&batch.obs, batch.latents.as_ref())?;
        let u = (&batch.actions - mean)?.broadcast_mul(&log_std.neg()?.exp()?)?;
        let log_norm = (log_std + HALF_LOG_TAU)?.sum_all()?;
        let log_prob = (u.sqr()?.sum(D::Minus1)? * -0.5)?.broadcast_sub(&log_norm)?;
        let log_ratio = (log_prob - &batch.log_probs)?;
        let ratio = log_ratio.exp()?;
        let clip = f64::from(config.clip);
        let surrogate = (&ratio * &batch.advantages)?;
        let bounded = (ratio.clamp(1.0 - clip, 1.0 + clip)? * &batch.advantages)?;
        let outside = (&ratio - 1.0)?.abs()?.gt(clip)?.to_dtype(DType::F32)?;
        Ok(PolicyLoss {
            loss: surrogate.minimum(&bounded)?.mean_all()?.neg()?,
            entropy: (log_std + (HALF_LOG_TAU + 0.5))?.sum_all()?,
            approx_kl: ((&ratio - 1.0)? - &log_ratio)?.mean_all()?,
            clip_fraction: outside.mean_all()?,
        })
    }

    fn value_loss(&self, config: &PpoConfig, batch: &Batch, with_code: bool) -> Result<Tensor> {
        let input = match &batch.latents {
            Some(codes) if with_code => Tensor::cat(&[&batch.obs, codes], 1)?,
            _ => batch.obs.clone(),
        };
        let value = self.critic.forward(&input)?.squeeze(1)?;
        let square = (&value - &batch.targets)?.sqr()?;
        let square = match (config.value_clip, &batch.values) {
            (Some(clip), Some(old)) => {
                let shift = (&value - old)?.clamp(-clip, clip)?;
                square.maximum(&((old + shift)? - &batch.targets)?.sqr()?)?
            }
            _ => square,
        };
        square.mean_all()? * 0.5
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rand_distr::StandardNormal;
    use sog_engine::{
        adam::AdamConfig,
        net::{Init, Mlp, MlpArch, PolicyArch, PolicyNet},
        ppo::Ppo,
        search::{CodeSearch, Groups},
        sog_bc::{SogBatch, SogBc},
    };
    use sog_sim::seed;

    use super::*;

    const ROWS: usize = 40;

    /// Everything at once: value clipping, entropy, bounds of log σ that bite, a SOG term.
    #[test]
    fn updates_with_every_term_are_the_engines() {
        let mut rng = seed::rng(3);
        let mut normal =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.sample(StandardNormal)).collect() };
        let (obs, actions, codes) = (normal(ROWS * 5), normal(ROWS * 2), normal(ROWS * 3));
        let (advantages, targets, values) = (normal(ROWS), normal(ROWS), normal(ROWS));
        let log_probs: Vec<f32> = normal(ROWS).iter().map(|x| 0.3 * x - 3.0).collect();
        let batch = PpoBatch {
            obs: &obs,
            latents: &codes,
            actions: &actions,
            log_probs: &log_probs,
            advantages: &advantages,
            targets: &targets,
            values: &values,
        };
        let config = PpoConfig {
            value_clip: Some(0.5),
            entropy_coef: 0.5,
            log_std_max: 0.002,
            ..PpoConfig::default()
        };
        let arch = PolicyArch { mean_scale: Some(1.5), ..PolicyArch::paper(5, 3, 32, 2) };
        let policy = PolicyNet::new(arch, Init { log_std: 0.0, ..Init::default() }, &mut rng);
        let critic = Mlp::new(MlpArch::value(5 + 3), Init::default(), &mut rng);
        let (policy, critic) = (policy.unwrap(), critic.unwrap());
        let adam = AdamConfig { eps: 1e-5, ..AdamConfig::default() };
        let nets = ActorCritic::new(policy, critic, adam);

        let run = |updates: &mut dyn Updates| {
            let (mut nets, mut rng) = (nets.clone(), seed::rng(4));
            let mut sog = SogBc::new(nets.policy.arch());
            let mut stats = vec![];
            for _ in 0..5 {
                let term = SogTerm {
                    sog: &mut sog,
                    batch: SogBatch { obs: &obs, actions: &actions, groups: Groups::PerRow },
                    codes: Codes::Search(CodeSearch::coordinate(3)),
                    weight: 0.7,
                    rng: &mut rng,
                };
                stats.push(updates.update(&mut nets, &config, 1e-3, batch, Some(term)).unwrap());
            }
            updates.finish(&mut nets).unwrap();
            (nets, stats)
        };
        let mut engine = Ppo::new(nets.policy.arch(), nets.critic.arch()).unwrap();
        let (expected, stats) = run(&mut engine);
        let (found, other) = run(&mut DevicePpo::new(Device::Cpu));
        for (a, b) in stats.iter().zip(&other) {
            for (a, b) in [
                (a.policy_loss, b.policy_loss),
                (a.value_loss, b.value_loss),
                (a.entropy, b.entropy),
                (a.approx_kl, b.approx_kl),
                (a.clip_fraction, b.clip_fraction),
                (a.grad_norm, b.grad_norm),
                (a.sog_loss.unwrap(), b.sog_loss.unwrap()),
            ] {
                assert!((a - b).abs() < 1e-5 * a.abs().max(1.0), "{a} {b}: {stats:?} {other:?}");
            }
        }
        assert!(stats[0].clip_fraction > 0.1 && stats[0].sog_loss > Some(0.1));
        let pairs = [(&expected.policy.params, &found.policy.params, &nets.policy.params)];
        let critics = (&expected.critic.params, &found.critic.params, &nets.critic.params);
        for (a, b, start) in pairs.into_iter().chain([critics]) {
            let off = |x: &[f32], y: &[f32]| -> f32 {
                x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
            };
            assert!(off(a, b) < 1e-5 && off(a, start) > 1e-3, "{} {}", off(a, b), off(a, start));
        }
        assert_eq!(found.policy.log_std(), [0.002, 0.002]);
        assert_eq!(found.policy_adam.steps, 5);
    }
}
