//! Pictures from files to a measured model: learning, resuming, the device's path, the program.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    cell::Cell,
    fs,
    path::Path,
    process::{Command, Output},
};

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;
use serde_json::Value;
use sog_engine::{
    conv::{ConvArch, ConvNet, ConvPass, Grid, Scratch, squared_error},
    search::{Candidates, Groups, LatentModel},
};
use sog_rl::run::Run;
use sog_trainer::{
    device::Compute,
    images::{
        ImageError,
        config::ImageConfig,
        data::{self, Dataset},
        model::ImageModel,
        sog::SogImages,
        train::{ImageJob, train},
        vae::VaeImages,
    },
    nn::{
        conv::{CandleConv, DeviceGenerator},
        mean_squared_distance,
    },
};

const SIZE: Grid = Grid { height: 28, width: 28, channels: 1 };

/// A set in MNIST's format: bright squares, labelled by the quarter that they lie in.
fn squares(dir: &Path) {
    let mut rng = Pcg64::seed_from_u64(1);
    for (prefix, count) in [("train", 96usize), ("t10k", 40)] {
        let (mut pixels, mut labels) = (vec![], vec![]);
        for _ in 0..count {
            let (x, y) = (rng.random_range(3..25i32), rng.random_range(3..25i32));
            let bright = |p: i32| (p % 28 - x).abs() < 4 && (p / 28 - y).abs() < 4;
            pixels.extend((0..784).map(|p| if bright(p) { 255u8 } else { 0 }));
            labels.push(u8::from(x > 13) + 2 * u8::from(y > 13));
        }
        let header = |dims: &[usize]| -> Vec<u8> {
            let dims = dims.iter().flat_map(|&d| u32::try_from(d).unwrap().to_be_bytes());
            [0, 0, 8, u8::try_from(dims.clone().count() / 4).unwrap()]
                .into_iter()
                .chain(dims)
                .collect()
        };
        let write = |name: String, header: Vec<u8>, content: &[u8]| {
            fs::write(dir.join(name), [&header, content].concat()).unwrap();
        };
        write(format!("{prefix}-images-idx3-ubyte"), header(&[count, 28, 28]), &pixels);
        write(format!("{prefix}-labels-idx1-ubyte"), header(&[count]), &labels);
    }
}

fn small(dir: &Path) -> (Dataset, ImageConfig) {
    squares(dir);
    let name = dir.to_string_lossy().into_owned();
    let mut config = ImageConfig { width: 4, batch: 32, ..ImageConfig::new(&name, 3) };
    config.checkpoint_interval = 4;
    config.log_interval = 2;
    config.sog.updates = 10;
    config.sog.candidates = 16;
    config.sog.refinement.samples = 1;
    config.vae.updates = 6;
    (data::open(&name).unwrap(), config)
}

fn learn(
    dataset: &Dataset,
    (config, compute): (&ImageConfig, &Compute),
    run: &mut Run,
    stop_after: usize,
) -> Result<ImageModel, ImageError> {
    let asked = Cell::new(0);
    // `Cell` is not `Sync`, and the run asks from one thread only.
    let asked = std::sync::Mutex::new(asked);
    let job = ImageJob {
        config,
        dataset,
        compute,
        progress: &|_, _, _| {},
        interrupted: &|| {
            let asked = asked.lock().unwrap();
            asked.set(asked.get() + 1);
            asked.get() > stop_after
        },
    };
    train(run, job)
}

