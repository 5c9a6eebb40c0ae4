//! Our own demonstrations in the plain form that other programs' take, for the report on them.

use std::path::Path;

use sog_formats::{Column, Dtype, End, Episode, Format, Recording, inspect::Bounds};
use sog_sim::task::TaskInfo;

use super::DemoFile;

/// Our own demonstrations in the plain form, one column a term, and the actions' bounds.
pub fn recording_of(file: &DemoFile, task: &TaskInfo, path: &Path) -> (Recording, Vec<Bounds>) {
    let d = &file.demonstrations;
    let mut recording = Recording {
        source: path.to_path_buf(),
        format: Format::Safetensors,
        columns: vec![],
        episodes: vec![],
        dt_s: Some(task.dt_s),
        metadata: std::collections::BTreeMap::new(),
        notes: vec![],
    };
    let mut bounds = vec![];
    let sides = [("observations", &task.obs_terms), ("actions", &task.action_terms)];
    for (side, terms) in sides {
        let mut start = 0;
        for term in &terms.0 {
            let name = format!("{side}/{}", term.name);
            if side == "actions" {
                let of = |all: &[f64]| all[start..start + term.width].to_vec();
                let (low, high) = (of(&task.action_low), of(&task.action_high));
                bounds.push(Bounds { column: name.clone(), low, high });
            }
            start += term.width;
            recording.columns.push(Column { name, width: term.width, dtype: Dtype::Float(32) });
        }
    }
    for n in 0..d.len() {
        let mut data = vec![];
        let rows = [
            (d.observations_of(n), d.obs_dim(), &task.obs_terms),
            (d.actions_of(n), d.action_dim(), &task.action_terms),
        ];
        for (values, width, terms) in rows {
            let mut start = 0;
            for term in &terms.0 {
                let part = |row: &[f32]| row[start..start + term.width].to_vec();
                let of_term = values.chunks_exact(width).flat_map(part).map(f64::from);
                data.push(of_term.collect());
                start += term.width;
            }
        }
        recording.episodes.push(Episode {
            name: n.to_string(),
            length: d.rows(n).len(),
            last: vec![None; recording.columns.len()],
            data,
            times_s: None,
            end: End::default(),
        });
    }
    (recording, bounds)
}
