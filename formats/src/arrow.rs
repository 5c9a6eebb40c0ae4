//! Arrow: Minari's second way of storing a data set, and the data sets of `imitation`.
//!
//! Minari writes IPC files, one an episode, with a row more than there are actions; `imitation`
//! (Hugging Face's `save_to_disk`) an IPC stream with one row an episode.

use std::{
    cell::Cell,
    fs,
    io::Cursor,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::Once,
};

use arrow_array::{
    Array as _, ArrayRef, BooleanArray, FixedSizeListArray, LargeListArray, ListArray, RecordBatch,
    StructArray, cast::AsArray, types,
};
use arrow_ipc::{Message, reader::StreamReader, root_as_message};
use arrow_schema::DataType;

use crate::{
    Format, FormatError, Place, Problem, Recording, minari, names,
    recording::{Array, Dtype, Part, assemble},
};

thread_local! {
    /// Whether what panics here is caught and told as an error.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Reads a file with Arrow's crates, which take the numbers in it for good here and there and panic where they are
/// not: that is an error of the file's.
pub(crate) fn guarded(
    path: &Path,
    read: impl FnOnce(&Path) -> Result<Recording, FormatError>,
) -> Result<Recording, FormatError> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CAUGHT.get() {
                told(info);
            }
        }));
    });
    let before = CAUGHT.replace(true);
    let found = panic::catch_unwind(AssertUnwindSafe(|| read(path)));
    CAUGHT.set(before);
    found.unwrap_or_else(|_| Err(Place::file(path).unreadable("Arrow's reader gave up on it")))
}

/// Reads a data set of Minari's: the folder, the `data` folder in it, or one episode's file.
pub(crate) fn minari(path: &Path) -> Result<Recording, FormatError> {
    let place = Place::file(path);
    let files = if path.is_dir() {
        let folder = minari::data_folder(path).unwrap_or_else(|| path.to_path_buf());
        let mut episodes = vec![];
        for entry in fs::read_dir(&folder).map_err(|e| place.error(e.into()))? {
            let entry = entry.map_err(|e| place.error(e.into()))?.path();
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if entry.is_dir() && name.parse::<u64>().is_ok() {
                episodes.push((name, entry));
            }
        }
        episodes.sort_by(|a, b| names::natural_order(&a.0, &b.0));
        let mut files = vec![];
        for (name, folder) in episodes {
            files.push((name, parts_of(&folder, "arrow", &place)?));
        }
        files
    } else {
        vec![("0".to_string(), vec![path.to_path_buf()])]
    };
    let mut parts = vec![];
    let mut notes = vec![];
    for (name, files) in files {
        let place = place.episode(name.clone());
        let mut table = Table::default();
        for file in files {
            let bytes = fs::read(&file).map_err(|e| place.error(e.into()))?;
            // An IPC file is a stream behind its mark.
            let stream = bytes.get(8..).unwrap_or_default();
            for batch in batches(stream, &place)? {
                table.push(&batch, &place)?;
            }
        }
        let Table { mut columns, left } = table;
        for (name, array) in &mut columns {
            let whole = name.starts_with("observations") || name.starts_with("infos");
            if !whole && array.rows() > 0 {
                *array = array.slice(0..array.rows() - 1);
            }
        }
        notes.extend(left);
        parts.push(Part::new(name, columns));
    }
    let mut recording = assemble(path, Format::Minari, parts)?;
    notes.dedup();
    recording.notes.extend(notes);
    minari::describe(path, &mut recording);
    Ok(recording)
}

/// Files of a folder with an extension, in natural order.
fn parts_of(
    folder: &Path,
    extension: &str,
    place: &Place,
) -> Result<Vec<std::path::PathBuf>, FormatError> {
    let mut files = vec![];
    for entry in fs::read_dir(folder).map_err(|e| place.error(e.into()))? {
        let file = entry.map_err(|e| place.error(e.into()))?.path();
        if file.extension().is_some_and(|e| e == extension) {
            files.push(file);
        }
    }
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    files.sort_by(|a, b| names::natural_order(&stem(a), &stem(b)));
    Ok(files)
}

