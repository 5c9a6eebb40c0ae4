//! Defaults: the general ones of an algorithm, and the keys that are tuned for one task.
//!
//! The latter lie in the task's folder: `[train]` in its `task.toml` for all algorithms, and
//! `ALGORITHM.toml` beside it for one, each key with a line saying why it differs. `sog train` and
//! `sog reproduce` start from the same numbers.

use sog_engine::ppo::PpoConfig as UpdateConfig;
use sog_rl::{
    ppo::PpoConfig,
    run::{ConfigError, parse_config},
};
use sog_runtime::policy::LatentKind;
use sog_sim::{
    task::{Modes, TaskInfo},
    tasks::TaskFolder,
};
use toml::{Table, Value};

use crate::{
    config::{
        AdversarialConfig, Algorithm, CloningConfig, DiscriminatorConfig, InfoGailConfig,
        SogGailConfig, TrainConfig, VaeGailConfig,
    },
    error::TrainError,
    network::NetworkConfig,
};

/// The algorithm whose cloning another one starts with, unchanged.
pub fn start_of(algorithm: Algorithm) -> Option<Algorithm> {
    match algorithm {
        Algorithm::SogGail => Some(Algorithm::SogBc),
        Algorithm::Gail => Some(Algorithm::Bc),
        _ => None,
    }
}

/// [`CloningConfig::first_code_margin`] on tasks of one's own, which nobody has tuned: with a few dozen
/// demonstrations whose states tell the ways apart, the plain minimum moves a tenth of them to another
/// way's code (four ways round an obstacle, 48 demonstrations: purity 0.90 to 1.00 over five seeds, and
/// 1.00 with all of them under this margin). The built-in tasks keep the paper's form.
const OWN_MARGIN: f32 = 0.5;

impl TrainConfig {
    /// The defaults of an algorithm on a task: the general ones with the keys that are tuned for
    /// the two.
    ///
    /// # Errors
    /// [`TrainError::Tuned`] if the folder has keys that are none or values out of range;
    /// [`TrainError::Sim`] if a file in it cannot be read.
    pub fn defaults(task: &TaskFolder, algorithm: Algorithm) -> Result<Self, TrainError> {
        Self::defaults_with(task, algorithm, None)
    }

    /// The same with a latent of the caller's choice, and what follows from it.
    ///
    /// # Errors
    /// As [`defaults`](Self::defaults).
    pub fn defaults_with(
        task: &TaskFolder,
        algorithm: Algorithm,
        latent: Option<LatentKind>,
    ) -> Result<Self, TrainError> {
        let mut general = Self::general(task.info(), algorithm, latent);
        if task.folder().on_disk().is_some() {
            general.cloning.first_code_margin = OWN_MARGIN;
        }
        let mut config = apply(general, task)?;
        if let Some(latent) = latent {
            config.latent = latent.to_string();
        }
        Ok(config)
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
        Self {
            task: task.name().to_string(),
            algorithm,
            seed: 0,
            demos_sha256: String::new(),
            start_sha256: String::new(),
            latent: latent.to_string(),
            unseen_terms: vec![],
            network: NetworkConfig::default(),
            cloning,
            adversarial: AdversarialConfig {
                total_steps: total_steps(algorithm),
                ..AdversarialConfig::default()
            },
            ppo: imitation_ppo(task, algorithm),
            discriminator: DiscriminatorConfig::default(),
            sog_gail: SogGailConfig::default(),
            infogail: InfoGailConfig::default(),
            vae_gail: VaeGailConfig::default(),
        }
    }
}

