//! The training engine of sog: small networks over flat parameter vectors, their losses with exact
//! gradients, Adam, and the search over latent codes, fused for the CPU.
//!
//! The layers, from the bottom up:
//!
//! * [`layout`]: named tensors in one flat vector, the single definition of a network's parameters;
//! * [`net`]: the two-branch policy and plain chains of dense layers, described and initialised.
#![deny(unsafe_code)]

pub mod error;
pub mod init;
pub mod layout;
pub mod net;

pub use error::EngineError;
