//! HDF5: Minari's, robomimic's and D4RL's layouts, and plain files.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use rust_hdf5::{DatatypeMessage, FileLocking, H5Dataset, H5File};

use crate::{
    Format, FormatError, Place, Problem, Recording, budget,
    error::listed,
    names,
    recording::{Array, Dtype, Part, assemble},
    tree::{self, Node, TimeAxis},
};

/// An open file, its datasets by path and its size.
struct Source {
    file: H5File,
    /// Paths of all datasets without the leading `/`, in the order of their bytes.
    paths: Vec<String>,
    place: Place,
    held: u64,
    /// Parts that references have led to.
    followed: Cell<usize>,
}

/// MATLAB's cells in cells go no deeper in sensible files.
const MAX_DEPTH: usize = 4;
/// Nor do its references lead to more parts.
const MAX_FOLLOWED: usize = 1 << 16;

/// Which of the layouts a file has.
///
/// # Errors
/// If it is not readable as HDF5.
pub(crate) fn layout(path: &Path) -> Result<Format, FormatError> {
    let source = Source::open(path)?;
    let any = |test: &dyn Fn(&str) -> bool| source.paths.iter().any(|p| test(p));
    let has = |name: &str| any(&|p| p == name);
    Ok(if any(&|p| episode_of(p, "", "episode_").is_some()) {
        Format::Minari
    } else if any(&|p| episode_of(p, "data/", "demo_").is_some()) {
        Format::Robomimic
    } else if has("observations") && has("actions") && (has("terminals") || has("timeouts")) {
        Format::D4rl
    } else {
        Format::Hdf5
    })
}

/// Reads Minari's `main_data.hdf5`: groups `episode_N`, one observation more than actions.
pub(crate) fn minari(path: &Path) -> Result<Recording, FormatError> {
    let source = Source::open(path)?;
    let (parts, left) = source.episodes("", "episode_", &["observations", "actions"])?;
    let mut recording = assemble(path, Format::Minari, parts)?;
    recording.notes.extend(left);
    crate::minari::describe(path, &mut recording);
    Ok(recording)
}

/// Reads robomimic's layout: groups `data/demo_N` with `obs` and `next_obs`.
pub(crate) fn robomimic(path: &Path) -> Result<Recording, FormatError> {
    let source = Source::open(path)?;
    let (mut parts, left) = source.episodes("data/", "demo_", &["actions"])?;
    for part in &mut parts {
        let (next, rest): (Vec<_>, Vec<_>) =
            part.arrays.drain(..).partition(|(name, _)| name.starts_with("next_obs/"));
        part.arrays = rest;
        for (name, array) in next {
            let width = array.width();
            let name = format!("obs/{}", &name["next_obs/".len()..]);
            if let Some(row) = array.data.rchunks_exact(width.max(1)).next() {
                part.last.insert(name, row.to_vec());
            }
        }
    }
    let mut recording = assemble(path, Format::Robomimic, parts)?;
    recording.notes.extend(left);
    if let Ok(group) = source.file.root_group().group("data")
        && let Ok(text) = group.attr_string("env_args")
    {
        if let Ok(env) = serde_json::from_str::<serde_json::Value>(&text) {
            let rate = env["env_kwargs"]["control_freq"].as_f64();
            recording.dt_s = rate.filter(|&rate| rate > 0.0).map(|rate| 1.0 / rate);
            if let Some(name) = env["env_name"].as_str() {
                recording.metadata.insert("env_name".to_string(), name.to_string());
            }
        }
        recording.metadata.insert("env_args".to_string(), text);
    }
    Ok(recording)
}

