//! Tables of text: a folder with one file an episode, or one file.
//!
//! Separators are commas, semicolons, tabs or spaces. Names of columns stand in the first line, or
//! in the last comment (`#`) before the numbers as `numpy.savetxt` writes them; without names all
//! numbers of a line are the column `data`, whose components are also what a first line `0,1,2,…`
//! names (pandas writes it above arrays). A column such as `episode_index` cuts one file into
//! episodes; so do empty lines between stretches of several rows, as gnuplot has them. The same goes
//! for each file of a folder.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    Format, FormatError, Place, Problem, Recording, names,
    recording::{Array, Dtype, assemble},
    tree::{self, Node, TimeAxis},
};

/// Extensions of tables.
pub(crate) const EXTENSIONS: [&str; 4] = ["csv", "tsv", "txt", "dat"];

/// The tables of a folder in natural order.
pub(crate) fn tables(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut tables = vec![];
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        if path.is_file() && extension.is_some_and(|e| e == "csv" || e == "tsv") {
            tables.push(path);
        }
    }
    tables.sort_by(|a, b| names::natural_order(&stem(a), &stem(b)));
    Ok(tables)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads a file or a folder of files.
pub(crate) fn read(path: &Path) -> Result<Recording, FormatError> {
    let place = Place::file(path);
    if !path.is_dir() {
        let Table { mut arrays, notes, blocks } = table(path, &place)?;
        if let (Some(blocks), false) = (blocks, arrays.iter().any(|(name, _)| tree::is_index(name)))
        {
            arrays.push((tree::EPISODE_INDEX.to_string(), blocks));
        }
        let root = arrays.into_iter().map(|(name, array)| (name, Node::Array(array))).collect();
        let mut recording = tree::recording(path, Format::Csv, root, TimeAxis::First)?;
        if let [episode] = recording.episodes.as_mut_slice() {
            episode.name = stem(path);
        }
        recording.notes.extend(notes);
        return Ok(recording);
    }
    let files = tables(path).map_err(|e| place.error(e.into()))?;
    let mut parts = vec![];
    let mut all_notes = vec![];
    for file in files {
        let Table { arrays, notes, blocks } = table(&file, &place.episode(stem(&file)))?;
        parts.extend(tree::by_index(stem(&file), arrays, blocks.as_ref()));
        all_notes.extend(notes);
    }
    let mut recording = assemble(path, Format::Csv, parts)?;
    all_notes.dedup();
    recording.notes.extend(all_notes);
    Ok(recording)
}

/// What a file holds.
struct Table {
    arrays: Vec<(String, Array)>,
    notes: Vec<String>,
    /// The number of the stretch that each row is in, by texts that name episodes or between empty
    /// lines, where there are several.
    blocks: Option<Array>,
}

