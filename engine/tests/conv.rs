//! Convolutional networks: gradients against differences, the frozen network against the plain
//! formulas, and the search against brute force.

use rand::{Rng, RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;
use sog_engine::adam::AdamConfig;
use sog_engine::conv::{
    ConvArch, ConvGenerator, ConvLayer, ConvNet, ConvPass, Grid, Kind, Scratch, squared_error,
};
use sog_engine::net::Activation;
use sog_engine::search::{CodeSearch, Groups, LatentModel, Refinement, Search};
use sog_engine::sog::{Generator, update};

fn normal(rng: &mut impl Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.sample(StandardNormal)).collect()
}

/// A small generator, and its mirror image.
fn arches() -> [ConvArch; 2] {
    let grid = |side, channels| Grid { height: side, width: side, channels };
    let layer = |kind, out, norm, activation| ConvLayer { kind, out, norm, activation };
    let transpose = |kernel| Kind::ConvTranspose { kernel, stride: 2, padding: 1 };
    let generator = ConvArch {
        name: "generator".to_string(),
        input: Grid::vector(3),
        layers: vec![
            layer(Kind::Dense, grid(2, 5), true, Activation::Relu),
            layer(transpose(3), grid(3, 4), true, Activation::Relu),
            layer(transpose(4), grid(6, 2), false, Activation::Tanh),
        ],
    };
    let mirror = generator.mirrored("encoder", 4);
    [generator, mirror]
}

/// A network whose parameters are all away from their special values.
fn network(arch: &ConvArch, rng: &mut Pcg64) -> ConvNet {
    let mut net = ConvNet::new(arch.clone(), rng);
    for p in &mut net.params {
        *p = 0.4 * rng.sample::<f32, _>(StandardNormal) + 0.2;
    }
    for s in &mut net.stats {
        *s = rng.random_range(0.5..1.5);
    }
    net
}

/// The layers' plain formulas in f64, one row, with the given means and variances (running ones if
/// none).
fn reference(net: &ConvNet, input: &[f32]) -> Vec<f64> {
    let arch = net.arch();
    let (layout, stats) = (arch.layout(), arch.stats_layout());
    let tensor = |i: usize, name: &str| -> Vec<f64> {
        let name = format!("{}.{i}.{name}", arch.name);
        let found = layout.tensor(&name).map(|t| &net.params[t.range()]);
        let found = found.or_else(|_| stats.tensor(&name).map(|t| &net.stats[t.range()]));
        found.expect("a tensor").iter().map(|&v| f64::from(v)).collect()
    };
    let mut x: Vec<f64> = input.iter().map(|&v| f64::from(v)).collect();
    for (i, layer) in arch.layers.iter().enumerate() {
        let (from, to) = (arch.input_of(i), layer.out);
        let w = tensor(i, "weight");
        let mut y = vec![0.0; to.values()];
        let mut add = |o: usize, p: usize, tap: usize| {
            for c in 0..to.channels {
                for k in 0..from.channels {
                    y[o * to.channels + c] +=
                        w[(tap * to.channels + c) * from.channels + k] * x[p * from.channels + k];
                }
            }
        };
        for a in 0..from.positions() {
            for b in 0..to.positions() {
                let (ay, ax) = ((a / from.width) as isize, (a % from.width) as isize);
                let (by, bx) = ((b / to.width) as isize, (b % to.width) as isize);
                let tap = |(fy, fx): (isize, isize), (cy, cx): (isize, isize), k, s, p| {
                    let (s, p, k) = (s as isize, p as isize, k as isize);
                    let (u, v) = (fy - s * cy + p, fx - s * cx + p);
                    ((0..k).contains(&u) && (0..k).contains(&v)).then_some((u * k + v) as usize)
                };
                match layer.kind {
                    Kind::Dense => add(b, a, b * from.positions() + a),
                    Kind::Conv { kernel, stride, padding } => {
                        if let Some(tap) = tap((ay, ax), (by, bx), kernel, stride, padding) {
                            add(b, a, tap);
                        }
                    }
                    Kind::ConvTranspose { kernel, stride, padding } => {
                        if let Some(tap) = tap((by, bx), (ay, ax), kernel, stride, padding) {
                            add(b, a, tap);
                        }
                    }
                }
            }
        }
        for (at, y) in y.iter_mut().enumerate() {
            let c = at % to.channels;
            if layer.norm {
                let std = (tensor(i, "variance")[c] + 1e-5).sqrt();
                *y = tensor(i, "gain")[c] * (*y - tensor(i, "mean")[c]) / std
                    + tensor(i, "shift")[c];
            } else {
                *y += tensor(i, "bias")[c];
            }
            *y = match layer.activation {
                Activation::Relu => y.max(0.0),
                Activation::LeakyRelu { slope } => y.max(f64::from(slope) * *y),
                Activation::Tanh => y.tanh(),
                _ => *y,
            };
        }
        x = y;
    }
    x
}

