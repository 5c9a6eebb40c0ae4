//! The policy (by default the paper's, Fig. 5a) on candle, over the engine's layout.

use candle_core::{Device, Result, Tensor};
use sog_engine::net::{Architecture, CODE_OF_STACK, HiddenActivation, PolicyArch, PolicyNet};

use super::Params;

/// The policy's parameters as a candle variable.
pub struct CandlePolicy {
    arch: PolicyArch,
    /// Names of the hidden layers, first to last, and the one whose sum the code enters.
    hidden: Vec<String>,
    code_enters: usize,
    /// The parameters.
    pub params: Params,
}

impl CandlePolicy {
    /// The same network on `device`.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn new(net: &PolicyNet, device: &Device) -> Result<Self> {
        Self::of(&[net], device)
    }

    /// One, or several of one shape; what is said here of one `[n, …]` is then so for each
    /// `[networks, n, …]`.
    ///
    /// # Errors
    /// If there is none, their shapes differ, or the device refuses.
    pub fn of(nets: &[&PolicyNet], device: &Device) -> Result<Self> {
        let Some(net) = nets.first() else { candle_core::bail!("no policy") };
        if nets.iter().any(|other| other.arch() != net.arch()) {
            candle_core::bail!("policies of different shapes");
        }
        let values: Vec<&[f32]> = nets.iter().map(|net| net.params.as_slice()).collect();
        let params = Params::of(net.layout().clone(), &values, device)?;
        let arch = net.arch().clone();
        let layers = arch.layers().into_iter().take(arch.hidden.len());
        let hidden = layers.map(|layer| layer.name).collect();
        Ok(Self { code_enters: arch.code_enters(), hidden, arch, params })
    }

    /// Its shape.
    pub fn arch(&self) -> &PolicyArch {
        &self.arch
    }

    /// Action means `[n, A]` of normalised observations `[n, S]` under codes `[n, Z]` (none for an
    /// unconditioned policy).
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn mean(&self, obs: &Tensor, latents: Option<&Tensor>) -> Result<Tensor> {
        self.mean_from(&self.state_branch(obs)?, latents)
    }

    /// The observation's share `[n, M]` of the sum that the code enters.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn state_branch(&self, obs: &Tensor) -> Result<Tensor> {
        let before = &self.hidden[..=self.code_enters];
        let mut x = obs.clone();
        for (i, name) in before.iter().enumerate() {
            let input = if i == 0 { x } else { self.activate(&x)? };
            x = self.params.linear(name, &input)?;
        }
        Ok(x)
    }

    /// Width M of the sum that the code enters.
    pub fn sum_width(&self) -> usize {
        self.arch.hidden[self.code_enters]
    }

    /// W_z `[M, Z]` of the latent branch, and its bias `[M]` where it has one of its own.
    ///
    /// # Errors
    /// If the policy takes no code.
    pub fn latent_branch(&self) -> Result<(&Tensor, Option<&Tensor>)> {
        match self.arch.architecture {
            Architecture::TwoBranch => {
                let bias = self.params.get("actor.latent.bias")?;
                Ok((self.params.get("actor.latent.weight")?, Some(bias)))
            }
            Architecture::Mlp => Ok((self.params.get(CODE_OF_STACK)?, None)),
        }
    }

    /// [`CandlePolicy::mean`] from the state branch `[n, M]`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn mean_from(&self, base: &Tensor, latents: Option<&Tensor>) -> Result<Tensor> {
        let Some(codes) = latents else { return self.last(base) };
        let (weight, bias) = self.latent_branch()?;
        let share = codes.matmul(&weight.t()?)?;
        let share = bias.map_or(Ok(share.clone()), |bias| share.broadcast_add(bias))?;
        self.last(&(base + share)?)
    }

    /// Action means from the sum that the code enters `[n, M]`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn last(&self, sum: &Tensor) -> Result<Tensor> {
        let mut x = self.activate(sum)?;
        for name in &self.hidden[self.code_enters + 1..] {
            x = self.activate(&self.params.linear(name, &x)?)?;
        }
        let last = self.params.linear("actor.mean", &x)?;
        match self.arch.mean_scale {
            None => Ok(last),
            Some(c) => last.tanh()? * f64::from(c),
        }
    }

    fn activate(&self, x: &Tensor) -> Result<Tensor> {
        match self.arch.activation {
            HiddenActivation::Tanh => x.tanh(),
            HiddenActivation::Relu => x.relu(),
            HiddenActivation::Elu => x.elu(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sog_engine::{search::Groups, sog_bc as engine};
    use sog_runtime::policy::{Policy, example};

    use super::*;
    use crate::{export::network_of, nn::mean_squared_distance, normalise::ObsNormaliser};

    proptest! {
        #[test]
        fn the_exported_file_means_the_same_to_runtime_and_candle(
            seed in 0u64..1000,
            obs in proptest::collection::vec(-30.0f32..30.0, 40),
            codes in proptest::collection::vec(-2.0f32..2.0, 12),
        ) {
            let file = example(seed);
            let runtime = Policy::new(&file);
            let mut actions = vec![0.0; 8];
            runtime.mean_actions(&mut runtime.workspace(4), &obs, &codes, &mut actions);
            let candle = CandlePolicy::new(&network_of(&file).unwrap(), &Device::Cpu).unwrap();
            let mut inputs = vec![];
            ObsNormaliser::new(file.normaliser.clone()).extend(&obs, &mut inputs);
            let tensor = |v: &[f32], w| Tensor::from_slice(v, (4, w), &Device::Cpu).unwrap();
            let means = candle.mean(&tensor(&inputs, 10), Some(&tensor(&codes, 3))).unwrap();
            let means: Vec<f32> = means.flatten_all().unwrap().to_vec1().unwrap();
            for (a, b) in actions.iter().zip(&means) {
                prop_assert!((a - b).abs() < 1e-5, "{} {}", a, b);
            }
        }
    }

    #[test]
    fn the_engines_cloning_gradient_is_candles() {
        let net = network_of(&example(3)).unwrap();
        let numbers =
            |n: usize, step: f32| -> Vec<f32> { (0..n).map(|i| (i as f32 * step).sin()).collect() };
        let (obs, actions, codes) = (numbers(50 * 10, 0.7), numbers(100, 1.3), [0.3, -1.0, 0.8]);
        let mut sog = engine::SogBc::new(net.arch());
        let batch = engine::SogBatch { obs: &obs, actions: &actions, groups: Groups::Shared };
        sog.load(&net, batch).unwrap();
        sog.set_codes(&codes).unwrap();
        let mut fused = vec![0.0; net.params.len()];
        let fused_loss = sog.gradient(&net, Groups::Shared, 1.0, &mut fused).unwrap();

        let candle = CandlePolicy::new(&net, &Device::Cpu).unwrap();
        let tensor = |v: &[f32], w| Tensor::from_slice(v, (50, w), &Device::Cpu).unwrap();
        let means = candle.mean(&tensor(&obs, 10), Some(&tensor(&codes.repeat(50), 3))).unwrap();
        let loss = mean_squared_distance(&means, &tensor(&actions, 2)).unwrap();
        let exact: Vec<f32> = candle.params.gradient(&loss).unwrap().to_vec1().unwrap();
        assert!((loss.to_scalar::<f32>().unwrap() - fused_loss).abs() < 1e-5);
        let norm = exact.iter().map(|g| g * g).sum::<f32>().sqrt();
        let off = exact.iter().zip(&fused).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
        assert!(norm > 0.1 && off < 1e-5 * norm.max(1.0), "|g| = {norm}, off by {off}");
    }
}
