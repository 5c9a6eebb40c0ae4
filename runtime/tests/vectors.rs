//! `robot/vectors.json`, which every implementation of the wire format is held to, is what this
//! one says.
//!
//! `SOG_BLESS=1` writes the file anew.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::{fmt::Write as _, path::PathBuf};

use serde_json::{Map, Value, json};
use sog_runtime::link::{
    Fate, Key, MAX_PACKET,
    wire::{self, Contract, Frame, Message, Seen, WireCommand},
};

const KEY: &[u8] = b"the key of both ends";
/// Longer than a block of SHA-256, so that it is hashed itself.
const LONG_KEY: &[u8] = &[0xa5; 100];

const SECRETS: [&[u8]; 3] = [&[], KEY, LONG_KEY];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../robot/vectors.json")
}

fn numbers(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn contract(bytes: &Bytes) -> Contract<'_> {
    Contract {
        task: "cart-µ",
        obs_terms: "position:1,velocity:2",
        action_terms: "force:2",
        dt_s: 0.05,
        action_low: &bytes.low,
        action_high: &bytes.high,
    }
}

/// Messages of every kind, and numbers of every length.
fn messages(bytes: &Bytes) -> Vec<(&'static str, Message<'_>)> {
    let seen = |reward, terminated, follows| Seen {
        step: 300,
        reward,
        terminated,
        follows,
        values: &bytes.values,
    };
    let command = |kind, action| Message::Command { step: 300, kind, action };
    vec![
        (
            "hello",
            Message::Hello {
                nonce: 0x1234_5678_9abc_def0,
                contract: contract(bytes),
                period_ns: 50_000_000,
            },
        ),
        (
            "welcome",
            Message::Welcome {
                nonce: 0x1234_5678_9abc_def0,
                contract: contract(bytes),
                lock_step: true,
                damping_action: &bytes.zeros,
                stop_action: &bytes.action,
                max_action_step: &bytes.unlimited,
            },
        ),
        ("refuse", Message::Refuse { nonce: u64::MAX, reason: "task of the policy is `péndulo`" }),
        ("ready", Message::Ready),
        ("observation", Message::Observation(seen(None, false, true))),
        ("observation with a reward", Message::Observation(seen(Some(-1.5), true, false))),
        (
            "observation of many numbers",
            Message::Observation(Seen {
                step: u64::MAX,
                values: &bytes.many,
                ..seen(Some(0.1), false, true)
            }),
        ),
        ("act", command(WireCommand::Act, &bytes.action)),
        ("damp", command(WireCommand::Damp, &[])),
        ("stop", command(WireCommand::Stop, &[])),
        ("reset", command(WireCommand::Reset, &[])),
        ("bye", Message::Bye),
        (
            "guided",
            Message::Guided {
                seen: seen(None, false, true),
                applied: Some(&bytes.action),
                buttons: 0x8000_0001,
                taken_over: true,
            },
        ),
        (
            "guided by nobody",
            Message::Guided {
                seen: seen(Some(2.0), false, false),
                applied: None,
                buttons: 0,
                taken_over: false,
            },
        ),
        ("again", Message::Again { first: u64::MAX - 3, count: 300 }),
    ]
}

struct Bytes {
    zeros: Vec<u8>,
    action: Vec<u8>,
    unlimited: Vec<u8>,
    low: Vec<u8>,
    high: Vec<u8>,
    values: Vec<u8>,
    many: Vec<u8>,
}

impl Bytes {
    fn new() -> Self {
        Self {
            zeros: numbers(&[0.0, 0.0]),
            action: numbers(&[-0.25, 1.0e-3]),
            unlimited: numbers(&[f32::INFINITY, 0.5]),
            low: numbers(&[-1.5, -20.0]),
            high: numbers(&[1.5, 20.0]),
            values: numbers(&[0.1, -2.5, 1.0e10]),
            // Neither a zero nor a short run: COBS has to open block after block.
            many: numbers(&(0..200).map(|i| 1.1 + i as f32 / 7.0).collect::<Vec<f32>>()),
        }
    }
}

