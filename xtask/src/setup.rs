//! Installing libmujoco for this checkout: from an installed MuJoCo, else from the `mujoco`
//! package of PyPI, else from MuJoCo's release archive.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::shell::{self, sha256};

const VERSION: &str = "3.17.0";
const FILE: &str = "libmujoco.so.3.17.0";

/// Names a libmujoco to take instead of looking for one.
const OVERRIDE: &str = "SOG_LIBMUJOCO";

/// SHA-256 of the library in the `mujoco` 3.17.0 wheels of PyPI.
const KNOWN: &[(&str, &str)] = &[
    ("x86_64", "23496b023ee80fb61ab71167e94bc649f9941710fde96b18bb8204fb332523ad"),
    ("aarch64", "e2edd0204fb9229f75f332a4fcd1a32345bb9f90651dc0fddfa20ec0670db789"),
];

/// Looks in one place, with a scratch directory; notes what it looked at if it finds nothing.
type Source = fn(&Path, &mut Vec<String>) -> anyhow::Result<Option<PathBuf>>;

/// Makes sure that `.mujoco/lib` holds libmujoco; does nothing if it does.
pub(crate) fn run() -> anyhow::Result<()> {
    let dir = shell::root().join(".mujoco/lib");
    if is_complete(&dir)? {
        return Ok(());
    }
    println!("== set-up: libmujoco {VERSION}");
    let mut tried = Vec::new();
    let sources: [(&str, Source); 4] = [
        ("the environment", from_override),
        ("an installed MuJoCo", from_installed),
        ("the `mujoco` package of PyPI", from_pip),
        ("MuJoCo's release archive", from_release),
    ];
    let scratch = shell::root().join(".mujoco/scratch");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    for (name, source) in sources {
        println!("   looking for it in {name}");
        match source(&scratch, &mut tried) {
            Ok(Some(file)) => {
                install(&file, &dir)?;
                let _ = fs::remove_dir_all(&scratch);
                println!("   installed from {name} into {}", dir.display());
                return Ok(());
            }
            Ok(None) => {}
            Err(error) if name == "the environment" => return Err(error),
            Err(error) => tried.push(format!("{name}: {error:#}")),
        }
    }
    let _ = fs::remove_dir_all(&scratch);
    bail!(
        "libmujoco {VERSION} was not found.\nLooked in:\n  {}\n\
         To give it by hand: get MuJoCo {VERSION} for {} (its release archive, or\n\
         `pip download --no-deps mujoco=={VERSION}` on a machine with network), unpack it, and run\n  \
         {OVERRIDE}=/path/to/{FILE} cargo xtask setup",
        tried.join("\n  "),
        std::env::consts::ARCH,
    )
}

fn is_complete(dir: &Path) -> anyhow::Result<bool> {
    let (file, record) = (dir.join(FILE), dir.join("sha256"));
    if !file.is_file() || !dir.join("libmujoco.so").exists() {
        return Ok(false);
    }
    // Written last by `install`; a damaged or half-copied file is installed anew.
    let recorded = fs::read_to_string(record).unwrap_or_default();
    Ok(recorded.trim() == sha256(&file)?)
}

fn install(file: &Path, dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let target = dir.join(FILE);
    let temporary = dir.join("incoming.tmp");
    fs::copy(file, &temporary)
        .with_context(|| format!("cannot copy {} to {}", file.display(), temporary.display()))?;
    fs::rename(&temporary, &target)?;
    let link = dir.join("libmujoco.so");
    if fs::symlink_metadata(&link).is_ok() {
        fs::remove_file(&link)?;
    }
    std::os::unix::fs::symlink(FILE, &link)?;
    fs::write(dir.join("sha256"), sha256(&target)?)?;
    Ok(())
}

fn from_override(_: &Path, tried: &mut Vec<String>) -> anyhow::Result<Option<PathBuf>> {
    let Some(path) = std::env::var_os(OVERRIDE).map(PathBuf::from) else {
        tried.push(format!("${OVERRIDE}: not set"));
        return Ok(None);
    };
    if !path.is_file() {
        bail!("{OVERRIDE} names {}, which is not a file; need {FILE}", path.display());
    }
    if !is_known(&path)? {
        // Whoever names a file answers for it, but is told.
        println!(
            "   note: {} (SHA-256 {}) is not a build that sog was tested with",
            path.display(),
            sha256(&path)?
        );
    }
    Ok(Some(path))
}

