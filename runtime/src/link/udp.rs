//! Packets over UDP.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use super::{MAX_PACKET, Transport, endpoint::MOST_AT_ONCE};
use crate::{io::IoError, os, time::monotonic_ns};

/// A UDP socket that talks to one peer.
#[derive(Debug)]
pub struct Udp {
    socket: UdpSocket,
    /// The only peer that is heard, once it is known.
    peer: Option<SocketAddr>,
    /// Sender of the last packet.
    last: Option<SocketAddr>,
    /// Whether the peer was configured and does not change.
    fixed: bool,
    foreign: u64,
    /// The newest packet of another peer than the locked one.
    stranger: Option<SocketAddr>,
    stranger_packet: Vec<u8>,
}

impl Udp {
    /// Binds to `local` and hears whoever speaks first, until the peer is locked; only `peer`, if
    /// one is given.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(local: SocketAddr, peer: Option<SocketAddr>) -> io::Result<Self> {
        let socket = UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            peer,
            last: None,
            fixed: peer.is_some(),
            foreign: 0,
            stranger: None,
            stranger_packet: Vec::with_capacity(MAX_PACKET),
        })
    }

    /// Binds to `local`, or to any port of the same kind of address, and talks to `peer` alone.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(peer: SocketAddr, local: Option<SocketAddr>) -> io::Result<Self> {
        let any = match (peer.ip().is_loopback(), peer.is_ipv4()) {
            (true, true) => "127.0.0.1:0",
            (true, false) => "[::1]:0",
            (false, true) => "0.0.0.0:0",
            (false, false) => "[::]:0",
        };
        let any = any.parse().expect("a constant address");
        Self::listen(local.unwrap_or(any), Some(peer))
    }

    /// The address bound to.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl Transport for Udp {
    fn send(&mut self, packet: &[u8]) -> Result<(), IoError> {
        let peer = self.peer.or(self.last).ok_or(IoError::Robot("no peer has spoken yet"))?;
        match self.socket.send_to(packet, peer) {
            Ok(_) => Ok(()),
            Err(_) => Err(IoError::Robot("the datagram could not be sent")),
        }
    }

    fn receive(&mut self, packet: &mut [u8], timeout: Duration) -> Result<Option<usize>, IoError> {
        let deadline_ns = monotonic_ns() + timeout.as_nanos() as u64;
        let mut foreign = 0;
        // Who is not heard holds up nobody either.
        while foreign < MOST_AT_ONCE {
            match self.socket.recv_from(packet) {
                Ok((len, from)) if self.peer.is_some_and(|peer| peer != from) => {
                    self.foreign += 1;
                    foreign += 1;
                    if !self.fixed {
                        self.stranger = Some(from);
                        self.stranger_packet.clear();
                        self.stranger_packet.extend_from_slice(&packet[..len]);
                    }
                }
                Ok((len, from)) => {
                    self.last = Some(from);
                    return Ok(Some(len));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left_ns = deadline_ns.saturating_sub(monotonic_ns());
                    if timeout.is_zero() || left_ns == 0 {
                        return Ok(None);
                    }
                    os::wait_readable(&self.socket, left_ns);
                }
                // A datagram sent before found nobody; the next one may.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(IoError::Closed),
            }
        }
        Ok(None)
    }

    fn lock_peer(&mut self) {
        self.peer = self.peer.or(self.last);
    }

    fn unlock_peer(&mut self) {
        if !self.fixed {
            self.peer = None;
        }
    }

    fn foreign(&self) -> u64 {
        self.foreign
    }

    fn stranger(&mut self, packet: &mut [u8]) -> Option<usize> {
        self.stranger?;
        let len = self.stranger_packet.len();
        packet.get_mut(..len)?.copy_from_slice(&self.stranger_packet);
        // What was given is not given again.
        self.stranger_packet.clear();
        (len > 0).then_some(len)
    }

    fn answer_stranger(&mut self, packet: &[u8]) {
        if let Some(stranger) = self.stranger.take() {
            // It asks again if this is lost.
            let _ = self.socket.send_to(packet, stranger);
        }
    }
}
