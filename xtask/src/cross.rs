//! `sog-run` for AArch64 (a Jetson, a Raspberry Pi): compiled here, tried under emulation.
//!
//! Taken in this order: rustup's target with a `aarch64-linux-gnu-gcc` that is installed; else, on
//! Debian, the distribution's compiler with the standard library of both architectures, unpacked
//! into the ignored folder `target/aarch64`, so that nothing of the system changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

use crate::shell::{cargo, output, root, step, target_dir};

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Changed with the list below, so that an older folder is made anew.
const RECIPE: &str = "1";

/// Debian's packages: a compiler with its library, a linker with its C library, an emulator.
const COMPILER: [&str; 4] =
    ["rustc-web", "libstd-rust-web-1.96", "libstd-rust-web-dev", "libllvm22"];
const TOOLS: [&str; 2] = ["gcc-aarch64-linux-gnu", "qemu-user"];
const FOREIGN: [&str; 1] = ["libstd-rust-web-dev:arm64"];

/// Builds `sog-run` for AArch64 and tries it; says where it is.
pub(crate) fn run() -> anyhow::Result<()> {
    let Some(tools) = Tools::find_or_fetch()? else {
        bail!(
            "there is no compiler for AArch64 here: install rustup's target `{TARGET}` and \
             gcc-aarch64-linux-gnu, or run this on Debian"
        );
    };
    let program = tools.build("release")?;
    println!("\nbuilt {}", program.display());
    tools.test()?;
    tools.try_out(&program)?;
    tools.replay(&program)
}

/// A compiler, a linker and an emulator for AArch64.
pub(crate) struct Tools {
    /// Another compiler than rustup's, and documentation's none.
    rustc: Option<PathBuf>,
    linker: PathBuf,
    /// The emulator and where the C library is; none where there is no emulator.
    emulator: Option<(PathBuf, PathBuf)>,
}

impl Tools {
    /// The tools of this machine, or fetched; none where they are not to be had.
    pub(crate) fn find_or_fetch() -> anyhow::Result<Option<Self>> {
        if let Some(tools) = Self::installed()? {
            return Ok(Some(tools));
        }
        let is_debian = ["dpkg", "apt-get"].iter().all(|program| which(program).is_some());
        if !is_debian || cfg!(not(target_arch = "x86_64")) {
            return Ok(None);
        }
        Self::fetch().map(Some)
    }