fn from_installed(_: &Path, tried: &mut Vec<String>) -> anyhow::Result<Option<PathBuf>> {
    let mut dirs: Vec<PathBuf> = ["/usr/local/lib", "/usr/lib", "/opt/mujoco/lib"]
        .into_iter()
        .map(PathBuf::from)
        .chain([PathBuf::from(format!("/opt/mujoco-{VERSION}/lib"))])
        .collect();
    if let Some(home) = std::env::var_os("HOME").map(PathBuf::from) {
        dirs.push(home.join(format!(".mujoco/mujoco-{VERSION}/lib")));
    }
    dirs.extend(std::env::var("LD_LIBRARY_PATH").unwrap_or_default().split(':').map(PathBuf::from));
    let find = "import importlib.util as u; s=u.find_spec('mujoco'); \
                print(s.submodule_search_locations[0] if s else '')";
    if let Ok(out) = Command::new("python3").args(["-c", find]).stderr(Stdio::null()).output() {
        dirs.push(PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()));
    }
    for file in dirs.iter().filter(|d| !d.as_os_str().is_empty()).map(|d| d.join(FILE)) {
        match file.is_file() {
            true if is_known(&file)? => return Ok(Some(file)),
            true => tried.push(format!(
                "{}: SHA-256 {} is not a known build (name it with {OVERRIDE} to use it)",
                file.display(),
                sha256(&file)?
            )),
            false => tried.push(format!("{}: not there", file.display())),
        }
    }
    Ok(None)
}

fn from_pip(scratch: &Path, tried: &mut Vec<String>) -> anyhow::Result<Option<PathBuf>> {
    // Naming the platform makes pip's answer independent of the Python that runs it.
    let platform = |glibc: &str| format!("manylinux_2_{glibc}_{}", std::env::consts::ARCH);
    let package = format!("mujoco=={VERSION}");
    let mut command = Command::new("python3");
    command
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
        .args(["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"])
        .args(["--platform", &platform("28"), "--platform", &platform("17")])
        .arg("--dest")
        .arg(scratch)
        .arg(&package);
    let out = match command.output() {
        Ok(out) => out,
        Err(error) => {
            tried.push(format!("python3 -m pip download {package}: {error}"));
            return Ok(None);
        }
    };
    if !out.status.success() {
        let message = String::from_utf8_lossy(&out.stderr);
        let last = message.trim().lines().last().unwrap_or("no message").to_string();
        tried.push(format!("python3 -m pip download {package}: {last}"));
        return Ok(None);
    }
    let wheel = fs::read_dir(scratch)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .context("pip left no wheel")?;
    shell::output(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(scratch))?;
    let file = scratch.join("mujoco").join(FILE);
    if !is_known(&file)? {
        bail!("{} of {package} has the unknown SHA-256 {}", FILE, sha256(&file)?);
    }
    Ok(Some(file))
}

fn from_release(scratch: &Path, tried: &mut Vec<String>) -> anyhow::Result<Option<PathBuf>> {
    let name = format!("mujoco-{VERSION}-linux-{}.tar.gz", std::env::consts::ARCH);
    let url =
        format!("https://github.com/google-deepmind/mujoco/releases/download/{VERSION}/{name}");
    for (url, file) in [(url.clone(), name.clone()), (format!("{url}.sha256"), "sum".to_string())] {
        let status = Command::new("curl")
            .args(["--fail", "--location", "--silent", "--show-error", "--output"])
            .arg(scratch.join(file))
            .arg(&url)
            .stderr(Stdio::null())
            .status();
        if !status.is_ok_and(|s| s.success()) {
            tried.push(format!("{url}: could not be fetched with curl"));
            return Ok(None);
        }
    }
    let archive = scratch.join(&name);
    let published = fs::read_to_string(scratch.join("sum"))?;
    let published = published.split_whitespace().next().unwrap_or_default();
    let found = sha256(&archive)?;
    if found != published {
        bail!("{name} has SHA-256 {found}, published is {published}");
    }
    shell::output(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(scratch))?;
    Ok(Some(scratch.join(format!("mujoco-{VERSION}/lib/{FILE}"))))
}

fn is_known(file: &Path) -> anyhow::Result<bool> {
    let hash = sha256(file)?;
    Ok(KNOWN.iter().any(|&(arch, known)| arch == std::env::consts::ARCH && known == hash))
}
