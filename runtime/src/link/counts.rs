//! Packets by fate, as JSON.

use sog_core::link::{Fate, LinkCounts};

use super::Transport;

/// What reports say of a link.
pub trait CountsToJson {
    /// As a JSON object: `sent, received` and every kind of drop.
    fn to_json(&self) -> serde_json::Value;
}

impl CountsToJson for LinkCounts {
    fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({ "sent": self.sent, "received": self.received });
        for drop in Fate::ALL {
            json[drop.name()] = self.get(drop).into();
        }
        json
    }
}

/// Counts, with those of the transport.
pub(super) fn with_those_of(transport: &impl Transport, counts: &LinkCounts) -> LinkCounts {
    let mut counts = *counts;
    counts.add(Fate::Foreign, transport.foreign());
    counts.add(Fate::Corrupt, transport.corrupt());
    counts
}
