//! Defaults: the general ones of an algorithm, and the keys that are tuned for one task.
//!
//! They lie in `trainer/tasks/TASK/ALGORITHM.toml`, each key with a line saying why it differs,
//! and are built into the program: `sog train` and `sog reproduce` start from the same numbers.

use sog_engine::ppo::PpoConfig as UpdateConfig;
use sog_rl::ppo::PpoConfig;
use sog_runtime::policy::LatentKind;
use sog_sim::task::{Modes, TaskId, TaskInfo};
use toml::{Table, Value};

use crate::config::{
    AdversarialConfig, Algorithm, CloningConfig, DiscriminatorConfig, InfoGailConfig, RewardForm,
    SogGailConfig, TrainConfig, VaeGailConfig,
};
use crate::network::NetworkConfig;

/// The files: task, algorithm, text.
const FILES: &[(&str, Algorithm, &str)] = &[
    ("circles", Algorithm::SogGail, include_str!("../tasks/circles/sog-gail.toml")),
    ("circles", Algorithm::InfoGail, include_str!("../tasks/circles/infogail.toml")),
    ("circles", Algorithm::VaeGail, include_str!("../tasks/circles/vae-gail.toml")),
    ("hopper-vel-6", Algorithm::SogBc, include_str!("../tasks/hopper-vel-6/sog-bc.toml")),
    ("fetchreach", Algorithm::SogBc, include_str!("../tasks/fetchreach/sog-bc.toml")),
    ("fetchreach", Algorithm::SogGail, include_str!("../tasks/fetchreach/sog-gail.toml")),
    ("fetchreach", Algorithm::InfoGail, include_str!("../tasks/fetchreach/infogail.toml")),
    ("fetchreach", Algorithm::VaeGail, include_str!("../tasks/fetchreach/vae-gail.toml")),
];

/// The tuned keys of an algorithm on a task, as TOML; empty where the general defaults serve.
pub fn text(task: &str, algorithm: Algorithm) -> &'static str {
    let file = FILES.iter().find(|(t, a, _)| *t == task && *a == algorithm);
    file.map_or("", |(_, _, text)| text)
}

/// The algorithm whose cloning another one starts with, unchanged.
pub fn start_of(algorithm: Algorithm) -> Option<Algorithm> {
    match algorithm {
        Algorithm::SogGail => Some(Algorithm::SogBc),
        Algorithm::Gail => Some(Algorithm::Bc),
        _ => None,
    }
}

impl TrainConfig {
    /// The defaults of an algorithm on a task: the general ones with the keys that are tuned for
    /// the two.
    pub fn defaults(task: &TaskInfo, algorithm: Algorithm) -> Self {
        Self::defaults_with(task, algorithm, None)
    }

    /// The same with a latent of the caller's choice, and what follows from it.
    pub fn defaults_with(
        task: &TaskInfo,
        algorithm: Algorithm,
        latent: Option<LatentKind>,
    ) -> Self {
        let mut config = apply(Self::general(task, algorithm, latent));
        if let Some(latent) = latent {
            config.latent = latent.to_string();
        }
        config
    }

    /// The same before tuning.
    pub fn general(task: &TaskInfo, algorithm: Algorithm, latent: Option<LatentKind>) -> Self {
        let usual = match (&task.modes, algorithm.is_conditioned()) {
            (_, false) => LatentKind::None,
            _ if algorithm == Algorithm::VaeGail => LatentKind::Gaussian(20),
            (Modes::Discrete(modes), _) => LatentKind::OneHot(modes.len().max(1)),
            (Modes::Continuous(space), _) => LatentKind::Gaussian(space.dims()),
        };
        let latent = latent.unwrap_or(usual);
        // Two trajectories a code in each minibatch, so that balance means something.
        let mut cloning = CloningConfig::default();
        if let LatentKind::OneHot(k) = latent {
            cloning.trajectories = cloning.trajectories.max(2 * k);
        }
        let network = NetworkConfig { mean_scale: mean_scale(task), ..NetworkConfig::default() };
        Self {
            task: task.name().to_string(),
            algorithm,
            seed: 0,
            demos_sha256: String::new(),
            start_sha256: String::new(),
            latent: latent.to_string(),
            network,
            cloning,
            adversarial: AdversarialConfig {
                total_steps: total_steps(task, algorithm),
                ..AdversarialConfig::default()
            },
            ppo: imitation_ppo(task, algorithm),
            discriminator: DiscriminatorConfig {
                reward: reward_form(task, algorithm),
                ..DiscriminatorConfig::default()
            },
            sog_gail: SogGailConfig::default(),
            infogail: InfoGailConfig::default(),
            vae_gail: VaeGailConfig::default(),
        }
    }
}

/// The default of [`NetworkConfig::mean_scale`]. Where up to 64 % of an expert's actions lie at their
/// bounds (hopper; walker2d 29 %, humanoid 44 %), a policy without bounds of its own spends itself on
/// the corners: SOG-BC on walker2d-vel-6 returns 1713.8 and falls in up to 35 % of a mode's episodes,
/// with them 1899.2 and 18 % (seed 0, 40 k updates).
fn mean_scale(task: &TaskInfo) -> f32 {
    let bound = task.action_high[0] as f32;
    match task.id() {
        TaskId::Circles | TaskId::Circles6 => bound,
        TaskId::Walker2dVel6 | TaskId::HopperVel6 | TaskId::HumanoidDir6 => 1.05 * bound,
        TaskId::AntFwdBack
        | TaskId::AntDir6
        | TaskId::HalfCheetahFwdBack
        | TaskId::HalfCheetahVel
        | TaskId::FetchReach
        | TaskId::Own => 0.0,
    }
}

