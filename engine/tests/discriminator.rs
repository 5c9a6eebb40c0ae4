//! Discriminator and posterior against plain f64 implementations.

mod reference;

use rand::RngExt;
use reference::{assert_gradient, differences, mlp, normal, rng, spread, to_f64};
use sog_engine::adam::{Adam, AdamConfig};
use sog_engine::discriminator::{Discriminator, DiscriminatorBatch, DiscriminatorConfig};
use sog_engine::mlp::Part;
use sog_engine::net::{Activation, Init, Mlp, MlpArch};
use sog_engine::posterior::{CodeKind, Posterior, soft_update};

fn net(inputs: usize, hidden: &[usize], slope: f32, outputs: usize, seed: u64) -> Mlp {
    let activation = if slope == 0.0 { Activation::Relu } else { Activation::LeakyRelu { slope } };
    let arch = MlpArch::new("discriminator", inputs, hidden, activation, outputs);
    let mut rng = rng(seed);
    let mut net = Mlp::new(arch, Init::default(), &mut rng).expect("valid");
    net.params.iter_mut().for_each(|p| *p += rng.random_range(-0.1..0.1));
    net
}

/// ∇_x f by the chain rule, layer by layer, row by row.
fn input_gradient(net: &Mlp, p: &[f64], x: &[f64]) -> Vec<f64> {
    let layers = net.arch().layers();
    let (mut masks, mut offsets, mut offset, mut a) = (Vec::new(), Vec::new(), 0, x.to_vec());
    for layer in &layers {
        offsets.push(offset);
        let z: Vec<f64> = (0..layer.outputs)
            .map(|o| {
                let w = &p[offset + o * layer.inputs..][..layer.inputs];
                w.iter().zip(&a).map(|(w, a)| w * a).sum::<f64>()
                    + p[offset + layer.outputs * layer.inputs + o]
            })
            .collect();
        let slope = match layer.activation {
            Activation::LeakyRelu { slope } => f64::from(slope),
            Activation::Relu => 0.0,
            _ => 1.0,
        };
        masks.push(z.iter().map(|&z| if z > 0.0 { 1.0 } else { slope }).collect::<Vec<f64>>());
        a = z.iter().zip(masks.last().expect("pushed")).map(|(z, m)| z * m).collect();
        offset += layer.outputs * (layer.inputs + 1);
    }
    let mut d = vec![1.0];
    for (i, layer) in layers.iter().enumerate().rev() {
        let through: Vec<f64> = d.iter().zip(&masks[i]).map(|(d, m)| d * m).collect();
        d = (0..layer.inputs)
            .map(|j| {
                (0..layer.outputs).map(|o| p[offsets[i] + o * layer.inputs + j] * through[o]).sum()
            })
            .collect();
    }
    d
}

struct Rows {
    expert: Vec<f32>,
    policy: Vec<f32>,
    mix: Vec<f32>,
}

fn rows(n: usize, width: usize, seed: u64) -> Rows {
    let mut rng = rng(seed);
    Rows {
        expert: normal(&mut rng, n * width),
        policy: normal(&mut rng, n * width).iter().map(|v| v * 0.7 + 0.3).collect(),
        mix: (0..n).map(|_| rng.random_range(0.0..1.0)).collect(),
    }
}

/// (L_BCE, L_GP) by the definition.
fn losses(net: &Mlp, p: &[f64], r: &Rows, lambda: f64) -> (f64, f64) {
    let (width, n) = (net.arch().inputs, r.mix.len());
    let (mut bce, mut penalty) = (0.0, 0.0);
    for i in 0..n {
        let expert = to_f64(&r.expert[i * width..][..width]);
        let policy = to_f64(&r.policy[i * width..][..width]);
        let d = |x: &[f64]| 1.0 / (1.0 + (-mlp(net, p, x)[0]).exp());
        bce -= d(&expert).ln() + (1.0 - d(&policy)).ln();
        let t = f64::from(r.mix[i]);
        let x: Vec<f64> = expert.iter().zip(&policy).map(|(e, q)| t * e + (1.0 - t) * q).collect();
        let norm = input_gradient(net, p, &x).iter().map(|g| g * g).sum::<f64>().sqrt();
        penalty += (norm - 1.0).powi(2);
    }
    (bce / n as f64, lambda * penalty / n as f64)
}

