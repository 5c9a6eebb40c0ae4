//! Networks as data: what layers they have, where their parameters lie, how they start.
//!
//! A description ([`PolicyArch`], [`MlpArch`]) is the single definition of a network; its
//! [`Layout`] says where each tensor lies in the flat parameter vector, and [`LayerSpec`]s say how
//! the tensors are used. Every other form of the network (another framework's, a file's) is built
//! from these.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::init::orthogonal;
use crate::layout::Layout;

/// What follows a dense layer, element by element.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// x
    Identity,
    /// tanh x
    Tanh,
    /// max(x, 0)
    Relu,
    /// x where x > 0, `slope`·x elsewhere
    LeakyRelu {
        /// Factor for negative inputs; PyTorch's default is 0.01.
        slope: f32,
    },
    /// `scale`·tanh x
    ScaledTanh {
        /// Bound of the output.
        scale: f32,
    },
}

/// The negative slope of LeakyReLU in the discriminator (PyTorch's default).
pub const LEAKY_SLOPE: f32 = 0.01;

/// A dense layer: `activation(weight · x + bias)` with weight `[outputs, inputs]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerSpec {
    /// Name; its tensors are `{name}.weight` and `{name}.bias`.
    pub name: String,
    /// Number of inputs.
    pub inputs: usize,
    /// Number of outputs.
    pub outputs: usize,
    /// What follows.
    pub activation: Activation,
}

/// Shape of the two-branch policy (paper Fig. 5a):
///
/// ```text
/// h = tanh( state.1(tanh(state.0(obs))) + latent(z) );  mean = last(h)
/// ```
///
/// where `last` is the layer `actor.mean`, followed by c·tanh if `mean_scale` is c. Without a
/// latent code (`latent` = 0) the latent branch is absent. The head is a diagonal Gaussian with a
/// state-independent `log_std`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyArch {
    /// Observation size S.
    pub obs: usize,
    /// Latent code size Z; 0 for an unconditioned policy.
    pub latent: usize,
    /// Width H of the hidden layers.
    pub hidden: usize,
    /// Action size A.
    pub action: usize,
    /// c of c·tanh on the mean, if any.
    pub mean_scale: Option<f32>,
}

impl PolicyArch {
    /// The layers in the order of their tensors: `actor.state.0`, `actor.state.1`, `actor.latent`
    /// (if conditioned), `actor.mean`. `actor.state.1` and `actor.latent` are summed before tanh.
    pub fn layers(&self) -> Vec<LayerSpec> {
        let layer = |name: &str, inputs, outputs, activation| LayerSpec {
            name: name.to_owned(),
            inputs,
            outputs,
            activation,
        };
        let mean =
            self.mean_scale.map_or(Activation::Identity, |scale| Activation::ScaledTanh { scale });
        let mut layers = vec![
            layer("actor.state.0", self.obs, self.hidden, Activation::Tanh),
            layer("actor.state.1", self.hidden, self.hidden, Activation::Identity),
        ];
        if self.latent > 0 {
            layers.push(layer("actor.latent", self.latent, self.hidden, Activation::Identity));
        }
        layers.push(layer("actor.mean", self.hidden, self.action, mean));
        layers
    }

    /// The tensors of the flat vector: weight and bias of each layer, then `log_std [A]`.
    pub fn layout(&self) -> Layout {
        let mut layout = layout_of(&self.layers());
        layout.push("log_std", &[self.action]);
        layout
    }

    fn check(&self) -> Result<(), EngineError> {
        at_least_one("observation size", self.obs)?;
        at_least_one("hidden size", self.hidden)?;
        at_least_one("action size", self.action)?;
        self.mean_scale.map_or(Ok(()), |c| check_scale("mean scale", c))
    }
}

/// Shape of a chain of dense layers: value network, discriminator, posterior, actor, critic,
/// decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpArch {
    /// First part of the tensors' names: `{name}.0.weight`, `{name}.0.bias`, `{name}.1.weight`, …
    pub name: String,
    /// Input size.
    pub inputs: usize,
    /// Output size and activation of each layer, first to last.
    pub layers: Vec<(usize, Activation)>,
}

impl MlpArch {
    /// `inputs` → `hidden` widths, each followed by `activation` → `outputs` without activation.
    pub fn new(
        name: impl Into<String>,
        inputs: usize,
        hidden: &[usize],
        activation: Activation,
        outputs: usize,
    ) -> Self {
        let mut layers: Vec<_> = hidden.iter().map(|&n| (n, activation)).collect();
        layers.push((outputs, Activation::Identity));
        Self { name: name.into(), inputs, layers }
    }

    /// The value network: tanh 128–128 → 1, named `critic`; `inputs` is S, or S + Z when it sees
    /// the code.
    pub fn value(inputs: usize) -> Self {
        Self::new("critic", inputs, &[128, 128], Activation::Tanh, 1)
    }

