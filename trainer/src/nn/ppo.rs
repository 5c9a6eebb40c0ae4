//! The PPO minibatch update on candle: the losses of `sog_engine::ppo`.

use candle_core::{D, DType, Device, Result, Tensor};
use sog_engine::{
    net::PolicyNet,
    ppo::{ActorCritic, PpoBatch, PpoConfig, PpoStats, SogTerm},
    search::Search,
    sog_bc::Codes,
};
use sog_rl::ppo::{HookError, Updates};

use super::{
    adam::{DeviceAdam, clip_scale, global_norm},
    mlp::CandleMlp,
    policy::CandlePolicy,
    scalars,
    sog::Loaded,
};

/// ½ log 2π
const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_8;

/// PPO's minibatch updates on a device. The networks are taken there with the first update of an
/// iteration and given back by [`Updates::finish`].
pub struct DevicePpo {
    device: Device,
    nets: Option<Nets>,
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
        let policy = CandlePolicy::new(&nets.policy, device)?;
        let critic = CandleMlp::new(&nets.critic, device)?;
        let adam = |params, values: &[f32], adam| DeviceAdam::new(params, values, adam);
        Ok(Self {
            policy_adam: adam(&policy.params, &nets.policy.params, &nets.policy_adam)?,
            critic_adam: adam(&critic.params, &nets.critic.params, &nets.critic_adam)?,
            policy,
            critic,
        })
    }
}

impl DevicePpo {
    /// Updates on `device`.
    pub fn new(device: Device) -> Self {
        Self { device, nets: None, search: Search::default() }
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
        let on_device = match self.nets.take() {
            Some(nets) => nets,
            None => Nets::new(nets, &self.device)?,
        };
        let on_device = self.nets.insert(on_device);
        let with_code = nets.critic.arch().inputs != nets.policy.arch().obs;
        let batch = Batch::new(&nets.policy, batch, &self.device)?;
        let sog =
            sog.map(|term| sog_term(&on_device.policy, &mut self.search, term)).transpose()?;
        Ok(on_device.update(config, lr, &batch, with_code, sog)?)
    }

    fn finish(&mut self, nets: &mut ActorCritic) -> std::result::Result<(), HookError> {
        if let Some(on_device) = self.nets.take() {
            on_device.policy_adam.store(&mut nets.policy.params, &mut nets.policy_adam)?;
            on_device.critic_adam.store(&mut nets.critic.params, &mut nets.critic_adam)?;
        }
        Ok(())
    }
}

/// L_SOG with its weight λ_S.
struct Sog {
    loss: Tensor,
    weight: f32,
}

fn sog_term(policy: &CandlePolicy, search: &mut Search, term: SogTerm<'_>) -> Result<Sog> {
    let loaded = Loaded::new(policy, term.batch)?;
    let codes = match term.codes {
        Codes::Search(plan) => {
            loaded.search(policy, term.batch.groups, plan, search, term.rng)?;
            search.codes()
        }
        Codes::Given(codes) => codes,
    };
    Ok(Sog { loss: loaded.loss(policy, codes)?, weight: term.weight })
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

impl Batch {
    fn new(policy: &PolicyNet, batch: PpoBatch<'_>, device: &Device) -> Result<Self> {
        let (rows, arch) = (batch.advantages.len(), policy.arch());
        let matrix = |x: &[f32], width: usize| Tensor::from_slice(x, (rows, width), device);
        let vector = |x: &[f32]| Tensor::from_slice(x, rows, device);
        Ok(Self {
            obs: matrix(batch.obs, arch.obs)?,
            latents: (arch.latent > 0).then(|| matrix(batch.latents, arch.latent)).transpose()?,
            actions: matrix(batch.actions, arch.action)?,
            log_probs: vector(batch.log_probs)?,
            advantages: vector(batch.advantages)?,
            targets: vector(batch.targets)?,
            values: (!batch.values.is_empty()).then(|| vector(batch.values)).transpose()?,
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
    fn update(
        &mut self,
        config: &PpoConfig,
        lr: f32,
        batch: &Batch,
        with_code: bool,
        sog: Option<Sog>,
    ) -> Result<PpoStats> {
        let policy = self.policy_loss(config, batch)?;
        let value_loss = self.value_loss(config, batch, with_code)?;
        let mut loss = (&policy.loss - (&policy.entropy * f64::from(config.entropy_coef))?)?;
        loss = (loss + (&value_loss * f64::from(config.value_coef))?)?;
        if let Some(sog) = &sog {
            loss = (loss + (&sog.loss * f64::from(sog.weight))?)?;
        }
        let gradients = loss.backward()?;
        let of_policy = self.policy.params.collect(&gradients)?;
        let of_critic = self.critic.params.collect(&gradients)?;
        let norm = global_norm(&[&of_policy, &of_critic])?;
        let scale = config.max_grad_norm.map(|max| clip_scale(&norm, max.into())).transpose()?;
        self.policy_adam.step(&self.policy.params, &of_policy, lr, scale.as_ref())?;
        self.critic_adam.step(&self.critic.params, &of_critic, lr, scale.as_ref())?;
        let log_std = self.policy.params.layout().tensor("log_std");
        let range = log_std.map_err(candle_core::Error::wrap)?.range();
        let (low, high) = (config.log_std_min, config.log_std_max);
        self.policy_adam.bound(&self.policy.params, range, low, high)?;
        let [policy_loss, value_loss, entropy, approx_kl, clip_fraction, grad_norm, sog_loss] =
            scalars([
                &policy.loss,
                &value_loss,
                &policy.entropy,
                &policy.approx_kl,
                &policy.clip_fraction,
                &norm,
                sog.as_ref().map_or(&norm, |sog| &sog.loss),
            ])?;
        Ok(PpoStats {
            policy_loss,
            value_loss,
            entropy,
            approx_kl,
            clip_fraction,
            grad_norm,
            sog_loss: sog.map(|_| sog_loss),
        })
    }

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
        net::{Init, Mlp, MlpArch, PolicyArch},
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