#[test]
fn the_frozen_network_is_the_plain_formula() {
    let mut rng = Pcg64::seed_from_u64(1);
    for arch in arches() {
        let net = network(&arch, &mut rng);
        let (rows, width) = (37, arch.input.values());
        let input = normal(&mut rng, rows * width);
        let out = net.frozen().forward(&input, &mut Scratch::default()).expect("whole rows");
        for (x, out) in input.chunks(width).zip(out.chunks(arch.output().values())) {
            for (got, want) in out.iter().zip(reference(&net, x)) {
                assert!((f64::from(*got) - want).abs() < 2e-4 * want.abs().max(1.0));
            }
        }
    }
}

#[test]
fn gradients_are_those_of_differences() {
    let mut rng = Pcg64::seed_from_u64(2);
    for arch in arches() {
        let net = network(&arch, &mut rng);
        let (rows, width, values) = (64, arch.input.values(), arch.output().values());
        let (input, y) = (normal(&mut rng, rows * width), normal(&mut rng, rows * values));
        let mut pass = ConvPass::new(&arch);
        let mut loss_of = |net: &ConvNet, input: &[f32]| {
            let out = pass.forward(&mut net.clone(), input).expect("a batch");
            let error = |(o, y): (&f32, &f32)| f64::from(o - y).powi(2);
            out.iter().zip(&y).map(error).sum::<f64>() / rows as f64
        };
        let mut own = ConvPass::new(&arch);
        let mut out = own.forward(&mut net.clone(), &input).expect("a batch");
        let loss = squared_error(&mut out, &y, rows);
        assert!((f64::from(loss) - loss_of(&net, &input)).abs() < 1e-4 * f64::from(loss));
        let mut grad = vec![f32::NAN; net.params.len()];
        let d_input = own.backward(&net, &out, &mut grad, true).expect("a batch").expect("wanted");
        // Along random directions: differences in f32 are too coarse for single parameters.
        for direction in 0..12 {
            let (along, of_input) =
                (normal(&mut rng, net.params.len()), normal(&mut rng, input.len()));
            // A direction of one tensor each, then all, then the input.
            let tensors = arch.layout().tensors;
            let mut moved = |h: f32| {
                let (mut net, mut input) = (net.clone(), input.clone());
                match tensors.get(direction) {
                    Some(t) => t.range().for_each(|i| net.params[i] += h * along[i]),
                    None => input.iter_mut().zip(&of_input).for_each(|(x, d)| *x += h * d),
                }
                loss_of(&net, &input)
            };
            let h = 1e-3;
            let want = (moved(h) - moved(-h)) / f64::from(2.0 * h);
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum()
            };
            let got = match tensors.get(direction) {
                Some(t) => dot(&grad[t.range()], &along[t.range()]),
                None => dot(&d_input, &of_input),
            };
            let size = want.abs().max(0.05 * f64::from(loss));
            assert!((got - want).abs() < 0.03 * size, "{} {direction}: {got} {want}", arch.name);
        }
    }
}

