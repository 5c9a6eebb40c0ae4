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

use crate::{
    debian::{self, Packages, which},
    shell::{cargo, output, root, step, target_dir},
};

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Changed with the list below, so that an older folder is made anew.
const RECIPE: &str = "2";

/// Debian's packages: a compiler with its library, a linker with its C library, an emulator.
const COMPILER: [&str; 4] =
    ["rustc-web", "libstd-rust-web-1.96", "libstd-rust-web-dev", "libllvm22"];
const TOOLS: [&str; 3] = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user"];
const FOREIGN: [&str; 1] = ["libstd-rust-web-dev:arm64"];

/// An architecture of control computers.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Architecture {
    /// A Jetson, a Raspberry Pi.
    Aarch64,
}

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
        if debian::is_here() { Self::fetch().map(Some) } else { Ok(None) }
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
        if !debian::is_complete(&prefix) {
            unpack(&prefix)?;
        }
        let bin = prefix.join("bin");
        Ok(Self {
            rustc: Some(bin.join("rustc")),
            linker: bin.join("aarch64-linux-gnu-gcc"),
            emulator: Some((bin.join("qemu-aarch64"), prefix.join("usr/aarch64-linux-gnu"))),
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

/// Downloads and unpacks the tools into `prefix`.
fn unpack(prefix: &Path) -> anyhow::Result<()> {
    println!("\n== a compiler for AArch64 from Debian's packages, about 200 MB");
    let packages = Packages::begin(prefix, &["amd64", "arm64"])?;
    let mut names: Vec<String> = COMPILER.iter().chain(&FOREIGN).map(ToString::to_string).collect();
    names.extend(packages.with_missing(&TOOLS)?);
    packages.unpack(&names)?;
    // The compiler and the linker find what is theirs beside them, not in the system.
    packages.wrap("rustc", &prefix.join("usr/bin/rustc").display().to_string())?;
    packages.wrap("qemu-aarch64", &prefix.join("usr/bin/qemu-aarch64").display().to_string())?;
    packages.wrap(
        "aarch64-linux-gnu-gcc",
        &format!(
            "{gcc} --sysroot={sysroot} -B{bin} -B{lib} -L{lib}",
            gcc = gcc(&prefix.join("usr/bin"))?.display(),
            sysroot = prefix.display(),
            bin = prefix.join("usr/aarch64-linux-gnu/bin").display(),
            lib = prefix.join("usr/aarch64-linux-gnu/lib").display(),
        ),
    )?;
    packages.end()
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
