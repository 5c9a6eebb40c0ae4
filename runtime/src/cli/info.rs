//! `sog-run info`: what a policy file is.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sog_runtime::policy::{Policy, PolicyFile, book::Way};

use super::{args::InfoArgs, names::Names};

/// Reads and verifies a policy file; its bytes, and what they say.
pub(super) fn load(path: &Path) -> Result<(Vec<u8>, PolicyFile)> {
    let context = || format!("policy {}", path.display());
    let bytes = std::fs::read(path).with_context(context)?;
    let (file, warning) = PolicyFile::open(&bytes).with_context(context)?;
    if let Some(warning) = warning {
        eprintln!("warning: {}: {warning}", path.display());
    }
    Ok((bytes, file))
}

pub(super) fn main(args: &InfoArgs) -> Result<bool> {
    let (bytes, file) = load(&args.policy)?;
    let names = Names::read(&bytes, &file)?;
    let ways: Vec<Value> = names.book().map_or(vec![], |book| {
        let way = |(code, way): (usize, &Way)| {
            json!({ "code": code, "name": way.name, "share": way.share, "typical": way.typical })
        };
        book.ways.iter().enumerate().map(way).collect()
    });
    let (contract, origin, network) = (&file.contract, &file.provenance, &file.network);
    if args.json {
        println!(
            "{}",
            json!({
                "task": contract.task, "obs_terms": contract.obs_terms.to_string(),
                "action_terms": contract.action_terms.to_string(), "dt_s": contract.dt_s,
                "latent": file.latent.to_string(), "arch": network.architecture.to_string(),
                "activation": network.activation.to_string(), "hidden": network.widths(),
                "golden": file.golden.action.len() / file.action_dim(), "bytes": bytes.len(),
                "producer": origin.producer, "algorithm": origin.algorithm, "seed": origin.seed,
                "demos_sha256": origin.demos_sha256, "created": origin.created,
                "instruction_set": Policy::instruction_set_here(), "codes": ways,
            })
        );
        return Ok(true);
    }
    println!("task          {} at {} Hz", contract.task, (1e9 / contract.dt_s).round() / 1e9);
    println!("observation   {} ({})", contract.obs_terms, file.obs_dim());
    println!("action        {} ({})", contract.action_terms, file.action_dim());
    println!("latent code   {}", file.latent);
    if let Some(book) = names.book() {
        for (code, way) in book.ways.iter().enumerate() {
            let name = way.name.as_deref().unwrap_or("–");
            println!("code {code:<8} {name}, {:.1} % of the demonstrations", 100.0 * way.share);
        }
    }
    println!(
        "network       {}, hidden layers {:?}, {}",
        network.architecture,
        network.widths(),
        network.activation
    );
    println!("trained by    {} with {}, seed {}", origin.algorithm, origin.producer, origin.seed);
    if !origin.created.is_empty() {
        println!("created       {}", origin.created);
    }
    println!(
        "verified      {} golden vectors, on {}",
        file.golden.action.len() / file.action_dim(),
        Policy::instruction_set_here()
    );
    Ok(true)
}