    fn installed() -> anyhow::Result<Option<Self>> {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let library = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET);
        let Some(linker) = which("aarch64-linux-gnu-gcc") else { return Ok(None) };
        if !library.exists() {
            return Ok(None);
        }
        let emulator = which("qemu-aarch64").or_else(|| which("qemu-aarch64-static"));
        let emulator = emulator.map(|program| (program, "/usr/aarch64-linux-gnu".into()));
        Ok(Some(Self { rustc: None, linker, emulator }))
    }

    fn fetch() -> anyhow::Result<Self> {
        let prefix = target_dir().join("aarch64").join(RECIPE);
        if !prefix.join("complete").exists() {
            if prefix.exists() {
                fs::remove_dir_all(&prefix).context("cannot remove what is not complete")?;
            }
            unpack(&prefix)?;
        }
        let bin = prefix.join("bin");
        Ok(Self {
            rustc: Some(bin.join("rustc")),
            linker: bin.join("aarch64-linux-gnu-gcc"),
            emulator: Some((
                prefix.join("usr/bin/qemu-aarch64"),
                prefix.join("usr/aarch64-linux-gnu"),
            )),
        })
    }

    /// `cargo` that compiles for AArch64; tests run under the emulator.
    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = cargo(args);
        command
            .args(["--target", TARGET, "--target-dir"])
            .arg(target_dir().join("aarch64/build"))
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", &self.linker);
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc);
        }
        if let Some((emulator, library)) = &self.emulator {
            let runner = format!("{} -L {}", emulator.display(), library.display());
            command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner);
        }
        command
    }

    /// Builds `sog-run` in a profile and says where it is.
    pub(crate) fn build(&self, profile: &str) -> anyhow::Result<PathBuf> {
        let args = ["build", "--profile", profile, "--package", "sog-runtime", "--bin", "sog-run"];
        step("sog-run for AArch64", self.cargo(&args).env("CARGO_PROFILE_DIST_LTO", "off"))?;
        Ok(target_dir().join("aarch64/build").join(TARGET).join(profile).join("sog-run"))
    }

    /// The runtime's unit tests under the emulator, where there is one. Serial lines need a call
    /// that it does not know.
    fn test(&self) -> anyhow::Result<()> {
        if self.emulator.is_none() {
            println!("\n== tests on AArch64: skipped, there is no qemu-aarch64");
            return Ok(());
        }
        let args = ["test", "--release", "--package", "sog-runtime", "--lib"];
        step("the runtime's tests on AArch64", &mut self.cargo(&args))
    }

    /// Runs the program under the emulator on a committed policy, where there is one.
    pub(crate) fn try_out(&self, program: &Path) -> anyhow::Result<()> {
        let Some((emulator, library)) = &self.emulator else {
            println!("\n== sog-run on AArch64: not tried, there is no qemu-aarch64");
            return Ok(());
        };
        let mut command = Command::new(emulator);
        command.arg("-L").arg(library).arg(program);
        let policy = root().join("models/policies/ant-dir-6-sog-bc.safetensors");
        step("sog-run info on AArch64", command.arg("info").arg(policy))
    }

    /// Replays a log of this machine's `sog-run` under the emulator: the same bits on both.
    fn replay(&self, program: &Path) -> anyhow::Result<()> {
        let Some((emulator, library)) = &self.emulator else {
            println!("\n== replay on AArch64: not tried, there is no qemu-aarch64");
            return Ok(());
        };
        let log = target_dir().join("aarch64/here.soglog");
        record(&log)?;
        let mut command = Command::new(emulator);
        command.arg("-L").arg(library).arg(program).arg("replay").arg(&log);
        // It ends with a failure at the first bit that differs.
        step("a log of this machine, replayed on AArch64", &mut command)
    }
}

/// A log of this machine's `sog-run`, in lock step with the simulated ant.
fn record(log: &Path) -> anyhow::Result<()> {
    let mut build = cargo(&["build", "--release", "--package", "sog-runtime", "--bin", "sog-run"]);
    build.args(["--package", "sog-sim", "--bin", "sog-sim"]);
    step("sog-run and a simulated robot for this machine", &mut build)?;
    let programs = target_dir().join("release");
    // A port of this process's own, so that two checkouts do not meet.
    let port = 20_000 + std::process::id() % 20_000;
    let plant = Command::new(programs.join("sog-sim"))
        .args(["plant", "--task", "ant-dir-6", "--lock-step", "--sessions", "1"])
        .args(["--listen", &port.to_string()])
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start sog-sim")?;
    let plant = Plant(plant);
    let mut run = Command::new(programs.join("sog-run"));
    run.arg(root().join("models/policies/ant-dir-6-sog-bc.safetensors"))
        .args(["--robot", &format!("udp://127.0.0.1:{port}"), "--duration", "10"])
        .args(["--no-keys", "--quiet", "--force", "--log"])
        .arg(log);
    let ran = step("a log of 200 steps", &mut run);
    drop(plant);
    ran
}

/// A simulated robot that does not outlive us.
struct Plant(Child);

