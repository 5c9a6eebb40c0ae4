//! SOG-BC against a plain f64 implementation: search, loss, gradient, update.

mod reference;

use proptest::prelude::*;
use rand::RngExt;
use reference::{
    assert_gradient, differences, every_arch, normal, policy_mean, rng, spread, to_f64,
};
use sog_engine::adam::{Adam, AdamConfig};
use sog_engine::net::{HiddenActivation, Init, PolicyArch, PolicyNet};
use sog_engine::policy::PolicyPass;
use sog_engine::search::{CodeSearch, Groups};
use sog_engine::sog_bc::{Codes, SogBatch, SogBc, SogPlan};

/// A policy with random biases, so that nothing hides behind a zero.
fn policy(arch: PolicyArch, seed: u64) -> PolicyNet {
    let mut rng = rng(seed);
    let mut net = PolicyNet::new(arch, Init::default(), &mut rng).expect("valid shape");
    for p in &mut net.params {
        *p += rng.random_range(-0.2..0.2);
    }
    net
}

fn arch(obs: usize, latent: usize, hidden: usize, action: usize) -> PolicyArch {
    PolicyArch::paper(obs, latent, hidden, action)
}

/// ‖mean − action‖² of every row with the given code per row.
fn row_errors(net: &PolicyNet, p: &[f64], obs: &[f32], actions: &[f32], codes: &[f32]) -> Vec<f64> {
    let &PolicyArch { obs: s, latent: z, action: a, .. } = net.arch();
    obs.chunks(s)
        .zip(actions.chunks(a))
        .enumerate()
        .map(|(i, (obs, target))| {
            let mean = policy_mean(net, p, &to_f64(obs), &to_f64(&codes[i * z..(i + 1) * z]));
            mean.iter().zip(target).map(|(m, &t)| (m - f64::from(t)).powi(2)).sum()
        })
        .collect()
}

fn rows_of(codes: &[f32], z: usize, groups: Groups<'_>, rows: usize) -> Vec<f32> {
    let of = |row: usize| match groups {
        Groups::Shared => 0,
        Groups::PerRow => row,
        Groups::Index { of_row, .. } => of_row[row] as usize,
    };
    (0..rows).flat_map(|row| codes[of(row) * z..(of(row) + 1) * z].to_vec()).collect()
}

#[test]
fn means_agree_with_the_plain_forward_pass() {
    let papers = [
        (arch(27, 6, 128, 8), None, 64),
        (arch(10, 3, 128, 2), Some(1.5), 33),
        (arch(376, 0, 128, 17), None, 5),
        (arch(1, 1, 3, 1), None, 1),
    ];
    let with_code = every_arch([7, 3, 2]).into_iter().map(|arch| (arch, Some(1.5), 33));
    let without = every_arch([7, 0, 2]).into_iter().map(|arch| (arch, None, 33));
    for (shape, scale, rows) in papers.into_iter().chain(with_code).chain(without) {
        let net = policy(PolicyArch { mean_scale: scale, ..shape.clone() }, 1);
        let mut rng = rng(2);
        let obs = normal(&mut rng, rows * shape.obs);
        let codes = normal(&mut rng, rows * shape.latent);
        let mut pass = PolicyPass::new(net.arch());
        let mut means = vec![0.0; rows * shape.action];
        pass.load(&net, &obs).expect("shapes match");
        pass.mean(&net, &codes, &mut means).expect("shapes match");
        let p = to_f64(&net.params);
        for row in 0..rows {
            let code = to_f64(&codes[row * shape.latent..(row + 1) * shape.latent]);
            let x = to_f64(&obs[row * shape.obs..(row + 1) * shape.obs]);
            for (a, want) in policy_mean(&net, &p, &x, &code).into_iter().enumerate() {
                let got = f64::from(means[row * shape.action + a]);
                assert!((got - want).abs() < 2e-5, "{shape:?} row {row}: {got} {want}");
            }
        }
    }
}

