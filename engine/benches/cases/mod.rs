//! The updates that dominate training, at the sizes of `pytorch.py`: S = 27, K = 6, A = 8, H = 128.

use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;
use sog_engine::adam::{Adam, AdamConfig};
use sog_engine::discriminator::{Discriminator, DiscriminatorBatch, DiscriminatorConfig};
use sog_engine::mlp::Part;
use sog_engine::net::{Init, Mlp, MlpArch, PolicyArch, PolicyNet};
use sog_engine::ppo::{ActorCritic, Ppo, PpoBatch, PpoConfig, log_probs};
use sog_engine::search::{CodeSearch, Groups};
use sog_engine::shard::Parallelism;
use sog_engine::sog_bc::{Codes, SogBatch, SogBc, SogPlan};

const S: usize = 27;
const K: usize = 6;
const A: usize = 8;

/// Small enough that no number of updates changes what an update does.
const LR: f32 = 1e-7;

/// One update of a network that it owns.
pub(crate) type Update = Box<dyn FnMut() + Send>;

fn normal(rng: &mut Pcg64, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.sample(StandardNormal)).collect()
}

fn policy() -> PolicyNet {
    let arch = PolicyArch::paper(S, K, 128, A);
    PolicyNet::new(arch, Init::default(), &mut Pcg64::seed_from_u64(1)).expect("valid shape")
}

/// SOG-BC with exhaustive search on `rows` rows of one trajectory.
pub(crate) fn sog_bc(rows: usize, parallelism: Parallelism) -> Update {
    let mut rng = Pcg64::seed_from_u64(2);
    let (obs, actions) = (normal(&mut rng, rows * S), normal(&mut rng, rows * A));
    let mut net = policy();
    let mut adam = Adam::new(AdamConfig::default(), net.params.len());
    let mut sog = SogBc::new(net.arch()).with_parallelism(parallelism);
    let plan = SogPlan { codes: Codes::Search(CodeSearch::OneHot), lr: LR, max_grad_norm: None };
    Box::new(move || {
        let batch = SogBatch { obs: &obs, actions: &actions, groups: Groups::Shared };
        sog.update(&mut net, &mut adam, plan, batch, &mut rng).expect("valid");
    })
}

/// The discriminator with gradient penalty on `rows` rows of each kind.
pub(crate) fn discriminator(rows: usize, parallelism: Parallelism) -> Update {
    let mut rng = Pcg64::seed_from_u64(3);
    let (expert, policy) = (normal(&mut rng, rows * (S + A)), normal(&mut rng, rows * (S + A)));
    let mix: Vec<f32> = (0..rows).map(|_| rng.random_range(0.0..1.0)).collect();
    let arch = MlpArch::discriminator(S + A);
    let mut net = Mlp::new(arch, Init::default(), &mut rng).expect("valid");
    let mut adam = Adam::new(AdamConfig::default(), net.params.len());
    let mut pass = Discriminator::new(net.arch()).expect("valid").with_parallelism(parallelism);
    let config = DiscriminatorConfig::default();
    Box::new(move || {
        let expert = [Part { data: &expert, width: S + A }];
        let policy = [Part { data: &policy, width: S + A }];
        let batch = DiscriminatorBatch { expert: &expert, policy: &policy, mix: &mix };
        pass.update(&mut net, &mut adam, &config, LR, batch).expect("valid");
    })
}

/// PPO on a minibatch of `rows` rows that the policy has just drawn.
pub(crate) fn ppo(rows: usize, parallelism: Parallelism) -> Update {
    let mut rng = Pcg64::seed_from_u64(4);
    let obs = normal(&mut rng, rows * S);
    let mut latents = vec![0.0; rows * K];
    latents.chunks_mut(K).for_each(|z| z[rng.random_range(0..K)] = 1.0);
    let (advantages, targets) = (normal(&mut rng, rows), normal(&mut rng, rows));
    let policy = policy();
    let mut pass = sog_engine::policy::PolicyPass::new(policy.arch());
    let mut means = vec![0.0; rows * A];
    pass.load(&policy, &obs).expect("valid");
    pass.mean(&policy, &latents, &mut means).expect("valid");
    let noise = normal(&mut rng, rows * A);
    let std = policy.log_std().iter().cycle().map(|l| l.exp());
    let actions: Vec<f32> =
        means.iter().zip(noise).zip(std).map(|((mean, noise), std)| mean + std * noise).collect();
    let mut old = vec![0.0; rows];
    log_probs(&means, policy.log_std(), &actions, &mut old).expect("valid");
    let critic = Mlp::new(MlpArch::value(S), Init::default(), &mut rng).expect("valid");
    let mut nets = ActorCritic::new(policy, critic, AdamConfig::default());
    let ppo = Ppo::new(nets.policy.arch(), nets.critic.arch()).expect("valid");
    let mut ppo = ppo.with_parallelism(parallelism);
    let config = PpoConfig::default();
    Box::new(move || {
        let batch = PpoBatch {
            obs: &obs,
            latents: &latents,
            actions: &actions,
            log_probs: &old,
            advantages: &advantages,
            targets: &targets,
            values: &[],
        };
        ppo.update(&mut nets, &config, LR, batch, None).expect("valid");
    })
}