#[test]
fn loss_penalty_and_gradient_agree_with_finite_differences() {
    for (net, n) in [
        (net(35, &[128, 128], 0.01, 1, 1), 64),
        (net(6, &[24, 24], 0.2, 1, 2), 45),
        (net(5, &[16, 40, 9], 0.1, 1, 3), 33),
        (net(7, &[20, 20], 0.0, 1, 4), 300),
        (net(4, &[12], 0.3, 1, 5), 10),
        (net(3, &[50, 37], 0.3, 1, 6), 40),
        (net(6, &[33], 1e-3, 1, 7), 100),
    ] {
        let width = net.arch().inputs;
        let r = rows(n, width, 7);
        for lambda in [0.0, 10.0] {
            let mut disc = Discriminator::new(net.arch()).expect("valid shape");
            let mut grad = vec![0.0; net.params.len()];
            let batch = DiscriminatorBatch {
                expert: &[Part { data: &r.expert, width }],
                policy: &[Part { data: &r.policy, width }],
                mix: &r.mix,
            };
            let config = DiscriminatorConfig { penalty: lambda, max_grad_norm: None };
            let stats = disc.gradient(&net, &config, batch, &mut grad).expect("valid");
            let (bce, penalty) = losses(&net, &to_f64(&net.params), &r, lambda.into());
            assert!((f64::from(stats.loss) - bce).abs() < 1e-5, "{stats:?} {bce}");
            assert!((f64::from(stats.penalty) - penalty).abs() < 1e-4, "{stats:?} {penalty}");
            let indices = spread(&mut rng(8), net.params.len(), 120);
            let want = differences(&net.params, &indices, 1e-7, |p| {
                let (bce, penalty) = losses(&net, p, &r, lambda.into());
                bce + penalty
            });
            assert_gradient(&grad, &indices, &want, 2e-4);
        }
    }
}

#[test]
fn training_tells_expert_from_policy_with_the_documented_sign() {
    let mut net = net(4, &[32, 32], 0.01, 1, 9);
    let mut disc = Discriminator::new(net.arch()).expect("valid shape");
    let mut adam = Adam::new(AdamConfig::default(), net.params.len());
    let config = DiscriminatorConfig::default();
    let mut last = None;
    for step in 0..300 {
        let mut r = rows(64, 4, step);
        r.expert.iter_mut().for_each(|v| *v += 3.0);
        r.policy.iter_mut().for_each(|v| *v -= 3.0);
        let batch = DiscriminatorBatch {
            expert: &[Part { data: &r.expert, width: 4 }],
            policy: &[Part { data: &r.policy, width: 4 }],
            mix: &r.mix,
        };
        last = Some(disc.update(&mut net, &mut adam, &config, 1e-3, batch).expect("valid"));
    }
    let stats = last.expect("ran");
    assert!(stats.expert_accuracy > 0.98 && stats.policy_accuracy > 0.98, "{stats:?}");
    assert!(stats.expert_logit > 2.0 && stats.policy_logit < -2.0, "{stats:?}");
    // The penalty holds the slope near 1.
    assert!((stats.slope - 1.0).abs() < 0.3, "{stats:?}");
    let mut rewards = [0.0; 2];
    let x = [3.0, 3.0, 3.0, 3.0, -3.0, -3.0, -3.0, -3.0];
    disc.rewards(&net, &[Part { data: &x, width: 4 }], &mut rewards).expect("valid");
    assert!(rewards[0] > 0.0 && rewards[1] < 0.0, "expert-like rows are rewarded: {rewards:?}");
    let d = 1.0 / (1.0 + f64::from(-rewards[0]).exp());
    assert!((f64::from(rewards[0]) - (d.ln() - (1.0 - d).ln())).abs() < 1e-4);
}

#[test]
fn shapes_that_the_penalty_does_not_cover_are_refused() {
    assert!(Discriminator::new(&MlpArch::value(4)).is_err());
    assert!(Discriminator::new(net(4, &[8], 0.1, 2, 1).arch()).is_err());
    assert!(Discriminator::new(net(4, &[], 0.1, 1, 1).arch()).is_err());
    let net = net(4, &[8], 0.1, 1, 1);
    let mut disc = Discriminator::new(net.arch()).expect("valid shape");
    let r = rows(8, 4, 1);
    let batch = DiscriminatorBatch {
        expert: &[Part { data: &r.expert, width: 4 }],
        policy: &[Part { data: &r.policy[..28], width: 4 }],
        mix: &r.mix,
    };
    let mut grad = vec![0.0; net.params.len()];
    let error = disc.gradient(&net, &DiscriminatorConfig::default(), batch, &mut grad);
    assert_eq!(error.expect_err("7 rows").to_string(), "policy rows: got 7 values, need 8");
}

