//! Tensors that a demonstration file may hold: others are refused by name, lest a misspelt one pass
//! for one that is not there.

use sog_runtime::tensors::TensorFile;

use super::DataError;

/// Every tensor of the format.
pub(super) const TENSORS: [&str; 7] =
    ["observations", "actions", "lengths", "modes", "goals", "start.qpos", "start.qvel"];

/// Similarity (Jaro and Winkler) from which two names are taken for one misspelt.
const SIMILAR: f64 = 0.75;

/// Refuses tensors that the format does not know.
pub(super) fn check(file: &TensorFile<'_>) -> Result<(), DataError> {
    match file.names().into_iter().find(|name| !TENSORS.contains(name)) {
        None => Ok(()),
        Some(found) => {
            let nearest = nearest(found);
            Err(DataError::UnknownTensor { found: found.to_string(), nearest })
        }
    }
}

/// The known name that `found` probably stands for.
fn nearest(found: &str) -> Option<&'static str> {
    let found = found.to_lowercase();
    let inside = |known: &&str| found.contains(*known) || known.contains(found.as_str());
    let alike = |known: &str| strsim::jaro_winkler(&found, known);
    let most = TENSORS.into_iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let inside = TENSORS.into_iter().find(|known| found.len() > 2 && inside(known));
    inside.or(most.filter(|known| alike(known) > SIMILAR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_find_the_one_that_was_meant() {
        for (found, meant) in [
            ("length", "lengths"),
            ("Lengths", "lengths"),
            ("episode_lengths", "lengths"),
            ("mode", "modes"),
            ("MODES", "modes"),
            ("obs", "observations"),
            ("observation", "observations"),
            ("action", "actions"),
            ("acitons", "actions"),
            ("goal", "goals"),
            ("start_qpos", "start.qpos"),
        ] {
            assert_eq!(nearest(found), Some(meant), "{found}");
        }
        assert_eq!(nearest("rewards"), None);
    }
}
