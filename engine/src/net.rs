//! Networks as data: what layers they have, where their parameters lie, how they start.
//!
//! A description ([`PolicyArch`], [`MlpArch`]) is the single definition of a network; its
//! [`Layout`] says where each tensor lies in the flat parameter vector, and [`LayerSpec`]s say how
//! the tensors are used. Every other form of the network (another framework's, a file's) is built
//! from these.

use rand::Rng;
use serde::{Deserialize, Serialize};
use sog_runtime::policy::NetworkShape;
pub use sog_runtime::policy::{Activation as HiddenActivation, Architecture};

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
    /// x where x > 0, eˣ − 1 elsewhere
    Elu,
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

impl From<HiddenActivation> for Activation {
    fn from(of_policy: HiddenActivation) -> Self {
        match of_policy {
            HiddenActivation::Tanh => Self::Tanh,
            HiddenActivation::Relu => Self::Relu,
            HiddenActivation::Elu => Self::Elu,
        }
    }
}

/// The negative slope of LeakyReLU in the discriminator (PyTorch's default).
pub const LEAKY_SLOPE: f32 = 0.01;

/// Weight of the first layer of a plain stack; where it takes a code, the observation's columns.
pub(crate) const FIRST_OF_STACK: &str = "actor.layer.0.weight";

/// The code's columns of it.
pub const CODE_OF_STACK: &str = "actor.layer.0.code";

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

/// Shape of a policy. The paper's (Fig. 5a) has two branches, two hidden layers and tanh:
///
/// ```text
/// h = tanh( state.1(tanh(state.0(obs))) + latent(z) );  mean = last(h)
/// ```
///
/// where `last` is the layer `actor.mean`, followed by c·tanh if `mean_scale` is c. Without a
/// latent code (`latent` = 0) the latent branch is absent. The state branch may have any number of
/// layers; an [`Architecture::Mlp`] is a plain stack over \[obs, z\]. The head is a diagonal Gaussian
/// with a state-independent `log_std`.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyArch {
    /// How the layers hang together.
    pub architecture: Architecture,
    /// What follows the hidden layers.
    pub activation: HiddenActivation,
    /// Observation size S.
    pub obs: usize,
    /// Latent code size Z; 0 for an unconditioned policy.
    pub latent: usize,
    /// Widths of the hidden layers, first to last.
    pub hidden: Vec<usize>,
    /// Action size A.
    pub action: usize,
    /// c of c·tanh on the mean, if any.
    pub mean_scale: Option<f32>,
}

impl PolicyArch {
    /// The paper's, with two hidden layers of `hidden`; no scale of the mean.
    pub fn paper(obs: usize, latent: usize, hidden: usize, action: usize) -> Self {
        Self {
            architecture: Architecture::TwoBranch,
            activation: HiddenActivation::Tanh,
            obs,
            latent,
            hidden: vec![hidden; 2],
            action,
            mean_scale: None,
        }
    }

    /// The shape of its network, as a policy file has it.
    pub fn shape(&self) -> NetworkShape {
        NetworkShape {
            architecture: self.architecture,
            activation: self.activation,
            obs: self.obs,
            latent: self.latent,
            hidden: self.hidden.clone(),
            action: self.action,
        }
    }

    /// The layers as a policy file has them: the hidden ones first to last, `actor.latent` (if there
    /// is such a branch), `actor.mean`. The last of the state branch and `actor.latent` are summed
    /// before the activation.
    pub fn layers(&self) -> Vec<LayerSpec> {
        let shape = self.shape();
        let mean =
            self.mean_scale.map_or(Activation::Identity, |scale| Activation::ScaledTanh { scale });
        let hidden = self.hidden.len();
        let last_of_branch = match self.architecture {
            Architecture::TwoBranch => hidden.saturating_sub(1),
            Architecture::Mlp => hidden,
        };
        let layers = shape.layers();
        let count = layers.len();
        let layers = layers.into_iter().enumerate();
        layers
            .map(|(i, layer)| LayerSpec {
                name: layer.name,
                inputs: layer.inputs,
                outputs: layer.outputs,
                activation: match i {
                    _ if i + 1 == count => mean,
                    _ if i < last_of_branch => self.activation.into(),
                    _ => Activation::Identity,
                },
            })
            .collect()
    }

    /// The hidden layer whose sum the code enters: what comes before it is evaluated once per state,
    /// what comes behind once per state and code.
    pub fn code_enters(&self) -> usize {
        match self.architecture {
            Architecture::TwoBranch => self.hidden.len().saturating_sub(1),
            Architecture::Mlp => 0,
        }
    }

    /// Whether the first layer of a plain stack takes a code beside the observation. Its weight is
    /// then in two tensors: `actor.layer.0.weight [H, S]` and `actor.layer.0.code [H, Z]`.
    pub(crate) fn splits_first_layer(&self) -> bool {
        self.architecture == Architecture::Mlp && self.latent > 0
    }

