//! What a robot has: joints, and what it sends of them.

use super::{
    channel::{Channel, Holds, Velocity},
    joint::{Joint, Part},
};

/// What observations can be made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Has {
    pub(super) joints: Vec<Joint>,
    pub(super) channels: Vec<Channel>,
    pub(super) velocities: Vec<Velocity>,
    /// Names of the numbers that the operator sets, and what they are at first.
    pub(super) operator: Vec<(String, f64)>,
}

impl Has {
    /// Where a channel's or velocity's signals begin, how many they are, and the channel.
    pub(super) fn signals(&self, name: &str) -> Option<(usize, usize, Option<&Channel>)> {
        let channel = self.channels.iter().find(|channel| channel.name == name);
        let velocity = || {
            let velocity = self.velocities.iter().find(|velocity| velocity.name == name)?;
            Some((velocity.from, self.channels[velocity.of].holds.width(), None))
        };
        channel.map(|c| (c.from, c.holds.width(), Some(c))).or_else(velocity)
    }

    /// The signal of a part of a joint.
    pub(super) fn signal_of(&self, joint: usize, part: Part) -> Option<usize> {
        let sent = |wanted: Part| {
            self.channels.iter().enumerate().find_map(|(i, channel)| match &channel.holds {
                Holds::Joints { part, of } if *part == wanted => {
                    of.iter().position(|&of| of == joint).map(|at| (i, at))
                }
                _ => None,
            })
        };
        if let Some((channel, at)) = sent(part) {
            return Some(self.channels[channel].from + at);
        }
        if part != Part::Velocity {
            return None;
        }
        let (channel, at) = sent(Part::Position)?;
        let velocity = self.velocities.iter().find(|velocity| velocity.of == channel)?;
        Some(velocity.from + at)
    }
}
