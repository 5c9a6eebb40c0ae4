//! Damaged and forged packets by the hundred thousand: none panics, none is accepted.
//!
//! `SOG_FUZZ_CASES` sets their number.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, missing_docs)]

use sog_runtime::{
    io::Random,
    link::{
        Fate, Key, MAX_PACKET,
        wire::{self, Contract, Frame, Message, Seen, WireCommand},
    },
};

fn cases() -> u64 {
    std::env::var("SOG_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(200_000)
}

/// Packets of every kind, as they are sent.
fn packets(key: Option<&Key>) -> Vec<Vec<u8>> {
    let bounds = [[0xff; 32], [0x3f; 32]];
    let contract = Contract {
        task: "ant-dir-6",
        obs_terms: "qpos:13,qvel:14",
        action_terms: "torque:8",
        dt_s: 0.05,
        action_low: &bounds[0],
        action_high: &bounds[1],
    };
    let numbers: Vec<u8> = (0..27).flat_map(|i| (i as f32 * 0.37 - 3.0).to_le_bytes()).collect();
    let seen = Seen {
        step: 12_345,
        reward: Some(1.5),
        terminated: false,
        follows: true,
        values: &numbers,
    };
    let messages = [
        Message::Hello { nonce: 0x1234_5678_9abc_def0, contract, period_ns: 50_000_000 },
        Message::Welcome {
            nonce: 7,
            contract,
            lock_step: false,
            damping_action: &numbers[..32],
            stop_action: &numbers[..32],
            max_action_step: &numbers[32..64],
        },
        Message::Refuse { nonce: 7, reason: "task of the policy is another" },
        Message::Ready,
        Message::Observation(seen),
        Message::Guided { seen, applied: Some(&numbers[..32]), buttons: 3, taken_over: true },
        Message::Command { step: 12_345, kind: WireCommand::Act, action: &numbers[..32] },
        Message::Bye,
        Message::Again { first: 12_340, count: 5 },
    ];
    let seal = |(i, message): (usize, Message<'_>)| {
        let frame = Frame {
            version: 2,
            session: 0xfeed_beef_dead_cafe,
            seq: 1000 + i as u32,
            sent_ns: 1_234_567_890_123,
            echo_seq: 999,
            echo_hold_ns: 4_321,
            message,
        };
        let mut packet = vec![0; MAX_PACKET];
        let len = wire::seal(&frame, key, &mut packet).unwrap();
        packet.truncate(len);
        packet
    };
    messages.into_iter().enumerate().map(seal).collect()
}

fn mutate(packet: &mut Vec<u8>, random: &mut Random) {
    if packet.is_empty() {
        packet.push(random.bits() as u8);
    }
    let at = random.below(packet.len());
    match random.below(6) {
        0 => packet[at] ^= 1 << random.below(8),
        1 => packet[at] = random.bits() as u8,
        2 => packet.truncate(at),
        3 => drop(packet.remove(at)),
        4 => packet.insert(at, random.bits() as u8),
        _ => {
            let len = random.below(8).min(packet.len() - at);
            let from = random.below(packet.len() - len + 1);
            packet.copy_within(from..from + len, at);
        }
    }
}

#[test]
fn damaged_packets_are_not_accepted() {
    let key = Key::new(b"the key of both ends");
    let good = [packets(None), packets(key.as_ref())];
    let mut random = Random::new(0x5749);
    let mut changed = 0u64;
    for case in 0..cases() {
        let with_key = case % 2 == 1;
        let all = &good[usize::from(with_key)];
        let original = &all[random.below(all.len())];
        let mut packet = original.clone();
        for _ in 0..1 + random.below(3) {
            mutate(&mut packet, &mut random);
        }
        if packet == *original {
            continue;
        }
        changed += 1;
        let key = if with_key { key.as_ref() } else { None };
        assert_eq!(wire::open(&packet, key), Err(Fate::Corrupt), "case {case}: {packet:02x?}");
    }
    println!("{changed} damaged packets, none accepted");
}

#[test]
fn forged_packets_are_not_accepted_where_there_is_a_key() {
    let key = Key::new(b"the key of both ends");
    let mut random = Random::new(0x464f);
    let good = [packets(None), packets(key.as_ref())].concat();
    for case in 0..cases() {
        let original = &good[random.below(good.len())];
        let mut packet = original.clone();
        for _ in 0..1 + random.below(3) {
            mutate(&mut packet, &mut random);
        }
        let forged = wire::with_checksum(&packet);
        // Without a key they may be understood; that must not panic.
        let _ = wire::open(&forged, None);
        if forged != wire::with_checksum(original) {
            assert!(wire::open(&forged, key.as_ref()).is_err(), "case {case}");
        }
    }
}
