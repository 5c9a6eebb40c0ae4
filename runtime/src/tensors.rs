//! Safetensors files with deterministic bytes: the same tensors and metadata always give the same
//! file, which the reference writer does not promise (its metadata is in hash order).
//!
//! A checksum covers every tensor and every metadata entry; it is kept in the metadata under
//! [`CHECKSUM_KEY`], so that a damaged file is told from a good one even where the damage is too
//! small for any other check.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use safetensors::{Dtype, SafeTensors};
use serde::de::{self, Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
pub use sog_core::tensors::CHECKSUM_KEY;
use sog_core::tensors::{Checksum, checksum_text};

/// Sorted string metadata of a file.
pub type Metadata = BTreeMap<String, String>;

/// A tensor about to be written: type, shape and little-endian bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Element type.
    pub dtype: Dtype,
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// Little-endian element bytes.
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// A tensor of `f32`.
    ///
    /// # Panics
    /// If `shape` does not multiply to the number of values.
    pub fn f32(shape: &[usize], values: &[f32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "shape {shape:?}");
        Self {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    /// A tensor of `f64`.
    ///
    /// # Panics
    /// If `shape` does not multiply to the number of values.
    pub fn f64(shape: &[usize], values: &[f64]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "shape {shape:?}");
        Self {
            dtype: Dtype::F64,
            shape: shape.to_vec(),
            bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    /// A tensor of `u32`.
    ///
    /// # Panics
    /// If `shape` does not multiply to the number of values.
    pub fn u32(shape: &[usize], values: &[u32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "shape {shape:?}");
        Self {
            dtype: Dtype::U32,
            shape: shape.to_vec(),
            bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    /// A tensor of `u64`.
    ///
    /// # Panics
    /// If `shape` does not multiply to the number of values.
    pub fn u64(shape: &[usize], values: &[u64]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "shape {shape:?}");
        Self {
            dtype: Dtype::U64,
            shape: shape.to_vec(),
            bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }
}

/// Why a file is not a readable set of tensors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The bytes are not a safetensors file.
    #[error("not a safetensors file of {len} bytes ({reason}); it may be truncated or damaged")]
    Format {
        /// Number of bytes found.
        len: usize,
        /// What the parser said.
        reason: String,
    },
    /// A tensor that is needed is not there.
    #[error("tensor `{name}` is missing")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// A tensor has another element type.
    #[error("tensor `{name}` has type {found}, need {needed}")]
    Dtype {
        /// The tensor.
        name: String,
        /// The type in the file.
        found: String,
        /// The type that is needed.
        needed: &'static str,
    },
    /// A tensor has another shape.
    #[error("tensor `{name}` has shape {found:?}, need {needed}")]
    Shape {
        /// The tensor.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that is needed, in words or numbers.
        needed: String,
    },
    /// A metadata entry is missing.
    #[error("metadata `{key}` is missing")]
    MissingMetadata {
        /// The entry.
        key: String,
    },
    /// The content does not add up to the checksum in the file.
    #[error("checksum is {computed}, the file says {stored}: the file is damaged")]
    Checksum {
        /// Checksum of the content.
        computed: String,
        /// Checksum in the metadata.
        stored: String,
    },
}

/// JSON in which no key stands twice in one object: nowhere is it said which one would count.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header of a safetensors file")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!("`{key}` stands twice in its header")));
            }
            seen.insert(key);
            map.next_value::<Self>()?;
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }
}

/// A parsed file that borrows its bytes.
pub struct TensorFile<'a> {
    tensors: SafeTensors<'a>,
    metadata: Metadata,
}

