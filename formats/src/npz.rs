//! NumPy's arrays: `.npy`, and `.npz` archives of them.
//!
//! The format is NumPy Enhancement Proposal 1; arrays in Fortran order are turned, pickled objects
//! are left out.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use crate::{
    Format, FormatError, Place, Recording, budget,
    names::{self, Role},
    numbers,
    recording::{Array, Dtype},
    tree::{self, Node, TimeAxis},
};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads a `.npz` archive.
pub(crate) fn read_npz(path: &Path) -> Result<Recording, FormatError> {
    let place = Place::file(path);
    let file = File::open(path).map_err(|e| place.error(e.into()))?;
    let held = file.metadata().map_err(|e| place.error(e.into()))?.len();
    let mut archive =
        zip::ZipArchive::new(BufReader::new(file)).map_err(|e| place.unreadable(e))?;
    let mut root = vec![];
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(|e| place.unreadable(e))?;
        let name = entry.name().map_err(|e| place.unreadable(e))?.into_owned();
        let Some(name) = name.strip_suffix(".npy").map(str::to_string) else { continue };
        let place = place.column(name.clone());
        let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        budget::bytes(&[size], 1, held, &place)?;
        let mut bytes = vec![];
        entry.take(size as u64).read_to_end(&mut bytes).map_err(|e| place.unreadable(e))?;
        root.push((name, array(&bytes, &place)?));
    }
    tree::recording(path, Format::Npz, root, TimeAxis::First)
}

/// Reads a single `.npy` array; it is called as the file is.
pub(crate) fn read_npy(path: &Path) -> Result<Recording, FormatError> {
    let place = Place::file(path);
    let bytes = std::fs::read(path).map_err(|e| place.error(e.into()))?;
    let node = array(&bytes, &place)?;
    // By its file's name only where that says what it is: else files of a kind would differ in their columns.
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = if names::role(&stem) == Role::Other { "data".to_string() } else { stem };
    tree::recording(path, Format::Npz, vec![(name, node)], TimeAxis::First)
}

fn array(bytes: &[u8], place: &Place) -> Result<Node, FormatError> {
    let cut = || place.unreadable("the header of an array of NumPy is cut short");
    let rest =
        bytes.strip_prefix(MAGIC).ok_or_else(|| place.unreadable("not an array of NumPy"))?;
    let (&[version, _], rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let (length, rest) = if version == 1 {
        let (&length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        (usize::from(u16::from_le_bytes(length)), rest)
    } else {
        let (&length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        (u32::from_le_bytes(length) as usize, rest)
    };
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header = Header::parse(&String::from_utf8_lossy(header))
        .ok_or_else(|| place.unreadable("the header of an array of NumPy is not understood"))?;
    let (dtype, big_endian) = match dtype(&header.descr) {
        Ok(found) => found,
        Err(why) => return Ok(Node::Left(why)),
    };
    let need = budget::bytes(&header.shape, numbers::size_of(dtype), data.len() as u64, place)?;
    let data = data.get(..need).ok_or_else(|| {
        let (found, shape) = (data.len(), &header.shape);
        place.unreadable(format!("{found} bytes of numbers, the shape {shape:?} needs {need}"))
    })?;
    if header.shape.contains(&0) {
        return Ok(Node::Left("no number in it".to_string()));
    }
    if dtype == Dtype::UInt(8) && header.shape.len() >= 4 {
        return Ok(Node::Left(format!("pictures, {:?}", header.shape)));
    }
    let mut data = numbers::decode(data, dtype, big_endian);
    if header.fortran_order {
        data = numbers::row_major(data, &header.shape);
    }
    let shape = if header.shape.is_empty() { vec![1] } else { header.shape };
    Ok(Node::Array(Array { shape, dtype, data }))
}

/// The type of numbers and whether they are big-endian, or why they are no numbers.
fn dtype(descr: &str) -> Result<(Dtype, bool), String> {
    let mut chars = descr.chars();
    let order = chars.next().unwrap_or(' ');
    let kind = chars.next().unwrap_or(' ');
    let size: Option<u8> = chars.as_str().parse().ok();
    let dtype = match (kind, size) {
        ('f', Some(size @ (2 | 4 | 8))) => Dtype::Float(8 * size),
        ('i', Some(size @ (1 | 2 | 4 | 8))) => Dtype::Int(8 * size),
        ('u', Some(size @ (1 | 2 | 4 | 8))) => Dtype::UInt(8 * size),
        ('b', Some(1)) => Dtype::Bool,
        ('O', _) => {
            return Err("pickled Python objects, which run code when they are read: save plain \
                 arrays, one an episode"
                .to_string());
        }
        ('U' | 'S', _) => return Err("texts".to_string()),
        _ => return Err(format!("numbers of type `{descr}`")),
    };
    Ok((dtype, order == '>'))
}

/// The dictionary before the numbers.
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let rest = &text[text.find(key)? + key.len()..];
            Some(rest.trim_start().strip_prefix(':')?.trim_start())
        };
        let descr = value("'descr'")?;
        let descr = match descr.strip_prefix('\'') {
            Some(quoted) => quoted.split('\'').next()?,
            // A list of fields: a structured array.
            None => descr.split(']').next()?,
        };
        let fortran_order = match value("'fortran_order'")? {
            v if v.starts_with("True") => true,
            v if v.starts_with("False") => false,
            _ => return None,
        };
        let shape = value("'shape'")?.strip_prefix('(')?.split(')').next()?;
        let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
        let shape: Vec<usize> = sizes.map(|size| size.parse().ok()).collect::<Option<_>>()?;
        Some(Self { descr: descr.to_string(), fortran_order, shape })
    }
}
