//! A plain f64 implementation of the networks, written for the tests alone and sharing no code with
//! the engine but the layout, and central finite differences of any loss built on it.
#![allow(dead_code)] // Each test file uses its part.

use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;
use sog_engine::net::{
    Activation, Architecture, HiddenActivation, LayerSpec, Mlp, PolicyArch, PolicyNet,
};

pub(crate) fn rng(seed: u64) -> Pcg64 {
    Pcg64::seed_from_u64(seed)
}

pub(crate) fn normal(rng: &mut Pcg64, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.sample(StandardNormal)).collect()
}

pub(crate) fn to_f64(v: &[f32]) -> Vec<f64> {
    v.iter().map(|&x| f64::from(x)).collect()
}

pub(crate) fn act(a: Activation, x: f64) -> f64 {
    match a {
        Activation::Identity => x,
        Activation::Tanh => x.tanh(),
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu { slope } => {
            if x > 0.0 {
                x
            } else {
                f64::from(slope) * x
            }
        }
        Activation::Elu => {
            if x > 0.0 {
                x
            } else {
                x.exp_m1()
            }
        }
        Activation::ScaledTanh { scale } => f64::from(scale) * x.tanh(),
    }
}

/// weight · x + bias of the layer whose tensors start at `offset`.
fn dense(params: &[f64], offset: usize, layer: &LayerSpec, x: &[f64]) -> Vec<f64> {
    assert_eq!(x.len(), layer.inputs);
    let bias = offset + layer.outputs * layer.inputs;
    (0..layer.outputs)
        .map(|o| {
            let row = &params[offset + o * layer.inputs..offset + (o + 1) * layer.inputs];
            row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + params[bias + o]
        })
        .collect()
}

/// Every architecture with every activation, of one to three hidden layers; widths S, Z and A.
pub(crate) fn every_arch([obs, latent, action]: [usize; 3]) -> Vec<PolicyArch> {
    let mut all = vec![];
    for architecture in [Architecture::TwoBranch, Architecture::Mlp] {
        for activation in HiddenActivation::ALL {
            for hidden in [&[16][..], &[16, 9], &[16, 9, 40]] {
                let paper = PolicyArch::paper(obs, latent, 1, action);
                all.push(PolicyArch { architecture, activation, hidden: hidden.to_vec(), ..paper });
            }
        }
    }
    all
}

/// The policy's mean for one observation and code, from the tensors by name.
pub(crate) fn policy_mean(net: &PolicyNet, params: &[f64], obs: &[f64], code: &[f64]) -> Vec<f64> {
    let arch = net.arch();
    let tensor = |name: &str| -> &[f64] {
        net.layout().tensor(name).map_or(&[], |tensor| &params[tensor.range()])
    };
    let product = |weight: &str, x: &[f64]| -> Vec<f64> {
        let rows = tensor(weight).chunks_exact(x.len());
        rows.map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
    };
    let plus =
        |a: Vec<f64>, b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
    let sigma = |x: Vec<f64>| -> Vec<f64> {
        x.into_iter().map(|x| act(arch.activation.into(), x)).collect()
    };
    let stack = arch.architecture == Architecture::Mlp;
    let mut x = obs.to_vec();
    for i in 0..arch.hidden.len() {
        let name = format!("actor.{}.{i}", if stack { "layer" } else { "state" });
        let mut sum = plus(product(&format!("{name}.weight"), &x), tensor(&format!("{name}.bias")));
        if arch.latent > 0 && stack && i == 0 {
            sum = plus(sum, &product("actor.layer.0.code", code));
        }
        if arch.latent > 0 && !stack && i + 1 == arch.hidden.len() {
            sum = plus(sum, &product("actor.latent.weight", code));
            sum = plus(sum, tensor("actor.latent.bias"));
        }
        x = sigma(sum);
    }
    let last = plus(product("actor.mean.weight", &x), tensor("actor.mean.bias"));
    match arch.mean_scale {
        None => last,
        Some(c) => last.into_iter().map(|y| f64::from(c) * y.tanh()).collect(),
    }
}

/// The output of a chain of layers for one input.
pub(crate) fn mlp(net: &Mlp, params: &[f64], x: &[f64]) -> Vec<f64> {
    let mut x = x.to_vec();
    let mut offset = 0;
    for layer in net.arch().layers() {
        x = dense(params, offset, &layer, &x).iter().map(|&v| act(layer.activation, v)).collect();
        offset += layer.outputs * (layer.inputs + 1);
    }
    x
}

/// Central differences of `loss` at `params` for the given indices.
pub(crate) fn differences(
    params: &[f32],
    indices: &[usize],
    step: f64,
    mut loss: impl FnMut(&[f64]) -> f64,
) -> Vec<f64> {
    let mut p = to_f64(params);
    indices
        .iter()
        .map(|&i| {
            let at = p[i];
            p[i] = at + step;
            let up = loss(&p);
            p[i] = at - step;
            let down = loss(&p);
            p[i] = at;
            (up - down) / (2.0 * step)
        })
        .collect()
}

/// Up to `count` indices spread over a layout of `len` parameters, with the last one always in.
pub(crate) fn spread(rng: &mut Pcg64, len: usize, count: usize) -> Vec<usize> {
    if len <= count {
        return (0..len).collect();
    }
    let mut picked: Vec<usize> = (0..count).map(|_| rng.random_range(0..len)).collect();
    picked.push(len - 1);
    picked
}

/// Asserts that an engine's gradient agrees with the differences, relative to the largest of them.
pub(crate) fn assert_gradient(got: &[f32], indices: &[usize], want: &[f64], tolerance: f64) {
    let size = want.iter().fold(1e-12, |m: f64, v| m.max(v.abs()));
    for (&i, &want) in indices.iter().zip(want) {
        let got = f64::from(got[i]);
        assert!(
            (got - want).abs() < tolerance * size,
            "parameter {i}: engine {got}, differences {want} (largest {size})"
        );
    }
}
