//! Algorithm 1 with a plain network: codes per datum, discrete and continuous.

mod reference;

use rand::RngExt;
use reference::{mlp, normal, rng, to_f64};
use sog_engine::adam::AdamConfig;
use sog_engine::net::{Activation, Init, Mlp, MlpArch};
use sog_engine::search::{CodeSearch, Groups, LatentModel, Search};
use sog_engine::sog::{MlpGenerator, update};

fn generator(x: usize, z: usize, y: usize, seed: u64) -> MlpGenerator {
    let arch = MlpArch::new("generator", x + z, &[32, 32], Activation::Tanh, y);
    let net = Mlp::new(arch, Init::default(), &mut rng(seed)).expect("valid");
    MlpGenerator::new(net, z, AdamConfig::default()).expect("z fits")
}

#[test]
fn discrete_codes_learn_a_relation_with_two_branches() {
    // y = ±(1 + x²/2): the mean over the branches is 0, so one output leaves a loss above 1.
    let mut model = generator(1, 2, 1, 1);
    let (mut search, mut rng) = (Search::default(), rng(2));
    let mut loss = f32::NAN;
    for _ in 0..1500 {
        let x = normal(&mut rng, 64);
        let y: Vec<f32> = x
            .iter()
            .map(|x| if rng.random() { 1.0 } else { -1.0 } * (1.0 + 0.5 * x.clamp(-2.0, 2.0).powi(2)))
            .collect();
        model.load(&x, &y).expect("one x, one y");
        let plan = CodeSearch::OneHot;
        loss =
            update(&mut model, Groups::PerRow, plan, 3e-3, &mut search, &mut rng).expect("valid");
    }
    assert!(loss < 0.02, "{loss}");
    let won = |k: usize| search.codes().chunks(2).filter(|z| z[k] == 1.0).count();
    assert!(won(0) > 10 && won(1) > 10, "both codes are in use");
}

#[test]
fn a_continuous_code_organises_itself_along_the_hidden_cause() {
    // y = 2u with u hidden: after training, the code found for y is monotonic in u.
    let mut model = generator(0, 1, 1, 3);
    let (mut search, mut rng) = (Search::default(), rng(4));
    let plan = CodeSearch::coordinate(1);
    let mut loss = f32::NAN;
    for _ in 0..800 {
        let u: Vec<f32> = (0..32).map(|_| rng.random_range(-1.0..1.0)).collect();
        let y: Vec<f32> = u.iter().map(|u| 2.0 * u).collect();
        model.load(&[], &y).expect("no x, one y");
        loss =
            update(&mut model, Groups::PerRow, plan, 3e-3, &mut search, &mut rng).expect("valid");
    }
    assert!(loss < 0.02, "{loss}");
    let y: Vec<f32> = (0..9).map(|i| (i as f32 - 4.0) * 0.4).collect();
    model.load(&[], &y).expect("no x, one y");
    search.run(&mut model, Groups::PerRow, plan, &mut rng).expect("valid");
    let codes = search.codes();
    let rising = codes.windows(2).filter(|w| w[0] < w[1]).count();
    assert!(rising == 0 || rising == 8, "{codes:?}");
}

#[test]
fn the_search_is_the_brute_force_minimum_for_any_model() {
    let mut model = generator(3, 4, 2, 5);
    let mut rng = rng(6);
    let (x, y) = (normal(&mut rng, 10 * 3), normal(&mut rng, 10 * 2));
    model.load(&x, &y).expect("valid");
    let of_row = [0, 1, 0, 1, 2, 2, 0, 0, 1, 2];
    let groups = Groups::Index { of_row: &of_row, count: 3 };
    let mut search = Search::default();
    search.run(&mut model, groups, CodeSearch::OneHot, &mut rng).expect("valid");
    let p = to_f64(&model.net.params);
    for g in 0..3 {
        let losses: Vec<f64> = (0..4)
            .map(|k| {
                let rows: Vec<usize> = (0..10).filter(|&r| of_row[r] == g).collect();
                let total: f64 = rows
                    .iter()
                    .map(|&r| {
                        let mut input = to_f64(&x[r * 3..r * 3 + 3]);
                        input.extend((0..4).map(|j| if j == k { 1.0 } else { 0.0 }));
                        let out = mlp(&model.net, &p, &input);
                        (0..2).map(|j| (out[j] - f64::from(y[r * 2 + j])).powi(2)).sum::<f64>()
                    })
                    .sum();
                total / rows.len() as f64
            })
            .collect();
        let best = (0..4).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).expect("4 codes");
        let g = g as usize;
        assert_eq!(search.codes()[g * 4 + best], 1.0);
        assert_eq!(search.codes()[g * 4..g * 4 + 4].iter().sum::<f32>(), 1.0);
        for (got, want) in search.losses()[g * 4..g * 4 + 4].iter().zip(&losses) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
        }
    }
}

#[test]
fn more_rounds_never_make_a_code_worse() {
    let mut model = generator(2, 3, 2, 7);
    let mut data = rng(8);
    let (x, y) = (normal(&mut data, 20 * 2), normal(&mut data, 20 * 2));
    model.load(&x, &y).expect("valid");
    let loss_after = |model: &mut MlpGenerator, rounds| {
        let mut search = Search::default();
        let plan = CodeSearch::Coordinate { samples: 20, block: 1, rounds };
        search.run(model, Groups::PerRow, plan, &mut rng(9)).expect("valid");
        let found = search.losses().to_vec();
        // The loss reported is that of the code reported.
        let mut sums = vec![0.0; 20];
        for (row, code) in search.codes().chunks(3).enumerate() {
            let mut all = vec![0.0; 20];
            model.losses(sog_engine::search::Candidates::Codes(code), Groups::PerRow, &mut all);
            sums[row] = all[row];
        }
        for (a, b) in found.iter().zip(&sums) {
            assert!((f64::from(*a) - b).abs() < 1e-4);
        }
        found
    };
    let (one, three) = (loss_after(&mut model, 1), loss_after(&mut model, 3));
    assert!(one.iter().zip(&three).all(|(a, b)| b <= a));
    assert!(three.iter().sum::<f32>() < one.iter().sum::<f32>());
}

#[test]
fn bad_input_is_refused() {
    let mut model = generator(1, 2, 1, 1);
    assert!(model.load(&[0.0; 3], &[0.0; 2]).is_err());
    assert!(model.load(&[], &[]).is_err());
    model.load(&[0.0; 2], &[0.0; 2]).expect("two rows");
    assert!(model.generate(&[0.0; 3], Groups::Shared).is_err());
    assert_eq!(model.generate(&[0.0; 2], Groups::Shared).expect("one code").len(), 2);
    assert!(MlpGenerator::new(model.net.clone(), 4, AdamConfig::default()).is_err());
}
