//! Numbers where they lie: in memory, or in a file's bytes.

/// `f32` numbers of a slice, or little-endian in a file's bytes, at any address.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// In memory, or in bytes that lie as memory would have them.
    Plain(&'a [f32]),
    /// In bytes that begin at an odd address, or on a big-endian machine.
    Bytes(&'a [[u8; 4]]),
}

impl<'a> Numbers<'a> {
    /// No numbers.
    pub const EMPTY: Self = Self::Plain(&[]);

    /// The numbers in these bytes; none if the last one is not whole.
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let (chunks, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return None;
        }
        match bytemuck::try_cast_slice(bytes) {
            Ok(numbers) if cfg!(target_endian = "little") => Some(Self::Plain(numbers)),
            _ => Some(Self::Bytes(chunks)),
        }
    }

    /// How many there are.
    pub fn len(self) -> usize {
        match self {
            Self::Plain(numbers) => numbers.len(),
            Self::Bytes(chunks) => chunks.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// One of them.
    pub fn get(self, index: usize) -> Option<f32> {
        match self {
            Self::Plain(numbers) => numbers.get(index).copied(),
            Self::Bytes(chunks) => chunks.get(index).map(|chunk| f32::from_le_bytes(*chunk)),
        }
    }

    /// Their bytes, little-endian; none where they lie otherwise in memory.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Plain(numbers) if cfg!(target_endian = "little") => {
                Some(bytemuck::cast_slice(numbers))
            }
            Self::Plain(_) => None,
            Self::Bytes(chunks) => Some(chunks.as_flattened()),
        }
    }

    /// Those from `start` on, `count` of them; none where they do not reach.
    pub fn slice(self, start: usize, count: usize) -> Option<Self> {
        let end = start.checked_add(count)?;
        match self {
            Self::Plain(numbers) => numbers.get(start..end).map(Self::Plain),
            Self::Bytes(chunks) => chunks.get(start..end).map(Self::Bytes),
        }
    }

    /// All of them, in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = f32> + Clone + use<'a> {
        (0..self.len()).map(move |i| self.get(i).unwrap_or(f32::NAN))
    }

    /// Copies them; false, and nothing copied, where there are not as many.
    pub fn copy_to(self, to: &mut [f32]) -> bool {
        if self.len() != to.len() {
            return false;
        }
        match self {
            Self::Plain(numbers) => to.copy_from_slice(numbers),
            Self::Bytes(_) => to.iter_mut().zip(self.iter()).for_each(|(to, v)| *to = v),
        }
        true
    }
}

impl<'a> From<&'a [f32]> for Numbers<'a> {
    fn from(numbers: &'a [f32]) -> Self {
        Self::Plain(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_at_any_address() {
        let values = [1.5_f32, -2.0, f32::MAX];
        let mut bytes = [0_u8; 16];
        for shift in 0..4 {
            for (to, v) in bytes[shift..].chunks_exact_mut(4).zip(values) {
                to.copy_from_slice(&v.to_le_bytes());
            }
            let numbers = Numbers::from_bytes(&bytes[shift..shift + 12]).unwrap();
            assert!(numbers.iter().eq(values), "shift {shift}");
            assert_eq!(numbers.as_bytes(), Some(&bytes[shift..shift + 12]));
            assert_eq!(numbers.slice(1, 2).unwrap().get(0), Some(-2.0));
            assert!(numbers.slice(1, 3).is_none() && numbers.get(3).is_none());
            let mut copy = [0.0; 3];
            assert!(numbers.copy_to(&mut copy) && copy == values);
            assert!(!numbers.copy_to(&mut copy[..2]));
        }
        assert!(Numbers::from_bytes(&bytes[..15]).is_none());
    }
}
