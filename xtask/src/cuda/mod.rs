//! Building the trainer with CUDA, with an installed toolkit or with NVIDIA's wheels of PyPI.
//!
//! candle asks for programs that are linked with CUDA's libraries and do not start without them.
//! Here it is built from a copy of its source that says `dynamic-loading` instead, and with the
//! static form of the CUDA runtime: the program then starts anywhere and takes CUDA where it is.
//! [`bundle`] packs it for a machine with a GPU.

mod bundle;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::shell::{cargo, output, root, step, target_dir};

/// What a toolkit consists of, as far as it is needed here; wheels of one release.
const WHEELS: [&str; 5] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
];

/// PTX for this compute capability runs on it and on everything later (Ampere, 2020).
const DEFAULT_CAPABILITY: &str = "80";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Compute capability to build for, without its point: 80 for an A100, 90 for an H100
    /// [default: that of the device here, else 80]
    #[arg(long)]
    compute_cap: Option<u32>,
    /// Also pack all that a machine with a GPU needs to check it into one archive
    #[arg(long)]
    bundle: bool,
}

/// Builds the program, fetching a toolkit where there is none, and says where it is.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let toolkit = match Toolkit::find()? {
        Some(toolkit) => toolkit,
        None => Toolkit::fetch()?,
    };
    let program = build(&toolkit, options.compute_cap)?;
    println!(
        "\nbuilt {}\nIt needs the NVIDIA driver, cuBLAS and cuRAND of CUDA {} at run time; see \
         docs/cuda.md.",
        program.display(),
        toolkit.version()?
    );
    if options.bundle {
        let version = toolkit.version()?;
        let major = version.split('.').next().unwrap_or_default();
        let archive = bundle::pack(&program, major, &target_dir().join("cuda"))?;
        println!("\n{} runs anywhere: unpack it there and start run.sh", archive.display());
    }
    Ok(())
}

/// Whether the feature compiles, where a toolkit is there.
pub(crate) fn check() -> anyhow::Result<()> {
    match Toolkit::find()? {
        Some(toolkit) => build(&toolkit, None).map(|_| ()),
        None => {
            println!(
                "\n== the feature `cuda`: skipped, there is no CUDA toolkit here \
                 (`cargo xtask cuda` fetches one)"
            );
            Ok(())
        }
    }
}

/// A directory with `bin/nvcc`.
struct Toolkit(PathBuf);

impl Toolkit {
    /// An installed toolkit, or the one that was fetched before.
    fn find() -> anyhow::Result<Option<Self>> {
        for variable in ["CUDA_HOME", "CUDA_PATH"] {
            if let Some(dir) = std::env::var_os(variable).map(PathBuf::from) {
                if !dir.join("bin/nvcc").is_file() {
                    bail!(
                        "{variable} is {}, where there is no bin/nvcc; correct it, or unset it to \
                         let `cargo xtask cuda` fetch a toolkit",
                        dir.display()
                    );
                }
                return Ok(Some(Self(dir)));
            }
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path)
            .find(|bin| bin.join("nvcc").is_file())
            .and_then(|bin| Some(bin.canonicalize().ok()?.parent()?.to_path_buf()));
        let others = [PathBuf::from("/usr/local/cuda"), fetched()];
        let mut found = on_path.into_iter().chain(others);
        Ok(found.find(|dir| dir.join("bin/nvcc").is_file()).map(Self))
    }

    /// Installs NVIDIA's wheels into an ignored folder.
    fn fetch() -> anyhow::Result<Self> {
        println!("no CUDA toolkit here: neither CUDA_HOME, nvcc on PATH nor /usr/local/cuda");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]);
        pip.args(["--disable-pip-version-check", "--upgrade", "--target"]);
        pip.arg(root().join(".cuda")).args(WHEELS);
        step("CUDA toolkit: NVIDIA's wheels, from PyPI into .cuda", &mut pip).context(
            "pip could not install the wheels; install a CUDA toolkit (12 or 13) and name its \
             directory in CUDA_HOME",
        )?;
        Self::find()?.context("the wheels hold no bin/nvcc")
    }

    /// For instance 13.0.
    fn version(&self) -> anyhow::Result<String> {
        let text = output(Command::new(self.0.join("bin/nvcc")).arg("--version"))?;
        let release = text.split("release ").nth(1).and_then(|rest| rest.split(',').next());
        release.map(str::to_string).with_context(|| format!("nvcc names no release:\n{text}"))
    }

    /// The static CUDA runtime.
    fn static_runtime(&self) -> anyhow::Result<PathBuf> {
        let dirs = ["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"];
        let files = dirs.map(|dir| self.0.join(dir).join("libcudart_static.a"));
        let found = files.into_iter().find(|file| file.is_file());
        found.with_context(|| format!("there is no libcudart_static.a in {}", self.0.display()))
    }
}

/// Where [`Toolkit::fetch`] leaves the toolkit.
fn fetched() -> PathBuf {
    root().join(".cuda/nvidia/cu13")
}

