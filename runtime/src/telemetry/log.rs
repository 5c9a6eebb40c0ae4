//! The log file.
//!
//! ```text
//! file   = "SOGLOG" 5 0   header length u32   header (postcard)   header CRC-32   record*   end
//! record = 32-bit words (fixed part, observation, raw action, action, code, readings, command,
//!          applied action)   CRC-32 of them
//! end    = "SOGEND" 5 0   records u64   missing records u64   CRC-32 of both
//! ```
//!
//! All numbers are little-endian. Of the versions that are read too, 3 says nothing of what a person did, and in runs of 3 and 4
//! changes counted from the damping action whatever the robot applied, and what an adapter computes was not limited in them. A file
//! without its end, perhaps within a record (the program was
//! killed, the disk was full, the power failed), is read up to its last whole record, and one with a
//! damaged record up to the record before it.

use std::io;

use super::{
    Header, Record,
    record::{self, Widths},
};

/// Version that is written.
const VERSION: u8 = 5;
const MARK: [u8; 8] = mark(b"SOGLOG", VERSION);
const END: [u8; 8] = mark(b"SOGEND", VERSION);
/// Oldest version that is read.
const OLDEST: u8 = 3;
const END_BYTES: usize = 8 + 16 + 4;
const CRC: crc::Crc<u32, crc::Table<16>> =
    crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISO_HDLC);

const fn mark(name: &[u8; 6], version: u8) -> [u8; 8] {
    let [a, b, c, d, e, f] = *name;
    [a, b, c, d, e, f, version, 0]
}

/// A log read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// What the run was.
    pub header: Header,
    /// Its ticks; where records were lost, tick numbers jump.
    pub records: Vec<Record>,
    /// Whether the log has its end; if not, the program was killed or the disk took no more, and
    /// ticks may follow of which nothing is known.
    pub complete: bool,
    /// Bytes behind the last whole record: of one that was not written whole, or of all from a
    /// damaged one on.
    pub cut_bytes: usize,
    /// The record, counted from 0, that is damaged and ends what is read.
    pub damaged: Option<usize>,
    version: u8,
    /// Ticks without a record, as counted by the run; 0 if the end is not there to say.
    missing: u64,
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
    /// The file ends within its header.
    #[error(
        "the file has {found} bytes, and up to the end of its header alone it would have {needed}: it was cut off"
    )]
    Cut {
        /// Bytes that there are.
        found: usize,
        /// Bytes up to the end of the header.
        needed: u64,
    },
    /// The header is damaged.
    #[error("the header is damaged")]
    Header,
}

impl Log {
    /// Reads a whole log.
    ///
    /// # Errors
    /// [`LogError`]; neither a log that was cut off is one, nor a damaged record: the records before
    /// are read.
    pub fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        let begins = |&version: &u8| bytes.starts_with(&mark(b"SOGLOG", version));
        let Some(version) = (OLDEST..=VERSION).find(begins) else {
            return Err(LogError::Mark { found: bytes[..bytes.len().min(MARK.len())].to_vec() });
        };
        let rest = &bytes[MARK.len()..];
        let stated = rest.first_chunk::<4>().map_or(0, |len| u32::from_le_bytes(*len));
        let (found, needed) = (bytes.len(), MARK.len() as u64 + 4 + u64::from(stated) + 4);
        if (found as u64) < needed {
            return Err(LogError::Cut { found, needed });
        }
        let (header, rest) = split_header(rest).ok_or(LogError::Header)?;
        let header: Header = postcard::from_bytes(header).map_err(|_| LogError::Header)?;
        let widths = Widths { guided: version > 3, ..header.widths() };
        let size = record_bytes(widths.words());
        let (rest, end) = match split_end(rest, size, &mark(b"SOGEND", version)) {
            Some((records, missing)) => (records, Some(missing)),
            None => (rest, None),
        };
        let mut records = Vec::with_capacity(rest.len() / size);
        let mut damaged = None;
        let mut left = rest;
        while let Some((chunk, behind)) = left.split_at_checked(size) {
            match read_record(chunk, widths) {
                Some(record) => records.push(record),
                // Room that the file system made and never filled, because the power failed.
                None if end.is_none() && left.iter().all(|&byte| byte == 0) => break,
                None => {
                    damaged = Some(records.len());
                    break;
                }
            }
            left = behind;
        }
        let (complete, cut_bytes) = (end.is_some() && damaged.is_none(), left.len());
        let missing = end.unwrap_or(0);
        Ok(Self { header, records, complete, cut_bytes, damaged, version, missing })
    }

    /// Whether changes counted from what the robot applied, and what an adapter computes was limited
    /// in them: in runs of before neither.
    pub(super) fn counts_from_applied(&self) -> bool {
        self.version > 4
    }

    /// Ticks without a record: those that the run counted, or at least the gaps between records.
    pub fn lost(&self) -> u64 {
        let expected = self.records.last().map_or(0, |record| record.tick.tick + 1);
        expected.saturating_sub(self.records.len() as u64).max(self.missing)
    }

    /// Control rate of the run, Hz.
    pub fn rate_hz(&self) -> f64 {
        self.header.config.rate_hz.unwrap_or(1.0 / self.header.spec.contract.dt_s)
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

/// The records before the end of a log, and how many are missing; `None` without a sound end.
fn split_end<'a>(bytes: &'a [u8], record_bytes: usize, mark: &[u8; 8]) -> Option<(&'a [u8], u64)> {
    let (records, end) = bytes.split_at_checked(bytes.len().checked_sub(END_BYTES)?)?;
    let (numbers, crc) = end.strip_prefix(mark)?.split_last_chunk::<4>()?;
    let (count, missing) = numbers.split_first_chunk::<8>()?;
    let count = u64::from_le_bytes(*count);
    let sound = CRC.checksum(numbers) == u32::from_le_bytes(*crc)
        && Some(records.len()) == usize::try_from(count).ok()?.checked_mul(record_bytes);
    sound.then_some((records, u64::from_le_bytes(missing.try_into().ok()?)))
}

/// Everything that stands before the records.
pub(super) fn head(header: &Header) -> io::Result<Vec<u8>> {
    let bytes = postcard::to_allocvec(header).map_err(io::Error::other)?;
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let crc = CRC.checksum(&bytes).to_le_bytes();
    Ok([MARK.as_slice(), &len.to_le_bytes(), &bytes, &crc].concat())
}

/// Length of a record of so many words.
pub(super) const fn record_bytes(words: usize) -> usize {
    (words + 1) * 4
}

pub(super) fn append_record(out: &mut Vec<u8>, words: &[u32]) {
    let begin = out.len();
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    let crc = CRC.checksum(&out[begin..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// The end of a log with so many records in it, and so many missing.
pub(super) fn end(records: u64, missing: u64) -> Vec<u8> {
    let numbers = [records.to_le_bytes(), missing.to_le_bytes()].concat();
    let crc = CRC.checksum(&numbers).to_le_bytes();
    [END.as_slice(), &numbers, &crc].concat()
}
