//! One end of a link on a transport: the core's endpoint, with the machine's clock.

use std::time::Duration;

use sog_core::link::{Endpoint as Machine, Received as Opened};

use super::{
    Fate, Key, LinkCounts, MAX_PACKET, Transport,
    counts::with_those_of,
    wire::{self, Message},
};
use crate::{
    io::IoError,
    time::{Histogram, monotonic_ns},
};

/// How many send times are kept to measure round trips by.
pub(super) const SENT_KEPT: usize = 256;
/// Packets looked at in one go: a flood must not hold up a tick.
pub(super) const MOST_AT_ONCE: u32 = 64;

/// What came in, apart from the message itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) version: u8,
    pub(super) session: u64,
    opened: Opened,
    len: usize,
}

pub(super) struct Endpoint<T> {
    transport: T,
    machine: Machine<SENT_KEPT>,
    looked_at: u32,
    round_trip: Histogram,
    rx: Vec<u8>,
    tx: Vec<u8>,
}

impl<T: Transport> Endpoint<T> {
    pub(super) fn new(transport: T, key: Option<Key>) -> Self {
        Self {
            transport,
            machine: Machine::new(key),
            looked_at: 0,
            round_trip: Histogram::default(),
            rx: vec![0; MAX_PACKET],
            tx: vec![0; MAX_PACKET],
        }
    }

    pub(super) fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    pub(super) fn session(&self) -> u64 {
        self.machine.session()
    }

    pub(super) fn version(&self) -> u8 {
        self.machine.version()
    }

    /// Speaks this version from now on.
    pub(super) fn speak(&mut self, version: u8) {
        self.machine.speak(version);
    }

    /// Begins a session, in the version of a packet of it that has already come; `sent` of its own
    /// have already been sent.
    pub(super) fn begin_with(&mut self, first: Received, late_ns: u64, sent: u32) {
        self.machine.begin_with(first.opened, late_ns, sent);
    }

    /// Counts, with those of the transport.
    pub(super) fn counts(&self) -> LinkCounts {
        with_those_of(&self.transport, self.machine.counts())
    }

    pub(super) fn count(&mut self, fate: Fate) {
        self.machine.count(fate);
    }

    pub(super) fn round_trip(&self) -> &Histogram {
        &self.round_trip
    }

    /// Sends a message of the present session.
    pub(super) fn send(&mut self, message: Message<'_>) -> Result<(), IoError> {
        let sealed = self.machine.seal(monotonic_ns(), message, &mut self.tx);
        self.send_sealed(sealed)
    }

    /// Sends a message under any session number.
    pub(super) fn send_as(
        &mut self,
        session: u64,
        seq: u32,
        message: Message<'_>,
    ) -> Result<(), IoError> {
        let sealed = self.machine.seal_as(session, seq, monotonic_ns(), message, &mut self.tx);
        self.send_sealed(sealed)
    }

    fn send_sealed(&mut self, sealed: Option<usize>) -> Result<(), IoError> {
        let len = sealed.ok_or(IoError::Robot("the message does not fit a packet"))?;
        let sent = self.transport.send(&self.tx[..len]);
        self.machine.count_sent(sent.is_ok());
        sent
    }

    /// Allows [`receive`](Self::receive) another [`MOST_AT_ONCE`] packets.
    pub(super) fn begin_round(&mut self) {
        self.looked_at = 0;
    }

    /// Waits at most `timeout` for a packet that is sound. Of the present session only those pass
    /// that are new, in order and not late; others pass as they are, for the handshake.
    pub(super) fn receive(&mut self, timeout: Duration) -> Result<Option<Received>, IoError> {
        let deadline_ns = monotonic_ns() + timeout.as_nanos() as u64;
        while self.looked_at < MOST_AT_ONCE {
            let left_ns = deadline_ns.saturating_sub(monotonic_ns());
            let left = if timeout.is_zero() { timeout } else { Duration::from_nanos(left_ns) };
            let Some(len) = self.transport.receive(&mut self.rx, left)? else { return Ok(None) };
            self.looked_at += 1;
            // What is dropped is counted there.
            if let Ok((opened, _)) = self.machine.open(monotonic_ns(), &self.rx[..len]) {
                if let Some(round_trip_ns) = opened.round_trip_ns {
                    self.round_trip.record(round_trip_ns);
                }
                let Opened { version, session, .. } = opened;
                return Ok(Some(Received { version, session, opened, len }));
            }
        }
        Ok(None)
    }

    /// The message of a packet just received.
    pub(super) fn message(&self, received: Received) -> Option<Message<'_>> {
        wire::open(&self.rx[..received.len], self.machine.key()).ok().map(|frame| frame.message)
    }
}
