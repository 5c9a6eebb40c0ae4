//! Safetensors files of any names.

use std::path::Path;

use safetensors::{Dtype as Type, SafeTensors};

use crate::{
    Format, FormatError, Place, Recording, numbers,
    recording::{Array, Dtype},
    tree::{self, Node, TimeAxis},
};

/// Reads a file; shapes and offsets are checked by its parser.
pub(crate) fn read(path: &Path) -> Result<Recording, FormatError> {
    let place = Place::file(path);
    let bytes = std::fs::read(path).map_err(|e| place.error(e.into()))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| place.unreadable(e))?;
    let mut root: Vec<(String, Node)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let shape = tensor.shape().to_vec();
            let node = match dtype(tensor.dtype()) {
                _ if shape.contains(&0) => Node::Left("no number in it".to_string()),
                Some(dtype) => {
                    let data = numbers::decode(tensor.data(), dtype, false);
                    let shape = if shape.is_empty() { vec![1] } else { shape };
                    Node::Array(Array { shape, dtype, data })
                }
                None => Node::Left(format!("numbers of type {:?}", tensor.dtype())),
            };
            (name.to_string(), node)
        })
        .collect();
    root.sort_by(|a, b| a.0.cmp(&b.0));
    let mut recording = tree::recording(path, Format::Safetensors, root, TimeAxis::First)?;
    if let Ok((_, header)) = SafeTensors::read_metadata(&bytes)
        && let Some(metadata) = header.metadata()
    {
        if let Some(dt_s) = metadata.get("dt").and_then(|dt| dt.parse().ok()) {
            recording.dt_s = tree::step_of("dt", dt_s);
        }
        recording.metadata.extend(metadata.clone());
    }
    Ok(recording)
}

fn dtype(found: Type) -> Option<Dtype> {
    Some(match found {
        Type::F64 => Dtype::Float(64),
        Type::F32 => Dtype::Float(32),
        Type::F16 => Dtype::Float(16),
        Type::I64 => Dtype::Int(64),
        Type::I32 => Dtype::Int(32),
        Type::I16 => Dtype::Int(16),
        Type::I8 => Dtype::Int(8),
        Type::U64 => Dtype::UInt(64),
        Type::U32 => Dtype::UInt(32),
        Type::U16 => Dtype::UInt(16),
        Type::U8 => Dtype::UInt(8),
        Type::BOOL => Dtype::Bool,
        _ => return None,
    })
}
