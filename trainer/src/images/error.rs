//! What can go wrong with pictures.

use std::path::{Path, PathBuf};

use sog_engine::EngineError;
use sog_rl::run::{ConfigError, RunError};
use sog_runtime::tensors::TensorError;

/// Why pictures, or a model of pictures, are refused or cannot be learned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no such data set.
    #[error(
        "{} is not there; `cargo xtask data {name}` fetches it into .data/{name} of the checkout",
        path.display()
    )]
    NotFetched {
        /// Name of the set.
        name: String,
        /// A file of it that is missing.
        path: PathBuf,
    },
    /// Neither a known name nor a folder.
    #[error(
        "there is no data set `{found}`: need mnist, fashion-mnist, or a folder with \
         img_align_celeba/ and list_eval_partition.txt"
    )]
    UnknownDataset {
        /// What was asked for.
        found: String,
    },
    /// A file is not what its name says.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found, and what was needed.
        reason: String,
    },
    /// A folder lacks a part of its layout.
    #[error("{} is not there: a folder of pictures has {needed}", path.display())]
    Layout {
        /// What is missing.
        path: PathBuf,
        /// What it would be.
        needed: &'static str,
    },
    /// No pictures of one kind.
    #[error("{} has no pictures {of}; need at least {needed}", path.display())]
    Empty {
        /// The data set.
        path: PathBuf,
        /// To learn from, or held out.
        of: &'static str,
        /// How many would do.
        needed: usize,
    },
    /// The model is of other pictures.
    #[error("the model makes pictures of {model}, the data set has {data}")]
    Size {
        /// The model's size.
        model: String,
        /// The data's size.
        data: String,
    },
    /// The file of a model is damaged or incomplete.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// A metadata entry cannot be understood.
    #[error("metadata `{key}`: found `{found}`, need {needed}")]
    Metadata {
        /// The entry.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        needed: &'static str,
    },
    /// The configuration is not acceptable.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The run directory cannot be used.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The engine refuses.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// candle refuses.
    #[error("candle: {}", crate::device::explain(.0))]
    Candle(#[from] candle_core::Error),
    /// A signal ended the run.
    #[error("interrupted after {step} updates; go on with --resume")]
    Interrupted {
        /// Updates done, which the last checkpoint holds.
        step: u64,
    },
}

impl ImageError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}