impl<'a> TensorFile<'a> {
    /// Parses a whole file; every length and offset is checked before it is used.
    ///
    /// # Errors
    /// [`TensorError::Format`] for anything that is not exactly one safetensors file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TensorError> {
        let bad = |reason: String| TensorError::Format { len: bytes.len(), reason };
        let (header_len, header) =
            SafeTensors::read_metadata(bytes).map_err(|e| bad(e.to_string()))?;
        // JSON ignores white space, so only this catches damage to the padding.
        let padding = bytes[8..8 + header_len].rsplit(|&b| b == b'}').next().unwrap_or(&[]);
        if padding.iter().any(|&b| b != b' ') {
            return Err(bad("header padding is not spaces".to_string()));
        }
        serde_json::from_slice::<Unique>(&bytes[8..8 + header_len])
            .map_err(|e| bad(e.to_string()))?;
        let metadata =
            header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| bad(e.to_string()))?;
        Ok(Self { tensors, metadata })
    }

    /// All metadata, sorted by key.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// One metadata entry.
    ///
    /// # Errors
    /// [`TensorError::MissingMetadata`].
    pub fn meta(&self, key: &str) -> Result<&str, TensorError> {
        self.metadata
            .get(key)
            .map(String::as_str)
            .ok_or_else(|| TensorError::MissingMetadata { key: key.to_string() })
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names = self.tensors.names();
        names.sort_unstable();
        names
    }

    /// Whether a tensor is there.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// Shape of a tensor.
    ///
    /// # Errors
    /// [`TensorError::Missing`].
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, TensorError> {
        Ok(self.view(name)?.shape().to_vec())
    }

    /// Values of an `f32` tensor of any shape.
    ///
    /// # Errors
    /// [`TensorError::Missing`], [`TensorError::Dtype`].
    pub fn f32(&self, name: &str) -> Result<Vec<f32>, TensorError> {
        self.values(name, Dtype::F32, "F32", f32::from_le_bytes)
    }

    /// Values of an `f32` tensor of exactly `shape`.
    ///
    /// # Errors
    /// [`TensorError::Missing`], [`TensorError::Dtype`], [`TensorError::Shape`].
    pub fn f32_of(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, TensorError> {
        let found = self.shape(name)?;
        if found != shape {
            return Err(TensorError::Shape {
                name: name.to_string(),
                found,
                needed: format!("{shape:?}"),
            });
        }
        self.f32(name)
    }

    /// Values of an `f64` tensor of any shape.
    ///
    /// # Errors
    /// [`TensorError::Missing`], [`TensorError::Dtype`].
    pub fn f64(&self, name: &str) -> Result<Vec<f64>, TensorError> {
        self.values(name, Dtype::F64, "F64", f64::from_le_bytes)
    }

    /// Values of a `u8` tensor of any shape.
    ///
    /// # Errors
    /// [`TensorError::Missing`], [`TensorError::Dtype`].
    pub fn u8(&self, name: &str) -> Result<Vec<u8>, TensorError> {
        self.values(name, Dtype::U8, "U8", u8::from_le_bytes)
    }

    /// Values of a `u32` tensor of any shape.
    ///
    /// # Errors
    /// [`TensorError::Missing`], [`TensorError::Dtype`].
    pub fn u32(&self, name: &str) -> Result<Vec<u32>, TensorError> {
        self.values(name, Dtype::U32, "U32", u32::from_le_bytes)
    }

    /// Values of a `u64` tensor of any shape.
    ///
    /// # Errors
    /// [`TensorError::Missing`], [`TensorError::Dtype`].
    pub fn u64(&self, name: &str) -> Result<Vec<u64>, TensorError> {
        self.values(name, Dtype::U64, "U64", u64::from_le_bytes)
    }

    /// Checks the content against the checksum in the metadata; whether there is one.
    ///
    /// # Errors
    /// [`TensorError::Checksum`] if the two differ.
    pub fn verify_checksum(&self) -> Result<bool, TensorError> {
        let Some(stored) = self.metadata.get(CHECKSUM_KEY) else { return Ok(false) };
        let names = self.names();
        let views = names.iter().filter_map(|name| Some((*name, self.tensors.tensor(name).ok()?)));
        let computed = checksum(
            &self.metadata,
            views.map(|(name, v)| (name, v.dtype(), v.shape().to_vec(), v.data())),
        );
        if *stored == computed {
            Ok(true)
        } else {
            Err(TensorError::Checksum { computed, stored: stored.clone() })
        }
    }

    fn view(&self, name: &str) -> Result<safetensors::tensor::TensorView<'a>, TensorError> {
        self.tensors.tensor(name).map_err(|_| TensorError::Missing { name: name.to_string() })
    }

    fn values<T, const N: usize>(
        &self,
        name: &str,
        dtype: Dtype,
        needed: &'static str,
        decode: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, TensorError> {
        let view = self.view(name)?;
        if view.dtype() != dtype {
            return Err(TensorError::Dtype {
                name: name.to_string(),
                found: view.dtype().to_string(),
                needed,
            });
        }
        let (chunks, _) = view.data().as_chunks::<N>();
        Ok(chunks.iter().map(|c| decode(*c)).collect())
    }
}

