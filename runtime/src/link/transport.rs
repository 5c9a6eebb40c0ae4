//! What carries packets: UDP, a serial line, or memory.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use crate::io::IoError;

/// Carries packets, perhaps losing, repeating, reordering or damaging some.
pub trait Transport {
    /// Sends one packet without blocking.
    ///
    /// # Errors
    /// [`IoError`] if it certainly did not leave.
    fn send(&mut self, packet: &[u8]) -> Result<(), IoError>;

    /// Waits at most `timeout` for a packet, and says how long it is. None may come sooner where others
    /// than the peer send many.
    ///
    /// # Errors
    /// [`IoError::Closed`] if none will ever come.
    fn receive(&mut self, packet: &mut [u8], timeout: Duration) -> Result<Option<usize>, IoError>;

    /// From now on hears only the sender of the last packet, and sends only to it.
    fn lock_peer(&mut self) {}

    /// Hears everyone again.
    fn unlock_peer(&mut self) {}

    /// How many packets of other peers were ignored so far.
    fn foreign(&self) -> u64 {
        0
    }

    /// The newest packet of a peer that is not heard, and how long it is; each is given once.
    fn stranger(&mut self, _packet: &mut [u8]) -> Option<usize> {
        None
    }

    /// Sends one packet to the peer of [`stranger`](Self::stranger).
    fn answer_stranger(&mut self, _packet: &[u8]) {}

    /// How many broken packets were ignored so far.
    fn corrupt(&self) -> u64 {
        0
    }
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn send(&mut self, packet: &[u8]) -> Result<(), IoError> {
        (**self).send(packet)
    }

    fn receive(&mut self, packet: &mut [u8], timeout: Duration) -> Result<Option<usize>, IoError> {
        (**self).receive(packet, timeout)
    }

    fn lock_peer(&mut self) {
        (**self).lock_peer();
    }

    fn unlock_peer(&mut self) {
        (**self).unlock_peer();
    }

    fn foreign(&self) -> u64 {
        (**self).foreign()
    }

    fn stranger(&mut self, packet: &mut [u8]) -> Option<usize> {
        (**self).stranger(packet)
    }

    fn answer_stranger(&mut self, packet: &[u8]) {
        (**self).answer_stranger(packet);
    }

    fn corrupt(&self) -> u64 {
        (**self).corrupt()
    }
}

/// Packets under way in one direction, and a bell for whoever waits for them.
type Queue = Arc<(Mutex<VecDeque<Vec<u8>>>, Condvar)>;

/// One end of a lossless pair in memory, for tests.
#[derive(Debug)]
pub struct Memory {
    out: Queue,
    inbox: Queue,
}

impl Memory {
    /// Two ends that hear each other.
    pub fn pair() -> (Self, Self) {
        let (a, b) = (Queue::default(), Queue::default());
        (Self { out: a.clone(), inbox: b.clone() }, Self { out: b, inbox: a })
    }
}

impl Transport for Memory {
    fn send(&mut self, packet: &[u8]) -> Result<(), IoError> {
        self.out.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(packet.to_vec());
        self.out.1.notify_one();
        Ok(())
    }

    fn receive(&mut self, packet: &mut [u8], timeout: Duration) -> Result<Option<usize>, IoError> {
        let inbox = self.inbox.0.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = |queue: &mut VecDeque<Vec<u8>>| queue.is_empty();
        let waited = self.inbox.1.wait_timeout_while(inbox, timeout, empty);
        let (mut inbox, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let Some(got) = inbox.pop_front() else { return Ok(None) };
        let len = got.len().min(packet.len());
        packet[..len].copy_from_slice(&got[..len]);
        Ok(Some(len))
    }
}