/// The frame that carries a message: numbers of one byte and of as many as there can be in turn.
fn frame(version: u8, i: usize, message: Message<'_>) -> Frame<'_> {
    let small = i.is_multiple_of(2);
    let in_session = !matches!(message, Message::Hello { .. } | Message::Refuse { .. });
    Frame {
        version,
        session: if in_session { 0xfeed_beef_dead_cafe } else { 0 },
        seq: if small { 127 } else { u32::MAX },
        sent_ns: if small { 128 } else { u64::MAX },
        echo_seq: if small { 0 } else { 16_384 },
        echo_hold_ns: if small { 0 } else { 4_321 },
        message,
    }
}

fn seal(frame: &Frame<'_>, key: Option<&Key>) -> Vec<u8> {
    let mut packet = vec![0; MAX_PACKET];
    let len = wire::seal(frame, key, &mut packet).unwrap();
    packet.truncate(len);
    packet
}

/// As a serial line carries it.
fn serial(packet: &[u8]) -> Vec<u8> {
    let mut out = vec![0; cobs::max_encoding_length(packet.len())];
    let len = cobs::encode(packet, &mut out);
    [&[0], &out[..len], &[0]].concat()
}

fn describe(frame: &Frame<'_>) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| {
        fields.insert(key.to_string(), value);
    };
    let big = |number: u64| Value::from(number.to_string());
    put("session", big(frame.session));
    put("seq", frame.seq.into());
    put("sent_ns", big(frame.sent_ns));
    put("echo_seq", frame.echo_seq.into());
    put("echo_hold_ns", big(frame.echo_hold_ns));
    put("version", frame.version.into());
    let mut put_contract = |c: &Contract<'_>| {
        if frame.version > 1 {
            put("action_low", hex(c.action_low).into());
            put("action_high", hex(c.action_high).into());
        }
        put("task", c.task.into());
        put("obs_terms", c.obs_terms.into());
        put("action_terms", c.action_terms.into());
        put("dt_s", c.dt_s.into());
    };
    let kind = match frame.message {
        Message::Hello { nonce, contract, period_ns } => {
            put_contract(&contract);
            put("nonce", big(nonce));
            put("period_ns", big(period_ns));
            "hello"
        }
        Message::Welcome {
            nonce,
            contract,
            lock_step,
            damping_action,
            stop_action,
            max_action_step,
        } => {
            put_contract(&contract);
            put("nonce", big(nonce));
            put("lock_step", lock_step.into());
            put("damping_action", hex(damping_action).into());
            put("stop_action", hex(stop_action).into());
            put("max_action_step", hex(max_action_step).into());
            "welcome"
        }
        Message::Refuse { nonce, reason } => {
            put("nonce", big(nonce));
            put("reason", reason.into());
            "refuse"
        }
        Message::Ready => "ready",
        Message::Observation(seen) => {
            put_seen(&mut fields, &seen);
            "observation"
        }
        Message::Guided { seen, applied, buttons, taken_over } => {
            put_seen(&mut fields, &seen);
            fields.insert("applied".to_string(), applied.map(hex).into());
            fields.insert("buttons".to_string(), buttons.into());
            fields.insert("taken_over".to_string(), taken_over.into());
            "guided"
        }
        Message::Command { step, kind, action } => {
            put("step", big(step));
            let names = ["act", "damp", "stop", "reset"];
            put("command", names[kind as usize].into());
            put("action", hex(action).into());
            "command"
        }
        Message::Bye => "bye",
        Message::Again { first, count } => {
            put("first", big(first));
            put("count", count.into());
            "again"
        }
    };
    fields.insert("kind".to_string(), kind.into());
    fields
}

fn put_seen(fields: &mut Map<String, Value>, seen: &Seen<'_>) {
    let Seen { step, reward, terminated, follows, values } = *seen;
    let of_seen = [
        ("step", step.to_string().into()),
        ("reward", reward.into()),
        ("terminated", terminated.into()),
        ("follows", follows.into()),
        ("values", hex(values).into()),
    ];
    fields.extend(of_seen.map(|(key, value)| (key.to_string(), value)));
}

