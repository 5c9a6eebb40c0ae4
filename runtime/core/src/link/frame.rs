//! Packets on a serial line: COBS frames between zero bytes.
//!
//! A packet is sent as `0 cobs(packet) 0`; the first zero ends whatever was left unfinished before.

/// Bytes on the line for a packet of this length.
pub const fn enclosed_len(packet: usize) -> usize {
    cobs::max_encoding_length(packet) + 2
}

/// Writes a packet as it is sent; none if it does not fit.
pub fn enclose(packet: &[u8], to: &mut [u8]) -> Option<usize> {
    let room = to.get_mut(..enclosed_len(packet.len()))?;
    let len = cobs::encode(packet, &mut room[1..]);
    (room[0], room[len + 1]) = (0, 0);
    Some(len + 2)
}

/// What a byte completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// Nothing yet.
    Nothing,
    /// A packet of this length, at the beginning of the buffer.
    Packet(usize),
    /// A frame that is none, or is longer than the buffer.
    Damaged,
}

/// Takes a line apart into packets, byte by byte, in a buffer that the caller keeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deframer {
    len: usize,
    overlong: bool,
}

impl Deframer {
    /// Takes the next byte.
    pub fn feed(&mut self, buffer: &mut [u8], byte: u8) -> Fed {
        if byte != 0 {
            match buffer.get_mut(self.len) {
                Some(to) => {
                    *to = byte;
                    self.len += 1;
                }
                None => self.overlong = true,
            }
            return Fed::Nothing;
        }
        let Self { len, overlong } = core::mem::take(self);
        match buffer.get_mut(..len) {
            _ if overlong => Fed::Damaged,
            Some([]) | None => Fed::Nothing,
            Some(frame) => cobs::decode_in_place(frame).map_or(Fed::Damaged, Fed::Packet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn all(line: &[u8], room: usize) -> (Vec<Vec<u8>>, usize) {
        let (mut deframer, mut buffer) = (Deframer::default(), vec![0; room]);
        let (mut packets, mut damaged) = (vec![], 0);
        for &byte in line {
            match deframer.feed(&mut buffer, byte) {
                Fed::Nothing => {}
                Fed::Packet(len) => packets.push(buffer[..len].to_vec()),
                Fed::Damaged => damaged += 1,
            }
        }
        (packets, damaged)
    }

    proptest! {
        #[test]
        fn packets_survive_the_line(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..600), 1..5)) {
            let mut line = vec![];
            for packet in &packets {
                let mut to = vec![0; enclosed_len(packet.len())];
                let len = enclose(packet, &mut to).unwrap();
                line.extend_from_slice(&to[..len]);
                prop_assert!(enclose(packet, &mut to[..packet.len()]).is_none());
            }
            prop_assert_eq!(all(&line, 700), (packets, 0));
        }

        #[test]
        fn no_bytes_panic(line in proptest::collection::vec(any::<u8>(), 0..300), room in 0usize..40) {
            let (packets, _) = all(&line, room);
            prop_assert!(packets.iter().all(|packet| packet.len() <= room));
        }
    }

    #[test]
    fn what_does_not_fit_is_damage_once() {
        let mut line = [7; 12];
        line[11] = 0;
        assert_eq!(all(&line, 4), (vec![], 1));
    }
}