/// Reads D4RL's layout: the rows of all episodes in one array each, ends in `terminals` and
/// `timeouts`; without `timeouts` an episode also ends where the next observation is not the one
/// that follows.
pub(crate) fn d4rl(path: &Path) -> Result<Recording, FormatError> {
    let source = Source::open(path)?;
    let mut arrays = BTreeMap::new();
    let mut metadata = BTreeMap::new();
    let mut notes = vec![];
    for name in &source.paths {
        match source.node(name, &source.place.column(name.clone()))? {
            Node::Array(array) if !name.starts_with("metadata/") => {
                arrays.insert(name.clone(), array);
            }
            Node::Text(text) => drop(metadata.insert(name.clone(), text)),
            Node::Left(why) => notes.push(format!("`{name}` is left out: {why}")),
            _ => {}
        }
    }
    let rows = |name: &str| {
        arrays.get(name).map(Array::rows).ok_or_else(|| source.missing(name, &source.place))
    };
    let count = rows("actions")?;
    rows("observations")?;
    for (name, array) in &arrays {
        if array.rows() != count {
            let place = source.place.column(name.clone());
            let needed = format!("{count}, as many as actions");
            return Err(place.error(Problem::Rows { found: array.rows(), needed }));
        }
    }
    let next = arrays.remove("next_observations");
    let flag = |name: &str, i: usize| arrays.get(name).is_some_and(|a| a.data[i] != 0.0);
    let observations = &arrays["observations"];
    let width = observations.width();
    let jumps = |i: usize| {
        let (Some(next), false) = (&next, arrays.contains_key("timeouts")) else { return false };
        i + 1 < count
            && next.width() == width
            && next.data[i * width..][..width] != observations.data[(i + 1) * width..][..width]
    };
    let mut parts = vec![];
    let mut start = 0;
    for i in 0..count {
        let ended = flag("terminals", i) || flag("timeouts", i) || jumps(i);
        if !ended && i + 1 < count {
            continue;
        }
        let cut = |(name, array): (&String, &Array)| (name.clone(), array.slice(start..i + 1));
        let mut part = Part::new(parts.len().to_string(), arrays.iter().map(cut).collect());
        if let Some(next) = &next
            && next.width() == width
        {
            let row = next.data[i * width..][..width].to_vec();
            part.last.insert("observations".to_string(), row);
        }
        if !ended {
            let n = part.name.clone();
            notes.push(format!("episode `{n}` is cut off: the data end before it does"));
        }
        parts.push(part);
        start = i + 1;
    }
    let mut recording = assemble(path, Format::D4rl, parts)?;
    recording.metadata = metadata;
    recording.notes.extend(notes);
    Ok(recording)
}

/// Reads a file of no known layout.
pub(crate) fn plain(path: &Path) -> Result<Recording, FormatError> {
    let source = Source::open(path)?;
    let matlab = source.is_matlab();
    let mut root = vec![];
    for name in &source.paths {
        if matlab && name.starts_with("#refs#") {
            continue;
        }
        let place = source.place.column(name.clone());
        let node =
            if matlab { source.matlab(name, &place, 0)? } else { source.node(name, &place)? };
        insert(&mut root, name, node);
    }
    let axis = if matlab { TimeAxis::Longer } else { TimeAxis::First };
    tree::recording(path, Format::Hdf5, root, axis)
}

/// Puts a node where its path says.
fn insert(group: &mut Vec<(String, Node)>, path: &str, node: Node) {
    let Some((first, rest)) = path.split_once('/') else {
        group.push((path.to_string(), node));
        return;
    };
    let at = group.iter().position(|(name, node)| name == first && matches!(node, Node::Group(_)));
    let at = at.unwrap_or_else(|| {
        group.push((first.to_string(), Node::Group(vec![])));
        group.len() - 1
    });
    if let Node::Group(inner) = &mut group[at].1 {
        insert(inner, rest, node);
    }
}

/// The name of the episode's group and the column in it, of a dataset `PREFIX STEM N / column`.
fn episode_of<'a>(path: &'a str, prefix: &str, stem: &str) -> Option<(&'a str, &'a str)> {
    let (name, column) = path.strip_prefix(prefix)?.split_once('/')?;
    let (found, _) = names::numbered(name)?;
    (found == stem).then_some((name, column))
}

impl Source {
    fn open(path: &Path) -> Result<Self, FormatError> {
        let place = Place::file(path);
        let held = std::fs::metadata(path).map_err(|e| place.error(e.into()))?.len();
        let options = H5File::options().locking(FileLocking::BestEffort);
        let file = options.open(path).map_err(|e| place.unreadable(e))?;
        let mut paths: Vec<String> = file
            .dataset_names()
            .into_iter()
            .map(|path| path.trim_start_matches('/').to_string())
            .collect();
        paths.sort();
        Ok(Self { file, paths, place, held, followed: Cell::new(0) })
    }

