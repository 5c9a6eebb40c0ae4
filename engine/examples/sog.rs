//! Algorithm 1 as a library: learns points that lie on a curve nobody has labelled.
//!
//! ```sh
//! cargo run --release -p sog-engine --example sog
//! ```
//!
//! Points on a noisy half circle are one hidden number each. A generator with a code of one
//! dimension is to find it: for every point the code that explains it best is searched among draws
//! from the prior, then the generator takes a step towards the points (lines 6 to 11). What it ends
//! up with runs along the circle, and the codes in order are the points in order.

use rand::{Rng, RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;
use sog_engine::{
    EngineError,
    adam::AdamConfig,
    net::{Activation, Init, Mlp, MlpArch},
    search::{CodeSearch, Groups, Search},
    sog::{MlpGenerator, update},
};

/// Points of a minibatch.
const BATCH: usize = 64;

const UPDATES: usize = 2000;

/// A point (cos t, sin t) with t uniform from 0 to π, and a little noise; t is for the reader.
fn point(rng: &mut impl Rng) -> (f32, [f32; 2]) {
    let t = rng.random_range(0.0..std::f32::consts::PI);
    let noise = |rng: &mut dyn Rng| 0.02 * rng.sample::<f32, _>(StandardNormal);
    (t, [t.cos() + noise(rng), t.sin() + noise(rng)])
}

fn main() -> Result<(), EngineError> {
    let mut rng = Pcg64::seed_from_u64(0);
    // y = f(z): no x, one coordinate of z, two of y.
    let arch = MlpArch::new("generator", 1, &[64, 64], Activation::Tanh, 2);
    let net = Mlp::new(arch, Init::default(), &mut rng)?;
    let mut model = MlpGenerator::new(net, 1, AdamConfig::default())?;
    let mut search = Search::default();
    let plan = CodeSearch::Coordinate { samples: 128, block: 1, rounds: 1 };

    for step in 0..UPDATES {
        let y: Vec<f32> = (0..BATCH).flat_map(|_| point(&mut rng).1).collect();
        model.load(&[], &y)?;
        let rate = 3e-3 * (1.0 - step as f32 / UPDATES as f32);
        let loss = update(&mut model, Groups::PerRow, plan, rate, &mut search, &mut rng)?;
        if (step + 1).is_multiple_of(UPDATES / 5) {
            println!("update {:>4}: squared distance {loss:.5}", step + 1);
        }
    }

    // Held-out points in the order of their hidden number, and the codes that are found for them.
    let mut points: Vec<(f32, [f32; 2])> = (0..12).map(|_| point(&mut rng)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let y: Vec<f32> = points.iter().flat_map(|(_, y)| *y).collect();
    model.load(&[], &y)?;
    search.run(&mut model, Groups::PerRow, plan, &mut rng)?;
    println!("\n    t   code");
    for ((t, _), code) in points.iter().zip(search.codes()) {
        println!("{t:>5.2}  {code:>5.2}");
    }
    Ok(())
}
