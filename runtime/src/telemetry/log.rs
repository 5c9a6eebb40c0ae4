//! The log file.
//!
//! ```text
//! file   = "SOGLOG" 2 0   header length u32   header (postcard)   header CRC-32   record*
//! record = 32-bit words (fixed part, observation, raw action, action, code)   CRC-32 of them
//! ```
//!
//! All numbers are little-endian. A file that ends within a record (the power failed) is read up
//! to it.

use std::io::{self, Write};

use super::{
    Header, Record,
    record::{self, Widths},
};
use crate::policy::ParseKindError;

const MARK: [u8; 8] = *b"SOGLOG\x02\x00";
const CRC: crc::Crc<u32, crc::Table<16>> =
    crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISO_HDLC);

/// A log read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// What the run was.
    pub header: Header,
    /// Its ticks; where records were lost, tick numbers jump.
    pub records: Vec<Record>,
    /// Bytes of a last record that was not written whole.
    pub cut_bytes: usize,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file is no log, or one of another version.
    #[error("not a log of this version of sog-run: it begins with {found:02x?}, need {MARK:02x?}")]
    Mark {
        /// How the file begins.
        found: Vec<u8>,
    },
    /// The header is damaged.
    #[error("the header is damaged")]
    Header,
    /// The terms in the header cannot be read.
    #[error("the header is damaged: {0}")]
    Terms(#[from] ParseKindError),
    /// A record is damaged.
    #[error("record {index} is damaged")]
    Record {
        /// Which one, from 0.
        index: usize,
    },
}

impl Log {
    /// Reads a whole log.
    ///
    /// # Errors
    /// [`LogError`]; a last record that is not whole is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        let mark = || LogError::Mark { found: bytes[..bytes.len().min(MARK.len())].to_vec() };
        let rest = bytes.strip_prefix(&MARK).ok_or_else(mark)?;
        let (header, rest) = split_header(rest).ok_or(LogError::Header)?;
        let header: Header = postcard::from_bytes(header).map_err(|_| LogError::Header)?;
        let widths = header.widths(&header.spec()?);
        let size = (widths.words() + 1) * 4;
        let mut chunks = rest.chunks_exact(size);
        let read = |(index, chunk): (usize, &[u8])| {
            read_record(chunk, widths).ok_or(LogError::Record { index })
        };
        let records = chunks.by_ref().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Self { header, records, cut_bytes: chunks.remainder().len() })
    }

    /// Ticks whose records were lost.
    pub fn lost(&self) -> u64 {
        let expected = self.records.last().map_or(0, |record| record.tick.tick + 1);
        expected.saturating_sub(self.records.len() as u64)
    }

    /// Periods without a tick.
    pub fn misses(&self) -> u64 {
        self.records.iter().map(|record| u64::from(record.wake.missed)).sum()
    }
}

fn split_header(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (header, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    (CRC.checksum(header) == u32::from_le_bytes(*crc)).then_some((header, rest))
}

fn read_record(chunk: &[u8], widths: Widths) -> Option<Record> {
    let (body, crc) = chunk.split_last_chunk::<4>()?;
    if CRC.checksum(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let words: Vec<u32> = body.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    record::decode(&words, widths)
}

pub(super) fn write_header(file: &mut impl Write, header: &Header) -> io::Result<()> {
    let bytes = postcard::to_allocvec(header).map_err(io::Error::other)?;
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    file.write_all(&MARK)?;
    file.write_all(&len.to_le_bytes())?;
    file.write_all(&bytes)?;
    file.write_all(&CRC.checksum(&bytes).to_le_bytes())
}

pub(super) fn write_record(file: &mut impl Write, words: &[u32]) -> io::Result<()> {
    let mut digest = CRC.digest();
    for word in words {
        let bytes = word.to_le_bytes();
        digest.update(&bytes);
        file.write_all(&bytes)?;
    }
    file.write_all(&digest.finalize().to_le_bytes())
}