/// −1/n Σ log q by the definition.
fn posterior_loss(net: &Mlp, p: &[f64], x: &[f32], codes: &[f32], kind: CodeKind) -> f64 {
    let width = net.arch().inputs;
    let rows = x.chunks(width).zip(codes.chunks(kind.len()));
    let n = rows.len() as f64;
    let log_q = |(x, z): (&[f32], &[f32])| -> f64 {
        let y = mlp(net, p, &to_f64(x));
        match kind {
            CodeKind::OneHot(_) => {
                let k = z.iter().position(|&v| v == 1.0).expect("one-hot");
                (y[k].exp() / y.iter().map(|y| y.exp()).sum::<f64>()).ln()
            }
            CodeKind::Gaussian(d) => (0..d)
                .map(|j| {
                    let sigma = y[d + j].exp();
                    let u = (f64::from(z[j]) - y[j]) / sigma;
                    -0.5 * u * u - sigma.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln()
                })
                .sum(),
        }
    };
    -rows.map(log_q).sum::<f64>() / n
}

#[test]
fn posterior_losses_and_gradients_agree_with_finite_differences() {
    for (kind, rows) in [(CodeKind::OneHot(5), 70), (CodeKind::Gaussian(2), 33)] {
        let net = net(6, &[24, 24], 0.1, kind.posterior_outputs(), 3);
        let mut rng = rng(4);
        let x = normal(&mut rng, rows * 6);
        let mut codes = normal(&mut rng, rows * kind.len());
        if let CodeKind::OneHot(k) = kind {
            codes.fill(0.0);
            codes.chunks_mut(k).for_each(|z| z[rng.random_range(0..k)] = 1.0);
        }
        let input = [Part { data: &x[..], width: 6 }];
        let mut posterior = Posterior::new(net.arch(), kind).expect("outputs fit");
        let mut grad = vec![0.0; net.params.len()];
        let loss = posterior.gradient(&net, &input, &codes, &mut grad).expect("valid");
        let reference = |p: &[f64]| posterior_loss(&net, p, &x, &codes, kind);
        let want = reference(&to_f64(&net.params));
        assert!((f64::from(loss) - want).abs() < 1e-5 * want.abs().max(1.0), "{loss} {want}");
        let mut log_q = vec![0.0; rows];
        posterior.log_probs(&net, &input, &codes, &mut log_q).expect("valid");
        let mean = -log_q.iter().map(|&l| f64::from(l)).sum::<f64>() / rows as f64;
        assert!((mean - want).abs() < 1e-5 * want.abs().max(1.0));
        let indices = spread(&mut rng, net.params.len(), 200);
        let want = differences(&net.params, &indices, 1e-6, reference);
        assert_gradient(&grad, &indices, &want, 1e-4);
    }
}

#[test]
fn a_posterior_learns_the_code_and_its_copy_follows() {
    let mut net = net(3, &[16], 0.1, 2, 5);
    let mut copy = net.clone();
    let mut posterior = Posterior::new(net.arch(), CodeKind::OneHot(2)).expect("outputs fit");
    let mut adam = Adam::new(AdamConfig::default(), net.params.len());
    let mut rng = rng(6);
    let mut loss = 0.0;
    for _ in 0..300 {
        let x = normal(&mut rng, 64 * 3);
        let codes: Vec<f32> =
            x.chunks(3).flat_map(|x| if x[0] > 0.0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
        let input = [Part { data: &x[..], width: 3 }];
        loss = posterior.update(&mut net, &mut adam, 1e-2, &input, &codes).expect("valid").loss;
        let before = copy.params[0];
        soft_update(&mut copy.params, &net.params, 0.5).expect("same length");
        assert!((copy.params[0] - 0.5 * (before + net.params[0])).abs() < 1e-6);
    }
    assert!(loss < 0.15, "{loss}");
}
