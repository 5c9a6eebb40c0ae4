//! LeRobot's data sets, versions 2.0 to 3.0: Parquet files under `data/`, described by
//! `meta/info.json`. Version 2 keeps one file an episode, version 3 many episodes in one.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use arrow_schema::DataType;
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use serde_json::Value;

use crate::{
    Format, FormatError, Place, Problem, Recording,
    arrow::Table,
    budget,
    recording::{Array, Part, assemble},
};

/// Reads a data set from its folder.
pub(crate) fn read(path: &Path) -> Result<Recording, FormatError> {
    let place = Place::file(path);
    let info_file = Place::file(&path.join("meta/info.json"));
    let text = fs::read_to_string(&info_file.file).map_err(|e| info_file.error(e.into()))?;
    let info: Value = serde_json::from_str(&text).map_err(|e| info_file.unreadable(e))?;
    let version = info["codebase_version"].as_str().unwrap_or_default();
    if !(version.starts_with("v2.") || version.starts_with("v3.")) {
        let found = format!("a data set of LeRobot's version `{version}`, need v2 or v3");
        return Err(info_file.unreadable(found));
    }
    let mut files = vec![];
    parquet_files(&path.join("data"), &mut files, 0).map_err(|e| place.error(e.into()))?;
    files.sort();
    let mut parts: Vec<Part> = vec![];
    let mut notes: Vec<String> = vec![];
    let mut last: Option<f64> = None;
    for file in files {
        let place = Place::file(&file);
        let Table { columns, left } = table(&file, &place)?;
        notes.extend(left);
        let index = columns.iter().find(|(name, _)| name == "episode_index");
        let Some((_, index)) = index else {
            let found: Vec<&str> = columns.iter().map(|(n, _)| n.as_str()).collect();
            let (what, found) = ("`episode_index`".to_string(), crate::error::listed(&found));
            return Err(place.error(Problem::Missing { what, found }));
        };
        let rows = index.rows();
        let mut start = 0;
        for end in 1..=rows {
            if end < rows && index.data[end] == index.data[start] {
                continue;
            }
            let cut = |(name, array): &(String, Array)| (name.clone(), array.slice(start..end));
            let arrays: Vec<(String, Array)> = columns.iter().map(cut).collect();
            // An episode may go on in the next file.
            match parts.last_mut().filter(|_| last == Some(index.data[start])) {
                Some(part) => extend(part, arrays, &place)?,
                None => parts.push(Part::new(index.data[start].to_string(), arrays)),
            }
            last = Some(index.data[start]);
            start = end;
        }
    }
    complete(&info, &parts, &info_file)?;
    let mut recording = assemble(path, Format::LeRobot, parts)?;
    notes.sort();
    notes.dedup();
    recording.notes.extend(notes);
    recording.dt_s = info["fps"].as_f64().filter(|fps| *fps > 0.0).map(|fps| 1.0 / fps);
    for key in ["codebase_version", "robot_type"] {
        if let Some(text) = info[key].as_str() {
            recording.metadata.insert(key.to_string(), text.to_string());
        }
    }
    for column in &recording.columns {
        let names = &info["features"][&column.name]["names"];
        if !names.is_null() {
            recording.metadata.insert(format!("names of {}", column.name), names.to_string());
        }
    }
    Ok(recording)
}

/// Whether all is there that `info.json` announces: a download may have been broken off.
fn complete(info: &Value, parts: &[Part], place: &Place) -> Result<(), FormatError> {
    let steps = parts.iter().map(|p| p.arrays.first().map_or(0, |(_, a)| a.rows())).sum::<usize>();
    for (key, found) in [("total_episodes", parts.len()), ("total_frames", steps)] {
        if let Some(needed) = info[key].as_u64().filter(|&needed| needed != found as u64) {
            let reason = format!("`{key}` is {needed}, but the files under data/ hold {found}");
            return Err(place.unreadable(reason));
        }
    }
    Ok(())
}

fn extend(part: &mut Part, arrays: Vec<(String, Array)>, place: &Place) -> Result<(), FormatError> {
    for (name, array) in arrays {
        let Some((_, all)) = part.arrays.iter_mut().find(|(n, _)| *n == name) else { continue };
        let (found, needed) = (array.width(), all.width());
        if found != needed {
            let place = place.episode(part.name.clone()).column(name);
            return Err(place.error(Problem::Width { found, needed }));
        }
        all.shape[0] += array.rows();
        all.data.extend(array.data);
    }
    Ok(())
}

/// Files below a folder; data sets nest no deeper than chunks.
fn parquet_files(folder: &Path, files: &mut Vec<PathBuf>, depth: usize) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && depth < 4 {
            parquet_files(&path, files, depth + 1)?;
        } else if path.extension().is_some_and(|e| e == "parquet") {
            files.push(path);
        }
    }
    Ok(())
}

/// The numeric columns of a file.
fn table(path: &Path, place: &Place) -> Result<Table, FormatError> {
    let file = File::open(path).map_err(|e| place.error(e.into()))?;
    let held = file.metadata().map_err(|e| place.error(e.into()))?.len();
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| place.unreadable(e))?;
    // By root: a name such as `observation.state` would be taken for a path.
    let fields = builder.schema().fields().clone();
    let wanted = fields.iter().enumerate().filter(|(_, field)| {
        !matches!(field.data_type(), DataType::Struct(_) | DataType::Utf8 | DataType::Binary)
    });
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.map(|(i, _)| i));
    let mut table = Table::default();
    for group in builder.metadata().row_groups() {
        let bytes = usize::try_from(group.total_byte_size()).unwrap_or(usize::MAX);
        budget::bytes(&[bytes], 1, held, place)?;
    }
    let reader = builder.with_projection(mask).build().map_err(|e| place.unreadable(e))?;
    for batch in reader {
        table.push(&batch.map_err(|e| place.unreadable(e))?, place)?;
    }
    Ok(table)
}