/// PPO with the specification's numbers: 2048 steps, 10 epochs of 32 minibatches, and for
/// SOG-GAIL its step size.
///
/// What explores at least: cloning leaves a residual of a few hundredths of the actions' bounds,
/// too little to meet a state that no demonstration showed. SOG-GAIL may explore more where its
/// task's folder says so; a robot that falls loses its gait that way. InfoGAIL and GAIL, which have
/// to find the other ways, explore by 0.22 of the bounds; their first iterations, on values that
/// mean nothing yet, would move the policy by a divergence of 4 nats, so that epochs stop at 0.1,
/// and no L_SOG holds what was cloned, so that the step size is a third. VAE-GAIL starts from a good
/// clone with nothing else to hold it: it explores by the residual, with a tenth of the step size.
fn imitation_ppo(task: &TaskInfo, algorithm: Algorithm) -> PpoConfig {
    let bound = task.action_high[0] as f32;
    let narrow = UpdateConfig::default().log_std_min;
    let (learning_rate, target_kl, log_std_min) = match algorithm {
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

/// Environment steps of an adversarial algorithm.
fn total_steps(algorithm: Algorithm) -> u64 {
    match algorithm {
        Algorithm::InfoGail | Algorithm::Gail => 1_000_000,
        _ => 100_000,
    }
}

/// `config` with the keys of its task's folder; what is tuned for the cloning that its algorithm
/// starts with comes before the algorithm's own.
fn apply(mut config: TrainConfig, task: &TaskFolder) -> Result<TrainConfig, TrainError> {
    let path = |file: &str| task.folder().path(file).display().to_string();
    let train = format!("{}: [train]", path("task.toml"));
    config = with_keys(config, task.definition().train.clone(), &train)?;
    for algorithm in start_of(config.algorithm).into_iter().chain([config.algorithm]) {
        let file = format!("{algorithm}.toml");
        let Some(text) = task.read(&file)? else { continue };
        let keys = text.parse().map_err(|e: toml::de::Error| TrainError::Tuned {
            file: path(&file),
            source: ConfigError::Syntax { reason: e.to_string() },
        })?;
        config = with_keys(config, keys, &path(&file))?;
    }
    Ok(config)
}

/// `config` with `keys`, which come from `file`.
fn with_keys(config: TrainConfig, keys: Table, file: &str) -> Result<TrainConfig, TrainError> {
    if keys.is_empty() {
        return Ok(config);
    }
    let refuse = |source| TrainError::Tuned { file: file.to_string(), source };
    let unwritable = |reason: String| refuse(ConfigError::Write { reason });
    let mut table = Table::try_from(&config).map_err(|e| unwritable(e.to_string()))?;
    overlay(&mut table, nested(keys));
    let text = toml::to_string(&table).map_err(|e| unwritable(e.to_string()))?;
    parse_config(&text).map_err(refuse)
}

/// `keys` with dotted names (`"network.hidden" = 128`) as tables in tables.
fn nested(keys: Table) -> Table {
    let mut all = Table::new();
    for (key, value) in keys {
        let value = match value {
            Value::Table(table) => Value::Table(nested(table)),
            value => value,
        };
        let mut parts = key.rsplit('.');
        let last = parts.next().unwrap_or_default().to_string();
        let single = Table::from_iter([(last, value)]);
        let wrap =
            |inner, outer: &str| Table::from_iter([(outer.to_string(), Value::Table(inner))]);
        overlay(&mut all, parts.fold(single, wrap));
    }
    all
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
    use sog_sim::tasks;

    use super::*;

    #[test]
    fn every_file_is_readable_says_why_and_changes_something() {
        let mut found = 0;
        for name in tasks::names() {
            let task = tasks::open(name).unwrap();
            for algorithm in Algorithm::ALL {
                let tuned = TrainConfig::defaults(&task, algorithm).unwrap();
                if let Some(start) = start_of(algorithm) {
                    let cloned = TrainConfig::defaults(&task, start).unwrap();
                    assert_eq!(tuned.cloning, cloned.cloning, "{name}: {algorithm} and {start}");
                }
                let Some(text) = task.read(&format!("{algorithm}.toml")).unwrap() else { continue };
                found += 1;
                let general = TrainConfig::general(task.info(), algorithm, None);
                assert_ne!(tuned, general, "{name} {algorithm}");
                let mut previous = "";
                for line in text.lines() {
                    assert!(
                        !line.contains(" = ") || previous.starts_with('#'),
                        "{name}/{algorithm}.toml: `{line}` needs a line before it that says why"
                    );
                    previous = line;
                }
            }
        }
        assert!(found >= 17, "{found}");
    }

    #[test]
    fn a_folder_of_ones_own_gives_defaults_and_its_faults_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
        let task = |train: &str| {
            let text = format!(
                "schema = \"sog.task/1\"\nname = \"own\"\ndt = 0.1\nhorizon = 10\n\
                 [[observation]]\nname = \"x\"\nwidth = 2\n\
                 [[action]]\nname = \"u\"\nwidth = 1\nlow = -1\nhigh = 1\n[train]\n{train}\n"
            );
            write("task.toml", &text);
            tasks::open(dir.path().to_str().unwrap()).unwrap()
        };
        let own = task("\"network.hidden\" = 32\n\"cloning.updates\" = 500");
        write("sog-bc.toml", "[cloning]\n# Shorter still.\nupdates = 400\n");
        let config = |algorithm| TrainConfig::defaults(&own, algorithm);
        let sizes = |c: TrainConfig| (c.network.hidden[0], c.cloning.updates);
        assert_eq!(sizes(config(Algorithm::Bc).unwrap()), (32, 500));
        assert_eq!(sizes(config(Algorithm::SogGail).unwrap()), (32, 400));
        write("sog-bc.toml", "[cloning]\nupdate = 400\n");
        let error = config(Algorithm::SogBc).unwrap_err().to_string();
        assert!(error.contains("sog-bc.toml") && error.contains("`cloning.update`"), "{error}");
        let wrong = TrainConfig::defaults(&task("\"network.hiden\" = 32"), Algorithm::Bc);
        let error = wrong.unwrap_err().to_string();
        assert!(error.contains("task.toml: [train]") && error.contains("network.hiden"), "{error}");
    }
}
