//! Packets over a serial line: COBS frames between zero bytes.

use std::{io, os::fd::OwnedFd, path::Path, time::Duration};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    termios::{self, OptionalActions},
};

use sog_core::link::{Deframer, Fed, enclose, enclosed_len};

use super::{MAX_PACKET, Transport, holder};
use crate::{io::IoError, os, time::monotonic_ns};

/// How long a send waits for room in the system's buffer before the packet is given up.
const SEND_PATIENCE_NS: u64 = 1_000_000;

/// Device numbers of pseudo-terminals (Unix98).
const PSEUDO_TERMINALS: std::ops::RangeInclusive<u32> = 136..=143;

/// A serial line, or a pseudo-terminal.
///
/// A packet is `0 cobs(packet) 0`; the first zero ends whatever was left unfinished before.
#[derive(Debug)]
pub struct Serial {
    line: OwnedFd,
    /// Bytes received and not yet looked at.
    raw: Vec<u8>,
    raw_range: std::ops::Range<usize>,
    /// The frame in progress; longer ones are damage.
    frame: Vec<u8>,
    deframer: Deframer,
    out: Vec<u8>,
    corrupt: u64,
}

impl Serial {
    /// Opens a device for this process alone, raw, at `baud` bits per second.
    ///
    /// Two locks keep others away: `flock`, which other controllers of this kind respect, and which
    /// ends with the process however it ends; and `TIOCEXCL`, which keeps out programs that know
    /// nothing of it. A pseudo-terminal gets the first alone: there the second outlives the
    /// process.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] with who has the device since when; else what the system
    /// says.
    pub fn open(device: &Path, baud: u32) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let line = match rustix::fs::open(device, flags, Mode::empty()) {
            Err(rustix::io::Errno::BUSY) => return Err(holder::busy(device)),
            line => line?,
        };
        match flock(&line, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(holder::busy(device)),
            locked => locked?,
        }
        let number = rustix::fs::fstat(&line)?.st_rdev;
        if !PSEUDO_TERMINALS.contains(&rustix::fs::major(number)) {
            termios::ioctl_tiocexcl(&line)?;
        }
        Self::from_line(line, baud)
    }

    /// Takes an open terminal, non-blocking, and makes it raw.
    ///
    /// # Errors
    /// What the system says.
    pub fn from_line(line: OwnedFd, baud: u32) -> io::Result<Self> {
        let mut settings = termios::tcgetattr(&line)?;
        settings.make_raw();
        settings.set_speed(baud)?;
        termios::tcsetattr(&line, OptionalActions::Flush, &settings)?;
        let longest = enclosed_len(MAX_PACKET);
        Ok(Self {
            line,
            raw: vec![0; 4096],
            raw_range: 0..0,
            frame: vec![0; longest],
            deframer: Deframer::default(),
            out: vec![0; longest],
            corrupt: 0,
        })
    }

    /// Takes received bytes until a packet is whole, and says how long it is.
    fn take_packet(&mut self) -> Option<usize> {
        while let Some(byte) = self.raw_range.next().map(|i| self.raw[i]) {
            match self.deframer.feed(&mut self.frame, byte) {
                Fed::Nothing => {}
                Fed::Packet(len) => return Some(len),
                Fed::Damaged => self.corrupt += 1,
            }
        }
        None
    }
}

impl Transport for Serial {
    fn send(&mut self, packet: &[u8]) -> Result<(), IoError> {
        let unsent = IoError::Robot("the serial line takes no more");
        let len = enclose(packet, &mut self.out).ok_or(unsent)?;
        let mut rest = &self.out[..len];
        let deadline_ns = monotonic_ns() + SEND_PATIENCE_NS;
        while !rest.is_empty() {
            match rustix::io::write(&self.line, rest) {
                Ok(n) => rest = &rest[n..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let left_ns = deadline_ns.saturating_sub(monotonic_ns());
                    if left_ns == 0 {
                        return Err(unsent);
                    }
                    os::wait_writable(&self.line, left_ns);
                }
                Err(_) => return Err(IoError::Closed),
            }
        }
        Ok(())
    }

    fn receive(&mut self, packet: &mut [u8], timeout: Duration) -> Result<Option<usize>, IoError> {
        let deadline_ns = monotonic_ns() + timeout.as_nanos() as u64;
        loop {
            while let Some(len) = self.take_packet() {
                match packet.get_mut(..len) {
                    Some(packet) => {
                        packet.copy_from_slice(&self.frame[..len]);
                        return Ok(Some(len));
                    }
                    None => self.corrupt += 1,
                }
            }
            match rustix::io::read(&self.line, &mut self.raw) {
                Ok(0) => return Err(IoError::Closed),
                Ok(n) => self.raw_range = 0..n,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let left_ns = deadline_ns.saturating_sub(monotonic_ns());
                    if timeout.is_zero() || left_ns == 0 {
                        return Ok(None);
                    }
                    os::wait_readable(&self.line, left_ns);
                }
                // The other end of a pseudo-terminal is closed, or the device was unplugged.
                Err(_) => return Err(IoError::Closed),
            }
        }
    }

    fn corrupt(&self) -> u64 {
        self.corrupt
    }
}
