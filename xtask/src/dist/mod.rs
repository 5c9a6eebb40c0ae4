//! What is installed on a control computer: a Debian package and a tarball of `sog-run`, for each
//! architecture that can be built here, tried after they are made.

mod man;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use crate::{
    cross,
    shell::{cargo, output, root, step, target_dir},
};

/// Options of `cargo xtask dist`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Architectures, with commas [default: this one, and arm64 where it can be built]
    #[arg(long, value_delimiter = ',')]
    arch: Vec<Arch>,
    /// Cargo's profile; `release` compiles faster and is larger
    #[arg(long, default_value = "dist")]
    profile: String,
}

/// An architecture by Debian's name.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    fn here() -> anyhow::Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => bail!("no package is made for {other}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As an ELF file says it, bytes 18 and 19.
    fn machine(self) -> [u8; 2] {
        match self {
            Self::Amd64 => [0x3e, 0],
            Self::Arm64 => [0xb7, 0],
        }
    }
}

/// A program that was built, and how to run it here.
struct Built {
    arch: Arch,
    program: PathBuf,
    tools: Option<cross::Tools>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let here = Arch::here()?;
    // The manual page comes from the program that runs here, whatever it is made for.
    let native = build_here(here, &options.profile)?;
    let page = man::page(&native.program, env!("CARGO_PKG_VERSION"))?;
    let wanted = |arch| options.arch.is_empty() || options.arch.contains(&arch);
    let mut made = vec![];
    if wanted(here) {
        made.extend(pack(&native, &page)?);
    }
    if here != Arch::Arm64 && wanted(Arch::Arm64) {
        match cross::Tools::find_or_fetch() {
            Ok(Some(tools)) => {
                let program = tools.build(&options.profile)?;
                made.extend(pack(
                    &Built { arch: Arch::Arm64, program, tools: Some(tools) },
                    &page,
                )?);
            }
            Err(error) if options.arch.is_empty() => {
                println!("\n== arm64: skipped, no compiler for it could be fetched: {error:#}");
            }
            Ok(None) if options.arch.is_empty() => {
                println!("\n== arm64: skipped, there is no compiler for it here");
            }
            other => {
                other?;
                bail!("there is no compiler for arm64 here; see `cargo xtask cross`")
            }
        }
    }
    println!();
    for file in made {
        println!("made {}", file.display());
    }
    Ok(())
}

fn build_here(arch: Arch, profile: &str) -> anyhow::Result<Built> {
    let args = ["build", "--package", "sog-runtime", "--bin", "sog-run", "--profile", profile];
    step("sog-run", &mut cargo(&args))?;
    Ok(Built { arch, program: target_dir().join(profile).join("sog-run"), tools: None })
}

/// Makes the package and the tarball of a program, and tries both.
fn pack(built: &Built, page: &str) -> anyhow::Result<Vec<PathBuf>> {
    let (version, arch) = (env!("CARGO_PKG_VERSION"), built.arch.name());
    let name = format!("sog-run_{version}_{arch}");
    let out = target_dir().join("packages");
    let tree = out.join(&name);
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    lay_out(&tree, built, page)?;

    let tarball = out.join(format!("{name}.tar.gz"));
    step(
        "the tarball",
        Command::new("tar")
            .args(["--sort=name", "--owner=0", "--group=0", "--mtime=@0", "-czf"])
            .arg(&tarball)
            .args(["-C".as_ref(), out.as_os_str(), name.as_ref()]),
    )?;
    try_out("the tarball", built, &out.join("try"), |to| {
        let mut command = Command::new("tar");
        command.arg("-xzf").arg(&tarball).args(["--strip-components=1", "-C"]).arg(to);
        command
    })?;
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        println!("\n== the Debian package: skipped, there is no dpkg-deb");
        return Ok(vec![tarball]);
    }
    control(&tree, built)?;
    let deb = out.join(format!("{name}.deb"));
    step(
        "the Debian package",
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", "--build"])
            .args([&tree, &deb])
            .env("SOURCE_DATE_EPOCH", "0"),
    )?;
    try_out("the Debian package", built, &out.join("try"), |to| {
        let mut command = Command::new("dpkg");
        command.arg("-x").arg(&deb).arg(to);
        command
    })?;
    fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    Ok(vec![tarball, deb])
}

/// The files of the package, where they are installed.
fn lay_out(tree: &Path, built: &Built, page: &str) -> anyhow::Result<()> {
    let put = |from: PathBuf, to: &str| {
        let to = tree.join(to);
        let dir = to.parent().map_or(Ok(()), fs::create_dir_all);
        dir.and_then(|()| fs::copy(&from, &to))
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
    };
    let (packaging, doc) = (root().join("packaging"), "usr/share/doc/sog-run");
    put(built.program.clone(), "usr/bin/sog-run")?;
    put(packaging.join("sog-run.service"), "usr/lib/systemd/system/sog-run.service")?;
    put(packaging.join("sysusers.conf"), "usr/lib/sysusers.d/sog.conf")?;
    put(packaging.join("sog-run.conf"), "etc/sog/sog-run.conf")?;
    put(packaging.join("limits.conf"), "etc/security/limits.d/sog.conf")?;
    put(root().join("runtime/README.md"), &format!("{doc}/README.md"))?;
    put(root().join("docs/protocol.md"), &format!("{doc}/protocol.md"))?;
    put(root().join("robot/c/sog_robot.h"), &format!("{doc}/examples/sog_robot.h"))?;
    put(root().join("robot/c/point_robot.c"), &format!("{doc}/examples/point_robot.c"))?;
    put(root().join("docs/adapters/ant.toml"), &format!("{doc}/examples/robot.toml"))?;
    for licence in ["LICENSE-APACHE", "LICENSE-MIT", "THIRD-PARTY.md"] {
        put(root().join(licence), &format!("{doc}/{licence}"))?;
    }
    let manual = tree.join("usr/share/man/man1");
    fs::create_dir_all(&manual).context("cannot create man1")?;
    fs::write(manual.join("sog-run.1"), page).context("cannot write the manual page")?;
    step("the manual page", Command::new("gzip").args(["-9nf"]).arg(manual.join("sog-run.1")))
}

