//! candle: the policy file's own tensors, `Linear` of candle-nn, operation by operation.

use std::collections::HashMap;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use candle_nn::{Linear, Module};
use sog_runtime::policy::{MeanScale, PolicyFile, VARIANCE_FLOOR};

use super::{Engine, version};

pub(super) struct Candle {
    mean: Tensor,
    std: Tensor,
    clip: f32,
    state: [Linear; 2],
    latent: Option<Linear>,
    last: Linear,
    mean_scale: MeanScale,
}

impl Candle {
    pub(super) fn new(bytes: &[u8]) -> Result<Self> {
        let file = PolicyFile::parse(bytes)?;
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
        Ok(Self {
            mean: tensor(&tensors, "obs.mean")?.unsqueeze(0)?,
            std: (tensor(&tensors, "obs.var")?.unsqueeze(0)? + f64::from(VARIANCE_FLOOR))?
                .sqrt()?,
            clip: file.normaliser.clip,
            state: [linear(&tensors, "actor.state.0")?, linear(&tensors, "actor.state.1")?],
            latent: match file.latent_dim() {
                0 => None,
                _ => Some(linear(&tensors, "actor.latent")?),
            },
            last: linear(&tensors, "actor.mean")?,
            mean_scale: file.mean_scale,
        })
    }
}

impl Engine for Candle {
    fn name(&self) -> String {
        format!("candle {}", version("candle-core"))
    }

    fn infer(&mut self, obs: &[f32], code: &[f32], action: &mut [f32]) -> Result<()> {
        let row = |values: &[f32]| Tensor::from_slice(values, (1, values.len()), &Device::Cpu);
        let x = ((row(obs)? - &self.mean)? / &self.std)?.clamp(-self.clip, self.clip)?;
        let mut sum = self.state[1].forward(&self.state[0].forward(&x)?.tanh()?)?;
        if let Some(latent) = &self.latent {
            sum = (sum + latent.forward(&row(code)?)?)?;
        }
        let last = self.last.forward(&sum.tanh()?)?;
        let mean = match self.mean_scale {
            MeanScale::None => last,
            MeanScale::Tanh(c) => (last.tanh()? * f64::from(c))?,
        };
        action.copy_from_slice(&mean.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}

fn tensor(tensors: &HashMap<String, Tensor>, name: &str) -> Result<Tensor> {
    tensors.get(name).cloned().with_context(|| format!("no tensor {name}"))
}

fn linear(tensors: &HashMap<String, Tensor>, name: &str) -> Result<Linear> {
    let weight = tensor(tensors, &format!("{name}.weight"))?;
    Ok(Linear::new(weight, Some(tensor(tensors, &format!("{name}.bias"))?)))
}
