//! The contract as it crosses the wire.

use super::wire::{self, get_numbers, put_numbers};

use crate::{contract::Contract, policy::Terms};

/// Widest observation or action that a packet has room for.
const MAX_WIDTH: usize = 8192;

/// A contract in the texts and bytes that are sent.
pub(super) struct Packed {
    task: String,
    obs_terms: String,
    action_terms: String,
    dt_s: f64,
    action_low: Vec<u8>,
    action_high: Vec<u8>,
}

impl Packed {
    pub(super) fn new(contract: &Contract) -> Self {
        Self {
            task: contract.task.clone(),
            obs_terms: contract.obs_terms.to_string(),
            action_terms: contract.action_terms.to_string(),
            dt_s: contract.dt_s,
            action_low: to_bytes(&contract.action_low),
            action_high: to_bytes(&contract.action_high),
        }
    }

    /// What stands in place of a contract for who asks what the robot is.
    pub(super) fn asking() -> Self {
        Self {
            task: String::new(),
            obs_terms: String::new(),
            action_terms: String::new(),
            dt_s: 0.0,
            action_low: vec![],
            action_high: vec![],
        }
    }

    pub(super) fn as_wire(&self) -> wire::Contract<'_> {
        wire::Contract {
            task: &self.task,
            obs_terms: &self.obs_terms,
            action_terms: &self.action_terms,
            dt_s: self.dt_s,
            action_low: &self.action_low,
            action_high: &self.action_high,
        }
    }
}

/// Numbers as they are sent.
pub(super) fn to_bytes(numbers: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; numbers.len() * 4];
    put_numbers(numbers, &mut bytes);
    bytes
}

/// The contract that the other end sent, in some version of the wire format; what is wrong with it
/// where it cannot be understood. Version 1 says nothing of bounds: they are taken to be `ours`; where
/// nobody states any they are infinite.
pub(super) fn unpack(
    sent: &wire::Contract<'_>,
    version: u8,
    ours: &Contract,
) -> Result<Contract, &'static str> {
    let terms = |text: &str| -> Result<Terms, &'static str> {
        let terms: Terms = text.parse().map_err(|_| "its terms cannot be read")?;
        if terms.width() > MAX_WIDTH {
            return Err("it is wider than a packet");
        }
        Ok(terms)
    };
    let (obs_terms, action_terms) = (terms(sent.obs_terms)?, terms(sent.action_terms)?);
    let bounds = |bytes: &[u8], ours: &[f32], unknown: f32| {
        if version == 1 {
            return Ok(ours.to_vec());
        }
        // A robot that states none repeats those that it was sent, which may be none.
        if bytes.is_empty() && ours.is_empty() {
            return Ok(vec![unknown; action_terms.width()]);
        }
        let mut numbers = vec![0.0; action_terms.width()];
        get_numbers(bytes, &mut numbers)
            .then_some(numbers)
            .ok_or("its action bounds have another width than its terms")
    };
    Ok(Contract {
        task: sent.task.to_string(),
        dt_s: sent.dt_s,
        action_low: bounds(sent.action_low, &ours.action_low, f32::NEG_INFINITY)?,
        action_high: bounds(sent.action_high, &ours.action_high, f32::INFINITY)?,
        obs_terms,
        action_terms,
    })
}
