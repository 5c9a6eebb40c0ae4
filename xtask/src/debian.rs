//! Debian's packages, unpacked into an ignored folder: nothing of the system changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;

use crate::shell::{output, step};

/// Where a program is that this machine has.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether packages can be had here: a Debian on x86-64.
pub(crate) fn is_here() -> bool {
    cfg!(target_arch = "x86_64")
        && ["dpkg", "apt-get"].iter().all(|program| which(program).is_some())
}

/// A folder of unpacked packages.
pub(crate) struct Packages {
    prefix: PathBuf,
    /// A configuration of apt with lists of its own.
    config: PathBuf,
}

impl Packages {
    /// Makes the folder, in place of one that is not complete, and fetches the lists of packages of
    /// these architectures.
    pub(crate) fn begin(prefix: &Path, architectures: &[&str]) -> anyhow::Result<Self> {
        if prefix.exists() {
            fs::remove_dir_all(prefix).context("cannot remove what is not complete")?;
        }
        let create = |dir: PathBuf| {
            fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))
        };
        create(prefix.join("debs"))?;
        create(prefix.join("bin"))?;
        let (lists, cache) = (prefix.join("apt/lists"), prefix.join("apt/cache"));
        create(lists.join("partial"))?;
        create(cache.join("archives/partial"))?;
        let config = prefix.join("apt/config");
        let all: String = architectures.iter().map(|name| format!("\"{name}\";")).collect();
        let text = format!(
            "APT::Architecture \"amd64\";\nAPT::Architectures {{{all}}};\n\
             Dir::State::Lists \"{}\";\nDir::Cache \"{}\";\n",
            lists.display(),
            cache.display()
        );
        fs::write(&config, text).context("cannot write apt's configuration")?;
        let packages = Self { prefix: prefix.to_path_buf(), config };
        step("lists of packages", &mut packages.apt(&["-qq", "update"]))?;
        Ok(packages)
    }

    /// The folder.
    pub(crate) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// Where shared libraries lie in it, as `LD_LIBRARY_PATH` has it.
    pub(crate) fn libraries(&self) -> String {
        let dirs = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
        dirs.map(|dir| self.prefix.join(dir).display().to_string()).join(":")
    }

    fn apt(&self, args: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        command.args(args).env("APT_CONFIG", &self.config).stdout(Stdio::null());
        command.current_dir(self.prefix.join("debs"));
        command
    }

    /// These packages with everything that they need and the machine lacks.
    pub(crate) fn with_missing(&self, packages: &[&str]) -> anyhow::Result<Vec<String>> {
        let plan = output(
            Command::new("apt-get")
                .args(["install", "-s", "-y", "--no-install-recommends"])
                .args(packages)
                .env("APT_CONFIG", &self.config),
        )?;
        let name = |line: &str| line.strip_prefix("Inst ")?.split(' ').next().map(str::to_string);
        Ok(plan.lines().filter_map(name).collect())
    }

    /// Downloads and unpacks these, and nothing that they need.
    pub(crate) fn unpack(&self, names: &[impl AsRef<std::ffi::OsStr>]) -> anyhow::Result<()> {
        step("packages", self.apt(&["-qq", "download"]).args(names))?;
        for entry in fs::read_dir(self.prefix.join("debs"))? {
            let deb = entry?.path();
            let mut unpack = Command::new("dpkg");
            unpack.arg("-x").arg(&deb).arg(&self.prefix);
            let done = unpack.status().is_ok_and(|status| status.success());
            anyhow::ensure!(done, "dpkg cannot unpack {}", deb.display());
            fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))?;
        }
        Ok(())
    }

    /// A script `bin/NAME` that runs this with the folder's shared libraries.
    pub(crate) fn wrap(&self, name: &str, command: &str) -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.prefix.join("bin").join(name);
        let script =
            format!("#!/bin/sh\nLD_LIBRARY_PATH={} exec {command} \"$@\"\n", self.libraries());
        fs::write(&path, script)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Notes that all is there.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        fs::remove_dir_all(self.prefix.join("apt")).context("cannot remove the lists")?;
        fs::write(self.prefix.join("complete"), "").context("cannot note that all is there")
    }
}

/// Whether a folder of packages is all there.
pub(crate) fn is_complete(prefix: &Path) -> bool {
    prefix.join("complete").exists()
}
