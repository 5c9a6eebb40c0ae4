//! The programs of `firmware/`: built for a Cortex-M4 and run on emulated boards.
//!
//! Taken in this order: rustup's target and a `qemu-system-arm` that are installed; else, on Debian,
//! the distribution's compiler with its own source, from which `core` is built for the target, and
//! its QEMU, unpacked into the ignored folder `target/firmware`, so that nothing of the system
//! changes.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use crate::{
    debian::{self, Packages, which},
    shell::{cargo, output, root, step, target_dir},
};

const TARGET: &str = "thumbv7em-none-eabihf";
const LINKER: &str = "CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER";

/// Changed with the lists below, so that an older folder is made anew: cargo does not notice that
/// the compiler's own libraries are others.
const RECIPE: &str = "2";

/// Debian's packages: a compiler with its source, an emulator.
const PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", EMULATOR];
const EMULATOR: &str = "qemu-system-arm";

/// What a call of the ant's policy may cost on the emulated STM32F405.
const MOST_INSTRUCTIONS: f64 = 75_000.0;
/// Memory beside the file, bytes.
const MOST_MEMORY: f64 = 8192.0;
/// Largest difference from a golden action, relative to max(1, |golden|).
const MOST_ERROR: f64 = 1e-5;

/// Steps of the robot behind the UART.
const STEPS: u32 = 500;
/// How long a board is waited for that says nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds and tries the firmware, fetching the tools where there are none.
pub(crate) fn run() -> anyhow::Result<()> {
    match Tools::find()? {
        Some(tools) => tools.run(),
        None if debian::is_here() => Tools::fetch()?.run(),
        None => bail!(
            "there is no compiler for {TARGET} here: install rustup's target `{TARGET}` and \
             qemu-system-arm, or run this on Debian"
        ),
    }
}

/// The same where the tools are there already; says so where they are not.
pub(crate) fn check() -> anyhow::Result<()> {
    match Tools::find()? {
        Some(tools) => tools.run(),
        None => {
            println!("\n== firmware: skipped, `cargo xtask firmware` has not fetched its tools");
            Ok(())
        }
    }
}

/// A compiler for the target and an emulator.
struct Tools {
    /// Another compiler than rustup's.
    rustc: Option<PathBuf>,
    emulator: PathBuf,
}

impl Tools {
    fn prefix() -> PathBuf {
        target_dir().join("firmware").join(RECIPE)
    }

    /// Those that are there.
    fn find() -> anyhow::Result<Option<Self>> {
        if debian::is_complete(&Self::prefix()) {
            return Ok(Some(Self::fetched()));
        }
        let has_target = sysroot()?.join("lib/rustlib").join(TARGET).exists();
        let emulator = which(EMULATOR).filter(|_| has_target);
        Ok(emulator.map(|emulator| Self { rustc: None, emulator }))
    }

    /// Unpacked, but for an emulator that the machine has.
    fn fetched() -> Self {
        let bin = Self::prefix().join("bin");
        let emulator = which(EMULATOR).unwrap_or_else(|| bin.join(EMULATOR));
        Self { rustc: Some(bin.join("rustc")), emulator }
    }

    fn fetch() -> anyhow::Result<Self> {
        let prefix = Self::prefix();
        println!("\n== a compiler for {TARGET} and QEMU from Debian's packages, about 200 MB");
        let packages = Packages::begin(&prefix, &["amd64"])?;
        packages.unpack(&packages.with_missing(&PACKAGES)?)?;
        packages.wrap("rustc", &prefix.join("usr/bin/rustc").display().to_string())?;
        packages.wrap(EMULATOR, &prefix.join("usr/bin").join(EMULATOR).display().to_string())?;
        let tools = Self::fetched();
        tools.build_library(packages.prefix())?;
        packages.end()?;
        Ok(tools)
    }