    /// The discriminator (paper Fig. 5b): (s,a) → LeakyReLU 128–128 → 1 logit.
    pub fn discriminator(inputs: usize) -> Self {
        let leaky = Activation::LeakyRelu { slope: LEAKY_SLOPE };
        Self::new("discriminator", inputs, &[128, 128], leaky, 1)
    }

    /// InfoGAIL's posterior q(z|s,a): the discriminator's shape with K logits (one-hot codes) or
    /// 2d outputs (mean, then log-std, of Gaussian codes).
    pub fn posterior(inputs: usize, outputs: usize) -> Self {
        let leaky = Activation::LeakyRelu { slope: LEAKY_SLOPE };
        Self::new("posterior", inputs, &[128, 128], leaky, outputs)
    }

    /// Output size.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(self.inputs, |l| l.0)
    }

    /// The layers, first to last.
    pub fn layers(&self) -> Vec<LayerSpec> {
        let mut inputs = self.inputs;
        let mut specs = Vec::with_capacity(self.layers.len());
        for (i, &(outputs, activation)) in self.layers.iter().enumerate() {
            specs.push(LayerSpec {
                name: format!("{}.{i}", self.name),
                inputs,
                outputs,
                activation,
            });
            inputs = outputs;
        }
        specs
    }

    /// The tensors of the flat vector: weight and bias of each layer.
    pub fn layout(&self) -> Layout {
        layout_of(&self.layers())
    }

    fn check(&self) -> Result<(), EngineError> {
        at_least_one("input size", self.inputs)?;
        at_least_one("number of layers", self.layers.len())?;
        self.layers.iter().try_for_each(|&(n, activation)| {
            at_least_one("layer width", n)?;
            match activation {
                Activation::LeakyRelu { slope } if !(0.0..1.0).contains(&slope) => {
                    Err(EngineError::Range {
                        what: "negative slope",
                        got: slope.to_string(),
                        need: "at least 0 and below 1",
                    })
                }
                Activation::ScaledTanh { scale } => check_scale("output scale", scale),
                _ => Ok(()),
            }
        })
    }
}

/// Gains of the initial weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// Gain of every layer but the last.
    pub gain: f32,
    /// Gain of the last layer.
    pub last_gain: f32,
    /// Initial log standard deviation of a policy.
    pub log_std: f32,
}

impl Default for Init {
    /// Orthogonal with gain √2 throughout, log-std 0.
    fn default() -> Self {
        Self { gain: std::f32::consts::SQRT_2, last_gain: std::f32::consts::SQRT_2, log_std: 0.0 }
    }
}

/// A policy: its shape and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyNet {
    arch: PolicyArch,
    layout: Layout,
    /// All parameters, laid out as [`PolicyNet::layout`] says.
    pub params: Vec<f32>,
}

/// A chain of dense layers: its shape and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    arch: MlpArch,
    layout: Layout,
    /// All parameters, laid out as [`Mlp::layout`] says.
    pub params: Vec<f32>,
}

