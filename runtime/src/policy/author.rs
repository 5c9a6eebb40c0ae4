//! Writing a policy file: bytes, and the golden vectors that every reader checks itself against.
//!
//! For trainers and tests; a robot's runtime never needs it.

use alloc::{
    borrow::Cow,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::{
    Activation, Architecture, Dense, Golden, LatentKind, MeanScale, PolicyFile, SCHEMA,
    VARIANCE_FLOOR,
};
use crate::tensors::{self, Metadata, Tensor};

impl PolicyFile {
    /// Bytes of the file; [`seal`](Self::seal) the golden vectors first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let tensors: BTreeMap<String, Tensor> = self
            .tensors()
            .into_iter()
            .map(|(name, shape, values)| (name.into_owned(), Tensor::f32(&shape, values)))
            .collect();
        tensors::serialize(&tensors, &self.metadata())
    }

    /// Replaces the golden vectors by `n` new ones: observations spread over ±2 standard
    /// deviations, codes in turn (one-hot) or spread over ±2 (Gaussian), and the action means
    /// computed in double precision from the formula in the [module](super) documentation.
    pub fn seal(&mut self, n: usize) {
        // SplitMix64, top 24 bits: uniform in [−2, 2), the same everywhere.
        let mut state = 0x5347_u64;
        let mut uniform = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1 << 22) as f32 - 2.0
        };
        let (s, z) = (self.obs_dim(), self.latent_dim());
        let mut golden = Golden::default();
        for row in 0..n {
            let obs: Vec<f32> = (0..s)
                .map(|j| self.normaliser.mean[j] + self.normaliser.var[j].sqrt() * uniform())
                .collect();
            let latent: Vec<f32> = match self.latent {
                LatentKind::None => vec![],
                LatentKind::OneHot(k) => (0..k).map(|j| f32::from(j == row % k)).collect(),
                LatentKind::Gaussian(_) => (0..z).map(|_| uniform()).collect(),
            };
            golden.action.extend(self.reference_mean(&obs, &latent).iter().map(|&a| a as f32));
            golden.obs.extend(obs);
            golden.latent.extend(latent);
        }
        self.golden = golden;
    }

    /// Action mean for one observation `[S]` and code `[Z]`, in double precision, straight from
    /// the formula: slow, and independent of the packed inference that it checks.
    pub fn reference_mean(&self, obs: &[f32], latent: &[f32]) -> Vec<f64> {
        let linear = |layer: &Dense, x: &[f64]| -> Vec<f64> {
            let weight = &layer.weight;
            layer
                .bias
                .iter()
                .enumerate()
                .map(|(i, &b)| {
                    let row = &weight[i * x.len()..(i + 1) * x.len()];
                    row.iter().zip(x).fold(f64::from(b), |sum, (&w, &x)| sum + f64::from(w) * x)
                })
                .collect()
        };
        let sigma = |x: Vec<f64>| -> Vec<f64> {
            let one = |x: f64| match self.network.activation {
                Activation::Tanh => x.tanh(),
                Activation::Relu => x.max(0.0),
                Activation::Elu => {
                    if x > 0.0 {
                        x
                    } else {
                        x.exp_m1()
                    }
                }
            };
            x.into_iter().map(one).collect()
        };
        let norm = &self.normaliser;
        let clip = f64::from(norm.clip);
        let mut x: Vec<f64> = (0..obs.len())
            .map(|j| {
                let std = (f64::from(norm.var[j]) + f64::from(VARIANCE_FLOOR)).sqrt();
                ((f64::from(obs[j]) - f64::from(norm.mean[j])) / std).clamp(-clip, clip)
            })
            .collect();
        let z: Vec<f64> = latent.iter().map(|&z| f64::from(z)).collect();
        if self.network.architecture == Architecture::Mlp {
            x.extend(&z);
        }
        let mut sum = x;
        for (i, layer) in self.network.hidden.iter().enumerate() {
            sum = linear(layer, &if i == 0 { sum } else { sigma(sum) });
        }
        if let Some(branch) = &self.network.latent {
            sum.iter_mut().zip(linear(branch, &z)).for_each(|(sum, more)| *sum += more);
        }
        let last = linear(&self.network.mean, &sigma(sum));
        match self.mean_scale {
            MeanScale::None => last,
            MeanScale::Tanh(c) => last.into_iter().map(|y| f64::from(c) * y.tanh()).collect(),
        }
    }

    /// Name, shape and values of every tensor.
    fn tensors(&self) -> Vec<(Cow<'static, str>, Vec<usize>, &[f32])> {
        let (s, z, a) = (self.obs_dim(), self.latent_dim(), self.action_dim());
        let n = self.golden.action.len() / a.max(1);
        let mut list: Vec<(Cow<'static, str>, Vec<usize>, &[f32])> = vec![];
        for (layer, dense) in self.shape().layers().iter().zip(self.network.layers()) {
            let (name, widths) = (&layer.name, vec![layer.outputs, layer.inputs]);
            list.push((format!("{name}.weight").into(), widths, &dense.weight));
            list.push((format!("{name}.bias").into(), vec![layer.outputs], &dense.bias));
        }
        let rest: [(&str, Vec<usize>, &[f32]); 7] = [
            ("obs.mean", vec![s], &self.normaliser.mean),
            ("obs.var", vec![s], &self.normaliser.var),
            ("action.low", vec![a], &self.contract.action_low),
            ("action.high", vec![a], &self.contract.action_high),
            ("log_std", vec![a], &self.log_std),
            ("golden.obs", vec![n, s], &self.golden.obs),
            ("golden.action", vec![n, a], &self.golden.action),
        ];
        list.extend(rest.map(|(name, shape, values)| (name.into(), shape, values)));
        if self.latent != LatentKind::None {
            list.push(("golden.latent".into(), vec![n, z], &self.golden.latent));
        }
        list
    }

    /// Every metadata entry but the checksum.
    fn metadata(&self) -> Metadata {
        let p = &self.provenance;
        [
            ("schema", SCHEMA.to_string()),
            ("task", self.contract.task.clone()),
            ("obs.terms", self.contract.obs_terms.to_string()),
            ("action.terms", self.contract.action_terms.to_string()),
            ("dt", self.contract.dt_s.to_string()),
            ("latent.kind", self.latent.to_string()),
            ("arch", self.network.architecture.to_string()),
            ("activation", self.network.activation.to_string()),
            ("obs.clip", self.normaliser.clip.to_string()),
            ("mean.scale", self.mean_scale.to_string()),
            ("producer", p.producer.clone()),
            ("algorithm", p.algorithm.clone()),
            ("seed", p.seed.to_string()),
            ("demos.sha256", p.demos_sha256.clone()),
            ("created", p.created.clone()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_string(), value))
        .collect()
    }
}