/// Bytes of a file with these tensors and this metadata, [`CHECKSUM_KEY`] added.
pub fn serialize(tensors: &BTreeMap<String, Tensor>, metadata: &Metadata) -> Vec<u8> {
    let mut metadata = metadata.clone();
    metadata.insert(
        CHECKSUM_KEY.to_string(),
        checksum(
            &metadata,
            tensors
                .iter()
                .map(|(name, t)| (name.as_str(), t.dtype, t.shape.clone(), t.bytes.as_slice())),
        ),
    );

    // Wider elements first keeps every tensor aligned; by name within one width.
    let mut order: Vec<(&String, &Tensor)> = tensors.iter().collect();
    order.sort_by_key(|(name, t)| (core::cmp::Reverse(t.dtype.bitsize()), (*name).clone()));
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_string(), serde_json::json!(metadata));
    let mut offset = 0;
    for (name, t) in &order {
        let end = offset + t.bytes.len();
        header.insert(
            (*name).clone(),
            serde_json::json!({
                "dtype": t.dtype.to_string(), "shape": t.shape, "data_offsets": [offset, end],
            }),
        );
        offset = end;
    }
    let mut json = serde_json::Value::Object(header).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');

    let mut bytes = Vec::with_capacity(8 + json.len() + offset);
    bytes.extend((json.len() as u64).to_le_bytes());
    bytes.extend(json);
    for (_, t) in &order {
        bytes.extend_from_slice(&t.bytes);
    }
    bytes
}

/// The [`Checksum`] of metadata and tensors, which must be sorted by name.
fn checksum<'a>(
    metadata: &Metadata,
    tensors: impl Iterator<Item = (&'a str, Dtype, Vec<usize>, &'a [u8])>,
) -> String {
    let mut checksum = Checksum::new();
    for (key, value) in metadata.iter().filter(|(key, _)| *key != CHECKSUM_KEY) {
        checksum.entry(key, value);
    }
    for (name, dtype, shape, data) in tensors {
        checksum.tensor(name, &dtype.to_string(), shape.into_iter(), data);
    }
    checksum_text(checksum.finish()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut tensors = BTreeMap::new();
        tensors.insert("b".to_string(), Tensor::f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
        tensors.insert("a".to_string(), Tensor::f64(&[1], &[5.0]));
        tensors.insert("c".to_string(), Tensor::u32(&[3], &[7, 8, 9]));
        let mut metadata = Metadata::new();
        metadata.insert("task".to_string(), "circles".to_string());
        metadata.insert("note".to_string(), "x".to_string());
        serialize(&tensors, &metadata)
    }

    #[test]
    fn what_is_written_is_read_and_bytes_are_stable() {
        let bytes = sample();
        assert_eq!(bytes, sample());
        let file = TensorFile::parse(&bytes).unwrap();
        file.verify_checksum().unwrap();
        assert_eq!(file.names(), ["a", "b", "c"]);
        assert_eq!(file.f32_of("b", &[2, 2]).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(file.f64("a").unwrap(), [5.0]);
        assert_eq!(file.u32("c").unwrap(), [7, 8, 9]);
        assert_eq!(file.meta("task").unwrap(), "circles");
        assert!(matches!(file.f32_of("b", &[4]), Err(TensorError::Shape { .. })));
        assert!(matches!(file.f32("a"), Err(TensorError::Dtype { .. })));
        assert!(matches!(file.f32("z"), Err(TensorError::Missing { .. })));
    }

    #[test]
    fn what_stands_twice_is_refused() {
        let data = [0; 4];
        let with = |header: &str| {
            [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
        };
        let a = r#""a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        let once = format!(r#"{{"__metadata__":{{"x":"1","y":"1"}},{a}}}"#);
        assert!(TensorFile::parse(&with(&once)).is_ok());
        for (header, name) in [
            (format!(r#"{{{a},{a}}}"#), "`a`"),
            (format!(r#"{{"__metadata__":{{"x":"1","x":"1"}},{a}}}"#), "`x`"),
            (format!(r#"{{"__metadata__":{{"x":"1","\u0078":"2"}},{a}}}"#), "`x`"),
        ] {
            let error = TensorFile::parse(&with(&header)).err().unwrap().to_string();
            assert!(error.contains(&format!("{name} stands twice")), "{header}: {error}");
        }
        let metadata = format!(r#"{{"__metadata__":{{}},"__metadata__":{{}},{a}}}"#);
        assert!(TensorFile::parse(&with(&metadata)).is_err());
    }

    #[test]
    fn every_single_byte_change_is_noticed() {
        let good = sample();
        for at in 0..good.len() {
            for flip in [0x01, 0x29, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                let noticed = TensorFile::parse(&bad).and_then(|f| {
                    f.meta(CHECKSUM_KEY)?;
                    f.verify_checksum()
                });
                assert!(noticed.is_err(), "byte {at} xor {flip:#x} went unnoticed");
            }
        }
    }

    #[test]
    fn every_truncation_is_noticed() {
        let good = sample();
        for len in 0..good.len() {
            assert!(TensorFile::parse(&good[..len]).is_err(), "{len} bytes parsed");
        }
    }
}