    /// The tensors of the flat vector: weight and bias of each layer, then `log_std [A]`. They are
    /// those of a policy file but for the first weight of a plain stack, which is in two: the
    /// observation's columns, and behind the bias, as `actor.layer.0.code`, the code's.
    pub fn layout(&self) -> Layout {
        let layers = self.layers();
        let mut layout = Layout::default();
        if self.splits_first_layer() {
            let outputs = layers[0].outputs;
            layout.push(FIRST_OF_STACK, &[outputs, self.obs]);
            layout.push(format!("{}.bias", layers[0].name), &[outputs]);
            layout.push(CODE_OF_STACK, &[outputs, self.latent]);
        }
        push_layers(&layers[usize::from(self.splits_first_layer())..], &mut layout);
        layout.push("log_std", &[self.action]);
        layout
    }

    fn check(&self) -> Result<(), EngineError> {
        at_least_one("observation size", self.obs)?;
        at_least_one("number of hidden layers", self.hidden.len())?;
        self.hidden.iter().try_for_each(|&width| at_least_one("hidden size", width))?;
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
        if arch.splits_first_layer() {
            // Drawn as one matrix, in the place of all three tensors.
            let widths = [arch.obs, arch.latent];
            let whole = arch.hidden[0] * (arch.obs + arch.latent);
            let (of_obs, of_code) = split_columns(&params[..whole], widths);
            let bias = vec![0.0; arch.hidden[0]];
            params[..whole + bias.len()].copy_from_slice(&[of_obs, bias, of_code].concat());
        }
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
    push_layers(layers, &mut layout);
    layout
}

fn push_layers(layers: &[LayerSpec], layout: &mut Layout) {
    for layer in layers {
        layout.push(format!("{}.weight", layer.name), &[layer.outputs, layer.inputs]);
        layout.push(format!("{}.bias", layer.name), &[layer.outputs]);
    }
}

/// Takes the columns of `whole` `[rows, left + right]` apart, into `[rows, left]` and
/// `[rows, right]`.
pub(crate) fn split_columns(whole: &[f32], [left, right]: [usize; 2]) -> (Vec<f32>, Vec<f32>) {
    let rows = || whole.chunks_exact((left + right).max(1));
    let of = |from: usize, to: usize| rows().flat_map(|row| &row[from..to]).copied().collect();
    (of(0, left), of(left, left + right))
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
        PolicyArch::paper(5, latent, 16, 3)
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
    fn other_architectures_have_tensors_for_every_layer() {
        let names = |arch: &PolicyArch| -> Vec<String> {
            let weights = arch.layout().tensors.into_iter();
            weights.map(|t| t.name).filter(|name| !name.ends_with("bias")).collect()
        };
        let deep = PolicyArch { hidden: vec![7, 6, 9], ..arch(4) };
        let [state0, state1, state2] = [0, 1, 2].map(|i| format!("actor.state.{i}.weight"));
        let rest = ["actor.mean.weight".to_string(), "log_std".to_string()];
        let latent = "actor.latent.weight".to_string();
        let expected = [vec![state0, state1, state2, latent], rest.to_vec()].concat();
        assert_eq!(names(&deep), expected);
        let shape = |arch: &PolicyArch, name| arch.layout().tensor(name).map(|t| t.shape.clone());
        assert_eq!(shape(&deep, "actor.latent.weight"), Ok(vec![9, 4]));
        assert_eq!(shape(&deep, "actor.mean.weight"), Ok(vec![3, 9]));

        let mlp = PolicyArch { architecture: Architecture::Mlp, hidden: vec![7, 6], ..arch(4) };
        let stack = ["actor.layer.0.weight", "actor.layer.0.code", "actor.layer.1.weight"];
        let expected = [stack.map(str::to_string).to_vec(), rest.to_vec()].concat();
        assert_eq!(names(&mlp), expected);
        assert_eq!(shape(&mlp, "actor.layer.0.weight"), Ok(vec![7, 5]));
        assert_eq!(shape(&mlp, "actor.layer.0.code"), Ok(vec![7, 4]));
        // The two parts of the first weight are one matrix with orthogonal rows.
        let net =
            PolicyNet::new(mlp, Init::default(), &mut Pcg64::seed_from_u64(1)).expect("valid");
        let part = |name| net.params[net.layout().tensor(name).expect("there").range()].to_vec();
        let (of_obs, of_code) = (part("actor.layer.0.weight"), part("actor.layer.0.code"));
        for i in 0..7 {
            for j in 0..7 {
                let dot = |m: &[f32], width: usize| -> f32 {
                    (0..width).map(|k| m[i * width + k] * m[j * width + k]).sum()
                };
                let got = dot(&of_obs, 5) + dot(&of_code, 4);
                let want = if i == j { 2.0 } else { 0.0 };
                assert!((got - want).abs() < 1e-5, "rows {i}, {j}: {got}");
            }
        }
        assert!(part("actor.layer.0.bias").iter().all(|b| *b == 0.0));
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
