//! Demonstrations written elsewhere: plain safetensors without our metadata.
//!
//! A Python user writes them with three lines:
//!
//! ```python
//! from safetensors.numpy import save_file
//! # float32 [N, T, S] and [N, T, A]; uint32 [N], or leave `lengths` out if all have length T
//! save_file({"observations": obs, "actions": act, "lengths": lengths}, "mine.safetensors")
//! ```
//!
//! and `sog demos import --task T --from mine.safetensors --out F` validates and completes them.
//! `sog demos export` needs no counterpart: a demonstration file *is* a plain safetensors file.

use std::path::Path;

use sha2::{Digest, Sha256};
use sog_runtime::tensors::{TensorError, TensorFile};
use sog_sim::task::TaskInfo;

use super::{
    DataError, DemoFile, DemoProvenance, Labels,
    file::{Raw, hex, starts},
};

/// Reads `observations`, `actions` and, where they are there, `lengths`, `modes` or `goals` and
/// start states from a plain safetensors file; the metadata is completed from `task`.
///
/// # Errors
/// As [`DemoFile::parse`], but no metadata is needed.
pub fn import_safetensors(path: &Path, task: &TaskInfo) -> Result<DemoFile, DataError> {
    let bytes =
        std::fs::read(path).map_err(|source| DataError::Io { path: path.to_path_buf(), source })?;
    let file = TensorFile::parse(&bytes)?;
    let floats = |name: &str| -> Result<(Vec<f32>, Vec<usize>), TensorError> {
        let shape = file.shape(name)?;
        // NumPy's default is double precision.
        let values = match file.f64(name) {
            Ok(wide) => wide.into_iter().map(|x| x as f32).collect(),
            Err(_) => file.f32(name)?,
        };
        Ok((values, shape))
    };
    let labels = if file.contains("modes") {
        Some(Labels::Modes(file.u32("modes")?))
    } else if file.contains("goals") {
        let (values, shape) = floats("goals")?;
        Some(Labels::Goals { dims: shape.get(1).copied().unwrap_or(1), values })
    } else {
        None
    };
    let raw = Raw {
        observations: floats("observations")?,
        actions: floats("actions")?,
        lengths: file.contains("lengths").then(|| file.u32("lengths")).transpose()?,
        labels,
        starts: starts(&file)?,
        provenance: DemoProvenance {
            expert: format!("imported:{}", hex(&Sha256::digest(&bytes))),
            generator: concat!("sog-trainer ", env!("CARGO_PKG_VERSION")).to_string(),
            ..DemoProvenance::default()
        },
    };
    DemoFile::from_raw(raw, task)
}
