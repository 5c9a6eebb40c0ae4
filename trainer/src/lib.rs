//! From demonstrations to a policy file: the six imitation algorithms, their evaluation and their
//! figures.
//!
//! In the order in which data passes through:
//!
//! * [`data`]: demonstration files; labels are kept from learners;
//! * [`evaluate`]: the measures of the paper;
//! * [`cli`]: the command `sog`.
#![deny(unsafe_code)]

mod adversarial;
pub mod algorithms;
pub mod cli;
pub mod config;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod export;
pub mod figures;
pub mod normalise;
pub mod train;