#[test]
fn running_statistics_approach_those_of_the_batches() {
    let mut rng = Pcg64::seed_from_u64(3);
    let [arch, _] = arches();
    let mut net = network(&arch, &mut rng);
    let mut pass = ConvPass::new(&arch);
    let input = normal(&mut rng, 256 * 3);
    let mut trained = vec![];
    for _ in 0..100 {
        trained = pass.forward(&mut net, &input).expect("a batch");
    }
    let used = net.frozen().forward(&input, &mut Scratch::default()).expect("whole rows");
    let worst = trained.iter().zip(&used).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-2, "{worst}");
    assert!(pass.forward(&mut net, &input[..30]).is_err(), "batches are whole panels");
}

#[test]
fn candidates_in_common_and_apart_give_the_same_losses() {
    let mut rng = Pcg64::seed_from_u64(4);
    let [arch, _] = arches();
    let net = network(&arch, &mut rng);
    let (rows, values) = (5, arch.output().values());
    let y = normal(&mut rng, rows * values);
    let mut model = ConvGenerator::new(net.clone(), AdamConfig::default());
    model.load(&y).expect("whole pictures");
    let codes = normal(&mut rng, 40 * 3);
    let want: Vec<f64> = (0..rows * 40)
        .map(|at| {
            let (row, c) = (at / 40, at % 40);
            let out = reference(&net, &codes[c * 3..c * 3 + 3]);
            let y = &y[row * values..(row + 1) * values];
            out.iter().zip(y).map(|(o, &y)| (o - f64::from(y)).powi(2)).sum()
        })
        .collect();
    use sog_engine::search::Candidates;
    let zeros = vec![7.0; rows * 3];
    let block = |keep| Candidates::Block { codes: &zeros, block: 0..3, values: &codes, keep };
    for candidates in [Candidates::Codes(&codes), block(0.0), block(1e-30)] {
        let mut sums = vec![0.0; rows * 40];
        model.losses(candidates, Groups::PerRow, &mut sums);
        for (got, want) in sums.iter().zip(&want) {
            assert!((got - want).abs() < 1e-3 * want.max(1.0), "{got} {want}");
        }
    }
}

#[test]
fn a_step_knows_how_fast_errors_fall() {
    let mut rng = Pcg64::seed_from_u64(8);
    let [arch, _] = arches();
    let mut model = ConvGenerator::new(network(&arch, &mut rng), AdamConfig::default());
    let (rows, values) = (32, arch.output().values());
    model.load(&normal(&mut rng, rows * values)).expect("whole pictures");
    let codes = normal(&mut rng, rows * 3);
    let loss_of =
        |codes: &[f32]| model.clone().step(codes, Groups::PerRow, 0.0).expect("as many codes");
    let (loss, slope) = model.clone().step_and_slope(&codes, 0.0).expect("as many codes");
    assert_eq!(loss, loss_of(&codes));
    assert!(model.clone().step_and_slope(&codes[3..], 0.0).is_err());
    // Along the slope itself, and along another direction as long.
    let length = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
    let turned: Vec<f32> = slope.iter().rev().zip(&slope).map(|(a, b)| a + b).collect();
    for along in [slope.clone(), turned] {
        let unit: Vec<f32> = along.iter().map(|x| x / length(&along)).collect();
        let moved = |by: f32| {
            let codes: Vec<f32> = codes.iter().zip(&unit).map(|(z, u)| z + by * u).collect();
            f64::from(loss_of(&codes))
        };
        // Half of it, and of a mean over the rows.
        let falls = 0.5 * rows as f64 * (moved(-0.02) - moved(0.02)) / 0.04;
        let want: f64 = slope.iter().zip(&unit).map(|(s, u)| f64::from(s * u)).sum();
        assert!((falls / want - 1.0).abs() < 0.03, "{falls} {want}");
    }
}