fn good() -> Vec<Value> {
    let bytes = Bytes::new();
    let mut all = vec![];
    for (version, secret) in [1, 2].into_iter().flat_map(|v| SECRETS.map(|secret| (v, secret))) {
        let key = Key::new(secret);
        for (i, (name, message)) in messages(&bytes).into_iter().enumerate() {
            if version == 1 && matches!(message, Message::Guided { .. } | Message::Again { .. }) {
                continue;
            }
            let frame = frame(version, i, message);
            let packet = seal(&frame, key.as_ref());
            let mut vector = describe(&frame);
            vector.insert("name".to_string(), name.into());
            vector.insert("key".to_string(), hex(secret).into());
            vector.insert("packet".to_string(), hex(&packet).into());
            vector.insert("serial".to_string(), hex(&serial(&packet)).into());
            all.push(Value::Object(vector));
        }
    }
    all
}

/// Packets that must be dropped, and why: damaged, forged, and sound outside with nonsense inside.
fn refused() -> Vec<Value> {
    let bytes = Bytes::new();
    let (none, key, other) = (None, Key::new(KEY), Key::new(LONG_KEY));
    let find = |name: &str| messages(&bytes).into_iter().find(|(n, _)| *n == name).unwrap().1;
    let plain = |name: &str| seal(&frame(1, 0, find(name)), none);
    let keyed = |name: &str| seal(&frame(2, 0, find(name)), key.as_ref());
    let summed = |packet: Vec<u8>| wire::with_checksum(&packet);
    // A packet with some bytes of its content replaced, counted from before its checksum.
    let changed = |name: &str, from_end: usize, with: &[u8]| {
        let mut packet = plain(name);
        let at = packet.len() - 4 - from_end;
        packet.splice(at..at + with.len(), with.iter().copied());
        summed(packet)
    };
    let flipped = |mut packet: Vec<u8>, at: usize| {
        packet[at] ^= 1;
        packet
    };
    let head = |content: &[u8]| summed([b"SG\x01", content, &[0; 4]].concat());
    let act = plain("act");
    let cases: Vec<(&str, &[u8], Vec<u8>)> = vec![
        ("nothing", &[], vec![]),
        ("three bytes", &[], vec![1, 2, 3]),
        ("a checksum of nothing", &[], vec![0; 4]),
        ("a flipped bit in the marks", &[], flipped(act.clone(), 0)),
        ("a flipped bit in the content", &[], flipped(act.clone(), 10)),
        ("a flipped bit in the checksum", &[], flipped(act.clone(), act.len() - 1)),
        ("the last byte is missing", &[], act[..act.len() - 1].to_vec()),
        ("other marks", &[], summed(flipped(act.clone(), 1))),
        ("marks and nothing else", &[], summed(b"SG\0\0\0\0".to_vec())),
        ("no content", &[], head(&[])),
        ("content that ends in the session", &[], head(&[0x80, 0x80])),
        ("a byte too many", &[], summed([&act[..act.len() - 4], &[0], &[0; 4]].concat())),
        (
            "a session of 65 bits",
            &[],
            head(&[255, 255, 255, 255, 255, 255, 255, 255, 255, 2, 1, 1, 0, 0, 3]),
        ),
        (
            "a session of eleven bytes",
            &[],
            head(&[128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 0, 1, 1, 0, 0, 3]),
        ),
        ("a number of 33 bits", &[], head(&[1, 255, 255, 255, 255, 16, 1, 0, 0, 3])),
        ("message 99", &[], head(&[1, 1, 1, 0, 0, 99])),
        ("command 4", &[], changed("damp", 2, &[4])),
        ("an action longer than the packet", &[], changed("damp", 1, &[9])),
        ("a flag of 2", &[], changed("observation", 14, &[2])),
        ("a reward of kind 2", &[], changed("observation", 16, &[2])),
        ("a reason that is not UTF-8", &[], changed("refuse", 1, &[0xff])),
        ("another schema in version 1", &[], {
            let mut packet = plain("hello");
            let at = packet.windows(8).position(|w| w == b"policy/1").unwrap();
            packet[at + 7] = b'2';
            summed(packet)
        }),
        ("guided in version 1", &[], {
            let mut packet = seal(&frame(2, 0, find("guided")), none);
            packet[2] = 1;
            summed(packet)
        }),
        ("guided that ends in its buttons", &[], {
            let packet = seal(&frame(2, 0, find("guided")), none);
            summed(packet[..packet.len() - 2].to_vec())
        }),
        ("version 3", &[], {
            let mut packet = act.clone();
            packet[2] = 3;
            summed(packet)
        }),
        ("version 0 with a key", KEY, {
            let mut packet = keyed("act");
            packet[2] = 0;
            summed(packet)
        }),
        ("no MAC where there is a key", KEY, act.clone()),
        ("a MAC where there is no key", &[], keyed("act")),
        ("another key", LONG_KEY, keyed("act")),
        ("a forged action", KEY, {
            let packet = keyed("act");
            let at = packet.len() - 4 - 16 - 1;
            summed(flipped(packet, at))
        }),
        ("a forged MAC", KEY, {
            let packet = keyed("stop");
            let at = packet.len() - 4 - 1;
            summed(flipped(packet, at))
        }),
        ("a forged packet of two bytes", KEY, summed(b"SG\0\0\0\0".to_vec())),
        ("a packet shorter than a MAC", KEY, head(&[1, 1, 1, 0, 0, 3])),
    ];
    let open = |secret: &[u8], packet: &[u8]| {
        let key = match secret {
            [] => None,
            KEY => key.as_ref(),
            _ => other.as_ref(),
        };
        match wire::open(packet, key) {
            Ok(frame) => panic!("{frame:?}"),
            Err(fate @ (Fate::Corrupt | Fate::Version | Fate::Unauthenticated)) => fate.name(),
            Err(fate) => panic!("{fate:?}"),
        }
    };
    cases
        .into_iter()
        .map(|(name, secret, packet)| {
            json!({
                "name": name, "key": hex(secret), "packet": hex(&packet),
                "refused": open(secret, &packet),
            })
        })
        .collect()
}

