//! What a microcontroller needs to run a policy: no std, no heap, no I/O.
//!
//! The layers, from the bottom up:
//!
//! * [`text`], [`Numbers`]: pieces of a file as they lie in it;
//! * [`tensors`]: a safetensors file, read in place from a byte slice;
//! * [`kinds`]: typed forms of the strings in a policy file's metadata;
//! * [`policy`]: the policy file with every check, and inference straight from its bytes;
//! * [`contract`]: what a policy and a robot must agree on;
//! * [`io`], [`time`]: what a controller and its robot tell each other; periods and their statistics;
//! * [`control`]: the controller as a machine: states, watchdogs, limits, statistics;
//! * [`link`]: the wire format, and both ends as machines without I/O;
//! * [`math`]: functions that training, the control computer and the microcontroller share.
//!
//! What takes memory borrows it from the caller, and says how much it needs; a policy file stays
//! where it is, in flash, say. The crate `sog-runtime` builds on this one.
//!
//! ```no_run
//! use sog_core::policy::Policy;
//!
//! # let (file, observation, code): (&[u8], [f32; 27], [f32; 6]) = (&[], [0.0; 27], [0.0; 6]);
//! let mut scratch = [0.0; 512];
//! let policy = Policy::open(file, &mut scratch).expect("verified");
//! let mut action = [0.0; 8];
//! policy.mean_action(&mut scratch, &observation, &code, &mut action).expect("widths fit");
//! ```
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(test)]
extern crate std;

pub mod contract;
pub mod control;
pub mod io;
mod json;
pub mod kinds;
pub mod link;
pub mod math;
mod numbers;
pub mod policy;
pub mod tensors;
pub mod text;
pub mod time;

pub use numbers::Numbers;
