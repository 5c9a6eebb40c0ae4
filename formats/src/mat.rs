//! MATLAB's files up to version 7.2 (level 5); later ones are HDF5.
//!
//! Numeric matrices, cells, structures and texts, compressed or not, of either byte order; sparse
//! and complex matrices and objects are left out. Source: MathWorks, "MAT-File Format", R2024b.

use std::{borrow::Cow, io::Read, path::Path};

use flate2::read::ZlibDecoder;

use crate::{
    Format, FormatError, Place, Recording, numbers,
    recording::{Array, Dtype},
    tree::{self, Node, TimeAxis},
};

/// Bytes before the first element.
const HEADER: usize = 128;
/// Cells in cells go no deeper in sensible files.
const MAX_DEPTH: usize = 16;
/// Unpacked bytes of one variable: more than any demonstrations need.
const MAX_UNPACKED: u64 = 1 << 34;

const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// Whether the first bytes of a file are those of a level-5 file.
pub(crate) fn is_mat(head: &[u8]) -> bool {
    head.len() >= HEADER
        && matches!(&head[126..128], b"IM" | b"MI")
        && !head.starts_with(b"\x89HDF")
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Recording, FormatError> {
    let place = Place::file(path);
    let bytes = std::fs::read(path).map_err(|e| place.error(e.into()))?;
    if !is_mat(&bytes) {
        return Err(place.unreadable("no header of a MATLAB file of level 5"));
    }
    let reader = Reader { big_endian: &bytes[126..128] == b"MI", place: place.clone() };
    // SciPy writes arrays with episodes first, as NumPy does; MATLAB users append them last.
    let episodes_last = !bytes[..116].windows(15).any(|w| w == b"Platform: posix");
    let mut root = vec![];
    let mut rest = &bytes[HEADER..];
    while !rest.is_empty() {
        let (tag, data, after) = reader.element(rest, &place)?;
        rest = after;
        let (tag, data) = if tag == COMPRESSED {
            let mut unpacked = vec![];
            let packed = ZlibDecoder::new(data).take(MAX_UNPACKED);
            let read = { packed }.read_to_end(&mut unpacked);
            read.map_err(|e| place.unreadable(format!("a compressed variable: {e}")))?;
            let (tag, inner, _) = reader.element(&unpacked, &place)?;
            (tag, Cow::Owned(inner.to_vec()))
        } else {
            (tag, Cow::Borrowed(data))
        };
        if tag == MATRIX {
            let (name, mut node) = reader.matrix(&data, &place, 0)?;
            if episodes_last {
                episodes_first(&mut node);
            }
            // Nameless variables are the file's own (subsystem data).
            if !name.is_empty() {
                root.push((name, node));
            }
        }
    }
    tree::recording(path, Format::Mat, root, TimeAxis::Longer)
}

/// `[width, T, N]` or `[T, width, N]` becomes `[N, T, width]`.
fn episodes_first(node: &mut Node) {
    let Node::Array(array) = node else { return };
    let [a, b, n] = array.shape[..] else { return };
    let time_first = a > b;
    let (steps, width) = if time_first { (a, b) } else { (b, a) };
    let mut data = Vec::with_capacity(array.data.len());
    for episode in 0..n {
        for step in 0..steps {
            for i in 0..width {
                let (first, second) = if time_first { (step, i) } else { (i, step) };
                data.push(array.data[(first * b + second) * n + episode]);
            }
        }
    }
    array.shape = vec![n, steps, width];
    array.data = data;
}

struct Reader {
    big_endian: bool,
    place: Place,
}

impl Reader {
    fn u32(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    /// Type and data of the element at the start of `bytes`, and what comes after it.
    fn element<'a>(
        &self,
        bytes: &'a [u8],
        place: &Place,
    ) -> Result<(u32, &'a [u8], &'a [u8]), FormatError> {
        let cut = || place.unreadable("an element goes on behind the file's end");
        let (&first, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
        let first = self.u32(first);
        // A small element keeps its size, type and data in eight bytes.
        if first >> 16 != 0 {
            let size = (first >> 16) as usize;
            let (data, after) = rest.split_at_checked(4).ok_or_else(cut)?;
            return Ok((first & 0xffff, data.get(..size).ok_or_else(cut)?, after));
        }
        let (&size, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let size = self.u32(size) as usize;
        let data = rest.get(..size).ok_or_else(cut)?;
        let padded = if first == COMPRESSED { size } else { size.next_multiple_of(8) };
        Ok((first, data, rest.get(padded..).unwrap_or(&[])))
    }

    /// Whole numbers of an element.
    fn integers(&self, bytes: &[u8]) -> Vec<u32> {
        bytes.as_chunks().0.iter().map(|&b| self.u32(b)).collect()
    }

    /// Name and content of a matrix element.
    fn matrix(
        &self,
        bytes: &[u8],
        place: &Place,
        depth: usize,
    ) -> Result<(String, Node), FormatError> {
        // An empty cell.
        if bytes.is_empty() {
            return Ok((String::new(), Node::Left("no number in it".to_string())));
        }
        if depth > MAX_DEPTH {
            return Err(place.unreadable(format!("cells nested deeper than {MAX_DEPTH}")));
        }
        let (_, flags, rest) = self.element(bytes, place)?;
        let flags = self.integers(flags).first().copied().unwrap_or(0);
        let (_, sizes, rest) = self.element(rest, place)?;
        let shape: Vec<usize> = self.integers(sizes).iter().map(|&n| n as usize).collect();
        let (_, name, rest) = self.element(rest, place)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let place = if name.is_empty() { place.clone() } else { self.place.column(name.clone()) };
        let count = shape.iter().try_fold(1_usize, |all, &n| all.checked_mul(n));
        // The smallest of numbers takes a byte, the smallest matrix eight.
        let count = count
            .filter(|&n| n <= rest.len())
            .ok_or_else(|| place.unreadable(format!("shape {shape:?} in {} bytes", rest.len())))?;
        let node = match flags & 0xff {
            _ if count == 0 => Node::Left("no number in it".to_string()),
            1 => Node::List(self.cells(rest, count, &place, depth)?),
            2 => self.structures(rest, count, &place, depth)?,
            4 => {
                let (_, text, _) = self.element(rest, &place)?;
                Node::Text(String::from_utf8_lossy(text).replace('\0', ""))
            }
            6..=15 if flags & 0x800 != 0 => Node::Left("complex numbers".to_string()),
            6..=15 => self.numbers(rest, shape, count, flags & 0x200 != 0, &place)?,
            5 => Node::Left("a sparse matrix".to_string()),
            class => Node::Left(format!("an object (class {class})")),
        };
        Ok((name, node))
    }

    fn cells(
        &self,
        mut rest: &[u8],
        count: usize,
        place: &Place,
        depth: usize,
    ) -> Result<Vec<Node>, FormatError> {
        let mut cells = vec![];
        for i in 0..count {
            let place = place.episode(i.to_string());
            let (tag, data, after) = self.element(rest, &place)?;
            if tag != MATRIX {
                return Err(place.unreadable(format!("a cell of type {tag}, need a matrix")));
            }
            cells.push(self.matrix(data, &place, depth + 1)?.1);
            rest = after;
        }
        Ok(cells)
    }

    fn structures(
        &self,
        rest: &[u8],
        count: usize,
        place: &Place,
        depth: usize,
    ) -> Result<Node, FormatError> {
        let (_, length, rest) = self.element(rest, place)?;
        let length = self.integers(length).first().copied().unwrap_or(0).max(1) as usize;
        let (_, names, mut rest) = self.element(rest, place)?;
        let names: Vec<String> = names
            .chunks(length)
            .map(|name| name.split(|&b| b == 0).next().unwrap_or_default())
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        let mut all = vec![];
        for i in 0..count {
            let mut fields = vec![];
            for name in &names {
                let place = place.episode(i.to_string()).column(name.clone());
                let (_, data, after) = self.element(rest, &place)?;
                fields.push((name.clone(), self.matrix(data, &place, depth + 1)?.1));
                rest = after;
            }
            all.push(Node::Group(fields));
        }
        Ok(match all.pop() {
            Some(only) if all.is_empty() => only,
            last => {
                all.extend(last);
                Node::List(all)
            }
        })
    }

    fn numbers(
        &self,
        rest: &[u8],
        shape: Vec<usize>,
        count: usize,
        truth: bool,
        place: &Place,
    ) -> Result<Node, FormatError> {
        let (tag, data, _) = self.element(rest, place)?;
        let dtype = match tag {
            1 => Dtype::Int(8),
            2 => Dtype::UInt(8),
            3 => Dtype::Int(16),
            4 => Dtype::UInt(16),
            5 => Dtype::Int(32),
            6 => Dtype::UInt(32),
            7 => Dtype::Float(32),
            9 => Dtype::Float(64),
            12 => Dtype::Int(64),
            13 => Dtype::UInt(64),
            other => return Err(place.unreadable(format!("numbers of type {other}"))),
        };
        let data = numbers::decode(data, dtype, self.big_endian);
        if data.len() != count {
            let reason = format!("{} numbers for the shape {shape:?}", data.len());
            return Err(place.unreadable(reason));
        }
        let data = numbers::row_major(data, &shape);
        // MATLAB stores whole numbers of a matrix of doubles as integers: the type says nothing.
        let dtype = if truth { Dtype::Bool } else { Dtype::Float(64) };
        Ok(Node::Array(Array { shape, dtype, data }))
    }
}