fn cobs_vectors() -> Vec<Value> {
    let run = |n: u8| (1..=n).collect::<Vec<u8>>();
    [
        vec![0],
        vec![0, 0],
        vec![1],
        vec![1, 0, 2],
        run(253),
        run(254),
        run(255),
        [run(254), vec![0]].concat(),
        [vec![0], run(254), vec![0, 7]].concat(),
    ]
    .into_iter()
    .map(|data| json!({ "data": hex(&data), "serial": hex(&serial(&data)) }))
    .collect()
}

/// The whole file: one vector a line.
fn text() -> String {
    let list = |vectors: Vec<Value>| {
        let lines: Vec<String> = vectors.iter().map(|v| format!("    {v}")).collect();
        format!("[\n{}\n  ]", lines.join(",\n"))
    };
    let about = "Packets for implementations of docs/protocol.md. Bytes are hexadecimal, an empty \
                 key means none, numbers of 64 bits are strings. `packets` open to the fields given \
                 and seal to the same bytes; `serial` is the packet on a serial line; `refused` \
                 packets are dropped for the reason given. Made by runtime/tests/vectors.rs.";
    format!(
        "{{\n  \"about\": {},\n  \"packets\": {},\n  \"refused\": {},\n  \"cobs\": {}\n}}\n",
        Value::from(about),
        list(good()),
        list(refused()),
        list(cobs_vectors())
    )
}

#[test]
fn the_vectors_are_what_the_wire_format_says() {
    let text = text();
    if std::env::var_os("SOG_BLESS").is_some() {
        std::fs::write(path(), &text).unwrap();
    }
    let found = std::fs::read_to_string(path()).unwrap();
    assert!(
        found == text,
        "robot/vectors.json is out of date: SOG_BLESS=1 cargo test --test vectors"
    );
}

#[test]
fn vectors_open_and_seal_to_the_same_bytes() {
    let file: Value = serde_json::from_str(&text()).unwrap();
    let bytes = |text: &Value| -> Vec<u8> {
        let text = text.as_str().unwrap();
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    };
    let packets = file["packets"].as_array().unwrap();
    assert!(packets.len() >= 75);
    for vector in packets {
        let key = Key::new(&bytes(&vector["key"]));
        let packet = bytes(&vector["packet"]);
        let frame = wire::open(&packet, key.as_ref()).unwrap();
        assert_eq!(seal(&frame, key.as_ref()), packet, "{vector}");
        for (field, value) in describe(&frame) {
            assert_eq!(vector[&field], value, "{field} of {vector}");
        }
    }
}
