//! A policy file means the same to an independent reader: candle loads its tensors with its own
//! safetensors reader and computes the network op by op; the runtime must agree to 1e-5.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use sog_runtime::contract::Contract;
use sog_runtime::policy::{
    Activation, Architecture, Golden, LatentKind, MeanScale, Network, NetworkShape, Normaliser,
    Policy, PolicyFile, Provenance, Terms,
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
    shape: &NetworkShape,
    latent: LatentKind,
    scale: MeanScale,
    seed: u64,
) -> PolicyFile {
    let (s, a) = (shape.obs, shape.action);
    let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let network = Network::from_fn(shape, |name, widths| match *widths {
        [outputs, inputs] => {
            let of_code = name == "actor.latent.weight";
            let scale = if of_code { 1.0 } else { (3.0 / inputs as f32).sqrt() };
            draw.take(outputs * inputs, scale)
        }
        _ => draw.take(widths[0], 0.3),
    });
    let mut file = PolicyFile {
        contract: Contract {
            task: "circles".into(),
            obs_terms: Terms::new(&[("state", s)]),
            action_terms: Terms::new(&[("torque", a)]),
            dt_s: 0.01,
            action_low: vec![-1.0; a],
            action_high: vec![1.0; a],
        },
        latent,
        mean_scale: scale,
        network,
        normaliser: Normaliser {
            mean: draw.take(s, 3.0),
            var: draw.take(s, 2.0).into_iter().map(|v| v * v).collect(),
            clip: 10.0,
        },
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
    let sigma = |x: Tensor| match metadata["activation"].as_str() {
        "tanh" => x.tanh(),
        "relu" => x.relu(),
        _ => x.elu(1.0),
    };
    let mlp = metadata["arch"] == "mlp";
    let conditioned = metadata["latent.kind"] != "none";
    let mut hidden = if mlp && conditioned { Tensor::cat(&[&x, &input(latent)?], 1)? } else { x };
    let branch = if mlp { "actor.layer" } else { "actor.state" };
    for i in 0.. {
        let name = format!("{branch}.{i}");
        if !tensors.contains_key(&format!("{name}.weight")) {
            break;
        }
        hidden = linear(&if i == 0 { hidden } else { sigma(hidden)? }, &name)?;
    }
    if !mlp && conditioned {
        hidden = (hidden + linear(&input(latent)?, "actor.latent")?)?;
    }
    let last = linear(&sigma(hidden)?, "actor.mean")?;
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
        hidden in prop_oneof![
            Just(vec![128usize, 128]),
            proptest::collection::vec(1usize..150, 1..5),
        ],
        mlp in any::<bool>(),
        activation in prop_oneof![
            Just(Activation::Tanh),
            Just(Activation::Relu),
            Just(Activation::Elu),
        ],
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
        let architecture = if mlp { Architecture::Mlp } else { Architecture::TwoBranch };
        let shape = NetworkShape {
            architecture, activation, obs: s, latent: latent.width(), hidden, action: a,
        };
        let bytes = policy_file(&shape, latent, scale, seed).to_bytes();
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
