//! One end of a link: seals and opens packets, keeps order, counts what is dropped.

use super::{
    Fate, Key, LinkCounts,
    wire::{self, Frame, Message, WIRE_VERSION, WireCommand},
};

/// How far back a late packet can still be told from a repeated one.
const WINDOW: u32 = 64;
/// The least transit time is looked for anew this often, so that drifting clocks do no harm.
const TRANSIT_WINDOW_NS: u64 = 10_000_000_000;

/// What came in, apart from the message itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Version that it is laid out in.
    pub version: u8,
    /// Its session, 0 before there is one.
    pub session: u64,
    seq: u32,
    /// How long an answered packet of this end was on its way there and back, ns, less what the other
    /// end held it for.
    pub round_trip_ns: Option<u64>,
}

/// One end of a link, without the link: packets are given to it and taken from it, with the time.
/// It keeps the times of the last `KEPT` packets sent, to measure round trips by.
#[derive(Clone, Debug)]
pub struct Endpoint<const KEPT: usize> {
    key: Option<Key>,
    /// Frames older than this are late; 0 for no limit.
    late_ns: u64,
    /// Version of the wire format that is spoken.
    version: u8,
    session: u64,
    seq: u32,
    sent_ns: [u64; KEPT],
    order: Order,
    transit: Transit,
    /// Newest frame received, and when.
    newest: (u32, u64),
    counts: LinkCounts,
}

impl<const KEPT: usize> Endpoint<KEPT> {
    /// An end without a session.
    pub fn new(key: Option<Key>) -> Self {
        const { assert!(KEPT > 0) };
        Self {
            key,
            late_ns: 0,
            version: WIRE_VERSION,
            session: 0,
            seq: 0,
            sent_ns: [0; KEPT],
            order: Order::default(),
            transit: Transit::default(),
            newest: (0, 0),
            counts: LinkCounts::default(),
        }
    }

    /// The shared secret.
    pub fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// The session, 0 for none.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// The version that is spoken.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Speaks this version from now on.
    pub fn speak(&mut self, version: u8) {
        self.version = version;
    }

    /// Begins a session, or the time between two: sequence numbers start again.
    pub fn begin(&mut self, session: u64, late_ns: u64) {
        self.session = session;
        self.late_ns = late_ns;
        self.seq = 0;
        self.order = Order::default();
        self.transit = Transit::default();
        self.newest = (0, 0);
    }

    /// Begins a session, in the version of a packet of it that has already come; `sent` of its own
    /// have already been sent.
    pub fn begin_with(&mut self, first: Received, late_ns: u64, sent: u32) {
        self.begin(first.session, late_ns);
        self.version = first.version;
        self.seq = sent;
        // Whatever was sent before it was never meant to be acted on.
        self.order.begin_at(first.seq);
        self.counts.received += 1;
    }

    /// Packets by fate.
    pub fn counts(&self) -> &LinkCounts {
        &self.counts
    }

    /// Counts a packet that could not be used.
    pub fn count(&mut self, fate: Fate) {
        self.counts.add(fate, 1);
        if fate == Fate::Reordered {
            self.counts.found();
        }
    }

    /// Counts a packet that was sealed, by whether it left.
    pub fn count_sent(&mut self, left: bool) {
        if left {
            self.counts.sent += 1;
        } else {
            self.counts.add(Fate::Unsent, 1);
        }
    }

    /// Seals a message of the present session, and says how long the packet is; none if it does not
    /// fit.
    pub fn seal(&mut self, now_ns: u64, message: Message<'_>, packet: &mut [u8]) -> Option<usize> {
        let session = self.session;
        self.seq = self.seq.wrapping_add(1);
        self.seal_as(session, self.seq, now_ns, message, packet)
    }

    /// Seals a message under any session number.
    pub fn seal_as(
        &mut self,
        session: u64,
        seq: u32,
        now_ns: u64,
        message: Message<'_>,
        packet: &mut [u8],
    ) -> Option<usize> {
        let (echo_seq, received_ns) = self.newest;
        let echo_hold_ns = if echo_seq == 0 { 0 } else { now_ns.saturating_sub(received_ns) };
        let version = self.version;
        let frame =
            Frame { version, session, seq, sent_ns: now_ns, echo_seq, echo_hold_ns, message };
        self.sent_ns[seq as usize % KEPT] = now_ns;
        wire::seal(&frame, self.key.as_ref(), packet)
    }

    /// Opens a packet that came. Of the present session only those pass that are new, in order and
    /// not late; others pass as they are, for the handshake. What does not pass is counted.
    ///
    /// # Errors
    /// Why it is dropped.
    pub fn open<'p>(
        &mut self,
        now_ns: u64,
        packet: &'p [u8],
    ) -> Result<(Received, Message<'p>), Fate> {
        let opened = self.judge(now_ns, packet);
        if let Err(fate) = opened {
            self.count(fate);
        }
        opened
    }

    fn judge<'p>(
        &mut self,
        now_ns: u64,
        packet: &'p [u8],
    ) -> Result<(Received, Message<'p>), Fate> {
        let frame = wire::open(packet, self.key.as_ref())?;
        let Frame { version, session, seq, message, .. } = frame;
        let mut received = Received { version, session, seq, round_trip_ns: None };
        if session != self.session || self.session == 0 {
            return Ok((received, message));
        }
        if version != self.version {
            return Err(Fate::Version);
        }
        match self.order.judge(seq)? {
            0 => {}
            gap => self.counts.add(Fate::Lost, u64::from(gap)),
        }
        let age_ns = self.transit.age_ns(frame.sent_ns, now_ns);
        // A stop is obeyed whenever it comes.
        let stops = matches!(message, Message::Command { kind: WireCommand::Stop, .. });
        if self.late_ns > 0 && age_ns > self.late_ns && !stops {
            return Err(Fate::Late);
        }
        let (echo_seq, echo_hold_ns) = (frame.echo_seq, frame.echo_hold_ns);
        if echo_seq > 0 && (self.seq.wrapping_sub(echo_seq) as usize) < KEPT {
            let sent_ns = self.sent_ns[echo_seq as usize % KEPT];
            let away_ns = now_ns.saturating_sub(sent_ns).saturating_sub(echo_hold_ns);
            received.round_trip_ns = Some(away_ns);
        }
        self.newest = (seq, now_ns);
        self.counts.received += 1;
        Ok((received, message))
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