/// Reads a data set of `imitation`: columns `obs`, `acts`, `rews`, `terminal`, one row an episode.
pub(crate) fn imitation(path: &Path) -> Result<Recording, FormatError> {
    let place = Place::file(path);
    let files = if path.is_dir() {
        data_files(path).map_or_else(|| parts_of(path, "arrow", &place), Ok)?
    } else {
        vec![path.to_path_buf()]
    };
    let mut parts: Vec<Part> = vec![];
    let mut left = vec![];
    for file in files {
        let bytes = fs::read(&file).map_err(|e| Place::file(&file).error(e.into()))?;
        for batch in batches(&bytes, &place)? {
            for row in 0..batch.num_rows() {
                parts.push(trajectory(&batch, row, parts.len(), &place, &mut left)?);
            }
        }
    }
    for part in &parts {
        for needed in ["obs", "acts"] {
            if !part.arrays.iter().any(|(name, _)| name == needed) {
                let found: Vec<&str> = part.arrays.iter().map(|(n, _)| n.as_str()).collect();
                let found = crate::error::listed(&found);
                let what = format!("`{needed}`");
                let place = place.episode(part.name.clone());
                return Err(place.error(Problem::Missing { what, found }));
            }
        }
    }
    let mut recording = assemble(path, Format::Imitation, parts)?;
    left.dedup();
    recording.notes.extend(left);
    Ok(recording)
}

/// The files that `state.json` lists.
fn data_files(folder: &Path) -> Option<Vec<std::path::PathBuf>> {
    let text = fs::read_to_string(folder.join("state.json")).ok()?;
    let state: serde_json::Value = serde_json::from_str(&text).ok()?;
    let files = state["_data_files"].as_array()?;
    let name = |file: &serde_json::Value| {
        Some(Path::new(file["filename"].as_str()?).file_name()?.to_os_string())
    };
    files.iter().map(|file| Some(folder.join(name(file)?))).collect()
}

fn trajectory(
    batch: &RecordBatch,
    row: usize,
    n: usize,
    place: &Place,
    left: &mut Vec<String>,
) -> Result<Part, FormatError> {
    let mut part = Part::new(n.to_string(), vec![]);
    let place = place.episode(n.to_string());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let name = field.name();
        let place = place.column(name.clone());
        if let Some(flags) = column.as_any().downcast_ref::<BooleanArray>() {
            if name == "terminal" {
                part.end.terminated = Some(flags.value(row));
                part.end.truncated = Some(!flags.value(row));
            }
            continue;
        }
        match row_of(column, row) {
            Some(values) => match numbers(&values) {
                Ok(array) => part.arrays.push((name.clone(), array)),
                Err(Wrong::Kind(kind)) => {
                    left.push(format!("`{name}` is left out: {kind}"));
                }
                Err(Wrong::Damaged(reason)) => return Err(place.unreadable(reason)),
            },
            None => left.push(format!("`{name}` is left out: no list")),
        }
    }
    Ok(part)
}

/// What a list column holds in a row.
fn row_of(column: &ArrayRef, row: usize) -> Option<ArrayRef> {
    if column.is_null(row) {
        return None;
    }
    let any = column.as_any();
    any.downcast_ref::<ListArray>()
        .map(|lists| lists.value(row))
        .or_else(|| any.downcast_ref::<LargeListArray>().map(|lists| lists.value(row)))
        .or_else(|| any.downcast_ref::<FixedSizeListArray>().map(|lists| lists.value(row)))
}