/// Builds `sog` with CUDA; returns its path.
fn build(toolkit: &Toolkit, compute_cap: Option<u32>) -> anyhow::Result<PathBuf> {
    let dir = target_dir().join("cuda");
    let candle = candle_that_loads(&dir)?;
    let version = toolkit.version()?;
    let digits = version.split_once('.').and_then(|(major, minor)| {
        Some(format!("{}0{}0", major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    let digits = digits.with_context(|| format!("{version} is no version of CUDA"))?;
    let mut command = cargo(&["build", "--release", "-p", "sog-trainer", "--bin", "sog"]);
    command.args(["--features", "cuda-loading", "--target-dir"]).arg(&dir);
    command.arg("--config").arg(format!("patch.crates-io.candle-core.path={candle:?}"));
    // Here it is candle that asks for every operation.
    command.args(["--config", "profile.release.package.candle-core.opt-level=3"]);
    command.env("CUDA_HOME", &toolkit.0).env("CUDARC_CUDA_VERSION", digits);
    command.env("NVCC", compiler(toolkit, &dir)?);
    let lib = runtime_as_cudart(toolkit, &dir)?;
    let others = std::env::var_os("LIBRARY_PATH").unwrap_or_default();
    let others = std::env::split_paths(&others).collect::<Vec<_>>();
    command.env("LIBRARY_PATH", std::env::join_paths([lib].into_iter().chain(others))?);
    if let Some(capability) = capability(compute_cap) {
        command.env("CUDA_COMPUTE_CAP", capability);
    }
    // The other source of candle-core shows in the lock file while this builds.
    let lock = root().join("Cargo.lock");
    let before = fs::read(&lock).context("cannot read Cargo.lock")?;
    let result = step("the trainer with the feature `cuda`", &mut command);
    if fs::read(&lock).ok().as_ref() != Some(&before) {
        fs::write(&lock, before).context("cannot restore Cargo.lock")?;
    }
    result.map(|()| dir.join("release/sog"))
}

/// What to compile for; none where the device here is asked.
fn capability(given: Option<u32>) -> Option<String> {
    if given.is_none() && std::env::var_os("CUDA_COMPUTE_CAP").is_some() {
        return None;
    }
    let smi =
        Command::new("nvidia-smi").arg("-L").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match given {
        Some(capability) => Some(capability.to_string()),
        None if smi.is_ok_and(|status| status.success()) => None,
        None => Some(DEFAULT_CAPABILITY.to_string()),
    }
}

/// nvcc, but for candle's kernels of quantised models and mixtures of experts: they take most of the
/// time, nothing here uses them, and they are the only ones that are compiled to objects.
fn compiler(toolkit: &Toolkit, dir: &Path) -> anyhow::Result<PathBuf> {
    let script = format!(
        r#"#!/bin/sh
# {about}
object= ; previous= ; out=
for argument; do
    [ "$argument" = -c ] && object=yes
    [ "$previous" = -o ] && out=$argument
    previous=$argument
done
if [ "$object" ] && [ "$out" ]; then
    exec ${{CC:-cc}} -x c -c /dev/null -o "$out"
fi
exec "{nvcc}" "$@"
"#,
        about = "Written by `cargo xtask cuda`: nvcc that makes empty objects.",
        nvcc = toolkit.0.join("bin/nvcc").display()
    );
    let path = dir.join("nvcc");
    if fs::read_to_string(&path).ok().as_ref() != Some(&script) {
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(path)
}

/// A directory in which `-lcudart` finds the static runtime.
fn runtime_as_cudart(toolkit: &Toolkit, dir: &Path) -> anyhow::Result<PathBuf> {
    let lib = dir.join("lib");
    fs::create_dir_all(&lib)?;
    let target = lib.join("libcudart.a");
    let _ = fs::remove_file(&target);
    fs::copy(toolkit.static_runtime()?, target)?;
    Ok(lib)
}

/// A copy of candle-core's source that asks for libraries loaded at run time.
fn candle_that_loads(dir: &Path) -> anyhow::Result<PathBuf> {
    let metadata = output(&mut cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let candle = packages.iter().find(|p| p["name"] == "candle-core");
    let candle = candle.context("candle-core is no dependency")?;
    let text = |key: &str| candle[key].as_str().unwrap_or_default().to_string();
    let copy = dir.join(format!("candle-core-{}", text("version")));
    let manifest = copy.join("Cargo.toml");
    if !manifest.is_file() {
        let manifest_path = PathBuf::from(text("manifest_path"));
        let source = manifest_path.parent().context("candle-core has no directory")?;
        copy_all(&source.join("src"), &copy.join("src"))?;
        let manifest_text = fs::read_to_string(&manifest_path)?;
        if manifest_text.matches("\"dynamic-linking\"").count() != 1 {
            bail!("candle-core no longer asks for `dynamic-linking` once: {}", source.display());
        }
        // Examples, tests and benches are not copied, so the manifest must not name them.
        let manifest_text = manifest_text.replace("\"dynamic-linking\"", "\"dynamic-loading\"");
        fs::write(&manifest, without_targets(&manifest_text))?;
    }
    Ok(copy)
}

/// A manifest without its examples, tests and benches.
fn without_targets(manifest: &str) -> String {
    let mut keep = true;
    let kept = manifest.lines().filter(|line| {
        if line.starts_with('[') {
            keep = !matches!(*line, "[[example]]" | "[[test]]" | "[[bench]]");
        }
        keep
    });
    kept.flat_map(|line| [line, "\n"]).collect()
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
