//! The reader of policy files against one that is written otherwise: over the `safetensors` crate
//! and with owned data. Both must take and refuse the same files, and read the same from them.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{collections::BTreeSet, path::Path};

use sog_core::policy::{self as in_place, BOOK_KEY};
use sog_runtime::{
    contract::Contract,
    io::Random,
    policy::{
        Activation, Architecture, Dense, Golden, LatentKind, MeanScale, Network, Normaliser,
        Policy, PolicyError, PolicyFile, Provenance, Terms, example,
    },
    tensors::{CHECKSUM_KEY, TensorFile},
};

mod policies;
use policies::{mutate, without_checksum};

/// What the other reader says of a file; its golden vectors are not looked at.
fn other_reader(bytes: &[u8]) -> Result<PolicyFile, String> {
    let text = |e: sog_runtime::tensors::TensorError| e.to_string();
    let file = TensorFile::parse(bytes).map_err(text)?;
    let meta = |key: &str| file.meta(key).map(str::to_string).map_err(text);
    fn parsed<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, String> {
        value.parse().map_err(|_| format!("{key}: {value}"))
    }
    let positive = |key: &str| -> Result<f64, String> {
        let number: f64 = parsed(key, &meta(key)?)?;
        if number.is_finite() && number > 0.0 {
            Ok(number)
        } else {
            Err(format!("{key}: {number}"))
        }
    };
    if meta("schema")? != "sog.policy/1" {
        return Err("schema".to_string());
    }
    let architecture: Architecture = parsed("arch", &meta("arch")?)?;
    let obs_terms: Terms = parsed("obs.terms", &meta("obs.terms")?)?;
    let action_terms: Terms = parsed("action.terms", &meta("action.terms")?)?;
    let latent: LatentKind = parsed("latent.kind", &meta("latent.kind")?)?;
    let (s, z, a) = (obs_terms.width(), latent.width(), action_terms.width());
    let of = |name: &str, shape: &[usize]| file.f32_of(name, shape).map_err(text);
    let dense = |name: &str, inputs: usize, outputs: usize| -> Result<Dense, String> {
        let weight = of(&format!("{name}.weight"), &[outputs, inputs])?;
        Ok(Dense { weight, bias: of(&format!("{name}.bias"), &[outputs])? })
    };
    let (prefix, mut inputs) = match architecture {
        Architecture::TwoBranch => ("actor.state", s),
        Architecture::Mlp => ("actor.layer", s + z),
    };
    let mut hidden = Vec::new();
    loop {
        let name = format!("{prefix}.{}", hidden.len());
        let Ok(shape) = file.shape(&format!("{name}.bias")) else { break };
        let [outputs @ 1..=usize::MAX] = shape[..] else {
            return Err(format!("{name}: {shape:?}"));
        };
        hidden.push(dense(&name, inputs, outputs)?);
        inputs = outputs;
    }
    if hidden.is_empty() || hidden.len() > in_place::MOST_HIDDEN {
        return Err(format!("{} hidden layers", hidden.len()));
    }
    let has_branch = architecture == Architecture::TwoBranch && z > 0;
    let branch = has_branch.then(|| dense("actor.latent", z, inputs)).transpose()?;
    let shape = file.shape("golden.obs").map_err(text)?;
    let [n @ 1..=usize::MAX, _] = shape[..] else { return Err(format!("golden.obs: {shape:?}")) };
    let read = PolicyFile {
        contract: Contract {
            task: meta("task")?,
            obs_terms,
            action_terms,
            dt_s: positive("dt")?,
            action_low: of("action.low", &[a])?,
            action_high: of("action.high", &[a])?,
        },
        latent,
        mean_scale: parsed("mean.scale", &meta("mean.scale")?)?,
        network: Network {
            architecture,
            activation: parsed("activation", &meta("activation")?)?,
            hidden,
            latent: branch,
            mean: dense("actor.mean", inputs, a)?,
        },
        normaliser: Normaliser {
            mean: of("obs.mean", &[s])?,
            var: of("obs.var", &[s])?,
            clip: positive("obs.clip")? as f32,
        },
        log_std: of("log_std", &[a])?,
        golden: Golden {
            obs: of("golden.obs", &[n, s])?,
            latent: if z == 0 { vec![] } else { of("golden.latent", &[n, z])? },
            action: of("golden.action", &[n, a])?,
        },
        provenance: Provenance {
            producer: meta("producer")?,
            algorithm: meta("algorithm")?,
            seed: parsed("seed", &meta("seed")?)?,
            demos_sha256: meta("demos.sha256")?,
            created: meta("created")?,
        },
    };
    // What it would be written with, and nothing else but a book of codes.
    let written = read.to_bytes();
    let written = TensorFile::parse(&written).map_err(text)?;
    let keys = |file: &TensorFile<'_>| -> BTreeSet<String> {
        let others = [CHECKSUM_KEY, BOOK_KEY];
        file.metadata().keys().filter(|key| !others.contains(&key.as_str())).cloned().collect()
    };
    let mut names = file.names();
    names.retain(|name| *name != BOOK_KEY);
    if names != written.names() || keys(&file) != keys(&written) {
        return Err("not what it would be written with".to_string());
    }
    for name in file.names() {
        if !file.f32(name).map_err(text)?.iter().all(|v| v.is_finite()) {
            return Err(format!("{name}: not finite"));
        }
    }
    let crossed = |(low, high): (&f32, &f32)| low >= high;
    if read.normaliser.var.iter().any(|&v| v < 0.0)
        || read.contract.action_low.iter().zip(&read.contract.action_high).any(crossed)
    {
        return Err("out of range".to_string());
    }
    file.verify_checksum().map_err(text)?;
    Ok(read)
}

