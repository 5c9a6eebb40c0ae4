//! The wire format: one packet in, one packet out.
//!
//! ```text
//! packet = 'S' 'G' version  postcard(Frame)  [mac, 16 bytes, where a key is set]  crc32 LE
//! ```
//!
//! The CRC-32 (ISO-HDLC, as in zlib) covers all that stands before it; the MAC (HMAC-SHA-256, its
//! first 16 bytes) covers all that stands before it in turn. A packet is looked at in the order
//! CRC, marks, version, MAC, content, so that a packet of another version is told from damage.
//!
//! Two versions are spoken: 2, and 1, whose contract has a schema in place of action bounds and
//! which has neither [`Guided`](Message::Guided) nor [`Again`](Message::Again). `docs/protocol.md`
//! has every byte and every rule.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Fate;

/// Newest version of the wire format.
pub const WIRE_VERSION: u8 = 2;

/// The versions that are spoken, the newest first.
pub const WIRE_VERSIONS: [u8; 2] = [WIRE_VERSION, 1];

/// Largest packet: what a UDP datagram can hold.
pub const MAX_PACKET: usize = 65_507;

const MARK: [u8; 2] = *b"SG";
const MAC_BYTES: usize = 16;
const CRC_BYTES: usize = 4;

/// Lanes of the checksum's table: of 16 KiB where there is memory for it, else of 1 KiB.
const LANES: usize = if cfg!(feature = "large-tables") { 16 } else { 1 };
static CRC: crc::Crc<u32, crc::Table<LANES>> =
    crc::Crc::<u32, crc::Table<LANES>>::new(&crc::CRC_32_ISO_HDLC);

/// A shared secret that authenticates every packet.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// Fewest bytes of a secret.
    pub const MIN_BYTES: usize = 16;

    /// A key from the bytes of a secret, at least [`MIN_BYTES`](Self::MIN_BYTES) of them.
    pub fn new(secret: &[u8]) -> Option<Self> {
        if secret.len() < Self::MIN_BYTES {
            return None;
        }
        Hmac::new_from_slice(secret).ok().map(Self)
    }

    fn mac(&self, body: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(body)
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// What every packet holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame<'a> {
    /// Version of the wire format that it is laid out in.
    pub version: u8,
    /// Session, 0 before there is one.
    pub session: u64,
    /// Counts up from 1 in every session and direction.
    pub seq: u32,
    /// When it was sent, ns of the sender's clock.
    pub sent_ns: u64,
    /// Sequence number of the newest frame that the sender has got, 0 for none…
    pub echo_seq: u32,
    /// …and how long it has had it, ns.
    pub echo_hold_ns: u64,
    /// What it says.
    pub message: Message<'a>,
}

/// What stands before a message: a [`Frame`]'s numbers.
#[derive(Serialize, Deserialize)]
struct Head {
    session: u64,
    seq: u32,
    sent_ns: u64,
    echo_seq: u32,
    echo_hold_ns: u64,
}

/// What a frame says, with a contract of a version's layout. Numbers are little-endian `f32` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message<'a, C = Contract<'a>> {
    /// Controller: asks for a session.
    Hello {
        /// Drawn by the controller, to know the answer by.
        nonce: u64,
        /// What the policy was made for.
        contract: C,
        /// Control period that the controller will run at, ns.
        period_ns: u64,
    },
    /// Robot: grants a session; its number is the frame's.
    Welcome {
        /// As the controller drew it.
        nonce: u64,
        /// What the robot is.
        contract: C,
        /// Whether robot and controller wait for each other.
        lock_step: bool,
        /// What the actuators get in damping, `[A]`.
        damping_action: &'a [u8],
        /// What the actuators get in an emergency stop, `[A]`.
        stop_action: &'a [u8],
        /// Largest bearable change of action, `[A]`.
        max_action_step: &'a [u8],
    },
    /// Robot: refuses a session.
    Refuse {
        /// As the controller drew it.
        nonce: u64,
        /// Why, for people.
        reason: &'a str,
    },
    /// Controller: has understood the welcome; observations may flow. Later: is still there, and
    /// commands nothing.
    Ready,
    /// Robot: what it sees.
    #[serde(borrow)]
    Observation(Seen<'a>),
    /// Controller: what to do.
    Command {
        /// Step of the newest observation that the controller has got.
        step: u64,
        /// What kind of command.
        kind: WireCommand,
        /// The action, `[A]`; empty for other kinds.
        action: &'a [u8],
    },
    /// Either: ends the session.
    Bye,
    /// Robot, from version 2: what it sees, what it applied, and what a person does with it.
    Guided {
        /// As in an observation.
        #[serde(borrow)]
        seen: Seen<'a>,
        /// The action that was applied in the step that led here, `[A]`.
        applied: Option<&'a [u8]>,
        /// Bit n is button n, set while it is pressed.
        buttons: u32,
        /// Whether a person leads the robot, whatever is commanded.
        taken_over: bool,
    },
    /// Controller, from version 2: sends for observations that were lost on the way.
    Again {
        /// Step of the first.
        first: u64,
        /// How many steps from there on.
        count: u32,
    },
}