#[test]
fn a_resumed_run_ends_with_the_same_networks() {
    let dir = tempfile::tempdir().unwrap();
    let (dataset, mut config) = small(dir.path());
    config.sog.first_codes_share = 0.25;
    (config.sog.batch_repeats, config.sog.search_interval) = (3, 2);
    config.sog.code_step = 0.5;
    let here = (&config, &Compute::Engine);
    let mut whole = Run::create(&dir.path().join("whole"), &config).unwrap();
    let want = learn(&dataset, here, &mut whole, usize::MAX).unwrap();
    let again = dir.path().join("again");
    drop(Run::create(&again, &config).unwrap());
    // In the middle of SOG, then of the VAE.
    for stop_after in [7, 11] {
        let (mut run, config) = Run::resume::<ImageConfig>(&again).unwrap();
        let stopped = learn(&dataset, (&config, &Compute::Engine), &mut run, stop_after);
        assert!(matches!(stopped, Err(ImageError::Interrupted { .. })), "{stopped:?}");
    }
    let (mut run, _) = Run::resume::<ImageConfig>(&again).unwrap();
    let got = learn(&dataset, here, &mut run, usize::MAX).unwrap();
    assert!(got.generator == want.generator && got.vae == want.vae);
    assert_ne!(want.vae.as_ref().unwrap().1.params, want.generator.params);
    let bytes = want.to_bytes();
    assert_eq!(ImageModel::parse(&bytes).unwrap(), want);
    for cut in [0, 100, bytes.len() - 1] {
        assert!(ImageModel::parse(&bytes[..cut]).is_err());
    }
}

fn normal(rng: &mut Pcg64, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.sample(StandardNormal)).collect()
}

/// A generator and its mirror with parameters of ordinary size.
fn nets(rng: &mut Pcg64) -> [ConvNet; 2] {
    let generator = ConvArch::generator(3, SIZE, 4).unwrap();
    let mirror = generator.mirrored("encoder", 6);
    [generator, mirror].map(|arch| {
        let mut net = ConvNet::new(arch, rng);
        net.params.iter_mut().for_each(|p| *p = 0.2 * rng.sample::<f32, _>(StandardNormal) + 0.02);
        net
    })
}

fn close(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().map(|w| w * w).sum::<f32>().sqrt().max(1e-6);
    let error = got.iter().zip(want).map(|(g, w)| (g - w) * (g - w)).sum::<f32>().sqrt();
    assert!(error < 2e-4 * scale, "{what}: {error} of {scale}");
}

#[test]
fn candle_computes_what_the_engine_does() {
    let mut rng = Pcg64::seed_from_u64(2);
    for mut net in nets(&mut rng) {
        let (rows, width) = (32, net.arch().input.values());
        let values = net.arch().output().values();
        let (x, y) = (normal(&mut rng, rows * width), normal(&mut rng, rows * values));
        let mut on_candle = CandleConv::new(&net, &Device::Cpu).unwrap();
        let input = Tensor::from_slice(&x, (rows, width), &Device::Cpu).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let want = net.frozen().forward(&x, &mut Scratch::default()).unwrap();
        close(&flat(&on_candle.frozen(&input).unwrap()), &want, "frozen");
        let mut pass = ConvPass::new(net.arch());
        let mut out = pass.forward(&mut net, &x).unwrap();
        let output = on_candle.forward(&input).unwrap();
        close(&flat(&output), &out, "outputs");
        let target = Tensor::from_slice(&y, (rows, values), &Device::Cpu).unwrap();
        let gradient = on_candle.params.gradient(&mean_squared_distance(&output, &target).unwrap());
        squared_error(&mut out, &y, rows);
        let mut grad = vec![0.0; net.params.len()];
        pass.backward(&net, &out, &mut grad, false).unwrap();
        close(&flat(&gradient.unwrap()), &grad, "gradient");
        let mut stored = net.clone();
        on_candle.store(&mut stored).unwrap();
        close(&stored.stats, &net.stats, "statistics");
    }
}