/// The batches of an IPC stream. The sizes that its messages state are checked against its bytes
/// before anything is allocated for them.
fn batches(stream: &[u8], place: &Place) -> Result<Vec<RecordBatch>, FormatError> {
    let cut = || place.unreadable("a message of Arrow goes on behind the file's end");
    let mut rest = stream;
    while let Some((mark, after)) = rest.split_first_chunk::<4>() {
        // Since version 0.15 a mark comes before the size.
        let (size, after) = match i32::from_le_bytes(*mark) {
            -1 => {
                let (&size, after) = after.split_first_chunk::<4>().ok_or_else(cut)?;
                (i32::from_le_bytes(size), after)
            }
            size => (size, after),
        };
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).map_err(|_| cut())?;
        let (header, after) = after.split_at_checked(size).ok_or_else(cut)?;
        let message = root_as_message(header).map_err(|e| place.unreadable(e))?;
        let body = usize::try_from(message.bodyLength()).map_err(|_| cut())?;
        if !is_within(&message, body) {
            return Err(place.unreadable("a column of Arrow is larger than its message"));
        }
        rest = after.get(body..).ok_or_else(cut)?;
    }
    let reader =
        StreamReader::try_new(Cursor::new(stream), None).map_err(|e| place.unreadable(e))?;
    reader.map(|batch| batch.map_err(|e| place.unreadable(e))).collect()
}

