//! The training engine of sog: small networks over flat parameter vectors, their losses with exact
//! gradients, Adam, and the search over latent codes, fused for the CPU.
//!
//! The layers, from the bottom up:
//!
//! * [`layout`]: named tensors in one flat vector, the single definition of a network's parameters;
//! * [`net`]: the two-branch policy and plain chains of dense layers, described and initialised;
//! * `file`: a policy as the network of a policy file, and back;
//! * `kernel`: matrix products and element-wise passes over panels of 32 rows;
//! * `masked`, `transpose`: sums with two-valued masks by table, and panels turned into tiles;
//! * [`shard`]: batches cut so that results do not depend on the number of threads;
//! * `standby`: a second thread at hand while an update runs, where that is faster;
//! * [`adam`]: the optimiser;
//! * [`policy`]: the policy's passes, split where the latent code enters;
//! * [`search`]: exhaustive and coordinate-wise search for codes (Algorithm 4), for any model;
//!   `factored` makes it cheap for the policy;
//! * [`sog`], [`sog_bc`]: SOG in general (Algorithm 1), and for cloning (Algorithm 2);
//! * [`mlp`]: passes of a chain of dense layers;
//! * [`conv`]: convolutional networks;
//! * [`moments`], [`gae`], [`ppo`]: running normalisers, advantages, and the PPO update (Eqs. 3–4);
//! * [`discriminator`], [`posterior`]: adversarial training and InfoGAIL.
//!
//! Nothing here normalises: observations are network inputs as the caller gives them.
#![deny(unsafe_code)]

pub mod adam;
pub mod conv;
pub mod discriminator;
pub mod error;
mod factored;
mod file;
pub mod gae;
pub mod init;
mod kernel;
pub mod layout;
mod masked;
pub mod mlp;
pub mod moments;
pub mod net;
pub mod policy;
pub mod posterior;
pub mod ppo;
pub mod search;
pub mod shard;
pub mod sog;
pub mod sog_bc;
mod standby;
mod transpose;

pub use error::EngineError;
