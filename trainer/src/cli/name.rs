//! `sog name`: what the codes of a policy are called.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use sog_rl::run::write_atomic;
use sog_runtime::policy::{LatentKind, PolicyFile, book::Book};

use super::{Outcome, info_of, load_demos, load_policy, task_of};
use crate::codes::book::book;

#[derive(Args)]
#[command(after_help = "Example: sog name policy.safetensors 0=forward 1=back, and then \
    sog-run policy.safetensors --code forward. The names are kept in the policy file; without any \
    to give, those that it has are listed. An empty name takes one away.")]
pub(super) struct NameArgs {
    /// Policy file
    policy: PathBuf,
    /// Names by code: NUMBER=NAME, or OLD=NEW
    #[arg(value_name = "CODE=NAME")]
    names: Vec<String>,
    /// Demonstrations: counts anew which of them belong to each code, and for continuous codes finds
    /// representative ones. `sog train` has done so with its own
    #[arg(long, value_name = "FILE")]
    demos: Option<PathBuf>,
    /// Seed of the search among continuous codes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &NameArgs) -> Result<Outcome> {
    let file = load_policy(&args.policy)?;
    let bytes = std::fs::read(&args.policy)?;
    let old = Book::read(&bytes, file.latent)?;
    let mut book = match (&args.demos, old) {
        (Some(path), old) => counted(args, &file, path, old)?,
        (None, Some(book)) => book,
        (None, None) => match file.latent {
            LatentKind::OneHot(k) => Book::unnamed(k),
            LatentKind::None => bail!("{} takes no code", args.policy.display()),
            LatentKind::Gaussian(_) => bail!(
                "{} has continuous codes and no book of them: give demonstrations with --demos",
                args.policy.display()
            ),
        },
    };
    for assignment in &args.names {
        let Some((code, name)) = assignment.split_once('=') else {
            bail!("`{assignment}`: need CODE=NAME, as in 0=forward");
        };
        book.rename(code.trim(), name.trim())?;
    }
    if args.demos.is_some() || !args.names.is_empty() {
        let with = book.write_into(&bytes)?;
        PolicyFile::parse(&with)?;
        write_atomic(&args.policy, &with)?;
    }
    print(&file, &book, args.json)
}

/// A book of these demonstrations; names stay where codes do.
fn counted(args: &NameArgs, file: &PolicyFile, path: &Path, old: Option<Book>) -> Result<Book> {
    let task = task_of(file, None)?;
    let task = task.map_or_else(|| info_of(file), |task| task.info().clone());
    let demos = load_demos(path, &task)?.demonstrations;
    let Some(mut new) = book(file, &demos, None, args.seed)? else {
        bail!("{} takes no code", args.policy.display());
    };
    if let (Some(old), LatentKind::OneHot(_)) = (old, file.latent) {
        new.ways.iter_mut().zip(old.ways).for_each(|(new, old)| new.name = old.name);
    }
    Ok(new)
}

fn print(file: &PolicyFile, book: &Book, json: bool) -> Result<Outcome> {
    let z = file.latent_dim();
    let code = |n: usize| book.codes.get(n * z..(n + 1) * z).map(<[f32]>::to_vec);
    if json {
        let ways: Vec<_> = book
            .ways
            .iter()
            .enumerate()
            .map(|(n, way)| {
                json!({
                    "code": n, "name": way.name, "share": way.share, "typical": way.typical,
                    "latent": code(n),
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&ways)?);
        return Ok(Outcome::Good);
    }
    for (n, way) in book.ways.iter().enumerate() {
        let name = way.name.as_deref().unwrap_or("–");
        let typical =
            way.typical.map_or(String::new(), |t| format!(", typical: demonstration {t}"));
        let code = code(n).map_or(String::new(), |code| format!("  {code:.3?}"));
        println!("{n:>4}  {name:<20} {:>5.1} %{typical}{code}", 100.0 * way.share);
    }
    Ok(Outcome::Good)
}
