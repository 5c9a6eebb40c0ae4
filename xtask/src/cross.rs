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

use anyhow::Context;

use crate::{
    debian::{self, Packages, which},
    shell::{cargo, output, root, step, target_dir},
};

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Changed with the list below, so that an older folder is made anew.
const RECIPE: &str = "3";

/// Debian's packages: a compiler, a linker with its C library, an emulator.
const PACKAGES: [&str; 4] =
    ["rustc-web", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user"];
/// The standard library.
const FOREIGN: &str = "libstd-rust-web-dev:arm64";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";

/// Tests that start `sog-run`, which a program under the emulator cannot do.
const STARTING: [&str; 2] = ["program", "recording"];
/// Tests of serial lines, which need a call that the emulator does not know (`TCGETS2`).
const NOT_EMULATED: [&str; 3] = [
    "a_serial_line_in_lock_step_is_as_in_process",
    "a_serial_device_is_for_one_process_and_free_when_it_ends",
    "a_bad_line_in_lock_step_costs_time_and_nothing_else",
];

/// An architecture of control computers.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Architecture {
    /// A Jetson, a Raspberry Pi.
    Aarch64,
}

/// Builds `sog-run` for AArch64 and tries it, fetching the tools where there are none.
pub(crate) fn run() -> anyhow::Result<()> {
    let tools = Tools::find_or_fetch()?.with_context(|| {
        format!(
            "there is no compiler for AArch64 here: install rustup's target `{TARGET}` and \
             {LINKER}, or run this on Debian"
        )
    })?;
    tools.run()
}

/// The same where the tools are there already; says so where they are not.
pub(crate) fn check() -> anyhow::Result<()> {
    match Tools::find()? {
        Some(tools) => tools.run(),
        None => {
            println!("\n== AArch64: skipped, `cargo xtask cross` has not fetched its tools");
            Ok(())
        }
    }
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
    /// Those that are there, or fetched; none where they are not to be had.
    pub(crate) fn find_or_fetch() -> anyhow::Result<Option<Self>> {
        if let Some(tools) = Self::find()? {
            return Ok(Some(tools));
        }
        if !debian::is_here() {
            return Ok(None);
        }
        unpack(&Self::prefix())?;
        Ok(Some(Self::fetched()))
    }

    fn prefix() -> PathBuf {
        target_dir().join("aarch64").join(RECIPE)
    }

    /// Those that are there.
    fn find() -> anyhow::Result<Option<Self>> {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let library = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET);
        if let Some(linker) = which(LINKER).filter(|_| library.exists()) {
            let emulator = which(EMULATOR).or_else(|| which("qemu-aarch64-static"));
            let emulator = emulator.map(|program| (program, "/usr/aarch64-linux-gnu".into()));
            return Ok(Some(Self { rustc: None, linker, emulator }));
        }
        Ok(debian::is_complete(&Self::prefix()).then(Self::fetched))
    }

    /// Unpacked, but for those that the machine has.
    fn fetched() -> Self {
        let (prefix, library) = (Self::prefix(), "usr/aarch64-linux-gnu");
        let bin = prefix.join("bin");
        let (linker, library) = match which(LINKER) {
            Some(linker) => (linker, Path::new("/").join(library)),
            None => (bin.join(LINKER), prefix.join(library)),
        };
        let emulator = which(EMULATOR).unwrap_or_else(|| bin.join(EMULATOR));
        Self { rustc: Some(bin.join("rustc")), linker, emulator: Some((emulator, library)) }
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

    /// A program for AArch64 under the emulator, where there is one.
    pub(crate) fn emulated(&self, program: &Path) -> Option<Command> {
        let (emulator, library) = self.emulator.as_ref()?;
        let mut command = Command::new(emulator);
        command.arg("-L").arg(library).arg(program);
        Some(command)
    }

    /// Builds `sog-run`; under the emulator its tests, a committed policy, and a log of this machine.
    fn run(&self) -> anyhow::Result<()> {
        let program = self.build("release")?;
        println!("built {}", program.display());
        let (Some(mut info), Some(mut replay)) = (self.emulated(&program), self.emulated(&program))
        else {
            println!("\n== tests and replay on AArch64: skipped, there is no {EMULATOR}");
            return Ok(());
        };
        self.test()?;
        let policy = root().join("models/policies/ant-dir-6-sog-bc.safetensors");
        step("sog-run info on AArch64", info.arg("info").arg(policy))?;
        let log = target_dir().join("aarch64/here.soglog");
        record(&log)?;
        // It ends with a failure at the first bit that differs.
        step("a log of this machine, replayed on AArch64", replay.arg("replay").arg(&log))
    }

    /// The runtime's tests, but for those that the emulator cannot run.
    fn test(&self) -> anyhow::Result<()> {
        let mut names = vec![];
        for entry in fs::read_dir(root().join("runtime/tests")).context("no runtime/tests")? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension().is_some_and(|ending| ending == "rs") && !STARTING.contains(&&*name)
            {
                names.push(name);
            }
        }
        names.sort();
        let mut command = self.cargo(&["test", "--release", "--no-fail-fast"]);
        command.args(["--package", "sog-runtime", "--lib", "--bins"]);
        command.args(names.iter().flat_map(|name| ["--test", name])).arg("--");
        command.args(NOT_EMULATED.iter().flat_map(|test| ["--skip", test]));
        step("the runtime's tests on AArch64", &mut command)
    }
}

/// A log of this machine's `sog-run`, in lock step with the simulated ant.
fn record(log: &Path) -> anyhow::Result<()> {
    let mut build = cargo(&["build", "--release", "--workspace", "--bin", "sog-run"]);
    build.args(["--bin", "sog-sim"]);
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
    println!("\n== a compiler and an emulator for AArch64 from Debian's packages, about 200 MB");
    let packages = Packages::begin(prefix, &["amd64", "arm64"])?;
    let mut names = packages.with_missing(&PACKAGES)?;
    names.push(FOREIGN.into());
    packages.unpack(&names)?;
    // The compiler and the linker find what is theirs beside them, not in the system.
    packages.wrap("rustc", &prefix.join("usr/bin/rustc").display().to_string())?;
    packages.wrap(EMULATOR, &prefix.join("usr/bin").join(EMULATOR).display().to_string())?;
    if which(LINKER).is_none() {
        packages.wrap(
            LINKER,
            &format!(
                "{gcc} --sysroot={sysroot} -B{bin} -B{lib} -L{lib}",
                gcc = gcc(&prefix.join("usr/bin"))?.display(),
                sysroot = prefix.display(),
                bin = prefix.join("usr/aarch64-linux-gnu/bin").display(),
                lib = prefix.join("usr/aarch64-linux-gnu/lib").display(),
            ),
        )?;
    }
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