/// What dpkg wants to know.
fn control(tree: &Path, built: &Built) -> anyhow::Result<()> {
    let dir = tree.join("DEBIAN");
    fs::create_dir_all(&dir).context("cannot create DEBIAN")?;
    let bytes = fs::read(&built.program).context("cannot read the program")?;
    let text = format!(
        "Package: sog-run\nVersion: {}\nArchitecture: {}\nMaintainer: sog <noreply@sog.invalid>\n\
         Section: science\nPriority: optional\nDepends: libc6 (>= {}), libgcc-s1\n\
         Installed-Size: {}\nDescription: runs a learned policy on a robot at a fixed rate\n \
         Reads the robot's sensors over UDP or a serial line, evaluates the policy, limits what it\n \
         says, and writes the actuators, without allocation and with real-time rights.\n",
        env!("CARGO_PKG_VERSION"),
        built.arch.name(),
        newest_glibc(&bytes).context("the program names no version of the C library")?,
        bytes.len() / 1024 + 200,
    );
    fs::write(dir.join("control"), text).context("cannot write control")?;
    fs::write(dir.join("conffiles"), "/etc/sog/sog-run.conf\n/etc/security/limits.d/sog.conf\n")
        .context("cannot write conffiles")?;
    for script in ["postinst", "prerm"] {
        let (from, to) = (root().join("packaging").join(script), dir.join(script));
        fs::copy(from, to).with_context(|| format!("cannot copy {script}"))?;
    }
    Ok(())
}

/// The newest version of the C library whose symbols a program asks for: `2.34`, say.
fn newest_glibc(program: &[u8]) -> Option<String> {
    let mark = b"GLIBC_";
    let versions = program.windows(mark.len() + 8).filter(|window| window.starts_with(mark));
    let parse = |window: &[u8]| {
        let text: String = window[mark.len()..]
            .iter()
            .map(|&byte| char::from(byte))
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect();
        let (major, minor) = text.split_once('.')?;
        let minor = minor.split('.').next()?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    versions.filter_map(parse).max().map(|(major, minor)| format!("{major}.{minor}"))
}

/// Installs into an empty folder and runs what is there.
fn try_out(
    what: &str,
    built: &Built,
    to: &Path,
    install: impl FnOnce(&Path) -> Command,
) -> anyhow::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot remove {}", to.display()))?;
    }
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    step(&format!("{what}, installed"), &mut install(to))?;
    for file in [
        "usr/lib/systemd/system/sog-run.service",
        "usr/lib/sysusers.d/sog.conf",
        "etc/sog/sog-run.conf",
        "etc/security/limits.d/sog.conf",
        "usr/share/man/man1/sog-run.1.gz",
        "usr/share/doc/sog-run/examples/robot.toml",
    ] {
        ensure!(to.join(file).is_file(), "{what} installs no {file}");
    }
    let program = to.join("usr/bin/sog-run");
    let bytes = fs::read(&program).with_context(|| format!("{what} installs no sog-run"))?;
    ensure!(
        bytes.get(18..20) == Some(&built.arch.machine()),
        "the program is not for {}",
        built.arch.name()
    );
    run_installed(&program, built)?;
    fs::remove_dir_all(to).with_context(|| format!("cannot remove {}", to.display()))
}

/// Runs an installed program: for another architecture under the emulator, where there is one.
fn run_installed(program: &Path, built: &Built) -> anyhow::Result<()> {
    let start = || match &built.tools {
        Some(tools) => tools.emulated(program),
        None => Some(Command::new(program)),
    };
    let Some(mut version) = start() else {
        println!("\n== the program for {}: not tried, there is no emulator", built.arch.name());
        return Ok(());
    };
    let said = output(version.arg("--version"))?;
    let expected = format!("sog-run {}", env!("CARGO_PKG_VERSION"));
    ensure!(said.starts_with(&expected), "`sog-run --version` says {said}");
    let policy = |name: &str| root().join("models/policies").join(name);
    let run = |what: &str, args: &[&str], file: Option<PathBuf>| {
        let mut command = start().context("there is no emulator")?;
        step(&format!("sog-run {what}, as installed"), command.args(args).args(file))
    };
    run("info", &["info"], Some(policy("ant-dir-6-sog-bc.safetensors")))?;
    let bench = ["bench", "--duration", "1", "--rt", "off"];
    run("bench", &bench, Some(policy("circles-sog-bc.safetensors")))?;
    // It ends with 1 on a machine that is not fit for real time.
    let mut doctor = start().context("there is no emulator")?;
    let doctor = doctor.arg("doctor").output().context("cannot start sog-run")?;
    let said = String::from_utf8_lossy(&doctor.stdout);
    ensure!(
        matches!(doctor.status.code(), Some(0 | 1)) && said.contains("fit for real time"),
        "`sog-run doctor` ended with {} and said {said}",
        doctor.status
    );
    println!("\n== sog-run doctor, as installed\n{said}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_library_asked_for_is_found() {
        let program = b"\0GLIBC_2.4\0x GLIBC_2.34\0GLIBC_2.17.1\0\0\0\0\0\0\0\0GLIBC_PRIVATE\0\0\0\0\0\0\0\0\0";
        assert_eq!(newest_glibc(program).as_deref(), Some("2.34"));
        assert_eq!(newest_glibc(b"nothing of the kind is in here"), None);
    }
}