/// How much a file's inference misses its golden vectors, as a multiple of what is borne.
fn golden_miss(file: &PolicyFile) -> f32 {
    let policy = Policy::new(file);
    let mut actions = vec![0.0; file.golden.action.len()];
    let Golden { obs, latent, action } = &file.golden;
    policy.mean_actions(&mut policy.workspace(8), obs, latent, &mut actions);
    let misses = actions.iter().zip(action).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
    misses.fold(0.0, |most: f32, miss| if miss <= most { most } else { miss }) / 1e-5
}

/// Asserts that all readers say the same of a file; whether they take it.
fn agree(bytes: &[u8], case: &dyn std::fmt::Display) -> bool {
    let mut scratch = vec![0.0; 4096];
    let (other, hosted) = (other_reader(bytes), PolicyFile::parse(bytes));
    let core = in_place::Policy::open(bytes, &mut scratch);
    // The other one takes the last of two that have one name, and terms with escapes in their names:
    // these are stricter.
    let is_stricter = match &hosted {
        Err(PolicyError::Twice { .. }) => true,
        Err(PolicyError::Metadata { needed, .. }) => needed.contains("escapes"),
        _ => false,
    };
    if is_stricter {
        assert!(core.is_err(), "case {case}");
        return false;
    }
    match (&other, &hosted) {
        (Ok(other), Ok(hosted)) => assert_eq!(other, hosted, "case {case}"),
        (Err(_), Err(error)) => {
            assert!(!matches!(error, PolicyError::Golden { .. }) || core.is_err())
        }
        (Ok(other), Err(error)) => {
            assert!(
                matches!(error, PolicyError::Golden { .. }),
                "case {case}: refused for {error}"
            );
            assert!(golden_miss(other).is_nan() || golden_miss(other) > 1.0, "case {case}");
        }
        (Err(error), Ok(_)) => panic!("case {case}: taken in spite of {error}"),
    }
    // Two inferences round differently: at the very border of what is borne one may take a file.
    let at_border = other.as_ref().is_ok_and(|file| (golden_miss(file) - 1.0).abs() < 0.5);
    let says = |error: &PolicyError| match error {
        // Damage that both would notice, of which one is looked at first.
        PolicyError::Golden { .. } | PolicyError::Checksum(_) => "damaged".to_string(),
        error => error.to_string(),
    };
    if !at_border {
        let (core, hosted) = (core.as_ref().map(|_| ()), hosted.as_ref().map(|_| ()));
        assert_eq!(core.map_err(says), hosted.map_err(says), "case {case}");
    }
    hosted.is_ok()
}

