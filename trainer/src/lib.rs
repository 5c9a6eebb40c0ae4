//! From demonstrations to a policy file: the six imitation algorithms, their evaluation and their
//! figures.
//!
//! In the order in which data passes through:
//!
//! * [`data`]: demonstration files; labels are kept from learners;
//! * [`config`]: every choice of a training run;
//! * [`defaults`]: what a run starts from, and what is tuned for one task;
//! * [`codes`]: the code of a trajectory, without labels;
//! * [`algorithms`]: one file each, readable against its pseudo-code;
//! * [`network`]: the policy network as the configuration describes it;
//! * [`nn`]: networks on candle;
//! * [`train`](mod@train): a run from demonstrations to the policy file ([`export`]);
//! * [`evaluate`]: the measures of the paper;
//! * [`mod@reproduce`]: the paper's tables, ours beside them;
//! * [`figures`]: what was learned, as pictures;
//! * [`images`]: the same algorithm on pictures;
//! * [`cli`]: the command `sog`.
#![deny(unsafe_code)]

pub mod algorithms;
pub mod cli;
pub mod codes;
pub mod config;
pub mod data;
pub mod defaults;
pub mod device;
pub mod error;
pub mod evaluate;
pub mod export;
pub mod figures;
pub mod images;
pub mod network;
pub mod nn;
pub mod normalise;
pub mod reproduce;
pub mod train;