#[test]
fn the_search_sees_the_same_losses_on_both() {
    let mut rng = Pcg64::seed_from_u64(3);
    let [net, _] = nets(&mut rng);
    let adam = sog_engine::adam::AdamConfig::default();
    let mut engine = sog_engine::conv::ConvGenerator::new(net.clone(), adam);
    let mut device = DeviceGenerator::new(&net, &engine.adam, &Device::Cpu).unwrap();
    let (codes, values) = (normal(&mut rng, 5 * 3), normal(&mut rng, 7 * 3));
    let y: Vec<f32> = normal(&mut rng, 5 * 784).iter().map(|v| v.tanh()).collect();
    engine.load(&y).unwrap();
    device.load(&y).unwrap();
    let block = |block, keep, values| Candidates::Block { codes: &codes, block, values, keep };
    for candidates in [
        Candidates::Codes(&values),
        block(0..3, 0.0, &values),
        block(0..3, 0.9, &values),
        block(1..2, 0.0, &values[..7]),
    ] {
        let (mut want, mut got) = (vec![0.0; 5 * 7], vec![0.0; 5 * 7]);
        engine.losses(candidates.clone(), Groups::PerRow, &mut want);
        device.losses(candidates, Groups::PerRow, &mut got);
        device.check().unwrap();
        let worst = got.iter().zip(&want).map(|(g, w)| (g / w - 1.0).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-4, "{worst}");
    }
    let [got, want] = [device.secant_codes(&codes).unwrap(), engine.secant_codes(&codes).unwrap()];
    close(&got.codes, &want.codes, "secants");
    close(&got.curvature, &want.curvature, "curvature");
    let (codes, y) = (normal(&mut rng, 32 * 3), normal(&mut rng, 32 * 784));
    engine.load(&y).unwrap();
    device.load(&y).unwrap();
    let (got, slope) = device.step_and_slope(&codes, 1e-3).unwrap();
    let (want, wanted) = engine.step_and_slope(&codes, 1e-3).unwrap();
    assert!((got / want - 1.0).abs() < 1e-4, "{got} {want}");
    close(&slope, &wanted, "slope");
}

#[test]
fn codes_that_follow_the_gradient_explain_pictures_better() {
    let dir = tempfile::tempdir().unwrap();
    let (dataset, mut config) = small(dir.path());
    config.sog.updates = 240;
    config.sog.refinement.samples = 0;
    (config.sog.first_codes_share, config.sog.search_interval) = (0.1, 64);
    let mut error = |code_step: f32| {
        config.sog.code_step = code_step;
        let mut sog = SogImages::new(&config, &dataset.train, &Compute::Engine).unwrap();
        let errors = (0..240).map(|_| {
            sog.update().unwrap();
            sog.mse
        });
        errors.collect::<Vec<_>>()[200..].iter().sum::<f64>() / 40.0
    };
    let (still, moving) = (error(0.0), error(0.6));
    assert!(moving < 0.97 * still, "{moving} {still}");
}

#[test]
fn sog_learns_from_as_many_pictures_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (mut dataset, mut config) = small(dir.path());
    config.sog.pictures = dataset.train.len() / 2;
    let of = |name: &str, dataset: &Dataset| {
        let mut run = Run::create(&dir.path().join(name), &config).unwrap();
        learn(dataset, (&config, &Compute::Engine), &mut run, usize::MAX).unwrap()
    };
    let want = of("whole", &dataset);
    // Every second picture is another; the VAE learns from all.
    let width = dataset.train.size.values();
    for picture in dataset.train.pixels.chunks_exact_mut(width).skip(1).step_by(2) {
        picture.fill(77);
    }
    let got = of("half", &dataset);
    assert!(got.generator == want.generator && got.vae != want.vae);
    let other = dataset.train.pixels.chunks_exact_mut(width).step_by(2);
    other.for_each(|picture| picture.fill(77));
    assert_ne!(of("none", &dataset).generator, want.generator);
}

#[test]
fn a_minibatch_is_taken_as_often_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (dataset, mut config) = small(dir.path());
    // Nothing changes but the pictures.
    config.sog.learning_rate = 0.0;
    (config.sog.first_codes_share, config.sog.batch_repeats) = (1.0, 3);
    let mut sog = SogImages::new(&config, &dataset.train, &Compute::Engine).unwrap();
    let mut error = |_| {
        sog.update().unwrap();
        sog.mse
    };
    let errors: Vec<f64> = (0..6).map(&mut error).collect();
    let [first, second] = [&errors[..3], &errors[3..]];
    assert!(first.iter().all(|e| *e == first[0]) && second.iter().all(|e| *e == second[0]));
    assert_ne!(first[0], second[0]);
}