#[test]
fn refining_goes_on_from_the_codes_at_hand_and_only_improves() {
    let mut rng = Pcg64::seed_from_u64(5);
    let [arch, _] = arches();
    let net = network(&arch, &mut rng);
    // Pictures that the network can make, so that the best code is known.
    let truth = normal(&mut rng, 20 * 3);
    let y = net.frozen().forward(&truth, &mut Scratch::default()).expect("whole rows");
    let mut model = ConvGenerator::new(net, AdamConfig::default());
    model.load(&y).expect("whole pictures");
    let mut search = Search::default();
    let refinement = Refinement { samples: 32, block: 3, rounds: 2, step: 0.3 };
    assert!(search.refine(&mut model, Groups::PerRow, refinement, &mut rng).is_err(), "no codes");
    let plan = CodeSearch::Coordinate { samples: 64, block: 3, rounds: 1 };
    search.run(&mut model, Groups::PerRow, plan, &mut rng).expect("valid");
    let before = search.losses().to_vec();
    search.refine(&mut model, Groups::PerRow, refinement, &mut rng).expect("codes are there");
    let after = search.losses().to_vec();
    assert!(after.iter().zip(&before).all(|(a, b)| a <= b));
    assert!(after.iter().sum::<f32>() < 0.5 * before.iter().sum::<f32>(), "{after:?} {before:?}");
    // Secants lead on, to the truth where the start was good.
    let mut errors = vec![after.iter().sum::<f32>()];
    for _ in 0..6 {
        let found = search.codes().to_vec();
        let proposed = model.secant_codes(&found).expect("as many codes").codes;
        search.offer(&mut model, Groups::PerRow, &proposed).expect("as many codes");
        errors.push(search.losses().iter().sum());
    }
    assert!(errors.windows(2).all(|pair| pair[1] <= pair[0]), "{errors:?}");
    assert!(errors[6] < 0.1 * errors[0], "{errors:?}");
    assert!(model.secant_codes(&truth[3..]).is_err());
    // The truth, offered, wins everywhere.
    search.offer(&mut model, Groups::PerRow, &truth).expect("as many codes");
    assert!(search.losses().iter().all(|&loss| loss < 1e-4), "{:?}", search.losses());
    let bad = Refinement { step: 1.5, ..refinement };
    let error = search.refine(&mut model, Groups::PerRow, bad, &mut rng).expect_err("1.5");
    assert!(error.to_string().contains("got 1.5, need a number from 0 to 1"), "{error}");
}

#[test]
fn algorithm_1_learns_pictures_of_one_hidden_cause() {
    let mut rng = Pcg64::seed_from_u64(6);
    let grid = |side, channels| Grid { height: side, width: side, channels };
    let arch = ConvArch {
        name: "generator".to_string(),
        input: Grid::vector(1),
        layers: vec![
            ConvLayer {
                kind: Kind::Dense,
                out: grid(3, 8),
                norm: true,
                activation: Activation::Relu,
            },
            ConvLayer {
                kind: Kind::ConvTranspose { kernel: 4, stride: 2, padding: 1 },
                out: grid(6, 1),
                norm: false,
                activation: Activation::Tanh,
            },
        ],
    };
    let mut model = ConvGenerator::new(ConvNet::new(arch, &mut rng), AdamConfig::default());
    let mut search = Search::default();
    let plan = CodeSearch::Coordinate { samples: 64, block: 1, rounds: 1 };
    let mut losses = vec![];
    for _ in 0..300 {
        // A bright column at a random place.
        let y: Vec<f32> = (0..64)
            .flat_map(|_| {
                let at: f32 = rng.random_range(0.0..6.0);
                (0..36).map(move |p| {
                    let x = (p % 6) as f32 + 0.5;
                    2.0 * (-(x - at).powi(2)).exp() - 1.0
                })
            })
            .collect();
        model.load(&y).expect("whole pictures");
        losses.push(
            update(&mut model, Groups::PerRow, plan, 5e-3, &mut search, &mut rng).expect("valid"),
        );
    }
    let last = losses[290..].iter().sum::<f32>() / 10.0;
    assert!(last < 0.3 * losses[0], "{} to {last}", losses[0]);
}