#[test]
fn gradient_agrees_with_finite_differences() {
    let papers = [
        (arch(5, 3, 16, 2), None, 40, 0),
        (arch(5, 3, 16, 2), Some(1.5), 33, 1),
        (arch(33, 2, 40, 9), None, 7, 2),
        (arch(4, 0, 8, 3), Some(0.7), 70, 0),
        (arch(27, 6, 128, 8), None, 64, 2),
    ];
    // One code for all rows and a code a row take different paths.
    let with_code = every_arch([5, 3, 2]).into_iter();
    let with_code = with_code.enumerate().map(|(i, arch)| (arch, Some(1.5), 40, i % 3));
    let without = every_arch([5, 0, 2]).into_iter().map(|arch| (arch, None, 40, 0));
    for (shape, scale, rows, grouping) in papers.into_iter().chain(with_code).chain(without) {
        let net = policy(PolicyArch { mean_scale: scale, ..shape.clone() }, 3);
        let mut rng = rng(4);
        let obs = normal(&mut rng, rows * shape.obs);
        let actions = normal(&mut rng, rows * shape.action);
        let of_row: Vec<u32> = (0..rows).map(|_| rng.random_range(0..4)).collect();
        let groups = match grouping {
            0 => Groups::Shared,
            1 => Groups::PerRow,
            _ => Groups::Index { of_row: &of_row, count: 4 },
        };
        let codes = normal(&mut rng, groups.count(rows) * shape.latent);
        let mut sog = SogBc::new(net.arch());
        sog.load(&net, SogBatch { obs: &obs, actions: &actions, groups }).expect("shapes match");
        sog.set_codes(&codes).expect("as many codes as groups");
        // What is in the gradient stays: it starts at 1 and λ is 0.5.
        let mut grad = vec![1.0; net.params.len()];
        let loss = sog.gradient(&net, groups, 0.5, &mut grad).expect("shapes match");
        grad.iter_mut().for_each(|g| *g = (*g - 1.0) * 2.0);

        let row_codes = rows_of(&codes, shape.latent, groups, rows);
        let reference = |p: &[f64]| {
            row_errors(&net, p, &obs, &actions, &row_codes).iter().sum::<f64>() / rows as f64
        };
        let want = reference(&to_f64(&net.params));
        assert!((f64::from(loss) - want).abs() < 1e-5 * want, "{loss} {want}");
        let indices = spread(&mut rng, net.params.len(), 300);
        // ReLU has a corner, which a wide step would straddle here and there.
        let step = if net.arch().activation == HiddenActivation::Relu { 1e-8 } else { 1e-5 };
        let want = differences(&net.params, &indices, step, reference);
        assert_gradient(&grad, &indices, &want, 2e-5);
    }
}

#[test]
fn one_hot_search_is_the_brute_force_minimum_and_reports_every_loss() {
    let papers = [1, 31, 64, 100].map(|rows| (arch(10, 5, 24, 3), rows));
    let others = every_arch([10, 5, 3]).into_iter().map(|arch| (arch, 70));
    for (shape, rows) in papers.into_iter().chain(others) {
        let net = policy(shape.clone(), 5);
        let mut rng = rng(rows as u64);
        let obs = normal(&mut rng, rows * shape.obs);
        let actions = normal(&mut rng, rows * shape.action);
        let of_row: Vec<u32> = (0..rows).map(|r| (r % 3) as u32).collect();
        for groups in [Groups::Shared, Groups::PerRow, Groups::Index { of_row: &of_row, count: 3 }]
        {
            let mut sog = SogBc::new(&shape);
            let batch = SogBatch { obs: &obs, actions: &actions, groups };
            sog.search(&net, batch, CodeSearch::OneHot, &mut rng).expect("shapes match");
            check_exhaustive(&net, &sog, batch, rows);
        }
    }
}

fn check_exhaustive(net: &PolicyNet, sog: &SogBc, batch: SogBatch<'_>, rows: usize) {
    let k = net.arch().latent;
    let p = to_f64(&net.params);
    let count = batch.groups.count(rows);
    let mut want = vec![0.0; count * k];
    let mut sizes = vec![0.0; count];
    for code in 0..k {
        let mut one_hot = vec![0.0; rows * k];
        (0..rows).for_each(|r| one_hot[r * k + code] = 1.0);
        for (row, e) in row_errors(net, &p, batch.obs, batch.actions, &one_hot).iter().enumerate() {
            let g = match batch.groups {
                Groups::Shared => 0,
                Groups::PerRow => row,
                Groups::Index { of_row, .. } => of_row[row] as usize,
            };
            want[g * k + code] += e;
            sizes[g] += if code == 0 { 1.0 } else { 0.0 };
        }
    }
    for g in (0..count).filter(|&g| sizes[g] > 0.0) {
        let losses = &want[g * k..(g + 1) * k];
        let best = (0..k).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).expect("k > 0");
        let mut code = vec![0.0; k];
        code[best] = 1.0;
        assert_eq!(&sog.codes()[g * k..(g + 1) * k], code);
        for (got, want) in sog.losses()[g * k..(g + 1) * k].iter().zip(losses) {
            let want = want / sizes[g];
            assert!((f64::from(*got) - want).abs() < 1e-5 * want.max(1.0), "{got} {want}");
        }
    }
}