/// Whether a message's columns have their buffers in its body, of so many bytes, and no more rows than those can
/// hold: Arrow's reader takes both for granted.
fn is_within(message: &Message<'_>, body: usize) -> bool {
    /// Rows of columns that take no room, such as those of nulls.
    const EMPTY: usize = 1 << 20;
    let of_dictionary = || message.header_as_dictionary_batch().and_then(|batch| batch.data());
    let Some(batch) = message.header_as_record_batch().or_else(of_dictionary) else { return true };
    let fits = |rows: i64| {
        usize::try_from(rows).is_ok_and(|rows| rows <= EMPTY.max(body.saturating_mul(8)))
    };
    let (nodes, buffers) = (batch.nodes(), batch.buffers());
    let mut ends = buffers.iter().flatten().map(|buffer| {
        let (start, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        start.ok().zip(length.ok()).and_then(|(start, length)| start.checked_add(length))
    });
    fits(batch.length())
        && nodes.iter().flatten().map(|node| node.length()).all(fits)
        && ends.all(|end| end.is_some_and(|end| end <= body))
}

/// Columns of several batches, one under the other.
#[derive(Default)]
pub(crate) struct Table {
    /// Numeric columns by name; parts of structures are joined by `/`.
    pub columns: Vec<(String, Array)>,
    /// What is left out, and why.
    pub left: Vec<String>,
}

impl Table {
    pub(crate) fn push(&mut self, batch: &RecordBatch, place: &Place) -> Result<(), FormatError> {
        let first = self.columns.is_empty();
        let mut waiting: Vec<(String, ArrayRef)> = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .rev()
            .map(|(field, column)| (field.name().clone(), column.clone()))
            .collect();
        while let Some((name, column)) = waiting.pop() {
            if let Some(parts) = column.as_any().downcast_ref::<StructArray>() {
                let fields = parts.fields().iter().zip(parts.columns()).rev();
                waiting.extend(fields.map(|(f, c)| (format!("{name}/{}", f.name()), c.clone())));
                continue;
            }
            let place = place.column(name.clone());
            match numbers(&column) {
                Ok(array) => match self.columns.iter_mut().find(|(n, _)| *n == name) {
                    None if first => self.columns.push((name, array)),
                    None => {}
                    Some((_, all)) => {
                        let (found, needed) = (array.width(), all.width());
                        if found != needed {
                            return Err(place.error(Problem::Width { found, needed }));
                        }
                        all.shape[0] += array.rows();
                        all.data.extend(array.data);
                    }
                },
                Err(Wrong::Kind(kind)) => self.left.push(format!("`{name}` is left out: {kind}")),
                Err(Wrong::Damaged(reason)) => return Err(place.unreadable(reason)),
            }
        }
        Ok(())
    }
}

/// Why a column gives no numbers.
enum Wrong {
    /// It is of another kind.
    Kind(String),
    /// It should have.
    Damaged(String),
}

/// Numbers of a column, rows first; what is null is not a number.
fn numbers(array: &ArrayRef) -> Result<Array, Wrong> {
    let rows = array.len();
    if let Some(lists) = array.as_any().downcast_ref::<FixedSizeListArray>() {
        let items: Vec<Option<ArrayRef>> =
            (0..rows).map(|i| (!lists.is_null(i)).then(|| lists.value(i))).collect();
        return stacked(items, lists.values());
    }
    if let Some(lists) = array.as_any().downcast_ref::<ListArray>() {
        let items: Vec<Option<ArrayRef>> =
            (0..rows).map(|i| (!lists.is_null(i)).then(|| lists.value(i))).collect();
        return stacked(items, lists.values());
    }
    if let Some(lists) = array.as_any().downcast_ref::<LargeListArray>() {
        let items: Vec<Option<ArrayRef>> =
            (0..rows).map(|i| (!lists.is_null(i)).then(|| lists.value(i))).collect();
        return stacked(items, lists.values());
    }
    macro_rules! primitive {
        ($type:ty, $dtype:expr, $as_f64:expr) => {{
            let values = array.as_primitive::<$type>();
            let convert = $as_f64;
            let data = values.iter().map(|x| x.map_or(f64::NAN, convert)).collect();
            Ok(Array { shape: vec![rows], dtype: $dtype, data })
        }};
    }
    match array.data_type() {
        DataType::Float64 => primitive!(types::Float64Type, Dtype::Float(64), |x| x),
        DataType::Float32 => primitive!(types::Float32Type, Dtype::Float(32), f64::from),
        DataType::Float16 => primitive!(types::Float16Type, Dtype::Float(16), f64::from),
        DataType::Int64 => primitive!(types::Int64Type, Dtype::Int(64), |x| x as f64),
        DataType::Int32 => primitive!(types::Int32Type, Dtype::Int(32), f64::from),
        DataType::Int16 => primitive!(types::Int16Type, Dtype::Int(16), f64::from),
        DataType::Int8 => primitive!(types::Int8Type, Dtype::Int(8), f64::from),
        DataType::UInt64 => primitive!(types::UInt64Type, Dtype::UInt(64), |x| x as f64),
        DataType::UInt32 => primitive!(types::UInt32Type, Dtype::UInt(32), f64::from),
        DataType::UInt16 => primitive!(types::UInt16Type, Dtype::UInt(16), f64::from),
        DataType::UInt8 => primitive!(types::UInt8Type, Dtype::UInt(8), f64::from),
        DataType::Boolean => {
            let flags = array.as_boolean();
            let number = |flag: Option<bool>| flag.map_or(f64::NAN, |f| f64::from(u8::from(f)));
            Ok(Array {
                shape: vec![rows],
                dtype: Dtype::Bool,
                data: flags.iter().map(number).collect(),
            })
        }
        other => Err(Wrong::Kind(format!("values of type {other}"))),
    }
}

/// Lists of equal lengths as one array; a list that is null as NaN.
fn stacked(items: Vec<Option<ArrayRef>>, values: &ArrayRef) -> Result<Array, Wrong> {
    let rows = items.len();
    // Also where there is no list at all, the kind is known.
    let dtype = numbers(&values.slice(0, values.len().min(1)))?.dtype;
    let mut inner: Option<Vec<usize>> = None;
    let mut lists: Vec<Option<Array>> = Vec::with_capacity(rows);
    for item in items {
        let list = item.map(|item| numbers(&item)).transpose()?;
        if let Some(list) = &list {
            match &inner {
                None => inner = Some(list.shape.clone()),
                Some(shape) if *shape != list.shape => {
                    let (found, needed) = (&list.shape, shape);
                    return Err(Wrong::Damaged(format!(
                        "a list of {found:?} after lists of {needed:?}"
                    )));
                }
                Some(_) => {}
            }
        }
        lists.push(list);
    }
    let inner = inner.unwrap_or_else(|| vec![1]);
    let width: usize = inner.iter().product();
    let mut data = Vec::with_capacity(rows * width);
    for list in lists {
        match list {
            Some(list) => data.extend(list.data),
            None => data.extend(std::iter::repeat_n(f64::NAN, width)),
        }
    }
    let mut shape = vec![rows];
    shape.extend(inner);
    Ok(Array { shape, dtype, data })
}
