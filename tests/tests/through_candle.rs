//! A policy file means the same to an independent reader: candle loads its tensors with its own
//! safetensors reader and computes the network op by op; the runtime must agree to 1e-5.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use sog_runtime::policy::{
    Golden, LatentKind, MeanScale, Normaliser, Policy, PolicyFile, Provenance, Terms, Weights,
};

/// Uniform numbers in ±scale from a seed.
struct Draw(u64);

impl Draw {
    fn take(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n)
            .map(|_| {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                ((self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
            })
            .collect()
    }
}

fn policy_file(
    s: usize,
    h: usize,
    a: usize,
    latent: LatentKind,
    scale: MeanScale,
    seed: u64,
) -> PolicyFile {
    let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let z = latent.width();
    let zb = if z == 0 { 0 } else { h };
    let fan = |n: usize| (3.0 / n as f32).sqrt();
    let mut file = PolicyFile {
        task: "circles".into(),
        obs_terms: Terms::new(&[("state", s)]),
        action_terms: Terms::new(&[("torque", a)]),
        dt_s: 0.01,
        latent,
        mean_scale: scale,
        weights: Weights {
            state0_weight: draw.take(h * s, fan(s)),
            state0_bias: draw.take(h, 0.3),
            state1_weight: draw.take(h * h, fan(h)),
            state1_bias: draw.take(h, 0.3),
            latent_weight: draw.take(h * z, 1.0),
            latent_bias: draw.take(zb, 0.3),
            mean_weight: draw.take(a * h, fan(h)),
            mean_bias: draw.take(a, 0.3),
        },
        normaliser: Normaliser {
            mean: draw.take(s, 3.0),
            var: draw.take(s, 2.0).into_iter().map(|v| v * v).collect(),
            clip: 10.0,
        },
        action_low: vec![-1.0; a],
        action_high: vec![1.0; a],
        log_std: vec![-1.0; a],
        golden: Golden::default(),
        provenance: Provenance { producer: "test".into(), seed, ..Provenance::default() },
    };
    file.seal(4);
    file
}

/// Action means `[n, A]` by candle, from nothing but the file's bytes.
fn candle_means(bytes: &[u8], obs: &[f32], latent: &[f32], n: usize) -> Result<Vec<f32>> {
    let device = Device::Cpu;
    let tensors = candle_core::safetensors::load_buffer(bytes, &device)?;
    let t = |name: &str| tensors[name].to_dtype(DType::F64);
    let metadata = safetensors::SafeTensors::read_metadata(bytes).expect("a file").1;
    let metadata = metadata.metadata().clone().expect("metadata");
    let clip: f64 = metadata["obs.clip"].parse().expect("a number");
    let input = |values: &[f32]| {
        Tensor::from_slice(values, (n, values.len() / n), &device)?.to_dtype(DType::F64)
    };
    let linear = |x: &Tensor, name: &str| {
        x.matmul(&t(&format!("{name}.weight"))?.t()?)?.broadcast_add(&t(&format!("{name}.bias"))?)
    };
    let std = (t("obs.var")? + 1e-8)?.sqrt()?;
    let x = input(obs)?.broadcast_sub(&t("obs.mean")?)?.broadcast_div(&std)?.clamp(-clip, clip)?;
    let mut hidden = linear(&linear(&x, "actor.state.0")?.tanh()?, "actor.state.1")?;
    if tensors.contains_key("actor.latent.weight") {
        hidden = (hidden + linear(&input(latent)?, "actor.latent")?)?;
    }
    let last = linear(&hidden.tanh()?, "actor.mean")?;
    let mean = match metadata["mean.scale"].as_str() {
        "none" => last,
        c => (last.tanh()? * c.parse::<f64>().expect("a number"))?,
    };
    mean.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn runtime_and_candle_agree(
        s in 1usize..80,
        h in prop_oneof![Just(128usize), 1usize..150],
        a in 1usize..18,
        latent in prop_oneof![
            Just(LatentKind::None),
            (1usize..9).prop_map(LatentKind::OneHot),
            (1usize..6).prop_map(LatentKind::Gaussian),
        ],
        scale in prop_oneof![Just(MeanScale::None), (0.1f32..3.0).prop_map(MeanScale::Tanh)],
        n in 1usize..12,
        seed in any::<u64>(),
    ) {
        let bytes = policy_file(s, h, a, latent, scale, seed).to_bytes();
        let file = PolicyFile::parse(&bytes).expect("what was written is accepted");
        let policy = Policy::new(&file);
        let mut draw = Draw(seed | 1);
        let obs = draw.take(n * s, 20.0);
        let latents = draw.take(n * latent.width(), 2.0);
        let mut actions = vec![0.0; n * a];
        policy.mean_actions(&mut policy.workspace(n), &obs, &latents, &mut actions);
        let expected = candle_means(&bytes, &obs, &latents, n).expect("candle");
        for (i, (x, y)) in actions.iter().zip(&expected).enumerate() {
            prop_assert!((x - y).abs() <= 1e-5 * y.abs().max(1.0), "{i}: runtime {x}, candle {y}");
        }
    }
}