/// Reads one file.
fn table(path: &Path, place: &Place) -> Result<Table, FormatError> {
    let bytes = std::fs::read(path).map_err(|e| place.error(e.into()))?;
    if bytes.contains(&0) {
        return Err(place.unreadable("not a table of text"));
    }
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_start_matches('\u{feff}');
    let comment = text.lines().take_while(|line| line.starts_with(['#', '%'])).last();
    let Some(first) = text.lines().find(|line| is_content(line)) else {
        return Err(place.error(Problem::Empty));
    };
    let separator = separator_of(first);
    let rows = rows(text, separator, place)?;
    let number = |cell: &str| number(cell, separator);
    let Head { names, lines, note } = head(&rows, comment, separator, place)?;
    let rows = &rows[lines..];
    let Some((_, first)) = rows.first() else { return Err(place.error(Problem::Empty)) };
    let mut blocks = blocks(text, rows);
    let width = names.as_ref().map_or(first.len(), Vec::len);
    for (line, cells) in rows {
        if cells.len() != width {
            let reason = format!("line {line} has {} cells, need {width}", cells.len());
            return Err(place.unreadable(reason));
        }
    }
    let mut columns: Vec<Option<(Vec<f64>, bool)>> = Vec::with_capacity(width);
    let mut notes = Vec::from_iter(note);
    let name = |i: usize| names.as_ref().map_or_else(|| component(i), |names| names[i].clone());
    for i in 0..width {
        let mut values = Vec::with_capacity(rows.len());
        let mut whole = true;
        let mut wrong = None;
        for (line, cells) in rows {
            match number(&cells[i]) {
                Some(x) => {
                    whole &= x.fract() == 0.0;
                    values.push(x);
                }
                None => {
                    wrong = wrong.or(Some((*line, &cells[i])));
                    values.push(f64::NAN);
                }
            }
        }
        let all_wrong = rows.iter().all(|(_, cells)| number(&cells[i]).is_none());
        columns.push(match wrong {
            None => Some((values, whole)),
            Some(_) if all_wrong && names.is_some() => {
                notes.push(format!("column `{}` is left out: texts", name(i)));
                // They tell episodes apart all the same.
                if tree::is_index(&name(i)) {
                    blocks = Some(numbered(rows.iter().map(|(_, cells)| cells[i].as_str())));
                }
                None
            }
            Some((row, found)) => {
                let found = if found.is_empty() { "nothing".into() } else { format!("`{found}`") };
                return Err(place.column(name(i)).error(Problem::NotANumber { row, found }));
            }
        });
    }
    let dtype = |whole: bool| if whole { Dtype::Int(64) } else { Dtype::Float(64) };
    let count = rows.len();
    let Some(names) = names else {
        let columns: Vec<(Vec<f64>, bool)> = columns.into_iter().flatten().collect();
        let data = (0..count).flat_map(|r| columns.iter().map(move |(c, _)| c[r])).collect();
        let array = Array { shape: vec![count, width], dtype: Dtype::Float(64), data };
        return Ok(Table { arrays: vec![("data".to_string(), array)], notes, blocks });
    };
    let arrays = names.into_iter().zip(columns).filter_map(|(name, column)| {
        let (data, whole) = column?;
        Some((name, Array { shape: vec![count], dtype: dtype(whole), data }))
    });
    Ok(Table { arrays: arrays.collect(), notes, blocks })
}

/// What stands above the numbers of a file.
#[derive(Default)]
struct Head {
    /// Names of columns, where there are some.
    names: Option<Vec<String>>,
    /// Lines that are no step.
    lines: usize,
    /// What was assumed.
    note: Option<String>,
}

/// Names from the first line, the comment above it, or the columns' numbers in their place.
fn head(
    rows: &Rows,
    comment: Option<&str>,
    separator: Option<u8>,
    place: &Place,
) -> Result<Head, FormatError> {
    let Some((line, cells)) = rows.first() else { return Ok(Head::default()) };
    if cells.iter().all(|cell| number(cell, separator).is_none()) {
        return Ok(Head { names: Some(named(cells)), lines: 1, note: None });
    }
    if let Some(comment) = comment {
        let names = cells_of(comment.trim_start_matches(['#', '%', ' ']), separator);
        if names.len() == cells.len() {
            return Ok(Head { names: Some(names), ..Head::default() });
        }
    }
    let Some(unnamed) = counts(cells).filter(|_| rows.len() > 1) else {
        return Ok(Head::default());
    };
    if unnamed == 0 && cells.len() == 2 {
        return Err(place.error(Problem::Ambiguous {
            what: format!(
                "line {line}, `0` and `1`, is either the columns' numbers, as pandas writes them above an array, or \
                 the first step"
            ),
            advice: "delete the line, or put one with names of the columns above it",
        }));
    }
    let last = cells.len() - unnamed - 1;
    let note = format!(
        "line {line}, 0 to {last}, is taken for the columns' numbers; if it is the first step, put a line with names \
         of the columns above it"
    );
    // The numbers of the rows, as pandas writes them, are no part of the array.
    let names = (unnamed > 0).then(|| {
        let mut names = named(&cells[..unnamed]);
        names.extend((0..=last).map(component));
        names
    });
    Ok(Head { names, lines: 1, note: Some(note) })
}

/// What a column without a name is called.
fn component(i: usize) -> String {
    format!("data[{i}]")
}

/// Whether the cells of a first line number the columns, behind an empty one or none: how many are
/// empty.
fn counts(cells: &[String]) -> Option<usize> {
    let unnamed = usize::from(cells.len() > 1 && cells[0].is_empty());
    let counted = cells[unnamed..].iter().enumerate().all(|(i, cell)| *cell == i.to_string());
    (counted && cells.len() > 1).then_some(unnamed)
}

