//! One end of a link: seals and opens packets, keeps order, counts what is dropped.

use std::time::Duration;

use super::{
    Fate, Key, LinkCounts, MAX_PACKET, Transport,
    wire::{self, Frame, Message, WIRE_VERSION},
};
use crate::{
    io::IoError,
    time::{Histogram, monotonic_ns},
};

/// How far back a late packet can still be told from a repeated one.
const WINDOW: u32 = 64;
/// How many send times are kept to measure round trips by.
const SENT_KEPT: usize = 256;
/// Packets looked at in one go: a flood must not hold up a tick.
const MOST_AT_ONCE: u32 = 64;
/// The least transit time is looked for anew this often, so that drifting clocks do no harm.
const TRANSIT_WINDOW_NS: u64 = 10_000_000_000;

/// What came in, apart from the message itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) version: u8,
    pub(super) session: u64,
    seq: u32,
    len: usize,
}

pub(super) struct Endpoint<T> {
    transport: T,
    key: Option<Key>,
    /// Frames older than this are late; 0 for no limit.
    late_ns: u64,
    /// Version of the wire format that is spoken.
    version: u8,
    session: u64,
    seq: u32,
    sent_ns: [u64; SENT_KEPT],
    order: Order,
    transit: Transit,
    /// Newest frame received, and when.
    newest: (u32, u64),
    looked_at: u32,
    counts: LinkCounts,
    round_trip: Histogram,
    rx: Vec<u8>,
    tx: Vec<u8>,
}

impl<T: Transport> Endpoint<T> {
    pub(super) fn new(transport: T, key: Option<Key>) -> Self {
        Self {
            transport,
            key,
            late_ns: 0,
            version: WIRE_VERSION,
            session: 0,
            seq: 0,
            sent_ns: [0; SENT_KEPT],
            order: Order::default(),
            transit: Transit::default(),
            newest: (0, 0),
            looked_at: 0,
            counts: LinkCounts::default(),
            round_trip: Histogram::default(),
            rx: vec![0; MAX_PACKET],
            tx: vec![0; MAX_PACKET],
        }
    }

    pub(super) fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    pub(super) fn session(&self) -> u64 {
        self.session
    }

    pub(super) fn version(&self) -> u8 {
        self.version
    }

    /// Speaks this version from now on.
    pub(super) fn speak(&mut self, version: u8) {
        self.version = version;
    }

    /// Begins a session, or the time between two: sequence numbers start again.
    pub(super) fn begin(&mut self, session: u64, late_ns: u64) {
        self.session = session;
        self.late_ns = late_ns;
        self.seq = 0;
        self.order = Order::default();
        self.transit = Transit::default();
        self.newest = (0, 0);
    }

    /// Begins a session, in the version of a packet of it that has already come; `sent` of its own
    /// have already been sent.
    pub(super) fn begin_with(&mut self, first: Received, late_ns: u64, sent: u32) {
        self.begin(first.session, late_ns);
        self.version = first.version;
        self.seq = sent;
        // Whatever was sent before it was never meant to be acted on.
        self.order.begin_at(first.seq);
        self.counts.received += 1;
    }

    /// Counts, with those of the transport.
    pub(super) fn counts(&self) -> LinkCounts {
        let mut counts = self.counts;
        counts.add(Fate::Foreign, self.transport.foreign());
        counts.add(Fate::Corrupt, self.transport.corrupt());
        counts
    }

    pub(super) fn count(&mut self, fate: Fate) {
        self.counts.add(fate, 1);
    }

    pub(super) fn round_trip(&self) -> &Histogram {
        &self.round_trip
    }

    /// Sends a message of the present session.
    pub(super) fn send(&mut self, message: Message<'_>) -> Result<(), IoError> {
        let session = self.session;
        self.seq = self.seq.wrapping_add(1);
        self.send_as(session, self.seq, message)
    }

    /// Sends a message under any session number.
    pub(super) fn send_as(
        &mut self,
        session: u64,
        seq: u32,
        message: Message<'_>,
    ) -> Result<(), IoError> {
        let now_ns = monotonic_ns();
        let (echo_seq, received_ns) = self.newest;
        let echo_hold_ns = if echo_seq == 0 { 0 } else { now_ns.saturating_sub(received_ns) };
        let version = self.version;
        let frame =
            Frame { version, session, seq, sent_ns: now_ns, echo_seq, echo_hold_ns, message };
        let sealed = wire::seal(&frame, self.key.as_ref(), &mut self.tx);
        let len = sealed.ok_or(IoError::Robot("the message does not fit a packet"))?;
        self.sent_ns[seq as usize % SENT_KEPT] = now_ns;
        let sent = self.transport.send(&self.tx[..len]);
        match sent {
            Ok(()) => self.counts.sent += 1,
            Err(_) => self.counts.add(Fate::Unsent, 1),
        }
        sent
    }

    /// Version and nonce of a peer that is not heard and asks for a session.
    pub(super) fn stranger_asks(&mut self) -> Option<(u8, u64)> {
        let len = self.transport.stranger(&mut self.rx)?;
        match wire::open(&self.rx[..len], self.key.as_ref()).ok()? {
            Frame { version, message: Message::Hello { nonce, .. }, .. } => Some((version, nonce)),
            _ => None,
        }
    }

