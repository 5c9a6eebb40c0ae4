//! LeRobot's data sets, versions 2.0 to 3.0: Parquet files under `data/`, described by
//! `meta/info.json`. Version 2 keeps one file an episode, version 3 many episodes in one.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use arrow_array::{ArrayRef, cast::AsArray, types::Int64Type};
use arrow_schema::DataType;
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use serde_json::Value;

use crate::{
    Format, FormatError, Place, Problem, Recording,
    arrow::Table,
    budget,
    minari::OURS,
    recording::{Array, Dtype, Part, assemble},
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
    carried(path, &mut parts)?;
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
    // What an export of ours has beside.
    match &info[OURS] {
        Value::Object(ours) => {
            recording.metadata.insert(OURS.to_string(), Value::from(ours.clone()).to_string());
        }
        _ => recording.notes.extend(tasks(path)?),
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

/// A file of lines of JSON in `meta/`, where there is one.
fn lines(path: &Path, name: &str) -> Result<Vec<Value>, FormatError> {
    let file = Place::file(&path.join("meta").join(name));
    if !file.file.is_file() {
        return Ok(vec![]);
    }
    let text = fs::read_to_string(&file.file).map_err(|e| file.error(e.into()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| serde_json::from_str(line).map_err(|e| file.unreadable(e))).collect()
}

/// Puts what an export of ours says of each episode as a whole into columns under [`OURS`].
fn carried(path: &Path, parts: &mut [Part]) -> Result<(), FormatError> {
    for line in lines(path, "episodes.jsonl")? {
        let (Some(index), Some(ours)) = (line["episode_index"].as_u64(), line[OURS].as_object())
        else {
            continue;
        };
        let Some(part) = parts.iter_mut().find(|part| part.name == index.to_string()) else {
            continue;
        };
        for (name, row) in ours {
            let row = row.as_array().map(Vec::as_slice).unwrap_or_default();
            let data: Vec<f64> = row.iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect();
            let (shape, dtype) = (vec![1, data.len()], Dtype::Float(64));
            part.arrays.push((format!("{OURS}/{name}"), Array { shape, dtype, data }));
        }
    }
    Ok(())
}

/// What the numbers in `task_index` stand for, where there are several.
fn tasks(path: &Path) -> Result<Option<String>, FormatError> {
    let mut tasks: Vec<(i64, String)> = vec![];
    for line in lines(path, "tasks.jsonl")? {
        let text = line["task"].as_str().unwrap_or_default().to_string();
        tasks.push((line["task_index"].as_i64().unwrap_or_default(), text));
    }
    let table = path.join("meta/tasks.parquet");
    if table.is_file() {
        tasks.extend(tasks_of(&table)?);
    }
    tasks.sort();
    let said = tasks.iter().map(|(index, text)| format!("{index} `{text}`"));
    let said = said.collect::<Vec<_>>().join(", ");
    Ok((tasks.len() > 1)
        .then(|| format!("tasks: {said}; --labels task_index takes them as the modes")))
}

/// Version 3 has a table as pandas writes it: numbers, and the texts as its index.
fn tasks_of(path: &Path) -> Result<Vec<(i64, String)>, FormatError> {
    let place = Place::file(path);
    let file = File::open(path).map_err(|e| place.error(e.into()))?;
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| place.unreadable(e))?;
    let reader = builder.build().map_err(|e| place.unreadable(e))?;
    let mut tasks = vec![];
    for batch in reader {
        let batch = batch.map_err(|e| place.unreadable(e))?;
        let texts = batch.columns().iter().find_map(texts);
        let numbers = batch.columns().iter().find_map(|c| c.as_primitive_opt::<Int64Type>());
        let (Some(texts), Some(numbers)) = (texts, numbers) else { continue };
        let rows = texts.into_iter().zip(numbers).filter_map(|(text, n)| Some((n?, text?)));
        tasks.extend(rows);
    }
    Ok(tasks)
}

/// The texts of a column, of either size that pandas writes.
fn texts(column: &ArrayRef) -> Option<Vec<Option<String>>> {
    let owned = |text: Option<&str>| text.map(str::to_string);
    let small = column.as_string_opt::<i32>().map(|texts| texts.iter().map(owned).collect());
    small.or_else(|| Some(column.as_string_opt::<i64>()?.iter().map(owned).collect()))
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