/// Names of columns; one without is called by its place (pandas writes its row numbers so).
fn named(cells: &[String]) -> Vec<String> {
    let name = |(i, cell): (usize, &String)| match cell.as_str() {
        "" => format!("unnamed_{i}"),
        name => name.to_string(),
    };
    cells.iter().enumerate().map(name).collect()
}

/// Texts as numbers, each by the place of its first row among those of others.
fn numbered<'a>(texts: impl Iterator<Item = &'a str>) -> Array {
    let mut known = BTreeMap::new();
    let mut number = |text| {
        let next = known.len() as f64;
        *known.entry(text).or_insert(next)
    };
    let data: Vec<f64> = texts.map(&mut number).collect();
    Array { shape: vec![data.len()], dtype: Dtype::Int(64), data }
}

/// Stretches of rows between empty lines, by number, if there are several, of two rows or more each.
fn blocks(text: &str, rows: &[(u64, Vec<String>)]) -> Option<Array> {
    let lines = (1..).zip(text.lines());
    let empty: Vec<u64> = lines.filter(|(_, l)| l.trim().is_empty()).map(|(n, _)| n).collect();
    // A row that empty lines come before may be said to begin in the first of them.
    let before = |line: u64| empty.partition_point(|&e| e <= line);
    let mut numbers: Vec<f64> = vec![];
    let mut length = 0_usize;
    for (i, (line, _)) in rows.iter().enumerate() {
        let last = numbers.last().copied().unwrap_or(0.0);
        let parted = i > 0 && before(*line) > before(rows[i - 1].0);
        if parted && length < 2 {
            return None;
        }
        length = if parted { 1 } else { length + 1 };
        numbers.push(last + f64::from(u8::from(parted)));
    }
    let several = numbers.last().is_some_and(|&last| last > 0.0) && length >= 2;
    several.then(|| Array { shape: vec![rows.len()], dtype: Dtype::Int(64), data: numbers })
}

fn is_content(line: &str) -> bool {
    !line.trim().is_empty() && !line.starts_with(['#', '%'])
}

fn separator_of(line: &str) -> Option<u8> {
    let count = |c: char| line.matches(c).count();
    let most = [('\t', b'\t'), (';', b';'), (',', b',')];
    most.into_iter().find(|&(c, _)| count(c) > 0).map(|(_, byte)| byte)
}

fn cells_of(line: &str, separator: Option<u8>) -> Vec<String> {
    match separator {
        Some(separator) => line
            .split(char::from(separator))
            .map(|cell| cell.trim().trim_matches('"').to_string())
            .collect(),
        None => line.split_whitespace().map(str::to_string).collect(),
    }
}

type Rows = Vec<(u64, Vec<String>)>;

/// Cells of each line and its number, without comments and empty lines.
fn rows(text: &str, separator: Option<u8>, place: &Place) -> Result<Rows, FormatError> {
    let Some(separator) = separator else {
        let lines = text.lines().enumerate().filter(|(_, line)| is_content(line));
        return Ok(lines.map(|(i, line)| (i as u64 + 1, cells_of(line, None))).collect());
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let mut rows = vec![];
    for record in reader.records() {
        let record = record.map_err(|e| place.unreadable(e))?;
        let mut cells: Vec<String> = record.iter().map(str::to_string).collect();
        // A separator at the end of each line.
        if cells.len() > 1 && cells.last().is_some_and(String::is_empty) {
            cells.pop();
        }
        let line = record.position().map_or(0, csv::Position::line);
        // The reader knows but one mark of comments.
        let comment = cells.first().is_some_and(|cell| cell.starts_with('%'));
        if !comment && cells.iter().any(|cell| !cell.is_empty()) {
            rows.push((line, cells));
        }
    }
    Ok(rows)
}

/// A cell as a number; between semicolons a comma is a decimal point, as in continental Europe.
fn number(cell: &str, separator: Option<u8>) -> Option<f64> {
    let parsed = cell.parse().ok();
    match (parsed, separator) {
        (None, Some(b';')) => cell.replace(',', ".").parse().ok(),
        (None, _) if cell.eq_ignore_ascii_case("true") => Some(1.0),
        (None, _) if cell.eq_ignore_ascii_case("false") => Some(0.0),
        (parsed, _) => parsed,
    }
}
