//! Chains of dense layers against a plain f64 implementation.

mod reference;

use rand::RngExt;
use reference::{assert_gradient, differences, mlp, normal, rng, spread, to_f64};
use sog_engine::mlp::{MlpPass, Part};
use sog_engine::net::{Activation, Init, Mlp, MlpArch};

fn networks() -> Vec<Mlp> {
    let leaky = Activation::LeakyRelu { slope: 0.2 };
    let tanh_out = Activation::ScaledTanh { scale: 0.8 };
    let mut ddpg = MlpArch::new("actor", 10, &[40, 33], Activation::Relu, 4);
    ddpg.layers[2].1 = tanh_out;
    [
        MlpArch::value(13),
        MlpArch::new("posterior", 9, &[24, 24], leaky, 6),
        ddpg,
        MlpArch::new("linear", 5, &[], Activation::Tanh, 2),
        MlpArch::new("deep", 3, &[7, 50, 5], Activation::Tanh, 1),
        MlpArch::new("elu", 6, &[20, 33], Activation::Elu, 3),
    ]
    .into_iter()
    .enumerate()
    .map(|(i, arch)| {
        let mut rng = rng(i as u64);
        let mut net = Mlp::new(arch, Init::default(), &mut rng).expect("valid shape");
        net.params.iter_mut().for_each(|p| *p += rng.random_range(-0.1..0.1));
        net
    })
    .collect()
}

/// The input in two blocks of columns, as networks of (observation, action) get it.
fn split(x: &[f32], width: usize, first: usize) -> (Vec<f32>, Vec<f32>) {
    let block = |from: usize, to: usize| -> Vec<f32> {
        x.chunks(width).flat_map(|r| r[from..to].to_vec()).collect()
    };
    (block(0, first), block(first, width))
}

#[test]
fn outputs_agree_with_the_plain_forward_pass() {
    for net in networks() {
        for rows in [1, 32, 71, 300] {
            let width = net.arch().inputs;
            let x = normal(&mut rng(rows as u64), rows * width);
            let (a, b) = split(&x, width, 2);
            let input = [Part { data: &a, width: 2 }, Part { data: &b, width: width - 2 }];
            let outputs = net.arch().outputs();
            let mut out = vec![0.0; rows * outputs];
            MlpPass::new(net.arch()).forward(&net, &input, &mut out).expect("shapes match");
            let p = to_f64(&net.params);
            for (x, out) in x.chunks(width).zip(out.chunks(outputs)) {
                for (got, want) in out.iter().zip(mlp(&net, &p, &to_f64(x))) {
                    assert!((f64::from(*got) - want).abs() < 2e-5, "{got} {want}");
                }
            }
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for net in networks() {
        for rows in [5, 70, 300] {
            let (width, outputs) = (net.arch().inputs, net.arch().outputs());
            let mut rng = rng(rows as u64 + 9);
            let x = normal(&mut rng, rows * width);
            let targets = normal(&mut rng, rows * outputs);
            let input = [Part { data: &x, width }];
            let mut pass = MlpPass::new(net.arch());
            let mut grad = vec![0.0; net.params.len()];
            let loss = pass.squared_error(&net, &input, &targets, 1.0, &mut grad).expect("valid");
            let reference = |p: &[f64]| {
                let errors = x.chunks(width).zip(targets.chunks(outputs)).map(|(x, t)| {
                    let out = mlp(&net, p, &to_f64(x));
                    out.iter().zip(t).map(|(o, &t)| (o - f64::from(t)).powi(2)).sum::<f64>()
                });
                errors.sum::<f64>() / rows as f64
            };
            let want = reference(&to_f64(&net.params));
            assert!((f64::from(loss) - want).abs() < 1e-5 * want);
            let indices = spread(&mut rng, net.params.len(), 60);
            let want = differences(&net.params, &indices, 1e-6, reference);
            assert_gradient(&grad, &indices, &want, 1e-4);
        }
    }
}

#[test]
fn gradients_of_parameters_and_inputs_for_a_given_output_gradient() {
    for net in networks() {
        let rows = 41;
        let (width, outputs) = (net.arch().inputs, net.arch().outputs());
        let mut rng = rng(77);
        let x = normal(&mut rng, rows * width);
        let d_out = normal(&mut rng, rows * outputs);
        let (a, b) = split(&x, width, 1);
        let input = [Part { data: &a, width: 1 }, Part { data: &b, width: width - 1 }];
        let mut grad = vec![0.0; net.params.len()];
        let mut d_input = vec![f32::NAN; x.len()];
        MlpPass::new(net.arch())
            .backward(&net, &input, &d_out, &mut grad, Some(&mut d_input))
            .expect("valid");
        let weighted = |p: &[f64], x: &[f64]| {
            let rows = x.chunks(width).zip(d_out.chunks(outputs));
            rows.map(|(x, d)| {
                mlp(&net, p, x).iter().zip(d).map(|(o, &d)| o * f64::from(d)).sum::<f64>()
            })
            .sum::<f64>()
        };
        let indices = spread(&mut rng, net.params.len(), 60);
        let x64 = to_f64(&x);
        let want = differences(&net.params, &indices, 1e-6, |p| weighted(p, &x64));
        assert_gradient(&grad, &indices, &want, 1e-4);
        let p64 = to_f64(&net.params);
        let indices = spread(&mut rng, x.len(), 60);
        let want = differences(&x, &indices, 1e-6, |x| weighted(&p64, x));
        assert_gradient(&d_input, &indices, &want, 1e-4);
    }
}

#[test]
fn wrong_shapes_are_refused_by_name() {
    let net = networks().remove(0);
    let mut pass = MlpPass::new(net.arch());
    let x = [0.0; 26];
    let mut out = [0.0; 2];
    let short = [Part { data: &x, width: 12 }];
    let error = pass.forward(&net, &short, &mut out).expect_err("12 columns");
    assert_eq!(error.to_string(), "input columns: got 12 values, need 13");
    let ragged = [Part { data: &x[..6], width: 3 }, Part { data: &x[..10], width: 10 }];
    let error = pass.forward(&net, &ragged, &mut out).expect_err("2 rows and 1 row");
    assert_eq!(error.to_string(), "input block: got 10 values, need 20");
    let whole = [Part { data: &x, width: 13 }];
    let error = pass.forward(&net, &whole, &mut out[..1]).expect_err("2 rows");
    assert_eq!(error.to_string(), "outputs: got 1 values, need 2");
    let other = networks().remove(4);
    assert!(pass.forward(&other, &whole, &mut out).is_err());
}
