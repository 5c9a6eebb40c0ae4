//! One archive with all that a machine with a GPU needs for `sog cuda check`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::shell::{output, root, step};

/// Most that the archive may weigh.
const MAX_BYTES: u64 = 60 << 20;

const RUN: &str = include_str!("run.sh");

/// The simulator that the program is linked with.
const LIBRARY: &str = "libmujoco.so.3.17.0";

/// Packs `program`, built with CUDA `major`; returns the archive's path.
pub(super) fn pack(program: &Path, major: &str, dir: &Path) -> anyhow::Result<PathBuf> {
    let name = "sog-cuda-check";
    let tree = dir.join(name);
    let _ = fs::remove_dir_all(&tree);
    for sub in ["bin", "lib"] {
        fs::create_dir_all(tree.join(sub))?;
    }
    copy(program, &tree.join("bin/sog"))?;
    step("without debug information", Command::new("strip").arg(tree.join("bin/sog")))?;
    copy(&root().join(".mujoco/lib").join(LIBRARY), &tree.join("lib").join(LIBRARY))?;
    copy(&root().join("engine/benches/pytorch.py"), &tree.join("pytorch.py"))?;
    fs::write(tree.join("run.sh"), script(major))?;
    fs::set_permissions(tree.join("run.sh"), fs::Permissions::from_mode(0o755))?;
    let revision =
        output(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root()));
    fs::write(tree.join("REVISION"), revision.unwrap_or_else(|_| "unknown\n".to_string()))?;
    let archive = dir.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "-C"]).arg(dir).arg("-czf").arg(&archive).arg(name);
    step("the archive", &mut tar)?;
    let bytes = fs::metadata(&archive)?.len();
    if bytes > MAX_BYTES {
        bail!("{} weighs {bytes} bytes, at most {MAX_BYTES} are good", archive.display());
    }
    println!("packed {:.1} MiB", bytes as f64 / f64::from(1 << 20));
    dry_run(&tree, dir)?;
    Ok(archive)
}

/// The whole script on the processor, so that no minute on a GPU is spent on a typing error.
fn dry_run(tree: &Path, dir: &Path) -> anyhow::Result<()> {
    let out = dir.join("dry-run");
    let _ = fs::remove_dir_all(&out);
    let mut run = Command::new(tree.join("run.sh"));
    step("a dry run", run.arg(out).args(["--device", "candle", "--quick"]))
}

/// `run.sh` for libraries of CUDA `major`.
fn script(major: &str) -> String {
    RUN.replace("libcublas.so.MAJOR", &format!("libcublas.so.{major}"))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = fs::copy(from, to).map(|_| ());
    copied.with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