impl PolicyNet {
    /// Orthogonal weights, zero biases.
    ///
    /// # Errors
    /// If a size is zero or the mean scale not positive.
    pub fn new(
        arch: PolicyArch,
        init: Init,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Self, EngineError> {
        arch.check()?;
        let layout = arch.layout();
        let mut params = vec![0.0; layout.len()];
        init_layers(&arch.layers(), init, &mut params, rng);
        let log_std = params.len() - arch.action;
        params[log_std..].fill(init.log_std);
        Ok(Self { arch, layout, params })
    }

    /// A policy with the given parameters.
    ///
    /// # Errors
    /// If a size is zero or `params` is not as long as the layout.
    pub fn from_params(arch: PolicyArch, params: Vec<f32>) -> Result<Self, EngineError> {
        arch.check()?;
        let layout = arch.layout();
        crate::error::check_len("policy parameters", params.len(), layout.len())?;
        Ok(Self { arch, layout, params })
    }

    /// The shape.
    pub fn arch(&self) -> &PolicyArch {
        &self.arch
    }

    /// Where the tensors lie in [`PolicyNet::params`].
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The log standard deviations `[A]`.
    pub fn log_std(&self) -> &[f32] {
        &self.params[self.params.len() - self.arch.action..]
    }

    /// The log standard deviations `[A]`, to be set.
    pub fn log_std_mut(&mut self) -> &mut [f32] {
        let at = self.params.len() - self.arch.action;
        &mut self.params[at..]
    }
}

impl Mlp {
    /// Orthogonal weights, zero biases (`init.log_std` is not used).
    ///
    /// # Errors
    /// If there is no layer or a size is zero.
    pub fn new(
        arch: MlpArch,
        init: Init,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Self, EngineError> {
        arch.check()?;
        let layout = arch.layout();
        let mut params = vec![0.0; layout.len()];
        init_layers(&arch.layers(), init, &mut params, rng);
        Ok(Self { arch, layout, params })
    }

    /// A network with the given parameters.
    ///
    /// # Errors
    /// If a size is zero or `params` is not as long as the layout.
    pub fn from_params(arch: MlpArch, params: Vec<f32>) -> Result<Self, EngineError> {
        arch.check()?;
        let layout = arch.layout();
        crate::error::check_len("network parameters", params.len(), layout.len())?;
        Ok(Self { arch, layout, params })
    }

    /// The shape.
    pub fn arch(&self) -> &MlpArch {
        &self.arch
    }

    /// Where the tensors lie in [`Mlp::params`].
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

fn at_least_one(what: &'static str, got: usize) -> Result<(), EngineError> {
    if got > 0 {
        return Ok(());
    }
    Err(EngineError::Range { what, got: got.to_string(), need: "at least 1" })
}

fn check_scale(what: &'static str, scale: f32) -> Result<(), EngineError> {
    if scale.is_finite() && scale > 0.0 {
        return Ok(());
    }
    Err(EngineError::Range { what, got: scale.to_string(), need: "a finite number above 0" })
}

fn layout_of(layers: &[LayerSpec]) -> Layout {
    let mut layout = Layout::default();
    for layer in layers {
        layout.push(format!("{}.weight", layer.name), &[layer.outputs, layer.inputs]);
        layout.push(format!("{}.bias", layer.name), &[layer.outputs]);
    }
    layout
}

/// Draws the weights of `layers`, whose tensors lie at the front of `params` in that order; biases
/// stay as they are.
fn init_layers(
    layers: &[LayerSpec],
    init: Init,
    params: &mut [f32],
    rng: &mut (impl Rng + ?Sized),
) {
    let mut offset = 0;
    for (i, layer) in layers.iter().enumerate() {
        let len = layer.outputs * layer.inputs;
        let gain = if i + 1 == layers.len() { init.last_gain } else { init.gain };
        orthogonal(&mut params[offset..offset + len], layer.outputs, layer.inputs, gain, rng);
        offset += len + layer.outputs;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64;

    use super::*;

    fn arch(latent: usize) -> PolicyArch {
        PolicyArch { obs: 5, latent, hidden: 16, action: 3, mean_scale: None }
    }

    #[test]
    fn policy_tensors_are_those_of_the_policy_file() {
        let names = |latent| -> Vec<String> {
            arch(latent).layout().tensors.into_iter().map(|t| t.name).collect()
        };
        let with_code = [
            "actor.state.0.weight",
            "actor.state.0.bias",
            "actor.state.1.weight",
            "actor.state.1.bias",
            "actor.latent.weight",
            "actor.latent.bias",
            "actor.mean.weight",
            "actor.mean.bias",
            "log_std",
        ];
        assert_eq!(names(4), with_code);
        assert_eq!(names(0), [&with_code[..4], &with_code[6..]].concat());
        let layout = arch(4).layout();
        assert_eq!(layout.tensor("actor.latent.weight").map(|t| t.shape.clone()), Ok(vec![16, 4]));
        assert_eq!(layout.len(), 16 * 5 + 16 + 16 * 16 + 16 + 16 * 4 + 16 + 3 * 16 + 3 + 3);
    }

    #[test]
    fn a_new_policy_has_zero_biases_and_the_gains_asked_for() {
        let init = Init { last_gain: 0.01, log_std: -0.5, ..Init::default() };
        let net = PolicyNet::new(arch(4), init, &mut Pcg64::seed_from_u64(1)).expect("valid");
        for t in &net.layout().tensors {
            let values = &net.params[t.range()];
            let norm = values.iter().map(|v| v * v).sum::<f32>();
            match t.name.as_str() {
                "log_std" => assert!(values.iter().all(|&v| v == -0.5)),
                "actor.mean.weight" => assert!((norm - 3.0 * 1e-4).abs() < 1e-6),
                name if name.ends_with("bias") => assert_eq!(norm, 0.0),
                _ => {
                    assert!((norm - 2.0 * *t.shape.iter().min().expect("2-d") as f32).abs() < 1e-3)
                }
            }
        }
    }

    #[test]
    fn zero_sizes_are_refused_by_name() {
        let bad = PolicyArch { action: 0, ..arch(0) };
        let error = PolicyNet::new(bad, Init::default(), &mut Pcg64::seed_from_u64(1));
        assert_eq!(
            error.expect_err("no action").to_string(),
            "action size: got 0, need at least 1"
        );
    }
}