/// Committed policies, one of each form, and their files without a checksum.
fn goods() -> Vec<Vec<u8>> {
    let mut goods = vec![example(7).to_bytes()];
    for (architecture, activation, hidden, latent) in [
        (Architecture::Mlp, Activation::Relu, &[9][..], LatentKind::OneHot(3)),
        (Architecture::Mlp, Activation::Tanh, &[6, 5], LatentKind::None),
        (Architecture::TwoBranch, Activation::Elu, &[8, 5, 7], LatentKind::Gaussian(3)),
    ] {
        let mut file = policies::other(architecture, activation, hidden, latent);
        file.mean_scale = MeanScale::None;
        file.contract.task = "a \"task\" of\nits own".to_string();
        file.seal(3);
        goods.push(file.to_bytes());
    }
    let without: Vec<Vec<u8>> = goods.iter().map(|bytes| without_checksum(bytes)).collect();
    goods.extend(without);
    goods
}

fn mutations(cases: usize, seed: u64) {
    let goods = goods();
    let mut random = Random::new(seed);
    let (mut taken, mut unchanged) = (0, 0);
    for case in 0..cases {
        let good = &goods[case % goods.len()];
        let mut bad = good.clone();
        for _ in 0..1 + random.below(3) {
            mutate(&mut bad, &mut random);
        }
        unchanged += usize::from(&bad == good);
        taken += usize::from(agree(&bad, &case));
    }
    println!("{cases} mutated files, {taken} taken, {unchanged} unchanged");
    assert!(taken > unchanged, "some mutations must do no harm, or nothing was compared");
}

#[test]
fn both_readers_agree_on_mutated_files() {
    mutations(20_000, 0x5347);
}

#[test]
#[ignore = "a million files take minutes"]
fn both_readers_agree_on_a_million_mutated_files() {
    mutations(1_000_000, 0x5348);
}

#[test]
fn all_readers_take_every_committed_policy_and_infer_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/policies");
    let mut count = 0;
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            continue;
        }
        count += 1;
        let bytes = std::fs::read(&path).unwrap();
        assert!(agree(&bytes, &path.display()), "{}", path.display());
        for bytes in [&bytes[..], &[&[0], &bytes[..]].concat()[1..]] {
            infers_the_same(bytes);
        }
    }
    assert!(count > 0, "there are no committed policies");
}

/// The core's inference against the packed one.
fn infers_the_same(bytes: &[u8]) {
    let file = PolicyFile::parse(bytes).unwrap();
    let view = in_place::Policy::read(bytes).unwrap();
    let mut scratch = vec![0.0; view.scratch_len()];
    let policy = Policy::new(&file);
    let mut workspace = policy.workspace(1);
    let (s, z, a) = (file.obs_dim(), file.latent_dim(), file.action_dim());
    let (mut ours, mut theirs) = (vec![0.0; a], vec![0.0; a]);
    for (row, obs) in file.golden.obs.chunks_exact(s).enumerate() {
        let latent = &file.golden.latent[row * z..][..z];
        policy.mean_actions(&mut workspace, obs, latent, &mut ours);
        view.mean_action(&mut scratch, obs, latent, &mut theirs).unwrap();
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() <= 3e-6 * a.abs().max(1.0), "{a} {b}");
        }
    }
    let mut nan = file.golden.obs[..s].to_vec();
    nan[0] = f32::NAN;
    view.mean_action(&mut scratch, &nan, &file.golden.latent[..z], &mut theirs).unwrap();
    assert!(theirs.iter().all(|v| v.is_nan()));
    let short = scratch.len() - 1;
    let latent = &file.golden.latent[..z];
    assert!(view.mean_action(&mut scratch[..short], &nan, latent, &mut theirs).is_err());
}
