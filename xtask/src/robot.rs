//! The robot's side in C and Python, held to the test vectors and to `sog-run`.
//!
//! The C part needs a C compiler, the Python part Python with pip and PyPI; what is not there is
//! skipped, and said.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;

use crate::shell::{cargo, root, step, target_dir};

/// How the header must compile.
const STRICT: [&str; 5] = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"];
/// With what its tests run.
const SANITIZED: [&str; 4] =
    ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

pub(crate) fn run() -> anyhow::Result<()> {
    let scratch = target_dir().join("robot");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let compilers: Vec<&str> = ["cc", "clang"].into_iter().filter(|cc| there_is(cc)).collect();
    if compilers.is_empty() {
        println!("\n== the robot's side in C: skipped, there is no C compiler");
    }
    for compiler in compilers {
        c(compiler, &scratch)?;
    }
    python(&scratch)
}

fn there_is(program: &str) -> bool {
    let quiet =
        |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet(Command::new(program).arg("--version")).is_ok_and(|status| status.success())
}

/// The header compiles without a warning, with and without authentication, and passes its tests
/// under the sanitizers.
fn c(compiler: &str, scratch: &Path) -> anyhow::Result<()> {
    let (source, tests) = (root().join("robot/c"), scratch.join(format!("test-{compiler}")));
    let compile = |file: &str, to: &Path, options: &[&str]| {
        let mut command = Command::new(compiler);
        command.args(STRICT).args(options).arg("-o").arg(to).arg(source.join(file));
        step(&format!("{compiler} {} {file}", options.join(" ")), &mut command)
    };
    compile("test_sog_robot.c", &tests, &SANITIZED)?;
    compile("point_robot.c", &scratch.join("point_robot"), &["-O2"])?;
    let object = scratch.join("point_robot.o");
    compile("point_robot.c", &object, &["-O2", "-c", "-DSOG_ROBOT_NO_HMAC"]).or_else(|_| {
        anyhow::bail!("{compiler} does not compile the header without authentication")
    })?;
    step(
        "the C header against the vectors",
        Command::new(tests).arg(root().join("robot/vectors.json")),
    )
}

/// The package installs as a user installs it, is typed, and passes its tests, among them those
/// that drive it and the C example with `sog-run`.
fn python(scratch: &Path) -> anyhow::Result<()> {
    let package = root().join("robot/python");
    let Some(bin) = environment(scratch, &package)? else { return Ok(()) };
    step(
        "install the package",
        pip(&bin)
            .args(["install", "--quiet", "--no-deps", "--no-build-isolation", "--force-reinstall"])
            .arg(&package),
    )?;
    step("types", Command::new(bin.join("mypy")).current_dir(&package))?;
    step("sog-run", &mut cargo(&["build", "--release", "--workspace", "--bin", "sog-run"]))?;
    step(
        "the Python package, and both libraries under sog-run",
        // Not `python -m pytest`, which would find the source before the installed package.
        Command::new(bin.join("pytest"))
            .args(["--quiet", "-p", "no:cacheprovider"])
            .env("SOG_RUN", target_dir().join("release/sog-run"))
            .current_dir(&package),
    )
}

/// A virtual environment with what the tests need; none where it cannot be made.
fn environment(scratch: &Path, package: &Path) -> anyhow::Result<Option<PathBuf>> {
    let skipped = |why: &str| println!("\n== the robot's side in Python: skipped, {why}");
    let python = ["python3", "python"].into_iter().find(|python| there_is(python));
    let Some(python) = python else {
        skipped("there is no Python");
        return Ok(None);
    };
    let venv = scratch.join("venv");
    let bin = venv.join("bin");
    let needed = package.join("requirements.txt");
    // A copy of what is installed, so that nothing is fetched twice.
    let installed = venv.join("requirements.txt");
    let same = fs::read(&needed).context("robot/python/requirements.txt")?;
    if fs::read(&installed).is_ok_and(|found| found == same) {
        return Ok(Some(bin));
    }
    let venv_args = [OsStr::new("-m"), OsStr::new("venv"), venv.as_os_str()];
    if step("a virtual environment", Command::new(python).args(venv_args)).is_err() {
        skipped("Python's venv does not work here");
        return Ok(None);
    }
    let install = pip(&bin).args(["install", "--quiet", "-r"]).arg(&needed).status();
    if !install.is_ok_and(|status| status.success()) {
        skipped("pip could not fetch what robot/python/requirements.txt names");
        return Ok(None);
    }
    fs::copy(&needed, installed).context("cannot note what is installed")?;
    Ok(Some(bin))
}

fn pip(bin: &Path) -> Command {
    let mut command = Command::new(bin.join("python"));
    command.args(["-m", "pip", "--disable-pip-version-check"]);
    command
}
