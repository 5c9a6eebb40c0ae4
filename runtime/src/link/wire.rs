//! The wire format: one packet in, one packet out. It is the core's; see [`sog_core::link::wire`].

pub use sog_core::link::wire::*;

/// The packet with its last four bytes replaced by the checksum of the others, so that tests and
/// fuzzers get past it.
pub fn with_checksum(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    put_checksum(&mut packet);
    packet
}
