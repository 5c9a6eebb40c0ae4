//! Snapshots: the whole state of an algorithm as named tensors and serialised values.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};
use sog_runtime::tensors::{CHECKSUM_KEY, Metadata, Tensor, TensorError, TensorFile, serialize};

/// Schema of a checkpoint file.
pub(super) const SCHEMA: &str = "sog.checkpoint/1";

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The bytes are damaged, or a tensor is missing or misshapen.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// Another kind of file.
    #[error("schema is `{found}`, need `{SCHEMA}`")]
    Schema {
        /// Schema in the file.
        found: String,
    },
    /// A value is missing or has another form.
    #[error("state `{name}`: {reason}; the checkpoint is of another algorithm or version")]
    State {
        /// The value.
        name: String,
        /// What the parser said.
        reason: String,
    },
}

/// Something whose whole state can be saved and loaded: after `load`, what follows is bit for bit
/// what would have followed `save`.
pub trait Checkpoint {
    /// Writes the whole state.
    fn save(&self, to: &mut Snapshot);

    /// Replaces the whole state; shapes are those of `self`, which was built from the same
    /// configuration.
    ///
    /// # Errors
    /// [`SnapshotError`] if something is missing or has another shape.
    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError>;
}

/// Named tensors and values. Names are free; parts nest with dots.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    tensors: BTreeMap<String, Tensor>,
    states: Metadata,
}

impl Snapshot {
    /// An empty snapshot.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor of `f32`.
    ///
    /// # Panics
    /// If `shape` does not multiply to the number of values.
    pub fn f32s(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.tensors.insert(name.to_string(), Tensor::f32(shape, values));
    }

    /// Adds a tensor of `f64`.
    ///
    /// # Panics
    /// If `shape` does not multiply to the number of values.
    pub fn f64s(&mut self, name: &str, shape: &[usize], values: &[f64]) {
        self.tensors.insert(name.to_string(), Tensor::f64(shape, values));
    }

    /// Adds a value (counters, generators, enums). Floats in it must be finite: JSON has no NaN.
    ///
    /// # Panics
    /// If the value cannot be written as JSON, as a map whose keys are not strings cannot.
    pub fn state(&mut self, name: &str, value: &impl Serialize) {
        let json = serde_json::to_string(value).expect("plain data is JSON");
        self.states.insert(name.to_string(), json);
    }

    /// Adds the state of a part, its names prefixed by `name` and a dot.
    pub fn nest(&mut self, name: &str, part: &impl Checkpoint) {
        let mut inner = Self::new();
        part.save(&mut inner);
        let join = |key: String| format!("{name}.{key}");
        self.tensors.extend(inner.tensors.into_iter().map(|(k, t)| (join(k), t)));
        self.states.extend(inner.states.into_iter().map(|(k, s)| (join(k), s)));
    }

    /// Overwrites `values` by a tensor of `f32` with as many elements.
    ///
    /// # Errors
    /// [`TensorError`] if it is missing or has another type or number of elements.
    pub fn read_f32s(&self, name: &str, values: &mut [f32]) -> Result<(), SnapshotError> {
        self.read(name, "F32", values, |t, bytes| {
            t.iter_mut().zip(bytes.as_chunks().0).for_each(|(v, b)| *v = f32::from_le_bytes(*b));
        })
    }

    /// Overwrites `values` by a tensor of `f64` with as many elements.
    ///
    /// # Errors
    /// [`TensorError`] if it is missing or has another type or number of elements.
    pub fn read_f64s(&self, name: &str, values: &mut [f64]) -> Result<(), SnapshotError> {
        self.read(name, "F64", values, |t, bytes| {
            t.iter_mut().zip(bytes.as_chunks().0).for_each(|(v, b)| *v = f64::from_le_bytes(*b));
        })
    }

    /// A tensor of `f32` of any length, for state whose size is not known beforehand.
    ///
    /// # Errors
    /// [`TensorError`] if it is missing or has another type.
    pub fn get_f32s(&self, name: &str) -> Result<Vec<f32>, SnapshotError> {
        let len = self.tensor(name)?.shape.iter().product();
        let mut values = vec![0.0; len];
        self.read_f32s(name, &mut values)?;
        Ok(values)
    }