/// PPO with the specification's numbers: 2048 steps, 10 epochs of 32 minibatches, and for
/// SOG-GAIL its step size.
///
/// What explores at least: cloning leaves a residual of a few hundredths of the actions' bounds,
/// too little to meet a state that no demonstration showed. SOG-GAIL explores by e⁻¹ of the bounds
/// where the robot seldom or never ends an episode early, which L_SOG allows it to, and loses less
/// to random actions for it; a robot that falls loses its gait that way (walker2d-vel-6: 1743.3 and
/// 1565.5 from starts of 1918.1 and 1967.7, one code falling at once). InfoGAIL and GAIL, which have
/// to find the other ways, explore by 0.22 of the bounds; their first iterations, on values that
/// mean nothing yet, would move the policy by a divergence of 4 nats, so that epochs stop at 0.1,
/// and no L_SOG holds what was cloned, so that the step size is a third. VAE-GAIL starts from a good
/// clone with nothing else to hold it: it explores by the residual, with a tenth of the step size.
fn imitation_ppo(task: &TaskInfo, algorithm: Algorithm) -> PpoConfig {
    let bound = task.action_high[0] as f32;
    let narrow = UpdateConfig::default().log_std_min;
    let (learning_rate, target_kl, log_std_min) = match algorithm {
        Algorithm::SogGail if explores(task) => (3e-4, 0.0, bound.ln() - 1.0),
        Algorithm::SogGail => (3e-4, 0.0, narrow),
        Algorithm::InfoGail | Algorithm::Gail => (1e-4, 0.1, bound.ln() - 1.5),
        Algorithm::Bc | Algorithm::SogBc | Algorithm::VaeGail => (3e-5, 0.0, narrow),
    };
    PpoConfig {
        learning_rate,
        target_kl,
        envs: 16,
        steps: 128,
        epochs: 10,
        minibatch: 64,
        adapt_normaliser: false,
        update: UpdateConfig { log_std_min, log_std_max: 0.0, ..UpdateConfig::default() },
        ..PpoConfig::default()
    }
}

/// Whether SOG-GAIL explores beyond the cloning residual: where the robot seldom (ant) or never ends
/// an episode early, and the world adds no noise of its own, as it does on circles. On
/// halfcheetah-vel it would blur the speeds (mutual information of 1.957 and 1.765 nats instead of
/// 2.372 and 2.352).
fn explores(task: &TaskInfo) -> bool {
    match task.id() {
        TaskId::AntFwdBack | TaskId::AntDir6 | TaskId::HalfCheetahFwdBack | TaskId::FetchReach => {
            true
        }
        TaskId::Circles
        | TaskId::Circles6
        | TaskId::HalfCheetahVel
        | TaskId::Walker2dVel6
        | TaskId::HopperVel6
        | TaskId::HumanoidDir6
        | TaskId::Own => false,
    }
}

/// What the discriminator rewards: the positive form where the robot can end its episode by falling
/// and nothing else holds what was cloned. On hopper-vel-6 two of InfoGAIL's six codes learn to fall at
/// once under the paper's form (846.3 over all speeds, on an earlier expert's demonstrations); under this
/// one it returns 1333.5 (seed 0), on walker2d-vel-6 1199.3 instead of 1111.9.
fn reward_form(task: &TaskInfo, algorithm: Algorithm) -> RewardForm {
    match (task.id(), algorithm) {
        (
            TaskId::Walker2dVel6 | TaskId::HopperVel6 | TaskId::HumanoidDir6,
            Algorithm::InfoGail | Algorithm::Gail,
        ) => RewardForm::Positive,
        _ => RewardForm::Logit,
    }
}

/// Environment steps of an adversarial algorithm.
fn total_steps(task: &TaskInfo, algorithm: Algorithm) -> u64 {
    match algorithm {
        Algorithm::SogGail if explores(task) => 500_000,
        Algorithm::InfoGail | Algorithm::Gail => 1_000_000,
        _ => 100_000,
    }
}

/// `config` with the tuned keys of its task and algorithm; what is tuned for the cloning that it
/// starts with comes first.
fn apply(config: TrainConfig) -> TrainConfig {
    let texts = start_of(config.algorithm).into_iter().chain([config.algorithm]);
    let mut tuned = Table::new();
    for text in texts.map(|algorithm| text(&config.task, algorithm)) {
        overlay(&mut tuned, text.parse().expect("a test reads them all"));
    }
    if tuned.is_empty() {
        return config;
    }
    let mut table = Table::try_from(config).expect("a configuration is a table");
    overlay(&mut table, tuned);
    table.try_into().expect("a test reads them all")
}

/// Replaces the keys of `base` that `over` has, table by table.
pub(crate) fn overlay(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => overlay(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sog_rl::run::Config;
    use sog_sim::{task::TaskId, tasks};

    use super::*;

    #[test]
    fn every_file_is_readable_says_why_and_changes_something() {
        for (task, algorithm, text) in FILES {
            let info = tasks::info(task.parse::<TaskId>().unwrap());
            let tuned = TrainConfig::defaults(&info, *algorithm);
            tuned.check().unwrap();
            assert_ne!(tuned, TrainConfig::general(&info, *algorithm, None), "{task} {algorithm}");
            if let Some(start) = start_of(*algorithm) {
                let cloned = TrainConfig::defaults(&info, start);
                assert_eq!(tuned.cloning, cloned.cloning, "{task}: {algorithm} and {start}");
            }
            let mut previous = "";
            for line in text.lines() {
                assert!(
                    !line.contains(" = ") || previous.starts_with('#'),
                    "{task}/{algorithm}.toml: `{line}` needs a line before it that says why"
                );
                previous = line;
            }
        }
    }
}
