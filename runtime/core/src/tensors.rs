//! A safetensors file, read in place: <https://github.com/huggingface/safetensors>.
//!
//! Nothing is kept but the file's bytes; a tensor is looked for in the header each time.

use core::{cmp::Ordering, fmt, fmt::Write};

use crate::{
    json::{Reader, Wanted},
    text::{Excerpt, Text},
};

/// Longest header that is read, bytes: looking for a tensor takes time in proportion.
pub const MOST_HEADER: usize = 65_536;

/// Metadata key of the checksum; its value is `crc32:` and eight hexadecimal digits.
pub const CHECKSUM_KEY: &str = "checksum";

/// Key of the metadata among the tensors.
const METADATA: &str = "__metadata__";

/// Names of element types, and bits of an element.
const DTYPES: [(&str, usize); 22] = [
    ("F32", 32),
    ("F64", 64),
    ("F16", 16),
    ("BF16", 16),
    ("I8", 8),
    ("I16", 16),
    ("I32", 32),
    ("I64", 64),
    ("U8", 8),
    ("U16", 16),
    ("U32", 32),
    ("U64", 64),
    ("BOOL", 8),
    ("C64", 64),
    ("F4", 4),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("F8_E4M3", 8),
    ("F8_E5M2", 8),
    ("F8_E8M0", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E5M2FNUZ", 8),
];

/// Why bytes are not a safetensors file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a safetensors file of {len} bytes ({reason}); it may be truncated or damaged")]
pub struct FormatError {
    /// Number of bytes found.
    pub len: usize,
    /// What is wrong with them.
    pub reason: Wanted,
}

/// The content does not add up to the checksum in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checksum is crc32:{computed:08x}, the file says {stored}: the file is damaged")]
pub struct ChecksumError {
    /// Checksum of the content.
    pub computed: u32,
    /// Checksum in the metadata.
    pub stored: Excerpt,
}

/// A safetensors file whose lengths and offsets have been checked.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// From the opening to the closing brace.
    header: &'a str,
    data: &'a [u8],
}

/// A tensor as the header describes it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Name.
    pub name: Text<'a>,
    /// Name of the element type.
    pub dtype: &'static str,
    /// Row-major shape.
    pub shape: Shape<'a>,
    begin: usize,
    end: usize,
}

/// A list of whole numbers as it stands in the header, without its brackets.
#[derive(Clone, Copy)]
pub struct Shape<'a>(&'a str);

impl<'a> Shape<'a> {
    /// The numbers.
    pub fn iter(self) -> impl Iterator<Item = usize> + Clone + use<'a> {
        let mut numbers = Reader(self.0);
        core::iter::from_fn(move || {
            numbers.has(',');
            numbers.number().ok()
        })
    }

    /// Whether it is this one.
    pub fn is(self, other: &[usize]) -> bool {
        self.iter().eq(other.iter().copied())
    }
}