    /// Groups `PREFIX STEM N` as episodes, in the order of their numbers, and which columns of theirs
    /// are left out.
    fn episodes(
        &self,
        prefix: &str,
        stem: &str,
        needed: &[&str],
    ) -> Result<(Vec<Part>, BTreeSet<String>), FormatError> {
        let mut parts: Vec<Part> = vec![];
        let mut left = BTreeSet::new();
        let mut at: BTreeMap<&str, usize> = BTreeMap::new();
        for path in &self.paths {
            let Some((episode, column)) = episode_of(path, prefix, stem) else { continue };
            let place = self.place.episode(episode).column(column);
            let n = *at.entry(episode).or_insert(parts.len());
            if n == parts.len() {
                parts.push(Part::new(episode, vec![]));
            }
            match self.node(path, &place)? {
                Node::Array(array) => parts[n].arrays.push((column.to_string(), array)),
                Node::Left(why) => drop(left.insert(format!("`{column}` is left out: {why}"))),
                _ => {}
            }
        }
        for part in &parts {
            for needed in needed {
                let within =
                    |name: &str| name == *needed || name.starts_with(&format!("{needed}/"));
                if !part.arrays.iter().any(|(name, _)| within(name)) {
                    let place = self.place.episode(part.name.clone());
                    return Err(self.missing_in(&format!("{prefix}{}", part.name), needed, &place));
                }
            }
        }
        if parts.is_empty() {
            return Err(self.missing(&format!("{prefix}{stem}N"), &self.place));
        }
        parts.sort_by(|a, b| names::natural_order(&a.name, &b.name));
        Ok((parts, left))
    }

    /// Reads a dataset, unless it is no column.
    fn node(&self, path: &str, place: &Place) -> Result<Node, FormatError> {
        let dataset = self.file.dataset(path).map_err(|e| place.unreadable(e))?;
        let datatype = dataset.datatype().map_err(|e| place.unreadable(e))?;
        let shape = dataset.shape();
        let dtype = match numeric(&datatype) {
            Some(dtype) => dtype,
            None => return Ok(self.other(&dataset, &datatype)),
        };
        if dtype == Dtype::UInt(8) && shape.len() >= 3 {
            return Ok(Node::Left(format!("pictures, {shape:?}")));
        }
        if dataset.is_null() || shape.contains(&0) {
            return Ok(Node::Left("no number in it".to_string()));
        }
        budget::bytes(&shape, dataset.element_size(), self.held, place)?;
        // Each chunk is unpacked as a whole, however little of it lies within the shape.
        if let Some(chunk) = dataset.chunk_dims() {
            budget::bytes(&chunk, dataset.element_size(), self.held, place)?;
        }
        let read = match (&datatype, dtype) {
            (DatatypeMessage::Enum { .. }, Dtype::Int(_) | Dtype::Bool) => {
                dataset.read_raw::<i8>().map(|v| v.into_iter().map(f64::from).collect())
            }
            (DatatypeMessage::Enum { .. }, _) => {
                dataset.read_raw::<u8>().map(|v| v.into_iter().map(f64::from).collect())
            }
            (_, Dtype::Int(_)) => {
                dataset.read_numeric_as::<i64>().map(|v| v.into_iter().map(|x| x as f64).collect())
            }
            (_, Dtype::UInt(_)) => {
                dataset.read_numeric_as::<u64>().map(|v| v.into_iter().map(|x| x as f64).collect())
            }
            _ => dataset.read_numeric_as::<f64>(),
        };
        let data: Vec<f64> = read.map_err(|e| place.unreadable(e))?;
        let shape = if shape.is_empty() { vec![1] } else { shape };
        if data.len() != shape.iter().product::<usize>() {
            let reason = format!("{} numbers for the shape {shape:?}", data.len());
            return Err(place.unreadable(reason));
        }
        Ok(Node::Array(Array { shape, dtype, data }))
    }

