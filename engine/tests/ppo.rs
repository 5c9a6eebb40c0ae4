//! The PPO update against a plain f64 implementation.

mod reference;

use rand::RngExt;
use rand_pcg::Pcg64;
use reference::{
    assert_gradient, differences, every_arch, mlp, normal, policy_mean, rng, spread, to_f64,
};
use sog_engine::adam::AdamConfig;
use sog_engine::net::{Activation, Init, Mlp, MlpArch, PolicyArch, PolicyNet};
use sog_engine::ppo::{ActorCritic, Ppo, PpoBatch, PpoConfig, SogTerm, log_probs};
use sog_engine::search::{CodeSearch, Groups};
use sog_engine::sog_bc::{Codes, SogBatch, SogBc};

const S: usize = 5;
const Z: usize = 2;
const A: usize = 3;

struct Data {
    obs: Vec<f32>,
    latents: Vec<f32>,
    actions: Vec<f32>,
    log_probs: Vec<f32>,
    advantages: Vec<f32>,
    targets: Vec<f32>,
    values: Vec<f32>,
}

impl Data {
    fn batch(&self) -> PpoBatch<'_> {
        PpoBatch {
            obs: &self.obs,
            latents: &self.latents,
            actions: &self.actions,
            log_probs: &self.log_probs,
            advantages: &self.advantages,
            targets: &self.targets,
            values: &self.values,
        }
    }
}

fn nets(scale: Option<f32>, critic_inputs: usize) -> ActorCritic {
    nets_of(PolicyArch { mean_scale: scale, ..PolicyArch::paper(S, Z, 20, A) }, critic_inputs)
}

fn nets_of(arch: PolicyArch, critic_inputs: usize) -> ActorCritic {
    let mut rng = rng(1);
    let mut policy = PolicyNet::new(arch, Init::default(), &mut rng).expect("valid");
    policy.params.iter_mut().for_each(|p| *p += rng.random_range(-0.2..0.2));
    policy.log_std_mut().copy_from_slice(&[-0.3, 0.1, 0.4]);
    let critic = MlpArch::new("critic", critic_inputs, &[16, 16], Activation::Tanh, 1);
    let mut critic = Mlp::new(critic, Init::default(), &mut rng).expect("valid");
    critic.params.iter_mut().for_each(|p| *p += rng.random_range(-0.2..0.2));
    ActorCritic::new(policy, critic, AdamConfig::default())
}

/// Rows whose ratios lie on both sides of the clip range.
fn data(nets: &ActorCritic, rows: usize, rng: &mut Pcg64) -> Data {
    let obs = normal(rng, rows * S);
    let latents = normal(rng, rows * Z);
    let p = to_f64(&nets.policy.params);
    let (mut actions, mut old) = (normal(rng, rows * A), Vec::new());
    for i in 0..rows {
        let (s, z) = (to_f64(&obs[i * S..][..S]), to_f64(&latents[i * Z..][..Z]));
        for (a, mean) in actions[i * A..][..A].iter_mut().zip(policy_mean(&nets.policy, &p, &s, &z))
        {
            *a += mean as f32;
        }
        let log_prob = log_prob(&nets.policy, &p, &s, &z, &to_f64(&actions[i * A..][..A]));
        old.push(log_prob as f32 + rng.random_range(-0.5..0.5));
    }
    Data {
        obs,
        latents,
        actions,
        log_probs: old,
        advantages: normal(rng, rows),
        targets: normal(rng, rows),
        values: normal(rng, rows),
    }
}

fn log_prob(net: &PolicyNet, p: &[f64], obs: &[f64], code: &[f64], action: &[f64]) -> f64 {
    let mean = policy_mean(net, p, obs, code);
    let log_std = &p[p.len() - A..];
    (0..A)
        .map(|k| {
            let u = (action[k] - mean[k]) / log_std[k].exp();
            -0.5 * u * u - log_std[k] - 0.5 * (2.0 * std::f64::consts::PI).ln()
        })
        .sum()
}

/// −1/n Σ min(rÂ, g(ε, Â)) − c_H H, written as in Eqs. 3–4; and (KL estimate, clipped share).
fn policy_loss(net: &PolicyNet, p: &[f64], d: &Data, config: &PpoConfig) -> (f64, f64, f64) {
    let n = d.advantages.len();
    let (mut loss, mut kl, mut clipped) = (0.0, 0.0, 0.0);
    let eps = f64::from(config.clip);
    for i in 0..n {
        let (s, z) = (to_f64(&d.obs[i * S..][..S]), to_f64(&d.latents[i * Z..][..Z]));
        let new = log_prob(net, p, &s, &z, &to_f64(&d.actions[i * A..][..A]));
        let log_ratio = new - f64::from(d.log_probs[i]);
        let (ratio, a) = (log_ratio.exp(), f64::from(d.advantages[i]));
        let g = if a >= 0.0 { (1.0 + eps) * a } else { (1.0 - eps) * a };
        loss -= (ratio * a).min(g);
        kl += ratio - 1.0 - log_ratio;
        clipped += f64::from((ratio - 1.0).abs() > eps);
    }
    let half_log_tau_e = 0.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E).ln();
    let entropy: f64 = p[p.len() - A..].iter().map(|l| l + half_log_tau_e).sum();
    let n = n as f64;
    (loss / n - f64::from(config.entropy_coef) * entropy, kl / n, clipped / n)
}

