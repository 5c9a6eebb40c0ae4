//! The network of a policy file as data: which layers it has, what their tensors are called, and
//! their weights.
//!
//! H₁ … Hₙ are the widths of the hidden layers (n ≥ 1), σ is the activation, S, Z and A are the
//! widths of observation, code and action:
//!
//! | `arch` | | tensors, each with `.weight [out, in]` and `.bias [out]` |
//! |---|---|---|
//! | `two-branch` | mean = M(σ(Lₙ(…σ(L₁ x)…) + L_z z)) | `actor.state.0` … `actor.state.{n−1}`, `actor.latent` (with a code), `actor.mean` |
//! | `mlp` | mean = M(σ(Lₙ(…σ(L₁ [x, z])…))) | `actor.layer.0` … `actor.layer.{n−1}`, `actor.mean` |
//!
//! The paper's policy (Vahabpour et al. 2022, Fig. 5a) is `two-branch` with two widths and tanh.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use sog_core::policy::LayerPlace;

use super::{Activation, Architecture};

/// A dense layer y = W·x + b.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dense {
    /// W, row-major `[outputs, inputs]`.
    pub weight: Vec<f32>,
    /// b, `[outputs]`.
    pub bias: Vec<f32>,
}

impl Dense {
    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.weight.len().checked_div(self.bias.len()).unwrap_or(0)
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }
}

/// The layers of a policy network and their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// How the layers hang together.
    pub architecture: Architecture,
    /// σ, behind every layer but the last.
    pub activation: Activation,
    /// The hidden layers, first to last: the state branch (`actor.state.N`) or the stack
    /// (`actor.layer.N`, whose first takes observation and code side by side).
    pub hidden: Vec<Dense>,
    /// The latent branch `actor.latent` `[Hₙ, Z]` of a `two-branch` network with a code.
    pub latent: Option<Dense>,
    /// `actor.mean` `[A, Hₙ]`.
    pub mean: Dense,
}

impl Network {
    /// A network of this shape whose tensors are drawn one after the other, in the order of
    /// [`NetworkShape::layers`], weight before bias: `draw(name, shape)` gives the numbers of the
    /// tensor `name`, row-major, for a weight `[out, in]` or a bias `[out]`.
    pub fn from_fn(shape: &NetworkShape, mut draw: impl FnMut(&str, &[usize]) -> Vec<f32>) -> Self {
        let layers = shape.layers().into_iter().map(|LayerShape { name, inputs, outputs }| Dense {
            weight: draw(&format!("{name}.weight"), &[outputs, inputs]),
            bias: draw(&format!("{name}.bias"), &[outputs]),
        });
        Self::from_layers(shape, layers.collect())
    }

    /// A network of this shape from its layers in the order of [`NetworkShape::layers`].
    pub(super) fn from_layers(shape: &NetworkShape, mut layers: Vec<Dense>) -> Self {
        let mean = layers.pop().unwrap_or_default();
        let latent = if shape.has_latent_branch() { layers.pop() } else { None };
        let NetworkShape { architecture, activation, .. } = *shape;
        Self { architecture, activation, hidden: layers, latent, mean }
    }

    /// Its layers in the order of [`NetworkShape::layers`].
    pub fn layers(&self) -> impl Iterator<Item = &Dense> {
        self.hidden.iter().chain(&self.latent).chain([&self.mean])
    }

    /// The same, to be changed.
    pub fn layers_mut(&mut self) -> impl Iterator<Item = &mut Dense> {
        self.hidden.iter_mut().chain(&mut self.latent).chain([&mut self.mean])
    }

    /// Widths of the hidden layers, first to last.
    pub fn widths(&self) -> Vec<usize> {
        self.hidden.iter().map(Dense::outputs).collect()
    }
}

/// What a network looks like, without its weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkShape {
    /// How the layers hang together.
    pub architecture: Architecture,
    /// σ, behind every layer but the last.
    pub activation: Activation,
    /// Observation width S.
    pub obs: usize,
    /// Code width Z; 0 without a code.
    pub latent: usize,
    /// Widths of the hidden layers, first to last.
    pub hidden: Vec<usize>,
    /// Action width A.
    pub action: usize,
}

/// Name and widths of one dense layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Its tensors are `{name}.weight` and `{name}.bias`.
    pub name: String,
    /// Number of inputs.
    pub inputs: usize,
    /// Number of outputs.
    pub outputs: usize,
}

impl NetworkShape {
    /// The paper's: two branches, two hidden layers of `hidden`, tanh.
    pub fn paper(obs: usize, latent: usize, hidden: usize, action: usize) -> Self {
        Self {
            architecture: Architecture::TwoBranch,
            activation: Activation::Tanh,
            obs,
            latent,
            hidden: vec![hidden; 2],
            action,
        }
    }

    /// Whether there is a layer `actor.latent`.
    pub fn has_latent_branch(&self) -> bool {
        self.architecture == Architecture::TwoBranch && self.latent > 0
    }

    /// All layers: the hidden ones first to last, the latent branch if there is one, the mean.
    pub fn layers(&self) -> Vec<LayerShape> {
        let mut layers = Vec::with_capacity(self.hidden.len() + 2);
        let mut inputs = match self.architecture {
            Architecture::TwoBranch => self.obs,
            Architecture::Mlp => self.obs + self.latent,
        };
        for (i, &outputs) in self.hidden.iter().enumerate() {
            let name = LayerPlace::Hidden(i).name(self.architecture).to_string();
            layers.push(LayerShape { name, inputs, outputs });
            inputs = outputs;
        }
        if self.has_latent_branch() {
            let name = LayerPlace::Latent.name(self.architecture).to_string();
            layers.push(LayerShape { name, inputs: self.latent, outputs: inputs });
        }
        let name = LayerPlace::Mean.name(self.architecture).to_string();
        layers.push(LayerShape { name, inputs, outputs: self.action });
        layers
    }
}
