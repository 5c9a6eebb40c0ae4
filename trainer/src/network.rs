//! The policy network of a run as its configuration describes it.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use sog_engine::net::{Architecture, HiddenActivation, PolicyArch};
use sog_rl::run::{ConfigError, within};

/// Most hidden layers, and most units of one.
const MAX_LAYERS: usize = 16;
const MAX_WIDTH: usize = 4096;

/// The policy network; by default the paper's (Fig. 5a).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// `two-branch` (the paper's) or `mlp`, a plain stack over observation and code. Written only
    /// where it is not the paper's.
    #[serde(with = "text", skip_serializing_if = "is_default")]
    pub arch: Architecture,
    /// What follows the hidden layers: `tanh` (the paper's), `relu` or `elu`. Written only where it
    /// is not the paper's.
    #[serde(with = "text", skip_serializing_if = "is_default")]
    pub activation: HiddenActivation,
    /// Widths of the hidden layers, first to last: `[128, 128, 64]`; or one number for two layers of
    /// that width.
    #[serde(serialize_with = "write_widths", deserialize_with = "read_widths")]
    pub hidden: Vec<usize>,
    /// Gain of the orthogonal initialisation of the last policy layer.
    pub last_gain: f32,
    /// c of mean = c·tanh(last layer); 0 for none. Default: the
    /// actions' bound on circles, a little more where experts often act at the bounds, none elsewhere.
    pub mean_scale: f32,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            arch: Architecture::default(),
            activation: HiddenActivation::default(),
            hidden: vec![128; 2],
            last_gain: std::f32::consts::SQRT_2,
            mean_scale: 0.0,
        }
    }
}

impl NetworkConfig {
    /// The network's shape for these widths of observation, code (0 for none) and action.
    pub fn policy_arch(&self, obs: usize, latent: usize, action: usize) -> PolicyArch {
        PolicyArch {
            architecture: self.arch,
            activation: self.activation,
            obs,
            latent,
            hidden: self.hidden.clone(),
            action,
            mean_scale: (self.mean_scale > 0.0).then_some(self.mean_scale),
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`ConfigError::Range`].
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=MAX_LAYERS).contains(&self.hidden.len()) {
            return Err(ConfigError::Range {
                key: "network.hidden".to_string(),
                found: format!("{} layers", self.hidden.len()),
                needed: format!("1 to {MAX_LAYERS} layers"),
            });
        }
        for &width in &self.hidden {
            within("network.hidden", width, 1..=MAX_WIDTH)?;
        }
        within("network.last_gain", self.last_gain, 1e-6..=100.0)?;
        within("network.mean_scale", self.mean_scale, 0.0..=1e6)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One number for two equal widths, as it is mostly read.
fn write_widths<S: Serializer>(widths: &[usize], to: S) -> Result<S::Ok, S::Error> {
    match *widths {
        [first, second] if first == second => first.serialize(to),
        _ => widths.serialize(to),
    }
}

fn read_widths<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<usize>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "need a width or a list of widths, one a hidden layer")]
    enum Widths {
        Both(usize),
        Each(Vec<usize>),
    }
    Ok(match Widths::deserialize(from)? {
        Widths::Both(width) => vec![width; 2],
        Widths::Each(widths) => widths,
    })
}

/// Values that are written as they are displayed.
mod text {
    use std::{fmt::Display, str::FromStr};

    use super::{Deserialize, Deserializer, Error, Serialize, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.to_string().serialize(to)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_network_is_one_key() {
        let read = |text: &str| toml::from_str::<NetworkConfig>(text);
        let paper = read("").unwrap();
        assert_eq!(paper, NetworkConfig::default());
        assert_eq!(paper.policy_arch(27, 6, 8), PolicyArch::paper(27, 6, 128, 8));
        let written = toml::to_string(&paper).unwrap();
        assert!(written.contains("hidden = 128\n") && !written.contains("activation"), "{written}");

        let deep = read("hidden = [64, 32, 16]").unwrap();
        assert_eq!(deep.hidden, [64, 32, 16]);
        let relu = read("activation = \"relu\"").unwrap();
        assert_eq!(relu.activation, HiddenActivation::Relu);
        let stack = read("arch = \"mlp\"\nhidden = [40]").unwrap();
        assert_eq!(stack.policy_arch(5, 2, 3).architecture, Architecture::Mlp);
        for config in [deep, relu, stack] {
            config.check().unwrap();
            assert_eq!(read(&toml::to_string(&config).unwrap()).unwrap(), config);
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_would_be() {
        let refused = |text: &str| match toml::from_str::<NetworkConfig>(text) {
            Ok(config) => config.check().expect_err(text).to_string(),
            Err(error) => error.to_string(),
        };
        for (text, needed) in [
            ("activation = \"swish\"", "`tanh`, `relu` or `elu`"),
            ("arch = \"lstm\"", "`two-branch` or `mlp`"),
            ("hidden = \"wide\"", "a width or a list of widths"),
            ("hidden = []", "1 to 16 layers"),
            ("hidden = [128, 0]", "network.hidden"),
            ("depth = 3", "depth"),
        ] {
            let refused = refused(text);
            assert!(refused.contains(needed), "{text}: {refused}");
        }
    }
}