    /// Builds `core` for the target from the compiler's source, and puts it where the compiler looks
    /// for it.
    fn build_library(&self, prefix: &Path) -> anyhow::Result<()> {
        let seed = prefix.join("seed");
        fs::create_dir_all(seed.join("src")).context("cannot create a folder")?;
        fs::write(seed.join("src/lib.rs"), "#![no_std]\n").context("cannot write")?;
        let manifest = seed.join("Cargo.toml");
        fs::write(
            &manifest,
            "[package]\nname = \"seed\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n",
        )
        .context("cannot write")?;
        let mut build = self.cargo(&["build", "--quiet", "--release", "-Zbuild-std=core"]);
        build
            .args(["--target", TARGET, "--manifest-path"])
            .arg(&manifest)
            .arg("--target-dir")
            .arg(seed.join("target"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", "-Cembed-bitcode=yes");
        step("the compiler's own library for the target", &mut build)?;
        let to = prefix.join("usr/lib/rustlib").join(TARGET).join("lib");
        fs::create_dir_all(&to).context("cannot create a folder")?;
        let built = seed.join("target").join(TARGET).join("release/deps");
        for entry in fs::read_dir(&built)? {
            let library = entry?.path();
            let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_own =
                ["libcore-", "libcompiler_builtins-"].iter().any(|own| name.starts_with(own));
            if is_own && name.ends_with(".rlib") {
                fs::copy(&library, to.join(name)).context("cannot copy the library")?;
            }
        }
        fs::remove_dir_all(&seed).context("cannot remove a folder")
    }

    /// `cargo` with the compiler for the target.
    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = cargo(args);
        // What is measured must not depend on the caller's environment.
        command.env("CARGO_INCREMENTAL", "0");
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc);
            if let Ok(linker) = linker() {
                command.env(LINKER, linker);
            }
        }
        command
    }

    fn run(&self) -> anyhow::Result<()> {
        let build_dir = target_dir().join("firmware/build");
        let mut build = self.cargo(&["build", "--release", "--target", TARGET, "--manifest-path"]);
        build.arg(root().join("firmware/Cargo.toml")).arg("--target-dir").arg(&build_dir);
        step("firmware", &mut build)?;
        let programs = build_dir.join(TARGET).join("release");
        self.golden(&programs.join("golden"))?;
        self.robot(&programs.join("robot"))
    }

    /// QEMU with a board and a program, whose semihosting is this process's output.
    fn board(&self, machine: &str, program: &Path) -> Command {
        let mut command = Command::new(&self.emulator);
        command
            .args(["-machine", machine, "-display", "none", "-monitor", "none"])
            .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
            .arg(program);
        command
    }

    /// A committed policy in the flash of an emulated STM32F405: its golden vectors and its cost.
    fn golden(&self, program: &Path) -> anyhow::Result<()> {
        println!("\n== the ant's policy on an emulated STM32F405 (1 MiB flash, 128 KiB memory)");
        let mut board = self.board("netduinoplus2", program);
        // One instruction takes one nanosecond of virtual time: a count, not a time.
        let said = output(board.args(["-serial", "null", "-icount", "shift=0"]))?;
        let words: Vec<&str> = said.split_whitespace().collect();
        let number = |key: &str| -> anyhow::Result<f64> {
            let value = words.iter().position(|word| *word == key).and_then(|at| words.get(at + 1));
            let number = value.and_then(|value| value.parse().ok());
            number.with_context(|| format!("no `{key}` in what the board said: {said}"))
        };
        let [flash, file] = [number("flash")?, number("file")?];
        let memory = number("statics")? + number("stack")?;
        let [calls, error] = [number("instructions_per_call")?, number("worst_error")?];
        println!("golden vectors             {:>9}", number("vectors")?);
        println!("worst error                {error:>9.1e}   (at most {MOST_ERROR:e})");
        println!("instructions a call        {calls:>9}   (at most {MOST_INSTRUCTIONS})");
        println!("instructions a tick        {:>9}", number("instructions_per_tick")?);
        println!("instructions to load       {:>9}", number("instructions_to_load")?);
        println!("flash beside the file      {:>9} B (the file: {file} B)", flash - file);
        println!("memory beside the file     {memory:>9} B (at most {MOST_MEMORY} B)");
        ensure!(error <= MOST_ERROR, "the golden vectors do not come out");
        ensure!(calls <= MOST_INSTRUCTIONS, "a call takes too many instructions");
        ensure!(memory <= MOST_MEMORY, "the policy takes too much memory");
        Ok(())
    }
}