impl<'a, C> Message<'a, C> {
    /// The same with another contract.
    fn map_contract<D>(self, map: impl FnOnce(C) -> D) -> Message<'a, D> {
        match self {
            Self::Hello { nonce, contract, period_ns } => {
                Message::Hello { nonce, contract: map(contract), period_ns }
            }
            Self::Welcome {
                nonce,
                contract,
                lock_step,
                damping_action,
                stop_action,
                max_action_step,
            } => Message::Welcome {
                nonce,
                contract: map(contract),
                lock_step,
                damping_action,
                stop_action,
                max_action_step,
            },
            Self::Refuse { nonce, reason } => Message::Refuse { nonce, reason },
            Self::Ready => Message::Ready,
            Self::Observation(seen) => Message::Observation(seen),
            Self::Command { step, kind, action } => Message::Command { step, kind, action },
            Self::Bye => Message::Bye,
            Self::Guided { seen, applied, buttons, taken_over } => {
                Message::Guided { seen, applied, buttons, taken_over }
            }
            Self::Again { first, count } => Message::Again { first, count },
        }
    }
}

/// What a robot sees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen<'a> {
    /// Number of the control step.
    pub step: u64,
    /// Reward of the step that led here.
    pub reward: Option<f64>,
    /// Whether the robot's episode has ended.
    pub terminated: bool,
    /// Whether the robot follows actions, or holds itself in damping or stop until a reset.
    pub follows: bool,
    /// The observation, `[S]`.
    pub values: &'a [u8],
}

/// Kind of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WireCommand {
    /// Apply the action.
    Act,
    /// Damp.
    Damp,
    /// Emergency stop.
    Stop,
    /// Clear a stop or a failure.
    Reset,
}

/// What policy and robot must agree on, as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contract<'a> {
    /// Task.
    pub task: &'a str,
    /// Observation terms, in order: `name:width,name:width,…`.
    pub obs_terms: &'a str,
    /// Action terms, in order.
    pub action_terms: &'a str,
    /// Control period of the task, s.
    pub dt_s: f64,
    /// Lower action bounds, `[A]`; empty in version 1, which does not send them.
    pub action_low: &'a [u8],
    /// Upper action bounds, likewise.
    pub action_high: &'a [u8],
}

/// The only schema that version 1 was made for.
const SCHEMA_1: &str = "sog.policy/1";

/// A contract in the layout of version 1.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Contract1<'a> {
    schema: &'a str,
    task: &'a str,
    obs_terms: &'a str,
    action_terms: &'a str,
    dt_s: f64,
}

impl<'a> From<Contract<'a>> for Contract1<'a> {
    fn from(contract: Contract<'a>) -> Self {
        let Contract { task, obs_terms, action_terms, dt_s, .. } = contract;
        Self { schema: SCHEMA_1, task, obs_terms, action_terms, dt_s }
    }
}

impl<'a> From<Contract1<'a>> for Contract<'a> {
    fn from(contract: Contract1<'a>) -> Self {
        let Contract1 { task, obs_terms, action_terms, dt_s, .. } = contract;
        Self { task, obs_terms, action_terms, dt_s, action_low: &[], action_high: &[] }
    }
}

/// Writes a frame's content, and says how many bytes it took.
fn write_content(frame: &Frame<'_>, to: &mut [u8]) -> Option<usize> {
    let Frame { version, session, seq, sent_ns, echo_seq, echo_hold_ns, message } = *frame;
    let head = Head { session, seq, sent_ns, echo_seq, echo_hold_ns };
    let written = match (version, message) {
        (1, Message::Guided { .. } | Message::Again { .. }) => return None,
        (1, message) => postcard::to_slice(&(head, message.map_contract(Contract1::from)), to),
        (2, message) => postcard::to_slice(&(head, message), to),
        _ => return None,
    };
    Some(written.ok()?.len())
}

