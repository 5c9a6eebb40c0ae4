//! `THIRD-PARTY.md`: whose work the programs contain, and under which licences.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context, bail};

use crate::shell::{cargo, output, root};

/// Programs, the package of each, and its features.
const PROGRAMS: [(&str, &str); 3] =
    [("sog-run", "sog-runtime"), ("sog-sim", "sog-sim"), ("sog", "sog-trainer")];

/// What stands before the lists.
const HEAD: &str = "# Third-party notices

What is in the programs besides this project's own code. `cargo xtask notice` writes this file; `cargo xtask test`
fails when it is out of date.

* **libmujoco** (Apache-2.0, Google DeepMind) is fetched by `cargo xtask setup` and linked by `sog` and `sog-sim`; it
  is not part of this repository.
* **Fonts** drawn into figures: Ubuntu Light (Ubuntu Font Licence 1.0), Hack (MIT and Bitstream Vera licence), both as
  packed by `epaint_default_fonts`.
* **Robots** in `models/robots/` are written for this project; their masses, lengths and gains are those of Gymnasium's
  (MIT) and Gymnasium-Robotics' (MIT) models, which in turn go back to MuJoCo's and the Fetch robot's.

Every crate below may be used under (one of) the licences named; their texts lie in the crates' sources
(`cargo vendor` fetches them).
";

/// Writes the file.
pub(crate) fn write() -> anyhow::Result<()> {
    fs::write(path(), text()?).context("cannot write the notices")?;
    println!("wrote {}", path().display());
    Ok(())
}

/// Refuses a file that does not say what is linked now.
pub(crate) fn check() -> anyhow::Result<()> {
    if fs::read_to_string(path()).unwrap_or_default() != text()? {
        bail!("THIRD-PARTY.md is out of date; run `cargo xtask notice` and commit what it writes");
    }
    println!("== notices: THIRD-PARTY.md says what is linked");
    Ok(())
}

fn path() -> PathBuf {
    root().join("THIRD-PARTY.md")
}

fn text() -> anyhow::Result<String> {
    // Crate → licence and the programs it is in.
    let mut crates: BTreeMap<String, (String, Vec<&str>)> = BTreeMap::new();
    for (program, package) in PROGRAMS {
        let mut tree = cargo(&["tree", "--locked", "-e", "normal", "--prefix", "none"]);
        tree.args(["-p", package, "--format", "{p}|{l}"]);
        for line in output(&mut tree)?.lines() {
            let (name, licence) =
                line.trim_end_matches(" (*)").split_once('|').unwrap_or((line, ""));
            // `name v1.2.3 (path or proc-macro)`: versions move with every update of the lock file.
            let mut words = name.split_whitespace();
            let Some(name) = words.next() else { continue };
            if name.starts_with("sog-") || words.any(|w| w == "(proc-macro)") {
                continue;
            }
            let entry = crates.entry(name.to_string()).or_default();
            entry.0 = licence.replace('/', " OR ");
            if !entry.1.contains(&program) {
                entry.1.push(program);
            }
        }
    }
    let mut text = format!("{HEAD}\n| crate | licence | in |\n|---|---|---|\n");
    for (name, (licence, programs)) in &crates {
        let licence = if licence.is_empty() { "see its source" } else { licence };
        text += &format!("| `{name}` | {licence} | {} |\n", programs.join(", "));
    }
    Ok(text)
}