fn value_loss(net: &Mlp, p: &[f64], d: &Data, config: &PpoConfig) -> f64 {
    let n = d.targets.len();
    let mut total = 0.0;
    for i in 0..n {
        let mut x = to_f64(&d.obs[i * S..][..S]);
        if net.arch().inputs > S {
            x.extend(to_f64(&d.latents[i * Z..][..Z]));
        }
        let v = mlp(net, p, &x)[0];
        let t = f64::from(d.targets[i]);
        let plain = (v - t).powi(2);
        total += match config.value_clip {
            None => plain,
            Some(clip) => {
                let (old, clip) = (f64::from(d.values[i]), f64::from(clip));
                plain.max((old + (v - old).clamp(-clip, clip) - t).powi(2))
            }
        };
    }
    0.5 * total / n as f64
}

#[test]
fn both_gradients_agree_with_finite_differences() {
    let plain = PpoConfig::default();
    let clipped = PpoConfig { value_clip: Some(0.3), entropy_coef: 0.01, clip: 0.1, ..plain };
    let papers = [(plain, None, S, 64), (clipped, Some(1.5), S + Z, 90), (clipped, None, S, 7)]
        .map(|(config, scale, inputs, rows)| (config, nets(scale, inputs), rows));
    let others = every_arch([S, Z, A]).into_iter().map(|arch| (clipped, nets_of(arch, S), 45));
    for (config, nets, rows) in papers.into_iter().chain(others) {
        let mut rng = rng(rows as u64);
        let d = data(&nets, rows, &mut rng);
        let mut ppo = Ppo::new(nets.policy.arch(), nets.critic.arch()).expect("shapes match");
        let stats = ppo.gradient(&nets.policy, &nets.critic, &config, d.batch()).expect("valid");
        let (actor, critic) = ppo.gradients();

        let indices = spread(&mut rng, actor.len(), 200);
        let indices: Vec<usize> = indices.into_iter().chain(actor.len() - A..actor.len()).collect();
        let loss = |p: &[f64]| policy_loss(&nets.policy, p, &d, &config).0;
        let want = differences(&nets.policy.params, &indices, 1e-6, loss);
        assert_gradient(actor, &indices, &want, 1e-4);

        let indices = spread(&mut rng, critic.len(), 200);
        let coef = f64::from(config.value_coef);
        let loss = |p: &[f64]| coef * value_loss(&nets.critic, p, &d, &config);
        let want = differences(&nets.critic.params, &indices, 1e-6, loss);
        assert_gradient(critic, &indices, &want, 1e-4);

        let p = to_f64(&nets.policy.params);
        let (loss, kl, share) = policy_loss(&nets.policy, &p, &d, &config);
        let loss = loss + f64::from(config.entropy_coef * stats.entropy);
        let value = value_loss(&nets.critic, &to_f64(&nets.critic.params), &d, &config);
        for (got, want) in [
            (stats.policy_loss, loss),
            (stats.approx_kl, kl),
            (stats.clip_fraction, share),
            (stats.value_loss, value),
        ] {
            assert!((f64::from(got) - want).abs() < 2e-5, "{stats:?}: {got} {want}");
        }
        assert!(rows < 20 || (share > 0.1 && share < 0.95), "the data must try both sides");
    }
}