impl fmt::Debug for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> TensorView<'a> {
    /// Reads the header of a whole file; every length and offset is checked before it is used.
    ///
    /// # Errors
    /// [`FormatError`] for anything that is not exactly one safetensors file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        Self::read(bytes).map_err(|reason| FormatError { len: bytes.len(), reason })
    }

    fn read(bytes: &'a [u8]) -> Result<Self, Wanted> {
        let (len, rest) = bytes.split_first_chunk::<8>().ok_or("it has no header")?;
        let len = usize::try_from(u64::from_le_bytes(*len)).unwrap_or(usize::MAX);
        let (header, data) =
            rest.split_at_checked(len).ok_or("its header is longer than the file")?;
        if len > MOST_HEADER {
            return Err("its header is longer than 65536 bytes");
        }
        let header = core::str::from_utf8(header).map_err(|_| "its header is not UTF-8")?;
        let mut reader = Reader(header);
        skim(&mut reader)?;
        // JSON ignores white space, so only this catches damage to the padding.
        if reader.0.bytes().any(|b| b != b' ') {
            return Err("header padding is not spaces");
        }
        let header = header.strip_suffix(reader.0).unwrap_or(header);
        let view = Self { header, data };
        view.check_layout()?;
        Ok(view)
    }

    /// Whether the tensors lie one behind the other from the first byte of the data to the last, and
    /// have as many bytes as their shapes say.
    fn check_layout(self) -> Result<(), Wanted> {
        let (mut reached, mut in_order) = (0, true);
        for entry in self.entries() {
            let elements = entry.shape.iter().try_fold(1_usize, usize::checked_mul);
            let bits = elements.and_then(|n| n.checked_mul(bits_of(entry.dtype)?));
            let bits = bits.ok_or("a shape is too large")?;
            if entry.begin > entry.end
                || entry.end > self.data.len()
                || bits % 8 != 0
                || bits / 8 != entry.end - entry.begin
            {
                return Err("a tensor has other bytes than its shape says");
            }
            in_order &= entry.begin == reached;
            reached = entry.end;
        }
        if !in_order {
            reached = 0;
            // Those without elements are everywhere; the others must form a chain.
            let count = self.entries().filter(|entry| entry.begin < entry.end).count();
            for _ in 0..count {
                let next = self.entries().find(|e| e.begin == reached && e.end > e.begin);
                reached = next.ok_or("tensors overlap or leave gaps")?.end;
            }
            let joins = |at: usize| {
                at == reached || self.entries().any(|e| e.begin == at && e.begin < e.end)
            };
            if !self.entries().all(|e| e.begin < e.end || joins(e.begin)) {
                return Err("tensors overlap or leave gaps");
            }
        }
        if reached != self.data.len() {
            return Err("tensors do not end with the file");
        }
        Ok(())
    }

    /// Every tensor, in the order of the header.
    pub fn entries(self) -> impl Iterator<Item = Entry<'a>> + Clone + use<'a> {
        Members::of(self.header).filter_map(|member| match member {
            Member::Tensor(entry) => Some(entry),
            Member::Metadata(_) => None,
        })
    }

    /// Every metadata entry, in the order of the header.
    pub fn metadata(self) -> impl Iterator<Item = (Text<'a>, Text<'a>)> + Clone + use<'a> {
        Members::of(self.header)
            .filter_map(|member| match member {
                Member::Metadata(pairs) => Some(pairs),
                Member::Tensor(_) => None,
            })
            .flatten()
    }

    /// One tensor.
    pub fn entry(self, name: &str) -> Option<Entry<'a>> {
        self.entries().find(|entry| entry.name.is(name))
    }

    /// One metadata entry.
    pub fn meta(self, key: &str) -> Option<Text<'a>> {
        self.metadata().find(|(found, _)| found.is(key)).map(|(_, value)| value)
    }

    /// The bytes of a tensor.
    pub fn data(self, entry: &Entry<'_>) -> &'a [u8] {
        self.data.get(entry.begin..entry.end).unwrap_or_default()
    }

    /// Checks the content against the checksum in the metadata; whether there is one.
    ///
    /// # Errors
    /// [`ChecksumError`] if the two differ.
    pub fn verify_checksum(self) -> Result<bool, ChecksumError> {
        let Some(stored) = self.meta(CHECKSUM_KEY) else { return Ok(false) };
        let mut checksum = Checksum::new();
        let covered = self.metadata().filter(|(key, _)| !key.is(CHECKSUM_KEY));
        in_order(covered, |a, b| a.0.order(b.0), |(key, value)| checksum.entry(key, value));
        in_order(
            self.entries(),
            |a, b| a.name.order(b.name),
            |entry| checksum.tensor(entry.name, entry.dtype, entry.shape.iter(), self.data(entry)),
        );
        let computed = checksum.finish();
        if stored.is(checksum_text(computed).as_str()) {
            Ok(true)
        } else {
            Err(ChecksumError { computed, stored: Excerpt::of(stored) })
        }
    }
}

/// Visits items in their order, without memory: those that stand in it already one by one, others
/// by looking for the next.
fn in_order<T: Copy>(
    items: impl Iterator<Item = T> + Clone,
    order: impl Fn(&T, &T) -> Ordering,
    mut visit: impl FnMut(&T),
) {
    let pairs = items.clone().zip(items.clone().skip(1));
    if pairs.into_iter().all(|(a, b)| order(&a, &b).is_lt()) {
        items.for_each(|item| visit(&item));
        return;
    }
    let mut last: Option<T> = None;
    while let Some(next) = items
        .clone()
        .filter(|item| last.is_none_or(|last| order(&last, item).is_lt()))
        .min_by(&order)
    {
        visit(&next);
        last = Some(next);
    }
}

/// The checksum over a file's content: the CRC-32 (ISO-HDLC, as in zlib) of, in this order: for each
/// metadata entry but [`CHECKSUM_KEY`], by key: key, 0, value, 0; for each tensor, by name: name, 0,
/// type name, 0, shape as decimal numbers with commas, 0, data.
pub struct Checksum(crc::Digest<'static, u32>);

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

impl Checksum {
    /// Of nothing so far.
    pub fn new() -> Self {
        static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
        Self(CRC.digest())
    }

    /// Adds a metadata entry; the checksum's own is left out by the caller.
    pub fn entry(&mut self, key: impl fmt::Display, value: impl fmt::Display) {
        self.part(&key);
        self.part(&value);
    }

    /// Adds a tensor.
    pub fn tensor(
        &mut self,
        name: impl fmt::Display,
        dtype: &str,
        shape: impl Iterator<Item = usize>,
        data: &[u8],
    ) {
        self.part(&name);
        self.part(&dtype);
        for (i, n) in shape.enumerate() {
            let comma = if i == 0 { "" } else { "," };
            self.put(format_args!("{comma}{n}"));
        }
        self.0.update(&[0]);
        self.0.update(data);
    }

    /// The checksum.
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }

    fn part(&mut self, part: &impl fmt::Display) {
        self.put(format_args!("{part}"));
        self.0.update(&[0]);
    }

    fn put(&mut self, text: fmt::Arguments<'_>) {
        // It never fails.
        let _ = self.write_fmt(text);
    }
}

