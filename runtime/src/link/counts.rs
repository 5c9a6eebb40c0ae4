//! Packets by fate, as JSON.

use sog_core::link::{Fate, LinkCounts};

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