#[test]
fn an_update_is_one_adam_step_on_the_jointly_clipped_gradient_with_the_sog_term() {
    let start = nets(None, S);
    let mut rng1 = rng(5);
    let d = data(&start, 40, &mut rng1);
    let (demo_obs, demo_actions) = (normal(&mut rng1, 30 * S), normal(&mut rng1, 30 * A));
    let demos = SogBatch { obs: &demo_obs, actions: &demo_actions, groups: Groups::Shared };
    let config = PpoConfig { max_grad_norm: Some(0.05), ..PpoConfig::default() };

    let mut nets = start.clone();
    let mut ppo = Ppo::new(nets.policy.arch(), nets.critic.arch()).expect("shapes match");
    let mut sog = SogBc::new(nets.policy.arch());
    let term = SogTerm {
        sog: &mut sog,
        batch: demos,
        codes: Codes::Search(CodeSearch::coordinate(Z)),
        weight: 0.7,
        rng: &mut rng(6),
    };
    let stats = ppo.update(&mut nets, &config, 1e-3, d.batch(), Some(term)).expect("valid");

    // The same by hand, from the parts.
    let mut want = start.clone();
    let mut parts = Ppo::new(want.policy.arch(), want.critic.arch()).expect("shapes match");
    parts.gradient(&want.policy, &want.critic, &config, d.batch()).expect("valid");
    let (actor, critic) = parts.gradients();
    let (mut actor, critic) = (actor.to_vec(), critic.to_vec());
    let mut sog = SogBc::new(want.policy.arch());
    sog.search(&want.policy, demos, CodeSearch::coordinate(Z), &mut rng(6)).expect("valid");
    let mut sog_grad = vec![0.0; actor.len()];
    let loss = sog.gradient(&want.policy, Groups::Shared, 1.0, &mut sog_grad).expect("valid");
    actor.iter_mut().zip(sog_grad).for_each(|(a, s)| *a += 0.7 * s);
    let norm = actor.iter().chain(&critic).map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    let scale = (0.05 / (norm + 1e-6)) as f32;
    want.policy_adam.step(&mut want.policy.params, &actor, 1e-3, scale).expect("valid");
    want.critic_adam.step(&mut want.critic.params, &critic, 1e-3, scale).expect("valid");

    assert_eq!(stats.sog_loss, Some(loss));
    assert!((f64::from(stats.grad_norm) - norm).abs() < 1e-5 * norm && norm > 0.05);
    for (got, want) in
        [(&nets.policy.params, &want.policy.params), (&nets.critic.params, &want.critic.params)]
    {
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 2e-6, "{got} {want}");
        }
    }
    assert_ne!(nets.policy.params, start.policy.params);

    // Given the codes that the search found, the same.
    let mut given = start.clone();
    let found = sog.codes().to_vec();
    let mut other = SogBc::new(given.policy.arch());
    let codes = Codes::Given(&found);
    let term = SogTerm { sog: &mut other, batch: demos, codes, weight: 0.7, rng: &mut rng(7) };
    let again = ppo.update(&mut given, &config, 1e-3, d.batch(), Some(term)).expect("valid");
    assert_eq!(again.sog_loss, stats.sog_loss);
    assert_eq!(given.policy.params, nets.policy.params);
}

#[test]
fn log_std_stays_within_its_bounds() {
    let mut nets = nets(None, S);
    let d = data(&nets, 32, &mut rng(8));
    let mut ppo = Ppo::new(nets.policy.arch(), nets.critic.arch()).expect("shapes match");
    let config = PpoConfig { log_std_min: -0.25, log_std_max: 0.2, ..PpoConfig::default() };
    ppo.update(&mut nets, &config, 1e-3, d.batch(), None).expect("valid");
    assert_eq!(nets.policy.log_std()[0], -0.25);
    assert_eq!(nets.policy.log_std()[2], 0.2);
}

#[test]
fn log_probabilities_are_those_of_a_gaussian() {
    let nets = nets(None, S);
    let mut out = [0.0; 2];
    let log_std = nets.policy.log_std();
    let (means, actions) = ([0.1, 0.2, 0.3, -1.0, 0.0, 1.0], [0.0, 1.0, -1.0, 0.5, 0.5, 0.5]);
    log_probs(&means, log_std, &actions, &mut out).expect("2 rows");
    for i in 0..2 {
        let want: f64 = (0..A)
            .map(|k| {
                let sigma = f64::from(log_std[k]).exp();
                let x = f64::from(actions[i * A + k] - means[i * A + k]);
                let density = (-x * x / (2.0 * sigma * sigma)).exp()
                    / (sigma * (2.0 * std::f64::consts::PI).sqrt());
                density.ln()
            })
            .sum();
        assert!((f64::from(out[i]) - want).abs() < 1e-5);
    }
}

#[test]
fn batches_of_the_wrong_size_are_refused_by_name() {
    let nets = nets(None, S);
    let d = data(&nets, 8, &mut rng(9));
    let mut ppo = Ppo::new(nets.policy.arch(), nets.critic.arch()).expect("shapes match");
    let config = PpoConfig { value_clip: Some(0.2), ..PpoConfig::default() };
    let short = PpoBatch { values: &[], ..d.batch() };
    let error = ppo.gradient(&nets.policy, &nets.critic, &config, short).expect_err("no values");
    assert_eq!(error.to_string(), "old values: got 0 values, need 8");
    let none = PpoBatch { advantages: &[], ..d.batch() };
    assert!(ppo.gradient(&nets.policy, &nets.critic, &config, none).is_err());
    let wide = MlpArch::value(S + 1);
    assert!(Ppo::new(nets.policy.arch(), &wide).is_err());
}