    /// Tells that peer that there is no session to have.
    pub(super) fn refuse_stranger(&mut self, (version, nonce): (u8, u64), reason: &str) {
        let (session, seq, sent_ns) = (0, 1, monotonic_ns());
        let (echo_seq, echo_hold_ns) = (0, 0);
        let message = Message::Refuse { nonce, reason };
        let frame = Frame { version, session, seq, sent_ns, echo_seq, echo_hold_ns, message };
        if let Some(len) = wire::seal(&frame, self.key.as_ref(), &mut self.tx) {
            self.transport.answer_stranger(&self.tx[..len]);
        }
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
            match self.judge(len) {
                Ok(received) => return Ok(Some(received)),
                Err(fate) => {
                    self.counts.add(fate, 1);
                    if fate == Fate::Reordered {
                        self.counts.found();
                    }
                }
            }
        }
        Ok(None)
    }

    fn judge(&mut self, len: usize) -> Result<Received, Fate> {
        let frame = wire::open(&self.rx[..len], self.key.as_ref())?;
        let Frame { version, session, seq, .. } = frame;
        let received = Received { version, session, seq, len };
        if session != self.session || self.session == 0 {
            return Ok(received);
        }
        if version != self.version {
            return Err(Fate::Version);
        }
        let sent_ns = frame.sent_ns;
        let (echo_seq, echo_hold_ns) = (frame.echo_seq, frame.echo_hold_ns);
        match self.order.judge(seq)? {
            0 => {}
            gap => self.counts.add(Fate::Lost, u64::from(gap)),
        }
        let now_ns = monotonic_ns();
        let age_ns = self.transit.age_ns(sent_ns, now_ns);
        if self.late_ns > 0 && age_ns > self.late_ns {
            return Err(Fate::Late);
        }
        let is_echo = echo_seq > 0 && self.seq.wrapping_sub(echo_seq) < SENT_KEPT as u32;
        if is_echo {
            let sent_ns = self.sent_ns[echo_seq as usize % SENT_KEPT];
            self.round_trip.record(now_ns.saturating_sub(sent_ns).saturating_sub(echo_hold_ns));
        }
        self.newest = (seq, now_ns);
        self.counts.received += 1;
        Ok(received)
    }

    /// The message of a packet just received.
    pub(super) fn message(&self, received: Received) -> Option<Message<'_>> {
        wire::open(&self.rx[..received.len], self.key.as_ref()).ok().map(|frame| frame.message)
    }
}

/// Sequence numbers of one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Order {
    newest: u32,
    /// Bit i: number `newest − i` has come.
    seen: u64,
}

impl Order {
    /// This number has come, and none before it is missing.
    fn begin_at(&mut self, seq: u32) {
        (self.newest, self.seen) = (seq, u64::MAX);
    }

    /// How many numbers a new packet skips, or why it is dropped.
    fn judge(&mut self, seq: u32) -> Result<u32, Fate> {
        if seq == 0 {
            return Err(Fate::Foreign);
        }
        if seq > self.newest {
            let ahead = seq - self.newest;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = seq;
            return Ok(ahead - 1);
        }
        let behind = self.newest - seq;
        let bit = 1u64.checked_shl(behind).unwrap_or(0);
        if behind >= WINDOW || self.seen & bit != 0 {
            return Err(Fate::Duplicated);
        }
        self.seen |= bit;
        Err(Fate::Reordered)
    }
}

/// How much longer than the quickest a packet was on its way. The clocks of both ends need not
/// agree: only differences of transit times count.
#[derive(Clone, Copy, Debug, Default)]
struct Transit {
    /// Least (received − sent) of this window and of the one before, modulo 2⁶⁴.
    least: [Option<i64>; 2],
    window_from_ns: u64,
}

impl Transit {
    fn age_ns(&mut self, sent_ns: u64, now_ns: u64) -> u64 {
        let transit = now_ns.wrapping_sub(sent_ns) as i64;
        if now_ns.saturating_sub(self.window_from_ns) > TRANSIT_WINDOW_NS {
            self.least = [None, self.least[0]];
            self.window_from_ns = now_ns;
        }
        self.least[0] = Some(self.least[0].map_or(transit, |least| least.min(transit)));
        let least = self.least.into_iter().flatten().min().unwrap_or(transit);
        transit.wrapping_sub(least).max(0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_gaps_are_counted() {
        let mut order = Order::default();
        assert_eq!(order.judge(1), Ok(0));
        assert_eq!(order.judge(1), Err(Fate::Duplicated));
        assert_eq!(order.judge(4), Ok(2));
        assert_eq!(order.judge(3), Err(Fate::Reordered));
        assert_eq!(order.judge(3), Err(Fate::Duplicated));
        assert_eq!(order.judge(200), Ok(195));
        assert_eq!(order.judge(5), Err(Fate::Duplicated), "too far back to tell");
        assert_eq!(order.judge(0), Err(Fate::Foreign));
        assert_eq!(order.judge(u32::MAX), Ok(u32::MAX - 201));
    }

    #[test]
    fn age_is_relative_to_the_quickest() {
        let mut transit = Transit::default();
        let offset = u64::MAX - 500; // The sender's clock is far off.
        let mut age = |sent: u64, now: u64| transit.age_ns(sent.wrapping_add(offset), now);
        assert_eq!(age(0, 100), 0);
        assert_eq!(age(1000, 1150), 50);
        assert_eq!(age(2000, 2080), 0);
        assert_eq!(age(3000, 3100), 20);
        // The quickest is forgotten after two windows.
        assert_eq!(age(20_000_000_000, 20_000_000_500), 420);
        assert_eq!(age(40_000_000_000, 40_000_000_500), 0);
    }
}
