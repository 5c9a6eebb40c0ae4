//! Codes of trajectories: which ones they begin with, which one explains each best.
//!
//! Nothing here sees a label.
//!
//! * `first`: codes to begin with, by clusters or spread over the prior;
//! * `assign`: codes of a minibatch while they still organise themselves;
//! * [`mod@book`]: what a policy file says of its codes;
//! * [`embed`]: the code under which a policy explains a trajectory best;
//! * [`separation`]: how well clusters of trajectories keep apart, and so how many there are;
//! * [`hungarian`]: assignments of largest total;
//! * [`quantile`]: quantiles of the prior.

pub(crate) mod assign;
pub mod book;
mod cluster;
pub mod embed;
pub(crate) mod features;
pub(crate) mod first;
pub mod hungarian;
pub mod quantile;
pub mod separation;
pub(crate) mod spread;