#[test]
fn losses_of_given_codes_embed_a_trajectory() {
    let shape = arch(6, 2, 32, 4);
    let net = policy(shape.clone(), 6);
    let mut rng = rng(7);
    let (obs, actions) = (normal(&mut rng, 150 * 6), normal(&mut rng, 150 * 4));
    let codes = normal(&mut rng, 9 * 2);
    let mut sog = SogBc::new(&shape);
    let batch = SogBatch { obs: &obs, actions: &actions, groups: Groups::Shared };
    sog.load(&net, batch).expect("shapes match");
    let got = sog.losses_of(&net, Groups::Shared, &codes).expect("shapes match").to_vec();
    assert_eq!(got.len(), 9);
    for (code, got) in codes.chunks(2).zip(got) {
        let row_codes = code.repeat(150);
        let errors = row_errors(&net, &to_f64(&net.params), &obs, &actions, &row_codes);
        let want = errors.iter().sum::<f64>() / 150.0;
        assert!((f64::from(got) - want).abs() < 1e-5 * want, "{got} {want}");
    }
}

#[test]
fn coordinate_search_is_algorithm_4() {
    // Replays the draws and follows the pseudo-code in f64.
    let papers = [(1, 1, 1, 0), (3, 1, 3, 1), (5, 2, 2, 2)]
        .map(|(d, block, rounds, grouping)| (arch(6, d, 20, 2), block, rounds, grouping));
    let others = every_arch([6, 3, 2]).into_iter().map(|arch| (arch, 2, 2, 2));
    for (shape, block, rounds, grouping) in papers.into_iter().chain(others) {
        let d = shape.latent;
        let net = policy(shape.clone(), 8);
        let rows = 40;
        let mut data = rng(9);
        let (obs, actions) = (normal(&mut data, rows * 6), normal(&mut data, rows * 2));
        let of_row: Vec<u32> = (0..rows).map(|r| (r / 15) as u32).collect();
        let groups = match grouping {
            0 => Groups::Shared,
            1 => Groups::PerRow,
            _ => Groups::Index { of_row: &of_row, count: 3 },
        };
        let search = CodeSearch::Coordinate { samples: 30, block, rounds };
        let mut sog = SogBc::new(&shape);
        let batch = SogBatch { obs: &obs, actions: &actions, groups };
        sog.search(&net, batch, search, &mut rng(10)).expect("shapes match");

        let mut draws = rng(10);
        let count = groups.count(rows);
        let mut codes = vec![0.0f32; count * d];
        let p = to_f64(&net.params);
        let sum_losses = |codes: &[f32]| {
            let errors = row_errors(&net, &p, &obs, &actions, &rows_of(codes, d, groups, rows));
            let mut sums = vec![0.0; count];
            for (row, e) in errors.iter().enumerate() {
                sums[match groups {
                    Groups::Shared => 0,
                    Groups::PerRow => row,
                    Groups::Index { of_row, .. } => of_row[row] as usize,
                }] += e;
            }
            sums
        };
        for round in 0..rounds {
            for from in (0..d).step_by(block) {
                let to = d.min(from + block);
                let samples = normal(&mut draws, 30 * (to - from));
                let start = codes.clone();
                let mut best =
                    if round == 0 { vec![f64::INFINITY; count] } else { sum_losses(&start) };
                for v in samples.chunks(to - from) {
                    let mut candidate = start.clone();
                    (0..count).for_each(|g| candidate[g * d + from..g * d + to].copy_from_slice(v));
                    for (g, loss) in sum_losses(&candidate).into_iter().enumerate() {
                        if loss < best[g] {
                            best[g] = loss;
                            codes[g * d + from..g * d + to].copy_from_slice(v);
                        }
                    }
                }
            }
        }
        assert_eq!(sog.codes(), codes, "d {d}, block {block}");
        assert_eq!(sog.losses().len(), count);
    }
}