/// Reads a frame's content of a version that is spoken.
fn read_content(version: u8, content: &[u8]) -> Result<Frame<'_>, Fate> {
    fn all<'a, T: Deserialize<'a>>(content: &'a [u8]) -> Result<T, Fate> {
        match postcard::take_from_bytes(content) {
            Ok((value, [])) => Ok(value),
            _ => Err(Fate::Corrupt),
        }
    }
    let (head, message) = if version == 1 {
        let (head, message): (Head, Message<'_, Contract1<'_>>) = all(content)?;
        match message {
            Message::Hello { contract, .. } | Message::Welcome { contract, .. }
                if contract.schema != SCHEMA_1 =>
            {
                return Err(Fate::Version);
            }
            Message::Guided { .. } | Message::Again { .. } => return Err(Fate::Corrupt),
            _ => (head, message.map_contract(Contract::from)),
        }
    } else {
        all(content)?
    };
    let Head { session, seq, sent_ns, echo_seq, echo_hold_ns } = head;
    Ok(Frame { version, session, seq, sent_ns, echo_seq, echo_hold_ns, message })
}

/// Writes a frame into `packet`; `None` if it does not fit, or its version is not spoken or does
/// not know its message.
pub fn seal(frame: &Frame<'_>, key: Option<&Key>, packet: &mut [u8]) -> Option<usize> {
    let (head, rest) = packet.split_at_mut_checked(MARK.len() + 1)?;
    head[..2].copy_from_slice(&MARK);
    head[2] = frame.version;
    let mut len = head.len() + write_content(frame, rest)?;
    if let Some(key) = key {
        let mac = key.mac(packet.get(..len)?).finalize().into_bytes();
        packet.get_mut(len..len + MAC_BYTES)?.copy_from_slice(&mac[..MAC_BYTES]);
        len += MAC_BYTES;
    }
    let crc = CRC.checksum(packet.get(..len)?).to_le_bytes();
    packet.get_mut(len..len + CRC_BYTES)?.copy_from_slice(&crc);
    Some(len + CRC_BYTES)
}

/// Reads a packet.
///
/// # Errors
/// Why it is dropped: [`Fate::Corrupt`], [`Fate::Version`], [`Fate::Unauthenticated`].
pub fn open<'a>(packet: &'a [u8], key: Option<&Key>) -> Result<Frame<'a>, Fate> {
    let (rest, crc) = packet.split_last_chunk::<CRC_BYTES>().ok_or(Fate::Corrupt)?;
    if CRC.checksum(rest) != u32::from_le_bytes(*crc) {
        return Err(Fate::Corrupt);
    }
    let body = rest.strip_prefix(&MARK).ok_or(Fate::Corrupt)?;
    let (&version, _) = body.split_first().ok_or(Fate::Corrupt)?;
    if !WIRE_VERSIONS.contains(&version) {
        return Err(Fate::Version);
    }
    let signed = match key {
        None => rest,
        Some(key) => {
            let (signed, mac) =
                rest.split_last_chunk::<MAC_BYTES>().ok_or(Fate::Unauthenticated)?;
            key.mac(signed).verify_truncated_left(mac).map_err(|_| Fate::Unauthenticated)?;
            signed
        }
    };
    read_content(version, signed.get(MARK.len() + 1..).ok_or(Fate::Corrupt)?)
}

/// Replaces the last four bytes of a packet by the checksum of the others, so that tests and fuzzers
/// get past it.
pub fn put_checksum(packet: &mut [u8]) {
    if let Some((body, crc)) = packet.split_last_chunk_mut::<CRC_BYTES>() {
        *crc = CRC.checksum(body).to_le_bytes();
    }
}

/// Copies numbers into the first bytes, as far as both reach, and gives those.
pub fn put_numbers<'b>(numbers: &[f32], bytes: &'b mut [u8]) -> &'b [u8] {
    let len = bytes.len().min(numbers.len() * 4);
    let bytes = &mut bytes[..len];
    for (to, v) in bytes.chunks_exact_mut(4).zip(numbers) {
        to.copy_from_slice(&v.to_le_bytes());
    }
    bytes
}