impl Drop for Plant {
    fn drop(&mut self) {
        // It ends with its session; where there was none, it is ended here.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Downloads and unpacks the tools into `prefix`.
fn unpack(prefix: &Path) -> anyhow::Result<()> {
    println!("\n== a compiler for AArch64 from Debian's packages, about 200 MB");
    let debs = prefix.join("debs");
    fs::create_dir_all(&debs).with_context(|| format!("cannot create {}", debs.display()))?;
    fs::create_dir_all(prefix.join("bin")).context("cannot create bin")?;
    let config = package_lists(prefix)?;
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(args).env("APT_CONFIG", &config).current_dir(&debs).stdout(Stdio::null());
        command
    };
    step("lists of packages", &mut apt(&["-qq", "update"]))?;
    let mut names: Vec<String> = COMPILER.iter().chain(&FOREIGN).map(ToString::to_string).collect();
    names.extend(missing(&TOOLS, &config)?);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    step("packages", apt(&["-qq", "download"]).args(&names))?;
    for entry in fs::read_dir(&debs)? {
        let deb = entry?.path();
        if deb.extension().is_some_and(|extension| extension == "deb") {
            step("unpack", Command::new("dpkg").arg("-x").arg(&deb).arg(prefix))?;
        }
    }
    let libraries = prefix.join("usr/lib/x86_64-linux-gnu");
    // The compiler and the linker find what is theirs beside them, not in the system.
    wrapper(
        &prefix.join("bin/rustc"),
        &format!(
            "LD_LIBRARY_PATH={} exec {}",
            libraries.display(),
            prefix.join("usr/bin/rustc").display()
        ),
    )?;
    let tools = prefix.join("usr/bin");
    wrapper(
        &prefix.join("bin/aarch64-linux-gnu-gcc"),
        &format!(
            "LD_LIBRARY_PATH={libs} exec {gcc} --sysroot={sysroot} -B{bin} -B{lib} -L{lib}",
            libs = libraries.display(),
            gcc = gcc(&tools)?.display(),
            sysroot = prefix.display(),
            bin = prefix.join("usr/aarch64-linux-gnu/bin").display(),
            lib = prefix.join("usr/aarch64-linux-gnu/lib").display(),
        ),
    )?;
    fs::remove_dir_all(&debs).context("cannot remove the packages")?;
    fs::write(prefix.join("complete"), "").context("cannot note that all is there")
}

/// The compiler driver: `aarch64-linux-gnu-gcc-12`, say.
fn gcc(bin: &Path) -> anyhow::Result<PathBuf> {
    let is_gcc = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix("aarch64-linux-gnu-gcc-")
            .is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut found: Vec<PathBuf> =
        fs::read_dir(bin)?.flatten().map(|entry| entry.path()).filter(is_gcc).collect();
    found.sort();
    found.pop().context("no aarch64-linux-gnu-gcc in Debian's packages")
}

/// A configuration of apt that knows both architectures and keeps its own lists.
fn package_lists(prefix: &Path) -> anyhow::Result<PathBuf> {
    let (lists, cache) = (prefix.join("apt/lists"), prefix.join("apt/cache"));
    for dir in [lists.join("partial"), cache.join("archives/partial")] {
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let config = prefix.join("apt/config");
    let text = format!(
        "APT::Architecture \"amd64\";\nAPT::Architectures {{\"amd64\";\"arm64\";}};\n\
         Dir::State::Lists \"{}\";\nDir::Cache \"{}\";\n",
        lists.display(),
        cache.display()
    );
    fs::write(&config, text).context("cannot write apt's configuration")?;
    Ok(config)
}

/// These packages with everything that they need and the machine lacks.
fn missing(packages: &[&str], config: &Path) -> anyhow::Result<Vec<String>> {
    let plan = output(
        Command::new("apt-get")
            .args(["install", "-s", "-y", "--no-install-recommends"])
            .args(packages)
            .env("APT_CONFIG", config),
    )?;
    let name = |line: &str| line.strip_prefix("Inst ")?.split(' ').next().map(str::to_string);
    Ok(plan.lines().filter_map(name).collect())
}

fn wrapper(path: &Path, command: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, format!("#!/bin/sh\n{command} \"$@\"\n"))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", path.display()))
}
