//! Demonstrations written elsewhere: plain safetensors without our metadata.
//!
//! A Python user writes them with a few lines:
//!
//! ```python
//! import numpy as np
//! from safetensors.numpy import save_file
//! # float32 [N, T, S] and [N, T, A]; uint32 [N], or leave `lengths` out if all have length T.
//! # safetensors writes bytes as they lie: an array in another order would be scrambled.
//! arrays = {"observations": obs, "actions": act, "lengths": lengths}
//! save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, "mine.safetensors")
//! ```
//!
//! and `sog demos import --task T --from mine.safetensors --out F` validates and completes them.
//! An export needs no counterpart: a demonstration file *is* a plain safetensors file.

use std::path::Path;

use sha2::{Digest, Sha256};
use sog_formats::inspect::padded;
use sog_runtime::tensors::{CHECKSUM_KEY, Metadata, TensorError, TensorFile};
use sog_sim::task::{Modes, TaskInfo};

use super::{
    DataError, DemoFile, DemoProvenance, Labels,
    bounds::Bounds,
    file::{Raw, SCHEMA, check_task, hex, starts},
    names, plain,
    plausible::Array,
    rates::misplaced,
};

/// What an import lets pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Actions out of bounds are cut off at them, instead of refused.
    pub clip: bool,
    /// Arrays that look scrambled or shuffled are taken as they are.
    pub accept_implausible: bool,
}

/// Reads `observations`, `actions` and, where they are there, `lengths`, `modes` or `goals` and
/// start states from a plain safetensors file; the metadata is completed from `task`, and must not
/// contradict it where the file has some.
///
/// # Errors
/// As [`DemoFile::parse`], but no metadata is needed; [`DataError::UnknownTensor`],
/// [`DataError::OutOfBounds`], [`DataError::Axes`], [`DataError::Implausible`].
pub fn import_safetensors(
    path: &Path,
    task: &TaskInfo,
    options: ImportOptions,
) -> Result<DemoFile, DataError> {
    let bytes =
        std::fs::read(path).map_err(|source| DataError::Io { path: path.to_path_buf(), source })?;
    let file = TensorFile::parse(&bytes)?;
    check_schema(file.metadata())?;
    names::check(&file)?;
    check_task(file.metadata(), task)?;
    if file.metadata().contains_key(CHECKSUM_KEY) {
        file.verify_checksum()?;
    }
    let floats = |name: &str| -> Result<(Vec<f32>, Vec<usize>), TensorError> {
        let shape = file.shape(name)?;
        // NumPy's default is double precision.
        let values = match file.f64(name) {
            Ok(wide) => wide.into_iter().map(|x| x as f32).collect(),
            Err(_) => file.f32(name)?,
        };
        Ok((values, shape))
    };
    let (modes, goals) = (file.contains("modes"), file.contains("goals"));
    // Of both, the one that the task does not have is judged, and refused.
    let by_modes = modes && !(goals && matches!(task.modes, Modes::Discrete(_)));
    let labels = if by_modes {
        Some(Labels::Modes(file.u32("modes")?))
    } else if goals {
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
    // What we recorded ourselves is as it was: the robot cuts off what its experts ask for.
    let ours = file.metadata().get("schema").is_some_and(|s| s == SCHEMA)
        && file.metadata().contains_key(CHECKSUM_KEY);
    checked(raw, task, options, ours)
}

/// Refuses a file of ours that is none of demonstrations, or of a later version; what other programs
/// call a schema is their affair.
pub(super) fn check_schema(metadata: &Metadata) -> Result<(), DataError> {
    match metadata.get("schema") {
        Some(found) if found.starts_with("sog.") && found != SCHEMA => {
            Err(DataError::Schema { found: found.clone() })
        }
        _ => Ok(()),
    }
}

/// Checks the parts of a file against the task and against what recordings look like; of `ours` only
/// the former.
pub(super) fn checked(
    raw: Raw,
    task: &TaskInfo,
    options: ImportOptions,
    ours: bool,
) -> Result<DemoFile, DataError> {
    // The order of the axes can be judged only before the padding is dropped.
    let arrays = [("observations", raw.observations.clone()), ("actions", raw.actions.clone())];
    let mut demos = DemoFile::from_raw(raw, task)?;
    let lengths: Vec<usize> =
        (0..demos.demonstrations.len()).map(|n| demos.demonstrations.rows(n).len()).collect();
    for (tensor, (values, shape)) in &arrays {
        if let (&[n, t, width], false) = (&shape[..], options.accept_implausible || ours) {
            let array = Array { values, shape: [n, t, width], lengths: &lengths };
            // Actions may be as good as noise; observations move.
            let found = array.implausible(*tensor == "observations");
            if let Some(reason) = found {
                return Err(DataError::Implausible { tensor, reason });
            }
        }
    }
    if !options.accept_implausible && !ours {
        padding(&demos, task)?;
        let rows = demos.demonstrations.observations();
        if let Some(reason) = misplaced(rows, &lengths, &task.obs_terms) {
            return Err(DataError::Implausible { tensor: "observations", reason });
        }
    }
    let bounds =
        Bounds { terms: &task.action_terms, low: &task.action_low, high: &task.action_high };
    if ours && !options.clip {
        return Ok(demos);
    }
    let share = bounds.apply(&mut demos.demonstrations.actions, &lengths, options.clip)?;
    if share > 0.0 {
        log::warn!("{:.1} % of the action components were cut off at their bounds", 100.0 * share);
    }
    Ok(demos)
}

/// Refuses steps of zeros at the ends of trajectories: they would be learned.
fn padding(demos: &DemoFile, task: &TaskInfo) -> Result<(), DataError> {
    let (recording, _) = plain::recording_of(demos, task, Path::new(""));
    let counts = padded(&recording);
    let Some(first) = counts.iter().position(|&count| count > 0) else { return Ok(()) };
    let rows = demos.demonstrations.rows(first).len();
    let reason = format!(
        "{} of {} trajectories end in steps of zeros, first trajectory {first}, in which actions too \
         are 0 from step {} of {rows} on; this looks like padding: say in `lengths` [N] how many steps \
         of each trajectory count",
        counts.iter().filter(|&&count| count > 0).count(),
        counts.len(),
        rows - counts[first],
    );
    Err(DataError::Implausible { tensor: "observations", reason })
}