/// Copies bytes into numbers; false if there are not as many.
pub fn get_numbers(bytes: &[u8], numbers: &mut [f32]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<4>();
    if chunks.len() != numbers.len() || !rest.is_empty() {
        return false;
    }
    for (v, bytes) in numbers.iter_mut().zip(chunks) {
        *v = f32::from_le_bytes(*bytes);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn with_checksum(packet: &[u8]) -> Vec<u8> {
        let mut packet = packet.to_vec();
        put_checksum(&mut packet);
        packet
    }

    const CONTRACT: Contract<'static> = Contract {
        task: "circles",
        obs_terms: "position:10",
        action_terms: "displacement:2",
        dt_s: 0.1,
        action_low: &[3; 8],
        action_high: &[4; 8],
    };

    const SEEN: Seen<'static> =
        Seen { step: 77, reward: Some(-1.5), terminated: false, follows: true, values: &[7; 40] };

    fn samples() -> Vec<Frame<'static>> {
        let messages = [
            Message::Hello { nonce: 9, contract: CONTRACT, period_ns: 1_000_000 },
            Message::Welcome {
                nonce: u64::MAX,
                contract: CONTRACT,
                lock_step: true,
                damping_action: &[0; 8],
                stop_action: &[1; 8],
                max_action_step: &[2; 8],
            },
            Message::Refuse { nonce: 3, reason: "busy" },
            Message::Ready,
            Message::Observation(SEEN),
            Message::Command { step: 5, kind: WireCommand::Act, action: &[1, 2, 3, 4] },
            Message::Bye,
            Message::Guided {
                seen: SEEN,
                applied: Some(&[6; 8]),
                buttons: 0x8000_0001,
                taken_over: true,
            },
            Message::Again { first: 70, count: 3 },
        ];
        let frame = |(i, message)| Frame {
            version: 2,
            session: 1 << 60,
            seq: i as u32,
            sent_ns: 123_456_789,
            echo_seq: 4,
            echo_hold_ns: 5,
            message,
        };
        messages.into_iter().enumerate().map(frame).collect()
    }

    fn keys() -> [Option<Key>; 2] {
        [None, Key::new(b"0123456789abcdef")]
    }

    #[test]
    fn frames_survive_a_round_trip() {
        let mut packet = vec![0; MAX_PACKET];
        for key in keys() {
            for frame in samples() {
                let len = seal(&frame, key.as_ref(), &mut packet).unwrap();
                assert_eq!(open(&packet[..len], key.as_ref()), Ok(frame));
                assert_eq!(seal(&frame, key.as_ref(), &mut vec![0; len - 1]), None);
            }
        }
        assert!(Key::new(b"too short").is_none());
    }

    #[test]
    fn version_1_says_the_same_but_for_bounds_and_guidance() {
        let mut packet = vec![0; MAX_PACKET];
        for frame in samples().into_iter().map(|frame| Frame { version: 1, ..frame }) {
            let sealed = seal(&frame, None, &mut packet);
            if matches!(frame.message, Message::Guided { .. } | Message::Again { .. }) {
                assert_eq!(sealed, None);
                continue;
            }
            let unbounded = Contract { action_low: &[], action_high: &[], ..CONTRACT };
            let message = frame.message.map_contract(|_| unbounded);
            assert_eq!(open(&packet[..sealed.unwrap()], None), Ok(Frame { message, ..frame }));
        }
        // What version 1 does not know is damage in it.
        let guided = samples()[7];
        let len = seal(&guided, None, &mut packet).unwrap();
        packet[2] = 1;
        assert_eq!(open(&with_checksum(&packet[..len]), None), Err(Fate::Corrupt));
    }

    #[test]
    fn damage_is_noticed_and_named() {
        let mut packet = vec![0; MAX_PACKET];
        for key in keys() {
            for frame in samples() {
                let len = seal(&frame, key.as_ref(), &mut packet).unwrap();
                for bit in 0..len * 8 {
                    let mut bad = packet[..len].to_vec();
                    bad[bit / 8] ^= 1 << (bit % 8);
                    assert_eq!(open(&bad, key.as_ref()), Err(Fate::Corrupt), "bit {bit}");
                }
                for cut in 0..len {
                    assert_eq!(open(&packet[..cut], key.as_ref()), Err(Fate::Corrupt));
                }
            }
        }
    }

    #[test]
    fn versions_and_keys_are_told_apart() {
        let mut packet = vec![0; MAX_PACKET];
        let [none, key] = keys();
        let other = Key::new(b"0123456789abcdeF");
        let frame = samples()[5];
        let len = seal(&frame, key.as_ref(), &mut packet).unwrap();
        assert_eq!(open(&packet[..len], other.as_ref()), Err(Fate::Unauthenticated));
        let mut later = packet[..len].to_vec();
        later[2] += 1;
        assert_eq!(open(&with_checksum(&later), key.as_ref()), Err(Fate::Version));
        let mut forged = packet[..len].to_vec();
        forged[12] ^= 1;
        assert_eq!(open(&with_checksum(&forged), key.as_ref()), Err(Fate::Unauthenticated));
        let len = seal(&frame, none.as_ref(), &mut packet).unwrap();
        assert_eq!(open(&packet[..len], key.as_ref()), Err(Fate::Unauthenticated));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), repair: bool) {
            let mut packet = [&MARK[..], &[WIRE_VERSION], &bytes, &[0; 4]].concat();
            if repair { packet = with_checksum(&packet); }
            for key in keys() {
                let _ = open(&packet, key.as_ref());
                let _ = open(&bytes, key.as_ref());
            }
        }
    }
}