#[test]
fn a_run_on_candle_follows_the_engine() {
    let dir = tempfile::tempdir().unwrap();
    let (dataset, mut config) = small(dir.path());
    config.sog.updates = 2;
    let candle = Compute::Candle(Device::Cpu);
    // The VAE's own gradient is in its losses after the first update.
    let (mut engine, mut device) = (
        VaeImages::new(&config, &dataset.train, &Compute::Engine).unwrap(),
        VaeImages::new(&config, &dataset.train, &candle).unwrap(),
    );
    for _ in 0..4 {
        engine.update().unwrap();
        device.update().unwrap();
        assert!((engine.mse / device.mse - 1.0).abs() < 2e-3, "{} {}", engine.mse, device.mse);
        assert!(
            (engine.kl - device.kl).abs() < 2e-2 * engine.kl.max(0.1),
            "{} {}",
            engine.kl,
            device.kl
        );
    }
    let mut run = Run::create(&dir.path().join("candle"), &config).unwrap();
    let model = learn(&dataset, (&config, &candle), &mut run, usize::MAX).unwrap();
    let mut run = Run::create(&dir.path().join("engine"), &config).unwrap();
    let want = learn(&dataset, (&config, &Compute::Engine), &mut run, usize::MAX).unwrap();
    let moved = |a: &[f32], b: &[f32]| -> f32 {
        (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / a.len() as f32).sqrt()
    };
    let (got, want) = (&model.generator.params, &want.generator.params);
    assert!(moved(got, want) < 2e-3, "{}", moved(got, want));
}

fn sog(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sog")).arg("image").args(arguments).output().unwrap()
}

#[test]
fn the_program_learns_measures_and_draws() {
    let dir = tempfile::tempdir().unwrap();
    squares(dir.path());
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (data, out) = (path(""), path("run"));
    let settings = ["width=4", "batch=32", "sog.updates=4", "vae.updates=2"];
    let settings = settings.iter().flat_map(|s| ["--set", s]);
    let mut arguments = vec!["train", "--dataset", &data, "--out", &out, "--seed", "5"];
    arguments.extend(settings);
    let output = sog(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let more = ["train", "--dataset", &data, "--out", &out, "--resume", "--latent", "3"];
    let said = String::from_utf8(sog(&more).stderr).unwrap();
    assert!(said.contains("the run has `latent` = 2, now asked for is 3"), "{said}");
    let model = path("run/model.safetensors");
    let output = sog(&["eval", &model, "--dataset", &data, "--json", "--images", "30"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["images"], 30);
    for key in ["reconstruction_mse", "vae_reconstruction_mse"] {
        let mse = report[key].as_f64().unwrap();
        assert!(mse > 0.0 && mse < 1.0, "{key}: {mse}");
    }
    let agree = report["neighbour_agreement"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&agree), "{agree}");
    let output = sog(&["figures", &out, "--json", "--images", "20"]);
    let written: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(written.len(), 3, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(written.iter().all(|file| Path::new(file).is_file()));
    // Pictures of another size, and a set that is not there.
    fs::write(dir.path().join("small"), b"").unwrap();
    for (arguments, said) in [
        (["eval", &model, "--dataset", "nowhere"], "no data set `nowhere`: need mnist"),
        (["eval", &path("small"), "--dataset", &data], "is refused: not a safetensors file"),
    ] {
        let output = sog(&arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn the_models_that_are_kept_can_be_read_and_make_pictures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/images");
    let mut found = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "safetensors") {
            continue;
        }
        let model = ImageModel::load(&path).unwrap();
        found += 1;
        for key in ["dataset", "seed", "sog.updates", "sog.cpu_s", "vae.updates", "vae.cpu_s"] {
            assert!(model.provenance.contains_key(key), "{}: {key}", path.display());
        }
        let middle = vec![0.0; model.latent()];
        let mut far = middle.clone();
        far[0] = 2.0;
        let (here, there) = (model.make(&middle).unwrap(), model.make(&far).unwrap());
        assert_eq!(here.len(), model.size().values());
        assert_ne!(here, there);
    }
    assert!(found >= 2, "{found} models");
}