#[test]
fn updates_learn_two_modes_that_a_single_code_cannot() {
    // a = ±(1, −1) + s₀ by hidden mode: a single code leaves a loss of 2, two leave none.
    let shape = arch(4, 2, 32, 2);
    let mut rng = rng(11);
    let mut net = PolicyNet::new(shape.clone(), Init::default(), &mut rng).expect("valid");
    let mut adam = Adam::new(AdamConfig::default(), net.params.len());
    let mut sog = SogBc::new(&shape);
    let plan =
        SogPlan { codes: Codes::Search(CodeSearch::OneHot), lr: 3e-3, max_grad_norm: Some(10.0) };
    let groups = Groups::Shared;
    let mut losses = Vec::new();
    for step in 0..600 {
        let mode = step % 2;
        let sign = if mode == 0 { 1.0 } else { -1.0 };
        let obs = normal(&mut rng, 64 * 4);
        let actions: Vec<f32> = obs.chunks(4).flat_map(|s| [sign + s[0], s[0] - sign]).collect();
        let batch = SogBatch { obs: &obs, actions: &actions, groups };
        if step < 20 {
            // A first assignment by hand; the search keeps it.
            let mut grad = vec![0.0; net.params.len()];
            sog.load(&net, batch).expect("valid");
            sog.set_codes(if mode == 0 { &[1.0, 0.0] } else { &[0.0, 1.0] }).expect("valid");
            sog.gradient(&net, groups, 1.0, &mut grad).expect("valid");
            adam.step(&mut net.params, &grad, 3e-3, 1.0).expect("valid");
        } else {
            losses
                .push(sog.update(&mut net, &mut adam, plan, batch, &mut rng).expect("valid").loss);
            assert_eq!(sog.codes()[mode], 1.0, "step {step}");
        }
    }
    assert!(losses[0] > 0.5 && losses[losses.len() - 1] < 0.02, "{losses:?}");
}

#[test]
fn input_of_the_wrong_size_is_an_error_that_names_it() {
    let shape = arch(4, 2, 8, 2);
    let net = policy(shape.clone(), 12);
    let mut sog = SogBc::new(&shape);
    let mut rng = rng(0);
    let message =
        |result: Result<(), sog_engine::EngineError>| result.expect_err("bad input").to_string();
    let batch = |obs, actions, groups| SogBatch { obs, actions, groups };
    let (o, a) = (&[0.0; 12][..], &[0.0; 6][..]);
    let one_hot = CodeSearch::OneHot;
    let cases = [
        (batch(&[], a, Groups::Shared), one_hot, "observations: got 0 values, need 4"),
        (batch(&o[..11], a, Groups::Shared), one_hot, "observations: got 11 values, need 8"),
        (batch(o, &a[..5], Groups::Shared), one_hot, "expert actions: got 5 values, need 6"),
        (
            batch(o, a, Groups::Index { of_row: &[0, 1, 2], count: 2 }),
            one_hot,
            "group of a row: got 2, need an index below the number of groups",
        ),
        (
            batch(o, a, Groups::Shared),
            CodeSearch::Coordinate { samples: 0, block: 1, rounds: 1 },
            "search samples: got 0, need at least 1",
        ),
    ];
    for (batch, search, want) in cases {
        assert_eq!(message(sog.search(&net, batch, search, &mut rng)), want);
    }
    let other = policy(arch(5, 2, 8, 2), 1);
    assert!(
        message(sog.load(&other, batch(o, a, Groups::Shared))).starts_with("policy shape: got")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Rows do not influence each other, and padding counts for nothing: the loss of a batch is the
    /// mean of the losses of its rows.
    #[test]
    fn loss_is_the_mean_over_rows(rows in 1usize..80, seed in 0u64..1000) {
        let shape = arch(7, 2, 12, 3);
        let net = policy(shape.clone(), seed);
        let mut rng = rng(seed + 1);
        let (obs, actions) = (normal(&mut rng, rows * 7), normal(&mut rng, rows * 3));
        let codes = normal(&mut rng, rows * 2);
        let mut sog = SogBc::new(&shape);
        let mut grad = vec![0.0; net.params.len()];
        let mut loss_of = |range: std::ops::Range<usize>| {
            let batch = SogBatch {
                obs: &obs[range.start * 7..range.end * 7],
                actions: &actions[range.start * 3..range.end * 3],
                groups: Groups::PerRow,
            };
            sog.load(&net, batch).expect("valid");
            sog.set_codes(&codes[range.start * 2..range.end * 2]).expect("valid");
            sog.gradient(&net, Groups::PerRow, 1.0, &mut grad).expect("valid")
        };
        let whole = loss_of(0..rows);
        let mean = (0..rows).map(|r| f64::from(loss_of(r..r + 1))).sum::<f64>() / rows as f64;
        prop_assert!((f64::from(whole) - mean).abs() < 1e-5 * mean.max(1.0));
    }
}