    /// A part of a MATLAB file: its cells and structure arrays are lists of references to what lies under
    /// `#refs#`.
    fn matlab(&self, path: &str, place: &Place, depth: usize) -> Result<Node, FormatError> {
        let dataset = self.file.dataset(path).map_err(|e| place.unreadable(e))?;
        let datatype = dataset.datatype().map_err(|e| place.unreadable(e))?;
        if !matches!(datatype, DatatypeMessage::Reference { .. }) {
            return self.node(path, place);
        }
        if depth > MAX_DEPTH {
            return Err(place.unreadable(format!("cells nested deeper than {MAX_DEPTH}")));
        }
        budget::bytes(&dataset.shape(), dataset.element_size(), self.held, place)?;
        let references = dataset.read_references().map_err(|e| place.unreadable(e))?;
        let nodes = references.iter().map(|reference| {
            self.followed.set(self.followed.get() + 1);
            if self.followed.get() > MAX_FOLLOWED {
                return Err(place.unreadable(format!("more than {MAX_FOLLOWED} references")));
            }
            let target = match (reference.path(), reference.file()) {
                (Some(target), None) => target.trim_start_matches('/').to_string(),
                _ => return Err(place.unreadable("a reference that leads nowhere in the file")),
            };
            if self.paths.binary_search(&target).is_ok() {
                return self.matlab(&target, place, depth + 1);
            }
            let prefix = format!("{target}/");
            let mut group = vec![];
            for path in self.paths.iter().filter(|path| path.starts_with(&prefix)) {
                insert(&mut group, &path[prefix.len()..], self.matlab(path, place, depth + 1)?);
            }
            Ok(Node::Group(group))
        });
        Ok(Node::List(nodes.collect::<Result<_, _>>()?))
    }

    /// A dataset that holds no numbers.
    fn other(&self, dataset: &H5Dataset, datatype: &DatatypeMessage) -> Node {
        let text = matches!(
            datatype,
            DatatypeMessage::FixedString { .. } | DatatypeMessage::VarLenString { .. }
        );
        if text
            && dataset.shape().iter().all(|&n| n == 1)
            && let Ok(mut texts) = dataset.read_strings_lossy()
            && let Some(text) = texts.pop()
        {
            return Node::Text(text);
        }
        Node::Left(if text { "texts".to_string() } else { format!("numbers of type {datatype}") })
    }

    /// MATLAB says who it is before HDF5's own content.
    fn is_matlab(&self) -> bool {
        self.file.userblock_size() >= 128 && {
            let mut head = [0; 6];
            std::fs::File::open(&self.place.file)
                .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head))
                .is_ok_and(|()| head == *b"MATLAB")
        }
    }

    fn missing(&self, what: &str, place: &Place) -> FormatError {
        let mut found: Vec<&str> =
            self.paths.iter().map(|p| p.split('/').next().unwrap_or(p)).collect();
        found.dedup();
        place.error(Problem::Missing { what: format!("`{what}`"), found: listed(&found) })
    }

    fn missing_in(&self, group: &str, what: &str, place: &Place) -> FormatError {
        let prefix = format!("{group}/");
        let found: Vec<&str> = self.paths.iter().filter_map(|p| p.strip_prefix(&prefix)).collect();
        let why = self.file.root_group().group(group).ok();
        match why.and_then(|group| group.unreadable_reason(what).ok().flatten()) {
            Some(reason) => place.column(what).unreadable(reason),
            None => {
                place.error(Problem::Missing { what: format!("`{what}`"), found: listed(&found) })
            }
        }
    }
}

/// The type of numbers, if they are numbers. HDF5 has no truth values: they are enumerations.
fn numeric(datatype: &DatatypeMessage) -> Option<Dtype> {
    let bits = |size: &u32| u8::try_from(size.checked_mul(8)?).ok();
    match datatype {
        DatatypeMessage::FloatingPoint { size, .. } if [2, 4, 8].contains(size) => {
            Some(Dtype::Float(bits(size)?))
        }
        DatatypeMessage::FixedPoint { size, signed: true, .. } => Some(Dtype::Int(bits(size)?)),
        DatatypeMessage::FixedPoint { size, signed: false, .. } => Some(Dtype::UInt(bits(size)?)),
        DatatypeMessage::Enum { base, members } => match **base {
            DatatypeMessage::FixedPoint { size: 1, signed, .. } => {
                let truth = members.iter().any(|m| m.name.eq_ignore_ascii_case("true"));
                Some(match (truth, signed) {
                    (true, _) => Dtype::Bool,
                    (false, true) => Dtype::Int(8),
                    (false, false) => Dtype::UInt(8),
                })
            }
            _ => None,
        },
        _ => None,
    }
}
