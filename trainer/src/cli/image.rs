//! `sog image`: SOG on pictures.

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use sog_rl::run::{Run, parse_config};
use sog_runtime::os::files::Outputs;

use super::{
    Outcome, claim_in, cuda::device::DeviceArg, interrupt::stop_on_signals, progress::Progress,
    train::set_all,
};
use crate::figures::images as drawn;
use crate::images::{
    ImageError,
    config::ImageConfig,
    data::{self, Dataset, Pictures, size_of},
    measure::{NEIGHBOURS, embed, encode, neighbour_agreement},
    model::{ImageModel, made_by},
    train::{ImageJob, MODEL_FILE, train},
};

#[derive(Subcommand)]
pub(super) enum ImageCommand {
    /// Learn a set of pictures: SOG, and the VAE that it is measured against
    Train(TrainArgs),
    /// Measure a model on held-out pictures
    Eval(EvalArgs),
    /// Draw what a model has learned: pictures over the code, codes of held-out pictures,
    /// reconstructions
    Figures(FiguresArgs),
}

#[derive(Args)]
pub(super) struct TrainArgs {
    /// mnist, fashion-mnist (`cargo xtask data` fetches both), or a folder of pictures with
    /// img_align_celeba/ and list_eval_partition.txt
    #[arg(long, value_name = "NAME|FOLDER")]
    dataset: String,
    /// Dimensions of the code [default: 2]
    #[arg(long)]
    latent: Option<usize>,
    /// Run directory; `model.safetensors` is written there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Continue the run in DIR from its last checkpoint, with its own configuration
    #[arg(long)]
    resume: bool,
    /// Where to train: cpu (the engine), cuda or cuda:N (an NVIDIA device, an error without one),
    /// auto (a CUDA device where there is one), candle (what runs on CUDA, on the processor: slow,
    /// for checking)
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Seed of everything random
    #[arg(long)]
    seed: Option<u64>,
    /// Replaces one key, for instance `--set sog.updates=2000`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Args)]
pub(super) struct EvalArgs {
    /// The model's file
    file: PathBuf,
    /// The pictures: a name or a folder, as for `sog image train`
    #[arg(long, value_name = "NAME|FOLDER")]
    dataset: String,
    /// Measure on the first N held-out pictures [default: all]
    #[arg(long, value_name = "N")]
    images: Option<usize>,
    /// Seed of the search
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct FiguresArgs {
    /// A run directory, or a model's file
    path: PathBuf,
    /// The pictures: a name or a folder, as for `sog image train` [default: the run's]
    #[arg(long, value_name = "NAME|FOLDER")]
    dataset: Option<String>,
    /// Draw the codes of the first N held-out pictures
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    images: usize,
    /// Where the figures go [default: DIR/figures, and beside FILE]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace figures that are there
    #[arg(long)]
    force: bool,
    /// Seed of the search
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the paths written as a JSON list
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &ImageCommand) -> Result<Outcome> {
    match command {
        ImageCommand::Train(args) => learn(args),
        ImageCommand::Eval(args) => eval(args),
        ImageCommand::Figures(args) => figures(args),
    }
}

fn learn(args: &TrainArgs) -> Result<Outcome> {
    let compute = args.device.open()?;
    let dataset = data::open(&args.dataset)?;
    let resumed = args.resume && args.out.join("config.toml").is_file();
    let base = if resumed {
        Run::config(&args.out)?
    } else {
        ImageConfig::new(&args.dataset, args.latent.unwrap_or(2))
    };
    let config = resolve(args, &base)?;
    let (mut run, config) = if resumed {
        Run::resume_with(&args.out, &config, &["log_interval", "checkpoint_interval"])?
    } else {
        let run = Run::create(&args.out, &config)?;
        if args.resume {
            eprintln!("note: {} held no run to resume: one is begun there", args.out.display());
        }
        (run, config)
    };
    let progress = Progress::new(&format!("SOG on {}", dataset.name), config.updates());
    let report = |done: u64, total: u64, message: &str| progress.set_of(done, total, message);
    let stop = stop_on_signals()?;
    let job = ImageJob {
        config: &config,
        dataset: &dataset,
        compute: &compute,
        progress: &report,
        interrupted: &|| stop.load(Ordering::Relaxed),
    };
    let trained = train(&mut run, job);
    progress.finish();
    if let Err(error @ ImageError::Interrupted { .. }) = &trained {
        eprintln!("{error}");
        return Ok(Outcome::Interrupted);
    }
    trained?;
    println!("wrote {} after {:.1} s", args.out.join(MODEL_FILE).display(), run.wall_s());
    Ok(Outcome::Good)
}

/// `base` (the defaults, or what a resumed run has), then `--set`, then `--seed`.
fn resolve(args: &TrainArgs, base: &ImageConfig) -> Result<ImageConfig> {
    let mut table = toml::Table::try_from(base)?;
    set_all(&mut table, &args.set, "sog.updates=2000")?;
    let mut config: ImageConfig = parse_config(&toml::to_string(&table)?)?;
    // What a resumed run has otherwise is refused by name.
    config.dataset.clone_from(&args.dataset);
    if let Some(latent) = args.latent {
        config.latent = latent;
    }
    if let Some(seed) = args.seed {
        config.seed = seed;
    }
    Ok(config)
}

/// What `sog image eval --json` prints.
#[derive(Serialize)]
struct Report {
    dataset: String,
    latent: usize,
    /// Held-out pictures that were measured.
    images: usize,
    /// Mean squared error per value on the scale from 0 to 1, under the search.
    reconstruction_mse: f64,
    /// The same of the VAE, from the mean of its encoder.
    vae_reconstruction_mse: Option<f64>,
    /// Share of pictures whose label is the most frequent among their 15 nearest by code.
    neighbour_agreement: Option<f64>,
    /// The same of the VAE.
    vae_neighbour_agreement: Option<f64>,
}

fn eval(args: &EvalArgs) -> Result<Outcome> {
    let model = load(&args.file)?;
    let dataset = open_for(&model, &args.dataset)?;
    let pictures = held_out(dataset.test, args.images);
    let progress = Progress::new("searching codes", pictures.len() as u64);
    let report = |done: usize| progress.set_of(done as u64, pictures.len() as u64, "");
    let found = embed(&model, &pictures, args.seed, report)?;
    progress.finish();
    let encoded = match &model.vae {
        Some((encoder, decoder)) => {
            Some(encode((&encoder.frozen(), &decoder.frozen()), &pictures)?)
        }
        None => None,
    };
    let labels = &pictures.labels;
    let agreement =
        |codes: &[f32]| (labels.len() > 1).then(|| neighbour_agreement(codes, labels, NEIGHBOURS));
    let report = Report {
        dataset: dataset.name,
        latent: model.latent(),
        images: pictures.len(),
        reconstruction_mse: found.mse(),
        vae_reconstruction_mse: encoded.as_ref().map(|e| e.mse()),
        neighbour_agreement: agreement(&found.codes),
        vae_neighbour_agreement: encoded.as_ref().and_then(|e| agreement(&e.codes)),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(Outcome::Good);
    }
    println!(
        "{}, {} dimensions, {} held-out pictures",
        report.dataset, report.latent, report.images
    );
    println!("{:>26} {:>9} {:>9}", "", "SOG", "VAE");
    let row = |name: &str, sog: Option<f64>, vae: Option<f64>| {
        let show = |v: Option<f64>| v.map_or_else(|| "-".to_string(), |v| format!("{v:.5}"));
        println!("{name:>26} {:>9} {:>9}", show(sog), show(vae));
    };
    row("reconstruction error", Some(report.reconstruction_mse), report.vae_reconstruction_mse);
    row("neighbours that agree", report.neighbour_agreement, report.vae_neighbour_agreement);
    Ok(Outcome::Good)
}

fn figures(args: &FiguresArgs) -> Result<Outcome> {
    let of_run = args.path.is_dir();
    let file = if of_run { args.path.join(MODEL_FILE) } else { args.path.clone() };
    let beside = file.parent().unwrap_or(Path::new("")).to_path_buf();
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| if of_run { args.path.join("figures") } else { beside });
    let model = load(&file)?;
    let name = match (&args.dataset, of_run) {
        (Some(name), _) => name.clone(),
        (None, true) => Run::config::<ImageConfig>(&args.path)?.dataset,
        (None, false) => bail!("name the pictures of {} with --dataset", file.display()),
    };
    let dataset = open_for(&model, &name)?;
    let names: &[&str] = match model.latent() {
        2 => &["plane", "embedding", "reconstructions"],
        4.. => &["blocks", "reconstructions"],
        _ => &["reconstructions"],
    };
    let mut outputs = Outputs::new(args.force).reads(&file);
    for name in names {
        claim_in(&mut outputs, &out.join(format!("{name}.png")))?;
    }
    let written = draw(&model, dataset.test, args, &out)?;
    if args.json {
        let written: Vec<String> = written.iter().map(|p| p.display().to_string()).collect();
        println!("{}", serde_json::to_string_pretty(&written)?);
    } else {
        written.iter().for_each(|path| println!("wrote {}", path.display()));
    }
    Ok(Outcome::Good)
}

/// All figures that the model's dimensions allow.
fn draw(
    model: &ImageModel,
    pictures: Pictures,
    args: &FiguresArgs,
    out: &Path,
) -> Result<Vec<PathBuf>> {
    let (latent, size) = (model.latent(), model.size());
    let mut written = vec![];
    let plane = latent == 2;
    if plane {
        let made = model.make(&drawn::plane_codes())?;
        written.push(drawn::plane(&made, size, out)?);
    }
    if latent >= 4 {
        let made = model.make(&drawn::block_codes(latent))?;
        written.push(drawn::blocks(&made, size, latent, out)?);
    }
    let wanted = if plane { args.images.max(drawn::RECONSTRUCTED) } else { drawn::RECONSTRUCTED };
    let pictures = held_out(pictures, Some(wanted));
    let progress = Progress::new("searching codes", pictures.len() as u64);
    let report = |done: usize| progress.set_of(done as u64, pictures.len() as u64, "");
    let found = embed(model, &pictures, args.seed, report)?;
    progress.finish();
    if plane && !pictures.labels.is_empty() {
        written.push(drawn::embedding(&found.codes, &pictures.labels, out)?);
    }
    let shown = held_out(pictures, Some(drawn::RECONSTRUCTED));
    let codes = &found.codes[..shown.len() * latent];
    let mut sets = vec![("originals", shown.pixels.clone()), ("SOG", model.make(codes)?)];
    if let Some((encoder, decoder)) = &model.vae {
        let codes = encode((&encoder.frozen(), &decoder.frozen()), &shown)?.codes;
        sets.push(("VAE", made_by(decoder, &codes)?));
    }
    written.push(drawn::reconstructions(&sets, size, out)?);
    Ok(written)
}

fn load(path: &Path) -> Result<ImageModel> {
    ImageModel::load(path).with_context(|| format!("{} is refused", path.display()))
}

/// The data set, whose pictures must be of the model's size.
fn open_for(model: &ImageModel, name: &str) -> Result<Dataset> {
    let dataset = data::open(name)?;
    let (model, data) = (size_of(model.size()), size_of(dataset.test.size));
    if model != data {
        return Err(ImageError::Size { model, data }.into());
    }
    Ok(dataset)
}

fn held_out(pictures: Pictures, most: Option<usize>) -> Pictures {
    match most {
        Some(most) => pictures.truncated(most.max(1)),
        None => pictures,
    }
}