impl Tools {
    /// A robot behind the UART of an emulated board, driven by this machine's `sog-run` in lock step.
    fn robot(&self, program: &Path) -> anyhow::Result<()> {
        let mut build = cargo(&["build", "--release", "--workspace", "--bin", "sog-run"]);
        step("sog-run for this machine", &mut build)?;
        let mut board = self.board("mps2-an386", program);
        let board = board.args(["-serial", "pty"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut board = Board(board.spawn().context("cannot start qemu-system-arm")?);
        let mut said = Lines::of(&mut board.0)?;
        // QEMU names the pseudo-terminal that is the board's serial line.
        let line = said.wait_for("char device redirected to ")?;
        let device = line.split_whitespace().find(|word| word.starts_with("/dev/"));
        let device = device.with_context(|| format!("no serial line in what QEMU said: {line}"))?;
        let mut run = Command::new(target_dir().join("release/sog-run"));
        run.arg(root().join("models/policies/circles-sog-bc.safetensors"))
            .args(["--robot", &format!("serial://{device}"), "--timeout", "20"])
            .args(["--duration", &(f64::from(STEPS) / 100.0).to_string()])
            .args(["--no-keys", "--quiet", "--json"]);
        println!("\n== sog-run drives a robot behind the UART of an emulated board, {STEPS} steps");
        let report: serde_json::Value = serde_json::from_str(output(&mut run)?.trim())
            .context("what sog-run reports is no JSON")?;
        let told = said.wait_for("sessions ")?;
        println!("sog-run: {} ticks under the policy, {}", report["policy_ticks"], report["end"]);
        println!("the robot: {told}");
        ensure!(report["policy_ticks"] == STEPS && report["end"] == "completed", "{report}");
        ensure!(report["link"]["lost"] == 0 && report["link"]["corrupt"] == 0, "{report}");
        ensure!(told.contains("dropped 0 "), "the robot dropped packets");
        Ok(())
    }
}

/// An emulated board that does not outlive us.
struct Board(Child);

impl Drop for Board {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What a program says on both of its outputs, line by line.
struct Lines(mpsc::Receiver<String>);

impl Lines {
    fn of(child: &mut Child) -> anyhow::Result<Self> {
        let (sender, lines) = mpsc::channel();
        let out = child.stdout.take().context("no output")?;
        let errors = child.stderr.take().context("no output")?;
        let readers: [Box<dyn Read + Send>; 2] = [Box::new(out), Box::new(errors)];
        for reader in readers {
            let sender = sender.clone();
            thread::spawn(move || {
                let lines = BufReader::new(reader).lines().map_while(Result::ok);
                lines.into_iter().try_for_each(|line| sender.send(line)).ok();
            });
        }
        Ok(Self(lines))
    }

    /// The first line with these words.
    fn wait_for(&mut self, words: &str) -> anyhow::Result<String> {
        loop {
            let line = self.0.recv_timeout(PATIENCE);
            let line = line.with_context(|| format!("the board never said `{words}`"))?;
            if line.contains(words) {
                return Ok(line);
            }
        }
    }
}

fn sysroot() -> anyhow::Result<PathBuf> {
    Ok(output(Command::new("rustc").args(["--print", "sysroot"]))?.trim().into())
}

/// The linker that comes with rustup's compiler.
fn linker() -> anyhow::Result<PathBuf> {
    let linker = sysroot()?.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    ensure!(linker.is_file(), "there is no {}", linker.display());
    Ok(linker)
}