    /// A tensor of `f64` of any length, for state whose size is not known beforehand.
    ///
    /// # Errors
    /// [`TensorError`] if it is missing or has another type.
    pub fn get_f64s(&self, name: &str) -> Result<Vec<f64>, SnapshotError> {
        let len = self.tensor(name)?.shape.iter().product();
        let mut values = vec![0.0; len];
        self.read_f64s(name, &mut values)?;
        Ok(values)
    }

    /// A value.
    ///
    /// # Errors
    /// [`SnapshotError::State`] if it is missing or has another form.
    pub fn read_state<T: DeserializeOwned>(&self, name: &str) -> Result<T, SnapshotError> {
        let error = |reason: String| SnapshotError::State { name: name.to_string(), reason };
        let json = self.states.get(name).ok_or_else(|| error("it is missing".to_string()))?;
        serde_json::from_str(json).map_err(|e| error(e.to_string()))
    }

    /// Loads a part that was added by [`nest`](Self::nest).
    ///
    /// # Errors
    /// What the part's `load` says.
    pub fn read_nested(&self, name: &str, part: &mut impl Checkpoint) -> Result<(), SnapshotError> {
        part.load(&self.nested(name))
    }

    /// Everything below `name` and a dot, without that prefix.
    pub fn nested(&self, name: &str) -> Self {
        let prefix = format!("{name}.");
        let cut = |key: &String| key.strip_prefix(&prefix).map(str::to_string);
        Self {
            tensors: self.tensors.iter().filter_map(|(k, t)| Some((cut(k)?, t.clone()))).collect(),
            states: self.states.iter().filter_map(|(k, s)| Some((cut(k)?, s.clone()))).collect(),
        }
    }

    /// Bytes of a safetensors file with a checksum; equal snapshots give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut metadata = Metadata::new();
        metadata.insert("schema".to_string(), SCHEMA.to_string());
        metadata.extend(self.states.iter().map(|(k, s)| (format!("state.{k}"), s.clone())));
        serialize(&self.tensors, &metadata)
    }

    /// Reads and verifies what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`SnapshotError::Tensors`] for damage, [`SnapshotError::Schema`] for another kind of file.
    pub fn parse(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let file = TensorFile::parse(bytes)?;
        let schema = file.meta("schema")?;
        if schema != SCHEMA {
            return Err(SnapshotError::Schema { found: schema.to_string() });
        }
        file.meta(CHECKSUM_KEY)?;
        file.verify_checksum()?;
        let mut snapshot = Self::new();
        for name in file.names() {
            let shape = file.shape(name)?;
            // A snapshot is written by this module, so only its two types occur.
            let tensor = match file.f32(name) {
                Ok(values) => Tensor::f32(&shape, &values),
                Err(_) => Tensor::f64(&shape, &file.f64(name)?),
            };
            snapshot.tensors.insert(name.to_string(), tensor);
        }
        for (key, json) in file.metadata() {
            if let Some(name) = key.strip_prefix("state.") {
                snapshot.states.insert(name.to_string(), json.clone());
            }
        }
        Ok(snapshot)
    }

    fn tensor(&self, name: &str) -> Result<&Tensor, SnapshotError> {
        let missing = || TensorError::Missing { name: name.to_string() };
        Ok(self.tensors.get(name).ok_or_else(missing)?)
    }

    fn read<T>(
        &self,
        name: &str,
        needed: &'static str,
        values: &mut [T],
        decode: impl FnOnce(&mut [T], &[u8]),
    ) -> Result<(), SnapshotError> {
        let tensor = self.tensor(name)?;
        if tensor.dtype.to_string() != needed {
            let found = tensor.dtype.to_string();
            return Err(TensorError::Dtype { name: name.to_string(), found, needed }.into());
        }
        if tensor.shape.iter().product::<usize>() != values.len() {
            let needed = format!("{} elements", values.len());
            let found = tensor.shape.clone();
            return Err(TensorError::Shape { name: name.to_string(), found, needed }.into());
        }
        decode(values, &tensor.bytes);
        Ok(())
    }
}
