//! What demonstrations alone say of a policy: no rollout, so no simulator, is needed.

use serde::Serialize;
use sog_runtime::policy::{LatentKind, PolicyFile};

use super::confusion::Confusion;
use crate::{
    codes::embed::{Embedding, default_search, embed},
    data::{DemoFile, Demonstrations, Labels, component_name},
    error::TrainError,
    export::network_of,
    normalise::ObsNormaliser,
};

/// A policy beside demonstrations, best ones that it was not trained on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeldOut {
    /// Demonstrations looked at.
    pub trajectories: usize,
    /// Mean ‖â − a‖² of a trajectory under the code that explains it best, over all trajectories.
    pub held_out_loss: f64,
    /// Root mean square error of each action component under those codes, in the actions' units.
    pub action_rmse: Vec<f32>,
    /// The components' names.
    pub action_components: Vec<String>,
    /// How many take each code; empty where codes are not one-hot.
    pub codes: Vec<CodeShare>,
    /// Share of the trajectories whose first half alone is given the same code as their second half
    /// alone: near 1 where a code stands for a way of doing the whole. Absent where codes are not
    /// one-hot.
    pub stability: Option<f64>,
    /// Share of the trajectories whose code is used for their mode more than for any other; absent
    /// without labels.
    pub purity: Option<f64>,
    /// Trajectories by code and mode, `[K][modes]`; absent without labels.
    pub counts: Option<Confusion>,
}

/// One code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CodeShare {
    /// Its number.
    pub code: usize,
    /// Share of the trajectories that it explains best.
    pub share: f64,
}

/// Embeds `demos` with `file` and compares; labels serve for purity and counts alone.
///
/// # Errors
/// [`TrainError::Engine`] if the two have different widths.
pub fn evaluate_held_out(
    file: &PolicyFile,
    demos: &DemoFile,
    seed: u64,
) -> Result<HeldOut, TrainError> {
    let d = &demos.demonstrations;
    let found = embedded(file, d, seed)?;
    let losses = found.losses.iter().map(|&loss| f64::from(loss));
    let mut report = HeldOut {
        trajectories: d.len(),
        held_out_loss: losses.sum::<f64>() / d.len() as f64,
        action_components: (0..d.action_dim())
            .map(|c| component_name(&file.contract.action_terms, c))
            .collect(),
        action_rmse: found.rms_error,
        codes: vec![],
        stability: None,
        purity: None,
        counts: None,
    };
    let LatentKind::OneHot(k) = file.latent else { return Ok(report) };
    let codes = numbers(&found.codes, k);
    let share = |code: usize| {
        let count = codes.iter().filter(|&&c| c == code).count();
        CodeShare { code, share: count as f64 / d.len() as f64 }
    };
    report.codes = (0..k).map(share).collect();
    let [first, second] = d.halves().map(|half| embedded(file, &half, seed));
    let (first, second) = (numbers(&first?.codes, k), numbers(&second?.codes, k));
    let same = first.iter().zip(&second).filter(|(a, b)| a == b).count();
    report.stability = Some(same as f64 / d.len() as f64);
    if let Some(Labels::Modes(modes)) = &demos.labels {
        let count = modes.iter().max().map_or(0, |&m| m as usize + 1);
        let confusion = Confusion::new(&found.codes, k, modes, count);
        report.purity = Some(confusion.purity());
        report.counts = Some(confusion);
    }
    Ok(report)
}

fn embedded(file: &PolicyFile, demos: &Demonstrations, seed: u64) -> Result<Embedding, TrainError> {
    let normaliser = ObsNormaliser::new(file.normaliser.clone());
    let (net, search) = (network_of(file)?, default_search(file.latent));
    Ok(embed(&net, &normaliser, search, demos, usize::MAX, seed)?)
}

/// The numbers of one-hot codes `[N, k]`.
fn numbers(codes: &[f32], k: usize) -> Vec<usize> {
    codes.chunks_exact(k).map(|code| code.iter().position(|&z| z > 0.5).unwrap_or(0)).collect()
}