impl Write for Checksum {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.update(s.as_bytes());
        Ok(())
    }
}

/// A checksum as it is written: `crc32:` and eight hexadecimal digits.
pub fn checksum_text(checksum: u32) -> Excerpt {
    Excerpt::of(format_args!("crc32:{checksum:08x}"))
}

/// Reads a whole header for its form alone.
fn skim(reader: &mut Reader<'_>) -> Result<(), Wanted> {
    reader.sign('{', "its header is not a JSON object")?;
    let (mut first, mut metadata) = (true, 0);
    while reader.another(first, '}')? {
        first = false;
        metadata += usize::from(matches!(member(reader)?, Member::Metadata(_)));
    }
    if metadata > 1 { Err("it has metadata twice") } else { Ok(()) }
}

/// A member of the header.
enum Member<'a> {
    Metadata(Pairs<'a>),
    Tensor(Entry<'a>),
}

#[inline(never)]
fn member<'a>(reader: &mut Reader<'a>) -> Result<Member<'a>, Wanted> {
    let name = reader.string()?;
    reader.sign(':', "a colon is missing")?;
    if name.is(METADATA) {
        reader.sign('{', "its metadata are no object")?;
        let pairs = Pairs { reader: *reader, first: true };
        let mut rest = pairs.clone();
        while rest.read()?.is_some() {}
        *reader = rest.reader;
        return Ok(Member::Metadata(pairs));
    }
    entry(name, reader).map(Member::Tensor)
}

/// What a tensor's object says: `{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}`.
fn entry<'a>(name: Text<'a>, reader: &mut Reader<'a>) -> Result<Entry<'a>, Wanted> {
    let (mut dtype, mut shape, mut offsets) = (None, None, None);
    reader.sign('{', "a tensor is no object")?;
    let mut first = true;
    while reader.another(first, '}')? {
        first = false;
        let key = reader.string()?;
        reader.sign(':', "a colon is missing")?;
        let twice = match key {
            key if key.is("dtype") => {
                let found = reader.string()?;
                let known = DTYPES.iter().find(|(name, _)| found.is(name));
                dtype.replace(known.ok_or("an element type is unknown")?.0).is_some()
            }
            key if key.is("shape") => shape.replace(Shape(list(reader)?.0)).is_some(),
            key if key.is("data_offsets") => {
                let mut numbers = Shape(list(reader)?.0).iter();
                let ends = (numbers.next(), numbers.next(), numbers.next());
                let (Some(begin), Some(end), None) = ends else {
                    return Err("offsets are not two numbers");
                };
                offsets.replace((begin, end)).is_some()
            }
            _ => return Err("a tensor says more than type, shape and offsets"),
        };
        if twice {
            return Err("a tensor says something twice");
        }
    }
    let (Some(dtype), Some(shape), Some((begin, end))) = (dtype, shape, offsets) else {
        return Err("a tensor has no type, shape or offsets");
    };
    Ok(Entry { name, dtype, shape, begin, end })
}

/// A list of whole numbers: what stands between its brackets.
fn list<'a>(reader: &mut Reader<'a>) -> Result<Reader<'a>, Wanted> {
    reader.sign('[', "a list is missing")?;
    let whole = reader.0;
    let mut first = true;
    while reader.another(first, ']')? {
        first = false;
        reader.number()?;
    }
    let taken = whole.len() - reader.0.len() - 1;
    Ok(Reader(whole.get(..taken).unwrap_or_default()))
}

/// The members of a header that was skimmed.
#[derive(Clone)]
struct Members<'a> {
    reader: Reader<'a>,
    first: bool,
}

impl<'a> Members<'a> {
    fn of(header: &'a str) -> Self {
        let mut reader = Reader(header);
        reader.has('{');
        Self { reader, first: true }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let first = core::mem::replace(&mut self.first, false);
        self.reader.another(first, '}').ok().filter(|more| *more)?;
        member(&mut self.reader).ok()
    }
}

/// The entries of the metadata.
#[derive(Clone, Debug)]
struct Pairs<'a> {
    reader: Reader<'a>,
    first: bool,
}

impl<'a> Pairs<'a> {
    fn read(&mut self) -> Result<Option<(Text<'a>, Text<'a>)>, Wanted> {
        let first = core::mem::replace(&mut self.first, false);
        if !self.reader.another(first, '}')? {
            return Ok(None);
        }
        let key = self.reader.string()?;
        self.reader.sign(':', "a colon is missing")?;
        Ok(Some((key, self.reader.string()?)))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Text<'a>, Text<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.read().ok().flatten()
    }
}

/// Bits of an element of this type.
fn bits_of(dtype: &str) -> Option<usize> {
    DTYPES.iter().find(|(name, _)| *name == dtype).map(|(_, bits)| *bits)
}
