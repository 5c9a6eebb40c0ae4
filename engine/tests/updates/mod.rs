//! Every kind of update on fixed data, for the tests of determinism and allocation.
#![allow(dead_code)] // Each test file uses its part.

use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;
use sog_engine::adam::{Adam, AdamConfig};
use sog_engine::discriminator::{Discriminator, DiscriminatorBatch, DiscriminatorConfig};
use sog_engine::mlp::Part;
use sog_engine::net::{Init, Mlp, MlpArch, PolicyArch, PolicyNet};
use sog_engine::posterior::{CodeKind, Posterior};
use sog_engine::ppo::{ActorCritic, Ppo, PpoBatch, PpoConfig, SogTerm};
use sog_engine::search::{CodeSearch, Groups};
use sog_engine::shard::Parallelism;
use sog_engine::sog_bc::{Codes, SogBatch, SogBc, SogPlan};

const S: usize = 9;
const Z: usize = 3;
const A: usize = 4;

/// Networks, optimisers and buffers of everything that trains.
pub(crate) struct Updates {
    rng: Pcg64,
    data: Vec<f32>,
    codes: Vec<f32>,
    groups: Vec<u32>,
    rows: usize,
    nets: ActorCritic,
    sog: SogBc,
    ppo: Ppo,
    disc_net: Mlp,
    disc_adam: Adam,
    disc: Discriminator,
    posterior_net: Mlp,
    posterior_adam: Adam,
    posterior: Posterior,
}

impl Updates {
    pub(crate) fn new(rows: usize, parallelism: Parallelism) -> Self {
        let mut rng = Pcg64::seed_from_u64(1);
        let arch = PolicyArch { mean_scale: Some(1.5), ..PolicyArch::paper(S, Z, 40, A) };
        let policy = PolicyNet::new(arch, Init::default(), &mut rng).expect("valid");
        let critic = Mlp::new(MlpArch::value(S + Z), Init::default(), &mut rng).expect("valid");
        let nets = ActorCritic::new(policy, critic, AdamConfig::default());
        let disc_net =
            Mlp::new(MlpArch::discriminator(S + A), Init::default(), &mut rng).expect("valid");
        let arch = MlpArch::posterior(S + A, 2 * Z);
        let posterior_net = Mlp::new(arch, Init::default(), &mut rng).expect("valid");
        let adam = |net: &Mlp| Adam::new(AdamConfig::default(), net.params.len());
        let ppo = Ppo::new(nets.policy.arch(), nets.critic.arch()).expect("valid");
        let disc = Discriminator::new(disc_net.arch()).expect("valid");
        let posterior = Posterior::new(posterior_net.arch(), CodeKind::Gaussian(Z)).expect("valid");
        Self {
            data: (0..rows * (S + A)).map(|_| rng.sample(StandardNormal)).collect(),
            codes: (0..rows * Z).map(|_| rng.sample(StandardNormal)).collect(),
            groups: (0..rows as u32).map(|r| r * 3 / rows as u32).collect(),
            rows,
            sog: SogBc::new(nets.policy.arch()).with_parallelism(parallelism),
            ppo: ppo.with_parallelism(parallelism),
            disc_adam: adam(&disc_net),
            disc: disc.with_parallelism(parallelism),
            posterior_adam: adam(&posterior_net),
            posterior: posterior.with_parallelism(parallelism),
            nets,
            disc_net,
            posterior_net,
            rng,
        }
    }

    /// One of each: SOG-BC (exhaustive, coordinate-wise), PPO with SOG term, discriminator,
    /// posterior.
    pub(crate) fn run(&mut self) {
        let n = self.rows;
        let (obs, actions) = (&self.data[..n * S], &self.data[n * S..]);
        let groups = Groups::Index { of_row: &self.groups, count: 3 };
        let demos = SogBatch { obs, actions, groups };
        for search in
            [CodeSearch::OneHot, CodeSearch::Coordinate { samples: 7, block: 2, rounds: 2 }]
        {
            let plan = SogPlan { codes: Codes::Search(search), lr: 1e-2, max_grad_norm: Some(1.0) };
            let (net, adam) = (&mut self.nets.policy, &mut self.nets.policy_adam);
            self.sog.update(net, adam, plan, demos, &mut self.rng).expect("valid");
        }
        let batch = PpoBatch {
            obs,
            latents: &self.codes,
            actions,
            log_probs: &self.data[..n],
            advantages: &self.data[n..2 * n],
            targets: &self.data[2 * n..3 * n],
            values: &self.data[3 * n..4 * n],
        };
        let config = PpoConfig { value_clip: Some(0.2), ..PpoConfig::default() };
        let term = SogTerm {
            sog: &mut self.sog,
            batch: demos,
            codes: Codes::Search(CodeSearch::OneHot),
            weight: 0.5,
            rng: &mut self.rng,
        };
        self.ppo.update(&mut self.nets, &config, 1e-2, batch, Some(term)).expect("valid");
        let rows = [Part { data: obs, width: S }, Part { data: actions, width: A }];
        let other = [Part { data: actions, width: A }, Part { data: obs, width: S }];
        let batch = DiscriminatorBatch { expert: &rows, policy: &other, mix: &self.data[..n] };
        let config = DiscriminatorConfig::default();
        let (net, adam) = (&mut self.disc_net, &mut self.disc_adam);
        self.disc.update(net, adam, &config, 1e-2, batch).expect("valid");
        let (net, adam) = (&mut self.posterior_net, &mut self.posterior_adam);
        self.posterior.update(net, adam, 1e-2, &rows, &self.codes).expect("valid");
    }

    /// The bits of every parameter.
    pub(crate) fn bits(&self) -> Vec<u32> {
        let nets = [
            &self.nets.policy.params,
            &self.nets.critic.params,
            &self.disc_net.params,
            &self.posterior_net.params,
        ];
        nets.into_iter().flatten().map(|p| p.to_bits()).collect()
    }
}
