//! What is common to Minari's two ways of storing a data set: its folder and its description.

use std::path::{Path, PathBuf};

use crate::Recording;

/// Key in `metadata.json`, and group of each episode in the HDF5 file, in which an
/// [`Export`](crate::export::Export) keeps what Minari has no place for.
pub const OURS: &str = "sog";

/// The `data` folder of a data set, given that folder, the one above it or a file in it.
pub(crate) fn data_folder(path: &Path) -> Option<PathBuf> {
    let folder = if path.is_dir() { path } else { path.parent()? };
    let below = folder.join("data");
    [below, folder.to_path_buf()].into_iter().find(|folder| folder.join("metadata.json").is_file())
}

/// Takes over what `metadata.json` says.
pub(crate) fn describe(path: &Path, recording: &mut Recording) {
    let Some(folder) = data_folder(path) else { return };
    let Ok(text) = std::fs::read_to_string(folder.join("metadata.json")) else { return };
    let Ok(serde_json::Value::Object(metadata)) = serde_json::from_str(&text) else { return };
    for (key, value) in metadata {
        if key == OURS {
            let dt_s = value["dt"].as_str().and_then(|dt| dt.parse::<f64>().ok());
            recording.dt_s = dt_s.filter(|dt| dt.is_finite() && *dt > 0.0);
        }
        let value = match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        recording.metadata.insert(key, value);
    }
}
