//! A transport that damages packets on purpose.

use std::{collections::VecDeque, time::Duration};

use super::Transport;
use crate::io::{IoError, Random};

/// With which probability each thing befalls a packet that comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PacketFaults {
    /// Where the randomness begins.
    pub seed: u64,
    /// It is lost.
    pub drop: f64,
    /// It comes twice.
    pub duplicate: f64,
    /// It comes after some that were sent later.
    pub reorder: f64,
    /// One bit is flipped.
    pub bit_flip: f64,
    /// Its end is cut off.
    pub truncate: f64,
}

/// A transport around a transport; what comes in suffers [`PacketFaults`].
#[derive(Debug)]
pub struct Faulty<T> {
    transport: T,
    faults: PacketFaults,
    random: Random,
    /// Packets held back, with how many receptions they still wait.
    held: VecDeque<(u32, Vec<u8>)>,
    injected: u64,
}

impl<T: Transport> Faulty<T> {
    /// Puts faults around a transport.
    pub fn new(transport: T, faults: PacketFaults) -> Self {
        Self {
            transport,
            faults,
            random: Random::new(faults.seed),
            held: VecDeque::new(),
            injected: 0,
        }
    }

    /// How many faults were injected.
    pub fn injected(&self) -> u64 {
        self.injected
    }

    fn happens(&mut self, probability: f64) -> bool {
        let happens = self.random.happens(probability);
        self.injected += u64::from(happens);
        happens
    }

    /// A packet held back that is due.
    fn release(&mut self, packet: &mut [u8]) -> Option<usize> {
        for (wait, _) in &mut self.held {
            *wait = wait.saturating_sub(1);
        }
        let due = self.held.iter().position(|(wait, _)| *wait == 0)?;
        let (_, held) = self.held.remove(due)?;
        packet[..held.len()].copy_from_slice(&held);
        Some(held.len())
    }
}

impl<T: Transport> Transport for Faulty<T> {
    fn send(&mut self, packet: &[u8]) -> Result<(), IoError> {
        self.transport.send(packet)
    }

    fn receive(&mut self, packet: &mut [u8], timeout: Duration) -> Result<Option<usize>, IoError> {
        if let Some(len) = self.release(packet) {
            return Ok(Some(len));
        }
        loop {
            let Some(mut len) = self.transport.receive(packet, timeout)? else { return Ok(None) };
            let faults = self.faults;
            if self.happens(faults.drop) {
                continue;
            }
            if self.happens(faults.reorder) {
                let wait = 2 + self.random.below(4) as u32;
                self.held.push_back((wait, packet[..len].to_vec()));
                continue;
            }
            if self.happens(faults.duplicate) {
                let wait = 1 + self.random.below(4) as u32;
                self.held.push_back((wait, packet[..len].to_vec()));
            }
            if self.happens(faults.bit_flip) {
                let bit = self.random.below(len * 8);
                packet[bit / 8] ^= 1 << (bit % 8);
            }
            if self.happens(faults.truncate) {
                len = self.random.below(len);
            }
            return Ok(Some(len));
        }
    }

    fn lock_peer(&mut self) {
        self.transport.lock_peer();
    }

    fn unlock_peer(&mut self) {
        self.transport.unlock_peer();
    }

    fn foreign(&self) -> u64 {
        self.transport.foreign()
    }

    fn stranger(&mut self, packet: &mut [u8]) -> Option<usize> {
        self.transport.stranger(packet)
    }

    fn answer_stranger(&mut self, packet: &[u8]) {
        self.transport.answer_stranger(packet);
    }

    fn corrupt(&self) -> u64 {
        self.transport.corrupt()
    }
}
