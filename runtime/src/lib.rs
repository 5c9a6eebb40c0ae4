//! What runs on the control computer: a policy file is read and verified, evaluated without
//! allocation, and closed into a fixed-rate loop around a robot.
//!
//! The layers, in the order in which data passes through them:
//!
//! * [`tensors`]: safetensors with deterministic bytes and a checksum;
//! * [`contract`]: what policies, demonstrations, tasks and robots must agree on;
//! * [`policy`]: the policy file, its verification, and inference;
//! * [`terms`]: observation terms by data, from raw readings to what the policy sees;
//! * `adapter`: from what a robot has to what a policy wants, by `robot.toml` (feature `host`);
//! * [`time`]: what paces a loop, the clock, statistics of durations;
//! * [`control`]: the fixed-rate loop with its states, watchdogs, limits and statistics;
//! * [`io`]: what a robot looks like to the loop ([`io::RobotIo`]);
//! * `link`: a robot at the other end of UDP or a serial line (feature `host`);
//! * `recording`: demonstrations that a person gives with a robot (feature `host`);
//! * `telemetry`: a record a tick, logs, replay, export (feature `host`);
//! * `os`: real time, scheduling, signals (feature `host`);
//! * `definition`: definitions that people write, read by file, line and key (feature `host`);
//! * [`math`]: vectorised functions that training and inference share.
//!
//! With `default-features = false` the library needs only `core` and `alloc`; allocation happens
//! while a file is loaded, never in a control tick.
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

extern crate alloc;

#[cfg(feature = "host")]
pub mod adapter;
pub mod contract;
pub mod control;
#[cfg(feature = "host")]
pub mod definition;
pub mod io;
#[cfg(feature = "host")]
pub mod link;
pub mod math;
#[cfg(feature = "host")]
pub mod os;
pub mod policy;
#[cfg(feature = "host")]
pub mod recording;
#[cfg(feature = "host")]
pub mod telemetry;
pub mod tensors;
pub mod terms;
pub mod time;
